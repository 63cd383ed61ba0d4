//! Stamps through the client library.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use wiber::client::{
    Client, ClientOptions, Compression, FetchOptions, HistoryOptions, MergeOptions, Merged, NewRecord, Offset,
    PartitionIndex, Producer, ProducerOptions, ProducerRecord, Record, Stamp, StartAt, SubscribeOptions, Subscriber,
    SubscriberOptions, Timestamp,
};

use super::start;
use crate::harness::peer::Peer;
use crate::harness::{BOUND, Server};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn to(server: &Server) -> ClientOptions {
    ClientOptions { port: server.address().port(), ..ClientOptions::default() }
}

async fn next(merged: &mut Merged) -> Record {
    let next = tokio::time::timeout(BOUND, merged.next()).await.expect("a record in time");
    next.expect("one more").expect("a record")
}

fn patient() -> FetchOptions {
    FetchOptions { max_wait: Duration::from_secs(10), ..FetchOptions::default() }
}

/// What a process has read, or has had acknowledged, is stamped before what it publishes then: by batch and by single
/// publish, in whichever partition, compressed or not.
#[test]
fn an_answer_is_stamped_after_its_question() {
    let (_directory, server) = start();
    runtime().block_on(async {
        let client = Client::connect(to(&server)).await.expect("connected");
        client.create_topic("t", Some(2), None).await.expect("created");
        let mut producers = Vec::new();
        for compression in [Compression::None, Compression::Lz4] {
            let options = ProducerOptions {
                client: to(&server),
                linger: Duration::ZERO,
                compression,
                ..ProducerOptions::default()
            };
            producers.push(Producer::new(options).await.expect("a producer"));
        }
        let mut last = None;
        let mut offsets = [0_u64; 2];
        for round in 0..60 {
            let partition = PartitionIndex(round % 2);
            if round % 3 == 2 {
                let record = NewRecord::new("single").partition(partition);
                client.publish("t", record).await.expect("sent").await.expect("stored");
            } else {
                let producer = &producers[(round % 3) as usize];
                let record = ProducerRecord::new("batch").partition(partition).header("h", "v");
                producer.send("t", record).await.expect("taken").await.expect("stored");
            }
            let offset = Offset::new(offsets[partition.0 as usize]).expect("small");
            let fetched = client.fetch("t", partition, offset, patient()).await.expect("fetched");
            offsets[partition.0 as usize] = fetched.next_offset.get();
            let [record] = &fetched.records[..] else { panic!("one record, not {:?}", fetched.records) };
            assert!(record.stamp > last, "{round}: {:?} after {last:?}", record.stamp);
            assert_eq!(record.headers.len(), usize::from(round % 3 != 2), "{:?}", record.headers);
            last = record.stamp;
        }
    });
}

/// A clock somewhere is twenty seconds ahead. Whoever reads what it stamped publishes later all the same, by batch and by
/// single publish, also to a broker that never heard of that clock.
#[test]
fn a_clock_that_is_ahead_contradicts_nobody() {
    let (_directory, server) = start();
    let (_elsewhere_directory, elsewhere) = start();
    let mut peer = Peer::connect(&server);
    peer.create("t", 1);
    let now = super::server_time(&mut peer);
    let ahead = Stamp::first_of(Timestamp::from_millis(now + 20_000));
    peer.ask(&super::publish(&[("wiber.stamp", &ahead.to_string())]));
    runtime().block_on(async {
        let (client, other) = (Client::connect(to(&server)).await, Client::connect(to(&elsewhere)).await);
        let (client, other) = (client.expect("connected"), other.expect("connected"));
        let read = client.history("t", &HistoryOptions::last(1)).await.expect("read");
        assert!(read[0].stamp > Some(ahead), "{:?}", read[0].stamp);
        other.create_topic("t", None, None).await.expect("created");
        let options = ProducerOptions { client: to(&elsewhere), ..ProducerOptions::default() };
        let producer = Producer::new(options).await.expect("a producer");
        let mut last = read[0].stamp;
        for offset in 0..6 {
            if offset % 2 == 0 {
                other.publish("t", NewRecord::new("single")).await.expect("sent").await.expect("stored");
            } else {
                producer.send("t", ProducerRecord::new("batch")).await.expect("taken").await.expect("stored");
            }
            let stored = other.history("t", &HistoryOptions::last(1)).await.expect("read");
            assert!(stored[0].stamp > last && stored[0].offset.get() == offset, "{stored:?} after {last:?}");
            assert!(stored[0].timestamp.millis() < now + 15_000, "timestamps are the clock's own");
            last = stored[0].stamp;
        }
        let skew = other.describe_topic("t").await.expect("described").clock_skew.expect("somebody published");
        assert!(skew.max_ms < 5_000 && skew.too_far_ahead == 0, "{skew:?}");
    });
}

/// Also single records say their stamps to who asks.
#[test]
fn single_records_with_their_stamps() {
    let (_directory, server) = start();
    runtime().block_on(async {
        let client = Client::connect(to(&server)).await.expect("connected");
        client.create_topic("t", None, None).await.expect("created");
        let mut last = None;
        for stamps in [true, false] {
            client.publish("t", NewRecord::new("a")).await.expect("sent").await.expect("stored");
            let options =
                SubscribeOptions { stamps, start: StartAt::Offset(Offset::ZERO), ..SubscribeOptions::default() };
            let mut subscription = client.subscribe("t", options).await.expect("subscribed");
            let message = tokio::time::timeout(BOUND, subscription.next()).await.expect("in time");
            let message = message.expect("open").expect("a message");
            assert_eq!((message.stamp().is_some(), message.headers().count()), (stamps, 0));
            subscription.unsubscribe().await.expect("unsubscribed");
            last = last.max(message.stamp());
        }
        client.publish("t", NewRecord::new("later")).await.expect("sent").await.expect("stored");
        let stored = client.history("t", &HistoryOptions::last(1)).await.expect("read");
        assert!(stored[0].stamp > last);
    });
}

/// Published one after another to partitions in turn: merged they come in that order, live as well as from the log, and
/// though a partition has nothing.
#[test]
fn partitions_are_merged_in_the_order_of_publishing() {
    let (_directory, server) = start();
    runtime().block_on(async {
        let client = Client::connect(to(&server)).await.expect("connected");
        client.create_topic("t", Some(4), None).await.expect("created");
        let publish = async |number: u32| {
            let record = NewRecord::new(number.to_string()).partition(PartitionIndex(number * 5 % 3));
            client.publish("t", record).await.expect("sent").await.expect("stored");
        };
        for number in 0..100 {
            publish(number).await;
        }
        let options = SubscriberOptions { client: to(&server), ..SubscriberOptions::default() };
        let subscriber = Subscriber::subscribe(options, "t").await.expect("subscribed");
        assert_eq!(subscriber.partitions().count(), 4);
        let mut merged = Merged::new(subscriber, MergeOptions { max_wait: BOUND / 60, ..MergeOptions::default() });
        for number in 0..100 {
            assert_eq!(next(&mut merged).await.value, Some(number.to_string().into()));
        }
        for number in 100..130 {
            publish(number).await;
        }
        for number in 100..130 {
            assert_eq!(next(&mut merged).await.value, Some(number.to_string().into()));
        }
        assert_eq!(merged.late(), 0);
        assert!(merged.unsure() > 0, "one partition never had anything");
        merged.close().await.expect("closed");
        let last = client.history("t", &HistoryOptions::last(7)).await.expect("read");
        let expected: Vec<_> = (123..130).map(|number: u32| Some(number.to_string().into())).collect();
        assert_eq!(last.into_iter().map(|record| record.value).collect::<Vec<_>>(), expected);
        let partition = PartitionIndex(0);
        let from = client.fetch_from_time("t", partition, Timestamp::from_millis(0), patient()).await.expect("fetched");
        assert_eq!(from.records.first().map(|record| record.offset.get()), Some(0));
    });
}

/// A topic that is deleted ends it, after everything that came before.
#[test]
fn what_is_held_comes_before_the_end() {
    let (_directory, server) = start();
    runtime().block_on(async {
        let client = Client::connect(to(&server)).await.expect("connected");
        client.create_topic("t", Some(2), None).await.expect("created");
        client
            .publish("t", NewRecord::new("a").partition(PartitionIndex(1)))
            .await
            .expect("sent")
            .await
            .expect("stored");
        let options = SubscriberOptions { client: to(&server), ..SubscriberOptions::default() };
        let subscriber = Subscriber::subscribe(options, "t").await.expect("subscribed");
        let mut merged = Merged::new(subscriber, MergeOptions { max_wait: 10 * BOUND, ..MergeOptions::default() });
        let waits = tokio::time::timeout(Duration::from_millis(300), merged.next()).await;
        assert!(waits.is_err(), "it waits for the other partition");
        client.delete_topic("t").await.expect("deleted");
        assert_eq!(next(&mut merged).await.value, Some("a".into()));
        let end = tokio::time::timeout(BOUND, merged.next()).await.expect("in time");
        assert!(matches!(end, Some(Err(_))), "{end:?}");
        assert!(merged.next().await.is_none());
    });
}
