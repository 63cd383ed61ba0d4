//! Taking back a suffix that was never committed: what a follower does when its leader knows better.

use std::sync::Arc;

use super::ahead::Ahead;
use super::error::LogError;
use super::index::Index;
use super::index_file::{ActiveIndex, load_index, write_index};
use super::partition_file::SegmentRecord;
use super::partition_log::{PartitionLog, Writer, durable_mark};
use super::point::{LogPoint, effective_timestamp};
use super::recovery::first_append;
use super::segment::ActiveSegment;
use super::walk::walk_file;
use crate::disk::OpenMode;
use crate::types::{Offset, Timestamp};

impl PartitionLog {
    /// Removes every batch that reaches `end` or beyond; the log then ends at `end`, or before it where that lies inside
    /// a batch. Durable when this returns. That no committed record goes is the caller's to know.
    ///
    /// The order makes a crash at any point harmless: durable marks go before the epochs that vouch for the bytes they
    /// speak of, and later segments are forgotten before they are removed.
    ///
    /// # Errors
    /// [`LogError`]; after one the log must be opened anew.
    ///
    /// # Panics
    /// Where `end` lies below the log start: that is our own mistake.
    pub fn truncate_to(&self, end: Offset, now: Timestamp) -> Result<LogPoint, LogError> {
        let mut writer = self.writer.lock();
        self.check_open()?;
        let state = self.state();
        assert!(end >= state.file.log_start, "truncation to {end} below the log start {}", state.file.log_start);
        if end >= state.end.next_offset {
            return Ok(state.end);
        }
        let mut file = (*state.file).clone();
        let stays = file.segments.partition_point(|record| record.base <= end).max(1);
        let removed: Vec<SegmentRecord> = file.segments.drain(stays..).collect();
        let last = file.segments.last_mut().expect("the first segment stays");
        last.sealed = None;
        let record = *last;
        let (index, point) = self.shorten_index(&record, end, now)?;
        file.history.epochs.truncate_to(end);
        file.compacted_to = file.compacted_to.min(end);
        self.replace_partition_file(file)?;
        for record in &removed {
            self.remove_segment(record)?;
        }
        self.context.disk.sync_dir(self.files.dir()).map_err(|error| LogError::sync(self.files.dir(), &error))?;
        let active = self.cut_segment(&record, index, point)?;
        reset_writer(&mut writer, &active, point, now);
        let mut view = self.view.write();
        view.active = Arc::new(active);
        view.end = point;
        Ok(point)
    }

    fn remove_segment(&self, record: &SegmentRecord) -> Result<(), LogError> {
        let (log, index) = (self.files.log_of(record), self.files.index_of(record));
        self.context.handles.close(&log);
        for path in [log, index] {
            match self.context.disk.remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(LogError::io("remove", &path, error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes the durable marks out of the index of the segment that becomes the last one, durably, and the entries beyond
    /// the new end; returns that index and that end.
    fn shorten_index(
        &self,
        record: &SegmentRecord,
        end: Offset,
        now: Timestamp,
    ) -> Result<(Index, LogPoint), LogError> {
        let disk = &*self.context.disk;
        let (log, index_path) = (self.files.log(record.base), self.files.index(record.base));
        let file = disk.open(&log, OpenMode::Read).map_err(|error| LogError::io("open", &log, error))?;
        let len = file.len().map_err(|error| LogError::io("measure", &log, error))?;
        let history = self.state().file.history.clone();
        let start = LogPoint::segment_start(record.base, record.first_batch);
        let mut point = start;
        walk_file(&*file, start, len, &history, |header, _, before| {
            before.max_timestamp = before.max_timestamp.max(effective_timestamp(header.max_timestamp, now));
            if header.next_offset() <= end {
                let timestamp = before.max_timestamp;
                point = before.after(
                    history.follow(header.next_offset()),
                    header.total_bytes as u64,
                    header.crc,
                    timestamp,
                );
            }
        });
        let (mut index, _) = load_index(disk, &index_path, record.base).unwrap_or_default();
        index.truncate_to(point.position);
        let written = write_index(disk, &index_path, record.base, &index, None);
        written.map_err(|error| LogError::io("write", &index_path, error))?;
        Ok((index, point))
    }

    /// Cuts the segment that becomes the last one.
    fn cut_segment(&self, record: &SegmentRecord, index: Index, point: LogPoint) -> Result<ActiveSegment, LogError> {
        let disk = &*self.context.disk;
        let (log, index_path) = (self.files.log(record.base), self.files.index(record.base));
        self.context.handles.close(&log);
        let file = disk.open(&log, OpenMode::ReadWrite).map_err(|error| LogError::io("open", &log, error))?;
        file.set_len(point.position).map_err(|error| LogError::io("cut", &log, error))?;
        let index = ActiveIndex::open(disk, &index_path, record.base, index);
        let index = index.map_err(|error| LogError::io("open", &index_path, error))?;
        let active = ActiveSegment::new(record.base, record.first_batch, log, file, index);
        active.sync()?;
        active.index.lock().save_mark(durable_mark(&active, point));
        Ok(active)
    }
}

fn reset_writer(writer: &mut Writer, active: &ActiveSegment, point: LogPoint, now: Timestamp) {
    let index = active.index.lock();
    writer.last_entry_position = index.index().entries().last().map_or(0, |entry| u64::from(entry.position));
    writer.must_roll = false;
    writer.ahead = Ahead::default();
    writer.first_append = first_append(active, point, now);
}
