//! Why something was not published.

use std::sync::Arc;

use crate::broker::BrokerError;
use crate::record::{BuildError, ProducedBatch};
use crate::replica::{AppendError, Partition};
use crate::types::TopicName;

/// Why a record or a batch was not published. Nothing of it was kept.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The topic or partition cannot be published to.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// A record's value is too large.
    #[error("a message of {bytes} bytes where topic '{topic}' allows {bytes_max}")]
    MessageTooLarge {
        /// The topic.
        topic: TopicName,
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        bytes_max: usize,
    },
    /// The whole record with its key and headers does not fit into a batch.
    #[error(transparent)]
    Build(BuildError),
    /// The topic keeps the newest record of each key, and a record has none.
    #[error("a record without a key, where topic '{topic}' keeps the newest record of each key")]
    KeyMissing {
        /// The topic.
        topic: TopicName,
        /// Which records of the batch: see [`ProducedBatch::keyless`].
        records: Vec<u32>,
    },
    /// The topic keeps the newest record of each key, and the records of a compressed batch cannot be read.
    #[error("records that cannot be read, where topic '{topic}' keeps the newest record of each key")]
    Unreadable {
        /// The topic.
        topic: TopicName,
    },
    /// A message id is too long.
    #[error("an id of {bytes} bytes where {bytes_max} are allowed")]
    IdTooLong {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        bytes_max: usize,
    },
    /// Too much waits to be written. The batch comes back, to be appended to this partition once there is space: see
    /// [`Partition::poll_space`].
    #[error("too much waits to be written")]
    QueueFull {
        /// The batch.
        batch: Box<ProducedBatch>,
        /// Where it was to go.
        partition: Arc<Partition>,
    },
    /// The partition refused it; never [`AppendError::QueueFull`].
    #[error(transparent)]
    Append(AppendError),
}

impl PublishError {
    pub(super) fn append(error: AppendError, partition: &Arc<Partition>) -> PublishError {
        match error {
            AppendError::QueueFull(batch) => PublishError::QueueFull { batch, partition: Arc::clone(partition) },
            error @ (AppendError::NotLeader { .. }
            | AppendError::Fenced { .. }
            | AppendError::StorageFull
            | AppendError::StorageFailed(_)
            | AppendError::Closed(_)
            | AppendError::Sequence(_)
            | AppendError::Exhausted) => PublishError::Append(error),
        }
    }
}
