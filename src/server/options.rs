//! The configuration, divided among the layers: each gets its own options and sees nothing else.

use std::time::Duration;

use super::config::{Config, SyncMode};
use crate::broker::groups::classic::ClassicOptions;
use crate::broker::metadata::MetadataLimits;
use crate::broker::positions::PositionLimits;
use crate::broker::publish::PublishLimits;
use crate::broker::{BrokerOptions, CompactionLimits, TopicDefaults};
use crate::listener::kafka::KafkaOptions;
use crate::listener::lines::LinesOptions;
use crate::listener::native::NativeOptions;
use crate::log::{LogOptions, RetentionPolicy};
use crate::replica::producers::ProducerLimits;
use crate::replica::{PartitionOptions, SyncPolicy};

/// Idempotent producers that a partition remembers.
const PRODUCERS_MAX: usize = 100_000;
/// Bytes kept back on the device for what deleting must write.
const RESERVE_BYTES: u64 = 4 << 20;
const HOUR_MS: i64 = 3_600_000;

/// What the broker is told.
pub(super) fn broker_options(config: &Config) -> BrokerOptions {
    let storage = &config.storage;
    let sync = match storage.sync {
        SyncMode::Always => SyncPolicy::Always,
        SyncMode::Interval => SyncPolicy::Interval { millis: millis(storage.sync_interval) },
        SyncMode::Os => SyncPolicy::Os,
    };
    let age = i64::from(config.topics.retention_hours) * HOUR_MS;
    let retention = RetentionPolicy {
        age_ms_max: (age > 0).then_some(age),
        bytes_max: (storage.retention_bytes > 0).then_some(storage.retention_bytes),
    };
    let expiry_ms = i64::try_from(storage.producer_expiry_hours).unwrap_or(i64::MAX / HOUR_MS) * HOUR_MS;
    let position_expiry_ms = i64::try_from(storage.position_expiry_hours).unwrap_or(i64::MAX / HOUR_MS) * HOUR_MS;
    BrokerOptions {
        data_dir: storage.data_dir.clone(),
        snapshot_dir: storage.snapshot_dir.clone(),
        snapshots_kept: storage.snapshots_kept,
        snapshot_interval_ms: millis(storage.snapshot_interval),
        reserve_bytes: RESERVE_BYTES,
        tail_bytes: storage.tail_bytes,
        pending_bytes: storage.pending_bytes as u64,
        open_segments_max: storage.open_segments_max,
        partition: PartitionOptions {
            log: LogOptions {
                segment_bytes: storage.max_log_size,
                zeros_ahead_bytes: storage.preallocate_bytes,
                ..LogOptions::default()
            },
            sync,
            retention,
            unsynced_bytes_max: storage.unsynced_bytes,
            inline_write_bytes_max: storage.inline_write_bytes as u64,
            producers: ProducerLimits { producers_max: PRODUCERS_MAX, expiry_ms },
            compaction: None,
            is_internal: false,
        },
        topics: TopicDefaults {
            partitions: config.topics.default_partitions,
            message_bytes_max: u32::try_from(config.topics.max_message_size).unwrap_or(u32::MAX),
        },
        publish: PublishLimits {
            batch_bytes_max: config.topics.max_batch_size,
            dedup_window_ms: millis(config.topics.dedup_window),
        },
        limits: MetadataLimits { topics_max: config.topics.max_topics, partitions_max: config.topics.max_partitions },
        compaction: CompactionLimits {
            keys_bytes_max: storage.compaction_memory,
            bytes_per_second: storage.compaction_rate,
            dirty_percent_min: storage.compaction_dirty_percent,
        },
        positions: PositionLimits { expiry_ms: position_expiry_ms, ..PositionLimits::default() },
        classic_groups: ClassicOptions::default(),
    }
}

/// What the native listener is told.
pub(super) fn native_options(config: &Config) -> NativeOptions {
    let server = &config.server;
    NativeOptions {
        connections_max: server.max_connections as usize,
        handshake_timeout: server.handshake_timeout,
        heartbeat_interval: server.heartbeat_interval,
        connection_timeout: server.connection_timeout,
        ack_timeout: server.ack_timeout,
        subscribe_grace: Duration::from_millis(server.subscribe_grace_ms),
        incoming_bytes: server.incoming_bytes,
        outgoing_bytes: server.outgoing_bytes,
        message_bytes_max: config.topics.max_message_size,
        auto_create: config.topics.auto_create,
    }
}

/// What the lines listener is told.
pub(super) fn lines_options(config: &Config) -> LinesOptions {
    LinesOptions {
        idle_timeout: config.lines.idle_timeout,
        connection_timeout: config.server.connection_timeout,
        probe_interval: config.server.heartbeat_interval,
        message_bytes_max: config.topics.max_message_size,
    }
}

/// What the Kafka listener is told.
pub(super) fn kafka_options(config: &Config) -> KafkaOptions {
    let kafka = &config.kafka;
    KafkaOptions {
        advertised_host: kafka.advertised_host.clone(),
        advertised_port: Some(kafka.advertised_port).filter(|port| *port > 0),
        auto_create: config.topics.auto_create,
        idle_timeout: kafka.idle_timeout,
        connection_timeout: config.server.connection_timeout,
        probe_interval: config.server.heartbeat_interval,
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
