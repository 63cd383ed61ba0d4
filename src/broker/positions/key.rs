//! Whose position where.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::codec::Owner;
use crate::broker::BrokerError;
use crate::types::{Epoch, Offset, PartitionIndex, Timestamp, TopicId, TopicName, partition_for_key};

/// Longest id of a client or a group that keeps positions, in bytes.
pub const CLIENT_ID_BYTES_MAX: usize = 255;

/// Who keeps a position. A client and a group of the same id have nothing to do with each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "Owner", into = "Owner")]
pub enum PositionOwner {
    /// A client, by its id.
    Client(Arc<str>),
    /// A group, by its id.
    Group(Arc<str>),
}

impl PositionOwner {
    /// The id.
    #[must_use]
    pub fn id(&self) -> &Arc<str> {
        let (PositionOwner::Client(id) | PositionOwner::Group(id)) = self;
        id
    }
}

impl fmt::Display for PositionOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PositionOwner::Client(id) => write!(f, "client '{id}'"),
            PositionOwner::Group(id) => write!(f, "group '{id}'"),
        }
    }
}

/// Whose position, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PositionKey {
    /// Whose it is: an id of 1 to [`CLIENT_ID_BYTES_MAX`] bytes.
    pub owner: PositionOwner,
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
        let bytes = self.owner.id().len();
        if (1..=CLIENT_ID_BYTES_MAX).contains(&bytes) { Ok(()) } else { Err(BrokerError::InvalidClientId { bytes }) }
    }
}

/// A [`PositionKey`] of the one topic that has this id: a topic created anew under the name begins without positions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) topic_id: TopicId,
    pub(super) partition: PartitionIndex,
    pub(super) owner: PositionOwner,
}

impl Place {
    pub(super) fn new(key: &PositionKey, topic_id: TopicId) -> Place {
        Place { topic_id, partition: key.partition, owner: key.owner.clone() }
    }

    /// The first place that a topic can have.
    pub(super) fn first_of(topic_id: TopicId) -> Place {
        Place { topic_id, partition: PartitionIndex(0), owner: PositionOwner::Client("".into()) }
    }
}

/// Longest text that a client may say with a position, in bytes.
pub const NOTE_BYTES_MAX: usize = 4_096;

/// What a client says with a position. It gets it back, and nobody else reads it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PositionNote {
    /// A text of its own, of [`NOTE_BYTES_MAX`] bytes at most; may be empty.
    pub text: Box<str>,
    /// The epoch of the last record before the position, where it knows it.
    pub leader_epoch: Option<Epoch>,
}

impl PositionNote {
    /// The note, if it says anything.
    pub(super) fn said(self) -> Option<Arc<PositionNote>> {
        (self != PositionNote::default()).then(|| Arc::new(self))
    }
}

/// Where the positions of a client or a group are kept.
pub(super) fn shard_of(id: &str, shards: u32) -> usize {
    partition_for_key(id.as_bytes(), shards).0 as usize
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
    /// How often it was set anew, which alone moves it back.
    pub(super) resets: u32,
    /// It was beyond the end of the log when it was said: the end tells nothing of it.
    pub(super) is_ahead: bool,
    /// What the client said with it.
    pub(super) note: Option<Arc<PositionNote>>,
}

impl Position {
    /// Whether keeping this one instead of `kept` is worth a record: it is further on, or confirms an old one.
    pub(super) fn moves(&self, kept: &Position) -> bool {
        let confirms = self.reach() == kept.reach() && self.moved_at.since(kept.moved_at) >= CONFIRMED_AFTER_MS;
        self.reach() > kept.reach() || confirms
    }

    /// Bytes of its note's text.
    pub(super) fn note_bytes(&self) -> usize {
        self.note.as_ref().map_or(0, |note| note.text.len())
    }

    /// What never goes back: of two positions the one that reaches further counts.
    pub(super) fn reach(&self) -> (u32, Offset) {
        (self.resets, self.offset)
    }
}

/// A commit of the position that is kept already counts against its expiry once this old, in milliseconds.
const CONFIRMED_AFTER_MS: i64 = 3_600_000;
