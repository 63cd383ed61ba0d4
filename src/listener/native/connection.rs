//! One connection, from its first frame to its end.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout_at};

use super::NativeListener;
use super::batches::Fetches;
use super::errors::Refusal;
use super::outbox::{Answer, Outbox};
use super::publish::PublishRun;
use super::subscription::Subscriptions;
use super::topics::TopicCommands;
use crate::protocol::native::{Decoded, FrameCodec, FrameLimits, FrameType, Request};

/// Bytes an idle connection's read buffer holds.
const READ_BYTES: usize = 8 << 10;
/// Bytes read at a time while more keep coming.
const READ_BYTES_MAX: usize = 256 << 10;
/// How long answers still under way may take to go out when the server stops.
const LAST_ANSWERS: std::time::Duration = std::time::Duration::from_secs(5);

/// A connection as its requests see it.
pub(super) struct Connection<'a> {
    pub(super) listener: &'a Arc<NativeListener>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) subscriptions: Subscriptions,
    pub(super) commands: TopicCommands,
    pub(super) fetches: Fetches,
    codec: FrameCodec,
    /// Whether a valid frame has come.
    is_greeted: bool,
}

/// Whether the connection goes on.
enum Next {
    GoOn,
    Close(&'static str),
}

/// Serves a connection; returns why it ended.
pub(super) async fn run(
    listener: &Arc<NativeListener>,
    stream: TcpStream,
    mut stop: watch::Receiver<bool>,
) -> io::Result<&'static str> {
    let stream = Arc::new(stream);
    let outbox = Outbox::new(Arc::clone(&stream), listener.surroundings.clone());
    let limits = FrameLimits::for_messages(listener.options.message_bytes_max)
        .with_batches(listener.broker.options().publish.admission().batch_bytes_max);
    let mut connection = Connection {
        listener,
        outbox: Arc::clone(&outbox),
        subscriptions: Subscriptions::default(),
        commands: TopicCommands::default(),
        fetches: Fetches::default(),
        codec: FrameCodec::new(limits),
        is_greeted: false,
    };
    let reason = tokio::select! {
        reason = connection.serve(&stream) => reason?,
        Err(error) = outbox.write_rest() => return Err(error),
        () = beat(listener, &outbox) => "unreachable",
        _ = stop.changed() => "the server stops",
    };
    drop(connection);
    let _late = tokio::time::timeout(LAST_ANSWERS, async {
        tokio::select! {
            () = outbox.drained() => {}
            _ = outbox.write_rest() => {}
        }
    })
    .await;
    Ok(reason)
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

impl Connection<'_> {
    async fn serve(&mut self, stream: &TcpStream) -> io::Result<&'static str> {
        let mut bytes = BytesMut::with_capacity(READ_BYTES);
        let handshake = Instant::now() + self.listener.options.handshake_timeout;
        loop {
            self.outbox.request_may_come().await;
            let read = if self.is_greeted {
                read_some(stream, &mut bytes).await?
            } else {
                match timeout_at(handshake, read_some(stream, &mut bytes)).await {
                    Ok(read) => read?,
                    Err(_) => return Ok("no valid frame within server.handshake_timeout"),
                }
            };
            if read == 0 {
                return Ok("closed by the peer");
            }
            if let Next::Close(reason) = self.take_frames(&mut bytes).await {
                return Ok(reason);
            }
            if bytes.is_empty() && bytes.capacity() > READ_BYTES {
                bytes = BytesMut::with_capacity(READ_BYTES);
            }
        }
    }

    /// Serves every whole frame that has come.
    async fn take_frames(&mut self, bytes: &mut BytesMut) -> Next {
        let mut run = PublishRun::default();
        let mut next = Next::GoOn;
        while let Some(decoded) = self.codec.next(bytes) {
            match decoded {
                Decoded::Frame(frame) => match Request::parse(&frame) {
                    Ok(Request::Publish(request)) => {
                        self.is_greeted = true;
                        self.commands.done().await;
                        run.add(self.listener, &self.outbox, frame.sequence, frame.timestamp, &request).await;
                    }
                    Ok(request) => {
                        self.is_greeted = true;
                        run.flush(self.listener, &self.outbox).await;
                        self.handle(frame.sequence, request).await;
                    }
                    Err(error) if frame.kind != FrameType::Ack => {
                        self.refuse(frame.sequence, Refusal::new(error.code(), error.to_string()));
                    }
                    Err(_) => {}
                },
                Decoded::Malformed(malformed) if malformed.wants_reply() => {
                    self.refuse(malformed.sequence, Refusal::new(malformed.code(), malformed.to_string()));
                }
                Decoded::Malformed(_) => {}
                Decoded::TooLarge(too_large) => {
                    let code = crate::protocol::native::ErrorCode::MessageTooLarge;
                    self.refuse(too_large.sequence, Refusal::new(code, too_large.to_string()));
                }
                Decoded::Fatal(fatal) => {
                    tracing::debug!(%fatal, "closing a connection");
                    next = Next::Close("no frame can be found");
                    break;
                }
            }
        }
        run.flush(self.listener, &self.outbox).await;
        next
    }

    fn refuse(&self, sequence: u64, refusal: Refusal) {
        self.outbox.answer_next(sequence, Answer::Refused(refusal));
    }
}

async fn read_some(stream: &TcpStream, bytes: &mut BytesMut) -> io::Result<usize> {
    loop {
        stream.readable().await?;
        if bytes.capacity() - bytes.len() < READ_BYTES / 2 {
            let more = bytes.len().clamp(READ_BYTES, READ_BYTES_MAX);
            bytes.reserve(more);
        }
        match stream.try_read_buf(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => return other,
        }
    }
}
