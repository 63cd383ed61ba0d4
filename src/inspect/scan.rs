//! Reading a segment from front to back, behind damage too, and saying what is lost.
//!
//! What counts as damage is recovery's rule: below the *durable point* (a sealed segment's end, the newest durable mark
//! of the active one) everything was synced and must be whole; behind it the log ends at the first bad batch, and what
//! follows is a tail that a power cut may have torn.

use std::sync::Arc;

use super::locate::Search;
use super::window::Window;
use crate::disk::DiskFile;
use crate::log::{BATCH_BYTES_MAX, Damage, History, Index};
use crate::record::{self, Batch, BatchError, BatchHeader, HEADER_BYTES};
use crate::types::{Epoch, Offset};

/// What a scan came upon.
#[derive(Debug)]
pub enum ScanEvent {
    /// A whole batch, and the byte at which it begins.
    Batch(u64, Batch),
    /// Damage where nothing may be damaged.
    Lost(Lost),
    /// What the file holds behind the log's end; comes last.
    End(Tail),
}

/// Durable bytes that are not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The first bad byte.
    pub position: u64,
    /// The byte at which whole batches go on, or the file ends.
    pub end: u64,
    /// The first offset lost.
    pub from: Offset,
    /// The first offset after the loss; `from` where no record is lost.
    pub to: Offset,
    /// What is wrong.
    pub damage: Damage,
}

/// What lies behind the last batch of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tail {
    /// Nothing.
    Clean,
    /// Zeros: space that was reserved and not written.
    Unwritten {
        /// How many bytes.
        bytes: u64,
    },
    /// Bytes that are no batch, never known to be durable: the next start sets them aside.
    Torn {
        /// How many bytes.
        bytes: u64,
        /// What is wrong with the first of them.
        damage: Damage,
    },
}

/// What is known of a segment beside its bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Its base offset.
    pub(super) base: Offset,
    /// The byte up to which everything was synced.
    pub(super) durable: u64,
    /// The offset that follows there.
    pub(super) durable_offset: Offset,
    /// The byte at which the segment ends, whatever the file holds behind it.
    pub(super) limit: u64,
}

/// One segment being read. Ends after [`ScanEvent::End`].
pub(super) struct SegmentScan<'a> {
    window: Window,
    history: &'a History,
    anchors: Index,
    bounds: Bounds,
    /// The offset of the first batch behind the durable point: another where a gap begins there.
    durable_next: Offset,
    position: u64,
    /// The end of the batch before, not yet moved over a known gap.
    previous_end: Offset,
    expected: Offset,
    /// Whether the walk came through the durable point.
    met: bool,
    ended: bool,
}

impl<'a> SegmentScan<'a> {
    /// A scan from the segment's first byte. `anchors` are believed only where they prove true.
    pub(super) fn new(
        file: Arc<dyn DiskFile>,
        file_len: u64,
        bounds: Bounds,
        history: &'a History,
        anchors: Index,
    ) -> Self {
        SegmentScan {
            window: Window::new(file, file_len.min(bounds.limit)),
            history,
            anchors,
            bounds,
            durable_next: history.follow(bounds.durable_offset),
            position: 0,
            previous_end: bounds.base,
            expected: history.follow(bounds.base),
            met: bounds.durable == 0,
            ended: false,
        }
    }

    /// The byte the scan has come to.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The offset of the next record.
    pub(super) fn next_offset(&self) -> Offset {
        self.expected
    }

    fn step(&mut self) -> ScanEvent {
        self.meet();
        if self.position >= self.window.end() {
            return self.finish();
        }
        match self.read_batch() {
            Ok(batch) => {
                let position = self.position;
                self.position += batch.header().total_bytes as u64;
                self.previous_end = batch.header().next_offset();
                self.expected = self.history.follow(self.previous_end);
                ScanEvent::Batch(position, batch)
            }
            Err(damage) if self.position < self.bounds.durable => self.pass(damage),
            Err(damage) => {
                // The log ends here, and the mark's place, if it was not met, was never a boundary.
                if !self.met {
                    return self.unmet();
                }
                self.ended = true;
                ScanEvent::End(self.tail(damage))
            }
        }
    }

    fn meet(&mut self) {
        self.met |= self.position == self.bounds.durable && self.expected == self.durable_next;
    }

    fn read_batch(&mut self) -> Result<Batch, Damage> {
        let bytes = self.window.at(self.position, HEADER_BYTES)?;
        let (bytes, header) = match record::verify(&bytes) {
            Err(BatchError::Truncated { needed, have }) if needed > have && needed <= BATCH_BYTES_MAX => {
                let bytes = self.window.at(self.position, needed)?;
                let verified = record::verify(&bytes);
                (bytes, verified)
            }
            verified => (bytes, verified),
        };
        let header = header.map_err(Damage::Batch)?;
        if header.base_offset != self.expected {
            return Err(Damage::Offset { expected: self.expected, found: header.base_offset });
        }
        let offset = header.base_offset;
        let expected = self.history.epochs.epoch_at(offset);
        if expected.map(Epoch::get) != Some(header.leader_epoch) {
            return Err(Damage::Epoch { offset, expected, found: header.leader_epoch });
        }
        Ok(Batch::from_verified(bytes.slice(..header.total_bytes), header))
    }

    /// Steps over damage below the durable point.
    fn pass(&mut self, damage: Damage) -> ScanEvent {
        let (position, from) = (self.position, self.expected);
        let (durable, file_end) = (self.bounds.durable, self.window.end());
        let found = self.resume();
        let (end, to) = match found {
            Some((end, to)) => (end, to),
            None => (durable.min(file_end), self.bounds.durable_offset.max(from)),
        };
        (self.position, self.previous_end, self.expected) = (end, to, self.history.follow(to));
        // Whatever the file lacks up to the durable point is part of this loss.
        self.met |= found.is_none();
        ScanEvent::Lost(Lost { position, end, from, to: to.max(from), damage })
    }

    /// Where whole batches go on before the durable point.
    fn resume(&mut self) -> Option<(u64, Offset)> {
        let epochs = self.history;
        let wrote = |header: &BatchHeader| {
            epochs.epochs.epoch_at(header.base_offset).map(Epoch::get) == Some(header.leader_epoch)
        };
        let file_end = self.window.end();
        let mut search = Search {
            previous_end: self.previous_end,
            expected: self.expected,
            end: self.bounds.durable.min(file_end),
            is_cut_off: file_end < self.bounds.durable,
            end_offset: self.durable_next,
            history: self.history,
            epochs: &wrote,
        };
        let anchor = self.anchor(&search);
        if let Some((position, offset)) = anchor {
            (search.end, search.end_offset, search.is_cut_off) = (position, offset, false);
        }
        search.run(&mut self.window, self.position).or(anchor)
    }

    /// The first index entry behind the damage that proves true.
    fn anchor(&mut self, search: &Search<'_>) -> Option<(u64, Offset)> {
        let mut position = self.position;
        while let Some(entry) = self.anchors.after_position(position) {
            position = u64::from(entry.position);
            let offset = self.bounds.base.plus(u64::from(entry.relative_offset));
            let held = search.holds(&mut self.window, position);
            if held.is_some_and(|header| header.base_offset == offset) {
                return Some((position, offset));
            }
        }
        None
    }

    fn finish(&mut self) -> ScanEvent {
        if !self.met {
            return self.unmet();
        }
        self.ended = true;
        ScanEvent::End(Tail::Clean)
    }

    /// The walk ended without coming through the durable point.
    fn unmet(&mut self) -> ScanEvent {
        let (durable, file_end) = (self.bounds.durable, self.window.end());
        let damage = if file_end < durable {
            Damage::Length { expected: durable, found: file_end }
        } else {
            Damage::Boundary { position: durable }
        };
        let from = self.expected;
        let to = self.bounds.durable_offset.max(from);
        self.met = true;
        (self.previous_end, self.expected) = (to, self.history.follow(to));
        ScanEvent::Lost(Lost { position: self.position.min(durable), end: self.position, from, to, damage })
    }

    /// Tells reserved space from a torn tail.
    fn tail(&mut self, damage: Damage) -> Tail {
        let bytes = self.window.end() - self.position;
        let mut at = self.position;
        while at < self.window.end() {
            match self.window.at(at, 1) {
                Ok(chunk) if !chunk.is_empty() && chunk.iter().all(|byte| *byte == 0) => at += chunk.len() as u64,
                _ => return Tail::Torn { bytes, damage },
            }
        }
        Tail::Unwritten { bytes }
    }
}

impl Iterator for SegmentScan<'_> {
    type Item = ScanEvent;

    fn next(&mut self) -> Option<ScanEvent> {
        (!self.ended).then(|| self.step())
    }
}
