//! A record to be sent whose parts are borrowed.

use bytes::Bytes;

use super::options::ProducerRecord;
use crate::types::{PartitionIndex, Timestamp};

/// A record to be sent by [`super::Producer::send_all`], made of what belongs to somebody else: it is copied once, into
/// its batch. What is [`AsRef<[u8]>`](AsRef) becomes a record with that value and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecordRef<'a> {
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: &'a [(Bytes, Option<Bytes>)],
    pub(super) partition: Option<PartitionIndex>,
    pub(super) timestamp: Option<Timestamp>,
}

impl<'a> RecordRef<'a> {
    /// A record with this value and nothing else.
    #[must_use]
    pub fn new(value: &'a [u8]) -> RecordRef<'a> {
        RecordRef { value: Some(value), ..RecordRef::default() }
    }

    /// A record without a value: it says that what its key names is gone.
    #[must_use]
    pub fn tombstone(key: &'a [u8]) -> RecordRef<'a> {
        RecordRef { key: Some(key), ..RecordRef::default() }
    }

    /// As [`ProducerRecord::key`].
    #[must_use]
    pub fn key(self, key: &'a [u8]) -> RecordRef<'a> {
        RecordRef { key: Some(key), ..self }
    }

    /// Gives it headers.
    #[must_use]
    pub fn headers(self, headers: &'a [(Bytes, Option<Bytes>)]) -> RecordRef<'a> {
        RecordRef { headers, ..self }
    }

    /// As [`ProducerRecord::partition`].
    #[must_use]
    pub fn partition(self, partition: PartitionIndex) -> RecordRef<'a> {
        RecordRef { partition: Some(partition), ..self }
    }

    /// As [`ProducerRecord::timestamp`].
    #[must_use]
    pub fn timestamp(self, timestamp: Timestamp) -> RecordRef<'a> {
        RecordRef { timestamp: Some(timestamp), ..self }
    }

    /// Bytes of its value.
    #[inline]
    pub(super) fn value_bytes(&self) -> usize {
        self.value.map_or(0, <[u8]>::len)
    }

    /// Bytes of its parts.
    #[inline]
    pub(super) fn bytes(&self) -> usize {
        let header = |(name, value): &(Bytes, Option<Bytes>)| name.len() + value.as_ref().map_or(0, Bytes::len);
        let headers: usize = self.headers.iter().map(header).sum();
        self.key.map_or(0, <[u8]>::len) + self.value_bytes() + headers
    }
}

impl<'a> From<&'a ProducerRecord> for RecordRef<'a> {
    fn from(record: &'a ProducerRecord) -> RecordRef<'a> {
        RecordRef {
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &record.headers,
            partition: record.partition,
            timestamp: record.timestamp,
        }
    }
}

impl<'a, 'b: 'a> From<&'a RecordRef<'b>> for RecordRef<'a> {
    #[inline]
    fn from(record: &'a RecordRef<'b>) -> RecordRef<'a> {
        *record
    }
}

impl<'a, T: AsRef<[u8]>> From<&'a T> for RecordRef<'a> {
    #[inline]
    fn from(value: &'a T) -> RecordRef<'a> {
        RecordRef::new(value.as_ref())
    }
}
