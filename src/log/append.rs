//! Appending batches, and rolling to a new segment.

use std::io::IoSlice;
use std::sync::Arc;

use super::ahead::Ahead;
use super::error::LogError;
use super::index::IndexEntry;
use super::partition_file::{SealedSegment, SegmentRecord};
use super::partition_log::{PartitionLog, Writer, create_segment, durable_mark};
use super::point::{LogPoint, effective_timestamp};
use super::segment::ActiveSegment;
use crate::record::Batch;
use crate::types::{Epoch, Timestamp};

/// Batches below this many bytes on average are joined before they are written; larger ones go out where they lie.
const JOIN_BYTES_MAX: usize = 16 << 10;
/// Most that one write takes, in bytes, unless a single batch is larger.
const WRITE_BYTES_MAX: u64 = 4 << 20;

/// An append that stopped part of the way.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct AppendFailure {
    /// Why.
    #[source]
    pub error: Box<LogError>,
    /// The end of what is written; batches before it are in the file, those behind it are not.
    pub end: LogPoint,
}

impl PartitionLog {
    /// Writes batches at the end of the log, in order. They must follow it without a gap; a batch of a new epoch makes
    /// that epoch known and durable first. Rolls where a segment is full or too old. Nothing is synced but what a roll
    /// must.
    ///
    /// # Errors
    /// [`AppendFailure`] says how far the append came; what it did not reach may be appended again.
    ///
    /// # Panics
    /// Where a batch does not follow its predecessor: that is our own mistake.
    pub fn append(&self, batches: &[Batch], now: Timestamp) -> Result<LogPoint, AppendFailure> {
        let mut writer = self.writer.lock();
        let mut rest = batches;
        while !rest.is_empty() {
            let step = self.append_run(&mut writer, rest, now);
            let end = self.view.read().end;
            match step {
                Ok(count) => rest = &rest[count..],
                Err(error) => return Err(AppendFailure { error: Box::new(error), end }),
            }
        }
        Ok(self.view.read().end)
    }

    /// Whether an append of `bytes` bytes in this epoch is one write and nothing else: no roll, no new epoch.
    #[must_use]
    pub fn appends_in_one_write(&self, bytes: u64, epoch: Epoch, now: Timestamp) -> bool {
        let Some(writer) = self.writer.try_lock() else { return false };
        let view = self.view.read();
        view.file.history.epochs.writing() == Some(epoch) && !must_roll(&writer, view.end, bytes, now)
    }

    /// Seals the active segment and begins a new one, where it holds anything.
    ///
    /// # Errors
    /// [`LogError::SyncFailed`] is final; after any other the roll is tried again before the next append.
    pub fn roll(&self) -> Result<(), LogError> {
        self.roll_locked(&mut self.writer.lock())
    }

    /// Whether the active segment's first append is too long ago for it to take more.
    #[must_use]
    pub fn is_due_to_roll(&self, now: Timestamp) -> bool {
        let writer = self.writer.lock();
        is_too_old(&writer, now)
    }

    /// Writes as many of the batches as go into the active segment with one write; returns their count.
    fn append_run(&self, writer: &mut Writer, batches: &[Batch], now: Timestamp) -> Result<usize, LogError> {
        self.check_open()?;
        let first = batches[0].header();
        let end = self.view.read().end;
        if must_roll(writer, end, first.total_bytes as u64, now) {
            self.roll_locked(writer)?;
        }
        self.begin_epoch_of(&batches[0])?;
        let (active, end) = {
            let view = self.view.read();
            (Arc::clone(&view.active), view.end)
        };
        let plan = plan_run(writer, batches, end, &active, now);
        if let Err(error) = write_run(&active, &batches[..plan.count], end.position) {
            let failed = LogError::io("write", active.path(), error);
            writer.ahead.end = 0;
            // What the failed write left must not be taken for a batch: the next one begins at the same byte.
            return match active.file.set_len(end.position) {
                Err(error) if failed.is_storage_full() => Err(LogError::io("cut", active.path(), error)),
                // Any other failure to write is final, and the one to tell of.
                _ => Err(failed),
            };
        }
        if writer.first_append.is_none() {
            writer.first_append = Some(now);
        }
        if !plan.entries.is_empty() {
            let mut index = active.index.lock();
            for entry in plan.entries {
                writer.last_entry_position = u64::from(entry.position);
                index.push(entry);
            }
            index.save_if_many();
        }
        self.view.write().end = plan.end;
        Ok(plan.count)
    }

    fn begin_epoch_of(&self, batch: &Batch) -> Result<(), LogError> {
        let file = Arc::clone(&self.view.read().file);
        let epoch = batch_epoch(batch);
        if file.history.epochs.writing() == Some(epoch) {
            return Ok(());
        }
        let mut file = (*file).clone();
        file.history.epochs.begin(epoch, batch.header().base_offset);
        self.replace_partition_file(file)
    }

    fn roll_locked(&self, writer: &mut Writer) -> Result<(), LogError> {
        self.check_open()?;
        let (active, end, file) = {
            let view = self.view.read();
            (Arc::clone(&view.active), view.end, Arc::clone(&view.file))
        };
        if end.position == 0 {
            return Ok(());
        }
        if writer.ahead.end > end.position {
            active.file.set_len(end.position).map_err(|error| LogError::io("cut", active.path(), error))?;
            writer.ahead.end = 0;
        }
        active.sync()?;
        active.index.lock().save_mark(durable_mark(&active, end));
        let mut file = (*file).clone();
        let is_named = file.active().base == end.next_offset;
        if !is_named {
            let last = file.segments.last_mut().expect("a partition has a segment");
            let max_timestamp_ms = end.max_timestamp.millis();
            last.sealed = Some(SealedSegment { bytes: end.position, max_timestamp_ms });
            file.segments.push(SegmentRecord::fresh(end.next_offset, end.next_batch));
        }
        writer.must_roll = true;
        self.replace_partition_file(file)?;
        let fresh = create_segment(&self.context, &self.files, end.next_offset, end.next_batch)?;
        let mut view = self.view.write();
        view.active = Arc::new(fresh);
        view.end = LogPoint::segment_start(end.next_offset, end.next_batch);
        drop(view);
        writer.must_roll = false;
        writer.ahead = Ahead::default();
        writer.first_append = None;
        writer.last_entry_position = 0;
        Ok(())
    }
}

fn must_roll(writer: &Writer, end: LogPoint, bytes: u64, now: Timestamp) -> bool {
    let full = end.position > 0 && end.position + bytes > writer.options.segment_bytes;
    let wide = end.next_offset.since(end.segment) > u64::from(u32::MAX / 2);
    writer.must_roll || full || wide || is_too_old(writer, now)
}

fn is_too_old(writer: &Writer, now: Timestamp) -> bool {
    writer.first_append.is_some_and(|first| now.since(first) > writer.options.segment_age_ms)
}

fn batch_epoch(batch: &Batch) -> Epoch {
    Epoch::new(batch.header().leader_epoch).expect("a numbered batch has an epoch")
}

/// The batches one write takes, the index entries they need and where the log ends behind them.
struct Run {
    count: usize,
    entries: Vec<IndexEntry>,
    end: LogPoint,
}

fn plan_run(writer: &Writer, batches: &[Batch], start: LogPoint, active: &ActiveSegment, now: Timestamp) -> Run {
    let epoch = batches[0].header().leader_epoch;
    let mut run = Run { count: 0, entries: Vec::new(), end: start };
    let mut last_entry = writer.last_entry_position;
    for batch in batches {
        let header = batch.header();
        let bytes = header.total_bytes as u64;
        let end = run.end.position + bytes;
        let fits = end <= writer.options.segment_bytes && end - start.position <= WRITE_BYTES_MAX;
        if run.count > 0 && (!fits || header.leader_epoch != epoch) {
            break;
        }
        assert_eq!(header.base_offset, run.end.next_offset, "a batch follows its predecessor");
        if run.end.position - last_entry >= writer.options.index_interval_bytes {
            let mark = durable_mark(active, run.end);
            run.entries.push(IndexEntry {
                relative_offset: mark.relative_offset,
                position: mark.position,
                max_timestamp: run.end.max_timestamp,
                relative_batch: mark.relative_batch,
            });
            last_entry = run.end.position;
        }
        let timestamp = effective_timestamp(header.max_timestamp, now);
        run.end = run.end.after(header.next_offset(), bytes, header.crc, timestamp);
        run.count += 1;
    }
    run
}

fn write_run(active: &ActiveSegment, batches: &[Batch], position: u64) -> std::io::Result<()> {
    let bytes: usize = batches.iter().map(|batch| batch.bytes().len()).sum();
    if batches.len() > 1 && bytes / batches.len() < JOIN_BYTES_MAX {
        let mut joined = Vec::with_capacity(bytes);
        for batch in batches {
            joined.extend_from_slice(batch.bytes());
        }
        return active.file.write_at(&[IoSlice::new(&joined)], position);
    }
    let slices: Vec<IoSlice<'_>> = batches.iter().map(|batch| IoSlice::new(batch.bytes())).collect();
    active.file.write_at(&slices, position)
}
