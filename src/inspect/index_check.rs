//! A segment's `.idx` against its `.log`: slots, entries, durable marks.

use std::path::Path;

use super::report::{Finding, FindingKind, Severity};
use crate::disk::{Disk, read_file};
use crate::log::{DurableMark, INDEX_FILE_BYTES_MAX, Index, IndexEntry, IndexSlot, SLOT_BYTES, SegmentRecord};
use crate::types::Offset;

/// An `.idx` file taken apart.
#[derive(Debug, Default)]
pub(super) struct SlotFile {
    /// Every whole slot; `None` where it is unreadable.
    pub(super) slots: Vec<Option<IndexSlot>>,
    /// Bytes behind the last whole slot.
    pub(super) surplus_bytes: usize,
    /// Why the file says nothing, where it does not.
    pub(super) unusable: Option<String>,
}

impl SlotFile {
    /// Reads a segment's `.idx`. One that cannot be read is an empty one.
    pub(super) fn read(disk: &dyn Disk, path: &Path, base: Offset) -> SlotFile {
        let bytes = match read_file(disk, path, INDEX_FILE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) => {
                return SlotFile { unusable: Some(format!("cannot be read: {error}")), ..SlotFile::default() };
            }
        };
        let (slots, surplus) = bytes.as_chunks::<SLOT_BYTES>();
        let slots: Vec<_> = slots.iter().map(|slot| IndexSlot::decode(base, slot)).collect();
        let is_ours = slots.first().copied().flatten() == Some(IndexSlot::Header);
        let unusable = (!is_ours).then(|| "its header is damaged or another segment's".to_owned());
        SlotFile { slots, surplus_bytes: surplus.len(), unusable }
    }

    /// What lookups and recovery take from the file: nothing where its header is bad.
    pub(super) fn index(&self) -> Index {
        let mut index = Index::default();
        self.entries().for_each(|entry| {
            index.push(entry);
        });
        index
    }

    /// The newest durable mark that says anything.
    pub(super) fn newest_mark(&self) -> Option<DurableMark> {
        let marks = self.believable().filter_map(|slot| match slot {
            IndexSlot::Mark(mark) => Some(mark),
            IndexSlot::Header | IndexSlot::Entry(_) => None,
        });
        marks.max_by_key(|mark| mark.position).filter(|mark| mark.position > 0)
    }

    fn entries(&self) -> impl Iterator<Item = IndexEntry> {
        self.believable().filter_map(|slot| match slot {
            IndexSlot::Entry(entry) => Some(entry),
            IndexSlot::Header | IndexSlot::Mark(_) => None,
        })
    }

    fn believable(&self) -> impl Iterator<Item = IndexSlot> {
        self.slots.iter().filter(|_| self.unusable.is_none()).filter_map(|slot| *slot)
    }

    /// What is wrong with the file by itself. None of it is damage: the file is never synced, and is rebuilt.
    pub(super) fn findings(&self, file: &str) -> Vec<Finding> {
        let warn = |reason: String| Finding::new(Severity::Warning, FindingKind::Index, file, reason);
        if let Some(reason) = &self.unusable {
            return vec![warn(reason.clone())];
        }
        let mut findings = Vec::new();
        for (number, _) in self.slots.iter().enumerate().filter(|(_, slot)| slot.is_none()) {
            let slot = warn(format!("slot {number} is unreadable"));
            findings.push(slot.at((number * SLOT_BYTES) as u64, SLOT_BYTES as u64));
        }
        if self.surplus_bytes > 0 {
            let position = (self.slots.len() * SLOT_BYTES) as u64;
            findings.push(warn("the last slot is incomplete".to_owned()).at(position, self.surplus_bytes as u64));
        }
        findings
    }
}

/// The entries of an index, held against the batches of its segment as they come by.
#[derive(Debug)]
pub(super) struct EntryCheck {
    base: Offset,
    /// The index's name.
    file: String,
    entries: std::vec::IntoIter<IndexEntry>,
    next: Option<IndexEntry>,
    wrong: Vec<IndexEntry>,
}

impl EntryCheck {
    pub(super) fn new(record: &SegmentRecord, index: &Index) -> EntryCheck {
        let mut entries = index.entries().to_vec().into_iter();
        let next = entries.next();
        EntryCheck { base: record.base, file: record.index_name(), entries, next, wrong: Vec::new() }
    }

    /// A batch of this offset begins at this byte.
    pub(super) fn batch(&mut self, position: u64, offset: Offset) {
        self.wrong_below(position);
        if let Some(entry) = self.next.filter(|entry| u64::from(entry.position) == position) {
            if self.base.plus(u64::from(entry.relative_offset)) != offset {
                self.wrong.push(entry);
            }
            self.next = self.entries.next();
        }
    }

    /// These bytes are lost: nothing can be said of entries into them.
    pub(super) fn lost(&mut self, from: u64, to: u64) {
        self.wrong_below(from);
        while self.next.is_some_and(|entry| u64::from(entry.position) < to) {
            self.next = self.entries.next();
        }
    }

    /// The log ends at this byte: what the index says of bytes beyond is void.
    pub(super) fn end(mut self, position: u64) -> Vec<Finding> {
        self.wrong_below(position);
        let tell = |entry: &IndexEntry| {
            let offset = self.base.plus(u64::from(entry.relative_offset));
            let reason = format!("an entry says that a batch of offset {offset} begins at byte {}", entry.position);
            Finding::new(Severity::Damage, FindingKind::Index, &self.file, format!("{reason}, and none does"))
        };
        self.wrong.iter().map(tell).collect()
    }

    fn wrong_below(&mut self, position: u64) {
        while let Some(entry) = self.next.filter(|entry| u64::from(entry.position) < position) {
            self.wrong.push(entry);
            self.next = self.entries.next();
        }
    }
}
