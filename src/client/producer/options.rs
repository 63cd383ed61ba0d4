//! How a producer works, and what it is given.

use std::time::Duration;

use bytes::Bytes;

use crate::client::{ClientError, ClientOptions};
use crate::protocol::native::AckLevel;
use crate::record::Compression;
use crate::types::{PartitionIndex, Timestamp};

/// Batches in flight per partition at most: as many as a broker remembers of an idempotent producer.
pub const IN_FLIGHT_MAX: usize = 5;

/// How a [`super::Producer`] works.
#[derive(Debug, Clone)]
pub struct ProducerOptions {
    /// The broker. A batch not answered within `request_timeout` counts as lost with its connection.
    pub client: ClientOptions,
    /// What an acknowledgement is to mean; `None` leaves it to the broker's policy. [`AckLevel::None`] is refused: a
    /// producer lives by its acknowledgements.
    pub ack: Option<AckLevel>,
    /// How long a batch that is not full waits for more records. None at all: whatever there is leaves as soon as fewer
    /// than `in_flight` batches of the partition are under way.
    pub linger: Duration,
    /// Bytes at which a batch is full, before compression. A larger record goes alone.
    pub batch_bytes: usize,
    /// Records at which a batch is full.
    pub batch_records: u32,
    /// Batches under way at the same time per partition, 1 to [`IN_FLIGHT_MAX`]. Without `idempotent` it is 1, since
    /// order could not be kept otherwise.
    pub in_flight: usize,
    /// How batches are compressed.
    pub compression: Compression,
    /// Bytes of all records that are not yet acknowledged; at more than that [`super::Producer::send`] waits. A larger
    /// record goes alone.
    pub buffer_bytes: usize,
    /// Whether the broker is to recognise batches sent again. Without, a lost acknowledgement makes duplicates.
    pub idempotent: bool,
    /// How long a record is tried before it fails with [`ClientError::Undelivered`].
    pub delivery_timeout: Duration,
    /// The longest first wait before what failed is tried again; it doubles with each failure. The wait itself is drawn
    /// between nothing and that.
    pub retry_backoff: Duration,
    /// The longest wait before what failed is tried again.
    pub retry_backoff_max: Duration,
    /// How often the partitions of the topics in use are asked for anew.
    pub metadata_refresh: Duration,
}

impl Default for ProducerOptions {
    fn default() -> ProducerOptions {
        ProducerOptions {
            client: ClientOptions::default(),
            ack: None,
            linger: Duration::from_millis(1),
            batch_bytes: 256 << 10,
            batch_records: 10_000,
            in_flight: IN_FLIGHT_MAX,
            compression: Compression::None,
            buffer_bytes: 32 << 20,
            idempotent: true,
            delivery_timeout: Duration::from_secs(120),
            retry_backoff: Duration::from_millis(100),
            retry_backoff_max: Duration::from_secs(5),
            metadata_refresh: Duration::from_secs(60),
        }
    }
}

impl ProducerOptions {
    /// Batches under way at the same time per partition.
    pub(super) fn flights(&self) -> usize {
        if self.idempotent { self.in_flight } else { 1 }
    }

    pub(super) fn check(&self) -> Result<(), ClientError> {
        let invalid = |text: &str| Err(ClientError::InvalidOptions(text.to_owned()));
        if self.ack == Some(AckLevel::None) {
            return invalid("a producer needs acknowledgements: ack cannot be none");
        }
        if !(1..=IN_FLIGHT_MAX).contains(&self.in_flight) {
            return invalid("in_flight lies between 1 and 5");
        }
        if self.batch_records == 0 || self.buffer_bytes == 0 || self.delivery_timeout.is_zero() {
            return invalid("batch_records, buffer_bytes and delivery_timeout cannot be 0");
        }
        Ok(())
    }
}

/// A record to be sent by a [`super::Producer`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProducerRecord {
    pub(super) key: Option<Bytes>,
    pub(super) value: Option<Bytes>,
    pub(super) headers: Vec<(Bytes, Option<Bytes>)>,
    pub(super) partition: Option<PartitionIndex>,
    pub(super) timestamp: Option<Timestamp>,
}

impl ProducerRecord {
    /// A record with this value and nothing else.
    pub fn new(value: impl Into<Bytes>) -> ProducerRecord {
        ProducerRecord { value: Some(value.into()), ..ProducerRecord::default() }
    }

    /// A record without a value: it says that what its key names is gone.
    pub fn tombstone(key: impl Into<Bytes>) -> ProducerRecord {
        ProducerRecord { key: Some(key.into()), ..ProducerRecord::default() }
    }

    /// Gives it a key: records of one key go to one partition.
    #[must_use]
    pub fn key(mut self, key: impl Into<Bytes>) -> ProducerRecord {
        self.key = Some(key.into());
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<Bytes>, value: impl Into<Bytes>) -> ProducerRecord {
        self.headers.push((name.into(), Some(value.into())));
        self
    }

    /// Chooses the partition; otherwise the key does, and without a key each has its turn.
    #[must_use]
    pub fn partition(mut self, partition: PartitionIndex) -> ProducerRecord {
        self.partition = Some(partition);
        self
    }

    /// Gives it a time; otherwise it has that of its sending, or, where batches linger for at most 2 ms, the time at
    /// which the first record of its batch was handed over.
    #[must_use]
    pub fn timestamp(mut self, timestamp: Timestamp) -> ProducerRecord {
        self.timestamp = Some(timestamp);
        self
    }
}
