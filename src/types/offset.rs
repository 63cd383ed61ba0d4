//! Positions in a partition: record offsets and dense batch numbers.

use std::fmt;

/// The position of one record in its partition, counted from 0. At most `i64::MAX`, as on every wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset(u64);

impl Offset {
    /// The first offset of every partition.
    pub const ZERO: Offset = Offset(0);
    /// The largest offset there can be.
    pub const MAX: Offset = Offset(i64::MAX as u64);

    /// An offset from a count of records; `None` above [`Offset::MAX`].
    #[must_use]
    pub const fn new(value: u64) -> Option<Offset> {
        if value <= Self::MAX.0 { Some(Offset(value)) } else { None }
    }

    /// An offset as the wire and the disk carry it; `None` where it is negative.
    #[must_use]
    pub const fn from_i64(value: i64) -> Option<Offset> {
        if value >= 0 { Some(Offset(value.cast_unsigned())) } else { None }
    }

    /// The offset as the wire and the disk carry it.
    #[must_use]
    pub const fn to_i64(self) -> i64 {
        self.0.cast_signed()
    }

    /// The plain number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The offset `count` records further on, at most [`Offset::MAX`].
    #[must_use]
    pub fn plus(self, count: u64) -> Offset {
        Offset(self.0.saturating_add(count).min(Self::MAX.0))
    }

    /// How many records lie between `earlier` and this offset; 0 where `earlier` is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Offset) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The dense number of a record batch in its partition, counted from 1: the index a consensus engine will use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchIndex(u64);

impl BatchIndex {
    /// The number of the first batch ever appended.
    pub const FIRST: BatchIndex = BatchIndex(1);

    /// A batch number; `None` for 0, which numbers nothing.
    #[must_use]
    pub const fn new(value: u64) -> Option<BatchIndex> {
        if value == 0 { None } else { Some(BatchIndex(value)) }
    }

    /// The plain number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number `count` batches further on.
    #[must_use]
    pub const fn plus(self, count: u64) -> BatchIndex {
        BatchIndex(self.0 + count)
    }
}

impl fmt::Display for BatchIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
