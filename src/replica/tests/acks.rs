//! When an append is answered, when readers see it, and in which order.

use std::task::Poll;

use super::*;
use crate::disk::faulty::{OpKind, Rule};

/// What a table row says of one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Append,
    Write,
    Sync,
    Never,
}

/// Drives one append step by step: when it is answered, when committed, and whether a sync is asked for at all.
fn check(sync: SyncPolicy, ack: AckLevel, answered: When, committed: When, syncs: bool) {
    for inline in [false, true] {
        let inline_write_bytes_max = if inline { 1 << 16 } else { 0 };
        let rig = Rig::new(PartitionOptions { sync, inline_write_bytes_max, ..options() });
        // The first append of an epoch is never written inline: the epoch must become known first.
        rig.append(0, AckLevel::Durable).unwrap();
        rig.settle();
        rig.events.take();
        let (mut first_answer, mut first_commit) = (When::Never, When::Never);
        let mut look = |rig: &Rig, when: When| {
            if !rig.events.take().is_empty() {
                assert_eq!(first_answer, When::Never, "answered twice");
                first_answer = when;
            }
            if first_commit == When::Never && rig.partition.offsets().high_watermark() == offset(2) {
                first_commit = when;
            }
        };
        let ticket = rig.append(1, ack).unwrap();
        assert_eq!((ticket.base_offset, ticket.epoch, ticket.is_duplicate), (offset(1), Epoch::FIRST, false));
        if inline {
            assert!(!rig.is_submitted(Work::Write), "written by the appender");
        } else {
            look(&rig, When::Append);
            rig.run(Work::Write);
        }
        look(&rig, When::Write);
        assert_eq!(rig.is_submitted(Work::Sync), syncs, "{sync:?} {ack:?}");
        if syncs {
            rig.run(Work::Sync);
            look(&rig, When::Sync);
        }
        assert_eq!((first_answer, first_commit), (answered, committed), "{sync:?} {ack:?} inline {inline}");
        assert!(rig.partition.is_idle());
    }
}

#[test]
fn every_level_under_every_policy() {
    use AckLevel::{Durable, Leader, None};
    let interval = SyncPolicy::Interval { millis: 1_000 };
    for (sync, ack, answered, committed, syncs) in [
        (SyncPolicy::Always, None, When::Never, When::Sync, true),
        (SyncPolicy::Always, Leader, When::Write, When::Sync, true),
        (SyncPolicy::Always, Durable, When::Sync, When::Sync, true),
        (interval, None, When::Never, When::Write, false),
        (interval, Leader, When::Write, When::Write, false),
        (interval, Durable, When::Sync, When::Write, true),
        (SyncPolicy::Os, None, When::Never, When::Write, false),
        (SyncPolicy::Os, Leader, When::Write, When::Write, false),
        (SyncPolicy::Os, Durable, When::Sync, When::Write, true),
    ] {
        check(sync, ack, answered, committed, syncs);
    }
}

#[test]
fn an_interval_syncs_when_it_is_over() {
    let rig = Rig::new(PartitionOptions { sync: SyncPolicy::Interval { millis: 1_000 }, ..options() });
    rig.append(1, AckLevel::Leader).unwrap();
    rig.run(Work::Write);
    rig.partition.step(at(999));
    assert!(!rig.is_submitted(Work::Sync));
    rig.partition.step(at(1_000));
    rig.run(Work::Sync);
    assert_eq!(rig.offsets(), [0, 1, 1, 1, 1]);
    rig.partition.step(at(9_000));
    assert!(!rig.is_submitted(Work::Sync), "nothing new");
}

#[test]
fn the_answer_goes_out_before_readers_are_woken() {
    let rig = Rig::new(options());
    let waker = rig.waker("reader");
    assert_eq!(rig.partition.poll_readable(offset(0), &waker), Poll::Pending);
    rig.append(1, AckLevel::Leader).unwrap();
    rig.append(2, AckLevel::Durable).unwrap();
    rig.run(Work::Write);
    assert_eq!(rig.events.take(), ["1 at 0"]);
    assert!(rig.partition.poll_readable(offset(0), &waker).is_pending(), "written is not committed");
    rig.run(Work::Sync);
    assert_eq!(rig.events.take(), ["2 at 1", "reader"]);
    assert!(rig.partition.poll_readable(offset(1), &rig.waker("reader")).is_ready());
    assert!(rig.partition.poll_readable(offset(2), &rig.waker("reader")).is_pending());
}

#[test]
fn one_hundred_appends_during_a_sync_share_the_next() {
    let rig = Rig::new(options());
    let log = "/data/events_p0/00000000000000000000.log";
    rig.append(0, AckLevel::Durable).unwrap();
    rig.settle();
    let before = rig.disk.counts(log);
    for group in 0..10 {
        for token in 0..10 {
            rig.append(1 + group * 10 + token, AckLevel::Durable).unwrap();
            if token % 3 == 0 && rig.is_submitted(Work::Write) {
                rig.run(Work::Write);
            }
        }
        if group % 5 == 4 {
            rig.settle();
        }
    }
    let after = rig.disk.counts(log);
    assert_eq!(after.syncs - before.syncs, 2, "one sync for each group of fifty");
    assert!(after.writes - before.writes <= 50);
    let expected: Vec<String> = (0..=100).map(|token| format!("{token} at {token}")).collect();
    assert_eq!(rig.events.take(), expected, "in the order of their offsets");
}

/// A write that goes on while the sync runs gets no credit from it.
#[test]
fn a_sync_covers_only_what_was_written_when_it_began() {
    let rig = Rig::new(options());
    rig.append(0, AckLevel::Durable).unwrap();
    rig.run(Work::Write);
    let (partition, events) = (Arc::clone(&rig.partition), rig.events.clone());
    rig.disk.set_stall(Box::new(move |op| {
        if op.kind == OpKind::Sync && partition.offsets().log_end() == offset(1) {
            let waiter = Waiter { sink: Arc::new(events.clone()), token: 1 };
            partition.append(produced(1, "late", None), AckLevel::Durable, Some(waiter), at(0)).unwrap();
            partition.run(Work::Write, at(0));
        }
    }));
    rig.run(Work::Sync);
    rig.disk.clear_stall();
    assert_eq!(rig.offsets(), [0, 1, 1, 2, 2]);
    assert_eq!(rig.events.take(), ["0 at 0"]);
    rig.run(Work::Sync);
    assert_eq!(rig.events.take(), ["1 at 1"]);
}

#[test]
fn after_a_failed_sync_nothing_is_promised_any_more() {
    for sync in [SyncPolicy::Always, SyncPolicy::Os] {
        let rig = Rig::new(PartitionOptions { sync, ..options() });
        rig.append(0, AckLevel::Durable).unwrap();
        rig.settle();
        rig.append(1, AckLevel::Durable).unwrap();
        rig.append(2, AckLevel::Leader).unwrap();
        rig.run(Work::Write);
        rig.append(3, AckLevel::Durable).unwrap();
        rig.disk.inject(Rule::failing(OpKind::Sync).on(".log"));
        rig.run(Work::Sync);
        assert_eq!(rig.events.take(), ["0 at 0", "2 at 2", "1 failed", "3 failed"]);
        let PartitionStatus::Failed(reason) = rig.partition.status() else { panic!("goes on") };
        assert!(reason.contains("sync of /data/events_p0/00000000000000000000.log failed"), "{reason}");
        assert!(matches!(rig.append(4, AckLevel::None), Err(AppendError::StorageFailed(_))));
        for work in [Work::Write, Work::Sync, Work::Upkeep] {
            rig.partition.run(work, at(0));
        }
        rig.partition.request_durable();
        assert!(rig.events.take().is_empty());
        assert_eq!(rig.partition.offsets().durable(), offset(1));
        let (reopened, _) = rig.reopen(rig.disk.power_cut(5), None);
        assert_eq!(reopened.partition.status(), PartitionStatus::Leader);
        assert!(reopened.partition.offsets().high_watermark() >= offset(1), "what was promised is there");
        reopened.check_contiguous();
        reopened.append(5, AckLevel::Durable).unwrap();
        reopened.settle();
        assert_eq!(reopened.events.take().len(), 1);
    }
}
