//! Tests of a partition's log, on a disk that fails on command and on the real one.
//!
//! A [`Bench`] is a partition's directory on some disk; a [`Model`] is what was appended to it, batch by batch. Each
//! file's `check` opens, reads and compares.

mod ahead;
mod compaction;
mod damage;
mod full_disk;
mod killed;
mod reading;
mod real_disk;
mod reopening;
mod retention;
mod torn_tail;
mod truncation;

use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use crate::disk::Disk;
use crate::disk::faulty::FaultyDisk;
use crate::record::{Batch, BatchBuilder, BatchHeader, BuilderOptions};
use crate::types::{Epoch, Offset, PartitionIndex, Timestamp, TopicId, TopicName};

/// When a test's log is made, in milliseconds.
pub(crate) const START_MS: i64 = 1_700_000_000_000;
const DIR: &str = "/data/events_p0";

pub(crate) fn offset(value: u64) -> Offset {
    Offset::new(value).unwrap()
}

pub(crate) fn epoch(value: i32) -> Epoch {
    Epoch::new(value).unwrap()
}

pub(crate) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(START_MS + millis)
}

/// A numbered batch of `records` records of `value_bytes` bytes each, whose bytes tell their offset.
pub(crate) fn batch(base: u64, records: u64, value_bytes: usize, written_in: i32, millis: i64) -> Batch {
    let mut builder = BatchBuilder::new(BuilderOptions::default());
    for record in base..base + records {
        let seed = record.wrapping_mul(0x9e37_79b9) ^ u64::from(written_in.cast_unsigned());
        let value: Vec<u8> = (0..value_bytes as u64).map(|i| ((seed + i * 7) % 251) as u8).collect();
        builder.append(at(millis), None, Some(&value), &[]).unwrap();
    }
    builder.finish().unwrap().number(offset(base), epoch(written_in))
}

/// Remembers what recovery told it.
#[derive(Debug, Default)]
pub(crate) struct Visits {
    pub(crate) restarts: u32,
    pub(crate) bases: Vec<u64>,
}

impl RecoveryVisitor for Visits {
    fn restart(&mut self) {
        self.restarts += 1;
        self.bases.clear();
    }

    fn batch(&mut self, header: &BatchHeader) {
        self.bases.push(header.base_offset.get());
    }
}

/// A partition's directory.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) disk: FaultyDisk,
    pub(crate) options: LogOptions,
}

impl Bench {
    /// A directory on an empty faulty disk, for segments of `segment_bytes` bytes.
    pub(crate) fn new(segment_bytes: u64) -> Bench {
        let options =
            LogOptions { segment_bytes, segment_age_ms: 1_000_000, index_interval_bytes: 300, zeros_ahead_bytes: 700 };
        Bench { disk: FaultyDisk::new(), options }
    }

    pub(crate) fn on(&self, disk: FaultyDisk) -> Bench {
        Bench { disk, options: self.options }
    }

    pub(crate) fn files() -> PartitionFiles {
        PartitionFiles::new(PathBuf::from(DIR))
    }

    pub(crate) fn context(&self) -> LogContext {
        LogContext { disk: Arc::new(self.disk.clone()), handles: Arc::new(HandleCache::new(2)) }
    }

    pub(crate) fn create(&self) -> PartitionLog {
        create_on(self.context(), Bench::files(), self.options)
    }

    pub(crate) fn open(&self) -> Recovered {
        self.open_with(None, &mut Visits::default()).unwrap()
    }

    pub(crate) fn open_with(&self, checkpoint: Option<LogPoint>, visits: &mut Visits) -> Result<Recovered, LogError> {
        PartitionLog::open(self.context(), Bench::files(), self.options, checkpoint, at(0), visits)
    }

    /// The names in the partition's directory.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = self.disk.read_dir(Bench::files().dir()).unwrap();
        entries.into_iter().map(|entry| entry.name).collect()
    }

    /// Paths of everything set aside.
    pub(crate) fn set_aside(&self) -> Vec<PathBuf> {
        let dir = Bench::files().set_aside();
        self.disk.paths().into_iter().filter(|path| path.starts_with(&dir)).collect()
    }
}

pub(crate) fn create_on(context: LogContext, files: PartitionFiles, options: LogOptions) -> PartitionLog {
    let topic = TopicName::new("events").unwrap();
    let topic_id = TopicId::new(uuid::Uuid::from_u128(7));
    PartitionLog::create(context, files, options, topic, PartitionIndex(0), topic_id).unwrap()
}

/// What was appended.
#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    pub(crate) batches: Vec<Batch>,
}

impl Model {
    pub(crate) fn end(&self) -> u64 {
        self.batches.last().map_or(0, |batch| batch.header().next_offset().get())
    }

    /// Appends batches of these record counts, one by one, syncing after each.
    pub(crate) fn append(&mut self, log: &PartitionLog, counts: &[u64], written_in: i32) {
        self.append_unsynced(log, counts, written_in);
        log.sync(log.state().end).unwrap();
    }

    pub(crate) fn append_unsynced(&mut self, log: &PartitionLog, counts: &[u64], written_in: i32) {
        for count in counts {
            let next = batch(self.end(), *count, 40, written_in, self.end() as i64);
            let end = log.append(std::slice::from_ref(&next), at(self.end() as i64)).unwrap();
            assert_eq!(end.next_offset, next.header().next_offset());
            self.batches.push(next);
        }
    }

    /// What stays of it below an offset.
    pub(crate) fn up_to(&self, end: u64) -> Model {
        let batches = self.batches.iter().filter(|batch| batch.header().next_offset().get() <= end);
        Model { batches: batches.cloned().collect() }
    }

    fn holding(&self, from: u64) -> Option<usize> {
        self.batches.iter().position(|batch| from < batch.header().next_offset().get())
    }

    /// Reads the whole log and compares.
    pub(crate) fn check_all(&self, log: &PartitionLog) {
        let (mut next, mut found) = (log.log_start(), Vec::new());
        loop {
            let batches = log.read(next, Offset::MAX.min(log.state().end.next_offset), 10_000).unwrap();
            let Some(last) = batches.last() else { break };
            next = last.header().next_offset();
            found.extend(batches);
        }
        let first = self.holding(log.log_start().get()).unwrap_or(self.batches.len());
        assert_eq!(found, self.batches[first..]);
        assert_eq!(log.state().end.next_offset.get(), self.end().max(log.log_start().get()));
    }
}

/// A log of several segments and two epochs, synced, and what it holds.
pub(crate) fn grown(bench: &Bench) -> (PartitionLog, Model) {
    let (log, mut model) = (bench.create(), Model::default());
    model.append(&log, &[1, 3, 2, 1, 1, 5, 1, 2], 1);
    model.append(&log, &[2, 1, 1, 4, 1, 1, 3, 1], 3);
    assert!(log.state().file.segments.len() >= 3, "{:?}", log.state().file.segments);
    (log, model)
}

/// The bases of all segments.
pub(crate) fn bases(log: &PartitionLog) -> Vec<Offset> {
    log.state().file.segments.iter().map(|record| record.base).collect()
}

pub(crate) fn dyn_disk(disk: &FaultyDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}
