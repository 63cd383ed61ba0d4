//! What handles ask of a connection. Whoever asks writes the request's frame itself, under one short lock, behind those
//! that wait to be sent; the connection's task is woken to send them. A request with nothing else under way goes straight
//! to the socket: that saves waking anybody.

use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;

use super::clock;
use super::connection::{Route, now};
use super::error::ClientError;
use super::outgoing::Outgoing;
use super::pending::{Pending, Pendings, ReplyTo};
use super::publish::{NewRecord, Position, Publishing, Window};
use super::receipts::{Landing, Receipt, Receipts, Ticket};
use crate::protocol::native::reply::STAMP;
use crate::protocol::native::{EncodeError, Frame, FrameType, FrameWriter, Properties};
use crate::types::{Stamp, Timestamp};

/// Bytes waiting to be written at which no further request is taken.
const OUTGOING_BYTES_MAX: usize = 1 << 20;
/// Bytes of batches from which on to write one takes longer than to wake whoever else could.
const LARGE_BYTES_MIN: usize = 128 << 10;
/// Frames that go together may have the time of one: theirs is hardly another.
const FRAMES_OF_ONE_TIME_MAX: u32 = 16;
/// Bytes of a frame's properties beside which a stamp fits in any case.
const PROPERTIES_BYTES_TOLD_MAX: usize = 60 << 10;
/// Pieces written at once.
const PIECES_MAX: usize = 16;

/// The side of a connection that its handles share with its task.
#[derive(Debug)]
pub(super) struct Requests {
    state: Mutex<State>,
    pub(super) window: Window,
    /// Why the connection ended.
    pub(super) end: Arc<OnceLock<String>>,
    /// Looks at the clock since the last byte came, or since the broker owes a reply.
    pub(super) silent_looks: AtomicU32,
    /// Wakes the task.
    pub(super) wake: Notify,
    /// Wakes those who wait for room.
    room: Notify,
    /// Those who wait for room queue up here, so that each has its turn.
    turn: tokio::sync::Mutex<()>,
    /// Wakes those who wait for the connection's end.
    over: Notify,
}

#[derive(Debug)]
struct State {
    outgoing: Outgoing,
    pending: Pendings,
    receipts: Receipts,
    /// `None` once the connection is over.
    socket: Option<Arc<OwnedWriteHalf>>,
    /// Whether the task will look at `outgoing` again without being woken.
    is_served: bool,
    /// Whether there are no handles any more.
    is_abandoned: bool,
    /// Those who wait for room.
    waiting: usize,
    /// The time of the last frame, and how many have it.
    time: Timestamp,
    time_frames: u32,
}

/// A request.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) kind: FrameType,
    pub(super) properties: Pairs<'a>,
    pub(super) body: Bytes,
    /// Its number is the connection's to choose, unless it is the acknowledgement of a record.
    pub(super) sequence: Option<u64>,
    /// Where its reply goes; `None` where there will be none.
    pub(super) reply: Option<ReplyTo>,
    pub(super) route: Option<Box<Route>>,
    pub(super) window_bytes: Option<u32>,
}

/// The properties of a request.
#[derive(Debug)]
pub(super) enum Pairs<'a> {
    Given(&'a Properties),
    OfRecord { topic: &'a str, client_id: Option<&'a str>, record: &'a NewRecord },
}

impl<'a> Request<'a> {
    pub(super) fn new(kind: FrameType, properties: &'a Properties, reply: Option<ReplyTo>) -> Request<'a> {
        let properties = Pairs::Given(properties);
        Request { kind, properties, body: Bytes::new(), sequence: None, reply, route: None, window_bytes: None }
    }
}

impl Pairs<'_> {
    fn write(&self, frame: &mut FrameWriter<'_>) -> Result<(), EncodeError> {
        match self {
            Pairs::Given(properties) => frame.raw_properties(properties.as_wire()),
            Pairs::OfRecord { topic, client_id, record } => record.write(topic, *client_id, frame)?,
        }
        Ok(())
    }

    /// The stamp that goes with a record: what was read before it is published must be stamped before it.
    fn told(&self, time: Timestamp) -> Option<Stamp> {
        let Pairs::OfRecord { topic, client_id, record } = self else { return None };
        let told = clock::to_tell(time)?;
        // Rather than make a frame too large, it goes without.
        (record.properties_bytes(topic, *client_id) <= PROPERTIES_BYTES_TOLD_MAX).then_some(told)
    }
}

/// The number of a request as it stands in its frame: those of publishes are odd, so that what a reply means can be told
/// without asking who waits for it.
fn sequence_of(number: u64, kind: FrameType) -> u64 {
    number << 1 | u64::from(kind == FrameType::Publish)
}

/// Whether a reply answers a publish.
pub(super) fn is_of_publish(sequence: u64) -> bool {
    sequence & 1 == 1
}

impl Requests {
    pub(super) fn new(socket: Arc<OwnedWriteHalf>, window: Window, patience: Duration) -> Requests {
        let end: Arc<OnceLock<String>> = Arc::default();
        Requests {
            state: Mutex::new(State {
                outgoing: Outgoing::default(),
                pending: Pendings::default(),
                receipts: Receipts::new(patience, Arc::clone(&end)),
                socket: Some(socket),
                is_served: false,
                is_abandoned: false,
                waiting: 0,
                time: Timestamp::NONE,
                time_frames: 0,
            }),
            window,
            end,
            silent_looks: AtomicU32::new(0),
            wake: Notify::new(),
            room: Notify::new(),
            turn: tokio::sync::Mutex::new(()),
            over: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for the result of a publish.
    pub(super) fn receipt(&self) -> (Ticket, Receipt) {
        self.lock().receipts.next()
    }

    /// Publishes a record where there is room for it, at once; otherwise it is as before.
    pub(super) fn try_publish(
        &self,
        topic: &str,
        client_id: Option<&str>,
        record: &mut NewRecord,
    ) -> Result<Option<Publishing>, ClientError> {
        let bytes = record.properties_bytes(topic, client_id) + record.body().len();
        let Some(room) = self.window.try_room_for(bytes) else { return Ok(None) };
        let is_answered = !record.is_unanswered();
        let body = record.take_body();
        let mut request = Request {
            kind: FrameType::Publish,
            properties: Pairs::OfRecord { topic, client_id, record },
            body,
            sequence: None,
            reply: None,
            route: None,
            window_bytes: Some(room.bytes()),
        };
        let mut receipt = None;
        let is_sent = self.send_if(&mut request, |state, request| {
            if state.waiting == 0 && is_answered {
                let (ticket, own) = state.receipts.next();
                request.reply = Some(ReplyTo::Publisher(ticket));
                receipt = Some(own);
            }
            state.waiting == 0
        })?;
        if !is_sent {
            record.give_body(request.body);
            return Ok(None);
        }
        if is_answered {
            room.keep();
        }
        Ok(Some(Publishing::new(receipt)))
    }

    pub(super) fn closed(&self) -> ClientError {
        ClientError::closed(&self.end)
    }

    /// Sends a request, once there is room for it.
    pub(super) async fn send(&self, mut request: Request<'_>) -> Result<(), ClientError> {
        if self.send_if(&mut request, |state, _| state.waiting == 0)? {
            return Ok(());
        }
        let _waiting = Waiting::new(self);
        let _turn = self.turn.lock().await;
        loop {
            let room = self.room.notified();
            if self.send_if(&mut request, |_, _| true)? {
                return Ok(());
            }
            room.await;
        }
    }

    /// Sends a request where there is room for it; otherwise it is as before.
    pub(super) fn try_send(&self, request: &mut Request<'_>) -> Result<bool, ClientError> {
        self.send_if(request, |_, _| true)
    }

    fn send_if(
        &self,
        request: &mut Request<'_>,
        may: impl FnOnce(&mut State, &mut Request<'_>) -> bool,
    ) -> Result<bool, ClientError> {
        let mut state = self.lock();
        if state.socket.is_none() {
            return Err(self.closed());
        }
        if state.outgoing.remaining() >= OUTGOING_BYTES_MAX || !may(&mut state, request) {
            return Ok(false);
        }
        let owes_nothing = state.pending.is_empty();
        // Nothing is under way, or this is much at once: whoever asks writes, and what cannot be written now is the task's,
        // an error as well.
        let is_large = request.kind == FrameType::PublishBatch && request.body.len() >= LARGE_BYTES_MIN;
        let socket = state.socket.clone().filter(|_| (owes_nothing || is_large) && !state.is_served);
        state.append(request)?;
        if owes_nothing {
            // A broker that owed nothing was free to be silent.
            self.silent_looks.store(0, Ordering::Relaxed);
        }
        if let Some(socket) = socket {
            drop(write(&socket, &mut state.outgoing));
        }
        if state.outgoing.has_remaining() && !std::mem::replace(&mut state.is_served, true) {
            drop(state);
            self.wake.notify_one();
        }
        Ok(true)
    }

    /// Gives the task what is to be written next, once it has written what it was given before. Returns whether nobody
    /// will ask for anything more, and everything is answered.
    pub(super) fn take_outgoing(&self, writing: &mut Outgoing) -> bool {
        let mut state = self.lock();
        if !writing.has_remaining() {
            std::mem::swap(writing, &mut state.outgoing);
            state.is_served = writing.has_remaining();
            if state.is_served {
                self.room.notify_waiters();
            }
        }
        state.is_abandoned && state.pending.is_empty() && !writing.has_remaining()
    }

    /// The requests that replies answer, each with its reply; a reply that answers none is left.
    pub(super) fn answered(&self, replies: &mut Vec<(u64, Frame)>, answered: &mut Vec<(Pending, Frame)>) {
        let mut state = self.lock();
        let mut strange = Vec::new();
        for (sequence, reply) in replies.drain(..) {
            match state.pending.take(sequence >> 1) {
                Some(pending) => answered.push((pending, reply)),
                None => strange.push((sequence, reply)),
            }
        }
        *replies = strange;
    }

    /// The publishes that are stored, each with its position, and the bytes they took of the window.
    pub(super) fn stored(
        &self,
        stored: &mut Vec<(u64, Position)>,
        landings: &mut Vec<(Ticket, Landing)>,
    ) -> Result<usize, ClientError> {
        let mut state = self.lock();
        let mut bytes = 0;
        for (sequence, position) in stored.drain(..) {
            if let Some((ticket, window_bytes)) = state.pending.take_publish(sequence >> 1)? {
                bytes += window_bytes as usize;
                landings.push((ticket, Landing::Stored(position)));
            }
        }
        Ok(bytes)
    }

    pub(super) fn owes_nothing(&self) -> bool {
        self.lock().pending.is_empty()
    }

    /// Whether the connection is over.
    pub(super) fn is_over(&self) -> bool {
        self.lock().socket.is_none()
    }

    /// Waits until the connection is over.
    pub(super) async fn over(&self) {
        loop {
            let over = self.over.notified();
            if self.is_over() {
                return;
            }
            over.await;
        }
    }

    /// Waits until there may be room for a request.
    pub(super) async fn room(&self) {
        loop {
            let room = self.room.notified();
            if self.lock().outgoing.remaining() < OUTGOING_BYTES_MAX {
                return;
            }
            room.await;
        }
    }

    /// There are no handles any more.
    pub(super) fn abandon(&self) {
        self.lock().is_abandoned = true;
        self.wake.notify_one();
    }

    /// The connection is over: everything under way is dropped.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.socket = None;
        let dropped = (std::mem::take(&mut state.outgoing), std::mem::take(&mut state.pending));
        drop(state);
        self.window.close();
        drop(dropped);
        self.room.notify_waiters();
        self.over.notify_waiters();
    }
}

impl State {
    /// Appends a request's frame to what is to be written.
    fn append(&mut self, request: &mut Request<'_>) -> Result<(), ClientError> {
        let number = self.pending.next_number();
        let sequence = request.sequence.unwrap_or_else(|| sequence_of(number, request.kind));
        if !self.outgoing.has_remaining() || self.time_frames == FRAMES_OF_ONE_TIME_MAX {
            (self.time, self.time_frames) = (now(), 0);
        }
        self.time_frames += 1;
        let told = request.properties.told(self.time);
        let properties = |frame: &mut FrameWriter<'_>| {
            request.properties.write(frame)?;
            told.map_or(Ok(()), |stamp| frame.property(STAMP, &stamp.to_string()))
        };
        self.outgoing.frame(request.kind, sequence, self.time, properties, &request.body)?;
        if request.sequence.is_none() {
            let (route, window_bytes) = (request.route.take(), request.window_bytes);
            self.pending.push(request.reply.take().map(|reply| Pending { reply, route, window_bytes }));
        }
        Ok(())
    }
}

/// Counts one that waits for room, for as long as it does.
struct Waiting<'a>(&'a Requests);

impl Waiting<'_> {
    fn new(requests: &Requests) -> Waiting<'_> {
        requests.lock().waiting += 1;
        Waiting(requests)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting -= 1;
    }
}

/// A connection's handle. When the last clone is gone, the connection ends once everything is answered.
#[derive(Debug)]
pub(super) struct Handle(pub(super) Arc<Requests>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// Writes all of it, or as much as the socket takes now ([`io::ErrorKind::WouldBlock`]).
pub(super) fn write(socket: &OwnedWriteHalf, outgoing: &mut Outgoing) -> io::Result<()> {
    while outgoing.has_remaining() {
        let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
        let count = outgoing.chunks_vectored(&mut pieces);
        let written = socket.try_write_vectored(&pieces[..count])?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        outgoing.advance(written);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
