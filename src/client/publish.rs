//! Records on their way to the broker, and how many may be.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Sleep, sleep};

use super::error::{self, ClientError};
use crate::protocol::native::{AckLevel, Frame, Properties};
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

    pub(super) fn into_parts(self, topic: &str, client_id: Option<&str>) -> Result<(Properties, Bytes), ClientError> {
        let own = self.properties.iter().map(|(k, v)| (k.as_str(), v.as_str()));
        let client_id = client_id.map(|id| ("client_id", id));
        let pairs = [("topic", topic)].into_iter().chain(client_id).chain(own);
        Ok((Properties::from_pairs(pairs)?, self.body))
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
    answer: Option<oneshot::Receiver<Result<Frame, ClientError>>>,
    patience: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
    end: Arc<OnceLock<String>>,
}

impl Publishing {
    pub(super) fn new(
        answer: Option<oneshot::Receiver<Result<Frame, ClientError>>>,
        patience: Duration,
        end: Arc<OnceLock<String>>,
    ) -> Publishing {
        Publishing { answer, patience, deadline: None, end }
    }

    /// The result where it is there already.
    pub fn try_result(&mut self) -> Option<Result<Option<Position>, ClientError>> {
        let Some(answer) = &mut self.answer else {
            return Some(Ok(None));
        };
        match answer.try_recv() {
            Ok(answer) => Some(position(answer)),
            Err(oneshot::error::TryRecvError::Empty) => None,
            Err(oneshot::error::TryRecvError::Closed) => Some(Err(ClientError::closed(&self.end))),
        }
    }
}

impl Future for Publishing {
    type Output = Result<Option<Position>, ClientError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(answer) = &mut this.answer else {
            return Poll::Ready(Ok(None));
        };
        match Pin::new(answer).poll(cx) {
            Poll::Ready(Ok(answer)) => return Poll::Ready(position(answer)),
            Poll::Ready(Err(_)) => return Poll::Ready(Err(ClientError::closed(&this.end))),
            Poll::Pending => {}
        }
        let patience = this.patience;
        let deadline = this.deadline.get_or_insert_with(|| Box::pin(sleep(patience)));
        match deadline.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(ClientError::TimedOut { after: patience })),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl fmt::Debug for Publishing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publishing").finish_non_exhaustive()
    }
}

fn position(answer: Result<Frame, ClientError>) -> Result<Option<Position>, ClientError> {
    let reply = answer?;
    let offset: u64 = error::number(&reply, "offset")?;
    let offset = Offset::new(offset).ok_or_else(|| ClientError::Protocol(format!("offset {offset}")))?;
    Ok(Some(Position { partition: PartitionIndex(error::number(&reply, "partition")?), offset }))
}

/// The room for publishes in flight, counted in frames and in bytes.
#[derive(Debug, Clone)]
pub(super) struct Window {
    frames: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    bytes_max: u32,
}

/// The room one publish takes; given back when it is dropped.
#[derive(Debug)]
#[expect(dead_code, reason = "held for their release")]
pub(super) struct Permits(Option<OwnedSemaphorePermit>, Option<OwnedSemaphorePermit>);

impl Window {
    pub(super) fn new(frames_max: u32, bytes_max: u32) -> Window {
        let (frames_max, bytes_max) = (frames_max.max(1), bytes_max.max(1));
        Window {
            frames: Arc::new(Semaphore::new(frames_max as usize)),
            bytes: Arc::new(Semaphore::new(bytes_max as usize)),
            bytes_max,
        }
    }

    /// Waits until a publish of this size fits. One larger than the window takes all of it.
    pub(super) async fn room_for(&self, bytes: usize) -> Permits {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.bytes_max);
        // The semaphores are never closed, so neither wait can fail.
        let frame = Arc::clone(&self.frames).acquire_owned().await.ok();
        let bytes = Arc::clone(&self.bytes).acquire_many_owned(bytes).await.ok();
        Permits(frame, bytes)
    }
}
