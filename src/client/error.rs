//! What can go wrong between a client and its broker.

use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use crate::protocol::native::{EncodeError, ErrorCode, Frame};

/// Why a call of the client failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// There is no connection to be had.
    #[error("cannot reach a broker at {address}: {source}")]
    Unreachable {
        /// `host:port`.
        address: String,
        /// Why not.
        source: io::Error,
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
    /// The peer sent what no broker sends.
    #[error("the peer does not speak the native protocol as a broker does: {0}")]
    Protocol(String),
    /// The caller's values fit no frame.
    #[error(transparent)]
    Invalid(#[from] EncodeError),
}

impl ClientError {
    /// The code the broker refused with.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        if let ClientError::Refused { code, .. } = self { *code } else { None }
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

/// A number that a reply must carry.
pub(super) fn number<T: std::str::FromStr>(reply: &Frame, name: &str) -> Result<T, ClientError> {
    let value = reply.properties.get(name);
    value
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| ClientError::Protocol(format!("a reply with '{name}' = {value:?}")))
}
