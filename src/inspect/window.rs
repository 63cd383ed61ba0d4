//! The part of a file that is in memory while it is read from front to back.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::disk::DiskFile;
use crate::log::Damage;

/// Bytes of one read.
pub(super) const READ_BYTES: usize = 1 << 20;

/// A file read in large pieces; what is handed out shares the piece's memory.
#[derive(Debug)]
pub(super) struct Window {
    file: Arc<dyn DiskFile>,
    bytes: Bytes,
    start: u64,
    end: u64,
}

impl Window {
    /// A window on the first `end` bytes of a file.
    pub(super) fn new(file: Arc<dyn DiskFile>, end: u64) -> Window {
        Window { file, bytes: Bytes::new(), start: 0, end }
    }

    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// The bytes from a position on, at least `wanted` of them unless the file ends first.
    pub(super) fn at(&mut self, position: u64, wanted: usize) -> Result<Bytes, Damage> {
        let left = usize::try_from(self.end.saturating_sub(position)).unwrap_or(usize::MAX);
        let skip = position.checked_sub(self.start).and_then(|skip| usize::try_from(skip).ok());
        if let Some(skip) = skip.filter(|skip| *skip <= self.bytes.len())
            && self.bytes.len() - skip >= wanted.min(left)
        {
            return Ok(self.bytes.slice(skip..));
        }
        let mut bytes = BytesMut::zeroed(wanted.max(READ_BYTES).min(left));
        let read = self.file.read_at(&mut bytes, position);
        let read = read.map_err(|error| Damage::Unreadable(error.to_string()))?;
        bytes.truncate(read);
        self.bytes = bytes.freeze();
        self.start = position;
        Ok(self.bytes.clone())
    }
}
