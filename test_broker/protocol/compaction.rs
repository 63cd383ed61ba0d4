//! A topic that keeps the newest record of each key, as its clients see it.

use std::collections::BTreeMap;

use super::setup;
use crate::harness::peer::{CREATE_TOPIC, PUBLISH, Peer, frame};

/// Everything that a subscriber from the beginning gets, up to the record of offset `last`.
fn read_all(peer: &mut Peer, last: i64) -> Vec<(i64, String, Vec<u8>)> {
    peer.subscribe("table", &[("offset", "0"), ("auto_ack", "true")]);
    let mut found = Vec::new();
    loop {
        let data = peer.data();
        let offset = i64::try_from(data.sequence).expect("small");
        found.push((offset, data.get("key").expect("a key").to_owned(), data.body.clone()));
        if offset == last {
            return found;
        }
    }
}

#[test]
fn old_records_of_a_key_go_and_offsets_stay() {
    let (_directory, setup) = setup(&[("QB_TOPICS__DEDUP_WINDOW", "0"), ("QB_STORAGE__MAX_LOG_SIZE", "2000")]);
    let mut server = setup.start();
    let mut peer = Peer::connect(&server);
    peer.ask(&frame(CREATE_TOPIC, 1, &[("topic", "table"), ("wiber.cleanup_policy", "compact")]));
    peer.refused(&frame(PUBLISH, 2, &[("topic", "table")]).with_body(b"no key"), "invalid_record");
    let (mut newest, mut last) = (BTreeMap::new(), 0);
    for number in 0..200_u32 {
        let (key, value) = (format!("key-{}", number % 7), format!("value {number}"));
        let reply = peer.ask(&frame(PUBLISH, 3, &[("topic", "table"), ("key", &key)]).with_body(value.as_bytes()));
        last = reply.number("offset");
        newest.insert(key, (last, value.into_bytes()));
    }
    server.wait_for("compacted");
    // That may have been before the last of them came.
    let is_short = |_: &u32| read_all(&mut Peer::connect(&server), last).len() < 100;
    assert!((0..5_000).any(|turn| is_short(&turn)), "most records stay");
    for _ in 0..2 {
        let found = read_all(&mut Peer::connect(&server), last);
        let read: BTreeMap<_, _> = found.into_iter().map(|(offset, key, value)| (key, (offset, value))).collect();
        assert_eq!(read, newest);
        server.kill();
        server = setup.start();
    }
}
