//! `wiber-client topics describe`: a topic's settings and how its partitions do.

use std::io::{self, Write};

use clap::Args;
use serde_json::{Value, json};

use super::settings;
use crate::cli::client::Context;
use crate::cli::client::failure::Failure;
use crate::cli::client::output::Output;
use crate::cli::client::table::{Align, write_table};
use crate::cli::client::time;
use crate::client::{ClockSkew, Offset, PartitionDescription, TopicDescription};

/// Show a topic's settings and partitions
///
/// Of each partition: whether it takes part ('online'), the first offset kept, the high watermark (what lies below it
/// can be read), the offset of the next record to be written, and its bytes on disk. The clock skew is how far the clocks
/// of those who publish were from the broker's, where somebody did lately: positive where they were ahead.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wiber-client topics describe orders
  wiber-client topics describe orders --output json | jq '.partitions[].high_watermark'")]
pub(super) struct Describe {
    /// The topic
    topic: String,
}

impl Describe {
    pub(super) async fn run(self, context: &Context, out: &mut dyn Write) -> Result<(), Failure> {
        let client = context.connect().await?;
        let described = client.describe_topic(&self.topic).await;
        let description = described
            .map_err(|source| Failure::Request { doing: format!("describe topic '{}'", self.topic), source })?;
        let written = match context.output {
            Output::Text => write_text(out, &description),
            Output::Json => writeln!(out, "{}", to_json(&description)),
        };
        written.map_err(Failure::Output)
    }
}

fn write_text(out: &mut dyn Write, topic: &TopicDescription) -> io::Result<()> {
    writeln!(out, "Topic:      {}", topic.topic)?;
    writeln!(out, "Id:         {}", topic.topic_id)?;
    writeln!(out, "Created:    {}", time::show(topic.created_at))?;
    writeln!(out, "Partitions: {}", topic.partitions.len())?;
    if let Some(ClockSkew { last_ms, min_ms, max_ms, .. }) = topic.clock_skew {
        writeln!(out, "Clock skew: {last_ms} ms; {min_ms} to {max_ms} ms in the last minutes")?;
    }
    writeln!(out)?;
    let columns = [("SETTING", Align::Left), ("VALUE", Align::Left), ("FROM", Align::Left)];
    let rows = settings::rows(&topic.settings, &topic.effective).map(|(name, value, is_own)| {
        let from = if is_own { "topic" } else { "broker" };
        vec![name.to_owned(), value, from.to_owned()]
    });
    write_table(out, &columns, &rows)?;
    writeln!(out)?;
    let columns = [
        ("PARTITION", Align::Right),
        ("STATUS", Align::Left),
        ("EPOCH", Align::Right),
        ("LOG START", Align::Right),
        ("HIGH WATERMARK", Align::Right),
        ("LOG END", Align::Right),
        ("BYTES", Align::Right),
        ("REASON", Align::Left),
    ];
    let has_reasons = topic.partitions.iter().any(|partition| partition.reason.is_some());
    let columns = if has_reasons { &columns[..] } else { &columns[..columns.len() - 1] };
    let rows: Vec<_> = topic.partitions.iter().map(row).collect();
    write_table(out, columns, &rows)
}

fn row(partition: &PartitionDescription) -> Vec<String> {
    let offset = |offset: Option<Offset>| offset.map_or_else(|| "-".to_owned(), |offset| offset.to_string());
    vec![
        partition.partition.to_string(),
        partition.status.as_str().to_owned(),
        partition.leader_epoch.map_or_else(|| "-".to_owned(), |epoch| epoch.to_string()),
        offset(partition.log_start),
        offset(partition.high_watermark),
        offset(partition.log_end),
        partition.bytes.map_or_else(|| "-".to_owned(), |bytes| bytes.to_string()),
        partition.reason.clone().unwrap_or_default(),
    ]
}

fn to_json(topic: &TopicDescription) -> Value {
    let (own, effective) = settings::to_json(&topic.settings, &topic.effective);
    let partitions = topic.partitions.iter().map(|partition| {
        json!({
            "partition": partition.partition.0,
            "status": partition.status.as_str(),
            "reason": partition.reason,
            "leader_epoch": partition.leader_epoch,
            "log_start": partition.log_start.map(Offset::get),
            "high_watermark": partition.high_watermark.map(Offset::get),
            "log_end": partition.log_end.map(Offset::get),
            "bytes": partition.bytes,
        })
    });
    json!({
        "topic": topic.topic,
        "topic_id": topic.topic_id,
        "created_at_ms": topic.created_at.millis(),
        "partitions": partitions.collect::<Vec<Value>>(),
        "settings": own,
        "effective": effective,
        "clock_skew": topic.clock_skew.map(|skew| json!({
            "last_ms": skew.last_ms,
            "min_ms": skew.min_ms,
            "max_ms": skew.max_ms,
            "too_far_ahead": skew.too_far_ahead,
        })),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{CleanupPolicy, EffectiveSettings, PartitionIndex, PartitionStatus, Timestamp, TopicSettings};

    fn sample() -> TopicDescription {
        let partition = |index, status, reason: Option<&str>| PartitionDescription {
            partition: PartitionIndex(index),
            status,
            reason: reason.map(str::to_owned),
            leader_epoch: Some(2),
            log_start: Offset::new(1),
            high_watermark: Offset::new(50),
            log_end: if reason.is_some() { None } else { Offset::new(60) },
            bytes: Some(1_234),
        };
        TopicDescription {
            topic: "orders".to_owned(),
            topic_id: "an-id".to_owned(),
            created_at: Timestamp::from_millis(1_764_547_200_000),
            partitions: vec![
                partition(0, PartitionStatus::Online, None),
                partition(1, PartitionStatus::Failed, Some("the disk failed")),
            ],
            settings: TopicSettings { retention_ms: Some(-1), ..TopicSettings::default() },
            effective: EffectiveSettings {
                retention_ms: -1,
                retention_bytes: -1,
                max_message_size: Some(1 << 20),
                cleanup_policy: Some(CleanupPolicy::Delete),
                segment_bytes: None,
                min_compaction_lag_ms: Some(0),
                delete_retention_ms: Some(86_400_000),
                max_batch_size: Some(1_048_588),
                segment_ms: Some(43_200_000),
                timestamp_type: None,
            },
            clock_skew: Some(ClockSkew { last_ms: -3, min_ms: -9, max_ms: 2, too_far_ahead: 0 }),
        }
    }

    #[test]
    fn a_description_for_people() {
        let mut out = Vec::new();
        write_text(&mut out, &sample()).expect("written");
        let expected = "\
Topic:      orders
Id:         an-id
Created:    2025-12-01T00:00:00Z
Partitions: 2
Clock skew: -3 ms; -9 to 2 ms in the last minutes

SETTING             VALUE          FROM
retention           for ever       topic
retention-bytes     all            broker
max-message-size    1 MiB          broker
cleanup-policy      delete         broker
segment-bytes       unknown        broker
min-compaction-lag  0 h            broker
delete-retention    24 h           broker
max-batch-size      1048588 bytes  broker
segment-age         12 h           broker
timestamp-type      unknown        broker

PARTITION  STATUS  EPOCH  LOG START  HIGH WATERMARK  LOG END  BYTES  REASON
        0  online      2          1              50       60   1234
        1  failed      2          1              50        -   1234  the disk failed
";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn a_description_for_programs() {
        let json = to_json(&sample());
        assert_eq!(json["settings"], json!({ "retention_ms": -1 }));
        assert_eq!(json["effective"]["segment_bytes"], Value::Null);
        assert_eq!(json["clock_skew"]["max_ms"], 2);
        assert_eq!(json["partitions"][1]["reason"], "the disk failed");
        assert_eq!(
            (&json["partitions"][0]["log_end"], &json["created_at_ms"]),
            (&json!(60), &json!(1_764_547_200_000_u64))
        );
    }
}
