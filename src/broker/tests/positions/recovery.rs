//! Positions after stops of every kind.

use std::path::Path;

use super::*;

fn walked(rig: &Rig) -> u64 {
    let own = rig.summary.partitions.iter().filter(|opened| opened.partition.topic.as_str() == "__offsets");
    own.map(|opened| opened.result.as_ref().unwrap().batches_walked).sum()
}

/// Eight clients at different places.
fn committed_by_eight(rig: &Rig) -> Vec<Option<u64>> {
    (0..8).map(|client| rig.committed(&format!("c{client}"), "events", client % 2)).collect()
}

fn with_eight(rig: Rig) -> Rig {
    let rig = start(rig);
    for client in 0..8 {
        rig.commit(&key(&format!("c{client}"), "events", client % 2), client.into(), AckLevel::Durable).unwrap();
    }
    rig
}

#[test]
fn without_a_snapshot_the_logs_are_read() {
    let rig = with_eight(Rig::new());
    let again = open(&rig.disk.power_cut(3));
    assert_eq!((walked(&again), committed_by_eight(&again)), (8, (0..8).map(Some).collect()));
    assert_eq!(again.commit(&key("c3", "events", 1), 2, AckLevel::Durable), Ok(3));
    again.start_positions();
}

#[test]
fn with_a_snapshot_only_what_came_after_it_is_read() {
    let rig = with_eight(Rig::new());
    rig.broker.snapshot_now(at(0)).unwrap();
    let again = open(&rig.disk.power_cut(3));
    assert_eq!((walked(&again), committed_by_eight(&again)), (0, (0..8).map(Some).collect()));
    again.commit(&key("c3", "events", 1), 9, AckLevel::Durable).unwrap();
    let third = open(&again.disk.power_cut(4));
    assert_eq!((walked(&third), third.committed("c3", "events", 1)), (1, Some(9)));
    assert_eq!(third.committed("c4", "events", 0), Some(4));
}

#[test]
fn a_damaged_log_is_read_as_far_as_it_can_be_and_takes_nothing() {
    let rig = with_eight(Rig::new());
    let disk = rig.disk.fork();
    let logs = [0, 1].map(|index| options().data_dir.join(format!("__offsets_p{index}/{:020}.log", 0)));
    logs.iter().for_each(|path| disk.flip_bit(path, 80, 1).unwrap());
    let again = open(&disk);
    let found = committed_by_eight(&again);
    let right = found.iter().zip(0..).filter(|(found, expected)| **found == Some(*expected)).count();
    let none = found.iter().filter(|found| found.is_none()).count();
    assert!(right + none == 8 && none <= 2, "{found:?}");
    let refused = again.commit(&key("c0", "events", 0), 9, AckLevel::Durable);
    assert!(matches!(refused, Err(BrokerError::StorageFailed(_))), "{refused:?}");
}

/// A snapshot speaks of a log that was put in place of another, or lost its end: the log is believed.
#[test]
fn a_snapshot_ahead_of_the_log_is_not_believed() {
    let rig = with_eight(Rig::new());
    let before = rig.disk.fork().kill();
    for client in 0..8 {
        rig.commit(&key(&format!("c{client}"), "events", client % 2), 10, AckLevel::Durable).unwrap();
    }
    rig.broker.snapshot_now(at(0)).unwrap();
    for path in rig.disk.paths().iter().filter(|path| path.starts_with("/snapshots")) {
        if let Ok(bytes) = rig.disk.read_all(path) {
            before.write_all(path, &bytes).unwrap();
        }
    }
    let again = open(&before);
    assert!(again.summary.snapshot_used);
    assert_eq!(committed_by_eight(&again), (0..8).map(Some).collect::<Vec<_>>());
}

#[test]
fn snapshots_by_step_hold_positions() {
    let rig = started();
    rig.commit(&key("a", "events", 0), 1, AckLevel::None).unwrap();
    rig.commit(&key("a", "events", 0), 5, AckLevel::None).unwrap();
    for second in 10..14 {
        rig.broker.step(at(second * 1_000));
        rig.settle();
    }
    let again = open(&rig.disk.power_cut(1));
    assert_eq!((again.summary.snapshot_used, again.committed("a", "events", 0)), (true, Some(5)));
}

/// A snapshot is taken while a position is on its way to the log: it must not say that it holds it.
#[test]
fn what_is_on_its_way_is_not_in_a_snapshot() {
    for steps in 0..4 {
        let rig = started();
        rig.commit(&key("a", "events", 0), 1, AckLevel::Durable).unwrap();
        let answer = rig.begin_commit(&key("a", "events", 0), 5, AckLevel::Durable, at(0));
        for _ in 0..steps {
            let work = rig.queue.0.lock().pop_front();
            work.into_iter().for_each(|(partition, work)| partition.run(work, at(0)));
        }
        for second in 10..14 {
            rig.broker.step(at(second * 1_000));
            rig.settle();
        }
        assert_eq!(answer.lock().clone(), Some(Ok(5)), "after {steps}");
        let again = open(&rig.disk.power_cut(1));
        assert_eq!((again.summary.snapshot_used, again.committed("a", "events", 0)), (true, Some(5)), "after {steps}");
    }
}

/// What a history committed and was told.
#[derive(Debug, Default)]
struct Told {
    asked: [u64; 2],
    durable: [u64; 2],
}

/// Wherever the power goes: a position acknowledged as durable is there, and none that nobody committed.
#[test]
fn a_power_cut_at_every_step() {
    let mut point = 0;
    loop {
        let rig = started();
        rig.disk.cut_within(rig.disk.points() + point, point);
        let told = history(&rig);
        let is_over = !rig.disk.is_off();
        for seed in 0..3 {
            let context = format!("point {point}, seed {seed}, {told:?}");
            let again = open(&rig.disk.power_cut(seed));
            again.start_positions();
            for (index, client) in ["a", "b"].into_iter().enumerate() {
                let found = again.committed(client, "events", 0).unwrap_or(0);
                assert!((told.durable[index]..=told.asked[index]).contains(&found), "{found}: {context}");
                let moved = again.commit(&key(client, "events", 0), 10, AckLevel::Durable);
                assert_eq!(moved, Ok(10), "{context}");
            }
            let third = open(&again.disk.power_cut(seed));
            assert_eq!(third.committed("a", "events", 0), Some(10), "{context}");
        }
        if is_over {
            return;
        }
        point += 1;
    }
}

/// Commits of all kinds until the power goes.
fn history(rig: &Rig) -> Told {
    let (mut told, mut levels) = (Told::default(), [AckLevel::Durable, AckLevel::None, AckLevel::Leader]);
    for value in 1..=6 {
        levels.rotate_left(1);
        for (index, client) in ["a", "b"].into_iter().enumerate() {
            let ack = levels[index % 3];
            told.asked[index] = value;
            let answer = rig.begin_commit(&key(client, "events", 0), value, ack, at(value.cast_signed() * 60));
            rig.run_all();
            let answered = answer.lock().clone();
            if let (Some(Ok(kept)), AckLevel::Durable) = (answered, ack) {
                told.durable[index] = kept;
            }
        }
        if value % 2 == 0 {
            rig.broker.step(at(value.cast_signed() * 2_000));
            rig.run_all();
        }
        if value == 4 {
            let _refused_without_power = rig.broker.snapshot_now(at(value.cast_signed()));
        }
    }
    told
}

#[test]
fn kills_while_the_topic_is_made() {
    let mut point = 0;
    loop {
        let rig = Rig::new();
        rig.create("events", 1, 10);
        rig.publish("events", 0, "x");
        rig.disk.cut_within(rig.disk.points() + point, point);
        let _refused_without_power = rig.broker.start_positions(at(0));
        rig.run_all();
        let is_over = !rig.disk.is_off();
        for seed in 0..3 {
            let again = open(&rig.disk.power_cut(seed));
            again.start_positions();
            assert_eq!(again.commit(&key("a", "events", 0), 1, AckLevel::Durable), Ok(1), "point {point}");
        }
        if is_over {
            return;
        }
        point += 1;
    }
}

#[test]
fn a_log_much_longer_than_what_it_says_is_made_shorter() {
    let open = |disk: &FaultyDisk| try_open(disk, 1, options()).unwrap();
    let rig = with_eight(open(&FaultyDisk::new()));
    rig.commit(&key("dropped", "events", 0), 1, AckLevel::Durable).unwrap();
    rig.broker.snapshot_now(at(0)).unwrap();
    let old = rig.disk.fork();
    let mut now = 2_000_000;
    for value in 0..=10 {
        for client in 0..8 {
            for millis in 0..4 {
                let ack = if millis == 3 { AckLevel::Durable } else { AckLevel::None };
                rig.begin_commit(&key(&format!("c{client}"), "events", client % 2), value, ack, at(now));
                now += 150;
                rig.run_all();
            }
        }
        rig.broker.step(at(now));
        rig.run_all();
    }
    for _ in 0..3 {
        now += 2_000;
        rig.broker.step(at(now));
        rig.run_all();
    }
    let logs = rig.broker.topic(&name("__offsets")).unwrap();
    let held = |index| {
        let partition = logs.partition(PartitionIndex(index)).unwrap();
        let file = partition.log().state().file;
        (file.log_start, file.compacted_to > Offset::ZERO, partition.bytes() < 6_000, file.segments.len() < 8)
    };
    assert_eq!([held(0), held(1)], [(Offset::ZERO, true, true, true); 2]);
    let expected = vec![Some(10); 8];
    assert_eq!(committed_by_eight(&rig), expected);
    let bare = open(&without_snapshots(rig.disk.power_cut(1)));
    assert_eq!((committed_by_eight(&bare), bare.committed("dropped", "events", 0)), (expected.clone(), None));
    let stale = without_snapshots(rig.disk.power_cut(2));
    for path in old.paths().iter().filter(|path| path.starts_with("/snapshots")) {
        if let Ok(bytes) = old.read_all(path) {
            stale.write_all(path, &bytes).unwrap();
        }
    }
    let stale = open(&stale);
    assert!(stale.summary.snapshot_used);
    assert_eq!((committed_by_eight(&stale), stale.committed("dropped", "events", 0)), (expected, None));
}

fn without_snapshots(disk: FaultyDisk) -> FaultyDisk {
    if disk.exists(Path::new("/snapshots")).unwrap() {
        disk.remove_dir_all(Path::new("/snapshots")).unwrap();
    }
    disk
}

fn weak(sync: SyncPolicy) -> BrokerOptions {
    let mut weak = options();
    weak.partition.sync = sync;
    weak
}

/// The records a client had read were lost with the power, and others took their offsets: a position kept as a mere
/// number would then have skipped those.
#[test]
fn a_position_in_records_that_were_lost_goes_back() {
    for sync in [SyncPolicy::Os, SyncPolicy::Interval { millis: 1_000_000 }] {
        let rig = try_open(&FaultyDisk::new(), 1, weak(sync)).unwrap();
        rig.start_positions();
        rig.create("events", 1, 10);
        rig.publish("events", 0, "kept");
        rig.broker.request_durable();
        rig.settle();
        let partition = rig.partition("events", 0);
        for _ in 0..5 {
            partition.append(produced("lost"), AckLevel::Leader, None, at(0)).unwrap();
            rig.settle();
        }
        assert_eq!(rig.commit(&key("a", "events", 0), 6, AckLevel::Durable), Ok(6));
        assert_eq!(rig.commit(&key("b", "events", 0), 1, AckLevel::Durable), Ok(1));
        let cut = (0..200).map(|seed| try_open(&rig.disk.power_cut(seed), 1, weak(sync)).unwrap());
        let lossy = cut.into_iter().find(|again| again.values("events", 0).len() == 1);
        let again = lossy.expect("a cut that takes what was not synced");
        assert_eq!((again.committed("a", "events", 0), again.committed("b", "events", 0)), (Some(1), Some(1)));
        for _ in 0..10 {
            again.publish("events", 0, "anew");
        }
        let third = try_open(&again.disk.power_cut(1), 1, weak(sync)).unwrap();
        assert_eq!(third.committed("a", "events", 0), Some(1), "nobody has moved it since");
        assert_eq!(third.commit(&key("a", "events", 0), 4, AckLevel::Durable), Ok(4));
        assert_eq!(open(&third.disk.power_cut(1)).committed("a", "events", 0), Some(4));
    }
}
