//! Backpressure, inline writes, upkeep.

use std::task::Poll;

use super::*;
use crate::disk::faulty::{OpKind, Rule};

#[test]
fn what_may_wait_to_be_written_is_bounded() {
    let rig = Rig::with_memory(options(), 1 << 20, 300);
    let mut taken = 0;
    let refused = loop {
        match rig.append(taken, AckLevel::Durable) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    let AppendError::QueueFull(batch) = refused else { panic!("{refused}") };
    assert_eq!(batch.header().records_count, 1, "it comes back");
    assert!((2..10).contains(&taken), "{taken}");
    assert_eq!(rig.partition.poll_space(&rig.waker("space")), Poll::Pending);
    assert_eq!(rig.partition.poll_space(&rig.waker("space")), Poll::Pending);
    rig.run(Work::Write);
    assert!(rig.events.take().contains(&"space".to_owned()));
    assert!(rig.partition.poll_space(&rig.waker("space")).is_ready());
    rig.partition.append(*batch, AckLevel::Durable, None, at(0)).unwrap();
    rig.settle();
    assert_eq!(rig.check_contiguous().len() as u64, taken + 1);
}

#[test]
fn what_may_wait_to_be_synced_is_bounded_where_syncs_are_waited_for() {
    let rig = Rig::new(PartitionOptions { unsynced_bytes_max: 300, ..options() });
    for token in 0..4 {
        rig.append(token, AckLevel::Leader).unwrap();
    }
    rig.run(Work::Write);
    assert!(matches!(rig.append(9, AckLevel::Leader), Err(AppendError::QueueFull(_))));
    assert!(rig.partition.poll_space(&rig.waker("space")).is_pending());
    rig.events.take();
    rig.run(Work::Sync);
    assert_eq!(rig.events.take(), ["space"]);
    rig.append(9, AckLevel::Leader).unwrap();

    let rig = Rig::new(PartitionOptions { unsynced_bytes_max: 300, sync: SyncPolicy::Os, ..options() });
    for token in 0..20 {
        rig.append(token, AckLevel::Leader).unwrap();
        rig.run(Work::Write);
    }
}

/// Whoever was refused for want of space and then waits for some must not wait for ever where the partition has failed,
/// or is led by another, in between: nothing will ever be synced here again.
#[test]
fn nobody_waits_for_space_that_will_never_come() {
    for fails in [true, false] {
        let rig = Rig::new(PartitionOptions { unsynced_bytes_max: 100, ..options() });
        rig.append(1, AckLevel::Durable).unwrap();
        rig.append(2, AckLevel::Durable).unwrap();
        rig.run(Work::Write);
        assert!(matches!(rig.append(3, AckLevel::Durable), Err(AppendError::QueueFull(_))));
        assert!(rig.partition.poll_space(&rig.waker("early")).is_pending());
        if fails {
            rig.disk.inject(Rule::failing(OpKind::Sync));
            rig.run(Work::Sync);
        } else {
            rig.partition.become_follower(epoch(9), None).unwrap();
        }
        assert!(rig.events.take().contains(&"early".to_owned()));
        assert!(rig.partition.poll_space(&rig.waker("late")).is_ready());
    }
}

#[test]
fn a_batch_larger_than_the_bound_passes_alone() {
    let rig = Rig::with_memory(PartitionOptions { unsynced_bytes_max: 10, ..options() }, 1 << 20, 10);
    for token in 0..3 {
        rig.append(token, AckLevel::Durable).unwrap();
        assert!(matches!(rig.append(9, AckLevel::Durable), Err(AppendError::QueueFull(_))));
        rig.settle();
    }
    assert_eq!(rig.offsets(), [0, 3, 3, 3, 3]);
}

#[test]
fn small_groups_are_written_by_whoever_appends_where_nothing_is_in_the_way() {
    let rig = Rig::new(PartitionOptions { inline_write_bytes_max: 200, ..options() });
    rig.append(0, AckLevel::Leader).unwrap();
    assert!(rig.is_submitted(Work::Write), "a new epoch is first written down");
    rig.append(1, AckLevel::Leader).unwrap();
    assert!(rig.events.take().is_empty(), "behind what is handed over nobody writes");
    rig.run(Work::Write);
    rig.append(2, AckLevel::Leader).unwrap();
    assert_eq!(rig.events.take(), ["0 at 0", "1 at 1", "2 at 2"]);
    rig.partition.append(produced(50, "large", None), AckLevel::Leader, rig.waiter(3), at(0)).unwrap();
    assert!(rig.is_submitted(Work::Write), "larger ones are handed over");
    rig.settle();
    assert_eq!(rig.events.take(), ["3 at 3"]);
    let full = LogOptions { segment_bytes: 10, ..rig.options.log };
    rig.partition.set_options(PartitionOptions { log: full, inline_write_bytes_max: 200, ..rig.options });
    rig.append(4, AckLevel::Leader).unwrap();
    assert!(rig.is_submitted(Work::Write), "and so is what rolls a segment");
    rig.settle();
    rig.check_contiguous();
}

#[test]
fn a_roll_makes_all_before_it_durable() {
    let log = LogOptions { segment_bytes: 200, ..options().log };
    let rig = Rig::new(PartitionOptions { log, ..options() });
    for token in 0..6 {
        rig.append(token, AckLevel::Durable).unwrap();
    }
    rig.run(Work::Write);
    let base = rig.partition.log().state().end.segment.get();
    assert!(base > 0);
    assert_eq!(rig.offsets(), [0, base, base, 6, 6]);
    assert_eq!(rig.events.take().len() as u64, base);
    rig.settle();
    assert_eq!(rig.offsets(), [0, 6, 6, 6, 6]);
    assert_eq!(rig.events.take().len() as u64, 6 - base);
}

#[test]
fn upkeep_rolls_deletes_and_keeps_what_is_not_committed() {
    let log = LogOptions { segment_bytes: 200, ..options().log };
    let retention = RetentionPolicy { age_ms_max: Some(500), bytes_max: None };
    let rig = Rig::new(PartitionOptions { log, retention, ..options() });
    for token in 0..6 {
        rig.append(token, AckLevel::Durable).unwrap();
    }
    rig.settle();
    rig.partition.step(at(500));
    assert!(!rig.is_submitted(Work::Upkeep));
    rig.partition.step(at(501));
    rig.partition.step(at(502));
    rig.append(6, AckLevel::Durable).unwrap();
    assert!(rig.is_submitted(Work::Upkeep));
    rig.queue.0.lock().retain(|work| *work != Work::Upkeep);
    rig.partition.run(Work::Upkeep, at(502));
    let log_start = rig.partition.offsets().log_start();
    assert!(log_start > Offset::ZERO);
    rig.settle();
    rig.check_contiguous();
    assert!(matches!(rig.partition.read(Offset::ZERO, 1), Err(ReadFailure::OutOfRange { .. })));
    rig.partition.step(at(2_000_000));
    rig.queue.0.lock().clear();
    rig.partition.run(Work::Upkeep, at(2_000_000));
    assert_eq!(rig.partition.offsets().log_start(), offset(7), "a quiet partition expires too");
    rig.append(7, AckLevel::Durable).unwrap();
    rig.settle();
    rig.check_contiguous();
}

/// A thousand partitions may not hold back a thousand times what one may.
#[test]
fn what_waits_to_be_written_is_bounded_for_all_partitions_together() {
    let rig = Rig::with_memory(options(), 1 << 20, 300);
    let (other, other_queue) = rig.another_partition(1, false);
    let (internal, internal_queue) = rig.another_partition(2, true);
    while rig.append(1, AckLevel::None).is_ok() {}
    let one = || produced(1, "other", None);
    let refused = other.append(one(), AckLevel::None, None, at(0)).unwrap_err();
    assert!(matches!(refused, AppendError::QueueFull(_)), "{refused}");
    internal.append(one(), AckLevel::None, None, at(0)).unwrap();
    assert!(other.poll_space(&rig.waker("space")).is_pending());
    rig.events.take();
    rig.run(Work::Write);
    assert_eq!(rig.events.take(), ["space"]);
    assert!(other.poll_space(&rig.waker("space")).is_ready());
    other.append(one(), AckLevel::None, None, at(0)).unwrap();
    assert!(rig.context.pending.used() > 0);
    drop((other, internal));
    other_queue.0.lock().clear();
    internal_queue.0.lock().clear();
    assert_eq!(rig.context.pending.used(), 0, "what goes with its partition is given back");
}
