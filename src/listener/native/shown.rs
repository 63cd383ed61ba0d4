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
/// A larger piece is not kept: encoding it costs little beside sending it. All together are at most 4 MiB.
pub(super) const PIECE_BYTES_MAX: usize = 64 << 10;

/// Records of one batch, from an offset on, as frames of DATA.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) frames: Bytes,
    /// The records in it, each with the end of its frame among the bytes.
    pub(super) records: Vec<(Offset, usize)>,
}

/// What was shown last.
#[derive(Debug, Default)]
pub(super) struct Shown {
    recent: Mutex<VecDeque<Recent>>,
}

#[derive(Debug)]
struct Recent {
    partition: Weak<Partition>,
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

impl Shown {
    /// What is known of the records from an offset on.
    pub(super) fn find(&self, partition: &Arc<Partition>, from: Offset) -> Known {
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
    pub(super) fn keep(&self, partition: &Arc<Partition>, from: Offset, piece: Piece) {
        let mut recent = self.recent.lock();
        let found = recent.iter_mut().rev().find(|recent| recent.is_of(partition, from));
        if let Some(recent) = found.filter(|_| piece.frames.len() <= PIECE_BYTES_MAX) {
            recent.piece = Some(Arc::new(piece));
        }
    }
}

impl Recent {
    fn is_of(&self, partition: &Arc<Partition>, from: Offset) -> bool {
        self.from == from && std::ptr::eq(self.partition.as_ptr(), Arc::as_ptr(partition))
    }
}
