//! Topics as METADATA replies describe them: JSON. What a later version adds is passed over.

use serde_json::Value;

use super::error::ClientError;
use super::topics::{
    ClockSkew, EffectiveSettings, PartitionDescription, PartitionStatus, TopicDescription, TopicSettings, TopicSummary,
};
use crate::types::{CleanupPolicy, Offset, PartitionIndex, Timestamp, TimestampType};

/// The topics of one page.
pub(super) fn topics(body: &[u8]) -> Result<Vec<TopicSummary>, ClientError> {
    let reply = parse(body)?;
    list(&reply, "topics")?
        .iter()
        .map(|topic| {
            Ok(TopicSummary {
                topic: text(topic, "topic")?,
                topic_id: text(topic, "topic_id")?,
                partitions: number(topic, "partitions")?,
            })
        })
        .collect()
}

/// One topic.
pub(super) fn description(body: &[u8]) -> Result<TopicDescription, ClientError> {
    let reply = parse(body)?;
    let effective = reply.get("effective").unwrap_or(&Value::Null);
    let own = settings(reply.get("settings").unwrap_or(&Value::Null));
    let in_force = settings(effective);
    Ok(TopicDescription {
        topic: text(&reply, "topic")?,
        topic_id: text(&reply, "topic_id")?,
        created_at: Timestamp::from_millis(number(&reply, "created_at_ms")?),
        partitions: list(&reply, "partitions")?.iter().map(partition).collect::<Result<_, _>>()?,
        settings: own,
        effective: EffectiveSettings {
            retention_ms: in_force.retention_ms.unwrap_or(-1),
            retention_bytes: in_force.retention_bytes.unwrap_or(-1),
            max_message_size: in_force.max_message_size,
            cleanup_policy: in_force.cleanup_policy,
            segment_bytes: in_force.segment_bytes,
            min_compaction_lag_ms: in_force.min_compaction_lag_ms,
            delete_retention_ms: in_force.delete_retention_ms,
            max_batch_size: in_force.max_batch_size,
            segment_ms: in_force.segment_ms,
            timestamp_type: in_force.timestamp_type,
        },
        clock_skew: reply.get("clock_skew").and_then(clock_skew),
    })
}

fn clock_skew(value: &Value) -> Option<ClockSkew> {
    let number = |name: &str| value.get(name).and_then(Value::as_i64);
    Some(ClockSkew {
        last_ms: number("last_ms")?,
        min_ms: number("min_ms")?,
        max_ms: number("max_ms")?,
        too_far_ahead: value.get("too_far_ahead").and_then(Value::as_u64).unwrap_or(0),
    })
}

fn partition(value: &Value) -> Result<PartitionDescription, ClientError> {
    let offset = |name: &str| value.get(name).and_then(Value::as_u64).and_then(Offset::new);
    Ok(PartitionDescription {
        partition: PartitionIndex(number(value, "partition")?),
        status: match text(value, "status")?.as_str() {
            "online" => PartitionStatus::Online,
            "offline" => PartitionStatus::Offline,
            "failed" => PartitionStatus::Failed,
            "follower" => PartitionStatus::Follower,
            other => PartitionStatus::Other(other.to_owned()),
        },
        reason: value.get("reason").and_then(Value::as_str).map(str::to_owned),
        leader_epoch: value.get("leader_epoch").and_then(Value::as_i64),
        log_start: offset("log_start"),
        high_watermark: offset("high_watermark"),
        log_end: offset("log_end"),
        bytes: value.get("bytes").and_then(Value::as_u64),
    })
}

fn settings(value: &Value) -> TopicSettings {
    let policy = value.get("cleanup_policy").and_then(Value::as_str);
    let batch = value.get("max_batch_size").and_then(Value::as_u64);
    let kind = value.get("timestamp_type").and_then(Value::as_str);
    TopicSettings {
        retention_ms: value.get("retention_ms").and_then(Value::as_i64),
        retention_bytes: value.get("retention_bytes").and_then(Value::as_i64),
        max_message_size: value.get("max_message_size").and_then(Value::as_u64),
        cleanup_policy: policy.and_then(CleanupPolicy::from_name),
        segment_bytes: value.get("segment_bytes").and_then(Value::as_u64),
        min_compaction_lag_ms: value.get("min_compaction_lag_ms").and_then(Value::as_i64),
        delete_retention_ms: value.get("delete_retention_ms").and_then(Value::as_i64),
        max_batch_size: batch.and_then(|bytes| u32::try_from(bytes).ok()),
        segment_ms: value.get("segment_ms").and_then(Value::as_i64),
        timestamp_type: kind.and_then(TimestampType::from_name),
    }
}

/// What a body holds.
pub(super) fn parse(body: &[u8]) -> Result<Value, ClientError> {
    serde_json::from_slice(body).map_err(|error| ClientError::Protocol(format!("no JSON: {error}")))
}

/// A member that is a list.
pub(super) fn list<'a>(value: &'a Value, name: &str) -> Result<&'a [Value], ClientError> {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).ok_or_else(|| lacking(name))
}

/// A member that is text.
pub(super) fn text(value: &Value, name: &str) -> Result<String, ClientError> {
    value.get(name).and_then(Value::as_str).map(str::to_owned).ok_or_else(|| lacking(name))
}

/// A member that is a number.
pub(super) fn number<T: TryFrom<i64>>(value: &Value, name: &str) -> Result<T, ClientError> {
    let number = value.get(name).and_then(Value::as_i64);
    number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| lacking(name))
}

fn lacking(name: &str) -> ClientError {
    ClientError::Protocol(format!("a description without a usable '{name}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_and_a_topic() {
        let page = br#"{"topics":[{"topic":"a","topic_id":"x","partitions":3,"later":[]}]}"#;
        let expected = TopicSummary { topic: "a".to_owned(), topic_id: "x".to_owned(), partitions: 3 };
        assert_eq!(topics(page).expect("read"), [expected]);
        let topic = br#"{"topic":"a","topic_id":"x","created_at_ms":7,
            "partitions":[{"partition":0,"status":"failed","reason":"disk","leader_epoch":2,"log_start":1,
                "high_watermark":5,"log_end":6,"bytes":99}],
            "settings":{"retention_ms":-1,"cleanup_policy":"compact,delete"},
            "effective":{"retention_ms":-1,"retention_bytes":8,"max_message_size":9,"cleanup_policy":"delete"},
            "clock_skew":{"last_ms":-3,"min_ms":-9,"max_ms":2,"later":1}}"#;
        let topic = description(topic).expect("read");
        assert_eq!(topic.created_at.millis(), 7);
        assert_eq!(topic.settings.cleanup_policy, Some(CleanupPolicy::CompactAndDelete));
        assert_eq!((topic.effective.retention_ms, topic.effective.retention_bytes), (-1, 8));
        let skew = ClockSkew { last_ms: -3, min_ms: -9, max_ms: 2, too_far_ahead: 0 };
        assert_eq!(topic.clock_skew, Some(skew));
        assert_eq!(topic.partitions[0].status, PartitionStatus::Failed);
        assert_eq!(topic.partitions[0].log_end.map(Offset::get), Some(6));
    }

    #[test]
    fn what_is_no_description_is_told() {
        for bad in ["", "[]", "{}", r#"{"topics":[{"topic":1}]}"#, r#"{"topics":[{"topic":"a","topic_id":"b"}]}"#] {
            assert!(topics(bad.as_bytes()).is_err(), "{bad}");
            assert!(description(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
