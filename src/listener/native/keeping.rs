//! Whose position a subscription or a COMMIT moves: a client's, or a group's as one of its members.

use std::sync::Arc;

use super::errors::Refusal;
use crate::broker::groups::{Fence, Generation, MemberId};
use crate::broker::{Broker, BrokerError, PositionKey, PositionOwner};
use crate::protocol::native::{ErrorCode, GroupMember, PositionOf};
use crate::replica::{AckLevel, Partition};
use crate::types::{Offset, PartitionIndex, Timestamp, TopicName, TopicPartition};

/// A position, and as whom it is moved.
#[derive(Debug, Clone)]
pub(super) struct Keeper {
    pub(super) key: PositionKey,
    /// As which member of the group.
    fence: Option<Fence>,
}

impl Keeper {
    /// The position that a request means.
    pub(super) fn new(of: PositionOf<'_>, topic: &TopicName, partition: PartitionIndex) -> Keeper {
        let (owner, fence) = match of {
            PositionOf::Client(id) => (PositionOwner::Client(id.into()), None),
            PositionOf::Group(GroupMember { group, member, generation }) => {
                let generation = Generation(generation);
                let fence = member.map(|member| Fence { member: MemberId::new(member), generation });
                (PositionOwner::Group(group.into()), fence)
            }
        };
        Keeper { key: PositionKey { owner, topic: topic.clone(), partition }, fence }
    }

    /// Moves it. `read` is the very partition that was read, where one was.
    pub(super) fn commit(
        &self,
        broker: &Arc<Broker>,
        read: Option<&Arc<Partition>>,
        (offset, ack): (Offset, AckLevel),
        now: Timestamp,
        reply: impl FnOnce(Result<Offset, BrokerError>) + Send + 'static,
    ) {
        let key = self.key.clone();
        if let (PositionOwner::Group(group), None) = (&key.owner, &self.fence)
            && let Err(error) = broker.check_without_members(group)
        {
            return reply(Err(error));
        }
        match (&self.fence, read) {
            (Some(fence), _) => broker.commit_as_member(fence.clone(), read, (key, offset, ack), now, reply),
            (None, Some(read)) => broker.commit_read(read, key, offset, ack, now, reply),
            (None, None) => broker.commit(key, offset, ack, now, reply),
        }
    }

    /// The next offset to be read: for a member also what the owner before it has asked to be kept and was not answered yet.
    pub(super) fn position(&self, broker: &Broker) -> Option<Offset> {
        if self.fence.is_some() { broker.next_owner_start(&self.key) } else { broker.committed(&self.key) }
    }

    /// Whether the member may begin to read.
    pub(super) fn check_reader(&self, broker: &Arc<Broker>, now: Timestamp) -> Result<(), BrokerError> {
        match (&self.key.owner, &self.fence) {
            (PositionOwner::Group(group), Some(fence)) => {
                broker.check_group_reader(group, fence, &self.partition(), now)
            }
            (PositionOwner::Group(_) | PositionOwner::Client(_), _) => Ok(()),
        }
    }

    /// Why what is read may not go to the member any more, if it may not.
    pub(super) fn lost(&self, broker: &Broker) -> Option<Refusal> {
        let (PositionOwner::Group(group), Some(fence)) = (&self.key.owner, &self.fence) else { return None };
        let is_owner = broker.is_group_owner(group, fence, &self.partition());
        let text = || format!("{} is not member '{}'s any more", self.partition(), fence.member);
        (!is_owner).then(|| Refusal::new(ErrorCode::FencedMember, text()))
    }

    fn partition(&self) -> TopicPartition {
        TopicPartition { topic: self.key.topic.clone(), partition: self.key.partition }
    }
}

/// Whether a position stayed as it is because somebody else moves it now.
pub(super) fn is_fenced(error: &BrokerError) -> bool {
    use crate::broker::groups::GroupError;
    matches!(error, BrokerError::Group(GroupError::Fenced { .. } | GroupError::UnknownMember { .. }))
}
