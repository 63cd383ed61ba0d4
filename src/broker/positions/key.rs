//! Whose position where.

use std::sync::Arc;

use crate::broker::BrokerError;
use crate::types::{Epoch, Offset, PartitionIndex, Timestamp, TopicId, TopicName, partition_for_key};

/// Longest id of a client that keeps positions, in bytes.
pub const CLIENT_ID_BYTES_MAX: usize = 255;

/// Whose position, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PositionKey {
    /// The client's id: 1 to [`CLIENT_ID_BYTES_MAX`] bytes.
    pub client_id: Box<str>,
    /// The topic.
    pub topic: TopicName,
    /// The partition.
    pub partition: PartitionIndex,
}

impl PositionKey {
    /// Whether a position can be kept under this key.
    ///
    /// # Errors
    /// [`BrokerError::InvalidClientId`] for an id that is empty or too long.
    pub fn check(&self) -> Result<(), BrokerError> {
        let bytes = self.client_id.len();
        if (1..=CLIENT_ID_BYTES_MAX).contains(&bytes) { Ok(()) } else { Err(BrokerError::InvalidClientId { bytes }) }
    }
}

/// A [`PositionKey`] of the one topic that has this id: a topic created anew under the name begins without positions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) topic_id: TopicId,
    pub(super) partition: PartitionIndex,
    pub(super) client_id: Arc<str>,
}

impl Place {
    pub(super) fn new(key: &PositionKey, topic_id: TopicId) -> Place {
        Place { topic_id, partition: key.partition, client_id: key.client_id.as_ref().into() }
    }

    /// The first place that a topic can have.
    pub(super) fn first_of(topic_id: TopicId) -> Place {
        Place { topic_id, partition: PartitionIndex(0), client_id: "".into() }
    }
}

/// Where a client's positions are kept.
pub(super) fn shard_of(client_id: &str, shards: u32) -> usize {
    partition_for_key(client_id.as_bytes(), shards).0 as usize
}

/// A position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Position {
    /// The topic's name, for those who read the log by eye.
    pub(super) topic: TopicName,
    /// The next offset to be read.
    pub(super) offset: Offset,
    /// The epoch of the topic's partition at that time: all before `offset` was committed in it or earlier.
    pub(super) epoch: Epoch,
    /// When it was moved here.
    pub(super) moved_at: Timestamp,
}

impl Position {
    /// Whether keeping this one instead of `kept` is worth a record: it is further on, or confirms an old one.
    pub(super) fn moves(&self, kept: &Position) -> bool {
        let confirms = self.offset == kept.offset && self.moved_at.since(kept.moved_at) >= CONFIRMED_AFTER_MS;
        self.offset > kept.offset || confirms
    }
}

/// A commit of the position that is kept already counts against its expiry once this old, in milliseconds.
const CONFIRMED_AFTER_MS: i64 = 3_600_000;
