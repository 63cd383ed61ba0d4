//! A broker under test and the verbs of the script: each one tells the model before it is done and after.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use uuid::Uuid;
use wiber::broker::CompactionLimits;
use wiber::broker::groups::classic::ClassicOptions;
use wiber::broker::metadata::{MetadataLimits, TopicSettings};
use wiber::broker::positions::PositionLimits;
use wiber::broker::{
    Broker, BrokerOptions, BrokerStart, CommandReply, OpenSummary, PositionKey, PositionOwner, TopicDefaults,
};
use wiber::disk::Disk;
use wiber::log::{LogOptions, RetentionPolicy};
use wiber::replica::producers::ProducerLimits;
use wiber::replica::{AckLevel, AckSink, Completion, Partition, PartitionOptions, SyncPolicy, Waiter, Work};
use wiber::types::{Epoch, Offset, PartitionIndex, Timestamp, TopicId, TopicName};

use crate::model::{Fate, Key, Model, Stage, TopicModel};
use crate::queue::HandQueue;

/// When the script begins.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// What tells one history from another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flavour {
    pub(crate) name: &'static str,
    pub(crate) sync: SyncPolicy,
    /// Whether appends write small groups themselves.
    pub(crate) writes_inline: bool,
}

/// A partition as the script names it.
pub(crate) type Place<'a> = (&'a str, u32);

/// A running broker, and what it must remember.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) flavour: Flavour,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) model: Arc<Mutex<Model>>,
    pub(crate) now: Timestamp,
    /// The log starts as they were observed, step after step.
    pub(crate) log_starts: Mutex<Vec<BTreeMap<Key, Offset>>>,
    queue: Arc<HandQueue>,
    broker: Option<Arc<Broker>>,
}

fn options(flavour: Flavour) -> BrokerOptions {
    let partition = PartitionOptions {
        log: LogOptions {
            segment_bytes: 2000,
            segment_age_ms: i64::MAX,
            index_interval_bytes: 300,
            zeros_ahead_bytes: 700,
        },
        sync: flavour.sync,
        retention: RetentionPolicy::default(),
        unsynced_bytes_max: 1 << 20,
        inline_write_bytes_max: if flavour.writes_inline { 1 << 16 } else { 0 },
        producers: ProducerLimits { producers_max: 100, expiry_ms: i64::MAX },
        compaction: None,
        is_internal: false,
    };
    BrokerOptions {
        data_dir: PathBuf::from("/data"),
        snapshot_dir: PathBuf::from("/snapshots"),
        snapshots_kept: 2,
        snapshot_interval_ms: 10_000,
        reserve_bytes: 4096,
        tail_bytes: 1 << 16,
        pending_bytes: 1 << 20,
        open_segments_max: 4,
        partition,
        topics: TopicDefaults { partitions: 1, message_bytes_max: 1 << 20 },
        publish: wiber::broker::publish::PublishLimits::default(),
        limits: MetadataLimits { topics_max: 100, partitions_max: 16 },
        compaction: CompactionLimits::default(),
        positions: PositionLimits { partitions: 1, ..PositionLimits::default() },
        classic_groups: ClassicOptions::default(),
    }
}

/// A client's position in a partition.
pub(crate) fn position_key((topic, index): Place<'_>, client: &str) -> PositionKey {
    let topic = TopicName::new(topic).expect("valid");
    PositionKey { owner: PositionOwner::Client(client.into()), topic, partition: PartitionIndex(index) }
}

/// Passes answers on to the model; the token says which batch.
#[derive(Debug)]
struct Answers {
    model: Arc<Mutex<Model>>,
    key: Key,
    level: AckLevel,
}

impl AckSink for Answers {
    fn complete(&self, completions: &mut dyn Iterator<Item = Completion>) {
        for Completion { token, outcome } in completions {
            if let Ok(acked) = outcome {
                let number = usize::try_from(token).expect("small");
                self.model.lock().answered(self.key, number, self.level, acked.base_offset, acked.epoch);
            }
        }
    }
}

impl Session {
    /// Opens a broker on a disk.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        flavour: Flavour,
        model: Arc<Mutex<Model>>,
        now: Timestamp,
    ) -> Result<(Session, OpenSummary), String> {
        let mut session =
            Session { flavour, disk, model, now, log_starts: Mutex::default(), queue: Arc::default(), broker: None };
        let summary = session.start()?;
        Ok((session, summary))
    }

    fn start(&mut self) -> Result<OpenSummary, String> {
        self.queue = Arc::default();
        let start = BrokerStart {
            disk: Arc::clone(&self.disk),
            queue: Arc::clone(&self.queue) as _,
            fresh_directory_id: Uuid::from_u128(77),
            now: self.now,
        };
        let (broker, summary) = Broker::open(options(self.flavour), start).map_err(|error| error.to_string())?;
        // Without power it is not there, and not needed.
        let _may_fail = broker.start_positions(self.now);
        self.broker = Some(broker);
        Ok(summary)
    }

    /// Stops in order, with or without a last snapshot, and starts again.
    pub(crate) fn restart(&mut self, with_snapshot: bool) -> OpenSummary {
        self.broker().request_durable();
        self.drain();
        if with_snapshot {
            self.broker().snapshot_now(self.now).expect("room");
        }
        self.broker = None;
        let summary = self.start().expect("a clean restart");
        self.observe();
        summary
    }

    pub(crate) fn broker(&self) -> &Arc<Broker> {
        self.broker.as_ref().expect("running")
    }

    pub(crate) fn partition(&self, (topic, index): Place<'_>) -> Arc<Partition> {
        let name = TopicName::new(topic).expect("valid");
        self.broker().partition(&name, PartitionIndex(index)).expect("open")
    }

    fn key(&self, (topic, index): Place<'_>) -> Key {
        self.model.lock().key(topic, index)
    }

    /// Begins to create a topic.
    pub(crate) fn create(&self, topic: &str, id: u128, partitions: u32, settings: TopicSettings) {
        let id = TopicId::new(Uuid::from_u128(id));
        self.model.lock().topics.insert(topic.to_owned(), TopicModel { id, partitions, stage: Stage::Creating });
        let reply = self.reply(topic, Stage::Live);
        let name = TopicName::new(topic).expect("valid");
        self.broker().create_topic(&name, Some(partitions), settings, id, self.now, reply);
        self.observe();
    }

    /// Begins to delete a topic.
    pub(crate) fn delete(&self, topic: &str) {
        self.model.lock().topics.get_mut(topic).expect("known").stage = Stage::Deleting;
        let reply = self.reply(topic, Stage::Deleted);
        self.broker().delete_topic(&TopicName::new(topic).expect("valid"), self.now, reply);
    }

    fn reply(&self, topic: &str, stage: Stage) -> CommandReply {
        let (model, topic) = (Arc::clone(&self.model), topic.to_owned());
        CommandReply::new(move |result| {
            if result.is_ok() {
                model.lock().topics.get_mut(&topic).expect("known").stage = stage;
            }
        })
    }

    /// Appends a new batch; returns its number. `None` asks for the broker's default.
    pub(crate) fn send(
        &self,
        place: Place<'_>,
        producer: Option<i64>,
        values: &[usize],
        ack: Option<AckLevel>,
    ) -> usize {
        let (key, partition) = (self.key(place), self.partition(place));
        let ack = ack.unwrap_or_else(|| self.broker().default_ack());
        let (spec, number, base) = {
            let mut model = self.model.lock();
            let spec = model.fresh_spec(key, producer, values, self.now);
            let ledger = model.ledger(key);
            let number = ledger.attempt(spec.clone(), partition.epoch(), ack);
            (spec, number, ledger.attempts[number].base)
        };
        let waiter = self.waiter(key, number, ack);
        let ticket = partition.append(spec.build(), ack, Some(waiter), self.now).expect("taken");
        assert_eq!((ticket.base_offset, ticket.is_duplicate), (base, false), "{place:?}");
        self.observe();
        number
    }

    /// Sends a batch again; it must be known.
    pub(crate) fn resend(&self, place: Place<'_>, number: usize, ack: AckLevel) {
        let (key, partition) = (self.key(place), self.partition(place));
        let (spec, base) = {
            let mut model = self.model.lock();
            let attempt = &model.ledger(key).attempts[number];
            (attempt.spec.clone(), attempt.base)
        };
        let waiter = self.waiter(key, number, ack);
        let ticket = partition.append(spec.build(), ack, Some(waiter), self.now).expect("known");
        assert_eq!((ticket.base_offset, ticket.is_duplicate), (base, true), "{place:?}: a repeated batch");
        self.observe();
    }

    fn waiter(&self, key: Key, number: usize, level: AckLevel) -> Waiter {
        Waiter { sink: Arc::new(Answers { model: Arc::clone(&self.model), key, level }), token: number as u64 }
    }

    /// Begins to move a client's position to what it can have read; the answers come when the work is done.
    pub(crate) fn commit(&self, place: Place<'_>, client: &'static str, ack: AckLevel) {
        let (key, offset) = (self.key(place), self.partition(place).offsets().high_watermark());
        {
            let mut model = self.model.lock();
            let position = model.positions.entry((key, client)).or_default();
            position.asked = position.asked.max(offset);
        }
        let model = Arc::clone(&self.model);
        self.broker().commit(position_key(place, client), offset, ack, self.now, move |result| {
            let kept = result.expect("positions are kept");
            model.lock().committed(key, client, ack, kept);
        });
        self.observe();
    }

    /// Begins to delete all committed records but so many; the answer comes when the work is done.
    pub(crate) fn delete_records(&self, place: Place<'_>, kept: u64) {
        let partition = self.partition(place);
        let high_watermark = partition.offsets().high_watermark();
        let before = Offset::new(high_watermark.get() - kept).expect("small");
        partition.delete_before(Some(before), move |result| assert_eq!(result, Ok(before)));
        self.observe();
    }

    /// Appends, as a follower, a batch that the leader of `epoch` numbered.
    pub(crate) fn follow(&self, place: Place<'_>, epoch: Epoch, values: &[usize]) {
        let (key, partition) = (self.key(place), self.partition(place));
        let batch = {
            let mut model = self.model.lock();
            let spec = model.fresh_spec(key, None, values, self.now);
            let ledger = model.ledger(key);
            let number = ledger.attempt(spec.clone(), epoch, AckLevel::None);
            spec.build().number(ledger.attempts[number].base, epoch)
        };
        partition.append_at(batch, self.now).expect("follows");
        self.observe();
    }

    /// Takes back everything of a partition that reaches beyond its high watermark and `beyond` more.
    pub(crate) fn truncate(&self, place: Place<'_>, beyond: u64) {
        let (key, partition) = (self.key(place), self.partition(place));
        let end = partition.offsets().high_watermark().plus(beyond);
        self.model.lock().ledger(key).begin_truncation(end);
        partition.truncate_to(end, self.now).expect("nothing under way");
        self.model.lock().ledger(key).finish_truncation();
        self.observe();
    }

    /// Runs one piece of work of a partition. Where every write and sync is handed over it must be there.
    pub(crate) fn run(&self, (topic, index): Place<'_>, work: Work) {
        let is_it = |partition: &Partition, found: Work| {
            let name = partition.name();
            name.topic.as_str() == topic && name.partition.0 == index && found == work
        };
        let is_run = self.queue.run_one(self.now, is_it);
        let must_run = self.flavour.sync == SyncPolicy::Always && !self.flavour.writes_inline;
        assert!(is_run || !must_run, "{topic}_p{index}: no {work:?} waits");
        self.observe();
    }

    /// Runs everything there is to do, and what follows from it.
    pub(crate) fn drain(&self) {
        while self.queue.run_one(self.now, |_, _| true) {
            self.observe();
        }
    }

    /// Lets time pass.
    pub(crate) fn step(&mut self, millis: i64) {
        self.now = self.now.plus_millis(millis);
        self.broker().step(self.now);
        self.observe();
    }

    /// Notes what the broker says of itself: from now on it is held to it.
    pub(crate) fn observe(&self) {
        let mut seen = Vec::new();
        for topic in self.broker().topics() {
            for index in 0..topic.partitions_count() {
                if let Ok(partition) = topic.partition(PartitionIndex(index)) {
                    seen.push(((topic.topic().id, index), partition.offsets()));
                }
            }
        }
        let log_starts = seen.iter().map(|(key, offsets)| (*key, offsets.log_start())).collect();
        self.log_starts.lock().push(log_starts);
        let mut model = self.model.lock();
        model.steps += 1;
        for (key, offsets) in seen {
            let ledger = model.ledger(key);
            ledger.survives_cut = ledger.survives_cut.max(offsets.durable());
            ledger.survives_kill = ledger.survives_kill.max(offsets.written());
            if self.flavour.sync == SyncPolicy::Always {
                ledger.survives_cut = ledger.survives_cut.max(offsets.high_watermark());
            }
            ledger.log_start_min = offsets.log_start();
            ledger.log_start_max = offsets.log_start();
            let written = ledger.attempts.iter().filter(|a| a.fate == Fate::Standing && a.next <= offsets.written());
            let newest = written.map(|attempt| attempt.epoch.get()).max().unwrap_or(0);
            ledger.epoch_seen = ledger.epoch_seen.max(newest);
        }
    }

    /// Asserts that every batch that stands has been answered. Once everything was drained, and synced where the
    /// publisher wanted that.
    pub(crate) fn assert_answered(&self) {
        let model = self.model.lock();
        let live = model.topics.values().filter(|topic| topic.stage == Stage::Live);
        for topic in live {
            for (key, ledger) in model.ledgers.iter().filter(|(key, _)| key.0 == topic.id) {
                for attempt in &ledger.attempts {
                    let is_due = attempt.wants != AckLevel::None && attempt.fate == Fate::Standing;
                    assert!(!is_due || attempt.is_answered, "{key:?}: the batch at {} waits for ever", attempt.base);
                }
            }
        }
    }
}
