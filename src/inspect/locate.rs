//! Finding where whole batches go on behind damage, in constant memory.
//!
//! A record may itself contain bytes that look like a batch. So a candidate counts only where its offset can be there,
//! its epoch can have written it, its CRC is right, *and* what comes behind it is where the log goes on: the batch of
//! the next offset (its header is enough, for it may be damaged too) or the end of the region. Where the damaged
//! batch's own length and record count still lead to such a batch, that one is believed before any other, so that what
//! a producer hid in a record is not even looked at.

use bytes::Bytes;

use super::window::{READ_BYTES, Window};
use crate::log::{BATCH_BYTES_MAX, History};
use crate::record::{self, BatchHeader, HEADER_BYTES};
use crate::types::Offset;

const LENGTH_AT: usize = 8;
const LENGTH_EXCLUDES_BYTES: u64 = 12;
const LAST_OFFSET_DELTA_AT: usize = 23;
const MAGIC_AT: usize = 16;
const MAGIC: u8 = 2;

/// Which epochs may have written an offset.
pub(super) type EpochRule<'a> = &'a dyn Fn(&BatchHeader) -> bool;

/// Where to look, and for what.
pub(super) struct Search<'a> {
    /// The end of the batch before the damage, and the offset that belonged behind it: another where a known gap lies
    /// between.
    pub(super) previous_end: Offset,
    pub(super) expected: Offset,
    /// The region's end: a byte between two batches, or where the file was cut off.
    pub(super) end: u64,
    pub(super) is_cut_off: bool,
    /// The offset that follows at the end; every batch before it ends at or below.
    pub(super) end_offset: Offset,
    pub(super) history: &'a History,
    pub(super) epochs: EpochRule<'a>,
}

impl Search<'_> {
    /// The first byte, at `position` or behind it, at which whole batches go on, and the offset there.
    pub(super) fn run(&self, window: &mut Window, position: u64) -> Option<(u64, Offset)> {
        if let Some(found) = self.stands_at(window, position) {
            return Some((position, found));
        }
        self.by_length(window, position).or_else(|| self.by_scan(window, position + 1))
    }

    /// Whether a batch whose place is known is whole; its base offset.
    pub(super) fn holds(&self, window: &mut Window, position: u64) -> Option<BatchHeader> {
        let head = window.at(position, HEADER_BYTES).ok()?;
        let header = self.plausible(&head, position)?;
        let bytes = self.load(window, position, header.total_bytes)?;
        record::verify(&bytes).ok()
    }

    fn by_length(&self, window: &mut Window, position: u64) -> Option<(u64, Offset)> {
        let head = window.at(position, HEADER_BYTES).ok()?;
        let length = u32::from_be_bytes(*head.get(LENGTH_AT..)?.first_chunk()?);
        let delta = u32::from_be_bytes(*head.get(LAST_OFFSET_DELTA_AT..)?.first_chunk()?);
        let next = position + LENGTH_EXCLUDES_BYTES + u64::from(length);
        let offset = self.history.follow(self.expected.plus(u64::from(delta) + 1));
        let found = if next == self.end { Some(self.end_offset) } else { self.stands_at(window, next) };
        // A damaged length may lead past whole batches; only an untouched one agrees with the offsets.
        (next <= self.end && found == Some(offset)).then_some((next, offset))
    }

    fn by_scan(&self, window: &mut Window, from: u64) -> Option<(u64, Offset)> {
        let mut at = from;
        while at + HEADER_BYTES as u64 <= self.end {
            let Ok(chunk) = window.at(at, READ_BYTES) else {
                // What cannot be read is skipped by the page; behind it the disk may be sound.
                at += 4096;
                continue;
            };
            let heads = (chunk.len() + 1).saturating_sub(HEADER_BYTES);
            if heads == 0 {
                return None;
            }
            for skip in 0..heads {
                let position = at + skip as u64;
                if chunk[skip + MAGIC_AT] == MAGIC
                    && self.plausible(&chunk[skip..], position).is_some()
                    && let Some(offset) = self.stands_at(window, position)
                {
                    return Some((position, offset));
                }
            }
            at += heads as u64;
        }
        None
    }

    /// Whether a whole batch stands at a position and the log goes on behind it; its base offset.
    fn stands_at(&self, window: &mut Window, position: u64) -> Option<Offset> {
        let header = self.holds(window, position)?;
        let (behind, next) = (position + header.total_bytes as u64, self.history.follow(header.next_offset()));
        if behind == self.end {
            return (next == self.end_offset || self.is_cut_off).then_some(header.base_offset);
        }
        let head = window.at(behind, HEADER_BYTES).ok()?;
        let goes_on = BatchHeader::decode(&head).is_ok_and(|after| after.base_offset == next && (self.epochs)(&after));
        goes_on.then_some(header.base_offset)
    }

    fn plausible(&self, head: &[u8], position: u64) -> Option<BatchHeader> {
        let header = BatchHeader::decode(head).ok()?;
        let fits = header.total_bytes <= BATCH_BYTES_MAX && position + header.total_bytes as u64 <= self.end;
        // Of the damaged batch itself a copy may lie in a record: nothing else can have its offset.
        let least = if self.expected > self.previous_end { self.expected } else { self.expected.plus(1) };
        let ordered = header.base_offset >= least && header.next_offset() <= self.end_offset;
        (fits && ordered && (self.epochs)(&header)).then_some(header)
    }

    fn load(&self, window: &mut Window, position: u64, bytes: usize) -> Option<Bytes> {
        window.at(position, bytes).ok().filter(|loaded| loaded.len() >= bytes)
    }
}
