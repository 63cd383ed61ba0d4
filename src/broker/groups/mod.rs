//! Groups: members that share what they read, and the coordinators that say who reads what.
//!
//! ```text
//!  join · heartbeat · leave ──► coordinator ──► group ──► assignments to those affected
//!                                   │ its record, where it must be there first
//!                                   ▼
//!                              __offsets (positions of the group as well)
//! ```
//!
//! A group lives where its id leads: in one of the coordinators, of which there is one for each partition of `__offsets`, so
//! that it can move with it. Every protocol joins groups here. A group has one kind, which its first member decides.
//!
//! Positions of a group are committed by the owner of the partition alone, or, where the group has no members, by anybody.

mod assignment;
pub mod classic;
mod classic_admin;
mod classic_members;
mod describe;
mod error;
mod group;
mod joining;
mod kind;
mod live_classic;
mod member;
mod registry;
mod selection;
#[cfg(test)]
mod tests;
mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::MutexGuard;
use uuid::Uuid;

pub use classic_admin::{ClassicDescription, ClassicSummary};
pub use classic_members::{ClassicCommitter, Leaving};
pub use describe::{GroupDescription, GroupState, GroupSummary, MemberDescription, SharedPartition};
pub use error::GroupError;
pub use group::{GROUP_PARTITIONS_MAX, MEMBERS_MAX};
pub use kind::{GroupKind, GroupRecord};
pub use member::{Assigned, Assignment, Generation, MemberDetails, MemberId, MemberSink};
pub use registry::{GROUPS_MAX, MEMBERS_BYTES_MAX};
pub use selection::{SELECTION_ENTRIES_MAX, SelectionError, TopicSelection};
pub use turns::TakingTurns;

pub(in crate::broker) use registry::Groups;

use super::positions::{Answers, CLIENT_ID_BYTES_MAX, PositionKey, PositionOwner, PositionReply};
use super::{Broker, BrokerError};
use crate::replica::AckLevel;
use crate::types::{Timestamp, TopicId, TopicName, TopicPartition};
use group::{Group, Joining};
use joining::{JoinReply, TakenIn, WaitingJoin};
use registry::{Beginning, Coordinator, DueRecord};
use selection::{SeenTopic, TopicsView};

/// Time after which a position of a group with members is kept anew though it was not moved, in milliseconds.
const CONFIRMED_AFTER_MS: i64 = 3_600_000;

/// As which member something is done, and by which generation of its assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// The member.
    pub member: MemberId,
    /// A generation in which it owned the partition.
    pub generation: Generation,
}

/// A member joins, or comes back.
#[derive(Debug)]
pub struct JoinGroup {
    /// The group: 1 to 255 bytes.
    pub group: Arc<str>,
    /// As whom it comes back.
    pub member: Option<MemberId>,
    /// What its id is made of where it has none.
    pub fresh_id: Uuid,
    /// What it says of itself.
    pub details: MemberDetails,
    /// What it still reads.
    pub claims: Vec<Assigned>,
    /// Where its assignments go.
    pub sink: Arc<dyn MemberSink>,
}

/// What a member that joined is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// Who it is.
    pub member: MemberId,
    /// What it may read.
    pub assignment: Assignment,
}

/// What a heartbeat is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The group's generation.
    pub generation: Generation,
    /// What the member may read, where it said what it reads or has not heard of it.
    pub assignment: Option<Assignment>,
}

impl Broker {
    /// Takes a member into a group, which begins with it where it does not exist. The reply comes once the group is as safe
    /// as an acknowledgement is by default.
    ///
    /// The reply may be [`BrokerError::InvalidClientId`], [`BrokerError::Group`], [`BrokerError::Overloaded`],
    /// [`BrokerError::StorageFull`] or [`BrokerError::StorageFailed`].
    pub fn join_group(
        self: &Arc<Self>,
        join: JoinGroup,
        now: Timestamp,
        reply: impl FnOnce(Result<Joined, BrokerError>) + Send + 'static,
    ) {
        let waiting = WaitingJoin { join, now, reply: JoinReply::new(reply) };
        match check_group_id(&waiting.join.group) {
            Ok(()) => self.join_or_wait(waiting),
            Err(error) => waiting.reply.send(Err(error)),
        }
    }

    /// Takes a member into a group that has some. One that has none begins once its record is written, with everybody who
    /// asks for it meanwhile.
    fn join_or_wait(self: &Arc<Self>, waiting: WaitingJoin) {
        let (topics, group) = (self.topics_view(), Arc::clone(&waiting.join.group));
        let mut coordinator = self.coordinator(&group);
        let refused = coordinator.check_room(&waiting.join.details);
        let beginning = match refused {
            Ok(()) if coordinator.get(&group).is_some() => {
                let joined = self.take_in(&mut coordinator, vec![waiting], &topics);
                drop(coordinator);
                return self.tell(joined);
            }
            Ok(()) if coordinator.is_beginning(&group) => {
                let too_many = coordinator.wait_for_begin(&group, waiting);
                drop(coordinator);
                return too_many.into_iter().for_each(|late| late.reply.send(Err(GroupError::TooManyMembers.into())));
            }
            Ok(()) => self.beginning(&waiting.join, waiting.now),
            Err(error) => Err(error),
        };
        let beginning = match beginning {
            Ok(beginning) => beginning,
            Err(error) => {
                drop(coordinator);
                return waiting.reply.send(Err(error.into()));
            }
        };
        let (broker, id, now) = (Arc::clone(self), Arc::clone(&group), waiting.now);
        let _nobody_waits_yet = coordinator.wait_for_begin(&group, waiting);
        let written = PositionReply::new(move |written| broker.begin_group(&id, beginning, written.map(|_| ())));
        let ack = self.default_ack();
        let (slot, answers) = self.positions.enter_group(&group, Some(beginning.record), ack, now, written);
        drop(coordinator);
        self.positions.follow_up(slot, answers);
    }

    /// The record that lets a group begin is written, or cannot be. Where the group was deleted meanwhile, or has become one
    /// of another kind, it says nothing any more: whoever waits for it asks again.
    fn begin_group(self: &Arc<Self>, group: &Arc<str>, beginning: Beginning, written: Result<(), BrokerError>) {
        let topics = self.topics_view();
        let mut coordinator = self.coordinator(group);
        let waiting = coordinator.end_waiting(group);
        let is_current = self.positions.group(group) == Some(beginning.record);
        match written {
            Ok(()) if is_current => {
                coordinator.begin(group, beginning, &topics);
                let joined = self.take_in(&mut coordinator, waiting, &topics);
                drop(coordinator);
                self.tell(joined);
            }
            Ok(()) => {
                drop(coordinator);
                waiting.into_iter().for_each(|waiting| self.join_or_wait(waiting));
            }
            Err(error) => {
                drop(coordinator);
                waiting.into_iter().for_each(|waiting| waiting.reply.send(Err(error.clone())));
            }
        }
    }

    fn take_in(
        self: &Arc<Self>,
        coordinator: &mut Coordinator,
        waiting: Vec<WaitingJoin>,
        topics: &TopicsView,
    ) -> Vec<TakenIn> {
        let take_in = |WaitingJoin { join, now, reply }| match self.joined(coordinator, join, topics, now) {
            Ok((joined, due)) => (reply, Ok(joined), self.enter_record(due, now)),
            Err(error) => (reply, Err(error.into()), None),
        };
        waiting.into_iter().map(take_in).collect()
    }

    fn tell(self: &Arc<Self>, joined: Vec<TakenIn>) {
        for (reply, joined, answers) in joined {
            self.follow_up(answers);
            reply.send(joined);
        }
    }

    fn beginning(&self, join: &JoinGroup, now: Timestamp) -> Result<Beginning, GroupError> {
        let kept = self.positions.group(&join.group);
        let (found, wanted) = (kept.map(|kept| kept.kind), GroupKind::Partitioned);
        if let Some(found) = found.filter(|found| *found != wanted) {
            return Err(GroupError::Kind { group: join.group.to_string(), found, wanted });
        }
        if kept.is_none() && self.positions.groups_count() >= GROUPS_MAX {
            return Err(GroupError::TooManyGroups);
        }
        Ok(self.groups.beginning(kept, join.details.session_timeout_ms, now))
    }

    fn joined(
        &self,
        coordinator: &mut Coordinator,
        join: JoinGroup,
        topics: &TopicsView,
        now: Timestamp,
    ) -> Result<(Joined, Option<DueRecord>), GroupError> {
        let JoinGroup { group, member, fresh_id, details, claims, sink } = join;
        let member = member.unwrap_or_else(|| MemberId::fresh(fresh_id));
        let joining = Joining { member: member.clone(), details, claims, sink };
        // Writing the group's record may have taken longer than the member may be silent.
        let now = coordinator.latest(now);
        let (assignment, due) = coordinator.change(&group, |group| {
            group.see_topics(topics);
            group.join(joining, now)
        })?;
        Ok((Joined { member, assignment }, due))
    }

    /// Hears from a member. `reads` is everything it still reads, where it says so.
    ///
    /// # Errors
    /// [`GroupError::UnknownGroup`], [`GroupError::UnknownMember`].
    pub fn heartbeat_group(
        self: &Arc<Self>,
        group: &Arc<str>,
        member: &MemberId,
        reads: Option<&BTreeSet<TopicPartition>>,
        now: Timestamp,
    ) -> Result<Heard, BrokerError> {
        self.change_group(group, member, now, |group| {
            let assignment = group.heartbeat(member, reads, now)?;
            Ok(Heard { generation: group.generation(), assignment })
        })
    }

    /// A member goes; what it had goes to the others at once.
    ///
    /// # Errors
    /// [`GroupError::UnknownMember`].
    pub fn leave_group(
        self: &Arc<Self>,
        group: &Arc<str>,
        member: &MemberId,
        now: Timestamp,
    ) -> Result<(), BrokerError> {
        self.change_group(group, member, now, |group| group.leave(member, now))
    }

    fn change_group<R>(
        self: &Arc<Self>,
        group: &Arc<str>,
        member: &MemberId,
        now: Timestamp,
        change: impl FnOnce(&mut Group) -> Result<R, GroupError>,
    ) -> Result<R, BrokerError> {
        let mut coordinator = self.coordinator(group);
        let changed = coordinator.change(group, change);
        let (result, due) = changed.map_err(|error| as_unknown_member(error, member))?;
        let answers = self.enter_record(due, now);
        drop(coordinator);
        self.follow_up(answers);
        Ok(result)
    }

    /// Whether a member may begin to read a partition. Counts as a sign of life.
    ///
    /// # Errors
    /// [`GroupError::UnknownMember`], [`GroupError::Fenced`].
    pub fn check_group_reader(
        self: &Arc<Self>,
        group: &Arc<str>,
        fence: &Fence,
        partition: &TopicPartition,
        now: Timestamp,
    ) -> Result<(), BrokerError> {
        let topics = self.topics_view();
        self.change_group(group, &fence.member, now, |group| {
            group.hear(&fence.member, now)?;
            if topics.get(&partition.topic).is_some_and(|seen| !group.is_of_topic(partition, seen.id)) {
                // Deleted and created anew since the group looked.
                group.set_topics(&topics, now);
            }
            group.check_reader(&fence.member, fence.generation, partition)
        })
    }

    /// Whether a partition is still the member's, who may be about to release it.
    #[must_use]
    pub fn is_group_owner(&self, group: &Arc<str>, fence: &Fence, partition: &TopicPartition) -> bool {
        let coordinator = self.coordinator(group);
        let live = coordinator.get(group);
        live.is_some_and(|live| live.group.check_owner(&fence.member, fence.generation, partition).is_ok())
    }

    /// Makes a group one of another kind than partitioned, or finds that it is one. The reply comes once that is as safe as
    /// an acknowledgement is by default.
    ///
    /// The reply may be as that of [`Broker::join_group`].
    pub fn claim_group(
        self: &Arc<Self>,
        group: &Arc<str>,
        kind: GroupKind,
        now: Timestamp,
        reply: impl FnOnce(Result<(), BrokerError>) + Send + 'static,
    ) {
        if let Err(error) = check_group_id(group) {
            return reply(Err(error));
        }
        // Under this lock nobody else makes it one of yet another kind.
        let coordinator = self.coordinator(group);
        let refused = match self.positions.group(group) {
            Some(GroupRecord { kind: found, .. }) if found != kind => {
                Some(GroupError::Kind { group: group.to_string(), found, wanted: kind })
            }
            None if self.positions.groups_count() >= GROUPS_MAX => Some(GroupError::TooManyGroups),
            _ => None,
        };
        if let Some(error) = refused {
            drop(coordinator);
            return reply(Err(error.into()));
        }
        // Written again where it is on its way: the answer must not come before it is safe.
        let record = GroupRecord { kind, generations: 0, session_ms: 0 };
        let written = PositionReply::new(move |written| reply(written.map(|_| ())));
        let (slot, answers) = self.positions.enter_group(group, Some(record), self.default_ack(), now, written);
        drop(coordinator);
        self.positions.follow_up(slot, answers);
    }

    /// Forgets a group without members, and all its positions.
    ///
    /// The reply may be [`GroupError::UnknownGroup`], [`GroupError::NotEmpty`] or what a commit may meet.
    pub fn delete_group(
        self: &Arc<Self>,
        group: &Arc<str>,
        now: Timestamp,
        reply: impl FnOnce(Result<(), BrokerError>) + Send + 'static,
    ) {
        // Under this lock nobody joins: who does later finds no group.
        let mut coordinator = self.coordinator(group);
        if let Err(error) = self.check_deletable(&coordinator, group) {
            drop(coordinator);
            return reply(Err(error.into()));
        }
        let written = PositionReply::new(move |written| reply(written.map(|_| ())));
        let (slot, answers) = self.positions.enter_deletion(group, now, written);
        let told = coordinator.delete_classic(group);
        drop(coordinator);
        self.positions.follow_up(slot, answers);
        told.into_iter().for_each(live_classic::Told::send);
    }

    fn check_deletable(&self, coordinator: &Coordinator, group: &Arc<str>) -> Result<(), GroupError> {
        self.check_abandoned(coordinator, group)?;
        let owner = PositionOwner::Group(Arc::clone(group));
        if self.positions.group(group).is_none() && self.positions.of_owner(&owner).is_empty() {
            return Err(GroupError::UnknownGroup { group: group.to_string() });
        }
        Ok(())
    }

    fn check_empty(&self, coordinator: &Coordinator, group: &Arc<str>) -> Result<(), GroupError> {
        let members = coordinator.members_count(group);
        if members == 0 { Ok(()) } else { Err(GroupError::NotEmpty { group: group.to_string(), members }) }
    }

    /// Locks the group whose position is to be committed, so that its owner stays who it is. `None` for a client's position.
    pub(in crate::broker) fn lock_for_commit(
        &self,
        (key, topic_id): (&PositionKey, TopicId),
        fence: Option<&Fence>,
        now: Timestamp,
    ) -> Result<Option<MutexGuard<'_, Coordinator>>, BrokerError> {
        let PositionOwner::Group(group) = &key.owner else { return Ok(None) };
        let mut coordinator = self.coordinator(group);
        let Some(fence) = fence else {
            self.check_empty(&coordinator, group)?;
            return Ok(Some(coordinator));
        };
        let partition = TopicPartition { topic: key.topic.clone(), partition: key.partition };
        let checked = coordinator.change(group, |group| {
            group.hear(&fence.member, now)?;
            if !group.is_of_topic(&partition, topic_id) {
                // What it has read was of a topic that is gone.
                return Err(GroupError::Fenced { member: fence.member.clone(), partition });
            }
            group.check_owner(&fence.member, fence.generation, &partition)
        });
        checked.map_err(|error| as_unknown_member(error, &fence.member))?;
        Ok(Some(coordinator))
    }

    /// Does what time has made due in all groups. To be called about four times a second.
    pub(in crate::broker) fn step_groups(self: &Arc<Self>, now: Timestamp) {
        let changed = self.groups.changed_topics(self.seen_topics());
        for mut coordinator in self.groups.coordinators() {
            let (due, told) = coordinator.step(changed.as_ref(), now);
            let answers: Vec<_> = due.into_iter().flat_map(|due| self.enter_record(Some(due), now)).collect();
            drop(coordinator);
            self.follow_up(answers);
            told.into_iter().for_each(live_classic::Told::send);
        }
        for group in self.groups.unconfirmed(CONFIRMED_AFTER_MS, now) {
            self.positions.confirm(&PositionOwner::Group(group), now);
        }
        if self.groups.is_expiry_due(CONFIRMED_AFTER_MS, now) {
            self.forget_idle_groups(now);
        }
    }

    /// Forgets groups without members and positions that nobody came back to: otherwise whoever invents a new name each
    /// time would have used up the names for everybody one day.
    fn forget_idle_groups(&self, now: Timestamp) {
        for group in self.positions.idle_groups(now) {
            let coordinator = self.coordinator(&group);
            if self.check_abandoned(&coordinator, &group).is_err() {
                continue;
            }
            let forgotten = PositionReply::new(|_| {});
            let (slot, answers) = self.positions.enter_group(&group, None, AckLevel::Leader, now, forgotten);
            drop(coordinator);
            self.positions.follow_up(slot, answers);
        }
    }

    /// Enters a group's record to be written. To be called under the group's lock, so that of two records the newer one is
    /// the later; what follows is done without it.
    fn enter_record(self: &Arc<Self>, due: Option<DueRecord>, now: Timestamp) -> Option<(usize, Answers)> {
        let (group, record) = due?;
        let (broker, of) = (Arc::clone(self), Arc::clone(&group));
        let written = PositionReply::new(move |written| {
            // A failed log takes no more before the next start; anything else may pass.
            if written.is_err_and(|error| !matches!(error, BrokerError::StorageFailed(_))) {
                broker.coordinator(&of).write_again(&of);
            }
        });
        Some(self.positions.enter_group(&group, Some(record), AckLevel::Leader, now, written))
    }

    pub(in crate::broker) fn follow_up(&self, entered: impl IntoIterator<Item = (usize, Answers)>) {
        for (slot, answers) in entered {
            self.positions.follow_up(slot, answers);
        }
    }

    fn coordinator(&self, group: &str) -> MutexGuard<'_, Coordinator> {
        self.groups.coordinator(self.positions.slot_of(group))
    }

    fn topics_view(&self) -> TopicsView {
        self.groups.view(self.seen_topics())
    }

    fn seen_topics(&self) -> BTreeMap<TopicName, SeenTopic> {
        let seen = self.topics().into_iter().map(|handle| {
            let topic = handle.topic();
            (topic.name.clone(), SeenTopic { id: topic.id, partitions: topic.partitions })
        });
        seen.collect()
    }
}

fn check_group_id(group: &str) -> Result<(), BrokerError> {
    let bytes = group.len();
    if (1..=CLIENT_ID_BYTES_MAX).contains(&bytes) { Ok(()) } else { Err(BrokerError::InvalidClientId { bytes }) }
}

/// A group without members is one that its member left.
fn as_unknown_member(error: GroupError, member: &MemberId) -> GroupError {
    if matches!(error, GroupError::UnknownGroup { .. }) {
        return GroupError::UnknownMember { member: member.clone() };
    }
    error
}
