//! Tests of what the server sends, above all of how a record's parts find room in a DATA frame.

use super::*;
use crate::protocol::native::{Decoded, Frame, FrameCodec, FrameLimits};

const NOW: Timestamp = Timestamp::from_millis(17);

/// The one frame that `write` appends.
fn written(write: impl FnOnce(&mut BytesMut)) -> Frame {
    let mut dst = BytesMut::new();
    write(&mut dst);
    let mut codec = FrameCodec::new(FrameLimits::for_messages(1 << 20));
    match codec.next(&mut dst) {
        Some(Decoded::Frame(frame)) if dst.is_empty() => frame,
        other => panic!("{other:?}, {} bytes left", dst.len()),
    }
}

fn check(kind: FrameType, sequence: u64, properties: &str, write: impl FnOnce(&mut BytesMut)) {
    let frame = written(write);
    assert_eq!((frame.kind, frame.sequence, frame.timestamp), (kind, sequence, NOW));
    let shown: Vec<String> = frame.properties.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(shown.join(" "), properties);
}

fn offset(value: u64) -> Offset {
    Offset::new(value).expect("small")
}

#[test]
fn acks() {
    let p = PartitionIndex(2);
    let ack = FrameType::Ack;
    check(ack, 1, "status=success topic=t partitions=3", |dst| {
        topic_ack(dst, 1, NOW, "t", 3);
    });
    check(ack, 2, "status=success topic=t partition=2 offset=9223372036854775807", |dst| {
        publish_ack(dst, 2, NOW, "t", p, Offset::MAX);
    });
    check(ack, 3, "status=success topic=t partition=2 client_id=c start_offset=0", |dst| {
        subscribe_ack(dst, 3, NOW, "t", p, "c", Offset::ZERO);
    });
    check(ack, 4, "status=success topic=t partition=2 client_id=c", |dst| {
        unsubscribe_ack(dst, 4, NOW, "t", p, "c");
    });
    check(ack, 5, "status=error error=a b code=not_leader leader=h:1", |dst| {
        error_ack(dst, 5, NOW, ErrorCode::NotLeader, "a\0b", &[("leader", "h:1")]);
    });
    check(FrameType::Heartbeat, 0, "", |dst| heartbeat(dst, 0, NOW));
}

type Headers<'a> = &'a [(&'a [u8], Option<&'a [u8]>)];

fn data_of(key: Option<&[u8]>, headers: Headers<'_>, value: Option<&[u8]>, expected: &str) {
    let record = DataRecord {
        topic: "t",
        partition: PartitionIndex(1),
        offset: offset(42),
        timestamp: NOW,
        key,
        value,
        stamp: None,
    };
    let expected = format!("topic=t partition=1 {expected}");
    let write = |dst: &mut BytesMut| data(dst, &record, headers.iter().copied()).expect("fits");
    check(FrameType::Data, 42, expected.trim_end(), write);
    assert_eq!(written(write).body, value.unwrap_or_default());
}

#[test]
fn data_frames() {
    let value: Option<&[u8]> = Some(b"body\0\xff");
    data_of(None, &[], value, "");
    data_of(Some(b""), &[], value, "key=");
    data_of(Some(b"k=1"), &[], value, "key=k=1");
    data_of(Some(b"k\0"), &[], value, "key.b64=awA=");
    data_of(Some(b"\xff"), &[], None, "key.b64=/w== wiber.tombstone=true");
    data_of(None, &[], Some(b""), "");

    data_of(None, &[(b"a", Some(b"1")), (b"a", Some(b"2")), (b"b", None)], value, "a=1 a=2 b=");
    data_of(None, &[(b"a", Some(b"\xff"))], value, "a.b64=/w==");
    data_of(None, &[(b"wiber.id", Some(b"7"))], value, "wiber.id=7");
    let taken: Headers<'_> = &[(b"topic", Some(b"x")), (b"key", Some(b"\0"))];
    data_of(None, taken, value, "header.topic=x header.key.b64=AA==");
    let imitations: Headers<'_> = &[(b"wiber.tombstone", Some(b"true")), (b"key.b64", Some(b"x"))];
    data_of(None, imitations, value, "header.wiber.tombstone=true header.key.b64=x");
    let twins: Headers<'_> = &[(b"a", Some(b"\0")), (b"a.b64", Some(b"x")), (b"c.b64", Some(b"x"))];
    data_of(None, twins, value, "a.b64=AA== header.a.b64=x c.b64=x");
    let odd: Headers<'_> = &[(b"", Some(b"1")), (b"a=b%", Some(b"2")), (b"\xff\0x", Some(b"3"))];
    data_of(None, odd, value, "header.=1 header.a%3Db%25=2 header.%FF%00x=3");
}

#[test]
fn an_unfinished_frame_leaves_no_trace() {
    let mut dst = BytesMut::from(&b"before"[..]);
    let mut writer = FrameWriter::new(&mut dst, FrameType::Ack, 1, NOW);
    writer.property("a", "b").expect("valid");
    assert!(writer.property("a", "\0").is_err());
    drop(writer);
    assert_eq!(&dst[..], b"before");
}
