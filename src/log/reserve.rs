//! A little space kept back, so that a broker on a full device can still write what lets it delete.
//!
//! While the device has room a file of zeros holds the reserve. The first write that finds no room gives it up and
//! *closes the gate*: appends to topics are refused, what metadata and retention must write goes on. Once the file can be
//! made again there is room for everybody, and the gate opens.

use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::error::is_full;
use crate::disk::{Disk, OpenMode};
use crate::types::Timestamp;

/// The file that holds the reserve, in the data directory.
pub(crate) const RESERVE_FILE: &str = ".reserve";
/// How long to wait before trying again whether there is room, in milliseconds.
const RETRY_MS: i64 = 1_000;
static CHUNK: [u8; 64 << 10] = [0; 64 << 10];

/// The reserve of one data directory, shared by all its partitions.
#[derive(Debug)]
pub struct SpaceReserve {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    bytes: u64,
    is_open: AtomicBool,
    next_try: Mutex<Timestamp>,
}

impl SpaceReserve {
    /// The reserve of `bytes` bytes in `dir`, made now where there is room for it; the gate is closed where there is
    /// not.
    ///
    /// # Errors
    /// Whatever the file system reports, but not that it is full.
    pub fn open(disk: Arc<dyn Disk>, dir: PathBuf, bytes: u64, now: Timestamp) -> io::Result<SpaceReserve> {
        let reserve =
            SpaceReserve { disk, dir, bytes, is_open: AtomicBool::new(false), next_try: Mutex::new(Timestamp::NONE) };
        reserve.step(now)?;
        Ok(reserve)
    }

    /// Whether appends to topics may go on.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    /// A write found no room: gives the reserve up for what must be written.
    pub fn release(&self, now: Timestamp) {
        let mut next_try = self.next_try.lock();
        *next_try = now.plus_millis(RETRY_MS);
        if self.is_open.swap(false, Ordering::AcqRel) {
            tracing::error!(dir = %self.dir.display(), "the device is full: appends are refused until there is room again");
        }
        match self.disk.remove_file(&self.dir.join(RESERVE_FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "the space reserve could not be given up");
            }
            _ => {}
        }
    }

    /// Tries, now and then, to make the reserve again where it was given up.
    ///
    /// # Errors
    /// Whatever the file system reports, but not that it is full.
    pub fn step(&self, now: Timestamp) -> io::Result<()> {
        let mut next_try = self.next_try.lock();
        if self.is_open() || now < *next_try {
            return Ok(());
        }
        *next_try = now.plus_millis(RETRY_MS);
        match self.restore() {
            Ok(()) => {
                self.is_open.store(true, Ordering::Release);
                Ok(())
            }
            Err(error) if is_full(&error) => {
                let _gone = self.disk.remove_file(&self.dir.join(RESERVE_FILE));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Real bytes, not a length: space that is only promised may not be there when it is needed.
    fn restore(&self) -> io::Result<()> {
        let path = self.dir.join(RESERVE_FILE);
        if self.disk.exists(&path)? && self.disk.open(&path, OpenMode::Read)?.len()? == self.bytes {
            return Ok(());
        }
        let file = self.disk.open(&path, OpenMode::CreateOrEmpty)?;
        let mut position = 0;
        while position < self.bytes {
            let length = usize::try_from(self.bytes - position).unwrap_or(CHUNK.len()).min(CHUNK.len());
            file.write_at(&[IoSlice::new(&CHUNK[..length])], position)?;
            position += length as u64;
        }
        file.sync_data()
    }
}
