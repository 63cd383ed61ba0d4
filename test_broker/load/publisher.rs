//! The publishing process: this test executable, run again to run one test alone.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use wiber::protocol::native::{Decoded, Frame, FrameCodec, FrameLimits, FrameType};

use super::record::{LoadRecord, RecordId};
use crate::harness::{BOUND, Chance, offset, request};

/// The variable that makes the test a publisher.
const ORDERS: &str = "WIBER_TEST_PUBLISHER";
/// What it says once every connection has its window full and a first reply.
const FULL: &str = "the windows are full";
/// The topic it publishes to.
pub(crate) const TOPIC: &str = "load";
/// Bytes encoded ahead of the socket.
const OUTGOING_BYTES: usize = 64 << 10;

/// What a publisher is to do.
#[derive(Debug, Clone)]
pub(crate) struct Orders {
    pub(crate) address: SocketAddr,
    /// The round, part of every record.
    pub(crate) cycle: u64,
    /// Partitions of the topic.
    pub(crate) partitions: u64,
    /// Connections; those of even number ask for `durable`, the others for `leader`.
    pub(crate) connections: u64,
    /// Records in flight on each connection.
    pub(crate) window: u64,
    /// Where each connection writes its replies: this path and its number.
    pub(crate) ledger: PathBuf,
}

/// What a connection asks its acknowledgements to mean.
pub(crate) fn level(connection: u64) -> &'static str {
    if connection.is_multiple_of(2) { "durable" } else { "leader" }
}

impl Orders {
    /// The file a connection writes its replies to: `A <partition> <sequence> <offset> <time>` for an acknowledgement,
    /// the time being the server's when it made the reply; `R <sequence> <code>` for a refusal; and at last `E <sent>`.
    pub(crate) fn ledger_of(&self, connection: u64) -> PathBuf {
        self.ledger.with_extension(format!("{}.{connection}", self.cycle))
    }

    /// Starts the process and waits until its windows are full.
    pub(crate) fn start(&self) -> Publisher {
        let Orders { address, cycle, partitions, connections, window, ledger } = self;
        let ledger = ledger.display();
        let mut command = Command::new(std::env::current_exe().expect("this executable"));
        command.args(["--exact", "load::publisher::publisher_process", "--nocapture", "--test-threads=1"]);
        command.env(ORDERS, format!("{address} {cycle} {partitions} {connections} {window} {ledger}"));
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the publisher starts");
        let mut said = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        while !line.contains(FULL) {
            line.clear();
            assert_ne!(said.read_line(&mut line).expect("it speaks"), 0, "the publisher ended early");
        }
        Publisher { child, said }
    }

    fn parse(orders: &str) -> Orders {
        let parts: Vec<_> = orders.splitn(6, ' ').collect();
        let number = |at: usize| parts[at].parse().expect("a number");
        Orders {
            address: parts[0].parse().expect("an address"),
            cycle: number(1),
            partitions: number(2),
            connections: number(3),
            window: number(4),
            ledger: PathBuf::from(parts[5]),
        }
    }
}

/// A publisher at work. It ends with its connections.
#[derive(Debug)]
pub(crate) struct Publisher {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Publisher {
    /// Waits for its end: it has then written down every reply.
    pub(crate) fn finish(mut self) {
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut self.said, &mut rest).expect("it speaks");
        let status = self.child.wait().expect("it ended");
        assert!(status.success(), "the publisher failed: {rest}");
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Nothing, unless run by [`Orders::start`].
#[test]
fn publisher_process() {
    let Ok(orders) = std::env::var(ORDERS) else { return };
    let orders = Orders::parse(&orders);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (full, mut fulls) = mpsc::unbounded_channel();
        let publishing: Vec<_> = (0..orders.connections)
            .map(|connection| tokio::spawn(publish(Load::new(&orders, connection), orders.address, full.clone())))
            .collect();
        for _ in 0..orders.connections {
            fulls.recv().await.expect("a connection is at work");
        }
        let mut out = std::io::stdout();
        writeln!(out, "\n{FULL}").and_then(|()| out.flush()).expect("somebody listens");
        for connection in publishing {
            connection.await.expect("a connection came to its end");
        }
    });
}

/// Publishes on one connection until the server closes it or refuses a record.
async fn publish(mut load: Load, address: SocketAddr, full: mpsc::UnboundedSender<()>) {
    let (mut reader, mut writer) = TcpStream::connect(address).await.expect("connected").into_split();
    let (mut incoming, mut codec) = (BytesMut::new(), FrameCodec::new(FrameLimits::for_messages(1 << 20)));
    let mut full = Some(full);
    loop {
        load.fill();
        if load.is_full()
            && load.replies > 0
            && let Some(full) = full.take()
        {
            full.send(()).expect("somebody counts");
        }
        if load.is_refused && load.in_flight() == 0 {
            break;
        }
        tokio::select! {
            read = tokio::time::timeout(BOUND, reader.read_buf(&mut incoming)) => {
                match read.expect("the server answers or ends") {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {}
                }
                while let Some(decoded) = codec.next(&mut incoming) {
                    let Decoded::Frame(frame) = decoded else { panic!("no frame: {decoded:?}") };
                    load.take(&frame);
                }
            }
            // What cannot be written any more is not sent; replies may still be there to read.
            written = writer.write_buf(&mut load.outgoing), if !load.outgoing.is_empty() => {
                match written {
                    Ok(written) => load.written(written),
                    Err(_) => load.give_up(),
                }
            }
        }
    }
    load.end();
}

/// One connection's records and their replies.
struct Load {
    connection: u64,
    cycle: u64,
    window: u64,
    chance: Chance,
    /// Records made so far for each partition.
    made: Vec<u64>,
    /// The partition of each record that waits for its reply, the oldest first.
    waiting: std::collections::VecDeque<u64>,
    outgoing: BytesMut,
    /// Where the frames end that are not wholly written, counted from the first byte ever.
    ends: std::collections::VecDeque<u64>,
    encoded_bytes: u64,
    written_bytes: u64,
    sequence: u64,
    sent: u64,
    replies: u64,
    is_refused: bool,
    ledger: BufWriter<File>,
}

impl Load {
    fn new(orders: &Orders, connection: u64) -> Load {
        let ledger = File::create(orders.ledger_of(connection)).expect("a ledger");
        Load {
            connection,
            cycle: orders.cycle,
            window: orders.window,
            chance: Chance::new(orders.cycle << 8 | connection),
            made: vec![0; usize::try_from(orders.partitions).expect("few")],
            waiting: std::collections::VecDeque::new(),
            outgoing: BytesMut::new(),
            ends: std::collections::VecDeque::new(),
            encoded_bytes: 0,
            written_bytes: 0,
            sequence: 0,
            sent: 0,
            replies: 0,
            is_refused: false,
            ledger: BufWriter::new(ledger),
        }
    }

    fn in_flight(&self) -> u64 {
        self.sequence - self.replies
    }

    fn is_full(&self) -> bool {
        self.in_flight() >= self.window
    }

    /// Makes records until the window or the buffer is full.
    fn fill(&mut self) {
        while !self.is_full() && !self.is_refused && self.outgoing.len() < OUTGOING_BYTES {
            self.sequence += 1;
            let partition = self.chance.below(self.made.len() as u64);
            let made = &mut self.made[usize::try_from(partition).expect("few")];
            *made += 1;
            let id = RecordId { cycle: self.cycle, connection: self.connection, sequence: self.sequence };
            let record = LoadRecord { id, in_partition: *made };
            let partition_text = partition.to_string();
            let properties = [("topic", TOPIC), ("partition", &*partition_text), ("wiber.ack", level(self.connection))];
            let frame = request(FrameType::Publish, self.sequence, &properties, record.body().as_bytes());
            let before = self.outgoing.len();
            frame.encode(&mut self.outgoing).expect("encodes");
            self.encoded_bytes += (self.outgoing.len() - before) as u64;
            self.ends.push_back(self.encoded_bytes);
            self.waiting.push_back(partition);
        }
    }

    fn written(&mut self, bytes: usize) {
        self.written_bytes += bytes as u64;
        while self.ends.front().is_some_and(|end| *end <= self.written_bytes) {
            self.ends.pop_front();
            self.sent += 1;
        }
    }

    fn give_up(&mut self) {
        self.outgoing.clear();
        self.is_refused = true;
    }

    /// Takes a reply: they come in the order of the requests.
    fn take(&mut self, frame: &Frame) {
        if frame.kind == FrameType::Heartbeat {
            return;
        }
        self.replies += 1;
        assert_eq!((frame.kind, frame.sequence), (FrameType::Ack, self.replies), "replies in order: {frame:?}");
        let partition = self.waiting.pop_front().expect("a reply to something");
        if frame.properties.get("status") == Some("success") {
            assert_eq!(frame.properties.get("partition"), Some(&*partition.to_string()));
            let (sequence, time) = (frame.sequence, frame.timestamp.millis());
            writeln!(self.ledger, "A {partition} {sequence} {} {time}", offset(frame)).expect("written");
        } else {
            let code = frame.properties.get("code").unwrap_or("none");
            writeln!(self.ledger, "R {} {code}", frame.sequence).expect("written");
            self.is_refused = true;
        }
    }

    fn end(mut self) {
        writeln!(self.ledger, "E {}", self.sent).expect("written");
        self.ledger.flush().expect("written");
    }
}

/// Reads a ledger's lines, each split at its spaces.
pub(crate) fn read_ledger(path: &Path) -> impl Iterator<Item = Vec<String>> {
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let lines = BufReader::new(file).lines();
    lines.map(|line| line.expect("text").split(' ').map(str::to_owned).collect())
}
