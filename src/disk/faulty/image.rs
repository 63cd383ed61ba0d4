//! One file's bytes: what is durable, what the page cache shows, and every unsynced 512-byte sector in the versions it
//! took between the two. Knows no names, no faults' schedule and no randomness but what [`Survival`] draws.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::sync::Arc;

use super::power::Survival;
use super::random::Random;

/// The unit that a power cut keeps or loses as a whole.
pub(super) const SECTOR_BYTES: usize = 512;

/// Distinct unsynced versions kept of one sector.
const VERSIONS_MAX: usize = 4;

/// A tick of the disk's own count of changes; orders everything unsynced across files and directories.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(pub(super) u64);

/// A sector as one write left it.
#[derive(Debug, Clone)]
pub(super) struct Version {
    pub(super) moment: Moment,
    /// The file's length just after the write.
    file_bytes: usize,
    /// The whole write's sectors, shared by their versions; `None` for zeros.
    block: Option<Arc<[u8]>>,
    /// Where in the block this sector begins.
    at: usize,
}

impl Version {
    /// The sector's bytes; what is missing to a full sector is zeros.
    fn bytes(&self) -> &[u8] {
        self.block.as_ref().map_or(&[], |block| &block[self.at..block.len().min(self.at + SECTOR_BYTES)])
    }
}

/// A change of the file's length.
#[derive(Debug, Clone, Copy)]
pub(super) struct Length {
    pub(super) moment: Moment,
    bytes: usize,
    cause: Cause,
}

/// What changed the length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// A write beyond the end. Its sectors cover the growth, so that of several in a row the last one is enough.
    Write,
    /// Zeros were added.
    Extension,
    /// The end was cut off.
    Cut,
}

/// A file's bytes, durable and current.
#[derive(Debug, Clone, Default)]
pub(super) struct Image {
    durable: Arc<Vec<u8>>,
    current: Arc<Vec<u8>>,
    /// Unsynced versions of each sector, oldest first, never an empty list.
    dirty: BTreeMap<usize, Vec<Version>>,
    /// Unsynced lengths, oldest first.
    lengths: Vec<Length>,
    /// When the newest sync began: what it is to write must stay told apart from what comes after.
    sync_began: Moment,
    /// A sync of everything up to here failed: the cache holds it as clean, so that no later sync writes it.
    lost: Moment,
}

impl Image {
    /// A file whose bytes are all durable.
    pub(super) fn durable(bytes: Arc<Vec<u8>>) -> Self {
        Self { current: Arc::clone(&bytes), durable: bytes, ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.current.len()
    }

    /// The bytes as a reader sees them.
    pub(super) fn current(&self) -> &[u8] {
        &self.current
    }

    /// Copies current bytes from `position` on; returns the count.
    pub(super) fn read(&self, buf: &mut [u8], position: usize) -> usize {
        let bytes = self.current.get(position..).unwrap_or_default();
        let count = bytes.len().min(buf.len());
        buf[..count].copy_from_slice(&bytes[..count]);
        count
    }

    /// Writes the first `limit` bytes of the slices.
    pub(super) fn write(&mut self, moment: Moment, slices: &[IoSlice<'_>], position: usize, limit: usize) {
        let total = slices.iter().map(|slice| slice.len()).sum::<usize>().min(limit);
        if total == 0 {
            return;
        }
        let end = position + total;
        let current = Arc::make_mut(&mut self.current);
        let before = current.len();
        let grows = end > before;
        if grows {
            current.resize(end, 0);
        }
        let mut at = position;
        for slice in slices {
            let count = slice.len().min(end - at);
            current[at..at + count].copy_from_slice(&slice[..count]);
            at += count;
        }
        if grows {
            self.record_growth(moment, before, Cause::Write);
        }
        self.record_sectors(moment, position, end);
    }

    /// Cuts the file, or extends it by zeros.
    pub(super) fn set_len(&mut self, moment: Moment, bytes: usize) {
        let before = self.len();
        if bytes == before {
            return;
        }
        Arc::make_mut(&mut self.current).resize(bytes, 0);
        if bytes > before {
            self.record_growth(moment, before, Cause::Extension);
            return;
        }
        self.lengths.push(Length { moment, bytes, cause: Cause::Cut });
        if !bytes.is_multiple_of(SECTOR_BYTES) {
            self.record_sectors(moment, bytes - 1, bytes);
        }
    }

    /// Notes that a sync begins: it will write what there is now.
    pub(super) fn begin_sync(&mut self, ceiling: Moment) {
        self.sync_began = self.sync_began.max(ceiling);
    }

    /// Makes durable what was written up to `ceiling` and not lost by a failed sync.
    pub(super) fn finish_sync(&mut self, ceiling: Moment) {
        if self.is_clean() {
            return;
        }
        let lost = self.lost;
        let durable = Arc::make_mut(&mut self.durable);
        let settled = self.lengths.partition_point(|length| length.moment <= ceiling);
        let (settled_lengths, _) = self.lengths.split_at(settled);
        let last_length = settled_lengths.iter().rfind(|length| length.moment > lost);
        if let Some(length) = last_length {
            durable.resize(length.bytes, 0);
        }
        self.dirty.retain(|&sector, versions| {
            let settled = versions.partition_point(|version| version.moment <= ceiling);
            if let Some(version) = versions[..settled].last().filter(|version| version.moment > lost) {
                if !cut_off(settled_lengths, sector, version) {
                    apply(durable, sector, version, true);
                }
                versions.drain(..settled);
            }
            !versions.is_empty()
        });
        if last_length.is_some() {
            self.lengths.drain(..settled);
        }
    }

    /// A sync failed: everything up to `ceiling` stays readable, is not durable and no longer counts as dirty.
    pub(super) fn lose(&mut self, ceiling: Moment) {
        self.lost = self.lost.max(ceiling);
    }

    /// Flips one bit wherever the byte is stored; false where the file is not that long.
    pub(super) fn flip_bit(&mut self, position: usize, bit: u32) -> bool {
        if position >= self.len() {
            return false;
        }
        let mask = 1_u8 << (bit % 8);
        Arc::make_mut(&mut self.current)[position] ^= mask;
        if let Some(byte) = Arc::make_mut(&mut self.durable).get_mut(position) {
            *byte ^= mask;
        }
        let within = position % SECTOR_BYTES;
        for version in self.dirty.get_mut(&(position / SECTOR_BYTES)).into_iter().flatten() {
            let mut bytes = version.bytes().to_vec();
            if let Some(byte) = bytes.get_mut(within) {
                *byte ^= mask;
                (version.block, version.at) = (Some(bytes.into()), 0);
            }
        }
        true
    }

    /// Whether every byte is as durable as it is current.
    pub(super) fn is_clean(&self) -> bool {
        self.dirty.is_empty() && self.lengths.is_empty()
    }

    /// The file as found after a power cut.
    pub(super) fn survivor(&self, survival: Survival, random: &mut Random) -> Self {
        if self.is_clean() {
            return Self::durable(Arc::clone(&self.durable));
        }
        let kept = &self.lengths[..survival.lengths_kept(&self.lengths, random)];
        let kept_until = kept.last().map_or(Moment(0), |length| length.moment);
        let mut bytes = Vec::clone(&self.durable);
        for length in kept {
            bytes.resize(length.bytes, 0);
        }
        for ((&sector, versions), rank) in self.dirty.iter().zip(0..) {
            let place = rank * 100 / self.dirty.len() as u64;
            let version = survival.version_kept(place, versions, random);
            if let Some(version) = version.filter(|version| !cut_off(kept, sector, version)) {
                apply(&mut bytes, sector, version, version.moment > kept_until);
            }
        }
        Self::durable(Arc::new(bytes))
    }

    fn durably_zero(&self, sector: usize) -> bool {
        let start = (sector * SECTOR_BYTES).min(self.durable.len());
        let end = (start + SECTOR_BYTES).min(self.durable.len());
        self.durable[start..end] == [0; SECTOR_BYTES][..end - start]
    }

    fn record_growth(&mut self, moment: Moment, before: usize, cause: Cause) {
        let bytes = self.len();
        match self.lengths.last_mut() {
            Some(last) if (last.cause, cause) == (Cause::Write, Cause::Write) => {
                (last.moment, last.bytes) = (moment, bytes)
            }
            Some(_) | None => self.lengths.push(Length { moment, bytes, cause }),
        }
        if self.lengths.iter().any(|length| length.cause == Cause::Cut) {
            for sector in before.div_ceil(SECTOR_BYTES)..bytes.div_ceil(SECTOR_BYTES) {
                // What was cut off here reads as zeros now, and may or may not have been replaced by them.
                if self.dirty.contains_key(&sector) || !self.durably_zero(sector) {
                    self.record(sector, Version { moment, file_bytes: bytes, block: None, at: 0 });
                }
            }
        }
    }

    /// Takes a version of each sector that the current bytes `start..end` touch.
    fn record_sectors(&mut self, moment: Moment, start: usize, end: usize) {
        let (first, last) = (start / SECTOR_BYTES, (end - 1) / SECTOR_BYTES);
        let file_bytes = self.len();
        let block: Arc<[u8]> = self.current[first * SECTOR_BYTES..file_bytes.min((last + 1) * SECTOR_BYTES)].into();
        for sector in first..=last {
            let block = Some(Arc::clone(&block));
            self.record(sector, Version { moment, file_bytes, block, at: (sector - first) * SECTOR_BYTES });
        }
    }

    fn record(&mut self, sector: usize, version: Version) {
        let versions = self.dirty.entry(sector).or_default();
        if versions.len() == VERSIONS_MAX {
            let needed_by_sync = versions.partition_point(|version| version.moment <= self.sync_began) == 1;
            versions.remove(usize::from(needed_by_sync));
        }
        versions.push(version);
    }
}

/// Whether one of these lengths cut the sector off after it was written.
fn cut_off(lengths: &[Length], sector: usize, version: &Version) -> bool {
    let start = sector * SECTOR_BYTES;
    lengths.iter().any(|length| length.cause == Cause::Cut && version.moment <= length.moment && start >= length.bytes)
}

/// Puts a sector into `bytes`, as far as the file reached when it was written where `extends`, else as far as it
/// reaches now.
fn apply(bytes: &mut Vec<u8>, sector: usize, version: &Version, extends: bool) {
    let start = sector * SECTOR_BYTES;
    if extends && bytes.len() < version.file_bytes.min(start + SECTOR_BYTES) {
        bytes.resize(version.file_bytes.min(start + SECTOR_BYTES), 0);
    }
    let end = bytes.len().min(start + SECTOR_BYTES);
    if let Some(target) = bytes.get_mut(start..end) {
        let source = version.bytes();
        let count = source.len().min(target.len());
        target[..count].copy_from_slice(&source[..count]);
        target[count..].fill(0);
    }
}
