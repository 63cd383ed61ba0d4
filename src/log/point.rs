//! A place between two batches of a partition, with all that is known there.

use crate::types::{BatchIndex, Offset, Timestamp};

/// The end of a batch (or the beginning of the log): where reading, recovery or a snapshot can take up again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPoint {
    /// The offset of the next record.
    pub next_offset: Offset,
    /// The base offset of the segment the point lies in.
    pub segment: Offset,
    /// The byte in that segment's file.
    pub position: u64,
    /// The number of the next batch.
    pub next_batch: BatchIndex,
    /// The byte at which the batch before this point begins; meaningless at position 0.
    pub last_batch_position: u64,
    /// That batch's CRC.
    pub last_batch_crc: u32,
    /// The largest effective timestamp in the segment before this point; [`Timestamp::NONE`] where it holds none.
    pub max_timestamp: Timestamp,
}

impl LogPoint {
    /// The beginning of a segment.
    #[must_use]
    pub fn segment_start(base: Offset, first_batch: BatchIndex) -> LogPoint {
        LogPoint {
            next_offset: base,
            segment: base,
            position: 0,
            next_batch: first_batch,
            last_batch_position: 0,
            last_batch_crc: 0,
            max_timestamp: Timestamp::NONE,
        }
    }

    /// The point after one more batch of `bytes` bytes, whose last record lies just before `next_offset`.
    #[must_use]
    pub fn after(&self, next_offset: Offset, bytes: u64, crc: u32, timestamp: Timestamp) -> LogPoint {
        LogPoint {
            next_offset,
            segment: self.segment,
            position: self.position + bytes,
            next_batch: self.next_batch.plus(1),
            last_batch_position: self.position,
            last_batch_crc: crc,
            max_timestamp: self.max_timestamp.max(timestamp),
        }
    }
}

/// Producers' clocks are believed at most this far ahead of ours.
const FUTURE_MILLIS_MAX: i64 = 3_600_000;

/// The time retention and the time index use: the record's, but never over an hour after its append; where the record
/// has none, the append's.
pub(crate) fn effective_timestamp(record: Timestamp, appended: Timestamp) -> Timestamp {
    if record < Timestamp::from_millis(0) { appended } else { record.min(appended.plus_millis(FUTURE_MILLIS_MAX)) }
}
