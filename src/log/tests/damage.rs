//! Damage in stored bytes: always noticed when its batch is read, never served, and never in the way of other batches.

use super::*;
use crate::disk::faulty::{Fault, Rule};

/// A batch's place in its segment's file.
struct Place {
    segment: Offset,
    start: u64,
    end: u64,
}

fn places(log: &PartitionLog, model: &Model) -> Vec<Place> {
    let (all, mut position) = (bases(log), 0);
    let place = |batch: &Batch| {
        let base = batch.header().base_offset;
        if all.contains(&base) {
            position = 0;
        }
        let start = position;
        position += batch.bytes().len() as u64;
        let segment = *all.iter().rfind(|first| **first <= base).unwrap();
        Place { segment, start, end: position }
    };
    model.batches.iter().map(place).collect()
}

/// Reads every batch: the damaged one gives an error that says where to go on, every other one its own bytes.
fn check(log: &PartitionLog, model: &Model, damaged: usize, context: &str) {
    let end = offset(model.end());
    for (number, batch) in model.batches.iter().enumerate() {
        let from = batch.header().last_offset();
        let read = log.read(from, end, 1);
        if number != damaged {
            assert_eq!(
                read.unwrap_or_else(|error| panic!("{context}: {error}")),
                std::slice::from_ref(batch),
                "{context}"
            );
            continue;
        }
        let Err(ReadError::Corrupt { resume, .. }) = read else { panic!("{context}: {read:?}") };
        let following = model.batches.get(damaged + 1).map(|batch| batch.header().base_offset);
        assert_eq!(resume, following, "{context}");
        assert!(log.state().damage.is_some(), "{context}");
    }
    for bytes_max in [600, 100_000] {
        let mut next = Offset::ZERO;
        while next < end {
            match log.read(next, end, bytes_max) {
                Ok(batches) => {
                    for batch in batches {
                        let number = model.holding(next.get()).unwrap();
                        assert_eq!(batch, model.batches[number], "{context}");
                        assert_ne!(number, damaged, "{context}");
                        next = batch.header().next_offset();
                    }
                }
                Err(ReadError::Corrupt { resume, .. }) => {
                    assert_eq!(model.holding(next.get()), Some(damaged), "{context}");
                    next = resume.unwrap_or(end);
                }
                Err(error) => panic!("{context}: {error}"),
            }
        }
    }
}

/// Damages one byte of a grown log at a time, live or before it is opened.
fn check_flips(step: usize, before_open: bool) {
    let bench = Bench::new(900);
    let (log, model) = grown(&bench);
    let places = places(&log, &model);
    drop(log);
    let mut cases = 0_u32;
    for (damaged, place) in places.iter().enumerate() {
        let path = Bench::files().log(place.segment);
        let edge = place.start..(place.start + 61).min(place.end);
        let body = (place.start + 61..place.end).step_by(step);
        for position in edge.step_by(step.div_ceil(4)).chain(body) {
            for pattern in [0x01_u8, 0x80, 0xff] {
                let copy = bench.on(bench.disk.fork());
                let flip = || {
                    let bits = (0..8).filter(|bit| pattern & (1 << bit) != 0);
                    bits.for_each(|bit| copy.disk.flip_bit(&path, position, bit).unwrap());
                };
                let context = format!("batch {damaged}, byte {position} of {}, pattern {pattern:#x}", place.segment);
                if before_open {
                    flip();
                }
                let opened = copy.open();
                if before_open {
                    let report = opened.damage.as_ref().unwrap_or_else(|| panic!("{context}: not noticed"));
                    assert_eq!((report.segment, report.position), (place.segment, place.start), "{context}");
                } else {
                    flip();
                }
                check(&opened.log, &model, damaged, &context);
                cases += 1;
            }
        }
    }
    assert!(cases > 100, "{cases}");
}

/// In a debug build a sample; in a release build every byte.
const STEP: usize = if cfg!(debug_assertions) { 13 } else { 1 };

#[test]
fn every_byte_damaged_under_an_open_log() {
    check_flips(STEP, false);
}

#[test]
fn every_byte_damaged_before_the_log_is_opened() {
    check_flips(STEP, true);
}

/// A log that is open, and a file that ends early all of a sudden: reading went round for ever.
#[test]
fn a_file_cut_short_under_an_open_log() {
    let bench = Bench::new(900);
    let (_, model) = grown(&bench);
    for segment in bases(&bench.open().log) {
        let path = Bench::files().log(segment);
        let len = bench.disk.read_all(&path).unwrap().len();
        for keep in (0..len).step_by(7) {
            let copy = bench.on(bench.disk.fork());
            let log = copy.open().log;
            let bytes = copy.disk.read_all(&path).unwrap();
            copy.disk.write_all(&path, &bytes[..keep]).unwrap();
            let mut lost = 0;
            for batch in &model.batches {
                match log.read(batch.header().base_offset, offset(model.end()), 1) {
                    Ok(read) => assert_eq!(read, std::slice::from_ref(batch)),
                    Err(ReadError::Corrupt { .. }) => lost += 1,
                    Err(error) => panic!("{error}"),
                }
            }
            assert!(lost > 0, "{segment} cut to {keep}");
        }
    }
}

/// Reads all from a disk that answers one read wrongly, at each read in turn.
fn check_transient(fault: &Fault) {
    let bench = Bench::new(900);
    let (log, model) = grown(&bench);
    drop(log);
    for nth in 1..40 {
        let copy = bench.on(bench.disk.fork());
        let log = copy.open().log;
        log.read(Offset::ZERO, offset(1), 1).unwrap();
        copy.disk.inject(Rule::new(fault.clone()).on(".log").nth(nth));
        for batch in &model.batches {
            let read = log.read(batch.header().base_offset, offset(model.end()), 1).unwrap();
            assert_eq!(read, std::slice::from_ref(batch), "{fault:?} at read {nth}");
        }
        assert_eq!(log.state().damage, None, "{fault:?} at read {nth}: a second read was right");
    }
}

#[test]
fn one_wrong_read_is_read_again() {
    let other = Bench::files().log(Offset::ZERO);
    check_transient(&Fault::ReadFlip { position: 30, bit: 3 });
    check_transient(&Fault::ReadFlip { position: 100, bit: 0 });
    check_transient(&Fault::MisdirectedRead { path: None, position: 0 });
    check_transient(&Fault::MisdirectedRead { path: None, position: 512 });
    check_transient(&Fault::MisdirectedRead { path: Some(other), position: 0 });
}

/// A start that reads one sector wrongly must not report damage, and must not cut off records as a torn tail.
#[test]
fn one_wrong_read_at_the_start_costs_nothing() {
    let bench = Bench::new(900);
    let (log, mut model) = grown(&bench);
    model.append_unsynced(&log, &[1], 3);
    drop(log);
    for nth in 1..12 {
        let copy = bench.on(bench.disk.fork());
        copy.disk.inject(Rule::new(Fault::ReadFlip { position: 20, bit: 1 }).on(".log").nth(nth));
        let opened = copy.open();
        assert_eq!((opened.damage, opened.cut), (None, None), "read {nth}");
        model.check_all(&opened.log);
    }
}

/// A record may itself hold bytes that look like the batch that follows: they are never taken for it.
#[test]
fn a_batch_within_a_record_is_not_the_next_batch() {
    let bench = Bench::new(1 << 20);
    let log = bench.create();
    let inner = batch(1, 1, 40, 1, 0);
    let mut builder = BatchBuilder::new(BuilderOptions::default());
    builder.append(at(0), None, Some(inner.bytes()), &[]).unwrap();
    let outer = builder.finish().unwrap().number(offset(0), epoch(1));
    let next = batch(1, 1, 30, 1, 0);
    let last = batch(2, 1, 30, 1, 0);
    let model = Model { batches: vec![outer, next, last] };
    log.append(&model.batches, at(0)).unwrap();
    bench.disk.flip_bit(Bench::files().log(Offset::ZERO), 40, 0).unwrap();
    check(&log, &model, 0, "the outer batch's header");
}

#[test]
fn an_index_that_lies_misleads_nobody() {
    let bench = Bench::new(1 << 20);
    let (log, mut model) = (bench.create(), Model::default());
    model.append(&log, &[1, 3, 2, 1, 1, 5, 1, 2], 1);
    drop(log);
    let path = Bench::files().index(Offset::ZERO);
    let (index, marks, _) = decode_index_file(Offset::ZERO, &bench.disk.read_all(&path).unwrap()).unwrap();
    assert!(index.entries().len() > 2);
    for shift in [1, 61, 100] {
        let mut bytes = IndexSlot::Header.encode(Offset::ZERO).to_vec();
        for entry in index.entries() {
            let wrong = IndexEntry { position: entry.position + shift, ..*entry };
            bytes.extend_from_slice(&IndexSlot::Entry(wrong).encode(Offset::ZERO));
        }
        bytes.extend_from_slice(&IndexSlot::Mark(*marks.last().unwrap()).encode(Offset::ZERO));
        let copy = bench.on(bench.disk.fork());
        copy.disk.write_all(&path, &bytes).unwrap();
        let opened = copy.open();
        assert_eq!(opened.damage, None);
        opened.log.roll().unwrap();
        copy.disk.write_all(&path, &bytes).unwrap();
        model.check_all(&opened.log);
        assert_eq!(opened.log.state().damage, None, "the index is no evidence");
    }
}
