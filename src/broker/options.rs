//! What a broker is told at its start.

use std::path::PathBuf;

use super::compaction::CompactionLimits;
use super::groups::classic::ClassicOptions;
use super::metadata::{MetadataLimits, TopicSettings};
use super::positions::PositionLimits;
use super::publish::PublishLimits;
use crate::log::{CompactionPolicy, RetentionPolicy};
use crate::replica::{PartitionOptions, SyncPolicy};
use crate::types::{CleanupPolicy, TopicName};

/// Half of the retention, or this, is how long a segment takes appends at most, in milliseconds.
const SEGMENT_AGE_MS_MAX: i64 = 7 * 24 * 3_600_000;

/// How long a tombstone stays once compaction has found it, in milliseconds, where the topic does not say.
const DELETE_RETENTION_MS: i64 = 24 * 3_600_000;

/// Length of a segment of the broker's own topics, in bytes: small, for what is old goes a segment at a time.
const INTERNAL_SEGMENT_BYTES: u64 = 4 << 20;

/// The same where the topic is compacted.
const COMPACTED_SEGMENT_BYTES: u64 = 1 << 20;

/// How a broker behaves.
#[derive(Debug, Clone)]
pub struct BrokerOptions {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Where snapshots go.
    pub snapshot_dir: PathBuf,
    /// Snapshots kept.
    pub snapshots_kept: usize,
    /// Milliseconds between two snapshots; 0 takes none but at shutdown.
    pub snapshot_interval_ms: i64,
    /// Bytes of the space kept back on the device.
    pub reserve_bytes: u64,
    /// Memory for the recent ends of all partitions together, in bytes.
    pub tail_bytes: usize,
    /// Bytes that may wait to be written in all partitions together.
    pub pending_bytes: u64,
    /// Sealed segments held open.
    pub open_segments_max: usize,
    /// What every partition gets, but for what its topic settles itself.
    pub partition: PartitionOptions,
    /// What topics get that do not settle it themselves.
    pub topics: TopicDefaults,
    /// Bounds on what is published.
    pub publish: PublishLimits,
    /// Bounds on topics.
    pub limits: MetadataLimits,
    /// Bounds on compaction.
    pub compaction: CompactionLimits,
    /// Bounds on positions that clients keep.
    pub positions: PositionLimits,
    /// What groups of Kafka's classic protocol may do.
    pub classic_groups: ClassicOptions,
}

/// What topics get that do not settle it themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicDefaults {
    /// Partitions.
    pub partitions: u32,
    /// The largest message, in bytes: the most that a topic's own setting may allow.
    pub message_bytes_max: u32,
}

impl BrokerOptions {
    /// How much a topic keeps, where its cleanup policy lets it give anything up.
    pub(super) fn retention(&self, settings: &TopicSettings) -> RetentionPolicy {
        let default = self.partition.retention;
        let age = settings.retention_ms.map(|own| (own >= 0).then_some(own));
        let bytes = settings.retention_bytes.map(|own| u64::try_from(own).ok());
        RetentionPolicy { age_ms_max: age.unwrap_or(default.age_ms_max), bytes_max: bytes.unwrap_or(default.bytes_max) }
    }

    /// The options of one topic's partitions.
    #[must_use]
    pub fn partition_options(&self, settings: &TopicSettings) -> PartitionOptions {
        let mut options = self.partition;
        let retention = self.retention(settings);
        let age_ms_max = retention.age_ms_max;
        let policy = settings.cleanup_policy.unwrap_or(CleanupPolicy::Delete);
        options.retention = if policy.deletes() { retention } else { RetentionPolicy::default() };
        options.compaction = policy.compacts().then(|| self.compaction_policy(settings));
        options.log.segment_bytes = settings.segment_bytes.unwrap_or(options.log.segment_bytes);
        options.log.segment_bytes = options.log.segment_bytes.min(crate::log::SEGMENT_BYTES_MAX);
        let age_ms = age_ms_max.map_or(SEGMENT_AGE_MS_MAX, |age| (age / 2).min(SEGMENT_AGE_MS_MAX));
        options.log.segment_age_ms = settings.segment_ms.map_or(age_ms, |own| own.min(age_ms));
        options
    }

    /// The largest batch that a client built, in bytes: the topic's own limit, which may be more than the broker's.
    #[must_use]
    pub fn batch_bytes_max(&self, settings: &TopicSettings) -> u32 {
        let most = u32::try_from(crate::log::BATCH_BYTES_MAX).unwrap_or(u32::MAX);
        let default = u32::try_from(self.publish.batch_bytes_max).unwrap_or(most);
        settings.batch_bytes_max.unwrap_or(default).min(most)
    }

    /// How a topic that is compacted is. A record younger than ids are remembered for stays: its id is read back from it.
    pub(super) fn compaction_policy(&self, settings: &TopicSettings) -> CompactionPolicy {
        CompactionPolicy {
            min_lag_ms: settings.min_compaction_lag_ms.unwrap_or(0).max(self.publish.dedup_window_ms),
            delete_retention_ms: settings.delete_retention_ms.unwrap_or(DELETE_RETENTION_MS),
            dirty_percent_min: self.compaction.dirty_percent_min,
        }
    }

    /// The options of a topic's partitions, whoever's it is. Whoever keeps an internal one says later when it syncs.
    pub(crate) fn topic_options(&self, name: &TopicName, settings: &TopicSettings) -> PartitionOptions {
        if name.is_internal() { self.internal_options(SyncPolicy::Always) } else { self.partition_options(settings) }
    }

    /// The same for a topic of the broker's own that is compacted, in segments so small that there is always something to
    /// compact.
    pub(crate) fn compacted(&self, mut options: PartitionOptions) -> PartitionOptions {
        options.log.segment_bytes = options.log.segment_bytes.min(COMPACTED_SEGMENT_BYTES);
        options.compaction =
            Some(CompactionPolicy { min_lag_ms: 0, ..self.compaction_policy(&TopicSettings::default()) });
        options
    }

    /// The options of the partitions the broker keeps for itself: nothing is ever given up.
    pub(crate) fn internal_options(&self, sync: SyncPolicy) -> PartitionOptions {
        let mut options = self.partition;
        options.retention = RetentionPolicy::default();
        options.compaction = None;
        options.sync = sync;
        options.inline_write_bytes_max = 0;
        options.is_internal = true;
        options.log.segment_age_ms = SEGMENT_AGE_MS_MAX;
        options.log.segment_bytes = options.log.segment_bytes.min(INTERNAL_SEGMENT_BYTES);
        options
    }
}
