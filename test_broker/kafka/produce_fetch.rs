//! Produce and Fetch.

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{BrokerId, DeleteTopicsRequest, FetchRequest, ProduceRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::RecordBatchDecoder;
use tempfile::TempDir;

use crate::harness::batches::{self, NOBODY, Rec, rec};
use crate::harness::kafka::KafkaPeer;
use crate::harness::{Server, client};

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;

pub(super) fn batch(values: &[&str]) -> Bytes {
    let records: Vec<Rec> = values.iter().map(|value| rec(value.as_bytes())).collect();
    batches::batch(NOBODY, 1_700_000_000_000, &records).into()
}

pub(super) fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

pub(super) fn produce(acks: i16, topic: &str, partitions: &[(i32, Option<Bytes>)]) -> ProduceRequest {
    let data = |(index, records): &(i32, Option<Bytes>)| {
        PartitionProduceData::default().with_index(*index).with_records(records.clone())
    };
    let topic =
        TopicProduceData::default().with_name(name(topic)).with_partition_data(partitions.iter().map(data).collect());
    ProduceRequest::default().with_acks(acks).with_timeout_ms(30_000).with_topic_data(vec![topic])
}

pub(super) fn produced(peer: &mut KafkaPeer, version: i16, request: &ProduceRequest) -> Vec<PartitionProduceResponse> {
    let response = peer.call(version, request);
    response.responses.into_iter().flat_map(|topic| topic.partition_responses).collect()
}

pub(super) fn fetch(topic: &str, index: i32, offset: i64) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_partition(index)
        .with_fetch_offset(offset)
        .with_current_leader_epoch(-1)
        .with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default().with_topic(name(topic)).with_partitions(vec![partition]);
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(60_000)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

pub(super) fn fetched(peer: &mut KafkaPeer, version: i16, request: &FetchRequest) -> Vec<PartitionData> {
    let response = peer.call(version, request);
    assert_eq!(response.error_code, 0);
    response.responses.into_iter().flat_map(|topic| topic.partitions).collect()
}

pub(super) fn values(data: &PartitionData) -> Vec<(i64, String)> {
    let mut bytes = data.records.clone().unwrap_or_default();
    let sets = RecordBatchDecoder::decode_all(&mut bytes).expect("batches");
    let records = sets.into_iter().flat_map(|set| set.records);
    let text = |value: Option<Bytes>| String::from_utf8(value.expect("a value").to_vec()).expect("text");
    records.map(|record| (record.offset, text(record.value))).collect()
}

fn start(directory: &TempDir) -> (Server, KafkaPeer) {
    let mut server = crate::kafka::kept(directory).set("QB_TOPICS__CREATE", r#"{"t": 2}"#).start();
    let peer = KafkaPeer::of(&mut server);
    (server, peer)
}

#[test]
fn what_is_produced_is_fetched_in_every_version() {
    let directory = TempDir::new().expect("a directory");
    let (server, mut peer) = start(&directory);
    let mut expected = Vec::new();
    for (base, version) in (0..).step_by(2).zip(3..=12) {
        for (acks, index) in [(1, 0), (-1, 1)] {
            let answers = produced(&mut peer, version, &produce(acks, "t", &[(index, Some(batch(&["a", "b"])))]));
            assert_eq!((answers[0].error_code, answers[0].base_offset), (0, base), "{version}");
        }
        expected.extend([(base, "a".to_owned()), (base + 1, "b".to_owned())]);
    }
    for version in 4..=12 {
        let data = fetched(&mut peer, version, &fetch("t", 1, 0));
        assert_eq!((data[0].error_code, data[0].high_watermark, data[0].last_stable_offset), (0, 20, 20));
        assert_eq!(values(&data[0]), expected);
        // From the middle of a batch: all of it.
        let data = fetched(&mut peer, version, &fetch("t", 1, 19));
        assert_eq!(values(&data[0]), expected[18..]);
    }
    server.terminate();
}

#[test]
fn each_partition_is_answered_for_itself() {
    let directory = TempDir::new().expect("a directory");
    let (server, mut peer) = start(&directory);
    let mut damaged = batch(&["x"]).to_vec();
    *damaged.last_mut().expect("a byte") ^= 1;
    let two = [batch(&["one"]), batch(&["two"])].concat();
    let partitions = [
        (0, Some(batch(&["well"]))),
        (7, Some(batch(&["nowhere"]))),
        (1, Some(damaged.into())),
        (-1, Some(batch(&["nowhere"]))),
        (1, Some(two.into())),
        (1, Some(batch(&["well"]))),
        (0, None),
    ];
    let answers = produced(&mut peer, 9, &produce(-1, "t", &partitions));
    let codes: Vec<(i32, i16, i64)> =
        answers.iter().map(|answer| (answer.index, answer.error_code, answer.base_offset)).collect();
    assert_eq!(codes, [(0, 0, 0), (7, 3, -1), (1, 2, -1), (-1, 3, -1), (1, 87, -1), (1, 0, 0), (0, 87, -1)]);
    assert_eq!(produced(&mut peer, 9, &produce(-1, "none", &[(0, Some(batch(&["x"])))]))[0].error_code, 3);
    assert_eq!(produced(&mut peer, 9, &produce(2, "t", &[(0, Some(batch(&["x"])))]))[0].error_code, 21);
    for (index, offset, code) in [(0, 1, 0), (0, 2, 1), (0, -1, 1), (9, 0, 3)] {
        let request = fetch("t", index, offset).with_max_wait_ms(1);
        assert_eq!(fetched(&mut peer, 11, &request)[0].error_code, code, "{index} {offset}");
    }
    server.terminate();
}

#[test]
fn without_acks_there_is_no_answer_and_an_error_closes() {
    let directory = TempDir::new().expect("a directory");
    let (mut server, mut peer) = start(&directory);
    peer.send(9, &produce(0, "t", &[(0, Some(batch(&["quiet"])))]));
    let data = fetched(&mut peer, 11, &fetch("t", 0, 0));
    assert_eq!(values(&data[0]), [(0, "quiet".to_owned())]);
    peer.send(9, &produce(0, "none", &[(0, Some(batch(&["lost"])))]));
    peer.expect_closed();
    // What was sent before the client left is kept.
    let mut leaving = KafkaPeer::of(&mut server);
    for _ in 0..50 {
        leaving.send(9, &produce(0, "t", &[(1, Some(batch(&["kept"])))]));
    }
    drop(leaving);
    let mut peer = KafkaPeer::of(&mut server);
    let data = loop {
        let data = fetched(&mut peer, 11, &fetch("t", 1, 49)).remove(0);
        // Out of range, as long as they are on their way.
        if data.error_code != 1 {
            break data;
        }
        std::thread::yield_now();
    };
    assert_eq!(values(&data), [(49, "kept".to_owned())]);
    server.terminate();
}

/// A consumer that waits is answered when something comes, and everything produced behind one another is durable together.
#[test]
fn a_fetch_waits_for_what_is_produced() {
    let directory = TempDir::new().expect("a directory");
    let (mut server, mut consumer) = start(&directory);
    consumer.send(11, &fetch("t", 0, 0));
    // One more, to be answered in its turn.
    consumer.send(11, &fetch("t", 0, 0));
    let mut producer = KafkaPeer::of(&mut server);
    for _ in 0..100 {
        producer.send(9, &produce(-1, "t", &[(0, Some(batch(&["x"])))]));
    }
    for offset in 0..100 {
        let response = producer.receive::<ProduceRequest>(9);
        assert_eq!(response.responses[0].partition_responses[0].base_offset, offset);
    }
    for _ in 0..2 {
        let answer = consumer.receive::<FetchRequest>(11);
        assert_eq!(values(&answer.responses[0].partitions[0])[0], (0, "x".to_owned()));
    }
    server.terminate();
}

/// The records that are to blame are named, so that a client can send the others again.
#[test]
fn a_compacted_topic_takes_no_record_without_a_key() {
    let directory = TempDir::new().expect("a directory");
    let (server, mut peer) = start(&directory);
    let made = client(&server, &["topics", "create", "latest", "--cleanup-policy", "compact"]);
    made.expect_text();
    let with_key = Rec { key: Some(b"k".to_vec()), ..rec(b"v") };
    let records = [with_key.clone(), rec(b"x"), with_key.clone(), rec(b"y")];
    let mixed = Bytes::from(batches::batch(NOBODY, 1_700_000_000_000, &records));
    for version in 3..=12 {
        let answers = produced(&mut peer, version, &produce(-1, "latest", &[(0, Some(mixed.clone()))]));
        let blamed: Vec<i32> = answers[0].record_errors.iter().map(|error| error.batch_index).collect();
        assert_eq!((answers[0].error_code, answers[0].base_offset), (87, -1));
        assert_eq!(blamed, if version >= 8 { vec![1, 3] } else { vec![] });
    }
    let keyed = Bytes::from(batches::batch(NOBODY, 1_700_000_000_000, &[with_key]));
    assert_eq!(produced(&mut peer, 9, &produce(-1, "latest", &[(0, Some(keyed))]))[0].error_code, 0);
    server.terminate();
}

/// A Fetch that waited at the end of a partition was not told that it was deleted: it looked again and again, as fast as it
/// could, until its time was up.
#[test]
fn a_fetch_that_waits_learns_that_its_topic_goes() {
    let directory = TempDir::new().expect("a directory");
    let (server, mut peer) = start(&directory);
    let mut other = KafkaPeer::connect(peer.address());
    peer.send(12, &fetch("t", 0, 0).with_max_wait_ms(i32::MAX));
    let delete = DeleteTopicsRequest::default().with_timeout_ms(30_000).with_topic_names(vec![name("t")]);
    assert_eq!(other.call(5, &delete).responses[0].error_code, 0);
    let answer = peer.receive::<FetchRequest>(12);
    assert_eq!(answer.responses[0].partitions[0].error_code, UNKNOWN_TOPIC_OR_PARTITION);
    server.terminate();
}
