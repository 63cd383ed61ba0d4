//! A partition's files, opened for reading: what `partition.json` and each `.idx` say of a segment, beside its bytes.

use std::io;
use std::sync::Arc;

use super::error::InspectError;
use super::index_check::SlotFile;
use super::scan::{Bounds, Lost, SegmentScan};
use crate::disk::{Disk, DiskFile, OpenMode, read_file};
use crate::log::{
    Damage, History, PARTITION_FILE_BYTES_MAX, PartitionFile, PartitionFileError, PartitionFiles, SegmentRecord,
};

/// One segment.
pub(super) struct SegmentSource {
    pub(super) record: SegmentRecord,
    pub(super) bounds: Bounds,
    pub(super) file_len: u64,
    pub(super) slots: SlotFile,
    file: Option<Arc<dyn DiskFile>>,
}

impl SegmentSource {
    /// Opens the segment of a number.
    pub(super) fn open(
        disk: &dyn Disk,
        files: &PartitionFiles,
        file: &PartitionFile,
        number: usize,
    ) -> Result<SegmentSource, InspectError> {
        let record = file.segments[number];
        let path = files.log_of(&record);
        let log = match disk.open(&path, OpenMode::Read) {
            Ok(log) => Some(log),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(InspectError::io("open", &path)(error)),
        };
        let file_len = log.as_ref().map_or(Ok(0), |log| log.len()).map_err(InspectError::io("measure", &path))?;
        let slots = SlotFile::read(disk, &files.index_of(&record), record.base);
        let bounds = match (record.sealed, file.segments.get(number + 1)) {
            (Some(sealed), Some(next)) => {
                Bounds { base: record.base, durable: sealed.bytes, durable_offset: next.base, limit: sealed.bytes }
            }
            _ => {
                let mark = slots.newest_mark();
                let durable = mark.map_or(0, |mark| u64::from(mark.position));
                let relative = mark.map_or(0, |mark| u64::from(mark.relative_offset));
                Bounds { base: record.base, durable, durable_offset: record.base.plus(relative), limit: u64::MAX }
            }
        };
        Ok(SegmentSource { record, bounds, file_len, slots, file: log })
    }

    /// Reads the segment; `None` where its log is missing.
    pub(super) fn scan<'a>(&self, history: &'a History) -> Option<SegmentScan<'a>> {
        let file = Arc::clone(self.file.as_ref()?);
        Some(SegmentScan::new(file, self.file_len, self.bounds, history, self.slots.index()))
    }

    /// What is lost with a log that is missing; nothing where it was never known to hold anything.
    pub(super) fn missing(&self) -> Option<Lost> {
        let Bounds { base, durable, durable_offset, .. } = self.bounds;
        let is_lost = self.file.is_none() && durable > 0;
        is_lost.then_some(Lost { position: 0, end: 0, from: base, to: durable_offset, damage: Damage::Missing })
    }

    /// How many bytes the file holds behind the segment's end.
    pub(super) fn surplus_bytes(&self) -> u64 {
        self.file_len.saturating_sub(self.bounds.limit)
    }
}

/// Reads `partition.json`; the inner error says why it cannot be used.
pub(super) fn read_partition_file(
    disk: &dyn Disk,
    files: &PartitionFiles,
) -> Result<Result<PartitionFile, PartitionFileError>, InspectError> {
    let path = files.partition_file();
    match read_file(disk, &path, PARTITION_FILE_BYTES_MAX) {
        Ok(bytes) => Ok(PartitionFile::decode(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Err(PartitionFileError::Missing)),
        Err(error) => Err(InspectError::io("read", &path)(error)),
    }
}

/// The newest mark's batch number, or that of the segment's first batch.
pub(super) fn durable_batches(slots: &SlotFile) -> u64 {
    slots.newest_mark().map_or(0, |mark| u64::from(mark.relative_batch))
}

/// Bytes of log a partition holds, for progress.
pub(super) fn log_bytes(disk: &dyn Disk, files: &PartitionFiles, segments: &[SegmentRecord]) -> u64 {
    let len = |record: &SegmentRecord| disk.open(&files.log_of(record), OpenMode::Read).and_then(|log| log.len());
    segments.iter().filter_map(|record| len(record).ok()).sum()
}
