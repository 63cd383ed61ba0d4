//! Limits, and what happens at each.

use super::{setup, start};
use crate::harness::peer::{HEARTBEAT, PUBLISH, Peer, SUBSCRIBE, UNSUBSCRIBE, expect_refusal, frame};

/// One connection more than allowed is told so and closed; a place that is given up is taken.
#[test]
fn connections_are_limited() {
    let (_directory, setup) = setup(&[("QB_MAX_CONNECTIONS", "3")]);
    let server = setup.expect_line("server.max_connections").start();
    let mut peers: Vec<_> = (0..3).map(|_| Peer::connect(&server)).collect();
    peers.iter_mut().for_each(Peer::is_alive);
    for _ in 0..20 {
        let mut refused = Peer::connect(&server);
        expect_refusal(&refused.next(), 0, "limit_exceeded", "a connection too many");
        assert!(refused.ends());
    }
    peers.iter_mut().for_each(Peer::is_alive);
    drop(peers.pop());
    // The server learns of it in its own time.
    loop {
        let mut again = Peer::connect(&server);
        again.try_send_bytes(&frame(HEARTBEAT, 77, &[]).bytes());
        if again.next_or_end().is_some_and(|frame| frame.sequence == 77) {
            return;
        }
    }
}

#[test]
fn subscriptions_of_a_connection_are_limited() {
    let (_directory, server) = start(&[("QB_STORAGE__SYNC", "os")]);
    let mut peer = Peer::connect(&server);
    peer.create("t", 1_026);
    let subscribe = |n: u64| frame(SUBSCRIBE, n, &[("topic", "t"), ("partition", &n.to_string())]);
    let many: Vec<_> = (0..1_024).map(subscribe).collect();
    peer.send(&many);
    for n in 0..1_024 {
        let reply = peer.next();
        assert_eq!((reply.sequence, reply.get("status")), (n, Some("success")));
    }
    peer.refused(&subscribe(1_024), "limit_exceeded");
    Peer::connect(&server).publish("t", 1_023, b"served");
    assert_eq!(peer.data().get("partition"), Some("1023"));
    peer.ask(&frame(UNSUBSCRIBE, 1, &[("topic", "t"), ("partition", "17")]));
    peer.ask(&subscribe(1_025));
    peer.refused(&subscribe(1_024), "limit_exceeded");
    // Another connection has its own.
    Peer::connect(&server).ask(&subscribe(0));
}

/// More requests than are ever under way at once, sent before the first answer is read.
#[test]
fn requests_beyond_the_limit_wait_their_turn() {
    let (_directory, server) = start(&[]);
    let mut peer = Peer::connect(&server);
    peer.create("t", 1);
    let many: Vec<_> = (0..20_000).map(|n| frame(PUBLISH, n, &[("topic", "t")])).collect();
    peer.send(&many);
    for n in 0..20_000 {
        let reply = peer.next();
        assert_eq!((reply.sequence, reply.number("offset").cast_unsigned()), (n, n));
    }
}

/// A partition's queue that is full slows its producer down, and nobody is refused.
#[test]
fn a_full_queue_slows_its_producer() {
    let (_directory, server) =
        start(&[("QB_STORAGE__PENDING_BYTES", "1048576"), ("QB_STORAGE__UNSYNCED_BYTES", "1048576")]);
    let mut peer = Peer::connect(&server);
    peer.create("t", 1);
    for _ in 0..3 {
        let many: Vec<_> =
            (0..40).map(|n| frame(PUBLISH, n, &[("topic", "t")]).with_body(&vec![b'x'; 500_000])).collect();
        peer.send(&many);
        for n in 0..40 {
            let reply = peer.next();
            assert_eq!((reply.sequence, reply.get("status")), (n, Some("success")), "{reply:?}");
        }
    }
}
