//! The process's hybrid logical clock: what its producers stamp batches with, and what everything it reads moves on.
//!
//! One for all connections, since a process that read a record by one and publishes by another knew of it all the same.

use std::sync::atomic::{AtomicU64, Ordering};

use super::connection::now;
use crate::types::{Observed, SharedClock, Stamp, Timestamp};

static CLOCK: SharedClock = SharedClock::new();
/// The greatest stamp that was read.
static READ: AtomicU64 = AtomicU64::new(0);

/// The stamp of what is published now.
pub(super) fn tick() -> Stamp {
    CLOCK.tick(now())
}

/// Takes note of a stamp that was read.
pub(super) fn read(stamp: Stamp) {
    if stamp.get() > READ.load(Ordering::Acquire) && CLOCK.observe(stamp, now()) == Observed::Believed {
        READ.fetch_max(stamp.get(), Ordering::AcqRel);
    }
}

/// Takes note of a broker's answer, and so of its clock: what was stored before was stamped no later than in this
/// millisecond, where the broker's clock was not ahead of itself.
pub(super) fn answered(time: Timestamp) {
    let stamp = Stamp::last_of(time);
    if stamp > CLOCK.last() {
        CLOCK.observe(stamp, now());
    }
}

/// What a broker must be told with a record that it is to stamp, in a frame of this time; nothing where the frame's time
/// says enough: that what was read is older.
pub(super) fn to_tell(time: Timestamp) -> Option<Stamp> {
    let read = Stamp::from_u64(READ.load(Ordering::Acquire));
    (read >= Stamp::first_of(time) && read > Stamp::ZERO).then_some(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The clock is the process's, and other tests move it as well: it only grows.
    #[test]
    fn what_is_published_follows_what_was_read() {
        let first = tick();
        let ahead = Stamp::last_of(now().plus_millis(20_000));
        read(ahead);
        assert!(tick() > ahead && ahead > first);
        assert!(to_tell(now()).is_some_and(|told| told >= ahead), "a frame's time does not tell it");
        assert_eq!(to_tell(now().plus_millis(120_000)), None);
        let far = Stamp::first_of(now().plus_millis(3_600_000));
        read(far);
        assert!(tick() < far, "an hour is not believed");
        let answer = now().plus_millis(25_000);
        answered(answer);
        assert!(tick() > Stamp::last_of(answer));
    }
}
