//! Putting bytes aside: what recovery cuts off and what repair takes out is kept, never deleted.

use std::io::IoSlice;
use std::path::PathBuf;

use super::epochs::History;
use super::error::LogError;
use super::layout::PartitionFiles;
use super::point::LogPoint;
use super::segment::ActiveSegment;
use super::walk::walk_file;
use crate::disk::{Disk, DiskFile, OpenMode, create_dir_durably};

/// Torn tails kept of one partition; beyond that the oldest go.
const CUTS_KEPT: usize = 16;
/// Bytes copied at a time.
const COPY_BYTES: usize = 1 << 20;

/// Copies the bytes from `position` to `end` of a segment into `set-aside/`, durably, unless they are all zeros.
pub(crate) fn set_aside_tail(
    disk: &dyn Disk,
    files: &PartitionFiles,
    active: &ActiveSegment,
    position: u64,
    end: u64,
) -> Result<Option<PathBuf>, LogError> {
    if is_zero(&*active.file, position, end).map_err(|error| LogError::io("read", active.path(), error))? {
        return Ok(None);
    }
    let dir = files.set_aside();
    create_dir_durably(disk, &dir).map_err(|error| LogError::io("create", &dir, error))?;
    forget_oldest(disk, files)?;
    let name = format!("{:020}.log.cut-at-{position:010}", active.base.get());
    let path = dir.join(name);
    let copy = || {
        let target = disk.open(&path, OpenMode::CreateOrEmpty)?;
        copy_range(&*active.file, position, end, &*target)?;
        target.sync_data()?;
        disk.sync_dir(&dir)
    };
    copy().map_err(|error| LogError::io("copy the torn tail to", &path, error))?;
    Ok(Some(path))
}

/// Moves a file of a partition's directory into `set-aside/`, durably.
pub(crate) fn set_aside_file(disk: &dyn Disk, files: &PartitionFiles, name: &str) -> Result<(), LogError> {
    let dir = files.set_aside();
    let moved = || {
        create_dir_durably(disk, &dir)?;
        disk.rename(&files.dir().join(name), &dir.join(name))?;
        disk.sync_dir(&dir)?;
        disk.sync_dir(files.dir())
    };
    moved().map_err(|error| LogError::io("set aside segments in", &dir, error))
}

fn is_zero(file: &dyn DiskFile, position: u64, end: u64) -> std::io::Result<bool> {
    let mut zero = true;
    for_each_chunk(file, position, end, |_, bytes| {
        zero &= bytes.iter().all(|byte| *byte == 0);
        Ok(())
    })?;
    Ok(zero)
}

fn copy_range(from: &dyn DiskFile, position: u64, end: u64, to: &dyn DiskFile) -> std::io::Result<()> {
    for_each_chunk(from, position, end, |at, bytes| to.write_at(&[IoSlice::new(bytes)], at - position))
}

/// Writes the batches from a point to byte `end` again where they are, so that a sync that failed before cannot have
/// left them unwritten. Each is verified on the way: a byte read wrongly now must not become the stored one.
pub(crate) fn rewrite(file: &dyn DiskFile, from: LogPoint, end: u64, history: &History) -> std::io::Result<()> {
    let (mut gathered, mut at, mut result) = (Vec::new(), from.position, Ok(()));
    let mut write = |gathered: &mut Vec<u8>| {
        if result.is_ok() {
            result = file.write_at(&[IoSlice::new(gathered)], at);
        }
        at += gathered.len() as u64;
        gathered.clear();
    };
    let walk = walk_file(file, from, end, history, |_, bytes, _| {
        gathered.extend_from_slice(bytes);
        if gathered.len() >= COPY_BYTES {
            write(&mut gathered);
        }
    });
    write(&mut gathered);
    result?;
    match walk.stop {
        None => Ok(()),
        Some(_) => Err(std::io::Error::other(format!("byte {} reads differently each time", walk.end.position))),
    }
}

fn for_each_chunk(
    file: &dyn DiskFile,
    position: u64,
    end: u64,
    mut each: impl FnMut(u64, &[u8]) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; COPY_BYTES.min(usize::try_from(end - position).unwrap_or(COPY_BYTES))];
    let mut at = position;
    while at < end {
        let length = buffer.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
        let read = file.read_at(&mut buffer[..length], at)?;
        if read == 0 {
            break;
        }
        each(at, &buffer[..read])?;
        at += read as u64;
    }
    Ok(())
}

fn forget_oldest(disk: &dyn Disk, files: &PartitionFiles) -> Result<(), LogError> {
    let dir = files.set_aside();
    let entries = disk.read_dir(&dir).map_err(|error| LogError::io("list", &dir, error))?;
    let cuts: Vec<_> = entries.iter().filter(|entry| entry.name.contains(".log.cut-at-")).collect();
    for oldest in &cuts[..cuts.len().saturating_sub(CUTS_KEPT - 1)] {
        let path = dir.join(&oldest.name);
        disk.remove_file(&path).map_err(|error| LogError::io("remove", &path, error))?;
    }
    Ok(())
}
