//! Where a subscriber stands in one partition, and where it goes on after an interruption. No socket, no clock.

use crate::client::subscriber::options::OutOfRange;
use crate::client::{ClientError, PartitionOffsets};
use crate::protocol::native::StartAt;
use crate::types::Offset;

/// How far a subscription has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::client) enum Stage {
    /// Nothing was asked for yet.
    Idle,
    /// The partition's offsets, or the subscription, were asked for.
    Asked,
    /// Where to start is known.
    Placed,
    /// Batches come.
    Subscribed,
}

/// One partition as a subscriber reads it.
#[derive(Debug)]
pub(in crate::client) struct Position {
    pub(in crate::client) stage: Stage,
    start: StartAt,
    /// The next offset to be handed out; unknown until the broker has said where the subscription starts.
    next: Option<Offset>,
    /// Whether a record may have been handed out.
    has_begun: bool,
}

/// What became of the records in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::client) enum Gap {
    None,
    /// They are no longer kept.
    Gone {
        /// The offset that was to come next.
        wanted: Offset,
        /// The offset that comes next.
        next: Offset,
    },
    /// The log ends before what was read: the broker lost records that it had shown.
    Lost {
        /// The offset that was to come next.
        wanted: Offset,
        /// The offset that comes next.
        next: Offset,
    },
}

impl Position {
    pub(in crate::client) fn new(start: StartAt) -> Position {
        let next = if let StartAt::Offset(offset) = start { Some(offset) } else { None };
        Position { stage: Stage::Idle, start, next, has_begun: false }
    }

    /// What is to be asked of the partition's offsets to find where to start.
    pub(in crate::client) fn query(&self) -> StartAt {
        self.next.map_or(self.start, StartAt::Offset)
    }

    /// The next offset to be handed out, once it is known.
    pub(in crate::client) fn next(&self) -> Option<Offset> {
        self.next
    }

    /// Finds where to start, or to go on, in what the log holds now.
    pub(in crate::client) fn place(
        &mut self,
        offsets: &PartitionOffsets,
        policy: OutOfRange,
    ) -> Result<Gap, ClientError> {
        let wanted = self.next.unwrap_or_else(|| match self.start {
            StartAt::Offset(offset) => offset,
            StartAt::Begin => offsets.log_start,
            StartAt::End => offsets.high_watermark,
            StartAt::Committed => offsets.committed.unwrap_or(offsets.log_start).min(offsets.log_end),
            StartAt::Time(_) => offsets.at_time.unwrap_or(offsets.high_watermark),
        });
        self.stage = Stage::Placed;
        let (next, gap) = if wanted < offsets.log_start {
            let next = match policy {
                OutOfRange::Earliest => offsets.log_start,
                OutOfRange::Latest => offsets.high_watermark,
                OutOfRange::Fail => return Err(ClientError::RecordsGone { wanted, log_start: offsets.log_start }),
            };
            (next, Gap::Gone { wanted, next })
        } else if self.has_begun && wanted > offsets.log_end {
            // A start above the end was asked for and waits; a position there can only come from a log that was cut.
            (offsets.log_end, Gap::Lost { wanted, next: offsets.log_end })
        } else {
            (wanted, Gap::None)
        };
        self.next = Some(next);
        Ok(gap)
    }

    /// The subscription holds, from this offset on.
    pub(in crate::client) fn subscribed(&mut self, start: Offset) -> Gap {
        self.stage = Stage::Subscribed;
        let wanted = *self.next.get_or_insert(start);
        if wanted < start {
            self.next = Some(start);
            return Gap::Gone { wanted, next: start };
        }
        Gap::None
    }

    /// Takes batches up to an offset; returns the offset from which on their records are new, `None` where none is.
    pub(in crate::client) fn advance(&mut self, end: Offset) -> Option<Offset> {
        let from = self.next.filter(|next| *next < end && self.stage == Stage::Subscribed)?;
        self.next = Some(end);
        self.has_begun = true;
        Some(from)
    }

    /// The connection is gone.
    pub(in crate::client) fn lost(&mut self) {
        self.stage = Stage::Idle;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(value: u64) -> Offset {
        Offset::new(value).expect("small")
    }

    fn log(start: u64, end: u64) -> PartitionOffsets {
        PartitionOffsets {
            log_start: offset(start),
            high_watermark: offset(end),
            log_end: offset(end),
            committed: None,
            at_time: None,
        }
    }

    #[test]
    fn nothing_is_handed_out_twice() {
        let mut position = Position::new(StartAt::End);
        assert_eq!(position.advance(offset(3)), None, "not subscribed");
        assert_eq!(position.place(&log(0, 5), OutOfRange::Fail).expect("in range"), Gap::None);
        assert_eq!(position.subscribed(offset(5)), Gap::None);
        assert_eq!(position.advance(offset(5)), None);
        assert_eq!(position.advance(offset(7)), Some(offset(5)));
        assert_eq!(position.advance(offset(6)), None);
        position.lost();
        assert_eq!(position.query(), StartAt::Offset(offset(7)));
        assert_eq!(position.place(&log(0, 9), OutOfRange::Fail).expect("in range"), Gap::None);
        assert_eq!(position.subscribed(offset(7)), Gap::None);
        assert_eq!(position.advance(offset(9)), Some(offset(7)));
    }

    #[test]
    fn every_start_has_its_place() {
        let found = PartitionOffsets { committed: Some(offset(6)), at_time: Some(offset(7)), ..log(4, 8) };
        let time = StartAt::Time(crate::types::Timestamp::from_millis(1));
        for (start, offsets, expected) in [
            (StartAt::Begin, found, 4),
            (StartAt::End, found, 8),
            (StartAt::Committed, found, 6),
            (StartAt::Committed, log(4, 8), 4),
            (StartAt::Committed, PartitionOffsets { committed: Some(offset(9)), ..found }, 8),
            (time, found, 7),
            (time, log(4, 8), 8),
            (StartAt::Offset(offset(9)), found, 9),
        ] {
            let mut position = Position::new(start);
            assert_eq!(position.place(&offsets, OutOfRange::Fail).expect("in range"), Gap::None);
            assert_eq!(position.next(), Some(offset(expected)), "{start:?}");
        }
    }

    #[test]
    fn what_is_gone_is_passed_over_as_asked_for() {
        let gone = |next| Gap::Gone { wanted: offset(2), next: offset(next) };
        for (policy, expected) in [(OutOfRange::Earliest, gone(4)), (OutOfRange::Latest, gone(8))] {
            let mut position = Position::new(StartAt::Offset(offset(2)));
            assert_eq!(position.place(&log(4, 8), policy).expect("passed over"), expected);
            assert_eq!(position.place(&log(4, 8), policy).expect("told once"), Gap::None);
        }
        let mut position = Position::new(StartAt::Offset(offset(2)));
        assert!(position.place(&log(4, 8), OutOfRange::Fail).is_err());
        assert_eq!(position.subscribed(offset(4)), gone(4), "gone in the meantime");
    }

    #[test]
    fn a_start_above_the_end_waits_but_a_position_there_was_lost() {
        let mut position = Position::new(StartAt::Offset(offset(9)));
        assert_eq!(position.place(&log(0, 5), OutOfRange::Earliest).expect("waits"), Gap::None);
        position.subscribed(offset(9));
        position.advance(offset(11));
        let lost = Gap::Lost { wanted: offset(11), next: offset(10) };
        assert_eq!(position.place(&log(0, 10), OutOfRange::Earliest).expect("goes on"), lost);
    }
}
