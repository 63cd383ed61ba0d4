//! Ids over restarts: read back from the logs by the first publish that needs them.

use super::*;
use crate::broker::dedup::Claim;
use crate::record::{Compression, ProducerStamp};
use crate::types::{ProducerEpoch, ProducerId, Sequence};

fn published() -> Rig {
    let rig = Rig::new();
    rig.create("events", 2, 10);
    let mut publisher = Publisher::new(&rig);
    for id in ["a", "b", "", "c", "d"] {
        publisher.put(&rig, "events", id);
    }
    rig
}

#[test]
fn ids_survive_a_kill_a_power_cut_and_a_clean_stop() {
    for how in ["kill", "power cut", "clean stop"] {
        let rig = published();
        if how == "clean stop" {
            rig.broker.snapshot_now(at(0)).unwrap();
        }
        let disk = if how == "kill" { rig.disk.kill() } else { rig.disk.power_cut(5) };
        let again = open(&disk);
        let mut publisher = Publisher::new(&again);
        for (id, expected) in [("a", "(0, 0)"), ("b", "(1, 0)"), ("c", "(1, 1)"), ("d", "(0, 2)")] {
            let became = publisher.put(&again, "events", id);
            assert!(became.starts_with(&format!("Repeated{expected} ")), "{how}: {id}: {became}");
        }
        assert_eq!(publisher.put(&again, "events", "e"), "Gathered 0 at 3", "{how}");
        let twice = open(&again.disk.kill());
        let mut publisher = Publisher::new(&twice);
        assert_eq!(publisher.put(&twice, "events", "e"), "Repeated(0, 3) 0 at 3", "{how}");
    }
}

#[test]
fn what_did_not_survive_is_published_anew() {
    let rig = Rig::new();
    rig.create("events", 1, 10);
    let mut publisher = Publisher::new(&rig);
    publisher.put(&rig, "events", "kept");
    publisher.add("events", "lost", 1).unwrap();
    publisher.flush();
    assert_eq!(publisher.add("events", "lost", 2).unwrap(), Became::Repeated(0, 1));
    assert!(publisher.take_answers().is_empty());
    let again = open(&rig.disk.kill());
    let mut publisher = Publisher::new(&again);
    assert_eq!(publisher.put(&again, "events", "kept"), "Repeated(0, 0) 0 at 0");
    assert_eq!(publisher.put(&again, "events", "lost"), "Gathered 0 at 1");
}

#[test]
fn only_the_window_is_read_back() {
    let window_ms = options().publish.dedup_window_ms;
    let rig = Rig::new();
    rig.create("events", 1, 10);
    let mut publisher = Publisher::new(&rig);
    for step in 0..40 {
        publisher.now = at(step * 10_000);
        publisher.put(&rig, "events", &format!("id {step}"));
    }
    let again = open(&rig.disk.kill());
    let mut publisher = Publisher::new(&again);
    publisher.now = at(400_000);
    for step in 0..40 {
        let became = publisher.put(&again, "events", &format!("id {step}"));
        let is_known = 400_000 - step * 10_000 < window_ms;
        assert_eq!(became.starts_with("Repeated"), is_known, "{step}: {became}");
    }
}

#[test]
fn publishes_without_ids_neither_load_nor_wait() {
    let rig = published();
    let again = open(&rig.disk.kill());
    let handle = again.broker.topic(&name("events")).unwrap();
    let ids = handle.dedup().unwrap();
    let (mut one, mut other) = (Publisher::new(&again), Publisher::new(&again));
    assert!(matches!(ids.claim("a", at(0)), Claim::NotLoaded));
    let task = handle.load_ids().unwrap();
    assert!(handle.load_ids().is_none(), "one at a time");
    assert_eq!(one.add("events", "a", 1).unwrap(), Became::Waits);
    assert!(other.put(&again, "events", "").starts_with("Gathered"));
    drop(task);
    assert_eq!(*one.woken.0.lock(), 1, "somebody else has to do it");
    let task = handle.load_ids().unwrap();
    assert_eq!(one.add("events", "a", 1).unwrap(), Became::Waits);
    task.run(at(0));
    assert_eq!(*one.woken.0.lock(), 2);
    assert!(handle.load_ids().is_none());
    assert_eq!(one.add("events", "a", 1).unwrap(), Became::Repeated(0, 0));
}

#[test]
fn ids_in_the_batches_of_clients_are_not_read_back() {
    let rig = Rig::new();
    rig.create("events", 1, 10);
    let stamp = ProducerStamp {
        id: ProducerId::new(1).unwrap(),
        epoch: ProducerEpoch::new(0).unwrap(),
        base_sequence: Sequence::new(0),
    };
    for (id, producer, compression) in
        [("a", Some(stamp), Compression::None), ("b", None, Compression::Lz4), ("c", None, Compression::None)]
    {
        let mut builder = BatchBuilder::new(BuilderOptions { producer, compression, ..BuilderOptions::default() });
        builder.append(at(0), None, None, &[(ID_HEADER.as_bytes(), Some(id.as_bytes()))]).unwrap();
        rig.partition("events", 0).append(builder.finish().unwrap(), AckLevel::Durable, None, at(0)).unwrap();
        rig.settle();
    }
    let again = open(&rig.disk.kill());
    let mut publisher = Publisher::new(&again);
    assert!(publisher.put(&again, "events", "a").starts_with("Gathered"));
    assert!(publisher.put(&again, "events", "b").starts_with("Gathered"));
    assert!(publisher.put(&again, "events", "c").starts_with("Repeated"), "as the broker's own are");
}

/// Damage in one batch costs the ids in it, not those behind it, and no publish.
#[test]
fn damage_costs_the_ids_in_it_alone() {
    let rig = Rig::new();
    rig.create("events", 1, 10);
    let mut publisher = Publisher::new(&rig);
    for step in 0..30 {
        publisher.put(&rig, "events", &format!("id {step}"));
    }
    let disk = rig.disk.kill();
    let again = open(&disk);
    let first = options().data_dir.join("events_p0").join(crate::log::log_name(Offset::ZERO));
    disk.flip_bit(&first, 200, 3).unwrap();
    let mut publisher = Publisher::new(&again);
    let known = |publisher: &mut Publisher, step| {
        publisher.add("events", &format!("id {step}"), 1).is_ok_and(|became| matches!(became, Became::Repeated(..)))
    };
    assert!(known(&mut publisher, 0) && known(&mut publisher, 29));
    let lost = (0..30).filter(|step| !known(&mut publisher, *step)).count();
    assert_eq!(lost, 1);
}
