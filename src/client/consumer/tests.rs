//! Tests of the consumer against a stand-in for a broker.

use std::collections::BTreeMap;

use super::super::stand_in::scripted::Scripted;
use super::*;
use crate::client::ClientOptions;
use crate::protocol::native::ErrorCode;

const BOUND: Duration = Duration::from_secs(60);

fn options(broker: &Scripted) -> ConsumerOptions {
    ConsumerOptions {
        client: ClientOptions { port: broker.port, ..ClientOptions::default() },
        poll_timeout: Duration::from_millis(20),
        retry_backoff: Duration::from_millis(2),
        retry_backoff_max: Duration::from_millis(20),
        ..ConsumerOptions::default()
    }
}

async fn joined(options: ConsumerOptions) -> Consumer {
    let consumer = Consumer::new(options).await.expect("connected");
    consumer.join_consumer_group("g").await.expect("joined");
    consumer.subscribe("t").await.expect("subscribed");
    consumer
}

/// Polls until something comes.
async fn some(consumer: &Consumer) -> Vec<Record> {
    let polled = async {
        loop {
            let records = consumer.poll_records().await.expect("polled");
            if !records.is_empty() {
                return records;
            }
        }
    };
    timeout(BOUND, polled).await.expect("records")
}

/// Polls consumers in turn until so many records have come; how often each came.
async fn seen(consumers: &[&Consumer], count: usize) -> BTreeMap<(u32, u64), usize> {
    let mut seen = BTreeMap::new();
    let polled = async {
        while seen.len() < count {
            for consumer in consumers {
                for record in consumer.poll_records().await.expect("polled") {
                    *seen.entry((record.partition.0, record.offset.get())).or_default() += 1;
                }
            }
        }
    };
    timeout(BOUND, polled).await.expect("records");
    seen
}

/// Waits until the consumers own so many partitions.
async fn owning(consumers: &[(&Consumer, usize)]) {
    let owned = async {
        while consumers.iter().any(|(consumer, count)| consumer.assignment().len() != *count) {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(BOUND, owned).await.expect("owned");
}

#[tokio::test]
async fn without_a_group_there_is_nothing_to_subscribe_to() {
    let broker = Scripted::start(1, &[]).await;
    let consumer = Consumer::new(format!("127.0.0.1:{}", broker.port)).await.expect("connected");
    assert!(matches!(consumer.subscribe("t").await, Err(ClientError::NotInGroup)));
    assert!(matches!(consumer.poll().await, Err(ClientError::NotInGroup)));
    consumer.leave_consumer_group().await.expect("nothing to leave");
    consumer.join_consumer_group("g").await.expect("joined");
    consumer.join_consumer_group("g").await.expect("still joined");
    let error = consumer.join_consumer_group("h").await.expect_err("in another");
    assert!(matches!(error, ClientError::InAnotherGroup { group } if group == "g"));
    let error = consumer.subscribe("u").await.expect_err("no such topic");
    assert_eq!(error.code(), Some(ErrorCode::UnknownTopic));
    consumer.leave_consumer_group().await.expect("left");
    assert!(broker.group("g", |group| group.members()).is_empty());
    consumer.leave_consumer_group().await.expect("left already");
    let quick = Consumer::new(options(&broker)).await.expect("connected");
    quick.join_consumer_group("g").await.expect("joined");
    assert!(quick.poll().await.expect("polled").is_empty(), "subscribed to nothing");
}

#[tokio::test]
async fn what_was_published_before_does_not_come_and_what_follows_comes_once() {
    let broker = Scripted::start(3, &[]).await;
    for partition in 0..3 {
        broker.store(partition, "old");
    }
    let consumer = joined(options(&broker)).await;
    assert!(consumer.poll().await.expect("polled").is_empty());
    for number in 0..6 {
        broker.store(number % 3, &number.to_string());
    }
    let seen = seen(&[&consumer], 6).await;
    assert!(seen.iter().all(|((_, offset), count)| *offset >= 1 && *count == 1), "{seen:?}");
    assert_eq!(broker.position("g", 0), Some(3));
    consumer.unsubscribe("t").await.expect("unsubscribed");
    broker.store(0, "late");
    assert!(consumer.poll().await.expect("polled").is_empty());
    drop(consumer);
    let again = joined(options(&broker)).await;
    assert_eq!(some(&again).await[0].value.as_deref(), Some(&b"late"[..]), "the group has a position");
}

#[tokio::test]
async fn members_share_and_none_comes_twice_whoever_comes_and_goes() {
    let broker = Scripted::start(4, &[]).await;
    let first = joined(options(&broker)).await;
    let mut stored = 0;
    let mut store = |count: usize| {
        for _ in 0..count {
            broker.store(stored % 4, &stored.to_string());
            stored += 1;
        }
    };
    owning(&[(&first, 4)]).await;
    store(40);
    let second = joined(options(&broker)).await;
    owning(&[(&first, 2), (&second, 2)]).await;
    store(40);
    let third = joined(options(&broker)).await;
    broker.cut();
    store(40);
    let early = seen(&[&first, &second, &third], 60).await;
    second.leave_consumer_group().await.expect("left");
    drop(third);
    owning(&[(&first, 4)]).await;
    let late = seen(&[&first], 120 - early.len()).await;
    assert!(early.values().chain(late.values()).all(|count| *count == 1));
    assert!(early.keys().all(|place| !late.contains_key(place)), "twice");
}

#[tokio::test]
async fn one_that_the_group_has_forgotten_comes_back_and_repeats_nothing() {
    for mode in [ConsumerMode::AtMostOnce, ConsumerMode::AtLeastOnce] {
        let broker = Scripted::start(2, &[]).await;
        let consumer = joined(ConsumerOptions { mode, ..options(&broker) }).await;
        let before = consumer.member();
        for number in 0..20 {
            broker.store(number % 2, &number.to_string());
        }
        let early = seen(&[&consumer], 10).await;
        assert!(consumer.poll().await.expect("polled").len() <= 20);
        let early = early.len();
        let old = before.clone().expect("a member");
        broker.group("g", |group| group.leave(&old));
        let came_back = async {
            while consumer.member().is_none() || consumer.member() == before {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(BOUND, came_back).await.expect("a new member");
        broker.store(0, "new");
        let mut values = Vec::new();
        while !values.iter().any(|value| value == "new") {
            values.extend(consumer.poll().await.expect("polled"));
        }
        assert!(early <= 20 && (mode == ConsumerMode::AtLeastOnce || values.len() <= 11));
    }
}

#[tokio::test]
async fn at_least_once_what_was_not_dealt_with_comes_again() {
    let broker = Scripted::start(1, &[]).await;
    let careful = || ConsumerOptions { mode: ConsumerMode::AtLeastOnce, poll_records: 3, ..options(&broker) };
    let consumer = joined(careful()).await;
    for number in 0..10 {
        broker.store(0, &number.to_string());
    }
    assert_eq!(seen(&[&consumer], 3).await.len(), 3);
    let second = some(&consumer).await;
    assert_eq!((second[0].offset.get(), broker.position("g", 0)), (3, Some(3)));
    drop(consumer);
    let consumer = joined(careful()).await;
    assert_eq!(some(&consumer).await[0].offset.get(), 3, "again");
    consumer.leave_consumer_group().await.expect("left");
    assert_eq!(broker.position("g", 0), Some(6), "leaving keeps what was handed out");
    let manual = joined(ConsumerOptions { mode: ConsumerMode::Manual, ..careful() }).await;
    some(&manual).await;
    some(&manual).await;
    assert_eq!(broker.position("g", 0), Some(6));
    manual.commit().await.expect("kept");
    assert_eq!(broker.position("g", 0), Some(10));
}

#[tokio::test]
async fn a_partition_with_unfinished_records_goes_when_they_are_dealt_with() {
    let broker = Scripted::start(2, &[]).await;
    let careful = || ConsumerOptions { mode: ConsumerMode::AtLeastOnce, ..options(&broker) };
    let first = joined(careful()).await;
    broker.store(0, "a");
    broker.store(1, "b");
    let early = seen(&[&first], 2).await;
    assert_eq!(early.len(), 2);
    for number in 0..4 {
        broker.store(number % 2, "more");
    }
    some(&first).await;
    let second = joined(careful()).await;
    owning(&[(&first, 1)]).await;
    assert!(second.poll().await.expect("polled").is_empty(), "not finished yet");
    let late = seen(&[&first, &second], 0).await;
    assert!(late.is_empty());
    first.poll().await.expect("polled");
    owning(&[(&first, 1), (&second, 1)]).await;
    broker.store(1, "last");
    let last = some(&second).await;
    assert_eq!(last[0].value.as_deref(), Some(&b"last"[..]), "what the first dealt with does not come again");
}

#[tokio::test]
async fn a_poll_that_is_broken_off_loses_nothing() {
    let broker = Scripted::start(1, &[]).await;
    let consumer = joined(options(&broker)).await;
    let mut seen = Vec::new();
    for number in 0..50 {
        broker.store(0, &number.to_string());
        tokio::select! {
            biased;
            values = consumer.poll() => seen.extend(values.expect("polled")),
            () = async { for _ in 0..number % 7 { tokio::task::yield_now().await } } => {}
        }
    }
    while seen.len() < 50 {
        seen.extend(consumer.poll().await.expect("polled"));
    }
    let expected: Vec<String> = (0..50).map(|number| number.to_string()).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn from_the_beginning_where_that_is_asked_for() {
    let broker = Scripted::start(2, &[]).await;
    broker.store(0, "a");
    broker.store(1, "b");
    let consumer = joined(ConsumerOptions { start: StartAt::Begin, ..options(&broker) }).await;
    assert_eq!(seen(&[&consumer], 2).await.len(), 2);
    let mut assignments = consumer.assignments().expect("joined");
    assert_eq!(assignments.now().len(), 2);
    consumer.unsubscribe("t").await.expect("unsubscribed");
    assert_eq!(timeout(BOUND, assignments.changed()).await.expect("changed").map(|now| now.len() < 2), Some(true));
}

#[test]
fn patterns() {
    let check = |pattern: &str, name: &str, expected: bool| {
        assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
    };
    check("logs", "logs", true);
    check("logs", "logs2", false);
    check("logs.*", "logs.a", true);
    check("logs.*", "log.a", false);
    check("*", "anything", true);
    check("a*a", "a", false);
    check("a*b*c", "a-b-b-c", true);
    check("a*b*c", "a-c-b", false);
}
