//! What a partition knows of its past: which epoch wrote which offsets, and which offsets are known to be lost.

use crate::types::{Epoch, Offset};

/// The epochs that wrote a partition and the offset each began at; both strictly growing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EpochHistory {
    entries: Vec<(Epoch, Offset)>,
    latest: Option<Epoch>,
}

impl EpochHistory {
    /// A history as read back; `None` where it does not grow.
    #[must_use]
    pub fn from_entries(entries: Vec<(Epoch, Offset)>, latest: Option<Epoch>) -> Option<EpochHistory> {
        let grows = entries.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1);
        let covers = entries.last().is_none_or(|(epoch, _)| latest.is_some_and(|latest| *epoch <= latest));
        (grows && covers).then_some(EpochHistory { entries, latest })
    }

    /// The epochs and their first offsets, oldest first.
    #[must_use]
    pub fn entries(&self) -> &[(Epoch, Offset)] {
        &self.entries
    }

    /// The newest epoch ever begun here, though all it wrote may be gone.
    #[must_use]
    pub fn latest(&self) -> Option<Epoch> {
        self.latest
    }

    /// The epoch that writes at the log end: the newest one begun, unless all it wrote was taken back.
    #[must_use]
    pub fn writing(&self) -> Option<Epoch> {
        self.entries.last().map(|(epoch, _)| *epoch).filter(|epoch| self.latest == Some(*epoch))
    }

    /// The epoch that wrote an offset, as far as it is remembered.
    #[must_use]
    pub fn epoch_at(&self, offset: Offset) -> Option<Epoch> {
        let after = self.entries.partition_point(|(_, start)| *start <= offset);
        after.checked_sub(1).map(|last| self.entries[last].0)
    }

    /// Begins an epoch at an offset: a new one, or again the newest where all it wrote was taken back. Epochs that began there or later wrote nothing that is left: they are dropped.
    ///
    /// # Panics
    /// Where the epoch is older than one before, or is writing already: that is our own mistake.
    pub fn begin(&mut self, epoch: Epoch, start: Offset) {
        assert!(
            self.latest.is_none_or(|latest| latest <= epoch) && self.writing() != Some(epoch),
            "epoch {epoch} is not new"
        );
        self.truncate_to(start);
        self.entries.push((epoch, start));
        self.latest = Some(epoch);
    }

    /// Forgets epochs that began at `end` or later; the newest number stays taken.
    pub fn truncate_to(&mut self, end: Offset) {
        self.entries.retain(|(_, start)| *start < end);
    }

    /// Forgets epochs all of whose records lie below the log start.
    pub fn trim_below(&mut self, log_start: Offset) {
        let covering = self.entries.partition_point(|(_, start)| *start <= log_start).saturating_sub(1);
        self.entries.drain(..covering);
    }
}

/// Offsets that an operator's repair gave up: `from` to just before `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The first lost offset.
    pub from: Offset,
    /// The first offset after the loss.
    pub to: Offset,
}

/// Everything beside the bytes that a chain of batches is checked against.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// Which epoch wrote what.
    pub epochs: EpochHistory,
    /// What a repair gave up, in order.
    pub gaps: Vec<Gap>,
}

impl History {
    /// The offset a batch that follows `end` must begin at: `end`, or the end of the gap that begins there.
    #[must_use]
    pub fn follow(&self, end: Offset) -> Offset {
        self.gaps.iter().find(|gap| gap.from <= end && end < gap.to).map_or(end, |gap| gap.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(value: u64) -> Offset {
        Offset::new(value).expect("small")
    }

    fn epoch(value: i32) -> Epoch {
        Epoch::new(value).expect("positive")
    }

    #[test]
    fn epochs_by_offset() {
        let mut history = EpochHistory::default();
        assert_eq!(history.epoch_at(Offset::ZERO), None);
        history.begin(epoch(1), offset(0));
        history.begin(epoch(2), offset(10));
        history.begin(epoch(5), offset(20));
        for (at, expected) in [(0, 1), (9, 1), (10, 2), (19, 2), (20, 5), (1000, 5)] {
            assert_eq!(history.epoch_at(offset(at)), Some(epoch(expected)), "at {at}");
        }
    }

    #[test]
    fn a_lost_epoch_is_never_used_again() {
        let mut history = EpochHistory::default();
        history.begin(epoch(1), offset(0));
        history.begin(epoch(2), offset(10));
        history.truncate_to(offset(10));
        assert_eq!((history.epoch_at(offset(12)), history.latest()), (Some(epoch(1)), Some(epoch(2))));
        history.begin(epoch(3), offset(10));
        assert_eq!(history.entries(), [(epoch(1), offset(0)), (epoch(3), offset(10))]);
    }

    #[test]
    fn trimming_keeps_the_epoch_of_the_log_start() {
        let mut history = EpochHistory::default();
        history.begin(epoch(1), offset(0));
        history.begin(epoch(2), offset(10));
        history.begin(epoch(3), offset(20));
        history.trim_below(offset(15));
        assert_eq!(history.entries(), [(epoch(2), offset(10)), (epoch(3), offset(20))]);
        history.trim_below(offset(20));
        assert_eq!(history.entries(), [(epoch(3), offset(20))]);
    }
}
