//! The task that owns a connection's socket: it writes what handles asked for, matches replies, hands out pushed records.
//!
//! Neither side of the socket waits for the other: requests are still written while a slow reader of a subscription
//! keeps the task from reading. The broker's own heartbeats need no answer: that TCP takes them is sign of life enough.
//! A broker that has been silent for long is asked for one, and given up where it stays silent.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Buf;
use tokio::io::AsyncReadExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::clock;
use super::error::ClientError;
use super::incoming::Incoming;
use super::message::Message;
use super::outgoing::Outgoing;
use super::pending::{Answer, Pending, ReplyTo, UNASKED};
use super::publish::{Position, position};
use super::receipts::{self, Landing, Ticket};
use super::requests::{Request, Requests, write};
use super::stored;
use super::topics::about;
use crate::protocol::native::{Decoded, Frame, FrameCodec, FrameLimits, FrameType, Properties};
use crate::types::{PartitionIndex, Timestamp, TopicName, TopicPartition};

/// Looks at the clock within the time a broker may be silent.
const LOOKS: u32 = 4;

/// What a broker may send: far more than any shipped limit.
const LIMITS: FrameLimits =
    FrameLimits { properties_bytes_max: 64 << 20, body_bytes_max: 256 << 20, batch_bytes_max: 256 << 20 };

/// Where the BATCH frames of a connection go. Bounded in bytes: while there is no room nothing more is read.
#[derive(Debug, Clone)]
pub(super) struct BatchSink {
    pub(super) queue: mpsc::UnboundedSender<Pushed>,
    /// Where what members of groups are told goes, under [`UNASKED`]: in its order among the replies.
    pub(super) answers: mpsc::UnboundedSender<Answer>,
    pub(super) room: Arc<Semaphore>,
    pub(super) bytes_max: u32,
}

/// What a broker sends unasked.
#[derive(Debug)]
pub(super) enum Pushed {
    /// Batches of a subscription.
    Batch(PushedBatch),
    /// Some subscription has ended, and why.
    Ended(Ended),
}

/// The end of a subscription.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) error: ClientError,
    /// Of which partition, where the broker says so.
    pub(super) partition: Option<TopicPartition>,
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
    /// The topic and the partition, as the properties of each of its frames begin.
    pub(super) address: Properties,
    /// Whether they come with their stamps.
    pub(super) stamps: bool,
    pub(super) sender: mpsc::Sender<Message>,
}

impl Route {
    pub(super) fn new(
        topic: &str,
        partition: PartitionIndex,
        stamps: bool,
        sender: mpsc::Sender<Message>,
    ) -> Result<Route, ClientError> {
        Ok(Route { address: about(topic, &[("partition", partition.to_string())])?, stamps, sender })
    }
}

/// The connection as its task sees it.
pub(super) struct Connection {
    reader: OwnedReadHalf,
    writer: Arc<OwnedWriteHalf>,
    /// What is being written.
    writing: Outgoing,
    /// How long a broker that owes a reply may be silent.
    silence_max: Duration,
    session: Session,
}

/// What is under way on a connection; knows no socket.
struct Session {
    requests: Arc<Requests>,
    codec: FrameCodec,
    incoming: Incoming,
    /// Replies that were not yet matched with their requests, by number, and those that were.
    replies: Vec<(u64, Frame)>,
    answered: Vec<(Pending, Frame)>,
    /// The same, of publishes that are stored.
    stored: Vec<(u64, Position)>,
    landings: Vec<(Ticket, Landing)>,
    /// The latest time of a reply.
    answered_at: Timestamp,
    routes: Vec<Route>,
    batches: Option<BatchSink>,
    /// What its reader has no room for; until it has, nothing more is read.
    blocked: Option<Blocked>,
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
        reader: OwnedReadHalf,
        writer: Arc<OwnedWriteHalf>,
        requests: Arc<Requests>,
        silence_max: Duration,
        batches: Option<BatchSink>,
    ) -> Connection {
        Connection {
            reader,
            writer,
            writing: Outgoing::default(),
            silence_max,
            session: Session {
                requests,
                codec: FrameCodec::new(LIMITS),
                incoming: Incoming::new(batches.as_ref().map_or(0, |sink| sink.bytes_max as usize)),
                replies: Vec::new(),
                answered: Vec::new(),
                stored: Vec::new(),
                landings: Vec::new(),
                answered_at: Timestamp::NONE,
                routes: Vec::new(),
                batches,
                blocked: None,
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
        self.session.requests.end.get_or_init(|| reason);
    }

    async fn serve(&mut self) -> Result<(), ClientError> {
        let look_every = (self.silence_max / LOOKS).max(Duration::from_millis(1));
        let mut looks = interval_at(Instant::now() + look_every, look_every);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let requests = Arc::clone(&self.session.requests);
        loop {
            if requests.take_outgoing(&mut self.writing) {
                return Ok(());
            }
            let session = &mut self.session;
            let is_blocked = session.blocked.is_some();
            let waiting = session.waiting();
            session.incoming.make_room();
            tokio::select! {
                written = write_all(&self.writer, &mut self.writing), if self.writing.has_remaining() => {
                    written.map_err(closed)?;
                }
                read = self.reader.read_buf(&mut session.incoming.bytes), if !is_blocked => {
                    if read.map_err(closed)? == 0 {
                        return Err(closed("the broker hung up"));
                    }
                    requests.silent_looks.store(0, Ordering::Relaxed);
                    session.decode()?;
                }
                () = requests.wake.notified() => {}
                _ = looks.tick() => session.look(self.silence_max)?,
                () = room(waiting), if is_blocked => {
                    session.unblock();
                    session.decode()?;
                }
            }
        }
    }
}

impl Drop for Connection {
    /// However the task ends: nobody waits for ever.
    fn drop(&mut self) {
        self.session.requests.close();
    }
}

async fn write_all(socket: &OwnedWriteHalf, outgoing: &mut Outgoing) -> io::Result<()> {
    loop {
        match write(socket, outgoing) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => socket.writable().await?,
            written => return written,
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
    /// Counts a look at the clock: a silent broker is asked for a heartbeat, one that owes a reply is given up. While
    /// nothing is read the silence is ours.
    fn look(&mut self, silence_max: Duration) -> Result<(), ClientError> {
        if self.blocked.is_some() {
            self.requests.silent_looks.store(0, Ordering::Relaxed);
            return Ok(());
        }
        if self.requests.silent_looks.fetch_add(1, Ordering::Relaxed) < LOOKS {
            return Ok(());
        }
        if !self.requests.owes_nothing() {
            let seconds = silence_max.as_secs_f64();
            return Err(closed(format_args!("the broker has been silent for {seconds} s")));
        }
        let (reply, _) = oneshot::channel();
        let reply = Some(ReplyTo::Waiter(reply));
        self.requests.try_send(&mut Request::new(FrameType::Heartbeat, &Properties::EMPTY, reply))?;
        Ok(())
    }

    /// Deals with every whole frame there is, until a reader has no room.
    fn decode(&mut self) -> Result<(), ClientError> {
        while self.blocked.is_none() {
            if let Some(stored) = stored::read(&self.incoming.bytes) {
                self.incoming.bytes.advance(stored.frame_bytes);
                self.stored.push((stored.sequence, stored.position));
                self.answered_at = self.answered_at.max(stored.time);
                continue;
            }
            match self.codec.next(&mut self.incoming.bytes) {
                None => break,
                Some(Decoded::Frame(frame)) if frame.kind == FrameType::Data => self.deliver(frame)?,
                Some(Decoded::Frame(frame)) if frame.kind == FrameType::Batch => self.deliver_batch(frame)?,
                Some(Decoded::Frame(frame)) if frame.kind == FrameType::Assignment => self.deliver_assignment(frame)?,
                Some(Decoded::Frame(frame)) => {
                    self.answered_at = self.answered_at.max(frame.timestamp);
                    self.replies.push((frame.sequence, frame));
                }
                Some(Decoded::Malformed(malformed)) => return Err(protocol(&malformed)),
                Some(Decoded::TooLarge(too_large)) => return Err(protocol(&too_large)),
                Some(Decoded::Fatal(fatal)) => return Err(protocol(&fatal)),
            }
        }
        self.answer_all()
    }

    fn deliver(&mut self, frame: Frame) -> Result<(), ClientError> {
        // The reply to its subscription may have come just before.
        self.answer_all()?;
        let properties = frame.properties.as_wire();
        let at = self.routes.iter().position(|route| properties.starts_with(route.address.as_wire()));
        let Some(at) = at else {
            return Ok(());
        };
        let message = Message::from_frame(frame)?;
        if self.routes[at].stamps {
            message.stamp().into_iter().for_each(clock::read);
        }
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

    fn deliver_batch(&mut self, frame: Frame) -> Result<(), ClientError> {
        self.answer_all()?;
        if let Some(sink) = &self.batches
            && let Err(frame) = sink.push(frame)
        {
            self.blocked = Some(Blocked::Batch(sink.clone(), frame));
        }
        Ok(())
    }

    fn deliver_assignment(&mut self, frame: Frame) -> Result<(), ClientError> {
        self.answer_all()?;
        if let Some(sink) = &self.batches {
            drop(sink.answers.send(Answer { token: UNASKED, result: Ok(frame) }));
        }
        Ok(())
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

    /// Matches replies with their requests. A frame that answers nothing, such as the broker's heartbeat, is dropped.
    fn answer_all(&mut self) -> Result<(), ClientError> {
        clock::answered(std::mem::replace(&mut self.answered_at, Timestamp::NONE));
        if !self.stored.is_empty() {
            let bytes = self.requests.stored(&mut self.stored, &mut self.landings)?;
            let frames = self.landings.len();
            receipts::land(&mut self.landings);
            self.requests.window.give_back(frames, bytes);
        }
        if self.replies.is_empty() {
            return Ok(());
        }
        let mut answered = std::mem::take(&mut self.answered);
        self.requests.answered(&mut self.replies, &mut answered);
        let (mut frames, mut bytes) = (0, 0);
        for (pending, reply) in answered.drain(..) {
            if let Some(window_bytes) = pending.window_bytes {
                frames += 1;
                bytes += window_bytes as usize;
            }
            self.answer(pending, reply);
        }
        self.answered = answered;
        receipts::land(&mut self.landings);
        self.requests.window.give_back(frames, bytes);
        for (_, frame) in self.replies.drain(..) {
            // A refusal of what was not asked tells of the end of a subscription.
            if let Some(sink) = &self.batches
                && let Some(error) = ClientError::of_ack(&frame)
            {
                drop(sink.queue.send(Pushed::Ended(Ended { error, partition: partition_of(&frame) })));
            }
        }
        Ok(())
    }

    /// Tells whoever asked. They may have stopped waiting.
    fn answer(&mut self, pending: Pending, reply: Frame) {
        let result = ClientError::of_ack(&reply).map_or(Ok(reply), Err);
        if let (Some(route), Ok(_)) = (pending.route, &result) {
            self.routes.retain(|other| other.address != route.address);
            self.routes.push(*route);
        }
        match pending.reply {
            ReplyTo::Publisher(ticket) => {
                let position = result.and_then(|reply| position(&reply));
                let landing = position.map_or_else(|error| Landing::Failed(Box::new(error)), Landing::Stored);
                self.landings.push((ticket, landing));
            }
            ReplyTo::Waiter(waiter) => drop(waiter.send(result)),
            ReplyTo::Queue(queue, token) => drop(queue.send(Answer { token, result })),
        }
    }
}

/// The partition that a frame is about.
pub(super) fn partition_of(frame: &Frame) -> Option<TopicPartition> {
    let topic = TopicName::new(frame.properties.get("topic")?).ok()?;
    let partition = PartitionIndex(frame.properties.get("partition")?.parse().ok()?);
    Some(TopicPartition { topic, partition })
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
    let millis = since.map_or(0, |since| since.as_secs() * 1_000 + u64::from(since.subsec_millis()));
    Timestamp::from_millis(millis.cast_signed())
}
