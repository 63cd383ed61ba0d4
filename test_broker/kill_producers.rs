//! `kill -9` under the library's producers, which try again until a record is stored: whatever the server's end did to
//! batches, answers and connections, each record is there once, and in the order of its producer. Read by frames of the
//! tests' own, to the log's end.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use wiber::client::{
    AckLevel, ClientOptions, Compression, Delivery, PartitionIndex, Producer, ProducerOptions, ProducerRecord,
};

use crate::client_library::proxy::Proxy;
use crate::harness::peer::{DATA, LIST_OFFSETS, Peer, frame};
use crate::harness::{BOUND, Chance, Server, Setup, a_moment, cycles, delete_derived, say};

/// Kills, unless `WIBER_KILL_CYCLES` says otherwise.
const CYCLES: u64 = 30;
const PARTITIONS: u32 = 3;
const TOPIC: &str = "load";
/// Records acknowledged between two kills, at least.
const PROGRESS: u64 = 400;
/// The longest time after that before the blow.
const LIFE_MS_MAX: u64 = 40;
/// A kill takes nothing that was written: what `storage.sync` says makes no difference to it.
const SYNC_MODES: [&str; 3] = ["always", "interval", "os"];

/// The producers, each of another kind.
fn kinds() -> Vec<ProducerOptions> {
    let kind = |compression, ack, in_flight, linger_ms, batch_records| ProducerOptions {
        compression,
        ack,
        in_flight,
        linger: Duration::from_millis(linger_ms),
        batch_records,
        delivery_timeout: BOUND * 4,
        retry_backoff: Duration::from_millis(5),
        retry_backoff_max: Duration::from_millis(50),
        ..ProducerOptions::default()
    };
    vec![
        kind(Compression::None, None, 5, 0, 7),
        kind(Compression::Lz4, Some(AckLevel::Leader), 5, 1, 50),
        kind(Compression::Zstd, Some(AckLevel::Durable), 5, 2, 20),
        kind(Compression::Gzip, None, 1, 0, 3),
        kind(Compression::Snappy, Some(AckLevel::Leader), 2, 5, 1_000),
    ]
}

/// One producer at work.
#[derive(Debug)]
struct Work {
    number: usize,
    stop: watch::Receiver<bool>,
    acknowledged: watch::Sender<u64>,
}

/// Where a record of a producer was stored.
type Stored = BTreeMap<(u32, u64), String>;

impl Work {
    /// Sends numbered records until told to stop; returns where each was stored.
    async fn run(self, producer: Producer) -> Stored {
        let (sent, mut sending) = mpsc::channel::<(String, Delivery)>(2_000);
        let waiting = tokio::spawn(async move {
            let mut stored = Stored::new();
            while let Some((value, delivery)) = sending.recv().await {
                let position = delivery.await.unwrap_or_else(|error| panic!("{value}: {error}"));
                let other = stored.insert((position.partition.0, position.offset.get()), value.clone());
                assert_eq!(other, None, "{value} was stored where another is: {position:?}");
                self.acknowledged.send_modify(|count| *count += 1);
            }
            stored
        });
        let mut chance = Chance::new(self.number as u64);
        for count in 0_u64.. {
            if *self.stop.borrow() {
                break;
            }
            let value =
                format!("{} {count} {}", self.number, "x".repeat(usize::try_from(chance.below(300)).expect("small")));
            let partition = u32::try_from(chance.below(PARTITIONS.into())).expect("small");
            let record = ProducerRecord::new(value.clone()).partition(PartitionIndex(partition));
            let delivery = producer.send(TOPIC, record).await.expect("room");
            sent.send((value, delivery)).await.expect("somebody waits");
        }
        drop(sent);
        producer.flush().await.expect("everything is stored");
        waiting.await.expect("no panic")
    }
}

#[test]
fn what_producers_send_is_stored_once_and_in_order() {
    let directory = tempfile::tempdir().expect("a directory");
    let data_dir = directory.path().join("data");
    let setup = Setup::new(&data_dir)
        .set("QB_STORAGE__MAX_LOG_SIZE", "2000000")
        .set("QB_SNAPSHOT_INTERVAL", "1")
        .set("QB_LOG_LEVEL", "INFO")
        .expect_line("a torn tail was cut off")
        .expect_line("an acknowledged record survives a crash of the server, but");
    let mut server = setup.start();
    Peer::connect(&server).create(TOPIC, PARTITIONS);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let proxy = runtime.block_on(Proxy::start(server.address()));
    let (stop, stopped) = watch::channel(false);
    let (count, mut counted) = watch::channel(0);
    let mut at_work = Vec::new();
    for (number, options) in kinds().into_iter().enumerate() {
        let client = ClientOptions { port: proxy.port, ..ClientOptions::default() };
        let producer = runtime.block_on(Producer::new(ProducerOptions { client, ..options })).expect("connected");
        let work = Work { number, stop: stopped.clone(), acknowledged: count.clone() };
        at_work.push(runtime.spawn(work.run(producer)));
    }
    let mut chance = Chance::new(9);
    let cycles = cycles("WIBER_KILL_CYCLES", CYCLES);
    let mut bare_starts = 0;
    for cycle in 1..=cycles {
        let wanted = *counted.borrow() + PROGRESS;
        let progress = counted.wait_for(|count| *count >= wanted);
        let progressed = runtime.block_on(async { tokio::time::timeout(BOUND, progress).await.is_ok() });
        assert!(progressed, "the producers stand still before kill {cycle}");
        a_moment(&mut chance, LIFE_MS_MAX);
        server.kill();
        if chance.below(4) == 0 {
            assert!(delete_derived(&data_dir) > 0);
            bare_starts += 1;
        }
        let mode = SYNC_MODES[usize::try_from(cycle % 3).expect("small")];
        server = setup.clone().set("QB_STORAGE__SYNC", mode).start();
        proxy.lead_to(server.address());
    }
    stop.send_replace(true);
    let stored: Vec<Stored> = at_work.into_iter().map(|work| runtime.block_on(work).expect("no panic")).collect();
    let (acknowledged, found) = (stored.iter().map(BTreeMap::len).sum::<usize>(), check(&server, &stored));
    server.terminate();
    say(&format!(
        "{cycles} kills, {bare_starts} starts without snapshots and indexes; {acknowledged} records of {} producers \
         acknowledged, {found} found",
        stored.len()
    ));
}

/// Reads every partition to its end: each record stored is at its place, none is there that was not sent, none twice,
/// and those of one producer keep their order. Returns how many there are.
fn check(server: &Server, stored: &[Stored]) -> usize {
    let mut found = 0;
    for partition in 0..PARTITIONS {
        let text = partition.to_string();
        let place = [("topic", TOPIC), ("partition", &*text)];
        let mut reader = Peer::connect(server);
        let end = reader.ask(&frame(LIST_OFFSETS, 1, &place)).number("log_end").cast_unsigned();
        reader.subscribe(TOPIC, &[("partition", &text)]);
        let mut last = vec![None; stored.len()];
        for offset in 0..end {
            let data = reader.next();
            assert_eq!((data.kind, data.sequence), (DATA, offset), "partition {partition}");
            let value = String::from_utf8(data.body).expect("text");
            let mut numbers = value.split(' ').map(|part| part.parse::<u64>());
            let mut number = || numbers.next().and_then(Result::ok).unwrap_or_else(|| panic!("{value:?} was not sent"));
            let (producer, count) = (usize::try_from(number()).expect("small"), number());
            assert!(
                last[producer] < Some(count),
                "{count} after {:?} of producer {producer} at {partition}:{offset}",
                last[producer]
            );
            last[producer] = Some(count);
            assert_eq!(stored[producer].get(&(partition, offset)), Some(&value), "at {partition}:{offset}");
            found += 1;
        }
        reader.is_alive();
    }
    assert_eq!(found, stored.iter().map(BTreeMap::len).sum::<usize>(), "every record acknowledged is there");
    found
}
