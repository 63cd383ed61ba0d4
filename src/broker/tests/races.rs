//! Publishing and reading while a topic is deleted, and while one of its name is made anew.

use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Poll, Wake, Waker};

use super::*;
use crate::replica::{AckFailure, AckSink, AppendError, Completion, PartitionClosed, ReadFailure, Waiter};

#[derive(Debug, Default)]
struct Answers(Mutex<Vec<Result<u64, AckFailure>>>);

impl AckSink for Answers {
    fn complete(&self, completions: &mut dyn Iterator<Item = Completion>) {
        self.0.lock().extend(completions.map(|completion| completion.outcome.map(|acked| acked.base_offset.get())));
    }
}

#[derive(Debug, Default)]
struct Woken(AtomicU32);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Rig {
    /// Runs the oldest work there is of a topic; false where there is none.
    fn run_one_of(&self, topic: &str) -> bool {
        let place = self.queue.0.lock().iter().position(|(partition, _)| partition.name().topic.as_str() == topic);
        let work = place.and_then(|place| self.queue.0.lock().remove(place));
        work.is_some_and(|(partition, work)| {
            partition.run(work, at(0));
            true
        })
    }
}

fn closed() -> PartitionClosed {
    PartitionClosed::TopicDeleted { topic: name("events") }
}

/// The deletion is decided after so many steps of the work that publishes cause: every publisher gets exactly one answer,
/// and those that come too late are told that the topic is gone.
#[test]
fn who_publishes_while_the_topic_is_deleted_is_told() {
    for steps in 0..6 {
        let rig = Rig::new();
        rig.create("events", 1, 10);
        let (partition, answers) = (rig.partition("events", 0), Arc::new(Answers::default()));
        let waiter = |token| Some(Waiter { sink: Arc::clone(&answers) as Arc<dyn AckSink>, token });
        for token in 0..3 {
            partition.append(produced("x"), AckLevel::Durable, waiter(token), at(0)).unwrap();
            if steps > token {
                rig.run_one_of("events");
            }
        }
        rig.broker.delete_topic(&name("events"), at(0), rig.reply("delete"));
        (3..steps).for_each(|_| _ = rig.run_one_of("events"));
        while rig.run_one_of("__meta") {}
        assert_eq!(rig.reply_of_one(), "delete: events with 1");
        let late = partition.append(produced("x"), AckLevel::Durable, waiter(9), at(0));
        assert!(matches!(late, Err(AppendError::Closed(why)) if why == closed()));
        rig.settle();
        let answers = answers.0.lock();
        assert_eq!(answers.len(), 3, "{steps}: {answers:?}");
        assert!(answers.iter().all(|answer| matches!(answer, Ok(_) | Err(AckFailure::Closed(_)))), "{answers:?}");
        assert!(partition.poll_space(Waker::noop()).is_ready(), "nobody waits for room there");
    }
}

/// Who waits for the next record of a topic learns that there will be none: nobody else would ever wake it.
#[test]
fn who_waits_for_records_of_a_deleted_topic_is_woken() {
    let rig = Rig::new();
    rig.create("events", 1, 10);
    let (partition, woken) = (rig.partition("events", 0), Arc::new(Woken::default()));
    let waker = Waker::from(Arc::clone(&woken));
    assert!(partition.poll_readable(Offset::ZERO, &waker).is_pending());
    rig.delete("events");
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    assert_eq!(partition.poll_readable(Offset::ZERO, &waker), Poll::Ready(Err(closed())));
}

/// A read that was begun before the topic was deleted, and run when another one of its name has taken its place, must not
/// show what is the other's.
#[test]
fn an_old_read_shows_nothing_of_the_new_topic() {
    let rig = Rig::new();
    rig.create("events", 1, 10);
    (0..30).for_each(|_| rig.publish("events", 0, "of the old topic, in several segments"));
    let rig = open(&rig.disk.fork());
    let old = rig.partition("events", 0);
    let reads = |from: u64| match old.read(Offset::new(from).unwrap(), 100).unwrap() {
        Read::Disk(read) => read,
        Read::Batches(batches) => panic!("nothing is in memory yet: {batches:?}"),
    };
    let (first, second, third) = (reads(0), reads(0), reads(20));
    assert_eq!(first.run().unwrap().len(), 1, "and its file stays open for others");
    assert!(old.poll_readable(Offset::new(30).unwrap(), Waker::noop()).is_pending());
    rig.delete("events");
    assert!(matches!(second.run(), Err(ReadFailure::Closed(why)) if why == closed()));
    rig.create("events", 1, 11);
    (0..30).for_each(|_| rig.publish("events", 0, "of the new topic, in segments of the same names"));
    assert!(matches!(third.run(), Err(ReadFailure::Closed(_))));
    assert!(matches!(old.offset_at_time(at(0)), Err(ReadFailure::Closed(_))));
    assert!(matches!(old.read(Offset::ZERO, 100), Err(ReadFailure::Closed(_))));
    assert_eq!(old.poll_readable(Offset::ZERO, Waker::noop()), Poll::Ready(Err(closed())));
    let again = open(&rig.disk.fork());
    for rig in [&rig, &again] {
        assert!(rig.values("events", 0).iter().all(|value| value.starts_with("of the new topic")));
        assert_eq!(rig.values("events", 0).len(), 30);
    }
}

/// The work of the old topic's partition is still in the queue, or half done, when the new one is there.
#[test]
fn work_of_the_old_topic_touches_nothing_of_the_new() {
    let rig = Rig::new();
    rig.create("events", 1, 10);
    let old = rig.partition("events", 0);
    (0..30).for_each(|_| _ = old.append(produced("old, and a roll or two"), AckLevel::Durable, None, at(0)).unwrap());
    rig.broker.delete_topic(&name("events"), at(0), rig.reply("delete"));
    while rig.run_one_of("__meta") {}
    assert_eq!(rig.reply_of_one(), "delete: events with 1");
    rig.begin_create("events", 1, 11);
    while rig.run_one_of("__meta") {}
    assert_eq!(rig.reply_of_one(), "create: events with 1");
    let new = rig.partition("events", 0);
    new.append(produced("new"), AckLevel::Durable, None, at(0)).unwrap();
    old.step(at(1 << 40));
    rig.settle();
    assert_eq!(rig.values("events", 0), ["new"]);
    assert_eq!(open(&rig.disk.power_cut(2)).values("events", 0), ["new"]);
}

/// A snapshot that says a topic is deleted lets no start look at that again: its directories, records and all, would be
/// nobody's for ever. So there is none before they are gone.
#[test]
fn no_snapshot_while_a_deletion_is_half_done() {
    #[derive(Debug)]
    struct Taking(Mutex<Option<Arc<Broker>>>, Arc<Held>, Arc<Mutex<Vec<String>>>);
    impl WorkQueue for Taking {
        fn submit(&self, partition: Arc<Partition>, work: Work) {
            self.1.submit(partition, work);
        }
        fn run_all(&self, jobs: Vec<crate::replica::Job>) {
            if let Some(broker) = &*self.0.lock() {
                let taken = broker.snapshot_now(at(5));
                self.2.lock().push(taken.map_or_else(|error| error.to_string(), |()| "taken".to_owned()));
                assert!(!broker.is_idle(), "a stop waits for it");
            }
            jobs.into_iter().for_each(|job| job());
        }
    }
    let disk = FaultyDisk::new();
    let (held, taken) = (Arc::new(Held::default()), Arc::default());
    let queue = Arc::new(Taking(Mutex::default(), Arc::clone(&held), Arc::clone(&taken)));
    let start = BrokerStart {
        disk: Arc::new(disk.clone()),
        queue: Arc::clone(&queue) as Arc<dyn WorkQueue>,
        fresh_directory_id: Uuid::from_u128(1),
        now: at(0),
    };
    let (broker, summary) = Broker::open(options(), start).unwrap();
    let rig = Rig { disk, queue: held, broker: Arc::clone(&broker), summary, replies: Arc::default() };
    rig.create("events", 1, 10);
    rig.publish("events", 0, "x");
    *queue.0.lock() = Some(broker);
    assert_eq!(rig.delete("events"), "delete: events with 1");
    *queue.0.lock() = None;
    assert_eq!(*taken.lock(), ["no snapshot while a topic is being changed"]);
    rig.broker.snapshot_now(at(6)).unwrap();
}
