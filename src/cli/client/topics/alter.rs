//! `wiber-client topics alter`.

use std::io::Write;

use clap::Args;
use serde_json::json;

use super::settings::{
    age_change, batch_change, bytes_change, millis_change, policy_change, retention_bytes_change, retention_change,
    timestamp_type_change,
};
use crate::cli::client::Context;
use crate::cli::client::failure::Failure;
use crate::cli::client::output;
use crate::client::{Change, CleanupPolicy, TimestampType, TopicAlteration};

/// Change a topic's settings, or give it more partitions
///
/// What is not named stays as it is; 'default' goes back to the broker's default. Partitions can only be added. Records
/// stay where they are, so a key may have its older records in another partition than its newer ones.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wiber-client topics alter orders --partitions 6
  wiber-client topics alter orders --retention 720 --retention-bytes 10000000000
  wiber-client topics alter orders --retention default")]
pub(super) struct Alter {
    /// The topic
    topic: String,
    /// Number of partitions it is to have
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    partitions: Option<u32>,
    /// Hours its records are kept, 0 for ever
    #[arg(long, value_name = "HOURS|default", value_parser = retention_change)]
    retention: Option<Change<i64>>,
    /// Bytes each partition keeps, -1 for all
    #[arg(long, value_name = "BYTES|default", allow_negative_numbers = true, value_parser = retention_bytes_change)]
    retention_bytes: Option<Change<i64>>,
    /// Largest message in bytes
    #[arg(long, value_name = "BYTES|default", value_parser = bytes_change)]
    max_message_size: Option<Change<u64>>,
    /// What becomes of old records: delete, compact, or compact,delete
    #[arg(long, value_name = "POLICY|default", value_parser = policy_change)]
    cleanup_policy: Option<Change<CleanupPolicy>>,
    /// Bytes at which a new segment file is begun
    #[arg(long, value_name = "BYTES|default", value_parser = bytes_change)]
    segment_bytes: Option<Change<u64>>,
    /// Milliseconds that compaction leaves a record alone at least
    #[arg(long, value_name = "MS|default", value_parser = millis_change)]
    min_compaction_lag_ms: Option<Change<i64>>,
    /// Milliseconds that a record without a value stays once compaction has found it
    #[arg(long, value_name = "MS|default", value_parser = millis_change)]
    delete_retention_ms: Option<Change<i64>>,
    /// Largest batch that a client may build, in bytes
    #[arg(long, value_name = "BYTES|default", value_parser = batch_change)]
    max_batch_size: Option<Change<u32>>,
    /// Milliseconds after which a new segment file is begun
    #[arg(long, value_name = "MS|default", value_parser = age_change)]
    segment_ms: Option<Change<i64>>,
    /// Whose time records bear: CreateTime, their producer's, or LogAppendTime, the broker's
    #[arg(long, value_name = "TYPE|default", value_parser = timestamp_type_change)]
    timestamp_type: Option<Change<TimestampType>>,
}

impl Alter {
    pub(super) async fn run(self, context: &Context, out: &mut dyn Write) -> Result<(), Failure> {
        let alteration = TopicAlteration {
            partitions: self.partitions,
            retention_ms: self.retention.unwrap_or_default(),
            retention_bytes: self.retention_bytes.unwrap_or_default(),
            max_message_size: self.max_message_size.unwrap_or_default(),
            cleanup_policy: self.cleanup_policy.unwrap_or_default(),
            segment_bytes: self.segment_bytes.unwrap_or_default(),
            min_compaction_lag_ms: self.min_compaction_lag_ms.unwrap_or_default(),
            delete_retention_ms: self.delete_retention_ms.unwrap_or_default(),
            max_batch_size: self.max_batch_size.unwrap_or_default(),
            segment_ms: self.segment_ms.unwrap_or_default(),
            timestamp_type: self.timestamp_type.unwrap_or_default(),
        };
        let topic = &self.topic;
        if alteration == TopicAlteration::default() {
            return Err(Failure::Usage(format!("topics alter {topic}: nothing to change is named")));
        }
        let client = context.connect().await?;
        let altered = client.alter_topic(topic, &alteration).await;
        let partitions =
            altered.map_err(|source| Failure::Request { doing: format!("alter topic '{topic}'"), source })?;
        let text = format!("Altered topic '{topic}' with {partitions} partitions");
        output::print(out, context.output, &text, &json!({ "topic": topic, "partitions": partitions }))
    }
}
