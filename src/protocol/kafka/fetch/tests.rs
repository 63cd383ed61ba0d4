//! Fetch against the crate's own encoder and decoder, truncated, and changed.

use bytes::BytesMut;
use kafka_protocol::messages::fetch_request::{self, ForgottenTopic as Forgotten};
use kafka_protocol::messages::{self, BrokerId, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use proptest::prelude::*;

use super::*;
use crate::protocol::kafka::KafkaError;
use crate::types::Offset;

fn partitions() -> Vec<FetchPartition> {
    let partition = |index, offset| FetchPartition {
        index,
        current_leader_epoch: 4,
        offset,
        last_fetched_epoch: 3,
        bytes_max: 1 << 20,
    };
    vec![partition(0, 17), partition(5, 0), partition(-1, -1)]
}

/// What a version has of a partition.
fn as_of(version: i16, partition: FetchPartition) -> FetchPartition {
    FetchPartition {
        current_leader_epoch: if version >= 9 { partition.current_leader_epoch } else { -1 },
        last_fetched_epoch: if version >= 12 { partition.last_fetched_epoch } else { -1 },
        ..partition
    }
}

fn encoded(version: i16) -> Bytes {
    let partition = |partition: FetchPartition| {
        let partition = as_of(version, partition);
        fetch_request::FetchPartition::default()
            .with_partition(partition.index)
            .with_current_leader_epoch(partition.current_leader_epoch)
            .with_fetch_offset(partition.offset)
            .with_last_fetched_epoch(partition.last_fetched_epoch)
            .with_log_start_offset(-1)
            .with_partition_max_bytes(partition.bytes_max)
    };
    let topic = |name: &'static str, partitions: Vec<FetchPartition>| {
        fetch_request::FetchTopic::default()
            .with_topic(StrBytes::from_static_str(name).into())
            .with_partitions(partitions.into_iter().map(partition).collect())
    };
    let mut request = messages::FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(500)
        .with_min_bytes(1)
        .with_max_bytes(50 << 20)
        .with_isolation_level(1)
        .with_topics(vec![topic("events", partitions()), topic("none", vec![])]);
    if version >= 7 {
        let forgotten =
            Forgotten::default().with_topic(StrBytes::from_static_str("gone").into()).with_partitions(vec![1, 2]);
        request = request.with_session_id(8).with_session_epoch(3).with_forgotten_topics_data(vec![forgotten]);
    }
    if version >= 11 {
        request = request.with_rack_id(StrBytes::from_static_str("rack"));
    }
    let mut bytes = BytesMut::new();
    request.encode(&mut bytes, version).unwrap();
    bytes.freeze()
}

fn walked(request: &FetchRequest) -> Vec<(String, Vec<FetchPartition>)> {
    request.topics().map(|topic| (topic.name.to_owned(), topic.partitions().collect())).collect()
}

fn forgotten_of(request: &FetchRequest) -> Vec<(String, Vec<i32>)> {
    request.forgotten().map(|topic| (topic.name.to_owned(), topic.partitions().collect())).collect()
}

#[test]
fn every_version_is_read_as_the_crate_writes_it() {
    for version in 4..=12 {
        let request = FetchRequest::parse(version, encoded(version)).unwrap();
        assert_eq!((request.replica_id, request.max_wait_ms, request.bytes_min), (-1, 500, 1));
        assert_eq!((request.bytes_max, request.is_read_committed), (50 << 20, true));
        assert_eq!((request.topic_count, request.partition_count), (2, 3));
        let of_version: Vec<_> = partitions().into_iter().map(|partition| as_of(version, partition)).collect();
        assert_eq!(walked(&request), [("events".to_owned(), of_version), ("none".to_owned(), vec![])]);
        let counts: Vec<_> = request.topics().map(|topic| topic.partition_count()).collect();
        assert_eq!(counts, [3, 0]);
        if version >= 7 {
            assert_eq!(request.session, FetchSession::Next { id: 8, epoch: 3 });
            assert_eq!((forgotten_of(&request), request.forgotten_count), (vec![("gone".to_owned(), vec![1, 2])], 2));
        } else {
            assert_eq!(request.session, FetchSession::Sessionless { ends: 0 });
            assert!(forgotten_of(&request).is_empty());
        }
    }
}

#[test]
fn sessions() {
    assert_eq!(FetchSession::from_wire(0, -1), FetchSession::Sessionless { ends: 0 });
    assert_eq!(FetchSession::from_wire(9, -1), FetchSession::Sessionless { ends: 9 });
    assert_eq!(FetchSession::from_wire(0, 0), FetchSession::New { replaces: 0 });
    assert_eq!(FetchSession::from_wire(9, 1), FetchSession::Next { id: 9, epoch: 1 });
}

/// By hand, from the protocol guide: version 4, one topic "t", partition 2 from offset 3 with 16 bytes.
#[test]
fn golden_bytes() {
    let bytes = b"\xff\xff\xff\xff\x00\x00\x00\x64\x00\x00\x00\x01\x00\x00\x10\x00\x00\x00\x00\x00\x01\x00\x01t\
        \x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x10";
    let request = FetchRequest::parse(4, Bytes::from_static(bytes)).unwrap();
    assert_eq!((request.max_wait_ms, request.bytes_min, request.bytes_max), (100, 1, 4_096));
    assert!(!request.is_read_committed);
    let partition =
        FetchPartition { index: 2, current_leader_epoch: -1, offset: 3, last_fetched_epoch: -1, bytes_max: 16 };
    assert_eq!(walked(&request), [("t".to_owned(), vec![partition])]);
}

#[test]
fn every_truncation_is_refused() {
    for version in 4..=12 {
        let body = encoded(version);
        for end in 0..body.len() {
            let error = FetchRequest::parse(version, body.slice(..end)).unwrap_err();
            assert_eq!(error, Malformed::Short, "version {version}, {end} bytes");
        }
    }
}

/// The pieces of a response put together, and how many batches went by reference.
fn joined(written: &[u8], pieces: FetchPieces) -> (Bytes, usize) {
    let (mut whole, mut batches, length) = (BytesMut::new(), 0, pieces.len());
    pieces.send(written, |piece| match piece {
        Piece::Written(bytes) => whole.extend_from_slice(bytes),
        Piece::Batch(batch) => {
            batches += 1;
            whole.extend_from_slice(&batch);
        }
    });
    assert_eq!(whole.len(), length);
    (whole.freeze(), batches)
}

fn decoded(mut bytes: Bytes, version: i16) -> messages::FetchResponse {
    assert_eq!(bytes.split_to(4)[..], u32::try_from(bytes.len()).unwrap().to_be_bytes());
    let header = ResponseHeader::decode(&mut bytes, i16::from(version >= 12)).unwrap();
    assert_eq!(header.correlation_id, 77);
    let response = messages::FetchResponse::decode(&mut bytes, version).unwrap();
    assert!(bytes.is_empty());
    response
}

#[test]
fn every_version_of_the_response_is_as_the_crate_reads_it() {
    let offset = |number| Offset::new(number).unwrap();
    let batches = [Bytes::from(vec![1; 10_000]), Bytes::from_static(b"second")];
    let fetched =
        |batches| Fetched { high_watermark: offset(90), last_stable: offset(80), log_start: offset(7), batches };
    for version in 4..=12 {
        for is_read_committed in [false, true] {
            let mut out = BytesMut::new();
            let session_id = if version >= 7 { 21 } else { 0 };
            let mut response = FetchResponse::begin(&mut out, version, 77, session_id, is_read_committed, 3);
            response.topic("one", 3);
            response.partition(&FetchedPartition { index: 0, result: Ok(fetched(&batches)) });
            response.partition(&FetchedPartition { index: 1, result: Ok(fetched(&[])) });
            response.partition(&FetchedPartition { index: 2, result: Err(KafkaError::OffsetOutOfRange) });
            response.topic("none", 0);
            response.topic("two", 1);
            response.partition(&FetchedPartition { index: 6, result: Ok(fetched(&batches[1..])) });
            let pieces = response.finish().unwrap();
            let (whole, by_reference) = joined(&out, pieces);
            assert_eq!(by_reference, 3);
            let response = decoded(whole, version);
            assert_eq!((response.session_id, response.error_code, response.throttle_time_ms), (session_id, 0, 0));
            let names: Vec<_> = response.responses.iter().map(|topic| topic.topic.as_str()).collect();
            assert_eq!(names, ["one", "none", "two"]);
            let [full, empty, failed] = &response.responses[0].partitions[..] else { panic!("{response:?}") };
            assert_eq!(full.records, Some(Bytes::from(batches.concat())));
            assert_eq!((full.partition_index, full.error_code), (0, 0));
            assert_eq!((full.high_watermark, full.last_stable_offset), (90, 80));
            assert_eq!(full.log_start_offset, if version >= 5 { 7 } else { -1 });
            assert_eq!(full.aborted_transactions.is_some(), is_read_committed);
            assert_eq!(empty.records, Some(Bytes::new()));
            assert_eq!((failed.error_code, failed.high_watermark, failed.last_stable_offset), (1, -1, -1));
            assert_eq!(failed.records, Some(Bytes::new()));
            assert_eq!(response.responses[2].partitions[0].records, Some(Bytes::from_static(b"second")));
        }
    }
}

#[test]
fn a_request_is_refused_whole() {
    for version in 4..=12 {
        let mut out = BytesMut::new();
        FetchResponse::refuse(&mut out, version, 77, KafkaError::FetchSessionIdNotFound).unwrap();
        let response = decoded(out.freeze(), version);
        assert_eq!(response.error_code, if version >= 7 { 70 } else { 0 });
        assert!(response.responses.is_empty());
    }
}

proptest! {
    #[test]
    fn any_bytes_are_survived(version in 4_i16..13, body in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(request) = FetchRequest::parse(version, Bytes::from(body)) {
            prop_assert_eq!(walked(&request).len(), request.topic_count);
        }
    }

    #[test]
    fn changed_requests_are_survived(version in 4_i16..13, at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut body = encoded(version).to_vec();
        let at = at.index(body.len());
        body[at] = byte;
        if let Ok(request) = FetchRequest::parse(version, Bytes::from(body)) {
            let partitions: usize = walked(&request).iter().map(|(_, partitions)| partitions.len()).sum();
            let forgotten: usize = forgotten_of(&request).iter().map(|(_, partitions)| partitions.len()).sum();
            prop_assert_eq!((partitions, forgotten), (request.partition_count, request.forgotten_count));
        }
    }
}
