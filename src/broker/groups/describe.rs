//! What groups are like, for people and their tools.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::classic::ClassicMemberView;
use super::classic_admin::{ClassicSummary, general_state};
use super::error::GroupError;
use super::kind::GroupKind;
use super::member::{Generation, MemberId};
use crate::broker::positions::{OwnedPosition, PositionOwner};
use crate::broker::{Broker, BrokerError};
use crate::replica::{Partition, Read};
use crate::types::{Offset, PartitionIndex, Timestamp, TopicName, TopicPartition};

/// How a group is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupState {
    /// It has no members.
    Empty,
    /// Some partition is on its way to another member.
    Rebalancing,
    /// Every partition is where it is to be.
    Stable,
}

/// A group among others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupSummary {
    /// Its id.
    pub group: Box<str>,
    /// Its kind.
    pub kind: GroupKind,
    /// How it is.
    pub state: GroupState,
    /// How many members it has.
    pub members: usize,
    /// Its generation; 0 where it has no members.
    pub generation: Generation,
    /// What tools of Kafka are told of a classic one.
    #[serde(skip)]
    pub classic: Option<ClassicSummary>,
}

/// A group, whole.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupDescription {
    /// What its summary says.
    #[serde(flatten)]
    pub summary: Summarized,
    /// Its members.
    pub members: Vec<MemberDescription>,
    /// The partitions that it reads, or has read.
    pub partitions: Vec<SharedPartition>,
}

/// What a description has of the summary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summarized {
    /// Its id.
    pub group: Box<str>,
    /// Its kind.
    pub kind: GroupKind,
    /// How it is.
    pub state: GroupState,
    /// Its generation; 0 where it has no members.
    pub generation: Generation,
}

/// A partition by its name and number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NamedPartition {
    /// The topic.
    pub topic: Box<str>,
    /// The partition.
    pub partition: u32,
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemberDescription {
    /// Its id.
    pub member: MemberId,
    /// The id its client gave itself.
    pub client_id: Box<str>,
    /// Where its connection comes from.
    pub host: Box<str>,
    /// What it asks for.
    pub topics: Vec<String>,
    /// What it may read.
    pub assigned: Vec<NamedPartition>,
    /// How long it has been silent, in milliseconds.
    pub heartbeat_age_ms: i64,
}

/// A partition as a group sees it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SharedPartition {
    /// Which.
    #[serde(flatten)]
    pub partition: NamedPartition,
    /// Who reads it.
    pub owner: Option<MemberId>,
    /// The next record to be read, where that was committed.
    pub committed: Option<u64>,
    /// The oldest record kept.
    pub log_start: u64,
    /// The end of what may be read.
    pub high_watermark: u64,
    /// Records to be read, counted from the log start where nothing was committed.
    pub lag: u64,
    /// How long the next record to be read has been waiting, in seconds.
    pub lag_seconds: Option<f64>,
}

impl Broker {
    /// All groups, by id.
    #[must_use]
    pub fn groups(&self) -> Vec<GroupSummary> {
        let mut groups: BTreeMap<Arc<str>, GroupSummary> = BTreeMap::new();
        for (group, record) in self.positions.groups() {
            let members = self.groups.taking_turns(&group);
            let summary = GroupSummary {
                group: (*group).into(),
                kind: record.kind,
                state: if members == 0 { GroupState::Empty } else { GroupState::Stable },
                members,
                generation: Generation(0),
                classic: (record.kind == GroupKind::Classic).then(|| ClassicSummary::empty(record)),
            };
            groups.insert(group, summary);
        }
        for coordinator in self.groups.coordinators() {
            for (group, live) in coordinator.groups() {
                let summary = GroupSummary {
                    group: (**group).into(),
                    kind: live.record.kind,
                    state: if live.group.is_rebalancing() { GroupState::Rebalancing } else { GroupState::Stable },
                    members: live.group.members().len(),
                    generation: live.group.generation(),
                    classic: None,
                };
                groups.insert(Arc::clone(group), summary);
            }
            for (group, live) in coordinator.classics() {
                let summary = GroupSummary {
                    group: (**group).into(),
                    kind: GroupKind::Classic,
                    state: general_state(live.group.state()),
                    members: live.group.members_count(),
                    generation: live.group.generation(),
                    classic: Some(ClassicSummary::of(&live.group)),
                };
                groups.insert(Arc::clone(group), summary);
            }
        }
        groups.into_values().collect()
    }

    /// One group, with the lag of its partitions. Blocks on files.
    ///
    /// # Errors
    /// [`GroupError::UnknownGroup`].
    pub fn describe_group(&self, group: &Arc<str>, now: Timestamp) -> Result<GroupDescription, BrokerError> {
        let record = self.positions.group(group);
        let positions = self.positions.of_owner(&PositionOwner::Group(Arc::clone(group)));
        if record.is_none() && positions.is_empty() {
            return Err(GroupError::UnknownGroup { group: group.to_string() }.into());
        }
        let mut summary = Summarized {
            group: (**group).into(),
            kind: record.map_or(GroupKind::Partitioned, |record| record.kind),
            state: if self.groups.taking_turns(group) == 0 { GroupState::Empty } else { GroupState::Stable },
            generation: Generation(0),
        };
        let (mut members, mut owners) = (Vec::new(), BTreeMap::new());
        let coordinator = self.coordinator(group);
        if let Some(live) = coordinator.classic(group) {
            summary.state = general_state(live.group.state());
            summary.generation = live.group.generation();
            for member in live.group.members() {
                owners.extend(member.assigned.iter().map(|of| (of.clone(), Some(member.member.clone()))));
                members.push(classic_member(member, now));
            }
        }
        if let Some(live) = coordinator.get(group) {
            summary.state = if live.group.is_rebalancing() { GroupState::Rebalancing } else { GroupState::Stable };
            summary.generation = live.group.generation();
            owners.extend(live.group.owners().map(|(of, owner)| (of.clone(), owner.cloned())));
            members.extend(live.group.members().iter().map(|(id, member)| MemberDescription {
                member: id.clone(),
                client_id: member.details.client_id.clone(),
                host: member.details.host.clone(),
                topics: member.details.topics.entries().map(str::to_owned).collect(),
                assigned:
                    live.group.assignment(id).assigned.iter().map(|assigned| named(&assigned.partition)).collect(),
                heartbeat_age_ms: now.since(member.heard_at).max(0),
            }));
        }
        drop(coordinator);
        let committed = self.committed_of(positions);
        for partition in committed.keys() {
            owners.entry(partition.clone()).or_default();
        }
        let shared = owners.into_iter().filter_map(|(partition, owner)| {
            let found = self.partition(&partition.topic, partition.partition).ok()?;
            Some(shared_partition(&partition, owner, committed.get(&partition).copied(), &found, now))
        });
        Ok(GroupDescription { summary, members, partitions: shared.collect() })
    }

    /// Positions in topics that are there, and not in earlier ones of the name.
    fn committed_of(&self, positions: Vec<OwnedPosition>) -> BTreeMap<TopicPartition, Offset> {
        let known = positions.into_iter().filter(|position| self.is_of_today(position));
        known
            .map(|OwnedPosition { topic, partition, offset, .. }| (TopicPartition { topic, partition }, offset))
            .collect()
    }

    /// Whether a position is in a topic that is there, and not in an earlier one of the name.
    pub(super) fn is_of_today(&self, position: &OwnedPosition) -> bool {
        self.topic(&position.topic).is_ok_and(|handle| handle.topic().id == position.topic_id)
    }

    /// What a group has committed: topic, partition and the next record to be read.
    #[must_use]
    pub fn group_positions(&self, group: &Arc<str>) -> Vec<(TopicName, PartitionIndex, Offset)> {
        let positions = self.positions.of_owner(&PositionOwner::Group(Arc::clone(group)));
        let committed = self.committed_of(positions).into_iter();
        committed.map(|(of, offset)| (of.topic, of.partition, offset)).collect()
    }
}

fn classic_member(member: ClassicMemberView, now: Timestamp) -> MemberDescription {
    let topics = member.topics.iter().flat_map(|topics| topics.iter());
    MemberDescription {
        member: member.member,
        client_id: member.client_id,
        host: member.host,
        topics: topics.map(ToString::to_string).collect(),
        assigned: member.assigned.iter().map(named).collect(),
        heartbeat_age_ms: now.since(member.heard_at).max(0),
    }
}

fn named(partition: &TopicPartition) -> NamedPartition {
    NamedPartition { topic: partition.topic.as_str().into(), partition: partition.partition.0 }
}

fn shared_partition(
    name: &TopicPartition,
    owner: Option<MemberId>,
    committed: Option<Offset>,
    partition: &Arc<Partition>,
    now: Timestamp,
) -> SharedPartition {
    let offsets = partition.offsets();
    let (log_start, high_watermark) = (offsets.log_start(), offsets.high_watermark());
    let next = committed.unwrap_or(log_start).max(log_start).min(high_watermark);
    let waits_since = if next < high_watermark { time_at(partition, next) } else { None };
    let lag_seconds = waits_since.map(|since| seconds(now.since(since).max(0)));
    SharedPartition {
        partition: named(name),
        owner,
        committed: committed.map(Offset::get),
        log_start: log_start.get(),
        high_watermark: high_watermark.get(),
        lag: high_watermark.since(next),
        lag_seconds,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a lag of 2^53 milliseconds is long enough")]
fn seconds(millis: i64) -> f64 {
    millis as f64 / 1_000.0
}

/// The time of the first record from an offset on. Blocks on files.
fn time_at(partition: &Arc<Partition>, offset: Offset) -> Option<Timestamp> {
    let batches = match partition.read(offset, 1).ok()? {
        Read::Batches(batches) => batches,
        Read::Disk(read) => read.run().ok()?,
    };
    let batch = batches.first()?;
    let first = batch.records().ok()?.filter_map(Result::ok).find(|record| record.offset >= offset);
    Some(first.map_or(batch.header().max_timestamp, |record| record.timestamp))
}
