//! Tests of many records handed over at once, against a stand-in for a broker that misbehaves by a script.

use std::ops::Range;
use std::time::Duration;

use crate::client::stand_in::scripted::{Act, Scripted};
use crate::client::{
    ClientError, ClientOptions, Deliveries, PartitionIndex, Producer, ProducerOptions, ProducerRecord, RecordRef,
};
use crate::protocol::native::ErrorCode;
use crate::types::partition_for_key;

const BOUND: Duration = Duration::from_secs(60);

async fn producer(broker: &Scripted, change: impl FnOnce(&mut ProducerOptions)) -> Producer {
    let mut options = ProducerOptions {
        client: ClientOptions { port: broker.port, ..ClientOptions::default() },
        batch_records: 4,
        retry_backoff: Duration::from_millis(2),
        retry_backoff_max: Duration::from_millis(20),
        ..ProducerOptions::default()
    };
    change(&mut options);
    Producer::new(options).await.expect("connected")
}

fn values(range: Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// The offset of each record; `None` of those that failed.
async fn offsets(mut deliveries: Deliveries) -> Vec<Option<u64>> {
    let mut offsets = Vec::new();
    while let Some(told) = tokio::time::timeout(BOUND, deliveries.next()).await.expect("an end") {
        let first = told.result.ok().map(|position| position.offset.get());
        offsets.extend((0..u64::from(told.records)).map(|place| first.map(|first| first + place)));
    }
    assert!(deliveries.is_empty() && deliveries.try_next().is_none());
    offsets
}

#[tokio::test]
async fn everything_is_stored_once_and_in_order_whatever_happens_on_the_way() {
    use Act::{AnswerLate, CutAfter, CutBefore, Refuse, Take};
    let overloaded = Refuse(ErrorCode::Overloaded);
    let scripts: &[&[Act]] = &[
        &[],
        &[CutAfter],
        &[Take, Take, CutBefore, CutBefore, Take, CutAfter],
        &[overloaded, overloaded, Take, overloaded],
        &[Take, AnswerLate, overloaded, Take],
    ];
    let changes: [fn(&mut ProducerOptions); 4] = [
        |_| {},
        |options| options.linger = Duration::ZERO,
        |options| options.buffer_bytes = 100,
        |options| (options.batch_bytes, options.batch_records) = (150, 1_000),
    ];
    for (script, change) in scripts.iter().flat_map(|script| changes.map(|change| (script, change))) {
        let broker = Scripted::start(1, script).await;
        let producer = producer(&broker, |options| {
            // What is answered late may be the last for which there is room.
            options.client.request_timeout = Duration::from_millis(60);
            change(options);
        })
        .await;
        let mut all = Vec::new();
        for range in [0..1, 1..1, 1..30, 30..33] {
            let deliveries = producer.send_all("t", &values(range)).await.expect("taken");
            all.push(deliveries);
        }
        producer.flush().await.expect("stored");
        let mut told = Vec::new();
        for deliveries in all {
            told.extend(offsets(deliveries).await);
        }
        assert_eq!(told, (0..33).map(Some).collect::<Vec<_>>(), "{script:?}");
        assert_eq!(broker.values(0), values(0..33), "{script:?}");
    }
}

#[tokio::test]
async fn those_that_wait_for_room_keep_their_order_and_all_come_through() {
    let broker = Scripted::start(1, &[]).await;
    let producer = producer(&broker, |options| options.buffer_bytes = 300).await;
    let senders = (0..6).map(|sender| {
        let producer = producer.clone();
        tokio::spawn(async move {
            for round in 0..10 {
                let values: Vec<String> = (0..5).map(|place| format!("{sender} {}", round * 5 + place)).collect();
                if sender % 2 == 0 {
                    producer.send_all("t", &values).await.expect("taken");
                    continue;
                }
                for value in values {
                    producer.send("t", ProducerRecord::new(value)).await.expect("taken");
                }
            }
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        tokio::time::timeout(BOUND, sender).await.expect("room").expect("no panic");
    }
    producer.close().await.expect("stored");
    let stored = broker.values(0);
    for sender in 0..6 {
        let expected: Vec<String> = (0..50).map(|number| format!("{sender} {number}")).collect();
        let mine: Vec<_> = stored.iter().filter(|value| value.starts_with(&format!("{sender} "))).collect();
        assert_eq!(mine, expected.iter().collect::<Vec<_>>());
    }
    assert!(matches!(producer.send_all("t", &["x"]).await, Err(ClientError::Ended { .. })));
}

#[tokio::test]
async fn records_that_have_not_chosen_go_together_and_the_others_where_they_belong() {
    let broker = Scripted::start(3, &[]).await;
    let producer = producer(&broker, |_| {}).await;
    for _ in 0..3 {
        producer.send_all("t", &values(0..10)).await.expect("taken").await.expect("stored");
    }
    assert_eq!([0, 1, 2].map(|partition| broker.values(partition)), [0, 1, 2].map(|_| values(0..10)));
    let keys = values(0..20);
    let mut records: Vec<RecordRef<'_>> = keys.iter().map(|key| RecordRef::new(b"v").key(key.as_bytes())).collect();
    records.push(RecordRef::new(b"w").partition(PartitionIndex(1)));
    let mut deliveries = producer.send_all("t", &records).await.expect("taken");
    let chosen = keys.iter().map(|key| partition_for_key(key.as_bytes(), 3)).chain([PartitionIndex(1)]);
    let mut told = Vec::new();
    while let Some(group) = deliveries.next().await {
        let partition = group.result.expect("stored").partition;
        told.extend((0..group.records).map(|_| partition));
    }
    assert_eq!(told, chosen.collect::<Vec<_>>());
}

#[tokio::test]
async fn what_fails_is_told_of_its_group_and_what_cannot_be_taken_ends_the_call() {
    let broker = Scripted::start(1, &[Act::Take, Act::Refuse(ErrorCode::MessageTooLarge)]).await;
    let producer = producer(&broker, |_| {}).await;
    let deliveries = producer.send_all("t", &values(0..12)).await.expect("taken");
    let failed = [4, 5, 6, 7];
    let expected = (0..12).map(|at| (!failed.contains(&at)).then_some(if at < 4 { at } else { at - 4 }));
    assert_eq!(offsets(deliveries).await, expected.collect::<Vec<_>>());
    assert!(producer.flush().await.is_err());
    let large = vec![0; 100_001];
    let error = producer.send_all("t", &[&b"a"[..], b"b", &large, b"c"]).await.expect_err("too large");
    assert!(matches!(error, ClientError::TooLarge { .. }), "{error}");
    let error = producer.send_all("u", &["x"]).await.expect_err("no such topic");
    assert_eq!(error.code(), Some(ErrorCode::UnknownTopic));
    producer.flush().await.expect("stored");
    assert_eq!(broker.values(0)[8..], ["a", "b"]);
}
