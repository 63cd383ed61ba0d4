//! The model keeps every batch and folds over all of them for each answer.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, Copy)]
struct Seen {
    stamp: ProducerBatch,
    base_offset: Offset,
    timestamp: Timestamp,
}

#[derive(Debug)]
struct Model {
    limits: ProducerLimits,
    committed: BTreeMap<i64, Vec<Seen>>,
    overlay: Vec<Seen>,
}

impl Seen {
    fn last_offset(&self) -> Offset {
        self.base_offset.plus(u64::from(self.stamp.records_count) - 1)
    }

    fn next_sequence(&self) -> i64 {
        (i64::from(self.stamp.base_sequence.get()) + i64::from(self.stamp.records_count)) % (1 << 31)
    }

    fn id(&self) -> i64 {
        self.stamp.id.get()
    }
}

impl Model {
    fn history(&self, id: i64) -> Vec<Seen> {
        let committed = self.committed.get(&id).into_iter().flatten();
        let overlay = self.overlay.iter().filter(|seen| seen.id() == id);
        committed.chain(overlay).copied().collect()
    }

    /// The batches since the last change of epoch or gap.
    fn run(history: &[Seen]) -> &[Seen] {
        let breaks = |pair: &[Seen]| {
            pair[0].stamp.epoch != pair[1].stamp.epoch
                || pair[0].next_sequence() != i64::from(pair[1].stamp.base_sequence.get())
        };
        let start = history.windows(2).rposition(breaks).map_or(0, |at| at + 1);
        &history[start..]
    }

    fn check(&self, stamp: ProducerBatch) -> Result<Verdict, SequenceError> {
        let history = self.history(stamp.id.get());
        let Some(last) = history.last() else {
            return Ok(Verdict::Append);
        };
        let current = last.stamp.epoch;
        if stamp.epoch < current {
            return Err(SequenceError::StaleEpoch { current, found: stamp.epoch });
        }
        let mut expected = Sequence::FIRST;
        if stamp.epoch == current {
            let run = Model::run(&history);
            for seen in &run[run.len().saturating_sub(5)..] {
                if seen.stamp == stamp {
                    return Ok(Verdict::Duplicate { base_offset: seen.base_offset, last_offset: seen.last_offset() });
                }
            }
            let next = i32::try_from(last.next_sequence()).expect("31 bits");
            expected = Sequence::new(next).expect("not negative");
        }
        if stamp.base_sequence == expected {
            return Ok(Verdict::Append);
        }
        Err(SequenceError::OutOfOrder { expected, found: stamp.base_sequence })
    }

    fn commit_to(&mut self, high_watermark: Offset) {
        while let Some(&seen) = self.overlay.first() {
            if seen.last_offset() >= high_watermark {
                break;
            }
            self.overlay.remove(0);
            self.committed.entry(seen.id()).or_default().push(seen);
            while self.committed.len() > self.limits.producers_max {
                let in_flight = |id| self.overlay.iter().any(|other| other.id() == id);
                let oldest = self
                    .committed
                    .iter()
                    .filter(|&(&id, _)| id != seen.id() && !in_flight(id))
                    .min_by_key(|(_, history)| history.last().map(|last| last.base_offset))
                    .map(|(&id, _)| id);
                let Some(oldest) = oldest else { break };
                self.committed.remove(&oldest);
            }
        }
    }

    /// A restart keeps the newest of what a snapshot holds, whatever was in flight.
    fn cut_to_limit(&mut self) {
        while self.committed.len() > self.limits.producers_max {
            let histories = self.committed.iter();
            let oldest =
                histories.min_by_key(|(_, history)| history.last().map(|last| last.base_offset)).map(|(&id, _)| id);
            self.committed.remove(&oldest.expect("more than the limit"));
        }
    }

    fn expire(&mut self, now: Timestamp) {
        let (overlay, expiry_ms) = (&self.overlay, self.limits.expiry_ms);
        self.committed.retain(|&id, history| {
            let latest = history.iter().map(|seen| seen.timestamp).max();
            overlay.iter().any(|seen| seen.id() == id) || latest.is_some_and(|latest| now.since(latest) <= expiry_ms)
        });
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// What a client sends: the step says how far from the expected sequence and the current epoch.
    Append {
        id: i64,
        epoch_step: i16,
        sequence_step: i32,
        count: u32,
    },
    /// Sends again the batch this many of the producer's own ago.
    Again {
        id: i64,
        ago: usize,
    },
    /// Fractions, in 1/8, of the way between the high watermark and the log end.
    Commit(u64),
    Truncate(u64),
    Advance(i64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let epoch_step = prop_oneof![8 => Just(0_i16), 1 => -1..2_i16];
    let sequence_step = prop_oneof![8 => Just(0), 1 => -3..4];
    prop_oneof![
        12 => (0..6_i64, epoch_step, sequence_step, 1..4_u32).prop_map(
            |(id, epoch_step, sequence_step, count)| Step::Append {
                id,
                epoch_step,
                sequence_step,
                count,
            },
        ),
        4 => (0..6_i64, 0..7_usize).prop_map(|(id, ago)| Step::Again { id, ago }),
        3 => (0..9_u64).prop_map(Step::Commit),
        2 => (0..9_u64).prop_map(Step::Truncate),
        1 => (0..600_i64).prop_map(Step::Advance),
        1 => Just(Step::Restart),
    ]
}

/// Both, and the log they follow.
struct Pair {
    real: Producers,
    model: Model,
    high_watermark: Offset,
    log_end: Offset,
    now: Timestamp,
    /// What the client last wanted to send, by producer.
    sent: BTreeMap<i64, Vec<ProducerBatch>>,
}

impl Pair {
    fn new(producers_max: usize) -> Pair {
        let limits = ProducerLimits { producers_max, expiry_ms: 1000 };
        Pair {
            real: Producers::new(limits),
            model: Model { limits, committed: BTreeMap::new(), overlay: Vec::new() },
            high_watermark: Offset::ZERO,
            log_end: Offset::ZERO,
            now: Timestamp::from_millis(0),
            sent: BTreeMap::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        let between = |eighths| {
            let way = self.log_end.since(self.high_watermark);
            self.high_watermark.plus(way * eighths / 8)
        };
        match *step {
            Step::Append { id, epoch_step, sequence_step, count } => {
                self.offer(self.next(id, epoch_step, sequence_step, count))
            }
            Step::Again { id, ago } => {
                let sent = self.sent.get(&id).map_or(&[][..], Vec::as_slice);
                if let Some(&stamp) = sent.iter().rev().nth(ago) {
                    self.offer(stamp);
                }
            }
            Step::Commit(eighths) => {
                self.high_watermark = between(eighths);
                self.real.commit_to(self.high_watermark);
                self.model.commit_to(self.high_watermark);
            }
            Step::Truncate(eighths) => {
                let cut = between(eighths);
                self.real.truncate_to(cut);
                self.model.overlay.retain(|seen| seen.last_offset() < cut);
                let last = self.model.overlay.last();
                self.log_end = last.map_or(self.high_watermark, |seen| seen.last_offset().plus(1));
            }
            Step::Advance(millis) => {
                self.now = self.now.plus_millis(millis);
                self.real.expire(self.now);
                self.model.expire(self.now);
            }
            Step::Restart => {
                let snapshot = self.real.snapshot();
                self.model.cut_to_limit();
                self.real = Producers::new(self.model.limits);
                self.real.restore(snapshot);
                for seen in &self.model.overlay {
                    self.real.record(seen.stamp, seen.base_offset, seen.timestamp);
                }
            }
        }
        self.compare();
    }

    /// A batch at some distance from what the model expects.
    fn next(&self, id: i64, epoch_step: i16, sequence_step: i32, count: u32) -> ProducerBatch {
        let history = self.model.history(id);
        // Unknown producers begin just before the wrap.
        let (epoch, sequence) =
            history.last().map_or((3, (1 << 31) - 4), |last| (last.stamp.epoch.get(), last.next_sequence()));
        let sequence = if epoch_step > 0 { 0 } else { sequence };
        let sequence = (sequence + i64::from(sequence_step)).rem_euclid(1 << 31);
        ProducerBatch {
            id: ProducerId::new(id).expect("an id"),
            epoch: ProducerEpoch::new((epoch + epoch_step).max(0)).expect("an epoch"),
            base_sequence: Sequence::new(sequence.try_into().expect("31 bits")).expect("one"),
            records_count: count,
        }
    }

    fn offer(&mut self, stamp: ProducerBatch) {
        let verdict = self.real.check(stamp);
        assert_eq!(verdict, self.model.check(stamp), "{stamp:?}");
        self.sent.entry(stamp.id.get()).or_default().push(stamp);
        if verdict == Ok(Verdict::Append) {
            self.real.record(stamp, self.log_end, self.now);
            self.model.overlay.push(Seen { stamp, base_offset: self.log_end, timestamp: self.now });
            self.log_end = self.log_end.plus(u64::from(stamp.records_count));
        }
    }

    /// The committed producers, their last offsets, and the answer to everything that was sent lately.
    fn compare(&self) {
        let real: Vec<(i64, Offset)> =
            self.real.snapshot().iter().map(|producer| (producer.id().get(), producer.next_offset())).collect();
        let model: Vec<(i64, Offset)> = self
            .model
            .committed
            .iter()
            .filter_map(|(&id, history)| Some((id, history.last()?.last_offset().plus(1))))
            .collect();
        assert_eq!(real, model);
        assert_eq!(self.real.committed_count, model.len());
        for stamp in self.sent.values().flat_map(|sent| sent.iter().rev().take(8)) {
            assert_eq!(self.real.check(*stamp), self.model.check(*stamp), "{stamp:?}");
        }
    }
}

proptest! {
    #[test]
    fn agrees_with_the_model(
        steps in prop::collection::vec(step(), 1..120),
        producers_max in 1..8_usize,
    ) {
        let mut pair = Pair::new(producers_max);
        for step in &steps {
            pair.step(step);
        }
    }
}
