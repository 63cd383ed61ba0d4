//! What can go wrong between a client and its broker.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::protocol::native::{EncodeError, ErrorCode, Frame};
use crate::record::{BatchError, BuildError, RecordError};
use crate::types::Offset;

/// Why a call of the client failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// There is no connection to be had.
    #[error("cannot reach a broker at {address}: {source}")]
    Unreachable {
        /// `host:port`.
        address: String,
        /// Why not.
        source: Arc<io::Error>,
    },
    /// The broker answered with an error.
    #[error("{error} ({name})")]
    Refused {
        /// What it is; `None` for a code this version does not know.
        code: Option<ErrorCode>,
        /// The code as it was sent.
        name: String,
        /// The broker's text.
        error: String,
    },
    /// No answer in time; whether the request took effect is unknown.
    #[error("no answer within {} s; it is unknown whether the request took effect", after.as_secs_f64())]
    TimedOut {
        /// The time waited.
        after: Duration,
    },
    /// The connection is gone; whether requests under way took effect is unknown.
    #[error("the connection is closed: {reason}")]
    Closed {
        /// Why.
        reason: String,
    },
    /// A producer did not get a record through within its `delivery_timeout`.
    #[error(
        "not delivered within {} s{}; {}",
        after.as_secs_f64(),
        last.as_ref().map(|last| format!(": {last}")).unwrap_or_default(),
        if *is_in_doubt { "it is unknown whether the record was stored" } else { "the record was not stored" }
    )]
    Undelivered {
        /// The time it was tried.
        after: Duration,
        /// Whether an attempt was never answered, so that the record may have been stored.
        is_in_doubt: bool,
        /// The last thing that went wrong, if anything did.
        last: Option<Box<ClientError>>,
    },
    /// The producer or subscriber was closed by its owner.
    #[error("the {what} was closed")]
    Ended {
        /// What was closed.
        what: &'static str,
    },
    /// A record larger than its topic allows.
    #[error("a record of {bytes} bytes where its topic allows {allowed}")]
    TooLarge {
        /// Bytes of the record.
        bytes: usize,
        /// What the topic allows, in bytes.
        allowed: usize,
    },
    /// Records that a subscription was to deliver are no longer kept, and its policy is to fail then.
    #[error("the records from offset {wanted} on are gone; the log begins at {log_start}")]
    RecordsGone {
        /// The offset that was to come next.
        wanted: Offset,
        /// The first offset that is kept.
        log_start: Offset,
    },
    /// The peer sent what no broker sends.
    #[error("the peer does not speak the native protocol as a broker does: {0}")]
    Protocol(String),
    /// A batch that came is damaged.
    #[error("a damaged batch came: {0}")]
    DamagedBatch(#[from] BatchError),
    /// A record that came cannot be read.
    #[error("a batch came whose records cannot be read: {0}")]
    DamagedRecord(Arc<RecordError>),
    /// A record cannot be put into a batch.
    #[error("the record fits no batch: {0}")]
    Unbuildable(Arc<BuildError>),
    /// A consumer has to join a group first.
    #[error("the consumer has not joined a group")]
    NotInGroup,
    /// A consumer is in another group, which it has to leave first.
    #[error("the consumer is in group '{group}'; it has to leave it first")]
    InAnotherGroup {
        /// The group it is in.
        group: String,
    },
    /// The caller's values fit no frame.
    #[error(transparent)]
    Invalid(#[from] EncodeError),
    /// The caller's options contradict each other, or lie out of range.
    #[error("{0}")]
    InvalidOptions(String),
}

impl ClientError {
    /// The code the broker refused with.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        if let ClientError::Refused { code, .. } = self { *code } else { None }
    }

    /// Whether the same call may succeed later without anybody changing it. A call that [`ClientError::is_in_doubt`]
    /// may have taken effect the first time, and be done twice when it is tried again.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            ClientError::Unreachable { .. }
            | ClientError::TimedOut { .. }
            | ClientError::Closed { .. }
            | ClientError::Undelivered { .. } => true,
            ClientError::Refused { code, .. } => code.is_some_and(ErrorCode::is_retriable),
            ClientError::Ended { .. }
            | ClientError::TooLarge { .. }
            | ClientError::RecordsGone { .. }
            | ClientError::Protocol(_)
            | ClientError::DamagedBatch(_)
            | ClientError::DamagedRecord(_)
            | ClientError::Unbuildable(_)
            | ClientError::NotInGroup
            | ClientError::InAnotherGroup { .. }
            | ClientError::Invalid(_)
            | ClientError::InvalidOptions(_) => false,
        }
    }

    /// Whether the request may have taken effect although the call failed.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        match self {
            ClientError::TimedOut { .. } | ClientError::Closed { .. } | ClientError::Protocol(_) => true,
            ClientError::Undelivered { is_in_doubt, .. } => *is_in_doubt,
            // What failed inside the broker may have got far enough before it did.
            ClientError::Refused { code: Some(code), .. } => {
                [ErrorCode::TimedOut, ErrorCode::Internal, ErrorCode::StorageFailed].contains(code)
            }
            ClientError::Refused { code: None, .. } => true,
            ClientError::Unreachable { .. }
            | ClientError::Ended { .. }
            | ClientError::TooLarge { .. }
            | ClientError::RecordsGone { .. }
            | ClientError::DamagedBatch(_)
            | ClientError::DamagedRecord(_)
            | ClientError::Unbuildable(_)
            | ClientError::NotInGroup
            | ClientError::InAnotherGroup { .. }
            | ClientError::Invalid(_)
            | ClientError::InvalidOptions(_) => false,
        }
    }

    pub(super) fn closed(end: &OnceLock<String>) -> ClientError {
        let reason = end.get().map_or("by this side", String::as_str);
        ClientError::Closed { reason: reason.to_owned() }
    }

    /// The refusal that an ACK carries; `None` where it carries success.
    pub(super) fn of_ack(ack: &Frame) -> Option<ClientError> {
        if ack.properties.get("status") != Some("error") {
            return None;
        }
        let name = ack.properties.get("code").unwrap_or("no code");
        let error = ack.properties.get("error").unwrap_or("refused");
        Some(ClientError::Refused { code: ErrorCode::from_name(name), name: name.to_owned(), error: error.to_owned() })
    }
}

impl From<RecordError> for ClientError {
    fn from(error: RecordError) -> ClientError {
        ClientError::DamagedRecord(Arc::new(error))
    }
}

impl From<BuildError> for ClientError {
    fn from(error: BuildError) -> ClientError {
        ClientError::Unbuildable(Arc::new(error))
    }
}

/// A number that a reply must carry.
pub(super) fn number<T: std::str::FromStr>(reply: &Frame, name: &str) -> Result<T, ClientError> {
    let value = reply.properties.get(name);
    value
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| ClientError::Protocol(format!("a reply with '{name}' = {value:?}")))
}

/// An offset that a reply must carry.
pub(super) fn offset(reply: &Frame, name: &str) -> Result<Offset, ClientError> {
    let value: u64 = number(reply, name)?;
    Offset::new(value).ok_or_else(|| ClientError::Protocol(format!("a reply with '{name}' = {value}")))
}
