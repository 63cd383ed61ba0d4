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
pub(in crate::listener::native) struct Outgoing {
    /// What goes first, in pieces.
    pieces: VecDeque<Bytes>,
    /// Bytes of all pieces together.
    pieces_bytes: usize,
    /// What goes last, still being added to.
    tail: BytesMut,
}

impl Outgoing {
    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.pieces_bytes + self.tail.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where small things are encoded.
    pub(in crate::listener::native) fn tail(&mut self) -> &mut BytesMut {
        &mut self.tail
    }

    /// Adds bytes, by reference where they are many.
    pub(in crate::listener::native) fn push(&mut self, bytes: &Bytes) {
        if bytes.len() < REFERENCED_BYTES_MIN {
            self.tail.extend_from_slice(bytes);
            return;
        }
        if !self.tail.is_empty() {
            self.pieces_bytes += self.tail.len();
            self.pieces.push_back(self.tail.split().freeze());
        }
        self.pieces_bytes += bytes.len();
        self.pieces.push_back(bytes.clone());
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
        let mut count = 0;
        for (slice, bytes) in slices.iter_mut().zip(waiting) {
            *slice = IoSlice::new(bytes);
            count += 1;
        }
        stream.try_write_vectored(&slices[..count])
    }

    /// Forgets what was sent.
    fn advance(&mut self, mut sent: usize) {
        while let Some(first) = self.pieces.front_mut().filter(|_| sent > 0) {
            let taken = sent.min(first.len());
            first.advance(taken);
            sent -= taken;
            self.pieces_bytes -= taken;
            if first.is_empty() {
                self.pieces.pop_front();
            }
        }
        self.tail.advance(sent);
    }

    /// Forgets everything: nobody takes it any more.
    pub(super) fn clear(&mut self) {
        *self = Outgoing::default();
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
