//! Reading one sealed segment batch by batch, a turn at a time.

use std::io::ErrorKind;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::CompactionError;
use crate::disk::{DiskFile, OpenMode};
use crate::log::chain::{Chain, Damage};
use crate::log::context::BATCH_BYTES_MAX;
use crate::log::epochs::History;
use crate::log::error::LogError;
use crate::log::partition_file::SegmentRecord;
use crate::log::partition_log::PartitionLog;
use crate::log::recovery::DamageReport;
use crate::record::{Batch, BatchError};
use crate::types::Offset;

/// Bytes of one read.
const READ_BYTES: usize = 1 << 20;

/// A place in a segment, between two batches.
#[derive(Debug)]
pub(super) struct Cursor {
    file: Arc<dyn DiskFile>,
    base: Offset,
    end: u64,
    next: Offset,
    position: u64,
    chunk: Bytes,
}

impl Cursor {
    pub(super) fn open(log: &PartitionLog, record: &SegmentRecord) -> Result<Cursor, CompactionError> {
        let path = log.files.log_of(record);
        let file = match log.context.disk.open(&path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound && !log.is_named(record) => {
                return Err(CompactionError::Superseded);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let report = DamageReport { segment: record.base, position: 0, damage: Damage::Missing };
                return Err(CompactionError::Damaged(report));
            }
            Err(error) => return Err(LogError::io("open", &path, error).into()),
        };
        let end = record.sealed.map_or(0, |sealed| sealed.bytes);
        Ok(Cursor { file, base: record.base, end, next: record.base, position: 0, chunk: Bytes::new() })
    }

    /// Begins again at the segment's first batch.
    pub(super) fn rewind(&mut self) {
        (self.next, self.position, self.chunk) = (self.base, 0, Bytes::new());
    }

    /// The next batch, verified; `None` at the segment's end.
    pub(super) fn next(&mut self, history: &History) -> Result<Option<Batch>, CompactionError> {
        if self.position >= self.end {
            return Ok(None);
        }
        let (mut wanted, mut has_read) = (READ_BYTES, false);
        loop {
            let mut chain = Chain::new(self.next, history);
            let damage = match chain.accept(&self.chunk) {
                Ok(header) => {
                    let batch = Batch::from_verified(self.chunk.split_to(header.total_bytes), header);
                    self.position += header.total_bytes as u64;
                    self.next = chain.next();
                    return Ok(Some(batch));
                }
                Err(Damage::Batch(BatchError::Truncated { needed, .. })) if needed > wanted => {
                    wanted = needed;
                    has_read = false;
                    Damage::Batch(BatchError::Truncated { needed, have: self.chunk.len() })
                }
                Err(damage) => damage,
            };
            if has_read || wanted > BATCH_BYTES_MAX {
                let report = DamageReport { segment: self.base, position: self.position, damage };
                return Err(CompactionError::Damaged(report));
            }
            self.load(wanted)?;
            has_read = true;
        }
    }

    fn load(&mut self, wanted: usize) -> Result<(), CompactionError> {
        let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
        let mut bytes = BytesMut::zeroed(wanted.min(left));
        let read = self.file.read_at(&mut bytes, self.position).map_err(|error| {
            let damage = Damage::Unreadable(error.to_string());
            CompactionError::Damaged(DamageReport { segment: self.base, position: self.position, damage })
        })?;
        bytes.truncate(read);
        self.chunk = bytes.freeze();
        Ok(())
    }
}
