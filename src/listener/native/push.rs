//! Pushing a partition's records to a subscriber: as DATA, or as whole batches.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::oneshot;

use super::NativeListener;
use super::errors::Refusal;
use super::incoming::TURN_BYTES;
use super::memory::Loan;
use super::outbox::{Data, Outbox, Payload, ReadAhead, Sent, SubscriptionId};
use super::reading::{bytes_of, read, show};
use crate::broker::PositionKey;
use crate::protocol::native::reply;
use crate::record::{Batch, Record};
use crate::replica::{AckLevel, Partition, ReadFailure};
use crate::types::{Offset, TopicName};

/// Bytes of batches read at a time.
const READ_BYTES: usize = 256 << 10;
/// DATA is handed to the connection in pieces of about this size, in bytes.
const DATA_BYTES: usize = 64 << 10;
/// Memory for a piece of DATA while it is made.
const MAKING_BYTES: usize = 2 * DATA_BYTES;

/// Batches that were read and are to be handed over.
#[derive(Debug)]
pub(super) struct Ahead<'a> {
    pub(super) batches: Vec<Batch>,
    /// Memory for them.
    loan: Loan,
    /// Memory for what is made of them.
    pub(super) making: Loan,
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
    /// Whether that is one large record.
    is_large: bool,
    /// The last record of what is encoded.
    last: Offset,
    /// Where to go on in the batch, if there is more of it.
    next: Option<Offset>,
    /// How much memory the record there needs, where there was none.
    need: usize,
}

/// What is to be done with the rest of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// There is none.
    Nothing,
    /// Go on with it.
    GoOn(Offset),
    /// Forget what was read, for others wait for memory, and read it anew.
    Anew {
        from: Offset,
        /// Bytes of memory that it needs beyond what reading takes.
        need: usize,
    },
}

impl Sending {
    /// Hands over what waits, waits until much may go, and says where to go on in the batch.
    pub(super) async fn rest(self, pushing: &Pushing, making: &mut Loan) -> Rest {
        if !self.waiting.is_empty() {
            let payload = pushing.payload(&self.waiting, self.is_large, self.last);
            pushing.hand_over(payload, self.last, making).await;
        }
        let Some(from) = self.next else { return Rest::Nothing };
        if self.need > 0 {
            return Rest::Anew { from, need: self.need };
        }
        tokio::select! {
            biased;
            () = pushing.outbox.half_empty() => Rest::GoOn(from),
            () = pushing.listener.memory.short() => Rest::Anew { from, need: 0 },
        }
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
        let (mut next, mut need) = (from, 0);
        loop {
            let mut ahead = match self.batches(&mut next, need).await {
                Ok(ahead) => ahead,
                Err(failure) => return self.end(&failure),
            };
            let Some(last) = ahead.batches.last() else { continue };
            let behind = last.header().next_offset();
            if let Some(position) = position {
                self.keep(position, behind).await;
            }
            let rest = if in_batches {
                self.push_whole(&mut ahead, next).await
            } else {
                self.push_records(&mut ahead, next).await
            };
            (next, need) = match rest {
                Rest::Anew { from, need } => (from, need),
                Rest::Nothing | Rest::GoOn(_) => (behind, 0),
            };
        }
    }

    /// The next batches, waiting for them, for room to send them and for memory, of which `need` bytes are for what is made
    /// of them. Where retention was faster, `next` moves on.
    pub(super) async fn batches(&self, next: &mut Offset, need: usize) -> Result<Ahead<'_>, ReadFailure> {
        loop {
            let readable = poll_fn(|context| self.partition.poll_readable(*next, context.waker())).await;
            readable.map_err(ReadFailure::Closed)?;
            match self.read(*next, READ_BYTES, need).await {
                Err(ReadFailure::OutOfRange { log_start, .. }) if log_start > *next => *next = log_start,
                other => return other,
            }
        }
    }

    /// The batches from an offset on, once they may be read. One larger than what is usually read is read again when
    /// there is memory for it.
    pub(super) async fn read(&self, from: Offset, bytes_max: usize, need: usize) -> Result<Ahead<'_>, ReadFailure> {
        let memory = &self.listener.memory;
        let mut wanted = READ_BYTES;
        loop {
            let mut leave = self.outbox.read_ahead(READ_BYTES).await;
            let mut loan = memory.take(wanted + MAKING_BYTES + need).await;
            let batches = read(memory, &self.partition, from, bytes_max).await?;
            let bytes = bytes_of(&batches);
            if bytes > wanted {
                wanted = bytes;
                continue;
            }
            leave.keep_only(bytes);
            let making = loan.split(MAKING_BYTES + need);
            loan.keep_only(bytes);
            if bytes >= TURN_BYTES {
                // One who catches up never waits by itself.
                tokio::task::yield_now().await;
            }
            return Ok(Ahead { batches, loan, making, _leave: leave });
        }
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

    async fn push_whole(&self, ahead: &mut Ahead<'_>, from: Offset) -> Rest {
        let Ahead { batches, loan, .. } = ahead;
        let (Some(first), Some(last)) = (batches.first(), batches.last()) else { return Rest::Nothing };
        let base_offset = first.header().base_offset;
        let mut head = BytesMut::new();
        let (now, partition) = (self.listener.now(), self.partition.name().partition);
        if let Err(error) = reply::batch(&mut head, base_offset, now, self.topic.as_str(), partition, bytes_of(batches))
        {
            self.unreadable(first, &error);
            return Rest::Nothing;
        }
        let payload = Payload::Batches(&head, batches, &self.partition);
        let hand_over = self.hand_over(payload, last.header().last_offset(), loan);
        tokio::select! {
            biased;
            () = hand_over => Rest::Nothing,
            () = self.listener.memory.short() => Rest::Anew { from, need: 0 },
        }
    }

    /// Pushes the records of batches from `from` on.
    async fn push_records(&self, ahead: &mut Ahead<'_>, from: Offset) -> Rest {
        let Ahead { batches, making, .. } = ahead;
        for batch in batches.iter().filter(|batch| !batch.header().attributes.is_control()) {
            let mut next = from;
            loop {
                match self.send_records(batch, next, making, |_, _| Choice::Send).rest(self, making).await {
                    Rest::Nothing => break,
                    Rest::GoOn(from) => next = from,
                    anew @ Rest::Anew { .. } => return anew,
                }
            }
        }
        Rest::Nothing
    }

    /// Sends records of a batch from `from` on, those that are chosen, as long as nothing has to wait. Taken apart a
    /// batch may be far larger than it is in the log: that is not kept while a peer takes its time.
    pub(super) fn send_records(
        &self,
        batch: &Batch,
        from: Offset,
        making: &mut Loan,
        mut choose: impl FnMut(Offset, u64) -> Choice,
    ) -> Sending {
        let mut sending = Sending { waiting: Bytes::new(), is_large: false, last: from, next: None, need: 0 };
        let mut frames = BytesMut::new();
        for record in self.records(batch).filter(|record| record.offset >= from) {
            if frames.is_empty() && !self.outbox.is_open_for_data() {
                sending.next = Some(record.offset);
                return sending;
            }
            let before = frames.len();
            if let Err(error) = show(&mut frames, self.partition.name(), &record) {
                self.unreadable(batch, &error);
            }
            let bytes = frames.len() - before;
            let is_large = bytes > DATA_BYTES;
            if is_large && before > 0 {
                // What is before it goes first, and it by itself.
                frames.truncate(before);
                sending.next = Some(record.offset);
                sending.waiting = frames.freeze();
                return sending;
            }
            if is_large && !making.reach(bytes) {
                (sending.next, sending.need) = (Some(record.offset), bytes);
                return sending;
            }
            match choose(record.offset, bytes as u64) {
                Choice::Send => sending.last = record.offset,
                Choice::Skip => frames.truncate(before),
                Choice::Stop => {
                    frames.truncate(before);
                    break;
                }
            }
            if frames.len() >= DATA_BYTES {
                let piece = frames.split().freeze();
                let data = self.data(self.payload(&piece, is_large, sending.last), sending.last);
                if self.outbox.try_data(&data, making) != Sent::Gone {
                    sending.next = Some(record.offset.plus(1)).filter(|next| *next < batch.header().next_offset());
                    return Sending { waiting: piece, is_large, ..sending };
                }
                // Where the socket took it all, this is the same memory again.
                drop(piece);
                frames.reserve(DATA_BYTES);
            }
        }
        Sending { waiting: frames.freeze(), ..sending }
    }

    fn payload<'a>(&'a self, frames: &'a Bytes, is_large: bool, last: Offset) -> Payload<'a> {
        if is_large { Payload::Record(frames, last, &self.partition) } else { Payload::Records(frames) }
    }

    /// The records of a batch, as far as they can be taken apart.
    fn records<'a>(&'a self, batch: &'a Batch) -> impl Iterator<Item = Record> + 'a {
        let records = batch.records().inspect_err(|error| self.unreadable(batch, error)).ok();
        let readable = |record: Result<Record, _>| record.inspect_err(|error| self.unreadable(batch, error)).ok();
        records.into_iter().flatten().map_while(readable)
    }

    /// Hands over records up to `last`, waiting until they may go.
    async fn hand_over(&self, payload: Payload<'_>, last: Offset, loan: &mut Loan) {
        let data = self.data(payload, last);
        loop {
            match self.outbox.try_data(&data, loan) {
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
