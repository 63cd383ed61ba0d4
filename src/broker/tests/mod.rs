//! Tests of a whole broker without threads: its work waits until the test runs it.

mod altering;
mod full_disk;
mod groups;
mod lost_files;
mod positions;
mod producer_ids;
mod publishing;
mod races;
mod recreated;
mod restart;
mod topics;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use uuid::Uuid;

use super::CompactionLimits;
use super::metadata::{MetadataLimits, TopicSettings};
use super::positions::PositionLimits;
use super::*;
use crate::disk::Disk;
use crate::disk::faulty::FaultyDisk;
use crate::log::{LogOptions, RetentionPolicy};
use crate::record::{BatchBuilder, BuilderOptions, ProducedBatch};
use crate::replica::producers::ProducerLimits;
use crate::replica::{PartitionOptions, Read, Work, WorkQueue};
use crate::types::{Offset, Timestamp, TopicId};

const START_MS: i64 = 1_700_000_000_000;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(START_MS + millis)
}

fn name(text: &str) -> TopicName {
    TopicName::new(text).unwrap()
}

fn produced(text: &str) -> ProducedBatch {
    let mut builder = BatchBuilder::new(BuilderOptions::default());
    builder.append(at(0), None, Some(text.as_bytes()), &[]).unwrap();
    builder.finish().unwrap()
}

pub(crate) fn options() -> BrokerOptions {
    BrokerOptions {
        data_dir: PathBuf::from("/data"),
        snapshot_dir: PathBuf::from("/snapshots"),
        snapshots_kept: 2,
        snapshot_interval_ms: 10_000,
        reserve_bytes: 4_000,
        tail_bytes: 1 << 16,
        pending_bytes: 1 << 20,
        open_segments_max: 4,
        partition: PartitionOptions {
            log: LogOptions {
                segment_bytes: 1_000,
                segment_age_ms: 1_000_000,
                index_interval_bytes: 300,
                zeros_ahead_bytes: 700,
            },
            sync: SyncPolicy::Always,
            retention: RetentionPolicy::default(),
            unsynced_bytes_max: 1 << 20,
            inline_write_bytes_max: 0,
            producers: ProducerLimits { producers_max: 100, expiry_ms: 1_000_000 },
            compaction: None,
            is_internal: false,
        },
        topics: TopicDefaults { partitions: 3, message_bytes_max: 1 << 20 },
        publish: super::publish::PublishLimits::default(),
        limits: MetadataLimits { topics_max: 10, partitions_max: 8 },
        compaction: CompactionLimits::default(),
        positions: PositionLimits { partitions: 2, positions_max: 10, expiry_ms: 1_000_000 },
        classic_groups: super::groups::classic::ClassicOptions::default(),
    }
}

/// A broker for the tests of who calls it, with room for so many bytes that are not written yet.
pub(crate) fn in_memory(queue: Arc<dyn WorkQueue>, pending_bytes: u64, now: Timestamp) -> Arc<Broker> {
    let mut options = options();
    options.partition.log.segment_bytes = 1 << 20;
    options.pending_bytes = pending_bytes;
    let disk = Arc::new(FaultyDisk::new());
    let start = BrokerStart { disk, queue, fresh_directory_id: Uuid::from_u128(1), now };
    Broker::open(options, start).unwrap().0
}

#[derive(Debug, Default)]
struct Held(Mutex<VecDeque<(Arc<Partition>, Work)>>);

impl WorkQueue for Held {
    fn submit(&self, partition: Arc<Partition>, work: Work) {
        self.0.lock().push_back((partition, work));
    }
}

/// A broker, its disk and the answers it gave.
#[derive(Debug)]
struct Rig {
    disk: FaultyDisk,
    queue: Arc<Held>,
    broker: Arc<Broker>,
    summary: OpenSummary,
    replies: Arc<Mutex<Vec<String>>>,
}

fn try_open(disk: &FaultyDisk, fresh: u128, options: BrokerOptions) -> Result<Rig, OpenError> {
    let queue = Arc::new(Held::default());
    let start = BrokerStart {
        disk: Arc::new(disk.clone()),
        queue: Arc::clone(&queue) as Arc<dyn WorkQueue>,
        fresh_directory_id: Uuid::from_u128(fresh),
        now: at(0),
    };
    let (broker, summary) = Broker::open(options, start)?;
    Ok(Rig { disk: disk.clone(), queue, broker, summary, replies: Arc::default() })
}

fn open(disk: &FaultyDisk) -> Rig {
    try_open(disk, 1, options()).unwrap()
}

impl Rig {
    fn new() -> Rig {
        open(&FaultyDisk::new())
    }

    fn reply(&self, what: &str) -> CommandReply {
        let (replies, what) = (Arc::clone(&self.replies), what.to_owned());
        CommandReply::new(move |result| {
            replies.lock().push(match result {
                Ok(created) => format!("{what}: {} with {}", created.topic, created.partitions),
                Err(error) => format!("{what}: {error}"),
            });
        })
    }

    fn begin_create(&self, topic: &str, partitions: u32, id: u128) {
        let (settings, id) = (TopicSettings::default(), TopicId::new(Uuid::from_u128(id)));
        self.broker.create_topic(&name(topic), Some(partitions), settings, id, at(0), self.reply("create"));
    }

    fn create(&self, topic: &str, partitions: u32, id: u128) -> String {
        self.begin_create(topic, partitions, id);
        self.settle();
        self.reply_of_one()
    }

    fn delete(&self, topic: &str) -> String {
        self.broker.delete_topic(&name(topic), at(0), self.reply("delete"));
        self.settle();
        self.reply_of_one()
    }

    fn reply_of_one(&self) -> String {
        let replies = std::mem::take(&mut *self.replies.lock());
        assert_eq!(replies.len(), 1, "{replies:?}");
        replies.into_iter().next().unwrap()
    }

    fn take_replies(&self) -> Vec<String> {
        std::mem::take(&mut self.replies.lock())
    }

    fn settle(&self) {
        while let Some((partition, work)) = { self.queue.0.lock().pop_front() } {
            partition.run(work, at(0));
        }
        assert!(self.broker.is_idle());
    }

    fn partition(&self, topic: &str, index: u32) -> Arc<Partition> {
        self.broker.partition(&name(topic), PartitionIndex(index)).unwrap()
    }

    fn publish(&self, topic: &str, index: u32, text: &str) {
        let partition = self.partition(topic, index);
        partition.append(produced(text), AckLevel::Durable, None, at(0)).unwrap();
        self.settle();
    }

    fn values(&self, topic: &str, index: u32) -> Vec<String> {
        values(&self.partition(topic, index))
    }

    fn topics(&self) -> Vec<String> {
        self.broker.topics().iter().map(|topic| topic.topic().name.to_string()).collect()
    }

    fn data_dirs(&self) -> Vec<String> {
        let entries = self.disk.read_dir(&options().data_dir).unwrap();
        entries.into_iter().filter(|entry| entry.is_dir).map(|entry| entry.name).collect()
    }
}

fn values(partition: &Arc<Partition>) -> Vec<String> {
    let (mut next, mut all) = (Offset::ZERO, Vec::new());
    loop {
        let batches = match partition.read(next, 1_000).unwrap() {
            Read::Batches(batches) => batches,
            Read::Disk(read) => read.run().unwrap(),
        };
        let Some(last) = batches.last() else { return all };
        next = last.header().next_offset();
        for batch in &batches {
            let records = batch.records().unwrap().map(Result::unwrap);
            all.extend(records.map(|record| String::from_utf8(record.value.unwrap().to_vec()).unwrap()));
        }
    }
}
