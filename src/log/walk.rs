//! Walking a segment's file batch by batch in large reads, every batch verified.

use bytes::BytesMut;

use super::chain::{Chain, Damage, is_unwritten};
use super::context::BATCH_BYTES_MAX;
use super::epochs::History;
use super::point::LogPoint;
use crate::disk::DiskFile;
use crate::record::{BatchError, BatchHeader, HEADER_BYTES};

/// Bytes of one read.
const READ_BYTES: usize = 1 << 20;

/// Why a walk ended before the end it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WalkStop {
    /// Nothing but space where the next batch would begin: preallocated, never written.
    Unwritten,
    /// The bytes there are not the batch that belongs there.
    Damage(Damage),
}

/// How far a walk came.
#[derive(Debug, Clone)]
pub struct Walk {
    /// The point behind the last good batch. Its `max_timestamp` is as the visitor set it.
    pub end: LogPoint,
    /// Why it ended there; `None` where that is the end asked for.
    pub stop: Option<WalkStop>,
    /// Batches walked.
    pub batches: u64,
}

/// Walks from `start` to byte `end`, giving each verified batch and the point before it to `visit`.
pub fn walk_file(
    file: &dyn DiskFile,
    start: LogPoint,
    end: u64,
    history: &History,
    mut visit: impl FnMut(&BatchHeader, &[u8], &mut LogPoint),
) -> Walk {
    let mut chain = Chain::new(start.next_offset, history);
    let mut window = Window::new(start.position, end);
    let (mut point, mut batches, mut read_again) = (start, 0, None);
    loop {
        if point.position == end {
            return Walk { end: point, stop: None, batches };
        }
        // A whole header, or all there is: a batch may begin with several zeros.
        let seen = window.at(file, point.position, HEADER_BYTES).map(|bytes| (bytes.len(), is_unwritten(bytes)));
        let stopped = match seen {
            Ok((_, true)) => WalkStop::Unwritten,
            Ok((have, false)) => match accept(&mut chain, &mut window, file, point.position, have) {
                Ok(header) => {
                    let bytes = window.batch(point.position, header.total_bytes);
                    let before = point;
                    visit(&header, bytes, &mut point);
                    let timestamp = point.max_timestamp;
                    point = before.after(chain.next(), header.total_bytes as u64, header.crc, timestamp);
                    batches += 1;
                    continue;
                }
                Err(damage) => WalkStop::Damage(damage),
            },
            Err(damage) => WalkStop::Damage(damage),
        };
        if read_again.replace(point.position) != Some(point.position) {
            // The disk is blamed only for what it says twice: a read may have been misdirected.
            window.forget();
            continue;
        }
        return Walk { end: point, stop: Some(stopped), batches };
    }
}

/// Accepts the batch at a position, reading more of the file where the window ends inside it.
fn accept(
    chain: &mut Chain<'_>,
    window: &mut Window,
    file: &dyn DiskFile,
    position: u64,
    have: usize,
) -> Result<BatchHeader, Damage> {
    match chain.accept(window.batch(position, have)) {
        Err(Damage::Batch(BatchError::Truncated { needed, .. })) if needed > have && needed <= BATCH_BYTES_MAX => {
            let bytes = window.at(file, position, needed)?;
            chain.accept(bytes)
        }
        other => other,
    }
}

/// The part of a file that is in memory. Never longer than the file, whatever a batch says of its length.
#[derive(Debug)]
struct Window {
    bytes: BytesMut,
    start: u64,
    end: u64,
}

impl Window {
    fn new(start: u64, end: u64) -> Window {
        Window { bytes: BytesMut::new(), start, end }
    }

    /// Forgets what is in memory, so that it is read again.
    fn forget(&mut self) {
        self.bytes.clear();
    }

    /// The bytes from a position on, at least `wanted` of them unless the file ends first.
    fn at(&mut self, file: &dyn DiskFile, position: u64, wanted: usize) -> Result<&[u8], Damage> {
        let have = self.batch(position, usize::MAX).len();
        let left = usize::try_from(self.end - position).unwrap_or(usize::MAX);
        if have < wanted.min(left) {
            let length = wanted.max(READ_BYTES).min(left);
            self.bytes.resize(length, 0);
            self.start = position;
            let read = file.read_at(&mut self.bytes, position);
            let read = read.map_err(|error| Damage::Unreadable(error.to_string()))?;
            self.bytes.truncate(read);
        }
        Ok(self.batch(position, usize::MAX))
    }

    /// What is in memory from a position on, at most `length` bytes.
    fn batch(&self, position: u64, length: usize) -> &[u8] {
        let skip = position.checked_sub(self.start).and_then(|skip| usize::try_from(skip).ok());
        let rest = skip.and_then(|skip| self.bytes.get(skip..)).unwrap_or_default();
        &rest[..length.min(rest.len())]
    }
}
