//! Several partitions' records made one row, by their stamps. No socket, no clock: the time is handed in.
//!
//! Each partition is a lane. What comes next is the least of the lanes' fronts, once it is certain, or may no longer wait:
//!
//! ```text
//!  certain      every other lane has something, or has already given something no older
//!  out of time  something held has waited for as long as anything may
//!  crowded      more is held than may be
//! ```
//!
//! Equal stamps of different partitions say nothing about which was first: they come in either order, and nobody waits for
//! that. Within a partition nothing is put in another order: a record that is stamped before its predecessor (clients stamp
//! batches before they are stored) counts as stamped with it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::types::{PartitionIndex, Stamp};

/// Where something comes in the row.
type Place = (Stamp, PartitionIndex);

/// The lanes, and what they hold.
#[derive(Debug)]
pub(super) struct Merge<T> {
    max_wait: Duration,
    bytes_max: usize,
    lanes: BTreeMap<PartitionIndex, Lane<T>>,
    /// The fronts of the lanes that hold something, by their place and by when they came.
    fronts: BTreeSet<Place>,
    arrivals: BTreeSet<(Instant, PartitionIndex)>,
    /// The lanes that hold nothing, by what they gave last.
    silent: BTreeSet<Place>,
    bytes: usize,
    /// The greatest stamp given so far.
    given: Stamp,
    late: u64,
    unsure: u64,
}

#[derive(Debug)]
struct Lane<T> {
    held: VecDeque<Held<T>>,
    /// The greatest stamp so far.
    last: Stamp,
}

#[derive(Debug)]
struct Held<T> {
    stamp: Stamp,
    arrived: Instant,
    bytes: usize,
    item: T,
}

impl<T> Merge<T> {
    pub(super) fn new(
        max_wait: Duration,
        bytes_max: usize,
        partitions: impl IntoIterator<Item = PartitionIndex>,
    ) -> Merge<T> {
        let lane = |partition| (partition, Lane { held: VecDeque::new(), last: Stamp::ZERO });
        let lanes: BTreeMap<_, _> = partitions.into_iter().map(lane).collect();
        Merge {
            max_wait,
            bytes_max,
            silent: lanes.keys().map(|partition| (Stamp::ZERO, *partition)).collect(),
            lanes,
            fronts: BTreeSet::new(),
            arrivals: BTreeSet::new(),
            bytes: 0,
            given: Stamp::ZERO,
            late: 0,
            unsure: 0,
        }
    }

    /// Whether more may be taken in.
    pub(super) fn has_room(&self) -> bool {
        self.bytes < self.bytes_max
    }

    /// Takes in the next of a partition.
    pub(super) fn push(&mut self, partition: PartitionIndex, stamp: Stamp, bytes: usize, item: T, now: Instant) {
        let lane = self.lanes.entry(partition).or_insert_with(|| Lane { held: VecDeque::new(), last: Stamp::ZERO });
        let stamp = stamp.max(lane.last);
        if lane.held.is_empty() {
            self.silent.remove(&(lane.last, partition));
            self.fronts.insert((stamp, partition));
            self.arrivals.insert((now, partition));
        }
        lane.last = stamp;
        lane.held.push_back(Held { stamp, arrived: now, bytes, item });
        self.bytes += bytes;
        self.late += u64::from(stamp < self.given);
    }

    /// The next, where it is certain or may no longer wait.
    pub(super) fn pop(&mut self, now: Instant) -> Option<T> {
        let next = *self.fronts.first()?;
        let is_certain = next.0 <= self.given || self.silent.first().is_none_or(|(last, _)| *last >= next.0);
        let is_due = || self.due().is_some_and(|due| due <= now);
        if !is_certain && self.has_room() && !is_due() {
            return None;
        }
        self.unsure += u64::from(!is_certain);
        self.take(next)
    }

    /// The next, certain or not: nothing more will come.
    pub(super) fn pop_rest(&mut self) -> Option<T> {
        let next = *self.fronts.first()?;
        self.take(next)
    }

    fn take(&mut self, next: Place) -> Option<T> {
        let (_, partition) = next;
        let lane = self.lanes.get_mut(&partition)?;
        let held = lane.held.pop_front()?;
        self.fronts.remove(&next);
        self.arrivals.remove(&(held.arrived, partition));
        match lane.held.front() {
            Some(front) => {
                self.fronts.insert((front.stamp, partition));
                self.arrivals.insert((front.arrived, partition));
            }
            None => {
                self.silent.insert((lane.last, partition));
            }
        }
        self.bytes -= held.bytes;
        self.given = self.given.max(next.0);
        Some(held.item)
    }

    /// When something held may no longer wait.
    pub(super) fn due(&self) -> Option<Instant> {
        self.arrivals.first().map(|(arrived, _)| *arrived + self.max_wait)
    }

    /// The first of what is held of a partition.
    pub(super) fn front(&self, partition: PartitionIndex) -> Option<&T> {
        self.lanes.get(&partition)?.held.front().map(|held| &held.item)
    }

    /// How many came when something that belongs behind them had been given already.
    pub(super) fn late(&self) -> u64 {
        self.late
    }

    /// How many were given without waiting any longer for a partition that was behind.
    pub(super) fn unsure(&self) -> u64 {
        self.unsure
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WAIT: Duration = Duration::from_millis(200);

    /// Partition, number within it, and what it counts as stamped with.
    type Item = (u32, usize, u64);

    /// A row of steps: a partition to be read from, or time that passes.
    fn steps(partitions: u32) -> impl Strategy<Value = Vec<(u32, u64)>> {
        prop::collection::vec((0..partitions, prop_oneof![Just(0), Just(0), 1_u64..300]), 0..120)
    }

    fn lanes(partitions: usize) -> impl Strategy<Value = Vec<Vec<u64>>> {
        prop::collection::vec(prop::collection::vec(0_u64..50, 0..25), partitions)
    }

    struct Model {
        merge: Merge<Item>,
        now: Instant,
        given: Vec<Item>,
        next: Vec<usize>,
        last: Vec<u64>,
    }

    impl Model {
        fn new(partitions: usize, bytes_max: usize) -> Model {
            let all = (0..u32::try_from(partitions).expect("few")).map(PartitionIndex);
            let merge = Merge::new(WAIT, bytes_max, all);
            let (next, last) = (vec![0; partitions], vec![0; partitions]);
            Model { merge, now: Instant::now(), given: Vec::new(), next, last }
        }

        fn push(&mut self, partition: u32, stamps: &[u64]) {
            let at = partition as usize;
            let Some(&stamp) = stamps.get(self.next[at]) else { return };
            self.last[at] = self.last[at].max(stamp);
            let item = (partition, self.next[at], self.last[at]);
            self.merge.push(PartitionIndex(partition), Stamp::from_u64(stamp), 1, item, self.now);
            self.next[at] += 1;
        }

        fn pop_all(&mut self) {
            while let Some(item) = self.merge.pop(self.now) {
                self.given.push(item);
            }
        }

        fn finish(&mut self, lanes: &[Vec<u64>]) {
            for (partition, stamps) in lanes.iter().enumerate() {
                while self.next[partition] < stamps.len() {
                    self.push(u32::try_from(partition).expect("few"), stamps);
                }
            }
            while let Some(item) = self.merge.pop_rest() {
                self.given.push(item);
            }
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_the_row_is_in_order_unless_a_wait_ran_out(
            lanes in lanes(4),
            steps in steps(4),
            bytes_max in prop_oneof![Just(usize::MAX), 1_usize..20],
        ) {
            let mut model = Model::new(4, bytes_max);
            for (partition, passed) in steps {
                model.now += Duration::from_millis(passed);
                model.push(partition, &lanes[partition as usize]);
                model.pop_all();
                prop_assert!(model.merge.due().is_none_or(|due| due > model.now), "something waits for too long");
                prop_assert!(model.merge.bytes <= bytes_max);
            }
            model.finish(&lanes);
            let is_sure = model.merge.unsure() == 0;
            if is_sure {
                prop_assert_eq!(model.merge.late(), 0);
                let stamps: Vec<_> = model.given.iter().map(|(_, _, stamp)| *stamp).collect();
                prop_assert!(stamps.is_sorted(), "{:?}", stamps);
            }
            let mut given: Vec<_> = model.given.iter().map(|(partition, number, _)| (*partition, *number)).collect();
            for partition in 0..4 {
                let of_one: Vec<_> = given.iter().filter(|(of, _)| *of == partition).map(|(_, number)| *number).collect();
                prop_assert!(of_one.is_sorted(), "a partition keeps its order");
            }
            given.sort_unstable();
            let all = (0..4_u32).flat_map(|partition| (0..lanes[partition as usize].len()).map(move |n| (partition, n)));
            prop_assert_eq!(given, all.collect::<Vec<_>>());
        }
    }

    fn given(model: &mut Model) -> Vec<(u32, usize)> {
        model.pop_all();
        std::mem::take(&mut model.given).into_iter().map(|(partition, number, _)| (partition, number)).collect()
    }

    #[test]
    fn a_silent_partition_is_waited_for_only_so_long() {
        let mut model = Model::new(2, usize::MAX);
        model.push(0, &[5, 7]);
        assert_eq!(given(&mut model), []);
        model.now += WAIT / 2;
        model.push(0, &[5, 7]);
        model.now += WAIT / 2;
        assert_eq!(given(&mut model), [(0, 0)], "it came first");
        assert_eq!(model.merge.due(), Some(model.now + WAIT / 2));
        model.push(1, &[6]);
        assert_eq!(given(&mut model), [(1, 0)], "less than what is held");
        model.now += WAIT;
        assert_eq!(given(&mut model), [(0, 1)]);
        assert_eq!((model.merge.late(), model.merge.unsure()), (0, 2));
    }

    #[test]
    fn what_comes_too_late_is_given_at_once() {
        let mut model = Model::new(2, usize::MAX);
        model.push(0, &[5]);
        model.now += WAIT;
        assert_eq!(given(&mut model), [(0, 0)]);
        model.push(1, &[3]);
        assert_eq!((given(&mut model), model.merge.late()), (vec![(1, 0)], 1));
    }

    /// Two partitions have records of one stamp, as the records of a batch have: what came of one of them later counted as late,
    /// though nothing older had been given.
    #[test]
    fn equal_stamps_come_in_either_order() {
        let mut model = Model::new(2, usize::MAX);
        let lanes = [vec![5, 5], vec![5]];
        model.push(0, &lanes[0]);
        model.push(1, &lanes[1]);
        assert_eq!(given(&mut model), [(0, 0), (1, 0)]);
        model.push(0, &lanes[0]);
        assert_eq!((given(&mut model), model.merge.late(), model.merge.unsure()), (vec![(0, 1)], 0, 0));
    }

    #[test]
    fn a_crowd_waits_for_nobody() {
        let mut model = Model::new(2, 3);
        for _ in 0..3 {
            assert!(model.merge.has_room());
            model.push(0, &[1, 2, 3]);
        }
        assert!(!model.merge.has_room());
        assert_eq!(given(&mut model), [(0, 0)]);
        assert_eq!(model.merge.front(PartitionIndex(0)).map(|item| item.1), Some(1));
    }

    /// What was given of a partition is as good as what it holds: nothing older follows.
    #[test]
    fn a_partition_that_was_ahead_need_not_be_waited_for() {
        let mut model = Model::new(2, usize::MAX);
        model.push(0, &[9]);
        model.push(1, &[2, 9, 10]);
        assert_eq!(given(&mut model), [(1, 0)]);
        model.push(1, &[2, 9, 10]);
        assert_eq!(given(&mut model), [(0, 0), (1, 1)]);
        model.push(1, &[2, 9, 10]);
        assert_eq!(given(&mut model), [], "the other one may bring 10 as well, or something before");
    }

    /// A partition that was not there at first is one like any other.
    #[test]
    fn partitions_come() {
        let mut merge = Merge::new(WAIT, usize::MAX, []);
        let now = Instant::now();
        merge.push(PartitionIndex(3), Stamp::from_u64(2), 1, "a", now);
        assert_eq!(merge.pop(now), Some("a"));
        merge.push(PartitionIndex(1), Stamp::from_u64(4), 1, "c", now);
        assert_eq!(merge.pop(now), None, "it is known now");
        merge.push(PartitionIndex(3), Stamp::from_u64(3), 1, "b", now);
        assert_eq!((merge.pop(now), merge.pop(now), merge.pop_rest()), (Some("b"), None, Some("c")));
    }
}
