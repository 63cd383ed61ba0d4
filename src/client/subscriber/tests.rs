//! Tests of the subscriber against a stand-in for a broker.

use std::time::Duration;

use super::super::stand_in::scripted::Scripted;
use super::*;
use crate::client::{ClientOptions, PartitionIndex};
use crate::protocol::native::{ErrorCode, StartAt};

const BOUND: Duration = Duration::from_secs(60);

fn options(broker: &Scripted) -> SubscriberOptions {
    SubscriberOptions {
        client: ClientOptions { port: broker.port, client_id: Some("c".to_owned()), ..ClientOptions::default() },
        metadata_refresh: Duration::from_millis(20),
        commit_interval: Duration::from_millis(5),
        retry_backoff: Duration::from_millis(2),
        retry_backoff_max: Duration::from_millis(20),
        ..SubscriberOptions::default()
    }
}

async fn stored(partitions: usize, count: usize) -> Scripted {
    let broker = Scripted::start(partitions, &[]).await;
    for number in 0..count {
        broker.store(number % partitions, &number.to_string());
    }
    broker
}

async fn next(subscriber: &mut Subscriber) -> Record {
    let item = tokio::time::timeout(BOUND, subscriber.next()).await.expect("an item");
    item.expect("open").expect("a record")
}

/// Reads this many records and checks that each partition's come without gap from an offset on.
async fn read(subscriber: &mut Subscriber, count: usize, from: &mut [u64]) -> Vec<Record> {
    let mut records = Vec::new();
    for _ in 0..count {
        let record = next(subscriber).await;
        let expected = &mut from[record.partition.0 as usize];
        assert_eq!(record.offset.get(), *expected);
        *expected += 1;
        records.push(record);
    }
    records
}

#[tokio::test]
async fn everything_comes_once_and_in_order_though_the_connection_is_lost() {
    for buffer_bytes in [1, 300, 1 << 20] {
        let broker = stored(3, 30).await;
        let options = SubscriberOptions { buffer_bytes, ..options(&broker) };
        let mut subscriber = Subscriber::subscribe(options, "t").await.expect("subscribed");
        let mut from = [0; 3];
        read(&mut subscriber, 10, &mut from).await;
        broker.cut();
        read(&mut subscriber, 20, &mut from).await;
        for number in 30..60 {
            broker.store(number % 3, &number.to_string());
            if number % 10 == 0 {
                broker.cut();
            }
        }
        let last = read(&mut subscriber, 30, &mut from).await;
        assert!(last.iter().any(|record| record.value.as_deref() == Some(b"59")));
        assert_eq!(from, [20; 3]);
        assert!(broker.connections() > 1);
        assert_eq!(subscriber.skipped(), 0);
    }
}

#[tokio::test]
async fn what_was_not_committed_comes_again() {
    let broker = stored(1, 10).await;
    let careful =
        || SubscriberOptions { mode: DeliveryMode::AtLeastOnce, start: StartAt::Committed, ..options(&broker) };
    let mut subscriber = Subscriber::subscribe(careful(), "t").await.expect("subscribed");
    let records = read(&mut subscriber, 6, &mut [0]).await;
    assert_eq!(subscriber.commit(&records[2]).await.expect("kept").get(), 3);
    assert_eq!(subscriber.commit(&records[1]).await.expect("never back").get(), 3);
    drop(subscriber);
    let mut subscriber = Subscriber::subscribe(careful(), "t").await.expect("subscribed");
    let records = read(&mut subscriber, 4, &mut [3]).await;
    broker.cut();
    subscriber.commit_async(&records[3]);
    subscriber.commit_async(&records[0]);
    subscriber.close().await.expect("kept");
    assert_eq!(broker.committed("c", 0), Some(7));
    let mut subscriber = Subscriber::subscribe(careful(), "t").await.expect("subscribed");
    let record = next(&mut subscriber).await;
    assert_eq!(record.offset.get(), 7);
    subscriber.commit_async(&record);
    drop(subscriber);
    while broker.committed("c", 0) != Some(8) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_commit_is_answered_while_nobody_reads_on() {
    let broker = stored(1, 50).await;
    let options = SubscriberOptions { mode: DeliveryMode::AtLeastOnce, buffer_bytes: 1, ..options(&broker) };
    let mut subscriber = Subscriber::subscribe(options, "t").await.expect("subscribed");
    let record = next(&mut subscriber).await;
    let kept = tokio::time::timeout(BOUND, subscriber.commit(&record)).await.expect("answered");
    assert_eq!(kept.expect("kept").get(), 1);
}

#[tokio::test]
async fn chosen_partitions_alone_or_all_with_those_to_come() {
    let broker = stored(3, 30).await;
    let only = SubscriberOptions { partitions: Partitions::Only(vec![PartitionIndex(1)]), ..options(&broker) };
    let mut subscriber = Subscriber::subscribe(only.clone(), "t").await.expect("subscribed");
    assert!(read(&mut subscriber, 10, &mut [0; 3]).await.iter().all(|record| record.partition.0 == 1));
    let strange = SubscriberOptions { partitions: Partitions::Only(vec![PartitionIndex(3)]), ..only };
    let error = Subscriber::subscribe(strange, "t").await.expect_err("no such partition");
    assert_eq!(error.code(), Some(ErrorCode::UnknownPartition));
    let end = SubscriberOptions { start: StartAt::End, ..options(&broker) };
    let mut subscriber = Subscriber::subscribe(end, "t").await.expect("subscribed");
    broker.grow();
    broker.store(3, "new");
    let record = next(&mut subscriber).await;
    assert_eq!((record.partition.0, record.offset.get()), (3, 0));
    assert_eq!(record.value.as_deref(), Some(&b"new"[..]));
}

#[tokio::test]
async fn records_that_are_gone_are_passed_over_or_end_the_stream() {
    let from = |broker: &Scripted, out_of_range| SubscriberOptions {
        start: StartAt::Offset(Offset::new(2).expect("small")),
        out_of_range,
        ..options(broker)
    };
    let broker = stored(1, 10).await;
    broker.retain_from(0, 5);
    let mut subscriber = Subscriber::subscribe(from(&broker, OutOfRange::Earliest), "t").await.expect("subscribed");
    read(&mut subscriber, 5, &mut [5]).await;
    assert_eq!(subscriber.skipped(), 3);
    let error = Subscriber::subscribe(from(&broker, OutOfRange::Fail), "t").await.expect_err("gone");
    assert!(matches!(error, ClientError::RecordsGone { .. }), "{error}");
    let mut subscriber = Subscriber::subscribe(from(&broker, OutOfRange::Latest), "t").await.expect("subscribed");
    broker.store(0, "x");
    read(&mut subscriber, 1, &mut [10]).await;
    let mut subscriber = Subscriber::subscribe(options(&broker), "t").await.expect("subscribed");
    read(&mut subscriber, 6, &mut [5]).await;
    assert_eq!(subscriber.skipped(), 0, "from the beginning nothing is missed");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_at_once() {
    let broker = stored(1, 0).await;
    let error = Subscriber::subscribe(options(&broker), "u").await.expect_err("no such topic");
    assert_eq!(error.code(), Some(ErrorCode::UnknownTopic));
    let nameless = ClientOptions { client_id: None, ..options(&broker).client };
    for wrong in [
        SubscriberOptions { start: StartAt::Committed, client: nameless.clone(), ..options(&broker) },
        SubscriberOptions { mode: DeliveryMode::AtLeastOnce, client: nameless, ..options(&broker) },
        SubscriberOptions { partitions: Partitions::Only(Vec::new()), ..options(&broker) },
    ] {
        assert!(matches!(Subscriber::subscribe(wrong, "t").await, Err(ClientError::InvalidOptions(_))));
    }
}

#[tokio::test]
async fn records_seen_where_they_lie_and_records_kept_follow_one_another() {
    let broker = stored(1, 10).await;
    let mut subscriber = Subscriber::subscribe(options(&broker), "t").await.expect("subscribed");
    let mut offsets = Vec::new();
    while offsets.len() < 10 {
        let view = tokio::time::timeout(BOUND, subscriber.next_view()).await.expect("comes").expect("more");
        offsets.push(view.expect("whole").offset().get());
        while let Some(view) = subscriber.try_next_view() {
            let view = view.expect("whole");
            assert_eq!((view.key(), view.partition()), (None, PartitionIndex(0)));
            assert_eq!(view.value().map(<[u8]>::to_vec), Some(view.offset().to_string().into_bytes()));
            offsets.push(view.offset().get());
        }
        if offsets.len() < 10 {
            offsets.push(next(&mut subscriber).await.offset.get());
        }
    }
    assert_eq!(offsets, (0..10).collect::<Vec<_>>());
    assert_eq!(subscriber.position(PartitionIndex(0)).map(Offset::get), Some(10));
    assert!(subscriber.try_next_view().is_none());
    broker.cut();
    broker.store(0, "10");
    let view = tokio::time::timeout(BOUND, subscriber.next_view()).await.expect("comes").expect("more");
    assert_eq!(view.expect("whole").offset().get(), 10);
}
