//! Requests about topics, partitions, and producers.

use kafka_protocol::messages::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};

use super::{BYTE, Field, I16, I32, I32S, I64, TEXT, TEXTS, UUID, array};

/// Topics; whether to create them, whether to tell what may be done with the cluster, with the topics.
pub(super) const METADATA: &[Field] =
    &[array::<MetadataRequestTopic>(&[UUID.since(10), TEXT]), BYTE.since(4), BYTE.since(8).until(10), BYTE.since(8)];

/// Replica, isolation level, topics; of a partition the leader's epoch and the time.
pub(super) const LIST_OFFSETS: &[Field] =
    &[I32, BYTE.since(2), array::<ListOffsetsTopic>(&[TEXT, array::<ListOffsetsPartition>(&[I32, I32.since(4), I64])])];

/// Replica, topics; of a partition the leader's epoch and the one asked about.
pub(super) const OFFSET_FOR_LEADER_EPOCH: &[Field] =
    &[I32.since(3), array::<OffsetForLeaderTopic>(&[TEXT, array::<OffsetForLeaderPartition>(&[I32, I32, I32])])];

/// Transactional id, timeout, producer id and epoch.
pub(super) const INIT_PRODUCER_ID: &[Field] = &[TEXT, I32, I64.since(3), I16.since(3)];

/// Topics: name, partitions, replication factor, replicas, settings; timeout; whether only to check.
pub(super) const CREATE_TOPICS: &[Field] = &[
    array::<CreatableTopic>(&[
        TEXT,
        I32,
        I16,
        array::<CreatableReplicaAssignment>(&[I32, I32S]),
        array::<CreatableTopicConfig>(&[TEXT, TEXT]),
    ]),
    I32,
    BYTE,
];

/// Names, or from version 6 names or ids; timeout.
pub(super) const DELETE_TOPICS: &[Field] = &[array::<DeleteTopicState>(&[TEXT, UUID]).since(6), TEXTS.until(5), I32];

/// Topics: name, new number of partitions, replicas; timeout; whether only to check.
pub(super) const CREATE_PARTITIONS: &[Field] =
    &[array::<CreatePartitionsTopic>(&[TEXT, I32, array::<CreatePartitionsAssignment>(&[I32S])]), I32, BYTE];

/// Topics: of a partition the offset below which to delete; timeout.
pub(super) const DELETE_RECORDS: &[Field] =
    &[array::<DeleteRecordsTopic>(&[TEXT, array::<DeleteRecordsPartition>(&[I32, I64])]), I32];

pub(super) const DESCRIBE_PRODUCERS: &[Field] = &[array::<TopicRequest>(&[TEXT, I32S])];
