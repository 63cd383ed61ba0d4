//! Deleting records on demand: the log start moves to an offset that somebody names.
//!
//! What is asked for waits for the next upkeep, which is submitted at once and comes before the next write. Everything before the new log start is made
//! durable first: after a power cut the log must not end below where it starts. Whole segments below it go; within a
//! segment the records below it stay where they are, and nobody reads them any more.

use std::fmt;
use std::sync::Arc;

use super::ack::AckFailure;
use super::effects::Effects;
use super::error::PartitionClosed;
use super::partition::{Partition, PartitionStatus, State};
use crate::log::LogError;
use crate::types::Offset;

/// Deletions of one partition that may wait at a time.
const WAITING_MAX: usize = 1_000;

type Reply = Box<dyn FnOnce(Result<Offset, DeletionError>) + Send>;

/// Why records were not deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeletionError {
    /// Only what is committed can be deleted.
    #[error("offset {before} is above the high watermark {high_watermark}")]
    OutOfRange {
        /// What was asked for.
        before: Offset,
        /// The oldest offset kept.
        log_start: Offset,
        /// The end of what is committed.
        high_watermark: Offset,
    },
    /// Too many wait already. Retriable.
    #[error("too many deletions wait")]
    Overloaded,
    /// Another broker leads the partition.
    #[error("not the leader of this partition")]
    NotLeader {
        /// Where the leader is, if known.
        hint: Option<String>,
    },
    /// The device is full. Retriable.
    #[error("the device is full")]
    StorageFull,
    /// The file system failed.
    #[error("the partition accepts no writes: {0}")]
    StorageFailed(Arc<str>),
    /// The partition is no more.
    #[error(transparent)]
    Closed(#[from] PartitionClosed),
}

/// Who waits for the log start to move.
#[derive(Default)]
pub(crate) struct Deletions {
    waiting: Vec<(Offset, Reply)>,
}

/// A deletion that is done, or cannot be, and is to be answered.
pub(crate) struct Settled {
    reply: Reply,
    result: Result<Offset, DeletionError>,
}

impl Deletions {
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Where the log is to start.
    pub(crate) fn log_start(&self) -> Offset {
        self.waiting.iter().map(|(before, _)| *before).max().unwrap_or(Offset::ZERO)
    }

    /// Everybody who waits for no more than this log start.
    fn take_reached(&mut self, log_start: Offset) -> Vec<Settled> {
        let reached = self.waiting.extract_if(.., |(before, _)| *before <= log_start);
        reached.map(|(_, reply)| Settled { reply, result: Ok(log_start) }).collect()
    }

    fn take_all(&mut self, error: &DeletionError) -> Vec<Settled> {
        let all = std::mem::take(&mut self.waiting).into_iter();
        all.map(|(_, reply)| Settled { reply, result: Err(error.clone()) }).collect()
    }
}

impl Settled {
    pub(crate) fn answer(self) {
        (self.reply)(self.result);
    }
}

impl Partition {
    /// Deletes the records before an offset, of all that is committed where none is given. The reply comes with the log start then, durably so, at once where
    /// that is there already; or with why not.
    pub fn delete_before(
        self: &Arc<Self>,
        before: Option<Offset>,
        reply: impl FnOnce(Result<Offset, DeletionError>) + Send + 'static,
    ) {
        let mut effects = Effects::default();
        let mut state = self.state.lock();
        match state.check_deletion(before) {
            Ok(before) if before > state.offsets.log_start() => {
                state.deletions.waiting.push((before, Box::new(reply)));
                state.plan_work(&mut effects);
            }
            result => {
                let log_start = state.offsets.log_start();
                effects.deletions.push(Settled { reply: Box::new(reply), result: result.map(|_| log_start) });
            }
        }
        drop(state);
        self.carry_out(effects);
    }

    /// Moves the log start forward. Blocks on files.
    pub(crate) fn start_log_at(&self, log_start: Offset) -> Result<(), LogError> {
        let end = self.log.state().end;
        if log_start > self.log.log_start() && log_start > end.segment {
            if log_start >= end.next_offset {
                // Nothing of the active segment stays: it is sealed, which makes it durable, and goes with the others.
                self.log.roll()?;
            } else {
                self.log.sync(end)?;
            }
        }
        self.log.advance_log_start(log_start)
    }
}

impl State {
    fn check_deletion(&self, before: Option<Offset>) -> Result<Offset, DeletionError> {
        if let Some(closed) = &self.closed {
            return Err(DeletionError::Closed(closed.clone()));
        }
        match &self.status {
            PartitionStatus::Leader => {}
            PartitionStatus::Follower { leader } => return Err(DeletionError::NotLeader { hint: leader.clone() }),
            PartitionStatus::Failed(reason) => return Err(DeletionError::StorageFailed(Arc::clone(reason))),
        }
        let (log_start, high_watermark) = (self.offsets.log_start(), self.offsets.high_watermark());
        let before = before.unwrap_or(high_watermark);
        if before > high_watermark {
            return Err(DeletionError::OutOfRange { before, log_start, high_watermark });
        }
        if self.deletions.waiting.len() >= WAITING_MAX {
            return Err(DeletionError::Overloaded);
        }
        Ok(before)
    }

    /// Answers those whose log start is reached; after a failure to get there, everybody else too.
    pub(crate) fn settle_deletions(&mut self, is_full: bool, effects: &mut Effects) {
        let log_start = self.offsets.log_start();
        effects.deletions.append(&mut self.deletions.take_reached(log_start));
        if is_full {
            effects.deletions.append(&mut self.deletions.take_all(&DeletionError::StorageFull));
        }
    }

    /// Tells everybody who waits for a deletion why it will not be.
    pub(crate) fn refuse_deletions(&mut self, failure: &AckFailure, effects: &mut Effects) {
        let error = match failure {
            AckFailure::StorageFull => DeletionError::StorageFull,
            AckFailure::StorageFailed(reason) => DeletionError::StorageFailed(Arc::clone(reason)),
            AckFailure::Truncated => DeletionError::NotLeader { hint: None },
            AckFailure::Closed(closed) => DeletionError::Closed(closed.clone()),
        };
        effects.deletions.append(&mut self.deletions.take_all(&error));
    }
}

impl fmt::Debug for Deletions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.waiting.iter().map(|(before, _)| before)).finish()
    }
}

impl fmt::Debug for Settled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Settled").field(&self.result).finish()
    }
}
