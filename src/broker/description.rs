//! A topic as it is described to those who ask: its metadata, its partitions now, and the settings in force.

use std::sync::Arc;

use super::Broker;
use super::error::BrokerError;
use super::metadata::{Topic, TopicSettings};
use super::options::BrokerOptions;
use super::topic::Slot;
use crate::log::RetentionPolicy;
use crate::replica::{Offsets, Partition, PartitionOptions, PartitionStatus};
use crate::types::{CleanupPolicy, Epoch, PartitionIndex, TimestampType, TopicName};

/// "Without a limit", as Kafka writes it.
const UNLIMITED: i64 = -1;

/// All there is to say of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDescription {
    /// Its metadata, its own settings among them.
    pub topic: Topic,
    /// Its partitions, in order.
    pub partitions: Vec<PartitionDescription>,
    /// The settings in force.
    pub effective: EffectiveSettings,
}

/// One partition now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionDescription {
    /// Its number.
    pub partition: PartitionIndex,
    /// Whether it can be used.
    pub status: DescribedStatus,
    /// The epoch it appends in; none where it is offline.
    pub epoch: Option<Epoch>,
    /// Its offsets; none where it is offline.
    pub offsets: Option<Offsets>,
    /// Bytes of records it keeps; none where it is offline.
    pub bytes: Option<u64>,
}

/// Whether a partition can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DescribedStatus {
    /// It takes records and serves them.
    Online,
    /// It could not be opened.
    Offline(Arc<str>),
    /// It serves what is whole and takes nothing.
    Failed(Arc<str>),
    /// Another broker leads it.
    Follower {
        /// Where that one is, if known.
        leader: Option<String>,
    },
}

/// The settings in force for a topic: its own, and for the rest the broker's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EffectiveSettings {
    /// How long records are kept, in milliseconds; -1 for ever.
    pub retention_ms: i64,
    /// How many bytes of records each partition keeps; -1 all.
    pub retention_bytes: i64,
    /// The largest message, in bytes.
    pub message_bytes_max: u32,
    /// What happens to old records.
    pub cleanup_policy: CleanupPolicy,
    /// The length a segment may grow to, in bytes.
    pub segment_bytes: u64,
    /// How long compaction leaves a record alone at least, in milliseconds.
    pub min_compaction_lag_ms: i64,
    /// How long a tombstone stays once compaction has found it, in milliseconds.
    pub delete_retention_ms: i64,
    /// The largest batch that a client built, in bytes.
    pub batch_bytes_max: u32,
    /// Whose time records bear.
    pub timestamp_type: TimestampType,
    /// How long a segment takes records at most, in milliseconds.
    pub segment_ms: i64,
}

impl BrokerOptions {
    /// What a topic's own settings and the broker's come to together.
    #[must_use]
    pub fn effective_settings(&self, settings: &TopicSettings) -> EffectiveSettings {
        self.effective(&self.partition_options(settings), self.retention(settings), settings)
    }

    fn effective(
        &self,
        options: &PartitionOptions,
        retention: RetentionPolicy,
        settings: &TopicSettings,
    ) -> EffectiveSettings {
        let bytes = retention.bytes_max.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
        let message_bytes_max = self.topics.message_bytes_max;
        EffectiveSettings {
            retention_ms: retention.age_ms_max.unwrap_or(UNLIMITED),
            retention_bytes: bytes.unwrap_or(UNLIMITED),
            message_bytes_max: settings.message_bytes_max.map_or(message_bytes_max, |own| own.min(message_bytes_max)),
            cleanup_policy: settings.cleanup_policy.unwrap_or(CleanupPolicy::Delete),
            segment_bytes: options.log.segment_bytes,
            min_compaction_lag_ms: self.compaction_policy(settings).min_lag_ms,
            delete_retention_ms: self.compaction_policy(settings).delete_retention_ms,
            batch_bytes_max: self.batch_bytes_max(settings),
            timestamp_type: settings.timestamp_type.unwrap_or(TimestampType::CreateTime),
            segment_ms: options.log.segment_age_ms,
        }
    }
}

impl Broker {
    /// Describes a topic.
    ///
    /// # Errors
    /// [`BrokerError::UnknownTopic`].
    pub fn describe_topic(&self, topic: &TopicName) -> Result<TopicDescription, BrokerError> {
        let handle = self.topic(topic)?;
        let settings = &handle.topic().settings;
        let options = self.options.topic_options(topic, settings);
        let retention = if topic.is_internal() { options.retention } else { self.options.retention(settings) };
        let slots = (0..handle.partitions_count()).zip(handle.slots());
        Ok(TopicDescription {
            topic: handle.topic().clone(),
            partitions: slots.map(|(index, slot)| describe(PartitionIndex(index), slot)).collect(),
            effective: self.options.effective(&options, retention, settings),
        })
    }
}

fn describe(partition: PartitionIndex, slot: &Slot) -> PartitionDescription {
    match slot {
        Slot::Open(open) => PartitionDescription {
            partition,
            status: status_of(open),
            epoch: Some(open.epoch()),
            offsets: Some(open.offsets()),
            bytes: Some(open.bytes()),
        },
        Slot::Offline(reason) => PartitionDescription {
            partition,
            status: DescribedStatus::Offline(Arc::clone(reason)),
            epoch: None,
            offsets: None,
            bytes: None,
        },
    }
}

fn status_of(partition: &Partition) -> DescribedStatus {
    match partition.status() {
        PartitionStatus::Leader => DescribedStatus::Online,
        PartitionStatus::Follower { leader } => DescribedStatus::Follower { leader },
        PartitionStatus::Failed(reason) => DescribedStatus::Failed(reason),
    }
}
