//! The task that owns a connection's socket: it numbers requests, matches replies, hands out pushed records.
//!
//! Neither side of the socket waits for the other: requests are still written while a slow reader of a subscription
//! keeps the task from reading. The broker's own heartbeats need no answer: that TCP takes them is sign of life enough.
//! A broker that has been silent for long is asked for one, and given up where it stays silent.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::error::ClientError;
use super::message::Message;
use super::outgoing::Outgoing;
use super::publish::Permits;
use crate::protocol::native::{Decoded, Frame, FrameCodec, FrameLimits, FrameType, Properties};
use crate::types::{PartitionIndex, Timestamp};

/// Bytes waiting to be written at which no further request is taken.
const OUTGOING_BYTES_MAX: usize = 1 << 20;

/// Looks at the clock within the time a broker may be silent.
const LOOKS: u32 = 4;

/// Room for one read from the socket; below the smaller figure it is made anew.
const READ_BYTES: usize = 64 << 10;
const READ_BYTES_MIN: usize = 8 << 10;

/// What a broker may send: far more than any shipped limit.
const LIMITS: FrameLimits =
    FrameLimits { properties_bytes_max: 64 << 20, body_bytes_max: 256 << 20, batch_bytes_max: 256 << 20 };

/// What a handle asks of the connection.
#[derive(Debug)]
pub(super) enum Command {
    /// Send a request.
    Request {
        kind: FrameType,
        properties: Properties,
        body: Bytes,
        /// Where its reply goes; `None` where there will be none.
        reply: Option<ReplyTo>,
        /// Where the records go once the reply says success.
        route: Option<Route>,
        /// The room it takes until it is answered.
        permits: Option<Permits>,
    },
    /// Acknowledge a record.
    Ack { sequence: u64, properties: Properties },
}

/// Where a reply goes. Where the connection ends before, what it would have gone to is dropped.
#[derive(Debug)]
pub(super) enum ReplyTo {
    /// To whoever waits for this one.
    Waiter(oneshot::Sender<Result<Frame, ClientError>>),
    /// To a queue, with a token that says which request it answers.
    Queue(mpsc::UnboundedSender<Answer>, u64),
}

/// A reply in a queue.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) token: u64,
    pub(super) result: Result<Frame, ClientError>,
}

impl ReplyTo {
    fn send(self, result: Result<Frame, ClientError>) {
        // Whoever asked may have stopped waiting.
        match self {
            ReplyTo::Waiter(waiter) => drop(waiter.send(result)),
            ReplyTo::Queue(queue, token) => drop(queue.send(Answer { token, result })),
        }
    }
}

/// Where the BATCH frames of a connection go. Bounded in bytes: while there is no room nothing more is read.
#[derive(Debug, Clone)]
pub(super) struct BatchSink {
    pub(super) queue: mpsc::UnboundedSender<Pushed>,
    pub(super) room: Arc<Semaphore>,
    pub(super) bytes_max: u32,
}

/// What a broker sends unasked.
#[derive(Debug)]
pub(super) enum Pushed {
    /// Batches of a subscription.
    Batch(PushedBatch),
    /// Some subscription has ended, and why.
    Ended(ClientError),
}

/// A BATCH frame and the room it takes until it is read.
#[derive(Debug)]
pub(super) struct PushedBatch {
    pub(super) frame: Frame,
    pub(super) _room: OwnedSemaphorePermit,
}

impl BatchSink {
    fn permits(&self, frame: &Frame) -> u32 {
        u32::try_from(frame.body.len()).unwrap_or(u32::MAX).clamp(1, self.bytes_max.max(1))
    }

    /// Queues a frame where there is room for it.
    fn push(&self, frame: Frame) -> Result<(), Frame> {
        match Arc::clone(&self.room).try_acquire_many_owned(self.permits(&frame)) {
            Ok(room) => {
                drop(self.queue.send(Pushed::Batch(PushedBatch { frame, _room: room })));
                Ok(())
            }
            Err(_) => Err(frame),
        }
    }
}

/// Where the records of a partition go.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) topic: String,
    pub(super) partition: PartitionIndex,
    pub(super) sender: mpsc::Sender<Message>,
}

/// A request whose reply has not come.
struct Pending {
    reply: ReplyTo,
    route: Option<Route>,
    _permits: Option<Permits>,
}

/// The connection as its task sees it.
pub(super) struct Connection {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    commands: mpsc::Receiver<Command>,
    end: Arc<OnceLock<String>>,
    /// How long a broker that owes a reply may be silent.
    silence_max: Duration,
    session: Session,
}

/// What is under way on a connection; knows no socket.
struct Session {
    codec: FrameCodec,
    incoming: BytesMut,
    outgoing: Outgoing,
    last_sequence: u64,
    pending: HashMap<u64, Pending>,
    routes: Vec<Route>,
    batches: Option<BatchSink>,
    /// What its reader has no room for; until it has, nothing more is read.
    blocked: Option<Blocked>,
    /// Looks at the clock since the last byte came.
    silent_looks: u32,
}

/// What came and has no room.
enum Blocked {
    Message(mpsc::Sender<Message>, Message),
    Batch(BatchSink, Frame),
}

/// What a blocked connection waits for.
enum Waiting {
    Nothing,
    Reader(mpsc::Sender<Message>),
    Bytes(Arc<Semaphore>, u32),
}

impl Connection {
    pub(super) fn new(
        stream: TcpStream,
        commands: mpsc::Receiver<Command>,
        end: Arc<OnceLock<String>>,
        silence_max: Duration,
        batches: Option<BatchSink>,
    ) -> Connection {
        let (reader, writer) = stream.into_split();
        Connection {
            reader,
            writer,
            commands,
            end,
            silence_max,
            session: Session {
                codec: FrameCodec::new(LIMITS),
                incoming: BytesMut::with_capacity(16 << 10),
                outgoing: Outgoing::default(),
                last_sequence: 0,
                pending: HashMap::new(),
                routes: Vec::new(),
                batches,
                blocked: None,
                silent_looks: 0,
            },
        }
    }

    /// Runs until the broker hangs up, or until nobody holds a handle and everything sent is answered.
    pub(super) async fn run(mut self) {
        let reason = match self.serve().await {
            Ok(()) => return,
            Err(ClientError::Closed { reason }) => reason,
            Err(error) => error.to_string(),
        };
        // Before the replies' channels close, so that whoever waits on one finds the reason.
        self.end.get_or_init(|| reason);
    }

    async fn serve(&mut self) -> Result<(), ClientError> {
        let mut commands_open = true;
        let look_every = (self.silence_max / LOOKS).max(Duration::from_millis(1));
        let mut looks = interval_at(Instant::now() + look_every, look_every);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let session = &mut self.session;
            let idle = session.pending.is_empty() && !session.outgoing.has_remaining();
            if !commands_open && idle {
                drop(self.writer.shutdown().await);
                return Ok(());
            }
            let takes_commands = commands_open && session.outgoing.remaining() < OUTGOING_BYTES_MAX;
            let is_blocked = session.blocked.is_some();
            let waiting = session.waiting();
            if session.incoming.capacity() - session.incoming.len() < READ_BYTES_MIN {
                session.incoming.reserve(READ_BYTES);
            }
            tokio::select! {
                command = self.commands.recv(), if takes_commands => match command {
                    Some(command) => {
                        session.take(command)?;
                        while session.outgoing.remaining() < OUTGOING_BYTES_MAX
                            && let Ok(command) = self.commands.try_recv()
                        {
                            session.take(command)?;
                        }
                    }
                    None => commands_open = false,
                },
                read = self.reader.read_buf(&mut session.incoming), if !is_blocked => {
                    if read.map_err(closed)? == 0 {
                        return Err(closed("the broker hung up"));
                    }
                    session.silent_looks = 0;
                    session.decode()?;
                }
                written = self.writer.write_buf(&mut session.outgoing), if session.outgoing.has_remaining() => {
                    written.map_err(closed)?;
                }
                _ = looks.tick() => session.look(self.silence_max)?,
                () = room(waiting), if is_blocked => {
                    session.unblock();
                    session.decode()?;
                }
            }
        }
    }
}

/// Waits until a reader has room, or is gone.
async fn room(waiting: Waiting) {
    match waiting {
        Waiting::Nothing => {}
        Waiting::Reader(reader) => drop(reader.reserve().await),
        Waiting::Bytes(room, bytes) => drop(room.acquire_many(bytes).await),
    }
}

impl Session {
    /// Numbers a request and appends it to what is to be written.
    fn take(&mut self, command: Command) -> Result<(), ClientError> {
        match command {
            Command::Ack { sequence, properties } => {
                self.outgoing.frame(FrameType::Ack, sequence, now(), &properties, Bytes::new())
            }
            Command::Request { kind, properties, body, reply, route, permits } => {
                self.last_sequence += 1;
                let sequence = self.last_sequence;
                self.outgoing.frame(kind, sequence, now(), &properties, body)?;
                if let Some(reply) = reply {
                    let pending = Pending { reply, route, _permits: permits };
                    if self.pending.is_empty() {
                        // A broker that owed nothing was free to be silent.
                        self.silent_looks = 0;
                    }
                    self.pending.insert(sequence, pending);
                }
                Ok(())
            }
        }
    }

    /// Counts a look at the clock: a silent broker is asked for a heartbeat, one that owes a reply is given up. While
    /// nothing is read the silence is ours.
    fn look(&mut self, silence_max: Duration) -> Result<(), ClientError> {
        if self.blocked.is_some() {
            self.silent_looks = 0;
            return Ok(());
        }
        self.silent_looks += 1;
        if self.silent_looks <= LOOKS {
            return Ok(());
        }
        if !self.pending.is_empty() {
            let seconds = silence_max.as_secs_f64();
            return Err(closed(format_args!("the broker has been silent for {seconds} s")));
        }
        let (reply, _) = oneshot::channel();
        self.take(Command::Request {
            kind: FrameType::Heartbeat,
            properties: Properties::EMPTY,
            body: Bytes::new(),
            reply: Some(ReplyTo::Waiter(reply)),
            route: None,
            permits: None,
        })
    }

    /// Deals with every whole frame there is, until a reader has no room.
    fn decode(&mut self) -> Result<(), ClientError> {
        while self.blocked.is_none() {
            match self.codec.next(&mut self.incoming) {
                None => break,
                Some(Decoded::Frame(frame)) if frame.kind == FrameType::Data => self.deliver(frame)?,
                Some(Decoded::Frame(frame)) if frame.kind == FrameType::Batch => self.deliver_batch(frame),
                Some(Decoded::Frame(frame)) => self.answer(frame),
                Some(Decoded::Malformed(malformed)) => return Err(protocol(&malformed)),
                Some(Decoded::TooLarge(too_large)) => return Err(protocol(&too_large)),
                Some(Decoded::Fatal(fatal)) => return Err(protocol(&fatal)),
            }
        }
        Ok(())
    }

    fn deliver(&mut self, frame: Frame) -> Result<(), ClientError> {
        let topic = frame.properties.get("topic").unwrap_or_default();
        let partition = frame.properties.get("partition").unwrap_or_default();
        let partition = partition.parse().map(PartitionIndex);
        let at = self
            .routes
            .iter()
            .position(|route| route.topic == topic && partition.as_ref().is_ok_and(|p| *p == route.partition));
        let Some(at) = at else {
            return Ok(());
        };
        let message = Message::from_frame(frame)?;
        match self.routes[at].sender.try_send(message) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(message)) => {
                self.blocked = Some(Blocked::Message(self.routes[at].sender.clone(), message));
            }
            Err(mpsc::error::TrySendError::Closed(_)) => {
                self.routes.swap_remove(at);
            }
        }
        Ok(())
    }

    fn deliver_batch(&mut self, frame: Frame) {
        if let Some(sink) = &self.batches
            && let Err(frame) = sink.push(frame)
        {
            self.blocked = Some(Blocked::Batch(sink.clone(), frame));
        }
    }

    fn waiting(&self) -> Waiting {
        match &self.blocked {
            None => Waiting::Nothing,
            Some(Blocked::Message(reader, _)) => Waiting::Reader(reader.clone()),
            Some(Blocked::Batch(sink, frame)) => Waiting::Bytes(Arc::clone(&sink.room), sink.permits(frame)),
        }
    }

    fn unblock(&mut self) {
        self.blocked = match self.blocked.take() {
            None => None,
            Some(Blocked::Message(sender, message)) => match sender.try_send(message) {
                Err(mpsc::error::TrySendError::Full(message)) => Some(Blocked::Message(sender, message)),
                Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => None,
            },
            Some(Blocked::Batch(sink, frame)) => match sink.push(frame) {
                Ok(()) => None,
                Err(frame) => Some(Blocked::Batch(sink, frame)),
            },
        };
    }

    /// Matches a reply with its request. A frame that answers nothing, such as the broker's heartbeat, is dropped.
    fn answer(&mut self, frame: Frame) {
        let Some(pending) = self.pending.remove(&frame.sequence) else {
            // A refusal of what was not asked tells of the end of a subscription.
            if let (Some(sink), Some(error)) = (&self.batches, ClientError::of_ack(&frame)) {
                drop(sink.queue.send(Pushed::Ended(error)));
            }
            return;
        };
        let answer = match ClientError::of_ack(&frame) {
            Some(refused) => Err(refused),
            None => {
                if let Some(route) = pending.route {
                    let same = |other: &Route| other.topic == route.topic && other.partition == route.partition;
                    self.routes.retain(|other| !same(other));
                    self.routes.push(route);
                }
                Ok(frame)
            }
        };
        pending.reply.send(answer);
    }
}

fn closed(reason: impl ToString) -> ClientError {
    ClientError::Closed { reason: reason.to_string() }
}

fn protocol(fault: &dyn std::error::Error) -> ClientError {
    ClientError::Protocol(fault.to_string())
}

/// The time frames are stamped with.
#[expect(clippy::disallowed_methods, reason = "the client stands beside the server; nothing replays it")]
pub(super) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let millis = since.map_or(0, |since| since.as_millis());
    Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}
