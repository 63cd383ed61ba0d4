//! Requests of members of groups, and about groups.

use serde::de::DeserializeOwned;

use super::steering::{Steering, number, own, own_number};
use super::{Frame, RequestError};
use crate::protocol::native::groups::{JoinBody, PartitionOffset, PositionsBody, ReadPartition, ReadsBody};

/// How long a member may be silent, in milliseconds: the least, what counts where it does not say, and the most.
pub const SESSION_TIMEOUT_MS: (u64, u64, u64) = (1_000, 10_000, 300_000);
/// How long a member may take to release partitions, in milliseconds: likewise.
const REBALANCE_TIMEOUT_MS: (u64, u64, u64) = (1_000, 30_000, 3_600_000);

/// A member of a group, as a request names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupMember<'a> {
    /// The group.
    pub group: &'a str,
    /// The member; none speaks for a group that has no members.
    pub member: Option<&'a str>,
    /// The generation since which it owns what the request is about.
    pub generation: u64,
}

/// Whose position a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PositionOf<'a> {
    /// A client's.
    Client(&'a str),
    /// A group's.
    Group(GroupMember<'a>),
}

/// JOIN_GROUP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinGroupRequest<'a> {
    /// The group.
    pub group: &'a str,
    /// As which member it comes back.
    pub member: Option<&'a str>,
    /// What the client calls itself; empty where it does not.
    pub client_id: &'a str,
    /// How long it may be silent, in milliseconds.
    pub session_timeout_ms: i64,
    /// How long it may take to release partitions, in milliseconds.
    pub rebalance_timeout_ms: i64,
    /// What it wants to read, and what it reads.
    pub body: JoinBody,
}

/// GROUP_HEARTBEAT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupHeartbeatRequest<'a> {
    /// The group.
    pub group: &'a str,
    /// The member.
    pub member: &'a str,
    /// Everything it still reads, where it says so.
    pub reads: Option<Vec<ReadPartition>>,
}

/// LEAVE_GROUP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaveGroupRequest<'a> {
    /// The group.
    pub group: &'a str,
    /// The member.
    pub member: &'a str,
}

/// DESCRIBE_GROUP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DescribeGroupRequest<'a> {
    /// The group.
    pub group: &'a str,
}

/// RESET_GROUP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResetGroupRequest<'a> {
    /// The group.
    pub group: &'a str,
    /// Its new positions.
    pub positions: Vec<PartitionOffset>,
}

/// DELETE_GROUP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeleteGroupRequest<'a> {
    /// The group.
    pub group: &'a str,
}

pub(super) fn join(frame: &Frame) -> Result<JoinGroupRequest<'_>, RequestError> {
    let known = ["wiber.group", "wiber.member", "wiber.session_timeout_ms", "wiber.rebalance_timeout_ms"];
    let steering = Steering::of(frame, &known)?;
    let expected = "milliseconds from 1000 to 300000";
    let session_timeout_ms = millis(frame, "wiber.session_timeout_ms", SESSION_TIMEOUT_MS, expected)?;
    let expected = "milliseconds from 1000 to 3600000";
    let rebalance_timeout_ms = millis(frame, "wiber.rebalance_timeout_ms", REBALANCE_TIMEOUT_MS, expected)?;
    Ok(JoinGroupRequest {
        group: group(frame)?,
        member: own(frame, "wiber.member")?.filter(|member| !member.is_empty()),
        client_id: steering.client_id.unwrap_or_default(),
        session_timeout_ms,
        rebalance_timeout_ms,
        body: body(frame, "JSON {\"topics\":[\"name\"]}, with \"owned\" where a member comes back")?,
    })
}

pub(super) fn heartbeat(frame: &Frame) -> Result<GroupHeartbeatRequest<'_>, RequestError> {
    Steering::of(frame, &["wiber.group", "wiber.member"])?;
    let reads = match frame.body.is_empty() {
        true => None,
        false => Some(body::<ReadsBody>(frame, "empty, or JSON {\"owned\":[…]}")?.owned),
    };
    Ok(GroupHeartbeatRequest { group: group(frame)?, member: member(frame)?, reads })
}

pub(super) fn leave(frame: &Frame) -> Result<LeaveGroupRequest<'_>, RequestError> {
    Steering::of(frame, &["wiber.group", "wiber.member"])?;
    Ok(LeaveGroupRequest { group: group(frame)?, member: member(frame)? })
}

pub(super) fn describe(frame: &Frame) -> Result<DescribeGroupRequest<'_>, RequestError> {
    Steering::of(frame, &["wiber.group"])?;
    Ok(DescribeGroupRequest { group: group(frame)? })
}

pub(super) fn reset(frame: &Frame) -> Result<ResetGroupRequest<'_>, RequestError> {
    Steering::of(frame, &["wiber.group"])?;
    let positions = body::<PositionsBody>(frame, "JSON {\"positions\":[…]}")?.positions;
    Ok(ResetGroupRequest { group: group(frame)?, positions })
}

pub(super) fn delete(frame: &Frame) -> Result<DeleteGroupRequest<'_>, RequestError> {
    Steering::of(frame, &["wiber.group"])?;
    Ok(DeleteGroupRequest { group: group(frame)? })
}

/// The group that a request names, and as which member it speaks.
pub(super) fn member_of(frame: &Frame) -> Result<Option<GroupMember<'_>>, RequestError> {
    let member = own(frame, "wiber.member")?;
    let generation = own(frame, "wiber.generation")?;
    let Some(group) = own(frame, "wiber.group")?.filter(|group| !group.is_empty()) else {
        return if member.is_some() { Err(RequestError::Missing("wiber.group")) } else { Ok(None) };
    };
    let generation = match (member, generation) {
        (None, _) => 0,
        (Some(_), None) => return Err(RequestError::Missing("wiber.generation")),
        (Some(_), Some(text)) => number(text)
            .ok_or_else(|| RequestError::invalid("wiber.generation", text, "the generation since which it is owned"))?,
    };
    Ok(Some(GroupMember { group, member, generation }))
}

fn group(frame: &Frame) -> Result<&str, RequestError> {
    own(frame, "wiber.group")?.filter(|group| !group.is_empty()).ok_or(RequestError::Missing("wiber.group"))
}

fn member(frame: &Frame) -> Result<&str, RequestError> {
    own(frame, "wiber.member")?.filter(|member| !member.is_empty()).ok_or(RequestError::Missing("wiber.member"))
}

fn millis(
    frame: &Frame,
    name: &'static str,
    (least, otherwise, most): (u64, u64, u64),
    expected: &'static str,
) -> Result<i64, RequestError> {
    let millis = own_number(frame, name, least..=most, expected)?.unwrap_or(otherwise);
    Ok(i64::try_from(millis).unwrap_or(i64::MAX))
}

fn body<T: DeserializeOwned>(frame: &Frame, expected: &'static str) -> Result<T, RequestError> {
    let parsed = serde_json::from_slice(&frame.body);
    parsed.map_err(|error| RequestError::Body { expected, reason: error.to_string() })
}
