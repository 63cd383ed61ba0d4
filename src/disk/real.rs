//! [`Disk`] on the operating system's files. It adds loops over short and interrupted calls and nothing else: no cache,
//! no retry of a failed write or sync, no opinion about paths.

use std::fs::{self, File, TryLockError};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::FallocateFlags;
use rustix::io::{Errno, ReadWriteFlags};

use super::{DirEntry, DirLock, Disk, DiskFile, OpenMode};

/// Linux's IOV_MAX: the most slices one vectored write takes.
const SLICES_PER_CALL_MAX: usize = 1024;

/// The operating system's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = File::options();
        options.read(true);
        match mode {
            OpenMode::Read => &mut options,
            OpenMode::ReadWrite => options.write(true),
            OpenMode::CreateNew => options.write(true).create_new(true),
            OpenMode::CreateOrEmpty => options.write(true).create(true).truncate(true),
        };
        Ok(Arc::new(RealFile(options.open(path)?)))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string() {
                entries.push(DirEntry { name, is_dir: entry.file_type()?.is_dir() });
            }
        }
        entries.sort();
        Ok(entries)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn lock_dir(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        let file = File::options().write(true).create(true).truncate(false).open(path.join(super::LOCK_FILE_NAME))?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(RealLock { _file: file })),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// The lock lasts as long as the open file.
#[derive(Debug)]
struct RealLock {
    _file: File,
}

impl DirLock for RealLock {}

#[derive(Debug)]
struct RealFile(File);

impl DiskFile for RealFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buf.len() {
            match self.0.read_at(&mut buf[filled..], position + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn read_cached_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        let read = rustix::io::preadv2(&self.0, &mut [IoSliceMut::new(buf)], position, ReadWriteFlags::NOWAIT);
        match read {
            // What is missing may be at the file's end or on the device: who waits finds out.
            Ok(count) if count == buf.len() => Ok(count),
            Ok(_) | Err(Errno::AGAIN | Errno::INTR | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn write_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        write_all_at(slices, position, |slices, position| Ok(rustix::io::pwritev(&self.0, slices, position)?))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        loop {
            match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, len) {
                Ok(()) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                    return Err(io::ErrorKind::Unsupported.into());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

/// Writes all the slices at a position by as many vectored writes as it takes; `write` makes one and returns the count.
fn write_all_at(
    slices: &[IoSlice<'_>],
    position: u64,
    write: impl Fn(&[IoSlice<'_>], u64) -> io::Result<usize>,
) -> io::Result<()> {
    let mut position = position;
    for group in slices.chunks(SLICES_PER_CALL_MAX) {
        let group_bytes: usize = group.iter().map(|slice| slice.len()).sum();
        if group_bytes == 0 {
            continue;
        }
        let written = write_some(group, position, &write)?;
        if written < group_bytes {
            let mut copy = group.to_vec();
            let mut rest = copy.as_mut_slice();
            let mut rest_position = position + written as u64;
            IoSlice::advance_slices(&mut rest, written);
            while !rest.is_empty() {
                let count = write_some(rest, rest_position, &write)?;
                IoSlice::advance_slices(&mut rest, count);
                rest_position += count as u64;
            }
        }
        position += group_bytes as u64;
    }
    Ok(())
}

/// One vectored write of at least one byte; returns the count.
fn write_some(
    slices: &[IoSlice<'_>],
    position: u64,
    write: impl Fn(&[IoSlice<'_>], u64) -> io::Result<usize>,
) -> io::Result<usize> {
    loop {
        match write(slices, position) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => return Ok(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    /// Writes 2,700 slices through a `write` that takes at most `bytes_max` bytes a call and is interrupted every
    /// third time.
    fn check(bytes_max: usize) {
        let bytes: Vec<u8> = (0..2000_u32).flat_map(u32::to_le_bytes).collect();
        let mut slices: Vec<IoSlice<'_>> = bytes.chunks(3).map(IoSlice::new).collect();
        slices.insert(5, IoSlice::new(&[]));
        slices.push(IoSlice::new(&[]));
        let written = RefCell::new(vec![0; 10]);
        let calls = Cell::new(0);
        write_all_at(&slices, 10, |slices, position| {
            calls.set(calls.get() + 1);
            if calls.get() % 3 == 0 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            assert!(!slices.is_empty() && slices.len() <= SLICES_PER_CALL_MAX);
            let mut written = written.borrow_mut();
            assert_eq!(position, written.len() as u64);
            let some = slices.iter().flat_map(|slice| slice.iter()).take(bytes_max);
            let before = written.len();
            written.extend(some);
            Ok(written.len() - before)
        })
        .unwrap();
        assert_eq!(written.borrow()[10..], bytes);
    }

    #[test]
    fn short_and_interrupted_writes_go_on() {
        for bytes_max in [1, 2, 3, 4, 1000, 3072, 3073, usize::MAX] {
            check(bytes_max);
        }
    }

    #[test]
    fn a_write_of_nothing_and_an_error_are_errors() {
        let slices = [IoSlice::new(b"bytes")];
        let error = write_all_at(&slices, 0, |_, _| Ok(0)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
        for (errno, kind) in [(Errno::NOSPC, io::ErrorKind::StorageFull), (Errno::DQUOT, io::ErrorKind::QuotaExceeded)]
        {
            let error = write_all_at(&slices, 0, |_, _| Err(errno.into())).unwrap_err();
            assert_eq!(error.kind(), kind);
        }
    }
}
