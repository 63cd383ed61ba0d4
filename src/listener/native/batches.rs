//! Whole record batches in and out, and the requests about offsets.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::NativeListener;
use super::answer::Answer;
use super::connection::Connection;
use super::errors::Refusal;
use super::incoming::owned;
use super::keeping::Keeper;
use super::memory::{Loan, PeerMemory};
use super::outbox::{Entered, Group, Outbox, Place};
use super::publish::{level, waiter};
use super::reading::{Beside, bytes_of, read, readable};
use crate::broker::publish::PublishError;
use crate::broker::{Broker, BrokerError, PositionOwner};
use crate::protocol::native::{CommitRequest, ErrorCode, FetchRequest, ListOffsetsRequest, PublishBatchRequest, reply};
use crate::record::{Batch, ProducedBatch};
use crate::replica::{AckLevel, Committed, Partition, ReadFailure};
use crate::types::{Offset, PartitionIndex, Timestamp, TopicName};

/// Bytes of batches that a FETCH brings at most, however much it asks for; the first batch always goes.
pub(super) const FETCH_READ_BYTES_MAX: usize = 16 << 20;
/// A FETCH brings no more than so many times the share of a connection: see [`PeerMemory::share`].
const FETCH_SHARES: usize = 4;
/// FETCH requests of one connection that may wait; the next one is read when one of them is answered.
pub(super) const FETCHES_MAX: usize = 64;

/// The FETCH requests of one connection that wait. Dropped, they end.
#[derive(Debug, Default)]
pub(super) struct Fetches {
    waiting: JoinSet<()>,
}

impl Fetches {
    async fn begin(&mut self, fetch: impl Future<Output = ()> + Send + 'static) {
        while self.waiting.try_join_next().is_some() {}
        while self.waiting.len() >= FETCHES_MAX {
            self.waiting.join_next().await;
        }
        self.waiting.spawn(fetch);
    }
}

impl Connection<'_> {
    pub(super) async fn fetch(&mut self, sequence: u64, request: FetchRequest) {
        let place = self.outbox.reserve(sequence);
        match self.listener.broker.partition(&request.topic, request.partition) {
            Ok(partition) => {
                let (listener, outbox) = (Arc::clone(self.listener), Arc::clone(&self.outbox));
                self.fetches.begin(fetch(listener, partition, request, place, outbox)).await;
            }
            Err(error) => self.outbox.answer(place, Answer::Refused(Refusal::from(&error))),
        }
    }

    pub(super) fn commit(&self, sequence: u64, request: CommitRequest<'_>) {
        let CommitRequest { topic, partition, owner, offset } = request;
        let place = self.outbox.entrust(sequence);
        let outbox = Arc::clone(&self.outbox);
        let keeper = Keeper::new(owner, &topic, partition);
        let owner = match &keeper.key.owner {
            PositionOwner::Client(id) => ("client_id", Arc::clone(id)),
            PositionOwner::Group(id) => ("wiber.group", Arc::clone(id)),
        };
        let broker = &self.listener.broker;
        keeper.commit(broker, None, (offset, broker.default_ack()), self.listener.now(), move |kept| {
            let answer = match kept {
                Ok(offset) => Answer::Committed { topic, partition, owner, offset },
                Err(error) => Answer::Refused(Refusal::from(&error)),
            };
            outbox.answer(place, answer);
        });
    }

    pub(super) fn init_producer(&self, sequence: u64) {
        let place = self.outbox.entrust(sequence);
        let outbox = Arc::clone(&self.outbox);
        self.listener.broker.allocate_producer_id(self.listener.now(), move |allocated| {
            let answer = match allocated {
                Ok(id) => Answer::Producer(id),
                Err(error) => Answer::Refused(Refusal::from(&error)),
            };
            outbox.answer(place, answer);
        });
    }

    pub(super) async fn list_offsets(&self, request: ListOffsetsRequest<'_>) -> Answer {
        match list_offsets(&self.listener.broker, request).await {
            Ok(answer) => answer,
            Err(refusal) => Answer::Refused(refusal),
        }
    }

    pub(super) async fn publish_batch(
        &self,
        sequence: u64,
        sent: Timestamp,
        request: PublishBatchRequest<'_>,
        batch: Bytes,
    ) {
        let broker = &self.listener.broker;
        let ack = level(request.ack, broker.default_ack());
        let place = (ack != AckLevel::None).then(|| self.outbox.reserve(sequence));
        if let Err(refusal) = self.append_batch(place, ack, sent, request, batch).await
            && let Some(place) = place
        {
            self.outbox.answer(place, Answer::Refused(refusal));
        }
    }

    /// Appends a batch. Waits where the partition's queue is full: this connection is then not read. Where an error is
    /// returned the place is still to be answered.
    async fn append_batch(
        &self,
        place: Option<Place>,
        ack: AckLevel,
        sent: Timestamp,
        request: PublishBatchRequest<'_>,
        batch: Bytes,
    ) -> Result<(), Refusal> {
        let broker = &self.listener.broker;
        let topic =
            TopicName::new(request.topic).map_err(|error| Refusal::new(ErrorCode::InvalidTopic, error.to_string()))?;
        let handle = self.listener.user_topic(&topic).await?;
        let limits = broker.admission_to(&handle);
        let admitted = ProducedBatch::admit(owned(batch), &limits, self.listener.now());
        let batch = admitted.map_err(|error| Refusal::new(ErrorCode::InvalidBatch, error.to_string()))?;
        let index = request.partition.unwrap_or_else(|| handle.choose_partition(None));
        let partition = handle.partition(index).map_err(|error| Refusal::from(&error))?;
        broker.observe_batch(&handle, &batch, sent, self.listener.now());
        let whole = Some(u64::from(batch.header().records_count));
        let group = Group {
            topic: topic.clone(),
            partition: index,
            places: place.into_iter().collect(),
            not_before: partition.offsets().log_end(),
            whole,
        };
        let entered = self.outbox.enter(group);
        self.append_when_there_is_space(&topic, index, batch, ack, entered).await;
        Ok(())
    }

    async fn append_when_there_is_space(
        &self,
        topic: &TopicName,
        index: PartitionIndex,
        mut batch: ProducedBatch,
        ack: AckLevel,
        entered: Entered<'_>,
    ) {
        loop {
            let (broker, waiter) = (&self.listener.broker, waiter(&self.outbox, &entered));
            match broker.append_batch(topic, Some(index), batch, ack, Some(waiter), self.listener.now()) {
                Ok(_) if ack == AckLevel::None => return entered.forget(),
                Ok(_) => return entered.appended(),
                Err(PublishError::QueueFull { batch: back, partition }) => {
                    batch = *back;
                    poll_fn(|context| partition.poll_space(context.waker())).await;
                }
                Err(error) => return entered.refuse(Refusal::from(&error)),
            }
        }
    }
}

/// Answers one FETCH when its turn has come.
async fn fetch(
    listener: Arc<NativeListener>,
    partition: Arc<Partition>,
    request: FetchRequest,
    place: Place,
    outbox: Arc<Outbox>,
) {
    outbox.has_turn(place).await;
    let answer = match try_fetch(&listener, &partition, request).await {
        Ok(answer) => answer,
        Err(refusal) => Answer::Refused(refusal),
    };
    outbox.answer(place, answer);
}

async fn try_fetch(
    listener: &NativeListener,
    partition: &Arc<Partition>,
    request: FetchRequest,
) -> Result<Answer, Refusal> {
    let found = match request.time {
        Some(time) => {
            let found = super::requests::offset_at_time(partition, time).await?;
            Some(found.unwrap_or_else(|| partition.offsets().high_watermark()))
        }
        None => None,
    };
    let from = request.offset.or(found).unwrap_or(Offset::ZERO);
    let fetched = fetched(&listener.outgoing_memory, partition, from, &request).await;
    let (batches, loan) = fetched.map_err(|failure| Refusal::from(&failure))?;
    let next_offset = batches.last().map_or(from, |batch| batch.header().next_offset());
    let offsets = partition.offsets();
    let (log_start, high_watermark) = (offsets.log_start(), offsets.high_watermark());
    let bounds = reply::Bounds { partition: request.partition, log_start, high_watermark };
    let range = reply::FetchedRange { found, next_offset };
    Ok(Answer::Fetched { topic: request.topic, bounds, range, batches, loan })
}

/// Reads what is asked for, once there is as much as is asked for or it has waited for as long. It reads again only when
/// as much has been committed as was missing, and nothing that was read is kept while it waits.
async fn fetched(
    memory: &Arc<PeerMemory>,
    partition: &Arc<Partition>,
    from: Offset,
    request: &FetchRequest,
) -> Result<(Vec<Batch>, Loan), ReadFailure> {
    let mut patience = std::pin::pin!(tokio::time::sleep(request.wait_max));
    let mut is_over = request.wait_max.is_zero();
    loop {
        let bytes_max = request.bytes_max.min(FETCH_READ_BYTES_MAX).min(memory.share() * FETCH_SHARES);
        let end = partition.committed();
        let (batches, loan) = read(memory, partition, from, bytes_max, Beside::Helps(0)).await?;
        let missing = request.bytes_min.min(bytes_max).saturating_sub(bytes_of(&batches));
        // Where nothing came there is nothing, or a gap.
        let is_all = batches.last().is_none_or(|last| last.header().next_offset() >= end.next_offset());
        if is_over || missing == 0 || !is_all {
            return Ok((batches, loan));
        }
        drop((batches, loan));
        tokio::select! {
            biased;
            () = &mut patience => is_over = true,
            committed = more_committed(partition, end, missing) => committed?,
        }
    }
}

/// Waits until so many bytes more are committed than at some time, or a segment was begun.
async fn more_committed(partition: &Partition, earlier: Committed, bytes: usize) -> Result<(), ReadFailure> {
    let mut end = earlier;
    while end.bytes_since(&earlier).is_some_and(|more| more < bytes as u64) {
        readable(partition, end.next_offset()).await.map_err(ReadFailure::Closed)?;
        end = partition.committed();
    }
    Ok(())
}

async fn list_offsets(broker: &Broker, request: ListOffsetsRequest<'_>) -> Result<Answer, Refusal> {
    let ListOffsetsRequest { topic, partition: index, owner, time } = request;
    let partition = broker.partition(&topic, index).map_err(|error: BrokerError| Refusal::from(&error))?;
    let at_time = match time {
        Some(time) => Some(super::requests::offset_at_time(&partition, time).await?),
        None => None,
    };
    let committed = owner.map(|owner| Keeper::new(owner, &topic, index).position(broker));
    let offsets = partition.offsets();
    let bounds =
        reply::Bounds { partition: index, log_start: offsets.log_start(), high_watermark: offsets.high_watermark() };
    let listed = reply::ListedOffsets { bounds, log_end: offsets.log_end(), committed, at_time };
    Ok(Answer::Listed { topic, listed })
}
