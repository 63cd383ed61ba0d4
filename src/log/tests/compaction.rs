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
        let mut builder = BatchBuilder::new(BuilderOptions { compression, producer, capacity: 0 });
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
fn check(log: &PartitionLog, written: &BTreeMap<u64, Written>, compacted_to: u64, tombstones: Tombstones, older: Older) {
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
