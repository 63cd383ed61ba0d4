//! The native protocol's listener. `docs/protocol.md` says what goes over the wire.
//!
//! One task reads a connection, decodes and calls the broker; one writes what did not go out at once; one more for each
//! subscription. Answers to publishes are encoded and sent by the thread that finished the write or the sync.
//!
//! ```text
//!  socket ─► FrameCodec ─► Request ─► PublishRun ─► Partition::append ─ ─ ─► AckSink ─► Outbox ─► socket
//!                              └────► Subscription ─► Partition::read ─────► DATA ────► Outbox ─► socket
//! ```

mod batches;
mod connection;
mod errors;
mod outbox;
mod publish;
mod push;
mod reading;
mod redelivery;
mod requests;
mod subscription;
mod topics;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::broker::Broker;
use crate::types::{Timestamp, TopicId};

/// How the listener behaves.
#[derive(Debug, Clone)]
pub struct NativeOptions {
    /// Connections at most; one more is closed at once.
    pub connections_max: usize,
    /// How long a new connection has for its first valid frame.
    pub handshake_timeout: Duration,
    /// Time between the server's heartbeats.
    pub heartbeat_interval: Duration,
    /// How long a peer's TCP may acknowledge nothing.
    pub connection_timeout: Duration,
    /// Time between the ACK to a SUBSCRIBE of an old client and the first DATA.
    pub subscribe_grace: Duration,
    /// How long a record of an at-least-once subscription may stay unacknowledged before it is sent again.
    pub ack_timeout: Duration,
    /// Bytes of a message's body at most.
    pub message_bytes_max: usize,
    /// Whether publishing or subscribing to a topic that does not exist creates it.
    pub auto_create: bool,
}

/// What the listener is lent: the clock and fresh identities, which nothing below the server makes for itself.
#[derive(Clone)]
pub struct Surroundings {
    /// The time now.
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// A fresh topic id.
    pub fresh_topic_id: Arc<dyn Fn() -> TopicId + Send + Sync>,
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Surroundings")
    }
}

/// The native listener, shared by its connections.
#[derive(Debug)]
pub struct NativeListener {
    broker: Arc<Broker>,
    options: NativeOptions,
    surroundings: Surroundings,
}

impl NativeListener {
    /// A listener on this broker.
    #[must_use]
    pub fn new(broker: Arc<Broker>, options: NativeOptions, surroundings: Surroundings) -> Arc<NativeListener> {
        Arc::new(NativeListener { broker, options, surroundings })
    }

    /// Serves connections until `stop` changes; then closes them and returns.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
        let places = Arc::new(Semaphore::new(self.options.connections_max));
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => match Arc::clone(&places).try_acquire_owned() {
                        Ok(place) => {
                            let serving = Arc::clone(&self).connection(stream, stop.clone());
                            connections.spawn(async move {
                                serving.await;
                                drop(place);
                            });
                        }
                        Err(_) => {
                            let limit = self.options.connections_max;
                            tracing::warn!(%peer, limit, "connection refused: server.max_connections is reached");
                        }
                    },
                    Err(error) => pause_after(&error).await,
                },
                _ = stop.changed() => break,
                Some(_) = connections.join_next() => {}
            }
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, stop: watch::Receiver<bool>) {
        let peer = stream.peer_addr().map_or_else(|_| "unknown".to_owned(), |peer| peer.to_string());
        tracing::debug!(%peer, "connected");
        let end = match self.prepare(&stream) {
            Ok(()) => connection::run(&self, stream, stop).await,
            Err(error) => Err(error),
        };
        match end {
            Ok(reason) => tracing::debug!(%peer, reason, "disconnected"),
            Err(error) => tracing::debug!(%peer, %error, "disconnected"),
        }
    }

    /// Small answers go out at once, and a peer that acknowledges nothing is noticed.
    fn prepare(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        socket2::SockRef::from(stream).set_tcp_user_timeout(Some(self.options.connection_timeout))
    }

    fn now(&self) -> Timestamp {
        (self.surroundings.now)()
    }
}

/// Running out of descriptors would otherwise spin.
async fn pause_after(error: &io::Error) {
    tracing::warn!(%error, "a connection could not be accepted");
    tokio::time::sleep(Duration::from_millis(50)).await;
}
