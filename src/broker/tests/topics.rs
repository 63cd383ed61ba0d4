//! Creating, finding and deleting topics.

use super::*;
use crate::disk::faulty::{OpKind, Rule};
use crate::types::partition_for_key;

#[test]
fn a_topic_is_there_once_the_reply_came() {
    let rig = Rig::new();
    rig.begin_create("events", 2, 10);
    assert!(rig.take_replies().is_empty() && rig.topics().is_empty(), "not durable yet");
    rig.settle();
    assert_eq!(rig.reply_of_one(), "create: events with 2");
    assert_eq!(rig.topics(), ["events"]);
    rig.publish("events", 1, "hello");
    assert_eq!((rig.values("events", 0), rig.values("events", 1)), (vec![], vec!["hello".to_owned()]));
    let missing = rig.broker.partition(&name("events"), PartitionIndex(2)).unwrap_err();
    assert_eq!(missing.to_string(), "topic 'events' has partitions 0 to 1, not 2");
    let unknown = rig.broker.partition(&name("other"), PartitionIndex(0)).unwrap_err();
    assert_eq!(unknown.to_string(), "topic 'other' does not exist");
}

#[test]
fn creating_what_is_there() {
    let rig = Rig::new();
    rig.create("events", 2, 10);
    let points = rig.disk.points();
    assert_eq!(rig.create("events", 2, 11), "create: events with 2");
    assert_eq!(rig.disk.points(), points, "nothing was touched");
    assert_eq!(rig.create("events", 3, 12), "create: topic 'events' exists with 2 partitions");
    rig.broker.create_topic(
        &name("default"),
        None,
        TopicSettings::default(),
        TopicId::new(Uuid::from_u128(20)),
        at(0),
        rig.reply("create"),
    );
    rig.settle();
    assert_eq!(rig.reply_of_one(), "create: default with 3");
}

/// Whoever asks for a topic by its id does not mean the one that bears its name by now.
#[test]
fn a_topic_of_another_id_is_not_deleted() {
    let rig = Rig::new();
    rig.create("events", 1, 10);
    let delete = |id| {
        let id = TopicId::new(Uuid::from_u128(id));
        rig.broker.delete_topic_of_id(&name("events"), id, at(0), rig.reply("delete"));
        rig.settle();
        rig.reply_of_one()
    };
    assert!(delete(9).starts_with("delete: topic 'events' has the id "));
    assert_eq!(rig.topics(), ["events"]);
    assert_eq!(delete(10), "delete: events with 1");
    assert!(rig.topics().is_empty());
    assert_eq!(delete(10), "delete: topic 'events' does not exist");
}

#[test]
fn what_cannot_be_created_leaves_nothing() {
    let rig = Rig::new();
    for (topic, partitions, expected) in [
        ("__offsets", 1, "create: topic '__offsets': names that begin with '__' are the broker's own"),
        ("none", 0, "create: a topic has 1 to 8 partitions, not 0"),
        ("many", 9, "create: a topic has 1 to 8 partitions, not 9"),
    ] {
        assert_eq!(rig.create(topic, partitions, 5), expected);
    }
    assert_eq!(rig.delete("none"), "delete: topic 'none' does not exist");
    assert_eq!(rig.data_dirs(), ["__meta_p0"]);
    for number in 0..10 {
        rig.create(&format!("t{number}"), 1, 100 + number);
    }
    assert_eq!(rig.create("t10", 1, 200), "create: the limit of 10 topics is reached");
    assert_eq!(rig.data_dirs().len(), 11);
}

#[test]
fn of_two_at_once_one_is_told_to_try_again() {
    let rig = Rig::new();
    rig.begin_create("events", 2, 10);
    rig.begin_create("events", 2, 11);
    assert_eq!(rig.reply_of_one(), "create: topic 'events' is being changed; try again");
    rig.begin_create("other", 1, 12);
    rig.settle();
    assert_eq!(rig.take_replies(), ["create: events with 2", "create: other with 1"]);
    rig.broker.delete_topic(&name("events"), at(0), rig.reply("delete"));
    rig.broker.delete_topic(&name("events"), at(0), rig.reply("again"));
    rig.begin_create("events", 3, 13);
    rig.settle();
    let busy = "topic 'events' is being changed; try again";
    let deleted = "delete: events with 2".to_owned();
    assert_eq!(rig.take_replies(), [format!("again: {busy}"), format!("create: {busy}"), deleted]);
    assert_eq!(rig.create("events", 3, 14), "create: events with 3");
    assert_eq!(rig.broker.topic(&name("events")).unwrap().topic().id, TopicId::new(Uuid::from_u128(14)));
}

#[test]
fn deleting_and_creating_anew_shows_nothing_of_the_old() {
    let rig = Rig::new();
    for round in 0..4_u32 {
        assert_eq!(
            rig.create("events", 1 + round, u128::from(10 + round)),
            format!("create: events with {}", 1 + round)
        );
        assert!(rig.values("events", 0).is_empty());
        for text in ["a", "b", "c"] {
            rig.publish("events", 0, text);
        }
        let old = rig.partition("events", 0);
        assert_eq!(rig.delete("events"), format!("delete: events with {}", 1 + round));
        assert!(rig.topics().is_empty());
        assert_eq!(rig.data_dirs(), [".deleted", "__meta_p0"]);
        assert!(rig.disk.paths().iter().all(|path| !path.to_string_lossy().contains("events")));
        let refused = old.append(produced("late"), AckLevel::None, None, at(0)).unwrap_err();
        assert!(refused.to_string().contains("topic 'events' was deleted"), "{refused}");
    }
    assert!(open(&rig.disk.kill()).topics().is_empty());
}

#[test]
fn keys_stay_where_they_are_and_others_take_turns() {
    let rig = Rig::new();
    rig.create("events", 3, 10);
    let topic = rig.broker.topic(&name("events")).unwrap();
    let turns: Vec<u32> = (0..9).map(|_| topic.choose_partition(None).0).collect();
    assert_eq!(turns, [0, 1, 2, 0, 1, 2, 0, 1, 2]);
    for key in [b"foobar".as_slice(), b"abc", b""] {
        assert_eq!(topic.choose_partition(Some(key)), partition_for_key(key, 3));
    }
    assert_eq!(topic.choose_partition(Some(b"abc")), PartitionIndex(479_470_107 % 3), "as Kafka's clients choose it");
    assert_eq!(topic.choose_partition(None), PartitionIndex(0), "keys take no turn");
}

/// What a topic's own settings make of the defaults.
fn check_settings(settings: TopicSettings, age_ms_max: Option<i64>, bytes_max: Option<u64>, segment: (u64, i64)) {
    let mut defaults = options();
    defaults.partition.retention = RetentionPolicy { age_ms_max: Some(4_000), bytes_max: Some(9_000) };
    let made = defaults.partition_options(&settings);
    assert_eq!(made.retention, RetentionPolicy { age_ms_max, bytes_max }, "{settings:?}");
    assert_eq!((made.log.segment_bytes, made.log.segment_age_ms), segment, "{settings:?}");
}

#[test]
fn settings_of_a_topic_go_before_the_defaults() {
    let none = TopicSettings::default;
    let week = 7 * 24 * 3_600_000;
    check_settings(none(), Some(4_000), Some(9_000), (1_000, 2_000));
    check_settings(TopicSettings { retention_ms: Some(100), ..none() }, Some(100), Some(9_000), (1_000, 50));
    check_settings(TopicSettings { retention_ms: Some(-1), ..none() }, None, Some(9_000), (1_000, week));
    check_settings(
        TopicSettings { retention_ms: Some(week * 10), ..none() },
        Some(week * 10),
        Some(9_000),
        (1_000, week),
    );
    check_settings(TopicSettings { retention_bytes: Some(-1), ..none() }, Some(4_000), None, (1_000, 2_000));
    check_settings(TopicSettings { retention_bytes: Some(0), ..none() }, Some(4_000), Some(0), (1_000, 2_000));
    check_settings(TopicSettings { segment_bytes: Some(5), ..none() }, Some(4_000), Some(9_000), (5, 2_000));
    check_settings(TopicSettings { segment_ms: Some(7), ..none() }, Some(4_000), Some(9_000), (1_000, 7));
    check_settings(TopicSettings { segment_ms: Some(9_999), ..none() }, Some(4_000), Some(9_000), (1_000, 2_000));
    let huge = TopicSettings { segment_bytes: Some(u64::MAX), ..none() };
    check_settings(huge, Some(4_000), Some(9_000), (crate::log::SEGMENT_BYTES_MAX, 2_000));
}

#[test]
fn records_go_when_their_retention_is_over() {
    let rig = Rig::new();
    let settings = TopicSettings { retention_ms: Some(1_000), ..TopicSettings::default() };
    let id = TopicId::new(Uuid::from_u128(10));
    rig.broker.create_topic(&name("short"), Some(1), settings, id, at(0), rig.reply("create"));
    rig.settle();
    assert_eq!(rig.reply_of_one(), "create: short with 1");
    rig.create("long", 1, 11);
    rig.publish("short", 0, "a");
    rig.publish("long", 0, "a");
    for millis in [500, 2_000] {
        rig.broker.step(at(millis));
        let held = std::mem::take(&mut *rig.queue.0.lock());
        held.into_iter().for_each(|(partition, work)| partition.run(work, at(millis)));
    }
    assert_eq!(rig.partition("short", 0).offsets().log_start(), Offset::new(1).unwrap());
    assert_eq!(rig.values("long", 0), ["a"]);
}

/// Whether a command whose sync failed is in the log nobody knows. The directories of the topic it creates were removed
/// all the same; where the command had survived, the next start found a topic without them, for ever offline.
#[test]
fn an_uncertain_creation_keeps_its_directories_for_the_next_start() {
    let rig = Rig::new();
    rig.disk.inject(Rule::failing(OpKind::Sync).on("__meta_p0/00000000000000000000.log"));
    let reply = rig.create("events", 2, 10);
    assert!(reply.contains("sync of /data/__meta_p0/00000000000000000000.log failed"), "{reply}");
    assert!(rig.topics().is_empty());
    let reply = rig.create("events", 2, 11);
    assert!(reply.contains("failed"), "{reply}");
    let killed = open(&rig.disk.fork());
    assert_eq!(killed.topics(), ["events"], "what was written is there after a mere kill");
    killed.publish("events", 1, "b");
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let again = open(&rig.disk.power_cut(seed));
        let topics = again.topics();
        if topics.is_empty() {
            assert!(again.data_dirs().iter().all(|dir| !dir.starts_with("events")), "leftovers go");
        } else {
            again.publish("events", 0, "a");
            again.publish("events", 1, "b");
        }
        outcomes.insert(topics);
    }
    assert!(outcomes.contains(&vec![]), "{outcomes:?}");
}
