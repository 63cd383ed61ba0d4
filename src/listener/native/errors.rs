//! The broker's errors as this protocol's codes.

use bytes::BytesMut;

use crate::broker::BrokerError;
use crate::broker::groups::GroupError;
use crate::broker::metadata::MetadataError;
use crate::protocol::native::{ErrorCode, reply};
use crate::replica::producers::SequenceError;
use crate::replica::{AckFailure, AppendError, PartitionClosed, ReadFailure};
use crate::types::Timestamp;

/// A refusal as it goes out.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) code: ErrorCode,
    pub(super) text: String,
    pub(super) details: Vec<(&'static str, String)>,
}

impl Refusal {
    pub(super) fn new(code: ErrorCode, text: impl Into<String>) -> Refusal {
        Refusal { code, text: text.into(), details: Vec::new() }
    }

    /// Writes it as a frame.
    pub(super) fn encode(&self, bytes: &mut BytesMut, sequence: u64, now: Timestamp) {
        let details: Vec<_> = self.details.iter().map(|(name, value)| (*name, value.as_str())).collect();
        reply::error_ack(bytes, sequence, now, self.code, &self.text, &details);
    }
}

impl From<&BrokerError> for Refusal {
    fn from(error: &BrokerError) -> Refusal {
        let code = match error {
            BrokerError::UnknownTopic { .. } => ErrorCode::UnknownTopic,
            BrokerError::UnknownPartition { .. } => ErrorCode::UnknownPartition,
            BrokerError::PartitionOffline { .. } | BrokerError::StorageFailed(_) => ErrorCode::StorageFailed,
            BrokerError::InternalTopic { .. } => ErrorCode::InvalidTopic,
            BrokerError::Metadata(error) => metadata_code(error),
            BrokerError::TopicBusy { .. } | BrokerError::Overloaded => ErrorCode::Overloaded,
            BrokerError::InvalidClientId { .. } | BrokerError::NotDeletable { .. } => ErrorCode::InvalidProperty,
            BrokerError::OffsetOutOfRange { log_start, high_watermark, .. } => {
                let details = vec![("log_start", log_start.to_string()), ("log_end", high_watermark.to_string())];
                return Refusal { code: ErrorCode::OffsetOutOfRange, text: error.to_string(), details };
            }
            BrokerError::StorageFull => ErrorCode::StorageFull,
            BrokerError::Group(error) => group_code(error),
            BrokerError::NotLeader { hint } => {
                let details = hint.iter().map(|leader| ("leader", leader.clone())).collect();
                return Refusal { code: ErrorCode::NotLeader, text: error.to_string(), details };
            }
        };
        Refusal::new(code, error.to_string())
    }
}

fn group_code(error: &GroupError) -> ErrorCode {
    match error {
        GroupError::UnknownGroup { .. } => ErrorCode::UnknownGroup,
        GroupError::UnknownMember { .. } => ErrorCode::UnknownMember,
        // Members of classic groups speak another protocol.
        GroupError::Classic(_) => ErrorCode::UnknownMember,
        GroupError::Fenced { .. } => ErrorCode::FencedMember,
        GroupError::Kind { .. } => ErrorCode::GroupKind,
        GroupError::NotEmpty { .. } => ErrorCode::GroupNotEmpty,
        GroupError::TooManyMembers
        | GroupError::TooMuchOfMembers
        | GroupError::TooMuchOfNotes
        | GroupError::TooManyGroups => ErrorCode::LimitExceeded,
    }
}

fn metadata_code(error: &MetadataError) -> ErrorCode {
    match error {
        MetadataError::TopicExists { .. } => ErrorCode::TopicExists,
        MetadataError::UnknownTopic { .. } | MetadataError::TopicIdDiffers { .. } => ErrorCode::UnknownTopic,
        MetadataError::TooManyTopics { .. } | MetadataError::TooMuchNoted(_) => ErrorCode::LimitExceeded,
        MetadataError::PartitionsOutOfRange { .. }
        | MetadataError::PartitionsOnlyGrow { .. }
        | MetadataError::InvalidSetting(_) => ErrorCode::InvalidProperty,
        MetadataError::TopicIdInUse { .. } | MetadataError::ProducerIdsBehind { .. } => ErrorCode::Internal,
    }
}

impl From<&AppendError> for Refusal {
    fn from(error: &AppendError) -> Refusal {
        let code = match error {
            AppendError::NotLeader { hint } => {
                let details = hint.iter().map(|leader| ("leader", leader.clone())).collect();
                return Refusal { code: ErrorCode::NotLeader, text: error.to_string(), details };
            }
            AppendError::Closed(closed) => return Refusal::from(closed),
            AppendError::Fenced { .. } => ErrorCode::FencedEpoch,
            AppendError::QueueFull(_) => ErrorCode::Overloaded,
            AppendError::StorageFull => ErrorCode::StorageFull,
            AppendError::StorageFailed(_) | AppendError::Exhausted => ErrorCode::StorageFailed,
            AppendError::Sequence(SequenceError::OutOfOrder { .. }) => ErrorCode::OutOfOrderSequence,
            AppendError::Sequence(SequenceError::StaleEpoch { .. }) => ErrorCode::StaleProducerEpoch,
        };
        Refusal::new(code, error.to_string())
    }
}

impl From<&AckFailure> for Refusal {
    fn from(failure: &AckFailure) -> Refusal {
        let code = match failure {
            AckFailure::StorageFull => ErrorCode::StorageFull,
            AckFailure::StorageFailed(_) => ErrorCode::StorageFailed,
            AckFailure::Truncated => ErrorCode::NotLeader,
            AckFailure::Closed(closed) => return Refusal::from(closed),
        };
        Refusal::new(code, failure.to_string())
    }
}

impl From<&PartitionClosed> for Refusal {
    fn from(closed: &PartitionClosed) -> Refusal {
        match closed {
            PartitionClosed::TopicDeleted { .. } => Refusal::new(ErrorCode::UnknownTopic, closed.to_string()),
        }
    }
}

impl From<&ReadFailure> for Refusal {
    fn from(failure: &ReadFailure) -> Refusal {
        let text = failure.to_string();
        match failure {
            ReadFailure::OutOfRange { log_start, high_watermark, .. } => Refusal {
                code: ErrorCode::OffsetOutOfRange,
                text,
                details: vec![("log_start", log_start.to_string()), ("log_end", high_watermark.to_string())],
            },
            ReadFailure::Corrupt { resume, .. } => Refusal {
                code: ErrorCode::Corrupt,
                text,
                details: resume.iter().map(|offset| ("wiber.resume", offset.to_string())).collect(),
            },
            ReadFailure::Log(_) => Refusal::new(ErrorCode::StorageFailed, text),
            ReadFailure::Closed(closed) => Refusal::from(closed),
        }
    }
}
