//! Reads from the tail and from files give the same; damage found while reading stops the writes alone.

use super::*;
use crate::log::Gap;
use crate::record::Compression;

/// Appends batches to two partitions that differ in nothing but their tail, and reads both from everywhere.
fn check(tail_bytes: usize, expects_disk: bool) {
    let log = LogOptions { segment_bytes: 2_000, ..options().log };
    let options = PartitionOptions { log, ..options() };
    let (with, without) = (Rig::with_tail(options, tail_bytes), Rig::with_tail(options, 0));
    for number in 0..40 {
        for rig in [&with, &without] {
            rig.partition.append(produced(1 + number % 3, "r", None), AckLevel::Leader, None, at(0)).unwrap();
            if number % 4 == 3 {
                rig.settle();
            }
        }
        assert!(with.context.tails.used() <= tail_bytes);
    }
    assert_eq!(without.context.tails.used(), 0);
    let (mut from_tail, mut from_disk) = (0, 0);
    for from in 0..with.partition.offsets().high_watermark().get() {
        for bytes_max in [1, 200, 10_000] {
            let Read::Disk(read) = without.partition.read(offset(from), bytes_max).unwrap() else { panic!("no tail") };
            let expected = read.run().unwrap();
            match with.partition.read(offset(from), bytes_max).unwrap() {
                Read::Disk(read) => {
                    from_disk += 1;
                    assert_eq!(read.run().unwrap(), expected);
                }
                Read::Batches(batches) => {
                    from_tail += 1;
                    let common = expected.len().min(batches.len());
                    assert!(common > 0);
                    assert_eq!(batches[..common], expected[..common], "a file's read ends with its segment");
                }
            }
        }
    }
    assert_eq!((from_disk > 0, from_tail > 0), (expects_disk, tail_bytes > 0), "{tail_bytes}: {from_disk} {from_tail}");
}

#[test]
fn tail_and_files_tell_the_same() {
    check(0, true);
    check(300, true);
    check(2_000, true);
    check(1 << 20, false);
}

#[test]
fn partitions_share_one_budget() {
    let rig = Rig::with_tail(options(), 3_000);
    let (busy, busy_queue) = rig.another_partition(1, false);
    for token in 0..8 {
        rig.append(token, AckLevel::None).unwrap();
    }
    rig.settle();
    let idle_used = rig.context.tails.used();
    for _ in 0..100 {
        busy.append(produced(1, "busy", None), AckLevel::None, None, at(0)).unwrap();
        assert!(rig.context.tails.used() <= 3_000);
    }
    assert!(rig.context.tails.used() > idle_used);
    drop(busy);
    busy_queue.0.lock().clear();
    assert!(rig.context.tails.used() >= idle_used);
}

#[test]
fn nothing_above_the_high_watermark_is_read() {
    for tail_bytes in [0, 1 << 20] {
        let rig = Rig::with_tail(options(), tail_bytes);
        rig.append(0, AckLevel::None).unwrap();
        rig.settle();
        rig.append(1, AckLevel::None).unwrap();
        rig.run(Work::Write);
        rig.append(2, AckLevel::None).unwrap();
        assert_eq!(rig.offsets(), [0, 1, 1, 2, 3]);
        assert_eq!(rig.read_all().len(), 1);
        assert!(matches!(rig.partition.read(offset(1), 9), Ok(Read::Batches(batches)) if batches.is_empty()));
        assert!(matches!(rig.partition.read(offset(2), 9), Err(ReadFailure::OutOfRange { .. })));
    }
}

#[test]
fn offsets_by_time() {
    let rig = Rig::new(options());
    let mut builder = BatchBuilder::new(BuilderOptions::default());
    for millis in [10, 30, 20, 40] {
        builder.append(at(millis), None, None, &[]).unwrap();
    }
    rig.partition.append(builder.finish().unwrap(), AckLevel::None, None, at(0)).unwrap();
    assert_eq!(rig.partition.offset_at_time(at(0)).unwrap(), None, "not committed yet");
    rig.settle();
    for (millis, expected) in [(0, Some(0)), (11, Some(1)), (31, Some(3)), (40, Some(3)), (41, None)] {
        assert_eq!(rig.partition.offset_at_time(at(millis)).unwrap().map(Offset::get), expected, "{millis}");
    }
}

/// Kafka's clients are told of the record itself, and of none where the log merely cannot say.
#[test]
fn records_by_their_own_time() {
    for (segment_bytes, compression) in [(100, Compression::None), (1 << 20, Compression::Lz4)] {
        let log = LogOptions { segment_bytes, ..options().log };
        let rig = Rig::new(PartitionOptions { log, ..options() });
        let none = -1 - START_MS;
        let batches = [&[none][..], &[10, 30, 20], &[40, none, 40], &[none], &[35], &[none]];
        for times in batches {
            let mut builder = BatchBuilder::new(BuilderOptions { compression, ..BuilderOptions::default() });
            for millis in times {
                builder.append(at(*millis), None, None, &[]).unwrap();
            }
            rig.partition.append(builder.finish().unwrap(), AckLevel::None, None, at(0)).unwrap();
        }
        assert_eq!(
            (rig.partition.record_at_time(at(0)).unwrap(), rig.partition.newest_record().unwrap()),
            (None, None)
        );
        rig.settle();
        let found = |found: Option<TimedRecord>| {
            found.map(|found| (found.offset.get(), found.timestamp.millis() - START_MS, found.epoch))
        };
        let expected = [(0, (1, 10)), (11, (2, 30)), (21, (2, 30)), (31, (4, 40)), (36, (4, 40)), (40, (4, 40))];
        for (millis, (offset, time)) in expected {
            let record = rig.partition.record_at_time(at(millis)).unwrap();
            assert_eq!(found(record), Some((offset, time, Some(epoch(1)))), "{millis}");
        }
        assert_eq!(rig.partition.record_at_time(at(41)).unwrap(), None);
        assert_eq!(found(rig.partition.newest_record().unwrap()), Some((4, 40, Some(epoch(1)))), "the first of two");

        // Within the batch that holds the newest record, and behind it.
        for (before, by_time, newest) in [(5, (6, 40), (6, 40)), (7, (8, 35), (8, 35))] {
            rig.partition.delete_before(Some(offset(before)), |_| ());
            rig.settle();
            let at_time = found(rig.partition.record_at_time(at(0)).unwrap()).unwrap();
            assert_eq!((at_time.0, at_time.1), by_time, "from {before}");
            let newest_now = found(rig.partition.newest_record().unwrap()).unwrap();
            assert_eq!((newest_now.0, newest_now.1), newest, "from {before}");
        }
    }
}

#[test]
fn epochs_end_where_the_next_begins() {
    let mut rig = Rig::new(options());
    let end = |rig: &Rig, asked| rig.partition.epoch_end(epoch(asked)).map(|(epoch, end)| (epoch.get(), end.get()));
    assert_eq!((end(&rig, 1), end(&rig, 2)), (Some((1, 0)), None));
    for _ in 0..2 {
        rig.append(1, AckLevel::Durable).unwrap();
        rig.settle();
        rig = rig.reopen(rig.disk.kill(), None).0;
    }
    // Epoch 3 has begun and written nothing.
    assert_eq!([1, 2, 3, 4].map(|asked| end(&rig, asked)), [Some((1, 1)), Some((2, 2)), Some((3, 2)), None]);
    rig.partition.become_follower(epoch(5), None).unwrap();
    rig.partition.become_leader(epoch(6)).unwrap();
    assert_eq!([2, 4, 6].map(|asked| end(&rig, asked)), [Some((2, 2)), Some((2, 2)), Some((6, 2))]);
    rig.append(1, AckLevel::Durable).unwrap();
    rig.settle();
    assert_eq!([2, 4, 6].map(|asked| end(&rig, asked)), [Some((2, 2)), Some((2, 2)), Some((6, 3))]);
    assert_eq!(rig.partition.epoch_at(offset(1)), Some(epoch(2)));
    rig.partition.delete_before(None, |_| ());
    rig.settle();
    assert_eq!([1, 2].map(|asked| end(&rig, asked)), [Some((1, 2)), Some((2, 2))], "all that is known is newer");
}

#[test]
fn damage_found_by_a_reader_stops_writes_and_no_other_read() {
    let rig = Rig::with_tail(options(), 0);
    for token in 0..3 {
        rig.append(token, AckLevel::Durable).unwrap();
    }
    rig.settle();
    let bytes = rig.partition.log().state().end.position / 3;
    rig.disk.flip_bit("/data/events_p0/00000000000000000000.log", bytes + 65, 1).unwrap();
    rig.append(3, AckLevel::Durable).unwrap();
    rig.events.take();
    let read = |from| match rig.partition.read(offset(from), 1).unwrap() {
        Read::Disk(read) => read.run(),
        Read::Batches(_) => panic!("there is no tail"),
    };
    assert_eq!(read(0).unwrap().len(), 1);
    assert_eq!(rig.partition.status(), PartitionStatus::Leader);
    assert!(matches!(read(1), Err(ReadFailure::Corrupt { .. })));
    assert!(matches!(rig.partition.status(), PartitionStatus::Failed(_)));
    assert_eq!(rig.events.take(), ["3 failed"]);
    assert!(matches!(rig.append(4, AckLevel::None), Err(AppendError::StorageFailed(_))));
    assert_eq!((read(0).unwrap().len(), read(2).unwrap().len()), (1, 1));
    let Err(ReadFailure::Corrupt { resume, .. }) = read(1) else { panic!("it is still damaged") };
    assert_eq!(resume, Some(offset(2)), "where to go on");
}

/// A repair may give up everything up to the log's end: nothing is committed there, whatever the high watermark says.
#[test]
fn a_gap_at_the_log_s_end_is_nothing_to_read() {
    let rig = Rig::new(options());
    let mut file = rig.partition.log().state().file.as_ref().clone();
    file.history.gaps.push(Gap { from: offset(0), to: offset(5) });
    file.segments[0].base = offset(5);
    rig.disk.write_all("/data/events_p0/partition.json", &file.encode().unwrap()).unwrap();
    let (again, _) = rig.reopen(rig.disk.fork(), None);
    assert_eq!(again.offsets(), [0, 5, 5, 5, 5]);
    for from in 0..=5 {
        assert_eq!(again.partition.behind_gap(offset(from)), offset(5));
        assert!(again.partition.poll_readable(offset(from), &again.waker("readable")).is_pending(), "{from}");
    }
    again.append(1, AckLevel::Durable).unwrap();
    again.settle();
    assert!(again.events.take().iter().any(|event| event == "readable"));
    assert!(again.partition.poll_readable(offset(0), &again.waker("readable")).is_ready());
    assert_eq!(again.read_all()[0].header().base_offset, offset(5));
}
