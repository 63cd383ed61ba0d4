//! PUBLISH: partition choice, headers, ids, acknowledgement levels, times, sizes.

use super::start;
use crate::harness::peer::{ACK, CREATE_TOPIC, DATA, HEARTBEAT, PUBLISH, Pairs, Peer, frame};

/// Keys and their murmur2 as the tests of Kafka's own clients have them.
const KAFKAS_HASHES: &[(&str, i32)] = &[
    ("21", -973_932_308),
    ("foobar", -790_332_482),
    ("a-little-bit-long-string", -985_981_536),
    ("a-little-bit-longer-string", -1_486_304_829),
    ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
    ("abc", 479_470_107),
];

fn partition_of(peer: &mut Peer, properties: Pairs<'_>) -> i64 {
    peer.ask(&frame(PUBLISH, 1, properties)).number("partition")
}

#[test]
fn a_key_chooses_the_partition_that_kafkas_clients_choose() {
    let (_directory, server) = start(&[]);
    let mut peer = Peer::connect(&server);
    for partitions in [1, 2, 3, 7, 16, 100] {
        let topic = format!("of.{partitions}");
        peer.create(&topic, partitions);
        for (key, hash) in KAFKAS_HASHES {
            let expected = i64::from(*hash & i32::MAX) % i64::from(partitions);
            assert_eq!(partition_of(&mut peer, &[("topic", &topic), ("key", key)]), expected, "{key} of {partitions}");
        }
        // What is asked for goes before the key.
        assert_eq!(partition_of(&mut peer, &[("topic", &topic), ("key", "foobar"), ("partition", "0")]), 0);
    }
}

#[test]
fn without_a_key_partitions_take_strict_turns() {
    let (_directory, server) = start(&[]);
    let mut peers = [Peer::connect(&server), Peer::connect(&server)];
    peers[0].create("t", 3);
    let mut chosen = Vec::new();
    for round in 0..30 {
        chosen.push(partition_of(&mut peers[round % 2], &[("topic", "t")]));
    }
    // Many in one write, as one batch for each partition.
    let many: Vec<_> = (0..300).map(|n| frame(PUBLISH, n, &[("topic", "t")])).collect();
    peers[0].send(&many);
    chosen.extend((0..300).map(|_| peers[0].next().number("partition")));
    let first = chosen[0];
    for (turn, partition) in (0_i64..).zip(chosen) {
        assert_eq!(partition, (first + turn) % 3, "turn {turn}");
    }
}

#[test]
fn offsets_begin_at_zero_and_leave_no_gap() {
    let (_directory, server) = start(&[]);
    let mut peer = Peer::connect(&server);
    peer.create("t", 2);
    let mut next = [0_i64; 2];
    let many: Vec<_> = (0..1_000).map(|n| frame(PUBLISH, n, &[("topic", "t"), ("key", &n.to_string())])).collect();
    peer.send(&many);
    for request in &many {
        let reply = peer.next();
        let partition = reply.number("partition");
        let slot = &mut next[usize::try_from(partition).expect("0 or 1")];
        let (partition, offset) = (partition.to_string(), slot.to_string());
        let expected = [("status", "success"), ("topic", "t"), ("partition", &partition), ("offset", &offset)];
        assert_eq!((reply.kind, reply.sequence, reply.pairs()), (ACK, request.sequence, expected.to_vec()));
        *slot += 1;
    }
    assert_eq!(next.iter().sum::<i64>(), 1_000);
}

/// What is published, and what a subscriber sees of it.
#[test]
fn records_come_out_as_they_went_in() {
    let (_directory, server) = start(&[]);
    let mut peer = Peer::connect(&server);
    peer.create("t", 1);
    let cases: &[(Pairs<'_>, Pairs<'_>)] = &[
        (&[], &[]),
        (&[("key", "k")], &[("key", "k")]),
        (&[("key", "")], &[("key", "")]),
        (&[("key", "klucz ż 🦀")], &[("key", "klucz ż 🦀")]),
        (&[("a", "1"), ("b", ""), ("a", "2")], &[("a", "1"), ("b", ""), ("a", "2")]),
        (&[("z", "1"), ("a", "2"), ("m", "3")], &[("z", "1"), ("a", "2"), ("m", "3")]),
        (&[("a", "x=y=z")], &[("a", "x=y=z")]),
        (&[("named ż", "wartość\n\t")], &[("named ż", "wartość\n\t")]),
        (&[("client_id", "me")], &[("wiber.client_id", "me")]),
        (&[("id", "i1")], &[("wiber.id", "i1")]),
        (&[("client_id", ""), ("id", "")], &[]),
        (&[("b", "1"), ("client_id", "me"), ("a", "2")], &[("b", "1"), ("wiber.client_id", "me"), ("a", "2")]),
        // Steering properties are no headers, whether or not they mean anything here.
        (&[("created_at", "now"), ("version", "1.0"), ("offset", "x"), ("auto_ack", "y"), ("a", "1")], &[("a", "1")]),
        (&[("wiber.ack", "durable"), ("a", "1")], &[("a", "1")]),
        (
            &[("status", "success"), ("error", "e"), ("code", "c")],
            &[("status", "success"), ("error", "e"), ("code", "c")],
        ),
        (
            &[("header.key", "1"), ("key.b64", "2"), ("key", "k")],
            &[("key", "k"), ("header.key", "1"), ("header.key.b64", "2")],
        ),
        (&[("x.b64", "1"), ("x", "2")], &[("x.b64", "1"), ("x", "2")]),
        (&[("partitions", "3"), ("retention_hours", "no")], &[("partitions", "3"), ("retention_hours", "no")]),
    ];
    for (number, (sent, _)) in (0_u8..).zip(cases) {
        let mut properties = sent.to_vec();
        properties.push(("topic", "t"));
        peer.ask(&frame(PUBLISH, 1, &properties).with_body(&[number; 3]));
    }
    peer.subscribe("t", &[]);
    for (number, (sent, seen)) in (0_u8..).zip(cases) {
        let data = peer.data();
        let expected = [&[("topic", "t"), ("partition", "0")], *seen].concat();
        assert_eq!(data.pairs(), expected, "{sent:?}");
        assert_eq!((data.sequence, &data.body[..]), (u64::from(number), &[number; 3][..]), "{sent:?}");
    }
}

#[test]
fn bodies_of_every_size_come_out_whole() {
    let (_directory, server) = start(&[]);
    let mut peer = Peer::connect(&server);
    peer.create("t", 1);
    let body = |bytes: usize| (0..bytes).map(|at| (at % 251).to_le_bytes()[0]).collect::<Vec<_>>();
    let sizes = [0, 1, 2, 31, 32, 33, 4_095, 4_096, 65_535, 65_536, 300_000, 1 << 20];
    for bytes in sizes {
        peer.publish("t", 0, &body(bytes));
    }
    peer.refused(&frame(PUBLISH, 1, &[("topic", "t")]).with_body(&body((1 << 20) + 1)), "message_too_large");
    peer.subscribe("t", &[]);
    for bytes in sizes {
        assert!(peer.data().body == body(bytes), "{bytes} bytes");
    }
}

#[test]
fn publishes_that_cannot_be_are_refused() {
    let (_directory, server) = start(&[]);
    let mut peer = Peer::connect(&server);
    peer.create("t", 2);
    let cases: &[(Pairs<'_>, &str)] = &[
        (&[], "invalid_property"),
        (&[("partition", "0")], "invalid_property"),
        (&[("topic", "absent")], "unknown_topic"),
        (&[("topic", "__meta")], "invalid_topic"),
        (&[("topic", "__offsets")], "invalid_topic"),
        (&[("topic", "")], "invalid_topic"),
        (&[("topic", "a b")], "invalid_topic"),
        (&[("topic", "t"), ("partition", "2")], "unknown_partition"),
        (&[("topic", "t"), ("partition", "4294967295")], "unknown_partition"),
        (&[("topic", "t"), ("partition", "4294967296")], "invalid_property"),
        (&[("topic", "t"), ("partition", "-1")], "invalid_property"),
        (&[("topic", "t"), ("partition", "")], "invalid_property"),
        (&[("topic", "t"), ("partition", " 0")], "invalid_property"),
        (&[("topic", "t"), ("topic", "t")], "invalid_property"),
        (&[("topic", "t"), ("partition", "0"), ("partition", "0")], "invalid_property"),
        (&[("topic", "t"), ("key", "a"), ("key", "b")], "invalid_property"),
        (&[("topic", "t"), ("id", "a"), ("id", "b")], "invalid_property"),
        (&[("topic", "t"), ("client_id", "a"), ("client_id", "b")], "invalid_property"),
        (&[("topic", "t"), ("wiber.ack", "perhaps")], "invalid_property"),
        (&[("topic", "t"), ("wiber.ack", "")], "invalid_property"),
        (&[("topic", "t"), ("wiber.ack", "Leader")], "invalid_property"),
        (&[("topic", "t"), ("wiber.ack", "leader"), ("wiber.ack", "leader")], "invalid_property"),
        (&[("topic", "t"), ("wiber.start", "begin")], "invalid_property"),
        (&[("topic", "t"), ("wiber.unheard_of", "1")], "invalid_property"),
        (&[("topic", "t"), ("wiber.", "1")], "invalid_property"),
        (&[("topic", "t"), ("wiber.client_id", "me")], "invalid_property"),
        (&[("topic", "t"), ("wiber.tombstone", "true")], "invalid_property"),
    ];
    for (number, (properties, code)) in (100..).zip(cases) {
        peer.refused(&frame(PUBLISH, number, properties).with_body(b"x"), code);
    }
    assert_eq!(peer.publish("t", 0, b"the first"), 0);
    assert_eq!(peer.publish("t", 1, b"the first"), 0);
}

/// Whatever is asked for is stored; only `none` gets no reply, and neither does what is wrong with it.
#[test]
fn every_level_in_every_mode() {
    for sync in ["always", "interval", "os"] {
        let (_directory, server) = start(&[("QB_STORAGE__SYNC", sync)]);
        let mut peer = Peer::connect(&server);
        peer.create("t", 1);
        for (expected, level) in (0..).step_by(2).zip(["leader", "durable"]) {
            let reply = peer.ask(&frame(PUBLISH, 7, &[("topic", "t"), ("wiber.ack", level)]));
            assert_eq!(reply.number("offset"), expected, "{sync} {level}");
            peer.send(&[frame(PUBLISH, 8, &[("topic", "t"), ("wiber.ack", "none")])]);
            peer.is_alive();
        }
        peer.send(&[frame(PUBLISH, 9, &[("topic", "absent"), ("wiber.ack", "none")])]);
        peer.send(&[frame(PUBLISH, 9, &[("topic", "t"), ("partition", "5"), ("wiber.ack", "none")])]);
        assert_eq!(peer.publish("t", 0, b""), 4, "{sync}");
    }
}

/// A repeated id is answered with the offset of the first, and stored once.
#[test]
fn an_id_is_stored_once() {
    let (_directory, server) = start(&[]);
    let mut peer = Peer::connect(&server);
    peer.create("t", 3);
    let first = peer.ask(&frame(PUBLISH, 1, &[("topic", "t"), ("id", "one")]).with_body(b"first"));
    for _ in 0..3 {
        let again = peer.ask(&frame(PUBLISH, 2, &[("topic", "t"), ("id", "one")]).with_body(b"again"));
        assert_eq!(
            (again.number("partition"), again.number("offset")),
            (first.number("partition"), first.number("offset"))
        );
    }
    let mut other = Peer::connect(&server);
    let again = other.ask(&frame(PUBLISH, 2, &[("topic", "t"), ("id", "one")]));
    assert_eq!(again.number("offset"), first.number("offset"));
    // Many of the same in one write.
    let many: Vec<_> = (0..50).map(|n| frame(PUBLISH, n, &[("topic", "t"), ("id", "two")])).collect();
    other.send(&many);
    let places: Vec<_> =
        (0..50).map(|_| other.next()).map(|ack| (ack.number("partition"), ack.number("offset"))).collect();
    assert!(places.iter().all(|place| *place == places[0]), "{places:?}");
    let stored: u64 = (0..3).map(|partition| peer.publish("t", partition, b"last")).sum();
    assert_eq!(stored, 2);
}

/// The frame's time is the record's where it can be one; else the server's.
#[test]
fn a_record_has_its_frames_time() {
    let (_directory, server) = start(&[]);
    let mut peer = Peer::connect(&server);
    peer.create("t", 1);
    let ack = peer.ask(&frame(PUBLISH, 1, &[("topic", "t")]).at(1_700_000_000_123));
    let now = ack.timestamp;
    for time in [1, now, 0, -1, i64::MIN, i64::MAX, now + 30 * 86_400_000] {
        peer.ask(&frame(PUBLISH, 1, &[("topic", "t")]).at(time));
    }
    peer.subscribe("t", &[]);
    for kept in [1_700_000_000_123, 1, now] {
        assert_eq!(peer.data().timestamp, kept);
    }
    for _ in 0..4 {
        let time = peer.data().timestamp;
        assert!((now..now + 3_600_000).contains(&time), "{time} beside {now}");
    }
}

/// A thousand requests of every kind in one write: the replies have their order.
#[test]
fn a_thousand_replies_keep_the_order_of_their_requests() {
    let (_directory, server) = start(&[]);
    let mut peer = Peer::connect(&server);
    peer.create("t", 4);
    let request = |n: u64| match n % 9 {
        0 => frame(HEARTBEAT, n, &[]),
        1 => frame(PUBLISH, n, &[("topic", "t"), ("wiber.ack", "durable")]),
        2 => frame(PUBLISH, n, &[("topic", "absent")]),
        3 => frame(CREATE_TOPIC, n, &[("topic", &format!("t{}", n % 5)), ("partitions", "1")]),
        4 => frame(77, n, &[]),
        5 => frame(CREATE_TOPIC, n, &[("topic", "")]),
        6 => frame(PUBLISH, n, &[("topic", "t"), ("partition", "99")]),
        _ => frame(PUBLISH, n, &[("topic", "t"), ("wiber.ack", "leader"), ("partition", "1")]),
    };
    let requests: Vec<_> = (1..=1_000).map(request).collect();
    peer.send(&requests);
    for request in &requests {
        let reply = peer.next();
        assert_eq!(reply.sequence, request.sequence);
        let expected = match request.sequence % 9 {
            0 => None,
            2 => Some("unknown_topic"),
            4 => Some("unknown_type"),
            5 => Some("invalid_topic"),
            6 => Some("unknown_partition"),
            _ => None,
        };
        assert_eq!(reply.get("code"), expected, "{request:?}");
        assert_eq!(reply.kind == HEARTBEAT, request.kind == HEARTBEAT);
    }
}

/// On one connection a publish's ACK comes before the DATA it makes, also where its number is that of an earlier offset.
#[test]
fn the_ack_goes_before_the_data_it_makes() {
    let (_directory, server) = start(&[("QB_STORAGE__SYNC", "os")]);
    let mut peer = Peer::connect(&server);
    peer.create("t", 1);
    peer.subscribe("t", &[("auto_ack", "true")]);
    let (mut acknowledged, mut delivered) = (0, 0);
    for n in 0..500 {
        peer.send(&[frame(
            PUBLISH,
            n,
            &[("topic", "t"), ("wiber.ack", ["leader", "durable"][usize::from(n.is_multiple_of(2))])],
        )]);
    }
    while delivered < 500 {
        let next = peer.next();
        if next.kind == ACK {
            assert_eq!((next.sequence, next.get("status")), (acknowledged, Some("success")));
            acknowledged += 1;
        } else {
            assert_eq!((next.kind, next.sequence), (DATA, delivered));
            delivered += 1;
            assert!(acknowledged >= delivered, "DATA {delivered} came before its ACK");
        }
    }
}
