//! DeleteRecords: the oldest records of partitions, up to an offset.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::delete_records_request::DeleteRecordsPartition;
use kafka_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::KafkaListener;
use super::asked::Asked;
use crate::broker::BrokerError;
use crate::protocol::kafka::KafkaError;
use crate::types::{Offset, PartitionIndex, TopicName};

/// All that is committed.
const HIGH_WATERMARK: i64 = -1;
/// The log start of a partition whose records are not deleted.
const NONE: i64 = -1;
/// How long a request waits at least: its own time is meant for other copies, as in Kafka, and tools send none at all.
const WAIT_MIN: Duration = Duration::from_secs(5);
/// How long a request waits at most.
const WAIT_MAX: Duration = Duration::from_secs(300);

type Answer = oneshot::Receiver<Result<Offset, BrokerError>>;

impl KafkaListener {
    /// Begins all deletions, then waits for them.
    pub(super) async fn delete_records(
        self: &Arc<Self>,
        _asked: &Asked,
        request: DeleteRecordsRequest,
    ) -> DeleteRecordsResponse {
        let asked_for = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
        let deadline = Instant::now() + asked_for.clamp(WAIT_MIN, WAIT_MAX);
        let mut begun = Vec::with_capacity(request.topics.len());
        for topic in request.topics {
            let begin = |partition: &DeleteRecordsPartition| {
                (partition.partition_index, self.begin_deletion(&topic.name, partition))
            };
            let partitions: Vec<_> = topic.partitions.iter().map(begin).collect();
            begun.push((topic.name, partitions));
        }
        let mut topics = Vec::with_capacity(begun.len());
        for (name, partitions) in begun {
            let mut results = Vec::with_capacity(partitions.len());
            for (index, answer) in partitions {
                results.push(result(index, wait(answer, deadline).await));
            }
            topics.push(DeleteRecordsTopicResult::default().with_name(name).with_partitions(results));
        }
        DeleteRecordsResponse::default().with_topics(topics)
    }

    fn begin_deletion(&self, topic: &str, wanted: &DeleteRecordsPartition) -> Result<Answer, KafkaError> {
        let topic = TopicName::new(topic).map_err(|_| KafkaError::UnknownTopicOrPartition)?;
        let index = u32::try_from(wanted.partition_index).map_err(|_| KafkaError::UnknownTopicOrPartition)?;
        let before = match wanted.offset {
            HIGH_WATERMARK => None,
            offset => Some(Offset::from_i64(offset).ok_or(KafkaError::OffsetOutOfRange)?),
        };
        let (reply, answer) = oneshot::channel();
        self.broker.delete_records(&topic, PartitionIndex(index), before, |deleted| {
            let _gone = reply.send(deleted);
        });
        Ok(answer)
    }
}

async fn wait(answer: Result<Answer, KafkaError>, deadline: Instant) -> Result<Offset, KafkaError> {
    let deleted = timeout_at(deadline, answer?).await.map_err(|_| KafkaError::RequestTimedOut)?;
    let deleted = deleted.map_err(|_| KafkaError::UnknownServerError)?;
    deleted.map_err(|error| KafkaError::from(&error))
}

fn result(index: i32, deleted: Result<Offset, KafkaError>) -> DeleteRecordsPartitionResult {
    DeleteRecordsPartitionResult::default()
        .with_partition_index(index)
        .with_error_code(KafkaError::code_of(&deleted))
        .with_low_watermark(deleted.map_or(NONE, Offset::to_i64))
}
