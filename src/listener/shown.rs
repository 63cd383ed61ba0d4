//! DATA encoded once for all who are subscribed to the same records.
//!
//! A frame of DATA says nothing about its subscription, so what one was shown can go to the others as it is. Pieces are kept
//! for a moment only: subscribers that keep up come for a batch one right after the other. The first of them leaves a mark,
//! the second one its frames, so that records which only one asks for are not kept.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::replica::Partition;
use crate::types::Offset;

/// Pieces remembered at a time.
const PIECES_MAX: usize = 64;
/// A larger one is not kept: all together are at most 4 MiB.
pub(super) const PIECE_BYTES_MAX: usize = 64 << 10;

/// Records of one batch, from an offset on, as frames of DATA.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) frames: Bytes,
    /// The records in it, each with the end of its frame among the bytes.
    pub(super) records: Vec<(Offset, usize)>,
}

/// What was shown last, of which partition.
#[derive(Debug)]
pub(super) struct Shown<P = Partition> {
    recent: Mutex<VecDeque<Recent<P>>>,
}

#[derive(Debug)]
struct Recent<P> {
    partition: Weak<P>,
    from: Offset,
    /// `None` where only one has asked for it so far.
    piece: Option<Arc<Piece>>,
}

/// What is known of a piece.
#[derive(Debug)]
pub(super) enum Known {
    /// Somebody encoded it.
    Piece(Arc<Piece>),
    /// Others ask for it: what is encoded now is worth keeping.
    Wanted,
    /// Nobody else has asked for it.
    No,
}

impl<P> Default for Shown<P> {
    fn default() -> Shown<P> {
        Shown { recent: Mutex::default() }
    }
}

impl<P> Shown<P> {
    /// What is known of the records from an offset on.
    pub(super) fn find(&self, partition: &Arc<P>, from: Offset) -> Known {
        let mut recent = self.recent.lock();
        let found = recent.iter().rev().find(|recent| recent.is_of(partition, from));
        match found.map(|recent| recent.piece.clone()) {
            Some(Some(piece)) => Known::Piece(piece),
            Some(None) => Known::Wanted,
            None => {
                if recent.len() == PIECES_MAX {
                    recent.pop_front();
                }
                recent.push_back(Recent { partition: Arc::downgrade(partition), from, piece: None });
                Known::No
            }
        }
    }

    /// Keeps a piece for the others.
    pub(super) fn keep(&self, partition: &Arc<P>, from: Offset, piece: Piece) -> Arc<Piece> {
        let piece = Arc::new(piece);
        let mut recent = self.recent.lock();
        let found = recent.iter_mut().rev().find(|recent| recent.is_of(partition, from));
        if let Some(recent) = found.filter(|_| piece.frames.len() <= PIECE_BYTES_MAX) {
            recent.piece = Some(Arc::clone(&piece));
        }
        piece
    }
}

impl<P> Recent<P> {
    fn is_of(&self, partition: &Arc<P>, from: Offset) -> bool {
        self.from == from && std::ptr::eq(self.partition.as_ptr(), Arc::as_ptr(partition))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(bytes: usize) -> Piece {
        Piece { frames: Bytes::from(vec![0; bytes]), records: Vec::new() }
    }

    /// The first one leaves a mark, the second one its frames, the third one takes them.
    #[test]
    fn pieces_are_kept_from_the_second_on() {
        let (shown, ours, other) = (Shown::default(), Arc::new("a"), Arc::new("b"));
        let at = Offset::ZERO.plus(7);
        assert!(matches!(shown.find(&ours, at), Known::No));
        for (partition, from) in [(&other, at), (&ours, Offset::ZERO.plus(8))] {
            assert!(matches!(shown.find(partition, from), Known::No), "another one's");
        }
        assert!(matches!(shown.find(&ours, at), Known::Wanted));
        shown.keep(&ours, at, piece(PIECE_BYTES_MAX + 1));
        assert!(matches!(shown.find(&ours, at), Known::Wanted), "too large");
        shown.keep(&ours, at, piece(3));
        assert!(matches!(shown.find(&ours, at), Known::Piece(piece) if piece.frames.len() == 3));
        for offset in 100..100 + PIECES_MAX as u64 {
            assert!(matches!(shown.find(&ours, Offset::ZERO.plus(offset)), Known::No));
        }
        assert!(matches!(shown.find(&ours, at), Known::No), "long ago");
    }
}
