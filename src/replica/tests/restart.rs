//! What a restart keeps, and the epochs it begins.

use std::task::Poll;

use super::*;
use crate::log::LogError;

#[test]
fn every_start_that_writes_takes_a_new_epoch() {
    let mut rig = Rig::new(options());
    for round in 1..6 {
        assert_eq!(rig.partition.epoch(), epoch(round));
        rig.append(1, AckLevel::Durable).unwrap();
        rig.settle();
        let checkpoint = (round % 2 == 0).then(|| rig.partition.checkpoint());
        let (next, report) = rig.reopen(rig.disk.power_cut(7), checkpoint);
        assert_eq!(report.checkpoint_used, round % 2 == 0);
        rig = next;
    }
    assert_eq!(rig.partition.epoch(), epoch(6));
    let (idle, _) = rig.reopen(rig.disk.kill(), None);
    assert_eq!(idle.partition.epoch(), epoch(6), "a start that wrote nothing used none up");
    let epochs: Vec<i32> = idle.check_contiguous().iter().map(|batch| batch.header().leader_epoch).collect();
    assert_eq!(epochs, [1, 2, 3, 4, 5]);
}

/// In a weak mode a power cut may take what was only written; the offsets come again, under another epoch.
#[test]
fn a_lost_offset_is_never_used_again_in_its_epoch() {
    for seed in 0..60 {
        let rig = Rig::new(PartitionOptions { sync: SyncPolicy::Os, ..options() });
        rig.append(1, AckLevel::Durable).unwrap();
        rig.settle();
        for token in 2..6 {
            rig.append(token, AckLevel::Leader).unwrap();
            rig.settle();
        }
        let (again, report) = rig.reopen(rig.disk.power_cut(seed), None);
        assert_eq!(report.damage, None);
        let end = again.partition.offsets().log_end();
        assert!(end >= offset(1) && again.partition.offsets().high_watermark() == end);
        let ticket = again.append(6, AckLevel::Durable).unwrap();
        assert_eq!((ticket.base_offset, ticket.epoch), (end, epoch(2)));
        again.settle();
        again.check_contiguous();
    }
}

/// Nothing that was answered as durable is ever missing, wherever the power goes.
#[test]
fn a_power_cut_at_every_step_keeps_what_was_acknowledged() {
    let log = LogOptions { segment_bytes: 300, ..options().log };
    for inline_write_bytes_max in [0, 1 << 16] {
        for point in 0..60 {
            let rig = Rig::new(PartitionOptions { log, inline_write_bytes_max, ..options() });
            rig.disk.cut_within(rig.disk.points() + point, point);
            let mut acked = 0;
            for token in 0..12 {
                if rig.append(token, AckLevel::Durable).is_err() {
                    break;
                }
                if token % 2 == 1 {
                    rig.settle();
                }
                let answers = rig.events.take();
                acked += answers.iter().filter(|answer| answer.contains(" at ")).count() as u64;
            }
            for seed in 0..8 {
                let (again, report) = rig.reopen(rig.disk.power_cut(seed), None);
                assert_eq!(report.damage, None, "point {point}, seed {seed}");
                assert!(again.check_contiguous().len() as u64 >= acked, "point {point}, seed {seed}: {acked}");
                again.append(99, AckLevel::Durable).unwrap();
                again.settle();
                again.check_contiguous();
            }
        }
    }
}

#[test]
fn a_damaged_partition_serves_and_takes_nothing() {
    let rig = Rig::new(options());
    for token in 0..3 {
        rig.append(token, AckLevel::Durable).unwrap();
    }
    rig.settle();
    rig.disk.flip_bit("/data/events_p0/00000000000000000000.log", 30, 0).unwrap();
    let (again, report) = rig.reopen(rig.disk.fork(), None);
    assert!(report.damage.is_some());
    assert!(matches!(again.partition.status(), PartitionStatus::Failed(_)));
    let refused = again.append(1, AckLevel::Durable).unwrap_err();
    assert!(refused.to_string().contains("00000000000000000000.log, byte 0"), "{refused}");
    let Ok(Read::Disk(read)) = again.partition.read(offset(2), 100) else { panic!("there is no tail yet") };
    assert_eq!(read.run().unwrap().len(), 1);
    again.partition.step(at(1 << 40));
    assert!(again.queue.0.lock().is_empty() && again.partition.is_idle());
}

#[test]
fn closing_refuses_what_waits() {
    let rig = Rig::new(options());
    rig.append(0, AckLevel::Durable).unwrap();
    rig.settle();
    rig.events.take();
    rig.append(1, AckLevel::Durable).unwrap();
    assert!(rig.partition.poll_readable(offset(1), &rig.waker("reader")).is_pending());
    let closed = PartitionClosed::TopicDeleted { topic: rig.partition.name().topic.clone() };
    rig.partition.close(closed.clone());
    assert_eq!(rig.events.take(), ["1 closed", "reader"]);
    rig.settle();
    let refused = rig.append(2, AckLevel::None).unwrap_err();
    assert_eq!(refused.to_string(), "topic 'events' was deleted");
    for from in [0, 1, 5] {
        assert_eq!(rig.partition.poll_readable(offset(from), &rig.waker("x")), Poll::Ready(Err(closed.clone())));
        assert!(matches!(rig.partition.read(offset(from), 100), Err(ReadFailure::Closed(_))));
    }
    assert!(rig.partition.poll_space(&rig.waker("x")).is_ready(), "to be told");
}

/// A deleted partition's writer may be in the midst of a roll when the topic is created anew: it would empty the files of
/// the new one, which have its names. And a read that had its file open could leave it in the cache under a name that is
/// the new topic's.
#[test]
fn a_closed_partition_leaves_its_names_alone() {
    let rig = Rig::new(options());
    for number in 0..40 {
        rig.append(number, AckLevel::Durable).unwrap();
    }
    rig.settle();
    rig.append(41, AckLevel::Durable).unwrap();
    rig.partition.close(PartitionClosed::TopicDeleted { topic: rig.partition.name().topic.clone() });
    let points = rig.disk.points();
    assert!(matches!(rig.partition.log().roll(), Err(LogError::Closed { .. })));
    assert!(matches!(rig.partition.log().advance_log_start(offset(20)), Err(LogError::Closed { .. })));
    assert!(matches!(rig.partition.log().truncate_to(offset(20), at(0)), Err(LogError::Closed { .. })));
    rig.partition.step(at(1 << 40));
    rig.settle();
    assert_eq!(rig.disk.points(), points, "nothing was touched");
    assert_eq!(rig.partition.log().read(offset(0), offset(5), 10_000).unwrap().len(), 5, "the file itself is there");
    assert!(rig.partition.context.log.handles.is_empty(), "and not remembered");
}
