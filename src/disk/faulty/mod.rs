//! The faulty twin of the real disk: an in-memory file system that loses power, lies and breaks on command.
//!
//! What a power cut keeps: every synced byte and every synced directory's names; of what was not synced, a seeded
//! subset. Files are cut by 512-byte sectors, each of which is found as it was durable or as any unsynced write left it;
//! unsynced lengths may or may not have taken effect. Directory changes survive one by one, but those of one name in
//! their order; a rename within a directory is one change, a rename between two is two. A failed sync drops what it was
//! to write: readable, not durable, and not written by the next sync, which succeeds.
//!
//! Everything follows from the calls made and the seeds given. It draws nothing from the clock, the system or the
//! addresses of things, and never touches a real file.

mod control;
mod faults;
mod image;
mod power;
mod random;
mod state;
#[cfg(test)]
mod tests;
mod tree;

pub use faults::{Fault, Op, OpKind, Rule};
pub use random::Random;
pub use state::Counts;

use std::io::{self, ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::image::Moment;
use self::state::{Shared, State, file_index};
use self::tree::{NodeId, normal};
use super::{DirEntry, DirLock, Disk, DiskFile, LOCK_FILE_NAME, OpenMode};

/// An in-memory disk with faults on command. Clones share one disk. Paths are taken from its root whether or not they
/// begin with `/`; `..` is refused.
#[derive(Debug, Clone)]
pub struct FaultyDisk {
    shared: Arc<Shared>,
}

fn op(kind: OpKind, path: &Path) -> Op {
    Op { kind, path: normal(path), position: 0, bytes: 0 }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let node = match mode {
            OpenMode::Read | OpenMode::ReadWrite => {
                let state = self.shared.look()?;
                let node = state.tree.find(path)?;
                state.tree.file(node)?;
                node
            }
            OpenMode::CreateNew => self.create(path, true)?,
            OpenMode::CreateOrEmpty => self.create(path, false)?,
        };
        let shared = Arc::clone(&self.shared);
        Ok(Arc::new(FaultyFile { shared, node, path: normal(path), writable: mode != OpenMode::Read }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let (mut state, begun) = self.shared.begin(&op(OpKind::CreateDir, path), None)?;
        state.whole(begun, |state, moment| {
            if state.tree.find(path).is_err() {
                state.check_room(1)?;
            }
            state.tree.create_dir_all(moment, path)
        })
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.shared.look()?.tree.read_dir(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        match self.shared.look()?.tree.find(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (mut state, begun) = self.shared.begin(&op(OpKind::Rename, from), None)?;
        state.whole(begun, |state, moment| state.tree.rename(moment, from, to))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let (mut state, begun) = self.shared.begin(&op(OpKind::Remove, path), None)?;
        state.whole(begun, |state, moment| state.tree.remove_file(moment, path))
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let (mut state, begun) = self.shared.begin(&op(OpKind::Remove, path), None)?;
        state.whole(begun, |state, moment| state.tree.remove_dir_all(moment, path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let (mut state, begun) = self.shared.begin(&op(OpKind::SyncDir, path), None)?;
        let node = state.tree.find(path)?;
        state.sync_dir(node, begun)
    }

    fn lock_dir(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        let node = self.create_with(&path.join(LOCK_FILE_NAME), |_, _, _| Ok(()))?;
        if !self.shared.state().locks.insert(node) {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(FaultyLock { shared: Arc::clone(&self.shared), node }))
    }
}

impl FaultyDisk {
    fn create(&self, path: &Path, must_be_new: bool) -> io::Result<NodeId> {
        self.create_with(path, |state, node, moment| {
            if must_be_new {
                return Err(ErrorKind::AlreadyExists.into());
            }
            state.resize(node, 0, true, moment)
        })
    }

    /// Creates a file, or does with the one that is there what `existing` says.
    fn create_with(
        &self,
        path: &Path,
        existing: impl FnOnce(&mut State, NodeId, Moment) -> io::Result<()>,
    ) -> io::Result<NodeId> {
        let (mut state, begun) = self.shared.begin(&op(OpKind::Create, path), None)?;
        state.whole(begun, |state, moment| match state.tree.find(path) {
            Ok(node) => {
                existing(state, node, moment)?;
                Ok(node)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                state.check_room(1)?;
                state.tree.create_file(moment, path)
            }
            Err(error) => Err(error),
        })
    }
}

/// An open file of a [`FaultyDisk`].
#[derive(Debug)]
struct FaultyFile {
    shared: Arc<Shared>,
    node: NodeId,
    path: PathBuf,
    writable: bool,
}

impl FaultyFile {
    fn op(&self, kind: OpKind, position: u64, bytes: u64) -> Op {
        Op { kind, path: self.path.clone(), position, bytes }
    }

    fn resize(&self, kind: OpKind, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let (mut state, begun) = self.shared.begin(&self.op(kind, len, 0), None)?;
        state.whole(begun, |state, moment| state.resize(self.node, len, kind == OpKind::SetLen, moment))
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(rustix::io::Errno::BADF.into()) }
    }
}

impl DiskFile for FaultyFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        let (state, begun) = self.shared.begin(&self.op(OpKind::Read, position, buf.len() as u64), None)?;
        begun.failure()?;
        let (mut node, mut from) = (self.node, position);
        if let Some(Fault::MisdirectedRead { path, position }) = &begun.fault {
            node = path.as_ref().map_or(Ok(self.node), |path| state.tree.find(path))?;
            from = *position;
        }
        let count = state.tree.file(node)?.read(buf, usize::try_from(from).unwrap_or(usize::MAX));
        if let Some(Fault::ReadFlip { position, bit }) = begun.fault
            && count > 0
        {
            buf[file_index(position % count as u64)?] ^= 1 << (bit % 8);
        }
        Ok(count)
    }

    fn write_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        self.check_writable()?;
        let bytes = slices.iter().map(|slice| slice.len() as u64).sum();
        let (mut state, begun) = self.shared.begin(&self.op(OpKind::Write, position, bytes), None)?;
        state.write(self.node, slices, position, begun)
    }

    fn sync_data(&self) -> io::Result<()> {
        let (mut state, begun) = self.shared.begin(&self.op(OpKind::Sync, 0, 0), Some(self.node))?;
        state.sync(self.node, begun)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.resize(OpKind::SetLen, len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.resize(OpKind::Allocate, len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.shared.look()?.tree.file(self.node)?.len() as u64)
    }
}

/// A locked directory of a [`FaultyDisk`].
#[derive(Debug)]
struct FaultyLock {
    shared: Arc<Shared>,
    node: NodeId,
}

impl DirLock for FaultyLock {}

impl Drop for FaultyLock {
    fn drop(&mut self) {
        self.shared.state().locks.remove(&self.node);
    }
}
