//! SUBSCRIBE and UNSUBSCRIBE: starts, order on the wire, the grace of old clients, ends.

use std::time::Duration;

use super::start;
use crate::harness::peer::{
    ACK, BATCH, DATA, FETCH, HEARTBEAT, PUBLISH, Pairs, Peer, Raw, SUBSCRIBE, SUBSCRIBE_BATCHES, UNSUBSCRIBE, frame,
};
use crate::harness::{Chance, Server};

/// A topic whose records are their offsets, at times 1000, 2000, …
fn fill(server: &Server, topic: &str, records: i64) -> Peer {
    let mut peer = Peer::connect(server);
    peer.create(topic, 1);
    for n in 0..records {
        peer.ask(&frame(PUBLISH, 1, &[("topic", topic)]).with_body(n.to_string().as_bytes()).at((n + 1) * 1_000));
    }
    peer
}

#[test]
fn a_subscription_starts_where_it_is_asked_to() {
    let (_directory, server) = start(&[]);
    let mut publisher = fill(&server, "t", 5);
    let cases: &[(Pairs<'_>, u64)] = &[
        (&[], 0),
        (&[("offset", "0")], 0),
        (&[("offset", "3")], 3),
        (&[("offset", "003")], 3),
        (&[("offset", "5")], 5),
        (&[("offset", "8")], 8),
        (&[("wiber.start", "begin")], 0),
        (&[("wiber.start", "end")], 5),
        (&[("offset", "2"), ("wiber.start", "end")], 2),
        (&[("wiber.start", "1")], 0),
        (&[("wiber.start", "1000")], 0),
        (&[("wiber.start", "1001")], 1),
        (&[("wiber.start", "4000")], 3),
        (&[("wiber.start", "99999999999999")], 5),
        (&[("wiber.start", "committed"), ("client_id", "nobody")], 0),
        (&[("auto_ack", "TRUE"), ("offset", "4")], 4),
        (&[("auto_ack", "True"), ("offset", "4")], 4),
        (&[("auto_ack", "1"), ("offset", "4")], 4),
        (&[("auto_ack", "False"), ("offset", "4")], 4),
        (&[("auto_ack", "0"), ("offset", "4")], 4),
        (
            &[("partition", "0"), ("key", "x"), ("id", "y"), ("unheard_of", "z"), ("created_at", "w"), ("offset", "4")],
            4,
        ),
    ];
    let mut readers = Vec::new();
    for (properties, from) in cases {
        let mut reader = Peer::connect(&server);
        let ack = reader.subscribe("t", properties);
        let client_id = properties.iter().find(|(name, _)| *name == "client_id").map_or("", |(_, value)| value);
        let from_text = from.to_string();
        let expected = [
            ("status", "success"),
            ("topic", "t"),
            ("partition", "0"),
            ("client_id", client_id),
            ("start_offset", &from_text),
        ];
        assert_eq!((ack.pairs(), ack.body.len()), (expected.to_vec(), 0), "{properties:?}");
        for offset in *from..5 {
            let data = reader.data();
            assert_eq!((data.sequence, data.body), (offset, offset.to_string().into_bytes()), "{properties:?}");
        }
        readers.push((reader, *from, properties));
    }
    // Nothing more comes until there is more; who asked for a later offset waits for it.
    for n in 5..10_u64 {
        assert_eq!(publisher.publish("t", 0, n.to_string().as_bytes()), n);
    }
    for (reader, from, properties) in &mut readers {
        for offset in 5.max(*from)..10 {
            assert_eq!(reader.data().sequence, offset, "{properties:?}");
        }
        reader.is_alive();
    }
}

#[test]
fn subscriptions_that_cannot_be_are_refused() {
    let (_directory, server) = start(&[]);
    let mut peer = Peer::connect(&server);
    peer.create("t", 2);
    peer.subscribe("t", &[("partition", "1")]);
    let too_long = "c".repeat(256);
    let cases: &[(Pairs<'_>, &str)] = &[
        (&[], "invalid_property"),
        (&[("topic", "absent")], "unknown_topic"),
        (&[("topic", "__meta")], "unknown_topic"),
        (&[("topic", "")], "invalid_topic"),
        (&[("topic", "..")], "invalid_topic"),
        (&[("topic", "t"), ("partition", "2")], "unknown_partition"),
        (&[("topic", "t"), ("partition", "x")], "invalid_property"),
        (&[("topic", "t"), ("partition", "1")], "already_subscribed"),
        (&[("topic", "t"), ("partition", "1"), ("client_id", "other")], "already_subscribed"),
        (&[("topic", "t"), ("offset", "x")], "invalid_property"),
        (&[("topic", "t"), ("offset", "-1")], "invalid_property"),
        (&[("topic", "t"), ("offset", "")], "invalid_property"),
        (&[("topic", "t"), ("offset", "9223372036854775808")], "invalid_property"),
        (&[("topic", "t"), ("offset", "1"), ("offset", "1")], "invalid_property"),
        (&[("topic", "t"), ("wiber.start", "soon")], "invalid_property"),
        (&[("topic", "t"), ("wiber.start", "-1")], "invalid_property"),
        (&[("topic", "t"), ("wiber.start", "")], "invalid_property"),
        (&[("topic", "t"), ("wiber.start", "committed")], "invalid_property"),
        (&[("topic", "t"), ("wiber.start", "begin"), ("wiber.start", "begin")], "invalid_property"),
        (&[("topic", "t"), ("auto_ack", "perhaps")], "invalid_property"),
        (&[("topic", "t"), ("auto_ack", "")], "invalid_property"),
        (&[("topic", "t"), ("client_id", &too_long)], "invalid_property"),
        (&[("topic", "t"), ("wiber.ack", "leader")], "invalid_property"),
        (&[("topic", "t"), ("wiber.unheard_of", "1")], "invalid_property"),
    ];
    for (number, (properties, code)) in (100..).zip(cases) {
        peer.refused(&frame(SUBSCRIBE, number, properties), code);
    }
    let unsubscribes: &[(Pairs<'_>, &str)] = &[
        (&[], "invalid_property"),
        (&[("topic", "")], "invalid_topic"),
        (&[("topic", "absent")], "not_subscribed"),
        (&[("topic", "t")], "not_subscribed"),
        (&[("topic", "t"), ("partition", "0")], "not_subscribed"),
        (&[("topic", "t"), ("partition", "7")], "not_subscribed"),
        (&[("topic", "t"), ("partition", "x")], "invalid_property"),
        (&[("topic", "t"), ("partition", "1"), ("wiber.start", "end")], "invalid_property"),
    ];
    for (number, (properties, code)) in (200..).zip(unsubscribes) {
        peer.refused(&frame(UNSUBSCRIBE, number, properties), code);
    }
    // The one there was has survived all that.
    Peer::connect(&server).publish("t", 1, b"still here");
    assert_eq!(peer.data().body, b"still here");
    let ack = peer.ask(&frame(UNSUBSCRIBE, 1, &[("topic", "t"), ("partition", "1"), ("client_id", "me")]));
    assert_eq!(ack.pairs(), [("status", "success"), ("topic", "t"), ("partition", "1"), ("client_id", "me")]);
    peer.refused(&frame(UNSUBSCRIBE, 2, &[("topic", "t"), ("partition", "1")]), "not_subscribed");
}

/// Clients of version 1.0 install their handler only after they have read the ACK. A hundred of them, each as slow as
/// the grace allows, get every record: the server's first DATA leaves no sooner. What a client can see is the time
/// between asking and the first DATA, which is longer than the grace, whatever the machine does meanwhile.
#[test]
fn a_hundred_slow_handlers_miss_nothing() {
    const GRACE: Duration = Duration::from_millis(400);
    let grace_ms = GRACE.as_millis().to_string();
    let (_directory, server) = start(&[("QB_SERVER__SUBSCRIBE_GRACE_MS", &grace_ms)]);
    drop(fill(&server, "t", 3));
    let mut readers: Vec<_> = (0..100).map(|_| Peer::connect(&server)).collect();
    let began = now();
    for (number, reader) in (1..).zip(&mut readers) {
        let client = format!("client-{number}");
        let properties = [("topic", "t"), ("client_id", &*client), ("version", "1.0"), ("created_at", "1700000000.5")];
        reader.send(&[frame(SUBSCRIBE, number, &properties)]);
    }
    for (number, reader) in (1..).zip(&mut readers) {
        let ack = reader.next();
        assert_eq!((ack.kind, ack.sequence, ack.get("status")), (ACK, number, Some("success")));
    }
    // Nobody's first DATA may be there before the grace of the first of them is over.
    loop {
        let early = readers.iter().filter(|reader| reader.has_bytes()).count();
        if now() - began >= GRACE {
            break;
        }
        assert_eq!(early, 0, "readers got DATA within the grace");
        std::thread::yield_now();
    }
    for reader in &mut readers {
        for offset in 0..3 {
            assert_eq!(reader.data().sequence, offset);
        }
        assert!(now() - began >= GRACE);
        reader.is_alive();
    }
}

/// The same seen from the connection alone: ACK, then heartbeats and other replies, then DATA.
#[test]
fn the_grace_holds_back_data_and_nothing_else() {
    let (_directory, server) = start(&[("QB_SERVER__SUBSCRIBE_GRACE_MS", "600")]);
    let mut peer = fill(&server, "t", 2);
    let before = now();
    let ack = peer.subscribe("t", &[("version", "1.0")]);
    for n in 1..=20 {
        peer.send(&[frame(HEARTBEAT, 1_000 + n, &[])]);
    }
    peer.send(&[frame(PUBLISH, 2_000, &[("topic", "t")])]);
    let mut replies = 0;
    let first = loop {
        let next = peer.next();
        if next.kind == DATA {
            break next;
        }
        replies += 1;
    };
    assert!(now() - before >= Duration::from_millis(600), "{ack:?} {first:?}");
    assert_eq!((replies, first.sequence), (21, 0));
    assert_eq!([peer.data().sequence, peer.data().sequence], [1, 2]);
    // Only `1.0` says that the grace is needed.
    let mut quick = Peer::connect(&server);
    quick.subscribe("t", &[("version", "2.0")]);
    assert_eq!([quick.data().sequence, quick.data().sequence, quick.data().sequence], [0, 1, 2]);
}

/// The ACK to a SUBSCRIBE waits for the answer to an earlier request, and the records that are there wait for the ACK.
#[test]
fn nothing_precedes_the_ack_to_a_subscribe() {
    let (_directory, server) = start(&[]);
    fill(&server, "t", 3);
    for (kind, pushed, mode) in [
        (SUBSCRIBE, DATA, ("auto_ack", "true")),
        (SUBSCRIBE, DATA, ("auto_ack", "false")),
        (SUBSCRIBE_BATCHES, BATCH, ("auto_ack", "true")),
    ] {
        let mut peer = Peer::connect(&server);
        let waits = frame(FETCH, 1, &[("topic", "t"), ("offset", "3"), ("wiber.max_wait_ms", "300")]);
        peer.send(&[waits, frame(kind, 2, &[("topic", "t"), ("offset", "0"), mode])]);
        let frames = [peer.next(), peer.next(), peer.next()].map(|frame| (frame.kind, frame.sequence));
        assert_eq!(frames, [(ACK, 1), (ACK, 2), (pushed, 0)], "{mode:?}");
    }
}

#[expect(clippy::disallowed_methods, reason = "lower bounds on time, which no slow machine breaks")]
pub(super) fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// However full the pipes are, nothing of a subscription follows the ACK to its UNSUBSCRIBE, and a new one begins anew.
#[test]
fn nothing_follows_the_ack_to_an_unsubscribe() {
    let (_directory, server) = start(&[]);
    let mut publisher = Peer::connect(&server);
    publisher.create("t", 1);
    let records: Vec<_> = (0..3_000).map(|n| frame(PUBLISH, n, &[("topic", "t")]).with_body(&[b'x'; 1_000])).collect();
    publisher.send(&records);
    records.iter().for_each(|_| drop(publisher.next()));
    let mut chance = Chance::new(5);
    let mut reader = Peer::connect(&server);
    for round in 0..60 {
        let from = chance.below(3_000);
        let mode = [("auto_ack", "true"), ("auto_ack", "false"), ("client_id", "me")][round % 3];
        reader.subscribe("t", &[("offset", &from.to_string()), mode]);
        for expected in from..from + chance.below(2_000).min(3_000 - from) {
            let data = reader.data();
            assert_eq!(data.sequence, expected);
            if mode.1 == "false" {
                reader.acknowledge(&data);
            }
        }
        reader.send(&[frame(UNSUBSCRIBE, 77, &[("topic", "t")])]);
        let ack = loop {
            let next = reader.next();
            if next.kind != DATA {
                break next;
            }
        };
        assert_eq!((ack.kind, ack.sequence, ack.get("status")), (ACK, 77, Some("success")));
        reader.is_alive();
    }
}

/// Several subscriptions on one connection are told apart by topic and partition.
#[test]
fn many_subscriptions_share_a_connection() {
    let (_directory, server) = start(&[]);
    let mut peer = Peer::connect(&server);
    peer.create("a", 3);
    peer.create("b", 1);
    for (topic, partition) in [("a", "0"), ("a", "2"), ("b", "0")] {
        peer.subscribe(topic, &[("partition", partition)]);
    }
    let mut publisher = Peer::connect(&server);
    for n in 0..50_u32 {
        publisher.publish("a", n % 3, b"a");
        publisher.publish("b", 0, b"b");
    }
    let mut seen = std::collections::BTreeMap::<String, u64>::new();
    for _ in 0..17 + 16 + 50 {
        let data = peer.data();
        let place = format!("{}:{}", data.get("topic").expect("a topic"), data.get("partition").expect("a partition"));
        let next = seen.entry(place).or_default();
        assert_eq!(data.sequence, *next, "{data:?}");
        *next += 1;
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [("a:0".into(), 17), ("a:2".into(), 16), ("b:0".into(), 50)]);
    peer.is_alive();
}

/// A start below the log's start is moved there, and the ACK says so.
#[test]
fn a_start_that_is_gone_is_clamped() {
    let variables = [("QB_STORAGE__MAX_LOG_SIZE", "2000"), ("QB_STORAGE__RETENTION_BYTES", "4000")];
    let (_directory, server) = start(&variables);
    let mut publisher = Peer::connect(&server);
    publisher.create("t", 1);
    let mut first = 0;
    for n in 0.. {
        assert!(n < 100_000, "retention never came");
        publisher.publish("t", 0, &[b'x'; 500]);
        let mut reader = Peer::connect(&server);
        first = reader.subscribe("t", &[]).number("start_offset");
        if first > 0 {
            break;
        }
    }
    let mut reader = Peer::connect(&server);
    let ack = reader.subscribe("t", &[("offset", "0")]);
    assert!(ack.number("start_offset") >= first);
    let data: Raw = reader.data();
    assert!(data.sequence.cast_signed() >= ack.number("start_offset"), "{data:?}");
}
