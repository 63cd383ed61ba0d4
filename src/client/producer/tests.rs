//! Tests of the producer against a stand-in for a broker that misbehaves by a script.

use std::time::Duration;

use super::super::stand_in::scripted::{Act, Scripted};
use super::*;
use crate::client::{ClientOptions, Compression, PartitionIndex};
use crate::protocol::native::ErrorCode;

const BOUND: Duration = Duration::from_secs(60);

fn options(broker: &Scripted) -> ProducerOptions {
    ProducerOptions {
        client: ClientOptions { port: broker.port, ..ClientOptions::default() },
        batch_records: 2,
        retry_backoff: Duration::from_millis(2),
        retry_backoff_max: Duration::from_millis(20),
        ..ProducerOptions::default()
    }
}

fn values(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// Sends this many records, numbered, and returns what became of each.
async fn send(producer: &Producer, count: u32) -> Vec<Result<u64, ClientError>> {
    let mut deliveries = Vec::new();
    for value in values(0..count) {
        deliveries.push(producer.send("t", ProducerRecord::new(value)).await.expect("taken"));
    }
    let mut results = Vec::new();
    for delivery in deliveries {
        let result = tokio::time::timeout(BOUND, delivery).await.expect("an end");
        results.push(result.map(|position| position.offset.get()));
    }
    results
}

/// Sends 20 records through a script; all must be stored once, in order, each where its delivery says.
async fn check(script: &[Act], change: impl FnOnce(&mut ProducerOptions)) -> Scripted {
    let broker = Scripted::start(1, script).await;
    let mut options = options(&broker);
    change(&mut options);
    let producer = Producer::new(options).await.expect("connected");
    let results = send(&producer, 20).await.into_iter();
    let offsets: Vec<_> = results.map(|r| r.unwrap_or_else(|error| panic!("{script:?}: {error}"))).collect();
    assert_eq!(offsets, (0..20).collect::<Vec<_>>(), "{script:?}");
    assert_eq!(broker.values(0), values(0..20), "{script:?}");
    producer.close().await.expect("nothing failed");
    assert!(matches!(producer.send("t", ProducerRecord::new("x")).await, Err(ClientError::Ended { .. })));
    broker
}

#[tokio::test]
async fn everything_is_stored_once_and_in_order_whatever_happens_on_the_way() {
    use Act::{AnswerLate, CutAfter, CutBefore, ForgetProducers, Refuse, Take};
    const OUT_OF_ORDER: Act = Refuse(ErrorCode::OutOfOrderSequence);
    let overloaded = Refuse(ErrorCode::Overloaded);
    let scripts: &[&[Act]] = &[
        &[],
        &[CutAfter],
        &[CutBefore],
        &[Take, CutAfter, CutAfter, Take, CutBefore],
        &[Take, Take, CutBefore, CutBefore, Take, CutAfter],
        &[overloaded],
        &[overloaded, overloaded, overloaded, Take, overloaded],
        &[Take, Take, overloaded, Take, CutAfter],
        &[Take, Refuse(ErrorCode::StorageFull), Refuse(ErrorCode::ShuttingDown), Refuse(ErrorCode::TimedOut)],
        &[Take, AnswerLate, Take, AnswerLate],
        &[Take, AnswerLate, overloaded, Take],
        &[Take, OUT_OF_ORDER],
        &[Take, Take, OUT_OF_ORDER, OUT_OF_ORDER],
        &[Take, ForgetProducers],
    ];
    for script in scripts {
        check(script, |_| {}).await;
        check(script, |options| options.linger = Duration::ZERO).await;
        check(script, |options| (options.in_flight, options.compression) = (2, Compression::Lz4)).await;
        check(script, |options| options.buffer_bytes = 100).await;
    }
}

#[tokio::test]
async fn answers_that_never_come_are_waited_for_no_longer_than_allowed() {
    use Act::{Ignore, LoseAck, Take};
    for script in [&[LoseAck][..], &[Ignore], &[Take, LoseAck, Take, Ignore], &[Take, Take, LoseAck, LoseAck]] {
        let quick = |options: &mut ProducerOptions| options.client.request_timeout = Duration::from_millis(60);
        let broker = check(script, quick).await;
        assert!(broker.connections() > 1);
    }
}

#[tokio::test]
async fn a_refusal_for_good_fails_its_batch_and_no_other() {
    for at in [0, 1, 3] {
        let mut script = vec![Act::Take; at];
        script.push(Act::Refuse(ErrorCode::MessageTooLarge));
        let broker = Scripted::start(1, &script).await;
        let producer = Producer::new(options(&broker)).await.expect("connected");
        let results = send(&producer, 20).await;
        let failed: Vec<_> = (0..20).filter(|&index| results[index].is_err()).collect();
        assert_eq!(failed, [2 * at, 2 * at + 1]);
        let code = results[2 * at].as_ref().expect_err("refused").code();
        assert_eq!(code, Some(ErrorCode::MessageTooLarge));
        let expected: Vec<_> = (0..20).filter(|index| !failed.contains(index)).map(|i| i.to_string()).collect();
        assert_eq!(broker.values(0), expected);
        assert!(producer.flush().await.is_err(), "flush tells of it once");
        producer.flush().await.expect("and only once");
    }
}

#[tokio::test]
async fn what_is_in_doubt_is_never_sent_under_another_number() {
    // The first batch is taken and its answer lost; then the broker calls it out of order.
    let broker = Scripted::start(1, &[Act::Take, Act::CutAfter, Act::Refuse(ErrorCode::OutOfOrderSequence)]).await;
    let producer = Producer::new(options(&broker)).await.expect("connected");
    let results = send(&producer, 10).await;
    let mut stored = broker.values(0);
    assert_eq!(results[2].as_ref().expect_err("in doubt").code(), Some(ErrorCode::OutOfOrderSequence));
    for (value, result) in values(0..10).iter().zip(&results) {
        let times = stored.iter().filter(|stored| *stored == value).count();
        assert!(times <= 1 && (result.is_err() || times == 1), "{value}: {times} times, {result:?}");
    }
    let order = stored.clone();
    stored.sort_by_key(|value| value.parse::<u32>().expect("a number"));
    assert_eq!(stored, order);
}

#[tokio::test]
async fn what_cannot_be_delivered_in_time_fails_and_says_what_is_known() {
    let hurried = |broker: &Scripted| {
        let mut options = options(broker);
        options.delivery_timeout = Duration::from_millis(100);
        options
    };
    let broker = Scripted::start(1, &[Act::Refuse(ErrorCode::StorageFull); 10_000]).await;
    let producer = Producer::new(hurried(&broker)).await.expect("connected");
    for result in send(&producer, 10).await {
        let error = result.expect_err("refused");
        assert!(matches!(&error, ClientError::Undelivered { is_in_doubt: false, .. }), "{error}");
        assert!(error.to_string().contains("storage_full") && error.to_string().contains("was not stored"), "{error}");
    }
    let broker = Scripted::start(1, &[Act::LoseAck]).await;
    let producer = Producer::new(hurried(&broker)).await.expect("connected");
    let delivery = producer.send("t", ProducerRecord::new("x")).await.expect("taken");
    let error = delivery.await.expect_err("unanswered");
    assert!(matches!(&error, ClientError::Undelivered { is_in_doubt: true, .. }), "{error}");
    // The next goes on, whether or not the one before was stored.
    let delivery = producer.send("t", ProducerRecord::new("y")).await.expect("taken");
    delivery.await.expect("stored");
    assert_eq!(broker.values(0), ["x", "y"]);
}

#[tokio::test]
async fn a_full_buffer_makes_senders_wait_and_lets_all_through() {
    let broker = Scripted::start(1, &[]).await;
    let mut options = options(&broker);
    options.buffer_bytes = 200;
    let producer = Producer::new(options).await.expect("connected");
    let senders = (0..8).map(|sender| {
        let producer = producer.clone();
        tokio::spawn(async move {
            for number in 0..50 {
                let value = format!("{sender} {number} {}", "x".repeat(number * 4));
                producer.send("t", ProducerRecord::new(value)).await.expect("taken");
            }
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        tokio::time::timeout(BOUND, sender).await.expect("room").expect("no panic");
    }
    producer.close().await.expect("stored");
    let stored = broker.values(0);
    assert_eq!(stored.len(), 400);
    for sender in 0..8 {
        let mine = stored.iter().filter(|value| value.starts_with(&format!("{sender} ")));
        let numbers: Vec<usize> = mine.map(|value| value.split(' ').nth(1).expect("it").parse().expect("it")).collect();
        assert_eq!(numbers, (0..50).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn close_waits_through_retries_and_drop_waits_for_nothing() {
    let broker = Scripted::start(1, &[Act::CutBefore, Act::Refuse(ErrorCode::Overloaded), Act::CutAfter]).await;
    let producer = Producer::new(options(&broker)).await.expect("connected");
    let delivery = producer.send("t", ProducerRecord::new("a")).await.expect("taken");
    tokio::time::timeout(BOUND, producer.close()).await.expect("an end").expect("stored");
    assert!(delivery.try_result().is_some_and(|result| result.is_ok()));
    assert_eq!(broker.values(0), ["a"]);
    let producer = Producer::new(options(&broker)).await.expect("connected");
    let delivery = producer.send("t", ProducerRecord::new("b")).await.expect("taken");
    drop(producer);
    delivery.await.expect("stored all the same");
}

#[tokio::test]
async fn partitions_are_chosen_by_the_record_the_key_or_in_turn() {
    let broker = Scripted::start(3, &[]).await;
    let producer = Producer::new(options(&broker)).await.expect("connected");
    for value in values(0..30) {
        producer.send("t", ProducerRecord::new(value)).await.expect("taken");
    }
    producer.flush().await.expect("stored");
    assert_eq!([0, 1, 2].map(|partition| broker.values(partition).len()), [10, 10, 10]);
    let record = ProducerRecord::new("x").key("21");
    let position = producer.send("t", record.clone()).await.expect("taken").await.expect("stored");
    assert_eq!(position.partition, crate::types::partition_for_key(b"21", 3));
    let chosen = record.partition(PartitionIndex(3));
    let error = producer.send("t", chosen.clone()).await.expect_err("no such partition");
    assert_eq!(error.code(), Some(ErrorCode::UnknownPartition));
    broker.grow();
    let position = producer.send("t", chosen).await.expect("found anew").await.expect("stored");
    assert_eq!(position.partition, PartitionIndex(3));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_at_once() {
    let broker = Scripted::start(1, &[]).await;
    let producer = Producer::new(options(&broker)).await.expect("connected");
    let error = producer.send("u", ProducerRecord::new("x")).await.expect_err("no such topic");
    assert_eq!(error.code(), Some(ErrorCode::UnknownTopic));
    let error = producer.send("a b", ProducerRecord::new("x")).await.expect_err("no name");
    assert!(matches!(error, ClientError::InvalidOptions(_)), "{error}");
    let error = producer.send("t", ProducerRecord::new(vec![0; 100_001])).await.expect_err("too large");
    assert!(matches!(error, ClientError::TooLarge { allowed: 100_000, .. }), "{error}");
    let strange = ProducerRecord::new("x").timestamp(crate::types::Timestamp::from_millis(-5));
    assert!(matches!(producer.send("t", strange).await, Err(ClientError::Unbuildable(_))));
    producer.flush().await.expect("nothing was handed over");
    for change in [
        |options: &mut ProducerOptions| options.in_flight = 6,
        |options: &mut ProducerOptions| options.batch_records = 0,
        |options: &mut ProducerOptions| options.ack = Some(crate::protocol::native::AckLevel::None),
    ] {
        let mut options = options(&broker);
        change(&mut options);
        assert!(matches!(Producer::new(options).await, Err(ClientError::InvalidOptions(_))));
    }
}

#[tokio::test]
async fn without_identity_lost_answers_make_duplicates_but_order_holds() {
    let broker = Scripted::start(1, &[Act::Take, Act::CutAfter, Act::Refuse(ErrorCode::Overloaded)]).await;
    let options = ProducerOptions { idempotent: false, ..options(&broker) };
    let producer = Producer::new(options).await.expect("connected");
    assert!(send(&producer, 8).await.iter().all(Result::is_ok));
    assert_eq!(broker.values(0), ["0", "1", "2", "3", "2", "3", "4", "5", "6", "7"]);
}

/// No number tells the broker that a batch was overtaken by the next one: only one may be under way.
#[tokio::test]
async fn without_identity_a_refused_batch_is_not_overtaken() {
    let refused = Act::Refuse(ErrorCode::Overloaded);
    for script in [&[Act::Take, refused][..], &[refused, Act::Take, refused, refused], &[Act::Take, Act::CutBefore]] {
        check(script, |options| options.idempotent = false).await;
    }
}

#[tokio::test]
async fn records_are_gathered_into_batches() {
    let broker = Scripted::start(1, &[]).await;
    let options = ProducerOptions { batch_records: 1_000, linger: BOUND, batch_bytes: 1_000, ..options(&broker) };
    let producer = Producer::new(options).await.expect("connected");
    for value in values(0..100) {
        producer.send("t", ProducerRecord::new(value).header("h", "v")).await.expect("taken");
    }
    producer.flush().await.expect("stored");
    assert_eq!(broker.values(0), values(0..100));
    assert!((2..10).contains(&broker.batches(0)), "{}", broker.batches(0));
}

/// A script drawn by chance: mostly what works, and everything else.
fn drawn(chance: &mut crate::client::chance::Chance) -> Vec<Act> {
    let codes = [ErrorCode::Overloaded, ErrorCode::StorageFull, ErrorCode::TimedOut, ErrorCode::ShuttingDown];
    let length = chance.next() % 40;
    (0..length)
        .map(|_| match chance.next() % 12 {
            0 => Act::Refuse(codes[(chance.next() >> 16) as usize % codes.len()]),
            1 => Act::CutAfter,
            2 => Act::CutBefore,
            3 => Act::AnswerLate,
            4 => Act::LoseAck,
            5 => Act::Ignore,
            _ => Act::Take,
        })
        .collect()
}

#[tokio::test]
async fn whatever_the_script_everything_is_stored_once_and_in_order() {
    let mut chance = crate::client::chance::Chance::new();
    for _ in 0..25 {
        let script = drawn(&mut chance);
        let in_flight = 1 + (chance.next() >> 20) as usize % IN_FLIGHT_MAX;
        check(&script, |options| {
            options.in_flight = in_flight;
            options.client.request_timeout = Duration::from_millis(40);
        })
        .await;
    }
}
