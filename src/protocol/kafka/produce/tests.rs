//! Produce against the crate's own encoder and decoder, truncated, and changed.

use bytes::BytesMut;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{self, ResponseHeader, TransactionalId};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use proptest::prelude::*;

use super::*;
use crate::protocol::kafka::KafkaError;
use crate::types::{Offset, Timestamp};

type Topic = (&'static str, Vec<(i32, Option<&'static [u8]>)>);

fn some(records: &'static [u8]) -> Option<&'static [u8]> {
    Some(records)
}

fn topics() -> Vec<Topic> {
    vec![
        ("events", vec![(0, some(b"first batch")), (7, None), (-1, some(b""))]),
        ("", vec![]),
        ("other", vec![(1, some(&[0xAB; 200]))]),
    ]
}

fn encoded(version: i16, acks: i16, transactional_id: Option<&'static str>, topics: &[Topic]) -> Bytes {
    let topic_data = topics.iter().map(|&(name, ref partitions)| {
        let partition = |(index, records): &(i32, Option<&'static [u8]>)| {
            PartitionProduceData::default().with_index(*index).with_records(records.map(Bytes::from_static))
        };
        TopicProduceData::default()
            .with_name(StrBytes::from_static_str(name).into())
            .with_partition_data(partitions.iter().map(partition).collect())
    });
    let request = messages::ProduceRequest::default()
        .with_transactional_id(transactional_id.map(|id| TransactionalId(StrBytes::from_static_str(id))))
        .with_acks(acks)
        .with_timeout_ms(30_000)
        .with_topic_data(topic_data.collect());
    let mut bytes = BytesMut::new();
    request.encode(&mut bytes, version).unwrap();
    bytes.freeze()
}

/// A topic's name, and of its partitions indexes and records.
type Walked = (String, Vec<(i32, Option<Bytes>)>);

fn walked(request: &ProduceRequest) -> Vec<Walked> {
    let partitions = |topic: &ProduceTopic<'_>| topic.partitions().map(|p| (p.index, p.records)).collect();
    request.topics().map(|topic| (topic.name.to_owned(), partitions(&topic))).collect()
}

#[test]
fn every_version_is_read_as_the_crate_writes_it() {
    for version in 3..=12 {
        for (number, acks) in [(0, Some(Acks::None)), (1, Some(Acks::Leader)), (-1, Some(Acks::All)), (2, None)] {
            for id in [None, Some("transaction")] {
                let request = ProduceRequest::parse(version, encoded(version, number, id, &topics())).unwrap();
                assert_eq!((request.acks, request.timeout_ms, request.transactional_id()), (acks, 30_000, id));
                assert_eq!((request.topic_count, request.partition_count), (3, 4));
                let counts: Vec<_> = request.topics().map(|topic| topic.partition_count()).collect();
                assert_eq!(counts, [3, 0, 1]);
                let expected: Vec<_> = topics()
                    .into_iter()
                    .map(|(name, partitions)| {
                        let partition =
                            |(index, records): (i32, Option<&'static [u8]>)| (index, records.map(Bytes::from_static));
                        (name.to_owned(), partitions.into_iter().map(partition).collect::<Vec<_>>())
                    })
                    .collect();
                assert_eq!(walked(&request), expected, "version {version}");
            }
        }
    }
}

/// By hand, from the protocol guide: version 9, no transaction, acks all, one second, topic "t", partition 2, two bytes.
#[test]
fn golden_bytes() {
    let bytes = b"\x00\xff\xff\x00\x00\x03\xe8\x02\x02t\x02\x00\x00\x00\x02\x03ab\x00\x00\x00";
    let request = ProduceRequest::parse(9, Bytes::from_static(bytes)).unwrap();
    assert_eq!((request.acks, request.timeout_ms), (Some(Acks::All), 1_000));
    assert_eq!(walked(&request), [("t".to_owned(), vec![(2, Some(Bytes::from_static(b"ab")))])]);
    // The same in version 3.
    let bytes =
        b"\xff\xff\xff\xff\x00\x00\x03\xe8\x00\x00\x00\x01\x00\x01t\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x02ab";
    let request = ProduceRequest::parse(3, Bytes::from_static(bytes)).unwrap();
    assert_eq!(walked(&request), [("t".to_owned(), vec![(2, Some(Bytes::from_static(b"ab")))])]);
}

#[test]
fn every_truncation_is_refused() {
    for version in 3..=12 {
        let body = encoded(version, -1, Some("id"), &topics());
        for end in 0..body.len() {
            let error = ProduceRequest::parse(version, body.slice(..end)).unwrap_err();
            assert_eq!(error, Malformed::Short, "version {version}, {end} bytes");
        }
    }
}

#[test]
fn other_versions_are_refused() {
    for version in [-1, 0, 2, 13] {
        assert!(matches!(ProduceRequest::parse(version, Bytes::from_static(&[0; 64])), Err(Malformed::Refused(_))));
    }
}

/// Records are slices of the request, and those of a request for one partition are nobody else's.
#[test]
fn records_are_not_copied() {
    let body = encoded(9, 1, None, &topics());
    let range = body.as_ptr_range();
    let request = ProduceRequest::parse(9, body.clone()).unwrap();
    for (_, partitions) in walked(&request) {
        for records in partitions.into_iter().filter_map(|(_, records)| records).filter(|records| !records.is_empty()) {
            assert!(range.contains(&records.as_ptr()));
        }
    }
    drop(request);
    assert_eq!(ProduceRequest::parse(9, body).unwrap().take_only_records(), None);

    let mut buffer = BytesMut::new();
    buffer.extend_from_slice(&encoded(9, 1, Some("id"), &[("t", vec![(0, some(b"batch"))])]));
    let mut request = ProduceRequest::parse(9, buffer.split().freeze()).unwrap();
    drop(buffer);
    let records = request.take_only_records().unwrap();
    assert_eq!((request.topics().count(), request.transactional_id()), (0, None));
    assert_eq!(records.try_into_mut().expect("nobody else refers to it"), &b"batch"[..]);
}

/// The response as the crate reads it.
fn decoded(mut bytes: Bytes, version: i16) -> messages::ProduceResponse {
    assert_eq!(bytes.split_to(4)[..], u32::try_from(bytes.len()).unwrap().to_be_bytes());
    let header = ResponseHeader::decode(&mut bytes, i16::from(version >= 9)).unwrap();
    assert_eq!(header.correlation_id, 77);
    let response = messages::ProduceResponse::decode(&mut bytes, version).unwrap();
    assert!(bytes.is_empty());
    response
}

#[test]
fn every_version_of_the_response_is_as_the_crate_reads_it() {
    let stored = Produced {
        base_offset: Offset::new(41).unwrap(),
        append_time: Some(Timestamp::from_millis(1_700_000_000_000)),
        log_start: Offset::new(3).unwrap(),
    };
    let failure = ProduceFailure { error: KafkaError::InvalidRecord, message: Some("no key"), records: &[5] };
    for version in 3..=12 {
        let mut out = BytesMut::from(&b"before"[..]);
        let mut response = ProduceResponse::begin(&mut out, version, 77, 3);
        response.topic("one", 2);
        response.partition(0, Ok(stored));
        response.partition(1, Err(failure));
        response.topic("none", 0);
        response.topic("two", 1);
        response.partition(9, Err(KafkaError::UnknownTopicOrPartition.into()));
        response.finish().unwrap();
        let response = decoded(out.freeze().slice(6..), version);
        let names: Vec<_> = response.responses.iter().map(|topic| topic.name.as_str()).collect();
        assert_eq!((names, response.throttle_time_ms), (vec!["one", "none", "two"], 0));
        let [first, second] = &response.responses[0].partition_responses[..] else { panic!("{response:?}") };
        assert_eq!((first.index, first.error_code, first.base_offset), (0, 0, 41));
        assert_eq!(first.log_append_time_ms, 1_700_000_000_000);
        assert_eq!(first.log_start_offset, if version >= 5 { 3 } else { -1 });
        assert_eq!((second.index, second.error_code, second.base_offset, second.log_append_time_ms), (1, 87, -1, -1));
        let message = (version >= 8).then(|| StrBytes::from_static_str("no key"));
        assert_eq!(second.error_message, message);
        let records: Vec<_> = second.record_errors.iter().map(|record| record.batch_index).collect();
        assert_eq!(records, if version >= 8 { vec![5] } else { vec![] });
        assert_eq!(response.responses[2].partition_responses[0].error_code, 3);
    }
}

#[test]
fn what_is_too_long_is_taken_back() {
    let mut out = BytesMut::from(&b"before"[..]);
    let mut response = ProduceResponse::begin(&mut out, 3, 77, 1);
    response.topic(&"x".repeat(40_000), 0);
    assert!(response.finish().is_err());
    assert_eq!(out, &b"before"[..]);
}

proptest! {
    #[test]
    fn any_bytes_are_survived(version in 3_i16..13, body in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(mut request) = ProduceRequest::parse(version, Bytes::from(body)) {
            prop_assert_eq!(walked(&request).len(), request.topic_count);
            request.take_only_records();
        }
    }

    #[test]
    fn changed_requests_are_survived(version in 3_i16..13, at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut body = encoded(version, 1, Some("id"), &topics()).to_vec();
        let at = at.index(body.len());
        body[at] = byte;
        if let Ok(request) = ProduceRequest::parse(version, Bytes::from(body)) {
            let partitions: usize = walked(&request).iter().map(|(_, partitions)| partitions.len()).sum();
            prop_assert_eq!(partitions, request.partition_count);
        }
    }
}
