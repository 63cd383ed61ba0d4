//! Starting again: with and without snapshots, on damaged and on foreign directories.

use super::*;
use crate::log::{DirectoryError, Gap, PartitionFile};

/// A broker with two topics and records in them, all durable.
fn grown() -> Rig {
    let rig = Rig::new();
    rig.create("events", 2, 10);
    rig.create("orders", 1, 11);
    for number in 0..12 {
        rig.publish("events", number % 2, &format!("event {number}"));
        rig.publish("orders", 0, &format!("order {number}"));
    }
    rig
}

fn check_same(found: &Rig, expected: &Rig) {
    assert_eq!(found.topics(), expected.topics());
    for (topic, index) in [("events", 0), ("events", 1), ("orders", 0)] {
        assert_eq!(found.values(topic, index), expected.values(topic, index), "{topic} {index}");
    }
}

fn snapshots(disk: &FaultyDisk) -> Vec<String> {
    let entries = disk.read_dir(&options().snapshot_dir).unwrap_or_default();
    entries.into_iter().map(|entry| entry.name).collect()
}

#[test]
fn without_a_snapshot_everything_is_read() {
    let rig = grown();
    let again = open(&rig.disk.power_cut(3));
    assert!(!again.summary.snapshot_used);
    let walked: u64 =
        again.summary.partitions.iter().map(|opened| opened.result.as_ref().unwrap().batches_walked).sum();
    assert_eq!(walked, 2 + 24);
    check_same(&again, &rig);
    again.publish("orders", 0, "one more");
    assert_eq!(again.values("orders", 0).len(), 13);
}

#[test]
fn with_a_snapshot_only_what_came_after_it_is_read() {
    let rig = grown();
    rig.broker.snapshot_now(at(0)).unwrap();
    let clean = open(&rig.disk.power_cut(3));
    assert!(clean.summary.snapshot_used);
    for opened in &clean.summary.partitions {
        let report = opened.result.as_ref().unwrap();
        assert_eq!((report.checkpoint_used, report.batches_walked), (true, 0), "{}", opened.partition);
    }
    check_same(&clean, &rig);
    clean.publish("events", 1, "after");
    clean.create("third", 1, 12);
    clean.delete("orders");
    let again = open(&clean.disk.power_cut(4));
    assert_eq!(again.topics(), ["events", "third"]);
    assert_eq!(again.values("events", 1).last().unwrap(), "after");
    let walked: u64 =
        again.summary.partitions.iter().map(|opened| opened.result.as_ref().unwrap().batches_walked).sum();
    assert_eq!(walked, 3, "two commands and a record");
}

#[test]
fn a_snapshot_is_written_when_all_it_tells_of_is_durable() {
    let rig = grown();
    rig.broker.step(at(9_999));
    assert!(snapshots(&rig.disk).is_empty());
    let partition = rig.partition("events", 0);
    partition.append(produced("late"), AckLevel::None, None, at(0)).unwrap();
    rig.broker.step(at(10_000));
    assert_eq!(snapshots(&rig.disk).len(), 1, "what is committed is durable");
    rig.settle();
    for round in 2..6 {
        rig.broker.step(at(round * 10_000));
        rig.settle();
        rig.broker.step(at(round * 10_000 + 1_000));
    }
    assert_eq!(snapshots(&rig.disk).len(), 2, "only the last are kept");
    let again = open(&rig.disk.kill());
    assert!(again.summary.snapshot_used);
    check_same(&again, &rig);
}

#[test]
fn in_a_weak_mode_a_snapshot_waits_for_its_syncs() {
    let mut weak = options();
    weak.partition.sync = SyncPolicy::Os;
    let rig = try_open(&FaultyDisk::new(), 1, weak).unwrap();
    rig.create("events", 1, 10);
    rig.partition("events", 0).append(produced("a"), AckLevel::Leader, None, at(0)).unwrap();
    rig.settle();
    rig.broker.step(at(10_000));
    assert!(snapshots(&rig.disk).is_empty());
    rig.broker.step(at(11_000));
    assert!(snapshots(&rig.disk).is_empty());
    rig.settle();
    rig.broker.step(at(12_000));
    assert_eq!(snapshots(&rig.disk).len(), 1);
    let again = open(&rig.disk.power_cut(1));
    assert_eq!((again.summary.snapshot_used, again.values("events", 0)), (true, vec!["a".to_owned()]));
}

#[test]
fn damaged_and_foreign_snapshots_cost_only_time() {
    let rig = grown();
    rig.broker.snapshot_now(at(0)).unwrap();
    let path = options().snapshot_dir.join(&snapshots(&rig.disk)[0]);
    let damaged = rig.disk.fork();
    damaged.flip_bit(&path, 60, 0).unwrap();
    let foreign = rig.disk.fork();
    let other = try_open(&FaultyDisk::new(), 99, options()).unwrap();
    other.broker.snapshot_now(at(0)).unwrap();
    let theirs = options().snapshot_dir.join(&snapshots(&other.disk)[0]);
    foreign.write_all(&path, &other.disk.read_all(theirs).unwrap()).unwrap();
    for (disk, reason) in [(damaged, ""), (foreign, "of another data directory")] {
        let again = open(&disk);
        assert!(!again.summary.snapshot_used);
        let skipped = &again.summary.snapshots_skipped;
        assert!(skipped.len() == 1 && skipped[0].1.contains(reason), "{skipped:?}");
        check_same(&again, &rig);
    }
}

#[test]
fn directories_that_cannot_be_used() {
    let rig = grown();
    let locked = try_open(&rig.disk, 1, options()).unwrap_err();
    assert!(matches!(locked, OpenError::Directory(DirectoryError::Locked { .. })), "{locked}");
    let file = options().data_dir.join("wiber.json");
    for (content, expected) in [
        (r#"{"format_version":2,"directory_id":"00000000-0000-0000-0000-000000000001"}"#, "has format 2"),
        ("{", "cannot be read"),
    ] {
        let disk = rig.disk.fork();
        disk.write_all(&file, content.as_bytes()).unwrap();
        let error = try_open(&disk, 1, options()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let lost = rig.disk.fork();
    lost.remove_dir_all(&options().data_dir.join("__meta_p0")).unwrap();
    let error = try_open(&lost, 1, options()).unwrap_err();
    assert!(matches!(error, OpenError::MetaMissing { partitions: 3, .. }), "{error}");
    assert!(lost.paths().iter().any(|path| path.starts_with("/data/orders_p0")), "nothing was removed");
    let damaged = rig.disk.fork();
    damaged.flip_bit("/data/__meta_p0/00000000000000000000.log", 100, 1).unwrap();
    let error = try_open(&damaged, 1, options()).unwrap_err();
    assert!(matches!(error, OpenError::MetaDamaged { .. }), "{error}");
}

#[test]
fn a_partition_that_is_lost_or_another_s_is_offline_and_the_others_are_served() {
    let rig = grown();
    let dir = |partition: &str| options().data_dir.join(partition);
    let lost = rig.disk.fork();
    lost.remove_dir_all(&dir("events_p1")).unwrap();
    let swapped = rig.disk.fork();
    swapped.remove_dir_all(&dir("events_p1")).unwrap();
    swapped.rename(&dir("orders_p0"), &dir("events_p1")).unwrap();
    let damaged = rig.disk.fork();
    damaged.write_all(dir("events_p1").join("partition.json"), b"{}").unwrap();
    for (disk, reason) in [(lost, "missing"), (swapped, "another topic"), (damaged, "version")] {
        let again = open(&disk);
        assert_eq!(again.topics(), ["events", "orders"]);
        let found = again.broker.partition(&name("events"), PartitionIndex(1));
        let Err(offline) = found else { panic!("{reason}: it was opened") };
        assert!(
            matches!(&offline, BrokerError::PartitionOffline { reason: why, .. } if why.contains(reason)),
            "{offline}"
        );
        assert_eq!(again.values("events", 0), rig.values("events", 0));
        again.publish("events", 0, "goes on");
        again.broker.step(at(10_000));
        assert_eq!(again.delete("events"), "delete: events with 2");
        assert_eq!(again.create("events", 2, 50), "create: events with 2");
        again.publish("events", 1, "again");
    }
}

#[test]
fn leftovers_of_topics_go_and_strangers_stay() {
    let rig = grown();
    let disk = rig.disk.kill();
    for file in ["ghost_p0/partition.json", "events_p7/x", ".deleted/1/old_p0/y", "notes/z", "events_p01/keep"] {
        disk.write_all(options().data_dir.join(file), b"x").unwrap();
    }
    let again = open(&disk);
    assert_eq!(
        again.data_dirs(),
        [".deleted", "__meta_p0", "events_p0", "events_p01", "events_p1", "notes", "orders_p0"]
    );
    assert!(disk.paths().iter().all(|path| !path.starts_with("/data/.deleted")));
    check_same(&again, &rig);
}

/// Metadata restored from an old backup do not know the newest topics: their records were taken for the leftovers of a
/// deletion, and removed.
#[test]
fn records_that_no_topic_owns_are_left_alone() {
    let rig = grown();
    let disk = rig.disk.kill();
    let stranger = options().data_dir.join("newest_p0/00000000000000000000.log");
    disk.write_all(&stranger, b"records").unwrap();
    let again = open(&disk);
    assert_eq!(disk.read_all(&stranger).unwrap(), b"records");
    check_same(&again, &rig);
    assert!(
        again.create("newest", 1, 99).contains("move it away first"),
        "a topic of that name waits for the operator"
    );
    assert_eq!(disk.read_all(&stranger).unwrap(), b"records");
}

/// Wherever the power goes during the life of topics, what was answered holds, and what is found can be used.
#[test]
fn a_power_cut_at_every_step_of_creating_and_deleting() {
    for point in 0..100 {
        let rig = Rig::new();
        rig.disk.cut_within(rig.disk.points() + point, point);
        let replies =
            [rig.create("a", 2, 10), rig.create("b", 1, 11), rig.delete("a"), rig.create("a", 1, 12), rig.delete("b")];
        let done: Vec<bool> = replies.iter().map(|reply| reply.ends_with(|last: char| last.is_ascii_digit())).collect();
        for seed in 0..4 {
            let again = open(&rig.disk.power_cut(seed));
            let context = format!("point {point}, seed {seed}: {replies:?}");
            let topics = again.topics();
            if done == [true, false, false, false, false] {
                assert!(topics.contains(&"a".to_owned()), "{context}");
            }
            if done[3] {
                assert_eq!(again.broker.topic(&name("a")).unwrap().partitions_count(), 1, "{context}");
            }
            if done[4] {
                assert_eq!(topics, ["a"], "{context}");
            }
            for topic in again.broker.topics() {
                for index in 0..topic.partitions_count() {
                    let partition = topic.partition(PartitionIndex(index));
                    let partition = partition.unwrap_or_else(|error| panic!("{context}: {error}"));
                    partition.append(produced("x"), AckLevel::Durable, None, at(0)).unwrap();
                }
            }
            again.settle();
        }
    }
}

/// What `wiber-server repair` leaves of metadata without one whole batch.
#[test]
fn metadata_that_end_in_a_gap_are_read_to_their_end() {
    let rig = Rig::new();
    let path = options().data_dir.join("__meta_p0/partition.json");
    let mut file = PartitionFile::decode(&rig.disk.read_all(&path).unwrap()).unwrap();
    let end = Offset::new(2).unwrap();
    file.history.gaps.push(Gap { from: Offset::ZERO, to: end });
    file.segments[0].base = end;
    rig.disk.write_all(&path, &file.encode().unwrap()).unwrap();
    let again = open(&rig.disk.fork());
    assert_eq!(again.create("events", 2, 10), "create: events with 2");
    assert_eq!(open(&again.disk.fork()).topics(), ["events"]);
}

/// A fresh identity would make strangers of the partitions that are there.
#[test]
fn a_lost_directory_file_is_made_anew_from_the_metadata() {
    let rig = grown();
    let file = options().data_dir.join("wiber.json");
    rig.broker.snapshot_now(at(0)).unwrap();
    let lost = rig.disk.fork();
    lost.remove_file(&file).unwrap();
    let again = try_open(&lost, 99, options()).unwrap();
    assert_eq!(again.broker.directory().id(), rig.broker.directory().id());
    assert!(again.summary.snapshot_used);
    check_same(&again, &rig);
    let unknown = rig.disk.fork();
    unknown.remove_file(&file).unwrap();
    unknown.remove_dir_all(&options().data_dir.join("__meta_p0")).unwrap();
    let error = try_open(&unknown, 99, options()).unwrap_err();
    assert!(matches!(error, OpenError::Directory(DirectoryError::Damaged { .. })), "{error}");
    assert!(!unknown.exists(&file).unwrap(), "no identity was made up");
}
