//! A disk in memory whose power can be cut after any number of changes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::disk::{DirEntry, DirLock, Disk, DiskFile, OpenMode};

/// What of the unsynced survives a power cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Survival {
    pub(super) entries: bool,
    pub(super) bytes: bool,
}

#[derive(Debug, Default)]
pub(super) struct PowerDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    entries: Synced<BTreeMap<PathBuf, usize>>,
    dirs: Synced<BTreeSet<PathBuf>>,
    files: Vec<Synced<Vec<u8>>>,
    /// Changes until the power fails.
    changes_left: Option<usize>,
}

/// What the system sees, and what is certain to be there after a power cut.
#[derive(Debug, Default, Clone)]
struct Synced<T> {
    seen: T,
    durable: T,
}

#[derive(Debug)]
struct PowerFile {
    state: Arc<Mutex<State>>,
    number: usize,
}

impl PowerDisk {
    pub(super) fn cut_after(&self, changes: usize) {
        self.state.lock().changes_left = Some(changes);
    }

    /// Comes up again, as after the cut.
    pub(super) fn power_on(&self, survival: Survival) {
        let mut state = self.state.lock();
        state.changes_left = None;
        if !survival.entries {
            state.entries.seen = state.entries.durable.clone();
            state.dirs.seen = state.dirs.durable.clone();
            let State { entries, dirs, .. } = &mut *state;
            let reachable = |path: &Path| path.parent().is_some_and(|dir| dirs.seen.contains(dir));
            entries.seen.retain(|path, _| reachable(path));
        }
        if !survival.bytes {
            for file in &mut state.files {
                file.seen = file.durable.clone();
            }
        }
    }

    pub(super) fn put(&self, path: &Path, bytes: &[u8]) {
        let file = self
            .open(path, OpenMode::CreateOrEmpty)
            .expect("the power is on");
        file.write_at(&[IoSlice::new(bytes)], 0)
            .expect("the power is on");
    }

    pub(super) fn bytes(&self, path: &Path) -> Vec<u8> {
        let state = self.state.lock();
        state.files[state.entries.seen[path]].seen.clone()
    }
}

impl State {
    /// Counts a change; fails where the power does.
    fn change(&mut self) -> io::Result<()> {
        match &mut self.changes_left {
            Some(0) => Err(io::Error::other("the power is off")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn number(&self, path: &Path) -> io::Result<usize> {
        let number = self.entries.seen.get(path).copied();
        number.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for PowerDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        let number = match (mode, state.number(path)) {
            (OpenMode::Read | OpenMode::ReadWrite, number) => number?,
            (OpenMode::CreateNew, Ok(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            (OpenMode::CreateOrEmpty, Ok(number)) => {
                state.change()?;
                state.files[number].seen.clear();
                number
            }
            (OpenMode::CreateNew | OpenMode::CreateOrEmpty, Err(_)) => {
                state.change()?;
                let parent = path.parent().expect("a parent");
                if !state.dirs.seen.contains(parent) {
                    return Err(io::ErrorKind::NotFound.into());
                }
                state.files.push(Synced::default());
                let number = state.files.len() - 1;
                state.entries.seen.insert(path.to_owned(), number);
                number
            }
        };
        Ok(Arc::new(PowerFile {
            state: Arc::clone(&self.state),
            number,
        }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.change()?;
        let dirs = path.ancestors().map(Path::to_owned);
        state.dirs.seen.extend(dirs);
        Ok(())
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let state = self.state.lock();
        if !state.dirs.seen.contains(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = |(entry, is_dir): (&PathBuf, bool)| {
            (entry.parent() == Some(path)).then(|| DirEntry {
                name: entry.file_name().unwrap().to_str().unwrap().to_owned(),
                is_dir,
            })
        };
        let files = state.entries.seen.keys().map(|file| (file, false));
        let dirs = state.dirs.seen.iter().map(|dir| (dir, true));
        Ok(files.chain(dirs).filter_map(inside).collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let state = self.state.lock();
        Ok(path == Path::new("/")
            || state.dirs.seen.contains(path)
            || state.entries.seen.contains_key(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.change()?;
        let number = state.number(from)?;
        state.entries.seen.remove(from);
        state.entries.seen.insert(to.to_owned(), number);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.change()?;
        state.number(path)?;
        state.entries.seen.remove(path);
        Ok(())
    }

    fn remove_dir_all(&self, _path: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.change()?;
        let inside = |entry: &Path| entry.parent() == Some(path);
        let entries = &mut state.entries;
        entries.durable.retain(|entry, _| !inside(entry));
        let seen = entries.seen.iter().filter(|(entry, _)| inside(entry));
        entries
            .durable
            .extend(seen.map(|(entry, &number)| (entry.clone(), number)));
        let dirs = &mut state.dirs;
        let seen = dirs.seen.iter().filter(|dir| inside(dir));
        dirs.durable.extend(seen.cloned());
        Ok(())
    }

    fn lock_dir(&self, _path: &Path) -> io::Result<Box<dyn DirLock>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl DiskFile for PowerFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        let state = self.state.lock();
        let bytes = &state.files[self.number].seen;
        let start = usize::try_from(position).unwrap().min(bytes.len());
        let count = buf.len().min(bytes.len() - start);
        buf[..count].copy_from_slice(&bytes[start..start + count]);
        Ok(count)
    }

    /// Half of the bytes are there where the power fails.
    fn write_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        let changed = state.change();
        let written = slices
            .iter()
            .flat_map(|slice| slice.to_vec())
            .collect::<Vec<u8>>();
        let count = if changed.is_ok() {
            written.len()
        } else {
            written.len() / 2
        };
        let bytes = &mut state.files[self.number].seen;
        bytes.truncate(usize::try_from(position).unwrap());
        bytes.extend_from_slice(&written[..count]);
        changed
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        state.change()?;
        let file = &mut state.files[self.number];
        file.durable = file.seen.clone();
        Ok(())
    }

    fn set_len(&self, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn allocate(&self, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.state.lock().files[self.number].seen.len() as u64)
    }
}
