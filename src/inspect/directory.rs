//! A data directory as it lies on disk, looked at without taking it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::error::InspectError;
use super::report::{Finding, FindingKind, Severity};
use crate::disk::{DirLock, Disk, LOCK_FILE_NAME, read_file};
use crate::log::{FORMAT_VERSION, PartitionFiles, parse_directory};
use crate::types::TopicPartition;

const DIRECTORY_FILE: &str = "wiber.json";
const DIRECTORY_FILE_BYTES_MAX: u64 = 64 << 10;

/// Whether a server uses a data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LockState {
    /// Nobody does.
    Free,
    /// One does.
    Held,
    /// It cannot be told.
    Unknown,
}

/// A data directory that exists.
#[derive(Debug)]
pub struct Inspected {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) path: PathBuf,
    pub(super) id: Option<Uuid>,
    pub(super) findings: Vec<Finding>,
    partitions: Vec<TopicPartition>,
}

impl Inspected {
    /// Looks at a directory: its identity and its partitions.
    ///
    /// # Errors
    /// [`InspectError::NoDirectory`], [`InspectError::NotOurs`], [`InspectError::Newer`], [`InspectError::Io`].
    pub fn open(disk: Arc<dyn Disk>, path: &Path) -> Result<Inspected, InspectError> {
        let dir = path.to_path_buf();
        let entries = disk.read_dir(path).map_err(|error| {
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) {
                InspectError::NoDirectory { dir: dir.clone() }
            } else {
                InspectError::io("list", path)(error)
            }
        })?;
        let partitions: Vec<_> =
            entries.iter().filter(|entry| entry.is_dir).filter_map(|entry| parse_directory(&entry.name)).collect();
        let has_identity = entries.iter().any(|entry| entry.name == DIRECTORY_FILE);
        if partitions.is_empty() && !has_identity {
            return Err(InspectError::NotOurs { dir });
        }
        let mut inspected = Inspected { disk, path: dir, id: None, findings: Vec::new(), partitions };
        inspected.read_identity()?;
        Ok(inspected)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The partitions, in order of their directories' names.
    #[must_use]
    pub fn partitions(&self) -> &[TopicPartition] {
        &self.partitions
    }

    /// The partition whose directory has this name; `topic:partition` means the same.
    ///
    /// # Errors
    /// [`InspectError::NoPartition`].
    pub fn partition(&self, name: &str) -> Result<&TopicPartition, InspectError> {
        let named = |partition: &&TopicPartition| partition.directory_name() == name || partition.to_string() == name;
        let missing = || InspectError::NoPartition { dir: self.path.clone(), partition: name.to_owned() };
        self.partitions.iter().find(named).ok_or_else(missing)
    }

    /// The files of a partition.
    #[must_use]
    pub fn files(&self, partition: &TopicPartition) -> PartitionFiles {
        PartitionFiles::new(self.path.join(partition.directory_name()))
    }

    /// Whether a server uses the directory now.
    #[must_use]
    pub fn lock_state(&self) -> LockState {
        match self.disk.exists(&self.path.join(LOCK_FILE_NAME)) {
            Ok(false) => LockState::Free,
            // The lock is let go at once: looking must not keep a server from starting.
            Ok(true) => match self.disk.lock_dir(&self.path) {
                Ok(_released) => LockState::Free,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => LockState::Held,
                Err(_) => LockState::Unknown,
            },
            Err(_) => LockState::Unknown,
        }
    }

    /// Takes the directory for repair.
    ///
    /// # Errors
    /// [`InspectError::Locked`], [`InspectError::Io`].
    pub fn lock(&self) -> Result<Box<dyn DirLock>, InspectError> {
        self.disk.lock_dir(&self.path).map_err(|error| {
            if error.kind() == io::ErrorKind::WouldBlock {
                InspectError::Locked { dir: self.path.clone() }
            } else {
                InspectError::io("lock", &self.path)(error)
            }
        })
    }

    fn read_identity(&mut self) -> Result<(), InspectError> {
        let wrong = |reason: String| Finding::new(Severity::Damage, FindingKind::Directory, DIRECTORY_FILE, reason);
        let bytes = match read_file(&*self.disk, &self.path.join(DIRECTORY_FILE), DIRECTORY_FILE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.findings.push(wrong(format!("cannot be read: {error}")));
                return Ok(());
            }
        };
        let content: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let version = content.get("format_version").and_then(Value::as_u64);
        let id = content.get("directory_id").and_then(Value::as_str).and_then(|id| Uuid::parse_str(id).ok());
        match (version, id) {
            (Some(found), _) if found > u64::from(FORMAT_VERSION) => {
                return Err(InspectError::Newer { dir: self.path.clone(), found, known: FORMAT_VERSION });
            }
            (Some(_), Some(id)) => self.id = Some(id),
            _ => self.findings.push(wrong("has no format_version or no directory_id".to_owned())),
        }
        Ok(())
    }
}
