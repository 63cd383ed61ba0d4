//! The one module that touches files, behind a trait, so that a test can put a faulty disk under a whole broker.
//!
//! The contract is that of a POSIX file system after a power cut: only what was synced is certain. A file's bytes and
//! length are durable after [`DiskFile::sync_data`], a directory entry (creation, rename, removal) after
//! [`Disk::sync_dir`] of its directory. Nothing here knows what the bytes mean.

pub mod faulty;
mod files;
mod real;
#[cfg(test)]
mod tests;

pub use files::{create_dir_durably, read_file, replace_file, replace_file_unsynced};
pub use real::RealDisk;

use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

/// The file that [`Disk::lock_dir`] creates in the directory and locks.
pub const LOCK_FILE_NAME: &str = "lock";

/// How [`Disk::open`] treats a file that is there, or is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// Must exist; opened for reading alone.
    Read,
    /// Must exist; opened for reading and writing.
    ReadWrite,
    /// Must not exist; created empty for reading and writing.
    CreateNew,
    /// Created where absent, emptied where present; for reading and writing.
    CreateOrEmpty,
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The entry's name, without its directory. Entries whose name is not UTF-8 are never listed: none of ours is.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// Held while a directory is locked; dropping it unlocks.
pub trait DirLock: Send + Sync + Debug {}

/// A file system. Every call blocks; none is made on a thread that serves sockets, but for small writes.
pub trait Disk: Send + Sync + Debug {
    /// Opens or creates a file.
    ///
    /// # Errors
    /// `NotFound`, `AlreadyExists` as [`OpenMode`] says, and whatever the file system reports.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;

    /// Creates a directory and those above it that are missing; one that is there is no error. Not durable until the
    /// parent of each new directory is synced.
    ///
    /// # Errors
    /// Whatever the file system reports.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Lists a directory, sorted by name.
    ///
    /// # Errors
    /// `NotFound`, and whatever the file system reports.
    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>>;

    /// Whether a file or directory of this name is there.
    ///
    /// # Errors
    /// Whatever the file system reports, but not `NotFound`.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Renames a file or directory, replacing a file of the new name atomically. Not durable until the directories of
    /// both names are synced.
    ///
    /// # Errors
    /// `NotFound`, and whatever the file system reports.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Not durable until its directory is synced.
    ///
    /// # Errors
    /// `NotFound`, and whatever the file system reports.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes a directory with everything in it. Not durable until its parent is synced.
    ///
    /// # Errors
    /// `NotFound`, and whatever the file system reports.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Makes the entries of a directory durable.
    ///
    /// # Errors
    /// Whatever the file system reports; the entries are then uncertain.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Locks a directory against every other process through the file `lock` in it, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` where another holds the lock, and whatever the file system reports.
    fn lock_dir(&self, path: &Path) -> io::Result<Box<dyn DirLock>>;
}

/// An open file. Positional calls only, so that threads can share it.
pub trait DiskFile: Send + Sync + Debug {
    /// Reads at a position until `buf` is full or the file ends; returns the count.
    ///
    /// # Errors
    /// Whatever the file system reports.
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize>;

    /// As [`DiskFile::read_at`], of what the operating system has in memory: it never waits for the device. A disk that
    /// cannot tell says that it must wait.
    ///
    /// # Errors
    /// `WouldBlock` where some of it is not in memory; whatever else the file system reports.
    fn read_cached_at(&self, _buf: &mut [u8], _position: u64) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Writes all the slices, one after the other, at a position; extends the file where needed.
    ///
    /// # Errors
    /// `StorageFull` (or `QuotaExceeded`) where there is no room; whatever else the file system reports. Any part of
    /// the bytes may then have been written.
    fn write_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<()>;

    /// Makes the file's bytes and length durable (fdatasync).
    ///
    /// # Errors
    /// Whatever the file system reports. What was written since the last success is then uncertain for ever: a second
    /// call may succeed without having written it.
    fn sync_data(&self) -> io::Result<()>;

    /// Cuts the file, or extends it by zeros. Durable after [`DiskFile::sync_data`].
    ///
    /// # Errors
    /// Whatever the file system reports.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Reserves space up to `len` bytes, which read as zeros where nothing was written; the file's length becomes at
    /// least `len`.
    ///
    /// # Errors
    /// `StorageFull` where there is no room, `Unsupported` where the file system cannot.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// The file's length in bytes.
    ///
    /// # Errors
    /// Whatever the file system reports.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file holds no byte.
    ///
    /// # Errors
    /// Whatever the file system reports.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}
