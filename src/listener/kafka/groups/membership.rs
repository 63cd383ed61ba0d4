//! Heartbeat and LeaveGroup: staying a member, and going.

use std::sync::Arc;

use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse, LeaveGroupRequest, LeaveGroupResponse};
use kafka_protocol::protocol::StrBytes;

use super::{coordinator_error, generation, group_id, member_id};
use crate::broker::groups::classic::{ClassicError, ClassicFence};
use crate::broker::groups::{Generation, Leaving, MemberId};
use crate::listener::kafka::KafkaListener;
use crate::listener::kafka::asked::Asked;
use crate::protocol::kafka::{KafkaError, NO_ERROR};

/// The first version in which several members leave at a time.
const SEVERAL_SINCE: i16 = 3;

impl KafkaListener {
    pub(in crate::listener::kafka) async fn heartbeat(
        self: &Arc<Self>,
        _asked: &Asked,
        request: HeartbeatRequest,
    ) -> HeartbeatResponse {
        let heard = group_id(request.group_id.as_str()).and_then(|group| {
            let member = MemberId::new(request.member_id.as_str());
            let instance = request.group_instance_id.as_ref().map(StrBytes::as_str);
            let generation = generation(request.generation_id).unwrap_or(Generation(u64::MAX));
            let fence = ClassicFence { member: &member, instance, generation };
            self.broker.classic_heartbeat(&group, fence, self.now()).map_err(|error| coordinator_error(&error))
        });
        HeartbeatResponse::default().with_error_code(KafkaError::code_of(&heard))
    }

    pub(in crate::listener::kafka) async fn leave_group(
        self: &Arc<Self>,
        asked: &Asked,
        request: LeaveGroupRequest,
    ) -> LeaveGroupResponse {
        let response = LeaveGroupResponse::default();
        let group = match group_id(request.group_id.as_str()) {
            Ok(group) => group,
            Err(error) => return response.with_error_code(error.to_wire()),
        };
        if asked.version < SEVERAL_SINCE {
            let member = member_id(request.member_id.as_str());
            let left = self.broker.classic_leave(&group, &[(member.as_ref(), None)], self.now());
            return response.with_error_code(left.first().map_or(NO_ERROR, code_of));
        }
        let members: Vec<_> = request.members.iter().map(|member| member_id(member.member_id.as_str())).collect();
        let instances = request.members.iter().map(|member| member.group_instance_id.as_ref().map(StrBytes::as_str));
        let leaving: Vec<Leaving<'_>> = members.iter().map(Option::as_ref).zip(instances).collect();
        let left = self.broker.classic_leave(&group, &leaving, self.now());
        let told = request.members.iter().zip(&left).map(|(member, left)| {
            let told = MemberResponse::default().with_member_id(member.member_id.clone());
            told.with_group_instance_id(member.group_instance_id.clone()).with_error_code(code_of(left))
        });
        response.with_members(told.collect())
    }
}

fn code_of(left: &Result<(), ClassicError>) -> i16 {
    left.as_ref().err().map_or(NO_ERROR, |error| KafkaError::from(error).to_wire())
}
