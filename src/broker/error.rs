//! What a broker answers when it cannot do what it is asked, and why one cannot start.

use std::path::PathBuf;
use std::sync::Arc;

use super::groups::GroupError;
use super::metadata::{DecodeError, MetadataError};
use super::positions::CLIENT_ID_BYTES_MAX;
use crate::log::{DirectoryError, LogError};
use crate::replica::{AckFailure, AppendError, DeletionError, PartitionClosed, ReadFailure};
use crate::types::{Offset, PartitionIndex, TopicName};

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// There is no such topic.
    #[error("topic '{topic}' does not exist")]
    UnknownTopic {
        /// Its name.
        topic: TopicName,
    },
    /// The topic has no such partition.
    #[error("topic '{topic}' has partitions 0 to {last}, not {partition}")]
    UnknownPartition {
        /// The topic.
        topic: TopicName,
        /// What was asked for.
        partition: PartitionIndex,
        /// The topic's last partition.
        last: u32,
    },
    /// The partition could not be opened at start.
    #[error("partition {partition} of topic '{topic}' is offline: {reason}")]
    PartitionOffline {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionIndex,
        /// Why.
        reason: Arc<str>,
    },
    /// The name is for the broker itself.
    #[error("topic '{topic}': names that begin with '__' are the broker's own")]
    InternalTopic {
        /// The name.
        topic: TopicName,
    },
    /// The metadata refuse it.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// Another change of the same topic is under way. Retriable.
    #[error("topic '{topic}' is being changed; try again")]
    TopicBusy {
        /// Its name.
        topic: TopicName,
    },
    /// Too many wait for the same thing. Retriable.
    #[error("too many requests wait for this; try again")]
    Overloaded,
    /// No client has such an id.
    #[error("a client id has 1 to {CLIENT_ID_BYTES_MAX} bytes, not {bytes}")]
    InvalidClientId {
        /// Its length.
        bytes: usize,
    },
    /// A position above everything a consumer may have read.
    #[error("offset {offset} is above the high watermark {high_watermark}")]
    OffsetOutOfRange {
        /// What was asked for.
        offset: Offset,
        /// The oldest offset kept.
        log_start: Offset,
        /// The end of what consumers may see.
        high_watermark: Offset,
    },
    /// The topic's records go only when a newer one has their key.
    #[error("topic '{topic}' is compacted: its records cannot be deleted")]
    NotDeletable {
        /// Its name.
        topic: TopicName,
    },
    /// A group refuses it.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// The device is full. Retriable.
    #[error("the device is full; try again once there is room")]
    StorageFull,
    /// The file system failed.
    #[error("{0}")]
    StorageFailed(Arc<str>),
    /// Another broker leads the metadata.
    #[error("not the leader of the metadata")]
    NotLeader {
        /// Where the leader is, if known.
        hint: Option<String>,
    },
}

impl From<LogError> for BrokerError {
    fn from(error: LogError) -> BrokerError {
        if error.is_storage_full() {
            BrokerError::StorageFull
        } else {
            BrokerError::StorageFailed(error.to_string().into())
        }
    }
}

impl BrokerError {
    /// Whether what was asked for has gone with its topic.
    #[must_use]
    pub const fn is_of_gone_topic(&self) -> bool {
        matches!(self, BrokerError::UnknownTopic { .. })
    }
}

impl From<AckFailure> for BrokerError {
    fn from(failure: AckFailure) -> BrokerError {
        match failure {
            AckFailure::StorageFull => BrokerError::StorageFull,
            AckFailure::StorageFailed(reason) => BrokerError::StorageFailed(reason),
            AckFailure::Truncated => BrokerError::NotLeader { hint: None },
            AckFailure::Closed(PartitionClosed::TopicDeleted { topic }) => BrokerError::UnknownTopic { topic },
        }
    }
}

impl From<AppendError> for BrokerError {
    fn from(error: AppendError) -> BrokerError {
        match error {
            AppendError::NotLeader { hint } => BrokerError::NotLeader { hint },
            AppendError::StorageFull | AppendError::QueueFull(_) => BrokerError::StorageFull,
            AppendError::Fenced { .. } | AppendError::Sequence(_) | AppendError::Exhausted => {
                BrokerError::StorageFailed(error.to_string().into())
            }
            AppendError::StorageFailed(reason) => BrokerError::StorageFailed(reason),
            AppendError::Closed(PartitionClosed::TopicDeleted { topic }) => BrokerError::UnknownTopic { topic },
        }
    }
}

impl From<DeletionError> for BrokerError {
    fn from(error: DeletionError) -> BrokerError {
        match error {
            DeletionError::OutOfRange { before, log_start, high_watermark } => {
                BrokerError::OffsetOutOfRange { offset: before, log_start, high_watermark }
            }
            DeletionError::Overloaded => BrokerError::Overloaded,
            DeletionError::NotLeader { hint } => BrokerError::NotLeader { hint },
            DeletionError::StorageFull => BrokerError::StorageFull,
            DeletionError::StorageFailed(reason) => BrokerError::StorageFailed(reason),
            DeletionError::Closed(PartitionClosed::TopicDeleted { topic }) => BrokerError::UnknownTopic { topic },
        }
    }
}

/// Why a broker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The metadata's log cannot be used.
    #[error("the metadata cannot be read: {0}; `wiber-server verify` shows what is damaged")]
    Meta(#[from] LogError),
    /// The metadata's log is damaged, or cannot be read to its end.
    #[error("the metadata in {dir} cannot be read: {reason}; `wiber-server repair` quarantines what is damaged")]
    MetaDamaged {
        /// Its directory.
        dir: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A command in the metadata's log is of a later version, or damaged.
    #[error("a metadata command cannot be read: {0}")]
    Command(#[from] DecodeError),
    /// Topics are there and the log that names them is not.
    #[error(
        "{dir} holds {partitions} partitions but not the metadata that name them (__meta_p0): restore that directory"
    )]
    MetaMissing {
        /// The data directory.
        dir: PathBuf,
        /// How many partitions it holds.
        partitions: usize,
    },
    /// The file system failed.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// The metadata's log cannot be read.
    #[error("the metadata cannot be read: {0}")]
    Read(#[from] ReadFailure),
}
