//! Records on their way to the broker, and how many may be.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Sleep, sleep};

use super::error::{self, ClientError};
use super::receipts::Receipt;
use crate::protocol::native::{AckLevel, EncodeError, Frame, FrameWriter, Properties};
use crate::types::{Offset, PartitionIndex};

/// Names of properties.
const TOPIC: &str = "topic";
const CLIENT_ID: &str = "client_id";
const ACK: &str = "wiber.ack";

/// A record to be published.
#[derive(Debug, Clone, Default)]
pub struct NewRecord {
    body: Bytes,
    /// Shared by those made of one another, since often many differ by nothing but their payload.
    properties: Option<Arc<Extra>>,
}

/// The properties of a record.
#[derive(Debug, Clone, Default)]
struct Extra {
    /// As they stand in its frame.
    wire: Vec<u8>,
    /// Why no frame can carry them.
    error: Option<EncodeError>,
    /// What the first of that name says of the acknowledgement.
    ack: Option<String>,
}

impl NewRecord {
    /// A record with this payload and nothing else.
    pub fn new(body: impl Into<Bytes>) -> NewRecord {
        NewRecord { body: body.into(), properties: None }
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
        self.property(ACK, level.as_str())
    }

    /// Adds a property: a header, unless the name is one of the protocol's own.
    #[must_use]
    pub fn property(mut self, name: &str, value: &str) -> NewRecord {
        let extra = Arc::make_mut(self.properties.get_or_insert_default());
        match Properties::from_pairs([(name, value)]) {
            Ok(pair) => extra.wire.extend_from_slice(pair.as_wire()),
            Err(error) => {
                extra.error.get_or_insert(error);
            }
        }
        if name == ACK {
            extra.ack.get_or_insert_with(|| value.to_owned());
        }
        self
    }

    /// Writes the properties of its frame.
    pub(super) fn write(
        &self,
        topic: &str,
        client_id: Option<&str>,
        frame: &mut FrameWriter<'_>,
    ) -> Result<(), EncodeError> {
        frame.property(TOPIC, topic)?;
        if let Some(client_id) = client_id {
            frame.property(CLIENT_ID, client_id)?;
        }
        let Some(extra) = &self.properties else { return Ok(()) };
        frame.raw_properties(&extra.wire);
        extra.error.clone().map_or(Ok(()), Err)
    }

    /// Bytes of the properties of its frame.
    pub(super) fn properties_bytes(&self, topic: &str, client_id: Option<&str>) -> usize {
        // Each with the byte between its name and its value, and the one after it.
        let pair = |name: &str, value: &str| name.len() + value.len() + 2;
        let own = self.properties.as_ref().map_or(0, |extra| extra.wire.len());
        pair(TOPIC, topic) + client_id.map_or(0, |id| pair(CLIENT_ID, id)) + own
    }

    /// Its payload.
    pub(super) fn body(&self) -> &Bytes {
        &self.body
    }

    /// Leaves it without its payload.
    pub(super) fn take_body(&mut self) -> Bytes {
        std::mem::take(&mut self.body)
    }

    /// Gives the payload back.
    pub(super) fn give_body(&mut self, body: Bytes) {
        self.body = body;
    }

    /// Whether it asks for no reply.
    pub(super) fn is_unanswered(&self) -> bool {
        let ack = self.properties.as_ref().and_then(|extra| extra.ack.as_deref());
        ack.is_some_and(|level| level == AckLevel::None.as_str())
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

    /// The room for a publish of this size, where there is room now and nobody waits for it.
    #[inline]
    pub(super) fn try_room_for(&self, bytes: usize) -> Option<Room<'_>> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.bytes_max);
        let frame = self.frames.try_acquire().ok()?;
        let bytes = self.bytes.try_acquire_many(bytes).ok()?;
        Some(Room { frame, bytes })
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

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::protocol::native::{Decoded, FrameCodec, FrameLimits, FrameType};
    use crate::types::Timestamp;

    /// The properties of the record's frame.
    fn written(record: &NewRecord, client_id: Option<&str>) -> Result<Properties, EncodeError> {
        let mut bytes = BytesMut::new();
        let mut frame = FrameWriter::new(&mut bytes, FrameType::Publish, 1, Timestamp::NONE);
        record.write("t", client_id, &mut frame)?;
        frame.finish(record.body())?;
        match FrameCodec::new(FrameLimits::for_messages(100)).next(&mut bytes) {
            Some(Decoded::Frame(frame)) => Ok(frame.properties),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn properties_come_in_order_and_are_counted() {
        let plain = NewRecord::new("body");
        let keyed = plain.clone().key("k").partition(PartitionIndex(7));
        let more = keyed.clone().property("h", "").with_body("other");
        for (record, client_id, expected) in [
            (&plain, None, "topic=t\0"),
            (&plain, Some("c"), "topic=t\0client_id=c\0"),
            (&keyed, Some("c"), "topic=t\0client_id=c\0key=k\0partition=7\0"),
            (&more, None, "topic=t\0key=k\0partition=7\0h=\0"),
        ] {
            let properties = written(record, client_id).expect("good");
            assert_eq!(properties.as_wire(), expected.as_bytes());
            assert_eq!(record.properties_bytes("t", client_id), expected.len());
        }
        let answered = NewRecord::new("x").ack(AckLevel::Leader).ack(AckLevel::None);
        assert!(!answered.is_unanswered(), "the first counts");
        assert!(NewRecord::new("x").key("k").ack(AckLevel::None).is_unanswered());
    }

    #[test]
    fn what_no_frame_can_carry_is_told_when_it_is_to_be_written() {
        for (name, value) in [("", "v"), ("a=b", "v"), ("a", "v\0")] {
            let record = NewRecord::new("x").key("k").property(name, value).property("h", "v");
            let error = written(&record, None).expect_err("no such property");
            assert_eq!(Some(error), Properties::from_pairs([(name, value)]).err());
        }
    }
}
