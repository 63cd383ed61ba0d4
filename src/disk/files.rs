//! Whole small files and directories, made durable in the one right order of writes, renames and syncs. Works on any
//! [`Disk`].

use std::ffi::OsString;
use std::io::{self, ErrorKind, IoSlice};
use std::path::{Path, PathBuf};

use super::{Disk, OpenMode};

/// Replaces a small file's contents as one durable step: after a power cut the name refers to the old bytes or to the
/// new ones, and to the new ones once this has returned `Ok`. Goes through `<name>.tmp` beside it, which is overwritten
/// if there and, as far as possible, removed on failure.
///
/// # Errors
/// Whatever the disk reports. The name then still refers to the old bytes, or (where only the last step failed, the
/// directory's sync) to the new ones, not durably.
pub fn replace_file(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_file_unsynced(disk, path, bytes)?;
    disk.sync_dir(parent(path))
}

/// As [`replace_file`], but for the last step: syncing the directory is the caller's, together with what else is new in
/// it.
///
/// # Errors
/// Whatever the disk reports. The name then still refers to the old bytes.
pub fn replace_file_unsynced(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let tmp = tmp_path(path)?;
    if let Err(error) = write_durably(disk, &tmp, bytes).and_then(|()| disk.rename(&tmp, path)) {
        // The first error is the one to report; a stale tmp is overwritten by the next replacement.
        let _ = disk.remove_file(&tmp);
        return Err(error);
    }
    Ok(())
}

/// Reads a whole file of at most `bytes_max` bytes; allocates no more than the file's length.
///
/// # Errors
/// `InvalidData` where the file is longer, `NotFound`, and whatever the disk reports.
pub fn read_file(disk: &dyn Disk, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let file = disk.open(path, OpenMode::Read)?;
    let file_bytes = file.len()?;
    if file_bytes > bytes_max {
        let message = format!("{}: {file_bytes} bytes, at most {bytes_max} were expected", path.display());
        return Err(io::Error::new(ErrorKind::InvalidData, message));
    }
    let mut bytes = vec![0; usize::try_from(file_bytes).map_err(|_| ErrorKind::OutOfMemory)?];
    let count = file.read_at(&mut bytes, 0)?;
    bytes.truncate(count);
    Ok(bytes)
}

/// Creates a directory and those above it that are missing, each durable before the next is made. A directory that is
/// there already is made durable too: whoever created it may have been killed before the sync.
///
/// # Errors
/// Whatever the disk reports.
pub fn create_dir_durably(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let mut missing: Vec<PathBuf> = Vec::new();
    let mut level = path;
    while !disk.exists(level)? {
        if level.parent().is_none() {
            return Err(ErrorKind::NotFound.into());
        }
        missing.push(level.to_path_buf());
        level = parent(level);
    }
    if let Err(error) = disk.sync_dir(parent(level)) {
        // A directory that was given to us may stand in one that we may not open; its durability is not ours then.
        if !matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) {
            return Err(error);
        }
    }
    if missing.is_empty() {
        // Not to create it: to hear of a file in its place.
        return disk.create_dir_all(path);
    }
    for level in missing.iter().rev() {
        disk.create_dir_all(level)?;
        disk.sync_dir(parent(level))?;
    }
    Ok(())
}

/// The directory a path's last name stands in; of a root, itself.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

fn tmp_path(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
    let mut tmp_name = OsString::from(name);
    tmp_name.push(".tmp");
    Ok(path.with_file_name(tmp_name))
}

fn write_durably(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = disk.open(path, OpenMode::CreateOrEmpty)?;
    file.write_at(&[IoSlice::new(bytes)], 0)?;
    file.sync_data()
}
