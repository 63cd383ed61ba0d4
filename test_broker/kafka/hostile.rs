//! Requests of every kind, spoilt, against a server that serves somebody else meanwhile: that one is served as ever, nothing is
//! logged that an operator would have to look at, and the server's memory stays below a bound.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use bytes::BytesMut;
use kafka_protocol::messages::{MetadataRequest, metadata_request::MetadataRequestTopic};
use tempfile::TempDir;

use super::name;
use super::produce_fetch::{batch, fetch, fetched, produce, produced, values};
use super::versions::corpus;
use crate::harness::kafka::{KafkaPeer, kafka_address};
use crate::harness::{BOUND, Chance, Server, Setup, cycles, say};

/// Rounds, unless `WIBER_KAFKA_HOSTILE_CYCLES` says otherwise.
const CYCLES: u64 = 5;
/// Connections of a round, and requests of each.
const CONNECTIONS: usize = 24;
const REQUESTS: usize = 24;
/// What the server may occupy at any time.
const RESIDENT_BYTES_MAX: u64 = 400 << 20;
/// How long a connection waits for room to send.
const PATIENCE: Duration = Duration::from_millis(300);

fn at(chance: &mut Chance, length: usize) -> usize {
    usize::try_from(chance.below(length.max(1) as u64)).expect("small")
}

/// Overwrites a few bytes with numbers that lengths, counts and ids seldom are.
fn put_number(chance: &mut Chance, bytes: &mut [u8]) {
    const NUMBERS: [i64; 10] =
        [0, -1, 1, i64::MAX, i64::MIN, 0x7fff_ffff, -0x8000_0000, 0x7fff_7fff_7fff, 0x0100_0000, 300];
    let width = [1, 2, 4, 8][at(chance, 4)];
    let number = NUMBERS[at(chance, NUMBERS.len())].to_be_bytes();
    let from = at(chance, bytes.len());
    for (byte, new) in bytes[from..].iter_mut().zip(&number[8 - width..]) {
        *byte = *new;
    }
}

/// One of them, spoilt in one to four places.
fn spoilt(chance: &mut Chance, corpus: &[BytesMut]) -> Vec<u8> {
    let mut bytes = corpus[at(chance, corpus.len())].to_vec();
    for _ in 0..=at(chance, 4) {
        let from = at(chance, bytes.len());
        match chance.below(8) {
            0 | 1 => put_number(chance, &mut bytes),
            2 if from < bytes.len() => bytes[from] ^= 1 << chance.below(8),
            3 => bytes.truncate(from),
            4 => {
                let other = &corpus[at(chance, corpus.len())];
                bytes.truncate(from);
                bytes.extend_from_slice(&other[at(chance, other.len())..]);
            }
            5 => {
                let end = from + at(chance, bytes.len() - from);
                let part = bytes[from..end].to_vec();
                bytes.splice(from..from, part);
            }
            6 => drop(bytes.drain(from..(from + 4).min(bytes.len()))),
            _ if from < bytes.len() => bytes[from] = u8::try_from(chance.below(256)).expect("a byte"),
            _ => {}
        }
    }
    bytes
}

/// Sends spoilt requests over one connection, as long as it is open.
fn send(chance: &mut Chance, corpus: &[BytesMut], address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_write_timeout(Some(PATIENCE)).expect("a bound");
    stream.set_read_timeout(Some(BOUND)).expect("a bound");
    for _ in 0..REQUESTS {
        let bytes = spoilt(chance, corpus);
        let mut length = u32::try_from(bytes.len()).expect("small");
        if chance.below(50) == 0 {
            length = u32::try_from(chance.next() & 0xffff_ffff).expect("32 bits");
        }
        // Before the first that was understood nothing else would be.
        let framed = [&length.to_be_bytes()[..], &bytes].concat();
        if stream.write_all(&framed).is_err() {
            break;
        }
    }
    let _closed = stream.shutdown(Shutdown::Write);
    stream
}

/// The one who means well.
struct Behaved {
    peer: KafkaPeer,
    offset: i64,
}

impl Behaved {
    fn check(&mut self, server: &Server) {
        let text = format!("record {}", self.offset);
        let answers = produced(&mut self.peer, 9, &produce(-1, "well", &[(0, Some(batch(&[&text])))]));
        assert_eq!((answers[0].error_code, answers[0].base_offset), (0, self.offset));
        let data = fetched(&mut self.peer, 12, &fetch("well", 0, self.offset));
        assert_eq!(values(&data[0]), [(self.offset, text)]);
        self.offset += 1;
        let wanted = MetadataRequestTopic::default().with_name(Some(name("well")));
        let known = self.peer.call(9, &MetadataRequest::default().with_topics(Some(vec![wanted])));
        assert_eq!((known.topics[0].error_code, known.topics[0].partitions.len()), (0, 1));
        let resident = server.resident_bytes();
        assert!(resident < RESIDENT_BYTES_MAX, "{} MiB", resident >> 20);
    }
}

#[test]
fn spoilt_requests_harm_nobody_else() {
    let cycles = cycles("WIBER_KAFKA_HOSTILE_CYCLES", CYCLES);
    let directory = TempDir::new().expect("a directory");
    let topics = r#"{"t": 2, "well": 1}"#;
    let mut server = Setup::new(directory.path())
        .set("QB_TOPICS__RETENTION_HOURS", "0")
        .set("QB_TOPICS__CREATE", topics)
        .set("QB_LOG_LEVEL", "INFO")
        .start();
    let address = kafka_address(&mut server);
    let corpus = corpus(KafkaPeer::connect(address));
    let mut behaved = Behaved { peer: KafkaPeer::connect(address), offset: 0 };
    for cycle in 1..=cycles {
        let mut chance = Chance::new(cycle);
        let streams: Vec<_> = (0..CONNECTIONS).map(|_| send(&mut chance, &corpus, address)).collect();
        behaved.check(&server);
        for mut stream in streams {
            let _reset = stream.read_to_end(&mut Vec::new());
        }
        behaved.check(&server);
    }
    say(&format!("{} kinds of requests, {cycles} rounds, {} MiB", corpus.len(), server.resident_bytes() >> 20));
    server.terminate();
}
