//! Random lives of a group's members against the real server: they join, leave, die without a word, are suspended for longer
//! than their session, come back as the living dead; producers publish meanwhile and the server is killed. At least once
//! everything is handed out; at most once nothing twice; and the group's position never goes back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use wiber::client::{
    Client, ClientOptions, Consumer, ConsumerMode, ConsumerOptions, Offset, OffsetsQuery, PartitionIndex, Producer,
    ProducerRecord, StartAt,
};

use super::proxy::Proxy;
use super::{bounded, producer_options, runtime, setup, to};
use crate::harness::{BOUND, Chance, a_moment, cycles};

const TOPIC: &str = "orders";
const PARTITIONS: u32 = 6;
const MEMBERS: u64 = 4;
/// Kills of the server, unless `WIBER_GROUP_KILL_CYCLES` says otherwise.
const CYCLES: u64 = 3;
/// Records that are handed out between two kills, at least.
const PROGRESS: usize = 200;

/// What was handed out, in the order in which each member got it.
type Seen = Arc<Mutex<Vec<u64>>>;

struct World {
    port: u16,
    mode: ConsumerMode,
    seen: Seen,
    /// Members live and die as they like until then.
    is_settling: AtomicBool,
    is_over: AtomicBool,
    deaths: AtomicUsize,
    pauses: AtomicUsize,
}

fn options(world: &World) -> ConsumerOptions {
    ConsumerOptions {
        client: ClientOptions { client_id: None, ..to(world.port) },
        mode: world.mode,
        start: StartAt::Begin,
        poll_timeout: Duration::from_millis(20),
        poll_records: 20,
        session_timeout: Duration::from_secs(1),
        rebalance_timeout: Duration::from_secs(2),
        retry_backoff: Duration::from_millis(5),
        retry_backoff_max: Duration::from_millis(100),
        ..ConsumerOptions::default()
    }
}

/// A member and all its tasks on one thread: while that does something else, nothing of it lives.
fn alone() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

async fn try_join(world: &World) -> Option<Consumer> {
    let consumer = Consumer::new(options(world)).await.ok()?;
    consumer.join_consumer_group("g").await.ok()?;
    consumer.subscribe(TOPIC).await.ok()?;
    Some(consumer)
}

/// One member after another.
fn live(world: &World, mut chance: Chance) {
    while !world.is_over.load(Ordering::Relaxed) {
        let runtime = alone();
        let Some(consumer) = runtime.block_on(bounded("a join", try_join(world))) else { continue };
        loop {
            // What a poll brings counts as dealt with when the next one comes.
            let Ok(records) = runtime.block_on(bounded("a poll", consumer.poll_records())) else { break };
            let numbers = records
                .iter()
                .map(|record| String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).parse());
            world.seen.lock().expect("whole").extend(numbers.map(|number| number.unwrap_or(u64::MAX)));
            if world.is_over.load(Ordering::Relaxed) {
                break;
            }
            if world.is_settling.load(Ordering::Relaxed) {
                continue;
            }
            match chance.below(60) {
                0 => {
                    // Suspended, mostly for longer than its session.
                    world.pauses.fetch_add(1, Ordering::Relaxed);
                    a_moment(&mut chance, 3_000);
                }
                1 | 2 => {
                    let _left = runtime.block_on(bounded("a leave", consumer.leave_consumer_group()));
                    break;
                }
                3 | 4 => {
                    world.deaths.fetch_add(1, Ordering::Relaxed);
                    std::mem::forget(consumer);
                    runtime.shutdown_background();
                    break;
                }
                _ => {}
            }
        }
        a_moment(&mut chance, 50);
    }
}

/// Sends numbered records until members settle; how many are stored.
async fn produce(world: &World) -> u64 {
    let producer = Producer::new(producer_options(world.port)).await.expect("connected");
    let mut number = 0;
    while !world.is_settling.load(Ordering::Relaxed) {
        for _ in 0..10 {
            bounded("room", producer.send(TOPIC, ProducerRecord::new(number.to_string()))).await.expect("taken");
            number += 1;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bounded("a flush", producer.flush()).await.expect("stored");
    number
}

/// Sees that no position of the group goes back; where they are in the end.
async fn watch(world: &World) -> BTreeMap<u32, Offset> {
    let query = OffsetsQuery { group: Some("g".to_owned()), ..OffsetsQuery::default() };
    let mut positions = BTreeMap::new();
    while !world.is_over.load(Ordering::Relaxed) {
        let Ok(client) = Client::connect(to(world.port)).await else { continue };
        for partition in (0..PARTITIONS).cycle() {
            let Ok(offsets) = client.list_offsets(TOPIC, PartitionIndex(partition), &query).await else { break };
            if let Some(committed) = offsets.committed {
                let before = positions.insert(partition, committed);
                assert!(
                    before.is_none_or(|before| before <= committed),
                    "{partition} went back: {before:?} {committed:?}"
                );
            }
            if world.is_over.load(Ordering::Relaxed) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    positions
}

fn check(mode: ConsumerMode, seed: u64) {
    let directory = tempfile::tempdir().expect("a directory");
    let setup = setup(&directory.path().join("data"));
    let first = setup.start();
    let runtime = runtime();
    let proxy = runtime.block_on(Proxy::start(first.address()));
    let world = World {
        port: proxy.port,
        mode,
        seen: Seen::default(),
        is_settling: AtomicBool::new(false),
        is_over: AtomicBool::new(false),
        deaths: AtomicUsize::new(0),
        pauses: AtomicUsize::new(0),
    };
    runtime.block_on(async {
        let client = Client::connect(to(world.port)).await.expect("connected");
        client.create_topic(TOPIC, Some(PARTITIONS), None).await.expect("created");
    });
    let mut chance = Chance::new(seed);
    let (stored, positions, server) = std::thread::scope(|scope| {
        let mut server = first;
        let _over = OnEnd(&world);
        for number in 0..MEMBERS {
            let (world, chance) = (&world, Chance::new(seed + number + 1));
            scope.spawn(move || live(world, chance));
        }
        let producing = scope.spawn(|| runtime.block_on(produce(&world)));
        let watching = scope.spawn(|| runtime.block_on(watch(&world)));
        for _ in 0..cycles("WIBER_GROUP_KILL_CYCLES", CYCLES) {
            let before = world.seen.lock().expect("whole").len();
            wait_until(&world, "records between two kills", |seen| seen.len() >= before + PROGRESS);
            a_moment(&mut chance, 1_000);
            server.kill();
            server = setup.start();
            proxy.lead_to(server.address());
        }
        world.is_settling.store(true, Ordering::Relaxed);
        let stored = producing.join().expect("produced");
        match mode {
            ConsumerMode::AtMostOnce => wait_for_end(&runtime, &world),
            ConsumerMode::AtLeastOnce | ConsumerMode::Manual => {
                wait_until(&world, "every record", |seen| seen.iter().collect::<BTreeSet<_>>().len() as u64 >= stored)
            }
        }
        world.is_over.store(true, Ordering::Relaxed);
        (stored, watching.join().expect("watched"), server)
    });
    let seen = world.seen.lock().expect("whole");
    let once: BTreeSet<_> = seen.iter().copied().collect();
    assert!(once.iter().all(|number| *number < stored), "what was never published");
    match mode {
        ConsumerMode::AtMostOnce => assert_eq!(once.len(), seen.len(), "handed out twice"),
        ConsumerMode::AtLeastOnce | ConsumerMode::Manual => assert_eq!(once.len() as u64, stored, "not handed out"),
    }
    crate::harness::say(&format!(
        "{mode:?}: {stored} records, {} handed out, {} of them again, {} deaths, {} pauses, positions {positions:?}",
        seen.len(),
        seen.len() - once.len(),
        world.deaths.load(Ordering::Relaxed),
        world.pauses.load(Ordering::Relaxed),
    ));
    server.terminate();
}

/// Ends the members also where the test fails.
struct OnEnd<'a>(&'a World);

impl Drop for OnEnd<'_> {
    fn drop(&mut self) {
        self.0.is_settling.store(true, Ordering::Relaxed);
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

fn wait_until(world: &World, what: &str, holds: impl Fn(&[u64]) -> bool) {
    alone().block_on(async {
        let waiting = async {
            while !holds(&world.seen.lock().expect("whole")) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(tokio::time::timeout(BOUND, waiting).await.is_ok(), "{what} take too long");
    });
}

/// Waits until the group has read everything.
fn wait_for_end(runtime: &Runtime, world: &World) {
    runtime.block_on(bounded("the end", async {
        let client = Client::connect(to(world.port)).await.expect("connected");
        while client
            .describe_group("g")
            .await
            .expect("described")
            .partitions
            .iter()
            .any(|partition| partition.lag != Some(0))
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }));
}

#[test]
fn at_least_once_everything_is_handed_out() {
    check(ConsumerMode::AtLeastOnce, 21);
}

#[test]
fn at_most_once_nothing_is_handed_out_twice() {
    check(ConsumerMode::AtMostOnce, 42);
}
