//! What waits on one connection: answers for their turn, records of groups for answers, bytes for the socket.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::broker::queues::QueuedRecord;
use crate::listener::memory::{Loan, OWN_BYTES, PeerMemory};
use crate::listener::outgoing::Outgoing;
use crate::protocol::lines;
use crate::types::{Offset, PartitionIndex, TopicName, TopicPartition};

/// Commands of one connection that may wait for their answers.
pub(in crate::listener::lines) const COMMANDS_MAX: usize = 65_536;
/// Bytes that may wait for the socket before no more commands are read and no more lines are made.
const BUFFERED_BYTES_MAX: usize = 1 << 20;
/// Bytes that may wait for the socket before a group passes over its member: little, so that all members get as much as
/// they take.
const GROUP_BYTES_MAX: usize = 64 << 10;

/// The place of one command's answer in the order of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::listener::lines) struct Place(u64);

impl Place {
    /// The place so many behind this one.
    pub(in crate::listener::lines) fn behind(self, places: usize) -> Place {
        Place(self.0 + places as u64)
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::listener::lines) enum Answer {
    /// `OK published`.
    Published,
    /// `OK …`.
    Okay(Box<str>),
    /// `ERR …`.
    Refused(Box<str>),
}

impl Answer {
    pub(in crate::listener::lines) fn okay(text: impl Into<Box<str>>) -> Answer {
        Answer::Okay(text.into())
    }

    pub(in crate::listener::lines) fn refused(description: impl ToString) -> Answer {
        Answer::Refused(description.to_string().into())
    }
}

/// The PUBs that went into one batch, in its order.
#[derive(Debug)]
pub(in crate::listener::lines) struct Batch {
    pub(in crate::listener::lines) topic: TopicName,
    pub(in crate::listener::lines) partition: PartitionIndex,
    pub(in crate::listener::lines) places: Vec<Place>,
    /// None of their records has a lower offset: the log's end before they were appended.
    pub(in crate::listener::lines) not_before: Offset,
}

/// MSG lines of one partition.
#[derive(Debug, Clone, Copy)]
pub(in crate::listener::lines) struct Messages<'a> {
    pub(in crate::listener::lines) partition: &'a TopicPartition,
    /// The offset of the last record in them.
    pub(in crate::listener::lines) last: Offset,
    pub(in crate::listener::lines) lines: &'a Bytes,
}

/// One membership of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::listener::lines) struct MembershipId(u64);

/// What a group gave to this connection.
#[derive(Debug)]
pub(super) struct Membership {
    topic: TopicName,
    room: Arc<Notify>,
    /// Records whose lines the socket has not taken, with where each line ends among all bytes sent.
    unsent: VecDeque<(QueuedRecord, u64)>,
}

impl Membership {
    pub(super) fn new(topic: TopicName, room: Arc<Notify>) -> Membership {
        Membership { topic, room, unsent: VecDeque::new() }
    }
}

/// A record of a group whose line waits for the answer to a PUB.
#[derive(Debug)]
struct Held {
    membership: MembershipId,
    record: QueuedRecord,
    line: Bytes,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) outgoing: Outgoing,
    memory: Arc<PeerMemory>,
    /// Memory for what waits beyond [`OWN_BYTES`].
    loan: Loan,
    /// There was none for answers: until the peer has taken enough no commands are read.
    is_overdrawn: bool,
    /// The place of the answer at the front of `answers`.
    first: u64,
    answers: VecDeque<Option<Answer>>,
    /// PUBs that are done, or refused, and wait for earlier ones.
    overtaken: usize,
    batches: BTreeMap<u64, Batch>,
    next_batch: u64,
    memberships: BTreeMap<MembershipId, Membership>,
    next_membership: u64,
    held: VecDeque<Held>,
    held_bytes: usize,
    /// A group found little room, and is to be told of more.
    is_short: bool,
    pub(super) is_closing: bool,
    pub(super) failed: bool,
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
            overtaken: 0,
            batches: BTreeMap::new(),
            next_batch: 0,
            memberships: BTreeMap::new(),
            next_membership: 0,
            held: VecDeque::new(),
            held_bytes: 0,
            is_short: false,
            is_closing: false,
            failed: false,
        }
    }

    /// Bytes that wait.
    fn waiting(&self) -> usize {
        self.outgoing.len() + self.held_bytes
    }

    /// Bytes that may wait as things are.
    fn bytes_max(&self) -> usize {
        self.memory.share().min(BUFFERED_BYTES_MAX)
    }

    /// Whether one more command may be read.
    pub(super) fn has_room(&self) -> bool {
        self.failed || (!self.is_overdrawn && self.answers.len() < COMMANDS_MAX && self.waiting() < self.bytes_max())
    }

    /// Whether more lines may be made.
    pub(super) fn has_room_for_messages(&self) -> bool {
        self.waiting() < self.bytes_max()
    }

    /// Whether many more lines may be made.
    pub(super) fn is_half_empty(&self) -> bool {
        self.waiting() <= self.bytes_max() / 2
    }

    /// Bytes that a group may give now.
    pub(super) fn room_for_groups(&mut self) -> usize {
        let bytes_max = self.bytes_max().min(GROUP_BYTES_MAX);
        let room = if self.is_closing || self.failed { 0 } else { bytes_max.saturating_sub(self.waiting()) };
        self.is_short |= room < bytes_max / 2;
        room
    }

    /// Adjusts the loan to what waits, and tells groups of room.
    pub(super) fn settle_loan(&mut self) {
        let bytes = self.waiting().saturating_sub(OWN_BYTES);
        self.loan.keep_only(bytes);
        self.is_overdrawn = !self.loan.reach(bytes);
        if self.is_short && self.waiting() <= self.bytes_max().min(GROUP_BYTES_MAX) / 2 {
            self.is_short = false;
            self.memberships.values().for_each(|membership| membership.room.notify_one());
        }
    }

    pub(super) fn next_place(&self) -> Place {
        Place(self.first + self.answers.len() as u64)
    }

    pub(super) fn reserve(&mut self, count: usize) {
        self.answers.resize(self.answers.len() + count, None);
    }

    pub(super) fn has_turn(&self, place: Place) -> bool {
        self.first >= place.0
    }

    pub(super) fn is_answered(&self) -> bool {
        self.answers.is_empty()
    }

    pub(super) fn fill(&mut self, place: Place, answer: Answer) {
        // A command that was refused because the server stops is answered: what is done all the same comes too late.
        let Some(index) = place.0.checked_sub(self.first).and_then(|index| usize::try_from(index).ok()) else { return };
        if let Some(slot) = self.answers.get_mut(index)
            && slot.is_none()
        {
            self.overtaken += 1;
            *slot = Some(answer);
        }
    }

    pub(super) fn enter(&mut self, batch: Batch) -> u64 {
        let token = self.next_batch;
        self.next_batch += 1;
        self.batches.insert(token, batch);
        token
    }

    /// Answers every PUB of a batch.
    pub(super) fn settle(&mut self, token: u64, refused: Option<&str>) {
        let Some(batch) = self.batches.remove(&token) else { return };
        for place in batch.places {
            self.fill(place, refused.map_or(Answer::Published, Answer::refused));
        }
    }

    /// Whether the broker has the PUB of this place.
    pub(super) fn is_appended(&self, place: Place) -> bool {
        self.batches.values().any(|batch| batch.places.contains(&place))
    }

    pub(super) fn refuse_unanswered(&mut self, reason: &str, is_wanted: impl Fn(&State, Place) -> bool) {
        let unanswered = (self.first..).map(Place).zip(&self.answers).filter(|(_, answer)| answer.is_none());
        let places: Vec<Place> = unanswered.map(|(place, _)| place).filter(|place| is_wanted(self, *place)).collect();
        places.into_iter().for_each(|place| self.fill(place, Answer::refused(reason)));
    }

    /// Whether no PUB that wrote a record up to this one waits for its answer.
    pub(super) fn may_go(&self, partition: &TopicPartition, last: Offset) -> bool {
        self.may_go_of(&partition.topic, partition.partition, last)
    }

    fn may_go_of(&self, topic: &TopicName, partition: PartitionIndex, last: Offset) -> bool {
        let is_awaited = |batch: &Batch| {
            batch.partition == partition
                && batch.topic == *topic
                && !batch.places.is_empty()
                && batch.not_before <= last
        };
        self.overtaken == 0 && !self.batches.values().any(is_awaited)
    }

    /// Adds lines, with their part of a loan.
    pub(super) fn add(&mut self, lines: &Bytes, loan: &mut Loan) {
        self.outgoing.push(lines);
        self.loan.join(loan.split(lines.len()));
    }

    /// Moves answers at the front that are known to the bytes that wait, and then what waited for them; whether there
    /// were any.
    pub(super) fn encode_ready(&mut self) -> bool {
        let before = self.first;
        while let Some(Some(answer)) = self.answers.pop_front_if(|answer| answer.is_some()) {
            let bytes = self.outgoing.tail();
            match answer {
                Answer::Published => lines::okay(bytes, "published"),
                Answer::Okay(text) => lines::okay(bytes, &text),
                Answer::Refused(description) => lines::error(bytes, &description),
            }
            self.first += 1;
            self.overtaken -= 1;
        }
        self.release_held();
        self.first > before
    }

    /// Gives the socket what it takes without waiting.
    pub(super) fn send(&mut self, stream: &TcpStream) -> io::Result<()> {
        let sent = self.outgoing.send(stream);
        let taken = self.outgoing.taken();
        for membership in self.memberships.values_mut() {
            while membership.unsent.pop_front_if(|(_, end)| *end <= taken).is_some() {}
        }
        if sent.is_err() {
            self.failed = true;
            self.outgoing.clear();
        }
        sent
    }

    pub(super) fn join(&mut self, membership: Membership) -> MembershipId {
        self.next_membership += 1;
        let id = MembershipId(self.next_membership);
        self.memberships.insert(id, membership);
        id
    }

    /// Takes records that a group gives.
    pub(super) fn give(&mut self, id: MembershipId, gifts: &[(QueuedRecord, Bytes)], loan: &mut Loan) -> bool {
        if self.is_closing || self.failed || !self.memberships.contains_key(&id) {
            return false;
        }
        for (record, line) in gifts {
            self.loan.join(loan.split(line.len()));
            self.held_bytes += line.len();
            self.held.push_back(Held { membership: id, record: *record, line: line.clone() });
        }
        self.release_held();
        true
    }

    /// Lets records of groups go that no answer has to go before.
    fn release_held(&mut self) {
        while let Some(Held { membership, record, .. }) = self.held.front().filter(|_| !self.is_closing) {
            let Some(topic) = self.memberships.get(membership).map(|membership| &membership.topic) else { return };
            if !self.may_go_of(topic, record.partition, record.offset) {
                return;
            }
            let Some(Held { membership, record, line }) = self.held.pop_front() else { return };
            self.held_bytes -= line.len();
            self.outgoing.push(&line);
            let end = self.outgoing.taken() + self.outgoing.len() as u64;
            if let Some(membership) = self.memberships.get_mut(&membership) {
                membership.unsent.push_back((record, end));
            }
        }
    }

    /// Ends a membership: what the socket has not taken of it.
    pub(super) fn leave(&mut self, id: MembershipId) -> Vec<QueuedRecord> {
        let Some(membership) = self.memberships.remove(&id) else { return Vec::new() };
        let (mut held_bytes, mut unsent) = (0, Vec::new());
        unsent.extend(membership.unsent.into_iter().map(|(record, _)| record));
        self.held.retain(|held| {
            let is_other = held.membership != id;
            if !is_other {
                held_bytes += held.line.len();
                unsent.push(held.record);
            }
            is_other
        });
        self.held_bytes -= held_bytes;
        unsent
    }
}
