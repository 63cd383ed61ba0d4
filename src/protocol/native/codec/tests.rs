//! Tests of the frame codec: golden bytes, every truncation, hostile lengths, mutations.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::*;

const LIMITS: FrameLimits = FrameLimits { properties_bytes_max: 100, body_bytes_max: 200, batch_bytes_max: 300 };

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let pair = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).expect("ASCII");
        u8::from_str_radix(text, 16).expect("hexadecimal")
    };
    digits.chunks(2).map(pair).collect()
}

fn frame(kind: FrameType, sequence: u64, millis: i64, pairs: &[(&str, &str)], body: &[u8]) -> Frame {
    Frame {
        kind,
        sequence,
        timestamp: Timestamp::from_millis(millis),
        properties: Properties::from_pairs(pairs.iter().copied()).expect("valid"),
        body: Bytes::copy_from_slice(body),
    }
}

/// One frame of each type: its bytes written by hand from the table in docs/protocol.md, and what they mean.
fn golden() -> Vec<(Vec<u8>, Frame)> {
    let table = [
        (
            "0000 0020  0000 0003  0000 0000 0000 0001  0000 0000 0000 0000  0000 0000  0000 0000",
            frame(FrameType::Heartbeat, 1, 0, &[], b""),
        ),
        (
            "0000 002a  0000 0007  0000 0000 0000 0002  0000 018b cfe5 6800
             0000 0008  74 6f 70 69 63 3d 74 00  0000 0002  68 69",
            frame(FrameType::Publish, 2, 1_700_000_000_000, &[("topic", "t")], b"hi"),
        ),
        (
            "0000 0036  0000 0004  0000 0000 0000 0003  0000 018b cfe5 6801
             0000 0016  746f7069633d616200 706172746974696f6e733d3300  0000 0000",
            frame(FrameType::CreateTopic, 3, 1_700_000_000_001, &[("topic", "ab"), ("partitions", "3")], b""),
        ),
        (
            "0000 0031  0000 0005  ffff ffff ffff ffff  ffff ffff ffff ffff
             0000 0011  746f7069633d7400 6f66667365743d3700  0000 0000",
            frame(FrameType::Subscribe, u64::MAX, -1, &[("topic", "t"), ("offset", "7")], b""),
        ),
        (
            "0000 0028  0000 0006  0000 0000 0000 0005  0000 0000 0000 0000
             0000 0008  746f7069633d7400  0000 0000",
            frame(FrameType::Unsubscribe, 5, 0, &[("topic", "t")], b""),
        ),
        (
            "0000 0032  0000 0002  0000 0000 0000 0006  0000 0000 0000 0001
             0000 000f  7374617475733d7375636365737300  0000 0003  00 ff 00",
            frame(FrameType::Ack, 6, 1, &[("status", "success")], b"\0\xff\0"),
        ),
        (
            "0000 0025  0000 0001  0000 0000 0000 0007  0000 0000 0000 0001
             0000 0004  6b3d 3d00  0000 0001  2a",
            frame(FrameType::Data, 7, 1, &[("k", "=")], b"*"),
        ),
    ];
    let decoded = |(hex, frame): (&str, Frame)| (bytes_of(hex), frame);
    table.into_iter().map(decoded).collect()
}

/// Feeds `bytes` in pieces of `step` and collects what comes out.
fn decode(bytes: &[u8], step: usize) -> Vec<Decoded> {
    let mut codec = FrameCodec::new(LIMITS);
    let (mut src, mut out) = (BytesMut::new(), Vec::new());
    for piece in bytes.chunks(step) {
        src.extend_from_slice(piece);
        while let Some(decoded) = codec.next(&mut src) {
            out.push(decoded);
        }
    }
    out
}

#[test]
fn golden_frames() {
    for (bytes, frame) in golden() {
        assert_eq!(decode(&bytes, bytes.len()), [Decoded::Frame(frame.clone())]);
        let mut encoded = BytesMut::new();
        frame.encode(&mut encoded).expect("fits");
        assert_eq!(encoded, bytes, "{frame:?}");
    }
}

#[test]
fn every_truncation_needs_more_and_then_goes_on() {
    let all: Vec<u8> = golden().into_iter().flat_map(|(bytes, _)| bytes).collect();
    let frames: Vec<Decoded> = golden().into_iter().map(|(_, f)| Decoded::Frame(f)).collect();
    for step in 1..all.len() {
        assert_eq!(decode(&all, step), frames, "in pieces of {step}");
    }
    for (bytes, frame) in golden() {
        for end in 0..bytes.len() {
            let mut codec = FrameCodec::new(LIMITS);
            let mut src = BytesMut::from(&bytes[..end]);
            assert_eq!(codec.next(&mut src), None, "{end} bytes of {frame:?}");
            src.extend_from_slice(&bytes[end..]);
            assert_eq!(codec.next(&mut src), Some(Decoded::Frame(frame.clone())));
        }
    }
}

/// A frame of which every length can lie, filled up with `x`.
fn lying(total: u32, kind: u32, properties: u32, block: &[u8], body: u32, filled: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&total.to_be_bytes());
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&9u64.to_be_bytes());
    bytes.extend_from_slice(&0u64.to_be_bytes());
    bytes.extend_from_slice(&properties.to_be_bytes());
    bytes.extend_from_slice(block);
    bytes.extend_from_slice(&body.to_be_bytes());
    bytes.resize(filled.max(bytes.len()), b'x');
    bytes
}

/// What is answered to `bytes` and whether the frame after them is read.
fn check(bytes: &[u8], code: ErrorCode, goes_on: bool) {
    let (next, frame) = golden().swap_remove(1);
    let mut all = bytes.to_vec();
    all.extend_from_slice(&next);
    for step in [1, 7, all.len()] {
        let out = decode(&all, step);
        let answered = match &out[0] {
            Decoded::Malformed(malformed) => (malformed.sequence, malformed.code()),
            Decoded::TooLarge(large) => (large.sequence, ErrorCode::MessageTooLarge),
            Decoded::Frame(_) | Decoded::Fatal(_) => panic!("{out:?}"),
        };
        assert_eq!(answered, (9, code));
        let after = if goes_on { Decoded::Frame(frame.clone()) } else { Decoded::Fatal(Fatal::NotSkipped) };
        assert_eq!(&out[1..], [after], "in pieces of {step}");
    }
}

#[test]
fn frames_that_make_no_sense_are_answered_and_skipped() {
    let malformed = ErrorCode::Malformed;
    check(&lying(40, 7, 9, b"", 0, 40), malformed, true);
    check(&lying(40, 7, u32::MAX, b"", 0, 40), malformed, true);
    check(&lying(40, 7, 0, b"", 9, 40), malformed, true);
    check(&lying(40, 7, 0, b"", 7, 40), malformed, true);
    check(&lying(40, 7, 4, b"a=b\0", u32::MAX, 40), malformed, true);
    check(&lying(36, 7, 4, b"a=bc", 0, 36), malformed, true);
    check(&lying(36, 7, 4, b"abc\0", 0, 36), malformed, true);
    check(&lying(36, 7, 4, b"a=\xff\0", 0, 36), malformed, true);
    for kind in [0, 26, u32::MAX] {
        check(&lying(32, kind, 0, b"", 0, 32), ErrorCode::UnknownType, true);
    }
}

#[test]
fn frames_larger_than_allowed_are_answered_and_dropped_up_to_16_mib() {
    let large = ErrorCode::MessageTooLarge;
    check(&lying(333, 7, 0, b"", 301, 333), large, true);
    check(&lying(333, 12, 0, b"", 301, 333), large, true);
    check(&lying(133, 7, 101, b"", 0, 133), large, true);
    check(&lying(233, 7, 0, b"", 201, 233), large, true);
    let whole: Vec<u8> = lying(232, 7, 0, b"", 200, 232);
    assert!(matches!(decode(&whole, 232)[..], [Decoded::Frame(_)]));

    let most = SKIPPED_BYTES_MAX;
    for (total, goes_on) in [(most, true), (most + 1, false), (u32::MAX as usize, false)] {
        let mut codec = FrameCodec::new(LIMITS);
        let total = u32::try_from(total).expect("fits");
        let mut src = BytesMut::from(&lying(total, 7, 0, b"", 0, 64)[..]);
        assert!(matches!(codec.next(&mut src), Some(Decoded::TooLarge(_))));
        assert_eq!(codec.next(&mut src), None);
        for _ in 0..most / 4096 - 1 {
            src.resize(4096, 0);
            assert_eq!(codec.next(&mut src), None);
            assert!(src.is_empty() && src.capacity() <= 8192, "nothing is gathered");
        }
        src.resize(4096 - 64, 0);
        src.extend_from_slice(&golden()[0].0);
        let after = codec.next(&mut src);
        assert_eq!(matches!(after, Some(Decoded::Frame(_))), goes_on, "{after:?}");
        assert_eq!(codec.next(&mut src), None);
        assert!(src.is_empty());
    }
}

#[test]
fn a_length_no_frame_can_have_ends_it() {
    for total in [0, 4, 31] {
        let mut bytes = lying(total, 7, 0, b"", 0, 32);
        bytes.extend_from_slice(&golden()[0].0);
        let fatal = Decoded::Fatal(Fatal::Length { total });
        assert_eq!(decode(&bytes, 5), [fatal]);
    }
}

#[test]
fn memory_follows_what_came_not_what_was_announced() {
    let limits = FrameLimits::for_messages(1 << 30);
    let mut codec = FrameCodec::new(limits);
    let mut src = BytesMut::from(&lying((1 << 30) + 32, 7, 0, b"", 1 << 30, 32)[..]);
    assert_eq!(codec.next(&mut src), None);
    assert!(src.capacity() <= 2 * GROWTH_BYTES_MIN, "{}", src.capacity());
}

proptest! {
    #[test]
    fn round_trip(
        sequence: u64,
        millis: i64,
        pairs in proptest::collection::vec(("[^\0=]{1,5}", "[^\0]{0,5}"), 0..4),
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let pairs: Vec<_> = pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let frame = frame(FrameType::Data, sequence, millis, &pairs, &body);
        let mut codec = FrameCodec::new(FrameLimits::for_messages(200));
        let mut bytes = BytesMut::new();
        frame.encode(&mut bytes).expect("fits");
        prop_assert_eq!(codec.next(&mut bytes), Some(Decoded::Frame(frame)));
        prop_assert!(bytes.is_empty());
    }

    #[test]
    fn no_mutation_panics(
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        step in 1usize..64,
    ) {
        let mut all: Vec<u8> = golden().into_iter().flat_map(|(bytes, _)| bytes).collect();
        for (at, byte) in flips {
            let at = at.index(all.len());
            all[at] = byte;
        }
        for decoded in decode(&all, step) {
            if let Decoded::Frame(frame) = decoded {
                let _meaning = crate::protocol::native::Request::parse(&frame);
            }
        }
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), step in 1usize..64) {
        decode(&bytes, step);
    }
}

/// Read as the codec asks for it, a large frame has its buffer for itself: its body can be changed where it lies.
#[test]
fn a_large_frame_gets_a_buffer_of_its_own() {
    let limits = FrameLimits::for_messages(1 << 20);
    let mut codec = FrameCodec::new(limits);
    let mut src = BytesMut::new();
    for body_bytes in [OWN_BUFFER_BYTES_MIN, 1 << 20, 100_000] {
        let properties = Properties::from_pairs([("topic", "t")]).expect("valid");
        let body = Bytes::from(vec![7; body_bytes]);
        let frame = Frame { kind: FrameType::PublishBatch, sequence: 1, timestamp: Timestamp::NONE, properties, body };
        let mut encoded = BytesMut::new();
        frame.encode(&mut encoded).expect("short enough");
        src.extend_from_slice(&encoded.split_to(5_000));
        while !encoded.is_empty() {
            assert_eq!(codec.next(&mut src), None);
            let missing = codec.missing().expect("a large frame is under way").get();
            assert_eq!(missing, encoded.len());
            src.extend_from_slice(&encoded.split_to(missing.min(300_000)));
        }
        let Some(Decoded::Frame(mut decoded)) = codec.next(&mut src) else { panic!("a frame of {body_bytes} bytes") };
        assert_eq!((&decoded, codec.missing()), (&frame, None));
        let at = decoded.body.as_ptr();
        let owned = decoded.take_batch().try_into_mut().expect("nobody else refers to it");
        assert_eq!(owned.as_ptr(), at);
    }
}

#[test]
fn small_frames_ask_for_nothing() {
    let mut codec = FrameCodec::new(FrameLimits::for_messages(1 << 20));
    let mut src = BytesMut::from(&[0, 0, 0x80, 0, 0, 0, 0, 1][..]);
    assert_eq!((codec.next(&mut src), codec.missing()), (None, None));
}
