//! The Kafka listener: Apache Kafka's wire protocol over the same broker. `docs/kafka.md` says what of it is served.
//!
//! One task serves a connection. Requests are answered in their order, and one is begun when the one before it was
//! answered, as in Kafka; only Produce is not waited for: what comes behind it is appended while it becomes durable.
//!
//! ```text
//!  socket ─► RequestFrames ─► Requests ─┬─► produce ─► Partition::append ─ ─ ─► AckSink ─┬─► Outgoing ─► socket
//!                                       ├─► fetch ───► Partition::read ──────────────────┤
//!                                       └─► dispatch ─► a handler of its own for each API ┘
//! ```

mod accept;
mod acls;
mod asked;
mod cluster;
mod configs;
mod connection;
mod dispatch;
mod epochs;
mod errors;
mod fetch;
mod fetch_sessions;
mod groups;
mod list_offsets;
mod metadata;
mod offsets;
mod produce;
mod producers;
mod publish_errors;
mod records;
mod requests;
mod topics;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};

use super::door::Places;
use super::memory::PeerMemory;
use super::{Shared, Surroundings, liveness};
use crate::broker::Broker;
use crate::types::Timestamp;
use fetch_sessions::FetchSessions;

/// Bytes that the kernel keeps for a peer beside what is on its way.
const UNSENT_BYTES_MAX: u32 = 1 << 20;

/// How the listener behaves.
#[derive(Debug, Clone)]
pub struct KafkaOptions {
    /// The host that clients are told to connect to; `None`: the address that each of them dialled.
    pub advertised_host: Option<String>,
    /// The port that clients are told to connect to; `None`: the one that each of them dialled.
    pub advertised_port: Option<u16>,
    /// Whether asking for the metadata of a topic that does not exist may create it.
    pub auto_create: bool,
    /// How long a connection may be silent that waits for nothing; zero is for ever.
    pub idle_timeout: Duration,
    /// How long a peer's TCP may acknowledge nothing.
    pub connection_timeout: Duration,
    /// Time between two probes of a peer that is silent.
    pub probe_interval: Duration,
}

/// The Kafka listener, shared by its connections.
#[derive(Debug)]
pub struct KafkaListener {
    broker: Arc<Broker>,
    options: KafkaOptions,
    surroundings: Surroundings,
    /// Connections so far.
    connections: AtomicU64,
    incoming_memory: Arc<PeerMemory>,
    outgoing_memory: Arc<PeerMemory>,
    places: Arc<Places>,
    fetch_sessions: Mutex<FetchSessions>,
    /// Leave to make answers that may be long.
    long_answers: Semaphore,
}

/// Answers that may be long which are made at a time.
const LONG_ANSWERS_MAX: usize = 4;

impl KafkaListener {
    /// A listener on this broker, beside the others of its server.
    #[must_use]
    pub fn new(
        broker: Arc<Broker>,
        options: KafkaOptions,
        surroundings: Surroundings,
        shared: &Shared,
    ) -> Arc<KafkaListener> {
        let Shared { places, incoming_memory, outgoing_memory } = shared.clone();
        let connections = AtomicU64::new(0);
        let seed = (surroundings.fresh_member_id)().as_u64_pair().0;
        Arc::new(KafkaListener {
            broker,
            options,
            surroundings,
            connections,
            incoming_memory,
            outgoing_memory,
            places,
            fetch_sessions: Mutex::new(FetchSessions::new(seed)),
            long_answers: Semaphore::new(LONG_ANSWERS_MAX),
        })
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, stop: watch::Receiver<bool>) {
        let number = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let peer = stream.peer_addr().ok().map(tracing::field::display);
        tracing::debug!(kafka = number, peer, "connected");
        let end = match self.prepare(&stream) {
            Ok(()) => connection::run(&self, number, stream, stop).await,
            Err(error) => Err(error),
        };
        match end {
            Ok(reason) => tracing::debug!(kafka = number, reason, "disconnected"),
            Err(error) => tracing::debug!(kafka = number, %error, "disconnected"),
        }
    }

    /// What a peer does not take waits where it is counted, but for as much as makes sending cheap.
    fn prepare(&self, stream: &TcpStream) -> io::Result<()> {
        liveness::prepare(stream, self.options.probe_interval, self.options.connection_timeout)?;
        SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES_MAX)
    }

    fn now(&self) -> Timestamp {
        (self.surroundings.now)()
    }
}
