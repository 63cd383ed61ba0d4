//! A topic deleted and created again under its name is another topic, whatever its files look like.

use super::*;
use crate::record::ProducerStamp;
use crate::types::{ProducerEpoch, ProducerId, Sequence};

/// A batch of an idempotent producer's first record; but for the id, the same bytes for all.
fn first_of(producer: i64) -> ProducedBatch {
    let producer = ProducerStamp {
        id: ProducerId::new(producer).unwrap(),
        epoch: ProducerEpoch::new(0).unwrap(),
        base_sequence: Some(Sequence::FIRST),
    };
    let mut builder = BatchBuilder::new(BuilderOptions { producer: Some(producer), ..BuilderOptions::default() });
    builder.append(at(0), None, Some(b"first"), &[]).unwrap();
    builder.finish().unwrap()
}

/// A snapshot's checkpoint is checked against the batch before it, and nothing in that batch names the topic: where the
/// new topic happens to hold the same bytes there, only the topic's id tells that the producers are not its own.
#[test]
fn a_checkpoint_of_the_topic_before_says_nothing_of_its_producers() {
    let rig = Rig::new();
    rig.create("events", 1, 10);
    rig.partition("events", 0).append(first_of(7), AckLevel::Durable, None, at(0)).unwrap();
    rig.publish("events", 0, "the same in both");
    rig.broker.snapshot_now(at(0)).unwrap();
    rig.delete("events");
    rig.create("events", 1, 11);
    rig.partition("events", 0).append(first_of(8), AckLevel::Durable, None, at(0)).unwrap();
    rig.publish("events", 0, "the same in both");

    let again = open(&rig.disk.power_cut(3));
    let partition = again.partition("events", 0);
    assert_eq!(again.values("events", 0), ["first", "the same in both"]);
    let repeated = partition.append(first_of(8), AckLevel::Durable, None, at(0)).unwrap();
    assert!(repeated.is_duplicate, "the producer of this topic is known");
    let new = partition.append(first_of(7), AckLevel::Durable, None, at(0)).unwrap();
    assert!(!new.is_duplicate, "the producer of the topic before is not");
}
