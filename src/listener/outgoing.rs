//! Bytes on their way to the socket: what is small is copied together, what is large goes out from where it lies.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes, BytesMut};
use tokio::net::TcpStream;

/// From this size on bytes are referred to instead of copied: below it the copy costs less than its place in the queue.
pub(super) const REFERENCED_BYTES_MIN: usize = 4 << 10;
/// Pieces that one call offers to the socket.
const SLICES_MAX: usize = 64;
/// Room that an empty buffer keeps until the next heartbeat.
const BUFFER_KEPT_BYTES: usize = 16 << 10;

/// A queue of bytes, in their order.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// What goes first.
    pieces: VecDeque<Bytes>,
    /// Bytes of all pieces together.
    pieces_bytes: usize,
    /// What goes last, still being added to.
    tail: BytesMut,
    /// Bytes that the socket has taken so far.
    taken: u64,
}

impl Outgoing {
    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.pieces_bytes + self.tail.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that the socket has taken so far.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Where small things are encoded.
    pub(super) fn tail(&mut self) -> &mut BytesMut {
        &mut self.tail
    }

    /// Adds bytes, by reference where they are many.
    pub(super) fn push(&mut self, bytes: &Bytes) {
        if bytes.len() < REFERENCED_BYTES_MIN {
            self.tail.extend_from_slice(bytes);
            return;
        }
        if !self.tail.is_empty() {
            let tail = self.tail.split().freeze();
            self.add(tail);
        }
        self.add(bytes.clone());
    }

    fn add(&mut self, piece: Bytes) {
        self.pieces_bytes += piece.len();
        self.pieces.push_back(piece);
    }

    /// Gives the socket what it takes without waiting.
    pub(super) fn send(&mut self, stream: &TcpStream) -> io::Result<()> {
        while !self.is_empty() {
            match self.offer(stream) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => self.advance(sent),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        if self.tail.capacity() > BUFFER_KEPT_BYTES {
            self.tail = BytesMut::new();
        }
        Ok(())
    }

    fn offer(&self, stream: &TcpStream) -> io::Result<usize> {
        if self.pieces.is_empty() {
            return stream.try_write(&self.tail);
        }
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let waiting = self.pieces.iter().map(|piece| &piece[..]).chain([&self.tail[..]]);
        let count = slices.iter_mut().zip(waiting).map(|(slice, bytes)| *slice = IoSlice::new(bytes)).count();
        stream.try_write_vectored(&slices[..count])
    }

    /// Forgets what was sent.
    fn advance(&mut self, mut sent: usize) {
        self.taken += sent as u64;
        while sent > 0
            && let Some(first) = self.pieces.front_mut()
        {
            let of_first = sent.min(first.len());
            first.advance(of_first);
            if first.is_empty() {
                self.pieces.pop_front();
            }
            self.pieces_bytes -= of_first;
            sent -= of_first;
        }
        self.tail.advance(sent);
    }

    /// Forgets everything: nobody takes it any more.
    pub(super) fn clear(&mut self) {
        *self = Outgoing { taken: self.taken, ..Outgoing::default() };
    }

    /// Gives back what an idle connection does not need.
    pub(super) fn trim(&mut self) {
        if self.is_empty() {
            self.clear();
        }
    }

    /// Room that it keeps, in bytes.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.tail.capacity() + self.pieces.capacity() * size_of::<Bytes>()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (peer, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        (accepted.unwrap().0, peer.unwrap())
    }

    /// Whatever their sizes, whether a socket takes them whole or in parts: bytes come out as they went in.
    #[tokio::test]
    async fn bytes_keep_their_order() {
        let (stream, mut peer) = pair().await;
        let mut outgoing = Outgoing::default();
        let mut expected = Vec::new();
        for number in 0..400_usize {
            let size = [1, 100, REFERENCED_BYTES_MIN - 1, REFERENCED_BYTES_MIN, 100_000][number % 5];
            let piece = vec![u8::try_from(number % 251).unwrap(); size];
            expected.extend_from_slice(&piece);
            if number % 3 == 0 { outgoing.tail().extend_from_slice(&piece) } else { outgoing.push(&Bytes::from(piece)) }
        }
        assert_eq!(outgoing.len(), expected.len());
        let mut came = vec![0; expected.len()];
        let (written, read) = tokio::join!(
            async {
                while !outgoing.is_empty() {
                    stream.writable().await?;
                    outgoing.send(&stream)?;
                }
                io::Result::Ok(())
            },
            peer.read_exact(&mut came),
        );
        written.unwrap();
        read.unwrap();
        assert_eq!(outgoing.taken(), expected.len() as u64);
        assert!(came == expected);
    }

    #[tokio::test]
    async fn large_bytes_are_not_copied() {
        let mut outgoing = Outgoing::default();
        let large = Bytes::from(vec![7; REFERENCED_BYTES_MIN]);
        outgoing.push(&Bytes::from_static(b"small"));
        outgoing.push(&large);
        assert_eq!(outgoing.pieces.len(), 2);
        assert_eq!(outgoing.pieces[1].as_ptr(), large.as_ptr());
        outgoing.clear();
        assert_eq!((outgoing.len(), outgoing.capacity()), (0, 0));
    }
}
