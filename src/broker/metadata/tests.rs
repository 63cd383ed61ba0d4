//! Transcripts of checks and applications, golden bytes, and every truncation of them.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::types::{CleanupPolicy, Timestamp, TimestampType};

const LIMITS: MetadataLimits = MetadataLimits { topics_max: 2, partitions_max: 8 };

fn id(n: u128) -> TopicId {
    TopicId::new(Uuid::from_u128(n))
}

fn name(name: &str) -> TopicName {
    TopicName::new(name).expect("a legal name")
}

fn create(topic: &str, n: u128, partitions: u32) -> Command {
    Command::CreateTopic(CreateTopic {
        topic: name(topic),
        topic_id: id(n),
        partitions,
        created_at: Timestamp::from_millis(5),
        settings: TopicSettings::default(),
    })
}

fn delete(topic: &str, n: u128) -> Command {
    Command::DeleteTopic(DeleteTopic { topic: name(topic), topic_id: id(n) })
}

fn alter(topic: &str, n: u128, retention_ms: Option<i64>) -> Command {
    Command::AlterTopic(AlterTopic {
        topic: name(topic),
        topic_id: id(n),
        settings: TopicSettings { retention_ms, ..TopicSettings::default() },
        partitions: None,
    })
}

/// Checks and applies each command in turn; compares the answer of the check, then what applying did: `+` created,
/// `-` deleted, `~` altered, `.` nothing.
fn check(steps: &[(Command, &str, &str)]) {
    let mut metadata = Metadata::new(LIMITS);
    for (command, checked, applied) in steps {
        let answer = match metadata.check(command) {
            Ok(Outcome::Apply) => "apply".to_owned(),
            Ok(Outcome::AlreadyDone) => "done".to_owned(),
            Err(error) => error.to_string(),
        };
        assert_eq!(&answer, checked, "{command:?}");
        let before = metadata.to_snapshot();
        let effect = match metadata.apply(command) {
            Effect::Created { topic } => format!("+{topic}"),
            Effect::Deleted { topic } => format!("-{}", topic.name),
            Effect::Altered { topic } => format!("~{topic}"),
            Effect::ProducerIds { from, to } => format!("{from}..{to}"),
            Effect::Ignored { .. } => {
                assert_eq!(metadata.to_snapshot(), before, "{command:?}");
                ".".to_owned()
            }
        };
        assert_eq!(&effect, applied, "{command:?}");
        agree(&metadata);
    }
}

/// Both maps hold the same topics, and a snapshot holds them all.
fn agree(metadata: &Metadata) {
    assert_eq!(metadata.topics().len(), metadata.names.len());
    for topic in metadata.topics() {
        assert_eq!(metadata.topic(&topic.name), Some(topic));
        assert_eq!(metadata.topic_by_id(topic.id), Some(topic));
    }
    let json = serde_json::to_string(&metadata.to_snapshot()).expect("serializes");
    let snapshot = serde_json::from_str(&json).expect("deserializes");
    let again = Metadata::from_snapshot(LIMITS, snapshot).expect("sound");
    assert_eq!(again.topics, metadata.topics);
    assert_eq!(again.names, metadata.names);
    assert_eq!(again.next_producer_id, metadata.next_producer_id);
}

#[test]
fn creating_and_deleting() {
    let no_b = "topic 'b' does not exist";
    let a_is_1 = "topic 'a' has the id 00000000-0000-0000-0000-000000000001, not \
                  00000000-0000-0000-0000-000000000009";
    check(&[
        (create("a", 1, 2), "apply", "+a"),
        (create("a", 9, 2), "done", "."),
        (create("a", 9, 3), "topic 'a' exists with 2 partitions", "."),
        (create("b", 1, 1), "topic id 00000000-0000-0000-0000-000000000001 belongs to topic 'a'", "."),
        (delete("b", 2), no_b, "."),
        (delete("a", 9), a_is_1, "."),
        (alter("a", 9, None), a_is_1, "."),
        (delete("a", 1), "apply", "-a"),
        (delete("a", 1), "topic 'a' does not exist", "."),
        (create("a", 3, 8), "apply", "+a"),
    ]);
}

/// Limits bind what is asked for, not what was decided: applying goes on beyond them.
#[test]
fn limits() {
    let full = "the limit of 2 topics is reached";
    check(&[
        (create("__offsets", 100, 8), "apply", "+__offsets"),
        (create("a", 1, 1), "apply", "+a"),
        (create("b", 2, 1), "apply", "+b"),
        (create("c", 3, 1), full, "+c"),
        (create("__queue", 101, 1), "apply", "+__queue"),
        (create("b", 4, 1), "done", "."),
        (delete("b", 2), "apply", "-b"),
        (create("d", 5, 1), full, "+d"),
        (delete("c", 3), "apply", "-c"),
        (delete("d", 5), "apply", "-d"),
        (create("e", 6, 9), "a topic has 1 to 8 partitions, not 9", "+e"),
        (create("f", 7, 0), "a topic has 1 to 8 partitions, not 0", "."),
    ]);
}

#[test]
fn altering() {
    check(&[
        (create("a", 1, 1), "apply", "+a"),
        (alter("a", 1, None), "done", "~a"),
        (alter("a", 1, Some(60_000)), "apply", "~a"),
        (alter("a", 1, Some(60_000)), "done", "~a"),
        (alter("a", 1, Some(-1)), "apply", "~a"),
        (alter("a", 1, Some(-2)), "retention_ms must be -1 (no limit) or more, not -2", "~a"),
        (alter("b", 1, None), "topic 'b' does not exist", "."),
    ]);
}

fn grow(topic: &str, n: u128, partitions: u32) -> Command {
    let (topic, topic_id, settings) = (name(topic), id(n), TopicSettings::default());
    Command::AlterTopic(AlterTopic { topic, topic_id, settings, partitions: Some(partitions) })
}

#[test]
fn growing() {
    check(&[
        (create("a", 1, 3), "apply", "+a"),
        (grow("a", 1, 3), "done", "~a"),
        (grow("a", 1, 2), "topic 'a' has 3 partitions: it can get more, not 2", "."),
        (grow("a", 1, 0), "topic 'a' has 3 partitions: it can get more, not 0", "."),
        (grow("a", 1, 9), "a topic has 1 to 8 partitions, not 9", "~a"),
        (grow("a", 1, 9), "done", "~a"),
        (alter("a", 1, Some(5)), "apply", "~a"),
        (grow("b", 1, 4), "topic 'b' does not exist", "."),
        (create("a", 7, 9), "done", "."),
    ]);
}

fn allocate(next: i64) -> Command {
    Command::AllocateProducerIds(AllocateProducerIds { next })
}

#[test]
fn reserving_producer_ids() {
    check(&[
        (allocate(1_000), "apply", "0..1000"),
        (allocate(1_000), "producer ids up to 1000 are given out; 1000 is no end of a new block", "."),
        (allocate(-5), "producer ids up to 1000 are given out; -5 is no end of a new block", "."),
        (create("a", 1, 3), "apply", "+a"),
        (allocate(1_001), "apply", "1000..1001"),
    ]);
    let old = serde_json::from_str(r#"{"topics":[]}"#).expect("a snapshot from before there were ids");
    assert_eq!(Metadata::from_snapshot(LIMITS, old).expect("sound").next_producer_id(), 0);
}

#[test]
fn settings() {
    let check = |settings: TopicSettings, ok: bool| {
        assert_eq!(settings.check().is_ok(), ok, "{settings:?}");
    };
    let none = TopicSettings::default;
    check(none(), true);
    check(TopicSettings { retention_bytes: Some(-1), ..none() }, true);
    check(TopicSettings { retention_bytes: Some(-2), ..none() }, false);
    check(TopicSettings { message_bytes_max: Some(1), ..none() }, true);
    check(TopicSettings { message_bytes_max: Some(0), ..none() }, false);
    check(TopicSettings { segment_bytes: Some(1), ..none() }, true);
    check(TopicSettings { segment_bytes: Some(0), ..none() }, false);
    check(
        TopicSettings { batch_bytes_max: Some(1), timestamp_type: Some(TimestampType::LogAppendTime), ..none() },
        true,
    );
    check(TopicSettings { batch_bytes_max: Some(0), ..none() }, false);
    check(TopicSettings { segment_ms: Some(1), ..none() }, true);
    check(TopicSettings { segment_ms: Some(0), ..none() }, false);
    check(TopicSettings { timestamp_after_max_ms: Some(-1), ..none() }, false);
    check(TopicSettings { timestamp_before_max_ms: Some(-1), ..none() }, false);
}

#[test]
fn a_snapshot_that_contradicts_itself() {
    let topic = |topic: &str, n, partitions| Topic {
        name: name(topic),
        id: id(n),
        partitions,
        created_at: Timestamp::NONE,
        settings: TopicSettings::default(),
    };
    let check = |topics: Vec<Topic>, ok: bool| {
        let read = Metadata::from_snapshot(LIMITS, MetadataSnapshot { topics, next_producer_id: 0 });
        assert_eq!(read.is_ok(), ok, "{read:?}");
    };
    check(vec![topic("a", 1, 9), topic("b", 2, 1), topic("c", 3, 1)], true);
    check(vec![topic("a", 1, 1), topic("a", 2, 1)], false);
    check(vec![topic("a", 1, 1), topic("b", 1, 1)], false);
    check(vec![topic("a", 1, 0)], false);
}

const CREATE: &str = r#"{"type":"create_topic","version":1,"topic":"events","topic_id":"00000000-0000-0000-0000-00000000002a","partitions":2,"created_at_ms":1700000000000,"settings":{"retention_ms":3600000,"retention_bytes":-1,"message_bytes_max":1048576,"cleanup_policy":"compact,delete","segment_bytes":104857600,"min_compaction_lag_ms":60000,"delete_retention_ms":0,"batch_bytes_max":1048588,"timestamp_type":"LogAppendTime","timestamp_after_max_ms":3600000,"timestamp_before_max_ms":0,"segment_ms":1000,"noted":{"preallocate":"true"}}}"#;
const DELETE: &str =
    r#"{"type":"delete_topic","version":1,"topic":"events","topic_id":"00000000-0000-0000-0000-00000000002a"}"#;
const ALTER: &str = r#"{"type":"alter_topic","version":1,"topic":"events","topic_id":"00000000-0000-0000-0000-00000000002a","settings":{"cleanup_policy":"compact"}}"#;
const GROW: &str = r#"{"type":"alter_topic","version":1,"topic":"events","topic_id":"00000000-0000-0000-0000-00000000002a","settings":{},"partitions":4}"#;
const ALLOCATE: &str = r#"{"type":"allocate_producer_ids","version":1,"next":1000}"#;

#[test]
fn golden_bytes() {
    let mut noted = NotedChange::default();
    noted.set("preallocate", Some("true"));
    let settings = TopicSettings {
        retention_ms: Some(3_600_000),
        retention_bytes: Some(-1),
        message_bytes_max: Some(1 << 20),
        cleanup_policy: Some(CleanupPolicy::CompactAndDelete),
        segment_bytes: Some(100 << 20),
        min_compaction_lag_ms: Some(60_000),
        delete_retention_ms: Some(0),
        batch_bytes_max: Some(1_048_588),
        timestamp_type: Some(TimestampType::LogAppendTime),
        timestamp_after_max_ms: Some(3_600_000),
        timestamp_before_max_ms: Some(0),
        segment_ms: Some(1_000),
        noted: noted.apply_to(&NotedSettings::default()),
    };
    let create = Command::CreateTopic(CreateTopic {
        topic: name("events"),
        topic_id: id(42),
        partitions: 2,
        created_at: Timestamp::from_millis(1_700_000_000_000),
        settings,
    });
    let alter = Command::AlterTopic(AlterTopic {
        topic: name("events"),
        topic_id: id(42),
        settings: TopicSettings { cleanup_policy: Some(CleanupPolicy::Compact), ..TopicSettings::default() },
        partitions: None,
    });
    let commands = [
        (create, CREATE),
        (delete("events", 42), DELETE),
        (alter, ALTER),
        (grow("events", 42, 4), GROW),
        (allocate(1_000), ALLOCATE),
    ];
    for (command, golden) in commands {
        let bytes = command.encode();
        assert_eq!(String::from_utf8(bytes).expect("text"), golden);
        assert_eq!(Command::decode(golden.as_bytes()).expect("decodes"), command);
        for end in 0..golden.len() {
            let cut = Command::decode(&golden.as_bytes()[..end]);
            assert!(matches!(cut, Err(DecodeError::Malformed(_))), "{end}: {cut:?}");
        }
    }
}

#[test]
fn what_is_no_command() {
    let check = |from: &str, to: &str, expected: &str| {
        let json = CREATE.replacen(from, to, 1);
        assert_ne!(json, CREATE, "{from}");
        let error = Command::decode(json.as_bytes()).expect_err(&json);
        assert!(error.to_string().contains(expected), "{to}: {error}");
    };
    check("create_topic", "merge_topics", "unknown type \"merge_topics\"");
    check("\"version\":1", "\"version\":2", "version 2: this broker knows up to 1");
    check("\"version\":1", "\"version\":\"1\"", "malformed");
    check("\"version\":1,", "", "missing field `version`");
    check("\"type\":\"create_topic\",", "", "missing field `type`");
    check("\"events\"", "\"../events\"", "invalid topic name");
    check("\"partitions\":2,", "", "missing field `partitions`");
    check("\"partitions\":2", "\"partitions\":-1", "malformed");
    check("\"partitions\":2", "\"partitions\":2,\"replicas\":3", "unknown field `replicas`");
    check("\"segment_bytes\"", "\"segment_pages\"", "unknown field `segment_pages`");
    check("compact,delete", "delete,compact", "unknown variant");
    check("00000000002a\"", "00000000002\"", "malformed");
}

fn any_command() -> impl Strategy<Value = Command> {
    let topic = || prop::sample::select(vec!["a", "b", "c", "__d"]);
    prop_oneof![
        (topic(), 0..6_u128, 0..4_u32).prop_map(|(topic, n, count)| create(topic, n, count)),
        (topic(), 0..6_u128).prop_map(|(topic, n)| delete(topic, n)),
        (topic(), 0..6_u128, prop::option::of(0..3_i64)).prop_map(|(topic, n, retention_ms)| alter(
            topic,
            n,
            retention_ms
        )),
        (topic(), 0..6_u128, 0..4_u32).prop_map(|(topic, n, count)| grow(topic, n, count)),
        (0..5_000_i64).prop_map(allocate),
    ]
}

proptest! {
    /// However the log is cut into a snapshot and the rest, applying it ends the same, whatever the limits; and a
    /// command that passes the check is never ignored.
    #[test]
    fn applying_is_deterministic(commands in prop::collection::vec(any_command(), 0..40), cut in 0..40_usize) {
        let mut whole = Metadata::new(LIMITS);
        let mut parts = Metadata::new(MetadataLimits { topics_max: 0, partitions_max: 0 });
        for (at, command) in commands.iter().enumerate() {
            if at == cut {
                parts = Metadata::from_snapshot(parts.limits, parts.to_snapshot()).expect("sound");
            }
            let decoded = Command::decode(&command.encode()).expect("decodes");
            let checked = whole.check(command);
            let effect = whole.apply(command);
            if checked == Ok(Outcome::Apply) {
                prop_assert!(!matches!(&effect, Effect::Ignored { .. }), "{effect:?}");
            }
            let other = parts.apply(&decoded);
            if !matches!(&effect, Effect::Ignored { .. }) {
                prop_assert_eq!(effect, other);
            }
            prop_assert_eq!(whole.to_snapshot(), parts.to_snapshot());
            agree(&whole);
        }
    }
}
