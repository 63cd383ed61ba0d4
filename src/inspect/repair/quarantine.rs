//! Putting files aside whole, durably, under names nothing else has.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use super::super::error::InspectError;
use super::super::window::READ_BYTES;
use crate::disk::{Disk, DiskFile, OpenMode, create_dir_durably};
use crate::log::PartitionFiles;

/// The place for what one repair puts aside.
pub(super) struct Quarantine<'a> {
    disk: &'a dyn Disk,
    dir: PathBuf,
    number: u32,
    kept: Vec<PathBuf>,
}

impl<'a> Quarantine<'a> {
    /// Makes the directory, and finds a number that no earlier repair used in it.
    pub(super) fn open(disk: &'a dyn Disk, files: &PartitionFiles) -> Result<Quarantine<'a>, InspectError> {
        let dir = files.set_aside();
        create_dir_durably(disk, &dir).map_err(InspectError::io("create", &dir))?;
        let entries = disk.read_dir(&dir).map_err(InspectError::io("list", &dir))?;
        let numbers = entries.iter().filter_map(|entry| {
            let (_, number) = entry.name.trim_end_matches(".tmp").rsplit_once(".damaged-")?;
            number.parse::<u32>().ok()
        });
        let number = numbers.max().map_or(1, |number| number.saturating_add(1));
        Ok(Quarantine { disk, dir, number, kept: Vec::new() })
    }

    /// Copies a file, if it is there. Durable after [`Quarantine::sync`].
    pub(super) fn copy(&mut self, path: &Path) -> Result<(), InspectError> {
        let Some(target) = self.target(path)? else { return Ok(()) };
        let mut temporary = target.clone().into_os_string();
        temporary.push(".tmp");
        let temporary = Path::new(&temporary);
        let copy = || {
            let from = self.disk.open(path, OpenMode::Read)?;
            let to = self.disk.open(temporary, OpenMode::CreateOrEmpty)?;
            copy_bytes(&*from, 0, from.len()?, &*to, 0)?;
            to.sync_data()?;
            self.disk.rename(temporary, &target)
        };
        copy().map_err(InspectError::io("copy to set-aside/", path))?;
        self.kept.push(target);
        Ok(())
    }

    /// Moves a file, if it is there. Durable once both directories are synced.
    pub(super) fn take(&mut self, path: &Path) -> Result<(), InspectError> {
        let Some(target) = self.target(path)? else { return Ok(()) };
        self.disk.rename(path, &target).map_err(InspectError::io("move to set-aside/", path))?;
        self.kept.push(target);
        Ok(())
    }

    pub(super) fn sync(&self) -> Result<(), InspectError> {
        self.disk.sync_dir(&self.dir).map_err(InspectError::io("sync", &self.dir))
    }

    /// Where everything is now.
    pub(super) fn kept(self) -> Vec<PathBuf> {
        self.kept
    }

    fn target(&self, path: &Path) -> Result<Option<PathBuf>, InspectError> {
        let Some(name) = path.file_name() else { return Ok(None) };
        let is_there = self.disk.exists(path).map_err(InspectError::io("look for", path))?;
        let target = self.dir.join(format!("{}.damaged-{}", name.to_string_lossy(), self.number));
        Ok(is_there.then_some(target))
    }
}

/// Copies a range of one file to a place in another.
pub(super) fn copy_bytes(from: &dyn DiskFile, start: u64, end: u64, to: &dyn DiskFile, at: u64) -> io::Result<()> {
    let mut buffer = vec![0; READ_BYTES.min(usize::try_from(end - start).unwrap_or(READ_BYTES))];
    let mut position = start;
    while position < end {
        let length = buffer.len().min(usize::try_from(end - position).unwrap_or(usize::MAX));
        let read = from.read_at(&mut buffer[..length], position)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        to.write_at(&[IoSlice::new(&buffer[..read])], at + (position - start))?;
        position += read as u64;
    }
    Ok(())
}
