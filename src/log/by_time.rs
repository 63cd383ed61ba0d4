//! Finding batches by their time.
//!
//! A batch's time is the one that retention uses, too: its records', but never over an hour after its append, and where they
//! have none the append's. When a batch was appended is known only as closely as the index is; so one whose records have no
//! time, or claim to come from the future, may be found although it is older than asked for, by an index interval at most.
//! None that is younger is ever passed over.

use std::cmp::Reverse;
use std::sync::Arc;

use super::partition_file::{PartitionFile, SegmentRecord};
use super::partition_log::PartitionLog;
use super::read::{LEAD_BYTES, Patience, ReadError, Source};
use crate::record::{Batch, BatchHeader};
use crate::types::{Offset, Timestamp};

impl PartitionLog {
    /// The first batch from `from` on that reaches a time. `None` where every batch up to `upto` is older.
    ///
    /// # Errors
    /// As [`PartitionLog::read`].
    pub fn batch_at_time(&self, time: Timestamp, from: Offset, upto: Offset) -> Result<Option<Batch>, ReadError> {
        self.look_up(|file| self.batch_at_time_in(file, time, from, upto))
    }

    /// The first batch from `from` on that has a record of this time or later by its own account. `None` where no batch below
    /// `upto` has. What has no time is passed over; what lies more than an hour ahead of its append may be, too.
    ///
    /// # Errors
    /// As [`PartitionLog::read`].
    pub fn batch_of_time(&self, time: Timestamp, from: Offset, upto: Offset) -> Result<Option<Batch>, ReadError> {
        let is_wanted = |header: &BatchHeader| has_time(header) && header.max_timestamp >= time;
        self.look_up(|file| self.first_since(file, time, from, upto, is_wanted))
    }

    /// The batch of the largest time its records have themselves, the first where several have it. `None` where none below
    /// `upto` has one.
    ///
    /// # Errors
    /// As [`PartitionLog::read`].
    pub fn newest_by_time(&self, upto: Offset) -> Result<Option<Batch>, ReadError> {
        self.look_up(|file| self.newest_by_time_in(file, upto))
    }

    /// Looks again where retention deleted a segment meanwhile, or compaction replaced one: the answer lies in what is there.
    fn look_up(
        &self,
        find: impl Fn(&PartitionFile) -> Result<Option<Batch>, ReadError>,
    ) -> Result<Option<Batch>, ReadError> {
        loop {
            let file = self.state().file;
            match find(&file) {
                Err(ReadError::Log(_)) if !Arc::ptr_eq(&file, &self.state().file) => {}
                Err(ReadError::BelowLogStart { .. }) if file.log_start < self.log_start() => {}
                found => return found,
            }
        }
    }

    pub(crate) fn batch_at_time_in(
        &self,
        file: &PartitionFile,
        time: Timestamp,
        from: Offset,
        upto: Offset,
    ) -> Result<Option<Batch>, ReadError> {
        self.first_since(file, time, from, upto, |header| reaches(header, time))
    }

    /// The first batch from `from` on that is wanted, of which none lies before the index says that `time` is reached.
    fn first_since(
        &self,
        file: &PartitionFile,
        time: Timestamp,
        from: Offset,
        upto: Offset,
        is_wanted: impl Fn(&BatchHeader) -> bool,
    ) -> Result<Option<Batch>, ReadError> {
        for record in &file.segments {
            if record.max_timestamp().is_some_and(|max| max < time) {
                continue;
            }
            let Some(source) = self.source_of(file, record.base, Patience::Waits)? else { continue };
            if source.end_offset <= from || source.max_timestamp.is_some_and(|max| max < time) {
                continue;
            }
            let first = begin_at(&source, time).max(file.log_start).max(from);
            let found = self.scan(first, upto.min(source.end_offset), |batch| is_wanted(batch.header()))?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn newest_by_time_in(&self, file: &PartitionFile, upto: Offset) -> Result<Option<Batch>, ReadError> {
        let known = |record: &SegmentRecord| record.max_timestamp().unwrap_or(Timestamp::from_millis(i64::MAX));
        let mut segments: Vec<&SegmentRecord> = file.segments.iter().collect();
        segments.sort_by_key(|record| Reverse(known(record)));
        let mut newest: Option<Batch> = None;
        let is_older = |newest: &Option<Batch>, than: &BatchHeader| {
            let (known, found) = (newest.as_ref().map(|batch| *batch.header()), *than);
            known.is_none_or(|known| {
                (known.max_timestamp, Reverse(known.base_offset)) < (found.max_timestamp, Reverse(found.base_offset))
            })
        };
        for record in segments {
            if newest.as_ref().is_some_and(|newest| newest.header().max_timestamp > known(record)) {
                break;
            }
            let Some(source) = self.source_of(file, record.base, Patience::Waits)? else { continue };
            let end = upto.min(source.end_offset);
            let start = file.log_start.max(source.base);
            // Where the segment's time is that of a record, it is found at once.
            if let Some(time) = record.max_timestamp().or(source.max_timestamp) {
                let first = begin_at(&source, time).max(start);
                let found =
                    self.scan(first, end, |batch| has_time(batch.header()) && batch.header().max_timestamp == time)?;
                if let Some(found) = found {
                    if is_older(&newest, found.header()) {
                        newest = Some(found);
                    }
                    continue;
                }
            }
            self.scan(start, end, |batch| {
                if has_time(batch.header()) && is_older(&newest, batch.header()) {
                    newest = Some(batch.clone());
                }
                false
            })?;
        }
        Ok(newest)
    }

    /// The first batch from `from` on, and before `end`, that is wanted.
    fn scan(
        &self,
        from: Offset,
        end: Offset,
        mut is_wanted: impl FnMut(&Batch) -> bool,
    ) -> Result<Option<Batch>, ReadError> {
        let mut next = from;
        while next < end {
            let batches = self.read(next, end, LEAD_BYTES)?;
            let Some(last) = batches.last() else { break };
            next = last.header().next_offset();
            if let Some(found) = batches.into_iter().find(&mut is_wanted) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

/// Where in a segment to begin looking for a time.
fn begin_at(source: &Source, time: Timestamp) -> Offset {
    let entry = source.entry_before_time(time);
    entry.map_or(source.base, |entry| source.base.plus(u64::from(entry.relative_offset)))
}

/// Whether a record of the batch reaches a time, or may: one without a time is as old as its append. A batch that stands for
/// records compaction took has none.
fn reaches(header: &BatchHeader, time: Timestamp) -> bool {
    let is_timeless = header.max_timestamp < Timestamp::from_millis(0);
    header.records_count > 0 && (is_timeless || header.max_timestamp >= time)
}

fn has_time(header: &BatchHeader) -> bool {
    header.records_count > 0 && !header.attributes.is_control() && header.max_timestamp >= Timestamp::from_millis(0)
}
