//! What requests make of a topic's settings, told as the settings that are its own afterwards.

use super::super::topic::configs_of;
use super::*;
use crate::broker::tests::options;

/// The settings that are a topic's own, as Kafka names them.
fn own(settings: &TopicSettings) -> String {
    let configs = configs_of(&options(), settings);
    let own = configs.iter().filter(|config| config.own.is_some());
    own.map(|config| format!("{}={}", config.name(), config.value())).collect::<Vec<_>>().join(" ")
}

fn created(configs: &[(&str, Option<&str>)]) -> Result<TopicSettings, Refused> {
    settings_of_new_topic(&options(), configs.iter().copied())
}

fn check(outcome: Result<TopicSettings, Refused>, expected: &str) {
    match outcome {
        Ok(settings) => assert_eq!(own(&settings), expected),
        Err(refused) => assert_eq!(format!("{:?}: {}", refused.error, refused.message), expected),
    }
}

#[test]
fn every_setting_of_a_new_topic_is_shown_as_it_was_given() {
    let values = [
        ("cleanup.policy", "compact,delete"),
        ("compression.type", "zstd"),
        ("delete.retention.ms", "1"),
        ("flush.messages", "1"),
        ("max.message.bytes", "2000"),
        ("message.timestamp.type", "LogAppendTime"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("min.compaction.lag.ms", "2"),
        ("preallocate", "true"),
        ("retention.bytes", "3"),
        ("retention.ms", "4"),
        ("segment.bytes", "5000"),
        ("segment.ms", "6"),
    ];
    let given: Vec<_> = values.iter().map(|(name, value)| (*name, Some(*value))).collect();
    let settings = created(&given).unwrap();
    let expected: Vec<_> = values.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(own(&settings), expected.join(" "));
    assert_eq!((settings.batch_bytes_max, settings.segment_ms), (Some(2_000), Some(6)));
    assert_eq!(settings.timestamp_type, Some(crate::types::TimestampType::LogAppendTime));
}

#[test]
fn what_a_new_topic_is_refused() {
    let null = "InvalidConfig: Null value not supported for topic configs: retention.ms";
    check(created(&[("retention.ms", None)]), null);
    check(created(&[("retention.hours", Some("1"))]), "InvalidConfig: Unknown topic config name: retention.hours");
    let least = "InvalidConfig: Invalid value -2 for configuration retention.ms: Value must be at least -1";
    check(created(&[("retention.ms", Some("-2"))]), least);
    check(created(&[]), "");
}

#[test]
fn defaults_are_those_of_the_broker_and_of_kafka() {
    let configs = configs_of(&options(), &TopicSettings { retention_ms: Some(1_000), ..TopicSettings::default() });
    let value = |name| configs.iter().find(|config| config.name() == name).unwrap().value();
    assert_eq!((value("segment.bytes"), value("segment.ms")), ("1000", "500"));
    assert_eq!((value("retention.ms"), value("retention.bytes")), ("1000", "-1"));
    assert_eq!((value("min.insync.replicas"), value("max.message.bytes")), ("1", "1048588"));
    assert_eq!((value("cleanup.policy"), value("message.timestamp.type")), ("delete", "CreateTime"));
}

/// What is not named goes back to its default, but for what Kafka has no name for.
#[test]
fn a_replacement_is_the_whole_truth() {
    let mut before = created(&[("retention.ms", Some("1")), ("preallocate", Some("true"))]).unwrap();
    before.message_bytes_max = Some(7);
    let replace = |configs: &[(&str, Option<&str>)]| {
        replacement(&options(), configs.iter().copied()).map(|change| change.apply_to(&before))
    };
    check(replace(&[("segment.ms", Some("9"))]), "segment.ms=9");
    assert_eq!(replace(&[]).unwrap().message_bytes_max, Some(7));
    check(replace(&[("segment.ms", None)]), "InvalidRequest: Null value not supported for : segment.ms");
    let twice = [("segment.ms", Some("9")), ("segment.ms", Some("9"))];
    check(replace(&twice), "InvalidRequest: Error due to duplicate config keys");
}

#[test]
fn increments_build_on_what_is_there() {
    let [set, delete, append, subtract] = [0, 1, 2, 3];
    let before = created(&[("cleanup.policy", Some("compact")), ("preallocate", Some("true"))]).unwrap();
    let check = |configs: &[(&str, i8, Option<&str>)], expected: &str| {
        let change = increments(&options(), &before, configs.iter().copied());
        check(change.map(|change| change.apply_to(&before)), expected);
    };
    check(&[("retention.ms", set, Some("5"))], "cleanup.policy=compact preallocate=true retention.ms=5");
    check(&[("preallocate", delete, None), ("retention.ms", delete, Some("x"))], "cleanup.policy=compact");
    check(&[("cleanup.policy", append, Some("delete"))], "cleanup.policy=compact,delete preallocate=true");
    check(&[("cleanup.policy", append, Some("compact"))], "cleanup.policy=compact preallocate=true");
    check(
        &[("cleanup.policy", subtract, Some("compact"))],
        "InvalidConfig: Invalid value  for configuration cleanup.policy: one or more of compact, delete are possible, \
         with commas between them",
    );
    let throttled = "leader.replication.throttled.replicas";
    check(
        &[(throttled, append, Some("0:1"))],
        "cleanup.policy=compact leader.replication.throttled.replicas=0:1 preallocate=true",
    );
    let no_list = "InvalidConfig: Can't APPEND to key retention.ms because its type is not LIST.";
    check(&[("retention.ms", append, Some("1"))], no_list);
    check(&[("retention.ms", set, None)], "InvalidRequest: Null value not supported for : retention.ms");
    check(&[("retention.ms", 4, Some("1"))], "InvalidRequest: Unknown operation type 4");
    check(&[("nothing", delete, None)], "InvalidConfig: Unknown topic config name: nothing");
    check(&[("a", set, Some("")), ("a", delete, None)], "InvalidRequest: Error due to duplicate config keys");
}
