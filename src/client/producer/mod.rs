//! Sending records in batches, each stored once and in order.
//!
//! [`Producer::send`] appends a record to the open batch of its partition and returns; one task sends the batches, up
//! to five of a partition under way at the same time, and sends what was not acknowledged again until it is, or until
//! `delivery_timeout`. The broker recognises a batch sent again by its sequence, so nothing is stored twice.

mod batch;
mod buffers;
mod deliveries;
mod delivery;
mod gather;
mod lane;
mod options;
mod record_ref;
mod task;
mod topics;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

pub use deliveries::{Delivered, Deliveries};
pub use delivery::Delivery;
pub use options::{IN_FLIGHT_MAX, ProducerOptions, ProducerRecord};
pub use record_ref::RecordRef;

use super::Client;
use super::error::ClientError;
use super::on_demand::OnDemand;
use crate::protocol::native::{ErrorCode, FrameType, Properties};
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
    /// For what has to do with topics.
    broker: OnDemand,
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
    /// The broker is named by its address, as in `Producer::new("127.0.0.1:9999")`, or by [`ProducerOptions`], which say
    /// everything else as well.
    ///
    /// # Errors
    /// [`ClientError::InvalidOptions`], and what [`Client::connect`] may meet.
    pub async fn new<B>(broker: B) -> Result<Producer, ClientError>
    where
        B: TryInto<ProducerOptions>,
        ClientError: From<B::Error>,
    {
        let options = broker.try_into()?;
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
        let broker = OnDemand::new(options.client.clone());
        tokio::spawn(Task::new(Arc::clone(&gather), options, client, identity, Instant::now()).run());
        Ok(Producer { handle: Arc::new(Handle { gather, delivery_timeout, broker }) })
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
        self.handle.gather.send(topic, &(&record).into(), self.handle.delivery_timeout).await
    }

    /// Hands over records, in their order, as [`Producer::send`] does each: but what costs the same for one as for many,
    /// it costs once. That pays where a message takes little time to make, and from some tens of them on.
    ///
    /// Records are borrowed, and copied once, into their batches: `&["one", "two"]` sends two values; keys and all the
    /// rest come with [`RecordRef`], or `&[ProducerRecord]`. Records without a key that have not chosen a partition go
    /// together to the one whose turn it is. Those that get their time here get the same.
    ///
    /// What became of them [`Deliveries`] tells, and [`Producer::flush`].
    ///
    /// # Errors
    /// As [`Producer::send`], at the first record that cannot be handed over: those before it were. Where the returned
    /// future is dropped, some may have been.
    pub async fn send_all<'a, T>(&self, topic: &str, records: &'a [T]) -> Result<Deliveries, ClientError>
    where
        RecordRef<'a>: From<&'a T>,
    {
        self.handle.gather.send_all(topic, records, self.handle.delivery_timeout).await
    }

    /// Creates a topic with one partition. One that exists is as good, however many partitions it has.
    ///
    /// # Errors
    /// [`ClientError::Refused`], and what every call may meet.
    pub async fn add_topic(&self, topic: impl AsRef<str>) -> Result<(), ClientError> {
        let client = self.handle.broker.client().await?;
        match client.create_topic(topic.as_ref(), Some(1), None).await {
            Err(error) if error.code() == Some(ErrorCode::TopicExists) => Ok(()),
            created => created.map(|_| ()),
        }
    }

    /// Deletes a topic with everything in it.
    ///
    /// # Errors
    /// [`ClientError::Refused`] where there is none, and what every call may meet.
    pub async fn remove_topic(&self, topic: impl AsRef<str>) -> Result<(), ClientError> {
        self.handle.broker.client().await?.delete_topic(topic.as_ref()).await
    }

    /// Sends a record with this value; when it returns, the broker has acknowledged it. Many at a time go faster by
    /// [`Producer::send`], which also says where they were stored.
    ///
    /// # Errors
    /// As [`Producer::send`] and the [`Delivery`] it returns.
    pub async fn send_message(&self, topic: impl AsRef<str>, value: impl AsRef<[u8]>) -> Result<(), ClientError> {
        let record = ProducerRecord::new(Bytes::copy_from_slice(value.as_ref()));
        self.send(topic.as_ref(), record).await?.await.map(|_| ())
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
