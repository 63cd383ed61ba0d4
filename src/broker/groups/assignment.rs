//! Who is to have which partition: what can stay stays, and nobody has two more than somebody else who could take one.
//!
//! A move is made only where it levels two loads that differ by two or more. So with members that ask for the same topics
//! as few partitions move as can be, and whoever has its due is left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::member::MemberId;
use crate::types::{TopicName, TopicPartition};

/// A partition that somebody asks for: whose it is to be so far, and who reads it now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Placement {
    pub(super) target: Option<MemberId>,
    pub(super) owner: Option<MemberId>,
}

/// Members by the order in which they are preferred, each with the topics it asks for.
pub(super) type Interests = BTreeMap<MemberId, Interest>;

/// The topics that a member asks for, of those there are.
pub(super) type Interest = Arc<BTreeSet<TopicName>>;

/// Finds a target for every partition; `None` where nobody asks for its topic.
pub(super) fn assign(
    partitions: &BTreeMap<TopicPartition, Placement>,
    interests: &Interests,
) -> BTreeMap<TopicPartition, MemberId> {
    let mut assigning = Assigning::new(partitions, interests);
    assigning.keep_what_can_stay();
    assigning.place_the_rest();
    while assigning.level_one() {}
    assigning.targets.into_iter().map(|(partition, member)| (partition.clone(), member.clone())).collect()
}

struct Assigning<'a> {
    partitions: &'a BTreeMap<TopicPartition, Placement>,
    /// Who asks for a topic.
    takers: BTreeMap<&'a TopicName, Vec<&'a MemberId>>,
    targets: BTreeMap<&'a TopicPartition, &'a MemberId>,
    /// What each member is to have, topic by topic.
    holdings: BTreeMap<&'a MemberId, BTreeMap<&'a TopicName, BTreeSet<&'a TopicPartition>>>,
    loads: BTreeMap<&'a MemberId, usize>,
    /// The same, in the order of the loads.
    by_load: BTreeSet<(usize, &'a MemberId)>,
}

impl<'a> Assigning<'a> {
    fn new(partitions: &'a BTreeMap<TopicPartition, Placement>, interests: &'a Interests) -> Assigning<'a> {
        let mut takers: BTreeMap<&TopicName, Vec<&MemberId>> = BTreeMap::new();
        for (member, topics) in interests {
            topics.iter().for_each(|topic| takers.entry(topic).or_default().push(member));
        }
        Assigning {
            partitions,
            takers,
            targets: BTreeMap::new(),
            holdings: BTreeMap::new(),
            loads: interests.keys().map(|member| (member, 0)).collect(),
            by_load: interests.keys().map(|member| (0, member)).collect(),
        }
    }

    fn keep_what_can_stay(&mut self) {
        for (partition, placement) in self.partitions {
            let takers = self.takers.get(&partition.topic).map_or(&[][..], Vec::as_slice);
            let known = placement.target.as_ref().or(placement.owner.as_ref());
            if let Some(member) = known.and_then(|known| takers.binary_search(&known).ok().map(|at| takers[at])) {
                self.give(partition, member);
            }
        }
    }

    fn place_the_rest(&mut self) {
        for partition in self.partitions.keys() {
            if !self.targets.contains_key(partition)
                && let Some((_, member)) = self.least_loaded(&partition.topic)
            {
                self.give(partition, member);
            }
        }
    }

    /// Moves one partition from a member with much to one with little, if there is such a pair.
    fn level_one(&mut self) -> bool {
        let Some(&(least, _)) = self.by_load.first() else { return false };
        let found = self.by_load.iter().rev().take_while(|(load, _)| *load >= least + 2).find_map(|&(load, from)| {
            let topics = self.holdings.get(from)?.keys();
            let mut takers = topics.filter_map(|topic| Some((self.least_loaded(topic)?, *topic)));
            takers.find(|((least, _), _)| load >= least + 2).map(|((_, to), topic)| (from, to, topic))
        });
        let Some((from, to, topic)) = found else { return false };
        let Some(partition) = self.cheapest(from, to, topic) else { return false };
        self.take(partition, from);
        self.give(partition, to);
        true
    }

    /// The partition of a topic that is best moved: one that goes home, then one that was never taken, then the last.
    fn cheapest(&self, from: &MemberId, to: &MemberId, topic: &TopicName) -> Option<&'a TopicPartition> {
        let held = self.holdings.get(from)?.get(topic)?;
        let cost = |partition: &&&TopicPartition| match &self.partitions.get(**partition)?.owner {
            Some(owner) if owner == to => Some(0),
            Some(owner) if owner == from => Some(2),
            _ => Some(1),
        };
        held.iter().rev().min_by_key(cost).copied()
    }

    fn least_loaded(&self, topic: &TopicName) -> Option<(usize, &'a MemberId)> {
        let takers = self.takers.get(topic)?;
        // Where everybody asks for the topic the order is known.
        if takers.len() == self.loads.len() {
            return self.by_load.first().copied();
        }
        takers.iter().map(|member| (self.loads.get(member).copied().unwrap_or(0), *member)).min()
    }

    fn give(&mut self, partition: &'a TopicPartition, member: &'a MemberId) {
        self.targets.insert(partition, member);
        let holding = self.holdings.entry(member).or_default();
        holding.entry(&partition.topic).or_default().insert(partition);
        self.change_load(member, |load| load + 1);
    }

    fn take(&mut self, partition: &'a TopicPartition, member: &'a MemberId) {
        self.targets.remove(partition);
        if let Some(holding) = self.holdings.get_mut(member)
            && let Some(held) = holding.get_mut(&partition.topic)
        {
            held.remove(partition);
            if held.is_empty() {
                holding.remove(&partition.topic);
            }
        }
        self.change_load(member, |load| load - 1);
    }

    fn change_load(&mut self, member: &'a MemberId, change: impl FnOnce(usize) -> usize) {
        let load = self.loads.entry(member).or_default();
        self.by_load.remove(&(*load, member));
        *load = change(*load);
        self.by_load.insert((*load, member));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::PartitionIndex;

    fn member(number: usize) -> MemberId {
        MemberId::new(&format!("m{number:03}"))
    }

    fn topic(number: usize) -> TopicName {
        TopicName::new(&format!("t{number}")).unwrap()
    }

    fn partition(of: usize, index: u32) -> TopicPartition {
        TopicPartition { topic: topic(of), partition: PartitionIndex(index) }
    }

    fn interests(members: &[(usize, &[usize])]) -> Interests {
        let of = |topics: &[usize]| Arc::new(topics.iter().map(|t| topic(*t)).collect());
        let one = |(number, topics): &(usize, &[usize])| (member(*number), of(topics));
        members.iter().map(one).collect()
    }

    type Targets = BTreeMap<TopicPartition, MemberId>;

    /// Everybody reads what it is to have.
    fn settled(targets: &Targets, all: &[(usize, u32)]) -> BTreeMap<TopicPartition, Placement> {
        let partitions = all.iter().flat_map(|&(of, count)| (0..count).map(move |index| partition(of, index)));
        let place = |partition: TopicPartition| {
            let target = targets.get(&partition).cloned();
            (partition, Placement { owner: target.clone(), target })
        };
        partitions.map(place).collect()
    }

    fn loads(targets: &Targets, interests: &Interests) -> Vec<usize> {
        interests.keys().map(|member| targets.values().filter(|target| *target == member).count()).collect()
    }

    fn moved(before: &Targets, after: &Targets) -> usize {
        before.iter().filter(|(partition, member)| after.get(partition) != Some(member)).count()
    }

    #[test]
    fn members_come_and_go_and_only_what_must_moves() {
        let all = [(1, 10)];
        let one = interests(&[(1, &[1])]);
        let first = assign(&settled(&Targets::new(), &all), &one);
        assert_eq!(loads(&first, &one), [10]);
        let two = interests(&[(1, &[1]), (2, &[1])]);
        let second = assign(&settled(&first, &all), &two);
        assert_eq!((loads(&second, &two), moved(&first, &second)), (vec![5, 5], 5));
        let three = interests(&[(1, &[1]), (2, &[1]), (3, &[1])]);
        let third = assign(&settled(&second, &all), &three);
        let mut sizes = loads(&third, &three);
        sizes.sort_unstable();
        assert_eq!((sizes, moved(&second, &third)), (vec![3, 3, 4], 3));
        let left = interests(&[(1, &[1]), (3, &[1])]);
        let fourth = assign(&settled(&third, &all), &left);
        let of_second = third.values().filter(|target| **target == member(2)).count();
        assert_eq!((loads(&fourth, &left), moved(&third, &fourth)), (vec![5, 5], of_second));
    }

    #[test]
    fn members_get_only_what_they_ask_for() {
        let all = [(1, 4), (2, 4), (3, 1)];
        let asked = interests(&[(1, &[1]), (2, &[1, 2])]);
        let targets = assign(&settled(&Targets::new(), &all), &asked);
        assert_eq!(loads(&targets, &asked), [4, 4]);
        assert!(targets.iter().filter(|(_, target)| **target == member(1)).all(|(of, _)| of.topic == topic(1)));
        assert!(!targets.contains_key(&partition(3, 0)));
    }

    #[test]
    fn what_was_never_taken_moves_first() {
        let mut partitions = settled(&Targets::new(), &[(1, 4)]);
        for (index, owner) in [(0, Some(member(1))), (1, None), (2, Some(member(2))), (3, Some(member(1)))] {
            partitions.insert(partition(1, index), Placement { target: Some(member(1)), owner });
        }
        let targets = assign(&partitions, &interests(&[(1, &[1]), (2, &[1])]));
        let of_second: Vec<_> = targets.iter().filter(|(_, target)| **target == member(2)).map(|(of, _)| of).collect();
        assert_eq!(of_second, [&partition(1, 1), &partition(1, 2)]);
    }

    proptest! {
        /// Whatever members ask for: everything that somebody asks for has a target that asks for it, no move would level two
        /// loads, nothing changes where nothing has changed, and with equal interests no more moves than must.
        #[test]
        fn targets_are_balanced_and_stay(
            counts in proptest::collection::vec(0..12_u32, 1..4),
            before in proptest::collection::btree_map(0..12_usize, proptest::collection::btree_set(0..3_usize, 0..4), 0..8),
            after in proptest::collection::btree_map(0..12_usize, proptest::collection::btree_set(0..3_usize, 0..4), 0..8),
            is_equal in any::<bool>(),
        ) {
            let all: Vec<_> = counts.iter().enumerate().map(|(of, count)| (of, *count)).collect();
            let to_interests = |asked: &BTreeMap<usize, BTreeSet<usize>>| -> Interests {
                let everything: BTreeSet<usize> = (0..counts.len()).collect();
                asked.iter().map(|(number, topics)| {
                    let topics = if is_equal { &everything } else { topics };
                    (member(*number), Arc::new(topics.iter().map(|of| topic(*of)).collect()))
                }).collect()
            };
            let (before, after) = (to_interests(&before), to_interests(&after));
            let first = assign(&settled(&Targets::new(), &all), &before);
            let partitions = settled(&first, &all);
            let second = assign(&partitions, &after);
            for of in partitions.keys() {
                let takers: Vec<_> = after.iter().filter(|(_, topics)| topics.contains(&of.topic)).collect();
                let target = second.get(of);
                prop_assert_eq!(target.is_some(), !takers.is_empty());
                let Some(target) = target else { continue };
                prop_assert!(takers.iter().any(|(taker, _)| *taker == target));
                let load = |member: &MemberId| second.values().filter(|target| *target == member).count();
                prop_assert!(takers.iter().all(|(taker, _)| load(target) <= load(taker) + 1));
            }
            prop_assert_eq!(&assign(&settled(&second, &all), &after), &second);
            if is_equal && !after.is_empty() && !before.is_empty() {
                let (floor, extra) = (partitions.len() / after.len(), partitions.len() % after.len());
                let mut kept: Vec<usize> =
                    after.keys().map(|member| first.values().filter(|target| *target == member).count()).collect();
                kept.sort_unstable_by(|a, b| b.cmp(a));
                let may_stay = |(rank, kept): (usize, &usize)| *kept.min(&(floor + usize::from(rank < extra)));
                let stay: usize = kept.iter().enumerate().map(may_stay).sum();
                prop_assert_eq!(moved(&first, &second), first.len() - stay);
            }
        }
    }
}
