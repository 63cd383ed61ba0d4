//! `--until-time`: where each partition is read to, and when all are.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::client::{Offset, PartitionIndex, Record, Timestamp};

/// The time up to which is read, if any.
#[derive(Debug)]
pub(super) struct Until {
    time: Option<Timestamp>,
    /// Where each partition comes to the first record of that time or later; known once the time has come.
    ends: Option<BTreeMap<PartitionIndex, Offset>>,
}

impl Until {
    pub(super) fn new(time: Option<Timestamp>) -> Until {
        Until { time, ends: None }
    }

    /// Waits for the time.
    pub(super) fn reached(&self, now: Timestamp) -> impl Future<Output = ()> + use<> {
        let wait_ms = self.time.map_or(0, |time| u64::try_from(time.since(now)).unwrap_or(0));
        tokio::time::sleep(Duration::from_millis(wait_ms))
    }

    /// Whether the ends are to be found once the time has come.
    pub(super) fn is_open(&self) -> bool {
        self.time.is_some() && self.ends.is_none()
    }

    /// The time; what is asked for where there is none does not matter.
    pub(super) fn time(&self) -> Timestamp {
        self.time.unwrap_or_default()
    }

    pub(super) fn set_ends(&mut self, ends: BTreeMap<PartitionIndex, Offset>) {
        self.ends = Some(ends);
    }

    /// Whether a record is not to be printed.
    pub(super) fn excludes(&self, record: &Record) -> bool {
        match (&self.ends, self.time) {
            // A partition that was added since has only what is later.
            (Some(ends), _) => ends.get(&record.partition).is_none_or(|end| record.offset >= *end),
            (None, Some(time)) => record.timestamp >= time,
            (None, None) => false,
        }
    }

    /// Whether everything was read, given where each partition stands.
    pub(super) fn is_over(&self, position: impl Fn(PartitionIndex) -> Option<Offset>) -> bool {
        let is_read = |(partition, end): (&PartitionIndex, &Offset)| position(*partition).is_none_or(|at| at >= *end);
        self.ends.as_ref().is_some_and(|ends| ends.iter().all(is_read))
    }
}

#[cfg(test)]
mod tests {
    use super::super::print::sample;
    use super::*;

    fn at(offset: u64) -> Offset {
        Offset::new(offset).expect("small")
    }

    #[test]
    fn records_up_to_a_time() {
        let (p, record) = (PartitionIndex, sample());
        let none = Until::new(None);
        assert!(!none.excludes(&record) && !none.is_open() && !none.is_over(|_| None));
        let mut until = Until::new(Some(record.timestamp));
        assert!(until.excludes(&record) && until.is_open() && !until.is_over(|_| Some(Offset::MAX)));
        until.set_ends(BTreeMap::from([(p(0), at(3)), (p(1), record.offset.plus(1))]));
        assert!(!until.excludes(&record) && !until.is_open());
        assert!(until.excludes(&Record { offset: record.offset.plus(1), ..record.clone() }));
        assert!(until.excludes(&Record { partition: p(7), ..record.clone() }));
        assert!(!until.is_over(|_| Some(at(3))));
        assert!(until.is_over(|partition| (partition == p(1)).then(|| at(9))));
    }
}
