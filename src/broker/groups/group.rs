//! A group whose members divide the partitions of topics: a state machine without clock, chance or I/O.
//!
//! ```text
//!  partition:   free ──granted──► owned by its target ──target moves──► to be released ──released, or owner gone──► free
//! ```
//!
//! A partition has at most one owner, who may read it and commit, and a target, who is to have it. Where they differ the
//! owner is told to release it, and goes on reading everything else; only when it has, or is removed, does the target
//! become the owner. Members that keep what they have are told nothing. Each change takes a new generation, which fences
//! whoever still believes in an earlier one.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::assignment::{Interest, Interests, Placement, assign};
use super::error::GroupError;
use super::member::{Assigned, Assignment, Generation, Member, MemberDetails, MemberId, MemberSink};
use super::selection::{SeenTopic, TopicSelection, TopicsView};
use crate::types::{PartitionIndex, Timestamp, TopicId, TopicPartition};

/// Members of a group at most.
pub const MEMBERS_MAX: usize = 1_000;
/// Partitions that a group divides at most; further ones have nobody to read them.
pub const GROUP_PARTITIONS_MAX: usize = 100_000;

/// Who has a partition, and who is to have it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Share {
    topic_id: TopicId,
    owner: Option<Owner>,
    target: Option<MemberId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Owner {
    member: MemberId,
    since: Generation,
}

impl Share {
    fn new(topic_id: TopicId) -> Share {
        Share { topic_id, owner: None, target: None }
    }

    fn is_owned_by(&self, member: &MemberId) -> bool {
        self.owner.as_ref().is_some_and(|owner| owner.member == *member)
    }

    /// Whether the member may read it.
    fn is_assigned_to(&self, member: &MemberId) -> bool {
        self.is_owned_by(member) && self.target.as_ref() == Some(member)
    }

    fn is_on_its_way(&self) -> bool {
        self.owner.as_ref().map(|owner| &owner.member) != self.target.as_ref()
    }
}

/// A member that joins.
#[derive(Debug)]
pub(super) struct Joining {
    pub(super) member: MemberId,
    pub(super) details: MemberDetails,
    /// What it still reads, where it comes back.
    pub(super) claims: Vec<Assigned>,
    pub(super) sink: Arc<dyn MemberSink>,
}

/// A group with members, or one whose members are expected back after a restart.
#[derive(Debug)]
pub(super) struct Group {
    /// Boxed: most groups are small, and the map has room for many.
    members: BTreeMap<MemberId, Box<Member>>,
    /// What it takes to remember the members, roughly.
    bytes: usize,
    shares: BTreeMap<TopicPartition, Share>,
    generation: Generation,
    topics: TopicsView,
    recovery: Option<Recovery>,
}

/// After a restart those who were members have time to say what they have. What nobody claims goes to nobody until then.
#[derive(Debug, Clone, Copy)]
struct Recovery {
    until: Timestamp,
    /// Generations of before the restart are below this one.
    below: Generation,
}

impl Group {
    /// A group without members. Every generation so far is below `generation`.
    pub(super) fn new(generation: Generation, topics: TopicsView, recovers_until: Option<Timestamp>) -> Group {
        let recovery = recovers_until.map(|until| Recovery { until, below: generation });
        Group { members: BTreeMap::new(), bytes: 0, shares: BTreeMap::new(), generation, topics, recovery }
    }

    pub(super) fn generation(&self) -> Generation {
        self.generation
    }

    pub(super) fn members(&self) -> &BTreeMap<MemberId, Box<Member>> {
        &self.members
    }

    /// What it takes to remember the members, in bytes, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether some partition is not where it is to be.
    pub(super) fn is_rebalancing(&self) -> bool {
        self.recovery.is_some() || self.shares.values().any(Share::is_on_its_way)
    }

    /// Who reads which partition.
    pub(super) fn owners(&self) -> impl Iterator<Item = (&TopicPartition, Option<&MemberId>)> {
        self.shares.iter().map(|(partition, share)| (partition, share.owner.as_ref().map(|owner| &owner.member)))
    }

    /// What the member may read, as it is now.
    pub(super) fn assignment(&self, member: &MemberId) -> Assignment {
        let assigned = self.shares.iter().filter(|(_, share)| share.is_assigned_to(member));
        let assigned = assigned.filter_map(|(partition, share)| {
            Some(Assigned { partition: partition.clone(), since: share.owner.as_ref()?.since })
        });
        Assignment { generation: self.generation, assigned: assigned.collect() }
    }

    /// Takes a member in, or back.
    pub(super) fn join(&mut self, joining: Joining, now: Timestamp) -> Result<Assignment, GroupError> {
        let Joining { member: id, details, claims, sink } = joining;
        let is_known = self.members.contains_key(&id);
        if !is_known && self.members.len() >= MEMBERS_MAX {
            return Err(GroupError::TooManyMembers);
        }
        let member = Member { details, interest: None, sink, heard_at: now, releasing_since: None, is_untold: false };
        self.bytes += member.details.bytes();
        if let Some(before) = self.members.insert(id.clone(), Box::new(member)) {
            self.bytes -= before.details.bytes();
        }
        if is_known {
            self.release_all_but(&id, &claims.iter().map(|claim| claim.partition.clone()).collect(), true);
        } else if let Some(Recovery { below, .. }) = self.recovery {
            let known: Vec<_> = claims.into_iter().filter(|claim| claim.since < below).collect();
            if !known.is_empty() {
                // In the generation so far others have them, or had them until they left.
                self.generation.0 += 1;
            }
            let losers: BTreeSet<_> = known.into_iter().filter_map(|claim| self.reclaim(&id, claim)).collect();
            losers.iter().for_each(|loser| self.tell(loser));
        }
        self.settle(Some(&id), now);
        Ok(self.assignment(&id))
    }

    /// Gives a member back what it had before a restart. Of two that claim the same, the one that got it later is right: the
    /// other one is returned, if it had it by now.
    fn reclaim(&mut self, member: &MemberId, claim: Assigned) -> Option<MemberId> {
        let Assigned { partition, since } = claim;
        let seen = self.topics.get(&partition.topic).filter(|seen| partition.partition.0 < seen.partitions)?;
        let share = self.shares.entry(partition).or_insert(Share::new(seen.id));
        if share.owner.as_ref().is_some_and(|owner| owner.since >= since) {
            return None;
        }
        share.target = Some(member.clone());
        let loser = share.owner.replace(Owner { member: member.clone(), since });
        loser.map(|loser| loser.member)
    }

    /// A sign of life. `reads` is everything the member still reads, where it says so. The assignment is there where it said
    /// so, or has not heard of its newest.
    pub(super) fn heartbeat(
        &mut self,
        id: &MemberId,
        reads: Option<&BTreeSet<TopicPartition>>,
        now: Timestamp,
    ) -> Result<Option<Assignment>, GroupError> {
        self.hear(id, now)?;
        // Where everything is to be has not changed: only what was freed goes on.
        if reads.is_some_and(|reads| self.release_all_but(id, reads, false)) {
            self.pass_on(Some(id), now);
        }
        let member = self.members.get_mut(id).ok_or_else(|| GroupError::UnknownMember { member: id.clone() })?;
        let is_untold = std::mem::take(&mut member.is_untold);
        Ok((is_untold || reads.is_some()).then(|| self.assignment(id)))
    }

    /// Notes that a member lives.
    pub(super) fn hear(&mut self, id: &MemberId, now: Timestamp) -> Result<(), GroupError> {
        let member = self.members.get_mut(id).ok_or_else(|| GroupError::UnknownMember { member: id.clone() })?;
        member.heard_at = member.heard_at.max(now);
        Ok(())
    }

    /// Frees what the member no longer reads; whether that was anything. What it is to have may be on its way to it and
    /// stays, unless it has begun anew and says itself what it has.
    fn release_all_but(&mut self, id: &MemberId, reads: &BTreeSet<TopicPartition>, has_begun_anew: bool) -> bool {
        let mut has_freed = false;
        for (partition, share) in &mut self.shares {
            let goes = has_begun_anew || share.target.as_ref() != Some(id);
            if goes && share.is_owned_by(id) && !reads.contains(partition) {
                share.owner = None;
                has_freed = true;
            }
        }
        has_freed
    }

    /// A member goes.
    pub(super) fn leave(&mut self, id: &MemberId, now: Timestamp) -> Result<(), GroupError> {
        if !self.remove(id) {
            return Err(GroupError::UnknownMember { member: id.clone() });
        }
        self.settle(None, now);
        Ok(())
    }

    fn remove(&mut self, id: &MemberId) -> bool {
        let Some(member) = self.members.remove(id) else { return false };
        self.bytes -= member.details.bytes();
        for share in self.shares.values_mut() {
            if share.is_owned_by(id) {
                share.owner = None;
            }
            if share.target.as_ref() == Some(id) {
                share.target = None;
            }
        }
        true
    }

    /// Removes members that are overdue, and ends waiting for those of before a restart. Answers with who was removed, and
    /// why.
    pub(super) fn step(&mut self, now: Timestamp) -> Vec<(MemberId, &'static str)> {
        let overdue = self.members.iter().filter_map(|(id, member)| Some((id.clone(), member.overdue(now)?)));
        let overdue: Vec<_> = overdue.collect();
        overdue.iter().for_each(|(id, _)| {
            self.remove(id);
        });
        let has_recovered = self.recovery.take_if(|recovery| recovery.until <= now).is_some();
        if has_recovered || !overdue.is_empty() {
            self.settle(None, now);
        }
        overdue
    }

    /// The broker itself was silent for so long: nobody is to blame for that. Less than nothing is what the clock was set
    /// back by: what is waited for comes as much earlier by that clock.
    pub(super) fn excuse(&mut self, millis: i64) {
        if let Some(recovery) = self.recovery.as_mut().filter(|_| millis < 0) {
            recovery.until = recovery.until.plus_millis(millis);
        }
        for member in self.members.values_mut() {
            member.heard_at = member.heard_at.plus_millis(millis);
            member.releasing_since = member.releasing_since.map(|since| since.plus_millis(millis));
        }
    }

    /// What topics there are, for what is done next.
    pub(super) fn see_topics(&mut self, topics: &TopicsView) {
        if *self.topics != **topics {
            self.members.values_mut().for_each(|member| member.interest = None);
        }
        self.topics = Arc::clone(topics);
    }

    /// Topics have come, gone or grown.
    pub(super) fn set_topics(&mut self, topics: &TopicsView, now: Timestamp) {
        self.see_topics(topics);
        self.settle(None, now);
    }

    /// Whether a partition is of the topic that the group knows under its name.
    pub(super) fn is_of_topic(&self, partition: &TopicPartition, topic_id: TopicId) -> bool {
        self.shares.get(partition).is_none_or(|share| share.topic_id == topic_id)
    }

    /// Whether the member may commit: the partition is its own since that generation or earlier.
    pub(super) fn check_owner(
        &self,
        id: &MemberId,
        generation: Generation,
        partition: &TopicPartition,
    ) -> Result<(), GroupError> {
        if !self.members.contains_key(id) {
            return Err(GroupError::UnknownMember { member: id.clone() });
        }
        let owner = self.shares.get(partition).and_then(|share| share.owner.as_ref());
        if owner.is_some_and(|owner| owner.member == *id && owner.since <= generation) {
            return Ok(());
        }
        Err(GroupError::Fenced { member: id.clone(), partition: partition.clone() })
    }

    /// Whether the member may begin to read: as [`Group::check_owner`], and it is not to release it.
    pub(super) fn check_reader(
        &self,
        id: &MemberId,
        generation: Generation,
        partition: &TopicPartition,
    ) -> Result<(), GroupError> {
        self.check_owner(id, generation, partition)?;
        let is_assigned = self.shares.get(partition).is_some_and(|share| share.is_assigned_to(id));
        let fenced = || GroupError::Fenced { member: id.clone(), partition: partition.clone() };
        if is_assigned { Ok(()) } else { Err(fenced()) }
    }

    /// Finds new targets, gives what is free to them, and tells whoever is affected, but for the one who is answered.
    fn settle(&mut self, answered: Option<&MemberId>, now: Timestamp) {
        let mut affected = BTreeSet::new();
        let interests = self.interests();
        let mut has_changed = self.take_in(&interests, &mut affected);
        let targets = self.targets(&interests);
        for (partition, share) in &mut self.shares {
            let target = targets.get(partition).cloned();
            if share.target != target {
                let owner = share.owner.as_ref().map(|owner| owner.member.clone());
                affected.extend(
                    owner.filter(|owner| share.target.as_ref() == Some(owner) || target.as_ref() == Some(owner)),
                );
                share.target = target;
                has_changed = true;
            }
        }
        self.grant(affected, has_changed, answered, now);
    }

    /// Gives what was freed to those who are to have it.
    fn pass_on(&mut self, answered: Option<&MemberId>, now: Timestamp) {
        let is_recovering = self.recovery.is_some();
        self.shares.retain(|_, share| is_recovering || share.owner.is_some() || share.target.is_some());
        self.grant(BTreeSet::new(), false, answered, now);
    }

    /// Makes targets the owners of what is free, takes a new generation where anything has changed, and tells whoever is
    /// affected.
    fn grant(
        &mut self,
        mut affected: BTreeSet<MemberId>,
        mut has_changed: bool,
        answered: Option<&MemberId>,
        now: Timestamp,
    ) {
        let next = Generation(self.generation.0 + 1);
        for share in self.shares.values_mut() {
            if let (None, Some(target)) = (&share.owner, &share.target) {
                share.owner = Some(Owner { member: target.clone(), since: next });
                affected.insert(target.clone());
                has_changed = true;
            }
        }
        if has_changed {
            self.generation = next;
        }
        self.note_releasing(now);
        for id in affected.iter().filter(|id| Some(*id) != answered) {
            self.tell(id);
        }
        self.assert_invariants();
    }

    /// What members ask for. Most ask for the same, and looking that up once is enough, until the topics change.
    fn interests(&mut self) -> Interests {
        let mut known: BTreeMap<&TopicSelection, Interest> = BTreeMap::new();
        let mut found = Vec::new();
        if self.members.values().any(|member| member.interest.is_none()) {
            let members = self.members.values();
            known.extend(members.filter_map(|member| Some((&member.details.topics, member.interest.clone()?))));
        }
        for (id, member) in self.members.iter().filter(|(_, member)| member.interest.is_none()) {
            let topics = &member.details.topics;
            let interest = known.entry(topics).or_insert_with(|| Arc::new(topics.of(&self.topics)));
            found.push((id.clone(), Arc::clone(interest)));
        }
        for (id, interest) in found {
            if let Some(member) = self.members.get_mut(&id) {
                member.interest = Some(interest);
            }
        }
        let interests = self.members.iter();
        interests.map(|(id, member)| (id.clone(), member.interest.clone().unwrap_or_default())).collect()
    }

    /// Where every partition is to be. While members are expected back nothing moves.
    fn targets(&self, interests: &Interests) -> BTreeMap<TopicPartition, MemberId> {
        let placement = |share: &Share| Placement {
            target: share.target.clone(),
            owner: share.owner.as_ref().map(|owner| owner.member.clone()),
        };
        if self.recovery.is_some() {
            let targets = self.shares.iter().filter_map(|(of, share)| Some((of.clone(), share.target.clone()?)));
            return targets
                .filter(|(of, target)| interests.get(target).is_some_and(|topics| topics.contains(&of.topic)))
                .collect();
        }
        let partitions = self.shares.iter().map(|(partition, share)| (partition.clone(), placement(share))).collect();
        assign(&partitions, interests)
    }

    /// Takes in the partitions that somebody asks for, and drops those that are gone. Whether any came or went.
    fn take_in(&mut self, interests: &Interests, affected: &mut BTreeSet<MemberId>) -> bool {
        let asked: BTreeSet<_> = interests.values().collect();
        let wanted: BTreeSet<_> = asked.into_iter().flat_map(|topics| topics.iter()).collect();
        let mut has_changed = false;
        let topics = Arc::clone(&self.topics);
        self.shares.retain(|partition, share| {
            let is_same = |seen: &SeenTopic| seen.id == share.topic_id && partition.partition.0 < seen.partitions;
            let exists = topics.get(&partition.topic).is_some_and(is_same);
            // What is not wanted any more is still read by its owner until that has released it.
            let stays = exists && (wanted.contains(&partition.topic) || share.owner.is_some());
            if !stays {
                has_changed = true;
                affected.extend(share.owner.take().map(|owner| owner.member));
            }
            stays
        });
        for topic in wanted {
            let Some(&SeenTopic { id, partitions }) = topics.get(topic) else { continue };
            for index in 0..partitions {
                if self.shares.len() >= GROUP_PARTITIONS_MAX {
                    return has_changed;
                }
                let partition = TopicPartition { topic: topic.clone(), partition: PartitionIndex(index) };
                if let Entry::Vacant(vacant) = self.shares.entry(partition) {
                    vacant.insert(Share::new(id));
                    has_changed = true;
                }
            }
        }
        has_changed
    }

    fn note_releasing(&mut self, now: Timestamp) {
        let on_their_way = self.shares.values().filter(|share| share.is_on_its_way());
        let releasing: BTreeSet<&MemberId> =
            on_their_way.filter_map(|share| share.owner.as_ref().map(|owner| &owner.member)).collect();
        for (id, member) in &mut self.members {
            let since = member.releasing_since.unwrap_or(now);
            member.releasing_since = releasing.contains(id).then_some(since);
        }
    }

    fn tell(&mut self, id: &MemberId) {
        let assignment = self.assignment(id);
        if let Some(member) = self.members.get_mut(id) {
            member.is_untold = !member.sink.assigned(id, &assignment);
        }
    }

    fn assert_invariants(&self) {
        if cfg!(debug_assertions) {
            for (partition, share) in &self.shares {
                let known = share.owner.iter().map(|owner| &owner.member).chain(&share.target);
                for member in known {
                    assert!(self.members.contains_key(member), "{partition} is {member}'s, who is no member");
                }
                let since = share.owner.as_ref().map(|owner| owner.since);
                assert!(since <= Some(self.generation), "{partition} is of a generation to come");
                assert!(share.owner.is_some() || share.target.is_none(), "{partition} lies idle");
            }
        }
    }
}
