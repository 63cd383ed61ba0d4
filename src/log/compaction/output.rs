//! The file that takes what is left of one or several segments.

use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::BytesMut;

use crate::disk::{Disk, DiskFile, OpenMode};
use crate::log::error::LogError;
use crate::log::index::Index;
use crate::log::index_walk::EntryBuilder;
use crate::log::layout::PartitionFiles;
use crate::log::partition_file::{SealedSegment, SegmentRecord};
use crate::log::point::LogPoint;
use crate::record::{Batch, hole, reaching};
use crate::types::{Epoch, Offset, Timestamp};

/// Bytes gathered before they are written.
const WRITE_BYTES: usize = 1 << 20;

/// Offsets all of whose records went.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hole {
    pub(super) from: Offset,
    pub(super) to: Offset,
    pub(super) epoch: Epoch,
    pub(super) timestamp: Timestamp,
}

/// A batch not yet written, and the latest time that may be believed of it.
#[derive(Debug)]
struct Held {
    batch: Batch,
    timestamp_max: Timestamp,
}

/// A segment being written anew, under a temporary name.
#[derive(Debug)]
pub(super) struct Output {
    /// What `partition.json` is to say of it.
    pub(super) record: SegmentRecord,
    temporary: PathBuf,
    file: Arc<dyn DiskFile>,
    /// The last batch: what follows may still make it reach further.
    held: Option<Held>,
    buffer: BytesMut,
    entries: EntryBuilder,
    point: LogPoint,
    unsynced: u64,
}

impl Output {
    /// Begins the next generation of a segment.
    pub(super) fn create(
        disk: &dyn Disk,
        files: &PartitionFiles,
        of: &SegmentRecord,
        index_interval: u64,
    ) -> Result<Output, LogError> {
        let mut record = *of;
        loop {
            record.generation = record.generation.saturating_add(1);
            // One that is there may be named by a `partition.json` whose replacement failed, no one knows where.
            let path = files.log_of(&record);
            if !disk.exists(&path).map_err(|error| LogError::io("look for", &path, error))? {
                break;
            }
        }
        let mut temporary = files.log_of(&record).into_os_string();
        temporary.push(".tmp");
        let temporary = PathBuf::from(temporary);
        let file = disk.open(&temporary, OpenMode::CreateOrEmpty);
        let file = file.map_err(|error| LogError::io("create", &temporary, error))?;
        let point = LogPoint::segment_start(record.base, record.first_batch);
        let entries = EntryBuilder::new(index_interval, point);
        Ok(Output { record, temporary, file, held: None, buffer: BytesMut::new(), entries, point, unsynced: 0 })
    }

    /// Bytes so far.
    pub(super) fn bytes(&self) -> u64 {
        self.point.position + self.held.as_ref().map_or(0, |held| held.batch.bytes().len() as u64)
    }

    /// Adds a batch behind all others. `timestamp_max` bounds what it may say of its time.
    pub(super) fn push(&mut self, batch: Batch, timestamp_max: Timestamp) -> Result<(), LogError> {
        self.write_held()?;
        self.held = Some(Held { batch, timestamp_max });
        Ok(())
    }

    /// Leaves out all records of a range of offsets.
    pub(super) fn pass(&mut self, passed: Hole, timestamp_max: Timestamp) -> Result<(), LogError> {
        if let Some(held) = &mut self.held {
            let header = held.batch.header();
            let is_next = header.next_offset() == passed.from && header.leader_epoch == passed.epoch.get();
            if let Some(longer) = is_next.then(|| reaching(&held.batch, passed.to)).flatten() {
                held.batch = longer;
                return Ok(());
            }
        }
        let stands_for = hole(passed.from, passed.to, passed.epoch, passed.timestamp);
        let stands_for = stands_for.expect("a batch spans no more offsets than a batch can");
        self.push(stands_for, timestamp_max)
    }

    fn write_held(&mut self) -> Result<(), LogError> {
        let Some(Held { batch, timestamp_max }) = self.held.take() else { return Ok(()) };
        let header = *batch.header();
        let before = self.point.max_timestamp;
        // Over what a repair gave up.
        self.point.next_offset = header.base_offset;
        // The point's own time moves with the entry; a batch without a time gets the latest it can have had.
        self.entries.visit(&header, &mut self.point, timestamp_max);
        let time = if header.max_timestamp < Timestamp::from_millis(0) { timestamp_max } else { header.max_timestamp };
        let time = if header.records_count == 0 { Timestamp::NONE } else { time.min(timestamp_max) };
        self.point.max_timestamp = before.max(time);
        self.buffer.extend_from_slice(batch.bytes());
        let bytes = batch.bytes().len() as u64;
        self.point = self.point.after(header.next_offset(), bytes, header.crc, Timestamp::NONE);
        if self.buffer.len() >= WRITE_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), LogError> {
        let at = self.point.position - self.buffer.len() as u64;
        let written = self.file.write_at(&[IoSlice::new(&self.buffer)], at);
        written.map_err(|error| LogError::io("write", &self.temporary, error))?;
        self.unsynced += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Makes what was written durable, so that no sync has much to do at once and nobody else's waits for long.
    pub(super) fn sync(&mut self) -> Result<(), LogError> {
        if self.unsynced > 0 {
            self.file.sync_data().map_err(|error| LogError::sync(&self.temporary, &error))?;
            self.unsynced = 0;
        }
        Ok(())
    }

    /// Writes and syncs all of it. What it is to be recorded as, its index, and its temporary name.
    pub(super) fn finish(mut self) -> Result<(SegmentRecord, Index, PathBuf), LogError> {
        self.write_held()?;
        if !self.buffer.is_empty() {
            self.flush()?;
        }
        self.sync()?;
        let sealed = SealedSegment { bytes: self.point.position, max_timestamp_ms: self.point.max_timestamp.millis() };
        Ok((SegmentRecord { sealed: Some(sealed), ..self.record }, self.entries.index, self.temporary))
    }

    /// Removes what was written; the next start would.
    pub(super) fn discard(self, disk: &dyn Disk) {
        let _left_for_the_start = disk.remove_file(&self.temporary);
    }
}
