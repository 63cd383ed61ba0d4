//! How far publishers' clocks are from ours, for each topic.
//!
//! The timestamp of a publisher's frame is its clock when it sent; how far that is from ours when the frame was taken is
//! the *skew*: its clock's error, less the time on the way. Kept are the last, the least and the greatest of a window of
//! [`WINDOW_MS`] to twice as much, in two halves, however many publish.

use parking_lot::Mutex;

use crate::types::{Observed, SharedClock, Stamp, Timestamp};

/// The window is between so long and twice as long, in milliseconds.
pub(super) const WINDOW_MS: i64 = 300_000;
/// A skew beyond this, in milliseconds and either way, is worth a warning.
pub(super) const SKEW_MS_MAX: i64 = 5_000;

/// The skew of a topic's publishers lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skew {
    /// Of the last frame, in milliseconds; positive where the publisher's clock is ahead.
    pub last_ms: i64,
    /// The least.
    pub min_ms: i64,
    /// The greatest.
    pub max_ms: i64,
    /// How many stamps and frame times were too far ahead for the broker's clock to follow.
    pub too_far_ahead: u64,
}

/// A frame's time further from ours than this, in milliseconds, is no clock's: records of another day are being published
/// again, or the publisher counts in another unit.
const CLOCK_MS_MAX: i64 = 24 * 3_600_000;

/// What the publishes of one batch showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Seen {
    skew: Option<Skew>,
    /// The latest that any of them knew of.
    stamp: Stamp,
}

impl Seen {
    /// Takes note of a frame: its timestamp, where it has one, and a stamp that its publisher has read.
    pub(crate) fn note(&mut self, sent: Timestamp, read: Option<Stamp>, now: Timestamp) {
        self.stamp = self.stamp.max(read.unwrap_or(Stamp::ZERO));
        let skew_ms = sent.since(now);
        if sent <= Timestamp::from_millis(0) || skew_ms.saturating_abs() > CLOCK_MS_MAX {
            return;
        }
        self.stamp = self.stamp.max(Stamp::first_of(sent));
        let skew = Skew::of(skew_ms);
        self.skew = Some(self.skew.map_or(skew, |before| before.and(skew)));
    }
}

impl Skew {
    fn of(ms: i64) -> Skew {
        Skew { last_ms: ms, min_ms: ms, max_ms: ms, too_far_ahead: 0 }
    }

    /// This, and then that.
    fn and(self, later: Skew) -> Skew {
        Skew {
            last_ms: later.last_ms,
            min_ms: self.min_ms.min(later.min_ms),
            max_ms: self.max_ms.max(later.max_ms),
            too_far_ahead: self.too_far_ahead + later.too_far_ahead,
        }
    }

    fn is_beyond(&self) -> bool {
        self.max_ms > SKEW_MS_MAX || self.min_ms < -SKEW_MS_MAX
    }
}

/// The skew of one topic's publishers, kept.
#[derive(Debug, Default)]
pub(crate) struct TopicSkew {
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    /// When the half that is being filled began.
    began: Timestamp,
    before: Option<Skew>,
    current: Option<Skew>,
    has_warned: bool,
}

impl Window {
    fn turn(&mut self, now: Timestamp) {
        let age = now.since(self.began);
        if (0..WINDOW_MS).contains(&age) {
            return;
        }
        let current = self.current.take();
        self.before = if (WINDOW_MS..2 * WINDOW_MS).contains(&age) { current } else { None };
        self.began = now;
        self.has_warned = false;
    }

    fn whole(&self) -> Option<Skew> {
        match (self.before, self.current) {
            (Some(before), Some(current)) => Some(before.and(current)),
            (before, current) => current.or(before),
        }
    }
}

impl TopicSkew {
    /// Takes note of what publishes showed. Returns their skew where it is beyond the limit, once in a window.
    pub(crate) fn note(&self, seen: &Seen, clock: &SharedClock, now: Timestamp) -> Option<Skew> {
        let is_believed = clock.observe(seen.stamp, now) == Observed::Believed;
        let mut skew = seen.skew?;
        skew.too_far_ahead = u64::from(!is_believed);
        let mut window = self.window.lock();
        window.turn(now);
        window.current = Some(window.current.map_or(skew, |before| before.and(skew)));
        let warns = skew.is_beyond() && !window.has_warned;
        window.has_warned |= warns;
        warns.then_some(skew)
    }

    /// The skew of the window; none where nobody has published in it.
    pub(crate) fn skew(&self, now: Timestamp) -> Option<Skew> {
        let mut window = self.window.lock();
        window.turn(now);
        window.whole()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_700_000_000_000;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(START + millis)
    }

    fn note(skew: &TopicSkew, clock: &SharedClock, skews: &[i64], now: i64) -> Option<Skew> {
        let mut seen = Seen::default();
        for ms in skews {
            seen.note(at(now + ms), None, at(now));
        }
        skew.note(&seen, clock, at(now))
    }

    fn check(skew: &TopicSkew, now: i64, expected: Option<(i64, i64, i64)>) {
        let found = skew.skew(at(now)).map(|skew| (skew.last_ms, skew.min_ms, skew.max_ms));
        assert_eq!(found, expected, "at {now}");
    }

    #[test]
    fn a_window_is_kept_and_no_more() {
        let (skew, clock) = (TopicSkew::default(), SharedClock::new());
        check(&skew, 0, None);
        note(&skew, &clock, &[3, -7, 1], 0);
        check(&skew, 0, Some((1, -7, 3)));
        note(&skew, &clock, &[9], WINDOW_MS - 1);
        check(&skew, WINDOW_MS - 1, Some((9, -7, 9)));
        note(&skew, &clock, &[2], WINDOW_MS);
        check(&skew, WINDOW_MS, Some((2, -7, 9)));
        check(&skew, 2 * WINDOW_MS, Some((2, 2, 2)));
        check(&skew, 4 * WINDOW_MS, None);
    }

    #[test]
    fn a_frame_without_a_clock_s_time_shows_nothing() {
        let (skew, clock) = (TopicSkew::default(), SharedClock::new());
        let mut seen = Seen::default();
        for none in [0, -1, i64::MIN, i64::MAX, START / 1_000, START + CLOCK_MS_MAX + 1] {
            seen.note(Timestamp::from_millis(none), None, at(0));
        }
        assert_eq!((seen, skew.note(&seen, &clock, at(0))), (Seen::default(), None));
        check(&skew, 0, None);
    }

    #[test]
    fn a_warning_once_in_a_window() {
        let (skew, clock) = (TopicSkew::default(), SharedClock::new());
        assert_eq!(note(&skew, &clock, &[SKEW_MS_MAX, -SKEW_MS_MAX], 0), None);
        assert!(note(&skew, &clock, &[SKEW_MS_MAX + 1], 1).is_some_and(|skew| skew.max_ms == SKEW_MS_MAX + 1));
        assert_eq!(note(&skew, &clock, &[-SKEW_MS_MAX - 1], 2), None, "told already");
        assert_eq!(note(&skew, &clock, &[0], WINDOW_MS), None);
        assert!(note(&skew, &clock, &[-SKEW_MS_MAX - 1], WINDOW_MS + 1).is_some());
    }

    #[test]
    fn the_clock_follows_publishers_within_its_limit() {
        let (skew, clock) = (TopicSkew::default(), SharedClock::new());
        note(&skew, &clock, &[2_000], 0);
        assert_eq!(clock.last(), Stamp::first_of(at(2_000)));
        note(&skew, &clock, &[3_600_000], 0);
        assert_eq!(clock.last(), Stamp::first_of(at(2_000)), "an hour is too far");
        assert_eq!((skew.skew(at(0)).map(|skew| skew.too_far_ahead), clock.refused()), (Some(1), 1));
        let read = Stamp::last_of(at(5_000));
        let mut seen = Seen::default();
        seen.note(at(0), Some(read), at(0));
        skew.note(&seen, &clock, at(0));
        assert_eq!(clock.last(), read);
    }
}
