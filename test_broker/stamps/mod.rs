//! Time: stamps that never contradict cause and effect, publishers whose clocks are off, and what is found by time.

mod commands;
mod library;

use serde_json::Value;

use crate::harness::peer::{DATA, FETCH, METADATA, PUBLISH, Pairs, Peer, Raw, SUBSCRIBE_BATCHES, frame};
use crate::harness::{Server, Setup};

const WARNING: &str = "a publisher's clock is far from the broker's";

fn start() -> (tempfile::TempDir, Server) {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Setup::new(&directory.path().join("data")).start();
    (directory, server)
}

fn publish(more: Pairs<'_>) -> Raw {
    frame(PUBLISH, 5, &[&[("topic", "t")], more].concat())
}

fn stamp(data: &Raw) -> u64 {
    let text = data.get("wiber.stamp").expect("a stamp");
    assert_eq!(text.len(), 16, "{text}");
    u64::from_str_radix(text, 16).expect("hexadecimal digits")
}

/// The server's clock.
fn server_time(peer: &mut Peer) -> i64 {
    peer.ask(&frame(METADATA, 7, &[])).timestamp
}

#[test]
fn data_says_stamps_only_to_who_asks_and_never_their_header() {
    let (_directory, server) = start();
    let mut peer = Peer::connect(&server);
    peer.create("t", 1);
    peer.ask(&publish(&[("colour", "red")]).with_body(b"one"));
    peer.ask(&publish(&[]).with_body(b"two"));
    peer.subscribe("t", &[]);
    let plain = [peer.data(), peer.data()];
    assert_eq!(plain[0].pairs(), [("topic", "t"), ("partition", "0"), ("colour", "red")]);
    assert_eq!(plain[1].pairs(), [("topic", "t"), ("partition", "0")]);
    let mut other = Peer::connect(&server);
    other.subscribe("t", &[("wiber.stamps", "true")]);
    let stamped = [other.data(), other.data()];
    assert_eq!(stamped[0].pairs()[..3], plain[0].pairs()[..]);
    assert_eq!((stamped[0].properties.len(), stamped[1].properties.len()), (4, 3));
    assert!(stamp(&stamped[0]) < stamp(&stamped[1]), "one was answered before the other was sent");
    assert!((stamp(&stamped[1]) >> 16).cast_signed() - stamped[1].timestamp < 5_000);
    let refused = [("topic", "t"), ("wiber.stamps", "perhaps")];
    other.refused(&frame(crate::harness::peer::SUBSCRIBE, 8, &refused), "invalid_property");
    let refused = [("topic", "t"), ("wiber.stamps", "true")];
    other.refused(&frame(SUBSCRIBE_BATCHES, 9, &refused), "invalid_property");
}

#[test]
fn what_was_read_before_is_stamped_before() {
    let (_directory, server) = start();
    let mut peer = Peer::connect(&server);
    peer.create("t", 1);
    let now = server_time(&mut peer);
    let ahead = |ms: i64| u64::try_from(now + ms).expect("after 1970") << 16 | 0xabc;
    let tell = |stamp: u64| format!("{stamp:016x}");
    // The publisher has read what somebody stamped whose clock is half a minute ahead.
    peer.ask(&publish(&[("wiber.stamp", &tell(ahead(30_000)))]));
    peer.ask(&publish(&[]));
    // Nobody is believed to be an hour ahead.
    peer.ask(&publish(&[("wiber.stamp", &tell(ahead(3_600_000)))]));
    peer.subscribe("t", &[("wiber.stamps", "true")]);
    let stamps = [stamp(&peer.data()), stamp(&peer.data()), stamp(&peer.data())];
    assert!(stamps[0] > ahead(30_000), "{stamps:x?}");
    assert!(stamps.is_sorted() && stamps[2] < ahead(40_000), "{stamps:x?}");
    for bad in ["", "1", "000000000000000G", "018BCFE568000007", "0000000000000000"] {
        peer.refused(&publish(&[("wiber.stamp", bad)]), "invalid_property");
    }
}

fn described(peer: &mut Peer) -> Value {
    let reply = peer.ask(&frame(METADATA, 6, &[("topic", "t")]));
    serde_json::from_slice(&reply.body).expect("JSON")
}

#[test]
fn a_publisher_whose_clock_is_off_is_told_of_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut server = Setup::new(&directory.path().join("data")).expect_line(WARNING).start();
    let mut peer = Peer::connect(&server);
    peer.create("t", 1);
    assert_eq!(described(&mut peer).get("clock_skew"), None, "nobody has published");
    peer.ask(&publish(&[]));
    assert_eq!(described(&mut peer).get("clock_skew"), None, "a frame without a time tells nothing");
    let now = server_time(&mut peer);
    for skew_ms in [0, -60_000, 20_000] {
        peer.ask(&publish(&[]).at(now + skew_ms));
    }
    let shown = described(&mut peer)["clock_skew"].clone();
    let number = |name: &str| shown[name].as_i64().unwrap_or_else(|| panic!("{name} in {shown}"));
    // What passed on the way counts as well.
    assert!((-10_000..=20_000).contains(&number("last_ms")) && number("last_ms") == number("max_ms"), "{shown}");
    assert!((-90_000..=-60_000).contains(&number("min_ms")) && number("too_far_ahead") == 0, "{shown}");
    let warned = server.wait_for(WARNING);
    assert!(warned.contains("topic=t") && warned.contains("limit_ms=5000"), "{warned}");
    drop(peer);
    let log = server.terminate();
    assert_eq!(log.matches(WARNING).count(), 1, "{log}");
}

#[test]
fn records_are_fetched_by_time() {
    let (_directory, server) = start();
    let mut peer = Peer::connect(&server);
    peer.create("t", 1);
    let batch: Vec<_> = (1..=5).map(|n| publish(&[]).at(n * 1_000)).collect();
    peer.send(&batch);
    batch.iter().for_each(|_| assert_eq!(peer.next().get("status"), Some("success")));
    let fetch = |more: Pairs<'_>| frame(FETCH, 10, &[&[("topic", "t")], more].concat());
    for (time, offset) in [("0", "0"), ("1000", "0"), ("2001", "2"), ("5000", "4"), ("5001", "5")] {
        let reply = peer.ask(&fetch(&[("wiber.time", time)]));
        assert_eq!((reply.get("offset"), reply.body.is_empty()), (Some(offset), offset == "5"), "{time}: {reply:?}");
    }
    let reply = peer.ask(&fetch(&[("wiber.time", "5000"), ("offset", "1")]));
    assert_eq!(reply.get("offset"), None, "an offset wins: {reply:?}");
    peer.refused(&fetch(&[]), "invalid_property");
    peer.refused(&fetch(&[("wiber.time", "soon")]), "invalid_property");
    peer.subscribe("t", &[("wiber.start", "3001")]);
    let data = peer.next();
    assert_eq!((data.kind, data.sequence), (DATA, 3));
}
