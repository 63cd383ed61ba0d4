//! Space written ahead of the log's end, for logs that are synced after every few records.
//!
//! A sync of bytes that lengthen a file waits for the file system's journal as well; one of bytes that replace zeros that
//! are on the disk already waits for the bytes alone, and takes about two thirds of the time. The zeros cost as much to
//! write as records do, so only a log whose syncs are small gets them: one that is written without a pause does not wait
//! for its syncs. They are reserved space to every reader, and are cut off when the segment is sealed or the server stops.

use std::io::IoSlice;

use super::partition_log::PartitionLog;

/// A sync of at most this many bytes is a small one.
const SMALL_SYNC_BYTES: u64 = 16 << 10;
/// Small syncs of a segment, none other between them, before zeros are written.
const SMALL_SYNCS: u32 = 8;
/// Zeros are written so many at a time: of what larger writes leave in the page cache a small sync writes more than it
/// must.
const PIECE_BYTES: usize = 64 << 10;

static ZEROS: [u8; PIECE_BYTES] = [0; PIECE_BYTES];

/// What is known of the space behind the log's end.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    /// Small syncs since the last that was not.
    small_syncs: u32,
    /// Where the zeros of the active segment end; nothing where that lies before the log's end.
    pub(crate) end: u64,
    /// There was no room for them: no more are written in this segment.
    is_refused: bool,
}

impl PartitionLog {
    /// Notes a sync of so many bytes, and writes zeros where that helps those to come. To be called after what the sync
    /// was for is told of: it takes its time.
    pub fn synced(&self, bytes: u64) {
        // Whoever appends just now knows better than to wait for this.
        let Some(mut writer) = self.writer.try_lock() else { return };
        let ahead_bytes = writer.options.zeros_ahead_bytes;
        let is_small = bytes <= SMALL_SYNC_BYTES;
        writer.ahead.small_syncs = if is_small { writer.ahead.small_syncs.saturating_add(1) } else { 0 };
        let position = self.view.read().end.position;
        let is_enough = writer.ahead.end >= position + SMALL_SYNC_BYTES;
        if writer.ahead.small_syncs < SMALL_SYNCS || is_enough || writer.ahead.is_refused || self.check_open().is_err()
        {
            return;
        }
        let from = writer.ahead.end.max(position);
        let upto = (from + ahead_bytes).min(writer.options.segment_bytes);
        self.write_zeros(&mut writer.ahead, from, upto);
    }

    fn write_zeros(&self, ahead: &mut Ahead, mut from: u64, upto: u64) {
        let active = std::sync::Arc::clone(&self.view.read().active);
        while from < upto {
            let piece = usize::try_from(upto - from).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
            if active.file.write_at(&[IoSlice::new(&ZEROS[..piece])], from).is_err() {
                // Not for this is the last room taken; where the cut fails as well the zeros are read as what they are.
                let _cut = active.file.set_len(ahead.end.max(self.view.read().end.position));
                ahead.is_refused = true;
                return;
            }
            from += piece as u64;
            ahead.end = from;
        }
    }

    /// Cuts off the zeros behind the log's end. Not durable: zeros that come back are zeros.
    pub fn trim(&self) {
        let mut writer = self.writer.lock();
        let end = self.view.read().end.position;
        if writer.ahead.end > end && self.check_open().is_ok() {
            let active = std::sync::Arc::clone(&self.view.read().active);
            let _kept = active.file.set_len(end);
        }
        writer.ahead = Ahead::default();
    }
}
