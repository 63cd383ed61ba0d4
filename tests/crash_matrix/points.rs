//! A disk that tells a watcher of every call that changes or syncs something, just before it is carried out.

use std::fmt;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wiber::disk::faulty::FaultyDisk;
use wiber::disk::{DirEntry, DirLock, Disk, DiskFile, OpenMode};

/// Told of a call: what it does, and to which file or directory.
type Watcher = dyn Fn(&'static str, &Path) + Send + Sync;

/// A faulty disk under watch.
#[derive(Clone)]
pub(crate) struct WatchedDisk {
    inner: FaultyDisk,
    watcher: Arc<Watcher>,
}

impl WatchedDisk {
    /// Puts a disk under watch.
    pub(crate) fn new(inner: FaultyDisk, watcher: Arc<Watcher>) -> WatchedDisk {
        WatchedDisk { inner, watcher }
    }

    fn tell(&self, call: &'static str, path: &Path) {
        (self.watcher)(call, path);
    }
}

impl fmt::Debug for WatchedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WatchedDisk")
    }
}

impl Disk for WatchedDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        if matches!(mode, OpenMode::CreateNew | OpenMode::CreateOrEmpty) {
            self.tell("create", path);
        }
        let inner = self.inner.open(path, mode)?;
        Ok(Arc::new(WatchedFile { inner, disk: self.clone(), path: path.to_path_buf() }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.tell("create directory", path);
        self.inner.create_dir_all(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.inner.read_dir(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.inner.exists(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.tell("rename", from);
        self.inner.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.tell("remove", path);
        self.inner.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.tell("remove directory", path);
        self.inner.remove_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.tell("sync directory", path);
        self.inner.sync_dir(path)
    }

    fn lock_dir(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        self.tell("lock", path);
        self.inner.lock_dir(path)
    }
}

/// An open file of a [`WatchedDisk`].
#[derive(Debug)]
struct WatchedFile {
    inner: Arc<dyn DiskFile>,
    disk: WatchedDisk,
    path: PathBuf,
}

impl DiskFile for WatchedFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        self.inner.read_at(buf, position)
    }

    fn write_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        self.disk.tell("write", &self.path);
        self.inner.write_at(slices, position)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.tell("sync", &self.path);
        self.inner.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.tell("set length", &self.path);
        self.inner.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.disk.tell("allocate", &self.path);
        self.inner.allocate(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
}
