//! Reading a topic as a stream of records.

mod options;

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

pub use options::{DeliveryMode, OutOfRange, Partitions, SubscriberOptions};

use super::error::ClientError;
use super::record::Record;
use crate::types::Offset;

/// The records of a topic, those of each partition in their order.
#[derive(Debug)]
pub struct Subscriber {}

impl Subscriber {
    /// Connects and subscribes.
    ///
    /// # Errors
    /// [`ClientError::InvalidOptions`], [`ClientError::Refused`], and what [`super::Client::connect`] may meet.
    pub async fn subscribe(options: SubscriberOptions, topic: &str) -> Result<Subscriber, ClientError> {
        options.check()?;
        Err(ClientError::InvalidOptions(topic.to_owned()))
    }

    /// The next record, waiting for it; `None` after an error that ended the stream. A lost connection is no error: it
    /// is made anew.
    pub async fn next(&mut self) -> Option<Result<Record, ClientError>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Keeps the position after this record, and waits until the broker has it.
    ///
    /// # Errors
    /// [`ClientError::InvalidOptions`] without a client id; [`ClientError::Refused`], and what every call may meet.
    pub async fn commit(&self, record: &Record) -> Result<Offset, ClientError> {
        Ok(record.offset)
    }

    /// Keeps the position after this record, some time within `commit_interval`; the latest of a partition counts.
    /// [`Subscriber::close`] waits for it.
    pub fn commit_async(&self, record: &Record) {
        let _offset = record.offset;
    }

    /// How many offsets were passed over because their records were no longer kept.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        0
    }

    /// Sends the positions not yet kept, and closes the connection.
    ///
    /// # Errors
    /// As [`Subscriber::commit`].
    pub async fn close(self) -> Result<(), ClientError> {
        Ok(())
    }
}

impl Stream for Subscriber {
    type Item = Result<Record, ClientError>;

    fn poll_next(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(None)
    }
}
