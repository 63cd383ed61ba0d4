//! Consumers of a group against the real server: what the library promises by name, members that come and go, and a
//! server that is killed under them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use wiber::client::{
    Client, ClientError, ClientOptions, Consumer, ConsumerMode, ConsumerOptions, ErrorCode, Offset, PartitionIndex,
    Producer, ProducerRecord, StartAt, TopicName, TopicPartition,
};

use super::proxy::Proxy;
use super::{PARTITIONS, TOPIC, bounded, producer_options, runtime, setup, to};
use crate::harness::{Chance, Server, Setup, a_moment, cycles};

/// Kills, unless `WIBER_CONSUMER_KILL_CYCLES` says otherwise.
const CYCLES: u64 = 4;

fn start() -> (tempfile::TempDir, Server) {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Setup::new(&directory.path().join("data")).start();
    (directory, server)
}

fn options(port: u16) -> ConsumerOptions {
    ConsumerOptions {
        client: ClientOptions { client_id: None, ..to(port) },
        poll_timeout: Duration::from_millis(50),
        retry_backoff: Duration::from_millis(5),
        retry_backoff_max: Duration::from_millis(100),
        ..ConsumerOptions::default()
    }
}

/// An application that knows the names of the calls and nothing else.
async fn plain(address: &str) -> Result<(), ClientError> {
    let producer = Producer::new(address).await?;
    producer.add_topic("plain").await?;
    producer.add_topic(String::from("plain")).await?;
    producer.send_message("plain", "before anybody subscribed").await?;

    let mut consumer = Consumer::new(address.to_string()).await?;
    assert!(matches!(consumer.subscribe("plain").await, Err(ClientError::NotInGroup)));
    consumer.join_consumer_group("g").await?;
    assert!(consumer.poll().await?.is_empty());
    consumer.subscribe("plain").await?;
    let text = String::from("text of a run-time kind");
    producer.send_message("plain", &text).await?;
    producer.send_message("plain", vec![0_u8, 255]).await?;
    producer.send_message(&String::from("plain"), bytes::Bytes::from_static(b"bytes")).await?;
    let mut values = Vec::new();
    while values.len() < 3 {
        values.extend(consumer.poll().await?);
    }
    assert_eq!(values, [text.as_bytes(), &[0, 255], b"bytes"]);
    consumer.unsubscribe("plain").await?;
    producer.send_message("plain", "nobody reads").await?;
    assert!(consumer.poll().await?.is_empty());
    consumer.leave_consumer_group().await?;
    consumer.leave_consumer_group().await?;
    producer.remove_topic("plain").await?;
    let error = producer.remove_topic("plain").await.expect_err("gone");
    assert_eq!(error.code(), Some(ErrorCode::UnknownTopic));
    consumer = Consumer::new(address).await?;
    consumer.join_consumer_group("g").await?;
    assert!(consumer.subscribe("plain").await.is_err());
    Ok(())
}

#[test]
fn what_is_promised_by_name() {
    let (_directory, server) = start();
    let address = server.address().to_string();
    runtime().block_on(bounded("the application", plain(&address))).expect("it works");
    let error = runtime().block_on(Producer::new("127.0.0.1:1")).expect_err("nobody there");
    assert!(matches!(error, ClientError::Unreachable { .. }));
}

#[test]
fn add_topic_takes_a_topic_as_it_is() {
    let (_directory, server) = start();
    let port = server.address().port();
    runtime().block_on(async {
        let client = Client::connect(to(port)).await.expect("connected");
        client.create_topic(TOPIC, Some(PARTITIONS), None).await.expect("created");
        let producer = Producer::new(producer_options(port)).await.expect("connected");
        producer.add_topic(TOPIC).await.expect("there already");
        assert!(producer.add_topic("no/name").await.is_err());
        assert!(producer.send_message("none", "x").await.is_err());
    });
}

/// How often each value came.
type Seen = Arc<Mutex<BTreeMap<u64, u32>>>;

/// Polls until it is told to stop.
fn consume(consumer: Consumer, seen: &Seen, stop: &tokio::sync::watch::Receiver<bool>) -> JoinHandle<Consumer> {
    let (seen, stop) = (Arc::clone(seen), stop.clone());
    tokio::spawn(async move {
        while !*stop.borrow() {
            let values = bounded("a poll", consumer.poll()).await.expect("polled");
            let mut seen = seen.lock().await;
            for value in values {
                let number = String::from_utf8(value.to_vec()).expect("text").parse().expect("a number");
                *seen.entry(number).or_default() += 1;
            }
        }
        consumer
    })
}

async fn member(options: ConsumerOptions) -> Consumer {
    let consumer = bounded("a connection", Consumer::new(options)).await.expect("connected");
    bounded("a join", consumer.join_consumer_group("g")).await.expect("joined");
    bounded("a subscription", consumer.subscribe(TOPIC)).await.expect("subscribed");
    consumer
}

async fn send(producer: &Producer, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let sent = producer.send(TOPIC, ProducerRecord::new(number.to_string()));
        bounded("room", sent).await.expect("taken");
    }
    bounded("a flush", producer.flush()).await.expect("stored");
}

async fn wait_for(seen: &Seen, count: usize) {
    let all = async {
        while seen.lock().await.len() < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    bounded("all records", all).await;
}

#[test]
fn members_come_and_go_and_every_record_comes_once() {
    let (_directory, server) = start();
    let port = server.address().port();
    runtime().block_on(async {
        let client = Client::connect(to(port)).await.expect("connected");
        client.create_topic(TOPIC, Some(8), None).await.expect("created");
        let producer = Producer::new(producer_options(port)).await.expect("connected");
        let (seen, (stop, stopped)) = (Seen::default(), tokio::sync::watch::channel(false));
        let first = consume(member(options(port)).await, &seen, &stopped);
        send(&producer, 0..500).await;
        let second = consume(member(options(port)).await, &seen, &stopped);
        send(&producer, 500..1000).await;
        let third = member(options(port)).await;
        let away = tokio::sync::watch::channel(false);
        let third = consume(third, &seen, &away.1);
        send(&producer, 1000..1500).await;
        away.0.send_replace(true);
        third.await.expect("no panic").leave_consumer_group().await.expect("left");
        send(&producer, 1500..2000).await;
        wait_for(&seen, 2000).await;
        stop.send_replace(true);
        for consumer in [first, second] {
            drop(consumer.await.expect("no panic"));
        }
        assert!(seen.lock().await.values().all(|count| *count == 1), "at most once");
    });
    server.terminate();
}

#[test]
fn the_promises_hold_though_the_server_is_killed() {
    for mode in [ConsumerMode::AtMostOnce, ConsumerMode::AtLeastOnce] {
        let directory = tempfile::tempdir().expect("a directory");
        let setup = setup(&directory.path().join("data"));
        let mut server = setup.start();
        let runtime = runtime();
        let proxy = runtime.block_on(Proxy::start(server.address()));
        let (seen, (stop, stopped)) = (Seen::default(), tokio::sync::watch::channel(false));
        let (producer, members) = runtime.block_on(async {
            let client = Client::connect(to(proxy.port)).await.expect("connected");
            client.create_topic(TOPIC, Some(4), None).await.expect("created");
            let producer = Producer::new(producer_options(proxy.port)).await.expect("connected");
            let mut members = Vec::new();
            for _ in 0..2 {
                let options = ConsumerOptions { mode, ..options(proxy.port) };
                members.push(consume(member(options).await, &seen, &stopped));
            }
            (producer, members)
        });
        let mut chance = Chance::new(11);
        let mut sent = 0;
        for _ in 0..cycles("WIBER_CONSUMER_KILL_CYCLES", CYCLES) {
            let sending = runtime.spawn({
                let producer = producer.clone();
                async move { send(&producer, sent..sent + 300).await }
            });
            sent += 300;
            a_moment(&mut chance, 50);
            server.kill();
            server = setup.start();
            proxy.lead_to(server.address());
            runtime.block_on(sending).expect("no panic");
        }
        runtime.block_on(async {
            // At most once, what was about to be handed out at a kill may be gone: its position had moved.
            send(&producer, sent..sent + 300).await;
            let first = if mode == ConsumerMode::AtMostOnce { sent } else { 0 };
            let all = async {
                while seen.lock().await.range(first..sent + 300).count() as u64 != sent + 300 - first {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            bounded("all records", all).await;
            stop.send_replace(true);
            for member in members {
                let consumer = member.await.expect("no panic");
                bounded("a farewell", consumer.leave_consumer_group()).await.expect("left");
            }
            let twice = seen.lock().await.values().filter(|count| **count > 1).count();
            assert!(mode == ConsumerMode::AtLeastOnce || twice == 0, "{twice} came twice");
        });
        server.terminate();
    }
}

#[test]
fn a_group_begins_where_it_is_told_and_goes_on_where_it_stood() {
    let (_directory, server) = start();
    let port = server.address().port();
    runtime().block_on(async {
        let client = Client::connect(to(port)).await.expect("connected");
        client.create_topic(TOPIC, Some(2), None).await.expect("created");
        let producer = Producer::new(producer_options(port)).await.expect("connected");
        send(&producer, 0..10).await;
        let (seen, (stop, stopped)) = (Seen::default(), tokio::sync::watch::channel(false));
        let consumer = member(ConsumerOptions { start: StartAt::Begin, ..options(port) }).await;
        let group = client.describe_group("g").await.expect("described");
        assert_eq!((group.members.len(), group.members[0].member.clone()), (1, consumer.member().expect("a member")));
        let reading = consume(consumer, &seen, &stopped);
        wait_for(&seen, 10).await;
        stop.send_replace(true);
        let consumer = reading.await.expect("no panic");
        let first = TopicPartition { topic: TopicName::new(TOPIC).expect("valid"), partition: PartitionIndex(0) };
        let back = [(first, Offset::ZERO)];
        assert_eq!(client.reset_group("g", &back).await.expect_err("a member").code(), Some(ErrorCode::GroupNotEmpty));
        consumer.leave_consumer_group().await.expect("left");
        send(&producer, 10..20).await;
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let reading = consume(member(options(port)).await, &seen, &stopped);
        wait_for(&seen, 20).await;
        stop.send_replace(true);
        reading.await.expect("no panic").leave_consumer_group().await.expect("left");
        assert!(seen.lock().await.values().all(|count| *count == 1));
        assert_eq!(client.groups().await.expect("listed").len(), 1);
        client.delete_group("g").await.expect("deleted");
        assert_eq!(client.describe_group("g").await.expect_err("gone").code(), Some(ErrorCode::UnknownGroup));
    });
    server.terminate();
}
