//! Compaction: of every key only the newest record stays.
//!
//! ```text
//!  log start          compacted to                      floor         active segment
//!      │  at most one      │  dirty: sealed segments      │                │
//!      │  record a key     │  that may be compacted       │                │
//!      └───────────────────┴──────────────────────────────┴────────────────┘
//!        2. rewritten without    1. read: which offset is
//!           what is not newest      the newest of each key
//! ```
//!
//! [`Compaction`] is a state machine that is given a number of bytes to read at each turn. First it reads the dirty
//! segments, from the oldest on, and notes the newest offset of every key, until the memory for that is used up: what
//! lies behind waits for the next time. Then it goes through all segments up to there, oldest first, and writes those
//! that lose anything anew; small neighbours become one.
//!
//! Offsets never change, and batches go on following each other without a gap: what goes is made up for by a batch that
//! reaches further, or by one without records (`record/thin.rs`). So every check of a log holds for a compacted one, and a
//! batch that is missing is damage in it as in any other.
//!
//! A segment written anew is another file, whose name tells how often that was done, written and synced before
//! `partition.json` names it and the old one goes. So there is no moment at which a crash leaves anything but the old
//! segment or the new one, and a reader that is on its way in the old one finds what it expects.
//!
//! A tombstone stays for a while after it has become the newest of its key, so that who reads all the log learns of it:
//! the first compaction that finds it there sets its batch's delete horizon, one after that time removes it. Where it
//! could be removed, everything older of its key has been, for segments are rewritten in order.

mod cleaning;
mod cursor;
mod keys;
mod output;

use std::collections::BTreeSet;
use std::sync::Arc;

use self::cleaning::Cleaning;
use self::cursor::Cursor;
use self::keys::{KeyHash, KeyMap};
use super::error::LogError;
use super::partition_file::{PartitionFile, SegmentRecord};
use super::partition_log::PartitionLog;
use super::recovery::DamageReport;
use crate::record::{Batch, DecodeLimits, Glimpses};
use crate::types::{Offset, Timestamp};

/// When a log is compacted, and what it keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactionPolicy {
    /// Records younger than this are not touched, in milliseconds.
    pub min_lag_ms: i64,
    /// How long a tombstone stays once it is found the newest of its key, in milliseconds.
    pub delete_retention_ms: i64,
    /// Begins where this part of what can be compacted is dirty, in percent.
    pub dirty_percent_min: u64,
}

/// How much of a log is to be compacted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dirty {
    /// Bytes of segments that are compacted.
    pub clean_bytes: u64,
    /// Bytes of segments that can be, and are not.
    pub dirty_bytes: u64,
}

impl Dirty {
    /// The dirty part of all, in thousandths.
    #[must_use]
    pub fn per_mille(&self) -> u64 {
        let all = self.clean_bytes.saturating_add(self.dirty_bytes).max(1);
        u64::try_from(u128::from(self.dirty_bytes) * 1_000 / u128::from(all)).unwrap_or(1_000)
    }
}

/// What a compaction needs to know beside the log.
#[derive(Debug, Clone)]
pub struct CompactionStart {
    /// Nothing at or above this offset is touched.
    pub floor: Offset,
    /// The base offsets of the batches that producers are known by: these stay, if need be without their records.
    pub remembered: BTreeSet<Offset>,
    /// Memory for keys, in bytes.
    pub keys_bytes_max: usize,
}

/// What a compaction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CompactionReport {
    /// Up to where the log is compacted now.
    pub compacted_to: Offset,
    /// Segments before it, of those it went through.
    pub segments_before: u64,
    /// Segments after it.
    pub segments_after: u64,
    /// Their bytes before it.
    pub bytes_before: u64,
    /// Their bytes after it.
    pub bytes_after: u64,
    /// Records removed.
    pub records_removed: u64,
    /// Bytes read in all.
    pub bytes_read: u64,
}

/// What a turn came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompactionTurn {
    /// There is more to do.
    GoesOn,
    /// It is done.
    Done(CompactionReport),
}

/// Why a compaction cannot go on. What it has finished stays; the next one begins anew.
#[derive(Debug, thiserror::Error)]
pub enum CompactionError {
    /// A sealed segment is damaged.
    #[error("{0}")]
    Damaged(DamageReport),
    /// Retention or a truncation was faster.
    #[error("segments it was about are gone")]
    Superseded,
    /// The file system failed.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// One compaction under way. To be given up by [`PartitionLog::give_up_compaction`].
#[derive(Debug)]
pub struct Compaction {
    /// `partition.json` when it began: what it reads is checked against this.
    file: Arc<PartitionFile>,
    /// The segments it may touch, each with the offset it ends at.
    inputs: Vec<Input>,
    /// Up to where the log was compacted.
    clean_to: Offset,
    /// Up to where keys are noted.
    mapped_to: Offset,
    keys: KeyMap,
    remembered: BTreeSet<Offset>,
    began: Timestamp,
    horizon: Timestamp,
    /// A segment that would grow beyond this many bytes is not joined by its neighbour.
    segment_bytes: u64,
    index_interval: u64,
    phase: Phase,
    report: CompactionReport,
}

#[derive(Debug, Clone, Copy)]
struct Input {
    record: SegmentRecord,
    end: Offset,
}

impl Input {
    fn bytes(&self) -> u64 {
        self.record.sealed.map_or(0, |sealed| sealed.bytes)
    }
}

#[derive(Debug)]
enum Phase {
    /// Noting the keys of the input of this number.
    Noting(usize, Option<Cursor>),
    Cleaning(Box<Cleaning>),
    Done,
}

impl PartitionLog {
    /// How much is to be compacted below `floor`; `None` where that is too little to begin.
    #[must_use]
    pub fn dirty(&self, policy: &CompactionPolicy, floor: Offset, now: Timestamp) -> Option<Dirty> {
        let file = self.state().file;
        let mut dirty = Dirty { clean_bytes: 0, dirty_bytes: 0 };
        for input in eligible(&file, policy, floor, now) {
            let bytes = if input.end <= file.compacted_to { &mut dirty.clean_bytes } else { &mut dirty.dirty_bytes };
            *bytes += input.bytes();
        }
        let is_enough = dirty.per_mille() >= policy.dirty_percent_min.saturating_mul(10);
        (dirty.dirty_bytes > 0 && is_enough).then_some(dirty)
    }

    /// Begins to compact what can be; `None` where there is nothing.
    #[must_use]
    pub fn begin_compaction(
        &self,
        policy: &CompactionPolicy,
        start: CompactionStart,
        now: Timestamp,
    ) -> Option<Compaction> {
        let file = self.state().file;
        let inputs = eligible(&file, policy, start.floor, now);
        let clean_to = file.compacted_to.max(file.log_start);
        let first = inputs.iter().position(|input| input.end > clean_to)?;
        let end = inputs.last()?.end;
        let options = self.writer.lock().options;
        Some(Compaction {
            clean_to,
            mapped_to: clean_to,
            keys: KeyMap::new(end.since(clean_to), start.keys_bytes_max),
            remembered: start.remembered,
            began: now,
            horizon: now.plus_millis(policy.delete_retention_ms),
            segment_bytes: options.segment_bytes,
            index_interval: options.index_interval_bytes,
            phase: Phase::Noting(first, None),
            report: CompactionReport::default(),
            file,
            inputs,
        })
    }

    /// Goes on with a compaction, for about so many bytes read. Blocks on files. Appends and reads go on meanwhile; only
    /// while `partition.json` is replaced do appends wait.
    ///
    /// # Errors
    /// [`CompactionError`]; what was begun and not finished is then cleared away.
    pub fn compact(&self, compaction: &mut Compaction, bytes_max: u64) -> Result<CompactionTurn, CompactionError> {
        let _alone = self.compacting.lock();
        let turn = self.check_open().map_err(CompactionError::Log).and_then(|()| compaction.turn(self, bytes_max));
        if turn.is_err() {
            compaction.discard(self);
        }
        turn
    }

    /// Gives a compaction up: what it has not finished is removed.
    pub fn give_up_compaction(&self, compaction: &mut Compaction) {
        let _alone = self.compacting.lock();
        if self.check_open().is_ok() {
            compaction.discard(self);
        }
    }
}

/// The sealed segments that lie wholly below the floor, up to the first that holds a record too young.
fn eligible(file: &PartitionFile, policy: &CompactionPolicy, floor: Offset, now: Timestamp) -> Vec<Input> {
    let newest = now.plus_millis(-policy.min_lag_ms);
    let is_young =
        |record: &SegmentRecord| policy.min_lag_ms > 0 && record.max_timestamp().is_some_and(|max| max > newest);
    let pairs = file.segments.windows(2).map(|pair| Input { record: pair[0], end: pair[1].base });
    pairs
        .take_while(|input| input.end <= floor && (input.end <= file.compacted_to || !is_young(&input.record)))
        .collect()
}

impl Compaction {
    fn turn(&mut self, log: &PartitionLog, bytes_max: u64) -> Result<CompactionTurn, CompactionError> {
        let until = self.report.bytes_read.saturating_add(bytes_max.max(1));
        while self.report.bytes_read < until {
            match std::mem::replace(&mut self.phase, Phase::Done) {
                Phase::Noting(number, cursor) => self.phase = self.note(log, number, cursor, until)?,
                Phase::Cleaning(mut cleaning) => {
                    let result = cleaning.run(self, log, until);
                    self.phase = Phase::Cleaning(cleaning);
                    if result? {
                        self.phase = Phase::Done;
                    }
                }
                Phase::Done => return self.finish(log).map(CompactionTurn::Done),
            }
        }
        if let Phase::Cleaning(cleaning) = &mut self.phase {
            cleaning.sync()?;
        }
        Ok(CompactionTurn::GoesOn)
    }

    /// Notes the keys of one dirty segment, or of a part of it; what comes next.
    fn note(
        &mut self,
        log: &PartitionLog,
        number: usize,
        cursor: Option<Cursor>,
        until: u64,
    ) -> Result<Phase, CompactionError> {
        let Some(input) = self.inputs.get(number).copied() else { return Ok(self.clean()) };
        let mut cursor = match cursor {
            Some(cursor) => cursor,
            None => Cursor::open(log, &input.record)?,
        };
        while self.report.bytes_read < until {
            let Some(batch) = cursor.next(&self.file.history)? else {
                self.mapped_to = input.end;
                return Ok(Phase::Noting(number + 1, None));
            };
            self.report.bytes_read += batch.bytes().len() as u64;
            if !self.note_batch(&batch) {
                self.mapped_to = batch.header().base_offset;
                return Ok(self.clean());
            }
        }
        Ok(Phase::Noting(number, Some(cursor)))
    }

    /// Notes the keys of a batch; false where there is no room for them.
    ///
    /// A batch that cannot be read, or has more records than there ever is room for, is passed over: it stays as it is,
    /// and so does what is older of its keys until something newer of them comes.
    fn note_batch(&mut self, batch: &Batch) -> bool {
        let header = batch.header();
        if header.next_offset() <= self.clean_to || header.attributes.is_control() || header.records_count == 0 {
            return true;
        }
        let records = usize::try_from(header.records_count).unwrap_or(usize::MAX);
        if records > self.keys.room() {
            return self.keys.is_empty();
        }
        let mut found = Vec::with_capacity(records.min(batch.bytes().len()));
        let read = Glimpses::open(batch, &DecodeLimits::default()).and_then(|glimpses| {
            glimpses.each(|record| found.extend(record.key.map(|key| (KeyHash::of(key), record.offset))))
        });
        if read.is_ok() {
            for (key, offset) in found {
                self.keys.insert(key, offset);
            }
        }
        true
    }

    /// Begins to rewrite every segment that holds anything below what is noted.
    fn clean(&mut self) -> Phase {
        let mapped_to = self.mapped_to;
        self.inputs.retain(|input| input.record.base < mapped_to);
        self.report.segments_before = self.inputs.len() as u64;
        self.report.bytes_before = self.inputs.iter().map(Input::bytes).sum();
        (self.report.segments_after, self.report.bytes_after) = (self.report.segments_before, self.report.bytes_before);
        Phase::Cleaning(Box::default())
    }

    fn finish(&mut self, log: &PartitionLog) -> Result<CompactionReport, CompactionError> {
        let _writer = log.writer.lock();
        log.check_open()?;
        let mut file = (*log.state().file).clone();
        if self.mapped_to > file.compacted_to {
            file.compacted_to = self.mapped_to;
            log.replace_partition_file(file)?;
        }
        self.report.compacted_to = self.mapped_to;
        Ok(self.report)
    }

    fn discard(&mut self, log: &PartitionLog) {
        if let Phase::Cleaning(cleaning) = std::mem::replace(&mut self.phase, Phase::Done) {
            cleaning.discard(&*log.context.disk);
        }
    }
}
