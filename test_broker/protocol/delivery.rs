//! At most once and at least once: acknowledgements, redelivery, limits, positions that a subscription keeps.

use std::collections::BTreeSet;
use std::time::Duration;

use super::subscribe::now;
use super::{setup, start};
use crate::harness::peer::{ACK, DATA, HEARTBEAT, LIST_OFFSETS, PUBLISH, Pairs, Peer, UNSUBSCRIBE, frame};
use crate::harness::{BOUND, Chance, Server};

/// At least once, under a name.
const KEPT: Pairs<'_> = &[("client_id", "me"), ("auto_ack", "false"), ("wiber.start", "committed")];

fn filled(server: &Server, records: u64, body: &[u8]) {
    let mut peer = Peer::connect(server);
    peer.create("t", 1);
    let many: Vec<_> = (0..records).map(|n| frame(PUBLISH, n, &[("topic", "t")]).with_body(body)).collect();
    for some in many.chunks(64) {
        peer.send(some);
        some.iter().for_each(|_| assert_eq!(peer.next().get("status"), Some("success")));
    }
}

/// The position kept for a client, -1 for none.
fn committed(peer: &mut Peer, client_id: &str) -> i64 {
    peer.ask(&frame(LIST_OFFSETS, 8, &[("topic", "t"), ("client_id", client_id)])).number("committed")
}

/// Waits until the position kept for a client is this one: a subscription's is kept soon, not at once.
fn wait_for_committed(server: &Server, client_id: &str, expected: i64) {
    let mut peer = Peer::connect(server);
    let began = now();
    loop {
        let kept = committed(&mut peer, client_id);
        if kept == expected {
            return;
        }
        assert!(kept < expected, "{kept} is kept where {expected} was acknowledged");
        assert!(now() - began < BOUND, "{kept} is kept and stays, where {expected} was acknowledged");
    }
}

fn read(peer: &mut Peer, offsets: impl Iterator<Item = u64>) -> Vec<crate::harness::peer::Raw> {
    let read = offsets.map(|offset| {
        let data = peer.data();
        assert_eq!(data.sequence, offset);
        data
    });
    read.collect()
}

#[test]
fn what_is_not_acknowledged_comes_again() {
    const TIMEOUT: Duration = Duration::from_millis(300);
    let (_directory, server) = start(&[("QB_SERVER__ACK_TIMEOUT", "0.3")]);
    filled(&server, 5, b"x");
    let mut peer = Peer::connect(&server);
    let began = now();
    peer.subscribe("t", &[("auto_ack", "false")]);
    let records = read(&mut peer, 0..5);
    peer.acknowledge(&records[1]);
    peer.acknowledge(&records[3]);
    // Again and again, each time those that are left, as they were.
    for round in 1..=3 {
        let again = read(&mut peer, [0, 2, 4].into_iter());
        assert!(now() - began >= TIMEOUT * round, "round {round} came early");
        for data in again {
            let first = &records[usize::try_from(data.sequence).expect("small")];
            assert_eq!((data.pairs(), &data.body, data.timestamp), (first.pairs(), &first.body, first.timestamp));
        }
    }
    for number in [0, 2, 4] {
        peer.acknowledge(&records[number]);
    }
    // What was on its way already may still come; after that, silence but for heartbeats and what is new.
    Peer::connect(&server).publish("t", 0, b"new");
    loop {
        let data = peer.data();
        peer.acknowledge(&data);
        if data.sequence == 5 {
            break;
        }
    }
    peer.is_alive();
    assert_eq!(peer.next_within(TIMEOUT * 3), None, "all is acknowledged");
}

#[test]
fn acknowledgements_of_every_kind_do_no_harm() {
    let (_directory, server) = start(&[("QB_SERVER__ACK_TIMEOUT", "0.3")]);
    filled(&server, 4, b"x");
    let mut peer = Peer::connect(&server);
    // For a subscription that is not there, and for one that wants none.
    peer.send(&[frame(ACK, 0, &[("topic", "t"), ("partition", "0")])]);
    peer.subscribe("t", &[("auto_ack", "true")]);
    let records = read(&mut peer, 0..4);
    peer.acknowledge(&records[0]);
    peer.ask(&frame(UNSUBSCRIBE, 1, &[("topic", "t")]));
    peer.subscribe("t", &[("auto_ack", "false"), ("client_id", "me")]);
    let records = read(&mut peer, 0..4);
    for sequence in [4, 99, i64::MAX.cast_unsigned(), u64::MAX] {
        peer.send(&[frame(ACK, sequence, &[("topic", "t"), ("partition", "0")])]);
    }
    peer.send(&[
        frame(ACK, 0, &[("topic", "t"), ("partition", "1")]),
        frame(ACK, 0, &[("topic", "other"), ("partition", "0")]),
        frame(ACK, 0, &[("partition", "0")]),
        frame(ACK, 0, &[("topic", "t"), ("partition", "0"), ("wiber.what", "1")]),
    ]);
    for number in [3, 3, 1, 2, 1] {
        peer.acknowledge(&records[number]);
    }
    // The partition may be left out, as clients of a single partition do.
    assert_eq!(peer.data().sequence, 0, "the only one left comes again");
    assert!(committed(&mut Peer::connect(&server), "me") <= 0, "nothing before the first is missing");
    peer.send(&[frame(ACK, 0, &[("topic", "t")])]);
    wait_for_committed(&server, "me", 4);
    peer.is_alive();
}

/// At most once: nothing is sent twice, and nothing needs an answer.
#[test]
fn at_most_once_is_once() {
    let (_directory, server) = start(&[("QB_SERVER__ACK_TIMEOUT", "0.1"), ("QB_SERVER__HEARTBEAT_INTERVAL", "0.1")]);
    filled(&server, 10, b"x");
    for properties in [&[][..], &[("auto_ack", "true")], &[("client_id", "me")]] {
        let mut peer = Peer::connect(&server);
        peer.subscribe("t", properties);
        read(&mut peer, 0..10);
        for _ in 0..8 {
            let beat = peer.next_or_end().expect("a heartbeat");
            assert_eq!((beat.kind, beat.sequence), (HEARTBEAT, 0), "{properties:?}");
        }
    }
}

#[test]
fn no_more_than_a_thousand_are_unacknowledged() {
    let (_directory, server) = start(&[]);
    filled(&server, 2_500, b"x");
    let mut peer = Peer::connect(&server);
    peer.subscribe("t", &[("auto_ack", "false")]);
    let mut unacknowledged = read(&mut peer, 0..1_000);
    peer.is_alive();
    assert_eq!(peer.next_within(Duration::from_millis(200)), None, "the limit is reached");
    let (mut next, mut chance) = (1_000, Chance::new(6));
    while next < 2_500 {
        // In any order, and as many as it takes: how many must be acknowledged before more come is the server's affair.
        let index = usize::try_from(chance.below(unacknowledged.len() as u64)).expect("small");
        peer.acknowledge(&unacknowledged.swap_remove(index));
        peer.is_alive_among(&mut |data| {
            assert_eq!((data.kind, data.sequence), (DATA, next));
            next += 1;
            unacknowledged.push(data);
        });
        assert!(unacknowledged.len() <= 1_000, "{} are unacknowledged", unacknowledged.len());
        assert!(!unacknowledged.is_empty(), "none came though all are acknowledged");
    }
}

/// The bytes of what is unacknowledged have a limit as well, and a subscription that has reached it costs nothing.
#[test]
fn sixteen_megabytes_are_the_most_that_is_unacknowledged() {
    let (_directory, server) = start(&[("QB_SERVER__HEARTBEAT_INTERVAL", "0.1")]);
    filled(&server, 24, &vec![b'x'; (1 << 20) - 1_000]);
    let mut peer = Peer::connect(&server);
    peer.subscribe("t", &[("auto_ack", "false")]);
    let records = read(&mut peer, 0..16);
    let before = server.processor_ticks();
    for _ in 0..10 {
        let beat = peer.next_or_end().expect("a heartbeat");
        assert_eq!((beat.kind, beat.sequence), (HEARTBEAT, 0), "no more than 16 MiB");
    }
    let ticks = server.processor_ticks() - before;
    assert!(ticks < 40, "{ticks} hundredths of a second of work within one, for nothing");
    records.iter().for_each(|data| peer.acknowledge(data));
    read(&mut peer, 16..24);
}

/// What is larger than the limit by itself goes out alone.
#[test]
fn a_record_larger_than_the_limit_is_delivered_all_the_same() {
    let (_directory, server) =
        start(&[("QB_TOPICS__MAX_MESSAGE_SIZE", "20000000"), ("QB_STORAGE__PENDING_BYTES", "40000000")]);
    let mut publisher = Peer::connect(&server);
    publisher.create("t", 1);
    publisher.publish("t", 0, b"small");
    publisher.publish("t", 0, &vec![b'x'; 20_000_000]);
    publisher.publish("t", 0, b"small");
    let mut peer = Peer::connect(&server);
    peer.subscribe("t", &[("auto_ack", "false")]);
    for (offset, bytes) in [(0, 5), (1, 20_000_000), (2, 5)] {
        let data = peer.data();
        assert_eq!((data.sequence, data.body.len()), (offset, bytes));
        peer.acknowledge(&data);
    }
}

/// The position is the first record not acknowledged, whatever came behind it.
#[test]
fn a_subscription_goes_on_where_its_client_stood() {
    let (_directory, server) = start(&[]);
    filled(&server, 10, b"x");
    let mut peer = Peer::connect(&server);
    assert_eq!(peer.subscribe("t", KEPT).get("start_offset"), Some("0"));
    let records = read(&mut peer, 0..10);
    for number in [0, 1, 2, 4, 5, 9] {
        peer.acknowledge(&records[number]);
    }
    wait_for_committed(&server, "me", 3);
    drop(peer);
    let mut peer = Peer::connect(&server);
    assert_eq!(peer.subscribe("t", KEPT).get("start_offset"), Some("3"));
    let records = read(&mut peer, 3..10);
    records[..6].iter().for_each(|data| peer.acknowledge(data));
    wait_for_committed(&server, "me", 9);
    // Unsubscribing keeps it too, and an offset given wins over it without moving it back.
    peer.ask(&frame(UNSUBSCRIBE, 1, &[("topic", "t"), ("client_id", "me")]));
    peer.subscribe("t", &[("client_id", "me"), ("auto_ack", "false"), ("offset", "2"), ("wiber.start", "committed")]);
    let records = read(&mut peer, 2..10);
    peer.acknowledge(&records[0]);
    peer.acknowledge(&records[1]);
    peer.is_alive();
    assert_eq!(committed(&mut peer_for(&server), "me"), 9);
    // Another client's is its own.
    let mut other = Peer::connect(&server);
    let ack = other.subscribe("t", &[("client_id", "you"), ("auto_ack", "false"), ("wiber.start", "committed")]);
    assert_eq!(ack.get("start_offset"), Some("0"));
    assert_eq!(committed(&mut peer_for(&server), "nobody"), -1);
}

fn peer_for(server: &Server) -> Peer {
    Peer::connect(server)
}

/// Acknowledged records stay acknowledged when the server stops, and none that was not is lost when it is killed.
#[test]
fn positions_survive_the_server() {
    let (_directory, setup) = setup(&[]);
    let mut server = setup.start();
    filled(&server, 100, b"x");
    let (mut acknowledged, mut from) = (0, 0);
    for round in 0..6_u64 {
        let mut peer = Peer::connect(&server);
        let ack = peer.subscribe("t", KEPT);
        let start = ack.number("start_offset").cast_unsigned();
        assert!((from..=acknowledged).contains(&start), "{start} of {from} to {acknowledged}");
        for data in read(&mut peer, start..start + 10) {
            peer.acknowledge(&data);
        }
        acknowledged = start + 10;
        if round % 2 == 0 {
            wait_for_committed(&server, "me", acknowledged.cast_signed());
            drop(peer);
            server.terminate();
            from = acknowledged;
        } else {
            // What was acknowledged just now may come again, what was kept before does not.
            from = committed(&mut peer_for(&server), "me").cast_unsigned();
            server.kill();
            from = from.min(start);
        }
        server = setup.start();
    }
}

/// At most once: whoever sees a record finds the position behind it already.
#[test]
fn at_most_once_the_position_moves_before_the_record_goes() {
    let (_directory, server) = start(&[]);
    filled(&server, 0, b"");
    let (mut peer, mut publisher) = (Peer::connect(&server), Peer::connect(&server));
    peer.subscribe("t", &[("client_id", "me")]);
    for offset in 0..50_u64 {
        publisher.publish("t", 0, b"x");
        assert_eq!(peer.data().sequence, offset);
        assert_eq!(committed(&mut publisher, "me"), offset.cast_signed() + 1);
    }
}

/// At most once: whatever the client saw, it does not see again, kill -9 or not.
#[test]
fn what_was_delivered_at_most_once_never_comes_again() {
    for sync in ["always", "os"] {
        let (_directory, setup) = setup(&[("QB_STORAGE__SYNC", sync)]);
        let mut server = setup.start();
        filled(&server, 3_000, &[b'x'; 100]);
        let mut chance = Chance::new(7);
        let (mut seen, mut starts) = (BTreeSet::new(), Vec::new());
        for _ in 0..4 {
            let mut peer = Peer::connect(&server);
            let ack = peer.subscribe("t", &[("client_id", "me"), ("wiber.start", "committed")]);
            starts.push(ack.number("start_offset"));
            if starts.last().is_some_and(|start| *start >= 3_000) {
                break;
            }
            for _ in 0..=chance.below(500) {
                match peer.next_within(Duration::from_secs(1)) {
                    Some(data) => {
                        assert!(seen.insert(data.sequence), "{sync}: {} came twice: {starts:?}", data.sequence)
                    }
                    None => break,
                }
            }
            server.kill();
            server = setup.start();
        }
        assert!(!seen.is_empty());
    }
}
