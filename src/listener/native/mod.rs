//! The native protocol's listener. `docs/protocol.md` says what goes over the wire.
//!
//! One task reads a connection, decodes and calls the broker; one writes what did not go out at once; one more for each
//! subscription. Answers to publishes are encoded and sent by the thread that finished the write or the sync, and so are small
//! records to a few subscribers that wait for them.
//!
//! ```text
//!  socket ─► FrameCodec ─► Request ─► PublishRun ─► Partition::append ─ ─ ─► AckSink ─► Outbox ─► socket
//!                              └────► Subscription ─► Partition::read ─────► DATA ────► Outbox ─► socket
//! ```

mod accept;
mod answer;
mod batches;
mod connection;
mod correlation;
mod errors;
mod group_readers;
mod groups;
mod keeping;
mod outbox;
mod publish;
mod push;
mod redelivery;
mod requests;
mod subscription;
mod topics;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;

use correlation::ConnectionNumber;
use memory::PeerMemory;
use shown::Shown;

pub use super::Surroundings;
use super::{Places, Shared, farewell, incoming, liveness, memory, prompt, reading, shown};
use crate::broker::Broker;
use crate::types::Timestamp;

/// How the listener behaves.
#[derive(Debug, Clone)]
pub struct NativeOptions {
    /// Connections at most; one more is told so and closed.
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
    /// Bytes of the large frames that all connections together receive at a time.
    pub incoming_bytes: usize,
    /// Bytes that wait for all peers together; see `docs/adr/010`.
    pub outgoing_bytes: usize,
    /// Bytes of a message's body at most.
    pub message_bytes_max: usize,
    /// Whether publishing or subscribing to a topic that does not exist creates it.
    pub auto_create: bool,
}

/// The native listener, shared by its connections.
#[derive(Debug)]
pub struct NativeListener {
    broker: Arc<Broker>,
    options: NativeOptions,
    surroundings: Surroundings,
    /// Connections so far.
    connections: AtomicU64,
    incoming_memory: Arc<PeerMemory>,
    outgoing_memory: Arc<PeerMemory>,
    places: Arc<Places>,
    shown: Shown,
}

impl NativeListener {
    /// A listener on this broker that shares nothing with another one.
    #[must_use]
    pub fn new(broker: Arc<Broker>, options: NativeOptions, surroundings: Surroundings) -> Arc<NativeListener> {
        let shared = Shared::new(options.connections_max, options.incoming_bytes, options.outgoing_bytes);
        NativeListener::sharing(broker, options, surroundings, &shared)
    }

    /// A listener on this broker beside others; of what it shares with them the options' figures count no more.
    #[must_use]
    pub fn sharing(
        broker: Arc<Broker>,
        options: NativeOptions,
        surroundings: Surroundings,
        shared: &Shared,
    ) -> Arc<NativeListener> {
        let (connections, shown) = (AtomicU64::new(0), Shown::default());
        let Shared { places, incoming_memory, outgoing_memory } = shared.clone();
        Arc::new(NativeListener {
            broker,
            options,
            surroundings,
            connections,
            incoming_memory,
            outgoing_memory,
            places,
            shown,
        })
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, stop: watch::Receiver<bool>) {
        let number = ConnectionNumber(self.connections.fetch_add(1, Ordering::Relaxed) + 1);
        let peer = stream.peer_addr().ok().map(tracing::field::display);
        tracing::debug!(connection = number.0, peer, "connected");
        let end = match self.prepare(&stream) {
            Ok(()) => connection::run(&self, number, stream, stop).await,
            Err(error) => Err(error),
        };
        match end {
            Ok(reason) => tracing::debug!(connection = number.0, reason, "disconnected"),
            Err(error) => tracing::debug!(connection = number.0, %error, "disconnected"),
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

#[cfg(test)]
mod tests;
