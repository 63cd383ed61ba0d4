//! A group whose members divide partitions among themselves: Kafka's classic group protocol, without clock, chance or I/O.
//!
//! ```text
//!              a member joins                all have joined, or time is up
//!     Empty ───────────────────► Preparing ─────────────────────────────────► Completing
//!       ▲                          ▲  ▲ │                                         │ the leader has assigned
//!       │    nobody has joined     │  │ │        somebody joins, leaves, is silent  ▼
//!       └──────────────────────────┼──┼─┘ ◄────────────────────────────────── Stable
//!                                  └──┴─────────── the same while Completing
//!     any ── deleted ──► Dead
//! ```
//!
//! A generation begins when all members have joined, or those who have not are removed. One of them leads: it is told who the
//! others are and what they say, and assigns. The broker carries that, and reads none of it. Answers that have to wait are
//! handed out later, each with the ticket its request came with.

mod member;
mod rebalance;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::group::MEMBERS_MAX;
use super::member::{Generation, MemberId};
use crate::types::{Timestamp, TopicName, TopicPartition};
use member::Member;

pub use member::{
    ClassicAnswer, ClassicAssignment, ClassicError, ClassicJoin, ClassicProtocol, Joined, JoinedMember, Synced, Ticket,
};

/// Ways of dividing partitions that a member may name.
pub const PROTOCOLS_MAX: usize = 16;

/// Bytes of an id that was given out and not used yet, roughly.
const EXPECTED_BYTES: usize = 200;

/// What classic groups may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassicOptions {
    /// Shortest session timeout, in milliseconds.
    pub session_timeout_ms_min: i64,
    /// Longest session timeout, in milliseconds.
    pub session_timeout_ms_max: i64,
    /// How long the first generation of a group waits for further members, in milliseconds. Kafka's default is 3,000: whoever
    /// starts a consumer waits for that. What it saves is a rebalance for members that start a moment after each other, and
    /// for those far less is enough.
    pub first_delay_ms: i64,
}

impl Default for ClassicOptions {
    fn default() -> ClassicOptions {
        ClassicOptions { session_timeout_ms_min: 6_000, session_timeout_ms_max: 1_800_000, first_delay_ms: 250 }
    }
}

impl ClassicOptions {
    /// Whether a group could have such a member.
    ///
    /// # Errors
    /// [`ClassicError::SessionTimeout`], [`ClassicError::InconsistentProtocol`].
    pub fn check(&self, join: &ClassicJoin) -> Result<(), ClassicError> {
        let allowed = self.session_timeout_ms_min..=self.session_timeout_ms_max;
        if !allowed.contains(&join.session_timeout_ms) {
            return Err(ClassicError::SessionTimeout);
        }
        let knows_some = (1..=PROTOCOLS_MAX).contains(&join.protocols.len());
        if join.protocol_type.is_empty() || !knows_some { Err(ClassicError::InconsistentProtocol) } else { Ok(()) }
    }
}

/// Where a classic group is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClassicState {
    /// It has no members.
    Empty,
    /// Members join for the next generation.
    PreparingRebalance,
    /// The leader assigns.
    CompletingRebalance,
    /// Members have their assignments.
    Stable,
    /// It was deleted.
    Dead,
}

impl ClassicState {
    /// As Kafka's tools call it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            ClassicState::Empty => "Empty",
            ClassicState::PreparingRebalance => "PreparingRebalance",
            ClassicState::CompletingRebalance => "CompletingRebalance",
            ClassicState::Stable => "Stable",
            ClassicState::Dead => "Dead",
        }
    }
}

/// Where it is, with what belongs to that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Empty,
    Preparing {
        until: Timestamp,
        first: Option<FirstGeneration>,
    },
    Completing {
        until: Timestamp,
    },
    /// Who has not asked for its assignment until then is removed.
    Stable {
        until: Timestamp,
    },
    Dead,
}

/// The first generation of a group waits, and a little longer for each member that comes meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FirstGeneration {
    latest: Timestamp,
    has_grown: bool,
}

/// As whom something is asked for.
#[derive(Debug, Clone, Copy)]
pub struct ClassicFence<'a> {
    /// The member.
    pub member: &'a MemberId,
    /// Its instance.
    pub instance: Option<&'a str>,
    /// Its generation.
    pub generation: Generation,
}

/// A member as tools see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassicMemberView {
    /// Who.
    pub member: MemberId,
    /// Its instance.
    pub instance: Option<Arc<str>>,
    /// The id its client gave itself.
    pub client_id: Box<str>,
    /// Where its connection comes from.
    pub host: Box<str>,
    /// What it says under the protocol that was chosen, once one is.
    pub metadata: Bytes,
    /// What it was assigned.
    pub assignment: Bytes,
    /// The topics it says it reads, where that is known.
    pub topics: Option<Arc<[TopicName]>>,
    /// The partitions in `assignment`, as far as they are known.
    pub assigned: Vec<TopicPartition>,
    /// When it was last heard of.
    pub heard_at: Timestamp,
}

/// A classic group.
#[derive(Debug)]
pub struct ClassicGroup {
    options: ClassicOptions,
    phase: Phase,
    generation: Generation,
    protocol_type: Arc<str>,
    protocol: Option<Arc<str>>,
    leader: Option<MemberId>,
    members: BTreeMap<MemberId, Member>,
    /// Members that have an instance.
    instances: BTreeMap<Arc<str>, MemberId>,
    /// Ids that were given out, and until when they are waited for.
    expected: BTreeMap<MemberId, Timestamp>,
}

impl ClassicGroup {
    /// A group without members whose generations so far are `generation` at most.
    #[must_use]
    pub fn new(options: ClassicOptions, generation: Generation) -> ClassicGroup {
        ClassicGroup {
            options,
            phase: Phase::Empty,
            generation,
            protocol_type: Arc::from(""),
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            expected: BTreeMap::new(),
        }
    }

    /// Where it is.
    #[must_use]
    pub const fn state(&self) -> ClassicState {
        match self.phase {
            Phase::Empty => ClassicState::Empty,
            Phase::Preparing { .. } => ClassicState::PreparingRebalance,
            Phase::Completing { .. } => ClassicState::CompletingRebalance,
            Phase::Stable { .. } => ClassicState::Stable,
            Phase::Dead => ClassicState::Dead,
        }
    }

    /// The generation it is in.
    #[must_use]
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// What kind of members it has; empty where it never had any.
    #[must_use]
    pub fn protocol_type(&self) -> &str {
        &self.protocol_type
    }

    /// The way of dividing partitions that was chosen.
    #[must_use]
    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    /// Its members.
    pub fn members(&self) -> impl Iterator<Item = ClassicMemberView> {
        self.members.iter().map(|(id, member)| ClassicMemberView {
            member: id.clone(),
            instance: member.instance.clone(),
            client_id: member.client_id.clone(),
            host: member.host.clone(),
            metadata: self.protocol().and_then(|name| member.metadata(name)).cloned().unwrap_or_default(),
            assignment: member.assignment.clone(),
            topics: member.topics.clone(),
            assigned: member.assigned.clone(),
            heard_at: member.heard_at,
        })
    }

    /// How many members it has.
    #[must_use]
    pub fn members_count(&self) -> usize {
        self.members.len()
    }

    /// Whether nobody is a member, and nobody who was given an id is waited for.
    #[must_use]
    pub fn is_deserted(&self) -> bool {
        self.members.is_empty() && self.expected.is_empty()
    }

    /// What it takes to remember the members, in bytes, roughly.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.members.values().map(Member::bytes).sum::<usize>() + self.expected.len() * EXPECTED_BYTES
    }

    /// A member joins, or stays for the next generation. The answer comes with `ticket`, now or later.
    pub fn join(&mut self, join: &ClassicJoin, ticket: Ticket, now: Timestamp, answers: &mut Vec<ClassicAnswer>) {
        let joined = self.try_join(join, ticket, now, answers);
        if let Err(error) = joined {
            answers.push(ClassicAnswer::Join { ticket, result: Err(error) });
        }
        self.advance(now, answers);
    }

    fn try_join(
        &mut self,
        join: &ClassicJoin,
        ticket: Ticket,
        now: Timestamp,
        answers: &mut Vec<ClassicAnswer>,
    ) -> Result<(), ClassicError> {
        if self.phase == Phase::Dead {
            return Err(ClassicError::Gone);
        }
        self.options.check(join)?;
        if !self.agrees_with(join) {
            return Err(ClassicError::InconsistentProtocol);
        }
        let Some(id) = &join.member else { return self.join_anew(join, ticket, now, answers) };
        if join.instance.is_none() && self.expected.remove(id).is_some() {
            self.add(id.clone(), join, ticket, now, answers);
            return Ok(());
        }
        self.check_member(id, join.instance.as_deref())?;
        self.join_again(id, join, ticket, now, answers);
        Ok(())
    }

    /// A client without an id.
    fn join_anew(
        &mut self,
        join: &ClassicJoin,
        ticket: Ticket,
        now: Timestamp,
        answers: &mut Vec<ClassicAnswer>,
    ) -> Result<(), ClassicError> {
        let id = join.fresh_id.clone();
        if let Some(before) = join.instance.as_ref().and_then(|instance| self.instances.get(instance)).cloned() {
            self.replace(&before, join, ticket, now, answers);
            return Ok(());
        }
        if self.members.len() + self.expected.len() >= MEMBERS_MAX {
            return Err(ClassicError::Full);
        }
        if join.instance.is_none() && join.takes_id_first {
            self.expected.insert(id.clone(), now.plus_millis(join.session_timeout_ms));
            return Err(ClassicError::MemberIdRequired { member: id });
        }
        self.add(id, join, ticket, now, answers);
        Ok(())
    }

    /// A member asks for its assignment; the leader brings everybody's. The answer comes with `ticket`, now or later.
    pub fn sync(
        &mut self,
        fence: ClassicFence<'_>,
        protocol: (Option<&str>, Option<&str>),
        assignments: Vec<ClassicAssignment>,
        ticket: Ticket,
        now: Timestamp,
        answers: &mut Vec<ClassicAnswer>,
    ) {
        let synced = self.try_sync(fence, protocol, assignments, ticket, now, answers);
        if let Some(result) = synced.transpose() {
            answers.push(ClassicAnswer::Sync { ticket, result });
        }
        self.advance(now, answers);
    }

    fn try_sync(
        &mut self,
        fence: ClassicFence<'_>,
        (protocol_type, protocol): (Option<&str>, Option<&str>),
        assignments: Vec<ClassicAssignment>,
        ticket: Ticket,
        now: Timestamp,
        answers: &mut Vec<ClassicAnswer>,
    ) -> Result<Option<Synced>, ClassicError> {
        self.check(fence)?;
        let is_other_type = protocol_type.is_some_and(|name| name != &*self.protocol_type);
        if is_other_type || protocol.is_some_and(|name| Some(name) != self.protocol()) {
            return Err(ClassicError::InconsistentProtocol);
        }
        let is_leader = self.leader.as_ref() == Some(fence.member);
        let member = self.members.get_mut(fence.member).ok_or(ClassicError::UnknownMember)?;
        member.hear(now);
        match self.phase {
            Phase::Dead => Err(ClassicError::Gone),
            Phase::Empty => Err(ClassicError::UnknownMember),
            Phase::Preparing { .. } => Err(ClassicError::RebalanceInProgress),
            Phase::Stable { .. } => {
                member.has_synced = true;
                self.synced(fence.member).map(Some)
            }
            Phase::Completing { .. } => {
                member.has_synced = true;
                if let Some(before) = member.syncs.replace(ticket) {
                    let result = Err(ClassicError::RebalanceInProgress);
                    answers.push(ClassicAnswer::Sync { ticket: before, result });
                }
                if is_leader {
                    self.assign(assignments, now, answers);
                }
                Ok(None)
            }
        }
    }

    /// A sign of life.
    ///
    /// # Errors
    /// [`ClassicError::RebalanceInProgress`] where the member is to join again; others where it is none.
    pub fn heartbeat(&mut self, fence: ClassicFence<'_>, now: Timestamp) -> Result<(), ClassicError> {
        self.check(fence)?;
        self.hear(fence.member, now);
        match self.phase {
            Phase::Preparing { .. } => Err(ClassicError::RebalanceInProgress),
            Phase::Completing { .. } | Phase::Stable { .. } | Phase::Empty | Phase::Dead => Ok(()),
        }
    }

    /// Whether positions may be committed: by members in their generation, and where the group has none by anybody who
    /// claims to be nobody in particular (`None`).
    ///
    /// # Errors
    /// Why not.
    pub fn may_commit(&mut self, fence: Option<ClassicFence<'_>>, now: Timestamp) -> Result<(), ClassicError> {
        let Some(fence) = fence else {
            return if self.members.is_empty() { Ok(()) } else { Err(ClassicError::UnknownMember) };
        };
        self.check(fence)?;
        self.hear(fence.member, now);
        match self.phase {
            Phase::Completing { .. } => Err(ClassicError::RebalanceInProgress),
            Phase::Preparing { .. } | Phase::Stable { .. } | Phase::Empty | Phase::Dead => Ok(()),
        }
    }

    /// A member leaves, named by its id, its instance, or both.
    ///
    /// # Errors
    /// [`ClassicError::UnknownMember`], [`ClassicError::FencedInstance`], [`ClassicError::Gone`].
    pub fn leave(
        &mut self,
        member: Option<&MemberId>,
        instance: Option<&str>,
        now: Timestamp,
        answers: &mut Vec<ClassicAnswer>,
    ) -> Result<(), ClassicError> {
        if self.phase == Phase::Dead {
            return Err(ClassicError::Gone);
        }
        let id = match (member, instance) {
            (Some(id), None) if self.expected.remove(id).is_some() => {
                self.advance(now, answers);
                return Ok(());
            }
            (Some(id), instance) => {
                self.check_member(id, instance)?;
                id.clone()
            }
            (None, Some(instance)) => self.instances.get(instance).cloned().ok_or(ClassicError::UnknownMember)?,
            (None, None) => return Err(ClassicError::UnknownMember),
        };
        self.remove(&id, &ClassicError::UnknownMember, now, answers);
        self.advance(now, answers);
        Ok(())
    }

    /// The group is deleted: nobody waits any longer.
    pub fn delete(&mut self, answers: &mut Vec<ClassicAnswer>) {
        for member in self.members.values_mut() {
            refuse(member, &ClassicError::Gone, answers);
        }
        self.members.clear();
        self.instances.clear();
        self.expected.clear();
        (self.leader, self.protocol, self.phase) = (None, None, Phase::Dead);
    }

    /// Whether the member is one, in the generation the group is in.
    fn check(&self, fence: ClassicFence<'_>) -> Result<(), ClassicError> {
        if self.phase == Phase::Dead {
            return Err(ClassicError::Gone);
        }
        self.check_member(fence.member, fence.instance)?;
        if fence.generation == self.generation { Ok(()) } else { Err(ClassicError::IllegalGeneration) }
    }

    fn check_member(&self, id: &MemberId, instance: Option<&str>) -> Result<(), ClassicError> {
        if let Some(instance) = instance {
            let known = self.instances.get(instance).ok_or(ClassicError::UnknownMember)?;
            if known != id {
                return Err(ClassicError::FencedInstance);
            }
        }
        if self.members.contains_key(id) { Ok(()) } else { Err(ClassicError::UnknownMember) }
    }

    fn hear(&mut self, id: &MemberId, now: Timestamp) {
        if let Some(member) = self.members.get_mut(id) {
            member.hear(now);
        }
    }

    fn synced(&self, id: &MemberId) -> Result<Synced, ClassicError> {
        let member = self.members.get(id).ok_or(ClassicError::UnknownMember)?;
        let protocol = self.protocol.clone().ok_or(ClassicError::UnknownMember)?;
        Ok(Synced { protocol_type: Arc::clone(&self.protocol_type), protocol, assignment: member.assignment.clone() })
    }
}

/// Answers whoever waits for something of the member with an error.
fn refuse(member: &mut Member, error: &ClassicError, answers: &mut Vec<ClassicAnswer>) {
    if let Some(ticket) = member.joins.take() {
        answers.push(ClassicAnswer::Join { ticket, result: Err(error.clone()) });
    }
    if let Some(ticket) = member.syncs.take() {
        answers.push(ClassicAnswer::Sync { ticket, result: Err(error.clone()) });
    }
}
