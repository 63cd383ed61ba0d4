//! What goes out on one connection: answers in the order of their commands, MSG lines between them, all bounded.
//!
//! Whoever has something to send adds it here and tries the socket at once, without waiting; what the socket does not take
//! is left for the connection's writer task. Two rules hold on the wire, and are kept under one lock: answers keep the
//! order of their commands; and a PUB is answered before its record goes out as MSG on the same connection.
//!
//! What a group gave to this connection is remembered until the socket has taken the whole line: when the connection ends
//! before that, the group has it back.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use crate::broker::queues::QueuedRecord;
use crate::listener::memory::{Loan, PeerMemory};
use crate::protocol::lines;
use crate::replica::{AckSink, Completion};
use crate::types::TopicName;
use state::{Membership, State};

pub(super) use state::{Answer, Batch, MembershipId, Messages, Place};

mod state;

/// Bytes of records that all subscriptions of a connection together may have read and not yet handed over.
const READ_AHEAD_BYTES_MAX: usize = 4 << 20;
/// What one permit of the reading stands for, in bytes.
const READ_AHEAD_UNIT: usize = 1 << 10;
/// What a command is told that the server read and did not do before it stopped.
pub(super) const SHUTTING_DOWN: &str = "the server stops; the command was not done";
const LATE: &str = "the connection ends before the command is done; it may take effect all the same";

/// What became of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// They are on their way.
    Gone,
    /// They must wait: see [`Outbox::messages_may_go`].
    Wait,
    /// The connection ends.
    Ended,
}

/// The outgoing side of a connection.
#[derive(Debug)]
pub(super) struct Outbox {
    /// The connection's number.
    pub(super) connection: u64,
    stream: Arc<TcpStream>,
    memory: Arc<PeerMemory>,
    state: Mutex<State>,
    /// Something is left for the writer task.
    unsent: Notify,
    /// Bytes went out or answers found their turn.
    progress: Notify,
    /// What is left of [`READ_AHEAD_BYTES_MAX`], in units.
    read_ahead: Semaphore,
}

/// Leave to keep records that were read, until they are handed over.
#[derive(Debug)]
pub(super) struct ReadAhead<'a>(Option<SemaphorePermit<'a>>);

impl ReadAhead<'_> {
    /// Gives back what was asked for and not needed: only so many bytes were read.
    pub(super) fn keep_only(&mut self, bytes: usize) {
        let units = bytes.div_ceil(READ_AHEAD_UNIT);
        if let Some(permit) = &mut self.0 {
            drop(permit.split(permit.num_permits().saturating_sub(units)));
        }
    }
}

/// A batch of PUBs entered and not yet appended. Dropped before it is, they are refused: the server stops.
#[derive(Debug)]
pub(super) struct Entered<'a> {
    outbox: &'a Outbox,
    token: u64,
    is_settled: bool,
}

impl Entered<'_> {
    /// The token under which their completion comes.
    pub(super) fn token(&self) -> u64 {
        self.token
    }

    /// They are appended, and their completion will come.
    pub(super) fn appended(mut self) {
        self.is_settled = true;
    }

    /// They are refused.
    pub(super) fn refuse(mut self, reason: &str) {
        self.is_settled = true;
        self.outbox.refuse_batch(self.token, reason);
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if !self.is_settled {
            self.outbox.refuse_batch(self.token, SHUTTING_DOWN);
        }
    }
}

impl Outbox {
    pub(super) fn new(connection: u64, stream: Arc<TcpStream>, memory: Arc<PeerMemory>) -> Arc<Outbox> {
        let (state, unsent, progress) = (Mutex::new(State::new(&memory)), Notify::new(), Notify::new());
        let read_ahead = Semaphore::new(READ_AHEAD_BYTES_MAX / READ_AHEAD_UNIT);
        Arc::new(Outbox { connection, stream, memory, state, unsent, progress, read_ahead })
    }

    /// The place that the next command will take.
    pub(super) fn next_place(&self) -> Place {
        self.state.lock().next_place()
    }

    /// Takes so many places for answers, from [`Outbox::next_place`] on.
    pub(super) fn reserve(&self, count: usize) {
        self.state.lock().reserve(count);
    }

    /// Gives the answer for a place; it goes out once all before it have.
    pub(super) fn answer(&self, place: Place, answer: Answer) {
        let mut state = self.state.lock();
        state.fill(place, answer);
        self.flush(&mut state);
    }

    /// Gives the answer to a command that takes its place only now.
    pub(super) fn answer_next(&self, answer: Answer) {
        let mut state = self.state.lock();
        let place = state.next_place();
        state.reserve(1);
        state.fill(place, answer);
        self.flush(&mut state);
    }

    /// Says something that answers no command.
    pub(super) fn tell(&self, description: &str) {
        let mut state = self.state.lock();
        if !state.is_closing {
            lines::error(state.outgoing.tail(), description);
            self.flush(&mut state);
        }
    }

    /// Enters PUBs that go into one batch.
    pub(super) fn enter(&self, batch: Batch) -> Entered<'_> {
        let token = self.state.lock().enter(batch);
        Entered { outbox: self, token, is_settled: false }
    }

    fn refuse_batch(&self, token: u64, reason: &str) {
        let mut state = self.state.lock();
        state.settle(token, Some(reason));
        self.flush(&mut state);
    }

    /// Refuses every command that was read and that nobody is left to answer.
    pub(super) fn refuse_lost(&self) {
        let mut state = self.state.lock();
        state.refuse_unanswered(SHUTTING_DOWN, |state, place| !state.is_appended(place));
        self.flush(&mut state);
    }

    /// Gives up waiting for answers.
    pub(super) fn refuse_late(&self) {
        let mut state = self.state.lock();
        state.refuse_unanswered(LATE, |_, _| true);
        self.flush(&mut state);
    }

    /// Sends MSG lines of a broadcast, with their part of the loan.
    pub(super) fn try_messages(&self, messages: &Messages<'_>, loan: &mut Loan) -> Sent {
        let mut state = self.state.lock();
        if state.is_closing || state.failed {
            return Sent::Ended;
        }
        if !state.may_go(messages.partition, messages.last) || !state.has_room_for_messages() {
            return Sent::Wait;
        }
        state.add(messages.lines, loan);
        self.flush(&mut state);
        Sent::Gone
    }

    /// Waits until these may be sent, or never will.
    pub(super) async fn messages_may_go(&self, messages: &Messages<'_>) {
        let may_go = |state: &State| {
            state.is_closing
                || state.failed
                || (state.may_go(messages.partition, messages.last) && state.has_room_for_messages())
        };
        self.until(may_go).await;
    }

    /// Sends lines that are a part of the answer whose turn it is, with their part of the loan; `false` where they must
    /// wait for room.
    pub(super) fn try_part(&self, part: &Bytes, loan: &mut Loan) -> bool {
        let mut state = self.state.lock();
        if !state.has_room_for_messages() && !state.failed {
            return false;
        }
        state.add(part, loan);
        self.flush(&mut state);
        true
    }

    /// Waits until there is room for more lines.
    pub(super) async fn has_room_for_lines(&self) {
        self.until(|state| state.failed || state.has_room_for_messages()).await;
    }

    /// Waits until all before this place is answered: the next answer to go is its own.
    pub(super) async fn has_turn(&self, place: Place) {
        self.until(|state| state.failed || state.has_turn(place)).await;
    }

    /// Waits until there is much room for more lines, and until so many bytes of records may be read for them.
    pub(super) async fn read_ahead(&self, bytes: usize) -> ReadAhead<'_> {
        self.until(|state| state.failed || state.is_half_empty()).await;
        let units = u32::try_from(bytes.min(READ_AHEAD_BYTES_MAX).div_ceil(READ_AHEAD_UNIT)).unwrap_or(u32::MAX);
        ReadAhead(self.read_ahead.acquire_many(units).await.ok())
    }

    /// Whether there is room for more MSG lines.
    pub(super) fn is_open_for_messages(&self) -> bool {
        self.state.lock().has_room_for_messages()
    }

    /// Waits until one more command may be read.
    pub(super) async fn command_may_come(&self) {
        self.until(State::has_room).await;
    }

    /// Whether one more command may be read.
    pub(super) fn has_room(&self) -> bool {
        self.state.lock().has_room()
    }

    /// Waits until every command is answered.
    pub(super) async fn answered(&self) {
        self.until(|state| state.failed || state.is_answered()).await;
    }

    /// Waits until the socket has taken everything.
    pub(super) async fn sent(&self) {
        self.until(|state| state.failed || state.outgoing.is_empty()).await;
    }

    /// No MSG goes out any more behind what waits already.
    pub(super) fn close(&self) {
        self.state.lock().is_closing = true;
        self.progress.notify_waiters();
    }

    /// Becomes a member of a group; `room` is told when there is room again.
    pub(super) fn join(&self, topic: &TopicName, room: &Arc<Notify>) -> MembershipId {
        self.state.lock().join(Membership::new(topic.clone(), Arc::clone(room)))
    }

    /// Bytes that a group may give now.
    pub(super) fn room(&self) -> usize {
        self.state.lock().room_for_groups()
    }

    /// Takes records that a group gives, with their lines and their part of the loan. They go out once they may; `false`
    /// where the connection ends.
    pub(super) fn give(&self, id: MembershipId, gifts: &[(QueuedRecord, Bytes)], loan: &mut Loan) -> bool {
        let mut state = self.state.lock();
        let are_taken = state.give(id, gifts, loan);
        if are_taken {
            self.flush(&mut state);
        }
        are_taken
    }

    /// Ends a membership: the records of which the socket has not taken the whole line. To be called when nothing will be
    /// sent any more.
    pub(super) fn leave(&self, id: MembershipId) -> Vec<QueuedRecord> {
        self.state.lock().leave(id)
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
            self.write_waiting().await?;
            if self.state.lock().failed {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.unsent.notified().await;
        }
    }

    async fn write_waiting(&self) -> io::Result<()> {
        let Some(taken) = self.taken_of_more() else { return Ok(()) };
        let mut stall = self.memory.watch(taken);
        while let Some(taken) = self.taken_of_more() {
            stall.taken(taken);
            tokio::select! {
                biased;
                writable = self.stream.writable() => writable?,
                () = self.memory.wanted_from(&stall) => return Err(self.is_stalled()),
            }
            let mut state = self.state.lock();
            state.send(&self.stream)?;
            state.settle_loan();
            drop(state);
            self.progress.notify_waiters();
        }
        Ok(())
    }

    /// Bytes that the peer has taken, where more wait for it.
    fn taken_of_more(&self) -> Option<u64> {
        let outgoing = &self.state.lock().outgoing;
        (!outgoing.is_empty()).then(|| outgoing.taken())
    }

    fn is_stalled(&self) -> io::Error {
        let waiting_bytes = self.state.lock().outgoing.len();
        tracing::warn!(
            lines = self.connection,
            waiting_bytes,
            "a client that does not read is disconnected: others need the memory of what waits for it"
        );
        io::Error::new(io::ErrorKind::TimedOut, "the peer does not read")
    }

    /// Adds answers whose turn it is, and what waited for them, and tries the socket.
    fn flush(&self, state: &mut State) {
        let progressed = state.encode_ready();
        let was_full = !state.has_room_for_messages();
        if state.send(&self.stream).is_err() || !state.outgoing.is_empty() {
            self.unsent.notify_one();
        }
        state.settle_loan();
        if progressed || was_full || state.outgoing.is_empty() {
            self.progress.notify_waiters();
        }
    }
}

impl AckSink for Outbox {
    fn complete(&self, completions: &mut dyn Iterator<Item = Completion>) {
        let mut state = self.state.lock();
        for Completion { token, outcome } in completions {
            match outcome {
                Ok(_) => state.settle(token, None),
                Err(failure) => state.settle(token, Some(&failure.to_string())),
            }
        }
        self.flush(&mut state);
    }
}

#[cfg(test)]
mod tests;
