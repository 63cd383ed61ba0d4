//! Deleting records on demand: what goes, who is told when, and what a power cut leaves.

use super::*;
use crate::disk::faulty::{Fault, OpKind, Rule};

const SYNCS: [SyncPolicy; 2] = [SyncPolicy::Always, SyncPolicy::Os];

impl Rig {
    /// Asks for records to be deleted; the answer is an event.
    fn delete(&self, before: Option<u64>) {
        let events = self.events.clone();
        self.partition.delete_before(before.map(offset), move |result| match result {
            Ok(log_start) => events.note(format!("from {log_start}")),
            Err(error) => events.note(error.to_string()),
        });
    }

    /// Appends batches of two records, and waits for none of it.
    fn grow(&self, batches: u64) {
        for _ in 0..batches {
            self.partition.append(produced(2, "record", None), AckLevel::Leader, None, at(0)).unwrap();
            self.settle();
        }
    }

    fn log_start(&self) -> u64 {
        self.partition.offsets().log_start().get()
    }
}

#[test]
fn the_log_starts_where_it_is_told_to() {
    for sync in SYNCS {
        for segment_bytes in [100, 350, 1 << 20] {
            let log = LogOptions { segment_bytes, ..options().log };
            let rig = Rig::new(PartitionOptions { sync, log, ..options() });
            rig.grow(6);
            rig.delete(Some(0));
            assert_eq!(rig.events.take(), ["from 0"], "it starts there: answered at once");
            rig.delete(Some(5));
            assert_eq!(rig.events.take(), [""; 0]);
            rig.settle();
            assert_eq!(rig.events.take(), ["from 5"]);
            rig.delete(Some(3));
            assert_eq!(rig.events.take(), ["from 5"], "it never goes back");
            for rig in [&rig, &rig.reopen(rig.disk.power_cut(1), None).0] {
                assert_eq!(rig.log_start(), 5);
                assert!(matches!(rig.partition.read(offset(4), 99), Err(ReadFailure::OutOfRange { .. })));
                let first = rig.read_all().remove(0);
                assert_eq!(first.header().base_offset, offset(4), "the batch that holds it is whole");
            }
        }
    }
}

/// A segment none of whose records stay went only when the next one after it was begun, which may be never.
#[test]
fn nothing_stays_of_a_log_that_is_emptied() {
    for sync in SYNCS {
        let rig = Rig::new(PartitionOptions { sync, ..options() });
        rig.grow(3);
        rig.delete(None);
        rig.settle();
        assert_eq!((rig.events.take(), rig.offsets()), (vec!["from 6".to_owned()], [6; 5]));
        assert_eq!((rig.partition.bytes(), rig.read_all().len()), (0, 0));
        assert!(rig.disk.read_all("/data/events_p0/00000000000000000000.log").is_err());
        rig.delete(None);
        assert_eq!(rig.events.take(), ["from 6"]);
        rig.grow(1);
        let (again, report) = rig.reopen(rig.disk.kill(), None);
        assert_eq!((again.offsets(), report.damage), ([6, 8, 8, 8, 8], None));
    }
}

#[test]
fn only_what_is_committed_is_deleted() {
    let rig = Rig::new(options());
    rig.grow(1);
    rig.append(1, AckLevel::Durable).unwrap();
    rig.run(Work::Write);
    rig.delete(Some(3));
    rig.delete(None);
    assert_eq!(rig.events.take(), ["offset 3 is above the high watermark 2"]);
    rig.settle();
    assert_eq!(rig.events.take(), ["1 at 2", "from 2"]);
    assert_eq!(rig.log_start(), 2);
}

/// What was the end of a segment is a place in none once that is gone.
#[test]
fn a_checkpoint_after_a_deletion_is_good_or_passed_over() {
    for before in [Some(3), Some(4), None] {
        for segment_bytes in [100, 1 << 20] {
            let log = LogOptions { segment_bytes, ..options().log };
            let rig = Rig::new(PartitionOptions { log, ..options() });
            rig.publish(1, 2, (7, 0, 0)).unwrap();
            rig.settle();
            rig.grow(2);
            let earlier = rig.partition.checkpoint();
            rig.delete(before);
            rig.settle();
            for checkpoint in [earlier, rig.partition.checkpoint()] {
                let (again, report) = rig.reopen(rig.disk.fork(), Some(checkpoint));
                assert_eq!((report.damage, again.offsets()), (None, rig.offsets()), "{before:?} {segment_bytes}");
                again.grow(1);
                let (last, report) = again.reopen(again.disk.kill(), Some(again.partition.checkpoint()));
                assert_eq!((report.damage, last.offsets()[4]), (None, 8));
            }
        }
    }
}

/// Appends never end, and each write is followed by the next.
#[test]
fn a_deletion_comes_before_the_next_write() {
    let rig = Rig::new(PartitionOptions { inline_write_bytes_max: 1 << 16, ..options() });
    rig.grow(2);
    rig.delete(Some(3));
    rig.append(1, AckLevel::Leader).unwrap();
    rig.run(Work::Write);
    assert_eq!(rig.events.take(), [""; 0], "neither here nor by the appender");
    rig.run(Work::Upkeep);
    assert_eq!(rig.events.take(), ["from 3"]);
    rig.settle();
    assert_eq!(rig.events.take(), ["1 at 4"]);
}

#[test]
fn who_waits_is_told_why_not() {
    let rig = Rig::new(options());
    rig.grow(2);
    rig.delete(Some(1));
    rig.disk.inject(Rule::new(Fault::Fail(OpKind::Create, std::io::ErrorKind::StorageFull)));
    rig.settle();
    assert_eq!(rig.events.take(), ["the device is full"]);
    assert_eq!((rig.log_start(), rig.partition.status()), (0, PartitionStatus::Leader));
    rig.context.reserve.step(at(5_000)).unwrap();

    rig.delete(Some(1));
    rig.partition.close(PartitionClosed::TopicDeleted { topic: rig.partition.name().topic.clone() });
    assert_eq!(rig.events.take(), ["topic 'events' was deleted"]);
    rig.delete(Some(1));
    assert_eq!(rig.events.take(), ["topic 'events' was deleted"]);

    let broken = Rig::new(PartitionOptions { sync: SyncPolicy::Os, ..options() });
    broken.grow(2);
    broken.delete(Some(1));
    broken.disk.inject(Rule::failing(OpKind::Sync).on(".log"));
    broken.settle();
    assert!(broken.events.take()[0].starts_with("the partition accepts no writes: sync of "));
    assert!(matches!(broken.partition.status(), PartitionStatus::Failed(_)));
    broken.delete(Some(1));
    assert_eq!(broken.events.take().len(), 1);
}

/// What is written and not synced may go with the power. A log that starts behind its end would take nothing more.
#[test]
fn a_power_cut_leaves_a_log_that_starts_before_its_end() {
    for (sync, segment_bytes) in SYNCS.into_iter().flat_map(|sync| [(sync, 400), (sync, 1 << 20)]) {
        for before in [Some(3), Some(8), None] {
            for point in 0..14 {
                let log = LogOptions { segment_bytes, ..options().log };
                let rig = Rig::new(PartitionOptions { sync, log, ..options() });
                rig.grow(6);
                rig.disk.cut_within(rig.disk.points() + point, point);
                rig.delete(before);
                rig.settle_somehow();
                let answered = rig.events.take().iter().any(|event| event.starts_with("from"));
                for seed in 0..6 {
                    let again = rig.reopen(rig.disk.power_cut(seed), None);
                    let context = format!("{sync:?} {segment_bytes} {before:?} {point} {seed}");
                    check_cut(again, before.unwrap_or(12), answered, &context);
                }
            }
        }
    }
}

fn check_cut((again, report): (Rig, OpenReport), before: u64, answered: bool, context: &str) {
    assert_eq!(report.damage, None, "{context}");
    let [log_start, high_watermark, _, _, log_end] = again.offsets();
    assert!(log_start == 0 || log_start == before, "{context}: {log_start}");
    assert!(!answered || log_start > 0, "{context}: what was answered is durable");
    let end = again.partition.log().state().end.next_offset.get();
    assert_eq!((high_watermark, log_end), (end, end), "{context}: the log goes on where it ends");
    again.grow(1);
    let (last, _) = again.reopen(again.disk.kill(), None);
    assert_eq!(last.offsets()[1], high_watermark + 2, "{context}");
    assert_eq!(last.read_all().last().unwrap().header().base_offset.get(), high_watermark, "{context}");
}

impl Rig {
    /// Runs all there is to run, on a disk that may have failed.
    fn settle_somehow(&self) {
        while let Some(work) = { self.queue.0.lock().front().copied() } {
            self.run(work);
        }
    }
}
