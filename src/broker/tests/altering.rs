//! Changing topics: settings at once and after a restart, more partitions, and what happens where it goes wrong.

use super::*;
use crate::broker::metadata::SettingsChange;
use crate::disk::faulty::{OpKind, Rule};
use crate::types::CleanupPolicy;

impl Rig {
    fn begin_alter(&self, topic: &str, change: TopicChange) {
        self.broker.alter_topic(&name(topic), change, at(0), self.reply("alter"));
    }

    fn alter(&self, topic: &str, change: TopicChange) -> String {
        self.begin_alter(topic, change);
        self.settle();
        self.reply_of_one()
    }
}

fn grown_to(count: u32) -> TopicChange {
    TopicChange { partitions: Some(count), ..TopicChange::default() }
}

fn retention_bytes(own: Option<i64>) -> TopicChange {
    let settings = SettingsChange { retention_bytes: Some(own), ..SettingsChange::default() };
    TopicChange { settings, ..TopicChange::default() }
}

#[test]
fn partitions_are_added_once_that_is_durable() {
    let rig = Rig::new();
    rig.create("events", 2, 10);
    rig.publish("events", 1, "before");
    let handle = rig.broker.topic(&name("events")).unwrap();
    let turns = [handle.choose_partition(None).0, handle.choose_partition(None).0, handle.choose_partition(None).0];
    assert_eq!(turns, [0, 1, 0]);
    rig.begin_alter("events", grown_to(4));
    assert!(rig.broker.partition(&name("events"), PartitionIndex(2)).is_err(), "not durable yet");
    rig.settle();
    assert_eq!(rig.reply_of_one(), "alter: events with 4");
    rig.publish("events", 3, "new");
    let handle = rig.broker.topic(&name("events")).unwrap();
    assert_eq!(handle.choose_partition(None).0, 3, "turns go on");
    for again in [&rig, &open(&rig.disk.kill()), &open(&rig.disk.power_cut(1))] {
        assert_eq!(again.values("events", 1), ["before"]);
        assert_eq!(again.values("events", 3), ["new"]);
        assert!(again.values("events", 2).is_empty());
        assert_eq!(again.broker.topic(&name("events")).unwrap().partitions_count(), 4);
    }
}

#[test]
fn what_cannot_be_altered_is_refused_and_leaves_nothing() {
    let rig = Rig::new();
    rig.create("events", 3, 10);
    let check = |topic: &str, change: TopicChange, expected: &str| {
        let dirs = rig.data_dirs();
        assert_eq!(rig.alter(topic, change), format!("alter: {expected}"));
        assert_eq!(rig.data_dirs(), dirs);
    };
    check("none", grown_to(2), "topic 'none' does not exist");
    check("__meta", grown_to(2), "topic '__meta': names that begin with '__' are the broker's own");
    check("events", grown_to(2), "topic 'events' has 3 partitions: it can get more, not 2");
    check("events", grown_to(0), "topic 'events' has 3 partitions: it can get more, not 0");
    check("events", grown_to(9), "a topic has 1 to 8 partitions, not 9");
    check("events", retention_bytes(Some(-2)), "retention_bytes must be -1 (no limit) or more, not -2");
    let points = rig.disk.points();
    check("events", grown_to(3), "events with 3");
    check("events", retention_bytes(None), "events with 3");
    check("events", TopicChange::default(), "events with 3");
    assert_eq!(rig.disk.points(), points, "what is so already touches nothing");
    rig.begin_alter("events", grown_to(4));
    rig.begin_alter("events", grown_to(5));
    assert_eq!(rig.reply_of_one(), "alter: topic 'events' is being changed; try again");
    rig.settle();
    assert_eq!(rig.reply_of_one(), "alter: events with 4");
}

#[test]
fn settings_are_in_force_at_once_and_after_a_restart() {
    let rig = Rig::new();
    rig.create("events", 1, 10);
    for number in 0..60 {
        rig.publish("events", 0, &format!("record {number}, long enough to fill segments soon"));
    }
    let upkeep = |rig: &Rig, millis: i64| {
        rig.broker.step(at(millis));
        rig.settle();
        rig.partition("events", 0).offsets().log_start().get()
    };
    assert_eq!(upkeep(&rig, 1), 0);
    let settings = SettingsChange {
        retention_bytes: Some(Some(2_000)),
        segment_bytes: Some(Some(500)),
        cleanup_policy: Some(Some(CleanupPolicy::CompactAndDelete)),
        message_bytes_max: Some(Some(77)),
        ..SettingsChange::default()
    };
    assert_eq!(rig.alter("events", TopicChange { settings, partitions: Some(2) }), "alter: events with 2");
    let start = upkeep(&rig, 2);
    assert!(start > 0, "retention goes by the new settings");
    let third = open(&rig.disk.fork());
    for again in [open(&rig.disk.kill()), open(&rig.disk.power_cut(3))] {
        for index in [0, 1] {
            let before = again.partition("events", index).log().state().file.segments.len();
            (0..10).for_each(|_| again.publish("events", index, "fifty bytes of a record or a little more than that"));
            let segments = again.partition("events", index).log().state().file.segments.len();
            assert!(segments >= before + 2, "segments of the new size: {before} then {segments}");
        }
        let effective = again.broker.describe_topic(&name("events")).unwrap().effective;
        assert_eq!((effective.retention_bytes, effective.retention_ms), (2_000, -1));
        assert_eq!((effective.segment_bytes, effective.message_bytes_max), (500, 77));
        assert_eq!(effective.cleanup_policy, CleanupPolicy::CompactAndDelete);
    }
    let rig = third;
    assert_eq!(rig.alter("events", retention_bytes(None)), "alter: events with 2");
    let description = rig.broker.describe_topic(&name("events")).unwrap();
    assert_eq!(description.effective.retention_bytes, -1, "the broker's default again");
    assert_eq!(description.topic.settings.segment_bytes, Some(500), "what is not named stays");
    (0..60).for_each(|_| rig.publish("events", 0, "records that are not given up any more"));
    assert_eq!(upkeep(&rig, 3), start);
}

#[test]
fn a_topic_is_described() {
    let rig = Rig::new();
    rig.create("events", 2, 10);
    rig.broker.ensure_internal_topic(&name("__own"), own(2), at(0)).unwrap();
    (0..30).for_each(|_| rig.publish("events", 1, "a record that takes up some room in a segment"));
    let TopicDescription { topic, partitions, effective } = rig.broker.describe_topic(&name("events")).unwrap();
    assert_eq!((topic.name.as_str(), topic.partitions, topic.created_at), ("events", 2, at(0)));
    assert_eq!((effective.retention_ms, effective.segment_bytes, effective.message_bytes_max), (-1, 1_000, 1 << 20));
    assert_eq!(effective.cleanup_policy, CleanupPolicy::Delete);
    let [empty, full] = &partitions[..] else { panic!("{partitions:?}") };
    assert_eq!((empty.partition, &empty.status, empty.bytes), (PartitionIndex(0), &DescribedStatus::Online, Some(0)));
    assert_eq!(full.offsets.unwrap().high_watermark(), Offset::new(30).unwrap());
    let on_disk = rig.disk.paths().into_iter().filter(|path| path.to_string_lossy().contains("events_p1/0"));
    let on_disk = on_disk.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    let on_disk: u64 = on_disk.map(|path| rig.disk.read_all(path).unwrap().len() as u64).sum();
    assert_eq!(full.bytes, Some(on_disk));
    assert!(rig.broker.describe_topic(&name("other")).is_err());
    assert_eq!(rig.topics(), ["events"], "the broker's own topic is there by its name alone");
    assert_eq!(rig.broker.describe_topic(&name("__own")).unwrap().partitions.len(), 2);

    let disk = rig.disk.kill();
    disk.write_all("/data/events_p0/partition.json", b"damaged").unwrap();
    let again = open(&disk);
    let described = again.broker.describe_topic(&name("events")).unwrap().partitions;
    assert!(matches!(&described[0].status, DescribedStatus::Offline(reason) if reason.contains("partition.json")));
    assert_eq!((described[0].offsets, described[0].bytes), (None, None));
    assert_eq!(described[1].bytes, Some(on_disk));
    assert_eq!(again.alter("events", grown_to(3)), "alter: events with 3", "beside one that is offline");
    again.publish("events", 2, "x");
}

fn own(partitions: u32) -> InternalTopic {
    InternalTopic { partitions, sync: SyncPolicy::Os, is_compacted: false }
}

#[test]
fn a_topic_of_the_brokers_own() {
    let rig = Rig::new();
    let wanted = InternalTopic { partitions: 16, sync: SyncPolicy::Interval { millis: 1_000 }, is_compacted: false };
    let made = rig.broker.ensure_internal_topic(&name("__offsets"), wanted, at(0)).unwrap();
    assert_eq!(made.partitions_count(), 16, "more than a user's topic may have here");
    rig.settle();
    let partition = made.partition(PartitionIndex(15)).unwrap();
    partition.append(produced("a"), AckLevel::Leader, None, at(0)).unwrap();
    rig.settle();
    let offsets = partition.offsets();
    assert_eq!((offsets.high_watermark().get(), offsets.durable().get()), (1, 0), "written is enough there");
    rig.broker.step(at(1_000));
    rig.settle();
    assert_eq!(partition.offsets().durable().get(), 1);

    let points = rig.disk.points();
    let again = rig.broker.ensure_internal_topic(&name("__offsets"), wanted, at(0)).unwrap();
    assert_eq!((again.partitions_count(), rig.disk.points()), (16, points), "it is there already");
    for disk in [rig.disk.kill(), rig.disk.power_cut(4)] {
        let again = open(&disk);
        let points = disk.points();
        let there = again.broker.ensure_internal_topic(&name("__offsets"), own(3), at(0)).unwrap();
        assert_eq!((there.partitions_count(), disk.points()), (16, points), "it keeps its partitions");
        assert_eq!(values(&there.partition(PartitionIndex(15)).unwrap()), ["a"]);
        assert_eq!(there.topic().id, made.topic().id);
        let refused = "topic '__offsets': names that begin with '__' are the broker's own";
        assert_eq!(again.create("__offsets", 16, 5), format!("create: {refused}"));
        assert_eq!(again.delete("__offsets"), format!("delete: {refused}"));
        assert_eq!(again.alter("__offsets", grown_to(20)), format!("alter: {refused}"));
        assert_eq!(again.broker.user_topic(&name("__offsets")).unwrap_err().to_string(), refused);
        assert!(again.topics().is_empty());
    }
}

/// Wherever the power goes while a topic is altered: it is the old one or the new one, whole, and what was answered holds.
#[test]
fn a_power_cut_at_every_step_of_altering() {
    for point in 0..60 {
        let rig = Rig::new();
        rig.create("events", 1, 10);
        rig.publish("events", 0, "kept");
        rig.disk.cut_within(rig.disk.points() + point, point);
        let first = rig.alter("events", TopicChange { partitions: Some(3), ..retention_bytes(Some(5_000)) });
        let second = rig.alter("events", grown_to(5));
        for seed in 0..6 {
            let again = open(&rig.disk.power_cut(seed));
            let context = format!("point {point}, seed {seed}: {first}, {second}");
            let description = again.broker.describe_topic(&name("events")).unwrap();
            let count = description.topic.partitions;
            let own = description.topic.settings.retention_bytes;
            assert!(matches!((count, own), (1, None) | (3 | 5, Some(5_000))), "{context}: {count} {own:?}");
            assert!(!first.ends_with("with 3") || count >= 3, "{context}");
            assert!(!second.ends_with("with 5") || count == 5, "{context}");
            assert_eq!(again.values("events", 0), ["kept"], "{context}");
            (0..count).for_each(|index| again.publish("events", index, "works"));
            let dirs = again.data_dirs().into_iter().filter(|dir| dir.starts_with("events")).count();
            assert_eq!(dirs, count as usize, "{context}: what was prepared in vain is gone");
            assert_eq!(again.alter("events", grown_to(6)), "alter: events with 6", "{context}");
        }
    }
}

#[test]
fn on_a_full_device_the_new_partitions_are_taken_back() {
    let mut refused = 0;
    for spare in (0..2_500_u64).step_by(120) {
        let rig = Rig::new();
        rig.create("events", 1, 10);
        rig.broker.step(at(0));
        rig.disk.set_capacity(Some(rig.disk.used_bytes() + spare));
        let reply = rig.alter("events", grown_to(4));
        if reply != "alter: events with 4" {
            refused += 1;
            assert_eq!(reply, "alter: the device is full; try again once there is room", "{spare} to spare");
            assert_eq!(rig.broker.topic(&name("events")).unwrap().partitions_count(), 1);
            assert!(!rig.data_dirs().contains(&"events_p1".to_owned()));
            rig.disk.set_capacity(None);
            rig.broker.step(at(5_000));
            rig.settle();
            assert_eq!(rig.alter("events", grown_to(4)), "alter: events with 4");
        }
        rig.disk.set_capacity(None);
        rig.broker.step(at(20_000));
        rig.settle();
        rig.publish("events", 3, "x");
    }
    assert!(refused > 3, "{refused}");
}

#[test]
fn an_uncertain_change_keeps_its_directories_for_the_next_start() {
    let rig = Rig::new();
    rig.create("events", 1, 10);
    rig.disk.inject(Rule::failing(OpKind::Sync).on("__meta_p0/00000000000000000000.log"));
    let reply = rig.alter("events", grown_to(2));
    assert!(reply.contains("failed"), "{reply}");
    assert_eq!(rig.broker.topic(&name("events")).unwrap().partitions_count(), 1);
    let killed = open(&rig.disk.fork());
    killed.publish("events", 1, "what was written is there after a mere kill");
}
