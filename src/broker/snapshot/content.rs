//! What a snapshot holds: metadata, positions and small derived state, in plain numbers. Never bulk state.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::broker::metadata::{MetadataSnapshot, topic_name};
use crate::broker::positions::PositionsSnapshot;
use crate::replica::producers::ProducerSnapshot;
use crate::types::{TopicId, TopicName};

/// What the broker knew at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The data directory it was taken of; for another it says nothing.
    pub directory_id: Uuid,
    /// When it was taken, in milliseconds since the Unix epoch.
    pub taken_at_ms: i64,
    /// The offset of `__meta` up to which `metadata` has applied it; the next command to apply is the one there.
    pub meta_applied: u64,
    /// The topics.
    pub metadata: MetadataSnapshot,
    /// The partitions, sorted by topic and number.
    pub partitions: Vec<PartitionSnapshot>,
    /// The positions that clients keep, as the partitions of `__offsets` hold them, in their order.
    #[serde(default)]
    pub positions: Vec<PositionsSnapshot>,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionSnapshot {
    /// Its topic.
    #[serde(with = "topic_name")]
    pub topic: TopicName,
    /// The topic's id; under another one the partition is another one.
    pub topic_id: TopicId,
    /// Its number.
    pub partition: u32,
    /// Where to go on reading its log.
    pub point: LogPointSnapshot,
    /// The idempotent producers of everything below the point, or of more, sorted by id.
    pub producers: Vec<ProducerSnapshot>,
}

/// A place in a partition's log, and what must be found right before it for the snapshot to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPointSnapshot {
    /// The offset of the next record.
    pub next_offset: u64,
    /// The base offset of the segment.
    pub segment: u64,
    /// The position in that segment's file, in bytes.
    pub position: u64,
    /// The number of the next batch.
    pub next_batch: u64,
    /// Where the batch before it begins in that file, in bytes.
    pub last_batch_position: u64,
    /// That batch's CRC-32C.
    pub last_batch_crc: u32,
    /// The largest timestamp in the segment up to the position, in milliseconds since the Unix epoch.
    pub max_timestamp_ms: i64,
}
