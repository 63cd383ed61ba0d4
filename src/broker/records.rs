//! Deleting records because somebody says so.

use super::error::BrokerError;
use super::{Broker, refuse_internal};
use crate::types::{CleanupPolicy, Offset, PartitionIndex, TopicName};

impl Broker {
    /// Deletes the records of a partition before an offset, or all that are committed. The reply comes with the log start, once that is durable.
    /// Nothing is deleted of a topic that only compaction deletes from.
    ///
    /// The reply may be [`BrokerError::InternalTopic`], [`BrokerError::UnknownTopic`], [`BrokerError::UnknownPartition`],
    /// [`BrokerError::PartitionOffline`], [`BrokerError::NotDeletable`], [`BrokerError::OffsetOutOfRange`] above the high
    /// watermark, [`BrokerError::Overloaded`], or a failure of the storage.
    pub fn delete_records(
        &self,
        topic: &TopicName,
        partition: PartitionIndex,
        before: Option<Offset>,
        reply: impl FnOnce(Result<Offset, BrokerError>) + Send + 'static,
    ) {
        let found = refuse_internal(topic).and_then(|()| {
            let handle = self.topic(topic)?;
            let policy = handle.topic().settings.cleanup_policy.unwrap_or(CleanupPolicy::Delete);
            if policy.deletes() {
                handle.partition(partition)
            } else {
                Err(BrokerError::NotDeletable { topic: topic.clone() })
            }
        });
        match found {
            Ok(partition) => partition.delete_before(before, |result| reply(result.map_err(BrokerError::from))),
            Err(error) => reply(Err(error)),
        }
    }
}
