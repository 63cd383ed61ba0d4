//! Clients that mean no good, or cannot help it, against a server that serves somebody else meanwhile: that one's results
//! are what they would be without, and the server's memory stays below a bound.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

use crate::harness::batches::{HEADER_BYTES, NOBODY, Rec, batch, batch_of};
use crate::harness::peer::{DATA, FETCH, HEARTBEAT, PUBLISH, PUBLISH_BATCH, Peer, SUBSCRIBE, SUBSCRIBE_BATCHES, frame};
use crate::harness::{Chance, Server, Setup, say};

/// What the server may occupy at any time.
const RESIDENT_BYTES_MAX: u64 = 512 << 20;
/// A stop that takes longer waits for somebody it should not wait for.
const STOP_MAX: Duration = Duration::from_secs(30);
/// Records that the one who behaves publishes before, and at least during, an attack.
const PUBLISHES_MIN: usize = 150;
/// How long a hostile connection waits for a server that does not take its bytes, or sends none.
const PATIENCE: Duration = Duration::from_millis(300);

/// Attacks while somebody publishes and reads.
fn check(what: &str, setup: Setup, attack: impl Fn(SocketAddr) + Sync) {
    let server = setup.start();
    let mut behaved = Behaved::new(&server);
    let alone = behaved.publish(&server, || false);
    let began = now();
    let (is_over, address) = (AtomicBool::new(false), server.address());
    let beside = std::thread::scope(|scope| {
        scope.spawn(|| {
            let _over = Over(&is_over);
            attack(address);
        });
        behaved.publish(&server, || !is_over.load(Ordering::Acquire))
    });
    behaved.check_all(&server);
    let of = |took: &[Duration]| p99(took).as_micros();
    say(&format!(
        "{what}, {:.1} s: p99 of another's publishes {} us alone, {} us beside it ({}), at most {} MiB",
        (now() - began).as_secs_f64(),
        of(&alone),
        of(&beside),
        beside.len(),
        behaved.resident_bytes_max >> 20
    ));
    drop(behaved);
    server.kill();
}

/// Says that an attack is over, also where it panics.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// One that behaves.
struct Behaved {
    publisher: Peer,
    reader: Peer,
    published: u64,
    resident_bytes_max: u64,
}

impl Behaved {
    fn new(server: &Server) -> Behaved {
        let (mut publisher, mut reader) = (Peer::connect(server), Peer::connect(server));
        publisher.create("own", 1);
        publisher.create("t", 4);
        reader.subscribe("own", &[]);
        Behaved { publisher, reader, published: 0, resident_bytes_max: 0 }
    }

    /// Publishes one by one, so many and then while it is told to; returns how long each took.
    fn publish(&mut self, server: &Server, goes_on: impl Fn() -> bool) -> Vec<Duration> {
        let mut took = Vec::new();
        while took.len() < PUBLISHES_MIN || goes_on() {
            let began = now();
            let offset = self.publisher.publish("own", 0, &body_of(self.published));
            took.push(now() - began);
            assert_eq!(offset, self.published);
            self.published += 1;
            let data = self.reader.data();
            assert_eq!((data.sequence, data.body), (offset, body_of(offset)));
            self.resident_bytes_max = self.resident_bytes_max.max(server.resident_bytes());
            assert!(self.resident_bytes_max < RESIDENT_BYTES_MAX, "{} MiB", self.resident_bytes_max >> 20);
        }
        took
    }

    /// Everything is there, once and in order, and nothing else.
    fn check_all(&mut self, server: &Server) {
        let mut again = Peer::connect(server);
        again.subscribe("own", &[]);
        for offset in 0..self.published {
            let data = again.data();
            assert_eq!((data.sequence, data.body), (offset, body_of(offset)));
        }
        again.is_alive();
        self.reader.is_alive();
    }
}

fn body_of(number: u64) -> Vec<u8> {
    format!("record {number}").into_bytes()
}

fn p99(took: &[Duration]) -> Duration {
    let mut sorted = took.to_vec();
    sorted.sort_unstable();
    sorted[(sorted.len() - 1) * 99 / 100]
}

#[expect(clippy::disallowed_methods, reason = "figures that are printed, never compared")]
fn now() -> Instant {
    Instant::now()
}

fn setup() -> (tempfile::TempDir, Setup) {
    let directory = tempfile::tempdir().expect("a directory");
    let setup = Setup::new(&directory.path().join("data"));
    let setup = setup.set("QB_LOG_LEVEL", "INFO").set("QB_TOPICS__RETENTION_HOURS", "0");
    (directory, setup)
}

/// A connection that may be closed at any time, and does not wait for ever.
fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connected");
    stream.set_write_timeout(Some(PATIENCE)).expect("a bound");
    stream.set_read_timeout(Some(PATIENCE)).expect("a bound");
    stream
}

/// As [`connect`], with little room for what comes: more of it waits at the server.
fn connect_narrowly(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4 << 10).expect("a small buffer");
    socket.connect(&address.into()).expect("connected");
    let stream = TcpStream::from(socket);
    stream.set_write_timeout(Some(PATIENCE)).expect("a bound");
    stream
}

/// Sends the same on every connection.
fn push_all<'a>(streams: impl IntoIterator<Item = &'a TcpStream>, bytes: &[u8]) {
    for stream in streams {
        push(stream, bytes);
    }
}

/// Sends as far as the server takes it; whether it took all.
fn push(mut stream: &TcpStream, bytes: &[u8]) -> bool {
    stream.write_all(bytes).is_ok()
}

/// Reads and forgets what is there.
fn drain(mut stream: &TcpStream) {
    let mut bytes = vec![0; 64 << 10];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

fn noise(chance: &mut Chance, bytes: usize) -> Vec<u8> {
    (0..bytes.div_ceil(8)).flat_map(|_| chance.next().to_le_bytes()).take(bytes).collect()
}

#[test]
fn random_bytes() {
    let (_directory, setup) = setup();
    check("random bytes", setup, |address| {
        let mut chance = Chance::new(11);
        for round in 0..300_usize {
            let stream = connect(address);
            let bytes = noise(&mut chance, 1 + round * 97 % 40_000);
            push(&stream, &bytes);
            // The same behind a head that promises a frame.
            let stream = connect(address);
            let mut framed = frame(PUBLISH, 1, &[("topic", "t")]).with_body(&bytes).bytes();
            let at = usize::try_from(chance.below(framed.len() as u64)).expect("small");
            framed[at] ^= 1 << chance.below(8);
            push(&stream, &framed);
        }
    });
}

#[test]
fn half_frames() {
    let (_directory, setup) = setup();
    check("half frames", setup, |address| {
        let bytes = frame(PUBLISH, 1, &[("topic", "t"), ("header", "value")]).with_body(&[b'x'; 300]).bytes();
        let streams: Vec<_> = (0..200).map(|_| connect(address)).collect();
        for byte in &bytes[..bytes.len() - 1] {
            push_all(&streams, &[*byte]);
        }
    });
}

#[test]
fn lying_lengths() {
    let (_directory, setup) = setup();
    check("lying lengths", setup, |address| {
        let good = frame(PUBLISH, 1, &[("topic", "t")]).with_body(b"body").bytes();
        let mut kept = Vec::new();
        for at in [0, 24, 36] {
            for length in [0_u32, 1, 31, 32, 33, 1 << 16, 1 << 20, 1 << 24, 1 << 31, u32::MAX] {
                for _ in 0..10 {
                    let stream = connect(address);
                    let mut bytes = good.clone();
                    bytes[at..at + 4].copy_from_slice(&length.to_be_bytes());
                    push(&stream, &bytes);
                    kept.push(stream);
                }
            }
        }
        // Each keeps its promise for a while, so that whoever believes it pays for it.
        let chunk = vec![0; 64 << 10];
        for _ in 0..20 {
            kept.retain(|stream| push(stream, &chunk));
        }
    });
}

/// As many connections as descriptors allow, up to 5,000: half of them say nothing, half of them half a frame.
#[test]
fn half_open_connections() {
    const WANTED: u64 = 5_000;
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let allowed = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum.unwrap_or(u64::MAX),
        Err(_) => limit.current.unwrap_or(u64::MAX),
    };
    let connections = WANTED.min(allowed.saturating_sub(1_000));
    if connections < WANTED {
        say(&format!("only {connections} connections: the limit of descriptors is {allowed}"));
    }
    let (_directory, setup) = setup();
    let setup = setup.set("QB_SERVER__HANDSHAKE_TIMEOUT", "60").set("QB_MAX_CONNECTIONS", "10000");
    check(&format!("{connections} half-open connections"), setup, |address| {
        let half = &frame(PUBLISH, 1, &[("topic", "t")]).bytes()[..20];
        let streams: Vec<_> = (0..connections).map(|_| connect(address)).collect();
        push_all(streams.iter().step_by(2), half);
    });
}

/// Subscribers that take nothing of a topic far larger than all buffers.
#[test]
fn readers_that_never_read() {
    let (_directory, setup) = setup();
    check("readers that never read", setup, |address| {
        let mut publisher = Peer::connect_to(address);
        for _ in 0..50 {
            publisher.publish("t", 0, &vec![b'x'; 1 << 20]);
        }
        let mode = |number: usize| if number.is_multiple_of(2) { "true" } else { "false" };
        let streams: Vec<_> = (0..60).map(|_| connect(address)).collect();
        for (number, stream) in streams.iter().enumerate() {
            push(stream, &frame(SUBSCRIBE, 1, &[("topic", "t"), ("auto_ack", mode(number))]).bytes());
        }
        for _ in 0..20 {
            publisher.publish("t", 0, &vec![b'x'; 1 << 20]);
        }
    });
}

/// Hundreds that ask for more than all buffers hold, in every way there is, and take nothing: the memory for what waits is
/// used up many times over, and another who reads the same gets it all.
#[test]
fn hundreds_of_readers_that_never_read() {
    const RECORDS: u64 = 64;
    let (_directory, setup) = setup();
    let setup = setup.set("QB_SERVER__OUTGOING_BYTES", "16777216");
    let setup = setup.expect_line("a client that does not read is disconnected: others need the memory");
    check("hundreds of readers that never read", setup, |address| {
        let mut publisher = Peer::connect_to(address);
        let body = vec![b'x'; 200 << 10];
        for _ in 0..RECORDS / 2 {
            publisher.publish("t", 0, &body);
        }
        let at_start = [("topic", "t"), ("offset", "0")];
        let streams: Vec<_> = (0..300).map(|_| connect_narrowly(address)).collect();
        for (number, stream) in streams.iter().enumerate() {
            let request = match number % 4 {
                0 => frame(SUBSCRIBE, 1, &[at_start[0], at_start[1], ("auto_ack", "true")]).bytes(),
                1 => frame(SUBSCRIBE, 1, &[at_start[0], at_start[1], ("auto_ack", "false")]).bytes(),
                2 => frame(SUBSCRIBE_BATCHES, 1, &at_start).bytes(),
                _ => frame(FETCH, 1, &[at_start[0], at_start[1], ("wiber.max_bytes", "16777216")]).bytes().repeat(20),
            };
            push(stream, &request);
        }
        let mut reader = Peer::connect_to(address);
        reader.subscribe("t", &[("partition", "0")]);
        for offset in 0..RECORDS {
            if offset >= RECORDS / 2 {
                publisher.publish("t", 0, &body);
            }
            let data = reader.data();
            assert_eq!((data.sequence, data.body.len()), (offset, body.len()));
        }
    });
}

/// Publishers that send as fast as they can and read no answer.
#[test]
fn floods_without_a_reader() {
    let (_directory, setup) = setup();
    check("floods without a reader", setup, |address| {
        let publish = frame(PUBLISH, 1, &[("topic", "t"), ("partition", "0")]).with_body(&[b'x'; 200]).bytes();
        let refused = frame(PUBLISH, 1, &[("topic", "absent")]).bytes();
        let beat = frame(HEARTBEAT, 1, &[]).bytes();
        std::thread::scope(|scope| {
            for one in [&publish, &refused, &beat].into_iter().cycle().take(9) {
                scope.spawn(move || {
                    let chunk = one.repeat((64 << 10) / one.len());
                    let stream = connect(address);
                    // Until the server takes no more, or for 32 MiB.
                    for _ in 0..512 {
                        if !push(&stream, &chunk) {
                            return;
                        }
                    }
                });
            }
        });
    });
}

/// Frames whose properties are as many as fit: they cost more in memory than on the wire.
#[test]
fn properties_by_the_thousand() {
    let (_directory, setup) = setup();
    check("64 KiB of properties", setup, |address| {
        let mut block = b"topic=t\0".to_vec();
        while block.len() + 3 <= 64 << 10 {
            block.extend(b"a=\0");
        }
        let bytes = crate::harness::peer::bytes_of(PUBLISH, 1, 0, &block, b"");
        let subscribers: Vec<_> = (0..4).map(|_| connect(address)).collect();
        for (partition, stream) in subscribers.iter().enumerate() {
            push(stream, &frame(SUBSCRIBE, 1, &[("topic", "t"), ("partition", &partition.to_string())]).bytes());
        }
        for _ in 0..5 {
            let stream = connect(address);
            for _ in 0..8 {
                push(&stream, &bytes);
            }
            drain(&stream);
        }
        subscribers.iter().for_each(drain);
    });
}

/// Connections that subscribe to everything there is, each partition with more in it than its bytes show, and go away
/// again without having read a tenth of it.
#[test]
fn subscriptions_to_everything() {
    let (_directory, setup) = setup();
    let setup =
        setup.set("QB_STORAGE__SYNC", "os").expect_line("an acknowledged record survives a crash of the server, but");
    check("subscriptions to everything", setup, |address| {
        let mut publisher = Peer::connect_to(address);
        publisher.create("wide", 300);
        let large = large_batch(400);
        for partition in 0..300 {
            let properties = [("topic", "wide"), ("partition", &*partition.to_string())];
            publisher.ask(&frame(PUBLISH_BATCH, 1, &properties).with_body(&large));
        }
        let subscribe = |n: u32| {
            let mode = if n.is_multiple_of(2) { "true" } else { "false" };
            let properties = [("topic", "wide"), ("partition", &*(n % 301).to_string()), ("auto_ack", mode)];
            frame(SUBSCRIBE, n.into(), &properties).bytes()
        };
        let subscribes: Vec<u8> = (0..1_100).flat_map(subscribe).collect();
        for _ in 0..2 {
            let streams: Vec<_> = (0..8).map(|_| connect(address)).collect();
            push_all(&streams, &subscribes);
            for _ in 0..100 {
                publisher.publish("t", 1, b"a while");
            }
            let mut some = vec![0; 4 << 20];
            for mut stream in &streams {
                let _whatever_came = stream.read(&mut some);
            }
        }
    });
}

/// A good batch of this many records of 50 KiB, which compress as well as honest ones may.
fn large_batch(records: i32) -> Vec<u8> {
    let mut chance = Chance::new(12);
    let value = |chance: &mut Chance| [noise(chance, 400), vec![0; 50 << 10]].concat();
    let values: Vec<_> = (0..records).map(|_| Rec { value: Some(value(&mut chance)), ..Rec::default() }).collect();
    let plain = batch(NOBODY, 1_700_000_000_000, &values);
    let body = zstd::stream::encode_all(&plain[HEADER_BYTES..], 1).expect("compressed");
    batch_of(NOBODY, 1_700_000_000_000, 4, records, &body)
}

/// Batches that are small as sent and enormous inside: stored as they are, and nobody who reads them pays.
#[test]
fn decompression_bombs() {
    const INSIDE_BYTES: u64 = 1 << 28;
    let (_directory, setup) = setup();
    let setup = setup.expect_line("records that cannot be shown are passed over");
    check("decompression bombs", setup, |address| {
        // A record that says how long it is, and a body that is nothing but zeros: both of 256 MiB.
        let mut record = Vec::new();
        let mut rest = INSIDE_BYTES << 1;
        while rest >= 0x80 {
            record.push(u8::try_from(rest & 0x7F).expect("7 bits") | 0x80);
            rest >>= 7;
        }
        record.push(u8::try_from(rest).expect("7 bits"));
        let mut publisher = Peer::connect_to(address);
        for head in [&record[..], &[]] {
            let body = head.chain(std::io::repeat(0).take(INSIDE_BYTES));
            let body = zstd::stream::encode_all(body, 1).expect("compressed");
            assert!(body.len() < 1 << 20, "{} bytes", body.len());
            let bomb = batch_of(NOBODY, 1_700_000_000_000, 4, 1, &body);
            for partition in ["0", "1"] {
                let request = frame(PUBLISH_BATCH, 1, &[("topic", "t"), ("partition", partition)]).with_body(&bomb);
                publisher.send(&[request]);
                let reply = publisher.next();
                assert!(matches!(reply.get("code"), None | Some("invalid_batch")), "{reply:?}");
            }
        }
        // Whoever reads gets what comes after them.
        for partition in [0, 1] {
            publisher.publish("t", partition, b"behind");
            let mut readers: Vec<_> = (0..4).map(|_| Peer::connect_to(address)).collect();
            for (number, reader) in readers.iter_mut().enumerate() {
                let mode = if number.is_multiple_of(2) { "true" } else { "false" };
                reader.subscribe("t", &[("partition", &partition.to_string()), ("auto_ack", mode)]);
            }
            for reader in &mut readers {
                let data = reader.next();
                assert_eq!((data.kind, &data.body[..]), (DATA, &b"behind"[..]));
            }
        }
    });
}

/// A good batch that expands to 50 MiB, and many readers who stop in the midst of it.
#[test]
fn large_batches_that_nobody_reads_on() {
    let (_directory, setup) = setup();
    check("large batches that nobody reads on", setup, |address| {
        let compressed = large_batch(1_000);
        let mut publisher = Peer::connect_to(address);
        publisher.ask(&frame(PUBLISH_BATCH, 1, &[("topic", "t"), ("partition", "0")]).with_body(&compressed));
        let streams: Vec<_> = (0..30).map(|_| connect(address)).collect();
        for (number, stream) in streams.iter().enumerate() {
            let mode = if number.is_multiple_of(2) { "true" } else { "false" };
            push(stream, &frame(SUBSCRIBE, 1, &[("topic", "t"), ("auto_ack", mode)]).bytes());
            let _ack = std::io::Read::read(&mut &*stream, &mut [0; 1_000]);
        }
        for _ in 0..100 {
            publisher.publish("t", 1, b"a while");
        }
    });
}

/// The server stops though nobody reads what it has to say, and though requests are half sent.
#[test]
fn a_stop_among_all_that() {
    let (_directory, setup) = setup();
    let server = setup.start();
    let mut publisher = Peer::connect(&server);
    publisher.create("t", 1);
    for _ in 0..20 {
        publisher.publish("t", 0, &vec![b'x'; 1 << 20]);
    }
    let streams: Vec<_> = (0..60).map(|_| connect(server.address())).collect();
    let bytes = frame(PUBLISH, 1, &[("topic", "t")]).with_body(&[b'x'; 300]).bytes();
    let flood = bytes.repeat(2_000);
    push_all(&streams[..10], &bytes[..50]);
    push_all(&streams[10..20], &frame(SUBSCRIBE, 1, &[("topic", "t")]).bytes());
    push_all(&streams[20..30], &frame(SUBSCRIBE, 1, &[("topic", "t"), ("auto_ack", "false")]).bytes());
    push_all(&streams[30..40], &flood);
    let began = now();
    server.terminate();
    let took = now() - began;
    say(&format!("a stop among hostile connections took {:.1} s", took.as_secs_f64()));
    assert!(took < STOP_MAX, "{took:?}");
    drop(streams);
}
