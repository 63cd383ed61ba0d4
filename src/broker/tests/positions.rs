//! Positions of a whole broker: over restarts, power cuts, deleted topics and broken disks.

mod recovery;
mod threads;

use super::*;
use crate::disk::faulty::{OpKind, Rule};

type Answer = Arc<Mutex<Option<Result<u64, BrokerError>>>>;

fn key(client: &str, topic: &str, partition: u32) -> PositionKey {
    PositionKey {
        owner: PositionOwner::Client(client.into()),
        topic: name(topic),
        partition: PartitionIndex(partition),
    }
}

fn offset(value: u64) -> Offset {
    Offset::new(value).unwrap()
}

impl Rig {
    /// Makes the topic that keeps positions, where it is not there.
    fn start_positions(&self) {
        self.broker.start_positions(at(0)).unwrap();
        self.settle();
    }

    fn begin_commit(&self, key: &PositionKey, value: u64, ack: AckLevel, now: Timestamp) -> Answer {
        let answer = Answer::default();
        let told = Arc::clone(&answer);
        self.broker.commit(key.clone(), offset(value), ack, now, move |result| {
            let before = told.lock().replace(result.map(Offset::get));
            assert!(before.is_none(), "answered twice");
        });
        answer
    }

    fn commit(&self, key: &PositionKey, value: u64, ack: AckLevel) -> Result<u64, BrokerError> {
        let answer = self.begin_commit(key, value, ack, at(0));
        self.run_all();
        let answered = answer.lock().take();
        answered.expect("an answer")
    }

    fn run_all(&self) {
        while let Some((partition, work)) = { self.queue.0.lock().pop_front() } {
            partition.run(work, at(0));
        }
    }

    fn committed(&self, client: &str, topic: &str, partition: u32) -> Option<u64> {
        self.broker.committed(&key(client, topic, partition)).map(Offset::get)
    }
}

/// A broker with two topics of ten records in each partition, and positions.
fn started() -> Rig {
    start(Rig::new())
}

fn start(rig: Rig) -> Rig {
    rig.start_positions();
    rig.create("events", 2, 10);
    rig.create("orders", 1, 11);
    for _ in 0..10 {
        for (topic, index) in [("events", 0), ("events", 1), ("orders", 0)] {
            rig.publish(topic, index, "x");
        }
    }
    rig
}

#[test]
fn commits_are_kept_per_client_topic_and_partition() {
    let rig = started();
    assert_eq!(rig.committed("a", "events", 0), None);
    assert_eq!(rig.commit(&key("a", "events", 0), 3, AckLevel::Durable), Ok(3));
    assert_eq!(rig.commit(&key("a", "events", 1), 4, AckLevel::Leader), Ok(4));
    assert_eq!(rig.commit(&key("b", "events", 0), 5, AckLevel::None), Ok(5));
    assert_eq!(rig.commit(&key("a", "events", 0), 2, AckLevel::Durable), Ok(3), "never back");
    let found = [("a", 0), ("a", 1), ("b", 0), ("b", 1)].map(|(client, index)| rig.committed(client, "events", index));
    assert_eq!(found, [Some(3), Some(4), Some(5), None]);
    assert_eq!(rig.broker.positions_count(), 3);
    assert_eq!(rig.topics(), ["events", "orders"], "the broker's own topic is not shown");
}

#[test]
fn what_cannot_be_kept_is_refused() {
    let rig = started();
    let long = "x".repeat(CLIENT_ID_BYTES_MAX + 1);
    for (key, value, expected) in [
        (key("a", "nothing", 0), 0, "topic 'nothing' does not exist"),
        (key("a", "events", 2), 0, "topic 'events' has partitions 0 to 1, not 2"),
        (key("a", "__offsets", 0), 0, "topic '__offsets': names that begin with '__' are the broker's own"),
        (key("", "events", 0), 0, "a client id has 1 to 255 bytes, not 0"),
        (key(&long, "events", 0), 0, "a client id has 1 to 255 bytes, not 256"),
        (key("a", "events", 0), 11, "offset 11 is above the high watermark 10"),
    ] {
        let refused = rig.commit(&key, value, AckLevel::None).unwrap_err();
        assert_eq!(refused.to_string(), expected);
    }
    assert_eq!(rig.commit(&key(&long[1..], "events", 0), 10, AckLevel::Durable), Ok(10));
    let bare = Rig::new();
    bare.create("events", 1, 10);
    let refused = bare.commit(&key("a", "events", 0), 0, AckLevel::None).unwrap_err();
    assert!(matches!(refused, BrokerError::TopicBusy { .. }), "{refused}");
    assert_eq!(bare.broker.committed(&key("a", "events", 0)), None);
}

#[test]
fn the_broker_s_own_topic_is_not_to_be_touched() {
    let rig = started();
    let own = "topic '__offsets': names that begin with '__' are the broker's own";
    assert_eq!(rig.delete("__offsets"), format!("delete: {own}"));
    assert_eq!(rig.create("__offsets", 3, 99), format!("create: {own}"));
    rig.start_positions();
    assert_eq!(rig.commit(&key("a", "events", 0), 3, AckLevel::Durable), Ok(3));
}

#[test]
fn a_deleted_topic_s_positions_go_and_do_not_come_back() {
    let rig = started();
    rig.commit(&key("a", "events", 0), 3, AckLevel::Durable).unwrap();
    rig.commit(&key("a", "orders", 0), 4, AckLevel::Durable).unwrap();
    rig.delete("events");
    assert_eq!((rig.committed("a", "events", 0), rig.broker.positions_count()), (None, 1));
    rig.create("events", 2, 50);
    rig.publish("events", 0, "new");
    assert_eq!(rig.committed("a", "events", 0), None);
    assert_eq!(rig.commit(&key("a", "events", 0), 1, AckLevel::Durable), Ok(1));
    let again = open(&rig.disk.power_cut(1));
    let found = [("events", 0), ("orders", 0)].map(|(topic, index)| again.committed("a", topic, index));
    assert_eq!((found, again.broker.positions_count()), ([Some(1), Some(4)], 2));
}

#[test]
fn many_commits_of_one_moment_share_a_sync() {
    let rig = started();
    let before = rig.disk.counts("/data/__offsets");
    let mut answers = Vec::new();
    for value in 0..10 {
        for client in 0..50 {
            answers.push(rig.begin_commit(&key(&format!("c{client}"), "events", 0), value, AckLevel::Durable, at(0)));
        }
    }
    rig.run_all();
    assert!(answers.iter().all(|answer| matches!(*answer.lock(), Some(Ok(_)))));
    let after = rig.disk.counts("/data/__offsets");
    assert!(after.syncs - before.syncs < 20, "{before:?} {after:?}");
}

#[test]
fn the_limit_drops_the_oldest_and_expiry_the_idle() {
    let rig = started();
    for client in 0..12 {
        let answer =
            rig.begin_commit(&key(&format!("c{client}"), "events", 0), 1, AckLevel::Durable, at(client * 1_000));
        rig.run_all();
        assert_eq!(*answer.lock(), Some(Ok(1)));
    }
    let kept = |rig: &Rig| -> Vec<i64> {
        (0..12).filter(|client| rig.committed(&format!("c{client}"), "events", 0).is_some()).collect()
    };
    assert_eq!(kept(&rig), (2..12).collect::<Vec<_>>());
    let expiry = options().positions.expiry_ms;
    rig.broker.step(at(expiry + 5_500));
    rig.settle();
    assert_eq!((kept(&rig), rig.broker.positions_count()), ((6..12).collect(), 6));
    assert_eq!(kept(&open(&rig.disk.fork().kill())), (6..12).collect::<Vec<_>>(), "what was dropped is gone for good");
}

#[test]
fn lazy_commits_are_written_by_the_next_step_and_by_a_stop() {
    let rig = started();
    for value in 1..10 {
        rig.commit(&key("a", "events", 0), value, AckLevel::None).unwrap();
    }
    assert_eq!(rig.committed("a", "events", 0), Some(9));
    assert_eq!(open(&rig.disk.fork().kill()).committed("a", "events", 0), Some(1), "the first was written at once");
    assert!(!rig.broker.is_idle());
    rig.broker.step(at(200));
    rig.settle();
    assert_eq!(open(&rig.disk.fork().kill()).committed("a", "events", 0), Some(9));
    rig.commit(&key("a", "events", 0), 10, AckLevel::None).unwrap();
    rig.broker.request_durable();
    rig.settle();
    assert_eq!(open(&rig.disk.power_cut(1)).committed("a", "events", 0), Some(10));
}

/// Delivery goes on; the positions that are answered for are those a start would find.
#[test]
fn a_failed_sync_refuses_commits_and_nothing_else() {
    let rig = started();
    let place = key("a", "events", 0);
    rig.commit(&place, 2, AckLevel::Durable).unwrap();
    rig.disk.inject(Rule::failing(OpKind::Sync).on("__offsets"));
    let refused = rig.commit(&place, 5, AckLevel::Durable).unwrap_err();
    assert!(matches!(refused, BrokerError::StorageFailed(_)), "{refused}");
    for ack in [AckLevel::None, AckLevel::Leader, AckLevel::Durable] {
        assert!(matches!(rig.commit(&place, 6, ack), Err(BrokerError::StorageFailed(_))));
    }
    assert_eq!(rig.committed("a", "events", 0), Some(2));
    rig.publish("events", 0, "goes on");
    rig.broker.step(at(10_000));
    rig.run_all();
    rig.broker.request_durable();
    rig.run_all();
    assert!(rig.broker.is_idle());
    let found = open(&rig.disk.power_cut(1)).committed("a", "events", 0);
    assert!(found == Some(2) || found == Some(5), "whether what could not be synced survives is open");
}

#[test]
fn a_full_device_refuses_commits_until_there_is_room() {
    let rig = started();
    let place = key("a", "events", 0);
    rig.commit(&place, 2, AckLevel::Durable).unwrap();
    rig.disk.set_capacity(Some(rig.disk.used_bytes()));
    let mut refused = None;
    for value in 3..10 {
        for _ in 0..20 {
            // The space kept back for the broker's own logs goes first.
            let long = "y".repeat(200);
            let other = key(&format!("{long}{value}"), "events", 0);
            refused = refused.or(rig.commit(&other, 1, AckLevel::Durable).err());
        }
    }
    assert!(refused.is_none_or(|refused| refused == BrokerError::StorageFull));
    rig.commit(&place, 7, AckLevel::None).unwrap();
    assert_eq!(rig.committed("a", "events", 0), Some(7));
    rig.disk.set_capacity(None);
    rig.broker.step(at(3_000));
    rig.settle();
    assert_eq!(open(&rig.disk.fork().kill()).committed("a", "events", 0), Some(7));
    assert_eq!(rig.commit(&place, 9, AckLevel::Durable), Ok(9));
}

#[test]
fn a_start_on_a_full_device_makes_the_topic_later() {
    let rig = Rig::new();
    rig.create("events", 1, 10);
    rig.publish("events", 0, "x");
    rig.disk.set_capacity(Some(rig.disk.used_bytes()));
    assert_eq!(rig.broker.start_positions(at(0)), Err(BrokerError::StorageFull));
    rig.disk.set_capacity(None);
    rig.broker.step(at(1_000));
    rig.run_all();
    assert!(rig.commit(&key("a", "events", 0), 1, AckLevel::Durable).is_err());
    rig.broker.step(at(6_000));
    rig.run_all();
    assert_eq!(rig.commit(&key("a", "events", 0), 1, AckLevel::Durable), Ok(1));
}
