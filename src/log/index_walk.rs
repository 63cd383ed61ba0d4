//! The index of a segment as a walk through it rebuilds it.

use super::index::{DurableMark, Index, IndexEntry};
use super::point::{LogPoint, effective_timestamp};
use super::walk::Walk;
use crate::record::BatchHeader;
use crate::types::{BatchIndex, Timestamp};

/// Index entries as a walk comes upon the places for them.
#[derive(Debug)]
pub(crate) struct EntryBuilder {
    pub(crate) index: Index,
    interval: u64,
    last_position: u64,
    start: LogPoint,
}

impl EntryBuilder {
    pub(crate) fn new(interval: u64, start: LogPoint) -> EntryBuilder {
        EntryBuilder { interval, last_position: start.position, start, index: Index::default() }
    }

    /// Takes the batch that begins at `point`, and moves the point's largest timestamp past it.
    pub(crate) fn visit(&mut self, header: &BatchHeader, point: &mut LogPoint, now: Timestamp) {
        if point.position - self.last_position >= self.interval {
            let relative = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
            self.index.push(IndexEntry {
                relative_offset: relative(point.next_offset.since(point.segment)),
                position: relative(point.position),
                max_timestamp: point.max_timestamp,
                relative_batch: relative(point.next_batch.get() - self.start.next_batch.get()),
            });
            self.last_position = point.position;
        }
        point.max_timestamp = point.max_timestamp.max(effective_timestamp(header.max_timestamp, now));
    }
}

/// What the walk of the active segment gathers.
pub(crate) struct Walked {
    /// What the index file held.
    pub(crate) loaded: Option<Index>,
    fresh: EntryBuilder,
    /// The newest durable mark.
    pub(crate) mark: Option<DurableMark>,
    /// Whether the walk came through the mark's place.
    pub(crate) mark_met: bool,
    /// Whether the index file holds the mark.
    pub(crate) is_mark_saved: bool,
}

impl Walked {
    /// A walk from `from` on, in a segment whose first batch has this number.
    pub(crate) fn new(
        interval: u64,
        first_batch: BatchIndex,
        loaded: Option<Index>,
        from: LogPoint,
        mark: Option<DurableMark>,
    ) -> Walked {
        let mut first = LogPoint::segment_start(from.segment, first_batch);
        first.position = from.position;
        let fresh = EntryBuilder::new(interval, first);
        let mut walked = Walked { loaded, fresh, mark, mark_met: false, is_mark_saved: true };
        walked.meet(&from);
        walked
    }

    pub(crate) fn visit(&mut self, header: &BatchHeader, point: &mut LogPoint, now: Timestamp) {
        self.meet(point);
        self.fresh.visit(header, point, now);
    }

    /// Notes whether the mark's place is one the walk comes through.
    pub(crate) fn meet(&mut self, point: &LogPoint) {
        self.mark_met |= self.mark.is_some_and(|mark| {
            u64::from(mark.position) == point.position
                && u64::from(mark.relative_offset) == point.next_offset.since(point.segment)
        });
    }

    /// The index to go on with: what the file had before the walk began, and what the walk found.
    pub(crate) fn merged(&self, walk: &Walk) -> Index {
        let mut merged = self.loaded.clone().unwrap_or_default();
        merged.truncate_to(self.fresh.start.position);
        for entry in self.fresh.index.entries() {
            merged.push(*entry);
        }
        merged.truncate_to(walk.end.position);
        merged
    }
}
