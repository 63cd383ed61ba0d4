//! Where a group begins, and whether it may.

use std::sync::Arc;

use super::group::QueueGroup;
use crate::broker::{Broker, PositionKey, PositionOwner, TopicHandle};

/// Why a group is not a queue group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupRefused {
    /// A group has one kind, fixed by its first member.
    #[error("group '{group}' is of another kind: its members divide the partitions among themselves")]
    OtherKind {
        /// The group.
        group: Arc<str>,
    },
}

impl Broker {
    /// Registers a group as one whose members take turns. This is the one place where that is decided: nothing keeps
    /// the kinds of groups yet, so none is refused.
    ///
    /// # Errors
    /// [`GroupRefused`].
    pub fn claim_queue_group(&self, group: &Arc<str>) -> Result<(), GroupRefused> {
        let _group = group;
        Ok(())
    }

    /// A group as it stands: where its position is kept in each partition. One that keeps none in this topic is new and
    /// begins at the topic's end; one that keeps some begins partitions which were added meanwhile at their start.
    #[must_use]
    pub fn open_queue_group(&self, group: &Arc<str>, topic: &TopicHandle) -> QueueGroup {
        let key = |partition| queue_position(group, topic, partition);
        let open = || topic.open_partitions().map(|partition| (partition.name().partition, partition.offsets()));
        let kept: Vec<_> = open().map(|(index, offsets)| (index, offsets, self.committed(&key(index)))).collect();
        let is_new = kept.iter().all(|(_, _, committed)| committed.is_none());
        QueueGroup::new(kept.into_iter().map(|(index, offsets, committed)| {
            let otherwise = if is_new { offsets.high_watermark() } else { offsets.log_start() };
            (index, committed.unwrap_or(otherwise))
        }))
    }
}

/// The key of a group's position.
#[must_use]
pub fn queue_position(group: &Arc<str>, topic: &TopicHandle, partition: crate::types::PartitionIndex) -> PositionKey {
    PositionKey { owner: PositionOwner::Group(Arc::clone(group)), topic: topic.topic().name.clone(), partition }
}
