//! Every setting with values that it takes and values that it does not.

use super::super::table::TOPIC_KEYS;
use super::*;

fn check(name: &str, value: &str, expected: &str) {
    let key = TopicKey::of(name).unwrap();
    match key.check(value, true) {
        Ok(kept) => assert_eq!(kept, expected, "{name}={value}"),
        Err(invalid) => assert!(invalid.to_string().ends_with(expected), "{name}={value}: {invalid}"),
    }
}

#[test]
fn the_table_is_in_order_and_takes_its_own_defaults() {
    assert!(TOPIC_KEYS.is_sorted_by(|a, b| a.name < b.name));
    for key in TOPIC_KEYS {
        assert_eq!(key.check(key.default, true).as_deref(), Ok(key.default), "{}", key.name);
        assert_eq!(key.check(key.default, false).as_deref(), Ok(key.default), "{}", key.name);
        assert!(key.doc.ends_with('.') && TopicKey::of(key.name) == Some(key), "{}", key.name);
    }
    assert_eq!(TopicKey::of("message.format.version"), None);
}

#[test]
fn values() {
    check("retention.ms", " 60000 ", "60000");
    check("retention.ms", "-1", "-1");
    check("retention.ms", "-2", "Invalid value -2 for configuration retention.ms: Value must be at least -1");
    check("retention.ms", "1h", "Invalid value 1h for configuration retention.ms: Not a number of type LONG");
    check("retention.ms", "", "Not a number of type LONG");
    check("retention.bytes", "9223372036854775807", "9223372036854775807");
    check("retention.bytes", "9223372036854775808", "Not a number of type LONG");
    check("segment.bytes", "2147483647", "2147483647");
    check("segment.bytes", "2147483648", "Not a number of type INT");
    check("segment.bytes", "13", "Value must be at least 14");
    check("segment.ms", "0", "Value must be at least 1");
    check("max.message.bytes", "67108864", "67108864");
    check("max.message.bytes", "67108865", "Value must be no more than 67108864");
    check("cleanup.policy", "compact", "compact");
    check("cleanup.policy", "compact, delete,compact", "compact,delete");
    check("cleanup.policy", "delete,compact", "delete,compact");
    check("cleanup.policy", "keep", "one or more of compact, delete are possible, with commas between them");
    check("cleanup.policy", "", "one or more of compact, delete are possible, with commas between them");
    check("message.timestamp.type", "LogAppendTime", "LogAppendTime");
    check("message.timestamp.type", "logappendtime", "String must be one of: CreateTime, LogAppendTime");
    check("compression.type", "zstd", "zstd");
    check("compression.type", "none", "String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer");
    check("preallocate", "TRUE", "true");
    check("preallocate", "1", "Expected value to be either true or false");
    check("min.cleanable.dirty.ratio", "0.01", "0.01");
    check("min.cleanable.dirty.ratio", "1.01", "Value must be between 0 and 1");
    check("min.cleanable.dirty.ratio", "half", "Not a number of type DOUBLE");
    check("leader.replication.throttled.replicas", "*", "*");
    check("leader.replication.throttled.replicas", "0:1,1:1", "0:1,1:1");
    check("leader.replication.throttled.replicas", "0-1", "[partitionId]:[brokerId]");
    check("min.insync.replicas", "1", "1");
    check("min.insync.replicas", "2", "only 1 is possible here, because a partition has one replica");
    check("remote.storage.enable", "true", "only false is possible here, because there is no remote storage");
}

/// A flush that is asked for and not done would lose what was promised.
#[test]
fn a_flush_is_taken_where_everything_is_synced() {
    let key = TopicKey::of("flush.messages").unwrap();
    assert_eq!(key.check("1", true).as_deref(), Ok("1"));
    let refused = key.check("1", false).unwrap_err().to_string();
    assert!(refused.ends_with("because the broker's storage.sync decides when records are synced"), "{refused}");
}
