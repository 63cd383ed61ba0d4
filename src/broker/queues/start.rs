//! Where a group begins.

use std::sync::Arc;

use super::group::QueueGroup;
use crate::broker::{Broker, PositionKey, PositionOwner, TopicHandle};

impl Broker {
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
