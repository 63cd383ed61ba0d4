//! Identity and numbering of idempotent producers, as Kafka's record batch v2 carries them.

use std::fmt;

/// The id of an idempotent producer; never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerId(i64);

impl ProducerId {
    /// A producer id; `None` where it is negative (-1 in a batch means "no producer").
    #[must_use]
    pub const fn new(value: i64) -> Option<ProducerId> {
        if value >= 0 { Some(ProducerId(value)) } else { None }
    }

    /// The plain number.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl fmt::Display for ProducerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The incarnation of a producer id; an older one is fenced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerEpoch(i16);

impl ProducerEpoch {
    /// A producer epoch; `None` where it is negative.
    #[must_use]
    pub const fn new(value: i16) -> Option<ProducerEpoch> {
        if value >= 0 { Some(ProducerEpoch(value)) } else { None }
    }

    /// The plain number.
    #[must_use]
    pub const fn get(self) -> i16 {
        self.0
    }
}

impl fmt::Display for ProducerEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a record within its producer and partition; after 2^31 - 1 comes 0 again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sequence(i32);

impl Sequence {
    /// The sequence of a producer's first record.
    pub const FIRST: Sequence = Sequence(0);

    /// A sequence; `None` where it is negative (-1 in a batch means "none").
    #[must_use]
    pub const fn new(value: i32) -> Option<Sequence> {
        if value >= 0 { Some(Sequence(value)) } else { None }
    }

    /// The plain number.
    #[must_use]
    pub const fn get(self) -> i32 {
        self.0
    }

    /// The sequence `count` records further on, wrapping after 2^31 - 1.
    #[must_use]
    pub fn plus(self, count: u32) -> Sequence {
        let sum = self.0.cast_unsigned().wrapping_add(count) & i32::MAX.cast_unsigned();
        Sequence(sum.cast_signed())
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_wraps_to_zero() {
        let last = Sequence::new(i32::MAX).expect("not negative");
        assert_eq!(last.plus(1), Sequence::FIRST);
        assert_eq!(last.plus(3).get(), 2);
    }
}
