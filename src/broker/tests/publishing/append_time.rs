//! Topics whose records have the time they are appended at, and topics with a limit of their own for batches.

use bytes::BytesMut;

use super::*;
use crate::record::{Compression, TimestampType};
use crate::replica::TimedRecord;
use crate::types::ProducerEpoch;

fn create(rig: &Rig, topic: &str, id: u128, settings: TopicSettings) {
    let id = TopicId::new(Uuid::from_u128(id));
    rig.broker.create_topic(&name(topic), Some(1), settings, id, at(0), rig.reply("create"));
    rig.settle();
    rig.take_replies();
}

fn by_append_time() -> TopicSettings {
    TopicSettings { timestamp_type: Some(crate::types::TimestampType::LogAppendTime), ..TopicSettings::default() }
}

/// A client's batch of records at these times.
fn built(compression: Compression, times: &[i64], value: &[u8]) -> BytesMut {
    let producer = crate::record::ProducerStamp {
        id: crate::types::ProducerId::new(5).unwrap(),
        epoch: ProducerEpoch::new(0).unwrap(),
        base_sequence: crate::types::Sequence::new(0),
    };
    let options = BuilderOptions { compression, producer: Some(producer), ..BuilderOptions::default() };
    let mut builder = BatchBuilder::new(options);
    for millis in times {
        builder.append(at(*millis), None, Some(value), &[]).unwrap();
    }
    BytesMut::from(&builder.finish_bytes().unwrap()[..])
}

fn times(rig: &Rig, topic: &str) -> Vec<i64> {
    let partition = rig.partition(topic, 0);
    let Ok(Read::Batches(batches)) = partition.read(Offset::ZERO, 1 << 20) else { panic!("it is in memory") };
    assert!(batches.iter().all(|batch| batch.header().attributes.timestamp_type() == TimestampType::LogAppend));
    let records = batches.iter().flat_map(|batch| batch.records().unwrap());
    records.map(|record| record.unwrap().timestamp.millis() - START_MS).collect()
}

#[test]
fn whoever_publishes_records_have_the_time_of_their_append() {
    let rig = Rig::new();
    create(&rig, "log", 1, by_append_time());
    let mut publisher = Publisher::new(&rig);
    publisher.add("log", "", 1).unwrap();
    publisher.add("log", "", 2).unwrap();
    publisher.now = at(500);
    publisher.flush();
    let handle = rig.broker.topic(&name("log")).unwrap();
    let append = |compression, now| {
        let bytes = built(compression, &[-77, 9_000_000], b"value");
        let batch = ProducedBatch::admit(bytes, &rig.broker.admission_to(&handle), at(now)).unwrap();
        rig.broker.append_batch(&name("log"), None, batch, AckLevel::Durable, None, at(now)).unwrap()
    };
    let appended = append(Compression::Lz4, 700);
    assert_eq!((appended.ticket.base_offset.get(), appended.append_time), (2, Some(at(700))));
    let repeated = append(Compression::Lz4, 900);
    assert_eq!((repeated.ticket.base_offset.get(), repeated.append_time), (2, None), "the first attempt's time holds");
    rig.settle();
    assert_eq!(times(&rig, "log"), [500, 500, 700, 700]);

    // Whoever looks by time sees no other, after a restart either.
    let restarted = open(&rig.disk.fork());
    for rig in [&rig, &restarted] {
        let found = |millis| rig.partition("log", 0).record_at_time(at(millis)).unwrap();
        let offset_of = |found: Option<TimedRecord>| found.map(|found| found.offset.get());
        assert_eq!([0, 500, 501, 701].map(|millis| offset_of(found(millis))), [Some(0), Some(0), Some(2), None]);
        assert_eq!(offset_of(rig.partition("log", 0).newest_record().unwrap()), Some(2));
    }
}

#[test]
fn a_topic_s_own_limit_of_batches_holds_instead_of_the_broker_s() {
    let rig = Rig::new();
    let limited = |bytes| TopicSettings { batch_bytes_max: Some(bytes), ..TopicSettings::default() };
    create(&rig, "small", 1, limited(200));
    create(&rig, "large", 2, limited(4 << 20));
    create(&rig, "both", 3, TopicSettings { message_bytes_max: Some(100), ..limited(4 << 20) });
    create(&rig, "plain", 4, TopicSettings::default());
    let publish = |topic: &str, value_bytes: usize| {
        let handle = rig.broker.topic(&name(topic)).unwrap();
        let bytes = built(Compression::None, &[0], &vec![b'x'; value_bytes]);
        let batch = ProducedBatch::admit(bytes, &rig.broker.admission_to(&handle), at(0));
        let batch = batch.map_err(|error| error.to_string())?;
        let appended = rig.broker.append_batch(&name(topic), None, batch, AckLevel::Durable, None, at(0));
        appended.map(|_| rig.settle()).map_err(|error| error.to_string())
    };
    let too_large = |bytes: u32, bytes_max: u32| Err(format!("the batch has {bytes} bytes, {bytes_max} are allowed"));
    assert_eq!((publish("small", 100), publish("small", 150)), (Ok(()), too_large(220, 200)));
    assert_eq!(publish("large", 2 << 20), Ok(()), "larger than any message where the topic does not say");
    assert_eq!(publish("large", 4 << 20), too_large(4_194_378, 4 << 20));
    assert_eq!(publish("both", 101), Err("a message of 101 bytes where topic 'both' allows 100".to_owned()));
    assert_eq!(publish("plain", 1 << 20), Ok(()), "a record of the largest message is never too large");
    assert!(publish("plain", 2 << 20).is_err());
}
