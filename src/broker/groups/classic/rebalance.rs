//! How generations of a classic group end and begin: who has to join, how long that is waited for, who leads, and which way of
//! dividing partitions all know.

use std::sync::Arc;

use bytes::Bytes;

use super::member::Member;
use super::{
    ClassicAnswer, ClassicAssignment, ClassicError, ClassicGroup, ClassicJoin, FirstGeneration, Joined, JoinedMember,
    Phase, Ticket, refuse,
};
use crate::broker::groups::member::MemberId;
use crate::types::Timestamp;

impl ClassicGroup {
    /// Removes who was silent for too long, and goes on where time is up. Answers with who was removed.
    pub fn step(&mut self, now: Timestamp, answers: &mut Vec<ClassicAnswer>) -> Vec<MemberId> {
        self.expected.retain(|_, until| *until > now);
        let is_silent = |member: &Member| member.silent_until().is_some_and(|until| until <= now);
        let silent = self.members.iter().filter(|(_, member)| is_silent(member)).map(|(id, _)| id.clone());
        let mut removed: Vec<_> = silent.collect();
        for id in &removed {
            self.remove(id, &ClassicError::UnknownMember, now, answers);
        }
        removed.extend(self.advance(now, answers));
        removed
    }

    /// When [`ClassicGroup::step`] has something to do, if nothing happens before.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        let of_phase = match self.phase {
            Phase::Preparing { until, .. } | Phase::Completing { until } => Some(until),
            Phase::Stable { until } => self.members.values().any(|member| !member.has_synced).then_some(until),
            Phase::Empty | Phase::Dead => None,
        };
        let silent = self.members.values().filter_map(Member::silent_until);
        silent.chain(self.expected.values().copied()).chain(of_phase).min()
    }

    /// The broker itself was silent for so long: nobody is to blame for that.
    pub fn excuse(&mut self, millis: i64) {
        for member in self.members.values_mut() {
            member.heard_at = member.heard_at.plus_millis(millis);
        }
        for until in self.expected.values_mut() {
            *until = until.plus_millis(millis);
        }
        match &mut self.phase {
            Phase::Preparing { until, first } => {
                *until = until.plus_millis(millis);
                if let Some(first) = first {
                    first.latest = first.latest.plus_millis(millis);
                }
            }
            Phase::Completing { until } | Phase::Stable { until } => *until = until.plus_millis(millis),
            Phase::Empty | Phase::Dead => {}
        }
    }

    /// Whether what the member knows goes with what the others know.
    pub(super) fn agrees_with(&self, join: &ClassicJoin) -> bool {
        self.members.is_empty()
            || join.protocol_type == self.protocol_type && join.protocols.iter().any(|known| self.all_know(&known.name))
    }

    fn all_know(&self, protocol: &str) -> bool {
        self.members.values().all(|member| member.metadata(protocol).is_some())
    }

    /// The way that all know and most put first; among equals the one the leader names first.
    fn chosen(&self) -> Option<Arc<str>> {
        let leader = self.leader.as_ref().and_then(|id| self.members.get(id))?;
        let common = leader.protocols.iter().map(|known| &known.name).filter(|name| self.all_know(name));
        let mut votes: Vec<(&Arc<str>, usize)> = common.map(|name| (name, 0)).collect();
        for member in self.members.values() {
            let mut liked = member.protocols.iter();
            let vote = liked.find_map(|known| votes.iter().position(|(name, _)| **name == known.name));
            if let Some(at) = vote {
                votes[at].1 += 1;
            }
        }
        // `max_by_key` would take the last of equals.
        let best = votes.iter().rev().max_by_key(|(_, count)| *count)?;
        Some(Arc::clone(best.0))
    }

    /// A new member.
    pub(super) fn add(
        &mut self,
        id: MemberId,
        join: &ClassicJoin,
        ticket: Ticket,
        now: Timestamp,
        answers: &mut Vec<ClassicAnswer>,
    ) {
        if self.members.is_empty() {
            self.protocol_type = Arc::clone(&join.protocol_type);
        }
        if let Phase::Preparing { first: Some(first), .. } = &mut self.phase {
            first.has_grown = true;
        }
        let mut member = Member::new(join, now);
        member.joins = Some(ticket);
        if let Some(instance) = &join.instance {
            self.instances.insert(Arc::clone(instance), id.clone());
        }
        self.leader.get_or_insert_with(|| id.clone());
        self.members.insert(id, member);
        self.prepare(now, answers);
    }

    /// A member that the group knows joins. Where nothing has changed for it, it may only have missed the answer.
    pub(super) fn join_again(
        &mut self,
        id: &MemberId,
        join: &ClassicJoin,
        ticket: Ticket,
        now: Timestamp,
        answers: &mut Vec<ClassicAnswer>,
    ) {
        let is_leader = self.leader.as_ref() == Some(id);
        let has_changed = self.members.get(id).is_none_or(|member| member.protocols != join.protocols);
        let is_repeat = match self.phase {
            Phase::Completing { .. } => !has_changed,
            // The leader joins again to say that there is something to assign anew.
            Phase::Stable { .. } => !has_changed && !is_leader,
            Phase::Preparing { .. } | Phase::Empty | Phase::Dead => false,
        };
        if is_repeat {
            if let Some(member) = self.members.get_mut(id) {
                member.hear(now);
            }
            let result = self.joined(id).map(Box::new).ok_or(ClassicError::UnknownMember);
            answers.push(ClassicAnswer::Join { ticket, result });
            return;
        }
        self.wait(id, join, ticket, now, answers);
        self.prepare(now, answers);
    }

    fn wait(
        &mut self,
        id: &MemberId,
        join: &ClassicJoin,
        ticket: Ticket,
        now: Timestamp,
        answers: &mut Vec<ClassicAnswer>,
    ) {
        let Some(member) = self.members.get_mut(id) else { return };
        member.update(join, now);
        if let Some(before) = member.joins.replace(ticket) {
            let result = Err(ClassicError::RebalanceInProgress);
            answers.push(ClassicAnswer::Join { ticket: before, result });
        }
    }

    /// A client comes back under its instance, with nothing but that: it takes the place of the member it was. Where all stays
    /// as it is, nobody else learns of it.
    pub(super) fn replace(
        &mut self,
        before: &MemberId,
        join: &ClassicJoin,
        ticket: Ticket,
        now: Timestamp,
        answers: &mut Vec<ClassicAnswer>,
    ) {
        let Some(mut member) = self.members.remove(before) else { return };
        refuse(&mut member, &ClassicError::FencedInstance, answers);
        member.update(join, now);
        let id = join.fresh_id.clone();
        if let Some(instance) = &join.instance {
            self.instances.insert(Arc::clone(instance), id.clone());
        }
        self.members.insert(id.clone(), member);
        let was_leader = self.leader.as_ref() == Some(before);
        if was_leader {
            self.leader = Some(id.clone());
        }
        let stays = matches!(self.phase, Phase::Stable { .. }) && self.chosen() == self.protocol;
        if let Some(mut joined) = stays.then(|| self.joined(&id)).flatten() {
            if was_leader && join.skips_assignment {
                joined.skips_assignment = true;
            } else if was_leader {
                // It would assign anew: so it is told that somebody else leads.
                joined.leader = before.clone();
                joined.members.clear();
            }
            answers.push(ClassicAnswer::Join { ticket, result: Ok(Box::new(joined)) });
            return;
        }
        self.wait(&id, join, ticket, now, answers);
        self.prepare(now, answers);
    }

    /// A member goes: whoever waits for an answer to it gets this error.
    pub(super) fn remove(
        &mut self,
        id: &MemberId,
        error: &ClassicError,
        now: Timestamp,
        answers: &mut Vec<ClassicAnswer>,
    ) {
        if let Some(mut member) = self.forget(id) {
            refuse(&mut member, error, answers);
            self.prepare(now, answers);
        }
    }

    fn forget(&mut self, id: &MemberId) -> Option<Member> {
        let member = self.members.remove(id)?;
        if let Some(instance) = &member.instance
            && self.instances.get(instance) == Some(id)
        {
            self.instances.remove(instance);
        }
        if self.leader.as_ref() == Some(id) {
            self.leader = self.waiting().or_else(|| self.members.keys().next()).cloned();
        }
        Some(member)
    }

    /// A member that has joined for the next generation.
    fn waiting(&self) -> Option<&MemberId> {
        self.members.iter().find(|(_, member)| member.joins.is_some()).map(|(id, _)| id)
    }

    /// The leader has assigned.
    pub(super) fn assign(
        &mut self,
        assignments: Vec<ClassicAssignment>,
        now: Timestamp,
        answers: &mut Vec<ClassicAnswer>,
    ) {
        let Phase::Completing { until } = self.phase else { return };
        self.phase = Phase::Stable { until };
        for member in self.members.values_mut() {
            member.unassign();
        }
        for ClassicAssignment { member, bytes, partitions } in assignments {
            if let Some(member) = self.members.get_mut(&member) {
                // It outlives the request it came in.
                member.assignment = Bytes::copy_from_slice(&bytes);
                member.assigned = partitions;
            }
        }
        let mut waiting = Vec::new();
        for (id, member) in &mut self.members {
            if let Some(ticket) = member.syncs.take() {
                member.hear(now);
                waiting.push((id.clone(), ticket));
            }
        }
        answers.extend(
            waiting.iter().map(|(id, ticket)| ClassicAnswer::Sync { ticket: *ticket, result: self.synced(id) }),
        );
    }

    /// All members are to join anew.
    fn prepare(&mut self, now: Timestamp, answers: &mut Vec<ClassicAnswer>) {
        let longest = now.plus_millis(self.rebalance_ms());
        self.phase = match self.phase {
            Phase::Preparing { .. } | Phase::Dead => return,
            Phase::Empty => {
                let first = Some(FirstGeneration { latest: longest, has_grown: false });
                Phase::Preparing { until: longest.min(now.plus_millis(self.options.first_delay_ms)), first }
            }
            Phase::Completing { .. } => {
                for member in self.members.values_mut() {
                    member.unassign();
                    if let Some(ticket) = member.syncs.take() {
                        member.hear(now);
                        let result = Err(ClassicError::RebalanceInProgress);
                        answers.push(ClassicAnswer::Sync { ticket, result });
                    }
                }
                Phase::Preparing { until: longest, first: None }
            }
            Phase::Stable { .. } => Phase::Preparing { until: longest, first: None },
        };
    }

    fn rebalance_ms(&self) -> i64 {
        self.members.values().map(|member| member.rebalance_timeout_ms).max().unwrap_or(0).max(0)
    }

    /// Goes on as far as it can. Answers with who was removed for not having asked for its assignment.
    pub(super) fn advance(&mut self, now: Timestamp, answers: &mut Vec<ClassicAnswer>) -> Vec<MemberId> {
        let mut removed = Vec::new();
        loop {
            match self.phase {
                Phase::Preparing { until, first } => {
                    if !self.is_complete(first.is_some()) {
                        if now < until {
                            break;
                        }
                        if let Some(FirstGeneration { latest, has_grown: true }) = first
                            && until < latest
                        {
                            let longer = until.max(now).plus_millis(self.options.first_delay_ms).min(latest);
                            let first = Some(FirstGeneration { latest, has_grown: false });
                            self.phase = Phase::Preparing { until: longer, first };
                            break;
                        }
                    }
                    self.complete(now, answers);
                    if matches!(self.phase, Phase::Preparing { .. }) {
                        break;
                    }
                }
                Phase::Completing { until } | Phase::Stable { until } if until <= now => {
                    let late = self.members.iter().filter(|(_, member)| !member.has_synced);
                    let late: Vec<_> = late.map(|(id, _)| id.clone()).collect();
                    if late.is_empty() {
                        break;
                    }
                    for id in late {
                        self.remove(&id, &ClassicError::UnknownMember, now, answers);
                        removed.push(id);
                    }
                }
                Phase::Completing { .. } | Phase::Stable { .. } | Phase::Empty | Phase::Dead => break,
            }
        }
        self.assert_invariants();
        removed
    }

    /// Whether nobody is waited for. The first generation waits for those that nobody knows of.
    fn is_complete(&self, is_first: bool) -> bool {
        let has_all = self.expected.is_empty() && self.members.values().all(|member| member.joins.is_some());
        has_all && (!is_first || self.members.is_empty())
    }

    /// The next generation begins, with those who have joined, and with members of an instance, which may come back.
    fn complete(&mut self, now: Timestamp, answers: &mut Vec<ClassicAnswer>) {
        let is_late = |member: &Member| member.joins.is_none() && member.instance.is_none();
        let late = self.members.iter().filter(|(_, member)| is_late(member)).map(|(id, _)| id.clone());
        for id in late.collect::<Vec<_>>() {
            self.forget(&id);
        }
        let until = now.plus_millis(self.rebalance_ms());
        let leads = |id: &MemberId| self.members.get(id).is_some_and(|member| member.joins.is_some());
        if !self.leader.as_ref().is_some_and(leads) {
            match self.waiting().cloned() {
                Some(id) => self.leader = Some(id),
                None if self.members.is_empty() => self.leader = None,
                None => {
                    self.phase = Phase::Preparing { until, first: None };
                    return;
                }
            }
        }
        self.generation.0 += 1;
        self.protocol = self.chosen();
        if self.members.is_empty() {
            self.phase = Phase::Empty;
            return;
        }
        self.phase = Phase::Completing { until };
        let mut waiting = Vec::new();
        for (id, member) in &mut self.members {
            member.has_synced = false;
            if let Some(ticket) = member.joins.take() {
                member.is_new = false;
                member.hear(now);
                waiting.push((id.clone(), ticket));
            }
        }
        for (id, ticket) in waiting {
            let result = self.joined(&id).map(Box::new).ok_or(ClassicError::UnknownMember);
            answers.push(ClassicAnswer::Join { ticket, result });
        }
    }

    /// What a member is told of the generation that there is.
    fn joined(&self, id: &MemberId) -> Option<Joined> {
        let (protocol, leader) = (self.protocol.clone()?, self.leader.clone()?);
        let member = |(id, member): (&MemberId, &Member)| JoinedMember {
            member: id.clone(),
            instance: member.instance.clone(),
            metadata: member.metadata(&protocol).cloned().unwrap_or_default(),
        };
        let members = if leader == *id { self.members.iter().map(member).collect() } else { Vec::new() };
        Some(Joined {
            member: id.clone(),
            generation: self.generation,
            protocol_type: Arc::clone(&self.protocol_type),
            protocol,
            leader,
            skips_assignment: false,
            members,
        })
    }

    fn assert_invariants(&self) {
        if cfg!(debug_assertions) {
            let is_settled = matches!(self.phase, Phase::Completing { .. } | Phase::Stable { .. });
            if is_settled {
                let leader = self.leader.as_ref().expect("a generation has a leader");
                assert!(self.members.contains_key(leader), "{leader} leads and is no member");
                let protocol = self.protocol.as_ref().expect("a generation has a protocol");
                assert!(self.all_know(protocol), "not all know {protocol}");
                assert!(self.members.values().all(|member| member.joins.is_none()), "somebody still waits to join");
            }
            if matches!(self.phase, Phase::Empty | Phase::Dead) {
                assert!(self.members.is_empty(), "{:?} with members", self.phase);
            }
            if !matches!(self.phase, Phase::Completing { .. }) {
                assert!(self.members.values().all(|member| member.syncs.is_none()), "somebody waits for nothing");
            }
            for (instance, id) in &self.instances {
                let member = self.members.get(id).expect("an instance is a member's");
                assert_eq!(member.instance.as_ref(), Some(instance), "{id}");
            }
        }
    }
}
