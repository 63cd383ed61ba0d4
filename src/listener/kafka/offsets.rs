//! Positions of groups: OffsetCommit, OffsetFetch and OffsetDelete.

mod commit;
mod deletion;
mod fetch;

use kafka_protocol::messages;

use crate::protocol::kafka::KafkaError;
use crate::types::{PartitionIndex, TopicName, TopicPartition};

/// A partition by the name and number that a client gives; no topic of users has another name, or such a partition.
fn named(topic: &messages::TopicName, partition: i32) -> Result<TopicPartition, KafkaError> {
    let unknown = KafkaError::UnknownTopicOrPartition;
    let topic = TopicName::new(topic.as_str()).map_err(|_| unknown)?;
    let partition = PartitionIndex(u32::try_from(partition).map_err(|_| unknown)?);
    if topic.is_internal() { Err(unknown) } else { Ok(TopicPartition { topic, partition }) }
}
