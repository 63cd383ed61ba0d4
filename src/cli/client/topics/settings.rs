//! A topic's settings as the command line writes and shows them.

use serde_json::{Map, Value, json};

use crate::client::{Change, CleanupPolicy, EffectiveSettings, TimestampType, TopicSettings};

const HOUR_MS: i64 = 3_600_000;

/// What a value of the command line is to be where the broker's default is to hold again.
const DEFAULT: &str = "default";

/// Hours as milliseconds; 0 is for ever, which is -1.
pub(super) fn hours_to_ms(hours: u32) -> i64 {
    if hours == 0 { -1 } else { i64::from(hours) * HOUR_MS }
}

pub(super) fn policy(text: &str) -> Result<CleanupPolicy, String> {
    CleanupPolicy::from_name(text).ok_or_else(|| "one of delete, compact, and compact,delete".to_owned())
}

pub(super) fn policy_change(text: &str) -> Result<Change<CleanupPolicy>, String> {
    change(text, |text| policy(text).ok(), "delete, compact, or compact,delete")
}

pub(super) fn retention_change(text: &str) -> Result<Change<i64>, String> {
    change(text, |text| text.parse().ok().map(hours_to_ms), "a whole number of hours, 0 for ever")
}

pub(super) fn retention_bytes_change(text: &str) -> Result<Change<i64>, String> {
    change(text, |text| text.parse().ok().filter(|&bytes| bytes >= -1), "a number of bytes, -1 for all")
}

pub(super) fn millis_change(text: &str) -> Result<Change<i64>, String> {
    change(text, |text| text.parse().ok().filter(|&ms| ms >= 0), "a number of milliseconds")
}

/// How old a segment may become.
pub(super) fn age_change(text: &str) -> Result<Change<i64>, String> {
    change(text, |text| text.parse().ok().filter(|&ms| ms >= 1), "a number of milliseconds from 1")
}

/// How large a batch may be.
pub(super) fn batch_change(text: &str) -> Result<Change<u32>, String> {
    change(text, |text| text.parse().ok().filter(|&bytes| bytes >= 1), "a number of bytes from 1")
}

pub(super) fn timestamp_type(text: &str) -> Result<TimestampType, String> {
    TimestampType::from_name(text).ok_or_else(|| "one of CreateTime and LogAppendTime".to_owned())
}

pub(super) fn timestamp_type_change(text: &str) -> Result<Change<TimestampType>, String> {
    change(text, TimestampType::from_name, "CreateTime or LogAppendTime")
}

pub(super) fn bytes_change(text: &str) -> Result<Change<u64>, String> {
    change(text, |text| text.parse().ok(), "a number of bytes")
}

fn change<T>(text: &str, parse: impl FnOnce(&str) -> Option<T>, wanted: &str) -> Result<Change<T>, String> {
    if text == DEFAULT {
        return Ok(Change::Reset);
    }
    parse(text).map(Change::Set).ok_or_else(|| format!("give {wanted}, or '{DEFAULT}' for the broker's default"))
}

/// The settings in force: name, value for people, and whether the value is the topic's own.
pub(super) fn rows(own: &TopicSettings, effective: &EffectiveSettings) -> [(&'static str, String, bool); 10] {
    let bytes = |bytes: Option<u64>| bytes.map_or_else(|| "unknown".to_owned(), size);
    let wait = |ms: Option<i64>| ms.map_or_else(|| "unknown".to_owned(), age);
    let policy = effective.cleanup_policy.map_or("unknown", CleanupPolicy::as_str);
    let kind = effective.timestamp_type.map_or("unknown", TimestampType::as_str);
    let retained = u64::try_from(effective.retention_bytes).map_or_else(|_| "all".to_owned(), size);
    [
        ("retention", age(effective.retention_ms), own.retention_ms.is_some()),
        ("retention-bytes", retained, own.retention_bytes.is_some()),
        ("max-message-size", bytes(effective.max_message_size), own.max_message_size.is_some()),
        ("cleanup-policy", policy.to_owned(), own.cleanup_policy.is_some()),
        ("segment-bytes", bytes(effective.segment_bytes), own.segment_bytes.is_some()),
        ("min-compaction-lag", wait(effective.min_compaction_lag_ms), own.min_compaction_lag_ms.is_some()),
        ("delete-retention", wait(effective.delete_retention_ms), own.delete_retention_ms.is_some()),
        ("max-batch-size", bytes(effective.max_batch_size.map(u64::from)), own.max_batch_size.is_some()),
        ("segment-age", wait(effective.segment_ms), own.segment_ms.is_some()),
        ("timestamp-type", kind.to_owned(), own.timestamp_type.is_some()),
    ]
}

/// The settings as JSON: own ones that were given, and those in force.
pub(super) fn to_json(own: &TopicSettings, effective: &EffectiveSettings) -> (Value, Value) {
    let pairs = [
        ("retention_ms", own.retention_ms.map(Value::from)),
        ("retention_bytes", own.retention_bytes.map(Value::from)),
        ("max_message_size", own.max_message_size.map(Value::from)),
        ("cleanup_policy", own.cleanup_policy.map(|policy| policy.as_str().into())),
        ("segment_bytes", own.segment_bytes.map(Value::from)),
        ("min_compaction_lag_ms", own.min_compaction_lag_ms.map(Value::from)),
        ("delete_retention_ms", own.delete_retention_ms.map(Value::from)),
        ("max_batch_size", own.max_batch_size.map(Value::from)),
        ("segment_ms", own.segment_ms.map(Value::from)),
        ("timestamp_type", own.timestamp_type.map(|kind| kind.as_str().into())),
    ];
    let given = pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let effective = json!({
        "retention_ms": effective.retention_ms,
        "retention_bytes": effective.retention_bytes,
        "max_message_size": effective.max_message_size,
        "cleanup_policy": effective.cleanup_policy.map(CleanupPolicy::as_str),
        "segment_bytes": effective.segment_bytes,
        "min_compaction_lag_ms": effective.min_compaction_lag_ms,
        "delete_retention_ms": effective.delete_retention_ms,
        "max_batch_size": effective.max_batch_size,
        "segment_ms": effective.segment_ms,
        "timestamp_type": effective.timestamp_type.map(TimestampType::as_str),
    });
    (Value::Object(given.collect::<Map<_, _>>()), effective)
}

fn age(ms: i64) -> String {
    match ms {
        ..0 => "for ever".to_owned(),
        _ if ms % HOUR_MS == 0 => format!("{} h", ms / HOUR_MS),
        _ if ms % 1_000 == 0 => format!("{} s", ms / 1_000),
        _ => format!("{ms} ms"),
    }
}

/// Bytes, with a larger unit where that loses nothing.
fn size(bytes: u64) -> String {
    for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if bytes >> shift > 0 && bytes.trailing_zeros() >= shift {
            return format!("{} {unit}", bytes >> shift);
        }
    }
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_defaults() {
        assert_eq!(retention_change("24"), Ok(Change::Set(86_400_000)));
        assert_eq!(retention_change("0"), Ok(Change::Set(-1)));
        assert_eq!(retention_change("default"), Ok(Change::Reset));
        assert_eq!(retention_bytes_change("-1"), Ok(Change::Set(-1)));
        assert_eq!(policy_change("compact,delete"), Ok(Change::Set(CleanupPolicy::CompactAndDelete)));
        assert_eq!(bytes_change("1"), Ok(Change::Set(1)));
        assert_eq!(batch_change("1"), Ok(Change::Set(1)));
        assert_eq!(age_change("default"), Ok(Change::Reset));
        assert_eq!(timestamp_type_change("LogAppendTime"), Ok(Change::Set(TimestampType::LogAppendTime)));
        for bad in [
            retention_change("-1").err(),
            retention_change("1.5").err(),
            retention_bytes_change("-2").err(),
            policy_change("keep").err(),
            bytes_change("").err(),
            millis_change("-1").err(),
            age_change("0").err(),
            batch_change("0").err(),
            timestamp_type_change("mine").err(),
        ] {
            assert!(bad.as_deref().is_some_and(|text| text.contains("'default'")), "{bad:?}");
        }
    }

    #[test]
    fn shown_for_people() {
        let check = |shown: String, expected: &str| assert_eq!(shown, expected);
        check(age(-1), "for ever");
        check(age(0), "0 h");
        check(age(7 * 24 * HOUR_MS), "168 h");
        check(age(90_000), "90 s");
        check(age(1), "1 ms");
        check(size(0), "0 bytes");
        check(size(1000), "1000 bytes");
        check(size(100 << 20), "100 MiB");
        check(size(3 << 30), "3 GiB");
        check(size(1536), "1536 bytes");
    }
}
