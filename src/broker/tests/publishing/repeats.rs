//! Records published again under their ids.

use super::*;
use crate::disk::faulty::{Fault, OpKind, Rule};
use std::io::ErrorKind;

fn rig() -> Rig {
    let rig = Rig::new();
    rig.create("events", 1, 10);
    rig
}

fn fail_one_write(rig: &Rig) {
    rig.disk.inject(Rule::new(Fault::Fail(OpKind::Write, ErrorKind::StorageFull)).on(".log"));
}

fn make_room(rig: &Rig) {
    rig.broker.step(at(5_000));
    rig.settle();
}

#[test]
fn a_repeat_gets_the_answer_of_the_first_and_is_not_stored() {
    let rig = rig();
    let (mut one, mut other) = (Publisher::new(&rig), Publisher::new(&rig));
    assert_eq!(one.put(&rig, "events", "a"), "Gathered 0 at 0");
    assert_eq!(one.put(&rig, "events", ""), "Gathered 0 at 1");
    assert_eq!(one.put(&rig, "events", "a"), "Repeated(0, 0) 0 at 0");
    assert_eq!(other.put(&rig, "events", "a"), "Repeated(0, 0) 0 at 0");
    assert_eq!(other.put(&rig, "events", "b"), "Gathered 0 at 2");
    assert_eq!(rig.values("events", 0).len(), 3);
}

#[test]
fn a_repeat_is_answered_when_the_first_has_what_the_repeat_asks_for() {
    let rig = rig();
    let mut publisher = Publisher::new(&rig);
    publisher.ack = AckLevel::None;
    publisher.add("events", "a", 1).unwrap();
    publisher.flush();
    publisher.ack = AckLevel::Durable;
    assert_eq!(publisher.add("events", "a", 2).unwrap(), Became::Repeated(0, 0));
    assert!(publisher.take_answers().is_empty());
    rig.settle();
    assert_eq!(publisher.take_answers(), ["2 at 0"]);
}

#[test]
fn a_repeat_in_the_same_read_makes_the_first_go_ahead() {
    let rig = rig();
    let mut publisher = Publisher::new(&rig);
    for (id, token, expected) in
        [("", 1, Became::Gathered), ("a", 2, Became::Gathered), ("a", 3, Became::Repeated(0, 1))]
    {
        assert_eq!(publisher.add("events", id, token).unwrap(), expected);
    }
    assert_eq!(publisher.add("events", "b", 4).unwrap(), Became::Gathered);
    publisher.flush();
    rig.settle();
    assert_eq!(publisher.take_answers(), ["1 at 0", "3 at 1", "4 at 2"]);
}

/// Two connections that hold what the other wants would wait for ever, did not whoever waits append its own first.
#[test]
fn whoever_waits_for_another_connection_holds_nothing_back() {
    let rig = rig();
    let (mut one, mut other) = (Publisher::new(&rig), Publisher::new(&rig));
    one.add("events", "a", 1).unwrap();
    other.add("events", "b", 2).unwrap();
    assert_eq!(one.add("events", "b", 3).unwrap(), Became::Waits);
    assert_eq!(other.add("events", "a", 4).unwrap(), Became::Repeated(0, 0));
    assert_eq!(*one.woken.0.lock(), 0, "the other is still gathering");
    other.flush();
    assert_eq!(*one.woken.0.lock(), 1);
    assert_eq!(one.add("events", "b", 3).unwrap(), Became::Repeated(0, 1));
    rig.settle();
    assert_eq!(one.take_answers(), ["1 at 0", "3 at 1"]);
    assert_eq!(other.take_answers(), ["4 at 0", "2 at 1"]);
}

#[test]
fn a_connection_that_dies_with_an_id_leaves_it_to_the_next() {
    let rig = rig();
    let (mut one, mut other) = (Publisher::new(&rig), Publisher::new(&rig));
    one.add("events", "a", 1).unwrap();
    assert_eq!(other.add("events", "a", 2).unwrap(), Became::Waits);
    drop(one);
    assert_eq!(*other.woken.0.lock(), 1);
    assert_eq!(other.put(&rig, "events", "a"), "Gathered 0 at 0");
}

#[test]
fn what_found_no_room_is_published_anew_by_its_repeat() {
    for ack in [AckLevel::None, AckLevel::Leader, AckLevel::Durable] {
        let rig = rig();
        let mut publisher = Publisher::new(&rig);
        publisher.put(&rig, "events", "kept");
        publisher.ack = ack;
        fail_one_write(&rig);
        publisher.add("events", "lost", 1).unwrap();
        publisher.flush();
        publisher.ack = AckLevel::Durable;
        assert_eq!(publisher.add("events", "lost", 2).unwrap(), Became::Repeated(0, 1), "not known to be lost");
        rig.settle();
        let first = (ack != AckLevel::None).then_some("1 full");
        let mut answers = publisher.take_answers();
        answers.sort_unstable();
        assert_eq!(answers, first.into_iter().chain(["2 full"]).collect::<Vec<_>>(), "{ack:?}");
        make_room(&rig);
        assert_eq!(publisher.put(&rig, "events", "other"), "Gathered 0 at 1");
        assert_eq!(publisher.put(&rig, "events", "lost"), "Gathered 0 at 2", "{ack:?}");
        assert_eq!(publisher.put(&rig, "events", "lost"), "Repeated(0, 2) 0 at 2");
        assert_eq!(publisher.put(&rig, "events", "kept"), "Repeated(0, 0) 0 at 0");
        assert_eq!(rig.values("events", 0).len(), 3);
    }
}

#[test]
fn what_is_refused_at_once_releases_its_id() {
    let rig = rig();
    let mut publisher = Publisher::new(&rig);
    publisher.put(&rig, "events", "kept");
    fail_one_write(&rig);
    publisher.put(&rig, "events", "");
    let refused = "0 refused: the device is full; publish again once there is room";
    assert_eq!(publisher.put(&rig, "events", "a"), format!("Gathered {refused}"));
    assert_eq!(publisher.put(&rig, "events", "kept"), "Repeated(0, 0) 0 at 0", "that needs no room");
    make_room(&rig);
    assert_eq!(publisher.put(&rig, "events", "a"), "Gathered 0 at 1");
}

#[test]
fn after_the_window_an_id_is_new() {
    let rig = rig();
    let mut publisher = Publisher::new(&rig);
    let window_ms = options().publish.dedup_window_ms;
    publisher.put(&rig, "events", "a");
    publisher.now = at(window_ms - 1);
    assert_eq!(publisher.put(&rig, "events", "a"), "Repeated(0, 0) 0 at 0", "a repeat does not begin it anew");
    publisher.now = at(window_ms);
    assert_eq!(publisher.put(&rig, "events", "a"), "Gathered 0 at 1");
    rig.broker.step(at(3 * window_ms));
    assert_eq!(publisher.put(&rig, "events", "a"), "Gathered 0 at 2", "the housekeeping forgets as well");
}

#[test]
fn a_topic_created_anew_knows_no_ids() {
    let rig = rig();
    let mut publisher = Publisher::new(&rig);
    publisher.put(&rig, "events", "a");
    publisher.add("events", "b", 1).unwrap();
    rig.delete("events");
    rig.create("events", 1, 11);
    publisher.flush();
    assert_eq!(publisher.take_answers(), ["1 refused: topic 'events' was deleted"]);
    assert_eq!(publisher.put(&rig, "events", "a"), "Gathered 0 at 0");
    assert_eq!(publisher.put(&rig, "events", "b"), "Gathered 0 at 1");
}

#[test]
fn topics_have_their_own_ids_and_partitions_share_them() {
    let rig = rig();
    rig.create("orders", 3, 11);
    let mut publisher = Publisher::new(&rig);
    publisher.put(&rig, "events", "a");
    assert_eq!(publisher.put(&rig, "orders", "a"), "Gathered 0 at 0");
    for partition in 0..3 {
        let publish = Publish { partition: Some(PartitionIndex(partition)), id: Some("a"), ..publisher.record() };
        assert_eq!(publisher.publish("orders", publish, 1).unwrap(), Became::Repeated(0, 0), "{partition}");
    }
}

#[test]
fn an_id_has_a_longest_length_and_no_window_means_no_ids() {
    let rig = rig();
    let mut publisher = Publisher::new(&rig);
    let (longest, longer) = ("x".repeat(255), "x".repeat(256));
    assert_eq!(publisher.put(&rig, "events", &longest), "Gathered 0 at 0");
    let refused = publisher.add("events", &longer, 1).unwrap_err();
    assert_eq!(refused.to_string(), "an id of 256 bytes where 255 are allowed");
    let mut off = options();
    off.publish.dedup_window_ms = 0;
    let rig = try_open(&FaultyDisk::new(), 1, off).unwrap();
    rig.create("events", 1, 10);
    let mut publisher = Publisher::new(&rig);
    assert_eq!(publisher.put(&rig, "events", "a"), "Gathered 0 at 0");
    assert_eq!(publisher.put(&rig, "events", "a"), "Gathered 0 at 1");
}
