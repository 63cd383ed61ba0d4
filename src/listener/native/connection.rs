//! One connection, from its first frame to its end.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout, timeout_at};

use super::answer::Answer;
use super::batches::Fetches;
use super::correlation::{self, ConnectionNumber, Noted};
use super::errors::Refusal;
use super::group_readers::GroupReaders;
use super::incoming::Incoming;
use super::liveness;
use super::memory::{Loan, Stall};
use super::outbox::{Outbox, Place, shutting_down};
use super::publish::PublishRun;
use super::subscription::Subscriptions;
use super::topics::TopicCommands;
use super::{NativeListener, farewell};
use crate::protocol::native::{AckLevel, Decoded, ErrorCode, Frame, FrameCodec, FrameLimits, FrameType, Request};

/// How long requests that are under way have to be answered, and the peer to take the answers, when it has closed its
/// side …
const LAST_ANSWERS: Patience = Patience { answers: Duration::from_secs(5), sending: Duration::from_secs(5) };
/// … and when the server stops.
const ANSWERS_AT_STOP: Patience = Patience { answers: Duration::from_secs(2), sending: Duration::from_secs(1) };
/// Publishes gathered before it is looked again whether there may be more.
const PUBLISHES_UNCHECKED: usize = 64;

/// A connection as its requests see it.
pub(super) struct Connection<'a> {
    pub(super) listener: &'a Arc<NativeListener>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) subscriptions: Subscriptions,
    pub(super) readers: GroupReaders,
    pub(super) commands: TopicCommands,
    pub(super) fetches: Fetches,
    codec: FrameCodec,
    incoming: Incoming,
    /// What the large frame under way was lent.
    loan: Option<(Loan, Stall)>,
    in_hand: Option<InHand>,
    /// Whether a valid frame has come.
    is_greeted: bool,
}

/// Whether the connection goes on.
enum Next {
    GoOn,
    Close(&'static str),
}

/// What a read brought.
enum Came {
    Bytes,
    /// The peer has closed its side.
    End,
    /// Nothing for long, while others wait for the memory.
    TooSlowly,
}

/// What was cut off next, after publishes that were gathered.
enum Cut {
    /// Nothing else yet: there may be more publishes.
    Publishes,
    /// What publishes are not gathered with, or what must be waited for.
    Other(Decoded),
    Nothing,
}

/// How long a connection that closes waits.
struct Patience {
    answers: Duration,
    sending: Duration,
}

/// A request that is being served and may have no place among the answers yet.
#[derive(Debug, Clone, Copy)]
struct InHand {
    sequence: u64,
    /// The place it takes where it takes one.
    place: Place,
}

/// Why it ends.
enum End {
    /// The peer or a frame of it is the reason.
    Peer(&'static str),
    /// The server stops.
    Stop,
}

/// Serves a connection; returns why it ended.
pub(super) async fn run(
    listener: &Arc<NativeListener>,
    number: ConnectionNumber,
    stream: TcpStream,
    mut stop: watch::Receiver<bool>,
) -> io::Result<&'static str> {
    let stream = Arc::new(stream);
    let memory = Arc::clone(&listener.outgoing_memory);
    let outbox = Outbox::new(number, Arc::clone(&stream), listener.surroundings.clone(), memory);
    let limits = FrameLimits::for_messages(listener.options.message_bytes_max)
        .with_batches(listener.broker.admission().batch_bytes_max);
    let mut connection = Connection {
        listener,
        outbox: Arc::clone(&outbox),
        subscriptions: Subscriptions::default(),
        readers: GroupReaders::default(),
        commands: TopicCommands::default(),
        fetches: Fetches::default(),
        codec: FrameCodec::new(limits),
        incoming: Incoming::default(),
        loan: None,
        in_hand: None,
        is_greeted: false,
    };
    let heard = connection.incoming.heard();
    let end = tokio::select! {
        reason = connection.serve(&stream) => End::Peer(reason?),
        Err(error) = outbox.write_rest() => return Err(error),
        () = beat(listener, &outbox) => End::Peer("unreachable"),
        () = liveness::watch(&stream, &heard, listener.options.connection_timeout) => End::Peer("unreachable"),
        _ = stop.changed() => End::Stop,
    };
    let reason = match end {
        End::Peer(reason) => {
            connection.subscriptions = Subscriptions::default();
            connection.readers = GroupReaders::default();
            tokio::select! {
                () = last_answers(&outbox, &LAST_ANSWERS) => {}
                Err(error) = outbox.write_rest() => return Err(error),
                _ = stop.changed() => {}
            }
            reason
        }
        End::Stop => {
            connection.refuse_in_hand();
            connection.refuse_unread();
            "the server stops"
        }
    };
    drop(connection);
    if *stop.borrow() {
        outbox.refuse_lost();
        tokio::select! {
            () = last_answers(&outbox, &ANSWERS_AT_STOP) => {}
            Err(error) = outbox.write_rest() => return Err(error),
        }
    }
    farewell::close(&stream).await;
    Ok(reason)
}

/// Waits for the answers of what is under way, and until they are sent.
async fn last_answers(outbox: &Outbox, patience: &Patience) {
    if timeout(patience.answers, outbox.answered()).await.is_err() {
        outbox.refuse_late();
    }
    let _sent = timeout(patience.sending, outbox.sent()).await;
}

/// Sends heartbeats, which provoke a dead peer's TCP.
async fn beat(listener: &NativeListener, outbox: &Outbox) {
    let period = listener.options.heartbeat_interval;
    let mut beats = interval_at(Instant::now() + period, period);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beats.tick().await;
        outbox.heartbeat();
    }
}

impl Came {
    fn of(bytes: usize) -> Came {
        if bytes == 0 { Came::End } else { Came::Bytes }
    }
}

impl Connection<'_> {
    async fn serve(&mut self, stream: &TcpStream) -> io::Result<&'static str> {
        let handshake = Instant::now() + self.listener.options.handshake_timeout;
        loop {
            self.outbox.request_may_come().await;
            let is_greeted = self.is_greeted;
            let read = self.read(stream);
            let read = if is_greeted {
                read.await?
            } else {
                match timeout_at(handshake, read).await {
                    Ok(read) => read?,
                    Err(_) => return Ok("no valid frame within server.handshake_timeout"),
                }
            };
            match read {
                Came::Bytes => {}
                Came::End => return Ok("closed by the peer"),
                Came::TooSlowly => return Ok("a large frame took long to come while others waited for its memory"),
            }
            // Boxed, so that a connection keeps no room for it while it is idle.
            if let Next::Close(reason) = Box::pin(self.take_frames()).await {
                return Ok(reason);
            }
        }
    }

    /// Reads what has come, or waits for it. A large frame is read once there is memory for it.
    async fn read(&mut self, stream: &TcpStream) -> io::Result<Came> {
        match self.codec.missing() {
            // Boxed, as most connections never receive one.
            Some(missing) => Box::pin(self.read_large(stream, missing)).await,
            None => self.incoming.read(stream, None).await.map(Came::of),
        }
    }

    async fn read_large(&mut self, stream: &TcpStream, missing: NonZeroUsize) -> io::Result<Came> {
        let memory = &self.listener.incoming_memory;
        let stall = match &self.loan {
            Some((_, stall)) => stall,
            None => {
                let loan = memory.take(self.incoming.bytes.len() + missing.get()).await;
                &self.loan.insert((loan, memory.watch(0))).1
            }
        };
        tokio::select! {
            biased;
            read = self.incoming.read(stream, Some(missing)) => read.map(Came::of),
            () = memory.wanted_from(stall) => Ok(Came::TooSlowly),
        }
    }

    /// Serves every whole frame that has come.
    async fn take_frames(&mut self) -> Next {
        let mut run = PublishRun::default();
        let mut next = Next::GoOn;
        loop {
            match self.gather(&mut run) {
                Cut::Publishes => {}
                Cut::Other(Decoded::Frame(frame)) => self.take_frame(frame, &mut run).await,
                Cut::Other(other @ (Decoded::Malformed(_) | Decoded::TooLarge(_))) => self.refuse_frame(&other),
                Cut::Other(Decoded::Fatal(fatal)) => {
                    tracing::debug!(connection = self.outbox.connection().0, %fatal, "closing a connection");
                    next = Next::Close("no frame can be found");
                    break;
                }
                Cut::Nothing => break,
            }
            // Whatever was served, a frame that was lent memory was before it.
            self.loan = None;
            let has_room = self.outbox.has_room();
            if run.is_full() || !has_room {
                run.flush(self.listener, &self.outbox).await;
            }
            if !has_room {
                self.outbox.request_may_come().await;
            }
        }
        run.flush(self.listener, &self.outbox).await;
        self.incoming.served(run.is_durable());
        next
    }

    /// Gathers publishes as long as nothing has to be waited for: one after the other, with nothing between them that
    /// is done for each.
    fn gather(&mut self, run: &mut PublishRun) -> Cut {
        let is_simple = !correlation::is_wanted() && !self.commands.are_under_way();
        let mut gathering = run.gather(self.listener, &self.outbox);
        for _ in 0..PUBLISHES_UNCHECKED {
            match self.codec.next(&mut self.incoming.bytes) {
                Some(Decoded::Frame(frame)) if is_simple && gathering.add(&frame) => self.is_greeted = true,
                Some(other) => return Cut::Other(other),
                None => return Cut::Nothing,
            }
            if gathering.is_full() {
                break;
            }
        }
        Cut::Publishes
    }

    async fn take_frame(&mut self, mut frame: Frame, run: &mut PublishRun) {
        if correlation::is_wanted() {
            self.outbox.note(Noted::of(self.outbox.connection(), &frame));
        }
        let batch = frame.take_batch();
        match Request::parse(&frame) {
            Ok(Request::Publish(request)) => {
                self.is_greeted = true;
                if self.commands.are_under_way() {
                    let wants_answer = request.ack != Some(AckLevel::None);
                    self.in_hand = wants_answer.then(|| self.take_in_hand(frame.sequence));
                    self.commands.done().await;
                    self.in_hand = None;
                }
                run.add(self.listener, &self.outbox, frame.sequence, frame.timestamp, &request).await;
            }
            Ok(request) => {
                self.is_greeted = true;
                // Requests that never wait would keep the thread to themselves.
                tokio::task::coop::consume_budget().await;
                self.in_hand = wants_answer(&frame).then(|| self.take_in_hand(frame.sequence));
                run.flush(self.listener, &self.outbox).await;
                self.handle(frame.sequence, frame.timestamp, request, batch).await;
                self.in_hand = None;
            }
            Err(error) if frame.kind != FrameType::Ack => {
                self.refuse(frame.sequence, Refusal::new(error.code(), error.to_string()));
            }
            Err(_) => {}
        }
    }

    /// Refuses a frame that is none of ours.
    fn refuse_frame(&self, decoded: &Decoded) {
        let (sequence, refusal) = match decoded {
            Decoded::Malformed(malformed) if malformed.wants_reply() => {
                (malformed.sequence, Refusal::new(malformed.code(), malformed.to_string()))
            }
            Decoded::TooLarge(too_large) if too_large.wants_reply() => {
                (too_large.sequence, Refusal::new(ErrorCode::MessageTooLarge, too_large.to_string()))
            }
            Decoded::Malformed(_) | Decoded::TooLarge(_) | Decoded::Frame(_) | Decoded::Fatal(_) => return,
        };
        let (connection, code) = (self.outbox.connection().0, refusal.code.as_str());
        tracing::debug!(connection, sequence, code, error = refusal.text, "refused");
        self.refuse(sequence, refusal);
    }

    fn refuse(&self, sequence: u64, refusal: Refusal) {
        self.outbox.answer_next(sequence, Answer::Refused(refusal));
    }

    fn take_in_hand(&self, sequence: u64) -> InHand {
        InHand { sequence, place: self.outbox.next_place() }
    }

    /// Refuses the request that was being served when the server stopped, where it had no place yet.
    fn refuse_in_hand(&mut self) {
        if let Some(InHand { sequence, place }) = self.in_hand.take()
            && self.outbox.next_place() == place
        {
            self.refuse(sequence, shutting_down());
        }
    }

    /// Refuses the requests that came and were not looked at before the server stopped. What a client acknowledged
    /// before counts.
    fn refuse_unread(&mut self) {
        while let Some(decoded) = self.codec.next(&mut self.incoming.bytes) {
            match decoded {
                Decoded::Frame(frame) if wants_answer(&frame) => {
                    if correlation::is_wanted() {
                        self.outbox.note(Noted::of(self.outbox.connection(), &frame));
                    }
                    self.refuse(frame.sequence, shutting_down());
                }
                Decoded::Frame(frame) => {
                    if let Ok(Request::Ack(request)) = Request::parse(&frame) {
                        self.acknowledge(&request);
                    }
                }
                other @ (Decoded::Malformed(_) | Decoded::TooLarge(_)) => self.refuse_frame(&other),
                Decoded::Fatal(_) => return,
            }
        }
    }
}

fn wants_answer(frame: &Frame) -> bool {
    let is_silent = frame.properties.get("wiber.ack") == Some(AckLevel::None.as_str());
    frame.kind != FrameType::Ack && !is_silent
}
