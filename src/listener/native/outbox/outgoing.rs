//! Bytes on their way to the socket: what is small is copied together, what is large goes out from where it lies, and
//! what the log still has is only lent.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use tokio::net::TcpStream;

use crate::listener::native::memory::Loan;
use crate::listener::native::reading::Source;
use crate::record::Batch;
use crate::replica::Partition;

/// From this size on bytes are referred to instead of copied: below it the copy costs less than its place in the queue.
const REFERENCED_BYTES_MIN: usize = 4 << 10;
/// Pieces that one call offers to the socket.
const SLICES_MAX: usize = 64;
/// Room that an empty buffer keeps until the next heartbeat.
const BUFFER_KEPT_BYTES: usize = 16 << 10;

/// A queue of bytes, in their order.
#[derive(Debug, Default)]
pub(in crate::listener::native) struct Outgoing {
    /// What goes first.
    pieces: VecDeque<Piece>,
    /// Bytes that nothing but this queue has.
    kept_bytes: usize,
    /// Bytes that the log has as well, whether they are here or given back.
    lent_bytes: usize,
    /// Pieces that were given back and are not here again.
    missing: usize,
    /// What goes last, still being added to.
    tail: BytesMut,
}

#[derive(Debug)]
enum Piece {
    Kept(Bytes),
    Lent(Lent),
}

/// Bytes that can be read again.
#[derive(Debug)]
struct Lent {
    source: Source,
    /// All of them, and how many have been sent.
    bytes: usize,
    sent: usize,
    /// Those not sent yet, unless they were given back.
    rest: Option<(Bytes, Loan)>,
}

impl Outgoing {
    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.kept_bytes() + self.lent_bytes
    }

    /// Those of them that cannot be given back.
    pub(super) fn kept_bytes(&self) -> usize {
        self.kept_bytes + self.tail.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where small things are encoded.
    pub(in crate::listener::native) fn tail(&mut self) -> &mut BytesMut {
        &mut self.tail
    }

    /// Adds bytes to be kept, by reference where they are many.
    pub(super) fn push(&mut self, bytes: &Bytes) {
        if bytes.len() < REFERENCED_BYTES_MIN {
            self.tail.extend_from_slice(bytes);
            return;
        }
        self.end_tail();
        self.kept_bytes += bytes.len();
        self.pieces.push_back(Piece::Kept(bytes.clone()));
    }

    /// Adds bytes that can be read again, on a part of this loan where they are many. Behind what was given back they are
    /// given back as well: who waits for memory holds none.
    pub(super) fn lend(&mut self, bytes: &Bytes, loan: &mut Loan, source: impl FnOnce() -> Source) {
        if bytes.len() < REFERENCED_BYTES_MIN {
            self.tail.extend_from_slice(bytes);
            return;
        }
        self.end_tail();
        self.lent_bytes += bytes.len();
        let rest = (self.missing == 0).then(|| (bytes.clone(), loan.split(bytes.len())));
        self.missing += usize::from(rest.is_none());
        self.pieces.push_back(Piece::Lent(Lent { source: source(), bytes: bytes.len(), sent: 0, rest }));
    }

    /// Adds batches.
    pub(in crate::listener::native) fn lend_batches(
        &mut self,
        batches: &[Batch],
        loan: &mut Loan,
        partition: &Arc<Partition>,
    ) {
        for batch in batches {
            self.lend(batch.bytes(), loan, || Source::Batch(Arc::clone(partition), batch.header().base_offset));
        }
    }

    fn end_tail(&mut self) {
        if !self.tail.is_empty() {
            self.kept_bytes += self.tail.len();
            self.pieces.push_back(Piece::Kept(self.tail.split().freeze()));
        }
    }

    /// Gives back what can be read again.
    pub(super) fn give_back(&mut self) {
        for piece in &mut self.pieces {
            if let Piece::Lent(lent) = piece {
                self.missing += usize::from(lent.rest.take().is_some());
            }
        }
    }

    /// What was given back and is now to be sent, and its size in bytes.
    pub(super) fn missing(&self) -> Option<(Source, usize)> {
        match self.pieces.front() {
            Some(Piece::Lent(lent)) if lent.rest.is_none() => Some((lent.source.clone(), lent.bytes)),
            _ => None,
        }
    }

    /// Takes in again what was given back; whether it is what it was.
    pub(super) fn restore(&mut self, mut bytes: Bytes, loan: Loan) -> bool {
        let Some(Piece::Lent(lent)) = self.pieces.front_mut() else { return false };
        if lent.bytes != bytes.len() || lent.rest.is_some() {
            return false;
        }
        bytes.advance(lent.sent);
        lent.rest = Some((bytes, loan));
        self.missing -= 1;
        true
    }

    /// Gives the socket what it takes without waiting.
    pub(super) fn send(&mut self, stream: &TcpStream) -> io::Result<()> {
        while !self.is_empty() && self.missing().is_none() {
            match self.offer(stream) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => self.advance(sent),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        if self.is_empty() && self.tail.capacity() > BUFFER_KEPT_BYTES {
            self.tail = BytesMut::new();
        }
        Ok(())
    }

    fn offer(&self, stream: &TcpStream) -> io::Result<usize> {
        if self.pieces.is_empty() {
            return stream.try_write(&self.tail);
        }
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let pieces = self.pieces.iter().map_while(Piece::here);
        let waiting = pieces.chain((self.missing == 0).then_some(&self.tail[..]));
        let mut count = 0;
        for (slice, bytes) in slices.iter_mut().zip(waiting) {
            *slice = IoSlice::new(bytes);
            count += 1;
        }
        stream.try_write_vectored(&slices[..count])
    }

    /// Forgets what was sent.
    fn advance(&mut self, mut sent: usize) {
        while sent > 0
            && let Some(first) = self.pieces.front_mut()
        {
            let taken = first.advance(sent);
            sent -= taken;
            let is_over = match first {
                Piece::Kept(bytes) => {
                    self.kept_bytes -= taken;
                    bytes.is_empty()
                }
                Piece::Lent(lent) => {
                    self.lent_bytes -= taken;
                    lent.sent == lent.bytes
                }
            };
            if is_over {
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
        self.tail.capacity() + self.pieces.capacity() * size_of::<Piece>()
    }
}

impl Piece {
    /// What is to be sent of it, unless it was given back.
    fn here(&self) -> Option<&[u8]> {
        match self {
            Piece::Kept(bytes) => Some(bytes),
            Piece::Lent(lent) => lent.rest.as_ref().map(|(bytes, _)| &bytes[..]),
        }
    }

    /// Forgets so many bytes, or all it has; how many that were.
    fn advance(&mut self, sent: usize) -> usize {
        match self {
            Piece::Kept(bytes) => {
                let taken = sent.min(bytes.len());
                bytes.advance(taken);
                taken
            }
            Piece::Lent(lent) => {
                let taken = sent.min(lent.bytes - lent.sent);
                lent.sent += taken;
                if let Some((bytes, _)) = &mut lent.rest {
                    bytes.advance(taken);
                }
                taken
            }
        }
    }
}
