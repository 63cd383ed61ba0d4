//! What waits on one connection: answers for their turn, bytes for the socket.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::TcpStream;

use crate::listener::native::answer::Answer;
use crate::listener::native::correlation::Noted;
use crate::listener::native::errors::Refusal;
use crate::listener::native::memory::{Loan, OWN_BYTES, PeerMemory};
use crate::listener::outgoing::Outgoing;
use crate::protocol::native::reply;
use crate::record::Batch;
use crate::types::{Offset, PartitionIndex, Timestamp, TopicName};

/// Requests of one connection that may wait for their answers.
pub(in crate::listener::native) const REQUESTS_MAX: usize = 16_384;
/// Bytes that may wait for the socket before no more requests are read and no more DATA is made.
pub(in crate::listener::native) const BUFFERED_BYTES_MAX: usize = 1 << 20;

/// The place of one request's answer in the order of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::listener::native) struct Place(pub(super) u64);

impl Place {
    /// The place so many behind this one.
    pub(in crate::listener::native) fn behind(self, places: usize) -> Place {
        Place(self.0 + places as u64)
    }
}

/// One subscription of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::listener::native) struct SubscriptionId(pub(super) u64);

/// The publishes that went into one batch, in its order.
#[derive(Debug)]
pub(in crate::listener::native) struct Group {
    pub(in crate::listener::native) topic: TopicName,
    pub(in crate::listener::native) partition: PartitionIndex,
    pub(in crate::listener::native) places: Vec<Place>,
    /// None of their records has a lower offset: the log's end before they were appended.
    pub(in crate::listener::native) not_before: Offset,
    /// A client built the batch, of so many records: one answer is for all of them.
    pub(in crate::listener::native) whole: Option<u64>,
}

/// Frames of a subscription.
#[derive(Debug, Clone, Copy)]
pub(in crate::listener::native) struct Data<'a> {
    pub(in crate::listener::native) subscription: SubscriptionId,
    pub(in crate::listener::native) topic: &'a TopicName,
    pub(in crate::listener::native) partition: PartitionIndex,
    /// The offset of the last record in it.
    pub(in crate::listener::native) last: Offset,
    /// Encoded frames, the last of them perhaps only up to its body.
    pub(in crate::listener::native) frames: &'a Bytes,
    /// The body of the last frame, where that is batches.
    pub(in crate::listener::native) batches: &'a [Batch],
}

impl Group {
    /// Whether this DATA may hold records of the group, which are to be answered first.
    fn is_awaited_before(&self, data: &Data<'_>) -> bool {
        let is_same = self.partition == data.partition && self.topic == *data.topic;
        is_same && !self.places.is_empty() && self.not_before <= data.last
    }
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) outgoing: Outgoing,
    memory: Arc<PeerMemory>,
    /// Memory for what waits beyond [`OWN_BYTES`].
    loan: Loan,
    /// There was none for answers: until the peer has taken enough no requests are read.
    is_overdrawn: bool,
    /// The place of the answer at the front of `answers`.
    pub(super) first: u64,
    pub(super) answers: VecDeque<Slot>,
    /// Bytes kept by the answers that wait for earlier ones.
    pub(super) kept_bytes: usize,
    /// The request read last, where requests are logged.
    pub(super) noted: Option<Box<Noted>>,
    /// Answers of publishes that are known and wait for earlier ones.
    pub(super) overtaken: usize,
    pub(super) groups: BTreeMap<u64, Group>,
    pub(super) next_group: u64,
    pub(super) live: BTreeSet<SubscriptionId>,
    pub(super) next_subscription: u64,
    pub(super) failed: bool,
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) sequence: u64,
    pub(super) answer: Option<Answer>,
    /// The broker answers it, also where the connection has been closed meanwhile.
    pub(super) is_entrusted: bool,
    pub(super) noted: Option<Box<Noted>>,
}

impl State {
    pub(super) fn new(memory: &Arc<PeerMemory>) -> State {
        State {
            outgoing: Outgoing::default(),
            memory: Arc::clone(memory),
            loan: memory.nothing(),
            is_overdrawn: false,
            first: 0,
            answers: VecDeque::new(),
            kept_bytes: 0,
            noted: None,
            overtaken: 0,
            groups: BTreeMap::new(),
            next_group: 0,
            live: BTreeSet::new(),
            next_subscription: 0,
            failed: false,
        }
    }

    /// Bytes that may wait for the socket as things are.
    fn bytes_max(&self) -> usize {
        self.memory.share().min(BUFFERED_BYTES_MAX)
    }

    /// Whether one more request may be read.
    pub(super) fn has_room(&self) -> bool {
        let bytes = self.outgoing.len() + self.kept_bytes;
        !self.is_overdrawn && self.answers.len() < REQUESTS_MAX && bytes < self.bytes_max()
    }

    /// Whether more DATA may be made.
    pub(super) fn has_room_for_data(&self) -> bool {
        self.outgoing.len() < self.bytes_max()
    }

    /// Whether much more DATA may be made.
    pub(super) fn is_half_empty(&self) -> bool {
        self.outgoing.len() <= self.bytes_max() / 2
    }

    /// Adjusts the loan to what waits.
    pub(super) fn settle_loan(&mut self) {
        let bytes = (self.outgoing.len() + self.kept_bytes).saturating_sub(OWN_BYTES);
        self.loan.keep_only(bytes);
        self.is_overdrawn = !self.loan.reach(bytes);
    }

    pub(super) fn next_place(&self) -> Place {
        Place(self.first + self.answers.len() as u64)
    }

    pub(super) fn reserve(&mut self, sequence: u64, is_entrusted: bool) -> Place {
        let place = self.next_place();
        let noted = self.noted.take().filter(|noted| noted.is_of(sequence));
        self.answers.push_back(Slot { sequence, answer: None, is_entrusted, noted });
        place
    }

    /// The places of requests that are not answered, as far as they are wanted.
    pub(super) fn unanswered(&self, is_wanted: impl Fn(Place, &Slot) -> bool) -> Vec<Place> {
        let slots = (self.first..).map(Place).zip(&self.answers);
        slots.filter(|(place, slot)| slot.answer.is_none() && is_wanted(*place, slot)).map(|(place, _)| place).collect()
    }

    /// Gives back what an idle connection does not need.
    pub(super) fn trim(&mut self) {
        self.outgoing.trim();
        if self.answers.is_empty() {
            self.answers = VecDeque::new();
        }
    }

    /// Whether there is room for DATA, and no publish of ours that may be in it waits for its answer.
    pub(super) fn may_go(&self, data: &Data<'_>) -> bool {
        let has_room = self.overtaken == 0 && self.has_room_for_data();
        has_room && !self.groups.values().any(|group| group.is_awaited_before(data))
    }

    pub(super) fn fill(&mut self, place: Place, answer: Answer) {
        // A request that was refused because the server stops is answered: what is done all the same comes too late.
        let Some(index) = place.0.checked_sub(self.first).and_then(|index| usize::try_from(index).ok()) else { return };
        if let Some(slot) = self.answers.get_mut(index)
            && slot.answer.is_none()
        {
            self.overtaken += usize::from(answer.is_of_publish());
            self.kept_bytes += answer.kept_bytes();
            slot.answer = Some(answer);
        }
    }

    /// Answers every publish of a batch.
    pub(super) fn settle(&mut self, token: u64, outcome: Result<Offset, Refusal>) {
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

    /// Adds frames of a subscription, with their part of a loan.
    pub(super) fn add(&mut self, data: &Data<'_>, loan: &mut Loan) {
        let before = self.outgoing.len();
        self.outgoing.push(data.frames);
        self.add_batches(data.batches);
        self.loan.join(loan.split(self.outgoing.len() - before));
    }

    fn add_batches(&mut self, batches: &[Batch]) {
        batches.iter().for_each(|batch| self.outgoing.push(batch.bytes()));
    }

    /// Adds an answer that is the next to go.
    pub(super) fn encode(&mut self, answer: &mut Answer, sequence: u64, now: Timestamp) {
        answer.encode(self.outgoing.tail(), sequence, now);
        if let Answer::Fetched { batches, loan, .. } = answer {
            self.add_batches(batches);
            self.loan.join(loan.split(usize::MAX));
        }
    }

    /// Gives the socket what it takes without waiting.
    pub(super) fn send(&mut self, stream: &TcpStream) -> io::Result<()> {
        let sent = self.outgoing.send(stream);
        if sent.is_err() {
            self.failed = true;
            self.outgoing.clear();
        }
        sent
    }
}
