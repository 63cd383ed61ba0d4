//! Chance that can be had again: a seed and its stream of numbers.

use std::time::Duration;

/// A stream of numbers (xorshift64*).
#[derive(Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    /// The stream of a seed.
    pub(crate) fn new(seed: u64) -> Chance {
        Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// Lets a moment pass.
#[expect(clippy::disallowed_methods, reason = "the blow must come at a moment that nothing announces")]
pub(crate) fn a_moment(chance: &mut Chance, ms_max: u64) {
    std::thread::sleep(Duration::from_micros(chance.below(ms_max * 1_000)));
}
