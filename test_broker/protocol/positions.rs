//! COMMIT and LIST_OFFSETS: positions that clients keep themselves, and where things are.

use super::{setup, start};
use crate::harness::delete_derived;
use crate::harness::peer::{COMMIT, CREATE_TOPIC, DELETE_TOPIC, LIST_OFFSETS, PUBLISH, Pairs, Peer, SUBSCRIBE, frame};

fn commit(offset: &str) -> crate::harness::peer::Raw {
    frame(COMMIT, 11, &[("topic", "t"), ("client_id", "me"), ("offset", offset)])
}

#[test]
fn a_position_is_kept_and_never_goes_back() {
    let (directory, setup) = setup(&[]);
    let server = setup.start();
    let mut peer = Peer::connect(&server);
    peer.create("t", 2);
    for _ in 0..10 {
        peer.publish("t", 0, b"x");
    }
    for (asked, kept) in [("0", "0"), ("3", "3"), ("3", "3"), ("1", "3"), ("10", "10"), ("9", "10")] {
        let reply = peer.ask(&commit(asked));
        let expected =
            [("status", "success"), ("topic", "t"), ("partition", "0"), ("client_id", "me"), ("offset", kept)];
        assert_eq!((reply.pairs(), reply.body.len()), (expected.to_vec(), 0), "{asked}");
        let listed = peer.ask(&frame(LIST_OFFSETS, 12, &[("topic", "t"), ("client_id", "me")]));
        assert_eq!(listed.get("committed"), Some(kept));
    }
    let refusal = peer.refused(&commit("11"), "offset_out_of_range");
    assert_eq!((refusal.get("log_start"), refusal.get("log_end")), (Some("0"), Some("10")));
    // Each partition has its own, and each client.
    let elsewhere = frame(LIST_OFFSETS, 13, &[("topic", "t"), ("partition", "1"), ("client_id", "me")]);
    assert_eq!(peer.ask(&elsewhere).get("committed"), Some("-1"));
    assert_eq!(peer.ask(&frame(LIST_OFFSETS, 14, &[("topic", "t"), ("client_id", "Me")])).get("committed"), Some("-1"));
    // Under `always` what was answered is there after a kill, without snapshots and indexes too.
    server.kill();
    for has_derived in [true, false] {
        if !has_derived {
            assert!(delete_derived(&directory.path().join("data")) > 0);
        }
        let server = setup.start();
        let mut peer = Peer::connect(&server);
        let listed = peer.ask(&frame(LIST_OFFSETS, 12, &[("topic", "t"), ("client_id", "me")]));
        assert_eq!(listed.get("committed"), Some("10"));
        let ack = peer.subscribe("t", &[("client_id", "me"), ("wiber.start", "committed")]);
        assert_eq!(ack.get("start_offset"), Some("10"));
        server.kill();
    }
}

#[test]
fn a_topic_made_anew_begins_without_positions() {
    let (_directory, server) = start(&[]);
    let mut peer = Peer::connect(&server);
    for round in 0..3 {
        peer.create("t", 1);
        let list = frame(LIST_OFFSETS, 1, &[("topic", "t"), ("client_id", "me")]);
        assert_eq!(peer.ask(&list).get("committed"), Some("-1"), "round {round}");
        peer.publish("t", 0, b"x");
        peer.ask(&commit("1"));
        assert_eq!(peer.ask(&list).get("committed"), Some("1"), "round {round}");
        peer.ask(&frame(DELETE_TOPIC, 2, &[("topic", "t")]));
        peer.refused(&list, "unknown_topic");
        peer.refused(&commit("1"), "unknown_topic");
    }
}

#[test]
fn a_subscription_of_the_deleted_topic_is_none_of_the_new_one() {
    let (_directory, server) = start(&[]);
    let mut reader = Peer::connect(&server);
    let mut other = Peer::connect(&server);
    other.create("t", 1);
    let records = (0..3).map(|_| other.publish("t", 0, b"old")).count();
    reader.subscribe("t", &[("client_id", "me"), ("auto_ack", "false")]);
    let old: Vec<_> = (0..records).map(|_| reader.data()).collect();
    other.ask(&frame(DELETE_TOPIC, 2, &[("topic", "t")]));
    let told = reader.next();
    assert_eq!((told.sequence, told.get("code")), (0, Some("unknown_topic")));
    other.create("t", 1);
    for _ in 0..records {
        other.publish("t", 0, b"new");
    }
    // What is said late about the old records moves nothing among the new ones.
    old.iter().for_each(|data| reader.acknowledge(data));
    let list = frame(LIST_OFFSETS, 1, &[("topic", "t"), ("client_id", "me")]);
    assert_eq!(reader.ask(&list).get("committed"), Some("-1"));
    // It ended by itself: the same connection may subscribe to the new topic at once.
    let more = [("client_id", "me"), ("auto_ack", "false"), ("wiber.start", "committed")];
    assert_eq!(reader.subscribe("t", &more).get("start_offset"), Some("0"));
    let new = reader.data();
    assert_eq!(&new.body[..], b"new");
    reader.acknowledge(&new);
    reader.is_alive_among(&mut |_| ());
    assert_eq!(other.ask(&list).get("committed"), Some("1"));
}

#[test]
fn offsets_are_listed_as_they_are() {
    let (_directory, server) = start(&[]);
    let mut peer = Peer::connect(&server);
    peer.create("t", 1);
    let empty = [("log_start", "0"), ("high_watermark", "0"), ("log_end", "0")];
    let head = [("status", "success"), ("topic", "t"), ("partition", "0")];
    let list = |more: Pairs<'_>| frame(LIST_OFFSETS, 1, &[&[("topic", "t")], more].concat());
    assert_eq!(peer.ask(&list(&[])).pairs(), [&head[..], &empty].concat());
    assert_eq!(peer.ask(&list(&[("wiber.time", "0")])).pairs(), [&head[..], &empty, &[("offset", "-1")]].concat());
    for n in 1..=5 {
        peer.ask(&frame(PUBLISH, 1, &[("topic", "t")]).at(n * 1_000));
    }
    let full = [("log_start", "0"), ("high_watermark", "5"), ("log_end", "5")];
    let cases: &[(Pairs<'_>, Pairs<'_>)] = &[
        (&[], &[]),
        (&[("client_id", "")], &[]),
        (&[("client_id", "me")], &[("committed", "-1")]),
        (&[("wiber.time", "0")], &[("offset", "0")]),
        (&[("wiber.time", "1000")], &[("offset", "0")]),
        (&[("wiber.time", "1001")], &[("offset", "1")]),
        (&[("wiber.time", "5000")], &[("offset", "4")]),
        (&[("wiber.time", "5001")], &[("offset", "-1")]),
        (&[("wiber.time", "3000"), ("client_id", "me")], &[("committed", "-1"), ("offset", "2")]),
    ];
    for (asked, answered) in cases {
        assert_eq!(peer.ask(&list(asked)).pairs(), [&head[..], &full, answered].concat(), "{asked:?}");
    }
}

#[test]
fn positions_that_cannot_be_are_refused() {
    let (_directory, server) = start(&[]);
    let mut peer = Peer::connect(&server);
    peer.create("t", 1);
    peer.publish("t", 0, b"x");
    let longest = "c".repeat(255);
    let too_long = "c".repeat(256);
    peer.ask(&frame(COMMIT, 1, &[("topic", "t"), ("client_id", &longest), ("offset", "1")]));
    let cases: &[(u32, Pairs<'_>, &str)] = &[
        (COMMIT, &[], "invalid_property"),
        (COMMIT, &[("topic", "t"), ("offset", "1")], "invalid_property"),
        (COMMIT, &[("topic", "t"), ("client_id", ""), ("offset", "1")], "invalid_property"),
        (COMMIT, &[("topic", "t"), ("client_id", "me")], "invalid_property"),
        (COMMIT, &[("topic", "t"), ("client_id", "me"), ("offset", "x")], "invalid_property"),
        (COMMIT, &[("topic", "t"), ("client_id", "me"), ("offset", "-1")], "invalid_property"),
        (COMMIT, &[("topic", "t"), ("client_id", &too_long), ("offset", "1")], "invalid_property"),
        (COMMIT, &[("topic", "t"), ("client_id", "me"), ("offset", "1"), ("wiber.ack", "durable")], "invalid_property"),
        (COMMIT, &[("topic", "t"), ("client_id", "me"), ("offset", "1"), ("partition", "1")], "unknown_partition"),
        (COMMIT, &[("topic", "absent"), ("client_id", "me"), ("offset", "1")], "unknown_topic"),
        (COMMIT, &[("topic", "__offsets"), ("client_id", "me"), ("offset", "0")], "invalid_topic"),
        (COMMIT, &[("topic", "t"), ("client_id", "me"), ("offset", "2")], "offset_out_of_range"),
        (COMMIT, &[("topic", "t"), ("client_id", "me"), ("offset", "9223372036854775807")], "offset_out_of_range"),
        (LIST_OFFSETS, &[], "invalid_property"),
        (LIST_OFFSETS, &[("topic", "")], "invalid_topic"),
        (LIST_OFFSETS, &[("topic", "absent")], "unknown_topic"),
        (LIST_OFFSETS, &[("topic", "__meta")], "unknown_topic"),
        (LIST_OFFSETS, &[("topic", "t"), ("partition", "1")], "unknown_partition"),
        (LIST_OFFSETS, &[("topic", "t"), ("wiber.time", "now")], "invalid_property"),
        (LIST_OFFSETS, &[("topic", "t"), ("wiber.time", "1"), ("wiber.time", "1")], "invalid_property"),
        (LIST_OFFSETS, &[("topic", "t"), ("wiber.limit", "1")], "invalid_property"),
        (SUBSCRIBE, &[("topic", "t"), ("client_id", &too_long), ("wiber.start", "committed")], "invalid_property"),
        (CREATE_TOPIC, &[("topic", "__offsets")], "invalid_topic"),
    ];
    for (number, (kind, properties, code)) in (100..).zip(cases) {
        peer.refused(&frame(*kind, number, properties), code);
    }
    peer.is_alive();
}
