//! Compaction against a model, and with the power cut at every step of it.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::log::{CompactionError, CompactionPolicy, CompactionReport, CompactionStart, CompactionTurn};
use crate::record::{Compression, ProducerStamp};
use crate::types::{ProducerEpoch, ProducerId, Sequence};

const POLICY: CompactionPolicy = CompactionPolicy { min_lag_ms: 0, delete_retention_ms: 1_000, dirty_percent_min: 0 };
const KEYS_BYTES_MAX: usize = 1 << 20;

/// Small and reproducible.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// A record as it was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Written {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    millis: i64,
}

/// A log of keys, and every record ever appended to it.
struct Keyed {
    log: PartitionLog,
    records: BTreeMap<u64, Written>,
    remembered: BTreeSet<Offset>,
    chance: Chance,
    sequence: i32,
    now: i64,
}

impl Keyed {
    fn new(bench: &Bench, seed: u64) -> Keyed {
        let (records, remembered) = (BTreeMap::new(), BTreeSet::new());
        Keyed { log: bench.create(), records, remembered, chance: Chance(seed), sequence: 0, now: 0 }
    }

    /// Appends a batch of records with random keys, some of them tombstones, some without a key, synced.
    fn append(&mut self, keys: u64) {
        let base = self.log.state().end.next_offset;
        let count = 1 + self.chance.below(6);
        let compression = Compression::ALL[usize::try_from(self.chance.below(10).min(4)).unwrap()];
        let compression = if self.chance.below(2) == 0 { Compression::None } else { compression };
        let producer = (self.chance.below(3) == 0).then(|| ProducerStamp {
            id: ProducerId::new(7).unwrap(),
            epoch: ProducerEpoch::new(0).unwrap(),
            base_sequence: Sequence::new(self.sequence),
        });
        let mut builder = BatchBuilder::new(BuilderOptions { compression, producer, ..BuilderOptions::default() });
        for number in 0..count {
            self.now += i64::try_from(self.chance.below(20)).unwrap();
            let key = format!("key-{}", self.chance.below(keys)).into_bytes();
            let key = (self.chance.below(20) > 0).then_some(key);
            let value = (self.chance.below(6) > 0).then(|| format!("{}-{}", base.get() + number, "v".repeat(20)));
            let value = value.map(String::into_bytes);
            builder.append(at(self.now), key.as_deref(), value.as_deref(), &[]).unwrap();
            self.records.insert(base.get() + number, Written { key, value, millis: self.now });
        }
        if producer.is_some() {
            self.sequence += i32::try_from(count).unwrap();
            self.remembered = BTreeSet::from([base]);
        }
        let batch = builder.finish().unwrap().number(base, epoch(1 + i32::try_from(base.get() / 60).unwrap()));
        self.log.append(&[batch], at(self.now)).unwrap();
        self.log.sync(self.log.state().end).unwrap();
    }

    fn start(&self, floor: Offset) -> CompactionStart {
        CompactionStart { floor, remembered: self.remembered.clone(), keys_bytes_max: KEYS_BYTES_MAX }
    }

    fn compact(&self, start: CompactionStart, turn_bytes: u64) -> CompactionReport {
        let Some(mut compaction) = self.log.begin_compaction(&POLICY, start, at(self.now)) else {
            return CompactionReport::default();
        };
        loop {
            if let CompactionTurn::Done(report) = self.log.compact(&mut compaction, turn_bytes).unwrap() {
                return report;
            }
        }
    }

    fn check(&self, compacted_to: u64, tombstones: Tombstones) {
        check(&self.log, &self.records, compacted_to, tombstones, Older::Gone);
        let bases: BTreeSet<Offset> = read_all(&self.log).iter().map(|batch| batch.header().base_offset).collect();
        assert!(self.remembered.is_subset(&bases), "a producer was forgotten");
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tombstones {
    AllThere,
    MayBeGone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Older {
    Gone,
    /// The compaction did not come to its end.
    MayStay,
}

fn read_all(log: &PartitionLog) -> Vec<Batch> {
    let (mut next, mut batches) = (log.log_start(), Vec::new());
    let end = log.state().end.next_offset;
    while next < end {
        let read = log.read(next, end, 700).unwrap();
        assert_eq!(read[0].header().base_offset, next, "no gap");
        next = read.last().unwrap().header().next_offset();
        batches.extend(read);
    }
    batches
}

/// Every record there is was appended so; of every key the newest is there; nothing beyond where compaction came is gone.
fn check(
    log: &PartitionLog,
    written: &BTreeMap<u64, Written>,
    compacted_to: u64,
    tombstones: Tombstones,
    older: Older,
) {
    let mut found = BTreeMap::new();
    for batch in read_all(log) {
        let header = *batch.header();
        let records: Vec<_> = batch.records().unwrap().map(Result::unwrap).collect();
        assert_eq!(records.len(), header.records_count as usize);
        let newest = records.iter().map(|record| record.timestamp).max();
        assert!(newest.is_none_or(|newest| newest == header.max_timestamp), "{header:?}");
        for record in records {
            let key = record.key.map(|key| key.to_vec());
            let value = record.value.map(|value| value.to_vec());
            found.insert(record.offset.get(), Written { key, value, millis: record.timestamp.millis() - START_MS });
        }
    }
    let mut newest: BTreeMap<&[u8], u64> = BTreeMap::new();
    for (offset, record) in written.range(..compacted_to) {
        if let Some(key) = &record.key {
            newest.insert(key, *offset);
        }
    }
    for (offset, record) in written {
        let is_newest = record.key.as_deref().is_none_or(|key| newest.get(key) == Some(offset));
        let must_stay = *offset >= compacted_to || is_newest;
        let may_go = record.value.is_none() && tombstones == Tombstones::MayBeGone && *offset < compacted_to;
        match found.remove(offset) {
            Some(there) => {
                assert_eq!(&there, record, "offset {offset}");
                assert!(must_stay || older == Older::MayStay, "offset {offset} is not the newest of its key");
            }
            None => assert!(!must_stay || may_go, "offset {offset} is gone: {record:?}"),
        }
    }
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn the_newest_of_every_key_stays() {
    for seed in 0..40 {
        let bench = Bench::new(900);
        let mut keyed = Keyed::new(&bench, seed);
        let mut compacted_to = 0;
        for round in 0..6 {
            (0..30).for_each(|_| keyed.append(12));
            let end = keyed.log.state().end.next_offset;
            let floor = if round % 2 == 0 { end } else { offset(end.get() * 3 / 4) };
            let turn_bytes = [1, 300, 5_000, u64::MAX][usize::try_from(seed % 4).unwrap()];
            let report = keyed.compact(keyed.start(floor), turn_bytes);
            compacted_to = compacted_to.max(report.compacted_to.get());
            assert!(report.compacted_to <= floor);
            let state = keyed.log.state();
            assert_eq!(state.file.compacted_to.get(), compacted_to);
            keyed.check(compacted_to, if round == 0 { Tombstones::AllThere } else { Tombstones::MayBeGone });
            assert_eq!(state.damage, None);
            let opened = bench.open();
            assert_eq!((opened.damage, opened.cut), (None, None), "seed {seed}");
            check(&opened.log, &keyed.records, compacted_to, Tombstones::MayBeGone, Older::Gone);
        }
    }
}

/// Everything an interrupted compaction may leave: what was there before it, or some of its segments in their new form.
#[test]
fn a_crash_at_any_step_loses_nothing() {
    let mut cases = 0;
    for scenario in 0..4 {
        for step in 0.. {
            let bench = Bench::new(600);
            let mut keyed = Keyed::new(&bench, 77 + scenario);
            (0..25).for_each(|_| keyed.append(4));
            if scenario >= 2 {
                // Once more, over segments that are of a second generation.
                keyed.compact(keyed.start(keyed.log.state().end.next_offset), u64::MAX);
                keyed.now += 2_000;
                (0..12).for_each(|_| keyed.append(4));
            }
            let end = keyed.log.state().end;
            let mut compaction =
                keyed.log.begin_compaction(&POLICY, keyed.start(end.next_offset), at(keyed.now)).unwrap();
            let first = bench.disk.points();
            bench.disk.cut_at(first + step);
            let turn_bytes = if scenario % 2 == 0 { u64::MAX } else { 400 };
            let done = loop {
                match keyed.log.compact(&mut compaction, turn_bytes) {
                    Ok(CompactionTurn::GoesOn) => {}
                    Ok(CompactionTurn::Done(_)) => break true,
                    Err(_) => break false,
                }
            };
            for seed in 0..4 {
                let cut = bench.on(bench.disk.power_cut(seed));
                let context = format!("scenario {scenario}, step {step}, seed {seed}");
                let opened = cut.open();
                assert_eq!((opened.damage, opened.cut), (None, None), "{context}");
                assert_eq!(opened.log.state().end.next_offset, end.next_offset, "{context}");
                check(&opened.log, &keyed.records, end.segment.get(), Tombstones::MayBeGone, Older::MayStay);
                let named: BTreeSet<String> =
                    opened.log.state().file.segments.iter().flat_map(|s| [s.log_name(), s.index_name()]).collect();
                let there: BTreeSet<String> = cut.names().into_iter().filter(|name| name != "partition.json").collect();
                assert_eq!(there, named, "{context}: nothing is left over, nothing set aside");
                let crashed = std::mem::replace(&mut keyed.log, opened.log);
                keyed.compact(keyed.start(end.next_offset), 1_000);
                keyed.check(end.segment.get(), Tombstones::MayBeGone);
                keyed.log = crashed;
                cases += 1;
            }
            if done {
                break;
            }
        }
    }
    assert!(cases > 400, "{cases}");
}

/// Memory for few keys: each compaction comes a little further, and the last one to the end.
#[test]
fn what_does_not_fit_into_memory_waits_for_the_next_time() {
    for keys_bytes_max in [0, 24 * 8, 24 * 20] {
        let bench = Bench::new(700);
        let mut keyed = Keyed::new(&bench, 5);
        (0..60).for_each(|_| keyed.append(40));
        let end = keyed.log.state().file.active().base;
        let (mut compacted_to, mut rounds) = (Offset::ZERO, 0);
        while compacted_to < end {
            let start = CompactionStart { keys_bytes_max, ..keyed.start(end) };
            let report = keyed.compact(start, 10_000);
            assert!(report.compacted_to > compacted_to, "it comes no further than {compacted_to}");
            compacted_to = report.compacted_to;
            rounds += 1;
            // Of batches with more records than there is ever room for some stay that a newer one replaces.
            let older = if keys_bytes_max < 24 * 12 { Older::MayStay } else { Older::Gone };
            check(&keyed.log, &keyed.records, compacted_to.get(), Tombstones::AllThere, older);
        }
        assert!(rounds > 3, "{rounds}");
    }
}

#[test]
fn tombstones_go_after_their_time_and_nothing_comes_back() {
    let bench = Bench::new(300);
    let mut keyed = Keyed::new(&bench, 1);
    let append = |keyed: &mut Keyed, key: &str, value: Option<&str>| {
        let base = keyed.log.state().end.next_offset;
        let mut builder = BatchBuilder::new(BuilderOptions::default());
        builder.append(at(keyed.now), Some(key.as_bytes()), value.map(str::as_bytes), &[]).unwrap();
        keyed.log.append(&[builder.finish().unwrap().number(base, epoch(1))], at(keyed.now)).unwrap();
        let (key, value) = (Some(key.into()), value.map(Into::into));
        keyed.records.insert(base.get(), Written { key, value, millis: keyed.now });
    };
    let fill = |keyed: &mut Keyed| (0..9).for_each(|n| append(keyed, &format!("other-{}", n % 3), Some("some value")));
    let tombstones = |keyed: &Keyed| {
        let batches = read_all(&keyed.log);
        let records = batches.iter().flat_map(|batch| batch.records().unwrap().map(Result::unwrap));
        records.filter(|record| record.value.is_none()).count()
    };
    append(&mut keyed, "gone", Some("a value"));
    fill(&mut keyed);
    append(&mut keyed, "gone", None);
    fill(&mut keyed);
    let mut seen = Vec::new();
    for millis in [10, 500, 1_009, 1_010, 1_011, 5_000] {
        keyed.now = millis;
        fill(&mut keyed);
        keyed.log.roll().unwrap();
        let end = keyed.log.state().end.next_offset;
        keyed.compact(keyed.start(end), u64::MAX);
        keyed.check(end.get(), Tombstones::MayBeGone);
        seen.push(tombstones(&keyed));
        let kept = read_all(&keyed.log);
        let gone = kept.iter().flat_map(|batch| batch.records().unwrap().map(Result::unwrap));
        assert_eq!(gone.filter(|record| record.key.as_deref() == Some(b"gone") && record.value.is_some()).count(), 0);
    }
    assert_eq!(seen, [1, 1, 1, 1, 0, 0], "kept through the 1000 ms after it was first cleaned at 10");
}

#[test]
fn young_records_and_their_segments_are_not_touched() {
    let bench = Bench::new(600);
    let mut keyed = Keyed::new(&bench, 3);
    (0..40).for_each(|_| keyed.append(3));
    let end = keyed.log.state().file.active().base;
    let policy = CompactionPolicy { min_lag_ms: keyed.now / 2, ..POLICY };
    let mut compaction = keyed.log.begin_compaction(&policy, keyed.start(end), at(keyed.now)).unwrap();
    let CompactionTurn::Done(report) = keyed.log.compact(&mut compaction, u64::MAX).unwrap() else { panic!("no end") };
    let first_young = keyed.records.iter().find(|(_, record)| record.millis > keyed.now - keyed.now / 2).unwrap();
    assert!(report.compacted_to.get() <= *first_young.0 && report.records_removed > 0, "{report:?}");
    keyed.check(report.compacted_to.get(), Tombstones::AllThere);
    assert_eq!(keyed.log.dirty(&policy, end, at(keyed.now)), None, "what is too young makes nothing dirty");
    assert!(keyed.log.dirty(&POLICY, end, at(keyed.now)).is_some());
    let half = CompactionPolicy { dirty_percent_min: 100, ..POLICY };
    assert_eq!(keyed.log.dirty(&half, end, at(keyed.now)), None, "some of it is clean");
}

/// Readers that began before a segment was replaced, or while it was, read what they would have read.
#[test]
fn reads_go_on_while_segments_are_replaced() {
    let bench = Bench::new(600);
    let mut keyed = Keyed::new(&bench, 8);
    (0..60).for_each(|_| keyed.append(5));
    let end = keyed.log.state().end.next_offset;
    let before = keyed.log.state().file;
    let newest = |time: i64| {
        keyed.log.batch_at_time(at(time), Offset::ZERO, end).unwrap().map(|batch| batch.header().base_offset)
    };
    let times: Vec<_> = (0..keyed.now).step_by(50).map(|time| (time, newest(time))).collect();
    let mut compaction = keyed.log.begin_compaction(&POLICY, keyed.start(end), at(keyed.now)).unwrap();
    let mut turns = 0;
    while keyed.log.compact(&mut compaction, 200).unwrap() == CompactionTurn::GoesOn {
        check(&keyed.log, &keyed.records, end.get(), Tombstones::AllThere, Older::MayStay);
        turns += 1;
    }
    assert!(turns > 20, "{turns}");
    // `partition.json` as it was names files that are gone: the read begins anew.
    let old = before.segments[0].base;
    assert!(matches!(keyed.log.read_in(&before, old, end, 1_000), Err(ReadError::Log(_))));
    assert!(!keyed.log.read(old, end, 1_000).unwrap().is_empty());
    for (time, found) in times {
        let now = newest(time);
        assert!(now >= found, "at {time}: {now:?} after {found:?}");
        let batch = now.map(|base| keyed.log.read(base, end, 1).unwrap().remove(0));
        assert!(batch.is_none_or(|batch| batch.header().max_timestamp >= at(time) && batch.header().records_count > 0));
    }
}

#[test]
fn damage_is_found_before_and_after() {
    let bench = Bench::new(600);
    let mut keyed = Keyed::new(&bench, 4);
    (0..40).for_each(|_| keyed.append(5));
    let end = keyed.log.state().file.active().base;
    let bytes = keyed.log.state().file.segments[1].sealed.unwrap().bytes;
    let second = Bench::files().log_of(&keyed.log.state().file.segments[1]);
    // Damage in what is to be compacted ends the compaction, and everything is as it was.
    bench.disk.flip_bit(&second, bytes / 2, 3).unwrap();
    let mut compaction = keyed.log.begin_compaction(&POLICY, keyed.start(end), at(keyed.now)).unwrap();
    let error = keyed.log.compact(&mut compaction, u64::MAX).unwrap_err();
    assert!(matches!(error, CompactionError::Damaged(_)), "{error}");
    assert!(bench.names().iter().all(|name| !name.ends_with(".tmp")), "{:?}", bench.names());
    bench.disk.flip_bit(&second, bytes / 2, 3).unwrap();
    keyed.check(0, Tombstones::AllThere);
    keyed.compact(keyed.start(end), u64::MAX);
    keyed.check(end.get(), Tombstones::MayBeGone);
    drop(keyed);
    // Every byte of a compacted segment is covered: what is flipped, cut out or missing is damage.
    let opened = bench.on(bench.disk.fork()).open();
    let first = opened.log.state().file.segments[0];
    assert!(first.generation > 0);
    let (path, bytes) = (Bench::files().log_of(&first), first.sealed.unwrap().bytes);
    for position in (0..bytes).step_by(7) {
        let damaged = bench.on(bench.disk.fork());
        damaged.disk.flip_bit(&path, position, u32::try_from(position % 8).unwrap()).unwrap();
        assert!(damaged.open().damage.is_some(), "byte {position}");
    }
    let whole = bench.disk.read_all(&path).unwrap();
    let header = crate::record::verify(&whole).unwrap();
    let lacking = bench.on(bench.disk.fork());
    lacking.disk.write_all(&path, &whole[header.total_bytes..]).unwrap();
    assert!(lacking.open().damage.is_some(), "a batch that is missing is no gap");
}

/// What fails on the way leaves the log as it is, and the next compaction does it.
#[test]
fn failures_on_the_way_do_no_harm() {
    use crate::disk::faulty::{OpKind, Rule};
    for (kind, part) in [
        (OpKind::Write, ".1.log"),
        (OpKind::Sync, ".1.log"),
        (OpKind::Rename, ".1.log"),
        (OpKind::Write, "partition.json"),
        (OpKind::Sync, "partition.json"),
        (OpKind::Rename, "partition.json"),
        (OpKind::Write, ".1.idx"),
        (OpKind::Remove, ".log"),
    ] {
        let bench = Bench::new(600);
        let mut keyed = Keyed::new(&bench, 6);
        (0..40).for_each(|_| keyed.append(5));
        let end = keyed.log.state().file.active().base;
        bench.disk.inject(Rule::failing(kind).on(part));
        let mut compaction = keyed.log.begin_compaction(&POLICY, keyed.start(end), at(keyed.now)).unwrap();
        let result = keyed.log.compact(&mut compaction, u64::MAX);
        assert_eq!(result.is_ok(), part == ".1.idx" || kind == OpKind::Remove, "{kind:?} {part}: {result:?}");
        bench.disk.clear_faults();
        check(&keyed.log, &keyed.records, end.get(), Tombstones::AllThere, Older::MayStay);
        keyed.compact(keyed.start(end), u64::MAX);
        keyed.check(end.get(), Tombstones::AllThere);
        let opened = bench.open();
        assert_eq!(opened.damage, None, "{kind:?} {part}");
        check(&opened.log, &keyed.records, end.get(), Tombstones::AllThere, Older::Gone);
    }
}

#[test]
fn retention_and_a_new_start_take_what_is_being_compacted() {
    let bench = Bench::new(600);
    let mut keyed = Keyed::new(&bench, 9);
    (0..40).for_each(|_| keyed.append(5));
    let end = keyed.log.state().file.active().base;
    let third = bases(&keyed.log)[2];
    let mut compaction = keyed.log.begin_compaction(&POLICY, keyed.start(end), at(keyed.now)).unwrap();
    while bench.names().iter().all(|name| !name.ends_with(".tmp")) {
        assert_eq!(keyed.log.compact(&mut compaction, 1).unwrap(), CompactionTurn::GoesOn);
    }
    keyed.log.advance_log_start(third).unwrap();
    let error = keyed.log.compact(&mut compaction, u64::MAX).unwrap_err();
    assert!(matches!(error, CompactionError::Superseded), "{error}");
    assert_eq!(bases(&keyed.log)[0], third);
    assert!(bench.names().iter().all(|name| !name.contains(".1.") && !name.ends_with(".tmp")), "{:?}", bench.names());
    keyed.compact(keyed.start(end), u64::MAX);
    assert_eq!(bench.open().damage, None);
}
