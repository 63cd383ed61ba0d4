//! Stamps: when something happened, and after what.
//!
//! A hybrid logical clock (Kulkarni, Demirbas, Madappa, Avva and Leone, "Logical Physical Clocks", 2014) gives times that
//! are close to the wall clock's and never contradict cause and effect: what was stamped by somebody who had seen a stamp
//! is greater than that one. Both parts stand in one number, so that stamps compare as numbers do:
//!
//! ```text
//!  63                                             16 15             0
//! | milliseconds since the Unix epoch               | counter        |
//! ```
//!
//! Nothing here reads a clock: the time is handed in.

use std::fmt;

use super::Timestamp;

/// Bits of the counter.
const COUNTER_BITS: u32 = 16;
const COUNTER_MAX: u64 = (1 << COUNTER_BITS) - 1;
/// The latest time a stamp can hold, in milliseconds: in the year 10889.
const MILLIS_MAX: u64 = (1 << (u64::BITS - COUNTER_BITS)) - 1;

/// A stamp is believed at most this far ahead of the local clock, in milliseconds: whoever is further ahead has a wrong
/// clock, and shall not take everybody with it.
pub const STAMP_AHEAD_MS_MAX: i64 = 60_000;

/// A time of a hybrid logical clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp(u64);

impl Stamp {
    /// Before every other. No clock gives it: where it is written there is no stamp yet.
    pub const ZERO: Stamp = Stamp(0);
    /// Bytes of its hexadecimal form.
    pub const HEX_BYTES: usize = 16;

    /// The stamp of a number.
    #[must_use]
    pub const fn from_u64(value: u64) -> Stamp {
        Stamp(value)
    }

    /// As a number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The first stamp of a millisecond. A time before 1970, and so none at all, counts as 1970.
    #[must_use]
    pub fn first_of(time: Timestamp) -> Stamp {
        Stamp(u64::try_from(time.millis()).unwrap_or(0).min(MILLIS_MAX) << COUNTER_BITS)
    }

    /// The last stamp of a millisecond: not before anything that happened in it.
    #[must_use]
    pub fn last_of(time: Timestamp) -> Stamp {
        Stamp(Stamp::first_of(time).0 | COUNTER_MAX)
    }

    /// The milliseconds.
    #[must_use]
    pub const fn time(self) -> Timestamp {
        Timestamp::from_millis((self.0 >> COUNTER_BITS).cast_signed())
    }

    /// How many came before it in its millisecond, as far as its clock knew.
    #[must_use]
    pub const fn counter(self) -> u16 {
        (self.0 & COUNTER_MAX) as u16
    }

    /// The next one; where the counter is used up, the first of the next millisecond.
    #[must_use]
    pub(super) const fn next(self) -> Stamp {
        Stamp(self.0.saturating_add(1))
    }

    /// As 16 lower-case hexadecimal digits.
    #[must_use]
    pub fn to_hex(self) -> [u8; Stamp::HEX_BYTES] {
        let mut rest = self.0;
        let mut hex = [0; Stamp::HEX_BYTES];
        for digit in hex.iter_mut().rev() {
            *digit = b"0123456789abcdef"[(rest & 0xf) as usize];
            rest >>= 4;
        }
        hex
    }

    /// The stamp of 16 lower-case hexadecimal digits; `None` for anything else, and for [`Stamp::ZERO`].
    #[must_use]
    pub fn from_hex(hex: &[u8]) -> Option<Stamp> {
        let hex: &[u8; Stamp::HEX_BYTES] = hex.try_into().ok()?;
        let mut value = 0_u64;
        for digit in hex {
            let digit = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return None,
            };
            value = value << 4 | u64::from(digit);
        }
        (value != 0).then_some(Stamp(value))
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_parts_stand_in_one_number() {
        let time = Timestamp::from_millis(1_700_000_000_000);
        let first = Stamp::first_of(time);
        assert_eq!((first.time(), first.counter()), (time, 0));
        assert_eq!((Stamp::last_of(time).time(), Stamp::last_of(time).counter()), (time, u16::MAX));
        assert_eq!(Stamp::last_of(time).next(), Stamp::first_of(time.plus_millis(1)), "an overflow moves the time on");
        assert_eq!(Stamp::first_of(Timestamp::NONE), Stamp::ZERO);
        assert_eq!(Stamp::first_of(Timestamp::from_millis(i64::MAX)).time().millis().cast_unsigned(), MILLIS_MAX);
        assert_eq!(Stamp::from_u64(u64::MAX).next().get(), u64::MAX);
    }

    #[test]
    fn hexadecimal_both_ways() {
        for value in [1, 0xf, 0x018b_cfe5_6800_0000, 0x018b_cfe5_6800_beef, u64::MAX] {
            let stamp = Stamp::from_u64(value);
            assert_eq!(Stamp::from_hex(&stamp.to_hex()), Some(stamp));
            assert_eq!(stamp.to_hex(), stamp.to_string().as_bytes());
        }
        for bad in [
            "",
            "0",
            "0000000000000000",
            "018bcfe56800BEEF",
            "018bcfe56800bee",
            "018bcfe56800beef0",
            "018bcfe56800bee ",
        ] {
            assert_eq!(Stamp::from_hex(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
