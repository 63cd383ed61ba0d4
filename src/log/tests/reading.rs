//! Append and read: what goes in comes out, from every offset, in every size, by time.

use super::*;

/// Reads once and compares with what the model says must come.
fn check(log: &PartitionLog, model: &Model, from: u64, upto: u64, bytes_max: usize) {
    let state = log.state();
    let read = log.read(offset(from), offset(upto), bytes_max).unwrap();
    let context = format!("from {from} upto {upto} bytes {bytes_max}");
    let Some(first) = model.holding(from).filter(|_| from < upto) else {
        assert!(read.is_empty(), "{context}");
        return;
    };
    let segment_end = state.file.segments.iter().map(|record| record.base.get()).find(|base| *base > from);
    let (mut expected, mut bytes) = (Vec::new(), 0);
    for batch in &model.batches[first..] {
        bytes += batch.bytes().len();
        let header = batch.header();
        let fits = expected.is_empty() || bytes <= bytes_max;
        let here = segment_end.is_none_or(|end| header.base_offset.get() < end);
        if !fits || !here || header.next_offset().get() > upto {
            break;
        }
        expected.push(batch.clone());
    }
    assert_eq!(read, expected, "{context}");
}

fn check_everywhere(log: &PartitionLog, model: &Model) {
    for from in log.log_start().get()..=model.end() {
        for bytes_max in [0, 1, 150, 400, 1_000, 5_000, usize::MAX] {
            check(log, model, from, model.end(), bytes_max);
        }
        for upto in from..=model.end() {
            check(log, model, from, upto, 600);
        }
    }
}

#[test]
fn every_offset_reads_back_in_every_size() {
    for segment_bytes in [1, 500, 1_500, 1 << 20] {
        let bench = Bench::new(segment_bytes);
        let (log, mut model) = (bench.create(), Model::default());
        check_everywhere(&log, &model);
        model.append(&log, &[1, 3, 2, 1, 1, 9, 1, 2, 1], 1);
        check_everywhere(&log, &model);
        model.append(&log, &[1, 1, 40, 1], 2);
        check_everywhere(&log, &model);
        if segment_bytes == 1 {
            assert_eq!(bases(&log).len(), model.batches.len(), "a segment takes at least one batch");
        }
        check_everywhere(&bench.open().log, &model);
    }
}

#[test]
fn a_batch_larger_than_one_read_comes_whole() {
    let bench = Bench::new(1 << 20);
    let log = bench.create();
    let mut model = Model::default();
    for value_bytes in [10, 40 << 10, 100, 200 << 10, 10, 70 << 10, 1] {
        let next = batch(model.end(), 2, value_bytes, 1, 0);
        log.append(std::slice::from_ref(&next), at(0)).unwrap();
        model.batches.push(next);
    }
    for from in 0..=model.end() {
        for bytes_max in [1, 1_000, 32 << 10, 100 << 10, 900 << 10] {
            check(&log, &model, from, model.end(), bytes_max);
        }
    }
}

#[test]
fn many_batches_in_one_append_roll_where_they_must() {
    let bench = Bench::new(1_000);
    let log = bench.create();
    let mut model = Model::default();
    for base in 0..60 {
        model.batches.push(batch(base, 1, 60, if base < 31 { 1 } else { 2 }, 0));
    }
    let end = log.append(&model.batches, at(0)).unwrap();
    assert_eq!(end.next_offset, offset(60));
    assert!(bases(&log).len() > 5);
    assert_eq!(log.state().file.history.epochs.entries(), [(epoch(1), offset(0)), (epoch(2), offset(31))]);
    check_everywhere(&log, &model);
    for record in &log.state().file.segments {
        let bytes = bench.disk.read_all(Bench::files().log(record.base)).unwrap();
        assert!(bytes.len() <= 1_000);
        assert_eq!(record.sealed.map_or(bytes.len() as u64, |sealed| sealed.bytes), bytes.len() as u64);
    }
}

#[test]
fn batches_are_numbered_densely() {
    let bench = Bench::new(700);
    let (log, model) = grown(&bench);
    assert_eq!(log.state().end.next_batch.get(), model.batches.len() as u64 + 1);
    for record in &log.state().file.segments {
        let before = model.holding(record.base.get()).unwrap_or(model.batches.len());
        assert_eq!(record.first_batch.get(), before as u64 + 1, "segment {}", record.base);
    }
    assert_eq!(bench.open().log.state().end, log.state().end);
}

#[test]
fn the_first_batch_that_reaches_a_time() {
    let times = [10, 50, 20, 60, 60, 5, 200, 100, 300];
    for segment_bytes in [1, 300, 1 << 20] {
        let bench = Bench::new(segment_bytes);
        let log = bench.create();
        for (base, millis) in (0..).zip(times) {
            log.append(&[batch(base, 1, 50, 1, millis)], at(1_000)).unwrap();
        }
        for log in [log, bench.open().log] {
            for asked in [0, 10, 11, 50, 51, 60, 61, 200, 201, 300, 301] {
                for upto in 0..=times.len() {
                    let expected = times[..upto].iter().position(|millis| *millis >= asked);
                    let found = log.batch_at_time(at(asked), Offset::ZERO, offset(upto as u64)).unwrap();
                    let found = found.map(|batch| batch.header().base_offset.get());
                    assert_eq!(found, expected.map(|base| base as u64), "{segment_bytes}: {asked} below {upto}");
                }
            }
        }
    }
}

/// The index held when batches without a time were appended, and the search compared what the records say: it found none
/// of them, and a reader that asked for an hour ago began at the end.
#[test]
fn batches_without_a_time_count_as_old_as_their_append() {
    for segment_bytes in [1, 300, 1 << 20] {
        let bench = Bench::new(segment_bytes);
        let log = bench.create();
        for base in 0..40 {
            let untimed = batch(base, 1, 50, 1, -1 - at(0).millis());
            assert_eq!(untimed.header().max_timestamp, Timestamp::NONE);
            log.append(&[untimed], at(100 + 10 * base.cast_signed())).unwrap();
        }
        let (context, files) = (bench.context(), Bench::files());
        let again = PartitionLog::open(context, files, bench.options, None, at(1_000), &mut Visits::default());
        for log in [log, again.unwrap().log] {
            let found = |asked| {
                log.batch_at_time(at(asked), Offset::ZERO, offset(40)).unwrap().map(|b| b.header().base_offset.get())
            };
            for asked in 0..=490_i64 {
                let exact = (asked.max(100) - 100 + 9).cast_unsigned() / 10;
                assert!(found(asked).is_some_and(|found| found <= exact), "{segment_bytes}: {asked}");
                if segment_bytes == 1 {
                    assert_eq!(found(asked), Some(exact), "a segment for each is exact");
                }
            }
        }
    }
}

/// A batch from the future was found or not by whether its segment was sealed.
#[test]
fn a_batch_from_the_future_counts_as_an_hour_ahead() {
    const HOUR: i64 = 3_600_000;
    for segment_bytes in [1, 1 << 20] {
        let bench = Bench::new(segment_bytes);
        let log = bench.create();
        log.append(&[batch(0, 1, 50, 1, 100 * HOUR)], at(1_000)).unwrap();
        log.append(&[batch(1, 1, 50, 1, 2_000)], at(2_000)).unwrap();
        for (asked, expected) in [(0, Some(0)), (HOUR, Some(0)), (HOUR + 1_001, None), (99 * HOUR, None)] {
            let found = log.batch_at_time(at(asked), Offset::ZERO, offset(2)).unwrap();
            assert_eq!(found.map(|batch| batch.header().base_offset.get()), expected, "{segment_bytes}: {asked}");
        }
    }
}

#[test]
fn nothing_below_the_log_start_is_read() {
    let bench = Bench::new(700);
    let (log, model) = grown(&bench);
    for log_start in bases(&log) {
        log.advance_log_start(log_start).unwrap();
        for from in 0..log_start.get() {
            let refused = log.read(offset(from), offset(model.end()), 100);
            assert!(matches!(refused, Err(ReadError::BelowLogStart { log_start: at, .. }) if at == log_start));
        }
        check_everywhere(&log, &model);
    }
}

#[test]
fn sealed_segments_stay_open_only_so_many() {
    let bench = Bench::new(1);
    let (log, mut model) = (bench.create(), Model::default());
    model.append(&log, &[1; 12], 1);
    for from in 0..12 {
        check(&log, &model, from, 12, 10);
        assert!(log.context.handles.len() <= 2);
    }
    assert_eq!(log.context.handles.len(), 2);
    log.advance_log_start(offset(12)).unwrap();
    assert!(log.context.handles.is_empty(), "segments that are gone are closed");
}
