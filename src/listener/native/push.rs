//! Pushing a partition's records to a subscriber: as DATA, or as whole batches.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::oneshot;

use super::NativeListener;
use super::errors::Refusal;
use super::incoming::TURN_BYTES;
use super::keeping::{Keeper, is_fenced};
use super::memory::Loan;
use super::outbox::{Data, Outbox, ReadAhead, Sent, SubscriptionId};
use super::prompt::Prompt;
use super::reading::{Beside, SMALL_BYTES, bytes_of, read, readable_promptly};
use super::shown::{Known, PIECE_BYTES_MAX, Piece};
use crate::protocol::native::{DataRecord, EncodeError, reply};
use crate::record::{Batch, Compression, Record, Records};
use crate::replica::{AckLevel, Partition, ReadFailure};
use crate::types::{Offset, Stamp, TopicName};

/// Bytes of batches read at a time.
const READ_BYTES: usize = 256 << 10;
/// DATA is handed to the connection in pieces of about this size, in bytes.
const DATA_BYTES: usize = 64 << 10;
/// Memory for a piece of DATA, if it is not one large record.
const PIECE_BYTES: usize = 2 * DATA_BYTES;
/// What a frame of DATA has beside the record and the topic's name, in bytes, roughly.
const FRAME_BYTES: usize = 64;
/// More than so many bytes are not sent on the thread that has committed them.
const PROMPT_BYTES_MAX: usize = 8 << 10;
/// Bytes read to find a record that is to be sent again: its batch, however large, is always among them.
const RESEND_READ_BYTES: usize = 1;

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

/// Where to go on later: what was read is forgotten meanwhile, and read anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pause {
    pub(super) from: Offset,
    /// Bytes that the record there is made into, where there was no memory for it.
    pub(super) bytes: usize,
}

impl Pause {
    /// Memory for what is made of the batches from there on.
    fn making(&self) -> Beside {
        if self.bytes > 0 { Beside::Needed(PIECE_BYTES + self.bytes) } else { Beside::Helps(PIECE_BYTES) }
    }
}

/// Records on their way.
#[derive(Debug)]
pub(super) struct Sending {
    /// Encoded, and not sent yet.
    waiting: Bytes,
    /// The last record of what is encoded.
    last: Offset,
    /// Where to go on, if there is more of the batch.
    pause: Option<Pause>,
}

impl Sending {
    /// Hands over what waits, and says where to go on in the batch.
    pub(super) async fn rest(self, pushing: &Pushing, making: &mut Loan) -> Option<Pause> {
        if !self.waiting.is_empty() {
            pushing.hand_over(&self.waiting, &[], self.last, making).await;
        }
        self.pause
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
    /// Whether DATA says the records' stamps.
    pub(super) stamps: bool,
    /// Whose position it moves, and as which member of a group it reads.
    pub(super) keeper: Option<Keeper>,
    /// Its task, where that may be carried on by who commits a record.
    pub(super) prompt: Option<Arc<Prompt>>,
}

/// Why a subscription ends.
#[derive(Debug)]
pub(super) enum Ended {
    /// Nothing can be read.
    Failure(ReadFailure),
    /// The member has lost the partition.
    Lost(Refusal),
}

impl From<ReadFailure> for Ended {
    fn from(failure: ReadFailure) -> Ended {
        Ended::Failure(failure)
    }
}

impl Pushing {
    /// Pushes records from `from` on until the subscription ends. Where it `moves` the position, that goes before them.
    pub(super) async fn push(&self, from: Offset, moves: bool, in_batches: bool) {
        let mut next = Pause { from, bytes: 0 };
        let mut kept = from;
        loop {
            let mut ahead = match self.batches(&mut next, !in_batches).await {
                Ok(ahead) => ahead,
                Err(ended) => return self.end(&ended),
            };
            let Some(last) = ahead.batches.last() else { continue };
            let behind = last.header().next_offset();
            if let Some(keeper) = self.keeper.as_ref().filter(|_| moves && behind > kept) {
                if let Err(lost) = self.keep(keeper, behind).await {
                    return self.end(&Ended::Lost(lost));
                }
                kept = behind;
            }
            let pause = if in_batches {
                self.push_whole(&mut ahead).await;
                None
            } else {
                self.push_records(&mut ahead, next.from).await
            };
            next = pause.unwrap_or(Pause { from: behind, bytes: 0 });
        }
    }

    /// The next batches, waiting for them, for room to send them and for memory, also for what is made of them where that
    /// is wanted. Where retention was faster, `next` moves on.
    pub(super) async fn batches(&self, next: &mut Pause, are_for_data: bool) -> Result<Ahead<'_>, Ended> {
        loop {
            let prompt = self.prompt.as_ref().map(|prompt| prompt.waker());
            readable_promptly(&self.partition, next.from, prompt.as_ref()).await.map_err(ReadFailure::Closed)?;
            let making = if are_for_data { next.making() } else { Beside::Helps(0) };
            match self.read(next.from, READ_BYTES, making).await {
                Err(ReadFailure::OutOfRange { log_start, .. }) if log_start > next.from => {
                    *next = Pause { from: log_start, bytes: 0 };
                }
                Ok(ahead) => {
                    let lost = self.keeper.as_ref().and_then(|keeper| keeper.lost(&self.listener.broker));
                    return lost.map_or(Ok(ahead), |lost| Err(Ended::Lost(lost)));
                }
                Err(failure) => return Err(Ended::Failure(failure)),
            }
        }
    }

    /// The batches from an offset on, once they may be read, and memory for what is made of them.
    async fn read(&self, from: Offset, bytes_max: usize, making: Beside) -> Result<Ahead<'_>, ReadFailure> {
        let memory = &self.listener.outgoing_memory;
        let mut leave = self.outbox.read_ahead(READ_BYTES).await;
        let bytes_max = bytes_max.min(memory.share());
        let (batches, mut loan) = read(memory, &self.partition, from, bytes_max, making).await?;
        let bytes = bytes_of(&batches);
        leave.keep_only(bytes);
        if let Some(prompt) = self.prompt.as_ref().filter(|_| bytes > PROMPT_BYTES_MAX) {
            prompt.give_way().await;
        }
        if bytes >= TURN_BYTES {
            // One who catches up never waits by itself.
            tokio::task::yield_now().await;
        }
        let batches_loan = loan.split(bytes);
        Ok(Ahead { batches, loan: batches_loan, making: loan, _leave: leave })
    }

    /// The batch that holds a record to be sent again, or what follows it; `bytes` is how large it is made.
    pub(super) async fn read_again(&self, record: &Pause) -> Result<Ahead<'_>, ReadFailure> {
        self.read(record.from, RESEND_READ_BYTES, record.making()).await
    }

    /// Keeps the position as safely as an acknowledgement is by default. Where that fails the records go out all the
    /// same: that they are read matters more than that a restart might bring them twice.
    /// A member that has lost the partition gets none.
    async fn keep(&self, keeper: &Keeper, offset: Offset) -> Result<(), Refusal> {
        let (broker, now) = (&self.listener.broker, self.listener.now());
        let (done, kept) = oneshot::channel();
        keeper.commit(broker, Some(&self.partition), (offset, broker.default_ack()), now, move |result| {
            let _gone = done.send(result);
        });
        if let Ok(Err(error)) = kept.await {
            if is_fenced(&error) {
                return Err(Refusal::from(&error));
            }
            if error.is_of_gone_topic() {
                // The subscription is about to end.
                return Ok(());
            }
            let connection = self.outbox.connection().0;
            tracing::warn!(connection, partition = %self.partition.name(), owner = %keeper.key.owner, %error, "a position cannot be kept; records are delivered without");
            keeper.commit(broker, Some(&self.partition), (offset, AckLevel::None), now, |_| {});
        }
        Ok(())
    }

    async fn push_whole(&self, ahead: &mut Ahead<'_>) {
        let Ahead { batches, loan, .. } = ahead;
        let (Some(first), Some(last)) = (batches.first(), batches.last()) else { return };
        let base_offset = first.header().base_offset;
        let mut head = BytesMut::new();
        let (now, partition) = (self.listener.now(), self.partition.name().partition);
        let total = bytes_of(batches);
        match reply::batch(&mut head, base_offset, now, self.topic.as_str(), partition, total) {
            Ok(()) => self.hand_over(&head.freeze(), batches, last.header().last_offset(), loan).await,
            Err(error) => self.unreadable(first, &error),
        }
    }

    /// Pushes the records of batches from `from` on.
    async fn push_records(&self, ahead: &mut Ahead<'_>, from: Offset) -> Option<Pause> {
        let Ahead { batches, making, .. } = ahead;
        for batch in batches.iter().filter(|batch| !batch.header().attributes.is_control()) {
            let sending = self.send_anew(batch, from, making, |_, _| Choice::Send);
            let pause = sending.rest(self, making).await;
            if pause.is_some() {
                return pause;
            }
        }
        None
    }

    /// As [`Pushing::send_records`], of records that go for the first time: others may be about to be sent the same.
    pub(super) fn send_anew(
        &self,
        batch: &Batch,
        from: Offset,
        making: &mut Loan,
        mut choose: impl FnMut(Offset, u64) -> Choice,
    ) -> Sending {
        // What others are shown says no stamps.
        let shared = if self.stamps { None } else { self.shown(batch, from) };
        let shared = shared.filter(|_| self.outbox.is_open_for_data() && making.reach(PIECE_BYTES));
        let Some(piece) = shared else { return self.send_records(batch, from, making, choose) };
        let (mut last, mut sent) = (from, 0);
        for &(offset, end) in &piece.records {
            if choose(offset, (end - sent) as u64) != Choice::Send {
                break;
            }
            (last, sent) = (offset, end);
        }
        Sending { waiting: piece.frames.slice(..sent), last, pause: None }
    }

    /// The records of a small batch from `from` on as frames, where others ask for them as well.
    fn shown(&self, batch: &Batch, from: Offset) -> Option<Arc<Piece>> {
        let header = batch.header();
        let frame_bytes = FRAME_BYTES + self.topic.as_str().len();
        let bytes = batch.bytes().len() + header.records_count as usize * frame_bytes;
        if bytes > PIECE_BYTES_MAX || header.attributes.compression() != Some(Compression::None) {
            return None;
        }
        let (from, shown) = (from.max(header.base_offset), &self.listener.shown);
        match shown.find(&self.partition, from) {
            Known::Piece(piece) => return Some(piece),
            Known::No => return None,
            Known::Wanted => {}
        }
        let (mut frames, mut records) = (BytesMut::with_capacity(bytes), Vec::new());
        for record in self.records(batch).1.filter(|record| record.offset >= from) {
            if let Err(error) = self.show(&mut frames, &record, None) {
                self.unreadable(batch, &error);
            }
            records.push((record.offset, frames.len()));
        }
        Some(shown.keep(&self.partition, from, Piece { frames: frames.freeze(), records }))
    }

    /// Sends records of a batch from `from` on, those that are chosen, as long as nothing has to wait: neither for room nor
    /// for memory. Taken apart a batch may be far larger than it is in the log: that is not kept while a peer takes its time.
    pub(super) fn send_records(
        &self,
        batch: &Batch,
        from: Offset,
        making: &mut Loan,
        mut choose: impl FnMut(Offset, u64) -> Choice,
    ) -> Sending {
        let mut frames = BytesMut::new();
        let (mut last, mut piece_bytes) = (from, 0);
        let pause_at = |from, bytes| Some(Pause { from, bytes });
        let (stamp, records) = self.records(batch);
        for record in records.filter(|record| record.offset >= from) {
            if frames.is_empty() {
                if !self.outbox.is_open_for_data() {
                    return Sending { waiting: Bytes::new(), last, pause: pause_at(record.offset, 0) };
                }
                piece_bytes = if making.reach(PIECE_BYTES) { DATA_BYTES } else { SMALL_BYTES };
            }
            let before = frames.len();
            if let Err(error) = self.show(&mut frames, &record, stamp) {
                self.unreadable(batch, &error);
            }
            let bytes = frames.len() - before;
            if bytes > piece_bytes && !making.reach(frames.len()) {
                frames.truncate(before);
                return Sending { waiting: frames.freeze(), last, pause: pause_at(record.offset, bytes) };
            }
            match choose(record.offset, bytes as u64) {
                Choice::Send => last = record.offset,
                Choice::Skip => frames.truncate(before),
                Choice::Stop => {
                    frames.truncate(before);
                    break;
                }
            }
            if frames.len() >= piece_bytes {
                let piece = frames.split().freeze();
                if self.outbox.try_data(&self.data(&piece, &[], last), making) != Sent::Gone {
                    let from = record.offset.plus(1);
                    let pause = pause_at(from, 0).filter(|_| from < batch.header().next_offset());
                    return Sending { waiting: piece, last, pause };
                }
                // Where the socket took it all, this is the same memory again.
                drop(piece);
                frames.reserve(DATA_BYTES);
            }
        }
        Sending { waiting: frames.freeze(), last, pause: None }
    }

    /// The stamp of a batch and its records, as far as they can be taken apart.
    fn records<'a>(&'a self, batch: &'a Batch) -> (Option<Stamp>, impl Iterator<Item = Record> + 'a) {
        let records = batch.records().inspect_err(|error| self.unreadable(batch, error)).ok();
        let records = records.map(Records::without_stamps);
        let stamp = records.as_ref().and_then(Records::stamp);
        let readable = |record: Result<Record, _>| record.inspect_err(|error| self.unreadable(batch, error)).ok();
        (stamp, records.into_iter().flatten().map_while(readable))
    }

    /// Adds the frame that shows a record of a batch with this stamp.
    fn show(&self, frames: &mut BytesMut, record: &Record, stamp: Option<Stamp>) -> Result<(), EncodeError> {
        let shown = DataRecord {
            topic: self.topic.as_str(),
            partition: self.partition.name().partition,
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            stamp: self.stamps.then(|| stamp.unwrap_or_else(|| Stamp::first_of(record.timestamp))),
        };
        let headers = record.headers.iter().map(|header| (&header.key[..], header.value.as_deref()));
        reply::data(frames, &shown, headers)
    }

    /// Hands over frames with records up to `last`, and batches that are the body of the last frame, waiting until they may
    /// go.
    async fn hand_over(&self, frames: &Bytes, batches: &[Batch], last: Offset, loan: &mut Loan) {
        let data = self.data(frames, batches, last);
        loop {
            match self.outbox.try_data(&data, loan) {
                Sent::Gone => return,
                Sent::Wait => self.outbox.data_may_go(&data).await,
                // The task is about to be aborted.
                Sent::Ended => std::future::pending().await,
            }
        }
    }

    fn data<'a>(&'a self, frames: &'a Bytes, batches: &'a [Batch], last: Offset) -> Data<'a> {
        let partition = self.partition.name().partition;
        Data { subscription: self.id, topic: &self.topic, partition, last, frames, batches }
    }

    /// Tells the client that the subscription has ended, and why: it may subscribe anew as soon as it knows.
    pub(super) fn end(&self, ended: &Ended) {
        let mut refusal = match ended {
            Ended::Failure(failure) => {
                if !matches!(failure, ReadFailure::Closed(_)) {
                    let connection = self.outbox.connection().0;
                    tracing::warn!(connection, partition = %self.partition.name(), %failure, "a subscription ended");
                }
                Refusal::from(failure)
            }
            Ended::Lost(refusal) => refusal.clone(),
        };
        self.outbox.end(self.id);
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
