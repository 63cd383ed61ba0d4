//! Chance for waits: clients that failed together must not come back together.
//!
//! Nothing that is stored depends on it.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// A stream of numbers (xorshift64*), seeded by the operating system's randomness as the standard library has it.
#[derive(Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new() -> Chance {
        Chance(RandomState::new().hash_one(0_u8) | 1)
    }

    /// The next number.
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A duration from none to `most`, each as likely.
    pub(super) fn up_to(&mut self, most: Duration) -> Duration {
        let share = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        most.mul_f64(share)
    }
}

/// How long to wait before the next attempt: exponential, with full jitter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    first: Duration,
    most: Duration,
    attempts: u32,
}

impl Backoff {
    pub(super) fn new(first: Duration, most: Duration) -> Backoff {
        Backoff { first, most, attempts: 0 }
    }

    /// The wait after one more failure: anything up to `first`, doubled with each failure, at most `most`.
    pub(super) fn next(&mut self, chance: &mut Chance) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.attempts.min(30));
        self.attempts = self.attempts.saturating_add(1);
        chance.up_to(doubled.min(self.most))
    }

    /// It worked: the next failure is a first one.
    pub(super) fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_are_bounded() {
        let (first, most) = (Duration::from_millis(10), Duration::from_millis(100));
        let mut chance = Chance::new();
        let mut longest = [Duration::ZERO; 6];
        for _ in 0..1_000 {
            let mut backoff = Backoff::new(first, most);
            for (attempt, longest) in (0_u32..).zip(&mut longest) {
                let wait = backoff.next(&mut chance);
                assert!(wait <= (first * 2_u32.pow(attempt)).min(most));
                *longest = wait.max(*longest);
            }
        }
        assert!(longest[0] > first / 2 && longest[5] > most / 2, "{longest:?}");
        let mut backoff = Backoff { attempts: u32::MAX, ..Backoff::new(first, most) };
        assert!(backoff.next(&mut chance) <= most);
        backoff.reset();
        assert!(backoff.next(&mut chance) <= first);
    }
}
