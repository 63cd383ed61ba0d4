//! Records on their way to the broker, and how many may be.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Sleep, sleep};

use super::error::{self, ClientError};
use super::receipts::Receipt;
use crate::protocol::native::{AckLevel, Frame};
use crate::types::{Offset, PartitionIndex};

/// A record to be published.
#[derive(Debug, Clone, Default)]
pub struct NewRecord {
    body: Bytes,
    properties: Vec<(String, String)>,
}

impl NewRecord {
    /// A record with this payload and nothing else.
    pub fn new(body: impl Into<Bytes>) -> NewRecord {
        NewRecord { body: body.into(), properties: Vec::new() }
    }

    /// The same record with another payload.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> NewRecord {
        self.body = body.into();
        self
    }

    /// Chooses the partition; otherwise the broker does, by the key or in turn.
    #[must_use]
    pub fn partition(self, partition: PartitionIndex) -> NewRecord {
        self.property("partition", &partition.to_string())
    }

    /// Gives it a key.
    #[must_use]
    pub fn key(self, key: &str) -> NewRecord {
        self.property("key", key)
    }

    /// Says what the reply is to wait for.
    #[must_use]
    pub fn ack(self, level: AckLevel) -> NewRecord {
        self.property("wiber.ack", level.as_str())
    }

    /// Adds a property: a header, unless the name is one of the protocol's own.
    #[must_use]
    pub fn property(mut self, name: &str, value: &str) -> NewRecord {
        self.properties.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The properties of its frame.
    pub(super) fn pairs<'a>(
        &'a self,
        topic: &'a str,
        client_id: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        let own = self.properties.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let client_id = client_id.map(|id| ("client_id", id));
        [("topic", topic)].into_iter().chain(client_id).chain(own)
    }

    /// Its payload.
    pub(super) fn body(&self) -> &Bytes {
        &self.body
    }

    /// Whether it asks for no reply.
    pub(super) fn is_unanswered(&self) -> bool {
        let ack = self.properties.iter().find(|(name, _)| name == "wiber.ack");
        ack.is_some_and(|(_, level)| level == AckLevel::None.as_str())
    }
}

/// Where a record was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The partition.
    pub partition: PartitionIndex,
    /// The offset in it.
    pub offset: Offset,
}

/// A record under way. Resolves to its position, or to `None` for one that asked for no reply (`wiber.ack=none`).
///
/// Dropping it does not take the record back. The request timeout runs from the moment it is first awaited.
pub struct Publishing {
    receipt: Option<Receipt>,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Publishing {
    pub(super) fn new(receipt: Option<Receipt>) -> Publishing {
        Publishing { receipt, deadline: None }
    }

    /// The result where it is there already.
    pub fn try_result(&mut self) -> Option<Result<Option<Position>, ClientError>> {
        match &self.receipt {
            Some(receipt) => receipt.try_result().map(|result| result.map(Some)),
            None => Some(Ok(None)),
        }
    }
}

impl Future for Publishing {
    type Output = Result<Option<Position>, ClientError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(receipt) = &this.receipt else {
            return Poll::Ready(Ok(None));
        };
        if let Poll::Ready(result) = receipt.poll(cx.waker()) {
            return Poll::Ready(result.map(Some));
        }
        let after = receipt.patience();
        let deadline = this.deadline.get_or_insert_with(|| Box::pin(sleep(after)));
        deadline.as_mut().poll(cx).map(|()| Err(ClientError::TimedOut { after }))
    }
}

impl fmt::Debug for Publishing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publishing").finish_non_exhaustive()
    }
}

/// The position that the reply to a publish tells.
pub(super) fn position(reply: &Frame) -> Result<Position, ClientError> {
    let offset = error::offset(reply, "offset")?;
    Ok(Position { partition: PartitionIndex(error::number(reply, "partition")?), offset })
}

/// The room for publishes in flight, counted in frames and in bytes.
#[derive(Debug)]
pub(super) struct Window {
    frames: Semaphore,
    bytes: Semaphore,
    bytes_max: u32,
}

/// The room one publish takes; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Room<'a> {
    frame: SemaphorePermit<'a>,
    bytes: SemaphorePermit<'a>,
}

impl Room<'_> {
    /// How many bytes it is.
    pub(super) fn bytes(&self) -> u32 {
        u32::try_from(self.bytes.num_permits()).unwrap_or(u32::MAX)
    }

    /// Keeps it taken, until it is given back by [`Window::give_back`].
    pub(super) fn keep(self) {
        self.frame.forget();
        self.bytes.forget();
    }
}

impl Window {
    pub(super) fn new(frames_max: u32, bytes_max: u32) -> Window {
        let (frames_max, bytes_max) = (frames_max.max(1), bytes_max.max(1));
        Window { frames: Semaphore::new(frames_max as usize), bytes: Semaphore::new(bytes_max as usize), bytes_max }
    }

    /// Waits until a publish of this size fits. One larger than the window takes all of it. `None` where the connection
    /// is over.
    pub(super) async fn room_for(&self, bytes: usize) -> Option<Room<'_>> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.bytes_max);
        // Nobody is overtaken: while anybody waits, there is no permit to be had.
        let frame = match self.frames.try_acquire() {
            Ok(frame) => frame,
            Err(_) => self.frames.acquire().await.ok()?,
        };
        let bytes = match self.bytes.try_acquire_many(bytes) {
            Ok(bytes) => bytes,
            Err(_) => self.bytes.acquire_many(bytes).await.ok()?,
        };
        Some(Room { frame, bytes })
    }

    /// Gives back the room of publishes that are answered.
    pub(super) fn give_back(&self, frames: usize, bytes: usize) {
        self.frames.add_permits(frames);
        self.bytes.add_permits(bytes);
    }

    /// The connection is over: nobody waits for room any more.
    pub(super) fn close(&self) {
        self.frames.close();
        self.bytes.close();
    }
}
