//! Requests that follow each other without waiting, and subscriptions that meet the end of what they are of.

use std::collections::BTreeSet;

use super::start;
use crate::harness::Server;
use crate::harness::batches::{NOBODY, batch, rec};
use crate::harness::peer::{
    ACK, ALTER_TOPIC, BATCH, COMMIT, CREATE_TOPIC, DATA, DELETE_TOPIC, FETCH, HEARTBEAT, INIT_PRODUCER, LIST_OFFSETS,
    METADATA, PUBLISH, PUBLISH_BATCH, Peer, Raw, SUBSCRIBE, SUBSCRIBE_BATCHES, UNSUBSCRIBE, expect_refusal, frame,
};

/// A thousand requests of all types in one write: the replies have their order, and each is that of its request.
#[test]
fn requests_of_all_types_are_answered_in_order() {
    let (_directory, server) = start(&[]);
    let mut peer = Peer::connect(&server);
    peer.create("t", 2);
    peer.create("changing", 1);
    let bytes = batch(NOBODY, 1_700_000_000_000, &[rec(b"a"), rec(b"b")]);
    let request = |n: u64| {
        let partition = (n % 3).to_string();
        let place = [("topic", "t"), ("partition", &*partition)];
        match n % 14 {
            0 => frame(HEARTBEAT, n, &[]),
            1 | 2 => frame(PUBLISH, n, &place),
            3 => frame(PUBLISH_BATCH, n, &place).with_body(&bytes),
            4 => frame(FETCH, n, &[&place[..], &[("offset", "0"), ("wiber.max_wait_ms", "2")]].concat()),
            5 => frame(LIST_OFFSETS, n, &[&place[..], &[("client_id", "me"), ("wiber.time", "1")]].concat()),
            6 => frame(COMMIT, n, &[&place[..], &[("client_id", "me"), ("offset", "1")]].concat()),
            7 => frame(METADATA, n, &[("topic", "t")]),
            8 => frame(METADATA, n, &[]),
            9 => frame(INIT_PRODUCER, n, &[]),
            10 => frame(ALTER_TOPIC, n, &[("topic", "changing"), ("wiber.max_message_size", "100")]),
            11 => frame(CREATE_TOPIC, n, &[("topic", "come.and.go"), ("partitions", "1")]),
            12 => frame(DELETE_TOPIC, n, &[("topic", "come.and.go")]),
            _ => frame(UNSUBSCRIBE, n, &place),
        }
    };
    // So that every position asked for lies within the log.
    peer.publish("t", 0, b"x");
    peer.publish("t", 1, b"x");
    let requests: Vec<_> = (1..=1_000).map(request).collect();
    peer.send(&requests);
    for request in &requests {
        let reply = peer.next();
        assert_eq!(reply.sequence, request.sequence);
        let is_beyond = request.get("partition") == Some("2");
        let expected = match request.kind {
            HEARTBEAT => None,
            UNSUBSCRIBE => Some("not_subscribed"),
            _ if is_beyond => Some("unknown_partition"),
            _ => None,
        };
        assert_eq!(reply.get("code"), expected, "{request:?} was answered by {:?}", reply.pairs());
        assert_eq!(reply.kind, if request.kind == HEARTBEAT { HEARTBEAT } else { ACK });
        let is_like = match request.kind {
            METADATA => !reply.body.is_empty(),
            INIT_PRODUCER => reply.get("wiber.producer_id").is_some(),
            ALTER_TOPIC => reply.get("topic") == Some("changing"),
            _ => true,
        };
        assert!(is_like, "{request:?} was answered by {reply:?}");
    }
}

fn filled(server: &Server, records: u64) -> Peer {
    let mut peer = Peer::connect(server);
    peer.create("t", 1);
    let many: Vec<_> = (0..records).map(|n| frame(PUBLISH, n, &[("topic", "t")]).with_body(&[b'x'; 200])).collect();
    for some in many.chunks(500) {
        peer.send(some);
        some.iter().for_each(|_| assert_eq!(peer.next().get("status"), Some("success")));
    }
    peer
}

/// Subscribing and unsubscribing in one write, also within the grace: whatever is pushed lies between the two ACKs.
#[test]
fn subscriptions_come_and_go_in_one_write() {
    let (_directory, server) = start(&[("QB_SERVER__SUBSCRIBE_GRACE_MS", "20")]);
    drop(filled(&server, 2_000));
    let mut peer = Peer::connect(&server);
    let kinds = [(SUBSCRIBE, "true"), (SUBSCRIBE, "false"), (SUBSCRIBE_BATCHES, "true"), (SUBSCRIBE_BATCHES, "false")];
    for version in ["1.0", "2.0"] {
        let cycle = |round: u64| -> Vec<Raw> {
            let (kind, mode) = kinds[usize::try_from(round % 4).expect("small")];
            let properties =
                [("topic", "t"), ("auto_ack", mode), ("client_id", "me"), ("offset", "5"), ("version", version)];
            // Far above any offset.
            let number = (1 << 40) + round * 2;
            vec![frame(kind, number, &properties), frame(UNSUBSCRIBE, number + 1, &[("topic", "t")])]
        };
        let all: Vec<_> = (0..100).flat_map(cycle).collect();
        peer.send(&all);
        let mut is_open = false;
        for request in &all {
            let reply = loop {
                let next = peer.next();
                if next.kind == ACK {
                    break next;
                }
                assert!(is_open && matches!(next.kind, DATA | BATCH), "{next:?} comes where nothing is subscribed to");
            };
            assert_eq!((reply.sequence, reply.get("status")), (request.sequence, Some("success")), "{reply:?}");
            is_open = request.kind != UNSUBSCRIBE;
        }
        peer.is_alive();
    }
}

/// A topic deleted and made anew in one write: who subscribes behind that gets the new one's records alone.
#[test]
fn a_topic_is_made_anew_in_one_write() {
    let (_directory, server) = start(&[]);
    let mut peer = filled(&server, 100);
    for round in 0..10_u64 {
        let body = format!("round {round}").into_bytes();
        let requests = [
            frame(DELETE_TOPIC, 1 << 40, &[("topic", "t")]),
            frame(CREATE_TOPIC, 2 << 40, &[("topic", "t"), ("partitions", "1")]),
            frame(SUBSCRIBE, 3 << 40, &[("topic", "t")]),
            frame(PUBLISH, 4 << 40, &[("topic", "t")]).with_body(&body),
            frame(UNSUBSCRIBE, 5 << 40, &[("topic", "t")]),
        ];
        peer.send(&requests);
        let (mut answered, mut delivered) = (0, 0);
        while answered < requests.len() {
            let next = peer.next();
            if next.kind == DATA {
                assert_eq!((next.sequence, &next.body), (0, &body), "round {round}");
                delivered += 1;
                continue;
            }
            assert_eq!((next.sequence, next.get("status")), (requests[answered].sequence, Some("success")), "{next:?}");
            answered += 1;
        }
        assert!(delivered <= 1, "round {round}");
    }
}

/// What retention takes before it was acknowledged is done with: it neither comes again nor holds the position back.
#[test]
fn retention_takes_what_nobody_acknowledged() {
    let variables = [
        ("QB_SERVER__ACK_TIMEOUT", "0.2"),
        ("QB_STORAGE__MAX_LOG_SIZE", "2000"),
        ("QB_STORAGE__RETENTION_BYTES", "4000"),
    ];
    let (_directory, server) = start(&variables);
    let mut publisher = Peer::connect(&server);
    publisher.create("t", 1);
    let mut reader = Peer::connect(&server);
    reader.subscribe("t", &[("client_id", "me"), ("auto_ack", "false")]);
    let offsets = frame(LIST_OFFSETS, 1, &[("topic", "t"), ("client_id", "me")]);
    let start_of = |peer: &mut Peer| peer.ask(&offsets).number("log_start");
    let mut published = 0;
    while start_of(&mut publisher) == 0 {
        published = publisher.publish("t", 0, &[b'x'; 400]);
        assert!(published < 100_000, "retention never came");
    }
    // Whatever comes is acknowledged only where it is still there; the position gets to the end all the same.
    let began = super::subscribe::now();
    loop {
        let listed = publisher.ask(&offsets);
        if listed.number("committed").cast_unsigned() == published + 1 {
            break;
        }
        assert!(super::subscribe::now() - began < crate::harness::BOUND, "{listed:?}");
        if let Some(data) = reader.next_within(std::time::Duration::from_millis(100))
            && data.kind == DATA
            && data.sequence.cast_signed() >= listed.number("log_start")
        {
            reader.acknowledge(&data);
        }
    }
}

/// Two connections under one name: each record goes to both, and the position they share never goes back.
#[test]
fn two_connections_share_a_name() {
    let (_directory, server) = start(&[]);
    let mut publisher = filled(&server, 300);
    let mut readers = [Peer::connect(&server), Peer::connect(&server)];
    for reader in &mut readers {
        reader.subscribe("t", &[("client_id", "me"), ("auto_ack", "false")]);
    }
    let mut last = -1;
    for offset in 0..300 {
        for (number, reader) in readers.iter_mut().enumerate() {
            let data = reader.data();
            assert_eq!(data.sequence, offset);
            // The second one is slower.
            if number == 0 || offset.is_multiple_of(3) {
                reader.acknowledge(&data);
            }
        }
        let kept = publisher.ask(&frame(LIST_OFFSETS, 1, &[("topic", "t"), ("client_id", "me")])).number("committed");
        assert!(kept >= last, "{kept} after {last}");
        last = kept;
    }
}

/// Deleting a topic while others publish to it, subscribe to it and make it anew: everyone gets an answer to everything.
#[test]
fn a_topic_is_fought_over() {
    let (_directory, server) = start(&[]);
    let allowed: BTreeSet<_> =
        ["unknown_topic", "topic_exists", "already_subscribed", "not_subscribed", "overloaded"].into();
    std::thread::scope(|scope| {
        for worker in 0..6_u64 {
            let (address, allowed) = (server.address(), &allowed);
            scope.spawn(move || {
                let mut peer = Peer::connect_to(address);
                for round in 0..60_u64 {
                    let number = (1 << 40) + round;
                    let request = match (worker + round) % 6 {
                        0 => frame(CREATE_TOPIC, number, &[("topic", "t"), ("partitions", "2")]),
                        1 => frame(DELETE_TOPIC, number, &[("topic", "t")]),
                        2 => frame(SUBSCRIBE, number, &[("topic", "t"), ("client_id", "me")]),
                        3 => frame(ALTER_TOPIC, number, &[("topic", "t"), ("wiber.retention_ms", "-1")]),
                        4 => frame(UNSUBSCRIBE, number, &[("topic", "t")]),
                        _ => frame(PUBLISH, number, &[("topic", "t"), ("partition", "0")]),
                    };
                    peer.send(&[request]);
                    let reply = loop {
                        let next = peer.next();
                        if next.sequence == number {
                            break next;
                        }
                        if next.kind != DATA {
                            expect_refusal(&next, 0, "unknown_topic", "the end of a subscription");
                        }
                    };
                    let code = reply.get("code");
                    assert!(code.is_none_or(|code| allowed.contains(code)), "worker {worker}: {reply:?}");
                }
            });
        }
    });
    let mut peer = Peer::connect(&server);
    peer.send(&[frame(DELETE_TOPIC, 1, &[("topic", "t")])]);
    peer.next();
    peer.create("t", 3);
    assert_eq!(peer.publish("t", 2, b"calm"), 0);
}
