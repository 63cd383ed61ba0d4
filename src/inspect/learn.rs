//! What a partition's segments say of themselves where `partition.json` cannot be used: which segments there are, and
//! which epoch wrote what.
//!
//! The CRC does not cover a batch's epoch, so one that contradicts the others is taken for damaged: of all readings in
//! which epochs never fall, the one that most batches agree with is believed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::InspectError;
use super::locate::Search;
use super::window::Window;
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::log::{
    BATCH_BYTES_MAX, EpochHistory, History, PartitionFile, PartitionFiles, SealedSegment, SegmentRecord,
    effective_timestamp, parse_segment_file,
};
use crate::record::{self, BatchError, BatchHeader, HEADER_BYTES};
use crate::types::{BatchIndex, Epoch, Offset, Timestamp, TopicId, TopicPartition};

/// Successive batches of one epoch.
#[derive(Debug, Clone, Copy)]
struct Run {
    epoch: Epoch,
    start: Offset,
    batches: u64,
}

/// The segments whose logs lie in a partition's directory, in order, as they would be recorded when they take appends.
/// Of those that compaction rewrote the newest is whole, for it got its name when it was.
pub(super) fn segments_found(disk: &dyn Disk, files: &PartitionFiles) -> Result<Vec<SegmentRecord>, InspectError> {
    let entries = disk.read_dir(files.dir()).map_err(InspectError::io("list", files.dir()))?;
    let found = entries.iter().filter_map(|entry| parse_segment_file(&entry.name, "log"));
    let mut newest: BTreeMap<Offset, u32> = BTreeMap::new();
    for (base, generation) in found {
        let known = newest.entry(base).or_default();
        *known = generation.max(*known);
    }
    // Numbers of batches are not known any more: each segment's first gets the largest it can have had.
    let first_batch = |base: Offset| BatchIndex::FIRST.plus(base.get());
    let record = |(base, generation)| SegmentRecord { generation, ..SegmentRecord::fresh(base, first_batch(base)) };
    Ok(newest.into_iter().map(record).collect())
}

/// A `partition.json` made of the segments. Numbers of batches are not known any more, and none may be given out twice;
/// the newest epoch is one above all seen, for one may
/// have begun and left nothing.
pub(super) fn learn(
    disk: &dyn Disk,
    files: &PartitionFiles,
    partition: &TopicPartition,
    topic_id: TopicId,
    now: Timestamp,
) -> Result<PartitionFile, InspectError> {
    let mut file = PartitionFile::new(partition.topic.clone(), partition.partition, topic_id);
    let found = segments_found(disk, files)?;
    let (mut runs, mut segments) = (Vec::new(), Vec::<SegmentRecord>::new());
    let mut end = Offset::ZERO;
    for (number, record) in found.iter().enumerate() {
        // A compaction joined it to one before, and was interrupted before it removed it.
        if record.base < end && segments.last().is_some_and(|before| before.generation > 0) {
            continue;
        }
        let path = files.log_of(record);
        let log = disk.open(&path, OpenMode::Read).map_err(InspectError::io("open", &path))?;
        let bytes = log.len().map_err(InspectError::io("measure", &path))?;
        // A segment that was rewritten reaches to its own end: what it joined may still be there.
        let next_base = found.get(number + 1).map(|next| next.base).filter(|_| record.generation == 0);
        let walked = walk(log, bytes, record.base, next_base, now, &mut runs);
        end = walked.end;
        let sealed = Some(SealedSegment { bytes, max_timestamp_ms: walked.max_timestamp.millis() });
        segments.push(SegmentRecord { sealed, ..*record });
    }
    if let Some(last) = segments.last_mut() {
        if last.generation == 0 {
            last.sealed = None;
        } else {
            segments.push(SegmentRecord::fresh(end, BatchIndex::FIRST.plus(end.get())));
        }
    }
    if let Some(first) = segments.first() {
        file.log_start = first.base;
        file.segments = segments;
    }
    file.history = History { epochs: history_of(&runs), gaps: Vec::new() };
    Ok(file)
}

/// What was found of one segment.
struct Walked {
    end: Offset,
    max_timestamp: Timestamp,
}

/// Gathers the epochs of one segment's whole batches; returns where they end, and the largest timestamp.
fn walk(
    log: Arc<dyn DiskFile>,
    bytes: u64,
    base: Offset,
    next_base: Option<Offset>,
    now: Timestamp,
    runs: &mut Vec<Run>,
) -> Walked {
    let history = History::default();
    let mut window = Window::new(log, bytes);
    let (mut position, mut end, mut max_timestamp) = (0, base, Timestamp::NONE);
    while position < bytes {
        let accepted = whole_batch(&mut window, position);
        if let Some((header, epoch)) = accepted.filter(|(header, _)| header.base_offset == end) {
            position += header.total_bytes as u64;
            end = header.next_offset();
            max_timestamp = max_timestamp.max(effective_timestamp(header.max_timestamp, now));
            match runs.last_mut().filter(|run| run.epoch == epoch) {
                Some(run) => run.batches += 1,
                None => runs.push(Run { epoch, start: header.base_offset, batches: 1 }),
            }
            continue;
        }
        let search = Search {
            previous_end: end,
            expected: end,
            end: bytes,
            is_cut_off: next_base.is_none(),
            end_offset: next_base.unwrap_or(Offset::MAX),
            history: &history,
            epochs: &|header| epoch_of(header).is_some(),
        };
        match search.run(&mut window, position).filter(|(found, _)| *found < bytes) {
            Some((found, offset)) => (position, end) = (found, offset),
            None => break,
        }
    }
    Walked { end, max_timestamp }
}

fn whole_batch(window: &mut Window, position: u64) -> Option<(BatchHeader, Epoch)> {
    let bytes = window.at(position, HEADER_BYTES).ok()?;
    let header = match record::verify(&bytes) {
        Err(BatchError::Truncated { needed, .. }) if needed <= BATCH_BYTES_MAX => {
            record::verify(&window.at(position, needed).ok()?).ok()?
        }
        verified => verified.ok()?,
    };
    epoch_of(&header).map(|epoch| (header, epoch))
}

fn epoch_of(header: &BatchHeader) -> Option<Epoch> {
    Epoch::new(header.leader_epoch)
}

/// The history that most batches agree with.
fn history_of(runs: &[Run]) -> EpochHistory {
    let mut best: Vec<(u64, Option<usize>)> = Vec::with_capacity(runs.len());
    for (number, run) in runs.iter().enumerate() {
        let before = (0..number).filter(|before| runs[*before].epoch <= run.epoch);
        let before = before.max_by_key(|before| best[*before].0);
        best.push((run.batches + before.map_or(0, |before| best[before].0), before));
    }
    let mut at = (0..runs.len()).max_by_key(|number| best[*number].0);
    let mut entries: Vec<(Epoch, Offset)> = Vec::new();
    while let Some(number) = at {
        let Run { epoch, start, .. } = runs[number];
        match entries.last_mut().filter(|(later, _)| *later == epoch) {
            Some(later) => later.1 = start,
            None => entries.push((epoch, start)),
        }
        at = best[number].1;
    }
    entries.reverse();
    let newest = entries.last().map_or(Epoch::FIRST, |(epoch, _)| *epoch);
    EpochHistory::from_entries(entries, Some(newest.next().unwrap_or(newest))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_that_contradicts_the_others_is_not_believed() {
        let run = |epoch, start, batches| Run {
            epoch: Epoch::new(epoch).unwrap(),
            start: Offset::new(start).unwrap(),
            batches,
        };
        let entries = |runs: &[Run]| {
            let history = history_of(runs);
            let plain = |(epoch, start): &(Epoch, Offset)| (epoch.get(), start.get());
            (history.entries().iter().map(plain).collect::<Vec<_>>(), history.latest().map(Epoch::get))
        };
        assert_eq!(entries(&[]), (vec![], Some(2)));
        assert_eq!(entries(&[run(1, 0, 5), run(2, 10, 1)]), (vec![(1, 0), (2, 10)], Some(3)));
        assert_eq!(entries(&[run(1, 0, 5), run(65_537, 10, 1), run(1, 11, 5)]), (vec![(1, 0)], Some(2)));
        assert_eq!(entries(&[run(9, 0, 1), run(3, 1, 5), run(4, 8, 1)]), (vec![(3, 1), (4, 8)], Some(5)));
    }
}
