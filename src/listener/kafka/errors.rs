//! What the broker says, in Kafka's numbers. One match for each of its errors, so that a new one has to be thought of.

use crate::broker::BrokerError;
use crate::broker::groups::GroupError;
use crate::broker::metadata::MetadataError;
use crate::protocol::kafka::KafkaError;
use crate::replica::producers::SequenceError;
use crate::replica::{AckFailure, AppendError, PartitionClosed, ReadFailure};

impl From<&BrokerError> for KafkaError {
    fn from(error: &BrokerError) -> KafkaError {
        match error {
            BrokerError::UnknownTopic { .. } | BrokerError::UnknownPartition { .. } => {
                KafkaError::UnknownTopicOrPartition
            }
            BrokerError::PartitionOffline { .. } | BrokerError::StorageFull | BrokerError::StorageFailed(_) => {
                KafkaError::KafkaStorageError
            }
            BrokerError::InternalTopic { .. } => KafkaError::InvalidTopicException,
            BrokerError::Metadata(error) => KafkaError::from(error),
            BrokerError::NotDeletable { .. } => KafkaError::PolicyViolation,
            BrokerError::TopicBusy { .. } => KafkaError::RequestTimedOut,
            BrokerError::Overloaded => KafkaError::CoordinatorLoadInProgress,
            BrokerError::InvalidClientId { .. } => KafkaError::InvalidGroupId,
            BrokerError::OffsetOutOfRange { .. } => KafkaError::OffsetOutOfRange,
            BrokerError::Group(error) => KafkaError::from(error),
            BrokerError::NotLeader { .. } => KafkaError::NotLeaderOrFollower,
        }
    }
}

impl From<BrokerError> for KafkaError {
    fn from(error: BrokerError) -> KafkaError {
        KafkaError::from(&error)
    }
}

impl From<&MetadataError> for KafkaError {
    fn from(error: &MetadataError) -> KafkaError {
        match error {
            MetadataError::TopicExists { .. } => KafkaError::TopicAlreadyExists,
            MetadataError::UnknownTopic { .. } => KafkaError::UnknownTopicOrPartition,
            MetadataError::TopicIdDiffers { .. } => KafkaError::UnknownTopicId,
            MetadataError::TooManyTopics { .. } => KafkaError::PolicyViolation,
            MetadataError::PartitionsOutOfRange { .. } | MetadataError::PartitionsOnlyGrow { .. } => {
                KafkaError::InvalidPartitions
            }
            MetadataError::InvalidSetting(_) | MetadataError::TooMuchNoted(_) => KafkaError::InvalidConfig,
            MetadataError::TopicIdInUse { .. } | MetadataError::ProducerIdsBehind { .. } => {
                KafkaError::UnknownServerError
            }
        }
    }
}

impl From<&GroupError> for KafkaError {
    fn from(error: &GroupError) -> KafkaError {
        match error {
            GroupError::UnknownGroup { .. } => KafkaError::GroupIdNotFound,
            GroupError::UnknownMember { .. } => KafkaError::UnknownMemberId,
            GroupError::Fenced { .. } => KafkaError::IllegalGeneration,
            GroupError::Kind { .. } => KafkaError::InconsistentGroupProtocol,
            GroupError::NotEmpty { .. } => KafkaError::NonEmptyGroup,
            GroupError::Classic(error) => KafkaError::from(error),
            GroupError::TooMuchOfNotes => KafkaError::OffsetMetadataTooLarge,
            GroupError::TooManyMembers | GroupError::TooMuchOfMembers | GroupError::TooManyGroups => {
                KafkaError::GroupMaxSizeReached
            }
        }
    }
}

impl From<&AppendError> for KafkaError {
    fn from(error: &AppendError) -> KafkaError {
        match error {
            AppendError::NotLeader { .. } => KafkaError::NotLeaderOrFollower,
            AppendError::Closed(closed) => KafkaError::from(closed),
            AppendError::Fenced { .. } => KafkaError::FencedLeaderEpoch,
            // It comes back to be appended again, and is never answered.
            AppendError::QueueFull(_) => KafkaError::RequestTimedOut,
            AppendError::StorageFull | AppendError::StorageFailed(_) | AppendError::Exhausted => {
                KafkaError::KafkaStorageError
            }
            AppendError::Sequence(SequenceError::OutOfOrder { .. }) => KafkaError::OutOfOrderSequenceNumber,
            AppendError::Sequence(SequenceError::StaleEpoch { .. }) => KafkaError::InvalidProducerEpoch,
        }
    }
}

impl From<&AckFailure> for KafkaError {
    fn from(failure: &AckFailure) -> KafkaError {
        match failure {
            AckFailure::StorageFull | AckFailure::StorageFailed(_) => KafkaError::KafkaStorageError,
            AckFailure::Truncated => KafkaError::NotLeaderOrFollower,
            AckFailure::Closed(closed) => KafkaError::from(closed),
        }
    }
}

impl From<&PartitionClosed> for KafkaError {
    fn from(closed: &PartitionClosed) -> KafkaError {
        match closed {
            PartitionClosed::TopicDeleted { .. } => KafkaError::UnknownTopicOrPartition,
        }
    }
}

impl From<&ReadFailure> for KafkaError {
    fn from(failure: &ReadFailure) -> KafkaError {
        match failure {
            ReadFailure::OutOfRange { .. } => KafkaError::OffsetOutOfRange,
            ReadFailure::Corrupt { .. } => KafkaError::CorruptMessage,
            ReadFailure::Log(_) => KafkaError::KafkaStorageError,
            ReadFailure::Closed(closed) => KafkaError::from(closed),
        }
    }
}
