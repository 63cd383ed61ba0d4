//! A partition's records as they arrive.

use tokio::sync::mpsc;

use super::error::ClientError;
use super::requests::Request;
use super::{Client, Message, given};
use crate::protocol::native::{FrameType, Properties, StartAt};
use crate::types::{Offset, PartitionIndex};

/// What to subscribe to, and how.
#[derive(Debug, Clone, Copy)]
pub struct SubscribeOptions {
    /// The partition.
    pub partition: PartitionIndex,
    /// Where to start.
    pub start: StartAt,
    /// Whether the broker counts a record as dealt with once it is sent. Otherwise each needs [`Subscription::ack`].
    pub auto_ack: bool,
    /// Whether the records' stamps come as well: see [`Message::stamp`].
    pub stamps: bool,
}

impl Default for SubscribeOptions {
    /// Partition 0 from offset 0 on, at most once, without stamps.
    fn default() -> SubscribeOptions {
        SubscribeOptions {
            partition: PartitionIndex(0),
            start: StartAt::Offset(Offset::ZERO),
            auto_ack: true,
            stamps: false,
        }
    }
}

/// The records of one partition. Dropping it lets the connection drop what still arrives;
/// [`Subscription::unsubscribe`] tells the broker.
#[derive(Debug)]
pub struct Subscription {
    client: Client,
    topic: String,
    partition: PartitionIndex,
    start_offset: u64,
    messages: mpsc::Receiver<Message>,
    ended: bool,
}

impl Subscription {
    pub(super) fn new(
        client: Client,
        topic: &str,
        partition: PartitionIndex,
        start_offset: u64,
        messages: mpsc::Receiver<Message>,
    ) -> Subscription {
        Subscription { client, topic: topic.to_owned(), partition, start_offset, messages, ended: false }
    }

    /// The offset of the first record there is or will be.
    #[must_use]
    pub fn start_offset(&self) -> u64 {
        self.start_offset
    }

    /// The next record, waiting for it; an error, once, where the connection is lost; then `None`.
    pub async fn next(&mut self) -> Option<Result<Message, ClientError>> {
        if let Some(message) = self.messages.recv().await {
            return Some(Ok(message));
        }
        if self.ended {
            return None;
        }
        self.ended = true;
        Some(Err(self.client.requests().closed()))
    }

    /// The next record where it is there already.
    pub fn try_next(&mut self) -> Option<Message> {
        self.messages.try_recv().ok()
    }

    /// Tells the broker that a record is dealt with (for `auto_ack: false`).
    ///
    /// # Errors
    /// [`ClientError::Closed`].
    pub async fn ack(&self, message: &Message) -> Result<(), ClientError> {
        let properties = self.address()?;
        let sequence = Some(message.offset().get());
        self.client.requests().send(Request { sequence, ..Request::new(FrameType::Ack, &properties, None) }).await
    }

    /// Ends the subscription: the broker sends nothing of it any more.
    ///
    /// # Errors
    /// [`ClientError::Refused`], and what every call may meet.
    pub async fn unsubscribe(mut self) -> Result<(), ClientError> {
        let properties = self.address()?;
        // Nobody reads any more: what is on its way must not hold up the answer.
        self.messages.close();
        let kind = FrameType::Unsubscribe;
        self.client.request(kind, properties, None).await?;
        Ok(())
    }

    fn address(&self) -> Result<Properties, ClientError> {
        given([
            ("topic", Some(self.topic.as_str())),
            ("partition", Some(self.partition.to_string().as_str())),
            ("client_id", self.client.options.client_id.as_deref()),
        ])
    }
}
