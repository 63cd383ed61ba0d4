//! Lines cut at every place, commands in every form, and what a line shows of a record.

use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::types::{Offset, PartitionIndex, Timestamp, TopicName};

const LIMITS: LineLimits = LineLimits { line_bytes_max: 20 };

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

/// What comes of bytes that arrive in these pieces; a line as its text.
fn cut(pieces: &[&[u8]]) -> Vec<String> {
    let (mut codec, mut bytes, mut cuts) = (LineCodec::new(LIMITS), BytesMut::new(), Vec::new());
    for piece in pieces {
        bytes.extend_from_slice(piece);
        while let Some(cut) = codec.next(&mut bytes) {
            cuts.push(match cut {
                Cut::Line(line) => String::from_utf8_lossy(&line).into_owned(),
                Cut::TooLong => "TOO LONG".to_owned(),
                Cut::Endless => "ENDLESS".to_owned(),
            });
        }
        assert!(bytes.len() <= LIMITS.line_bytes_max + 1, "{} bytes are kept", bytes.len());
    }
    cuts
}

#[test]
fn lines_are_cut_wherever_they_are_divided() {
    let text = "PING\r\n\n PUB t caf\u{e9} \r\n12345678901234567890\n123456789012345678901\r\n1234567890123456789012\nQUIT\nrest";
    let whole = cut(&[text.as_bytes()]);
    let expected = ["PING\r", "", " PUB t caf\u{e9} \r", "12345678901234567890", "TOO LONG", "TOO LONG", "QUIT"];
    assert_eq!(whole, expected);
    for first in 0..=text.len() {
        for second in first..=text.len() {
            let bytes = text.as_bytes();
            assert_eq!(cut(&[&bytes[..first], &bytes[first..second], &bytes[second..]]), expected, "{first} {second}");
        }
    }
    let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
    assert_eq!(cut(&single), expected);
}

#[test]
fn a_line_without_end_is_dropped_as_it_comes_and_given_up_in_the_end() {
    let piece = [b'x'; 64 << 10];
    let (mut codec, mut bytes) = (LineCodec::new(LIMITS), BytesMut::new());
    let mut said = Vec::new();
    for sent in 1.. {
        bytes.extend_from_slice(&piece);
        let cut = codec.next(&mut bytes);
        assert_eq!((bytes.len(), codec.missing(&bytes)), (0, 0));
        said.extend(cut.clone());
        if cut == Some(Cut::Endless) {
            assert_eq!(sent * piece.len() / piece.len(), DISCARDED_BYTES_MAX / piece.len() + 1);
            break;
        }
    }
    assert_eq!(said, [Cut::TooLong, Cut::Endless]);
}

#[test]
fn what_is_missing_of_a_line_is_known() {
    let (mut codec, mut bytes) = (LineCodec::new(LIMITS), BytesMut::new());
    // Twenty bytes, a carriage return, a newline.
    for expected in (1..=22).rev() {
        assert_eq!((codec.next(&mut bytes), codec.missing(&bytes)), (None, expected));
        bytes.extend_from_slice(b"x");
    }
    assert_eq!((codec.next(&mut bytes), codec.missing(&bytes)), (Some(Cut::TooLong), 0));
}

#[test]
fn commands_are_read_as_they_are_written() {
    let publish = |topic, message| Ok(Command::Publish { topic, message });
    let subscribe = |name, group| Ok(Command::Subscribe { topic: topic(name), group });
    let history = |name, count| Ok(Command::History { topic: topic(name), count });
    for (line, expected) in [
        ("PUB t hello", publish("t", "hello")),
        ("pub t hello  two   three", publish("t", "hello  two   three")),
        ("PUB t  led by a space", publish("t", " led by a space")),
        ("PUB   t\thello", publish("t", "hello")),
        ("SUB t", subscribe("t", None)),
        ("sub  t  workers", subscribe("t", Some("workers"))),
        ("Sub t \u{e9}quipe", subscribe("t", Some("\u{e9}quipe"))),
        ("HISTORY t 0", history("t", 0)),
        ("history t 007", history("t", 7)),
        ("HISTORY t 99999999999999999999999", history("t", u64::MAX)),
        ("ACK msg_1", Ok(Command::Ack)),
        ("heartbeat", Ok(Command::Heartbeat)),
        ("Ping", Ok(Command::Ping)),
        ("qUIT", Ok(Command::Quit)),
    ] {
        assert_eq!(Command::parse(line), expected, "{line:?}");
    }
}

#[test]
fn what_is_no_command_is_told_how_it_is_written() {
    let long = format!("SUB t {}", "g".repeat(256));
    for (line, part) in [
        ("HELLO", "unknown command 'HELLO'"),
        ("PUBLISH t x", "unknown command 'PUBLISH': there are SUB <topic> [group], PUB <topic> <message>"),
        ("PUB", "PUB <topic> <message>"),
        ("PUB t", "PUB <topic> <message>"),
        ("SUB", "SUB <topic> [group]"),
        ("SUB t g more", "SUB <topic> [group]"),
        ("SUB a/b", "'a/b' is no topic's name"),
        ("SUB .", "'.' is no topic's name"),
        (&long, "at most 255 bytes, not 256"),
        ("HISTORY t", "HISTORY <topic> <n>"),
        ("HISTORY t 1 2", "HISTORY <topic> <n>"),
        ("HISTORY t -1", "'-1' is no number of records"),
        ("HISTORY t +1", "'+1' is no number of records"),
        ("HISTORY t 1.5", "'1.5' is no number of records"),
        ("ACK", "ACK <id>"),
        ("ACK a b", "ACK <id>"),
        ("PING x", "it is written: PING"),
        ("QUIT now", "it is written: QUIT"),
        ("HEARTBEAT 1", "it is written: HEARTBEAT"),
        (&"\u{e9}".repeat(50), &format!("'{}…'", "\u{e9}".repeat(40))),
    ] {
        let error = Command::parse(line).expect_err(line).to_string();
        assert!(error.contains(part), "{line:?}: {error}");
    }
    assert!(Command::topic_name("__meta").is_ok(), "whose a topic is the broker decides");
}

fn shown(value: Option<&[u8]>, millis: i64) -> String {
    let mut bytes = BytesMut::new();
    let (topic, offset, timestamp) = (topic("t"), Offset::new(41).unwrap(), Timestamp::from_millis(millis));
    let id = MessageId::derived(&topic, PartitionIndex(0), offset, timestamp);
    record(&mut bytes, ShownTo::Subscriber, &ShownRecord { topic: &topic, id, offset, timestamp, value });
    let line = String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let start = format!("MSG t {} 42 ", String::from_utf8_lossy(id.as_bytes()));
    line.strip_prefix(&start).expect("the beginning").to_owned()
}

#[test]
fn a_record_is_shown_in_one_line() {
    const NOW: i64 = 1_700_000_000_123;
    for (value, expected) in [
        (Some(&b"hello  there"[..]), "1700000000.123 hello  there\n"),
        (Some(b"two\nlines\r\n"), "1700000000.123 two\\nlines\\r\\n\n"),
        (Some(br"C:\new"), "1700000000.123 C:\\new\n"),
        (Some(b"\xff caf\xc3\xa9 \xc3"), "1700000000.123 \u{fffd} caf\u{e9} \u{fffd}\n"),
        (Some(b""), "1700000000.123 \n"),
        (None, "1700000000.123 \n"),
    ] {
        assert_eq!(shown(value, NOW), expected);
    }
    for (millis, expected) in [(0, "0.000 x\n"), (5, "0.005 x\n"), (60_050, "60.050 x\n"), (-1_500, "-1.500 x\n")] {
        assert_eq!(shown(Some(b"x"), millis), expected);
    }
    let mut bytes = BytesMut::new();
    okay(&mut bytes, "pong");
    error(&mut bytes, "two\nlines");
    assert_eq!(&bytes[..], b"OK pong\nERR two\\nlines\n");
}

#[test]
fn ids_are_given_or_derived() {
    let is_given = |id: &str| MessageId::given(id.as_bytes()).is_some();
    assert!(is_given("msg_1700000000123_0a1b2c3d") && is_given("msg_0000000000000_ABCDEF00"));
    for other in ["", "msg_", "msg_170000000012_0a1b2c3d0", "msg_1700000000123-0a1b2c3d", "msg_1700000000123_0a1b2c3g"]
    {
        assert!(!is_given(other), "{other}");
    }
    let derived = |name: &str, partition, offset, millis| {
        let (offset, time) = (Offset::new(offset).unwrap(), Timestamp::from_millis(millis));
        MessageId::derived(&topic(name), PartitionIndex(partition), offset, time)
    };
    let mut ids = Vec::new();
    for name in ["a", "b", "orders"] {
        for partition in 0..8 {
            ids.extend((0..1_000).map(|offset| derived(name, partition, offset, 1_700_000_000_123)));
        }
    }
    assert!(ids.iter().all(|id| MessageId::given(id.as_bytes()) == Some(*id)), "of the form");
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 24_000, "of one millisecond, and all different");
    // For ever the same.
    let id = derived("orders", 3, 77, 1_700_000_000_123);
    assert_eq!(String::from_utf8_lossy(id.as_bytes()), "msg_1700000000123_f25e96a1");
    for millis in [-1, 0, i64::MAX] {
        let id = derived("t", u32::MAX, i64::MAX as u64, millis);
        assert!(MessageId::given(id.as_bytes()).is_some(), "{millis}");
    }
}

proptest! {
    /// However bytes are divided, what is cut off is the same, and nothing is kept beyond a line.
    #[test]
    fn division_changes_nothing(
        bytes in prop::collection::vec(prop_oneof![4 => any::<u8>(), 1 => Just(b'\n')], 0..200),
        ends in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut ends: Vec<usize> = ends.iter().map(|end| end.index(bytes.len() + 1)).collect();
        ends.sort_unstable();
        let (mut pieces, mut begin) = (Vec::new(), 0);
        for end in ends.into_iter().chain([bytes.len()]) {
            pieces.push(&bytes[begin..end]);
            begin = end;
        }
        prop_assert_eq!(cut(&pieces), cut(&[&bytes[..]]));
    }

    /// Whatever a line says is a command or is refused with a reason; what is shown stays within its line.
    #[test]
    fn anything_can_be_said(line in ".{0,60}", value in prop::collection::vec(any::<u8>(), 0..60)) {
        let line = line.trim();
        if let Err(error) = Command::parse(line) {
            prop_assert!(!error.to_string().is_empty());
        }
        let shown = shown(Some(&value), 0);
        prop_assert_eq!(shown.matches(['\n', '\r']).count(), 1);
    }
}
