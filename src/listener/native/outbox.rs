//! What goes out on one connection: answers in the order of their requests, DATA between them, all bounded.
//!
//! Whoever has something to send encodes it here and tries the socket at once, without waiting; what the socket does not
//! take is left for the connection's writer task. Three rules hold on the wire, and are kept under one lock:
//! answers keep the order of their requests; DATA of a subscription comes neither before the ACK to its SUBSCRIBE nor
//! after the ACK to its UNSUBSCRIBE; and a publish is answered before its record goes out as DATA on the same connection,
//! also where a subscription sees the record before the answer is here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::errors::Refusal;
use crate::protocol::native::{EncodeError, ErrorCode, reply};
use crate::record::Batch;
use crate::replica::{AckSink, Completion};
use crate::types::{Offset, PartitionIndex, ProducerEpoch, ProducerId, Timestamp, TopicName};

/// Requests of one connection that may wait for their answers.
pub(super) const REQUESTS_MAX: usize = 16_384;
/// Bytes that may wait for the socket before no more requests are read and no more DATA is made.
const BUFFERED_BYTES_MAX: usize = 1 << 20;
/// The incarnation in which a producer id begins.
const PRODUCER_EPOCH: ProducerEpoch = ProducerEpoch::new(0).expect("not negative");
/// Room that an idle connection's buffer keeps.
const BUFFER_KEPT_BYTES: usize = 64 << 10;

/// The place of one request's answer in the order of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(u64);

/// One answer.
#[derive(Debug)]
pub(super) enum Answer {
    Published {
        topic: TopicName,
        partition: PartitionIndex,
        offset: Offset,
    },
    PublishedBatch {
        topic: TopicName,
        published: reply::PublishedBatch,
    },
    /// A topic was created, altered or deleted.
    Topic {
        topic: TopicName,
        partitions: u32,
    },
    Metadata {
        next: Option<TopicName>,
        json: Vec<u8>,
    },
    Fetched {
        topic: TopicName,
        bounds: reply::Bounds,
        next_offset: Offset,
        batches: Vec<Batch>,
    },
    Committed {
        topic: TopicName,
        partition: PartitionIndex,
        client_id: Box<str>,
        offset: Offset,
    },
    Listed {
        topic: TopicName,
        listed: reply::ListedOffsets,
    },
    Producer(ProducerId),
    Subscribed {
        topic: TopicName,
        partition: PartitionIndex,
        client_id: String,
        start: Offset,
    },
    Unsubscribed {
        topic: TopicName,
        partition: PartitionIndex,
        client_id: String,
    },
    Heartbeat,
    Refused(Refusal),
    /// The request wanted none.
    Silence,
}

impl Answer {
    /// Whether it must go out before DATA that may hold its records.
    fn is_of_publish(&self) -> bool {
        matches!(self, Answer::Published { .. } | Answer::PublishedBatch { .. })
    }
}

/// One subscription of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SubscriptionId(u64);

/// What became of DATA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// It is on its way.
    Gone,
    /// It must wait: see [`Outbox::data_may_go`].
    Wait,
    /// The subscription is over.
    Ended,
}

/// The publishes that went into one batch, in its order.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) topic: TopicName,
    pub(super) partition: PartitionIndex,
    pub(super) places: Vec<Place>,
    /// None of their records has a lower offset: the log's end before they were appended.
    pub(super) not_before: Offset,
    /// A client built the batch, of so many records: one answer is for all of them.
    pub(super) whole: Option<u64>,
}

/// Encoded DATA of a subscription.
#[derive(Debug)]
pub(super) struct Data<'a> {
    pub(super) subscription: SubscriptionId,
    pub(super) topic: &'a TopicName,
    pub(super) partition: PartitionIndex,
    /// The offset of the last record in it.
    pub(super) last: Offset,
    pub(super) encoded: &'a [u8],
}

impl Group {
    /// Whether this DATA may hold records of the group, which are to be answered first.
    fn is_awaited_before(&self, data: &Data<'_>) -> bool {
        let is_same = self.partition == data.partition && self.topic == *data.topic;
        is_same && !self.places.is_empty() && self.not_before <= data.last
    }
}

/// The outgoing side of a connection.
#[derive(Debug)]
pub(super) struct Outbox {
    stream: Arc<TcpStream>,
    now: super::Surroundings,
    state: Mutex<State>,
    /// Something is left for the writer task.
    unsent: Notify,
    /// Bytes went out or answers found their turn.
    progress: Notify,
}

#[derive(Debug, Default)]
struct State {
    bytes: BytesMut,
    /// The place of the answer at the front of `answers`.
    first: u64,
    answers: VecDeque<Slot>,
    /// Answers of publishes that are known and wait for earlier ones.
    overtaken: usize,
    groups: BTreeMap<u64, Group>,
    next_group: u64,
    live: BTreeSet<SubscriptionId>,
    next_subscription: u64,
    failed: bool,
}

#[derive(Debug)]
struct Slot {
    sequence: u64,
    answer: Option<Answer>,
}

impl Outbox {
    pub(super) fn new(stream: Arc<TcpStream>, now: super::Surroundings) -> Arc<Outbox> {
        let (state, unsent, progress) = (Mutex::default(), Notify::new(), Notify::new());
        Arc::new(Outbox { stream, now, state, unsent, progress })
    }

    /// Takes a place for the answer to a request.
    pub(super) fn reserve(&self, sequence: u64) -> Place {
        let mut state = self.state.lock();
        state.answers.push_back(Slot { sequence, answer: None });
        Place(state.first + state.answers.len() as u64 - 1)
    }

    /// Gives the answer for a place; it goes out once all before it have.
    pub(super) fn answer(&self, place: Place, answer: Answer) {
        let mut state = self.state.lock();
        state.fill(place, answer);
        self.flush(&mut state);
    }

    /// Gives the answer to a request that takes its place only now.
    pub(super) fn answer_next(&self, sequence: u64, answer: Answer) -> Place {
        let place = self.reserve(sequence);
        self.answer(place, answer);
        place
    }

    /// Enters publishes that went into one batch; returns the token under which their completion comes.
    pub(super) fn enter(&self, group: Group) -> u64 {
        let mut state = self.state.lock();
        let token = state.next_group;
        state.next_group += 1;
        state.groups.insert(token, group);
        token
    }

    /// Forgets publishes that want no answer.
    pub(super) fn forget(&self, token: u64) {
        self.state.lock().groups.remove(&token);
    }

    /// Refuses all publishes of a batch.
    pub(super) fn refuse(&self, token: u64, refusal: &Refusal) {
        let mut state = self.state.lock();
        state.settle(token, Err(refusal.clone()));
        self.flush(&mut state);
    }

    /// Sends a heartbeat that answers nothing.
    pub(super) fn heartbeat(&self) {
        let mut state = self.state.lock();
        reply::heartbeat(&mut state.bytes, 0, (self.now.now)());
        self.flush(&mut state);
    }

    /// Lets a new subscription send DATA until [`Outbox::end`].
    pub(super) fn begin(&self) -> SubscriptionId {
        let mut state = self.state.lock();
        state.next_subscription += 1;
        let id = SubscriptionId(state.next_subscription);
        state.live.insert(id);
        id
    }

    /// No DATA of this subscription goes out any more.
    pub(super) fn end(&self, subscription: SubscriptionId) {
        self.state.lock().live.remove(&subscription);
    }

    /// Sends DATA of a subscription whose ACK went out.
    pub(super) fn try_data(&self, data: &Data<'_>) -> Sent {
        let mut state = self.state.lock();
        if !state.live.contains(&data.subscription) {
            return Sent::Ended;
        }
        if !state.may_go(data) {
            return Sent::Wait;
        }
        state.bytes.extend_from_slice(data.encoded);
        self.flush(&mut state);
        Sent::Gone
    }

    /// Sends a refusal that answers no request.
    pub(super) fn tell(&self, refusal: &Refusal) {
        let mut state = self.state.lock();
        let now = (self.now.now)();
        encode_refusal(&mut state.bytes, 0, now, refusal);
        self.flush(&mut state);
    }

    /// Waits until the answer at a place has gone before whatever is sent next.
    pub(super) async fn passed(&self, place: Place) {
        self.until(|state| state.first > place.0).await;
    }

    /// Waits until all before this place is answered: the next answer to go is its own.
    pub(super) async fn has_turn(&self, place: Place) {
        self.until(|state| state.first >= place.0 && state.bytes.len() < BUFFERED_BYTES_MAX).await;
    }

    /// Bytes that may be read for this connection at once.
    #[expect(clippy::unused_self, reason = "what the others hold counts as well, once they are counted together")]
    pub(super) fn allowance(&self) -> usize {
        BUFFERED_BYTES_MAX
    }

    /// Waits until the buffer has room for more DATA.
    pub(super) async fn has_room(&self) {
        self.until(|state| state.bytes.len() < BUFFERED_BYTES_MAX).await;
    }

    /// Waits until this DATA may be sent.
    pub(super) async fn data_may_go(&self, data: &Data<'_>) {
        self.until(|state| state.may_go(data)).await;
    }

    /// Waits until one more request may be read.
    pub(super) async fn request_may_come(&self) {
        self.until(|state| state.answers.len() < REQUESTS_MAX && state.bytes.len() < BUFFERED_BYTES_MAX).await;
    }

    /// Waits until every answer has gone out.
    pub(super) async fn drained(&self) {
        self.until(|state| state.failed || (state.answers.is_empty() && state.bytes.is_empty())).await;
    }

    async fn until(&self, holds: impl Fn(&State) -> bool) {
        loop {
            let progress = self.progress.notified();
            if holds(&self.state.lock()) {
                return;
            }
            progress.await;
        }
    }

    /// Sends what the socket did not take at once; ends with the connection.
    pub(super) async fn write_rest(&self) -> io::Result<()> {
        loop {
            self.unsent.notified().await;
            if self.state.lock().failed {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            while !self.state.lock().bytes.is_empty() {
                self.stream.writable().await?;
                let mut state = self.state.lock();
                state.send(&self.stream)?;
                drop(state);
                self.progress.notify_waiters();
            }
        }
    }

    /// Encodes answers whose turn it is and tries the socket.
    fn flush(&self, state: &mut State) {
        let progressed = state.encode_ready((self.now.now)());
        let was_full = state.bytes.len() >= BUFFERED_BYTES_MAX;
        if state.send(&self.stream).is_err() || !state.bytes.is_empty() {
            self.unsent.notify_one();
        }
        if progressed || was_full || state.bytes.is_empty() {
            self.progress.notify_waiters();
        }
    }
}

impl State {
    /// Whether there is room for DATA, and no publish of ours that may be in it waits for its answer.
    fn may_go(&self, data: &Data<'_>) -> bool {
        let has_room = self.overtaken == 0 && self.bytes.len() < BUFFERED_BYTES_MAX;
        has_room && !self.groups.values().any(|group| group.is_awaited_before(data))
    }

    fn fill(&mut self, place: Place, answer: Answer) {
        let index = usize::try_from(place.0 - self.first).unwrap_or(usize::MAX);
        if let Some(slot) = self.answers.get_mut(index) {
            self.overtaken += usize::from(answer.is_of_publish());
            slot.answer = Some(answer);
        }
    }

    /// Answers every publish of a batch.
    fn settle(&mut self, token: u64, outcome: Result<Offset, Refusal>) {
        let Some(group) = self.groups.remove(&token) else { return };
        for (number, place) in (0_u64..).zip(group.places) {
            let answer = match &outcome {
                Ok(base) if let Some(records) = group.whole => Answer::PublishedBatch {
                    topic: group.topic.clone(),
                    published: reply::PublishedBatch {
                        partition: group.partition,
                        offset: *base,
                        next_offset: base.plus(records),
                        // What is appended now lies behind all that was there.
                        is_duplicate: *base < group.not_before,
                    },
                },
                Ok(base) => Answer::Published {
                    topic: group.topic.clone(),
                    partition: group.partition,
                    offset: base.plus(number),
                },
                Err(refusal) => Answer::Refused(refusal.clone()),
            };
            self.fill(place, answer);
        }
    }

    /// Encodes the answers at the front that are known; whether there were any.
    fn encode_ready(&mut self, now: Timestamp) -> bool {
        let before = self.first;
        while let Some(Slot { sequence, answer: Some(answer) }) =
            self.answers.pop_front_if(|slot| slot.answer.is_some())
        {
            self.overtaken -= usize::from(answer.is_of_publish());
            encode(&mut self.bytes, sequence, now, &answer);
            self.first += 1;
        }
        self.first > before
    }

    /// Gives the socket what it takes without waiting.
    fn send(&mut self, stream: &TcpStream) -> io::Result<()> {
        while !self.bytes.is_empty() {
            match stream.try_write(&self.bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => self.bytes.advance(sent),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => {
                    self.failed = true;
                    self.bytes.clear();
                    return Err(error);
                }
            }
        }
        if self.bytes.capacity() > BUFFER_KEPT_BYTES {
            self.bytes = BytesMut::new();
        }
        Ok(())
    }
}

impl AckSink for Outbox {
    fn complete(&self, completions: &mut dyn Iterator<Item = Completion>) {
        let mut state = self.state.lock();
        for Completion { token, outcome } in completions {
            let outcome = outcome.map(|acked| acked.base_offset).map_err(|failure| Refusal::from(&failure));
            state.settle(token, outcome);
        }
        self.flush(&mut state);
    }
}

fn encode(bytes: &mut BytesMut, sequence: u64, now: Timestamp, answer: &Answer) {
    match answer {
        Answer::Published { topic, partition, offset } => {
            reply::publish_ack(bytes, sequence, now, topic.as_str(), *partition, *offset);
        }
        Answer::PublishedBatch { topic, published } => {
            reply::publish_batch_ack(bytes, sequence, now, topic.as_str(), published);
        }
        Answer::Topic { topic, partitions } => {
            reply::topic_ack(bytes, sequence, now, topic.as_str(), *partitions);
        }
        Answer::Metadata { next, json } => {
            let next = next.as_ref().map(TopicName::as_str);
            let encoded = reply::metadata_ack(bytes, sequence, now, next, json);
            encoded.unwrap_or_else(|error| too_long(bytes, sequence, now, &error));
        }
        Answer::Fetched { topic, bounds, next_offset, batches } => {
            let bodies = batches.iter().map(|batch| &batch.bytes()[..]);
            let encoded = reply::fetch_ack(bytes, sequence, now, topic.as_str(), bounds, *next_offset, bodies);
            encoded.unwrap_or_else(|error| too_long(bytes, sequence, now, &error));
        }
        Answer::Committed { topic, partition, client_id, offset } => {
            reply::commit_ack(bytes, sequence, now, topic.as_str(), *partition, client_id, *offset);
        }
        Answer::Listed { topic, listed } => {
            reply::list_offsets_ack(bytes, sequence, now, topic.as_str(), listed);
        }
        Answer::Producer(id) => reply::init_producer_ack(bytes, sequence, now, *id, PRODUCER_EPOCH),
        Answer::Subscribed { topic, partition, client_id, start } => {
            reply::subscribe_ack(bytes, sequence, now, topic.as_str(), *partition, client_id, *start);
        }
        Answer::Unsubscribed { topic, partition, client_id } => {
            reply::unsubscribe_ack(bytes, sequence, now, topic.as_str(), *partition, client_id);
        }
        Answer::Heartbeat => reply::heartbeat(bytes, sequence, now),
        Answer::Refused(refusal) => encode_refusal(bytes, sequence, now, refusal),
        Answer::Silence => {}
    }
}

/// A reply that no frame can hold is refused instead.
fn too_long(bytes: &mut BytesMut, sequence: u64, now: Timestamp, error: &EncodeError) {
    encode_refusal(bytes, sequence, now, &Refusal::new(ErrorCode::MessageTooLarge, error.to_string()));
}

fn encode_refusal(bytes: &mut BytesMut, sequence: u64, now: Timestamp, refusal: &Refusal) {
    let details: Vec<_> = refusal.details.iter().map(|(name, value)| (*name, value.as_str())).collect();
    reply::error_ack(bytes, sequence, now, refusal.code, &refusal.text, &details);
}
