//! OffsetCommit: a group keeps its positions, where its members stand in it.

use std::sync::Arc;

use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestPartition;
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use tokio::sync::oneshot;

use super::named;
use crate::broker::groups::ClassicCommitter;
use crate::broker::positions::{PositionNote, SeveralPositions, StatedPosition};
use crate::listener::kafka::KafkaListener;
use crate::listener::kafka::asked::Asked;
use crate::listener::kafka::groups::{coordinator_error, generation, group_id, member_id};
use crate::protocol::kafka::{KafkaError, NO_ERROR};
use crate::types::{Epoch, Offset, TopicPartition};

impl KafkaListener {
    pub(in crate::listener::kafka) async fn offset_commit(
        self: &Arc<Self>,
        _asked: &Asked,
        request: OffsetCommitRequest,
    ) -> OffsetCommitResponse {
        // What is kept of each partition: the error it has, or that it waits for the next result.
        let (mut stated, mut topics) = (Vec::new(), Vec::with_capacity(request.topics.len()));
        for topic in &request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let found = named(&topic.name, partition.partition_index).and_then(|name| self.stated(name, partition));
                partitions.push((partition.partition_index, found.map(|position| stated.push(position))));
            }
            topics.push((topic.name.clone(), partitions));
        }
        let count = stated.len();
        let committed = if count == 0 { Ok(Vec::new()) } else { self.committed(&request, stated).await };
        let mut results = match committed {
            Ok(results) => results,
            Err(error) => vec![Err(error); count],
        }
        .into_iter();
        let mut code = |waits: Result<(), KafkaError>| match waits {
            Ok(()) => results.next().map_or(NO_ERROR, |result| KafkaError::code_of(&result)),
            Err(error) => error.to_wire(),
        };
        let topics = topics.into_iter().map(|(name, partitions)| {
            let partitions = partitions.into_iter().map(|(index, waits)| {
                let response = OffsetCommitResponsePartition::default().with_partition_index(index);
                response.with_error_code(code(waits))
            });
            OffsetCommitResponseTopic::default().with_name(name).with_partitions(partitions.collect())
        });
        OffsetCommitResponse::default().with_topics(topics.collect())
    }

    fn stated(
        &self,
        name: TopicPartition,
        partition: &OffsetCommitRequestPartition,
    ) -> Result<StatedPosition, KafkaError> {
        self.broker.partition(&name.topic, name.partition).map_err(|error| coordinator_error(&error))?;
        let offset = Offset::from_i64(partition.committed_offset).ok_or(KafkaError::OffsetOutOfRange)?;
        let text = partition.committed_metadata.as_ref().map_or("", |text| text.as_str());
        let leader_epoch = Epoch::new(partition.committed_leader_epoch);
        Ok(StatedPosition { partition: name, offset, note: PositionNote { text: text.into(), leader_epoch } })
    }

    async fn committed(
        &self,
        request: &OffsetCommitRequest,
        positions: Vec<StatedPosition>,
    ) -> Result<Vec<Result<(), KafkaError>>, KafkaError> {
        let group = group_id(request.group_id.as_str())?;
        let committer = ClassicCommitter {
            member: member_id(request.member_id.as_str()),
            instance: request.group_instance_id.as_ref().map(|instance| instance.as_str().into()),
            generation: generation(request.generation_id_or_member_epoch),
        };
        let commit = SeveralPositions { group, committer, positions, ack: self.broker.default_ack() };
        let (done, committed) = oneshot::channel();
        self.broker.commit_several(commit, self.now(), move |result| {
            let _gone = done.send(result);
        });
        let committed = committed.await.map_err(|_| KafkaError::CoordinatorNotAvailable)?;
        let results = committed.map_err(|error| coordinator_error(&error))?.into_iter();
        Ok(results.map(|result| result.map_err(|error| coordinator_error(&error))).collect())
    }
}
