//! Topics with settings that change what becomes of a batch: whose time its records bear, and how large it may be.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use kafka_protocol::messages::CreateTopicsRequest;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::protocol::StrBytes;
use tempfile::TempDir;

use super::list_offsets::listed;
use super::produce_fetch::{fetch, fetched, name, produce, produced};
use super::records::deleted;
use crate::harness::Setup;
use crate::harness::batches::{self, Made, NOBODY, rec};
use crate::harness::kafka::KafkaPeer;

const LONG_AGO_MS: i64 = 1_500_000_000_000;

fn create(peer: &mut KafkaPeer, topic: &str, settings: &[(&str, &str)]) {
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let setting = |&(key, value): &(&str, &str)| {
        CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value)))
    };
    let topic = CreatableTopic::default()
        .with_name(name(topic))
        .with_num_partitions(1)
        .with_replication_factor(1)
        .with_configs(settings.iter().map(setting).collect());
    let request = CreateTopicsRequest::default().with_timeout_ms(30_000).with_topics(vec![topic]);
    let answer = peer.call(7, &request).topics.remove(0);
    assert_eq!(answer.error_code, 0, "{answer:?}");
}

#[expect(clippy::disallowed_methods, reason = "the broker's clock is the machine's")]
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("before the end of time")
}

/// A batch of so many records, each with a value of so many bytes.
fn sized(records: usize, value_bytes: usize) -> Bytes {
    let value = vec![b'x'; value_bytes];
    batches::batch(NOBODY, LONG_AGO_MS, &vec![rec(&value); records]).into()
}

/// The attributes and the largest time of each batch, which is every record's where bit 3 says so.
fn batch_times(peer: &mut KafkaPeer, topic: &str) -> Vec<(i16, i64)> {
    let data = fetched(peer, 12, &fetch(topic, 0, 0));
    let mut rest = &data[0].records.as_ref().expect("records")[..];
    let mut times = Vec::new();
    while !rest.is_empty() {
        let length = u32::from_be_bytes(rest[8..12].try_into().expect("4 bytes")) as usize;
        let attributes = i16::from_be_bytes(rest[21..23].try_into().expect("2 bytes"));
        times.push((attributes, i64::from_be_bytes(rest[35..43].try_into().expect("8 bytes"))));
        // Its checksum is right as well.
        assert_eq!(batches::read_batches(&rest[..12 + length]).len(), 1);
        rest = &rest[12 + length..];
    }
    times
}

#[test]
fn records_have_the_time_of_their_append() {
    let directory = TempDir::new().expect("a directory");
    let mut server = Setup::new(directory.path()).start();
    let mut peer = KafkaPeer::of(&mut server);
    create(&mut peer, "log", &[("message.timestamp.type", "LogAppendTime")]);
    create(&mut peer, "plain", &[]);
    let made = Made { id: 9, epoch: 0, sequence: 0 };
    let batch = Bytes::from(batches::batch(made, LONG_AGO_MS, &[rec(b"a"), rec(b"b")]));
    for version in [3, 9, 12] {
        let before = now_ms();
        let answer = produced(&mut peer, version, &produce(-1, "log", &[(0, Some(sized(2, 1)))])).remove(0);
        assert!((before..=now_ms()).contains(&answer.log_append_time_ms), "{answer:?}");
        let plain = produced(&mut peer, version, &produce(-1, "plain", &[(0, Some(sized(2, 1)))])).remove(0);
        assert_eq!(plain.log_append_time_ms, -1);
    }
    for attempt in 0..2 {
        let answer = produced(&mut peer, 9, &produce(-1, "log", &[(0, Some(batch.clone()))])).remove(0);
        assert_eq!((answer.error_code, answer.base_offset), (0, 6));
        assert_eq!(answer.log_append_time_ms >= 0, attempt == 0, "the first attempt's time is not remembered");
    }
    let (attributes, times): (Vec<i16>, Vec<i64>) = batch_times(&mut peer, "log").into_iter().unzip();
    assert_eq!(attributes, [8; 4]);
    assert!(times.is_sorted() && times[0] > LONG_AGO_MS, "{times:?}");
    assert_eq!(batch_times(&mut peer, "plain"), [(0, LONG_AGO_MS); 3]);
    assert_eq!(listed(&mut peer, 8, "log", &[(0, -1, LONG_AGO_MS + 1)])[0].1, 0);
    assert_eq!(listed(&mut peer, 8, "log", &[(0, -1, times[3])])[0].2, times[3]);
    server.terminate();
}

#[test]
fn a_topic_s_batches_are_as_large_as_it_says() {
    let directory = TempDir::new().expect("a directory");
    let mut server = Setup::new(directory.path()).start();
    let mut peer = KafkaPeer::of(&mut server);
    create(&mut peer, "small", &[("max.message.bytes", "500")]);
    create(&mut peer, "large", &[("max.message.bytes", "5000000")]);
    let mut code = |topic, batch| {
        let answer = produced(&mut peer, 9, &produce(-1, topic, &[(0, Some(batch))])).remove(0);
        (answer.error_code, answer.error_message.is_some())
    };
    assert_eq!((code("small", sized(4, 100)), code("small", sized(5, 100))), ((0, false), (10, true)));
    assert_eq!((code("large", sized(1, 4_900_000)), code("large", sized(1, 5_000_000))), ((0, false), (10, true)));
    server.terminate();
}

#[test]
fn records_of_a_compacted_topic_have_keys_and_are_not_deleted() {
    let directory = TempDir::new().expect("a directory");
    let mut server = Setup::new(directory.path()).start();
    let mut peer = KafkaPeer::of(&mut server);
    create(&mut peer, "compacted", &[("cleanup.policy", "compact")]);
    create(&mut peer, "both", &[("cleanup.policy", "compact,delete")]);
    for (topic, expected) in [("compacted", (44, -1)), ("both", (0, 1))] {
        assert_eq!(produced(&mut peer, 9, &produce(-1, topic, &[(0, Some(sized(1, 1)))]))[0].error_code, 87);
        let mut keyed = rec(b"value");
        keyed.key = Some(b"key".to_vec());
        let batch = batches::batch(NOBODY, LONG_AGO_MS, &[keyed]);
        assert_eq!(produced(&mut peer, 9, &produce(-1, topic, &[(0, Some(batch.into()))]))[0].error_code, 0);
        assert_eq!(deleted(&mut peer, 2, topic, &[(0, -1)]), [expected]);
    }
    server.terminate();
}

/// What a producer may not send, by the code it is refused with.
#[test]
fn batches_that_are_wrong_are_refused_by_kafka_s_codes() {
    let directory = TempDir::new().expect("a directory");
    let mut server = Setup::new(directory.path()).set("QB_TOPICS__CREATE", r#"{"t": 1}"#).start();
    let mut peer = KafkaPeer::of(&mut server);
    let good = batches::batch(NOBODY, LONG_AGO_MS, &[rec(b"a")]);
    let body = &good[batches::HEADER_BYTES..];
    let changed = |change: fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        bytes
    };
    let of = |attributes, count, body: &[u8]| batches::batch_of(NOBODY, LONG_AGO_MS, attributes, count, body);
    for (what, batch, expected) in [
        ("a wrong checksum", changed(|bytes| bytes[20] ^= 1), 2),
        ("half of it", good[..good.len() / 2].to_vec(), 87),
        ("nothing", Vec::new(), 87),
        ("an older format", changed(|bytes| bytes[16] = 1), 87),
        ("more than one", [&good[..], &good].concat(), 87),
        ("a control batch", of(0x20, 1, body), 87),
        ("a transaction's", of(0x10, 1, body), 48),
        ("the broker's time", of(0x08, 1, body), 32),
        ("a delete horizon", of(0x40, 1, body), 87),
        ("an unknown codec", of(0x05, 1, body), 76),
        ("too many counted", of(0, 2, body), 87),
        ("a time before all time", batches::batch(NOBODY, -2, &[rec(b"a")]), 32),
        ("no sequence", batches::batch(Made { id: 1, epoch: 0, sequence: -1 }, 0, &[rec(b"a")]), 87),
    ] {
        let answer = produced(&mut peer, 9, &produce(-1, "t", &[(0, Some(batch.into()))])).remove(0);
        assert_eq!((answer.error_code, answer.base_offset), (expected, -1), "{what}: {:?}", answer.error_message);
    }
    // The codec that came last is for those who came after it.
    for (version, expected) in [(6, 76), (7, 0)] {
        let zstd = of(0x04, 1, b"\x28\xb5\x2f\xfd nobody looks");
        assert_eq!(produced(&mut peer, version, &produce(-1, "t", &[(0, Some(zstd.into()))]))[0].error_code, expected);
    }
    server.terminate();
}
