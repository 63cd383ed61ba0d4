//! The line protocol's listener. `docs/lines.md` says what goes over the wire.
//!
//! One task reads a connection, decodes and calls the broker; one writes what did not go out at once; one more for each
//! subscription; and one for each group and topic, whose members are connections. Answers to PUBs are written by the
//! thread that finished the write or the sync.
//!
//! ```text
//!  socket ─► LineCodec ─► Command ─► PublishRun ─► Partition::append ─ ─ ─► AckSink ─► Outbox ─► socket
//!                            ├─────► Broadcast ──► Feed ──────────────────► MSG ─────► Outbox ─► socket
//!                            └─────► Queue, its pump ─► Feed ─► QueueGroup ─► MSG ───► Outbox of whose turn it is
//! ```

mod accept;
mod broadcast;
mod connection;
mod encode;
mod feed;
mod history;
mod outbox;
mod publish;
mod pump;
mod queue;
mod subscriptions;
mod topics;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::door::Places;
use super::memory::PeerMemory;
use super::shown::Shown;
use super::{Shared, Surroundings, liveness};
use crate::broker::Broker;
use crate::types::Timestamp;
use queue::Queues;

/// Bytes that the kernel keeps for a peer beside what is on its way: what is to be sent waits here, where it counts.
const UNSENT_BYTES_MAX: u32 = 128 << 10;

/// How the listener behaves.
#[derive(Debug, Clone)]
pub struct LinesOptions {
    /// How long a connection that subscribes to nothing may be silent; zero is for ever.
    pub idle_timeout: Duration,
    /// How long a peer's TCP may acknowledge nothing.
    pub connection_timeout: Duration,
    /// Time between two probes of a peer that is silent.
    pub probe_interval: Duration,
    /// Bytes of a message at most.
    pub message_bytes_max: usize,
}

/// The lines listener, shared by its connections.
#[derive(Debug)]
pub struct LinesListener {
    broker: Arc<Broker>,
    options: LinesOptions,
    surroundings: Surroundings,
    /// Connections so far.
    connections: AtomicU64,
    incoming_memory: Arc<PeerMemory>,
    outgoing_memory: Arc<PeerMemory>,
    places: Arc<Places>,
    /// What broadcasts were shown lately.
    shown: Shown,
    queues: Queues,
    /// How often topics have changed.
    topic_changes: watch::Sender<u64>,
}

impl LinesListener {
    /// A listener on this broker, beside the others of its server.
    #[must_use]
    pub fn new(
        broker: Arc<Broker>,
        options: LinesOptions,
        surroundings: Surroundings,
        shared: &Shared,
    ) -> Arc<LinesListener> {
        let Shared { places, incoming_memory, outgoing_memory } = shared.clone();
        Arc::new(LinesListener {
            broker,
            options,
            surroundings,
            connections: AtomicU64::new(0),
            incoming_memory,
            outgoing_memory,
            places,
            shown: Shown::default(),
            queues: Queues::default(),
            topic_changes: watch::Sender::new(0),
        })
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, stop: watch::Receiver<bool>) {
        let number = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let peer = stream.peer_addr().ok().map(tracing::field::display);
        tracing::debug!(lines = number, peer, "connected");
        let end = match self.prepare(&stream) {
            Ok(()) => connection::run(&self, number, stream, stop).await,
            Err(error) => Err(error),
        };
        match end {
            Ok(reason) => tracing::debug!(lines = number, reason, "disconnected"),
            Err(error) => tracing::debug!(lines = number, %error, "disconnected"),
        }
    }

    /// What a peer does not take waits where it is counted, and what a group gave may be taken back.
    fn prepare(&self, stream: &TcpStream) -> io::Result<()> {
        liveness::prepare(stream, self.options.probe_interval, self.options.connection_timeout)?;
        SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES_MAX)
    }

    fn now(&self) -> Timestamp {
        (self.surroundings.now)()
    }
}
