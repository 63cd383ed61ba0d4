//! What a client says of topics, and what it is told of them.
//!
//! Plain values: reading them from a reply is [`super::reading`]'s business.

use crate::protocol::native::Properties;
use crate::types::{CleanupPolicy, Offset, PartitionIndex, Timestamp, TimestampType};

use super::error::ClientError;

/// A topic's own settings; `None` where the broker's default is to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TopicSettings {
    /// How long records are kept, in milliseconds; -1 for ever.
    pub retention_ms: Option<i64>,
    /// How many bytes a partition keeps; -1 all.
    pub retention_bytes: Option<i64>,
    /// Largest record, in bytes.
    pub max_message_size: Option<u64>,
    /// What becomes of old records.
    pub cleanup_policy: Option<CleanupPolicy>,
    /// Size at which a new segment file is begun.
    pub segment_bytes: Option<u64>,
    /// How long compaction leaves a record alone at least, in milliseconds.
    pub min_compaction_lag_ms: Option<i64>,
    /// How long a tombstone stays once compaction has found it, in milliseconds.
    pub delete_retention_ms: Option<i64>,
    /// The largest batch that a client built, in bytes.
    pub max_batch_size: Option<u32>,
    /// How long a segment takes records at most, in milliseconds.
    pub segment_ms: Option<i64>,
    /// Whose time records bear.
    pub timestamp_type: Option<TimestampType>,
}

/// What to do with a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Change<T> {
    /// It stays as it is.
    #[default]
    Keep,
    /// Back to the broker's default.
    Reset,
    /// This from now on.
    Set(T),
}

/// What to change of a topic; nothing by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TopicAlteration {
    /// How many partitions there are to be; only ever more.
    pub partitions: Option<u32>,
    /// As in [`TopicSettings`].
    pub retention_ms: Change<i64>,
    /// As in [`TopicSettings`].
    pub retention_bytes: Change<i64>,
    /// As in [`TopicSettings`].
    pub max_message_size: Change<u64>,
    /// As in [`TopicSettings`].
    pub cleanup_policy: Change<CleanupPolicy>,
    /// As in [`TopicSettings`].
    pub segment_bytes: Change<u64>,
    /// As in [`TopicSettings`].
    pub min_compaction_lag_ms: Change<i64>,
    /// As in [`TopicSettings`].
    pub delete_retention_ms: Change<i64>,
    /// As in [`TopicSettings`].
    pub max_batch_size: Change<u32>,
    /// As in [`TopicSettings`].
    pub segment_ms: Change<i64>,
    /// As in [`TopicSettings`].
    pub timestamp_type: Change<TimestampType>,
}

/// A topic as the list of topics has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSummary {
    /// Its name.
    pub topic: String,
    /// Its id, which no other topic ever has.
    pub topic_id: String,
    /// How many partitions it has.
    pub partitions: u32,
}

/// Everything a broker says of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDescription {
    /// Its name.
    pub topic: String,
    /// Its id, which no other topic ever has.
    pub topic_id: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// Its partitions, in order.
    pub partitions: Vec<PartitionDescription>,
    /// The settings that are its own.
    pub settings: TopicSettings,
    /// The settings in force.
    pub effective: EffectiveSettings,
    /// How far its publishers' clocks were from the broker's lately; nothing where nobody has published.
    pub clock_skew: Option<ClockSkew>,
}

/// How far publishers' clocks were from the broker's when it took what they sent; positive where they were ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockSkew {
    /// Of the last publish, in milliseconds.
    pub last_ms: i64,
    /// The least of the last minutes.
    pub min_ms: i64,
    /// The greatest of the last minutes.
    pub max_ms: i64,
    /// How many times of publishers were too far ahead for the broker's clock to follow.
    pub too_far_ahead: u64,
}

/// What a broker says of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionDescription {
    /// Which one.
    pub partition: PartitionIndex,
    /// How it does.
    pub status: PartitionStatus,
    /// Why it does not do better.
    pub reason: Option<String>,
    /// The epoch it is written under.
    pub leader_epoch: Option<i64>,
    /// The first offset that is kept.
    pub log_start: Option<Offset>,
    /// What lies below it may be read.
    pub high_watermark: Option<Offset>,
    /// The offset of the next record to be written.
    pub log_end: Option<Offset>,
    /// Bytes on disk.
    pub bytes: Option<u64>,
}

/// How a partition does.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PartitionStatus {
    /// It is read and written.
    Online,
    /// It is not there.
    Offline,
    /// It takes no more writes.
    Failed,
    /// Another broker leads it.
    Follower,
    /// What this version does not know.
    Other(String),
}

impl PartitionStatus {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            PartitionStatus::Online => "online",
            PartitionStatus::Offline => "offline",
            PartitionStatus::Failed => "failed",
            PartitionStatus::Follower => "follower",
            PartitionStatus::Other(name) => name,
        }
    }
}

/// The settings in force for a topic: its own, else the broker's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EffectiveSettings {
    /// How long records are kept, in milliseconds; -1 for ever.
    pub retention_ms: i64,
    /// How many bytes a partition keeps; -1 all.
    pub retention_bytes: i64,
    /// Largest record, in bytes; `None` where the broker does not say.
    pub max_message_size: Option<u64>,
    /// What becomes of old records; `None` for a policy this version does not know.
    pub cleanup_policy: Option<CleanupPolicy>,
    /// Size at which a new segment file is begun; `None` where the broker does not say.
    pub segment_bytes: Option<u64>,
    /// How long compaction leaves a record alone at least, in milliseconds; `None` where the broker does not say.
    pub min_compaction_lag_ms: Option<i64>,
    /// How long a tombstone stays once compaction has found it, in milliseconds; `None` where the broker does not say.
    pub delete_retention_ms: Option<i64>,
    /// The largest batch that a client built, in bytes; `None` where the broker does not say.
    pub max_batch_size: Option<u32>,
    /// How long a segment takes records at most, in milliseconds; `None` where the broker does not say.
    pub segment_ms: Option<i64>,
    /// Whose time records bear; `None` where the broker does not say.
    pub timestamp_type: Option<TimestampType>,
}

/// What else to ask of a partition's offsets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OffsetsQuery {
    /// Whose kept position is asked for.
    pub client_id: Option<String>,
    /// The group whose kept position is asked for, in place of a client's.
    pub group: Option<String>,
    /// The first record of this time or later is asked for.
    pub time: Option<Timestamp>,
}

/// The offsets of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionOffsets {
    /// The first offset that is kept.
    pub log_start: Offset,
    /// What lies below it may be read.
    pub high_watermark: Offset,
    /// The offset of the next record to be written.
    pub log_end: Offset,
    /// The kept position asked for, where there is one.
    pub committed: Option<Offset>,
    /// The first record of the time asked for, where there is one.
    pub at_time: Option<Offset>,
}

impl TopicSettings {
    /// The properties of a CREATE_TOPIC.
    pub(super) fn to_pairs(self) -> Vec<(&'static str, String)> {
        TopicAlteration {
            partitions: None,
            retention_ms: self.retention_ms.map_or(Change::Keep, Change::Set),
            retention_bytes: self.retention_bytes.map_or(Change::Keep, Change::Set),
            max_message_size: self.max_message_size.map_or(Change::Keep, Change::Set),
            cleanup_policy: self.cleanup_policy.map_or(Change::Keep, Change::Set),
            segment_bytes: self.segment_bytes.map_or(Change::Keep, Change::Set),
            min_compaction_lag_ms: self.min_compaction_lag_ms.map_or(Change::Keep, Change::Set),
            delete_retention_ms: self.delete_retention_ms.map_or(Change::Keep, Change::Set),
            max_batch_size: self.max_batch_size.map_or(Change::Keep, Change::Set),
            segment_ms: self.segment_ms.map_or(Change::Keep, Change::Set),
            timestamp_type: self.timestamp_type.map_or(Change::Keep, Change::Set),
        }
        .to_pairs()
    }
}

impl<T> Change<T> {
    fn value(self, text: impl FnOnce(T) -> String) -> Option<String> {
        match self {
            Change::Keep => None,
            Change::Reset => Some(String::new()),
            Change::Set(value) => Some(text(value)),
        }
    }
}

impl TopicAlteration {
    /// The properties of an ALTER_TOPIC: what is not changed is not named, what goes back to its default is empty.
    pub(super) fn to_pairs(self) -> Vec<(&'static str, String)> {
        let pairs = [
            ("partitions", self.partitions.map(|count| count.to_string())),
            ("wiber.retention_ms", self.retention_ms.value(|ms| ms.to_string())),
            ("wiber.retention_bytes", self.retention_bytes.value(|bytes| bytes.to_string())),
            ("wiber.max_message_size", self.max_message_size.value(|bytes| bytes.to_string())),
            ("wiber.cleanup_policy", self.cleanup_policy.value(|policy| policy.as_str().to_owned())),
            ("wiber.segment_bytes", self.segment_bytes.value(|bytes| bytes.to_string())),
            ("wiber.min_compaction_lag_ms", self.min_compaction_lag_ms.value(|ms| ms.to_string())),
            ("wiber.delete_retention_ms", self.delete_retention_ms.value(|ms| ms.to_string())),
            ("wiber.max_batch_size", self.max_batch_size.value(|bytes| bytes.to_string())),
            ("wiber.segment_ms", self.segment_ms.value(|ms| ms.to_string())),
            ("wiber.timestamp_type", self.timestamp_type.value(|kind| kind.as_str().to_owned())),
        ];
        pairs.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// The properties of a request about a topic.
pub(super) fn about(topic: &str, pairs: &[(&'static str, String)]) -> Result<Properties, ClientError> {
    let rest = pairs.iter().map(|(name, value)| (*name, value.as_str()));
    Ok(Properties::from_pairs([("topic", topic)].into_iter().chain(rest))?)
}
