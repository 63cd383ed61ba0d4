//! Deciding what a repair does, without changing anything.

use std::fmt;

use serde::Serialize;

use super::super::directory::Inspected;
use super::super::error::InspectError;
use super::super::index_check::EntryCheck;
use super::super::learn::learn;
use super::super::scan::{Lost, ScanEvent};
use super::super::source::{SegmentSource, durable_batches, read_partition_file};
use super::super::topic_ids::{is_leftover, topic_id};
use crate::log::{
    DurableMark, EnvelopeError, Gap, History, Index, IndexEntry, LogOptions, PartitionFile, PartitionFileError,
    PartitionFiles, SealedSegment, SegmentRecord, effective_timestamp, log_name,
};
use crate::record::BatchHeader;
use crate::types::{BatchIndex, Offset, Timestamp, TopicPartition};

/// One thing a repair does, in plain numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum RepairAction {
    /// Makes `partition.json` anew from the segments.
    RebuildPartitionFile {
        /// Why it must be.
        reason: String,
    },
    /// Writes a segment anew from its whole batches.
    RewriteSegment {
        /// Its file.
        file: String,
        /// Bytes it has.
        bytes_before: u64,
        /// Bytes it will have.
        bytes_after: u64,
    },
    /// Moves a segment that holds no whole batch away.
    DropSegment {
        /// Its file.
        file: String,
    },
    /// Makes an index anew.
    RebuildIndex {
        /// Its file.
        file: String,
    },
    /// Gives offsets up.
    RecordGap {
        /// The first lost offset.
        from: u64,
        /// The first offset after the loss.
        to: u64,
    },
    /// Begins a new segment.
    BeginSegment {
        /// Its file.
        file: String,
    },
}

impl fmt::Display for RepairAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RebuildPartitionFile { reason } => {
                write!(f, "build partition.json anew from the segments ({reason})")
            }
            Self::RewriteSegment { file, bytes_before, bytes_after } => {
                write!(f, "write {file} anew from its whole batches: {bytes_after} of {bytes_before} bytes")
            }
            Self::DropSegment { file } => write!(f, "give {file} up: it holds no whole batch"),
            Self::RebuildIndex { file } => write!(f, "build {file} anew"),
            Self::RecordGap { from, to } => write!(f, "record offsets {from} to {} as lost", to - 1),
            Self::BeginSegment { file } => write!(f, "begin {file}, which takes the next records"),
        }
    }
}

/// What a repair of one partition will do.
#[derive(Debug)]
pub struct RepairPlan {
    pub(super) partition: TopicPartition,
    pub(super) file: PartitionFile,
    pub(super) segments: Vec<SegmentPlan>,
    pub(super) begins: Option<Offset>,
    actions: Vec<RepairAction>,
}

impl RepairPlan {
    /// The partition.
    #[must_use]
    pub fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// What will be done, in words.
    #[must_use]
    pub fn actions(&self) -> &[RepairAction] {
        &self.actions
    }
}

/// What happens to one segment's files.
#[derive(Debug)]
pub(super) struct SegmentPlan {
    pub(super) record: SegmentRecord,
    pub(super) work: SegmentWork,
    pub(super) index: Index,
    pub(super) mark: Option<DurableMark>,
}

#[derive(Debug)]
pub(super) enum SegmentWork {
    /// The log is written anew from these byte ranges; then its index.
    Rewrite(Vec<(u64, u64)>),
    /// The files go.
    Drop,
    /// The index alone is replaced.
    Index,
}

/// Decides how to mend a partition; `None` where nothing is damaged. `now` bounds the timestamps that retention uses.
///
/// # Errors
/// [`InspectError::TopicIdUnknown`], [`InspectError::NewerPartitionFile`], [`InspectError::Io`].
pub fn plan_repair(
    inspected: &Inspected,
    partition: &TopicPartition,
    now: Timestamp,
) -> Result<Option<RepairPlan>, InspectError> {
    let (disk, files) = (&*inspected.disk, inspected.files(partition));
    let mut actions = Vec::new();
    let found = match read_partition_file(disk, &files)? {
        Ok(file) => file,
        Err(error) => {
            check_replaceable(&files, &error)?;
            if is_leftover(inspected, partition)? {
                return Ok(None);
            }
            actions.push(RepairAction::RebuildPartitionFile { reason: error.to_string() });
            learn(disk, &files, partition, topic_id(inspected, partition)?, now)?
        }
    };
    let mut planning =
        Planning { found: &found, now, gaps: Vec::new(), records: Vec::new(), segments: Vec::new(), begins: None };
    let mut must_repair = !actions.is_empty();
    for number in 0..found.segments.len() {
        let source = SegmentSource::open(disk, &files, &found, number)?;
        must_repair |= planning.segment(&source, &mut actions);
    }
    if !must_repair {
        return Ok(None);
    }
    if let Some((base, first_batch)) = planning.begins {
        planning.records.push(SegmentRecord::fresh(base, first_batch));
        actions.push(RepairAction::BeginSegment { file: log_name(base) });
    }
    let Planning { gaps, records, segments, begins, .. } = planning;
    actions.extend(gaps.iter().map(|gap| RepairAction::RecordGap { from: gap.from.get(), to: gap.to.get() }));
    let mut file = found.clone();
    file.history.gaps = join_gaps(found.history.gaps.iter().chain(&gaps).copied().collect());
    file.segments = records;
    let begins = begins.map(|(base, _)| base);
    Ok(Some(RepairPlan { partition: partition.clone(), file, segments, begins, actions }))
}

/// A file that a later version wrote is not damaged, and must stay.
fn check_replaceable(files: &PartitionFiles, error: &PartitionFileError) -> Result<(), InspectError> {
    match error {
        PartitionFileError::Envelope(EnvelopeError::Newer { .. }) => {
            Err(InspectError::NewerPartitionFile { path: files.partition_file(), reason: error.to_string() })
        }
        PartitionFileError::Missing | PartitionFileError::Envelope(_) | PartitionFileError::Content(_) => Ok(()),
    }
}

/// A plan being made, segment by segment.
struct Planning<'a> {
    found: &'a PartitionFile,
    now: Timestamp,
    gaps: Vec<Gap>,
    records: Vec<SegmentRecord>,
    segments: Vec<SegmentPlan>,
    begins: Option<(Offset, BatchIndex)>,
}

impl Planning<'_> {
    /// Plans one segment; whether it is damaged.
    fn segment(&mut self, source: &SegmentSource, actions: &mut Vec<RepairAction>) -> bool {
        let record = source.record;
        let kept = Kept::read(source, &self.found.history, self.now);
        if kept.lost.is_empty() {
            self.records.push(record);
            if kept.is_index_wrong || !source.slots.findings(&record.index_name()).is_empty() {
                let mark = source.slots.newest_mark();
                let index = kept.index;
                self.segments.push(SegmentPlan { record, work: SegmentWork::Index, index, mark });
                actions.push(RepairAction::RebuildIndex { file: record.index_name() });
            }
            return kept.is_index_wrong;
        }
        let lost = kept.lost.iter().filter(|lost| lost.from < lost.to);
        self.gaps.extend(lost.map(|lost| Gap { from: lost.from, to: lost.to }));
        let batches = kept.batches.max(kept.durable_batches + kept.batches_behind);
        if record.sealed.is_none() {
            self.begins = Some((kept.end_offset, record.first_batch.plus(batches)));
        }
        let file = record.log_name();
        let (work, mark) = if kept.ranges.is_empty() {
            actions.push(RepairAction::DropSegment { file });
            (SegmentWork::Drop, None)
        } else {
            let sealed = SealedSegment { bytes: kept.bytes, max_timestamp_ms: kept.max_timestamp.millis() };
            self.records.push(SegmentRecord { sealed: Some(sealed), ..record });
            let (bytes_before, bytes_after) = (source.file_len, kept.bytes);
            actions.push(RepairAction::RewriteSegment { file, bytes_before, bytes_after });
            let mark = DurableMark {
                relative_offset: relative(kept.end_offset.since(record.base)),
                position: relative(kept.bytes),
                relative_batch: relative(batches),
            };
            (SegmentWork::Rewrite(kept.ranges), Some(mark))
        };
        self.segments.push(SegmentPlan { record, work, index: kept.index, mark });
        true
    }
}

/// What is whole in one segment.
struct Kept {
    ranges: Vec<(u64, u64)>,
    bytes: u64,
    batches: u64,
    /// Batches before the newest durable mark, by the mark's own count.
    durable_batches: u64,
    /// Whole batches behind it.
    batches_behind: u64,
    end_offset: Offset,
    max_timestamp: Timestamp,
    index: Index,
    last_entry: u64,
    lost: Vec<Lost>,
    is_index_wrong: bool,
}

impl Kept {
    fn read(source: &SegmentSource, history: &History, now: Timestamp) -> Kept {
        let mut kept = Kept {
            ranges: Vec::new(),
            bytes: 0,
            batches: 0,
            durable_batches: durable_batches(&source.slots),
            batches_behind: 0,
            end_offset: source.bounds.durable_offset,
            max_timestamp: Timestamp::NONE,
            index: Index::default(),
            last_entry: 0,
            lost: source.missing().into_iter().collect(),
            is_index_wrong: false,
        };
        let Some(mut scan) = source.scan(history) else { return kept };
        let mut entries = EntryCheck::new(&source.record, &source.slots.index());
        for event in scan.by_ref() {
            match event {
                ScanEvent::Batch(position, batch) => {
                    entries.batch(position, batch.header().base_offset);
                    kept.batches_behind += u64::from(position >= source.bounds.durable);
                    kept.take(source.record.base, position, batch.header(), now);
                }
                ScanEvent::Lost(lost) => {
                    entries.lost(lost.position, lost.end);
                    kept.lost.push(lost);
                }
                ScanEvent::End(_) => {}
            }
        }
        kept.end_offset = scan.next_offset();
        kept.is_index_wrong = !entries.end(scan.position()).is_empty();
        kept
    }

    fn take(&mut self, base: Offset, position: u64, header: &BatchHeader, now: Timestamp) {
        if self.bytes - self.last_entry >= LogOptions::default().index_interval_bytes {
            self.index.push(IndexEntry {
                relative_offset: relative(header.base_offset.since(base)),
                position: relative(self.bytes),
                max_timestamp: self.max_timestamp,
                relative_batch: relative(self.batches),
            });
            self.last_entry = self.bytes;
        }
        let end = position + header.total_bytes as u64;
        match self.ranges.last_mut().filter(|(_, last)| *last == position) {
            Some((_, last)) => *last = end,
            None => self.ranges.push((position, end)),
        }
        self.bytes += header.total_bytes as u64;
        self.batches += 1;
        self.max_timestamp = self.max_timestamp.max(effective_timestamp(header.max_timestamp, now));
    }
}

/// Joins gaps that touch, for only one is looked up at a time.
fn join_gaps(mut gaps: Vec<Gap>) -> Vec<Gap> {
    gaps.sort_unstable_by_key(|gap| gap.from);
    let mut joined: Vec<Gap> = Vec::with_capacity(gaps.len());
    for gap in gaps {
        match joined.last_mut().filter(|last| gap.from <= last.to) {
            Some(last) => last.to = last.to.max(gap.to),
            None => joined.push(gap),
        }
    }
    joined
}

fn relative(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
