//! One at-least-once subscription: what was sent and not acknowledged, when it is due again, and the position behind it.
//!
//! ```text
//!        sent ──────────► unacknowledged ──acked──► done
//!                            ▲      │
//!                            └──due─┘  sent again, with a new deadline
//!
//!  offsets:   done … done │ unacknowledged, or done out of order │ not handed in yet
//!                      position                                 next
//! ```
//!
//! The position is the first offset that is not dealt with: the oldest unacknowledged one, or `next` where there is
//! none. Offsets that no record has (control batches, compaction) hold nothing up.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::types::{Offset, Timestamp};

/// Records that a subscription may leave unacknowledged.
pub const UNACKED_RECORDS_MAX: usize = 1_000;
/// Bytes of records that a subscription may leave unacknowledged.
pub const UNACKED_BYTES_MAX: u64 = 16 << 20;

/// How much a subscription may leave unacknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnacknowledgedLimits {
    /// Records.
    pub records_max: usize,
    /// Their bytes; a single record may be larger.
    pub bytes_max: u64,
}

impl Default for UnacknowledgedLimits {
    fn default() -> UnacknowledgedLimits {
        UnacknowledgedLimits { records_max: UNACKED_RECORDS_MAX, bytes_max: UNACKED_BYTES_MAX }
    }
}

/// What one subscription was sent and has not acknowledged.
#[derive(Debug)]
pub struct Unacknowledged {
    limits: UnacknowledgedLimits,
    timeout_ms: i64,
    records: BTreeMap<Offset, Sent>,
    deadlines: BTreeSet<(Timestamp, Offset)>,
    bytes: u64,
    /// Behind everything handed in.
    next: Offset,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    bytes: u64,
    deadline: Timestamp,
    attempts: u32,
}

impl Unacknowledged {
    /// A subscription that begins at `start` and sends again what is not acknowledged within `timeout_ms` milliseconds.
    #[must_use]
    pub fn new(start: Offset, timeout_ms: i64, limits: UnacknowledgedLimits) -> Unacknowledged {
        Unacknowledged {
            limits,
            timeout_ms: timeout_ms.max(1),
            records: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            bytes: 0,
            next: start,
        }
    }

    /// Whether one more record of this many bytes may be sent now.
    #[must_use]
    pub fn has_room(&self, bytes: u64) -> bool {
        let fits = self.bytes.saturating_add(bytes) <= self.limits.bytes_max;
        self.records.is_empty() || (fits && self.records.len() < self.limits.records_max)
    }

    /// Notes a record as sent for the first time; what lies between it and the one before counts as skipped. One that
    /// was handed in before is not noted again.
    pub fn sent(&mut self, offset: Offset, bytes: u64, now: Timestamp) {
        if offset < self.next {
            return;
        }
        let deadline = now.plus_millis(self.timeout_ms);
        self.records.insert(offset, Sent { bytes, deadline, attempts: 1 });
        self.deadlines.insert((deadline, offset));
        self.bytes += bytes;
        self.next = offset.plus(1);
    }

    /// Everything before `upto` was read, and what of it was not noted as sent has no record to be sent. Returns the new
    /// position where it advanced.
    pub fn skipped(&mut self, upto: Offset) -> Option<Offset> {
        let before = self.position();
        self.next = self.next.max(upto);
        self.advanced_from(before)
    }

    /// Notes an acknowledgement, or that the record is gone and cannot be sent again. In any order; twice, or for what
    /// was never sent, it changes nothing. Returns the new position where it advanced.
    pub fn acked(&mut self, offset: Offset) -> Option<Offset> {
        let before = self.position();
        let sent = self.records.remove(&offset)?;
        self.deadlines.remove(&(sent.deadline, offset));
        self.bytes -= sent.bytes;
        self.advanced_from(before)
    }

    /// What must be sent again now, in the order of the offsets; each gets a new deadline.
    pub fn take_due(&mut self, now: Timestamp) -> Vec<Offset> {
        let mut due = Vec::new();
        while let Some(&(deadline, offset)) = self.deadlines.first().filter(|(deadline, _)| *deadline <= now) {
            self.deadlines.remove(&(deadline, offset));
            due.push(offset);
        }
        let deadline = now.plus_millis(self.timeout_ms);
        for &offset in &due {
            if let Some(sent) = self.records.get_mut(&offset) {
                sent.deadline = deadline;
                sent.attempts = sent.attempts.saturating_add(1);
                self.deadlines.insert((deadline, offset));
            }
        }
        due.sort_unstable();
        due
    }

    /// When [`Unacknowledged::take_due`] will next have something.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// How often an unacknowledged record was sent; `None` for any other.
    #[must_use]
    pub fn attempts(&self, offset: Offset) -> Option<u32> {
        self.records.get(&offset).map(|sent| sent.attempts)
    }

    /// The first offset that is not dealt with: what the subscriber has processed lies below it.
    #[must_use]
    pub fn position(&self) -> Offset {
        self.records.first_key_value().map_or(self.next, |(&offset, _)| offset)
    }

    /// How many records are unacknowledged.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether everything sent is acknowledged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    fn advanced_from(&self, before: Offset) -> Option<Offset> {
        let position = self.position();
        (position > before).then_some(position)
    }
}
