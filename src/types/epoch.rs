//! Leader epochs: which term of leadership wrote a batch.

use std::fmt;

/// A term of leadership of one partition. Positive and growing; every start of a broker that writes takes a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(i32);

impl Epoch {
    /// The epoch of a partition's first writer.
    pub const FIRST: Epoch = Epoch(1);

    /// An epoch from its number; `None` where it is not positive.
    #[must_use]
    pub const fn new(value: i32) -> Option<Epoch> {
        if value > 0 { Some(Epoch(value)) } else { None }
    }

    /// The plain number, as record batches carry it.
    #[must_use]
    pub const fn get(self) -> i32 {
        self.0
    }

    /// The epoch after this one; `None` once 2^31 - 1 are used up.
    #[must_use]
    pub fn next(self) -> Option<Epoch> {
        self.0.checked_add(1).map(Epoch)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
