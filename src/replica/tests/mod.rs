//! Tests of one partition, step by step: a [`Rig`] holds its disk, and the work it submitted until the test runs it.

mod acks;
mod appending;
mod compaction;
mod deleting;
mod following;
mod full_disk;
mod reading;
mod restart;
mod sequences;
mod uncommitted;
mod waiting;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Wake, Waker};

use parking_lot::Mutex;

use super::producers::ProducerLimits;
use super::*;
use crate::disk::Disk;
use crate::disk::faulty::FaultyDisk;
use crate::log::{HandleCache, LogContext, LogOptions, PartitionFiles, RetentionPolicy, SpaceReserve};
use crate::record::{Batch, BatchBuilder, BuilderOptions, ProducedBatch, ProducerStamp};
use crate::types::{
    Epoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicId, TopicName, TopicPartition,
};

const START_MS: i64 = 1_700_000_000_000;
const RESERVE_BYTES: u64 = 2_000;

fn offset(value: u64) -> Offset {
    Offset::new(value).unwrap()
}

fn epoch(value: i32) -> Epoch {
    Epoch::new(value).unwrap()
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(START_MS + millis)
}

/// A batch of `records` records; of producer (id, epoch, sequence) where one is given.
fn produced(records: u32, text: &str, producer: Option<(i64, i16, i32)>) -> ProducedBatch {
    let producer = producer.map(|(id, epoch, sequence)| ProducerStamp {
        id: ProducerId::new(id).unwrap(),
        epoch: ProducerEpoch::new(epoch).unwrap(),
        base_sequence: Sequence::new(sequence),
    });
    let mut builder = BatchBuilder::new(BuilderOptions { producer, ..BuilderOptions::default() });
    for record in 0..records {
        builder.append(at(0), None, Some(format!("{text} {record}").as_bytes()), &[]).unwrap();
    }
    builder.finish().unwrap()
}

/// Everything that reached the outside, in order.
#[derive(Debug, Default, Clone)]
struct Events(Arc<Mutex<Vec<String>>>);

impl Events {
    fn note(&self, event: impl Into<String>) {
        self.0.lock().push(event.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }
}

impl AckSink for Events {
    fn complete(&self, completions: &mut dyn Iterator<Item = Completion>) {
        for Completion { token, outcome } in completions {
            match outcome {
                Ok(acked) => self.note(format!("{token} at {}", acked.base_offset)),
                Err(AckFailure::StorageFull) => self.note(format!("{token} full")),
                Err(AckFailure::StorageFailed(_)) => self.note(format!("{token} failed")),
                Err(AckFailure::Truncated) => self.note(format!("{token} truncated")),
                Err(AckFailure::Closed(_)) => self.note(format!("{token} closed")),
            }
        }
    }
}

#[derive(Debug)]
struct Noted(Events, &'static str);

impl Wake for Noted {
    fn wake(self: Arc<Self>) {
        self.0.note(self.1);
    }
}

#[derive(Debug, Default)]
struct Held(Mutex<VecDeque<Work>>);

impl WorkQueue for Held {
    fn submit(&self, _partition: Arc<Partition>, work: Work) {
        let mut held = self.0.lock();
        assert!(!held.contains(&work), "{work:?} submitted twice");
        held.push_back(work);
    }
}

#[derive(Debug)]
struct Rig {
    disk: FaultyDisk,
    queue: Arc<Held>,
    events: Events,
    context: ReplicaContext,
    options: PartitionOptions,
    partition: Arc<Partition>,
}

fn options() -> PartitionOptions {
    PartitionOptions {
        log: LogOptions {
            segment_bytes: 1 << 20,
            segment_age_ms: 1_000_000,
            index_interval_bytes: 300,
            zeros_ahead_bytes: 700,
        },
        sync: SyncPolicy::Always,
        retention: RetentionPolicy::default(),
        unsynced_bytes_max: 1 << 20,
        inline_write_bytes_max: 0,
        producers: ProducerLimits { producers_max: 100, expiry_ms: 10_000 },
        compaction: None,
        is_internal: false,
    }
}

fn start(options: PartitionOptions) -> PartitionStart {
    let name = TopicPartition { topic: TopicName::new("events").unwrap(), partition: PartitionIndex(0) };
    let files = PartitionFiles::new(PathBuf::from("/data/events_p0"));
    PartitionStart { name, topic_id: TopicId::new(uuid::Uuid::from_u128(7)), files, options }
}

fn context(disk: &FaultyDisk, queue: &Arc<Held>, tail_bytes: usize, pending_bytes: u64) -> ReplicaContext {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    disk.create_dir_all(Path::new("/data")).unwrap();
    let reserve = SpaceReserve::open(Arc::clone(&disk), PathBuf::from("/data"), RESERVE_BYTES, at(0)).unwrap();
    ReplicaContext {
        log: LogContext { disk, handles: Arc::new(HandleCache::new(4)) },
        queue: Arc::clone(queue) as Arc<dyn WorkQueue>,
        tails: Arc::new(TailBudget::new(tail_bytes)),
        pending: Arc::new(PendingBudget::new(pending_bytes)),
        reserve: Arc::new(reserve),
    }
}

impl Rig {
    fn new(options: PartitionOptions) -> Rig {
        Rig::with_memory(options, 1 << 20, 1 << 20)
    }

    fn with_tail(options: PartitionOptions, tail_bytes: usize) -> Rig {
        Rig::with_memory(options, tail_bytes, 1 << 20)
    }

    fn with_memory(options: PartitionOptions, tail_bytes: usize, pending_bytes: u64) -> Rig {
        let (disk, queue) = (FaultyDisk::new(), Arc::new(Held::default()));
        let context = context(&disk, &queue, tail_bytes, pending_bytes);
        let partition = Partition::create(context.clone(), start(options), at(0)).unwrap();
        Rig { disk, queue, events: Events::default(), context, options, partition }
    }

    /// One more partition beside it, with a queue of its own.
    fn another_partition(&self, number: u32, is_internal: bool) -> (Arc<Partition>, Arc<Held>) {
        let mut other = start(PartitionOptions { is_internal, ..options() });
        other.name.partition = PartitionIndex(number);
        other.files = PartitionFiles::new(PathBuf::from(format!("/data/events_p{number}")));
        let queue = Arc::new(Held::default());
        let context = ReplicaContext { queue: queue.clone(), ..self.context.clone() };
        (Partition::create(context, other, at(0)).unwrap(), queue)
    }

    /// The partition opened on another disk.
    fn reopen(&self, disk: FaultyDisk, checkpoint: Option<Checkpoint>) -> (Rig, OpenReport) {
        let queue = Arc::new(Held::default());
        let context = context(&disk, &queue, 1 << 20, 1 << 20);
        let (partition, report) = Partition::open(context.clone(), start(self.options), checkpoint, at(0)).unwrap();
        (Rig { disk, queue, events: Events::default(), context, options: self.options, partition }, report)
    }

    fn waiter(&self, token: u64) -> Option<Waiter> {
        Some(Waiter { sink: Arc::new(self.events.clone()), token })
    }

    fn append(&self, token: u64, ack: AckLevel) -> Result<Ticket, AppendError> {
        self.partition.append(produced(1, "record", None), ack, self.waiter(token), at(0))
    }

    fn publish(&self, token: u64, records: u32, producer: (i64, i16, i32)) -> Result<Ticket, AppendError> {
        let batch = produced(records, "idempotent", Some(producer));
        self.partition.append(batch, AckLevel::Durable, self.waiter(token), at(0))
    }

    /// Runs one piece of work that must have been submitted.
    fn run(&self, work: Work) {
        let mut held = self.queue.0.lock();
        let place = held.iter().position(|submitted| *submitted == work);
        held.remove(place.unwrap_or_else(|| panic!("{work:?} was not submitted")));
        drop(held);
        self.partition.run(work, at(0));
    }

    fn is_submitted(&self, work: Work) -> bool {
        self.queue.0.lock().contains(&work)
    }

    /// Runs all there is to run.
    fn settle(&self) {
        while let Some(work) = { self.queue.0.lock().front().copied() } {
            self.run(work);
        }
        assert!(self.partition.is_idle());
    }

    fn waker(&self, name: &'static str) -> Waker {
        Waker::from(Arc::new(Noted(self.events.clone(), name)))
    }

    /// Offsets as `start,high watermark,durable,written,end`.
    fn offsets(&self) -> [u64; 5] {
        let offsets = self.partition.offsets();
        let all =
            [offsets.log_start(), offsets.high_watermark(), offsets.durable(), offsets.written(), offsets.log_end()];
        all.map(Offset::get)
    }

    /// Everything committed, read in one way or the other.
    fn read_all(&self) -> Vec<Batch> {
        let (mut next, mut all) = (self.partition.offsets().log_start(), Vec::new());
        loop {
            let batches = match self.partition.read(next, 500).unwrap() {
                Read::Batches(batches) => batches,
                Read::Disk(read) => read.run().unwrap(),
            };
            let Some(last) = batches.last() else { return all };
            next = last.header().next_offset();
            all.extend(batches);
        }
    }

    /// That committed records have every offset from the log start to the high watermark, in epochs that only grow.
    fn check_contiguous(&self) -> Vec<Batch> {
        let all = self.read_all();
        let mut next = self.partition.offsets().log_start();
        for batch in &all {
            assert_eq!(batch.header().base_offset, next);
            next = batch.header().next_offset();
        }
        assert_eq!(next, self.partition.offsets().high_watermark());
        assert!(all.is_sorted_by_key(|batch| batch.header().leader_epoch));
        all
    }
}
