//! Idempotent producers: their ids, and their batches stored once and in order.

use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::{DescribeProducersRequest, InitProducerIdRequest, ProducerId, TransactionalId};
use kafka_protocol::protocol::StrBytes;
use tempfile::TempDir;

use super::produce_fetch::{name, produce, produced};
use crate::harness::Server;
use crate::harness::batches::{self, Made, rec};
use crate::harness::kafka::KafkaPeer;

fn nobody() -> InitProducerIdRequest {
    InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1)
}

/// Error, id and epoch.
fn initialized(peer: &mut KafkaPeer, version: i16, request: &InitProducerIdRequest) -> (i16, i64, i16) {
    let answer = peer.call(version, request);
    (answer.error_code, answer.producer_id.0, answer.producer_epoch)
}

fn start(directory: &TempDir) -> (Server, KafkaPeer) {
    let mut server = crate::kafka::kept(&directory).set("QB_TOPICS__CREATE", r#"{"t": 1}"#).start();
    let peer = KafkaPeer::of(&mut server);
    (server, peer)
}

#[test]
fn every_producer_has_an_id_of_its_own() {
    let directory = TempDir::new().expect("a directory");
    let mut ids = Vec::new();
    for _ in 0..2 {
        let (server, mut peer) = start(&directory);
        for version in 0..=5 {
            let (error, id, epoch) = initialized(&mut peer, version, &nobody());
            assert_eq!((error, epoch), (0, 0));
            ids.push(id);
        }
        // One that comes back gets another.
        let known = nobody().with_producer_id(ProducerId(ids[0])).with_producer_epoch(7);
        let (error, id, epoch) = initialized(&mut peer, 5, &known);
        assert_eq!((error, epoch), (0, 0));
        ids.push(id);
        server.kill();
    }
    let mut distinct = ids.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!((distinct.len(), distinct.iter().all(|id| *id >= 0)), (ids.len(), true), "{ids:?}");
}

#[test]
fn there_are_no_transactions() {
    let directory = TempDir::new().expect("a directory");
    let (server, mut peer) = start(&directory);
    let of = |id: &'static str| nobody().with_transactional_id(Some(TransactionalId(StrBytes::from_static_str(id))));
    for version in 0..=5 {
        assert_eq!(initialized(&mut peer, version, &of("mine")), (53, -1, -1));
        assert_eq!(initialized(&mut peer, version, &of("")), (42, -1, -1));
    }
    for half in [nobody().with_producer_id(ProducerId(3)), nobody().with_producer_epoch(3)] {
        assert_eq!(initialized(&mut peer, 4, &half), (42, -1, -1));
    }
    server.terminate();
}

fn publish(peer: &mut KafkaPeer, made: Made, records: usize) -> (i16, i64) {
    let records: Vec<_> = (0..records).map(|number| rec(format!("record {number}").as_bytes())).collect();
    let batch = batches::batch(made, 1_700_000_000_000, &records);
    let answer = produced(peer, 9, &produce(-1, "t", &[(0, Some(batch.into()))])).remove(0);
    (answer.error_code, answer.base_offset)
}

#[test]
fn batches_are_stored_once_and_in_order() {
    let directory = TempDir::new().expect("a directory");
    let (server, mut peer) = start(&directory);
    let (_, id, _) = initialized(&mut peer, 4, &nobody());
    let made = |epoch, sequence| Made { id, epoch, sequence };
    for number in 0..7_i32 {
        assert_eq!(publish(&mut peer, made(0, number * 2), 2), (0, i64::from(number) * 2));
    }
    for number in 2..7_i32 {
        let again = publish(&mut peer, made(0, number * 2), 2);
        assert_eq!(again, (0, i64::from(number) * 2), "one of the last five, again");
    }
    assert_eq!(publish(&mut peer, made(0, 2), 2), (45, -1), "one before them");
    assert_eq!(publish(&mut peer, made(0, 15), 1), (45, -1), "one is missing");
    assert_eq!(publish(&mut peer, made(1, 1), 1), (45, -1), "an incarnation begins with its first");
    assert_eq!(publish(&mut peer, made(1, 0), 1), (0, 14));
    assert_eq!(publish(&mut peer, made(0, 14), 1), (47, -1), "of the incarnation before");
    // Nobody knows this one: its records may be gone.
    let unknown = |sequence| Made { id: id + 500, epoch: 3, sequence };
    assert_eq!(publish(&mut peer, unknown(i32::MAX - 1), 3), (0, 15));
    assert_eq!(publish(&mut peer, unknown(1), 1), (0, 18), "after the last sequence comes 0");
    assert_eq!(publish(&mut peer, unknown(i32::MAX - 1), 3), (0, 15));

    let topics = vec![TopicRequest::default().with_name(name("t")).with_partition_indexes(vec![0, 1])];
    let answer = peer.call(0, &DescribeProducersRequest::default().with_topics(topics));
    let partitions = &answer.topics[0].partitions;
    assert_eq!((partitions[0].error_code, partitions[1].error_code), (0, 3));
    let known: Vec<_> = partitions[0]
        .active_producers
        .iter()
        .map(|known| (known.producer_id.0, known.producer_epoch, known.last_sequence, known.current_txn_start_offset))
        .collect();
    assert_eq!(known, [(id, 1, 0, -1), (id + 500, 3, 1, -1)]);
    server.terminate();
}
