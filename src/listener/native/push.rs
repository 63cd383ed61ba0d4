//! Pushing a partition's records to a subscriber: as DATA, or as whole batches.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::oneshot;

use super::NativeListener;
use super::errors::Refusal;
use super::incoming::TURN_BYTES;
use super::outbox::{Data, Outbox, Payload, ReadAhead, Sent, SubscriptionId};
use super::reading::read;
use crate::broker::PositionKey;
use crate::protocol::native::{DataRecord, reply};
use crate::record::{Batch, Compression, Record};
use crate::replica::{AckLevel, Partition, ReadFailure};
use crate::types::{Offset, TopicName};

/// Bytes of batches read at a time.
const READ_BYTES: usize = 256 << 10;
/// DATA is handed to the connection in pieces of about this size, in bytes.
const DATA_BYTES: usize = 64 << 10;

/// Batches that were read and are to be handed over.
#[derive(Debug)]
pub(super) struct Ahead<'a> {
    pub(super) batches: Vec<Batch>,
    _leave: ReadAhead<'a>,
}

/// What becomes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    Send,
    Skip,
    /// It and what follows it must wait.
    Stop,
}

/// Records on their way.
#[derive(Debug)]
pub(super) struct Sending {
    /// Encoded, and not sent yet.
    waiting: Bytes,
    /// The last record of what is encoded.
    last: Offset,
    /// Where to go on in the batch, if there is more of it.
    next: Option<Offset>,
}

impl Sending {
    /// Hands over what waits, and says where to go on in the batch. One that must be decompressed for that is gone on
    /// with only once much may go.
    pub(super) async fn rest(self, pushing: &Pushing, batch: &Batch) -> Option<Offset> {
        if !self.waiting.is_empty() {
            pushing.hand_over(Payload::Records(&self.waiting), self.last).await;
        }
        let is_plain = batch.header().attributes.compression() == Some(Compression::None);
        if self.next.is_some() && !is_plain {
            pushing.outbox.half_empty().await;
        }
        self.next
    }
}

/// A subscription at work.
#[derive(Debug)]
pub(super) struct Pushing {
    pub(super) listener: Arc<NativeListener>,
    pub(super) topic: TopicName,
    pub(super) partition: Arc<Partition>,
    pub(super) id: SubscriptionId,
    pub(super) outbox: Arc<Outbox>,
}

impl Pushing {
    /// Pushes records from `from` on until the subscription ends. Where a position is kept it moves before they go.
    pub(super) async fn push(&self, from: Offset, position: Option<&PositionKey>, in_batches: bool) {
        let mut next = from;
        loop {
            let ahead = match self.batches(&mut next).await {
                Ok(ahead) => ahead,
                Err(failure) => return self.end(&failure),
            };
            let batches = &ahead.batches;
            let Some(last) = batches.last() else { continue };
            let behind = last.header().next_offset();
            if let Some(position) = position {
                self.keep(position, behind).await;
            }
            if in_batches {
                self.push_whole(batches).await;
            } else {
                for batch in batches {
                    self.push_records(batch, next).await;
                }
            }
            next = behind;
        }
    }

    /// The next batches, waiting for them, and for room to send them. Where retention was faster, `next` moves on.
    pub(super) async fn batches(&self, next: &mut Offset) -> Result<Ahead<'_>, ReadFailure> {
        loop {
            let readable = poll_fn(|context| self.partition.poll_readable(*next, context.waker())).await;
            readable.map_err(ReadFailure::Closed)?;
            match self.read(*next, READ_BYTES).await {
                Err(ReadFailure::OutOfRange { log_start, .. }) if log_start > *next => *next = log_start,
                other => return other,
            }
        }
    }

    /// The batches from an offset on, once they may be read.
    pub(super) async fn read(&self, from: Offset, bytes_max: usize) -> Result<Ahead<'_>, ReadFailure> {
        let mut leave = self.outbox.read_ahead(READ_BYTES).await;
        let batches = read(&self.partition, from, bytes_max).await?;
        let bytes = batches.iter().map(|batch| batch.bytes().len()).sum();
        leave.keep_only(bytes);
        if bytes >= TURN_BYTES {
            // One who catches up never waits by itself.
            tokio::task::yield_now().await;
        }
        Ok(Ahead { batches, _leave: leave })
    }

    /// Keeps the position as safely as an acknowledgement is by default. Where that fails the records go out all the
    /// same: that they are read matters more than that a restart might bring them twice.
    async fn keep(&self, position: &PositionKey, offset: Offset) {
        let (broker, now) = (&self.listener.broker, self.listener.now());
        let (done, kept) = oneshot::channel();
        broker.commit_read(&self.partition, position.clone(), offset, broker.default_ack(), now, move |result| {
            let _gone = done.send(result);
        });
        if let Ok(Err(error)) = kept.await {
            let connection = self.outbox.connection().0;
            tracing::warn!(connection, partition = %self.partition.name(), client_id = %position.client_id, %error, "a position cannot be kept; records are delivered without");
            broker.commit_read(&self.partition, position.clone(), offset, AckLevel::None, now, |_| {});
        }
    }

    async fn push_whole(&self, batches: &[Batch]) {
        let (Some(first), Some(last)) = (batches.first(), batches.last()) else { return };
        let base_offset = first.header().base_offset;
        let total = batches.iter().map(|batch| batch.bytes().len()).sum();
        let mut head = BytesMut::new();
        let (now, partition) = (self.listener.now(), self.partition.name().partition);
        match reply::batch(&mut head, base_offset, now, self.topic.as_str(), partition, total) {
            Ok(()) => self.hand_over(Payload::Batches(&head, batches), last.header().last_offset()).await,
            Err(error) => self.unreadable(first, &error),
        }
    }

    /// Pushes the records of a batch from `from` on.
    async fn push_records(&self, batch: &Batch, from: Offset) {
        if batch.header().attributes.is_control() {
            return;
        }
        let mut next = Some(from);
        while let Some(from) = next {
            next = self.send_records(batch, from, |_, _| Choice::Send).rest(self, batch).await;
        }
    }

    /// Sends records of a batch from `from` on, those that are chosen, as long as nothing has to wait. Taken apart a
    /// batch may be far larger than it is in the log: that is not kept while a peer takes its time.
    pub(super) fn send_records(
        &self,
        batch: &Batch,
        from: Offset,
        mut choose: impl FnMut(Offset, u64) -> Choice,
    ) -> Sending {
        let mut last = from;
        let mut waiting = BytesMut::new();
        for record in self.records(batch).filter(|record| record.offset >= from) {
            let before = waiting.len();
            self.encode(&mut waiting, batch, &record);
            let bytes = (waiting.len() - before) as u64;
            match choose(record.offset, bytes) {
                Choice::Send => last = record.offset,
                Choice::Skip => waiting.truncate(before),
                Choice::Stop => {
                    waiting.truncate(before);
                    break;
                }
            }
            if waiting.len() >= DATA_BYTES {
                let frames = waiting.split().freeze();
                if self.outbox.try_data(&self.data(Payload::Records(&frames), last)) != Sent::Gone {
                    let next = Some(record.offset.plus(1)).filter(|next| *next < batch.header().next_offset());
                    return Sending { waiting: frames, last, next };
                }
                // Where the socket took it all, this is the same memory again.
                drop(frames);
                waiting.reserve(DATA_BYTES);
            }
        }
        Sending { waiting: waiting.freeze(), last, next: None }
    }

    /// The records of a batch, as far as they can be taken apart.
    fn records<'a>(&'a self, batch: &'a Batch) -> impl Iterator<Item = Record> + 'a {
        let records = batch.records().inspect_err(|error| self.unreadable(batch, error)).ok();
        let readable = |record: Result<Record, _>| record.inspect_err(|error| self.unreadable(batch, error)).ok();
        records.into_iter().flatten().map_while(readable)
    }

    pub(super) fn encode(&self, bytes: &mut BytesMut, batch: &Batch, record: &Record) {
        let shown = DataRecord {
            topic: self.topic.as_str(),
            partition: self.partition.name().partition,
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
        };
        let headers = record.headers.iter().map(|header| (&header.key[..], header.value.as_deref()));
        if let Err(error) = reply::data(bytes, &shown, headers) {
            self.unreadable(batch, &error);
        }
    }

    /// Hands over records up to `last`, waiting until they may go.
    async fn hand_over(&self, payload: Payload<'_>, last: Offset) {
        let data = self.data(payload, last);
        loop {
            match self.outbox.try_data(&data) {
                Sent::Gone => return,
                Sent::Wait => self.outbox.data_may_go(&data).await,
                // The task is about to be aborted.
                Sent::Ended => std::future::pending().await,
            }
        }
    }

    fn data<'a>(&'a self, payload: Payload<'a>, last: Offset) -> Data<'a> {
        let partition = self.partition.name().partition;
        Data { subscription: self.id, topic: &self.topic, partition, last, payload }
    }

    /// Tells the client that the subscription has ended, and why: it may subscribe anew as soon as it knows.
    pub(super) fn end(&self, failure: &ReadFailure) {
        if !matches!(failure, ReadFailure::Closed(_)) {
            let connection = self.outbox.connection().0;
            tracing::warn!(connection, partition = %self.partition.name(), %failure, "a subscription ended");
        }
        self.outbox.end(self.id);
        let mut refusal = Refusal::from(failure);
        refusal.details.push(("topic", self.topic.to_string()));
        refusal.details.push(("partition", self.partition.name().partition.to_string()));
        self.outbox.tell(&refusal);
    }

    /// A producer's records that cannot be taken apart are its own mistake: they are passed over.
    pub(super) fn unreadable(&self, batch: &Batch, error: &dyn std::error::Error) {
        let offset = batch.header().base_offset.get();
        let connection = self.outbox.connection().0;
        tracing::warn!(connection, partition = %self.partition.name(), offset, %error, "records that cannot be shown are passed over");
    }
}
