//! Members of classic groups: what they ask for, and the answers that come later.

use std::sync::Arc;

use parking_lot::MutexGuard;

use super::classic::{ClassicAssignment, ClassicError, ClassicFence, ClassicGroup, ClassicJoin, Joined, Synced};
use super::live_classic::{ClassicBeginning, ClassicReply, LiveClassic, Told, WaitingClassic};
use super::registry::{Coordinator, DueRecord, GROUPS_MAX, MEMBERS_BYTES_MAX};
use super::{Generation, GroupError, GroupKind, GroupRecord, MemberId, check_group_id};
use crate::broker::positions::{Answers, PositionReply};
use crate::broker::{Broker, BrokerError};
use crate::replica::AckLevel;
use crate::types::Timestamp;

/// Who commits positions of a group in Kafka's protocol.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClassicCommitter {
    /// The member; `None` of somebody who claims to be nobody in particular.
    pub member: Option<MemberId>,
    /// Its instance.
    pub instance: Option<Box<str>>,
    /// Its generation.
    pub generation: Option<Generation>,
}

/// The coordinator of a group, locked, and what follows from the group's record once it is not.
pub(in crate::broker) type LockedGroup<'a> = (MutexGuard<'a, Coordinator>, Vec<(usize, Answers)>);

/// Members that leave, by their ids, their instances or both.
pub type Leaving<'a> = (Option<&'a MemberId>, Option<&'a str>);

/// What a change of a group lets follow, once no lock is held.
#[derive(Debug, Default)]
pub(super) struct Following {
    pub(super) told: Vec<Told>,
    pub(super) due: Option<DueRecord>,
}

impl Broker {
    /// Takes a member into a classic group, which begins with it where it does not exist. The reply comes when the next
    /// generation begins.
    ///
    /// The reply may be [`BrokerError::InvalidClientId`], [`BrokerError::Group`], [`BrokerError::Overloaded`],
    /// [`BrokerError::StorageFull`] or [`BrokerError::StorageFailed`].
    pub fn classic_join(
        self: &Arc<Self>,
        group: &Arc<str>,
        join: ClassicJoin,
        now: Timestamp,
        reply: impl FnOnce(Result<Joined, BrokerError>) + Send + 'static,
    ) {
        let checked = check_group_id(group)
            .and_then(|()| Ok(self.groups.classic_options().check(&join).map_err(GroupError::Classic)?));
        let waiting = WaitingClassic { join, now, reply: ClassicReply::Join(Box::new(reply)) };
        match checked {
            Ok(()) => self.classic_join_or_wait(group, waiting),
            Err(error) => waiting.reply.refuse(error),
        }
    }

    /// As with other groups: one without members begins once its record is written.
    fn classic_join_or_wait(self: &Arc<Self>, group: &Arc<str>, waiting: WaitingClassic) {
        let mut coordinator = self.coordinator(group);
        if let Err(error) = coordinator.check_classic_room(waiting.join.bytes()) {
            drop(coordinator);
            return waiting.reply.refuse(error.into());
        }
        if coordinator.classic(group).is_some() {
            let following = self.classic_take_in(&mut coordinator, group, vec![waiting]);
            return self.let_follow(coordinator, following);
        }
        let beginning = self.classic_beginning(group, &waiting.join);
        if beginning.is_ok() && coordinator.is_classic_beginning(group) {
            let too_many = coordinator.wait_for_classic(group, waiting);
            drop(coordinator);
            return too_many
                .into_iter()
                .for_each(|late| late.reply.refuse(GroupError::Classic(ClassicError::Full).into()));
        }
        let beginning = match beginning {
            Ok(beginning) => beginning,
            Err(error) => {
                drop(coordinator);
                return waiting.reply.refuse(error.into());
            }
        };
        let (broker, id, now) = (Arc::clone(self), Arc::clone(group), waiting.now);
        let _nobody_waits_yet = coordinator.wait_for_classic(group, waiting);
        let written = PositionReply::new(move |written| broker.begin_classic(&id, beginning, written.map(|_| ())));
        let ack = self.default_ack();
        let (slot, answers) = self.positions.enter_group(group, Some(beginning.record), ack, now, written);
        drop(coordinator);
        self.positions.follow_up(slot, answers);
    }

    /// Whether a group without members may begin with this one. A client that has an id got it from a group that had members.
    fn classic_beginning(&self, group: &Arc<str>, join: &ClassicJoin) -> Result<ClassicBeginning, GroupError> {
        let kept = self.positions.group(group);
        check_kind(group, kept)?;
        if join.member.is_some() {
            return Err(ClassicError::UnknownMember.into());
        }
        if kept.is_none() && self.positions.groups_count() >= GROUPS_MAX {
            return Err(GroupError::TooManyGroups);
        }
        Ok(ClassicBeginning::new(kept))
    }

    /// The record that lets a group begin is written, or cannot be.
    fn begin_classic(
        self: &Arc<Self>,
        group: &Arc<str>,
        beginning: ClassicBeginning,
        written: Result<(), BrokerError>,
    ) {
        let mut coordinator = self.coordinator(group);
        let waiting = coordinator.end_waiting_classics(group);
        let is_current = self.positions.group(group) == Some(beginning.record);
        match written {
            Ok(()) if is_current => {
                coordinator.begin_classic(group, LiveClassic::new(self.groups.classic_options(), beginning));
                let following = self.classic_take_in(&mut coordinator, group, waiting);
                self.let_follow(coordinator, following);
            }
            Ok(()) => {
                drop(coordinator);
                waiting.into_iter().for_each(|waiting| self.classic_join_or_wait(group, waiting));
            }
            Err(error) => {
                drop(coordinator);
                waiting.into_iter().for_each(|waiting| waiting.reply.refuse(error.clone()));
            }
        }
    }

    fn classic_take_in(
        &self,
        coordinator: &mut Coordinator,
        group: &Arc<str>,
        waiting: Vec<WaitingClassic>,
    ) -> Following {
        let joined = coordinator.change_classic(group, |live, answers| {
            for WaitingClassic { join, now, reply } in waiting {
                let ticket = live.wait(reply);
                live.group.join(&join, ticket, now, answers);
            }
        });
        joined.map(|((), following)| following).unwrap_or_default()
    }

    /// A member asks for its assignment, and the leader brings everybody's. The reply comes once the leader has.
    ///
    /// The reply may be [`BrokerError::Group`].
    pub fn classic_sync(
        self: &Arc<Self>,
        group: &Arc<str>,
        fence: ClassicFence<'_>,
        protocol: (Option<&str>, Option<&str>),
        assignments: Vec<ClassicAssignment>,
        now: Timestamp,
        reply: impl FnOnce(Result<Synced, BrokerError>) + Send + 'static,
    ) {
        let mut coordinator = self.coordinator(group);
        let reply = ClassicReply::Sync(Box::new(reply));
        let room = coordinator.check_classic_room(assignments.iter().map(ClassicAssignment::size).sum());
        let refused = match (room, coordinator.classic(group)) {
            (Ok(()), Some(_)) => None,
            (Ok(()), None) => Some(ClassicError::UnknownMember.into()),
            (Err(error), _) => Some(error),
        };
        if let Some(error) = refused {
            drop(coordinator);
            return reply.refuse(error.into());
        }
        let synced = coordinator.change_classic(group, |live, answers| {
            let ticket = live.wait(reply);
            live.group.sync(fence, protocol, assignments, ticket, now, answers);
        });
        let following = synced.map(|((), following)| following).unwrap_or_default();
        self.let_follow(coordinator, following);
    }

    /// Hears from a member.
    ///
    /// # Errors
    /// [`BrokerError::Group`].
    pub fn classic_heartbeat(
        self: &Arc<Self>,
        group: &Arc<str>,
        fence: ClassicFence<'_>,
        now: Timestamp,
    ) -> Result<(), BrokerError> {
        let coordinator = self.coordinator(group);
        let heard = self.change_classic(coordinator, group, |group| group.heartbeat(fence, now));
        Ok(heard.unwrap_or(Err(ClassicError::UnknownMember)).map_err(GroupError::Classic)?)
    }

    /// Members leave; answers with one result for each.
    pub fn classic_leave(
        self: &Arc<Self>,
        group: &Arc<str>,
        leaving: &[Leaving<'_>],
        now: Timestamp,
    ) -> Vec<Result<(), ClassicError>> {
        let mut coordinator = self.coordinator(group);
        let left = coordinator.change_classic(group, |live, answers| {
            let leave = |(member, instance): &Leaving<'_>| live.group.leave(*member, *instance, now, answers);
            leaving.iter().map(leave).collect::<Vec<_>>()
        });
        let Some((results, following)) = left else {
            return vec![Err(ClassicError::UnknownMember); leaving.len()];
        };
        self.let_follow(coordinator, following);
        results
    }

    /// When something is due in a group whose members wait, so that who waits can call [`Broker::step_classic_group`] then.
    /// Without that it is done with the broker's next step.
    #[must_use]
    pub fn classic_due(&self, group: &Arc<str>) -> Option<Timestamp> {
        self.coordinator(group).classic(group)?.group.next_due()
    }

    /// Does what time has made due in one group.
    pub fn step_classic_group(self: &Arc<Self>, group: &Arc<str>, now: Timestamp) {
        let mut coordinator = self.coordinator(group);
        // A broker that was stopped for a while first forgives its members, which is for its own step.
        let is_awake = coordinator.is_awake(now);
        let due = coordinator.classic(group).and_then(|live| live.group.next_due());
        if is_awake && due.is_some_and(|due| due <= now) {
            let stepped = coordinator.change_classic(group, |live, answers| live.group.step(now, answers));
            let following = stepped.map(|(_, following)| following).unwrap_or_default();
            self.let_follow(coordinator, following);
        }
    }

    /// Locks a group whose positions are to be committed, where they may be. A group that does not exist begins as one
    /// without members; what is to be done about that comes back as well.
    pub(in crate::broker) fn lock_for_classic_commit<'a>(
        self: &'a Arc<Self>,
        group: &Arc<str>,
        committer: &ClassicCommitter,
        now: Timestamp,
    ) -> Result<LockedGroup<'a>, BrokerError> {
        check_group_id(group)?;
        let mut coordinator = self.coordinator(group);
        let ClassicCommitter { member, instance, generation } = committer;
        if coordinator.classic(group).is_some() {
            let may = |group: &mut ClassicGroup| {
                if generation.is_none() && group.members_count() == 0 {
                    return Ok(());
                }
                let is_nobody = generation.is_none() && member.is_none() && instance.is_none();
                let nameless = MemberId::new("");
                let fence = ClassicFence {
                    member: member.as_ref().unwrap_or(&nameless),
                    instance: instance.as_deref(),
                    generation: generation.unwrap_or(Generation(u64::MAX)),
                };
                group.may_commit((!is_nobody).then_some(fence), now)
            };
            let checked = coordinator.change_classic(group, |live, _| may(&mut live.group));
            let Some((checked, following)) = checked else { return Ok((coordinator, Vec::new())) };
            checked.map_err(GroupError::Classic)?;
            return Ok((coordinator, self.enter_record(following.due, now).into_iter().collect()));
        }
        let kept = self.positions.group(group);
        if generation.is_some() {
            let unknown = if kept.is_none() { ClassicError::IllegalGeneration } else { ClassicError::UnknownMember };
            return Err(GroupError::Classic(unknown).into());
        }
        if self.check_abandoned(&coordinator, group).is_err() {
            return Err(GroupError::Classic(ClassicError::UnknownMember).into());
        }
        if kept.is_some() {
            return Ok((coordinator, Vec::new()));
        }
        if self.positions.groups_count() >= GROUPS_MAX {
            return Err(GroupError::TooManyGroups.into());
        }
        let record = GroupRecord { kind: GroupKind::Classic, generations: 0, session_ms: 0 };
        let entered =
            self.positions.enter_group(group, Some(record), AckLevel::Leader, now, PositionReply::new(|_| {}));
        Ok((coordinator, vec![entered]))
    }

    fn change_classic<R>(
        self: &Arc<Self>,
        mut coordinator: MutexGuard<'_, Coordinator>,
        group: &Arc<str>,
        change: impl FnOnce(&mut ClassicGroup) -> R,
    ) -> Option<R> {
        let (result, following) = coordinator.change_classic(group, |live, _| change(&mut live.group))?;
        self.let_follow(coordinator, following);
        Some(result)
    }

    /// Enters what is to be written, lets go of the group, and answers.
    pub(super) fn let_follow(self: &Arc<Self>, coordinator: MutexGuard<'_, Coordinator>, following: Following) {
        let Following { told, due } = following;
        let now = coordinator.stepped_at();
        let entered = self.enter_record(due, now);
        drop(coordinator);
        self.follow_up(entered);
        told.into_iter().for_each(Told::send);
    }
}

fn check_kind(group: &str, kept: Option<GroupRecord>) -> Result<(), GroupError> {
    match kept.map(|kept| kept.kind) {
        Some(found) if found != GroupKind::Classic => {
            Err(GroupError::Kind { group: group.to_owned(), found, wanted: GroupKind::Classic })
        }
        _ => Ok(()),
    }
}

impl Coordinator {
    /// Whether there is memory for so much more of members.
    fn check_classic_room(&self, bytes: usize) -> Result<(), GroupError> {
        let bytes = self.members_bytes() + bytes;
        if bytes > MEMBERS_BYTES_MAX { Err(GroupError::TooMuchOfMembers) } else { Ok(()) }
    }
}
