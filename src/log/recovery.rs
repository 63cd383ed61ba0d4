//! Opening a partition's log after a stop of any kind.
//!
//! What may be believed:
//! - A segment was synced before its successor took a byte; so all but the last are durable, and damage in them is
//!   *corruption*.
//! - In the last segment everything before the newest durable mark was synced; damage there is corruption too.
//! - Behind the newest mark any subset of sectors may have survived. The log ends at the first bad batch; what comes
//!   after is a *torn tail*, set aside and cut off.
//! - What is whole behind the mark is not durable yet, for a sync of it may have failed unseen: it is written again and
//!   synced before anything counts on it.
//! - A checkpoint (from a snapshot) is believed where the batch before it is still the very batch it tells of. Without
//!   one the partition is walked from its log start.
//! - A checkpoint is written only once everything before it is durable, whatever the sync policy, and what it tells of
//!   is committed, so that no truncation takes it back. Where the last segment ends before a checkpoint in it, durable
//!   records are gone: it stands in for a lost durable mark.
//!
//! A corrupt partition is opened all the same: what is whole is served, writes are refused, and nothing is cut.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::chain::Damage;
use super::context::{BATCH_BYTES_MAX, LogContext, LogOptions};
use super::cut::{rewrite, set_aside_file, set_aside_tail};
use super::epochs::History;
use super::error::LogError;
use super::index::DurableMark;
use super::index_file::{ActiveIndex, has_index, load_index, write_index};
use super::index_walk::{EntryBuilder, Walked};
use super::layout::{PartitionFiles, parse_segment_file};
use super::partition_file::{Ownership, PARTITION_FILE_BYTES_MAX, PartitionFile, PartitionFileError, SegmentRecord};
use super::partition_log::{PartitionLog, create_segment, durable_mark};
use super::point::{LogPoint, effective_timestamp};
use super::segment::ActiveSegment;
use super::walk::{Walk, WalkStop, walk_file};
use crate::disk::{Disk, DiskFile, OpenMode, read_file};
use crate::record::{self, BatchHeader, HEADER_BYTES};
use crate::types::{Offset, Timestamp};

/// Told of every batch from where knowledge begins to the log end, in order.
pub trait RecoveryVisitor {
    /// The checkpoint was not believed: everything known from it is void, batches follow from the log start on.
    fn restart(&mut self);

    /// One verified batch.
    fn batch(&mut self, header: &BatchHeader);
}

/// Damage where nothing may be damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{segment:020}.log, byte {position}: {damage}", segment = segment.get())]
pub struct DamageReport {
    /// The base offset of the segment.
    pub segment: Offset,
    /// The byte at which the damage begins.
    pub position: u64,
    /// What is wrong.
    pub damage: Damage,
}

/// A torn tail that was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The byte at which the log now ends.
    pub position: u64,
    /// How many bytes were cut off.
    pub bytes: u64,
    /// Where they are kept; nowhere if they were all zeros.
    pub kept_at: Option<PathBuf>,
    /// What was wrong with the first of them.
    pub reason: WalkStop,
}

/// A log that was opened, and how it was found.
#[derive(Debug)]
pub struct Recovered {
    /// The log, everything before its end durable unless it is damaged.
    pub log: PartitionLog,
    /// Whether the checkpoint was believed.
    pub checkpoint_used: bool,
    /// Batches that were walked.
    pub batches_walked: u64,
    /// The torn tail, where there was one.
    pub cut: Option<Cut>,
    /// Bytes behind the newest durable mark that were written again.
    pub bytes_rewritten: u64,
    /// Damage, where there is any: the log then refuses appends by its owner's rule.
    pub damage: Option<DamageReport>,
}

impl PartitionLog {
    /// Opens the log in a partition's directory. When this returns, everything before its end is durable.
    ///
    /// # Errors
    /// [`LogError::PartitionFile`] where `partition.json` cannot be used; [`LogError::Io`], [`LogError::StorageFull`],
    /// [`LogError::SyncFailed`] where the file system fails. Damage in segments is no error: see [`Recovered::damage`].
    pub fn open(
        context: LogContext,
        files: PartitionFiles,
        options: LogOptions,
        checkpoint: Option<LogPoint>,
        now: Timestamp,
        visitor: &mut dyn RecoveryVisitor,
    ) -> Result<Recovered, LogError> {
        let file = read_partition_file(&*context.disk, &files)?;
        // Whoever replaced it may have been killed before its sync: nothing may be done on its word before it is durable.
        let dir = files.dir();
        context.disk.sync_dir(dir).map_err(|error| LogError::io("sync", dir, error))?;
        tidy_directory(&*context.disk, &files, &file)?;
        let mut opening =
            Opening { context: &context, files: &files, file: &file, options, now, damage: None, batches: 0 };
        let start = checkpoint.filter(|point| opening.is_believable(point));
        if start.is_none() {
            visitor.restart();
        }
        opening.check_sealed()?;
        opening.walk_sealed(start, visitor)?;
        let in_active = |point: &LogPoint| point.segment == file.active().base;
        let (active, tail) = opening.open_active(start.filter(in_active), checkpoint.filter(in_active), visitor)?;
        let first_append = first_append(&active, tail.end, now);
        let (damage, batches_walked) = (opening.damage.take(), opening.batches);
        let log = PartitionLog::assemble(context, files, options, file, active, tail.end, damage.clone(), first_append);
        Ok(Recovered {
            log,
            checkpoint_used: checkpoint.is_some() && start.is_some(),
            batches_walked,
            cut: tail.cut,
            bytes_rewritten: tail.bytes_rewritten,
            damage,
        })
    }
}

/// Reads `partition.json`.
///
/// # Errors
/// [`LogError::PartitionFile`], and [`LogError::Io`] where it cannot be read.
pub(crate) fn read_partition_file(disk: &dyn Disk, files: &PartitionFiles) -> Result<PartitionFile, LogError> {
    let path = files.partition_file();
    let wrong = |source| LogError::PartitionFile { path: path.clone(), source };
    let bytes = read_file(disk, &path, PARTITION_FILE_BYTES_MAX).map_err(|error| {
        let is_missing = error.kind() == std::io::ErrorKind::NotFound;
        if is_missing { wrong(PartitionFileError::Missing) } else { LogError::io("read", &path, error) }
    })?;
    PartitionFile::decode(&bytes).map_err(wrong)
}

/// Removes what an interrupted retention, compaction or replacement left behind, and sets aside what an interrupted truncation did.
fn tidy_directory(disk: &dyn Disk, files: &PartitionFiles, file: &PartitionFile) -> Result<(), LogError> {
    let dir = files.dir();
    let first = file.segments.first().map_or(Offset::ZERO, |record| record.base);
    let entries = disk.read_dir(dir).map_err(|error| LogError::io("list", dir, error))?;
    for entry in entries.iter().filter(|entry| !entry.is_dir) {
        let path = dir.join(&entry.name);
        let found = parse_segment_file(&entry.name, "log").or_else(|| parse_segment_file(&entry.name, "idx"));
        match found.map(|(base, generation)| (base, file.ownership(base, generation))) {
            Some((base, ownership)) if base < first || ownership == Ownership::Superseded => {
                disk.remove_file(&path).map_err(|error| LogError::io("remove", &path, error))?;
            }
            Some((_, Ownership::Nobody)) => set_aside_file(disk, files, &entry.name)?,
            None if entry.name.ends_with(".tmp") => {
                disk.remove_file(&path).map_err(|error| LogError::io("remove", &path, error))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// A log on its way to being open.
struct Opening<'a> {
    context: &'a LogContext,
    files: &'a PartitionFiles,
    file: &'a PartitionFile,
    options: LogOptions,
    now: Timestamp,
    damage: Option<DamageReport>,
    batches: u64,
}

/// How the active segment was found to end.
struct Tail {
    end: LogPoint,
    cut: Option<Cut>,
    bytes_rewritten: u64,
}

impl Opening<'_> {
    fn disk(&self) -> &dyn Disk {
        &*self.context.disk
    }

    fn history(&self) -> &History {
        &self.file.history
    }

    fn report(&mut self, segment: Offset, position: u64, damage: Damage) {
        self.damage.get_or_insert(DamageReport { segment, position, damage });
    }

    /// Whether the batch before a checkpoint is the very one it tells of.
    fn is_believable(&self, point: &LogPoint) -> bool {
        let Some(record) = self.file.segments.iter().find(|record| record.base == point.segment) else { return false };
        if point.next_offset < self.file.log_start || point.next_offset < record.base {
            return false;
        }
        if point.position == 0 {
            return point.next_offset == record.base && point.next_batch == record.first_batch;
        }
        let path = self.files.log_of(record);
        let Ok(file) = self.disk().open(&path, OpenMode::Read) else { return false };
        let Some(length) = point.position.checked_sub(point.last_batch_position) else { return false };
        let Ok(length) = usize::try_from(length) else { return false };
        if length > BATCH_BYTES_MAX || file.len().map_or(true, |len| len < point.position) {
            return false;
        }
        let mut bytes = vec![0; length];
        let read = file.read_at(&mut bytes, point.last_batch_position);
        read.is_ok_and(|read| read == length)
            && record::verify(&bytes).is_ok_and(|header| {
                header.total_bytes == length
                    && header.crc == point.last_batch_crc
                    && self.history().follow(header.next_offset()) == point.next_offset
            })
    }

    /// Checks that every sealed segment is there in its length, and that it has an index.
    fn check_sealed(&mut self) -> Result<(), LogError> {
        let sealed: Vec<_> = self.file.segments.iter().filter(|record| record.sealed.is_some()).copied().collect();
        for record in sealed {
            let expected = record.sealed.map_or(0, |sealed| sealed.bytes);
            let Some(file) = self.open_sealed(&record)? else { continue };
            let found = file.len().map_err(|error| LogError::io("measure", &self.files.log_of(&record), error))?;
            if found < expected {
                self.report(record.base, found, Damage::Length { expected, found });
            }
            if !has_index(self.disk(), &self.files.index_of(&record), record.base) {
                self.rebuild_index(&record, &*file, found.min(expected));
            }
        }
        Ok(())
    }

    fn open_sealed(&mut self, record: &SegmentRecord) -> Result<Option<Arc<dyn DiskFile>>, LogError> {
        let path = self.files.log_of(record);
        match self.disk().open(&path, OpenMode::Read) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.report(record.base, 0, Damage::Missing);
                Ok(None)
            }
            Err(error) => Err(LogError::io("open", &path, error)),
        }
    }

    /// Builds a sealed segment's index anew; without room for it lookups walk, which is slow and not wrong.
    fn rebuild_index(&mut self, record: &SegmentRecord, file: &dyn DiskFile, end: u64) {
        let start = LogPoint::segment_start(record.base, record.first_batch);
        let mut entries = EntryBuilder::new(self.options.index_interval_bytes, start);
        let walk =
            walk_file(file, start, end, self.history(), |header, _, point| entries.visit(header, point, self.now));
        if let Some(damage) = damage_of(walk.stop) {
            self.report(record.base, walk.end.position, damage);
        }
        if write_index(self.disk(), &self.files.index_of(record), record.base, &entries.index, None).is_err() {
            tracing::warn!(segment = record.base.get(), dir = %self.files.dir().display(), "an index could not be written");
        }
    }

    /// Gives the visitor the batches of sealed segments, from the checkpoint or the log start on.
    fn walk_sealed(&mut self, start: Option<LogPoint>, visitor: &mut dyn RecoveryVisitor) -> Result<(), LogError> {
        let from = start.map_or(self.file.log_start, |point| point.segment);
        let segments = &self.file.segments;
        for (number, record) in segments.iter().enumerate() {
            let Some(sealed) = record.sealed else { break };
            let next_base = segments.get(number + 1).map_or(record.base, |next| next.base);
            if next_base <= from {
                continue;
            }
            let first = LogPoint::segment_start(record.base, record.first_batch);
            let first = start.filter(|point| point.segment == record.base).unwrap_or(first);
            let Some(file) = self.open_sealed(record)? else { continue };
            let log_start = self.file.log_start;
            let walk = walk_file(&*file, first, sealed.bytes, self.history(), |header, _, _| {
                if header.next_offset() > log_start {
                    visitor.batch(header);
                }
            });
            self.batches += walk.batches;
            // A gap may begin at the next segment's base: the walk has then passed it already.
            let next_offset = self.history().follow(next_base);
            let short = walk.stop.is_none() && self.history().follow(walk.end.next_offset) != next_offset;
            let damage = damage_of(walk.stop);
            if let Some(damage) = damage.or_else(|| short.then_some(Damage::Boundary { position: walk.end.position })) {
                self.report(record.base, walk.end.position, damage);
            }
        }
        Ok(())
    }

    /// Opens the last segment, walks what must be walked and settles where the log ends. `start` is where to begin, and
    /// `witness` a place in the segment up to which it was durable once.
    fn open_active(
        &mut self,
        start: Option<LogPoint>,
        witness: Option<LogPoint>,
        visitor: &mut dyn RecoveryVisitor,
    ) -> Result<(ActiveSegment, Tail), LogError> {
        let record = *self.file.active();
        let beginning = LogPoint::segment_start(record.base, record.first_batch);
        let (log, index_path) = (self.files.log_of(&record), self.files.index_of(&record));
        let loaded = load_index(self.disk(), &index_path, record.base).ok();
        let mark = loaded.as_ref().and_then(|(_, mark)| *mark).filter(|mark| mark.position > 0);
        let is_there = self.disk().exists(&log).map_err(|error| LogError::io("look for", &log, error))?;
        if !is_there {
            if mark.is_none() && self.lacks(&beginning, witness).is_none() {
                // A roll that did not come to its end.
                let active = create_segment(self.context, self.files, record.base, record.first_batch)?;
                return Ok((active, Tail { end: beginning, cut: None, bytes_rewritten: 0 }));
            }
            self.report(record.base, 0, Damage::Missing);
        }
        // In the place of a missing file an empty one is as damaged, and lets the other segments be served.
        let mode = if is_there { OpenMode::ReadWrite } else { OpenMode::CreateOrEmpty };
        let file = self.disk().open(&log, mode).map_err(|error| LogError::io("open", &log, error))?;
        let file_len = file.len().map_err(|error| LogError::io("measure", &log, error))?;
        let from = start.unwrap_or(beginning);
        let mut seen = Walked::new(
            self.options.index_interval_bytes,
            record.first_batch,
            loaded.map(|(index, _)| index),
            from,
            mark,
        );
        let (now, log_start) = (self.now, self.file.log_start);
        let walk = walk_file(&*file, from, file_len, self.history(), |header, _, point| {
            seen.visit(header, point, now);
            if header.next_offset() > log_start {
                visitor.batch(header);
            }
        });
        self.batches += walk.batches;
        seen.meet(&walk.end);
        if let Some(lost) = self.lacks(&walk.end, witness) {
            (seen.mark, seen.mark_met, seen.is_mark_saved) = (Some(mark_at(&record, &lost)), false, false);
        }
        self.judge(&record, &walk, &seen, from);
        let seen_mark = seen.mark;
        let index = self.settle_index(&index_path, record.base, seen, &walk)?;
        let active = ActiveSegment::new(record.base, record.first_batch, log, file, index);
        let tail = if self.damage.is_some() {
            self.pass_damage(&active, walk, seen_mark, file_len, visitor)
        } else {
            self.settle(&active, walk, mark, from, file_len)?
        };
        Ok((active, tail))
    }

    /// Opens the active segment's index, replacing the file where it says anything else than what the walk found.
    fn settle_index(&self, path: &Path, base: Offset, seen: Walked, walk: &Walk) -> Result<ActiveIndex, LogError> {
        let is_damaged = walk.stop.is_some() && self.damage.is_some();
        let index = match &seen.loaded {
            // Entries beyond the damage are the way to what is whole there.
            Some(loaded) if is_damaged => loaded.clone(),
            _ => seen.merged(walk),
        };
        if seen.loaded.as_ref() != Some(&index) || !seen.is_mark_saved {
            let written = write_index(self.disk(), path, base, &index, seen.mark);
            written.map_err(|error| LogError::io("write", path, error))?;
        }
        ActiveIndex::open(self.disk(), path, base, index).map_err(|error| LogError::io("open", path, error))
    }

    /// Finds the end of a segment that is damaged below its newest mark: whole batches go on at the mark. Nothing is
    /// cut, nothing is written.
    fn pass_damage(
        &mut self,
        active: &ActiveSegment,
        walk: Walk,
        mark: Option<DurableMark>,
        file_len: u64,
        visitor: &mut dyn RecoveryVisitor,
    ) -> Tail {
        let unchanged = |end| Tail { end, cut: None, bytes_rewritten: 0 };
        let Some(mark) = mark.filter(|mark| (walk.end.position..=file_len).contains(&u64::from(mark.position))) else {
            return unchanged(walk.end);
        };
        let mut start = mark_point(active, mark);
        start.max_timestamp = walk.end.max_timestamp;
        let behind = walk_file(&*active.file, start, file_len, self.history(), |header, _, _| visitor.batch(header));
        self.batches += behind.batches;
        unchanged(behind.end)
    }

    /// The witness, where the log ends before it. Offsets that a repair gave up are no loss any more: the end is behind
    /// them.
    fn lacks(&self, end: &LogPoint, witness: Option<LogPoint>) -> Option<LogPoint> {
        let next_offset = self.history().follow(end.next_offset);
        witness.filter(|witness| next_offset < witness.next_offset && end.position < witness.position)
    }

    /// Tells corruption from a torn tail.
    fn judge(&mut self, record: &SegmentRecord, walk: &Walk, seen: &Walked, from: LogPoint) {
        let Some(mark) = seen.mark else { return };
        let position = u64::from(mark.position);
        if walk.end.position < position {
            let missing = Damage::Length { expected: position, found: walk.end.position };
            self.report(record.base, walk.end.position, damage_of(walk.stop.clone()).unwrap_or(missing));
        } else if position >= from.position && !seen.mark_met {
            self.report(record.base, position, Damage::Boundary { position });
        }
    }

    /// Cuts a torn tail off and makes what is left durable.
    fn settle(
        &self,
        active: &ActiveSegment,
        walk: Walk,
        mark: Option<DurableMark>,
        from: LogPoint,
        file_len: u64,
    ) -> Result<Tail, LogError> {
        let end = walk.end;
        let marked = mark.map(|mark| mark_point(active, mark)).filter(|marked| marked.position > from.position);
        let durable = marked.unwrap_or(from);
        let mut cut = None;
        if let Some(reason) = walk.stop {
            let kept_at = set_aside_tail(self.disk(), self.files, active, end.position, file_len)?;
            active.file.set_len(end.position).map_err(|error| LogError::io("cut", active.path(), error))?;
            cut = Some(Cut { position: end.position, bytes: file_len - end.position, kept_at, reason });
        }
        let bytes_rewritten = end.position - durable.position;
        if bytes_rewritten > 0 {
            let rewritten = rewrite(&*active.file, durable, end.position, self.history());
            rewritten.map_err(|error| LogError::io("rewrite", active.path(), error))?;
        }
        if bytes_rewritten > 0 || cut.is_some() {
            active.sync()?;
            active.index.lock().save_mark(durable_mark(active, end));
        }
        Ok(Tail { end, cut, bytes_rewritten })
    }
}

/// The durable mark that tells of a place in a segment.
fn mark_at(record: &SegmentRecord, point: &LogPoint) -> DurableMark {
    let relative = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    DurableMark {
        relative_offset: relative(point.next_offset.since(record.base)),
        position: relative(point.position),
        relative_batch: relative(point.next_batch.get().saturating_sub(record.first_batch.get())),
    }
}

/// The place a durable mark tells of.
fn mark_point(active: &ActiveSegment, mark: DurableMark) -> LogPoint {
    let mut point = LogPoint::segment_start(active.base, active.first_batch);
    point.next_offset = active.base.plus(u64::from(mark.relative_offset));
    point.position = u64::from(mark.position);
    point.next_batch = active.first_batch.plus(u64::from(mark.relative_batch));
    point
}

fn damage_of(stop: Option<WalkStop>) -> Option<Damage> {
    stop.map(|stop| match stop {
        WalkStop::Damage(damage) => damage,
        WalkStop::Unwritten => Damage::Batch(record::BatchError::Truncated { needed: HEADER_BYTES, have: 0 }),
    })
}

/// When a segment's first batch was appended, as far as it says itself.
pub(crate) fn first_append(active: &ActiveSegment, end: LogPoint, now: Timestamp) -> Option<Timestamp> {
    if end.position == 0 {
        return None;
    }
    let mut bytes = [0; HEADER_BYTES];
    active.file.read_at(&mut bytes, 0).ok()?;
    let header = BatchHeader::decode(&bytes).ok()?;
    Some(effective_timestamp(header.first_timestamp(), now))
}
