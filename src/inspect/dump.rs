//! Going through a partition's content piece by piece, in constant memory.

use std::ops::ControlFlow;

use super::directory::Inspected;
use super::error::InspectError;
use super::learn::learn;
use super::scan::ScanEvent;
use super::source::{SegmentSource, read_partition_file};
use crate::log::{IndexSlot, PartitionFile};
use crate::types::{Offset, Timestamp, TopicId, TopicPartition};

/// One slot of an `.idx` file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexLine {
    /// The base offset of the segment.
    pub segment: Offset,
    /// The slot's number in the file, from 0.
    pub number: usize,
    /// What it says; `None` where it is unreadable.
    pub slot: Option<IndexSlot>,
}

/// The content of `partition.json`, and why it had to be guessed from the segments, where it had to.
///
/// # Errors
/// [`InspectError::Io`].
pub fn load_partition_file(
    inspected: &Inspected,
    partition: &TopicPartition,
) -> Result<(PartitionFile, Option<String>), InspectError> {
    let (disk, files) = (&*inspected.disk, inspected.files(partition));
    match read_partition_file(disk, &files)? {
        Ok(file) => Ok((file, None)),
        Err(error) => {
            let nobody = TopicId::new(uuid::Uuid::nil());
            let learned = learn(disk, &files, partition, nobody, Timestamp::NONE)?;
            Ok((learned, Some(error.to_string())))
        }
    }
}

/// Gives every batch that reaches `from` or lies behind it, damage, and each segment's tail, with the base offset of
/// the segment, until told to stop.
///
/// # Errors
/// [`InspectError::Io`].
pub fn dump_batches(
    inspected: &Inspected,
    partition: &TopicPartition,
    from: Offset,
    visit: &mut dyn FnMut(Offset, &ScanEvent) -> ControlFlow<()>,
) -> Result<(), InspectError> {
    let (file, _) = load_partition_file(inspected, partition)?;
    let files = inspected.files(partition);
    for number in 0..file.segments.len() {
        if file.segments.get(number + 1).is_some_and(|next| next.base <= from) {
            continue;
        }
        let source = SegmentSource::open(&*inspected.disk, &files, &file, number)?;
        let base = source.record.base;
        if let Some(lost) = source.missing()
            && visit(base, &ScanEvent::Lost(lost)).is_break()
        {
            return Ok(());
        }
        for event in source.scan(&file.history).into_iter().flatten() {
            let is_below = match &event {
                ScanEvent::Batch(_, batch) => batch.header().next_offset() <= from,
                ScanEvent::Lost(lost) => lost.to < from,
                ScanEvent::End(_) => false,
            };
            if !is_below && visit(base, &event).is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Gives every slot of every index, until told to stop.
///
/// # Errors
/// [`InspectError::Io`].
pub fn dump_index(
    inspected: &Inspected,
    partition: &TopicPartition,
    visit: &mut dyn FnMut(IndexLine) -> ControlFlow<()>,
) -> Result<(), InspectError> {
    let (file, _) = load_partition_file(inspected, partition)?;
    let files = inspected.files(partition);
    for number in 0..file.segments.len() {
        let source = SegmentSource::open(&*inspected.disk, &files, &file, number)?;
        for (number, slot) in source.slots.slots.iter().enumerate() {
            let line = IndexLine { segment: source.record.base, number, slot: *slot };
            if visit(line).is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}
