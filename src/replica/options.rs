//! What partitions share, what each is told, and the seam to whoever gives them threads.

use std::fmt::Debug;
use std::sync::Arc;

use super::partition::Partition;
use super::pending::PendingBudget;
use super::producers::ProducerLimits;
use super::tail::TailBudget;
use crate::log::{CompactionPolicy, LogContext, LogOptions, RetentionPolicy, SpaceReserve};

/// Something a partition needs a thread for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Work {
    /// Write what is pending.
    Write,
    /// Sync what is written.
    Sync,
    /// Roll, delete what is old.
    Upkeep,
    /// One turn of a compaction.
    Compact,
}

/// One of several things to do side by side.
pub type Job = Box<dyn FnOnce() + Send>;

/// Takes work to do soon, on any thread that may block on files. A partition submits each kind at most once until it
/// was run.
pub trait WorkQueue: Send + Sync + Debug {
    /// Arranges for [`Partition::run`] to be called with this work.
    fn submit(&self, partition: Arc<Partition>, work: Work);

    /// As [`WorkQueue::submit`], called by one who waits for nothing but this: it may be done before this returns.
    fn submit_patiently(&self, partition: Arc<Partition>, work: Work) {
        self.submit(partition, work);
    }

    /// Runs all these jobs, side by side where there are threads for it, and returns when the last one is done. The
    /// caller's own thread takes part, so that it comes to an end even where every other thread waits for something.
    fn run_all(&self, jobs: Vec<Job>) {
        jobs.into_iter().for_each(|job| job());
    }
}

/// When what was written is made durable without anybody asking (`storage.sync`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncPolicy {
    /// After every group of writes; consumers see only what is durable.
    Always,
    /// Every so many milliseconds; consumers see what is written.
    Interval {
        /// The interval, in milliseconds.
        millis: i64,
    },
    /// When the operating system pleases; consumers see what is written.
    Os,
}

/// The surroundings of a partition, shared by all of a broker's.
#[derive(Debug, Clone)]
pub struct ReplicaContext {
    /// Files.
    pub log: LogContext,
    /// Who gives work a thread.
    pub queue: Arc<dyn WorkQueue>,
    /// The memory for recent batches.
    pub tails: Arc<TailBudget>,
    /// The memory for batches that wait to be written.
    pub pending: Arc<PendingBudget>,
    /// The space kept back on the device.
    pub reserve: Arc<SpaceReserve>,
}

/// How a partition behaves.
#[derive(Debug, Clone, Copy)]
pub struct PartitionOptions {
    /// Segments.
    pub log: LogOptions,
    /// When to sync.
    pub sync: SyncPolicy,
    /// What to keep.
    pub retention: RetentionPolicy,
    /// Whether, and when, only the newest record of each key is kept.
    pub compaction: Option<CompactionPolicy>,
    /// Bytes that may wait to be synced, where acknowledgements wait for syncs.
    pub unsynced_bytes_max: u64,
    /// Groups up to this many bytes are written by the thread that appended them; 0 hands every write over.
    pub inline_write_bytes_max: u64,
    /// Idempotent producers remembered.
    pub producers: ProducerLimits,
    /// Whether the broker keeps the partition for itself: it may then write into the space reserve.
    pub is_internal: bool,
}
