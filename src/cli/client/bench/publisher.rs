//! One producer of a run: builds messages, sends them, and takes the acknowledgements. A message counts once it is
//! acknowledged, and not before.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::BytesMut;

use super::flight::Flight;
use super::options::Plan;
use super::shared::{Shared, Stream};
use crate::client::{
    Client, ClientError, ClientOptions, Deliveries, NewRecord, PartitionIndex, Producer, ProducerOptions, RecordRef,
};
use crate::load::{Pacer, Recorder, Schedule};

/// Bytes of single messages built in one piece of memory.
const ARENA_BYTES: usize = 256 << 10;
/// Bytes of messages built and handed over together: few enough that they are still at hand when they are copied into
/// their batch.
const PIECE_BYTES: usize = 16 << 10;
/// Bytes of batches under way at most, where there are many partitions.
const UNDER_WAY_BYTES_MAX: usize = 64 << 20;
/// Bytes a record takes in a batch beside its payload, at most.
const RECORD_BYTES: usize = 64;

/// One producer and its connection.
pub(super) struct Publisher {
    shared: Arc<Shared>,
    number: u16,
    sink: Sink,
    pacer: Pacer,
    /// Messages sent together.
    group: u32,
    flights_max: usize,
    flights: VecDeque<Flight>,
    streams: Vec<Stream>,
    /// The partition whose turn it is.
    turn: u32,
    arena: BytesMut,
    /// The messages handed over together.
    piece: Vec<u8>,
    /// What groups that are through held, to be used again.
    spare: Vec<Vec<Deliveries>>,
    tally: Tally,
}

enum Sink {
    Batches(Producer),
    /// With the record of each partition, but for its payload.
    Singles(Client, Vec<NewRecord>),
}

/// What one producer is to send.
#[derive(Debug, Clone, Copy)]
pub(super) struct Task {
    pub(super) messages: u64,
    pub(super) schedule: Option<Schedule>,
    /// On the clock, when to end at the latest.
    pub(super) until_ns: Option<u64>,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub(super) sent: u64,
    pub(super) acknowledged: u64,
    pub(super) latencies: Recorder,
    pub(super) last_ns: u64,
    pub(super) behind_max_ns: u64,
    pub(super) failure: Option<ClientError>,
}

impl Publisher {
    pub(super) async fn connect(
        shared: Arc<Shared>,
        number: u16,
        options: &ClientOptions,
        plan: &Plan,
    ) -> Result<Publisher, ClientError> {
        let group = usize::try_from(plan.batch).unwrap_or(usize::MAX);
        let group_bytes = group.saturating_mul(plan.size + RECORD_BYTES);
        let in_flight = usize::try_from(plan.in_flight).unwrap_or(usize::MAX);
        let flights_max = if plan.batch == 1 {
            in_flight
        } else {
            let of_all = in_flight.saturating_mul(shared.partitions as usize);
            of_all.min(in_flight.max(UNDER_WAY_BYTES_MAX / group_bytes.max(1)))
        };
        let options = ClientOptions { request_timeout: plan.patience, ..options.clone() };
        let sink = if plan.batch == 1 {
            let window_frames = u32::try_from(flights_max).unwrap_or(u32::MAX);
            let client = Client::connect(ClientOptions { window_frames, window_bytes: 1 << 30, ..options }).await?;
            Sink::Singles(client, patterns(plan, shared.partitions))
        } else {
            let producer = ProducerOptions {
                client: options,
                ack: plan.ack,
                linger: plan.linger,
                batch_bytes: group_bytes,
                batch_records: plan.batch,
                in_flight,
                compression: plan.compression,
                buffer_bytes: group_bytes.saturating_mul(flights_max + 1),
                delivery_timeout: plan.patience,
                ..ProducerOptions::default()
            };
            Sink::Batches(Producer::new(producer).await?)
        };
        let pacer = Pacer::new(shared.clock).map_err(|error| ClientError::InvalidOptions(error.to_string()))?;
        Ok(Publisher {
            number,
            sink,
            pacer,
            group: plan.batch,
            flights_max,
            flights: VecDeque::new(),
            streams: vec![Stream::default(); shared.partitions as usize],
            turn: u32::from(number) % shared.partitions.max(1),
            arena: BytesMut::new(),
            piece: Vec::new(),
            spare: Vec::new(),
            tally: Tally::default(),
            shared,
        })
    }

    /// Sends what is to be sent and waits for the answers; ends early after a failure.
    pub(super) async fn send_all(&mut self, task: Task) -> Tally {
        self.tally = Tally { last_ns: self.shared.clock.now_ns(), ..Tally::default() };
        while let Some((count, now_ns)) = self.next_group(&task).await {
            if let Err(error) = self.send_group(&task, count, now_ns).await {
                self.tally.failure.get_or_insert(error);
                break;
            }
            self.take_ready();
        }
        if let Sink::Batches(producer) = &self.sink {
            // What failed shows in the messages themselves.
            drop(producer.flush().await);
        }
        while !self.flights.is_empty() {
            self.take_oldest().await;
        }
        std::mem::take(&mut self.tally)
    }

    /// The streams by partition.
    pub(super) fn streams(&self) -> &[Stream] {
        &self.streams
    }

    /// Waits until there is something to be sent and room for it: how many messages, and the time; `None` at the end.
    async fn next_group(&mut self, task: &Task) -> Option<(u32, u64)> {
        loop {
            let now_ns = self.shared.clock.now_ns();
            let left = task.messages - self.tally.sent;
            let is_over = task.until_ns.is_some_and(|until_ns| until_ns <= now_ns) || self.shared.is_stopped();
            if left == 0 || is_over || self.tally.failure.is_some() {
                return None;
            }
            let due = match task.schedule {
                Some(schedule) => schedule.due_by(now_ns).saturating_sub(self.tally.sent),
                None => u64::MAX,
            };
            let count = due.min(left).min(self.group.into());
            if count > 0 && self.flights.len() < self.flights_max {
                return Some((u32::try_from(count).ok()?, now_ns));
            }
            match task.schedule {
                Some(schedule) if count == 0 => {
                    let due_ns = schedule.due_ns(self.tally.sent);
                    self.wait_until(task.until_ns.map_or(due_ns, |until_ns| due_ns.min(until_ns))).await;
                }
                _ => self.take_oldest().await,
            }
        }
    }

    /// Waits for a point of time, and takes the answers that come meanwhile.
    async fn wait_until(&mut self, due_ns: u64) {
        let Publisher { pacer, flights, .. } = self;
        let oldest = async {
            match flights.front_mut() {
                Some(flight) => flight.settle().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            waited = pacer.until(due_ns) => {
                if let Err(error) = waited {
                    self.tally.failure.get_or_insert(ClientError::InvalidOptions(format!("no timer: {error}")));
                }
            }
            () = oldest => self.take_ready(),
        }
    }

    /// Builds messages and sends them to the partition whose turn it is.
    async fn send_group(&mut self, task: &Task, count: u32, now_ns: u64) -> Result<(), ClientError> {
        let (first_ns, interval_ns) = match task.schedule {
            Some(schedule) => (schedule.due_ns(self.tally.sent), schedule.interval_ns()),
            None => (now_ns, 0.0),
        };
        self.tally.behind_max_ns = self.tally.behind_max_ns.max(now_ns.saturating_sub(first_ns));
        let partition = self.turn;
        self.turn = (partition + 1) % self.shared.partitions;
        let sequence = self.streams[partition as usize].next;
        // It stays where it is until it is through: to move one for each message costs.
        self.flights.push_back(Flight::new(first_ns, interval_ns, partition, sequence, self.spare.pop()));
        self.hand_over(count).await
    }

    /// Builds the messages of the youngest flight and sends them.
    async fn hand_over(&mut self, count: u32) -> Result<(), ClientError> {
        let Some(flight) = self.flights.back_mut() else { return Ok(()) };
        let payload = &self.shared.payload;
        let stream = &mut self.streams[flight.partition as usize];
        match &self.sink {
            Sink::Batches(producer) => {
                let piece_messages = PIECE_BYTES.div_ceil(payload.size().max(1));
                let mut index = 0;
                while index < u64::from(count) {
                    let end = u64::from(count).min(index + piece_messages as u64);
                    self.piece.clear();
                    for index in index..end {
                        // One that cannot even be handed over is one that was not acknowledged.
                        payload.write(self.number, stream.next, flight.time_ns(index), &mut self.piece);
                        stream.next += 1;
                        self.tally.sent += 1;
                    }
                    let messages = self.piece.chunks_exact(payload.size().max(1));
                    // The only partition need not be named.
                    let deliveries = if self.shared.partitions == 1 {
                        let records: Vec<&[u8]> = messages.collect();
                        producer.send_all(&self.shared.topic, &records).await?
                    } else {
                        let partition = PartitionIndex(flight.partition);
                        let records: Vec<_> =
                            messages.map(|message| RecordRef::new(message).partition(partition)).collect();
                        producer.send_all(&self.shared.topic, &records).await?
                    };
                    flight.sent(deliveries);
                    index = end;
                }
            }
            Sink::Singles(client, patterns) => {
                if self.arena.capacity() < payload.size() {
                    self.arena.reserve(payload.size().max(ARENA_BYTES));
                }
                payload.write(self.number, stream.next, flight.time_ns(0), &mut self.arena);
                stream.next += 1;
                self.tally.sent += 1;
                let message = self.arena.split().freeze();
                let record = patterns[flight.partition as usize].clone().with_body(message);
                flight.sent_single(client.publish(&self.shared.topic, record).await?);
            }
        }
        Ok(())
    }

    /// Waits for the answers to the oldest group, and takes those that came with them.
    async fn take_oldest(&mut self) {
        if let Some(flight) = self.flights.front_mut() {
            flight.settle().await;
        }
        self.take_ready();
    }

    /// Takes the answers that are there.
    fn take_ready(&mut self) {
        let mut now_ns = None;
        while let Some(flight) = self.flights.front_mut()
            && flight.try_settle()
        {
            let now_ns = *now_ns.get_or_insert_with(|| self.shared.clock.now_ns());
            flight.record(now_ns, &mut self.tally.latencies);
            if flight.acknowledged > 0 {
                self.tally.acknowledged += flight.acknowledged;
                self.tally.last_ns = now_ns;
                self.shared.acknowledged.fetch_add(flight.acknowledged, Ordering::Relaxed);
                let stream = &mut self.streams[flight.partition as usize];
                stream.acknowledged += flight.acknowledged;
                stream.acknowledged_end = flight.acknowledged_end;
            }
            if let Some(error) = flight.failure.take() {
                self.tally.failure.get_or_insert(*error);
            }
            self.spare.extend(flight.take_spare());
            self.flights.pop_front();
        }
    }
}

/// The record of each partition, but for its payload.
fn patterns(plan: &Plan, partitions: u32) -> Vec<NewRecord> {
    let with_ack = |record: NewRecord| match plan.ack {
        Some(ack) => record.ack(ack),
        None => record,
    };
    // The only partition need not be named.
    let of = |partition| match partitions {
        1 => NewRecord::default(),
        _ => NewRecord::default().partition(PartitionIndex(partition)),
    };
    (0..partitions).map(|partition| with_ack(of(partition))).collect()
}
