//! OffsetDelete: a group forgets positions in topics that nobody of it reads.

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use kafka_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};
use tokio::sync::oneshot;

use super::named;
use crate::listener::kafka::KafkaListener;
use crate::listener::kafka::asked::Asked;
use crate::listener::kafka::groups::{coordinator_error, group_id};
use crate::protocol::kafka::KafkaError;
use crate::types::{TopicName, TopicPartition};

impl KafkaListener {
    pub(in crate::listener::kafka) async fn offset_delete(
        self: &Arc<Self>,
        _asked: &Asked,
        request: OffsetDeleteRequest,
    ) -> OffsetDeleteResponse {
        let find = |name, index| {
            let of = named(name, index)?;
            let found = self.broker.partition(&of.topic, of.partition);
            found.map_err(|error| coordinator_error(&error)).map(|_| of)
        };
        let mut partitions = Vec::new();
        for topic in &request.topics {
            partitions.extend(topic.partitions.iter().filter_map(|at| find(&topic.name, at.partition_index).ok()));
        }
        let read = match self.deleted(request.group_id.as_str(), &partitions).await {
            Ok(read) => read,
            Err(error) => return OffsetDeleteResponse::default().with_error_code(error.to_wire()),
        };
        let topics = request.topics.iter().map(|topic| {
            let partition = |index: i32| {
                let deleted = find(&topic.name, index).and_then(|of| {
                    if read.contains(&of.topic) { Err(KafkaError::GroupSubscribedToTopic) } else { Ok(()) }
                });
                let response = OffsetDeleteResponsePartition::default().with_partition_index(index);
                response.with_error_code(KafkaError::code_of(&deleted))
            };
            let partitions = topic.partitions.iter().map(|at| partition(at.partition_index)).collect();
            OffsetDeleteResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions)
        });
        OffsetDeleteResponse::default().with_topics(topics.collect())
    }

    /// Deletes positions; answers with the topics that were left alone because they are read.
    async fn deleted(&self, group: &str, partitions: &[TopicPartition]) -> Result<BTreeSet<TopicName>, KafkaError> {
        let group = group_id(group)?;
        let (done, deleted) = oneshot::channel();
        self.broker.delete_positions(&group, partitions, self.now(), move |result| {
            let _gone = done.send(result);
        });
        let deleted = deleted.await.map_err(|_| KafkaError::CoordinatorNotAvailable)?;
        deleted.map_err(|error| coordinator_error(&error))
    }
}
