//! Consumer groups: what a broker says of them, and what it is told.
//!
//! [`membership`] is what a member knows and decides, without a connection; [`super::Consumer`] is a member at work.

pub(super) mod membership;
pub(super) mod wire;

use super::error::ClientError;
use super::{Client, given};
use crate::protocol::native::{ErrorCode, FrameType, Properties};
use crate::types::{Offset, TopicPartition};

/// A group as the list of groups has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSummary {
    /// Its name.
    pub group: String,
    /// How its members share: `partitioned`, `queue` …
    pub kind: String,
    /// `stable`, `rebalancing` or `empty`.
    pub state: String,
    /// How many members it has.
    pub members: u32,
    /// Its generation: it grows with every change of ownership.
    pub generation: u64,
}

/// Everything a broker says of one group.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupDescription {
    /// Its name.
    pub group: String,
    /// How its members share: `partitioned`, `queue` …
    pub kind: String,
    /// `stable`, `rebalancing` or `empty`.
    pub state: String,
    /// Its generation.
    pub generation: u64,
    /// Its members.
    pub members: Vec<GroupMember>,
    /// The partitions that it reads, or has read.
    pub partitions: Vec<GroupPartition>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// Its id, given by the broker.
    pub member: String,
    /// The client id it gave.
    pub client_id: Option<String>,
    /// Where its connection comes from.
    pub host: Option<String>,
    /// The topics it reads, patterns included.
    pub topics: Vec<String>,
    /// The partitions it may read now.
    pub assigned: Vec<TopicPartition>,
    /// How long ago it gave a sign of life, in milliseconds.
    pub heartbeat_age_ms: Option<u64>,
}

/// A partition as a group reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupPartition {
    /// Which one.
    pub partition: TopicPartition,
    /// The id of the member that may read it.
    pub owner: Option<String>,
    /// The position kept: the offset of the next record to be read.
    pub committed: Option<Offset>,
    /// The first offset that is kept.
    pub log_start: Option<Offset>,
    /// What lies below it may be read.
    pub high_watermark: Option<Offset>,
    /// Records between the position, or the log's start where there is none, and the high watermark.
    pub lag: Option<u64>,
    /// How old the next record to be read is, in seconds.
    pub lag_seconds: Option<f64>,
}

impl Client {
    /// All groups.
    ///
    /// # Errors
    /// What every call may meet.
    pub async fn groups(&self) -> Result<Vec<GroupSummary>, ClientError> {
        let reply = self.request(FrameType::ListGroups, Properties::EMPTY, None).await?;
        wire::groups(&reply.body)
    }

    /// Everything the broker says of one group.
    ///
    /// # Errors
    /// [`ClientError::Refused`] where there is none, and what every call may meet.
    pub async fn describe_group(&self, group: &str) -> Result<GroupDescription, ClientError> {
        let reply = self.request(FrameType::DescribeGroup, of_group(group)?, None).await?;
        wire::description(&reply.body)
    }

    /// Sets positions of a group that has no members, back or forth, and returns them as they are kept.
    ///
    /// # Errors
    /// [`ClientError::Refused`] for a group that has members, and what every call may meet.
    pub async fn reset_group(
        &self,
        group: &str,
        positions: &[(TopicPartition, Offset)],
    ) -> Result<Vec<(TopicPartition, Offset)>, ClientError> {
        let body = wire::positions_body(positions);
        let reply = self.request_with(FrameType::ResetGroup, of_group(group)?, body).await?;
        wire::positions(&reply.body)
    }

    /// Forgets a group that has no members, its positions with it.
    ///
    /// # Errors
    /// [`ClientError::Refused`] for a group that has members, or that does not exist, and what every call may meet.
    pub async fn delete_group(&self, group: &str) -> Result<(), ClientError> {
        self.request(FrameType::DeleteGroup, of_group(group)?, None).await?;
        Ok(())
    }
}

fn of_group(group: &str) -> Result<Properties, ClientError> {
    given([("wiber.group", Some(group))])
}

/// Whether the broker refused because of the membership, and in which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expulsion {
    /// The partition is another's now.
    Fenced,
    /// The group knows no such member, or no such group is known.
    Unknown,
}

impl Expulsion {
    pub(super) fn of(error: &ClientError) -> Option<Expulsion> {
        if error.code() == Some(ErrorCode::FencedMember) {
            return Some(Expulsion::Fenced);
        }
        matches!(error.code(), Some(ErrorCode::UnknownMember | ErrorCode::UnknownGroup)).then_some(Expulsion::Unknown)
    }
}
