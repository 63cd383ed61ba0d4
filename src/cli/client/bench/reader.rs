//! One consumer of a run: reads, and verifies what it reads.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::shared::{Goal, Orders, Shared};
use crate::client::{
    Client, ClientError, ClientOptions, Message, PartitionIndex, Partitions, RecordView, StartAt, SubscribeOptions,
    Subscriber, SubscriberOptions, Subscription,
};
use crate::load::{Recorder, Verified, Verifier};

/// Messages taken before anything else is looked at.
const RUN_MESSAGES_MAX: usize = 1024;
/// Messages for which one look at the clock is enough.
const CLOCK_MESSAGES: usize = 64;

/// Where messages come from.
#[derive(Debug)]
pub(super) enum Source {
    Batches(Box<Subscriber>),
    Singles(Subscription, PartitionIndex),
}

/// One consumer; of single messages, one of its partitions.
#[derive(Debug)]
pub(super) struct Reader {
    shared: Arc<Shared>,
    source: Source,
    partitions: Vec<u32>,
    verifier: Verifier,
    orders: watch::Receiver<Orders>,
    patience: Duration,
    seen: Seen,
}

/// What a reader has seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// Messages and bytes that are measured.
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) latencies: Recorder,
    pub(super) last_ns: u64,
    pub(super) verified: Verified,
    /// Messages it was to see and did not.
    pub(super) missing: u64,
    pub(super) failure: Option<String>,
}

/// The consumers' partitions: dealt out, or one to each where there are more consumers.
pub(super) fn deal_out(consumers: u16, partitions: u32) -> Vec<Vec<u32>> {
    let consumers = u32::from(consumers);
    let of = |consumer: u32| match consumers >= partitions {
        true => vec![consumer % partitions],
        false => (0..partitions).filter(|partition| partition % consumers == consumer).collect(),
    };
    (0..consumers).map(of).collect()
}

impl Source {
    /// The sources of one consumer, which share a connection.
    pub(super) async fn open(
        options: &ClientOptions,
        topic: &str,
        partitions: &[u32],
        start: StartAt,
        is_single: bool,
    ) -> Result<Vec<(Source, Vec<u32>)>, ClientError> {
        if !is_single {
            let only = partitions.iter().map(|&partition| PartitionIndex(partition)).collect();
            let options = SubscriberOptions {
                client: options.clone(),
                partitions: Partitions::Only(only),
                start,
                ..SubscriberOptions::default()
            };
            let subscriber = Subscriber::subscribe(options, topic).await?;
            return Ok(vec![(Source::Batches(Box::new(subscriber)), partitions.to_vec())]);
        }
        let client = Client::connect(options.clone()).await?;
        let mut sources = Vec::new();
        for &partition in partitions {
            let index = PartitionIndex(partition);
            let options = SubscribeOptions { partition: index, start, ..SubscribeOptions::default() };
            sources.push((Source::Singles(client.subscribe(topic, options).await?, index), vec![partition]));
        }
        Ok(sources)
    }

    /// Waits for messages and hands over those that are there, up to a bound.
    async fn run(&mut self, limit: usize, mut visit: impl FnMut(u32, &[u8])) -> Result<(), ClientError> {
        match self {
            Source::Batches(subscriber) => {
                let first = subscriber.next_view().await.ok_or(ClientError::Ended { what: "subscriber" })??;
                let mut hand_over = |record: &RecordView<'_>| {
                    visit(record.partition().0, record.value().unwrap_or_default());
                };
                hand_over(&first);
                for _ in 1..limit {
                    match subscriber.try_next_view() {
                        Some(record) => hand_over(&record?),
                        None => break,
                    }
                }
                Ok(())
            }
            Source::Singles(subscription, partition) => {
                let first = subscription.next().await.ok_or(ClientError::Ended { what: "subscription" })??;
                let mut hand_over = |message: &Message| visit(partition.0, message.body());
                hand_over(&first);
                for message in std::iter::from_fn(|| subscription.try_next()).take(limit - 1) {
                    hand_over(&message);
                }
                Ok(())
            }
        }
    }
}

impl Reader {
    pub(super) fn new(
        shared: Arc<Shared>,
        (source, partitions): (Source, Vec<u32>),
        verifier: Verifier,
        orders: watch::Receiver<Orders>,
        patience: Duration,
    ) -> Reader {
        Reader { shared, source, partitions, verifier, orders, patience, seen: Seen::default() }
    }

    /// Reads until it has seen what it is to see, is told to end, or has waited in vain.
    pub(super) async fn read_all(mut self) -> Seen {
        let mut orders = self.orders.clone();
        let mut tick = interval(self.patience / 8);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_sign = Instant::now();
        let mut is_told = true;
        while self.seen.failure.is_none() && !self.is_done() {
            let limit = self.limit();
            let Reader { shared, source, verifier, seen, .. } = &mut self;
            let mut taking = Taking::new(shared, verifier, seen);
            tokio::select! {
                biased;
                changed = orders.changed(), if is_told => {
                    is_told = changed.is_ok();
                    last_sign = Instant::now();
                }
                ran = source.run(limit, |partition, message| taking.take(partition, message)) => {
                    taking.end();
                    last_sign = Instant::now();
                    if let Err(error) = ran {
                        self.seen.failure = Some(error.to_string());
                    }
                }
                _ = tick.tick() => {
                    let is_awaited = orders.borrow().goal.is_some();
                    if is_awaited && last_sign.elapsed() >= self.patience {
                        let text = format!("nothing more came for {} s", self.patience.as_secs_f64());
                        self.seen.failure = Some(text);
                    }
                }
            }
        }
        self.finish()
    }

    /// Whether it is told to end, or has seen everything.
    fn is_done(&self) -> bool {
        let orders = self.orders.borrow();
        orders.is_over
            || orders.goal.as_ref().is_some_and(|goal| self.lacks_count(goal) == 0 && self.missing(goal) == 0)
    }

    /// How many messages to take at once.
    fn limit(&self) -> usize {
        match self.orders.borrow().goal.as_deref() {
            Some(goal @ Goal::Counts(_)) => {
                usize::try_from(self.lacks_count(goal)).unwrap_or(usize::MAX).clamp(1, RUN_MESSAGES_MAX)
            }
            Some(Goal::Streams(_)) | None => RUN_MESSAGES_MAX,
        }
    }

    /// How many messages it is short of by their number alone.
    fn lacks_count(&self, goal: &Goal) -> u64 {
        let of = |partition: &u32| match goal {
            Goal::Counts(counts) => counts[*partition as usize],
            Goal::Streams(producers) => producers.iter().map(|streams| streams[*partition as usize].acknowledged).sum(),
        };
        self.partitions.iter().map(of).sum::<u64>().saturating_sub(self.verifier.verified().messages)
    }

    /// How many messages it is to see yet, or has missed.
    fn missing(&self, goal: &Goal) -> u64 {
        let Goal::Streams(producers) = goal else { return self.lacks_count(goal) };
        if producers.len() > 1 && self.shared.is_short() {
            return self.lacks_count(goal);
        }
        let mut missing = 0;
        for &partition in &self.partitions {
            for (producer, streams) in (0_u16..).zip(producers) {
                let stream = streams[partition as usize];
                let failed = stream.acknowledged_end - stream.acknowledged;
                missing += self.verifier.missing(partition, producer, stream.acknowledged_end, failed);
            }
        }
        missing
    }

    fn finish(mut self) -> Seen {
        let orders = self.orders.borrow().clone();
        if let Some(goal) = orders.goal.filter(|_| !orders.is_over) {
            self.seen.missing = self.missing(&goal);
            if let Goal::Counts(_) = *goal {
                self.seen.missing += self.verifier.left_out();
            }
        }
        self.seen.verified = self.verifier.verified();
        self.seen
    }
}

/// Messages being taken that came together.
struct Taking<'a> {
    shared: &'a Shared,
    verifier: &'a mut Verifier,
    seen: &'a mut Seen,
    before: Verified,
    measured_from_ns: u64,
    now_ns: u64,
    count: usize,
    /// A latency, and how many in a row had it: the messages of a batch were sent together.
    latency: (u64, u64),
}

impl<'a> Taking<'a> {
    fn new(shared: &'a Shared, verifier: &'a mut Verifier, seen: &'a mut Seen) -> Taking<'a> {
        let before = verifier.verified();
        Taking { shared, verifier, seen, before, measured_from_ns: 0, now_ns: 0, count: 0, latency: (0, 0) }
    }

    fn take(&mut self, partition: u32, message: &[u8]) {
        if self.count.is_multiple_of(CLOCK_MESSAGES) {
            self.now_ns = self.shared.clock.now_ns();
            // Measuring may have begun while nothing came.
            self.measured_from_ns = self.shared.measured_from_ns();
        }
        self.count += 1;
        let Some(header) = self.verifier.take(partition, message) else { return };
        if self.shared.is_stored {
            return;
        }
        if header.time_ns < self.measured_from_ns {
            // Of the warm-up: verified, and not counted.
            self.before.messages += 1;
            self.before.bytes += message.len() as u64;
            return;
        }
        let latency_ns = self.now_ns.saturating_sub(header.time_ns);
        if self.latency.0 != latency_ns {
            self.seen.latencies.record(self.latency.0, self.latency.1);
            self.latency = (latency_ns, 0);
        }
        self.latency.1 += 1;
    }

    fn end(self) {
        let verified = self.verifier.verified();
        if self.latency.1 > 0 {
            self.seen.latencies.record(self.latency.0, self.latency.1);
        }
        let messages = verified.messages - self.before.messages;
        if messages > 0 {
            self.seen.messages += messages;
            self.seen.bytes += verified.bytes - self.before.bytes;
            self.seen.last_ns = self.shared.clock.now_ns();
            self.shared.read.fetch_add(messages, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_dealt_out() {
        let check = |consumers, partitions, expected: &[&[u32]]| {
            assert_eq!(deal_out(consumers, partitions), expected, "{consumers} {partitions}");
        };
        check(1, 1, &[&[0]]);
        check(4, 1, &[&[0], &[0], &[0], &[0]]);
        check(4, 4, &[&[0], &[1], &[2], &[3]]);
        check(2, 5, &[&[0, 2, 4], &[1, 3]]);
        check(3, 2, &[&[0], &[1], &[0]]);
    }
}
