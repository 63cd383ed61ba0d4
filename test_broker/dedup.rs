//! Message ids: a record published again under its id is not stored again, whoever repeats it and whatever happened to
//! the server in between.

use std::collections::BTreeSet;

use wiber::protocol::native::{Frame, FrameType};

use crate::harness::{BOUND, Chance, Server, Setup, Wire, offset, request, say};

const TOPIC: &str = "payments";
const PARTITIONS: u32 = 3;

fn publish(sequence: u64, id: &str, more: &[(&str, &str)]) -> Frame {
    let properties = [&[("topic", TOPIC), ("id", id)], more].concat();
    request(FrameType::Publish, sequence, &properties, id.as_bytes())
}

/// Where a successful ACK says the record is.
fn place(ack: &Frame) -> (u32, u64) {
    assert_eq!(ack.properties.get("status"), Some("success"), "{ack:?}");
    assert_eq!(ack.properties.get("topic"), Some(TOPIC));
    (ack.properties.get("partition").and_then(|partition| partition.parse().ok()).expect("a partition"), offset(ack))
}

fn start(setup: &Setup) -> (Server, Wire) {
    let server = setup.start();
    let mut wire = Wire::connect(&server);
    wire.create_topic(TOPIC, PARTITIONS);
    (server, wire)
}

/// The ids of all records, each by its place; ends at a record that is published to every partition for that.
fn ids_stored(server: &Server) -> Vec<((u32, u64), String)> {
    let mut stored = Vec::new();
    for partition in 0..PARTITIONS {
        let mut wire = Wire::connect(server);
        let end = wire.publish(TOPIC, partition, b"the end");
        wire.subscribe(TOPIC, partition, 0);
        loop {
            let data = wire.next();
            if data.kind != FrameType::Data {
                continue;
            }
            if data.sequence == end {
                break;
            }
            if let Some(id) = data.properties.get("wiber.id") {
                stored.push(((partition, data.sequence), id.to_owned()));
            }
        }
    }
    stored
}

#[test]
fn a_repeat_is_answered_as_the_first_was_on_this_connection_and_on_another() {
    let directory = tempfile::tempdir().expect("a directory");
    let (server, mut wire) = start(&Setup::new(&directory.path().join("data")));
    let burst = [
        publish(10, "a", &[]),
        publish(11, "a", &[]),
        publish(12, "b", &[]),
        publish(13, "a", &[("wiber.ack", "leader")]),
        publish(14, "c", &[("wiber.ack", "none")]),
        publish(15, "b", &[("partition", "2")]),
        publish(16, "c", &[]),
    ];
    wire.send_all(&burst);
    let [a, again, b, third, other, c] = std::array::from_fn(|_| wire.next());
    assert_eq!(
        [&a, &again, &b, &third, &other, &c].map(|ack| ack.sequence),
        [10, 11, 12, 13, 15, 16],
        "in their order"
    );
    assert_eq!([place(&a), place(&b), place(&c)], [(0, 0), (1, 0), (2, 0)]);
    assert_eq!([place(&again), place(&third)], [(0, 0); 2]);
    assert_eq!(place(&other), (1, 0), "the partition of the first");
    let mut second = Wire::connect(&server);
    assert_eq!(place(&second.ask(&publish(1, "b", &[]))), (1, 0));
    assert_eq!(ids_stored(&server).len(), 3);
    let without = request(FrameType::Publish, 2, &[("topic", TOPIC), ("id", ""), ("partition", "0")], b"x");
    assert_ne!(place(&second.ask(&without)), place(&second.ask(&without)), "an empty id is none");
    server.terminate();
}

#[test]
fn what_cannot_be_an_id_and_what_is_the_brokers_own_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let (server, mut wire) = start(&Setup::new(&directory.path().join("data")));
    wire.ask(&publish(1, &"x".repeat(255), &[]));
    wire.refused(&publish(2, &"x".repeat(256), &[]), "invalid_property");
    for internal in ["__meta", "__offsets", "__other"] {
        let frame = request(FrameType::Publish, 3, &[("topic", internal), ("id", "a")], b"x");
        wire.refused(&frame, "invalid_topic");
    }
    server.terminate();
}

/// Connections publish the same ids at the same time, each in another order: every id is stored once, and everybody is
/// told the same place.
#[test]
fn many_connections_with_the_same_ids() {
    const IDS: u64 = 500;
    let directory = tempfile::tempdir().expect("a directory");
    let (server, _wire) = start(&Setup::new(&directory.path().join("data")));
    let mut wires: Vec<_> = (0..4).map(|_| Wire::connect(&server)).collect();
    for (step, wire) in [1_u64, 499, 7, 201].into_iter().zip(&mut wires) {
        let frames: Vec<_> = (0..IDS).map(|number| publish(number, &(number * step % IDS).to_string(), &[])).collect();
        wire.send_all(&frames);
    }
    let mut places = vec![BTreeSet::new(); 500];
    for (step, wire) in [1_u64, 499, 7, 201].into_iter().zip(&mut wires) {
        for number in 0..IDS {
            let ack = wire.next();
            assert_eq!(ack.sequence, number);
            places[usize::try_from(number * step % IDS).expect("small")].insert(place(&ack));
        }
    }
    assert!(places.iter().all(|places| places.len() == 1), "{places:?}");
    let stored = ids_stored(&server);
    assert_eq!(stored.len(), places.len());
    for (place, id) in stored {
        assert!(places[id.parse::<usize>().expect("a number")].contains(&place), "{id}");
    }
    server.terminate();
}

/// The server is killed in the midst of publishes; the publisher, who does not know which of them arrived, sends them
/// all again to the next one.
#[test]
fn each_id_is_stored_once_though_the_server_is_killed() {
    const IDS: usize = 10_000;
    let directory = tempfile::tempdir().expect("a directory");
    let setup = Setup::new(&directory.path().join("data"))
        .set("QB_STORAGE__MAX_LOG_SIZE", "20000")
        .set("QB_SNAPSHOT_INTERVAL", "1")
        .expect_line("a torn tail was cut off")
        .expect_line("an acknowledged record survives a crash of the server, but");
    let mut chance = Chance::new(2);
    let mut told = vec![None; IDS];
    for (cycle, sync) in (1..).zip(["always", "os", "interval", "always", "os", "interval"]) {
        let (server, mut wire) = start(&setup.clone().set("QB_STORAGE__SYNC", sync));
        let first = usize::try_from(chance.below(IDS as u64)).expect("small");
        let frames = (0..).zip((0..IDS).map(|id| (first + id) % IDS));
        let frames: Vec<_> = frames.map(|(sequence, id)| publish(sequence, &id.to_string(), &[])).collect();
        wire.send_all(&frames);
        let mut take = |ack: &Frame| {
            let id = (first + usize::try_from(ack.sequence).expect("small")) % IDS;
            assert_eq!(*told[id].get_or_insert(place(ack)), place(ack), "id {id} in cycle {cycle}");
        };
        for _ in 0..chance.below(IDS as u64 / 4) {
            take(&wire.next());
        }
        server.kill();
        while let Some(ack) = wire.next_or_end() {
            take(&ack);
        }
        let known = told.iter().flatten().count();
        say(&format!("{known} of {IDS} ids told after {cycle} kills"));
    }
    let (server, mut wire) = start(&setup);
    for (id, told) in told.iter_mut().enumerate() {
        let ack = wire.ask(&publish(id as u64, &id.to_string(), &[]));
        assert_eq!(*told.get_or_insert(place(&ack)), place(&ack), "id {id}");
    }
    let stored = ids_stored(&server);
    assert_eq!(stored.len(), IDS, "each once");
    for (place, id) in stored {
        assert_eq!(told[id.parse::<usize>().expect("a number")], Some(place), "{id}");
    }
    server.terminate();
}

#[test]
fn more_partitions_keep_the_ids_and_a_topic_created_anew_has_none() {
    let directory = tempfile::tempdir().expect("a directory");
    let (server, mut wire) = start(&Setup::new(&directory.path().join("data")));
    let first = place(&wire.ask(&publish(1, "a", &[("partition", "1")])));
    wire.ask(&request(FrameType::AlterTopic, 2, &[("topic", TOPIC), ("partitions", "5")], b""));
    assert_eq!(place(&wire.ask(&publish(3, "a", &[("partition", "4")]))), first);
    for round in 0..3 {
        wire.ask(&request(FrameType::DeleteTopic, 4, &[("topic", TOPIC)], b""));
        wire.create_topic(TOPIC, PARTITIONS);
        let anew = publish(5, "a", &[("partition", "2")]);
        assert_eq!(place(&wire.ask(&anew)), (2, 0), "round {round}");
        assert_eq!(place(&wire.ask(&anew)), (2, 0), "round {round}");
        assert_eq!(ids_stored(&server).len(), 1);
    }
    server.terminate();
}

#[test]
fn after_the_window_an_id_is_new_and_without_one_there_are_none() {
    let directory = tempfile::tempdir().expect("a directory");
    let setup = Setup::new(&directory.path().join("data"));
    let (server, mut wire) = start(&setup.clone().set("QB_TOPICS__DEDUP_WINDOW", "0.2"));
    let first = place(&wire.ask(&publish(1, "a", &[])));
    #[expect(clippy::disallowed_methods, reason = "the window is over when the server says so; this bounds the wait")]
    let begun = std::time::Instant::now();
    while place(&wire.ask(&publish(2, "a", &[]))) == first {
        assert!(begun.elapsed() < BOUND, "the window never ends");
    }
    server.kill();
    let (server, mut wire) = start(&setup.set("QB_TOPICS__DEDUP_WINDOW", "0"));
    let [one, two] = [3, 4].map(|sequence| place(&wire.ask(&publish(sequence, "b", &[]))));
    assert_ne!(one, two);
    server.terminate();
}
