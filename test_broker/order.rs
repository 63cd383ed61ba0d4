//! What goes over the wire, and in which order.

use std::collections::HashMap;

use wiber::protocol::native::{Frame, FrameType};

use crate::harness::{Chance, Server, Setup, Wire, offset, request};

fn start(variables: &[(&str, &str)]) -> (tempfile::TempDir, Server) {
    let directory = tempfile::tempdir().expect("a directory");
    let setup = Setup::new(&directory.path().join("data"));
    let setup = variables.iter().fold(setup, |setup, (name, value)| setup.set(name, value));
    let setup = setup.expect_line("an acknowledged record survives a crash of the server, but");
    (directory, setup.start())
}

fn heartbeat(sequence: u64) -> Frame {
    request(FrameType::Heartbeat, sequence, &[], b"")
}

#[test]
fn the_ack_to_a_subscribe_goes_before_its_data() {
    let (_directory, server) = start(&[]);
    let mut wire = Wire::connect(&server);
    wire.create_topic("t", 1);
    for body in ["a", "b", "c"] {
        wire.publish("t", 0, body.as_bytes());
    }
    for round in 0..20 {
        let mut reader = Wire::connect(&server);
        let properties = [("topic", "t"), ("client_id", "me"), ("offset", "1")];
        let ack = reader.ask(&request(FrameType::Subscribe, 1 + round % 2, &properties, b""));
        let said: Vec<_> = ack.properties.iter().collect();
        let expected =
            [("status", "success"), ("topic", "t"), ("partition", "0"), ("client_id", "me"), ("start_offset", "1")];
        assert_eq!(said, expected);
        for (sequence, body) in [(1, "b"), (2, "c")] {
            let data = reader.next();
            assert_eq!((data.kind, data.sequence, &data.body[..]), (FrameType::Data, sequence, body.as_bytes()));
            assert_eq!((data.properties.get("topic"), data.properties.get("partition")), (Some("t"), Some("0")));
        }
    }
}

/// Old clients set a subscription's handler up only after they have read its ACK: their first DATA is held back. A
/// heartbeat asked for meanwhile overtakes it, and so does the ACK of a publish.
#[test]
fn clients_of_version_one_get_their_grace() {
    let (_directory, server) = start(&[("QB_SERVER__SUBSCRIBE_GRACE_MS", "300")]);
    let mut wire = Wire::connect(&server);
    wire.create_topic("t", 1);
    wire.publish("t", 0, b"first");
    let properties = [("topic", "t"), ("version", "1.0"), ("created_at", "1")];
    let ack = wire.ask(&request(FrameType::Subscribe, 1, &properties, b""));
    wire.ask(&heartbeat(2));
    assert_eq!(wire.publish("t", 0, b"second"), 1);
    wire.send(&heartbeat(3));
    let (mut kinds, mut last) = (Vec::new(), None);
    while kinds.len() < 3 {
        let frame = wire.next();
        kinds.push((frame.kind, frame.sequence));
        last = Some(frame);
    }
    assert_eq!(kinds, [(FrameType::Heartbeat, 3), (FrameType::Data, 0), (FrameType::Data, 1)]);
    // DATA carries the record's own time, so the lower bound is taken from a reply made after it.
    let after = wire.ask(&heartbeat(4)).timestamp;
    assert!(after.millis() - ack.timestamp.millis() >= 300, "{ack:?} {last:?}");
}

#[test]
fn nothing_follows_the_ack_to_an_unsubscribe() {
    let (_directory, server) = start(&[]);
    let mut publisher = Wire::connect(&server);
    publisher.create_topic("t", 1);
    let body = vec![b'x'; 5_000];
    let properties = [("topic", "t"), ("partition", "0"), ("wiber.ack", "leader")];
    let mut chance = Chance::new(3);
    for round in 0..30 {
        let records: Vec<_> = (1..=40).map(|n| request(FrameType::Publish, n, &properties, &body)).collect();
        publisher.send_all(&records);
        let mut reader = Wire::connect(&server);
        reader.subscribe("t", 0, 0);
        for _ in 0..chance.below(20 * (round + 1)) {
            assert_eq!(reader.next().kind, FrameType::Data);
        }
        reader.send(&request(FrameType::Unsubscribe, 77, &[("topic", "t")], b""));
        while reader.next().kind == FrameType::Data {}
        // Neither what was there nor what comes now.
        let late = Wire::connect(&server).publish("t", 0, b"late");
        assert!(late > 0);
        reader.ask(&heartbeat(78));
        reader.refused(&request(FrameType::Unsubscribe, 79, &[("topic", "t")], b""), "not_subscribed");
        for _ in 0..40 {
            publisher.next();
        }
    }
}

/// A client that reads what it publishes, on one connection with many publishes under way: the ACK of each comes before
/// its DATA.
fn acks_before_data(sync: &str, level: &str) {
    const RECORDS: u64 = 3_000;
    const IN_FLIGHT: u64 = 60;
    let (_directory, server) = start(&[("QB_STORAGE__SYNC", sync)]);
    let mut wire = Wire::connect(&server);
    wire.create_topic("t", 1);
    wire.subscribe("t", 0, 0);
    let properties = [("topic", "t"), ("partition", "0"), ("wiber.ack", level)];
    // Far above any offset, so that no reply can be mistaken for a record.
    let first = 1 << 32;
    let (mut sent, mut acknowledged, mut delivered) = (0, 0, 0);
    while delivered < RECORDS {
        while sent < RECORDS && sent - delivered.min(acknowledged) < IN_FLIGHT {
            wire.send(&request(FrameType::Publish, first + sent, &properties, &sent.to_be_bytes()));
            sent += 1;
        }
        let frame = wire.next();
        if frame.kind == FrameType::Ack {
            assert_eq!((frame.sequence, offset(&frame)), (first + acknowledged, acknowledged), "{frame:?}");
            acknowledged += 1;
        } else {
            assert_eq!((frame.kind, frame.sequence), (FrameType::Data, delivered));
            assert!(acknowledged > delivered, "sync={sync} ack={level}: DATA {delivered} came before its ACK");
            delivered += 1;
        }
    }
}

#[test]
fn the_ack_to_a_publish_goes_before_its_data() {
    for (sync, level) in [("always", "durable"), ("always", "leader"), ("os", "leader"), ("os", "durable")] {
        acks_before_data(sync, level);
    }
}

/// Publishes to several partitions at several levels take different times; their replies keep the order of the requests,
/// and so do refusals and heartbeats between them.
#[test]
fn replies_keep_the_order_of_their_requests() {
    let (_directory, server) = start(&[]);
    let mut wire = Wire::connect(&server);
    wire.create_topic("t", 4);
    let mut chance = Chance::new(4);
    let mut next_offset: HashMap<u64, u64> = HashMap::new();
    for _ in 0..20 {
        let (mut frames, mut expected) = (Vec::new(), Vec::new());
        for sequence in 1..=200 {
            let partition = chance.below(6);
            let level = ["durable", "leader"][usize::from(chance.below(2) == 0)];
            let number = partition.to_string();
            frames.push(match chance.below(10) {
                0 => heartbeat(sequence),
                1 => request(FrameType::Publish, sequence, &[("topic", "absent")], b"x"),
                _ => {
                    let properties = [("topic", "t"), ("partition", &*number), ("wiber.ack", level)];
                    request(FrameType::Publish, sequence, &properties, b"x")
                }
            });
            expected.push((sequence, partition));
        }
        wire.send_all(&frames);
        for (frame, (sequence, partition)) in frames.iter().zip(expected) {
            let reply = wire.next();
            assert_eq!(reply.sequence, sequence);
            let code = reply.properties.get("code");
            match (frame.kind, frame.properties.get("topic")) {
                (FrameType::Heartbeat, _) => assert_eq!(reply.kind, FrameType::Heartbeat),
                (_, Some("absent")) => assert_eq!(code, Some("unknown_topic")),
                _ if partition > 3 => assert_eq!(code, Some("unknown_partition")),
                // One connection's records of one partition and level follow each other; levels may change places.
                _ => *next_offset.entry(partition).or_default() += u64::from(code.is_none()),
            }
        }
    }
    let stored: u64 = (0..4).map(|partition| Wire::connect(&server).publish("t", partition, b"last")).sum();
    assert_eq!(stored, next_offset.values().sum::<u64>());
}

#[test]
fn heartbeats_are_echoed_and_the_servers_own_carry_zero() {
    let (_directory, server) = start(&[("QB_SERVER__HEARTBEAT_INTERVAL", "0.1")]);
    let mut wire = Wire::connect(&server);
    wire.send(&heartbeat(41));
    let mut sequences = vec![];
    while sequences.len() < 4 {
        let frame = wire.next();
        assert_eq!(frame.kind, FrameType::Heartbeat);
        sequences.push(frame.sequence);
    }
    sequences.sort_unstable();
    assert_eq!(sequences, [0, 0, 0, 41]);
}

#[test]
fn publishes_without_a_reply_are_stored_in_order() {
    let (_directory, server) = start(&[]);
    let mut wire = Wire::connect(&server);
    wire.create_topic("t", 1);
    let properties = [("topic", "t"), ("wiber.ack", "none")];
    let records: Vec<_> =
        (0..100_u64).map(|n| request(FrameType::Publish, n, &properties, n.to_string().as_bytes())).collect();
    wire.send_all(&records);
    wire.ask(&heartbeat(1_000));
    wire.subscribe("t", 0, 0);
    for n in 0..100 {
        let data = wire.next();
        assert_eq!((data.kind, data.sequence, &data.body[..]), (FrameType::Data, n, n.to_string().as_bytes()));
    }
}
