//! The task that owns a connection's socket: it numbers requests, matches replies, hands out pushed records.
//!
//! Neither side of the socket waits for the other: requests are still written while a slow reader of a subscription
//! keeps the task from reading. The broker's own heartbeats need no answer: that TCP takes them is sign of life enough.
//! A broker that has been silent for long is asked for one, and given up where it stays silent.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::error::ClientError;
use super::message::Message;
use super::publish::Permits;
use crate::protocol::native::{Decoded, Frame, FrameCodec, FrameLimits, FrameType, FrameWriter, Properties};
use crate::types::{PartitionIndex, Timestamp};

/// Bytes waiting to be written at which no further request is taken.
const OUTGOING_BYTES_MAX: usize = 256 << 10;

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
        reply: Option<oneshot::Sender<Result<Frame, ClientError>>>,
        /// Where the records go once the reply says success.
        route: Option<Route>,
        /// The room it takes until it is answered.
        permits: Option<Permits>,
    },
    /// Acknowledge a record.
    Ack { sequence: u64, properties: Properties },
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
    reply: oneshot::Sender<Result<Frame, ClientError>>,
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
    outgoing: BytesMut,
    last_sequence: u64,
    pending: HashMap<u64, Pending>,
    routes: Vec<Route>,
    /// A record whose reader has no room for it; until it has, nothing more is read.
    blocked: Option<(mpsc::Sender<Message>, Message)>,
    /// Looks at the clock since the last byte came.
    silent_looks: u32,
}

impl Connection {
    pub(super) fn new(
        stream: TcpStream,
        commands: mpsc::Receiver<Command>,
        end: Arc<OnceLock<String>>,
        silence_max: Duration,
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
                outgoing: BytesMut::with_capacity(16 << 10),
                last_sequence: 0,
                pending: HashMap::new(),
                routes: Vec::new(),
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
            let idle = session.pending.is_empty() && session.outgoing.is_empty();
            if !commands_open && idle {
                drop(self.writer.shutdown().await);
                return Ok(());
            }
            let takes_commands = commands_open && session.outgoing.len() < OUTGOING_BYTES_MAX;
            let blocked = session.blocked.as_ref().map(|(sender, _)| sender.clone());
            let is_blocked = blocked.is_some();
            if session.incoming.capacity() - session.incoming.len() < READ_BYTES_MIN {
                session.incoming.reserve(READ_BYTES);
            }
            tokio::select! {
                command = self.commands.recv(), if takes_commands => match command {
                    Some(command) => {
                        session.take(command)?;
                        while session.outgoing.len() < OUTGOING_BYTES_MAX
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
                written = self.writer.write_buf(&mut session.outgoing), if !session.outgoing.is_empty() => {
                    written.map_err(closed)?;
                }
                _ = looks.tick() => session.look(self.silence_max)?,
                () = room(blocked), if is_blocked => {
                    session.unblock();
                    session.decode()?;
                }
            }
        }
    }
}

/// Waits until a reader has room, or is gone.
async fn room(reader: Option<mpsc::Sender<Message>>) {
    if let Some(reader) = reader {
        drop(reader.reserve().await);
    }
}

impl Session {
    /// Numbers a request and appends it to what is to be written.
    fn take(&mut self, command: Command) -> Result<(), ClientError> {
        match command {
            Command::Ack { sequence, properties } => self.write(FrameType::Ack, sequence, &properties, b""),
            Command::Request { kind, properties, body, reply, route, permits } => {
                self.last_sequence += 1;
                let sequence = self.last_sequence;
                self.write(kind, sequence, &properties, &body)?;
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
            reply: Some(reply),
            route: None,
            permits: None,
        })
    }

    fn write(
        &mut self,
        kind: FrameType,
        sequence: u64,
        properties: &Properties,
        body: &[u8],
    ) -> Result<(), ClientError> {
        let now = now();
        let mut frame = FrameWriter::new(&mut self.outgoing, kind, sequence, now);
        frame.raw_properties(properties.as_wire());
        Ok(frame.finish(body)?)
    }

    /// Deals with every whole frame there is, until a reader has no room.
    fn decode(&mut self) -> Result<(), ClientError> {
        while self.blocked.is_none() {
            match self.codec.next(&mut self.incoming) {
                None => break,
                Some(Decoded::Frame(frame)) if frame.kind == FrameType::Data => self.deliver(frame)?,
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
                self.blocked = Some((self.routes[at].sender.clone(), message));
            }
            Err(mpsc::error::TrySendError::Closed(_)) => {
                self.routes.swap_remove(at);
            }
        }
        Ok(())
    }

    fn unblock(&mut self) {
        if let Some((sender, message)) = self.blocked.take()
            && let Err(mpsc::error::TrySendError::Full(message)) = sender.try_send(message)
        {
            self.blocked = Some((sender, message));
        }
    }

    /// Matches a reply with its request. A frame that answers nothing, such as the broker's heartbeat, is dropped.
    fn answer(&mut self, frame: Frame) {
        let Some(pending) = self.pending.remove(&frame.sequence) else {
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
        // Whoever asked may have stopped waiting.
        drop(pending.reply.send(answer));
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
fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let millis = since.map_or(0, |since| since.as_millis());
    Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}
