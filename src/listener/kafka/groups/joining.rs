//! JoinGroup and SyncGroup: the two requests that wait for what other members do.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse, SyncGroupRequest, SyncGroupResponse};
use kafka_protocol::protocol::StrBytes;
use tokio::sync::oneshot;

use super::{coordinator_error, generation, group_id, member_id, text};
use crate::broker::BrokerError;
use crate::broker::groups::classic::{
    ClassicAssignment, ClassicError, ClassicFence, ClassicJoin, ClassicProtocol, Joined, JoinedMember,
};
use crate::broker::groups::{Generation, GroupError, MemberId};
use crate::listener::kafka::KafkaListener;
use crate::listener::kafka::asked::Asked;
use crate::protocol::kafka::{CONSUMER, KafkaError, assigned_partitions, subscribed_topics};
use crate::types::{PartitionIndex, TopicName, TopicPartition};

/// The first version in which a rebalance timeout is said; before it is the session's.
const REBALANCE_TIMEOUT_SINCE: i16 = 1;
/// The first version in which a new member is told its id before it counts (KIP-394).
const TAKES_ID_FIRST_SINCE: i16 = 4;
/// The first version in which no protocol is null, and its type is told.
const PROTOCOL_IS_NULL_SINCE: i16 = 7;
/// The first version that says whether a leader has nothing to assign (KIP-814).
const SKIPS_ASSIGNMENT_SINCE: i16 = 9;
/// The first version in which members say which protocol they mean.
const PROTOCOL_IS_SAID_SINCE: i16 = 5;

impl KafkaListener {
    pub(in crate::listener::kafka) async fn join_group(
        self: &Arc<Self>,
        asked: &Asked,
        request: JoinGroupRequest,
    ) -> JoinGroupResponse {
        let group = match group_id(request.group_id.as_str()) {
            Ok(group) => group,
            Err(error) => return not_joined(asked, &request.member_id, error),
        };
        let (done, joined) = oneshot::channel();
        let join = self.joining(asked, &request);
        self.broker.classic_join(&group, join, self.now(), move |result| {
            let _gone = done.send(result);
        });
        match self.answer_of(&group, joined).await {
            Some(Ok(joined)) => joined_response(asked, joined),
            Some(Err(BrokerError::Group(GroupError::Classic(ClassicError::MemberIdRequired { member })))) => {
                not_joined(asked, member.as_str(), KafkaError::MemberIdRequired)
            }
            Some(Err(error)) => not_joined(asked, &request.member_id, coordinator_error(&error)),
            None => not_joined(asked, &request.member_id, KafkaError::CoordinatorNotAvailable),
        }
    }

    /// What is asked for. It outlives the request, and so shares nothing with it.
    fn joining(&self, asked: &Asked, request: &JoinGroupRequest) -> ClassicJoin {
        let client_id = asked.client_id.clone().unwrap_or_default();
        let instance = request.group_instance_id.as_ref().map(|instance| Arc::from(instance.as_str()));
        let fresh = (self.surroundings.fresh_member_id)();
        let named_after: &str = instance.as_deref().unwrap_or(&client_id);
        let says_rebalance_timeout = asked.version >= REBALANCE_TIMEOUT_SINCE;
        let rebalance_timeout =
            if says_rebalance_timeout { request.rebalance_timeout_ms } else { request.session_timeout_ms };
        let protocol = |name: &str, metadata: &Bytes| ClassicProtocol {
            name: Arc::from(name),
            metadata: Bytes::copy_from_slice(metadata),
        };
        let protocols = request.protocols.iter().map(|known| protocol(known.name.as_str(), &known.metadata));
        ClassicJoin {
            member: member_id(request.member_id.as_str()),
            fresh_id: MemberId::new(&format!("{named_after}-{fresh}")),
            takes_id_first: asked.version >= TAKES_ID_FIRST_SINCE,
            skips_assignment: asked.version >= SKIPS_ASSIGNMENT_SINCE,
            instance,
            client_id,
            host: asked.peer.ip().to_canonical().to_string().into(),
            session_timeout_ms: request.session_timeout_ms.into(),
            rebalance_timeout_ms: rebalance_timeout.into(),
            protocol_type: Arc::from(request.protocol_type.as_str()),
            protocols: protocols.collect(),
            topics: topics_of(request),
        }
    }

    pub(in crate::listener::kafka) async fn sync_group(
        self: &Arc<Self>,
        asked: &Asked,
        request: SyncGroupRequest,
    ) -> SyncGroupResponse {
        let synced = self.synced(asked, &request).await;
        let refused = |error: KafkaError| SyncGroupResponse::default().with_error_code(error.to_wire());
        synced.unwrap_or_else(refused)
    }

    async fn synced(&self, asked: &Asked, request: &SyncGroupRequest) -> Result<SyncGroupResponse, KafkaError> {
        let group = group_id(request.group_id.as_str())?;
        let says_protocol = request.protocol_type.is_some() && request.protocol_name.is_some();
        if asked.version >= PROTOCOL_IS_SAID_SINCE && !says_protocol {
            return Err(KafkaError::InconsistentGroupProtocol);
        }
        let member = MemberId::new(request.member_id.as_str());
        let instance = request.group_instance_id.as_ref().map(StrBytes::as_str);
        // What is no generation is none that the group is in.
        let generation = generation(request.generation_id).unwrap_or(Generation(u64::MAX));
        let fence = ClassicFence { member: &member, instance, generation };
        let protocol_type = request.protocol_type.as_ref().map(StrBytes::as_str);
        let protocol = (protocol_type, request.protocol_name.as_ref().map(StrBytes::as_str));
        let is_of_consumers = protocol_type.is_none_or(|name| name == CONSUMER);
        let assignments = request.assignments.iter().map(|assignment| assigned(assignment, is_of_consumers)).collect();
        let (done, synced) = oneshot::channel();
        self.broker.classic_sync(&group, fence, protocol, assignments, self.now(), move |result| {
            let _gone = done.send(result);
        });
        let synced = self.answer_of(&group, synced).await.ok_or(KafkaError::CoordinatorNotAvailable)?;
        let synced = synced.map_err(|error| coordinator_error(&error))?;
        let response = SyncGroupResponse::default().with_assignment(synced.assignment);
        let (protocol_type, protocol) = (text(&synced.protocol_type), text(&synced.protocol));
        Ok(response.with_protocol_type(Some(protocol_type)).with_protocol_name(Some(protocol)))
    }
}

/// The topics that a consumer subscribes to, under whichever protocol; `None` where they cannot be known.
fn topics_of(request: &JoinGroupRequest) -> Option<Arc<[TopicName]>> {
    if request.protocol_type.as_str() != CONSUMER {
        return None;
    }
    let mut topics = Vec::new();
    for protocol in &request.protocols {
        for name in subscribed_topics(&protocol.metadata).ok()? {
            // No topic has a name that is none.
            topics.extend(TopicName::new(name));
        }
        topics.sort_unstable();
        topics.dedup();
    }
    Some(topics.into())
}

fn assigned(assignment: &SyncGroupRequestAssignment, is_of_consumers: bool) -> ClassicAssignment {
    let bytes = assignment.assignment.clone();
    let known = if is_of_consumers { assigned_partitions(&bytes).unwrap_or_default() } else { Vec::new() };
    let mut partitions = Vec::new();
    for (topic, indexes) in known {
        let Ok(topic) = TopicName::new(topic) else { continue };
        let indexes = indexes.into_iter().filter_map(|index| u32::try_from(index).ok());
        partitions
            .extend(indexes.map(|index| TopicPartition { topic: topic.clone(), partition: PartitionIndex(index) }));
    }
    ClassicAssignment { member: MemberId::new(assignment.member_id.as_str()), bytes, partitions }
}

fn not_joined(asked: &Asked, member: &str, error: KafkaError) -> JoinGroupResponse {
    let no_protocol = (asked.version < PROTOCOL_IS_NULL_SINCE).then(StrBytes::new);
    let response = JoinGroupResponse::default().with_error_code(error.to_wire()).with_member_id(text(member));
    response.with_generation_id(-1).with_protocol_name(no_protocol)
}

fn joined_response(asked: &Asked, joined: Joined) -> JoinGroupResponse {
    let member = |member: JoinedMember| {
        let said = JoinGroupResponseMember::default().with_member_id(text(member.member.as_str()));
        said.with_group_instance_id(member.instance.as_deref().map(text)).with_metadata(member.metadata)
    };
    JoinGroupResponse::default()
        .with_generation_id(i32::try_from(joined.generation.0).unwrap_or(i32::MAX))
        .with_protocol_type(Some(text(&joined.protocol_type)))
        .with_protocol_name(Some(text(&joined.protocol)))
        .with_leader(text(joined.leader.as_str()))
        .with_skip_assignment(joined.skips_assignment && asked.version >= SKIPS_ASSIGNMENT_SINCE)
        .with_member_id(text(joined.member.as_str()))
        .with_members(joined.members.into_iter().map(member).collect())
}
