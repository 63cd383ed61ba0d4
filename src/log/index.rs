//! A segment's sparse index: its slots on disk, and the form that lookups use.
//!
//! An `.idx` file is a row of 32-byte slots, big-endian, so that no slot straddles a sector:
//!
//! | bytes | header slot (the first) | entry slot | mark slot |
//! |---|---|---|---|
//! | 0–3 | CRC-32C | CRC-32C | CRC-32C |
//! | 4 | kind `W` | kind `E` | kind `M` |
//! | 5–7 | 0 | 0 | 0 |
//! | 8–11 | magic `WIDX` | relative offset | relative offset |
//! | 12–15 | version 1 | position | position |
//! | 16–23 | base offset | largest timestamp before the position, ms | 0 |
//! | 24–27 | 0 | relative batch number | relative batch number |
//! | 28–31 | 0 | 0 | 0 |
//!
//! The CRC covers the segment's base offset (8 bytes) and the slot's bytes from 4 on, so that a slot of another segment
//! is never taken for one of ours. An *entry* says: the batch at `position` has this offset. A *durable mark* says: the
//! log was synced up to `position`, where the next offset is this one. Neither is evidence of content: a lookup ends in a
//! verified batch or begins again at the segment's start.

use byteorder::{BigEndian, ByteOrder};
use crc_fast::{CrcAlgorithm, Digest};

use crate::types::{Offset, Timestamp};

/// Bytes of one slot.
pub(crate) const SLOT_BYTES: usize = 32;
const MAGIC: u32 = 0x5749_4458; // "WIDX"
const VERSION: u32 = 1;
const KIND_HEADER: u8 = b'W';
const KIND_ENTRY: u8 = b'E';
const KIND_MARK: u8 = b'M';

/// Where a batch begins, and what came before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    /// The batch's base offset, less the segment's.
    pub relative_offset: u32,
    /// The byte at which it begins.
    pub position: u32,
    /// The largest effective timestamp of the segment before it.
    pub max_timestamp: Timestamp,
    /// The batch's number, less that of the segment's first.
    pub relative_batch: u32,
}

/// Up to where the log was synced when the mark was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DurableMark {
    /// The next offset there, less the segment's base.
    pub relative_offset: u32,
    /// The byte.
    pub position: u32,
    /// How many batches of the segment lie before it.
    pub relative_batch: u32,
}

/// One decoded slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexSlot {
    /// The file's first slot.
    Header,
    /// A sparse entry.
    Entry(IndexEntry),
    /// A durable mark.
    Mark(DurableMark),
}

impl IndexSlot {
    pub(crate) fn encode(&self, base: Offset) -> [u8; SLOT_BYTES] {
        let mut slot = [0; SLOT_BYTES];
        match self {
            IndexSlot::Header => {
                slot[4] = KIND_HEADER;
                BigEndian::write_u32(&mut slot[8..12], MAGIC);
                BigEndian::write_u32(&mut slot[12..16], VERSION);
                BigEndian::write_u64(&mut slot[16..24], base.get());
            }
            IndexSlot::Entry(entry) => {
                slot[4] = KIND_ENTRY;
                BigEndian::write_u32(&mut slot[8..12], entry.relative_offset);
                BigEndian::write_u32(&mut slot[12..16], entry.position);
                BigEndian::write_i64(&mut slot[16..24], entry.max_timestamp.millis());
                BigEndian::write_u32(&mut slot[24..28], entry.relative_batch);
            }
            IndexSlot::Mark(mark) => {
                slot[4] = KIND_MARK;
                BigEndian::write_u32(&mut slot[8..12], mark.relative_offset);
                BigEndian::write_u32(&mut slot[12..16], mark.position);
                BigEndian::write_u32(&mut slot[24..28], mark.relative_batch);
            }
        }
        let crc = slot_crc(base, &slot);
        BigEndian::write_u32(&mut slot[0..4], crc);
        slot
    }

    /// Decodes a slot of the segment that begins at `base`; `None` where it is not one.
    pub(crate) fn decode(base: Offset, slot: &[u8; SLOT_BYTES]) -> Option<IndexSlot> {
        if BigEndian::read_u32(&slot[0..4]) != slot_crc(base, slot) {
            return None;
        }
        let relative_offset = BigEndian::read_u32(&slot[8..12]);
        let position = BigEndian::read_u32(&slot[12..16]);
        let relative_batch = BigEndian::read_u32(&slot[24..28]);
        match slot[4] {
            KIND_HEADER => (relative_offset == MAGIC && position == VERSION).then_some(IndexSlot::Header),
            KIND_ENTRY => {
                let max_timestamp = Timestamp::from_millis(BigEndian::read_i64(&slot[16..24]));
                Some(IndexSlot::Entry(IndexEntry { relative_offset, position, max_timestamp, relative_batch }))
            }
            KIND_MARK => Some(IndexSlot::Mark(DurableMark { relative_offset, position, relative_batch })),
            _ => None,
        }
    }
}

fn slot_crc(base: Offset, slot: &[u8; SLOT_BYTES]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(&base.get().to_be_bytes());
    digest.update(&slot[4..]);
    u32::try_from(digest.finalize()).unwrap_or(u32::MAX)
}

/// The entries of one segment, as lookups use them: offsets and positions strictly growing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    entries: Vec<IndexEntry>,
}

impl Index {
    /// Adds an entry behind all others; one that does not grow is left out, for the index is only a hint.
    pub fn push(&mut self, entry: IndexEntry) -> bool {
        let grows = self.entries.last().is_none_or(|last| {
            last.relative_offset < entry.relative_offset
                && last.position < entry.position
                && last.relative_batch < entry.relative_batch
        });
        if grows {
            self.entries.push(entry);
        }
        grows
    }

    /// All entries, in order.
    #[must_use]
    pub fn entries(&self) -> &[IndexEntry] {
        &self.entries
    }

    /// Forgets entries at `position` and beyond.
    pub(crate) fn truncate_to(&mut self, position: u64) {
        self.entries.retain(|entry| u64::from(entry.position) < position);
    }

    /// The last entry at or before an offset relative to the segment's base.
    #[must_use]
    pub fn before_offset(&self, relative_offset: u64) -> Option<IndexEntry> {
        let after = self.entries.partition_point(|entry| u64::from(entry.relative_offset) <= relative_offset);
        after.checked_sub(1).map(|last| self.entries[last])
    }

    /// The last entry all of whose predecessors are older than a time.
    #[must_use]
    pub fn before_time(&self, time: Timestamp) -> Option<IndexEntry> {
        let after = self.entries.partition_point(|entry| entry.max_timestamp < time);
        after.checked_sub(1).map(|last| self.entries[last])
    }

    /// The first entry beyond a position.
    #[must_use]
    pub fn after_position(&self, position: u64) -> Option<IndexEntry> {
        let after = self.entries.partition_point(|entry| u64::from(entry.position) <= position);
        self.entries.get(after).copied()
    }

    /// Bytes of memory the entries take.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<IndexEntry>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(relative_offset: u32, position: u32, millis: i64) -> IndexEntry {
        let max_timestamp = Timestamp::from_millis(millis);
        IndexEntry { relative_offset, position, max_timestamp, relative_batch: relative_offset }
    }

    #[test]
    fn slots_round_trip_and_belong_to_one_segment() {
        let base = Offset::new(77).expect("small");
        let mark = DurableMark { relative_offset: 9, position: 4096, relative_batch: 3 };
        for slot in [IndexSlot::Header, IndexSlot::Entry(entry(5, 100, 1_000)), IndexSlot::Mark(mark)] {
            let encoded = slot.encode(base);
            assert_eq!(IndexSlot::decode(base, &encoded), Some(slot));
            assert_eq!(IndexSlot::decode(Offset::ZERO, &encoded), None, "another segment's");
            for position in 0..SLOT_BYTES {
                let mut damaged = encoded;
                damaged[position] ^= 0x10;
                assert_eq!(IndexSlot::decode(base, &damaged), None, "byte {position}");
            }
        }
    }

    #[test]
    fn a_slot_has_its_documented_bytes() {
        let encoded = IndexSlot::Entry(entry(5, 100, 1_000)).encode(Offset::ZERO);
        assert_eq!(encoded[4..], *b"E\0\0\0\0\0\0\x05\0\0\0\x64\0\0\0\0\0\0\x03\xe8\0\0\0\x05\0\0\0\0");
    }

    #[test]
    fn lookups() {
        let mut index = Index::default();
        for (offset, position, millis) in [(10, 1000, 50), (20, 2000, 60), (30, 3000, 60)] {
            assert!(index.push(entry(offset, position, millis)));
        }
        assert!(!index.push(entry(30, 3500, 60)), "does not grow");
        let position = |found: Option<IndexEntry>| found.map(|entry| entry.position);
        for (offset, expected) in [(0, None), (9, None), (10, Some(1000)), (25, Some(2000)), (99, Some(3000))] {
            assert_eq!(position(index.before_offset(offset)), expected, "offset {offset}");
        }
        for (millis, expected) in [(50, None), (51, Some(1000)), (60, Some(1000)), (61, Some(3000))] {
            assert_eq!(position(index.before_time(Timestamp::from_millis(millis))), expected, "time {millis}");
        }
        assert_eq!(position(index.after_position(1000)), Some(2000));
        assert_eq!(position(index.after_position(3000)), None);
    }
}
