//! InitProducerId and DescribeProducers: ids for idempotent producers, and what partitions know of them.
//!
//! As in Kafka a producer without a transactional id gets a new id with every request, whatever it had before: it counts its
//! epoch on by itself.
//!
//! There are no transactions. Who asks for one is told that its transactional id is not authorized: of all codes this is the one after
//! which both the Java client and librdkafka give up at once. After any other that says as much, librdkafka asks again for
//! ever.

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use kafka_protocol::messages::{
    DescribeProducersRequest, DescribeProducersResponse, InitProducerIdRequest, InitProducerIdResponse, ProducerId,
};
use tokio::sync::oneshot;

use super::KafkaListener;
use super::asked::Asked;
use crate::protocol::kafka::KafkaError;
use crate::replica::producers::ProducerSnapshot;
use crate::types;

/// "None", of ids, epochs and offsets.
const NONE: i16 = -1;
/// The epoch of a new producer.
const FIRST_EPOCH: i16 = 0;

impl KafkaListener {
    pub(super) async fn init_producer_id(
        self: &Arc<Self>,
        _asked: &Asked,
        request: InitProducerIdRequest,
    ) -> InitProducerIdResponse {
        let response = InitProducerIdResponse::default();
        match self.fresh_producer(&request).await {
            Ok(id) => response.with_producer_id(ProducerId(id.get())).with_producer_epoch(FIRST_EPOCH),
            Err(error) => response
                .with_error_code(error.to_wire())
                .with_producer_id(ProducerId(NONE.into()))
                .with_producer_epoch(NONE),
        }
    }

    async fn fresh_producer(
        self: &Arc<Self>,
        request: &InitProducerIdRequest,
    ) -> Result<types::ProducerId, KafkaError> {
        match request.transactional_id.as_ref().map(|id| id.is_empty()) {
            Some(true) => return Err(KafkaError::InvalidRequest),
            Some(false) => return Err(KafkaError::TransactionalIdAuthorizationFailed),
            None => {}
        }
        if (request.producer_id.0 == i64::from(NONE)) != (request.producer_epoch == NONE) {
            return Err(KafkaError::InvalidRequest);
        }
        let (reply, answer) = oneshot::channel();
        self.broker.allocate_producer_id(self.now(), move |allocated| {
            let _gone = reply.send(allocated);
        });
        let allocated = answer.await.map_err(|_| KafkaError::CoordinatorNotAvailable)?;
        allocated.map_err(|error| KafkaError::from(&error))
    }

    pub(super) async fn describe_producers(
        self: &Arc<Self>,
        _asked: &Asked,
        request: DescribeProducersRequest,
    ) -> DescribeProducersResponse {
        // Each once: what is told of one is many times as long as its number.
        let mut seen = BTreeSet::new();
        let topics = request.topics.into_iter().map(|topic| {
            let mut indexes = topic.partition_indexes;
            indexes.retain(|index| seen.insert((topic.name.clone(), *index)));
            let partitions = indexes.into_iter().map(|index| self.producers_of(&topic.name, index)).collect();
            TopicResponse::default().with_name(topic.name).with_partitions(partitions)
        });
        DescribeProducersResponse::default().with_topics(topics.collect())
    }

    fn producers_of(&self, topic: &str, index: i32) -> PartitionResponse {
        let response = PartitionResponse::default().with_partition_index(index);
        match self.partition(topic, index) {
            Ok(partition) => {
                let producers = partition.checkpoint().producers;
                response.with_active_producers(producers.iter().map(described).collect())
            }
            Err(error) => response.with_error_code(error.to_wire()),
        }
    }
}

fn described(producer: &ProducerSnapshot) -> ProducerState {
    ProducerState::default()
        .with_producer_id(ProducerId(producer.id().get()))
        .with_producer_epoch(producer.epoch().get().into())
        .with_last_sequence(producer.last_sequence().get())
        .with_last_timestamp(producer.last_timestamp().millis())
        .with_coordinator_epoch(NONE.into())
        .with_current_txn_start_offset(NONE.into())
}
