//! Why a data directory cannot be looked into or mended.

use std::io;
use std::path::{Path, PathBuf};

/// A failed inspection or repair. Damage that was found is no error: it is in the report.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// There is no such directory.
    #[error("{dir} is not there: name the directory given as storage.data_dir (or --data-dir)")]
    NoDirectory {
        /// The directory named.
        dir: PathBuf,
    },
    /// The directory is there and holds nothing of Wiber's.
    #[error("{dir} is no data directory: it has neither wiber.json nor a partition")]
    NotOurs {
        /// The directory named.
        dir: PathBuf,
    },
    /// There is no such partition.
    #[error("{dir} has no partition {partition:?}: name one as its directory is named, such as events_p0")]
    NoPartition {
        /// The data directory.
        dir: PathBuf,
        /// The name given.
        partition: String,
    },
    /// A broker uses the directory.
    #[error("{dir} is in use by a wiber-server: stop it first, for repair must be alone with the files")]
    Locked {
        /// The data directory.
        dir: PathBuf,
    },
    /// A later version of Wiber wrote it.
    #[error("{dir} has format {found}, this wiber-server knows {known}: use the newer wiber-server that wrote it")]
    Newer {
        /// The data directory.
        dir: PathBuf,
        /// Its format.
        found: u64,
        /// The newest known here.
        known: u32,
    },
    /// `partition.json` is lost and the identity of its topic cannot be found again.
    #[error(
        "{partition}: partition.json is unusable and __meta does not say which topic this is (topic ids come from its \
         create_topic records): repair __meta_p0 first, or put a partition.json back from a backup"
    )]
    TopicIdUnknown {
        /// The partition's directory.
        partition: String,
    },
    /// `partition.json` is of a later version, which must not be replaced by an older one.
    #[error("{path}: {reason}; use the newer wiber-server that wrote it")]
    NewerPartitionFile {
        /// The file.
        path: PathBuf,
        /// What it says.
        reason: String,
    },
    /// `partition.json` cannot be used, where it is needed.
    #[error("{path}: {reason}; `wiber-server repair` builds it anew from the segments")]
    PartitionFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file system failed.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
}

impl InspectError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> InspectError {
        let path = path.to_path_buf();
        move |source| InspectError::Io { action, path, source }
    }

    /// Whether what was named is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(
            self,
            InspectError::NoDirectory { .. } | InspectError::NotOurs { .. } | InspectError::NoPartition { .. }
        )
    }
}
