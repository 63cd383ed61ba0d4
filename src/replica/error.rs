//! What a partition answers when it cannot do what it is asked.

use std::sync::Arc;

use super::producers::SequenceError;
use crate::log::ReadError;
use crate::record::ProducedBatch;
use crate::types::{Epoch, Offset, TopicName};

/// Why a partition takes no part in anything any more: neither appends nor reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PartitionClosed {
    /// Its topic is gone.
    #[error("topic '{topic}' was deleted")]
    TopicDeleted {
        /// The topic.
        topic: TopicName,
    },
}

/// Why a batch was not appended. Nothing of it was kept.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Another broker leads the partition.
    #[error("not the leader of this partition{}", hint.as_ref().map(|at| format!(": ask {at}")).unwrap_or_default())]
    NotLeader {
        /// Where the leader is, if known.
        hint: Option<String>,
    },
    /// The producer, or the leader that sent it, belongs to the past.
    #[error("fenced: epoch {current} has begun")]
    Fenced {
        /// The epoch now.
        current: Epoch,
    },
    /// Too much waits to be written or synced. The batch comes back, to be appended once there is space.
    #[error("too much waits to be written")]
    QueueFull(Box<ProducedBatch>),
    /// The device is full. Retriable.
    #[error("the device is full; publish again once there is room")]
    StorageFull,
    /// The file system failed here before, or found damage: the partition takes no more.
    #[error("the partition accepts no writes: {0}")]
    StorageFailed(Arc<str>),
    /// The partition is no more.
    #[error(transparent)]
    Closed(#[from] PartitionClosed),
    /// The batch repeats, skips or contradicts what its producer sent before.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// The partition's offsets or epochs are used up.
    #[error("the partition's numbers are used up")]
    Exhausted,
}

/// Why a partition could not follow its leader.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The partition is the leader itself.
    #[error("this broker leads the partition")]
    Leading,
    /// The epoch is older than one already seen.
    #[error("epoch {found} is over, {current} has begun")]
    Fenced {
        /// The epoch now.
        current: Epoch,
        /// The epoch that came.
        found: Epoch,
    },
    /// The batch does not follow the log end.
    #[error("a batch of offset {found} where the log ends at {log_end}")]
    NotContiguous {
        /// The log end.
        log_end: Offset,
        /// The batch's base offset.
        found: Offset,
    },
    /// What is committed cannot be taken back.
    #[error("offset {end} is below the high watermark {high_watermark}")]
    Committed {
        /// Where the log was to end.
        end: Offset,
        /// What is committed.
        high_watermark: Offset,
    },
    /// A write or sync is under way; try again when it is done.
    #[error("a write or sync is under way")]
    Busy,
    /// The partition takes no more.
    #[error("the partition accepts no writes: {0}")]
    StorageFailed(Arc<str>),
    /// Too much waits to be written.
    #[error("too much waits to be written")]
    QueueFull,
}

/// Why nothing could be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadFailure {
    /// The offset lies outside what is kept and committed.
    #[error("offset {from} is outside {log_start} to {high_watermark}")]
    OutOfRange {
        /// The offset asked for.
        from: Offset,
        /// The oldest offset kept.
        log_start: Offset,
        /// The end of what is committed.
        high_watermark: Offset,
    },
    /// What is there is damaged.
    #[error("{source}")]
    Corrupt {
        /// The first offset behind the damage that can be read, where there is one.
        resume: Option<Offset>,
        /// What is damaged, and how.
        source: ReadError,
    },
    /// The files cannot be read.
    #[error(transparent)]
    Log(ReadError),
    /// The partition is no more.
    #[error(transparent)]
    Closed(#[from] PartitionClosed),
}

impl From<ReadError> for ReadFailure {
    fn from(error: ReadError) -> ReadFailure {
        match error {
            ReadError::Corrupt { resume, .. } => ReadFailure::Corrupt { resume, source: error },
            ReadError::BelowLogStart { .. } | ReadError::Log(_) => ReadFailure::Log(error),
        }
    }
}
