//! What can go wrong in a partition's log.

use std::io;
use std::path::{Path, PathBuf};

use super::partition_file::PartitionFileError;

/// A failed operation on a partition's files.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The device has no room; retriable once there is.
    #[error("no room left on the device for {path}: {source}")]
    StorageFull {
        /// The file that was to grow.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// A sync failed: what was written since the last one is uncertain for ever.
    #[error("sync of {path} failed, what it should have made durable is uncertain: {reason}")]
    SyncFailed {
        /// The file or directory.
        path: PathBuf,
        /// What the file system said, now or the first time.
        reason: String,
    },
    /// Any other failure of the file system.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The partition was deleted, or closed otherwise.
    #[error("{dir} is closed")]
    Closed {
        /// The partition's directory.
        dir: PathBuf,
    },
    /// `partition.json` cannot be used.
    #[error("{path}: {source}")]
    PartitionFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: PartitionFileError,
    },
}

impl LogError {
    /// Sorts a failure of the file system: a full device apart from all others.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> LogError {
        let path = path.to_path_buf();
        if is_full(&source) { LogError::StorageFull { path, source } } else { LogError::Io { action, path, source } }
    }

    /// A failed sync, which is final.
    pub(crate) fn sync(path: &Path, source: &io::Error) -> LogError {
        LogError::SyncFailed { path: path.to_path_buf(), reason: source.to_string() }
    }

    /// Whether it may succeed later without anybody's doing but making room.
    #[must_use]
    pub fn is_storage_full(&self) -> bool {
        matches!(self, LogError::StorageFull { .. })
    }
}

pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
