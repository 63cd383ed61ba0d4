//! Frames that are wrong: each is answered with its code where its end is known, and the connection goes on.

use super::start;
use crate::harness::peer::{self, ACK, BATCH, DATA, HEARTBEAT, PUBLISH, PUBLISH_BATCH, Peer, bytes_of, frame};

/// A good PUBLISH, of which one number is made wrong.
fn changed(at: usize, value: u32) -> Vec<u8> {
    let mut bytes = frame(PUBLISH, 21, &[("topic", "t")]).with_body(b"payload").bytes();
    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
    bytes
}

/// Where the good PUBLISH has its lengths of properties and body.
const PROPERTIES_LENGTH: usize = 24;
const BODY_LENGTH: usize = 28 + "topic=t\0".len();

fn publish_with(block: &[u8]) -> Vec<u8> {
    bytes_of(PUBLISH, 21, 0, block, b"payload")
}

fn wrong_frames() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    vec![
        ("the properties reach beyond the frame", changed(PROPERTIES_LENGTH, 1_000), "malformed"),
        ("the properties reach into the body", changed(PROPERTIES_LENGTH, 10), "malformed"),
        ("the properties end early", changed(PROPERTIES_LENGTH, 7), "malformed"),
        ("the largest properties_length", changed(PROPERTIES_LENGTH, u32::MAX), "malformed"),
        ("a properties_length that is negative if signed", changed(PROPERTIES_LENGTH, 1 << 31), "malformed"),
        ("the body reaches beyond the frame", changed(BODY_LENGTH, 8), "malformed"),
        ("the body ends early", changed(BODY_LENGTH, 6), "malformed"),
        ("the largest body_length", changed(BODY_LENGTH, u32::MAX), "malformed"),
        ("type 0", changed(4, 0), "unknown_type"),
        ("DATA", changed(4, DATA), "unknown_type"),
        ("BATCH", changed(4, BATCH), "unknown_type"),
        ("ASSIGNMENT", changed(4, 21), "unknown_type"),
        ("type 26", changed(4, 26), "unknown_type"),
        ("the largest type", changed(4, u32::MAX), "unknown_type"),
        ("properties that are not UTF-8", publish_with(b"topic=\xFF\xFE\0"), "malformed"),
        ("a name that is not UTF-8", publish_with(b"topic=t\0\xC3=x\0"), "malformed"),
        ("a property without an end", publish_with(b"topic=t"), "malformed"),
        ("a second property without an end", publish_with(b"topic=t\0a=b"), "malformed"),
        ("a property without a value", publish_with(b"topic=t\0name\0"), "malformed"),
        ("a property without a name", publish_with(b"topic=t\0=value\0"), "malformed"),
        ("an empty property", publish_with(b"topic=t\0\0"), "malformed"),
        ("an unknown type whose properties are wrong as well", bytes_of(77, 21, 0, b"\xFF", b""), "unknown_type"),
    ]
}

#[test]
fn a_wrong_frame_costs_nothing_but_itself() {
    let (_directory, server) = start(&[]);
    let mut peer = Peer::connect(&server);
    peer.create("t", 1);
    for (what, bytes, code) in wrong_frames() {
        peer.send_bytes(&bytes);
        peer::expect_refusal(&peer.next(), 21, code, what);
        peer.is_alive();
    }
    // All in one write, with good ones between them.
    let frames = wrong_frames();
    let all: Vec<u8> = frames.iter().flat_map(|(_, bytes, _)| [bytes.clone(), good().bytes()].concat()).collect();
    peer.send_bytes(&all);
    for (what, _, code) in frames {
        peer::expect_refusal(&peer.next(), 21, code, what);
        assert_eq!(peer.next().get("status"), Some("success"), "after {what}");
    }
    peer.is_alive();
}

fn good() -> peer::Raw {
    frame(PUBLISH, 22, &[("topic", "t")]).with_body(b"good")
}

/// A frame may come in any pieces.
#[test]
fn frames_come_byte_by_byte() {
    let (_directory, server) = start(&[]);
    let mut peer = Peer::connect(&server);
    peer.create("t", 1);
    for (what, bytes, code) in wrong_frames() {
        for byte in &bytes {
            peer.send_bytes(&[*byte]);
        }
        peer::expect_refusal(&peer.next(), 21, code, what);
    }
    for byte in good().bytes() {
        peer.send_bytes(&[byte]);
    }
    assert_eq!(peer.next().get("offset"), Some("0"));
}

/// An ACK by a client gets no reply, whatever is wrong with it.
#[test]
fn an_ack_gets_no_reply() {
    let (_directory, server) = start(&[]);
    let mut peer = Peer::connect(&server);
    peer.create("t", 1);
    for (_, mut bytes, code) in wrong_frames() {
        if code == "malformed" {
            bytes[4..8].copy_from_slice(&ACK.to_be_bytes());
            peer.send_bytes(&bytes);
        }
    }
    for properties in [
        &[][..],
        &[("topic", "t")],
        &[("topic", "absent")],
        &[("topic", "t"), ("topic", "t")],
        &[("topic", "t"), ("partition", "x")],
        &[("topic", "t"), ("partition", "9")],
        &[("topic", "t"), ("wiber.unheard_of", "1")],
        &[("status", "success")],
    ] {
        for sequence in [0, 7, u64::MAX] {
            peer.send(&[frame(ACK, sequence, properties)]);
        }
    }
    let mut huge = frame(ACK, 9, &[("topic", "t")]).bytes();
    huge[..4].copy_from_slice(&(3_u32 << 20).to_be_bytes());
    huge.resize(3 << 20, 0);
    peer.send_bytes(&huge);
    peer.is_alive();
}

/// The answer does not wait for the rest of a frame that is wrong already.
#[test]
fn the_answer_comes_as_soon_as_the_fault_shows() {
    let (_directory, server) = start(&[]);
    let mut peer = Peer::connect(&server);
    let bytes = changed(PROPERTIES_LENGTH, 1_000);
    peer.send_bytes(&bytes[..28]);
    peer::expect_refusal(&peer.next(), 21, "malformed", "the lengths alone");
    peer.send_bytes(&bytes[28..]);
    peer.is_alive();
    let mut long = frame(PUBLISH, 23, &[("topic", "t")]).with_body(&vec![b'x'; 2 << 20]).bytes();
    let rest = long.split_off(16);
    peer.send_bytes(&long);
    peer::expect_refusal(&peer.next(), 23, "message_too_large", "the first 16 bytes");
    peer.send_bytes(&rest);
    peer.is_alive();
}

#[test]
fn what_is_too_large_is_drained_and_the_connection_kept() {
    let (_directory, server) = start(&[("QB_TOPICS__MAX_MESSAGE_SIZE", "1000")]);
    let mut peer = Peer::connect(&server);
    peer.create("t", 1);
    let publish = |bytes: usize| frame(PUBLISH, 31, &[("topic", "t")]).with_body(&vec![b'x'; bytes]);
    peer.ask(&publish(1_000));
    for bytes in [1_001, 66_000, 2 << 20, (16 << 20) - 100] {
        peer.refused(&publish(bytes), "message_too_large");
        peer.is_alive();
    }
    // 64 KiB of properties are allowed, one byte more is not.
    let filling = |bytes: usize| "h".repeat(bytes - "topic=t\0h=\0".len());
    peer.ask(&frame(PUBLISH, 32, &[("topic", "t"), ("h", &filling(64 << 10))]));
    peer.refused(&frame(PUBLISH, 33, &[("topic", "t"), ("h", &filling((64 << 10) + 1))]), "message_too_large");
    peer.refused(&frame(HEARTBEAT, 34, &[("topic", "t"), ("h", &filling(70_000))]), "message_too_large");
    peer.is_alive();
}

/// Above 16 MiB as many are dropped and the connection is closed; the answer is there before.
#[test]
fn what_is_far_too_large_is_answered_and_closed() {
    let (_directory, server) = start(&[]);
    for total in [(16 << 20) + 1, 1 << 31, u32::MAX] {
        for kind in [PUBLISH, PUBLISH_BATCH] {
            let mut peer = Peer::connect(&server);
            let mut bytes = frame(kind, 41, &[("topic", "t")]).bytes();
            bytes[..4].copy_from_slice(&total.to_be_bytes());
            peer.send_bytes(&bytes);
            peer::expect_refusal(&peer.next(), 41, "message_too_large", &format!("{total} bytes of type {kind}"));
            let chunk = vec![0; 1 << 20];
            for _ in 0..18 {
                if !peer.try_send_bytes(&chunk) {
                    break;
                }
            }
            assert!(peer.ends(), "{total} bytes of type {kind}");
        }
    }
}

#[test]
fn where_no_frame_can_be_found_the_connection_is_closed() {
    let (_directory, server) = start(&[]);
    for total in [0_u32, 1, 4, 31] {
        let mut peer = Peer::connect(&server);
        peer.is_alive();
        let mut bytes = frame(HEARTBEAT, 1, &[]).bytes();
        bytes[..4].copy_from_slice(&total.to_be_bytes());
        let _closed_meanwhile = peer.try_send_bytes(&bytes);
        assert!(peer.ends(), "a total_length of {total}");
    }
    // Read as a length that is 1.1 GB.
    let mut web = Peer::connect(&server);
    web.send_bytes(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n");
    assert_eq!(web.next().get("code"), Some("message_too_large"));
    // What was whole before the end is answered.
    let mut cut = Peer::connect(&server);
    cut.create("t", 1);
    cut.send_bytes(&[good().bytes(), good().bytes()[..20].to_vec()].concat());
    cut.finish_sending();
    assert_eq!(cut.next().get("offset"), Some("0"));
    assert!(cut.ends());
}

/// A connection has `server.handshake_timeout` for its first valid frame.
#[test]
fn who_says_nothing_sensible_in_time_is_closed() {
    let (_directory, server) = start(&[("QB_SERVER__HANDSHAKE_TIMEOUT", "0.2")]);
    let mut sensible = Peer::connect(&server);
    sensible.is_alive();
    let first_words: &[(&str, &[u8], Option<&str>)] = &[
        ("nothing", b"", None),
        ("half a length", &[0, 0], None),
        ("half a frame", &good().bytes()[..40], None),
        ("a frame that is wrong", &changed(PROPERTIES_LENGTH, 1_000), Some("malformed")),
        ("an unknown type", &changed(4, 99), Some("unknown_type")),
        ("a request that is none", &frame(PUBLISH, 21, &[]).bytes(), Some("invalid_property")),
    ];
    for (what, bytes, code) in first_words {
        let mut peer = Peer::connect(&server);
        peer.send_bytes(bytes);
        if let Some(code) = code {
            peer::expect_refusal(&peer.next(), 21, code, what);
        }
        assert!(peer.ends(), "{what}");
    }
    sensible.is_alive();
}

/// Numbers are the client's own: any goes, the largest too, and the same one twice.
#[test]
fn replies_carry_the_number_of_their_request() {
    let (_directory, server) = start(&[]);
    let mut peer = Peer::connect(&server);
    peer.create("t", 1);
    for sequence in [0, 1, 1, u64::from(u32::MAX) + 1, i64::MAX.cast_unsigned(), u64::MAX] {
        let request = frame(PUBLISH, sequence, &[("topic", "t")]);
        peer.ask(&request);
        peer.refused(&frame(PUBLISH, sequence, &[("topic", "absent")]), "unknown_topic");
        peer.send(&[frame(HEARTBEAT, sequence, &[])]);
        let reply = peer.next_or_end().expect("a heartbeat");
        assert_eq!((reply.kind, reply.sequence), (HEARTBEAT, sequence));
    }
}
