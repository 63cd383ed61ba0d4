//! Mistakes of clients: each is answered with its code, and the connection goes on.

use bytes::BytesMut;
use wiber::protocol::native::{Frame, FrameType};

use crate::harness::{Server, Setup, Wire, request};

fn start(variables: &[(&str, &str)]) -> (tempfile::TempDir, Server) {
    let directory = tempfile::tempdir().expect("a directory");
    let setup = Setup::new(&directory.path().join("data"));
    let setup = variables.iter().fold(setup, |setup, (name, value)| setup.set(name, value));
    (directory, setup.start())
}

/// A request of this type with these properties is refused with this code.
type Case = (FrameType, &'static [(&'static str, &'static str)], &'static str);

fn is_alive(wire: &mut Wire) {
    let reply = wire.ask(&request(FrameType::Heartbeat, 4_711, &[], b""));
    assert_eq!(reply.kind, FrameType::Heartbeat);
}

fn bytes_of(frame: &Frame) -> BytesMut {
    let mut bytes = BytesMut::new();
    frame.encode(&mut bytes).expect("encodes");
    bytes
}

#[test]
fn requests_that_cannot_be_done_say_why() {
    use FrameType::{CreateTopic, Publish, Subscribe, Unsubscribe};
    let (_directory, server) = start(&[]);
    let mut wire = Wire::connect(&server);
    wire.create_topic("t", 2);
    wire.subscribe("t", 1, 0);
    let cases: &[Case] = &[
        (Publish, &[("topic", "absent")], "unknown_topic"),
        (Subscribe, &[("topic", "absent")], "unknown_topic"),
        (Unsubscribe, &[("topic", "absent")], "not_subscribed"),
        (Publish, &[("topic", "t"), ("partition", "2")], "unknown_partition"),
        (Subscribe, &[("topic", "t"), ("partition", "2")], "unknown_partition"),
        (Subscribe, &[("topic", "t"), ("partition", "1")], "already_subscribed"),
        (Unsubscribe, &[("topic", "t"), ("partition", "0")], "not_subscribed"),
        (CreateTopic, &[("topic", "t"), ("partitions", "3")], "topic_exists"),
        (CreateTopic, &[("topic", "a b")], "invalid_topic"),
        (CreateTopic, &[("topic", "..")], "invalid_topic"),
        (CreateTopic, &[("topic", "")], "invalid_topic"),
        (CreateTopic, &[("topic", "__meta")], "invalid_topic"),
        (CreateTopic, &[("topic", "u"), ("partitions", "0")], "invalid_property"),
        (CreateTopic, &[("topic", "u"), ("partitions", "many")], "invalid_property"),
        (CreateTopic, &[("topic", "u"), ("partitions", "1000000")], "invalid_property"),
        (CreateTopic, &[], "invalid_property"),
        (Publish, &[("partition", "0")], "invalid_property"),
        (Publish, &[("topic", "__meta")], "invalid_topic"),
        (Subscribe, &[("topic", "__meta")], "unknown_topic"),
        (Publish, &[("topic", "t"), ("topic", "t")], "invalid_property"),
        (Publish, &[("topic", "t"), ("partition", "-1")], "invalid_property"),
        (Publish, &[("topic", "t"), ("wiber.ack", "perhaps")], "invalid_property"),
        (Publish, &[("topic", "t"), ("wiber.unheard_of", "1")], "invalid_property"),
        (Subscribe, &[("topic", "t"), ("offset", "x")], "invalid_property"),
        (Subscribe, &[("topic", "t"), ("wiber.start", "soon")], "invalid_property"),
        (FrameType::Data, &[("topic", "t")], "unknown_type"),
    ];
    for (number, &(kind, properties, code)) in (100..).zip(cases) {
        wire.refused(&request(kind, number, properties, b"x"), code);
        is_alive(&mut wire);
    }
    // An ACK sent by a client gets no reply, not even where it is wrong.
    wire.send(&request(FrameType::Ack, 9, &[("topic", "absent")], b""));
    wire.send(&request(FrameType::Ack, 9, &[], b""));
    is_alive(&mut wire);
    // Creating a topic as it is, is no mistake.
    wire.create_topic("t", 2);
}

#[test]
fn frames_that_make_no_sense_are_answered_and_passed_over() {
    let (_directory, server) = start(&[]);
    let mut wire = Wire::connect(&server);
    wire.create_topic("t", 1);
    let good = bytes_of(&request(FrameType::Publish, 21, &[("topic", "t")], b"payload"));
    let change = |at: usize, value: u32| {
        let mut bytes = good.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
        bytes
    };
    let body_length_at = good.len() - b"payload".len() - 4;
    let cases: &[(&str, BytesMut, &str)] = &[
        ("the properties reach beyond the frame", change(24, 1_000), "malformed"),
        ("the properties reach into the body", change(24, 10), "malformed"),
        ("the largest properties_length", change(24, u32::MAX), "malformed"),
        ("the body reaches beyond the frame", change(body_length_at, 8), "malformed"),
        ("the body ends early", change(body_length_at, 6), "malformed"),
        ("an unknown type", change(4, 99), "unknown_type"),
        ("type zero", change(4, 0), "unknown_type"),
        ("properties that are not UTF-8", change(28, 0xFFFF_FFFF), "malformed"),
    ];
    for (what, bytes, code) in cases {
        wire.send_bytes(bytes);
        let reply = wire.next();
        assert_eq!((reply.sequence, reply.properties.get("code")), (21, Some(*code)), "{what}: {reply:?}");
        is_alive(&mut wire);
    }
    // The same byte by byte, and a good frame after it.
    for byte in &cases[0].1 {
        wire.send_bytes(&[*byte]);
    }
    wire.expect_refusal(21, "malformed");
    assert_eq!(wire.publish("t", 0, b"good"), 0);
}

#[test]
fn a_frame_that_is_too_large_is_drained_and_the_connection_kept() {
    let (_directory, server) = start(&[("QB_TOPICS__MAX_MESSAGE_SIZE", "1000")]);
    let mut wire = Wire::connect(&server);
    wire.create_topic("t", 1);
    assert_eq!(wire.publish("t", 0, &[b'x'; 1_000]), 0);
    for bytes in [1_001, 100_000, 2 << 20, (16 << 20) - 100] {
        wire.refused(&request(FrameType::Publish, 31, &[("topic", "t")], &vec![b'x'; bytes]), "message_too_large");
        is_alive(&mut wire);
    }
    let header = "h".repeat(70_000);
    wire.refused(&request(FrameType::Publish, 32, &[("topic", "t"), ("header", &header)], b""), "message_too_large");
    assert_eq!(wire.publish("t", 0, b"small"), 1);
}

#[test]
fn where_no_frame_can_be_found_the_connection_is_closed() {
    let (_directory, server) = start(&[]);
    let mut short = Wire::connect(&server);
    short.send_bytes(&[0, 0, 0, 31, 0, 0, 0, 3]);
    assert_eq!(short.next_or_end(), None);
    let mut web = Wire::connect(&server);
    web.send_bytes(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n");
    // Read as a length that is 1.1 GB: refused at once, on the word of its length nothing is kept.
    let refusal = web.next();
    assert_eq!(refusal.properties.get("code"), Some("message_too_large"));
    is_alive(&mut Wire::connect(&server));
}

#[test]
fn who_says_nothing_sensible_in_time_is_closed() {
    let (_directory, server) = start(&[("QB_SERVER__HANDSHAKE_TIMEOUT", "0.2")]);
    let mut sensible = Wire::connect(&server);
    is_alive(&mut sensible);
    let mut silent = Wire::connect(&server);
    assert_eq!(silent.next_or_end(), None);
    let mut slow = Wire::connect(&server);
    slow.send_bytes(&[0, 0]);
    assert_eq!(slow.next_or_end(), None);
    let mut wrong = Wire::connect(&server);
    wrong.send(&request(FrameType::Publish, 1, &[], b""));
    wrong.expect_refusal(1, "invalid_property");
    assert_eq!(wrong.next_or_end(), None);
    is_alive(&mut sensible);
}

#[test]
fn topics_come_into_being_where_that_is_allowed() {
    let (_directory, server) = start(&[("QB_TOPICS__AUTO_CREATE", "true"), ("QB_DEFAULT_PARTITIONS", "2")]);
    let mut wire = Wire::connect(&server);
    assert_eq!(wire.publish("by.publish", 1, b"x"), 0);
    wire.subscribe("by.subscribe", 1, 0);
    wire.refused(&request(FrameType::Publish, 1, &[("topic", "__own")], b""), "invalid_topic");
    wire.refused(&request(FrameType::Publish, 1, &[("topic", "no/name")], b""), "invalid_topic");
}
