//! Tests of the listener with a broker in memory, whose work can be held back.

mod closing;
mod large;
mod limits;
mod pushing;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use uuid::Uuid;

use super::{NativeListener, NativeOptions, Surroundings};
use crate::broker::tests::in_memory;
use crate::protocol::native::{Decoded, Frame, FrameCodec, FrameLimits, FrameType, Properties};
use crate::replica::{Partition, Work, WorkQueue};
use crate::types::{Timestamp, TopicId};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
/// Longer than anything here takes.
const BOUND: Duration = Duration::from_secs(20);
/// Bytes that may wait to be written.
const PENDING_BYTES: usize = 2_000;

/// Bytes of large frames that are received at a time.
const INCOMING_BYTES: usize = 200_000;

/// Work that waits.
type Held = VecDeque<(Arc<Partition>, Work)>;

/// Runs work at once, unless it is told to hold it back.
#[derive(Debug)]
struct Hands {
    runtime: Handle,
    held: Mutex<Option<Held>>,
}

impl WorkQueue for Hands {
    fn submit(&self, partition: Arc<Partition>, work: Work) {
        match &mut *self.held.lock() {
            Some(held) => held.push_back((partition, work)),
            None => drop(self.runtime.spawn_blocking(move || partition.run(work, NOW))),
        }
    }
}

impl Hands {
    fn hold(&self) {
        *self.held.lock() = Some(Held::new());
    }

    fn go_on(&self) {
        let held = self.held.lock().take();
        for (partition, work) in held.into_iter().flatten() {
            self.submit(partition, work);
        }
    }

    fn has_work(&self) -> bool {
        self.held.lock().as_ref().is_some_and(|held| !held.is_empty())
    }
}

/// A listener at work.
struct Rig {
    hands: Arc<Hands>,
    address: std::net::SocketAddr,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Rig {
    async fn new(connections_max: usize) -> Rig {
        let hands = Arc::new(Hands { runtime: Handle::current(), held: Mutex::default() });
        let queue = Arc::clone(&hands) as Arc<dyn WorkQueue>;
        let opened = tokio::task::spawn_blocking(|| in_memory(queue, PENDING_BYTES as u64, NOW)).await;
        let options = NativeOptions {
            outgoing_bytes: 64 << 20,
            connections_max,
            handshake_timeout: BOUND,
            heartbeat_interval: BOUND,
            connection_timeout: BOUND,
            subscribe_grace: Duration::from_millis(1),
            ack_timeout: BOUND,
            incoming_bytes: INCOMING_BYTES,
            message_bytes_max: 1 << 20,
            auto_create: false,
        };
        let ids = Mutex::new(0);
        let fresh_topic_id = move || {
            *ids.lock() += 1;
            TopicId::new(Uuid::from_u128(*ids.lock()))
        };
        let surroundings = Surroundings {
            now: Arc::new(|| NOW),
            fresh_topic_id: Arc::new(fresh_topic_id),
            fresh_member_id: Arc::new(uuid::Uuid::new_v4),
        };
        let native = NativeListener::new(opened.unwrap(), options, surroundings);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(native.serve(listener, stopped));
        Rig { hands, address, stop, serving }
    }

    async fn connect(&self) -> Peer {
        let codec = FrameCodec::new(FrameLimits::for_messages(1 << 20));
        Peer { stream: TcpStream::connect(self.address).await.unwrap(), codec, bytes: BytesMut::new() }
    }

    /// Waits until work is held back.
    async fn has_work(&self) {
        let look = async {
            while !self.hands.has_work() {
                tokio::task::yield_now().await;
            }
        };
        timeout(BOUND, look).await.expect("work");
    }
}

/// A client of a listener.
struct Peer {
    stream: TcpStream,
    codec: FrameCodec,
    bytes: BytesMut,
}

fn request(kind: FrameType, sequence: u64, properties: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let pairs: String = properties.iter().map(|(name, value)| format!("{name}={value}\0")).collect();
    let properties = Properties::from_wire(pairs.into()).unwrap();
    let frame = Frame { kind, sequence, timestamp: NOW, properties, body: body.to_vec().into() };
    let mut bytes = BytesMut::new();
    frame.encode(&mut bytes).unwrap();
    bytes.to_vec()
}

impl Peer {
    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next frame; `None` once the server has closed.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            match self.codec.next(&mut self.bytes) {
                Some(Decoded::Frame(frame)) => return Some(frame),
                Some(other) => panic!("{other:?}"),
                None => {}
            }
            if timeout(BOUND, self.stream.read_buf(&mut self.bytes)).await.expect("in time").expect("read") == 0 {
                return None;
            }
        }
    }

    /// The number and the code, or status, of the next frame.
    async fn said(&mut self) -> Option<(u64, String)> {
        let frame = self.next().await?;
        let said = frame.properties.get("code").or(frame.properties.get("status")).unwrap_or("heartbeat");
        Some((frame.sequence, said.to_owned()))
    }

    async fn expect(&mut self, expected: &[(u64, &str)]) {
        for (sequence, said) in expected {
            assert_eq!(self.said().await, Some((*sequence, (*said).to_owned())));
        }
    }

    async fn create_topic(&mut self, name: &str) {
        self.send(&request(FrameType::CreateTopic, 1, &[("topic", name), ("partitions", "1")], b"")).await;
        self.expect(&[(1, "success")]).await;
    }
}
