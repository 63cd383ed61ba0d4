//! Requests of members of groups, and about groups.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use serde_json::json;
use tokio::sync::oneshot;

use super::answer::Answer;
use super::connection::Connection;
use super::errors::Refusal;
use super::outbox::Outbox;
use crate::broker::groups::{
    Assigned, Assignment, Generation, Heard, JoinGroup, Joined, MemberDetails, MemberId, MemberSink, TopicSelection,
};
use crate::broker::{BrokerError, PositionKey, PositionOwner};
use crate::protocol::native::{
    AssignmentBody, DeleteGroupRequest, DescribeGroupRequest, ErrorCode, GroupHeartbeatRequest, JoinGroupRequest,
    LeaveGroupRequest, OwnedPartition, PartitionOffset, PositionsBody, ReadPartition, ResetGroupRequest,
};
use crate::types::{Offset, PartitionIndex, TopicName, TopicPartition};

/// A member's heartbeats come this often within its session timeout.
const HEARTBEATS_PER_SESSION: i64 = 3;
/// Positions that one RESET_GROUP sets at most.
pub(super) const RESET_POSITIONS_MAX: usize = 10_000;

/// Pushes assignments to the connection over which the member joined.
#[derive(Debug)]
struct Pushed {
    group: Arc<str>,
    outbox: Weak<Outbox>,
}

impl MemberSink for Pushed {
    fn assigned(&self, member: &MemberId, assignment: &Assignment) -> bool {
        let Some(outbox) = self.outbox.upgrade() else { return false };
        let generation = assignment.generation.to_string();
        let properties = [
            ("wiber.group", &*self.group),
            ("wiber.member", member.as_str()),
            ("wiber.generation", generation.as_str()),
        ];
        outbox.assignment(&properties, &encoded(assignment))
    }
}

impl Connection<'_> {
    pub(super) fn join_group(&self, sequence: u64, request: JoinGroupRequest<'_>) {
        let place = self.outbox.entrust(sequence);
        let join = match self.joining(request) {
            Ok(join) => join,
            Err(refusal) => return self.outbox.answer(place, Answer::Refused(refusal)),
        };
        let (outbox, heartbeat_ms) =
            (Arc::clone(&self.outbox), join.details.session_timeout_ms / HEARTBEATS_PER_SESSION);
        self.listener.broker.join_group(join, self.listener.now(), move |joined| {
            let answer = match joined {
                Ok(Joined { member, assignment }) => Answer::Group {
                    properties: vec![
                        ("wiber.member", member.to_string()),
                        ("wiber.generation", assignment.generation.to_string()),
                        ("wiber.heartbeat_ms", heartbeat_ms.to_string()),
                    ],
                    json: encoded(&assignment),
                },
                Err(error) => Answer::Refused(Refusal::from(&error)),
            };
            outbox.answer(place, answer);
        });
    }

    fn joining(&self, request: JoinGroupRequest<'_>) -> Result<JoinGroup, Refusal> {
        let invalid = |text: String| Refusal::new(ErrorCode::InvalidProperty, text);
        let topics = TopicSelection::new(request.body.topics.iter().map(String::as_str));
        let topics = topics.map_err(|error| invalid(error.to_string()))?;
        let claim = |owned: OwnedPartition| {
            let partition = named(&owned.topic, owned.partition)?;
            Ok(Assigned { partition, since: Generation(owned.generation) })
        };
        let claims = request.body.owned.into_iter().map(claim).collect::<Result<_, Refusal>>()?;
        let group: Arc<str> = request.group.into();
        let sink = Pushed { group: Arc::clone(&group), outbox: Arc::downgrade(&self.outbox) };
        Ok(JoinGroup {
            group,
            member: request.member.map(checked_member).transpose()?,
            fresh_id: (self.listener.surroundings.fresh_member_id)(),
            details: MemberDetails {
                client_id: request.client_id.into(),
                host: self.outbox.peer().into(),
                topics,
                session_timeout_ms: request.session_timeout_ms,
                rebalance_timeout_ms: request.rebalance_timeout_ms,
            },
            claims,
            sink: Arc::new(sink),
        })
    }

    pub(super) fn group_heartbeat(&self, request: GroupHeartbeatRequest<'_>) -> Answer {
        let reads = request.reads.map(|reads| {
            reads
                .iter()
                .map(|ReadPartition { topic, partition }| named(topic, *partition))
                .collect::<Result<BTreeSet<_>, _>>()
        });
        let reads = match reads.transpose() {
            Ok(reads) => reads,
            Err(refusal) => return Answer::Refused(refusal),
        };
        let (broker, now) = (&self.listener.broker, self.listener.now());
        let member = MemberId::new(request.member);
        answer(broker.heartbeat_group(&request.group.into(), &member, reads.as_ref(), now), |heard| {
            let Heard { generation, assignment } = heard;
            let properties = vec![("wiber.generation", generation.to_string())];
            Answer::Group { properties, json: assignment.as_ref().map(encoded).unwrap_or_default() }
        })
    }

    pub(super) fn leave_group(&self, request: LeaveGroupRequest<'_>) -> Answer {
        let member = MemberId::new(request.member);
        let left = self.listener.broker.leave_group(&request.group.into(), &member, self.listener.now());
        answer(left, |()| Answer::Group { properties: Vec::new(), json: Vec::new() })
    }

    pub(super) fn list_groups(&self) -> Answer {
        let json = json!({ "groups": self.listener.broker.groups() });
        Answer::Group { properties: Vec::new(), json: json.to_string().into() }
    }

    pub(super) async fn describe_group(&self, request: DescribeGroupRequest<'_>) -> Answer {
        let (broker, group, now) = (Arc::clone(&self.listener.broker), Arc::from(request.group), self.listener.now());
        let described = tokio::task::spawn_blocking(move || broker.describe_group(&group, now)).await;
        match described {
            Ok(described) => answer(described, |description| {
                let json = serde_json::to_vec(&description).unwrap_or_default();
                Answer::Group { properties: Vec::new(), json }
            }),
            Err(error) => Answer::Refused(Refusal::new(ErrorCode::Internal, error.to_string())),
        }
    }

    /// Sets every position, or none where one of them cannot be.
    pub(super) async fn reset_group(&self, request: ResetGroupRequest<'_>) -> Answer {
        if request.positions.len() > RESET_POSITIONS_MAX {
            let text = format!("at most {RESET_POSITIONS_MAX} positions are set at a time");
            return Answer::Refused(Refusal::new(ErrorCode::LimitExceeded, text));
        }
        let group: Arc<str> = request.group.into();
        if let Err(error) = self.listener.broker.check_without_members(&group) {
            return Answer::Refused(Refusal::from(&error));
        }
        let owner = PositionOwner::Group(group);
        let mut set = Vec::new();
        for PartitionOffset { topic, partition, offset } in &request.positions {
            let checked = named(topic, *partition).and_then(|name| self.checked_offset(&name, *offset));
            match checked {
                Ok((TopicPartition { topic, partition }, offset)) => {
                    set.push((PositionKey { owner: owner.clone(), topic, partition }, offset));
                }
                Err(refusal) => return Answer::Refused(refusal),
            }
        }
        let mut results = Vec::new();
        for (key, offset) in set {
            let (done, result) = oneshot::channel();
            let (topic, partition) = (key.topic.to_string(), key.partition.0);
            self.listener.broker.reset_position(key, offset, self.listener.now(), move |reset| {
                let _gone = done.send(reset);
            });
            results.push((topic, partition, result));
        }
        let mut positions = Vec::new();
        for (topic, partition, result) in results {
            match result.await {
                Ok(Ok(offset)) => positions.push(PartitionOffset { topic, partition, offset: offset.get() }),
                Ok(Err(error)) => return Answer::Refused(Refusal::from(&error)),
                Err(_) => return Answer::Refused(super::outbox::shutting_down()),
            }
        }
        let json = serde_json::to_vec(&PositionsBody { positions }).unwrap_or_default();
        Answer::Group { properties: Vec::new(), json }
    }

    fn checked_offset(&self, name: &TopicPartition, offset: u64) -> Result<(TopicPartition, Offset), Refusal> {
        let found = self.listener.broker.partition(&name.topic, name.partition);
        let offsets = found.map_err(|error| Refusal::from(&error))?.offsets();
        let (log_start, high_watermark) = (offsets.log_start(), offsets.high_watermark());
        let asked = Offset::new(offset).unwrap_or(Offset::MAX);
        if asked > high_watermark {
            let error = BrokerError::OffsetOutOfRange { offset: asked, log_start, high_watermark };
            return Err(Refusal::from(&error));
        }
        Ok((name.clone(), asked))
    }

    pub(super) fn delete_group(&self, sequence: u64, request: DeleteGroupRequest<'_>) {
        let place = self.outbox.entrust(sequence);
        let outbox = Arc::clone(&self.outbox);
        self.listener.broker.delete_group(&request.group.into(), self.listener.now(), move |deleted| {
            outbox.answer(place, answer(deleted, |()| Answer::Group { properties: Vec::new(), json: Vec::new() }));
        });
    }
}

fn answer<T>(result: Result<T, BrokerError>, success: impl FnOnce(T) -> Answer) -> Answer {
    result.map_or_else(|error| Answer::Refused(Refusal::from(&error)), success)
}

fn checked_member(member: &str) -> Result<MemberId, Refusal> {
    let is_fine = member.len() <= crate::broker::CLIENT_ID_BYTES_MAX;
    let refusal = || Refusal::new(ErrorCode::InvalidProperty, "wiber.member is longer than any member's id");
    is_fine.then(|| MemberId::new(member)).ok_or_else(refusal)
}

fn named(topic: &str, partition: u32) -> Result<TopicPartition, Refusal> {
    let topic = TopicName::new(topic).map_err(|error| Refusal::new(ErrorCode::InvalidTopic, error.to_string()))?;
    Ok(TopicPartition { topic, partition: PartitionIndex(partition) })
}

fn encoded(assignment: &Assignment) -> Vec<u8> {
    let assigned = assignment.assigned.iter().map(|Assigned { partition, since }| OwnedPartition {
        topic: partition.topic.to_string(),
        partition: partition.partition.0,
        generation: since.0,
    });
    let body = AssignmentBody { generation: assignment.generation.0, assigned: assigned.collect() };
    serde_json::to_vec(&body).unwrap_or_default()
}
