//! A batch against what must come next: the check every batch read from disk passes before anything believes it.

use super::epochs::History;
use crate::record::{self, BatchError, BatchHeader, HEADER_BYTES};
use crate::types::{Epoch, Offset};

/// Why the bytes at a place are not the batch that belongs there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The bytes are no whole batch.
    #[error("{0}")]
    Batch(BatchError),
    /// A whole batch, but of another offset.
    #[error("a batch of offset {found} where offset {expected} belongs")]
    Offset {
        /// The offset that belongs here.
        expected: Offset,
        /// The batch's base offset.
        found: Offset,
    },
    /// A whole batch of the right offset, but of an epoch that did not write it.
    #[error("a batch of epoch {found} where {expected:?} wrote offset {offset}")]
    Epoch {
        /// The batch's base offset.
        offset: Offset,
        /// The epoch that wrote it, as far as it is known.
        expected: Option<Epoch>,
        /// The batch's epoch.
        found: i32,
    },
    /// The file ends before the log does, or goes on after it.
    #[error("the file has {found} bytes where {expected} were written")]
    Length {
        /// How many bytes it had.
        expected: u64,
        /// How many it has.
        found: u64,
    },
    /// A place known to lie between two batches lies inside one.
    #[error("byte {position} was the end of a batch and is not now")]
    Boundary {
        /// The byte.
        position: u64,
    },
    /// The file is not there.
    #[error("the file is missing")]
    Missing,
    /// The file cannot be read.
    #[error("unreadable: {0}")]
    Unreadable(String),
}

/// A chain of batches, each checked to follow its predecessor.
#[derive(Debug, Clone)]
pub(crate) struct Chain<'a> {
    next: Offset,
    history: &'a History,
}

impl<'a> Chain<'a> {
    /// A chain whose next batch follows the records that end at `end`.
    pub(crate) fn new(end: Offset, history: &'a History) -> Chain<'a> {
        Chain { next: history.follow(end), history }
    }

    /// The offset the next batch must have.
    pub(crate) fn next(&self) -> Offset {
        self.next
    }

    /// Checks the batch at the start of `bytes` and moves past it. On an error the chain stays where it was.
    pub(crate) fn accept(&mut self, bytes: &[u8]) -> Result<BatchHeader, Damage> {
        let header = record::verify(bytes).map_err(Damage::Batch)?;
        self.accept_header(&header)?;
        Ok(header)
    }

    fn accept_header(&mut self, header: &BatchHeader) -> Result<(), Damage> {
        if header.base_offset != self.next {
            return Err(Damage::Offset { expected: self.next, found: header.base_offset });
        }
        check_epoch(header, self.history)?;
        self.next = self.history.follow(header.next_offset());
        Ok(())
    }
}

/// Checks that the epoch a batch names is the one that wrote its offset.
pub(crate) fn check_epoch(header: &BatchHeader, history: &History) -> Result<(), Damage> {
    let expected = history.epochs.epoch_at(header.base_offset);
    if expected.map(Epoch::get) == Some(header.leader_epoch) {
        return Ok(());
    }
    Err(Damage::Epoch { offset: header.base_offset, expected, found: header.leader_epoch })
}

/// Whether bytes are what a file holds where nothing was written: zeros where a header would be.
pub(crate) fn is_unwritten(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().take(HEADER_BYTES).all(|byte| *byte == 0)
}
