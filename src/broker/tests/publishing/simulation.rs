//! Publishers that repeat themselves, on a disk that fills up and a machine that loses power, replayed from a seed: what was
//! answered with success is stored where the answer said, and no id is stored twice.

use std::collections::BTreeMap;

use super::*;
use crate::disk::faulty::{Fault, OpKind, Rule};
use std::io::ErrorKind;

const PUBLISHERS: usize = 3;
const IDS: u64 = 30;
const STEPS: usize = 400;

/// A small generator: the same seed, the same run.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }
}

type Place = (u32, u64);

struct Simulation {
    rig: Rig,
    publishers: Vec<Publisher>,
    chance: Seeded,
    next_token: u64,
    now: i64,
    /// The ids that an answer of this token is about, and their partition.
    asked: BTreeMap<u64, (u32, Vec<String>)>,
    /// Where ids are, by answers that must outlive a power cut.
    told: BTreeMap<String, Place>,
    counts: BTreeMap<&'static str, u32>,
}

impl Simulation {
    fn new(seed: u64) -> Simulation {
        let mut options = options();
        options.partition.inline_write_bytes_max = if seed.is_multiple_of(2) { 1 << 16 } else { 0 };
        let rig = try_open(&FaultyDisk::new(), 1, options).unwrap();
        rig.create("events", 3, 10);
        let publishers = (0..PUBLISHERS).map(|_| Publisher::new(&rig)).collect();
        let (asked, told, counts) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let chance = Seeded(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        Simulation { rig, publishers, chance, next_token: 0, now: 0, asked, told, counts }
    }

    fn step(&mut self) {
        match self.chance.below(100) {
            0..45 => self.add(),
            45..60 => {
                let which = self.publisher();
                self.flush(which);
            }
            60..90 => self.work(),
            90..93 => self.rig.disk.inject(Rule::new(Fault::Fail(OpKind::Write, ErrorKind::StorageFull)).on(".log")),
            93..98 => {
                self.now += 1_100;
                self.rig.disk.clear_faults();
                self.rig.broker.step(at(self.now));
            }
            _ => self.restart(),
        }
        self.take_answers();
    }

    fn publisher(&mut self) -> usize {
        usize::try_from(self.chance.below(PUBLISHERS as u64)).unwrap()
    }

    fn add(&mut self) {
        let (which, id) = (self.publisher(), self.chance.below(IDS).to_string());
        self.next_token += 1;
        let token = self.next_token;
        self.publishers[which].ack =
            [AckLevel::None, AckLevel::Durable, AckLevel::Durable][usize::try_from(self.chance.below(3)).unwrap()];
        // Entered before, for the answer may come at once; a publish that is gathered is answered with its batch.
        self.asked.insert(token, (0, vec![id.clone()]));
        let became = self.publishers[which].add("events", &id, token);
        self.regroup();
        match became {
            Ok(Became::Repeated(partition, offset)) => {
                self.count("repeated");
                if let Some(&told) = self.told.get(&id) {
                    assert_eq!((partition, offset), told, "{id} moved");
                }
                self.asked.get_mut(&token).unwrap().0 = partition;
            }
            Ok(Became::Gathered) => self.count("gathered"),
            Ok(Became::Waits) => self.count("waits"),
            Err(_) => self.count("refused"),
        }
    }

    /// Appends what one publisher has gathered.
    fn flush(&mut self, which: usize) {
        self.publishers[which].flush();
        self.regroup();
    }

    /// Joins the entries of publishes that went into one batch.
    fn regroup(&mut self) {
        for publisher in &self.publishers {
            for (partition, tokens) in publisher.appended.lock().drain(..) {
                let ids = tokens.iter().flat_map(|token| self.asked.remove(token).unwrap().1).collect();
                self.asked.insert(tokens[0], (partition, ids));
            }
        }
    }

    fn work(&mut self) {
        let waiting = self.rig.queue.0.lock().len() as u64;
        if waiting > 0 {
            let which = usize::try_from(self.chance.below(waiting)).unwrap();
            let (partition, work) = self.rig.queue.0.lock().remove(which).unwrap();
            partition.run(work, at(self.now));
        }
    }

    fn take_answers(&mut self) {
        let answers: Vec<_> = self.publishers.iter().flat_map(Publisher::take_answers).collect();
        for answer in answers {
            let (token, outcome) = answer.split_once(' ').unwrap();
            let (partition, ids) = self.asked.remove(&token.parse().unwrap()).unwrap();
            let Some(base) = outcome.strip_prefix("at ") else {
                self.count("failed");
                continue;
            };
            for (id, offset) in ids.into_iter().zip(base.parse::<u64>().unwrap()..) {
                let told = *self.told.entry(id.clone()).or_insert((partition, offset));
                assert_eq!(told, (partition, offset), "{id} was told to be elsewhere");
            }
        }
    }

    fn restart(&mut self) {
        self.count("restarts");
        let seed = self.chance.below(1_000);
        let disk = if seed.is_multiple_of(2) { self.rig.disk.kill() } else { self.rig.disk.power_cut(seed) };
        self.publishers.clear();
        self.asked.clear();
        self.rig = try_open(&disk, 1, self.rig.broker.options().clone()).unwrap();
        self.publishers = (0..PUBLISHERS).map(|_| Publisher::new(&self.rig)).collect();
        self.check();
    }

    /// That what was told is so, and that no id is stored twice.
    fn check(&mut self) {
        let mut stored = BTreeMap::new();
        for index in 0..3 {
            for (offset, id) in ids(&self.rig.partition("events", index)) {
                let earlier = stored.insert(id.clone(), (index, offset));
                assert_eq!(earlier, None, "{id} is stored twice, also at {index}:{offset}");
            }
        }
        for (id, told) in &self.told {
            assert_eq!(stored.get(id), Some(told), "{id}");
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }
}

/// The ids of a partition's committed records, by offset.
fn ids(partition: &Arc<Partition>) -> Vec<(u64, String)> {
    let (mut next, mut all) = (Offset::ZERO, Vec::new());
    loop {
        let batches = match partition.read(next, 1_000).unwrap() {
            Read::Batches(batches) => batches,
            Read::Disk(read) => read.run().unwrap(),
        };
        let Some(last) = batches.last() else { return all };
        next = last.header().next_offset();
        for record in batches.iter().flat_map(|batch| batch.records().unwrap().without_stamps()).map(Result::unwrap) {
            let id = record.headers[0].value.as_deref().unwrap();
            all.push((record.offset.get(), String::from_utf8(id.to_vec()).unwrap()));
        }
    }
}

#[test]
fn no_id_is_stored_twice_and_no_answer_is_a_lie() {
    let mut counts = BTreeMap::<_, u32>::new();
    for seed in 1..=150 {
        let mut simulation = Simulation::new(seed);
        (0..STEPS).for_each(|_| simulation.step());
        simulation.restart();
        for (what, count) in simulation.counts {
            *counts.entry(what).or_default() += count;
        }
    }
    for what in ["repeated", "gathered", "waits", "failed", "restarts"] {
        assert!(counts.get(what).is_some_and(|&count| count > 100), "{what}: {counts:?}");
    }
}
