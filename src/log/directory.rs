//! The data directory: its identity, its lock, and the way topics leave it.
//!
//! `wiber.json` says which format the directory has and gives it a UUID, so that a newer one is not misread and a
//! snapshot of another one not believed. A topic that is deleted is first renamed into `.deleted/<topic id>/`, then
//! removed: it is never half there under its name.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error::is_full;
use super::layout::{PartitionFiles, parse_segment_name};
use super::recovery::read_partition_file;
use crate::disk::{DirLock, Disk, OpenMode, create_dir_durably, read_file, replace_file};
use crate::types::{PartitionIndex, TopicId, TopicName, TopicPartition};

/// The format that this program writes.
pub const FORMAT_VERSION: u32 = 1;
const DIRECTORY_FILE: &str = "wiber.json";
const DIRECTORY_FILE_BYTES_MAX: u64 = 64 << 10;
const DELETED_DIR: &str = ".deleted";
/// The partition of the metadata, whose topic id is the directory's identity.
const META_DIR: &str = "__meta_p0";

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Another process uses it.
    #[error("{dir} is in use by another wiber-server: stop that one, or give this one a data directory of its own")]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// A later version of Wiber wrote it.
    #[error(
        "{dir} has format {found}, this wiber-server knows {FORMAT_VERSION}: use the newer wiber-server that wrote it"
    )]
    Newer {
        /// The directory.
        dir: PathBuf,
        /// Its format.
        found: u32,
    },
    /// Its `wiber.json` is damaged.
    #[error("{path} cannot be read: {reason}")]
    Damaged {
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

#[derive(Debug, Serialize, Deserialize)]
struct DirectoryFile {
    format_version: u32,
    directory_id: Uuid,
}

/// A data directory that is ours while this lives.
#[derive(Debug)]
pub struct DataDirectory {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    id: Uuid,
    _lock: Box<dyn DirLock>,
}

impl DataDirectory {
    /// Locks the directory and reads its identity; makes it, with the identity given, where it is not there yet.
    ///
    /// # Errors
    /// Every variant of [`DirectoryError`].
    pub fn open(disk: Arc<dyn Disk>, path: PathBuf, fresh_id: Uuid) -> Result<DataDirectory, DirectoryError> {
        let failed = |action, path: &Path, source| DirectoryError::Io { action, path: path.to_path_buf(), source };
        create_dir_durably(&*disk, &path).map_err(|error| failed("create", &path, error))?;
        let lock = disk.lock_dir(&path).map_err(|error| {
            let is_held = error.kind() == io::ErrorKind::WouldBlock;
            if is_held { DirectoryError::Locked { dir: path.clone() } } else { failed("lock", &path, error) }
        })?;
        let file = path.join(DIRECTORY_FILE);
        let id = match read_file(&*disk, &file, DIRECTORY_FILE_BYTES_MAX) {
            Ok(bytes) => {
                // Whoever wrote it may have been killed before its sync.
                disk.sync_dir(&path).map_err(|error| failed("sync", &path, error))?;
                decode(&path, &file, &bytes)?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let id = known_identity(&*disk, &path, &file)?.unwrap_or(fresh_id);
                let content = DirectoryFile { format_version: FORMAT_VERSION, directory_id: id };
                let bytes = serde_json::to_vec_pretty(&content)
                    .map_err(|error| DirectoryError::Damaged { path: file.clone(), reason: error.to_string() })?;
                replace_file(&*disk, &file, &bytes).map_err(|error| failed("write", &file, error))?;
                id
            }
            Err(error) => return Err(failed("read", &file, error)),
        };
        Ok(DataDirectory { disk, path, id, _lock: lock })
    }

    /// The directory's identity.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The files of one partition.
    #[must_use]
    pub fn partition(&self, partition: &TopicPartition) -> PartitionFiles {
        PartitionFiles::new(self.path.join(partition.directory_name()))
    }

    /// The partitions that have a directory here, in order of their directories' names.
    ///
    /// # Errors
    /// Whatever the file system reports.
    pub fn partitions(&self) -> io::Result<Vec<TopicPartition>> {
        let entries = self.disk.read_dir(&self.path)?;
        Ok(entries.iter().filter(|entry| entry.is_dir).filter_map(|entry| parse_directory(&entry.name)).collect())
    }

    /// Whether a partition's directory, if it is there, holds any record.
    ///
    /// # Errors
    /// Whatever the file system reports.
    pub fn holds_records(&self, partition: &TopicPartition) -> io::Result<bool> {
        let files = self.partition(partition);
        if !self.disk.exists(files.dir())? {
            return Ok(false);
        }
        for entry in self.disk.read_dir(files.dir())? {
            let path = files.dir().join(&entry.name);
            if parse_segment_name(&entry.name, "log").is_some() && !self.disk.open(&path, OpenMode::Read)?.is_empty()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The topic that a partition's directory says it belongs to, where it can be read.
    #[must_use]
    pub fn owner(&self, partition: &TopicPartition) -> Option<TopicId> {
        read_partition_file(&*self.disk, &self.partition(partition)).ok().map(|file| file.topic_id)
    }

    /// Makes the names of the directories in it durable: whoever made some calls it once for all of them.
    ///
    /// # Errors
    /// Whatever the file system reports.
    pub fn sync(&self) -> io::Result<()> {
        self.disk.sync_dir(&self.path)
    }

    /// Takes the directories of partitions out of sight, durably: they are then no topic's any more. On a full device,
    /// where there is no room for a directory to take them, they are removed where they are: half removed they are
    /// leftovers like any other.
    ///
    /// # Errors
    /// Whatever the file system reports; `NotFound` is no error.
    pub fn set_deleted(&self, partitions: &[TopicPartition], topic_id: TopicId) -> io::Result<()> {
        let names = self.that_exist(partitions)?;
        if names.is_empty() {
            return Ok(());
        }
        match self.move_deleted(&names, topic_id) {
            Err(error) if is_full(&error) => {
                for name in self.that_exist(partitions)? {
                    self.disk.remove_dir_all(&self.path.join(name))?;
                }
                self.sync()
            }
            moved => moved,
        }
    }

    fn that_exist(&self, partitions: &[TopicPartition]) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for name in partitions.iter().map(TopicPartition::directory_name) {
            if self.disk.exists(&self.path.join(&name))? {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn move_deleted(&self, names: &[String], topic_id: TopicId) -> io::Result<()> {
        let dir = self.deleted_dir(topic_id);
        create_dir_durably(&*self.disk, &dir)?;
        for name in names {
            let to = dir.join(name);
            if self.disk.exists(&to)? {
                self.disk.remove_dir_all(&to)?;
            }
            self.disk.rename(&self.path.join(name), &to)?;
        }
        self.disk.sync_dir(&dir)?;
        self.sync()
    }

    fn deleted_dir(&self, topic_id: TopicId) -> PathBuf {
        self.path.join(DELETED_DIR).join(topic_id.to_string())
    }

    /// The directories that were set aside as one topic's, and take up space still.
    ///
    /// # Errors
    /// Whatever the file system reports.
    pub fn deleted_of(&self, topic_id: TopicId) -> io::Result<Vec<PathBuf>> {
        let dir = self.deleted_dir(topic_id);
        if !self.disk.exists(&dir)? {
            return Ok(Vec::new());
        }
        Ok(self.disk.read_dir(&dir)?.into_iter().map(|entry| dir.join(entry.name)).collect())
    }

    /// Frees the space of what was set aside as one topic's.
    ///
    /// # Errors
    /// Whatever the file system reports.
    pub fn purge_deleted_of(&self, topic_id: TopicId) -> io::Result<()> {
        let dir = self.deleted_dir(topic_id);
        if self.disk.exists(&dir)? { self.disk.remove_dir_all(&dir) } else { Ok(()) }
    }

    /// Frees the space of everything that was deleted.
    ///
    /// # Errors
    /// Whatever the file system reports.
    pub fn purge_deleted(&self) -> io::Result<()> {
        let dir = self.path.join(DELETED_DIR);
        if self.disk.exists(&dir)? {
            for entry in self.disk.read_dir(&dir)? {
                self.disk.remove_dir_all(&dir.join(entry.name))?;
            }
        }
        Ok(())
    }
}

/// The identity of a directory that lost its `wiber.json`: the metadata's partition has it as its topic's. `None` where
/// there is no partition at all; a fresh identity given to partitions would make them strangers for good.
fn known_identity(disk: &dyn Disk, dir: &Path, file: &Path) -> Result<Option<Uuid>, DirectoryError> {
    let entries = disk.read_dir(dir);
    let entries = entries.map_err(|source| DirectoryError::Io { action: "read", path: dir.to_path_buf(), source })?;
    if !entries.iter().any(|entry| entry.is_dir && parse_directory(&entry.name).is_some()) {
        return Ok(None);
    }
    match read_partition_file(disk, &PartitionFiles::new(dir.join(META_DIR))) {
        Ok(meta) => {
            tracing::warn!(path = %file.display(), "missing: made anew, with the identity that __meta knows");
            Ok(Some(meta.topic_id.get()))
        }
        Err(error) => {
            let reason = format!("it is missing, and __meta does not tell the directory's identity: {error}");
            Err(DirectoryError::Damaged { path: file.to_path_buf(), reason })
        }
    }
}

fn decode(dir: &Path, file: &Path, bytes: &[u8]) -> Result<Uuid, DirectoryError> {
    let damaged = |error: serde_json::Error| {
        let reason = format!("{error}; restore it, or move it away: the next start makes it anew");
        DirectoryError::Damaged { path: file.to_path_buf(), reason }
    };
    let content: DirectoryFile = serde_json::from_slice(bytes).map_err(damaged)?;
    if content.format_version > FORMAT_VERSION {
        return Err(DirectoryError::Newer { dir: dir.to_path_buf(), found: content.format_version });
    }
    Ok(content.directory_id)
}

/// The partition whose directory has this name: what stands before the last `_p` is the topic.
pub(crate) fn parse_directory(name: &str) -> Option<TopicPartition> {
    let (topic, partition) = name.rsplit_once("_p")?;
    let canonical = partition.parse::<u32>().ok().filter(|number| number.to_string() == partition)?;
    Some(TopicPartition { topic: TopicName::new(topic).ok()?, partition: PartitionIndex(canonical) })
}
