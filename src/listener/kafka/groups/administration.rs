//! ListGroups, DescribeGroups and DeleteGroups: groups as tools see them, those of the native protocols among them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse, GroupId,
    ListGroupsRequest, ListGroupsResponse,
};
use kafka_protocol::protocol::StrBytes;
use tokio::sync::oneshot;

use super::{coordinator_error, group_id, text};
use crate::broker::BrokerError;
use crate::broker::groups::classic::{ClassicMemberView, ClassicState};
use crate::broker::groups::{
    ClassicDescription, GroupDescription, GroupError, GroupKind, GroupState, GroupSummary, MemberDescription,
};
use crate::listener::kafka::KafkaListener;
use crate::listener::kafka::asked::Asked;
use crate::listener::kafka::cluster::NO_OPERATIONS;
use crate::protocol::kafka::{CONSUMER, KafkaError, encode_assignment, encode_subscription};

/// The first version in which a group that does not exist is an error, and not a dead group.
const UNKNOWN_IS_ERROR_SINCE: i16 = 6;
/// Which operations on a group Kafka knows, as the bits of their numbers: Read, Delete, Describe.
const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8;

impl KafkaListener {
    pub(in crate::listener::kafka) async fn list_groups(
        self: &Arc<Self>,
        _asked: &Asked,
        request: ListGroupsRequest,
    ) -> ListGroupsResponse {
        let groups = self.broker.groups().into_iter().map(|summary| listed(&summary));
        let is_wanted = |group: &ListedGroup| {
            let is_in = |filter: &[StrBytes], name: &str| {
                filter.is_empty() || filter.iter().any(|wanted| wanted.as_str().eq_ignore_ascii_case(name))
            };
            is_in(&request.states_filter, &group.group_state) && is_in(&request.types_filter, &group.group_type)
        };
        ListGroupsResponse::default().with_groups(groups.filter(is_wanted).collect())
    }

    pub(in crate::listener::kafka) async fn describe_groups(
        self: &Arc<Self>,
        asked: &Asked,
        request: DescribeGroupsRequest,
    ) -> DescribeGroupsResponse {
        // Each once: what is told of one is many times as long as its name.
        let (mut seen, mut groups) = (BTreeSet::new(), Vec::with_capacity(request.groups.len()));
        for id in request.groups {
            if !seen.insert(id.clone()) {
                continue;
            }
            let mut described = match self.described(&id).await {
                Ok(described) => described,
                Err(KafkaError::GroupIdNotFound) => unknown(asked, &id),
                Err(error) => DescribedGroup::default().with_error_code(error.to_wire()).with_error_message(None),
            };
            let says_operations = request.include_authorized_operations && described.error_code == 0;
            described.authorized_operations = if says_operations { GROUP_OPERATIONS } else { NO_OPERATIONS };
            groups.push(described.with_group_id(id));
        }
        DescribeGroupsResponse::default().with_groups(groups)
    }

    async fn described(&self, id: &GroupId) -> Result<DescribedGroup, KafkaError> {
        // No group has an id that cannot be one.
        let group = group_id(id.as_str()).map_err(|_| KafkaError::GroupIdNotFound)?;
        match self.broker.describe_classic_group(&group) {
            Ok(description) => return Ok(classic(description)),
            Err(GroupError::UnknownGroup { .. }) => {}
            Err(error) => return Err(KafkaError::from(&error)),
        }
        let (broker, now) = (Arc::clone(&self.broker), self.now());
        let described = tokio::task::spawn_blocking(move || broker.describe_group(&group, now)).await;
        let described = described.map_err(|_| KafkaError::UnknownServerError)?;
        described.map(|description| native(&description)).map_err(|error| coordinator_error(&error))
    }

    pub(in crate::listener::kafka) async fn delete_groups(
        self: &Arc<Self>,
        _asked: &Asked,
        request: DeleteGroupsRequest,
    ) -> DeleteGroupsResponse {
        // All of them at once: they become durable together.
        let mut deletions = Vec::with_capacity(request.groups_names.len());
        for id in request.groups_names {
            let deletion = group_id(id.as_str()).map(|group| {
                let (done, deleted) = oneshot::channel();
                self.broker.delete_group(&group, self.now(), move |result| {
                    let _gone = done.send(result);
                });
                deleted
            });
            deletions.push((id, deletion));
        }
        let mut results = Vec::with_capacity(deletions.len());
        for (id, deletion) in deletions {
            let deleted = match deletion {
                Ok(deleted) => outcome(deleted.await),
                Err(_) => Err(KafkaError::GroupIdNotFound),
            };
            let result = DeletableGroupResult::default().with_group_id(id);
            results.push(result.with_error_code(KafkaError::code_of(&deleted)));
        }
        DeleteGroupsResponse::default().with_results(results)
    }
}

fn outcome(deleted: Result<Result<(), BrokerError>, oneshot::error::RecvError>) -> Result<(), KafkaError> {
    let deleted = deleted.map_err(|_| KafkaError::CoordinatorNotAvailable)?;
    deleted.map_err(|error| coordinator_error(&error))
}

/// Groups that do not exist are dead ones, to older clients.
fn unknown(asked: &Asked, id: &GroupId) -> DescribedGroup {
    let dead = DescribedGroup::default().with_group_state(text(ClassicState::Dead.as_str())).with_error_message(None);
    if asked.version < UNKNOWN_IS_ERROR_SINCE {
        return dead;
    }
    let message = StrBytes::from_string(format!("Group {} not found.", id.as_str()));
    dead.with_error_code(KafkaError::GroupIdNotFound.to_wire()).with_error_message(Some(message))
}

/// What a group's members are to Kafka. Those of a group that the broker divides are consumers too; who takes turns is not.
fn protocol_type(kind: GroupKind, has_had_members: bool) -> &'static str {
    match kind {
        GroupKind::Partitioned => CONSUMER,
        GroupKind::Queue => GroupKind::Queue.as_str(),
        // The log does not say what members a classic group had: nearly always consumers.
        GroupKind::Classic if has_had_members => CONSUMER,
        GroupKind::Classic => "",
    }
}

fn state_of(state: GroupState) -> &'static str {
    match state {
        GroupState::Empty => ClassicState::Empty.as_str(),
        GroupState::Rebalancing => ClassicState::PreparingRebalance.as_str(),
        GroupState::Stable => ClassicState::Stable.as_str(),
    }
}

fn listed(summary: &GroupSummary) -> ListedGroup {
    let live = summary.classic.as_ref();
    let known = live.and_then(|classic| classic.protocol_type.as_deref());
    let has_had_members = live.is_none_or(|classic| classic.has_had_members);
    let state = live.map_or_else(|| state_of(summary.state), |classic| classic.state.as_str());
    ListedGroup::default()
        .with_group_id(GroupId(text(&summary.group)))
        .with_protocol_type(text(known.unwrap_or_else(|| protocol_type(summary.kind, has_had_members))))
        .with_group_state(text(state))
        .with_group_type(text(summary.kind.as_str()))
}

fn classic(description: ClassicDescription) -> DescribedGroup {
    let ClassicDescription { summary, protocol, members } = description;
    let fallback = protocol_type(GroupKind::Classic, summary.has_had_members);
    // Only in a stable group what members say is about the protocol that was chosen.
    let is_stable = summary.state == ClassicState::Stable;
    let member = |view: ClassicMemberView| {
        let described = DescribedGroupMember::default()
            .with_member_id(text(view.member.as_str()))
            .with_group_instance_id(view.instance.as_deref().map(text))
            .with_client_id(text(&view.client_id))
            .with_client_host(StrBytes::from_string(format!("/{}", view.host)))
            .with_member_assignment(view.assignment);
        if is_stable { described.with_member_metadata(view.metadata) } else { described }
    };
    DescribedGroup::default()
        .with_error_message(None)
        .with_group_state(text(summary.state.as_str()))
        .with_protocol_type(text(summary.protocol_type.as_deref().unwrap_or(fallback)))
        .with_protocol_data(text(protocol.as_deref().filter(|_| is_stable).unwrap_or_default()))
        .with_members(members.into_iter().map(member).collect())
}

/// A group of a native protocol, as if its members had said what they read in the way of Kafka's consumers.
fn native(description: &GroupDescription) -> DescribedGroup {
    let kind = description.summary.kind;
    DescribedGroup::default()
        .with_error_message(None)
        .with_group_state(text(state_of(description.summary.state)))
        .with_protocol_type(text(protocol_type(kind, true)))
        .with_protocol_data(text(kind.as_str()))
        .with_members(description.members.iter().map(native_member).collect())
}

fn native_member(member: &MemberDescription) -> DescribedGroupMember {
    let mut assigned: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in &member.assigned {
        let index = i32::try_from(partition.partition).unwrap_or(i32::MAX);
        assigned.entry(&partition.topic).or_default().push(index);
    }
    let topics: Vec<&str> = member.topics.iter().map(String::as_str).collect();
    DescribedGroupMember::default()
        .with_member_id(text(member.member.as_str()))
        .with_client_id(text(&member.client_id))
        .with_client_host(StrBytes::from_string(format!("/{}", member.host)))
        .with_member_metadata(encode_subscription(topics.into_iter()))
        .with_member_assignment(encode_assignment(assigned.into_iter()))
}
