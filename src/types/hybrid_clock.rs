//! The clock that gives stamps, for one owner and for many threads.
//!
//! What it gives grows for ever, also where the wall clock is set back, and is greater than everything it has observed.
//! It never takes over a stamp that is further ahead than [`STAMP_AHEAD_MS_MAX`]: that is counted instead.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Timestamp;
use super::stamp::{STAMP_AHEAD_MS_MAX, Stamp};

/// What became of a stamp that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    /// What the clock gives from now on is greater.
    Believed,
    /// It is too far ahead of the local clock, and changed nothing.
    TooFarAhead,
}

/// A hybrid logical clock. It reads no clock of its own: the wall clock's time is handed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HybridClock {
    last: Stamp,
}

impl HybridClock {
    /// The last stamp given or observed.
    #[must_use]
    pub fn last(&self) -> Stamp {
        self.last
    }

    /// The stamp of what happens now: greater than every other given or observed.
    pub fn tick(&mut self, now: Timestamp) -> Stamp {
        self.last = self.last.next().max(Stamp::first_of(now));
        self.last
    }

    /// Takes note of another clock's stamp.
    pub fn observe(&mut self, stamp: Stamp, now: Timestamp) -> Observed {
        if is_too_far_ahead(stamp, now) {
            return Observed::TooFarAhead;
        }
        self.last = self.last.max(stamp);
        Observed::Believed
    }
}

fn is_too_far_ahead(stamp: Stamp, now: Timestamp) -> bool {
    stamp.time().since(now) > STAMP_AHEAD_MS_MAX
}

/// A hybrid logical clock that many threads share, without a lock.
#[derive(Debug, Default)]
pub struct SharedClock {
    last: AtomicU64,
    refused: AtomicU64,
}

impl SharedClock {
    /// A clock that has seen nothing.
    #[must_use]
    pub const fn new() -> SharedClock {
        SharedClock { last: AtomicU64::new(0), refused: AtomicU64::new(0) }
    }

    /// The last stamp given or observed.
    #[must_use]
    pub fn last(&self) -> Stamp {
        Stamp::from_u64(self.last.load(Ordering::Acquire))
    }

    /// As [`HybridClock::tick`].
    pub fn tick(&self, now: Timestamp) -> Stamp {
        let ticked = |last| {
            let mut clock = HybridClock { last: Stamp::from_u64(last) };
            Some(clock.tick(now).get())
        };
        let before = self.last.fetch_update(Ordering::AcqRel, Ordering::Acquire, ticked);
        let mut clock = HybridClock { last: Stamp::from_u64(before.unwrap_or_else(|last| last)) };
        clock.tick(now)
    }

    /// As [`HybridClock::observe`]; a stamp too far ahead is counted. One that changes nothing costs a look.
    pub fn observe(&self, stamp: Stamp, now: Timestamp) -> Observed {
        if stamp <= self.last() {
            return Observed::Believed;
        }
        if is_too_far_ahead(stamp, now) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Observed::TooFarAhead;
        }
        self.last.fetch_max(stamp.get(), Ordering::AcqRel);
        Observed::Believed
    }

    /// How many stamps were too far ahead to be believed.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[derive(Debug, Clone)]
    enum Step {
        /// The wall clock moves, back as well.
        Wall(i64),
        Tick,
        /// Somebody's stamp, so far from the wall clock.
        Observe(i64, u16),
    }

    fn step() -> impl Strategy<Value = Step> {
        let far = prop_oneof![-5_i64..5, -200_000_i64..200_000, Just(STAMP_AHEAD_MS_MAX), Just(STAMP_AHEAD_MS_MAX + 1)];
        prop_oneof![
            (-3_i64..5).prop_map(Step::Wall),
            Just(Step::Tick),
            Just(Step::Tick),
            (far, prop_oneof![any::<u16>(), Just(u16::MAX)]).prop_map(|(far, counter)| Step::Observe(far, counter)),
        ]
    }

    proptest! {
        #[test]
        fn it_grows_and_is_behind_nothing_it_saw(steps in prop::collection::vec(step(), 1..200)) {
            let mut wall = 1_000_000;
            let mut latest = wall;
            let (mut clock, shared) = (HybridClock::default(), SharedClock::new());
            let (mut greatest, mut refused) = (Stamp::ZERO, 0);
            for step in steps {
                match step {
                    Step::Wall(by) => wall += by,
                    Step::Tick => {
                        let stamp = clock.tick(at(wall));
                        prop_assert!(stamp > greatest);
                        prop_assert!(stamp >= Stamp::first_of(at(wall)));
                        prop_assert_eq!(shared.tick(at(wall)), stamp);
                        greatest = stamp;
                    }
                    Step::Observe(far, counter) => {
                        let stamp = Stamp::from_u64(Stamp::first_of(at(wall + far)).get() | u64::from(counter));
                        let before = clock.last();
                        let observed = clock.observe(stamp, at(wall));
                        if observed == Observed::Believed {
                            greatest = greatest.max(stamp);
                        } else {
                            prop_assert_eq!(clock.last(), before);
                            refused += u64::from(stamp > before);
                        }
                        prop_assert_eq!(observed == Observed::Believed, far <= STAMP_AHEAD_MS_MAX);
                        shared.observe(stamp, at(wall));
                    }
                }
                latest = latest.max(wall);
                prop_assert_eq!((clock.last(), shared.last(), shared.refused()), (greatest, greatest, refused));
                // The counter of a stamp that was taken over may run out, which is one millisecond more.
                prop_assert!(greatest.time().since(at(latest)) <= STAMP_AHEAD_MS_MAX + 1);
            }
        }
    }

    #[test]
    fn a_used_up_counter_moves_the_time_on() {
        let mut clock = HybridClock::default();
        let first = clock.tick(at(7));
        for _ in 0..=u16::MAX {
            clock.tick(at(7));
        }
        assert_eq!((clock.last().time(), clock.last().counter()), (at(8), 0));
        assert!(clock.last() > first);
        assert_eq!(clock.tick(at(9)), Stamp::first_of(at(9)));
    }

    #[test]
    fn threads_never_get_the_same_stamp() {
        let clock = SharedClock::new();
        let ticks = || (0..10_000).map(|_| clock.tick(at(1))).collect::<Vec<_>>();
        let mut all: Vec<Stamp> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(ticks)).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
        });
        all.sort_unstable();
        assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
