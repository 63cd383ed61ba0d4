//! PUBLISH_BATCH and INIT_PRODUCER: whole record batches in, and what subscribers to single records see of them.

use super::{setup, start};
use crate::harness::batches::{HEADER_BYTES, Made, NOBODY, Rec, batch, batch_of, read_batches, rec};
use crate::harness::peer::{FETCH, INIT_PRODUCER, LIST_OFFSETS, PUBLISH, PUBLISH_BATCH, Pairs, Peer, Raw, frame};

const NOW: i64 = 1_700_000_000_000;

fn publish(bytes: &[u8]) -> Raw {
    frame(PUBLISH_BATCH, 12, &[("topic", "t")]).with_body(bytes)
}

fn producer(peer: &mut Peer) -> Made {
    let reply = peer.ask(&frame(INIT_PRODUCER, 13, &[]));
    let names: Vec<_> = reply.pairs().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["status", "wiber.producer_id", "wiber.producer_epoch"]);
    let epoch = i16::try_from(reply.number("wiber.producer_epoch")).expect("an epoch");
    Made { id: reply.number("wiber.producer_id"), epoch, sequence: 0 }
}

/// A batch with one byte or field changed, its CRC left as it was or not.
fn spoiled(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut spoiled = batch(NOBODY, NOW, &[rec(b"one"), rec(b"two")]);
    spoiled[at..at + bytes.len()].copy_from_slice(bytes);
    spoiled
}

#[test]
fn a_batch_is_stored_as_it_is() {
    let (_directory, server) = start(&[]);
    let mut peer = Peer::connect(&server);
    peer.create("t", 2);
    let records = [rec(b"one"), Rec { key: Some(b"k".to_vec()), ..rec(b"two") }, Rec::default()];
    for (turn, level) in ["leader", "durable", "leader", "durable"].into_iter().enumerate() {
        let mut request = publish(&batch(NOBODY, NOW, &records));
        request.properties.push(("wiber.ack".to_owned(), level.to_owned()));
        let reply = peer.ask(&request);
        let (partition, base) = ((turn % 2).to_string(), turn / 2 * 3);
        let (base, next) = (base.to_string(), (base + 3).to_string());
        let expected = [
            ("status", "success"),
            ("topic", "t"),
            ("partition", &*partition),
            ("offset", &*base),
            ("wiber.next_offset", &*next),
        ];
        assert_eq!((reply.pairs(), reply.body.len()), (expected.to_vec(), 0));
    }
    let mut silent = publish(&batch(NOBODY, NOW, &records));
    silent
        .properties
        .extend([("partition", "0"), ("wiber.ack", "none")].map(|(name, value)| (name.into(), value.into())));
    peer.send(&[silent]);
    peer.is_alive();
    assert_eq!(peer.publish("t", 0, b"next"), 9);
    let fetched = peer.ask(&frame(FETCH, 1, &[("topic", "t"), ("offset", "0")]));
    let found = read_batches(&fetched.body);
    assert_eq!(found.iter().map(|(base, _)| *base).collect::<Vec<_>>(), [0, 3, 6, 9]);
    assert!(found[..3].iter().all(|(_, found)| *found == records), "{found:?}");
}

/// Keys, values and headers that no property can hold, and how they are shown one by one.
#[test]
fn records_of_every_kind_are_shown() {
    let (_directory, server) = start(&[]);
    let mut peer = Peer::connect(&server);
    peer.create("t", 1);
    let header = |name: &[u8], value: Option<&[u8]>| (name.to_vec(), value.map(<[u8]>::to_vec));
    let with = |headers: &[(Vec<u8>, Option<Vec<u8>>)]| Rec { headers: headers.to_vec(), ..rec(b"v") };
    let key = |key: &[u8]| Rec { key: Some(key.to_vec()), ..rec(b"v") };
    let cases: Vec<(Rec, Pairs<'_>, &[u8])> = vec![
        (Rec { key: Some(b"k".to_vec()), ..Rec::default() }, &[("key", "k"), ("wiber.tombstone", "true")], b""),
        (Rec::default(), &[("wiber.tombstone", "true")], b""),
        (rec(b""), &[], b""),
        (key(b""), &[("key", "")], b"v"),
        (key(b"a\0b"), &[("key.b64", "YQBi")], b"v"),
        (key(b"\xFF"), &[("key.b64", "/w==")], b"v"),
        (key("ż".as_bytes()), &[("key", "ż")], b"v"),
        (with(&[header(b"h", Some(b"\xFF\xFE"))]), &[("h.b64", "//4=")], b"v"),
        (with(&[header(b"h", Some(b"x\0"))]), &[("h.b64", "eAA=")], b"v"),
        (with(&[header(b"h", None)]), &[("h", "")], b"v"),
        (with(&[header(b"topic", Some(b"x"))]), &[("header.topic", "x")], b"v"),
        (with(&[header(b"key", Some(b"\xFF"))]), &[("header.key.b64", "/w==")], b"v"),
        (
            with(&[
                header(b"partition", Some(b"1")),
                header(b"client_id", Some(b"2")),
                header(b"id", Some(b"3")),
                header(b"offset", Some(b"4")),
                header(b"auto_ack", Some(b"5")),
                header(b"created_at", Some(b"6")),
                header(b"version", Some(b"7")),
                header(b"wiber.tombstone", Some(b"8")),
            ]),
            &[
                ("header.partition", "1"),
                ("header.client_id", "2"),
                ("header.id", "3"),
                ("header.offset", "4"),
                ("header.auto_ack", "5"),
                ("header.created_at", "6"),
                ("header.version", "7"),
                ("header.wiber.tombstone", "8"),
            ],
            b"v",
        ),
        (with(&[header(b"wiber.id", Some(b"i"))]), &[("wiber.id", "i")], b"v"),
        (
            with(&[header(b"x", Some(b"\xFF")), header(b"x.b64", Some(b"y"))]),
            &[("x.b64", "/w=="), ("header.x.b64", "y")],
            b"v",
        ),
        (with(&[header(b"x", Some(b"1")), header(b"x.b64", Some(b"y"))]), &[("x", "1"), ("x.b64", "y")], b"v"),
        (with(&[header(b"", Some(b"1"))]), &[("header.", "1")], b"v"),
        (with(&[header(b"a=b", Some(b"1"))]), &[("header.a%3Db", "1")], b"v"),
        (with(&[header(b"a\0 \xFF%", Some(b"1"))]), &[("header.a%00%20%FF%25", "1")], b"v"),
        (
            with(&[header(b"z", Some(b"1")), header(b"a", Some(b"2")), header(b"z", Some(b"3"))]),
            &[("z", "1"), ("a", "2"), ("z", "3")],
            b"v",
        ),
    ];
    let records: Vec<_> = cases.iter().map(|(record, _, _)| record.clone()).collect();
    peer.ask(&publish(&batch(NOBODY, NOW, &records)));
    peer.subscribe("t", &[]);
    for (offset, (record, seen, body)) in (0..).zip(&cases) {
        let data = peer.data();
        assert_eq!(data.pairs(), [&[("topic", "t"), ("partition", "0")], *seen].concat(), "{record:?}");
        assert_eq!((data.sequence, &data.body[..], data.timestamp), (offset, *body, NOW), "{record:?}");
    }
}

#[test]
fn batches_that_cannot_be_are_refused() {
    let (_directory, server) = start(&[]);
    let mut peer = Peer::connect(&server);
    peer.create("t", 1);
    let good = batch(NOBODY, NOW, &[rec(b"one"), rec(b"two")]);
    let twice = [good.clone(), good.clone()].concat();
    let longer = [good.clone(), vec![0]].concat();
    let one = &good[HEADER_BYTES..];
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("one byte", vec![0]),
        ("a header without its end", good[..HEADER_BYTES - 1].to_vec()),
        ("a header alone", good[..HEADER_BYTES].to_vec()),
        ("a batch without its last byte", good[..good.len() - 1].to_vec()),
        ("a byte more", longer),
        ("two batches", twice),
        ("a length of zero", spoiled(8, &[0; 4])),
        ("a negative length", spoiled(8, &[0xFF; 4])),
        ("the largest length", spoiled(8, &i32::MAX.to_be_bytes())),
        ("magic 1", spoiled(16, &[1])),
        ("magic 3", spoiled(16, &[3])),
        ("another CRC", spoiled(17, &[0; 4])),
        ("a changed attribute", spoiled(22, &[1])),
        ("a changed record", spoiled(HEADER_BYTES + 8, b"!")),
        ("no records", batch_of(NOBODY, NOW, 0, 0, &[])),
        ("more records than there are", batch_of(NOBODY, NOW, 0, 3, one)),
        ("fewer records than there are", batch_of(NOBODY, NOW, 0, 1, one)),
        ("the largest number of records", batch_of(NOBODY, NOW, 0, i32::MAX, one)),
        ("a control batch", batch_of(NOBODY, NOW, 0x20, 2, one)),
        ("an unknown codec", batch_of(NOBODY, NOW, 7, 2, one)),
        ("records that are noise", batch_of(NOBODY, NOW, 0, 1, &[0xFF; 40])),
        ("a producer without a sequence", batch(Made { id: 1, epoch: 0, sequence: -1 }, NOW, &[rec(b"x")])),
        ("a producer of epoch -1", batch(Made { id: 1, epoch: -1, sequence: 0 }, NOW, &[rec(b"x")])),
        ("a producer of a negative id", batch(Made { id: -2, epoch: 0, sequence: 0 }, NOW, &[rec(b"x")])),
    ];
    let mut others = Vec::new();
    for (what, bytes) in &cases {
        peer.send(&[publish(bytes)]);
        let reply = peer.next();
        assert_eq!(reply.sequence, 12, "{what}");
        others.extend((reply.get("code") != Some("invalid_batch")).then(|| format!("{what}: {:?}", reply.pairs())));
    }
    assert!(others.is_empty(), "{others:#?}");
    for (properties, code) in [
        (&[][..], "invalid_property"),
        (&[("topic", "")], "invalid_topic"),
        (&[("topic", "absent")], "unknown_topic"),
        (&[("topic", "__offsets")], "invalid_topic"),
        (&[("topic", "t"), ("partition", "1")], "unknown_partition"),
        (&[("topic", "t"), ("wiber.ack", "x")], "invalid_property"),
        (&[("topic", "t"), ("wiber.start", "end")], "invalid_property"),
    ] {
        peer.refused(&frame(PUBLISH_BATCH, 1, properties).with_body(&good), code);
    }
    assert_eq!(peer.publish("t", 0, b"the first"), 0);
}

#[test]
fn a_batch_has_its_own_limit() {
    let (_directory, server) =
        start(&[("QB_TOPICS__MAX_MESSAGE_SIZE", "1000"), ("QB_TOPICS__MAX_BATCH_SIZE", "200000")]);
    let mut peer = Peer::connect(&server);
    peer.create("t", 1);
    let of = |bytes: usize| batch(NOBODY, NOW, &(0..bytes / 100).map(|_| rec(&[b'x'; 92])).collect::<Vec<_>>());
    let largest = of(195_000);
    assert!((195_000..=200_000).contains(&largest.len()), "{}", largest.len());
    peer.ask(&publish(&largest));
    peer.refused(&publish(&of(210_000)), "message_too_large");
    peer.refused(&frame(PUBLISH, 1, &[("topic", "t")]).with_body(&[b'x'; 1_001]), "message_too_large");
    let single = publish(&batch(NOBODY, NOW, &[rec(&[b'x'; 1_001])]));
    peer.send(&[single]);
    let reply = peer.next();
    assert!(matches!(reply.get("code"), Some("message_too_large" | "invalid_batch")), "{reply:?}");
    peer.is_alive();
}

#[test]
fn producers_ids_are_never_given_twice() {
    let (_directory, setup) = setup(&[]);
    let mut given = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let server = setup.start();
        let mut peer = Peer::connect(&server);
        peer.refused(&frame(INIT_PRODUCER, 1, &[("wiber.what", "1")]), "invalid_property");
        for _ in 0..50 {
            let made = producer(&mut peer);
            assert!(made.epoch >= 0 && made.id >= 0 && given.insert(made.id), "{made:?}");
        }
        server.kill();
    }
}

/// What an idempotent producer sends again is stored once, also after a kill; a gap and an older epoch are refused.
#[test]
fn a_batch_sent_again_is_stored_once() {
    let (_directory, setup) = setup(&[]);
    let mut server = setup.start();
    let mut peer = Peer::connect(&server);
    peer.create("t", 1);
    let made = producer(&mut peer);
    let send = |peer: &mut Peer, sequence: i32, records: usize| {
        peer.ask(&publish(&batch(Made { sequence, ..made }, NOW, &vec![rec(b"x"); records])))
    };
    for (sequence, base) in [(0, "0"), (2, "2"), (4, "4"), (6, "6"), (8, "8")] {
        let reply = send(&mut peer, sequence, 2);
        assert_eq!((reply.get("offset"), reply.get("wiber.duplicate")), (Some(base), None), "{sequence}");
    }
    for round in 0..3 {
        for (sequence, base, next) in [(0, "0", "2"), (8, "8", "10"), (4, "4", "6")] {
            let reply = send(&mut peer, sequence, 2);
            let said = (reply.get("offset"), reply.get("wiber.next_offset"), reply.get("wiber.duplicate"));
            assert_eq!(said, (Some(base), Some(next), Some("true")), "{sequence}, round {round}");
        }
        let list = frame(LIST_OFFSETS, 1, &[("topic", "t")]);
        assert_eq!(peer.ask(&list).get("log_end"), Some("10"), "round {round}");
        let gap = batch(Made { sequence: 11, ..made }, NOW, &[rec(b"x")]);
        peer.refused(&publish(&gap), "out_of_order_sequence");
        server.kill();
        server = setup.start();
        peer = Peer::connect(&server);
    }
    assert_eq!(send(&mut peer, 10, 1).get("offset"), Some("10"));
    // A newer incarnation ends the older one.
    let newer = Made { epoch: made.epoch + 1, sequence: 0, ..made };
    assert_eq!(peer.ask(&publish(&batch(newer, NOW, &[rec(b"x")]))).get("offset"), Some("11"));
    peer.refused(&publish(&batch(Made { sequence: 11, ..made }, NOW, &[rec(b"x")])), "stale_producer_epoch");
}

/// A batch sent twice in one write: both are answered with the same offset.
#[test]
fn a_batch_sent_again_before_its_answer_is_stored_once() {
    let (_directory, server) = start(&[]);
    let mut peer = Peer::connect(&server);
    peer.create("t", 1);
    let made = producer(&mut peer);
    for round in 0..20 {
        let bytes = batch(Made { sequence: round, ..made }, NOW, &[rec(b"x")]);
        peer.send(&vec![publish(&bytes); 5]);
        let offset = round.to_string();
        for turn in 0..5 {
            let reply = peer.next();
            let duplicate = (turn > 0).then_some("true");
            assert_eq!((reply.get("offset"), reply.get("wiber.duplicate")), (Some(&*offset), duplicate), "{reply:?}");
        }
    }
}
