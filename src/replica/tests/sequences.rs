//! Idempotent producers through append: repeated, skipped and stale batches, and what a restart remembers.

use super::producers::SequenceError;
use super::*;

#[test]
fn a_repeated_batch_gets_the_first_offset_whenever_it_comes() {
    let rig = Rig::new(options());
    let first = rig.publish(1, 2, (5, 0, 0)).unwrap();
    let again = rig.publish(2, 2, (5, 0, 0)).unwrap();
    assert!(again.is_duplicate && again.base_offset == first.base_offset && again.next_offset == first.next_offset);
    rig.publish(3, 1, (5, 0, 2)).unwrap();
    assert!(rig.events.take().is_empty(), "a repeated batch waits as the first one does");
    rig.run(Work::Write);
    rig.publish(4, 2, (5, 0, 0)).unwrap();
    assert!(rig.events.take().is_empty());
    rig.run(Work::Sync);
    assert_eq!(rig.events.take(), ["1 at 0", "2 at 0", "4 at 0", "3 at 2"]);
    rig.publish(5, 2, (5, 0, 0)).unwrap();
    assert_eq!(rig.events.take(), ["5 at 0"], "at once, for it has all it needs");
    assert_eq!(rig.offsets(), [0, 3, 3, 3, 3]);
    assert!(rig.queue.0.lock().is_empty());
}

/// Under a weak policy the first copy was answered before it was durable; the repeated one asks for more.
#[test]
fn a_repeated_batch_may_ask_for_more_than_the_first_did() {
    let rig = Rig::new(PartitionOptions { sync: SyncPolicy::Os, ..options() });
    let batch = || produced(1, "x", Some((5, 0, 0)));
    rig.partition.append(batch(), AckLevel::Leader, rig.waiter(1), at(0)).unwrap();
    rig.run(Work::Write);
    assert_eq!(rig.events.take(), ["1 at 0"]);
    rig.partition.append(batch(), AckLevel::Durable, rig.waiter(2), at(0)).unwrap();
    assert!(rig.events.take().is_empty());
    rig.run(Work::Sync);
    assert_eq!(rig.events.take(), ["2 at 0"]);
}

#[test]
fn gaps_and_stale_epochs_are_refused_and_keep_nothing() {
    let rig = Rig::new(options());
    rig.publish(1, 2, (5, 3, 0)).unwrap();
    let gap = rig.publish(2, 1, (5, 3, 3));
    assert!(matches!(gap, Err(AppendError::Sequence(SequenceError::OutOfOrder { .. }))), "{gap:?}");
    let stale = rig.publish(3, 1, (5, 2, 2));
    assert!(matches!(stale, Err(AppendError::Sequence(SequenceError::StaleEpoch { .. }))), "{stale:?}");
    rig.publish(4, 1, (5, 4, 0)).unwrap();
    rig.settle();
    assert_eq!(rig.events.take(), ["1 at 0", "4 at 2"]);
    assert_eq!(rig.offsets(), [0, 3, 3, 3, 3]);
}

#[test]
fn a_dropped_batch_is_new_again() {
    use crate::disk::faulty::{Fault, OpKind, Rule};
    let rig = Rig::new(options());
    rig.publish(1, 1, (5, 0, 0)).unwrap();
    rig.settle();
    rig.disk.inject(Rule::new(Fault::Fail(OpKind::Write, std::io::ErrorKind::StorageFull)).on(".log"));
    rig.publish(2, 1, (5, 0, 1)).unwrap();
    rig.publish(3, 1, (5, 0, 2)).unwrap();
    rig.publish(4, 1, (5, 0, 2)).unwrap();
    rig.settle();
    assert_eq!(rig.events.take(), ["1 at 0", "2 full", "3 full", "4 full"]);
    rig.context.reserve.step(at(2_000)).unwrap();
    let retried = rig.publish(5, 1, (5, 0, 1)).unwrap();
    assert!(!retried.is_duplicate && retried.base_offset == offset(1));
    rig.settle();
    assert_eq!(rig.events.take(), ["5 at 1"]);
}

/// What a partition answers after a restart to a repeat, to what follows and to a gap.
fn check_restart(with_checkpoint: bool, more_after: bool) {
    let rig = Rig::new(options());
    rig.publish(1, 3, (5, 0, 0)).unwrap();
    rig.publish(2, 1, (6, 1, 7)).unwrap();
    rig.settle();
    let checkpoint = with_checkpoint.then(|| rig.partition.checkpoint());
    let mut next = 3;
    if more_after {
        rig.publish(3, 2, (5, 0, 3)).unwrap();
        rig.settle();
        next = 5;
    }
    let (again, report) = rig.reopen(rig.disk.power_cut(0), checkpoint);
    assert_eq!(report.checkpoint_used, with_checkpoint);
    assert_eq!(report.batches_walked, u64::from(!with_checkpoint) * 2 + u64::from(more_after));
    assert_eq!(again.publish(1, 3, (5, 0, 0)).unwrap().base_offset, offset(0));
    assert!(again.publish(2, 1, (6, 1, 7)).unwrap().is_duplicate);
    assert!(again.publish(3, 1, (5, 0, next + 1)).is_err());
    assert!(again.publish(3, 1, (6, 0, 8)).is_err());
    assert!(!again.publish(4, 1, (5, 0, next)).unwrap().is_duplicate);
    again.settle();
    assert_eq!(again.events.take().len(), 3);
}

#[test]
fn producers_survive_a_restart() {
    for with_checkpoint in [false, true] {
        for more_after in [false, true] {
            check_restart(with_checkpoint, more_after);
        }
    }
}

/// A producer of old records (a backfill) was forgotten at the first step after its append: its age was taken from the
/// records.
#[test]
fn a_producer_is_forgotten_by_the_time_since_its_last_append() {
    let rig = Rig::new(options());
    let mut builder = BatchBuilder::new(BuilderOptions {
        producer: produced(1, "", Some((5, 0, 0))).header().producer,
        ..BuilderOptions::default()
    });
    builder.append(at(-1_000_000_000), None, None, &[]).unwrap();
    rig.partition.append(builder.finish().unwrap(), AckLevel::None, None, at(0)).unwrap();
    rig.settle();
    for (millis, known) in [(0, 1), (10_000, 1), (10_001, 0)] {
        rig.partition.step(at(millis));
        assert_eq!(rig.partition.checkpoint().producers.len(), known, "at {millis}");
    }
    assert!(!rig.publish(1, 1, (5, 0, 40)).unwrap().is_duplicate, "an unknown producer may begin anywhere");
}
