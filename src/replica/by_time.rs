//! Finding records by their time, and where epochs end.

use super::error::ReadFailure;
use super::partition::Partition;
use crate::record::{Batch, Record};
use crate::types::{Epoch, Offset, Timestamp};

/// A record found by its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedRecord {
    /// Its offset.
    pub offset: Offset,
    /// Its time.
    pub timestamp: Timestamp,
    /// The epoch that wrote it.
    pub epoch: Option<Epoch>,
}

impl Partition {
    /// The first committed record that reaches a time: its offset, as closely as [`crate::log::PartitionLog::batch_at_time`]
    /// finds its batch. `None` where every committed record is older. Blocks on files.
    ///
    /// # Errors
    /// [`ReadFailure::Log`], [`ReadFailure::Closed`].
    pub fn offset_at_time(&self, time: Timestamp) -> Result<Option<Offset>, ReadFailure> {
        let found = self.log.batch_at_time(time, Offset::ZERO, self.offsets().high_watermark());
        self.check_open()?;
        let Some(batch) = found? else { return Ok(None) };
        let base = self.first_of(&batch);
        let found = records(&batch).and_then(|mut records| records.find(|record| reaches(record, time, base)));
        Ok(Some(found.map_or(base, |record| record.offset)))
    }

    /// The first committed record whose own time is this one or later; records without a time are passed over. Of a batch
    /// whose records cannot be read it is the first, with the batch's time. Blocks on files.
    ///
    /// # Errors
    /// As [`Partition::offset_at_time`].
    pub fn record_at_time(&self, time: Timestamp) -> Result<Option<TimedRecord>, ReadFailure> {
        let mut from = Offset::ZERO;
        loop {
            let found = self.log.batch_of_time(time, from, self.offsets().high_watermark());
            self.check_open()?;
            let Some(batch) = found? else { return Ok(None) };
            let base = self.first_of(&batch);
            let found = match records(&batch) {
                Some(mut records) => {
                    records.find(|record| reaches(record, time, base)).map(|record| timed(&batch, &record))
                }
                None => unread(&batch, base),
            };
            if found.is_some() {
                return Ok(found);
            }
            from = batch.header().next_offset();
        }
    }

    /// The first of the committed records that have the largest time. `None` where none has one. Blocks on files.
    ///
    /// # Errors
    /// As [`Partition::offset_at_time`].
    pub fn newest_record(&self) -> Result<Option<TimedRecord>, ReadFailure> {
        let found = self.log.newest_by_time(self.offsets().high_watermark());
        self.check_open()?;
        let Some(batch) = found? else { return Ok(None) };
        let base = self.first_of(&batch);
        let Some(records) = records(&batch) else { return Ok(unread(&batch, base)) };
        let kept = records.filter(|record| record.offset >= base);
        let newest = kept.reduce(|newest, record| if record.timestamp > newest.timestamp { record } else { newest });
        Ok(newest.map(|record| timed(&batch, &record)))
    }

    /// The newest epoch up to the one asked about that wrote anything, and where it ended; the one asked about itself where
    /// all that is known is newer. `None` for one that has not begun.
    #[must_use]
    pub fn epoch_end(&self, asked: Epoch) -> Option<(Epoch, Offset)> {
        let (current, log_end) = {
            let state = self.state.lock();
            (state.epoch, state.offsets.log_end())
        };
        if asked >= current {
            return (asked == current).then_some((current, log_end));
        }
        let file = self.log.state().file;
        let entries = file.history.epochs.entries();
        let after = entries.partition_point(|(epoch, _)| *epoch <= asked);
        let end = entries.get(after).map_or(log_end, |(_, start)| *start);
        let floor = after.checked_sub(1).map(|last| entries[last].0);
        Some((floor.unwrap_or(asked), end))
    }

    /// The epoch that wrote an offset, as far as it is remembered.
    #[must_use]
    pub fn epoch_at(&self, offset: Offset) -> Option<Epoch> {
        self.log.state().file.history.epochs.epoch_at(offset)
    }

    /// The first offset of a batch that is kept: the log may begin within one.
    fn first_of(&self, batch: &Batch) -> Offset {
        batch.header().base_offset.max(self.offsets().log_start())
    }
}

/// The records as far as they are whole; `None` where they cannot be decompressed.
fn records(batch: &Batch) -> Option<impl Iterator<Item = Record>> {
    batch.records().ok().map(|records| records.map_while(Result::ok))
}

fn reaches(record: &Record, time: Timestamp, from: Offset) -> bool {
    record.timestamp >= time && record.offset >= from
}

fn timed(batch: &Batch, record: &Record) -> TimedRecord {
    TimedRecord { offset: record.offset, timestamp: record.timestamp, epoch: Epoch::new(batch.header().leader_epoch) }
}

fn unread(batch: &Batch, offset: Offset) -> Option<TimedRecord> {
    let header = batch.header();
    let has_time = header.max_timestamp >= Timestamp::from_millis(0);
    has_time.then(|| TimedRecord { offset, timestamp: header.max_timestamp, epoch: Epoch::new(header.leader_epoch) })
}
