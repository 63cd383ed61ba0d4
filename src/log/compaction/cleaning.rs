//! Going through the segments and writing anew those that lose anything.

use std::path::Path;

use super::cursor::Cursor;
use super::keys::KeyHash;
use super::output::{Hole, Output};
use super::{Compaction, CompactionError, Input};
use crate::disk::Disk;
use crate::log::error::LogError;
use crate::log::index::Index;
use crate::log::index_file::write_index;
use crate::log::partition_file::SegmentRecord;
use crate::log::partition_log::PartitionLog;
use crate::record::{Batch, ControlKind, DecodeLimits, Fate, Glimpses, Thinned, without_records};
use crate::types::{Epoch, Timestamp};

/// Most offsets that a segment spans: its index counts them in 32 bits, and a batch in 31.
const SPAN_MAX: u64 = u32::MAX as u64 / 2;

/// Where the rewriting stands.
#[derive(Debug, Default)]
pub(super) struct Cleaning {
    /// The input being read.
    number: usize,
    cursor: Option<Cursor>,
    /// The inputs that the output stands for, up to the one being read.
    members: Vec<SegmentRecord>,
    /// What they become; none while the input being read has lost nothing.
    output: Option<Output>,
}

/// What is left of a batch.
enum Left {
    Batch(Batch),
    Nothing,
}

impl Cleaning {
    /// Goes on until so many bytes are read; whether everything is done.
    pub(super) fn run(
        &mut self,
        compaction: &mut Compaction,
        log: &PartitionLog,
        until: u64,
    ) -> Result<bool, CompactionError> {
        while let Some(input) = compaction.inputs.get(self.number).copied() {
            if compaction.report.bytes_read >= until {
                return Ok(false);
            }
            let next = compaction.inputs.get(self.number + 1).copied();
            if self.cursor.is_none() {
                self.cursor = Some(Cursor::open(log, &input.record)?);
                if self.output.is_none()
                    && next.is_some_and(|next| compaction.may_join(input.bytes(), &input.record, &next))
                {
                    self.begin(compaction, log, &input)?;
                }
            }
            if !self.read(compaction, log, &input, until)? {
                return Ok(false);
            }
            self.end_input(compaction, log, &input, next)?;
        }
        Ok(true)
    }

    /// Makes what was written durable.
    pub(super) fn sync(&mut self) -> Result<(), LogError> {
        self.output.as_mut().map_or(Ok(()), Output::sync)
    }

    pub(super) fn discard(self: Box<Self>, disk: &dyn Disk) {
        if let Some(output) = self.output {
            output.discard(disk);
        }
    }

    /// Reads on in the input; whether its end was reached.
    fn read(
        &mut self,
        compaction: &mut Compaction,
        log: &PartitionLog,
        input: &Input,
        until: u64,
    ) -> Result<bool, CompactionError> {
        let timestamp_max = input.record.max_timestamp().unwrap_or(Timestamp::NONE);
        while compaction.report.bytes_read < until {
            let Some(cursor) = &mut self.cursor else { return Ok(true) };
            let Some(batch) = cursor.next(&compaction.file.history)? else { return Ok(true) };
            compaction.report.bytes_read += batch.bytes().len() as u64;
            match &mut self.output {
                Some(output) => {
                    let header = *batch.header();
                    let records = header.records_count;
                    match compaction.left_of(batch, true) {
                        Left::Batch(left) => {
                            compaction.report.records_removed += u64::from(records - left.header().records_count);
                            output.push(left, timestamp_max)?;
                        }
                        Left::Nothing => {
                            compaction.report.records_removed += u64::from(records);
                            let epoch = Epoch::new(header.leader_epoch).unwrap_or(Epoch::FIRST);
                            let (from, to) = (header.base_offset, header.next_offset());
                            let timestamp = header.max_timestamp;
                            output.pass(Hole { from, to, epoch, timestamp }, timestamp_max)?;
                        }
                    }
                }
                None => {
                    let header = *batch.header();
                    let is_changed = match compaction.left_of(batch, false) {
                        Left::Batch(left) => *left.header() != header,
                        Left::Nothing => true,
                    };
                    if is_changed {
                        cursor.rewind();
                        self.begin(compaction, log, input)?;
                    }
                }
            }
        }
        Ok(false)
    }

    fn begin(&mut self, compaction: &Compaction, log: &PartitionLog, input: &Input) -> Result<(), LogError> {
        let output = Output::create(&*log.context.disk, &log.files, &input.record, compaction.index_interval)?;
        self.output = Some(output);
        Ok(())
    }

    /// The input is read: the output takes the next one as well, or takes its place.
    fn end_input(
        &mut self,
        compaction: &mut Compaction,
        log: &PartitionLog,
        input: &Input,
        next: Option<Input>,
    ) -> Result<(), CompactionError> {
        self.cursor = None;
        self.number += 1;
        let Some(output) = &self.output else { return Ok(()) };
        self.members.push(input.record);
        if next.is_some_and(|next| compaction.may_join(output.bytes(), &output.record, &next)) {
            return Ok(());
        }
        let members = std::mem::take(&mut self.members);
        let Some(output) = self.output.take() else { return Ok(()) };
        let (record, index, temporary) = output.finish()?;
        log.put_in_place(&members, record, &index, &temporary).inspect_err(|_| {
            let _left_for_the_start = log.context.disk.remove_file(&temporary);
        })?;
        let sealed = |record: &SegmentRecord| record.sealed.map_or(0, |sealed| sealed.bytes);
        let report = &mut compaction.report;
        report.bytes_after = report.bytes_after + sealed(&record) - members.iter().map(sealed).sum::<u64>();
        report.segments_after -= members.len() as u64 - 1;
        Ok(())
    }
}

impl Compaction {
    /// Whether a segment of so many bytes can take another one's records too.
    fn may_join(&self, bytes: u64, record: &SegmentRecord, next: &Input) -> bool {
        bytes + next.bytes() <= self.segment_bytes && next.end.since(record.base) <= SPAN_MAX
    }

    /// What stays of a batch. Where nothing is being rewritten, what alone is not worth it stays as well.
    fn left_of(&self, batch: Batch, is_rewriting: bool) -> Left {
        let header = *batch.header();
        if header.base_offset >= self.mapped_to {
            return Left::Batch(batch);
        }
        let is_remembered = header.producer.is_some() && self.remembered.contains(&header.base_offset);
        if header.records_count == 0 || header.attributes.is_control() {
            let goes = is_rewriting && !is_remembered && is_no_marker(&batch);
            return if goes { Left::Nothing } else { Left::Batch(batch) };
        }
        let thinned = Glimpses::open(&batch, &DecodeLimits::default()).and_then(|glimpses| {
            let horizon = header.delete_horizon();
            glimpses.thin(self.horizon, |record| {
                // Without a key nothing says what replaces it.
                let Some(key) = record.key else { return Fate::Stays };
                let newest = self.keys.newest(KeyHash::of(key));
                match (newest, record.is_tombstone) {
                    (Some(newest), _) if newest > record.offset => Fate::Goes,
                    (_, true) if horizon.is_some_and(|horizon| horizon < self.began) => Fate::Goes,
                    // Only where everything older of its key goes now may it go one day.
                    (Some(newest), true) if newest == record.offset => Fate::StaysUntilHorizon,
                    (_, _) => Fate::Stays,
                }
            })
        });
        match thinned {
            Ok(Thinned::Part(part)) => Left::Batch(part),
            Ok(Thinned::Nothing) if is_remembered => Left::Batch(without_records(&header)),
            Ok(Thinned::Nothing) => Left::Nothing,
            // What nobody can read cannot be said to be replaced either.
            Ok(Thinned::Whole) | Err(_) => Left::Batch(batch),
        }
    }
}

/// Whether a batch without data says nothing that anybody needs: transactions' markers do.
fn is_no_marker(batch: &Batch) -> bool {
    if !batch.header().attributes.is_control() {
        return true;
    }
    let record = batch.records().ok().and_then(|mut records| records.next()?.ok());
    let kind = record.and_then(|record| ControlKind::from_key(record.key.as_deref()?));
    matches!(kind, Some(ControlKind::LeaderChange | ControlKind::NoOp))
}

impl PartitionLog {
    /// Puts a segment written anew in the place of those it was made of. It is durable under its temporary name.
    fn put_in_place(
        &self,
        members: &[SegmentRecord],
        record: SegmentRecord,
        index: &Index,
        temporary: &Path,
    ) -> Result<(), CompactionError> {
        let disk = &*self.context.disk;
        let (log, index_path, dir) = (self.files.log_of(&record), self.files.index_of(&record), self.files.dir());
        // Lookups do without an index, and the next start makes it.
        if let Err(error) = write_index(disk, &index_path, record.base, index, None) {
            tracing::warn!(path = %index_path.display(), %error, "an index could not be written");
        }
        disk.rename(temporary, &log).map_err(|error| LogError::io("rename", temporary, error))?;
        disk.sync_dir(dir).map_err(|error| LogError::sync(dir, &error))?;
        self.name_instead(members, record).inspect_err(|error| {
            // Where `partition.json` could not be replaced it may all the same name the new one after a crash.
            if matches!(error, CompactionError::Superseded) {
                for path in [log, index_path] {
                    let _left_for_the_start = disk.remove_file(&path);
                }
            }
        })?;
        for member in members {
            self.delete_segment(member);
        }
        Ok(())
    }

    fn name_instead(&self, members: &[SegmentRecord], record: SegmentRecord) -> Result<(), CompactionError> {
        let _writer = self.writer.lock();
        self.check_open()?;
        let mut file = (*self.state().file).clone();
        let from = file.segments.partition_point(|segment| segment.base < record.base);
        let range = from..from + members.len();
        if file.segments.get(range.clone()) != Some(members) {
            return Err(CompactionError::Superseded);
        }
        file.segments.splice(range, [record]);
        self.replace_partition_file(file)?;
        Ok(())
    }
}
