//! Sending records in batches, each stored once and in order.
//!
//! [`Producer::send`] appends a record to the open batch of its partition and returns; one task sends the batches, up
//! to five of a partition under way at the same time, and sends what was not acknowledged again until it is, or until
//! `delivery_timeout`. The broker recognises a batch sent again by its sequence, so nothing is stored twice.

mod batch;
mod buffers;
mod delivery;
mod gather;
mod lane;
mod options;
mod task;
mod topics;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

pub use delivery::Delivery;
pub use options::{IN_FLIGHT_MAX, ProducerOptions, ProducerRecord};

use super::Client;
use super::error::ClientError;
use crate::protocol::native::{FrameType, Properties};
use gather::Gather;
use task::Task;

/// Sends records in batches. Clones share it. When the last clone is dropped, what was handed over is still sent in
/// the background, for as long as the runtime lives; [`Producer::close`] waits for it.
#[derive(Debug, Clone)]
pub struct Producer {
    handle: Arc<Handle>,
}

/// Tells the task when nobody holds the producer any more.
#[derive(Debug)]
struct Handle {
    gather: Arc<Gather>,
    delivery_timeout: Duration,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.gather.close();
    }
}

impl Producer {
    /// Connects, and is given an identity by which the broker recognises what is sent again. From then on a lost
    /// connection is made anew.
    ///
    /// # Errors
    /// [`ClientError::InvalidOptions`], and what [`Client::connect`] may meet.
    pub async fn new(options: ProducerOptions) -> Result<Producer, ClientError> {
        options.check()?;
        let client = Client::connect(options.client.clone()).await?;
        let identity = if options.idempotent {
            let reply = client.request(FrameType::InitProducer, Properties::EMPTY, None).await?;
            Some(task::identity(&reply)?)
        } else {
            None
        };
        let gather = Arc::new(Gather::new(&options));
        let delivery_timeout = options.delivery_timeout;
        tokio::spawn(Task::new(Arc::clone(&gather), options, client, identity, Instant::now()).run());
        Ok(Producer { handle: Arc::new(Handle { gather, delivery_timeout }) })
    }

    /// Hands over a record. Waits for room in the buffer and, when a topic is used for the first time, for its
    /// partitions; what becomes of the record the [`Delivery`] tells. Records of one partition are stored in the order
    /// in which they were handed over.
    ///
    /// The partition is the record's own choice, else its key's, as the broker and Kafka's clients choose it; records
    /// with neither go to each partition in turn, one by one.
    ///
    /// # Errors
    /// [`ClientError::Refused`] for a topic or partition that does not exist, [`ClientError::TooLarge`],
    /// [`ClientError::Unbuildable`], [`ClientError::Ended`] after [`Producer::close`], [`ClientError::Undelivered`]
    /// where nothing was to be heard of the topic within `delivery_timeout`.
    pub async fn send(&self, topic: &str, record: ProducerRecord) -> Result<Delivery, ClientError> {
        self.handle.gather.send(topic, &record, self.handle.delivery_timeout).await
    }

    /// Sends everything handed over so far without further linger, and waits until it is stored or has failed: at most
    /// for `delivery_timeout`.
    ///
    /// # Errors
    /// The first failure of any record since the last call: where there is none, everything handed over is stored.
    pub async fn flush(&self) -> Result<(), ClientError> {
        self.handle.gather.flush().await
    }

    /// Takes no more records, and does as [`Producer::flush`]; then the connection is closed.
    ///
    /// # Errors
    /// As [`Producer::flush`].
    pub async fn close(&self) -> Result<(), ClientError> {
        self.handle.gather.close();
        self.flush().await
    }
}

#[cfg(test)]
mod tests;
