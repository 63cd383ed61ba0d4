//! FETCH and SUBSCRIBE_BATCHES: whole record batches out.

use std::time::Duration;

use super::start;
use super::subscribe::now;
use crate::harness::batches::{read_batches, values_from};
use crate::harness::peer::{
    BATCH, COMMIT, FETCH, HEARTBEAT, LIST_OFFSETS, PUBLISH, Pairs, Peer, Raw, SUBSCRIBE, SUBSCRIBE_BATCHES,
    UNSUBSCRIBE, expect_refusal, frame,
};

fn fetch(more: Pairs<'_>) -> Raw {
    frame(FETCH, 10, &[&[("topic", "t")], more].concat())
}

/// Ten batches of ten records, whose values are their offsets.
fn filled(peer: &mut Peer) {
    peer.create("t", 1);
    for batch in 0..10 {
        let body = |n: u64| (batch * 10 + n).to_string().into_bytes();
        let records: Vec<_> = (0..10).map(|n| frame(PUBLISH, n, &[("topic", "t")]).with_body(&body(n))).collect();
        peer.send(&records);
        records.iter().for_each(|_| assert_eq!(peer.next().get("status"), Some("success")));
    }
}

/// The values must be the offsets from one to another.
fn check_values(body: &[u8], from: u64, to: u64) {
    let expected: Vec<_> = (from..to).map(|offset| offset.to_string().into_bytes()).collect();
    assert_eq!(values_from(body, from), expected);
}

#[test]
fn batches_come_whole_from_the_one_that_holds_the_offset() {
    let (_directory, server) = start(&[]);
    let mut peer = Peer::connect(&server);
    filled(&mut peer);
    for offset in 0..=100_u64 {
        let text = offset.to_string();
        let reply = peer.ask(&fetch(&[("offset", &text)]));
        let expected = [
            ("status", "success"),
            ("topic", "t"),
            ("partition", "0"),
            ("log_start", "0"),
            ("high_watermark", "100"),
            ("wiber.next_offset", "100"),
        ];
        assert_eq!(reply.pairs(), expected, "from {offset}");
        check_values(&reply.body, offset, 100);
        assert!(read_batches(&reply.body).first().is_none_or(|(base, _)| *base <= offset));
    }
    // The smallest answer is one batch, however small the limit; following wiber.next_offset reads everything.
    for bytes_max in ["1", "100", "500", "1000", "16777216"] {
        let mut at = 0;
        while at < 100 {
            let reply = peer.ask(&fetch(&[("offset", &at.to_string()), ("wiber.max_bytes", bytes_max)]));
            let next = reply.number("wiber.next_offset").cast_unsigned();
            assert!(next > at, "{bytes_max} bytes at {at}");
            check_values(&reply.body, at, next);
            let within = reply.body.len().to_string().len() <= bytes_max.len() || read_batches(&reply.body).len() == 1;
            assert!(within, "{} bytes where {bytes_max} were asked for", reply.body.len());
            at = next;
        }
    }
}

#[test]
fn a_fetch_waits_as_long_as_it_is_told_to() {
    let (_directory, server) = start(&[]);
    let mut peer = Peer::connect(&server);
    let mut publisher = Peer::connect(&server);
    publisher.create("t", 1);
    // Without a wait the end is answered at once, with nothing.
    let reply = peer.ask(&fetch(&[("offset", "0")]));
    assert_eq!((reply.get("wiber.next_offset"), reply.body.len()), (Some("0"), 0));
    let began = now();
    let reply = peer.ask(&fetch(&[("offset", "0"), ("wiber.max_wait_ms", "300")]));
    assert!(now() - began >= Duration::from_millis(300));
    assert_eq!(reply.body.len(), 0);
    // The record ends the wait, and the answers behind it keep their place.
    peer.send(&[fetch(&[("offset", "0"), ("wiber.max_wait_ms", "60000")]), frame(HEARTBEAT, 11, &[])]);
    publisher.publish("t", 0, b"0");
    let reply = peer.next();
    assert_eq!((reply.sequence, reply.get("wiber.next_offset")), (10, Some("1")));
    assert_eq!((peer.next().sequence), 11);
    // Enough bytes end it, one batch is not enough.
    peer.send(&[fetch(&[("offset", "1"), ("wiber.max_wait_ms", "60000"), ("wiber.min_bytes", "200")])]);
    for n in 1..=4_u64 {
        publisher.publish("t", 0, n.to_string().as_bytes());
    }
    let reply = peer.next();
    assert!(reply.body.len() >= 200, "{} bytes", reply.body.len());
    check_values(&reply.body, 1, reply.number("wiber.next_offset").cast_unsigned());
    // So does as much as fits, though a batch is too large for the last of the bytes: waiting would bring no more.
    let began = now();
    let (waits, bytes) = (("wiber.max_wait_ms", "60000"), ["wiber.min_bytes", "wiber.max_bytes"]);
    let reply = peer.ask(&fetch(&[("offset", "1"), waits, (bytes[0], "200"), (bytes[1], "200")]));
    assert!((1..200).contains(&reply.body.len()), "{} bytes", reply.body.len());
    assert!(now() - began < Duration::from_millis(30_000));
    // Many at once, from many places.
    let many = (0..200_u64).map(|n| {
        let mut request = fetch(&[("offset", &(n % 6).to_string()), ("wiber.max_wait_ms", "100")]);
        request.sequence = n;
        request
    });
    let many: Vec<_> = many.collect();
    peer.send(&many);
    for n in 0..200 {
        let reply = peer.next();
        assert_eq!((reply.sequence, reply.get("status")), (n, Some("success")));
        check_values(&reply.body, n % 6, 5);
    }
}

#[test]
fn fetches_that_cannot_be_are_refused() {
    let (_directory, server) = start(&[]);
    let mut peer = Peer::connect(&server);
    filled(&mut peer);
    let cases: &[(Pairs<'_>, &str)] = &[
        (&[], "invalid_property"),
        (&[("offset", "x")], "invalid_property"),
        (&[("offset", "-1")], "invalid_property"),
        (&[("offset", "0"), ("partition", "1")], "unknown_partition"),
        (&[("offset", "0"), ("wiber.max_bytes", "0")], "invalid_property"),
        (&[("offset", "0"), ("wiber.max_bytes", "16777217")], "invalid_property"),
        (&[("offset", "0"), ("wiber.min_bytes", "16777217")], "invalid_property"),
        (&[("offset", "0"), ("wiber.max_wait_ms", "60001")], "invalid_property"),
        (&[("offset", "0"), ("wiber.max_wait_ms", "x")], "invalid_property"),
        (&[("offset", "0"), ("wiber.max_bytes", "1"), ("wiber.max_bytes", "1")], "invalid_property"),
        (&[("offset", "0"), ("wiber.start", "end")], "invalid_property"),
        (&[("offset", "101")], "offset_out_of_range"),
        (&[("offset", "9223372036854775807")], "offset_out_of_range"),
    ];
    for (properties, code) in cases {
        let refusal = peer.refused(&fetch(properties), code);
        if *code == "offset_out_of_range" {
            assert_eq!((refusal.get("log_start"), refusal.get("log_end")), (Some("0"), Some("100")));
        }
    }
    peer.refused(&frame(FETCH, 1, &[("offset", "0")]), "invalid_property");
    peer.refused(&frame(FETCH, 1, &[("topic", ""), ("offset", "0")]), "invalid_topic");
    peer.refused(&frame(FETCH, 1, &[("topic", "absent"), ("offset", "0")]), "unknown_topic");
}

/// Subscribes to batches; the next frame must be the ACK.
fn subscribe(peer: &mut Peer, more: Pairs<'_>) -> Raw {
    peer.ask(&frame(SUBSCRIBE_BATCHES, 16, &[&[("topic", "t")], more].concat()))
}

/// Reads BATCH frames up to an offset.
fn read_up_to(peer: &mut Peer, mut from: u64, to: u64) {
    while from < to {
        let next = peer.next();
        assert_eq!((next.kind, next.pairs()), (BATCH, vec![("topic", "t"), ("partition", "0")]), "{next:?}");
        let batches = read_batches(&next.body);
        assert_eq!(next.sequence, batches[0].0, "a BATCH is numbered by its first offset");
        assert!(next.sequence <= from, "{} where {from} was to come", next.sequence);
        let end = batches.last().map(|(base, records)| base + records.len() as u64).expect("a batch");
        check_values(&next.body, from, end);
        from = end;
    }
    assert_eq!(from, to);
}

#[test]
fn batches_are_pushed() {
    let (_directory, server) = start(&[]);
    let mut publisher = Peer::connect(&server);
    filled(&mut publisher);
    let cases: &[(Pairs<'_>, u64)] = &[
        (&[], 0),
        (&[("offset", "15")], 15),
        (&[("offset", "100")], 100),
        (&[("wiber.start", "end")], 100),
        (&[("wiber.start", "committed"), ("client_id", "new"), ("auto_ack", "false")], 0),
        (&[("offset", "99"), ("version", "1.0")], 99),
    ];
    let mut readers = Vec::new();
    for (properties, from) in cases {
        let mut reader = Peer::connect(&server);
        let ack = subscribe(&mut reader, properties);
        assert_eq!(ack.number("start_offset").cast_unsigned(), *from, "{properties:?}");
        read_up_to(&mut reader, *from, 100);
        readers.push(reader);
    }
    for n in 100..110_u64 {
        assert_eq!(publisher.publish("t", 0, n.to_string().as_bytes()), n);
    }
    for reader in &mut readers {
        read_up_to(reader, 100, 110);
        reader.refused(&frame(SUBSCRIBE, 1, &[("topic", "t")]), "already_subscribed");
        reader.refused(&frame(SUBSCRIBE_BATCHES, 1, &[("topic", "t")]), "already_subscribed");
        reader.ask(&frame(UNSUBSCRIBE, 2, &[("topic", "t")]));
    }
    publisher.publish("t", 0, b"110");
    readers.iter_mut().for_each(Peer::is_alive);
    for (properties, code) in [
        (&[][..], "invalid_property"),
        (&[("topic", "absent")], "unknown_topic"),
        (&[("topic", "t"), ("partition", "1")], "unknown_partition"),
        (&[("topic", "t"), ("wiber.start", "committed")], "invalid_property"),
        (&[("topic", "t"), ("auto_ack", "x")], "invalid_property"),
        (&[("topic", "t"), ("wiber.ack", "none")], "invalid_property"),
    ] {
        publisher.refused(&frame(SUBSCRIBE_BATCHES, 3, properties), code);
    }
}

/// Who commits for itself gets again what it has not committed; who does not is done with what was sent.
#[test]
fn batches_come_again_from_the_position() {
    let (_directory, server) = start(&[("QB_SERVER__ACK_TIMEOUT", "0.1"), ("QB_SERVER__HEARTBEAT_INTERVAL", "0.1")]);
    let mut publisher = Peer::connect(&server);
    filled(&mut publisher);
    let own: Pairs<'_> = &[("client_id", "own"), ("auto_ack", "false"), ("wiber.start", "committed")];
    for (from, position) in [(0, 42), (42, 57), (57, 57), (57, 100), (100, 100)] {
        let mut reader = Peer::connect(&server);
        assert_eq!(subscribe(&mut reader, own).number("start_offset").cast_unsigned(), from);
        read_up_to(&mut reader, from, 100);
        // There is no timed redelivery here.
        for _ in 0..4 {
            assert_eq!(reader.next_or_end().map(|beat| (beat.kind, beat.sequence)), Some((HEARTBEAT, 0)));
        }
        let offset = position.to_string();
        reader.ask(&frame(COMMIT, 3, &[("topic", "t"), ("client_id", "own"), ("offset", &offset)]));
    }
    let mut reader = Peer::connect(&server);
    subscribe(&mut reader, &[("client_id", "at-most-once"), ("wiber.start", "committed")]);
    read_up_to(&mut reader, 0, 100);
    let list = frame(LIST_OFFSETS, 4, &[("topic", "t"), ("client_id", "at-most-once")]);
    assert_eq!(reader.ask(&list).get("committed"), Some("100"));
}

/// The broker's own frames go to nobody who did not ask for them: a subscriber to single records gets none.
#[test]
fn an_old_client_sees_no_new_frame() {
    let (_directory, server) = start(&[("QB_SERVER__HEARTBEAT_INTERVAL", "0.1")]);
    let mut publisher = Peer::connect(&server);
    filled(&mut publisher);
    let mut old = Peer::connect(&server);
    old.subscribe("t", &[("version", "1.0")]);
    let (mut data, mut beats) = (0, 0);
    while data < 100 || beats < 3 {
        let next = old.next_or_end().expect("a frame");
        assert!((1..=3).contains(&next.kind), "{next:?}");
        data += u64::from(next.kind == 1);
        beats += u64::from(next.kind == HEARTBEAT);
    }
    let mut other = Peer::connect(&server);
    other.send(&[frame(BATCH, 9, &[("topic", "t")])]);
    expect_refusal(&other.next(), 9, "unknown_type", "BATCH by a client");
}
