//! What the script did and what it was told: the only witness against which a recovered broker is judged. Knows nothing
//! of files.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use wiber::record::{BatchBuilder, BuilderOptions, ProducedBatch, ProducerStamp};
use wiber::replica::AckLevel;
use wiber::types::{Epoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicId};

/// One partition of one topic; a topic created anew has another.
pub(crate) type Key = (TopicId, u32);

/// What a batch is made from; the same one gives the same bytes.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    /// Producer and base sequence, where it is an idempotent one's.
    pub(crate) producer: Option<(i64, Sequence)>,
    /// The length of each record's value, in bytes.
    pub(crate) values: Arc<[usize]>,
    /// Tells batches apart.
    pub(crate) salt: u64,
    /// The time of its records.
    pub(crate) at: Timestamp,
}

impl Spec {
    /// The batch.
    pub(crate) fn build(&self) -> ProducedBatch {
        let producer = self.producer.map(|(id, sequence)| ProducerStamp {
            id: ProducerId::new(id).expect("not negative"),
            epoch: ProducerEpoch::new(0).expect("not negative"),
            base_sequence: Some(sequence),
        });
        let mut builder = BatchBuilder::new(BuilderOptions { producer, ..BuilderOptions::default() });
        for (number, length) in self.values.iter().enumerate() {
            let key = format!("{}/{number}", self.salt);
            let value: Vec<u8> = key.bytes().cycle().take(*length).collect();
            builder.append(self.at, Some(key.as_bytes()), Some(&value), &[]).expect("small");
        }
        builder.finish().expect("has a record")
    }

    fn records_count(&self) -> u32 {
        u32::try_from(self.values.len()).expect("few")
    }
}

/// Whether a batch may, or must, be in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nobody took it back.
    Standing,
    /// It is being taken back: it may be there or not.
    Leaving,
    /// It was taken back, or a crash lost it: it must never be seen again.
    Gone,
}

/// A batch that was handed to a partition.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) spec: Spec,
    pub(crate) base: Offset,
    pub(crate) next: Offset,
    pub(crate) epoch: Epoch,
    pub(crate) bytes: Bytes,
    pub(crate) wants: AckLevel,
    pub(crate) is_answered: bool,
    pub(crate) fate: Fate,
}

/// One partition's history.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    pub(crate) attempts: Vec<Attempt>,
    /// The offset the next record gets.
    pub(crate) end: Offset,
    /// Everything before it must survive a power cut.
    pub(crate) survives_cut: Offset,
    /// Everything before it must survive a kill.
    pub(crate) survives_kill: Offset,
    /// The log start is at least this, and at most that.
    pub(crate) log_start_min: Offset,
    pub(crate) log_start_max: Offset,
    /// The newest epoch that anybody was told of.
    pub(crate) epoch_seen: i32,
}

impl Default for Ledger {
    fn default() -> Ledger {
        Ledger {
            attempts: Vec::new(),
            end: Offset::ZERO,
            survives_cut: Offset::ZERO,
            survives_kill: Offset::ZERO,
            log_start_min: Offset::ZERO,
            log_start_max: Offset::ZERO,
            epoch_seen: 0,
        }
    }
}

impl Ledger {
    /// Notes a batch about to be appended; returns its number.
    pub(crate) fn attempt(&mut self, spec: Spec, epoch: Epoch, wants: AckLevel) -> usize {
        let base = self.end;
        let next = base.plus(spec.values.len() as u64);
        let bytes = spec.build().number(base, epoch).into_bytes();
        self.end = next;
        self.attempts.push(Attempt { spec, base, next, epoch, bytes, wants, is_answered: false, fate: Fate::Standing });
        self.attempts.len() - 1
    }

    /// Notes that everything reaching beyond `end` is being taken back.
    pub(crate) fn begin_truncation(&mut self, end: Offset) {
        for attempt in self.attempts.iter_mut().filter(|a| a.fate == Fate::Standing && a.next > end) {
            attempt.fate = Fate::Leaving;
            self.end = self.end.min(attempt.base);
        }
        self.survives_cut = self.survives_cut.min(self.end);
        self.survives_kill = self.survives_kill.min(self.end);
    }

    /// Notes that it was taken back for good.
    pub(crate) fn finish_truncation(&mut self) {
        for attempt in self.attempts.iter_mut().filter(|attempt| attempt.fate == Fate::Leaving) {
            attempt.fate = Fate::Gone;
        }
    }

    /// The batches that were not taken back, of one producer, oldest first.
    pub(crate) fn of_producer(&self, id: i64) -> impl DoubleEndedIterator<Item = (usize, &Attempt)> {
        let is_its = move |attempt: &Attempt| attempt.spec.producer.is_some_and(|(producer, _)| producer == id);
        self.attempts.iter().enumerate().filter(move |(_, a)| a.fate == Fate::Standing && is_its(a))
    }

    /// The sequence that a producer's next record has.
    pub(crate) fn next_sequence(&self, id: i64) -> Sequence {
        let last = self.of_producer(id).next_back();
        let last = last.and_then(|(_, attempt)| Some((attempt.spec.producer?.1, attempt.spec.records_count())));
        last.map_or(Sequence::FIRST, |(sequence, count)| sequence.plus(count))
    }

    /// The producers, sorted.
    pub(crate) fn producers(&self) -> Vec<i64> {
        let mut ids: Vec<i64> = self.attempts.iter().filter_map(|attempt| Some(attempt.spec.producer?.0)).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}

/// How far a command on a topic has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Asked for, not answered.
    Creating,
    /// There.
    Live,
    /// Its end was asked for, not answered.
    Deleting,
    /// Gone.
    Deleted,
}

/// A topic, the newest of its name.
#[derive(Debug, Clone)]
pub(crate) struct TopicModel {
    pub(crate) id: TopicId,
    pub(crate) partitions: u32,
    pub(crate) stage: Stage,
}

/// A client's position in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct PositionModel {
    /// The furthest that was asked for.
    pub(crate) asked: Offset,
    /// It must be at least this after a power cut.
    pub(crate) survives_cut: Offset,
    /// It must be at least this after a kill.
    pub(crate) survives_kill: Offset,
}

/// Everything.
#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    pub(crate) topics: BTreeMap<String, TopicModel>,
    pub(crate) ledgers: BTreeMap<Key, Ledger>,
    /// By partition and client.
    pub(crate) positions: BTreeMap<(Key, &'static str), PositionModel>,
    /// How often the broker was observed.
    pub(crate) steps: usize,
    /// The content of the newest batch.
    salt: u64,
}

impl Model {
    /// The key of a partition of the newest topic of this name.
    pub(crate) fn key(&self, topic: &str, partition: u32) -> Key {
        (self.topics[topic].id, partition)
    }

    /// A partition's history.
    pub(crate) fn ledger(&mut self, key: Key) -> &mut Ledger {
        self.ledgers.entry(key).or_default()
    }

    /// A new batch's content, for a partition.
    pub(crate) fn fresh_spec(&mut self, key: Key, producer: Option<i64>, values: &[usize], at: Timestamp) -> Spec {
        self.salt += 1;
        let salt = self.salt;
        let ledger = self.ledger(key);
        let producer = producer.map(|id| (id, ledger.next_sequence(id)));
        Spec { producer, values: values.into(), salt, at }
    }

    /// Notes the answer to a commit.
    pub(crate) fn committed(&mut self, key: Key, client: &'static str, level: AckLevel, kept: Offset) {
        let position = self.positions.entry((key, client)).or_default();
        assert!(kept <= position.asked, "{client} at {kept}: nobody asked for that");
        if level != AckLevel::None {
            position.survives_kill = position.survives_kill.max(kept);
        }
        if level == AckLevel::Durable {
            position.survives_cut = position.survives_cut.max(kept);
        }
    }

    /// Notes the answer to a batch.
    pub(crate) fn answered(&mut self, key: Key, number: usize, level: AckLevel, base: Offset, epoch: Epoch) {
        let ledger = self.ledger(key);
        let attempt = &mut ledger.attempts[number];
        assert_eq!(attempt.base, base, "answered with the offset of another batch");
        assert_ne!(attempt.fate, Fate::Gone, "a batch that was taken back is acknowledged");
        attempt.is_answered = true;
        let next = attempt.next;
        ledger.epoch_seen = ledger.epoch_seen.max(epoch.get());
        ledger.survives_kill = ledger.survives_kill.max(next);
        if level == AckLevel::Durable {
            ledger.survives_cut = ledger.survives_cut.max(next);
        }
    }
}
