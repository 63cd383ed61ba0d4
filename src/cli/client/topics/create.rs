//! `wiber-client create-topic`, which is `wiber-client topics create` too.

use std::io::Write;

use clap::Args;
use serde_json::json;

use super::settings::{hours_to_ms, policy, timestamp_type};
use crate::cli::client::Context;
use crate::cli::client::failure::Failure;
use crate::cli::client::output;
use crate::client::{CleanupPolicy, TimestampType, TopicSettings};

/// Create a topic
///
/// Creating one that exists with the same number of partitions is no error.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wiber-client create-topic orders --partitions 3 --retention 72
  wiber-client topics create readings --retention 0 --retention-bytes 10000000000")]
pub(in crate::cli::client) struct Create {
    /// Its name: 1 to 249 of a-z A-Z 0-9 . _ -
    topic: String,
    /// Number of partitions [default: the broker's topics.default_partitions]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    partitions: Option<u32>,
    /// Hours its records are kept, 0 for ever [default: the broker's topics.retention_hours]
    #[arg(long, value_name = "HOURS")]
    retention: Option<u32>,
    /// Bytes each partition keeps, -1 for all [default: the broker's]
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(-1..))]
    retention_bytes: Option<i64>,
    /// Largest message in bytes [default: the broker's topics.max_message_size]
    #[arg(long, value_name = "BYTES")]
    max_message_size: Option<u64>,
    /// What becomes of old records: delete, compact, or compact,delete [default: delete]
    #[arg(long, value_name = "POLICY", value_parser = policy)]
    cleanup_policy: Option<CleanupPolicy>,
    /// Bytes at which a new segment file is begun [default: the broker's storage.max_log_size]
    #[arg(long, value_name = "BYTES")]
    segment_bytes: Option<u64>,
    /// Milliseconds that compaction leaves a record alone at least [default: 0]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(i64).range(0..))]
    min_compaction_lag_ms: Option<i64>,
    /// Milliseconds that a record without a value stays once compaction has found it [default: a day]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(i64).range(0..))]
    delete_retention_ms: Option<i64>,
    /// Largest batch that a client may build, in bytes [default: the broker's topics.max_batch_size]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..))]
    max_batch_size: Option<u32>,
    /// Milliseconds after which a new segment file is begun [default: the broker's]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(i64).range(1..))]
    segment_ms: Option<i64>,
    /// Whose time records bear: CreateTime, their producer's, or LogAppendTime, the broker's [default: CreateTime]
    #[arg(long, value_name = "TYPE", value_parser = timestamp_type)]
    timestamp_type: Option<TimestampType>,
}

impl Create {
    pub(in crate::cli::client) async fn run(self, context: &Context, out: &mut dyn Write) -> Result<(), Failure> {
        let client = context.connect().await?;
        let topic = &self.topic;
        let settings = TopicSettings {
            retention_ms: None,
            retention_bytes: self.retention_bytes,
            max_message_size: self.max_message_size,
            cleanup_policy: self.cleanup_policy,
            segment_bytes: self.segment_bytes,
            min_compaction_lag_ms: self.min_compaction_lag_ms,
            delete_retention_ms: self.delete_retention_ms,
            max_batch_size: self.max_batch_size,
            segment_ms: self.segment_ms,
            timestamp_type: self.timestamp_type,
        };
        let created = if settings == TopicSettings::default() {
            client.create_topic(topic, self.partitions, self.retention).await
        } else {
            let settings = TopicSettings { retention_ms: self.retention.map(hours_to_ms), ..settings };
            client.create_topic_with(topic, self.partitions, &settings).await
        };
        let partitions =
            created.map_err(|source| Failure::Request { doing: format!("create topic '{topic}'"), source })?;
        let text = format!("Created topic '{topic}' with {partitions} partitions");
        output::print(out, context.output, &text, &json!({ "topic": topic, "partitions": partitions }))
    }
}
