//! Gathering, limits, and whole batches from clients.

use bytes::BytesMut;

use super::*;
use crate::replica::{AppendError, PartitionClosed};

fn rig() -> Rig {
    let rig = Rig::new();
    rig.create("events", 3, 10);
    rig.create("orders", 1, 11);
    rig
}

fn admitted(rig: &Rig, value: &[u8]) -> ProducedBatch {
    let mut builder = BatchBuilder::new(BuilderOptions::default());
    builder.append(at(0), None, Some(value), &[]).unwrap();
    let bytes = BytesMut::from(&builder.finish_bytes().unwrap()[..]);
    ProducedBatch::admit(bytes, &rig.broker.admission(), at(0)).unwrap()
}

#[test]
fn records_are_gathered_by_topic_partition_and_level_in_their_order() {
    let rig = rig();
    let mut publisher = Publisher::new(&rig);
    for token in 0..6 {
        publisher.add("events", "", token).unwrap();
        publisher.add("orders", "", 10 + token).unwrap();
    }
    publisher.ack = AckLevel::Leader;
    publisher.add("orders", "", 20).unwrap();
    let keyed = Publish { key: Some(b"key"), ..publisher.record() };
    publisher.publish("events", keyed, 21).unwrap();
    let batches: Vec<_> = publisher.run.take().collect();
    let gathered: Vec<_> = batches
        .into_iter()
        .map(|mut batch| {
            let to = format!("{}:{} {:?}", batch.topic(), batch.index(), batch.ack());
            (to, batch.take_places(), batch.append(None, at(0)).unwrap().unwrap().base_offset.get())
        })
        .collect();
    let keyed = crate::types::partition_for_key(b"key", 3);
    assert_eq!(
        gathered,
        [
            ("events:0 Durable".to_owned(), vec![0, 3], 0),
            ("orders:0 Durable".to_owned(), vec![10, 11, 12, 13, 14, 15], 0),
            ("events:1 Durable".to_owned(), vec![1, 4], 0),
            ("events:2 Durable".to_owned(), vec![2, 5], 0),
            ("orders:0 Leader".to_owned(), vec![20], 6),
            (format!("events:{keyed} Leader"), vec![21], 2),
        ]
    );
    assert_eq!(publisher.run.take().count(), 0);
}

/// With more topics in turn than are looked through, one is taken in again; its records keep their order.
#[test]
fn many_topics_in_turn_keep_their_order() {
    let rig = Rig::new();
    let topics: Vec<_> = (0..10_u8).map(|number| format!("topic-{number}")).collect();
    for (topic, id) in topics.iter().zip(10..) {
        rig.create(topic, 1, id);
    }
    let mut publisher = Publisher::new(&rig);
    for round in 0..3 {
        for topic in &topics {
            let value = round.to_string();
            let publish = Publish { value: Some(value.as_bytes()), ..publisher.record() };
            publisher.publish(topic, publish, round).unwrap();
        }
    }
    publisher.flush();
    rig.settle();
    for topic in &topics {
        assert_eq!(rig.values(topic, 0), ["0", "1", "2"]);
    }
}

#[test]
fn a_full_batch_says_so_and_a_full_queue_keeps_it() {
    let mut options = options();
    options.pending_bytes = 1_000;
    let rig = try_open(&FaultyDisk::new(), 1, options).unwrap();
    rig.create("events", 1, 10);
    let mut publisher = Publisher::new(&rig);
    let handle = rig.broker.topic(&name("events")).unwrap();
    let topic = publisher.run.enter(&rig.broker, handle).unwrap();
    let value = vec![b'x'; 100 << 10];
    let publish = Publish { value: Some(&value), id: Some("a"), ..publisher.record() };
    let mut add = |id| publisher.run.add(topic, &Publish { id: Some(id), ..publish }, Some(1), at(0)).unwrap();
    assert!(matches!(add("a"), Added::Gathered { is_full: false }));
    assert!(matches!(add("b"), Added::Gathered { is_full: false }));
    assert!(matches!(add("c"), Added::Gathered { is_full: true }));
    rig.partition("events", 0).append(produced(&"y".repeat(2_000)), AckLevel::None, None, at(0)).unwrap();
    let mut batch = publisher.run.take().next().unwrap();
    assert!(batch.append(None, at(0)).unwrap().is_none());
    let waker = Waker::from(Arc::clone(&publisher.woken));
    assert!(batch.poll_space(&waker).is_pending());
    let mut other = Publisher::new(&rig);
    assert_eq!(other.add("events", "b", 2).unwrap(), Became::Waits, "its ids are under way");
    rig.settle();
    assert_eq!(*publisher.woken.0.lock(), 1);
    assert_eq!(batch.append(None, at(0)).unwrap().unwrap().base_offset.get(), 1);
    assert_eq!(other.add("events", "b", 2).unwrap(), Became::Repeated(0, 2), "the second of its batch");
}

#[test]
fn what_cannot_be_published_is_refused_with_a_reason() {
    let rig = rig();
    let settings = TopicSettings { message_bytes_max: Some(4), ..TopicSettings::default() };
    let id = TopicId::new(Uuid::from_u128(12));
    rig.broker.create_topic(&name("small"), Some(1), settings, id, at(0), rig.reply("create"));
    rig.settle();
    let mut publisher = Publisher::new(&rig);
    let refused = publisher.add("small", "a", 1).unwrap_err();
    assert_eq!(refused.to_string(), "a message of 5 bytes where topic 'small' allows 4");
    let elsewhere = Publish { partition: Some(PartitionIndex(3)), id: Some("a"), ..publisher.record() };
    let refused = publisher.publish("events", elsewhere, 1).unwrap_err();
    assert_eq!(refused.to_string(), "topic 'events' has partitions 0 to 2, not 3");
    assert_eq!(publisher.put(&rig, "events", "a"), "Gathered 0 at 0", "a refusal claims no id");
    let too_large =
        rig.broker.append_batch(&name("small"), None, admitted(&rig, b"12345"), AckLevel::None, None, at(0));
    assert_eq!(too_large.unwrap_err().to_string(), "a message of 5 bytes where topic 'small' allows 4");
    rig.broker.append_batch(&name("small"), None, admitted(&rig, b"1234"), AckLevel::None, None, at(0)).unwrap();
    for internal in ["__meta", "__offsets"] {
        let refused = rig.broker.append_batch(&name(internal), None, admitted(&rig, b"1"), AckLevel::None, None, at(0));
        let text = format!("topic '{internal}': names that begin with '__' are the broker's own");
        assert_eq!(refused.unwrap_err().to_string(), text);
    }
}

#[test]
fn a_batch_of_one_record_of_the_largest_message_is_never_too_large() {
    let rig = rig();
    let message_bytes_max = rig.broker.options().topics.message_bytes_max as usize;
    assert!(rig.broker.options().publish.batch_bytes_max < message_bytes_max + 61, "its header alone would not fit");
    let largest = vec![b'x'; message_bytes_max];
    let batch = admitted(&rig, &largest);
    rig.broker.append_batch(&name("orders"), None, batch, AckLevel::Durable, None, at(0)).unwrap();
    let larger = admitted(&rig, &[&largest[..], b"x"].concat());
    let refused = rig.broker.append_batch(&name("orders"), None, larger, AckLevel::Durable, None, at(0)).unwrap_err();
    assert!(matches!(refused, PublishError::MessageTooLarge { .. }), "{refused}");
}

#[test]
fn batches_go_to_the_partition_named_or_in_turn() {
    let rig = rig();
    let append = |partition: Option<u32>| {
        let batch = admitted(&rig, b"value");
        let partition = partition.map(PartitionIndex);
        let appended = rig.broker.append_batch(&name("events"), partition, batch, AckLevel::None, None, at(0));
        appended.map(|appended| (appended.partition.0, appended.ticket.base_offset.get()))
    };
    assert_eq!(
        [append(None), append(None), append(Some(0)), append(None)].map(Result::unwrap),
        [(0, 0), (1, 0), (0, 1), (2, 0)]
    );
    assert!(matches!(append(Some(3)), Err(PublishError::Broker(BrokerError::UnknownPartition { .. }))));
    rig.partition("events", 1).close(PartitionClosed::TopicDeleted { topic: name("events") });
    assert!(matches!(append(Some(1)), Err(PublishError::Append(AppendError::Closed(_)))));
}
