//! Positions as a snapshot keeps them.

use serde::{Deserialize, Serialize};

use super::codec::{is_false, is_zero, note_members, read_note};
use super::key::{Place, Position, PositionOwner};
use super::registry::OFFSETS_TOPIC;
use crate::broker::groups::GroupRecord;
use crate::broker::metadata::topic_name;
use crate::broker::snapshot::PartitionSnapshot;
use crate::types::{Epoch, Offset, PartitionIndex, Timestamp, TopicId, TopicName};

/// Bytes of positions that one snapshot takes at most, roughly: partitions of `__offsets` beyond are left out, and read
/// from their logs.
pub(super) const SNAPSHOT_POSITIONS_BYTES_MAX: usize = 96 << 20;

/// Bytes of a group in a snapshot, roughly.
pub(super) const KEPT_GROUP_BYTES: usize = 400;

/// Bytes of a position in a snapshot beside its names, roughly.
const POSITION_BYTES: usize = 200;

/// The positions that one partition of `__offsets` holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PositionsSnapshot {
    /// The partition of `__offsets`.
    pub partition: u32,
    /// The offset up to which its log is in `positions`; the next record to read is the one there.
    pub applied: u64,
    /// The positions, sorted by topic id, partition and client.
    pub positions: Vec<KeptPosition>,
    /// The groups, sorted by id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<KeptGroup>,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptGroup {
    /// Its id.
    pub group: String,
    /// What is kept of it.
    #[serde(flatten)]
    pub record: GroupRecord,
    /// When that was written, in milliseconds since the Unix epoch.
    #[serde(default)]
    pub time_ms: i64,
}

impl PositionsSnapshot {
    /// Whether they are those of this partition.
    pub(in crate::broker) fn is_of(&self, partition: &PartitionSnapshot) -> bool {
        partition.topic.as_str() == OFFSETS_TOPIC && partition.partition == self.partition
    }
}

/// One position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptPosition {
    /// Whose it is.
    #[serde(flatten)]
    pub owner: PositionOwner,
    /// The topic's id.
    pub topic_id: TopicId,
    /// The topic.
    #[serde(with = "topic_name")]
    pub topic: TopicName,
    /// The partition.
    pub partition: u32,
    /// The next offset to be read.
    pub offset: u64,
    /// The epoch of the topic's partition when the position was committed.
    pub epoch: i32,
    /// When it was moved there, in milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// How often it was set anew.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub resets: u32,
    /// It was beyond the end of the log when it was said.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ahead: bool,
    /// What the client said with it.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub note: Box<str>,
    /// The epoch of the last record before the position, where the client knew it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader_epoch: Option<i32>,
}

impl KeptPosition {
    pub(super) fn new(place: &Place, position: &Position) -> KeptPosition {
        let (note, leader_epoch) = note_members(position);
        KeptPosition {
            owner: place.owner.clone(),
            topic_id: place.topic_id,
            topic: position.topic.clone(),
            partition: place.partition.0,
            offset: position.offset.get(),
            epoch: position.epoch.get(),
            time_ms: position.moved_at.millis(),
            resets: position.resets,
            ahead: position.is_ahead,
            note,
            leader_epoch,
        }
    }

    /// Its length in the file, roughly.
    pub(super) fn bytes(&self) -> usize {
        // A control character takes six bytes in JSON.
        let texts = self.owner.id().len() + self.note.len();
        texts * 2 + self.topic.as_str().len() + POSITION_BYTES
    }

    pub(super) fn read(self) -> Option<(Place, Position)> {
        let KeptPosition {
            owner,
            topic_id,
            topic,
            partition,
            offset,
            epoch,
            time_ms,
            resets,
            ahead,
            note,
            leader_epoch,
        } = self;
        let place = Place { topic_id, partition: PartitionIndex(partition), owner };
        let (offset, epoch) = Offset::new(offset).zip(Epoch::new(epoch))?;
        let (moved_at, note) = (Timestamp::from_millis(time_ms), read_note(note, leader_epoch));
        Some((place, Position { topic, offset, epoch, moved_at, resets, is_ahead: ahead, note }))
    }
}
