//! The directory of the snapshots: writing one so that a power cut leaves the one before, finding the newest sound one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::name::SnapshotName;
use super::{Snapshot, file};
use crate::disk::{Disk, create_dir_durably, read_file, replace_file};
use crate::log::EnvelopeError;
use crate::types::Timestamp;

/// Largest snapshot file that is written or read, in bytes.
pub const SNAPSHOT_BYTES_MAX: u64 = 256 << 20;

/// The directory of the snapshots. One call at a time.
#[derive(Debug)]
pub struct SnapshotStore {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    kept: usize,
    /// [`SNAPSHOT_BYTES_MAX`], less in tests.
    pub(super) bytes_max: u64,
}

/// Why a snapshot was not written. The ones there are stay.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The disk failed.
    #[error("cannot write a snapshot to {}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the disk reported.
        source: io::Error,
    },
    /// A topic is just being created, changed or deleted.
    #[error("no snapshot while a topic is being changed")]
    Unsettled,
    /// It would not be read again.
    #[error("a snapshot of {bytes} bytes is too large: at most {bytes_max}")]
    TooLarge {
        /// Its length.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// It cannot be put into JSON.
    #[error("cannot encode a snapshot: {0}")]
    Encode(#[from] EnvelopeError),
    /// No name can be made of the time.
    #[error("no snapshot can be named after the time {now} ms: its year has not four digits")]
    TimeOutOfRange {
        /// The time.
        now: Timestamp,
    },
}

/// Why a file was passed over.
#[derive(Debug, thiserror::Error)]
pub enum SkipReason {
    /// The disk failed, or the file is too large to be a snapshot.
    #[error("cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    /// Not the JSON of a snapshot.
    #[error("damaged: {0}")]
    Damaged(String),
    /// The content is not what was written.
    #[error("damaged: the checksum is {found}, not {expected}")]
    ChecksumDiffers {
        /// What the file says.
        expected: String,
        /// What its content has.
        found: String,
    },
    /// Written by a newer broker.
    #[error("of version {found}: this broker knows up to {known}")]
    NewerVersion {
        /// Its version.
        found: u64,
        /// The newest version known here.
        known: u64,
    },
    /// Taken of another data directory.
    #[error("of another data directory: {found}")]
    ForeignDirectory {
        /// The id of that directory.
        found: Uuid,
    },
}

/// What [`SnapshotStore::load_newest`] found.
#[derive(Debug)]
pub struct Loaded {
    /// The newest sound snapshot.
    pub snapshot: Option<Snapshot>,
    /// The newer files (or, where the directory cannot be read, the directory) that were passed over, and why.
    pub skipped: Vec<(String, SkipReason)>,
}

impl SnapshotStore {
    /// A store in `dir`, created with the first write, that keeps the newest `kept` snapshots, at least one.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, dir: PathBuf, kept: usize) -> SnapshotStore {
        SnapshotStore { disk, dir, kept: kept.max(1), bytes_max: SNAPSHOT_BYTES_MAX }
    }

    /// Writes a snapshot, durably, under a name made of `now`; then removes the oldest beyond those kept. Returns its
    /// path.
    ///
    /// # Errors
    /// [`SnapshotError`] where it was not written. Failing to remove an old one is no error: the next write tries again.
    pub fn write(&self, content: &Snapshot, now: Timestamp) -> Result<PathBuf, SnapshotError> {
        let bytes = file::encode(content)?;
        let length = bytes.len() as u64;
        if length > self.bytes_max {
            return Err(SnapshotError::TooLarge { bytes: length, bytes_max: self.bytes_max });
        }
        let failed = |path: &Path| {
            let path = path.to_owned();
            |source| SnapshotError::Io { path, source }
        };
        create_dir_durably(&*self.disk, &self.dir).map_err(failed(&self.dir))?;
        let mut names = self.names().map_err(failed(&self.dir))?;
        let name = SnapshotName::after(&names, now).ok_or(SnapshotError::TimeOutOfRange { now })?;
        let path = self.dir.join(name.to_string());
        replace_file(&*self.disk, &path, &bytes).map_err(failed(&path))?;
        names.push(name.clone());
        self.prune(names, &name);
        Ok(path)
    }

    /// The newest snapshot of this data directory that is whole, and what had to be passed over for it. Removes what a
    /// write that was cut short left behind.
    #[must_use]
    pub fn load_newest(&self, directory_id: Uuid) -> Loaded {
        let mut loaded = Loaded { snapshot: None, skipped: Vec::new() };
        let mut names = match self.names() {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return loaded,
            Err(error) => {
                let dir = self.dir.display().to_string();
                loaded.skipped.push((dir, SkipReason::Unreadable(error)));
                return loaded;
            }
        };
        names.sort_unstable_by(|a, b| b.cmp(a));
        for name in names {
            match self.load(&name, directory_id) {
                Ok(snapshot) => {
                    loaded.snapshot = Some(snapshot);
                    break;
                }
                Err(reason) => loaded.skipped.push((name.to_string(), reason)),
            }
        }
        loaded
    }

    fn load(&self, name: &SnapshotName, directory_id: Uuid) -> Result<Snapshot, SkipReason> {
        let path = self.dir.join(name.to_string());
        let bytes = read_file(&*self.disk, &path, self.bytes_max).map_err(SkipReason::Unreadable)?;
        let snapshot = file::decode(&bytes)?;
        if snapshot.directory_id != directory_id {
            return Err(SkipReason::ForeignDirectory { found: snapshot.directory_id });
        }
        Ok(snapshot)
    }

    /// The snapshots there are, in no order. Removes leftovers on the way.
    fn names(&self) -> io::Result<Vec<SnapshotName>> {
        let mut names = Vec::new();
        for entry in self.disk.read_dir(&self.dir)? {
            if entry.is_dir {
                continue;
            }
            if SnapshotName::is_leftover(&entry.name) {
                self.remove(&entry.name);
            }
            names.extend(SnapshotName::parse(&entry.name));
        }
        Ok(names)
    }

    /// Removes the oldest snapshots beyond those kept, but never the one just written, which a clock put back may have
    /// given an old name.
    fn prune(&self, mut names: Vec<SnapshotName>, written: &SnapshotName) {
        names.sort_unstable_by(|a, b| b.cmp(a));
        for name in names.iter().skip(self.kept).filter(|&name| name != written) {
            self.remove(&name.to_string());
        }
    }

    /// Removes a file nobody needs; one that comes back after a power cut harms nobody.
    fn remove(&self, file_name: &str) {
        if let Err(error) = self.disk.remove_file(&self.dir.join(file_name)) {
            tracing::warn!(file_name, %error, "cannot remove an old snapshot file");
        }
    }
}
