//! The decoder of Kafka's requests against everything that is not quite right, as the native one.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Encodable, StrBytes};
use wiber::protocol::kafka::{APIS, Api};

use super::bytes_max;
use super::counting::most_during;
use super::drive_kafka::{Read, request, requests};
use super::inputs::{Chance, mutate};

fn framed(api: Api, version: i16, body: &[u8]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    bytes.put_i16(api.to_wire());
    bytes.put_i16(version);
    bytes.put_i32(7);
    bytes.put_slice(b"\0\x04test");
    if api.is_flexible(version) {
        bytes.put_u8(0);
    }
    bytes.put_slice(body);
    [&u32::try_from(bytes.len()).expect("a small request").to_be_bytes()[..], &bytes].concat()
}

fn encoded<T: Encodable>(api: Api, version: i16, body: &T) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    body.encode(&mut bytes, version).expect("a request that its version has a place for");
    framed(api, version, &bytes)
}

/// Good requests: some with much in them, and of every API the empty one of each version.
fn good() -> Vec<Vec<u8>> {
    let text = StrBytes::from_static_str;
    let topic = |name| metadata_request::MetadataRequestTopic::default().with_name(Some(TopicName(text(name))));
    let metadata = MetadataRequest::default().with_topics(Some(vec![topic("one"), topic("two")]));
    let protocol = |name| {
        let protocol = join_group_request::JoinGroupRequestProtocol::default();
        protocol.with_name(text(name)).with_metadata(Bytes::from_static(b"\0\x01\0\0\0\x01\0\x03one"))
    };
    let join = JoinGroupRequest::default()
        .with_group_id(GroupId(text("group")))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol("range"), protocol("cooperative-sticky")]);
    let records = produce_request::PartitionProduceData::default().with_records(Some(Bytes::from_static(&[5; 90])));
    let produce = produce_request::TopicProduceData::default()
        .with_name(TopicName(text("one")))
        .with_partition_data(vec![records.clone(), records.with_index(1)]);
    let produce = ProduceRequest::default().with_acks(-1).with_topic_data(vec![produce]);
    let fetch = fetch_request::FetchTopic::default()
        .with_topic(TopicName(text("one")))
        .with_partitions(vec![fetch_request::FetchPartition::default(); 3]);
    let fetch = FetchRequest::default().with_topics(vec![fetch]);
    let mut all = vec![
        encoded(Api::Metadata, 4, &metadata),
        encoded(Api::Metadata, 12, &metadata),
        encoded(Api::JoinGroup, 5, &join),
        encoded(Api::JoinGroup, 9, &join),
        encoded(Api::Produce, 3, &produce),
        encoded(Api::Produce, 12, &produce),
        encoded(Api::Fetch, 4, &fetch),
        encoded(Api::Fetch, 12, &fetch),
    ];
    // All zeros are numbers, empty strings, empty or absent arrays, in the classic encoding; enough of them are any request.
    for row in APIS {
        all.extend(
            (row.min..=row.max)
                .filter(|version| *version < row.flexible_since)
                .map(|version| framed(row.api, version, &[0; 64])),
        );
    }
    all
}

fn check(input: &[u8]) -> Read {
    let whole = requests(input, input.len());
    for piece in [1, 7] {
        assert_eq!(requests(input, piece), whole, "in pieces of {piece}: {input:?}");
    }
    let body = Bytes::copy_from_slice(input.get(4..).unwrap_or_default());
    let (_, most) = most_during(|| request(body));
    assert!(most <= bytes_max(input.len()), "{most} bytes held for {} that came: {input:?}", input.len());
    whole
}

#[test]
fn good_requests_are_understood() {
    for input in good() {
        assert_eq!(check(&input), Read { requests: 1, refused: 0, is_closed: false }, "{input:?}");
    }
    assert_eq!(check(&good().concat()).requests, good().len());
}

#[test]
fn every_truncation_waits_for_the_rest() {
    for input in good() {
        for end in 0..input.len() {
            assert_eq!(requests(&input[..end], end), Read::default(), "{end} of {input:?}");
        }
    }
}

#[test]
fn every_changed_byte_is_survived() {
    for input in good() {
        for at in 0..input.len() {
            for change in [1, 2, 0x10, 0x7F, 0x80, 0xFF] {
                let mut bytes = input.clone();
                bytes[at] ^= change;
                check(&bytes);
            }
        }
    }
}

/// Counts without what they count, and counts of as much as there is: bounded, however large the request.
#[test]
fn what_is_held_is_in_proportion() {
    for row in APIS {
        for version in row.min..=row.max {
            for before in [0, 2, 4, 8, 10, 14, 18] {
                for (bytes, count) in [(20, 10), (1_000, 500), (50_000, 12_000), (50_000, 49_000), (20, i32::MAX)] {
                    for fill in [0, 1, 0x7F] {
                        let mut body = vec![0; before];
                        body.extend(count.to_be_bytes());
                        body.resize(before + bytes, fill);
                        let frame = Bytes::from(framed(row.api, version, &body)).slice(4..);
                        let length = frame.len();
                        let (_, most) = most_during(|| request(frame));
                        assert!(most <= bytes_max(length), "{most} held: {row:?} {version} {before} {bytes} {fill}");
                    }
                }
            }
        }
    }
}

fn run(seed: u64, executions: u64) {
    let (inputs, mut chance) = (good(), Chance::new(seed));
    for _ in 0..executions {
        let mut bytes = inputs[chance.below(inputs.len())].clone();
        mutate(&mut bytes, &mut chance);
        check(&bytes);
    }
}

#[test]
fn inputs_that_chance_made() {
    run(6, 20_000);
}

#[test]
#[ignore = "minutes: run it in release"]
fn many_millions_of_inputs() {
    let executions =
        std::env::var("WIBER_DECODER_EXECUTIONS").map_or(10_000_000, |text| text.parse().expect("a number"));
    run(7, executions);
}
