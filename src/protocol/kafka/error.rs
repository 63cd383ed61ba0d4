//! Kafka's error codes, as far as they are given. The listener maps what the broker says to them, each in one place.

/// What goes wrong, as Kafka names and numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i16)]
#[expect(missing_docs, reason = "Kafka's own names; its protocol guide says what each means")]
pub enum KafkaError {
    UnknownServerError = -1,
    OffsetOutOfRange = 1,
    CorruptMessage = 2,
    UnknownTopicOrPartition = 3,
    InvalidFetchSize = 4,
    LeaderNotAvailable = 5,
    NotLeaderOrFollower = 6,
    RequestTimedOut = 7,
    MessageTooLarge = 10,
    OffsetMetadataTooLarge = 12,
    CoordinatorLoadInProgress = 14,
    CoordinatorNotAvailable = 15,
    NotCoordinator = 16,
    InvalidTopicException = 17,
    RecordListTooLarge = 18,
    InvalidRequiredAcks = 21,
    IllegalGeneration = 22,
    InconsistentGroupProtocol = 23,
    InvalidGroupId = 24,
    UnknownMemberId = 25,
    InvalidSessionTimeout = 26,
    RebalanceInProgress = 27,
    InvalidTimestamp = 32,
    UnsupportedVersion = 35,
    TopicAlreadyExists = 36,
    InvalidPartitions = 37,
    InvalidReplicationFactor = 38,
    InvalidReplicaAssignment = 39,
    InvalidConfig = 40,
    InvalidRequest = 42,
    UnsupportedForMessageFormat = 43,
    PolicyViolation = 44,
    OutOfOrderSequenceNumber = 45,
    DuplicateSequenceNumber = 46,
    InvalidProducerEpoch = 47,
    InvalidTxnState = 48,
    InvalidProducerIdMapping = 49,
    TransactionalIdAuthorizationFailed = 53,
    SecurityDisabled = 54,
    KafkaStorageError = 56,
    UnknownProducerId = 59,
    NonEmptyGroup = 68,
    GroupIdNotFound = 69,
    FetchSessionIdNotFound = 70,
    InvalidFetchSessionEpoch = 71,
    FencedLeaderEpoch = 74,
    UnknownLeaderEpoch = 75,
    UnsupportedCompressionType = 76,
    MemberIdRequired = 79,
    GroupMaxSizeReached = 81,
    FencedInstanceId = 82,
    GroupSubscribedToTopic = 86,
    InvalidRecord = 87,
    ThrottlingQuotaExceeded = 89,
    UnknownTopicId = 100,
    MismatchedEndpointType = 114,
    UnsupportedEndpointType = 115,
}

/// The code of a field where nothing is wrong.
pub const NO_ERROR: i16 = 0;

impl KafkaError {
    /// The number on the wire.
    #[must_use]
    pub const fn to_wire(self) -> i16 {
        self as i16
    }

    /// The number of a result on the wire.
    #[must_use]
    pub fn code_of<T>(result: &Result<T, KafkaError>) -> i16 {
        result.as_ref().err().map_or(NO_ERROR, |error| error.to_wire())
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::ResponseError;

    use super::*;

    #[test]
    fn numbers_are_those_of_the_crate() {
        use KafkaError::*;
        for error in [
            UnknownServerError,
            OffsetOutOfRange,
            CorruptMessage,
            UnknownTopicOrPartition,
            InvalidFetchSize,
            LeaderNotAvailable,
            NotLeaderOrFollower,
            RequestTimedOut,
            MessageTooLarge,
            OffsetMetadataTooLarge,
            CoordinatorLoadInProgress,
            CoordinatorNotAvailable,
            NotCoordinator,
            InvalidTopicException,
            RecordListTooLarge,
            InvalidRequiredAcks,
            IllegalGeneration,
            InconsistentGroupProtocol,
            InvalidGroupId,
            UnknownMemberId,
            InvalidSessionTimeout,
            RebalanceInProgress,
            InvalidTimestamp,
            UnsupportedVersion,
            TopicAlreadyExists,
            InvalidPartitions,
            InvalidReplicationFactor,
            InvalidReplicaAssignment,
            InvalidConfig,
            InvalidRequest,
            UnsupportedForMessageFormat,
            PolicyViolation,
            OutOfOrderSequenceNumber,
            DuplicateSequenceNumber,
            InvalidProducerEpoch,
            InvalidTxnState,
            InvalidProducerIdMapping,
            TransactionalIdAuthorizationFailed,
            SecurityDisabled,
            KafkaStorageError,
            UnknownProducerId,
            NonEmptyGroup,
            GroupIdNotFound,
            FetchSessionIdNotFound,
            InvalidFetchSessionEpoch,
            FencedLeaderEpoch,
            UnknownLeaderEpoch,
            UnsupportedCompressionType,
            MemberIdRequired,
            GroupMaxSizeReached,
            FencedInstanceId,
            GroupSubscribedToTopic,
            InvalidRecord,
            ThrottlingQuotaExceeded,
            UnknownTopicId,
            MismatchedEndpointType,
            UnsupportedEndpointType,
        ] {
            let known = ResponseError::try_from_code(error.to_wire()).unwrap();
            assert_eq!(format!("{known:?}"), format!("{error:?}"));
        }
        assert_eq!(KafkaError::code_of(&Ok(())), NO_ERROR);
        assert_eq!(KafkaError::code_of::<()>(&Err(UnknownTopicId)), 100);
    }
}
