//! Classic groups as tools see them, and what tools do to them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::classic::{ClassicGroup, ClassicMemberView, ClassicState};
use super::{GroupError, GroupKind, GroupRecord, GroupState};
use crate::broker::positions::{OwnedPosition, PositionNote, PositionOwner, PositionReply};
use crate::broker::{Broker, BrokerError};
use crate::types::{Offset, Timestamp, TopicName, TopicPartition};

/// What tools of Kafka are told of a classic group among others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassicSummary {
    /// Where it is.
    pub state: ClassicState,
    /// What kind of members it has; `None` where that is not known any more.
    pub protocol_type: Option<Arc<str>>,
    /// Whether it has had any.
    pub has_had_members: bool,
}

impl ClassicSummary {
    pub(super) fn of(group: &ClassicGroup) -> ClassicSummary {
        let protocol_type = Some(group.protocol_type()).filter(|name| !name.is_empty());
        let has_had_members = group.generation().0 > 0 || group.members_count() > 0;
        ClassicSummary { state: group.state(), protocol_type: protocol_type.map(Arc::from), has_had_members }
    }

    /// That of a group without members.
    pub(super) fn empty(record: GroupRecord) -> ClassicSummary {
        ClassicSummary { state: ClassicState::Empty, protocol_type: None, has_had_members: record.generations > 0 }
    }
}

/// A classic group, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassicDescription {
    /// What its summary says.
    pub summary: ClassicSummary,
    /// The way of dividing partitions that was chosen.
    pub protocol: Option<Arc<str>>,
    /// Its members.
    pub members: Vec<ClassicMemberView>,
}

/// How a classic group is, in the words for all groups.
pub(super) const fn general_state(state: ClassicState) -> GroupState {
    match state {
        ClassicState::Empty | ClassicState::Dead => GroupState::Empty,
        ClassicState::PreparingRebalance | ClassicState::CompletingRebalance => GroupState::Rebalancing,
        ClassicState::Stable => GroupState::Stable,
    }
}

impl Broker {
    /// A classic group.
    ///
    /// # Errors
    /// [`GroupError::UnknownGroup`] also for a group of another kind.
    pub fn describe_classic_group(&self, group: &Arc<str>) -> Result<ClassicDescription, GroupError> {
        let coordinator = self.coordinator(group);
        if let Some(live) = coordinator.classic(group) {
            return Ok(ClassicDescription {
                summary: ClassicSummary::of(&live.group),
                protocol: live.group.protocol().map(Arc::from),
                members: live.group.members().collect(),
            });
        }
        let kept = self.positions.group(group).filter(|kept| kept.kind == GroupKind::Classic);
        let kept = kept.ok_or_else(|| GroupError::UnknownGroup { group: group.to_string() })?;
        Ok(ClassicDescription { summary: ClassicSummary::empty(kept), protocol: None, members: Vec::new() })
    }

    /// What a group has committed, with what its members said with it.
    #[must_use]
    pub fn noted_group_positions(&self, group: &Arc<str>) -> Vec<(TopicPartition, Offset, PositionNote)> {
        let positions = self.positions.of_owner(&PositionOwner::Group(Arc::clone(group))).into_iter();
        let noted = positions.filter(|position| self.is_of_today(position)).map(|position| {
            let OwnedPosition { topic, partition, offset, note, .. } = position;
            (
                TopicPartition { topic, partition },
                offset,
                note.map_or_else(PositionNote::default, |note| (*note).clone()),
            )
        });
        noted.collect()
    }

    /// Lets a group forget its positions in some partitions, of topics that none of its members reads. The reply comes once
    /// that is durable, with those of which there is one who reads them, and which were left alone.
    ///
    /// The reply may be [`GroupError::UnknownGroup`], [`GroupError::NotEmpty`] where nobody knows what the members read, or
    /// what a commit may meet.
    pub fn delete_positions(
        self: &Arc<Self>,
        group: &Arc<str>,
        partitions: &[TopicPartition],
        now: Timestamp,
        reply: impl FnOnce(Result<BTreeSet<TopicName>, BrokerError>) + Send + 'static,
    ) {
        let place = |partition: &TopicPartition| {
            let topic = self.topic(&partition.topic).ok()?;
            Some((partition.topic.clone(), (topic.topic().id, partition.partition)))
        };
        let places: Vec<_> = partitions.iter().filter_map(place).collect();
        // Under this lock nobody joins.
        let coordinator = self.coordinator(group);
        let read = match self.topics_read(&coordinator, group) {
            Ok(read) => read,
            Err(error) => {
                drop(coordinator);
                return reply(Err(error.into()));
            }
        };
        let (left_alone, free): (Vec<_>, Vec<_>) = places.into_iter().partition(|(topic, _)| read.contains(topic));
        let left_alone: BTreeSet<TopicName> = left_alone.into_iter().map(|(topic, _)| topic).collect();
        let places: BTreeSet<_> = free.into_iter().map(|(_, place)| place).collect();
        if places.is_empty() {
            drop(coordinator);
            return reply(Ok(left_alone));
        }
        let written = PositionReply::new(move |written| reply(written.map(|_| left_alone)));
        let (slot, answers) = self.positions.enter_drops(group, &places, now, written);
        drop(coordinator);
        self.positions.follow_up(slot, answers);
    }

    /// The topics that members of a group say they read.
    fn topics_read(
        &self,
        coordinator: &super::Coordinator,
        group: &Arc<str>,
    ) -> Result<BTreeSet<TopicName>, GroupError> {
        if let Some(live) = coordinator.classic(group) {
            let members = live.group.members_count();
            let mut read = BTreeSet::new();
            for member in live.group.members() {
                let topics = member.topics.ok_or_else(|| GroupError::NotEmpty { group: group.to_string(), members })?;
                read.extend(topics.iter().cloned());
            }
            return Ok(read);
        }
        self.check_deletable(coordinator, group)?;
        Ok(BTreeSet::new())
    }
}
