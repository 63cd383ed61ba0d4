//! Compaction beside everything else a partition does.

use super::*;
use crate::log::CompactionPolicy;

const KEYS_BYTES_MAX: usize = 1 << 20;

fn compacted() -> PartitionOptions {
    let log = LogOptions { segment_bytes: 600, ..options().log };
    let compaction = Some(CompactionPolicy { min_lag_ms: 0, delete_retention_ms: 1_000, dirty_percent_min: 50 });
    PartitionOptions { log, compaction, ..options() }
}

fn keyed(key: &str, records: u32, producer: Option<(i64, i16, i32)>) -> ProducedBatch {
    let producer = producer.map(|(id, epoch, sequence)| ProducerStamp {
        id: ProducerId::new(id).unwrap(),
        epoch: ProducerEpoch::new(epoch).unwrap(),
        base_sequence: Sequence::new(sequence),
    });
    let mut builder = BatchBuilder::new(BuilderOptions { producer, ..BuilderOptions::default() });
    for _ in 0..records {
        builder.append(at(0), Some(key.as_bytes()), Some(b"some value that takes up some room"), &[]).unwrap();
    }
    builder.finish().unwrap()
}

impl Rig {
    fn put(&self, batch: ProducedBatch) -> Result<Ticket, AppendError> {
        let ticket = self.partition.append(batch, AckLevel::Durable, None, at(0));
        self.settle();
        ticket
    }

    /// Compacts to the end, a few bytes at a time.
    fn compact(&self) {
        assert!(self.partition.begin_compaction(KEYS_BYTES_MAX, at(0)));
        while self.partition.compact_on(200) {
            self.settle();
        }
    }

    fn records(&self) -> u32 {
        self.check_contiguous().iter().map(|batch| batch.header().records_count).sum()
    }
}

/// Producers of whom nothing is left but batches without records, and then a start that has the log alone: what is sent
/// again is recognized by the offsets it got, and what follows goes on.
#[test]
fn producers_outlive_their_records() {
    let rig = Rig::with_tail(compacted(), 0);
    let mut first = Vec::new();
    for producer in 1..=3_i64 {
        for number in 0..8 {
            first.push(rig.put(keyed("a", 2, Some((producer, 0, 2 * number)))).unwrap());
        }
    }
    (0..40).for_each(|_| _ = rig.put(keyed("a", 1, None)).unwrap());
    let before = rig.records();
    rig.compact();
    assert!(rig.records() < before / 2, "{} of {before}", rig.records());
    let (again, report) = rig.reopen(rig.disk.kill(), None);
    assert_eq!((report.damage, report.checkpoint_used), (None, false));
    for rig in [&rig, &again] {
        for producer in 1..=3_i64 {
            for number in 3..8 {
                let ticket = rig.put(keyed("a", 2, Some((producer, 0, 2 * number)))).unwrap();
                let known = first[usize::try_from((producer - 1) * 8).unwrap() + usize::try_from(number).unwrap()];
                assert!(ticket.is_duplicate);
                assert_eq!((ticket.base_offset, ticket.next_offset), (known.base_offset, known.next_offset));
            }
            assert!(matches!(rig.put(keyed("a", 1, Some((producer, 0, 99)))), Err(AppendError::Sequence(_))));
        }
    }
    for producer in 1..=3_i64 {
        assert!(!again.put(keyed("a", 1, Some((producer, 0, 16)))).unwrap().is_duplicate);
    }
}

#[test]
fn nothing_at_or_above_the_floor_is_touched() {
    let rig = Rig::with_tail(compacted(), 0);
    (0..60).for_each(|_| _ = rig.put(keyed("a", 1, None)).unwrap());
    assert!(rig.partition.compaction_due(at(0)).is_some());
    rig.partition.set_compaction_floor(Some(Offset::ZERO));
    assert_eq!(rig.partition.compaction_due(at(0)), None);
    assert!(!rig.partition.begin_compaction(KEYS_BYTES_MAX, at(0)));
    rig.partition.set_compaction_floor(Some(offset(20)));
    rig.compact();
    let kept = rig.check_contiguous();
    let floor = rig.partition.log().state().file.compacted_to;
    assert!(floor > Offset::ZERO && floor <= offset(20));
    let above = kept.iter().filter(|batch| batch.header().base_offset >= floor);
    assert_eq!(above.map(|batch| batch.header().records_count).sum::<u32>() as u64, offset(60).since(floor));
    // Nor what is appended and not durable.
    rig.partition.set_compaction_floor(None);
    rig.compact();
    assert_eq!(rig.partition.compaction_due(at(0)), None, "what is left is clean");
}

#[test]
fn appends_and_syncs_between_the_turns() {
    let rig = Rig::with_tail(compacted(), 0);
    (0..60).for_each(|_| _ = rig.put(keyed("a", 1, None)).unwrap());
    assert!(rig.partition.begin_compaction(KEYS_BYTES_MAX, at(0)));
    let mut turns = 0;
    while rig.partition.compact_on(100) {
        rig.partition.append(keyed("b", 1, None), AckLevel::Durable, rig.waiter(turns), at(0)).unwrap();
        rig.settle();
        turns += 1;
    }
    assert!(turns > 10, "{turns}");
    assert_eq!(rig.events.take().len() as u64, turns);
    assert_eq!(rig.partition.status(), PartitionStatus::Leader);
    let kept = rig.read_all();
    let (again, report) = rig.reopen(rig.disk.power_cut(3), None);
    assert_eq!((report.damage, report.cut), (None, None));
    assert_eq!(again.read_all(), kept);
}

#[test]
fn a_partition_that_is_closed_or_not_compacted_any_more_ends_it() {
    let temporary = |rig: &Rig| rig.disk.paths().iter().any(|path| path.extension().is_some_and(|end| end == "tmp"));
    for is_closed in [true, false] {
        let rig = Rig::with_tail(compacted(), 0);
        (0..60).for_each(|_| _ = rig.put(keyed("a", 1, None)).unwrap());
        assert!(rig.partition.begin_compaction(KEYS_BYTES_MAX, at(0)));
        while !temporary(&rig) {
            assert!(rig.partition.compact_on(100));
            rig.settle();
        }
        if is_closed {
            assert!(rig.partition.compact_on(100));
            rig.partition.close(PartitionClosed::TopicDeleted { topic: rig.partition.name().topic.clone() });
            let paths = rig.disk.paths();
            rig.run(Work::Compact);
            assert_eq!(rig.disk.paths(), paths, "it touches no name any more");
        } else {
            rig.partition.set_options(PartitionOptions { compaction: None, ..rig.options });
            assert!(rig.partition.compact_on(100));
            rig.run(Work::Compact);
            assert!(!temporary(&rig));
            assert_eq!(rig.partition.compaction_due(at(0)), None);
        }
        assert!(!rig.partition.compact_on(100));
    }
}

#[test]
fn a_full_disk_is_waited_for_and_damage_stops_the_partition() {
    let rig = Rig::with_tail(compacted(), 0);
    (0..60).for_each(|_| _ = rig.put(keyed("a", 1, None)).unwrap());
    rig.disk.set_capacity(Some(rig.disk.used_bytes()));
    rig.compact();
    assert_eq!(rig.partition.status(), PartitionStatus::Leader);
    assert_eq!(rig.partition.compaction_due(at(0)), None, "not at once again");
    rig.disk.set_capacity(None);
    rig.context.reserve.step(at(100_000)).unwrap();
    assert!(rig.partition.compaction_due(at(100_000)).is_some());
    let path = rig.partition.log().files().log_of(&rig.partition.log().state().file.segments[1]);
    rig.disk.flip_bit(path, 100, 1).unwrap();
    rig.compact();
    assert!(matches!(rig.partition.status(), PartitionStatus::Failed(_)));
    assert!(matches!(rig.put(keyed("a", 1, None)), Err(AppendError::StorageFailed(_))));
    assert!(!rig.partition.begin_compaction(KEYS_BYTES_MAX, at(200_000)));
}
