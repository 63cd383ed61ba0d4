//! Where records are gathered into batches: what senders and the producer's task share, under one short lock.
//!
//! A record is written straight into the open batch of its partition; nothing per record is sent between tasks.

mod all;
mod append;

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::batch::{Batch, Ended};
use super::buffers::Buffers;
use super::delivery::Delivery;
use super::options::ProducerOptions;
use super::record_ref::RecordRef;
use super::topics::{Topic, Topics};
use crate::client::ClientError;
use crate::client::chance::Chance;
use crate::client::topics::TopicDescription;
use crate::record::Compression;
use crate::types::{PartitionIndex, TopicName};
use append::Adding;

/// Bytes reserved for the first batch of a partition.
const CAPACITY_MIN: usize = 1 << 10;
/// Bytes kept for batches that come, at most: enough for some of each size in flight.
const SPARE_BYTES_MAX: usize = 4 << 20;

/// The senders' side of a producer.
#[derive(Debug)]
pub(super) struct Gather {
    limits: Limits,
    state: Mutex<State>,
    /// Wakes the task.
    pub(super) wake: Notify,
    /// Wakes the sender that waits for room.
    room: Notify,
    /// Senders that wait for room queue up here, so that each has its turn.
    turn: tokio::sync::Mutex<()>,
    /// Wakes those who wait for batches to end.
    ended: Notify,
}

#[derive(Debug)]
struct Limits {
    linger: Duration,
    batch_bytes: usize,
    batch_records: u32,
    buffer_bytes: usize,
    compression: Compression,
}

#[derive(Debug)]
struct State {
    topics: Topics,
    queues: Vec<Queue>,
    /// Batches that linger: until when, in which queue, which one. All linger equally long, so they end in order.
    lingering: VecDeque<(Instant, usize, u64)>,
    /// Queues with something to be sent that the task was not told of.
    ready: Vec<usize>,
    buffered_bytes: usize,
    spare: Buffers,
    /// Senders that wait for room.
    waiting: usize,
    next_id: u64,
    /// Batches not through.
    outstanding: BTreeSet<u64>,
    /// Batches before this one linger no more.
    flush_before: u64,
    /// The first failure since somebody asked.
    failure: Option<ClientError>,
    wanted: Vec<Wanted>,
    is_closed: bool,
    chance: Chance,
}

/// A topic whose partitions somebody waits for.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) topic: TopicName,
    pub(super) waiter: oneshot::Sender<Result<(), ClientError>>,
}

/// The batches of a partition that are not sent yet; the last may take more records.
#[derive(Debug)]
struct Queue {
    topic: TopicName,
    partition: PartitionIndex,
    batches: VecDeque<Batch>,
    /// Whether the last batch need not linger.
    is_due: bool,
    /// Whether the last batch takes no more records.
    is_full: bool,
    /// Bytes of the batch before.
    capacity: usize,
}

/// What is missing for a record to be added.
enum Missing {
    /// The topic's partitions are not known.
    Topic,
    /// The topic has no such partition as far as is known.
    Partition(ClientError),
    Room,
}

impl Gather {
    pub(super) fn new(options: &ProducerOptions) -> Gather {
        Gather {
            limits: Limits {
                linger: options.linger,
                batch_bytes: options.batch_bytes,
                batch_records: options.batch_records,
                buffer_bytes: options.buffer_bytes,
                compression: options.compression,
            },
            state: Mutex::new(State {
                topics: Topics::default(),
                queues: Vec::new(),
                lingering: VecDeque::new(),
                ready: Vec::new(),
                buffered_bytes: 0,
                spare: Buffers::new(SPARE_BYTES_MAX.min(options.buffer_bytes)),
                waiting: 0,
                next_id: 0,
                outstanding: BTreeSet::new(),
                flush_before: 0,
                failure: None,
                wanted: Vec::new(),
                is_closed: false,
                chance: Chance::new(),
            }),
            wake: Notify::new(),
            room: Notify::new(),
            turn: tokio::sync::Mutex::new(()),
            ended: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a record once there is room for it and its topic's partitions are known.
    pub(super) async fn send(
        &self,
        topic: &str,
        record: &RecordRef<'_>,
        patience: Duration,
    ) -> Result<Delivery, ClientError> {
        match self.add(topic, record, false)? {
            Ok(delivery) => Ok(delivery),
            // Boxed, since hardly any record waits, and all would carry its room.
            Err(missing) => Box::pin(self.send_later(topic, record, patience, missing)).await,
        }
    }

    /// Waits for what was missing, and tries again.
    async fn send_later(
        &self,
        topic: &str,
        record: &RecordRef<'_>,
        patience: Duration,
        mut missing: Missing,
    ) -> Result<Delivery, ClientError> {
        let mut has_asked = false;
        loop {
            match missing {
                Missing::Partition(error) if has_asked => return Err(error),
                Missing::Topic | Missing::Partition(_) => {
                    self.learn_of(topic, patience).await?;
                    has_asked = true;
                }
                Missing::Room => {
                    if let Some(delivery) = self.send_in_turn(topic, record).await? {
                        return Ok(delivery);
                    }
                }
            }
            match self.add(topic, record, false)? {
                Ok(delivery) => return Ok(delivery),
                Err(again) => missing = again,
            }
        }
    }

    /// Waits in turn for room; `None` where the topic was lost meanwhile.
    async fn send_in_turn(&self, topic: &str, record: &RecordRef<'_>) -> Result<Option<Delivery>, ClientError> {
        let waiting = WaitingSender::new(self);
        let _turn = self.turn.lock().await;
        loop {
            let room = self.room.notified();
            match self.add(topic, record, true)? {
                Ok(delivery) => {
                    drop(waiting);
                    return Ok(Some(delivery));
                }
                Err(Missing::Topic | Missing::Partition(_)) => return Ok(None),
                Err(Missing::Room) => room.await,
            }
        }
    }

    async fn learn_of(&self, topic: &str, patience: Duration) -> Result<(), ClientError> {
        let name = TopicName::new(topic).map_err(|error| ClientError::InvalidOptions(error.to_string()))?;
        let (waiter, learned) = oneshot::channel();
        self.lock().wanted.push(Wanted { topic: name, waiter });
        self.wake.notify_one();
        match tokio::time::timeout(patience, learned).await {
            Ok(Ok(learned)) => learned,
            Ok(Err(_)) => Err(ENDED),
            Err(_) => Err(ClientError::Undelivered { after: patience, is_in_doubt: false, last: None }),
        }
    }

    fn add(
        &self,
        topic: &str,
        record: &RecordRef<'_>,
        has_turn: bool,
    ) -> Result<Result<Delivery, Missing>, ClientError> {
        let mut adding = Adding::new(&self.limits, has_turn);
        let added = {
            let mut state = self.lock();
            let Some(topic) = state.find(topic)? else { return Ok(Err(Missing::Topic)) };
            let added = state.add(topic, record, &mut adding)?;
            added.map(|place| Delivery::new(Arc::clone(place.outcome), place.index))
        };
        if adding.wakes {
            self.wake.notify_one();
        }
        Ok(added)
    }

    /// Everything the task is to know: fills in the queues with something to send and the topics wanted; returns when
    /// the next batch has lingered long enough.
    pub(super) fn collect(&self, now: Instant, ready: &mut Vec<usize>, wanted: &mut Vec<Wanted>) -> Option<Instant> {
        let mut state = self.lock();
        ready.append(&mut state.ready);
        wanted.append(&mut state.wanted);
        while let Some(&(until, queue, id)) = state.lingering.front() {
            if until > now {
                return Some(until);
            }
            state.lingering.pop_front();
            let queue_state = &mut state.queues[queue];
            if queue_state.batches.back().is_some_and(|last| last.id == id) {
                queue_state.is_due = true;
            }
            if !queue_state.batches.is_empty() {
                ready.push(queue);
            }
        }
        None
    }

    /// The next batch of a queue that is to be sent.
    pub(super) fn next_batch(&self, queue: usize) -> Option<Batch> {
        let mut state = self.lock();
        let flush_before = state.flush_before;
        let queue = state.queues.get_mut(queue)?;
        let front = queue.batches.front()?;
        if queue.batches.len() == 1 && !queue.is_due && front.id >= flush_before {
            return None;
        }
        let batch = queue.batches.pop_front()?;
        queue.capacity = batch.bytes_len();
        queue.tidy();
        Some(batch)
    }

    /// Where a queue's batches go.
    pub(super) fn address(&self, queue: usize) -> Option<(TopicName, PartitionIndex)> {
        let state = self.lock();
        state.queues.get(queue).map(|queue| (queue.topic.clone(), queue.partition))
    }

    /// Takes what the broker says of a topic.
    pub(super) fn learn(&self, description: &TopicDescription, now: Instant) -> Result<(), ClientError> {
        let name = TopicName::new(&description.topic).map_err(|error| ClientError::Protocol(error.to_string()))?;
        let partitions = u32::try_from(description.partitions.len()).unwrap_or(u32::MAX);
        if partitions == 0 {
            return Err(ClientError::Protocol(format!("topic '{name}' without partitions")));
        }
        let message_bytes_max = description.effective.max_message_size;
        let message_bytes_max = message_bytes_max.map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX));
        let mut state = self.lock();
        let state = &mut *state;
        let turn = (state.chance.next() >> 32) as u32;
        let topic = state.topics.get_or_insert_with(&name, || Topic {
            name: name.clone(),
            queues: Vec::new(),
            partitions,
            turn,
            message_bytes_max,
            learned: now,
        });
        (topic.partitions, topic.message_bytes_max, topic.learned) = (partitions, message_bytes_max, now);
        for partition in u32::try_from(topic.queues.len()).unwrap_or(u32::MAX)..partitions {
            topic.queues.push(state.queues.len());
            state.queues.push(Queue {
                topic: topic.name.clone(),
                partition: PartitionIndex(partition),
                batches: VecDeque::new(),
                is_due: false,
                is_full: false,
                capacity: CAPACITY_MIN,
            });
        }
        Ok(())
    }

    /// Asks for the topic again before the next record that has not chosen its partition.
    pub(super) fn forget(&self, topic: &TopicName) {
        if let Some(topic) = self.lock().topics.get_mut(topic.as_str()) {
            topic.partitions = 0;
        }
    }

    /// The topics learned before a time.
    pub(super) fn learned_before(&self, time: Instant) -> Vec<TopicName> {
        let state = self.lock();
        let stale = state.topics.iter().filter(|topic| topic.learned < time && topic.partitions > 0);
        stale.map(|topic| topic.name.clone()).collect()
    }

    /// Lets go of batches that are through, and tells those who wait.
    pub(super) fn end(&self, mut ended: Vec<Ended>) {
        if ended.is_empty() {
            return;
        }
        let mut state = self.lock();
        for ended in &mut ended {
            state.spare.give(ended.batch.take_bytes());
            state.outstanding.remove(&ended.batch.id);
            state.buffered_bytes -= ended.batch.reserved;
            if let Err(error) = &ended.result
                && state.failure.is_none()
            {
                state.failure = Some(error.clone());
            }
        }
        let has_waiting = state.waiting > 0;
        drop(state);
        for Ended { batch, result } in ended {
            batch.outcome.resolve(result);
        }
        if has_waiting {
            self.room.notify_one();
        }
        self.ended.notify_waiters();
    }

    /// Takes out the unsent batches that were begun before a time; all of them where none is given.
    pub(super) fn take_begun_before(&self, time: Option<Instant>) -> Vec<(usize, Batch)> {
        let mut state = self.lock();
        let mut taken = Vec::new();
        for (index, queue) in state.queues.iter_mut().enumerate() {
            while let Some(batch) = queue.batches.pop_front_if(|b| time.is_none_or(|time| b.created <= time)) {
                taken.push((index, batch));
            }
            queue.tidy();
        }
        taken
    }

    pub(super) fn has_outstanding(&self) -> bool {
        !self.lock().outstanding.is_empty()
    }

    pub(super) fn has_topics(&self) -> bool {
        !self.lock().topics.is_empty()
    }

    /// Whether it is closed and everything is through.
    pub(super) fn is_done(&self) -> bool {
        let state = self.lock();
        state.is_closed && state.outstanding.is_empty()
    }

    /// Takes no more records.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        state.wanted.clear();
        state.hurry();
        drop(state);
        self.wake.notify_one();
        self.room.notify_one();
        self.ended.notify_waiters();
    }

    /// Waits until everything added so far is through; the first failure since the last call.
    pub(super) async fn flush(&self) -> Result<(), ClientError> {
        let before = {
            let mut state = self.lock();
            state.hurry();
            state.next_id
        };
        self.wake.notify_one();
        loop {
            let ended = self.ended.notified();
            {
                let mut state = self.lock();
                if state.outstanding.first().is_none_or(|first| *first >= before) {
                    return state.failure.take().map_or(Ok(()), Err);
                }
            }
            ended.await;
        }
    }
}

const ENDED: ClientError = ClientError::Ended { what: "producer" };

/// Counts a sender that waits, for as long as it does.
struct WaitingSender<'a>(&'a Gather);

impl WaitingSender<'_> {
    fn new(gather: &Gather) -> WaitingSender<'_> {
        gather.lock().waiting += 1;
        WaitingSender(gather)
    }
}

impl Drop for WaitingSender<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.waiting -= 1;
        let has_waiting = state.waiting > 0;
        drop(state);
        // There may be room for the next one as well.
        if has_waiting {
            self.0.room.notify_one();
        }
    }
}

impl Queue {
    /// After a batch was taken out.
    fn tidy(&mut self) {
        if self.batches.is_empty() {
            (self.is_due, self.is_full) = (false, false);
        }
    }
}

impl State {
    fn hurry(&mut self) {
        self.flush_before = self.next_id;
        self.ready.extend((0..self.queues.len()).filter(|&queue| !self.queues[queue].batches.is_empty()));
    }
}
