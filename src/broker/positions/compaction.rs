//! Keeping the log of positions short: every position is written once more, then all before that goes.
//!
//! ```text
//!  log start            start                     end
//!     │   records, most   │  every position kept,   │
//!     │   of them old     │  and whatever is new    │
//!     └──── goes once all up to end is durable ─────┘
//! ```
//!
//! So the log alone, from its start on, always says every position that is kept.

use std::ops::Bound;

use super::key::Place;
use super::shard::Shard;
use crate::types::Offset;

/// Records per position kept that a log may hold.
const RECORDS_PER_POSITION_MAX: u64 = 4;

/// A rewriting that is under way.
#[derive(Debug, Default)]
pub(super) struct Rewriting {
    /// Where the log ended when it began.
    start: Option<Offset>,
    /// The last place written.
    pub(super) cursor: Option<Place>,
    /// Whether every place is on its way.
    pub(super) is_loaded: bool,
    /// Where the log ended when every place was in it.
    end: Option<Offset>,
}

impl Shard {
    /// Begins to rewrite a log that is much longer than what it says, and answers with the offset before which nothing
    /// is needed once that is durable.
    pub(super) fn compact(&mut self, log_start: Offset, durable: Offset, records_min: u64) -> Option<Offset> {
        if let Some(rewriting) = &self.rewriting {
            rewriting.end.filter(|end| *end <= durable)?;
            self.given_up = rewriting.start.unwrap_or(self.given_up);
            self.rewriting = None;
            return Some(self.given_up);
        }
        let records = self.applied.since(log_start.max(self.given_up));
        let needed = RECORDS_PER_POSITION_MAX * self.kept.len() as u64;
        // What groups are is not written again.
        if self.groups.is_empty() && self.group_writes.is_empty() && records > records_min.saturating_add(needed) {
            self.rewriting = Some(Rewriting::default());
        }
        None
    }

    /// Whether positions wait to be rewritten.
    pub(super) fn is_rewriting(&self) -> bool {
        self.rewriting.as_ref().is_some_and(|rewriting| !rewriting.is_loaded)
    }

    /// The next place to be rewritten. No flight may be under way: the log ends at what is applied.
    pub(super) fn next_rewritten(&mut self) -> Option<Place> {
        let rewriting = self.rewriting.as_mut().filter(|rewriting| !rewriting.is_loaded)?;
        rewriting.start.get_or_insert(self.applied);
        let after = rewriting.cursor.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.kept.range((after, Bound::Unbounded)).next().map(|(place, _)| place.clone());
        rewriting.is_loaded = next.is_none();
        rewriting.cursor.clone_from(&next);
        next
    }

    /// A flight has landed, and with it what it rewrote.
    pub(super) fn note_rewritten(&mut self) {
        let applied = self.applied;
        if let Some(rewriting) = self.rewriting.as_mut().filter(|rewriting| rewriting.is_loaded) {
            rewriting.end.get_or_insert(applied);
        }
    }
}
