//! A record as a subscriber receives it.

use bytes::Bytes;

use super::error::ClientError;
use crate::protocol::native::{Frame, Properties, decode_base64, reply::STAMP, reply::TOMBSTONE};
use crate::types::{Offset, Stamp, Timestamp};

/// One record of a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    frame: Frame,
    offset: Offset,
}

impl Message {
    pub(super) fn from_frame(frame: Frame) -> Result<Message, ClientError> {
        match Offset::new(frame.sequence) {
            Some(offset) => Ok(Message { frame, offset }),
            None => Err(ClientError::Protocol(format!("offset {}", frame.sequence))),
        }
    }

    /// Its offset in the partition.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// Its time.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.frame.timestamp
    }

    /// Its stamp, where the subscription asked for stamps.
    #[must_use]
    pub fn stamp(&self) -> Option<Stamp> {
        Stamp::from_hex(self.frame.properties.get(STAMP)?.as_bytes())
    }

    /// Its payload; empty for a tombstone.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.frame.body
    }

    /// Whether its value is null.
    #[must_use]
    pub fn is_tombstone(&self) -> bool {
        self.frame.properties.get(TOMBSTONE) == Some("true")
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> Option<Bytes> {
        if let Some(text) = self.frame.properties.get("key") {
            return Some(Bytes::copy_from_slice(text.as_bytes()));
        }
        let encoded = self.frame.properties.get("key.b64")?;
        decode_base64(encoded).ok().map(Bytes::from)
    }

    /// Its headers as they were sent: a value that is no text stands in base64 under `<name>.b64`.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let own = ["topic", "partition", "key", "key.b64", TOMBSTONE, STAMP];
        let pairs = self.frame.properties.iter();
        pairs.filter(move |(name, _)| !own.contains(name))
    }

    /// All properties of its frame.
    #[must_use]
    pub fn properties(&self) -> &Properties {
        &self.frame.properties
    }
}
