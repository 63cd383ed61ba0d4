//! What goes out on one connection: answers in the order of their requests, DATA between them, all bounded.
//!
//! Whoever has something to send encodes it here and tries the socket at once, without waiting; what the socket does not
//! take is left for the connection's writer task. Three rules hold on the wire, and are kept under one lock:
//! answers keep the order of their requests; DATA of a subscription comes neither before the ACK to its SUBSCRIBE nor
//! after the ACK to its UNSUBSCRIBE; and a publish is answered before its record goes out as DATA on the same connection,
//! also where a subscription sees the record before the answer is here.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use super::answer::Answer;
use super::correlation::{ConnectionNumber, Noted};
use super::errors::Refusal;
use super::memory::{Loan, PeerMemory};
use crate::protocol::native::{ErrorCode, reply};
use crate::replica::{AckSink, Completion};
use state::{Slot, State};

#[cfg(test)]
pub(super) use state::{BUFFERED_BYTES_MAX, REQUESTS_MAX};
pub(super) use state::{Data, Group, Place, SubscriptionId};

mod state;

/// Bytes of records that all subscriptions of a connection together may have read and not yet handed over.
pub(super) const READ_AHEAD_BYTES_MAX: usize = 4 << 20;
/// What one permit of the reading stands for, in bytes.
const READ_AHEAD_UNIT: usize = 1 << 10;
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

/// The outgoing side of a connection.
#[derive(Debug)]
pub(super) struct Outbox {
    connection: ConnectionNumber,
    stream: Arc<TcpStream>,
    memory: Arc<PeerMemory>,
    now: super::Surroundings,
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

/// Publishes entered and not yet appended. Dropped before they are, it refuses them: the server stops.
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

    /// They are appended, and want no answers.
    pub(super) fn forget(mut self) {
        self.is_settled = true;
        self.outbox.state.lock().groups.remove(&self.token);
    }

    /// They are refused.
    pub(super) fn refuse(mut self, refusal: Refusal) {
        self.is_settled = true;
        self.outbox.settle(self.token, refusal);
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if !self.is_settled {
            self.outbox.settle(self.token, shutting_down());
        }
    }
}

/// What a request is told that the server read and did not do before it stopped.
pub(super) fn shutting_down() -> Refusal {
    Refusal::new(ErrorCode::ShuttingDown, "the server stops; the request was not done")
}

impl Outbox {
    pub(super) fn new(
        connection: ConnectionNumber,
        stream: Arc<TcpStream>,
        now: super::Surroundings,
        memory: Arc<PeerMemory>,
    ) -> Arc<Outbox> {
        let (state, unsent, progress) = (Mutex::new(State::new(&memory)), Notify::new(), Notify::new());
        let read_ahead = Semaphore::new(READ_AHEAD_BYTES_MAX / READ_AHEAD_UNIT);
        Arc::new(Outbox { connection, stream, memory, now, state, unsent, progress, read_ahead })
    }

    /// The connection's number, which goes with whatever is logged about it.
    pub(super) fn connection(&self) -> ConnectionNumber {
        self.connection
    }

    /// Notes the request about to be served, for the log.
    pub(super) fn note(&self, noted: Noted) {
        self.state.lock().noted = Some(Box::new(noted));
    }

    /// Takes a place for the answer to a request.
    pub(super) fn reserve(&self, sequence: u64) -> Place {
        self.state.lock().reserve(sequence, false)
    }

    /// Takes places for the answers to several requests, from [`Outbox::next_place`] on.
    pub(super) fn reserve_all(&self, sequences: &[u64]) {
        let mut state = self.state.lock();
        for sequence in sequences {
            state.reserve(*sequence, false);
        }
    }

    /// Takes a place for the answer to a request that somebody answers also where the server stops meanwhile.
    pub(super) fn entrust(&self, sequence: u64) -> Place {
        self.state.lock().reserve(sequence, true)
    }

    /// The place that the next request will take.
    pub(super) fn next_place(&self) -> Place {
        self.state.lock().next_place()
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

    /// Enters publishes that go into one batch.
    pub(super) fn enter(&self, group: Group) -> Entered<'_> {
        let mut state = self.state.lock();
        let token = state.next_group;
        state.next_group += 1;
        state.groups.insert(token, group);
        Entered { outbox: self, token, is_settled: false }
    }

    /// Refuses all publishes of a batch.
    fn settle(&self, token: u64, refusal: Refusal) {
        let mut state = self.state.lock();
        state.settle(token, Err(refusal));
        self.flush(&mut state);
    }

    /// Refuses every request that was read and is in nobody's hands but ours: nobody is left to answer it.
    pub(super) fn refuse_lost(&self) {
        let mut state = self.state.lock();
        let appended: BTreeSet<Place> = state.groups.values().flat_map(|group| group.places.iter().copied()).collect();
        for place in state.unanswered(|place, slot| !slot.is_entrusted && !appended.contains(&place)) {
            state.fill(place, Answer::Refused(shutting_down()));
        }
        self.flush(&mut state);
    }

    /// Gives up waiting for answers.
    pub(super) fn refuse_late(&self) {
        let mut state = self.state.lock();
        for place in state.unanswered(|_, _| true) {
            let text = "the connection ends before the request is done; it may take effect all the same";
            state.fill(place, Answer::Refused(Refusal::new(ErrorCode::TimedOut, text)));
        }
        self.flush(&mut state);
    }

    /// Sends a heartbeat that answers nothing, and gives back the memory of a connection that is idle. Where something
    /// waits to be sent, that does what a heartbeat is for.
    pub(super) fn heartbeat(&self) {
        let mut state = self.state.lock();
        state.trim();
        if state.outgoing.is_empty() {
            reply::heartbeat(state.outgoing.tail(), 0, (self.now.now)());
            self.flush(&mut state);
        }
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

    /// Whether the subscription has not ended.
    pub(super) fn is_live(&self, subscription: SubscriptionId) -> bool {
        self.state.lock().live.contains(&subscription)
    }

    /// Sends frames of a subscription whose ACK went out, with their part of the loan.
    pub(super) fn try_data(&self, data: &Data<'_>, loan: &mut Loan) -> Sent {
        let mut state = self.state.lock();
        if !state.live.contains(&data.subscription) {
            return Sent::Ended;
        }
        if !state.may_go(data) {
            return Sent::Wait;
        }
        state.add(data, loan);
        self.flush(&mut state);
        Sent::Gone
    }

    /// Sends a refusal that answers no request.
    pub(super) fn tell(&self, refusal: &Refusal) {
        let mut state = self.state.lock();
        let now = (self.now.now)();
        refusal.encode(state.outgoing.tail(), 0, now);
        self.flush(&mut state);
    }

    /// Sends what a member may read from now on, where there is room for more; whether there was.
    pub(super) fn assignment(&self, properties: &[(&str, &str)], json: &[u8]) -> bool {
        let mut state = self.state.lock();
        let is_sent = state.has_room_for_data() && !state.failed && {
            let now = (self.now.now)();
            reply::assignment(state.outgoing.tail(), now, properties, json).is_ok()
        };
        self.flush(&mut state);
        is_sent
    }

    /// Where the connection comes from.
    pub(super) fn peer(&self) -> String {
        self.stream.peer_addr().map(|address| address.to_string()).unwrap_or_default()
    }

    /// Waits until the answer at a place has gone before whatever is sent next.
    pub(super) async fn passed(&self, place: Place) {
        self.until(|state| state.first > place.0).await;
    }

    /// Waits until all before this place is answered, and until there is room: the next answer to go is its own.
    pub(super) async fn has_turn(&self, place: Place) {
        self.until(|state| state.first >= place.0 && state.has_room_for_data()).await;
    }

    /// Waits until there is much room for more DATA, and until so many bytes of records may be read for it. A peer that does
    /// not take what it subscribed to holds up the reading as well.
    pub(super) async fn read_ahead(&self, bytes: usize) -> ReadAhead<'_> {
        self.until(State::is_half_empty).await;
        let units = u32::try_from(bytes.min(READ_AHEAD_BYTES_MAX).div_ceil(READ_AHEAD_UNIT)).unwrap_or(u32::MAX);
        ReadAhead(self.read_ahead.acquire_many(units).await.ok())
    }

    /// Whether there is room for more DATA.
    pub(super) fn is_open_for_data(&self) -> bool {
        self.state.lock().has_room_for_data()
    }

    /// Waits until this DATA may be sent.
    pub(super) async fn data_may_go(&self, data: &Data<'_>) {
        self.until(|state| state.may_go(data)).await;
    }

    /// Waits until one more request may be read.
    pub(super) async fn request_may_come(&self) {
        self.until(State::has_room).await;
    }

    /// Whether one more request may be read.
    pub(super) fn has_room(&self) -> bool {
        self.state.lock().has_room()
    }

    /// Waits until every request is answered.
    pub(super) async fn answered(&self) {
        self.until(|state| state.failed || state.answers.is_empty()).await;
    }

    /// Waits until the socket has taken everything.
    pub(super) async fn sent(&self) {
        self.until(|state| state.failed || state.outgoing.is_empty()).await;
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
            // Looked at before the first wait: what another call left unsent is announced no more.
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
        let (connection, waiting_bytes) = (self.connection.0, self.state.lock().outgoing.len());
        tracing::warn!(
            connection,
            waiting_bytes,
            "a client that does not read is disconnected: others need the memory of what waits for it"
        );
        io::Error::new(io::ErrorKind::TimedOut, "the peer does not read")
    }

    /// Encodes answers whose turn it is and tries the socket.
    fn flush(&self, state: &mut State) {
        let progressed = self.encode_ready(state);
        let was_full = !state.has_room_for_data();
        if state.send(&self.stream).is_err() || !state.outgoing.is_empty() {
            self.unsent.notify_one();
        }
        state.settle_loan();
        if progressed || was_full || state.outgoing.is_empty() {
            self.progress.notify_waiters();
        }
    }

    /// Encodes the answers at the front that are known; whether there were any.
    fn encode_ready(&self, state: &mut State) -> bool {
        let (before, now) = (state.first, (self.now.now)());
        while let Some(Slot { sequence, answer: Some(mut answer), noted, .. }) =
            state.answers.pop_front_if(|slot| slot.answer.is_some())
        {
            state.overtaken -= usize::from(answer.is_of_publish());
            state.kept_bytes -= answer.kept_bytes();
            state.encode(&mut answer, sequence, now);
            state.first += 1;
            if let Some(noted) = noted {
                noted.answered(self.connection, &answer);
            }
        }
        state.first > before
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

#[cfg(test)]
mod tests;
