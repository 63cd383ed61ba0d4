//! The segment that takes appends, and sealed ones opened for reading.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::error::LogError;
use super::index::Index;
use super::index_file::{ActiveIndex, load_index};
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::types::{BatchIndex, Offset};

/// The last segment of a partition.
#[derive(Debug)]
pub(crate) struct ActiveSegment {
    pub(crate) base: Offset,
    pub(crate) first_batch: BatchIndex,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) index: Mutex<ActiveIndex>,
    path: PathBuf,
    /// Held during a sync, so that of two none can miss the other's failure; keeps the first failure's reason.
    failed_sync: Mutex<Option<String>>,
}

impl ActiveSegment {
    pub(crate) fn new(
        base: Offset,
        first_batch: BatchIndex,
        path: PathBuf,
        file: Arc<dyn DiskFile>,
        index: ActiveIndex,
    ) -> ActiveSegment {
        ActiveSegment { base, first_batch, file, index: Mutex::new(index), path, failed_sync: Mutex::new(None) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the file durable. Once a sync has failed none succeeds again: the page cache no longer tells the truth.
    pub(crate) fn sync(&self) -> Result<(), LogError> {
        let mut failed = self.failed_sync.lock();
        if let Some(reason) = failed.as_ref() {
            return Err(LogError::SyncFailed { path: self.path.clone(), reason: reason.clone() });
        }
        self.file.sync_data().map_err(|error| {
            *failed = Some(error.to_string());
            LogError::sync(&self.path, &error)
        })
    }
}

/// A sealed segment, open for reading.
#[derive(Debug)]
pub(crate) struct SealedReader {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) index: Index,
}

impl SealedReader {
    /// Opens a sealed segment. Without a usable index every lookup walks from its start: slow, never wrong.
    pub(crate) fn open(disk: &dyn Disk, log: &Path, index: &Path, base: Offset) -> io::Result<SealedReader> {
        let file = disk.open(log, OpenMode::Read)?;
        let index = load_index(disk, index, base).map(|(index, _)| index).unwrap_or_default();
        Ok(SealedReader { file, index })
    }
}
