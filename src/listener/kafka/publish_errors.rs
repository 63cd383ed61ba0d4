//! What a producer is told when its batch is not stored: Kafka's codes for what admission and publishing say.
//!
//! The codes are those of Kafka's own validation where it has the same rule. Clients try again by themselves after
//! `NotLeaderOrFollower`, `KafkaStorageError`, `RequestTimedOut`, `UnknownTopicOrPartition` and `CorruptMessage`; a batch that will be refused again must get
//! none of these.

use crate::broker::publish::PublishError;
use crate::protocol::kafka::KafkaError;
use crate::record::{AdmissionError, Attributes, BatchError, BuildError, TimestampType};

impl From<&AdmissionError> for KafkaError {
    fn from(error: &AdmissionError) -> KafkaError {
        match error {
            AdmissionError::Batch(error) => KafkaError::from(error),
            AdmissionError::TooLarge { .. } => KafkaError::MessageTooLarge,
            AdmissionError::UnknownCompression { .. } => KafkaError::UnsupportedCompressionType,
            // Transactions are not offered, so none can be under way.
            AdmissionError::Transactional => KafkaError::InvalidTxnState,
            AdmissionError::Attributes { bits } => match Attributes::from_bits(*bits).timestamp_type() {
                TimestampType::LogAppend => KafkaError::InvalidTimestamp,
                TimestampType::Create => KafkaError::InvalidRecord,
            },
            AdmissionError::NegativeTimestamp { .. }
            | AdmissionError::FutureTimestamp { .. }
            | AdmissionError::PastTimestamp { .. } => KafkaError::InvalidTimestamp,
            AdmissionError::RecordsCount { .. }
            | AdmissionError::Control
            | AdmissionError::SequenceMissing
            | AdmissionError::Record { .. }
            | AdmissionError::Surplus { .. } => KafkaError::InvalidRecord,
        }
    }
}

/// As of what a client sent.
impl From<&BatchError> for KafkaError {
    fn from(error: &BatchError) -> KafkaError {
        match error {
            BatchError::Length { .. } | BatchError::Crc { .. } => KafkaError::CorruptMessage,
            // None, half of one, two, an older format: Produce from version 3 on takes one whole batch of format 2.
            BatchError::Truncated { .. }
            | BatchError::Surplus { .. }
            | BatchError::Magic { .. }
            | BatchError::Field { .. } => KafkaError::InvalidRecord,
        }
    }
}

impl From<&PublishError> for KafkaError {
    fn from(error: &PublishError) -> KafkaError {
        match error {
            PublishError::Broker(error) => KafkaError::from(error),
            PublishError::MessageTooLarge { .. } | PublishError::Build(BuildError::Full) => KafkaError::MessageTooLarge,
            PublishError::Build(BuildError::TimestampRange { .. }) => KafkaError::InvalidTimestamp,
            PublishError::Build(BuildError::Empty)
            | PublishError::KeyMissing { .. }
            | PublishError::Unreadable { .. }
            | PublishError::IdTooLong { .. } => KafkaError::InvalidRecord,
            PublishError::Build(BuildError::Compress { .. }) => KafkaError::UnknownServerError,
            PublishError::QueueFull { .. } => KafkaError::RequestTimedOut,
            PublishError::Append(error) => KafkaError::from(error),
        }
    }
}

/// Which records of the batch are to blame, where some are: the others may be sent again without them.
pub(super) fn records_to_blame(error: PublishError) -> Vec<u32> {
    if let PublishError::KeyMissing { records, .. } = error { records } else { Vec::new() }
}

/// Which record of the batch is to blame, where one is.
pub(super) fn record_to_blame(error: &AdmissionError) -> Option<u32> {
    match error {
        AdmissionError::Record { index, .. } => Some(*index),
        AdmissionError::Batch(_)
        | AdmissionError::TooLarge { .. }
        | AdmissionError::RecordsCount { .. }
        | AdmissionError::UnknownCompression { .. }
        | AdmissionError::Control
        | AdmissionError::Transactional
        | AdmissionError::Attributes { .. }
        | AdmissionError::SequenceMissing
        | AdmissionError::NegativeTimestamp { .. }
        | AdmissionError::FutureTimestamp { .. }
        | AdmissionError::PastTimestamp { .. }
        | AdmissionError::Surplus { .. } => None,
    }
}
