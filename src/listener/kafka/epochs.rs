//! OffsetForLeaderEpoch: where the records of an epoch end, by which a consumer finds out that what it has read was taken
//! back (KIP-320).

use std::sync::Arc;

use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use super::KafkaListener;
use super::asked::Asked;
use super::fetch::check_epoch;
use crate::protocol::kafka::KafkaError;
use crate::replica::Partition;
use crate::types::{Epoch, PartitionIndex, TopicName};

/// "None", of epochs and offsets.
const NONE: i32 = -1;

impl KafkaListener {
    /// A partition by the names a client has for it; what is no name of a topic is an unknown one.
    pub(super) fn partition(&self, topic: &str, index: i32) -> Result<Arc<Partition>, KafkaError> {
        let unknown = KafkaError::UnknownTopicOrPartition;
        let topic = TopicName::new(topic).ok().filter(|topic| !topic.is_internal()).ok_or(unknown)?;
        let index = u32::try_from(index).map_err(|_| unknown)?;
        self.broker.partition(&topic, PartitionIndex(index)).map_err(|error| KafkaError::from(&error))
    }

    pub(super) async fn offset_for_leader_epoch(
        self: &Arc<Self>,
        _asked: &Asked,
        request: OffsetForLeaderEpochRequest,
    ) -> OffsetForLeaderEpochResponse {
        let topics = request.topics.into_iter().map(|topic| {
            let end = |partition| self.epoch_end(&topic.topic, &partition);
            let partitions = topic.partitions.into_iter().map(end).collect();
            OffsetForLeaderTopicResult::default().with_topic(topic.topic.clone()).with_partitions(partitions)
        });
        OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
    }

    fn epoch_end(&self, topic: &str, wanted: &OffsetForLeaderPartition) -> EpochEndOffset {
        let end = EpochEndOffset::default().with_partition(wanted.partition).with_leader_epoch(NONE);
        let partition = self.partition(topic, wanted.partition).and_then(|partition| {
            check_epoch(&partition, wanted.current_leader_epoch)?;
            Ok(partition)
        });
        match partition {
            Ok(partition) => match Epoch::new(wanted.leader_epoch).and_then(|asked| partition.epoch_end(asked)) {
                Some((epoch, offset)) => end.with_leader_epoch(epoch.get()).with_end_offset(offset.to_i64()),
                None => end.with_end_offset(NONE.into()),
            },
            Err(error) => end.with_error_code(error.to_wire()).with_end_offset(NONE.into()),
        }
    }
}
