//! One partition as a consumer reads it: found, its start settled, subscribed to. No socket, no clock.

use tokio::time::Instant;

use crate::client::subscriber::{Gap, OutOfRange, PlaceInLog, Stage};
use crate::client::{ClientError, PartitionOffsets};
use crate::protocol::native::StartAt;
use crate::types::Offset;

/// Over which connection something was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Via {
    /// The one for the group, positions and offsets.
    Control,
    /// The one that brings records.
    Data,
}

/// What to ask for next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    None,
    /// The partition's offsets, and the group's position in it.
    Offsets,
    /// That the group's position be where reading starts.
    Settle(Offset),
    /// The records from there on.
    Subscribe(Offset),
}

/// A partition that is read, or being released.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) since: u64,
    place: PlaceInLog,
    asked: Option<Via>,
    /// Whether the group has a position in it.
    is_settled: bool,
    /// Whether the broker may be sending its records.
    pub(super) is_subscribed: bool,
    /// Until when what was handed out is waited for; set once it is to be released.
    pub(super) release_by: Option<Instant>,
}

impl Reader {
    pub(super) fn new(since: u64) -> Reader {
        Reader {
            since,
            place: PlaceInLog::new(StartAt::Committed),
            asked: None,
            is_settled: false,
            is_subscribed: false,
            release_by: None,
        }
    }

    /// What to ask for next.
    pub(super) fn step(&self) -> Step {
        if self.asked.is_some() || self.release_by.is_some() {
            return Step::None;
        }
        match (self.place.stage, self.place.next()) {
            (Stage::Placed, Some(next)) if self.is_settled => Step::Subscribe(next),
            (Stage::Placed, Some(next)) => Step::Settle(next),
            (Stage::Subscribed | Stage::Asked, _) => Step::None,
            (Stage::Idle | Stage::Placed, _) => Step::Offsets,
        }
    }

    /// It was asked for.
    pub(super) fn asked(&mut self, via: Via) {
        self.asked = Some(via);
        self.is_subscribed |= via == Via::Data;
    }

    /// The offsets are known; `start` is where a group without a position starts.
    pub(super) fn found(&mut self, offsets: &PartitionOffsets, start: Option<Offset>) -> Result<Gap, ClientError> {
        self.asked = None;
        self.is_settled |= offsets.committed.is_some();
        let committed = offsets.committed.or(start);
        self.place.place(&PartitionOffsets { committed, ..*offsets }, OutOfRange::Earliest)
    }

    /// The group's position is where reading starts.
    pub(super) fn settled(&mut self) {
        self.asked = None;
        self.is_settled = true;
    }

    /// Records come from here on.
    pub(super) fn subscribed(&mut self, start: Offset) -> Gap {
        self.asked = None;
        self.place.subscribed(start)
    }

    /// Batches up to an offset came; returns the offset from which on their records are new, `None` where none is.
    pub(super) fn advance(&mut self, end: Offset) -> Option<Offset> {
        if self.release_by.is_some() { None } else { self.place.advance(end) }
    }

    /// It was refused for now, or its subscription has ended: it is asked for again from the beginning.
    pub(super) fn again(&mut self) {
        self.asked = None;
        self.is_subscribed = false;
        self.place.lost();
    }

    /// A connection is gone.
    pub(super) fn lost(&mut self, via: Via) {
        if self.asked == Some(via) || (via == Via::Data && self.place.stage == Stage::Subscribed) {
            self.again();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(value: u64) -> Offset {
        Offset::new(value).expect("small")
    }

    fn log(committed: Option<u64>) -> PartitionOffsets {
        PartitionOffsets {
            log_start: offset(2),
            high_watermark: offset(9),
            log_end: offset(9),
            committed: committed.map(offset),
            at_time: None,
        }
    }

    #[test]
    fn a_start_is_settled_before_anything_is_read() {
        for (committed, start, expected) in
            [(None, Some(7), 7), (None, None, 2), (Some(5), Some(7), 5), (Some(1), None, 2)]
        {
            let mut reader = Reader::new(3);
            assert_eq!(reader.step(), Step::Offsets);
            reader.asked(Via::Control);
            assert_eq!(reader.step(), Step::None);
            reader.found(&log(committed), start.map(offset)).expect("in range");
            if committed.is_none() {
                assert_eq!(reader.step(), Step::Settle(offset(expected)));
                reader.asked(Via::Control);
                reader.settled();
            }
            assert_eq!(reader.step(), Step::Subscribe(offset(expected)));
        }
    }

    #[test]
    fn it_goes_on_where_it_was() {
        let mut reader = Reader::new(3);
        reader.found(&log(Some(5)), None).expect("in range");
        reader.asked(Via::Data);
        reader.lost(Via::Control);
        assert_eq!(reader.subscribed(offset(5)), Gap::None);
        assert_eq!(reader.advance(offset(8)), Some(offset(5)));
        reader.lost(Via::Control);
        assert_eq!(reader.step(), Step::None, "records go on coming");
        reader.lost(Via::Data);
        assert_eq!(reader.step(), Step::Offsets);
        reader.asked(Via::Control);
        reader.found(&log(Some(5)), None).expect("in range");
        assert_eq!(reader.step(), Step::Subscribe(offset(8)), "not what is kept, but what was received");
        reader.release_by = Some(Instant::now());
        assert_eq!(reader.step(), Step::None);
    }
}
