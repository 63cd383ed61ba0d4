//! What the benchmarks work on: records, batches of them, partitions on files, and work done when it is asked for.

use std::collections::VecDeque;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use wiber::disk::RealDisk;
use wiber::log::{HandleCache, LogContext, LogOptions, PartitionFiles, RetentionPolicy, SpaceReserve};
use wiber::record::{Batch, BatchBuilder, BuilderOptions, Compression, ProducedBatch};
use wiber::replica::producers::ProducerLimits;
use wiber::replica::{
    Checkpoint, OpenReport, Partition, PartitionOptions, PartitionStart, PendingBudget, ReplicaContext, SyncPolicy,
    TailBudget, Work, WorkQueue,
};
use wiber::types::{Epoch, Offset, PartitionIndex, Timestamp, TopicId, TopicName, TopicPartition};

/// When everything happens.
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
/// Records of a full batch.
pub(crate) const BATCH_RECORDS: usize = 1_000;
/// Bytes of a record's value.
pub(crate) const VALUE_BYTES: [usize; 2] = [100, 1_024];

/// Records of a batch and bytes of a value.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) records: usize,
    pub(crate) value_bytes: usize,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {} B", self.records, self.value_bytes)
    }
}

/// A value of so many bytes, of the kind that messages are: compressible, but not to nothing.
pub(crate) fn value(bytes: usize, number: usize) -> Vec<u8> {
    let mut state = number as u64 + 1;
    let mut text = Vec::with_capacity(bytes + 64);
    while text.len() < bytes {
        // Knuth's linear congruential generator: the same on every run.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.extend_from_slice(format!("{{\"sensor\":{},\"value\":{}}}", number % 100, state >> 40).as_bytes());
    }
    text.truncate(bytes);
    text
}

/// The values of a batch.
pub(crate) fn values(records: usize, value_bytes: usize) -> Vec<Vec<u8>> {
    (0..records).map(|number| value(value_bytes, number)).collect()
}

/// Fills a builder and empties it.
pub(crate) fn build(builder: &mut BatchBuilder, values: &[Vec<u8>]) -> ProducedBatch {
    for value in values {
        builder.append(NOW, None, Some(value), &[]).expect("the record fits");
    }
    builder.finish().expect("the batch is whole")
}

/// A batch as a client sends it.
pub(crate) fn produced(records: usize, value_bytes: usize, compression: Compression) -> ProducedBatch {
    let mut builder = BatchBuilder::new(BuilderOptions { compression, ..BuilderOptions::default() });
    build(&mut builder, &values(records, value_bytes))
}

/// The same as bytes, in a buffer nobody else holds.
pub(crate) fn sent(records: usize, value_bytes: usize, compression: Compression) -> BytesMut {
    produced(records, value_bytes, compression).into_bytes()
}

/// The same as it lies in a log.
pub(crate) fn stored(records: usize, value_bytes: usize, compression: Compression) -> Batch {
    produced(records, value_bytes, compression).number(Offset::ZERO, Epoch::FIRST)
}

/// A buffer with nothing but these bytes in it.
pub(crate) fn unshared(bytes: &Bytes) -> BytesMut {
    BytesMut::from(&bytes[..])
}

/// Work that is done when it is asked for, on the thread that asks.
#[derive(Debug, Default)]
pub(crate) struct HandQueue {
    waiting: Mutex<VecDeque<(Arc<Partition>, Work)>>,
}

impl HandQueue {
    /// Does the work that waits and that `wanted` accepts, and what comes of it; drops the rest.
    pub(crate) fn run(&self, wanted: impl Fn(Work) -> bool) {
        loop {
            let next = self.waiting.lock().pop_front();
            let Some((partition, work)) = next else { return };
            if wanted(work) {
                partition.run(work, NOW);
            }
        }
    }
}

impl WorkQueue for HandQueue {
    fn submit(&self, partition: Arc<Partition>, work: Work) {
        self.waiting.lock().push_back((partition, work));
    }
}

/// What is around a partition in a directory.
pub(crate) struct Surroundings {
    pub(crate) queue: Arc<HandQueue>,
    context: ReplicaContext,
    files: PartitionFiles,
    segment_bytes: u64,
}

impl Surroundings {
    /// In `dir`, with so many bytes for tails, and for each segment.
    pub(crate) fn new(dir: &Path, tail_bytes: usize, segment_bytes: u64) -> Surroundings {
        let queue = Arc::new(HandQueue::default());
        let reserve = SpaceReserve::open(Arc::new(RealDisk), dir.to_path_buf(), 0, NOW).expect("there is room");
        let context = ReplicaContext {
            log: LogContext { disk: Arc::new(RealDisk), handles: Arc::new(HandleCache::new(256)) },
            queue: Arc::clone(&queue) as Arc<dyn WorkQueue>,
            tails: Arc::new(TailBudget::new(tail_bytes)),
            pending: Arc::new(PendingBudget::new(64 << 20)),
            reserve: Arc::new(reserve),
        };
        Surroundings { queue, context, files: PartitionFiles::new(dir.join("bench_p0")), segment_bytes }
    }

    /// A partition that holds nothing.
    pub(crate) fn create(&self) -> Arc<Partition> {
        Partition::create(self.context.clone(), self.start(), NOW).expect("the partition is made")
    }

    /// The partition as it was left.
    pub(crate) fn open(&self, checkpoint: Option<Checkpoint>) -> (Arc<Partition>, OpenReport) {
        Partition::open(self.context.clone(), self.start(), checkpoint, NOW).expect("the partition opens")
    }

    fn start(&self) -> PartitionStart {
        let topic = TopicName::new("bench").expect("a good name");
        PartitionStart {
            name: TopicPartition { topic, partition: PartitionIndex(0) },
            topic_id: TopicId::new(uuid::Uuid::nil()),
            files: self.files.clone(),
            options: PartitionOptions {
                log: LogOptions { segment_bytes: self.segment_bytes, ..LogOptions::default() },
                sync: SyncPolicy::Os,
                retention: RetentionPolicy::default(),
                unsynced_bytes_max: 64 << 20,
                inline_write_bytes_max: 64 << 10,
                producers: ProducerLimits { producers_max: 1_000, expiry_ms: i64::MAX },
                compaction: None,
                is_internal: false,
            },
        }
    }
}
