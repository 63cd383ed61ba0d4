//! Reading `.idx` files, and writing them: appended slot by slot while a segment is active, replaced whole where one
//! must be rebuilt.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};

use super::index::{DurableMark, Index, IndexEntry, IndexSlot, SLOT_BYTES};
use crate::disk::{Disk, DiskFile, OpenMode, read_file, replace_file};
use crate::types::Offset;

/// Largest `.idx` that is read, in bytes; one that grew beyond is rebuilt.
pub(crate) const INDEX_FILE_BYTES_MAX: u64 = 256 << 20;
/// Slots gathered before they are written, where no sync comes to take them along.
const UNSAVED_SLOTS_MAX: usize = 64;

/// Why an `.idx` file says nothing.
#[derive(Debug, thiserror::Error)]
pub enum IndexFileError {
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Its first slot is not the header of this segment's index.
    #[error("its header is damaged or another segment's")]
    Header,
}

/// The content of an `.idx` file: its entries, its marks in the order written, and how many slots were unreadable.
///
/// # Errors
/// [`IndexFileError::Header`].
pub fn decode_index_file(base: Offset, bytes: &[u8]) -> Result<(Index, Vec<DurableMark>, usize), IndexFileError> {
    let (slots, _) = bytes.as_chunks::<SLOT_BYTES>();
    let mut slots = slots.iter();
    if slots.next().and_then(|slot| IndexSlot::decode(base, slot)) != Some(IndexSlot::Header) {
        return Err(IndexFileError::Header);
    }
    let (mut index, mut marks, mut unreadable) = (Index::default(), Vec::new(), 0);
    for slot in slots {
        match IndexSlot::decode(base, slot) {
            Some(IndexSlot::Entry(entry)) => unreadable += usize::from(!index.push(entry)),
            Some(IndexSlot::Mark(mark)) => marks.push(mark),
            Some(IndexSlot::Header) | None => unreadable += 1,
        }
    }
    Ok((index, marks, unreadable))
}

/// Reads a segment's index and its newest durable mark.
pub(crate) fn load_index(
    disk: &dyn Disk,
    path: &Path,
    base: Offset,
) -> Result<(Index, Option<DurableMark>), IndexFileError> {
    let bytes = read_file(disk, path, INDEX_FILE_BYTES_MAX)?;
    let (index, marks, _) = decode_index_file(base, &bytes)?;
    Ok((index, marks.into_iter().max_by_key(|mark| mark.position)))
}

/// Whether an index file begins as this segment's must.
pub(crate) fn has_index(disk: &dyn Disk, path: &Path, base: Offset) -> bool {
    let mut slot = [0; SLOT_BYTES];
    let read = disk.open(path, OpenMode::Read).and_then(|file| file.read_at(&mut slot, 0));
    read.is_ok() && IndexSlot::decode(base, &slot) == Some(IndexSlot::Header)
}

/// Replaces an index by these entries and this mark.
pub(crate) fn write_index(
    disk: &dyn Disk,
    path: &Path,
    base: Offset,
    index: &Index,
    mark: Option<DurableMark>,
) -> io::Result<()> {
    let mut bytes = BytesMut::with_capacity((index.entries().len() + 2) * SLOT_BYTES);
    bytes.put_slice(&IndexSlot::Header.encode(base));
    for entry in index.entries() {
        bytes.put_slice(&IndexSlot::Entry(*entry).encode(base));
    }
    if let Some(mark) = mark {
        bytes.put_slice(&IndexSlot::Mark(mark).encode(base));
    }
    replace_file(disk, path, &bytes)
}

/// The index of the segment that takes appends. Nothing of it is ever synced: it is a hint that can be rebuilt, and a
/// mark lost with it only lowers what is known to be durable.
#[derive(Debug)]
pub(crate) struct ActiveIndex {
    base: Offset,
    index: Index,
    file: Arc<dyn DiskFile>,
    file_len: u64,
    unsaved: BytesMut,
}

impl ActiveIndex {
    /// Starts an empty index file; the directory entry is the caller's to sync.
    pub(crate) fn create(disk: &dyn Disk, path: &Path, base: Offset) -> io::Result<ActiveIndex> {
        let file = disk.open(path, OpenMode::CreateOrEmpty)?;
        let mut unsaved = BytesMut::new();
        unsaved.put_slice(&IndexSlot::Header.encode(base));
        let mut created = ActiveIndex { base, index: Index::default(), file, file_len: 0, unsaved };
        created.save()?;
        Ok(created)
    }

    /// Takes up an index file that was read before.
    pub(crate) fn open(disk: &dyn Disk, path: &Path, base: Offset, index: Index) -> io::Result<ActiveIndex> {
        let file = disk.open(path, OpenMode::ReadWrite)?;
        let slot_bytes = SLOT_BYTES as u64;
        let file_len = file.len()?.div_ceil(slot_bytes) * slot_bytes;
        Ok(ActiveIndex { base, index, file, file_len, unsaved: BytesMut::new() })
    }

    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    /// Adds an entry to the memory and to what is to be written.
    pub(crate) fn push(&mut self, entry: IndexEntry) {
        if self.index.push(entry) {
            self.unsaved.put_slice(&IndexSlot::Entry(entry).encode(self.base));
        }
    }

    /// Writes gathered entries where enough have come together. A failure is no matter: they stay gathered.
    pub(crate) fn save_if_many(&mut self) {
        if self.unsaved.len() >= UNSAVED_SLOTS_MAX * SLOT_BYTES {
            let _hint = self.save();
        }
    }

    /// Writes gathered entries and a durable mark. A failure is no matter: the mark is then lost.
    pub(crate) fn save_mark(&mut self, mark: DurableMark) {
        let entries = self.unsaved.len();
        self.unsaved.put_slice(&IndexSlot::Mark(mark).encode(self.base));
        if self.save().is_err() {
            self.unsaved.truncate(entries);
        }
    }

    fn save(&mut self) -> io::Result<()> {
        self.file.write_at(&[IoSlice::new(&self.unsaved)], self.file_len)?;
        self.file_len += self.unsaved.len() as u64;
        self.unsaved.clear();
        Ok(())
    }
}
