//! Reading verified batches back, by offset.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::chain::{Chain, Damage};
use super::context::BATCH_BYTES_MAX;
use super::epochs::History;
use super::error::LogError;
use super::index::IndexEntry;
use super::partition_file::{PartitionFile, SegmentRecord};
use super::partition_log::PartitionLog;
use super::recovery::DamageReport;
use super::resync::find_batch;
use super::segment::{ActiveSegment, SealedReader};
use crate::disk::DiskFile;
use crate::record::{Batch, BatchError, BatchHeader, HEADER_BYTES};
use crate::types::{Offset, Timestamp};

/// Most that one read takes from a file beyond what was asked for, in bytes: the way from an index entry to the batch.
pub(super) const LEAD_BYTES: usize = 32 << 10;
/// How often a batch that does not verify is read again before the disk is blamed: a read may have been misdirected.
const READS_MAX: usize = 2;

/// Why a read gives nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The offset was kept once.
    #[error("offset {from} is below the log start {log_start}")]
    BelowLogStart {
        /// The offset asked for.
        from: Offset,
        /// The oldest offset kept.
        log_start: Offset,
    },
    /// The batch that holds the offset is damaged.
    #[error("offset {from} of {segment}.log is damaged at byte {position}: {damage}")]
    Corrupt {
        /// The offset asked for.
        from: Offset,
        /// The base offset of the segment.
        segment: Offset,
        /// The byte at which the damaged batch begins.
        position: u64,
        /// What is wrong.
        damage: Damage,
        /// The first offset behind the damage that can be read, where there is one.
        resume: Option<Offset>,
    },
    /// The files cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// One segment, seen for one read.
pub(super) struct Source {
    pub(super) base: Offset,
    /// The end of the segment's records.
    pub(super) end_offset: Offset,
    end_position: u64,
    /// The largest effective timestamp in it, where it takes appends.
    pub(super) max_timestamp: Option<Timestamp>,
    reader: Reader,
}

enum Reader {
    Active(Arc<ActiveSegment>),
    Sealed(Arc<SealedReader>),
}

impl Source {
    fn file(&self) -> &dyn DiskFile {
        match &self.reader {
            Reader::Active(active) => &*active.file,
            Reader::Sealed(sealed) => &*sealed.file,
        }
    }

    /// The place to begin looking for an offset.
    fn entry_before(&self, offset: Offset) -> Option<IndexEntry> {
        let relative = offset.since(self.base);
        match &self.reader {
            Reader::Active(active) => active.index.lock().index().before_offset(relative),
            Reader::Sealed(sealed) => sealed.index.before_offset(relative),
        }
    }

    pub(super) fn entry_before_time(&self, time: Timestamp) -> Option<IndexEntry> {
        match &self.reader {
            Reader::Active(active) => active.index.lock().index().before_time(time),
            Reader::Sealed(sealed) => sealed.index.before_time(time),
        }
    }

    fn entry_after(&self, position: u64) -> Option<IndexEntry> {
        match &self.reader {
            Reader::Active(active) => active.index.lock().index().after_position(position),
            Reader::Sealed(sealed) => sealed.index.after_position(position),
        }
    }
}

/// Whether a read may wait for the device.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    Waits,
    /// It takes what is in memory, or gives up.
    None,
}

/// A byte between two batches and the offset that follows it.
#[derive(Clone, Copy)]
struct Place {
    position: u64,
    offset: Offset,
}

impl PartitionLog {
    /// Reads whole batches from the one that holds `from` on: at least one, more while they fit into `bytes_max` bytes,
    /// none that reaches beyond `upto`. Nothing where `from` is `upto` or beyond.
    ///
    /// # Errors
    /// [`ReadError::BelowLogStart`]; [`ReadError::Corrupt`] where the first batch is damaged (those before damage are
    /// served, and those behind it when asked for); [`ReadError::Log`] where the files cannot be read.
    pub fn read(&self, from: Offset, upto: Offset, bytes_max: usize) -> Result<Vec<Batch>, ReadError> {
        let mut file = self.state().file;
        loop {
            let result = self.read_in(&file, from, upto, bytes_max);
            let now = self.state().file;
            // Compaction replaced a segment meanwhile: the records are in another file.
            if !matches!(result, Err(ReadError::Log(_))) || Arc::ptr_eq(&file, &now) {
                return result.map_err(|error| self.explain(error, from));
            }
            file = now;
        }
    }

    /// As [`PartitionLog::read`], without waiting for the device: `None` where it must be waited for, and wherever
    /// something is wrong, which is for the other one to find out.
    #[must_use]
    pub fn read_cached(&self, from: Offset, upto: Offset, bytes_max: usize) -> Option<Vec<Batch>> {
        let file = self.state().file;
        let from = file.history.follow(from);
        if from < file.log_start || from >= upto {
            return None;
        }
        let source = self.source_of(&file, from, Patience::None).ok()??;
        let mut reading = Reading::new(&source, &file.history, from, upto, bytes_max);
        reading.patience = Patience::None;
        // What was read before it stopped is whole.
        let _stopped = reading.run(reading.begin());
        Some(reading.batches).filter(|batches| !batches.is_empty())
    }

    /// A file that is not there belonged to a segment that retention deleted meanwhile, where the log start is now beyond
    /// the offset.
    pub(crate) fn explain(&self, error: ReadError, from: Offset) -> ReadError {
        let log_start = self.log_start();
        match error {
            ReadError::Log(_) if from < log_start => ReadError::BelowLogStart { from, log_start },
            ReadError::Log(_) | ReadError::BelowLogStart { .. } | ReadError::Corrupt { .. } => error,
        }
    }

    /// Reads from the segments that `partition.json` named a moment ago.
    pub(crate) fn read_in(
        &self,
        file: &PartitionFile,
        mut from: Offset,
        upto: Offset,
        bytes_max: usize,
    ) -> Result<Vec<Batch>, ReadError> {
        if from < file.log_start {
            return Err(ReadError::BelowLogStart { from, log_start: file.log_start });
        }
        from = file.history.follow(from);
        if from >= upto {
            return Ok(Vec::new());
        }
        let Some(source) = self.source_of(file, from, Patience::Waits)? else { return Ok(Vec::new()) };
        let mut reading = Reading::new(&source, &file.history, from, upto, bytes_max);
        let start = reading.begin();
        let mut stopped = reading.run(start);
        if stopped.is_some() && start.position > 0 && reading.batches.is_empty() {
            // The index may have misled us: from the segment's start nothing depends on it.
            stopped = reading.run(reading.segment_start());
        }
        match stopped {
            Some((place, damage)) if reading.batches.is_empty() => self.past_damage(file, reading, place, damage),
            Some((place, damage)) => {
                self.report_damage(DamageReport { segment: source.base, position: place.position, damage });
                Ok(reading.batches)
            }
            None => Ok(reading.batches),
        }
    }

    /// Serves what lies behind damage where that is what was asked for, and says where to resume where it is not.
    fn past_damage(
        &self,
        file: &PartitionFile,
        mut reading: Reading<'_>,
        mut place: Place,
        mut damage: Damage,
    ) -> Result<Vec<Batch>, ReadError> {
        let segment = reading.source.base;
        loop {
            self.report_damage(DamageReport { segment, position: place.position, damage: damage.clone() });
            let from = reading.from;
            let position = place.position;
            match reading.resync(place) {
                Some(resumed) if resumed.offset <= from => match reading.run(resumed) {
                    Some((next, next_damage)) if reading.batches.is_empty() => (place, damage) = (next, next_damage),
                    _ => return Ok(reading.batches),
                },
                resumed => {
                    let next_segment = file.segments.iter().map(|record| record.base).find(|base| *base > segment);
                    let resume = resumed.map(|place| place.offset).or(next_segment);
                    return Err(ReadError::Corrupt { from, segment, position, damage, resume });
                }
            }
        }
    }

    /// Whether a segment is in `partition.json`, as it is here.
    pub(crate) fn is_named(&self, record: &SegmentRecord) -> bool {
        let file = self.state().file;
        let after = file.segments.partition_point(|named| named.base <= record.base);
        after.checked_sub(1).is_some_and(|last| file.segments[last] == *record)
    }

    /// The segment that holds an offset; `None` where it would have to be opened first, and there is no patience for it.
    pub(super) fn source_of(
        &self,
        file: &PartitionFile,
        offset: Offset,
        patience: Patience,
    ) -> Result<Option<Source>, LogError> {
        let after = file.segments.partition_point(|record| record.base <= offset);
        let record = file.segments[after.max(1) - 1];
        let next_base = file.segments.get(after.max(1)).map(|next| next.base);
        let (active, end) = {
            let view = self.view.read();
            (Arc::clone(&view.active), view.end)
        };
        if record.base == active.base {
            // A roll may have come in between: the segment is then whole and still open here.
            let end = (end.segment == active.base).then_some(end);
            let max_timestamp = end.map(|end| end.max_timestamp);
            let (end_offset, end_position) = end.map_or((Offset::MAX, u64::MAX), |end| (end.next_offset, end.position));
            let reader = Reader::Active(active);
            return Ok(Some(Source { base: record.base, end_offset, end_position, max_timestamp, reader }));
        }
        let (log, index) = (self.files.log_of(&record), self.files.index_of(&record));
        let disk = &*self.context.disk;
        if patience == Patience::None && self.context.handles.find(&log).is_none() {
            return Ok(None);
        }
        let open = || SealedReader::open(disk, &log, &index, record.base);
        let opened = self.context.handles.get(&log, open, || self.check_open().is_ok() && self.is_named(&record));
        let reader = opened.map_err(|error| LogError::io("open", &log, error))?;
        let end_position = record.sealed.map_or(u64::MAX, |sealed| sealed.bytes);
        let end_offset = next_base.unwrap_or(Offset::MAX);
        let reader = Reader::Sealed(reader);
        Ok(Some(Source { base: record.base, end_offset, end_position, max_timestamp: None, reader }))
    }
}

/// One read under way within one segment.
struct Reading<'a> {
    source: &'a Source,
    history: &'a History,
    from: Offset,
    upto: Offset,
    bytes_max: usize,
    patience: Patience,
    /// Bytes of the batches taken so far.
    bytes: usize,
    batches: Vec<Batch>,
}

impl<'a> Reading<'a> {
    fn new(source: &'a Source, history: &'a History, from: Offset, upto: Offset, bytes_max: usize) -> Reading<'a> {
        Reading { source, history, from, upto, bytes_max, patience: Patience::Waits, bytes: 0, batches: Vec::new() }
    }

    /// Where to begin.
    fn begin(&self) -> Place {
        let entry = self.source.entry_before(self.from);
        entry.map_or_else(|| self.segment_start(), |entry| self.entry_place(&entry))
    }

    fn segment_start(&self) -> Place {
        Place { position: 0, offset: self.source.base }
    }

    fn entry_place(&self, entry: &IndexEntry) -> Place {
        let offset = self.source.base.plus(u64::from(entry.relative_offset));
        Place { position: u64::from(entry.position), offset }
    }

    /// Reads on from a place; returns the place and the damage that stopped it, if any did.
    fn run(&mut self, start: Place) -> Option<(Place, Damage)> {
        let mut place = start;
        let mut wanted = self.bytes_max.saturating_add(LEAD_BYTES).min(BATCH_BYTES_MAX);
        let mut reads_left = READS_MAX;
        while place.offset < self.upto && place.position < self.source.end_position && !self.is_full(0) {
            let (stopped, bytes_had) = match self.load(place.position, wanted) {
                Ok(bytes) => (self.take(&bytes, &mut place), bytes.len()),
                Err(damage) => (Some(damage), 0),
            };
            // Fewer bytes than asked for: the file itself ends there, and reading more will not help.
            let ends = bytes_had < wanted;
            match stopped {
                None => return None,
                Some(Damage::Batch(BatchError::Truncated { needed, have }))
                    if !ends && self.is_cut_short(place, needed, have) =>
                {
                    wanted = needed.max(wanted);
                    if self.is_full(needed) {
                        return None;
                    }
                }
                Some(_) if reads_left > 1 && bytes_had > 0 => reads_left -= 1,
                Some(damage) => return Some((place, damage)),
            }
        }
        None
    }

    /// Whether a batch seemed incomplete only because the read ended inside it.
    fn is_cut_short(&self, place: Place, needed: usize, have: usize) -> bool {
        needed > have && needed <= BATCH_BYTES_MAX && place.position + needed as u64 <= self.source.end_position
    }

    fn is_full(&self, more: usize) -> bool {
        !self.batches.is_empty() && (self.bytes >= self.bytes_max || self.bytes + more > self.bytes_max)
    }

    fn load(&self, position: u64, wanted: usize) -> Result<Bytes, Damage> {
        let left = usize::try_from(self.source.end_position - position).unwrap_or(usize::MAX);
        let mut bytes = BytesMut::zeroed(wanted.min(left));
        let file = self.source.file();
        let read = match self.patience {
            Patience::Waits => file.read_at(&mut bytes, position),
            Patience::None => file.read_cached_at(&mut bytes, position),
        };
        let read = read.map_err(|error| Damage::Unreadable(error.to_string()))?;
        bytes.truncate(read);
        Ok(bytes.freeze())
    }

    /// Takes verified batches out of `bytes`, which begin at `place`; `None` once there is enough.
    fn take(&mut self, bytes: &Bytes, place: &mut Place) -> Option<Damage> {
        let mut chain = Chain::new(place.offset, self.history);
        let mut used = 0;
        while chain.next() < self.upto && place.position < self.source.end_position {
            let header = match chain.accept(&bytes[used..]) {
                Ok(header) => header,
                Err(damage) => return Some(damage),
            };
            if header.next_offset() > self.upto || self.is_full(header.total_bytes) {
                return None;
            }
            if header.next_offset() > self.from {
                let slice = bytes.slice(used..used + header.total_bytes);
                self.bytes += header.total_bytes;
                self.batches.push(Batch::from_verified(slice, header));
            }
            used += header.total_bytes;
            place.position += header.total_bytes as u64;
            place.offset = chain.next();
        }
        None
    }

    /// The first place behind damage where whole batches go on.
    fn resync(&self, damaged: Place) -> Option<Place> {
        let entry = self.source.entry_after(damaged.position + 1).filter(|entry| self.entry_holds(entry));
        if entry.is_none() && self.source.end_position == u64::MAX {
            return None;
        }
        let region_end = Place { position: self.source.end_position, offset: self.source.end_offset };
        let known = entry.map(|entry| self.entry_place(&entry));
        let end = known.unwrap_or(region_end);
        let length = usize::try_from(end.position.checked_sub(damaged.position + 1)?).ok()?;
        let region = self.load(damaged.position + 1, length).ok()?;
        let found = find_batch(&region, damaged.offset, end.offset, self.history).map(|found| Place {
            position: damaged.position + 1 + found.position as u64,
            offset: found.header.base_offset,
        });
        found.or(known)
    }

    /// Whether an index entry tells the truth: a whole batch of its offset begins there.
    fn entry_holds(&self, entry: &IndexEntry) -> bool {
        let place = self.entry_place(entry);
        let header = self.load(place.position, HEADER_BYTES).ok().and_then(|bytes| BatchHeader::decode(&bytes).ok());
        header.is_some_and(|header| {
            let bytes = self.load(place.position, header.total_bytes.min(BATCH_BYTES_MAX));
            bytes.is_ok_and(|bytes| Chain::new(place.offset, self.history).accept(&bytes).is_ok())
        })
    }
}
