//! Messages sent together to one partition, until the last of their answers has come.

use crate::client::{ClientError, Deliveries, Publishing};
use crate::load::Recorder;

/// Messages under way.
pub(super) struct Flight {
    /// When the first was sent, or meant to be, and the time between two of them.
    first_ns: u64,
    interval_ns: f64,
    pub(super) partition: u32,
    /// The sequence of the first.
    sequence: u64,
    answers: Answers,
    /// How many answers are taken: for a batch, of how many messages, and the first of what was handed over that has
    /// some left.
    taken: u64,
    current: usize,
    pub(super) acknowledged: u64,
    /// The sequence behind the last that was acknowledged.
    pub(super) acknowledged_end: u64,
    /// Boxed: there hardly is one, and flights are moved about.
    pub(super) failure: Option<Box<ClientError>>,
}

enum Answers {
    Batch(Vec<Deliveries>),
    Single(Publishing),
}

impl Flight {
    /// `spare` is where the answers of a batch are kept.
    pub(super) fn new(
        first_ns: u64,
        interval_ns: f64,
        partition: u32,
        sequence: u64,
        spare: Option<Vec<Deliveries>>,
    ) -> Flight {
        Flight {
            first_ns,
            interval_ns,
            partition,
            sequence,
            answers: Answers::Batch(spare.unwrap_or_default()),
            taken: 0,
            current: 0,
            acknowledged: 0,
            acknowledged_end: 0,
            failure: None,
        }
    }

    /// When a message of it was sent, or meant to be.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "nanoseconds of a run, never negative")]
    pub(super) fn time_ns(&self, index: u64) -> u64 {
        self.first_ns + (self.interval_ns * index as f64) as u64
    }

    /// The next messages were handed over.
    pub(super) fn sent(&mut self, deliveries: Deliveries) {
        if let Answers::Batch(all) = &mut self.answers {
            all.push(deliveries);
        }
    }

    /// Its only message was handed over.
    pub(super) fn sent_single(&mut self, publishing: Publishing) {
        self.answers = Answers::Single(publishing);
    }

    /// Waits for all answers. Can be dropped and called again.
    pub(super) async fn settle(&mut self) {
        loop {
            let (messages, failed) = match &mut self.answers {
                Answers::Batch(all) => match all.get_mut(self.current) {
                    Some(deliveries) => match deliveries.next().await {
                        Some(delivered) => (delivered.records, delivered.result.err()),
                        None => {
                            self.current += 1;
                            continue;
                        }
                    },
                    None => return,
                },
                Answers::Single(_) if self.taken > 0 => return,
                Answers::Single(publishing) => (1, publishing.await.err()),
            };
            self.take(messages, failed);
        }
    }

    /// Takes the answers that are there; whether that is all.
    pub(super) fn try_settle(&mut self) -> bool {
        loop {
            let answer = match &mut self.answers {
                Answers::Batch(all) => match all.get_mut(self.current) {
                    Some(deliveries) if deliveries.is_empty() => {
                        self.current += 1;
                        continue;
                    }
                    Some(deliveries) => deliveries.try_next().map(|told| (told.records, told.result.err())),
                    None => return true,
                },
                Answers::Single(_) if self.taken > 0 => return true,
                Answers::Single(publishing) => publishing.try_result().map(|result| (1, result.err())),
            };
            match answer {
                Some((messages, failed)) => self.take(messages, failed),
                None => return false,
            }
        }
    }

    fn take(&mut self, messages: u32, failed: Option<ClientError>) {
        self.taken += u64::from(messages);
        match failed {
            None => {
                self.acknowledged += u64::from(messages);
                self.acknowledged_end = self.sequence + self.taken;
            }
            Some(error) => {
                self.failure.get_or_insert_with(|| Box::new(error));
            }
        }
    }

    /// Records how long those acknowledged took until now.
    pub(super) fn record(&self, now_ns: u64, latencies: &mut Recorder) {
        if self.interval_ns == 0.0 {
            latencies.record(now_ns.saturating_sub(self.first_ns), self.acknowledged);
            return;
        }
        for index in 0..self.acknowledged {
            latencies.record(now_ns.saturating_sub(self.time_ns(index)), 1);
        }
    }

    /// Gives back where its answers were kept.
    pub(super) fn take_spare(&mut self) -> Option<Vec<Deliveries>> {
        match &mut self.answers {
            Answers::Batch(deliveries) => {
                deliveries.clear();
                Some(std::mem::take(deliveries))
            }
            Answers::Single(_) => None,
        }
    }
}
