//! Whole record batches in and out, and the requests about offsets.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinSet;

use super::NativeListener;
use super::answer::Answer;
use super::connection::Connection;
use super::errors::Refusal;
use super::outbox::{Entered, Group, Outbox, Place};
use super::publish::{level, waiter};
use super::reading::read;
use crate::broker::publish::PublishError;
use crate::broker::{Broker, BrokerError, PositionKey};
use crate::protocol::native::{CommitRequest, ErrorCode, FetchRequest, ListOffsetsRequest, PublishBatchRequest, reply};
use crate::record::ProducedBatch;
use crate::replica::{AckLevel, Partition, ReadFailure};
use crate::types::{PartitionIndex, TopicName};

/// Bytes of batches that a FETCH brings at most, however much it asks for; the first batch always goes.
pub(super) const FETCH_READ_BYTES_MAX: usize = 16 << 20;
/// Bytes that a FETCH may always ask for …
const FETCH_SURE_BYTES: usize = 1 << 20;
/// … and what those of all connections together may bring beyond that and the peers have not taken: where it is used
/// up, a FETCH brings no more than is sure.
const FETCHED_BEYOND_BYTES_MAX: usize = 256 << 20;
/// What one permit for them stands for, in bytes.
const FETCHED_UNIT: usize = 1 << 10;
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

/// What fetches of all connections may still bring beyond what is sure.
#[derive(Debug)]
pub(super) struct FetchBudget(Semaphore);

impl Default for FetchBudget {
    fn default() -> FetchBudget {
        FetchBudget(Semaphore::new(FETCHED_BEYOND_BYTES_MAX / FETCHED_UNIT))
    }
}

impl FetchBudget {
    /// How much of what is asked for may be brought, while the leave is held.
    fn leave_for(&self, bytes_max: usize) -> (usize, Option<SemaphorePermit<'_>>) {
        let bytes_max = bytes_max.min(FETCH_READ_BYTES_MAX);
        let units = bytes_max.saturating_sub(FETCH_SURE_BYTES).div_ceil(FETCHED_UNIT);
        match u32::try_from(units).map(|units| self.0.try_acquire_many(units)) {
            Ok(Ok(leave)) => (bytes_max, Some(leave)),
            _ => (bytes_max.min(FETCH_SURE_BYTES), None),
        }
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
        let CommitRequest { topic, partition, client_id, offset } = request;
        let place = self.outbox.entrust(sequence);
        let outbox = Arc::clone(&self.outbox);
        let key = PositionKey { client_id: client_id.into(), topic, partition };
        let PositionKey { client_id, topic, partition } = key.clone();
        let broker = &self.listener.broker;
        broker.commit(key, offset, broker.default_ack(), self.listener.now(), move |kept| {
            let answer = match kept {
                Ok(offset) => Answer::Committed { topic, partition, client_id, offset },
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

    pub(super) async fn publish_batch(&self, sequence: u64, request: PublishBatchRequest<'_>, batch: Bytes) {
        let broker = &self.listener.broker;
        let ack = level(request.ack, broker.default_ack());
        let place = (ack != AckLevel::None).then(|| self.outbox.reserve(sequence));
        if let Err(refusal) = self.append_batch(place, ack, request, batch).await
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
        request: PublishBatchRequest<'_>,
        batch: Bytes,
    ) -> Result<(), Refusal> {
        let broker = &self.listener.broker;
        let topic =
            TopicName::new(request.topic).map_err(|error| Refusal::new(ErrorCode::InvalidTopic, error.to_string()))?;
        if topic.is_internal() {
            return Err(Refusal::from(&BrokerError::InternalTopic { topic }));
        }
        let handle = self.listener.topic(&topic).await?;
        let limits = broker.admission();
        let admitted = ProducedBatch::admit(owned(batch), &limits, self.listener.now());
        let batch = admitted.map_err(|error| Refusal::new(ErrorCode::InvalidBatch, error.to_string()))?;
        let index = request.partition.unwrap_or_else(|| handle.choose_partition(None));
        let partition = handle.partition(index).map_err(|error| Refusal::from(&error))?;
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

/// The batch in memory of its own, since its numbering is written into it: a large one came in such, and of a small one
/// a copy is made.
fn owned(batch: Bytes) -> BytesMut {
    batch.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]))
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
    if let Err(failure) = enough(&partition, &request).await {
        return outbox.answer(place, Answer::Refused(Refusal::from(&failure)));
    }
    let (bytes_max, leave) = listener.fetch_budget.leave_for(request.bytes_max);
    let answer = match fetched(&partition, request, bytes_max).await {
        Ok(answer) => answer,
        Err(failure) => Answer::Refused(Refusal::from(&failure)),
    };
    outbox.answer(place, answer);
    if leave.is_some() {
        outbox.has_room_for_data().await;
    }
}

/// Waits until there is as much as is asked for, or for as long. What is there is read once to be counted, however often
/// more comes.
async fn enough(partition: &Arc<Partition>, request: &FetchRequest) -> Result<(), ReadFailure> {
    if request.wait_max.is_zero() {
        return Ok(());
    }
    let mut patience = std::pin::pin!(tokio::time::sleep(request.wait_max));
    let wanted = request.bytes_min.min(request.bytes_max);
    let (mut counted, mut next) = (0, request.offset);
    loop {
        let batches = read(partition, next, FETCH_SURE_BYTES).await?;
        counted += batches.iter().map(|batch| batch.bytes().len()).sum::<usize>();
        next = batches.last().map_or(next, |batch| batch.header().next_offset());
        if counted >= wanted {
            return Ok(());
        }
        tokio::select! {
            biased;
            () = &mut patience => return Ok(()),
            readable = poll_fn(|context| partition.poll_readable(next, context.waker())) => {
                readable.map_err(ReadFailure::Closed)?;
            }
        }
    }
}

async fn fetched(partition: &Arc<Partition>, request: FetchRequest, bytes_max: usize) -> Result<Answer, ReadFailure> {
    let FetchRequest { topic, partition: index, offset, .. } = request;
    let batches = read(partition, offset, bytes_max).await?;
    let next_offset = batches.last().map_or(offset, |batch| batch.header().next_offset());
    let offsets = partition.offsets();
    let (log_start, high_watermark) = (offsets.log_start(), offsets.high_watermark());
    let bounds = reply::Bounds { partition: index, log_start, high_watermark };
    Ok(Answer::Fetched { topic, bounds, next_offset, batches })
}

async fn list_offsets(broker: &Broker, request: ListOffsetsRequest<'_>) -> Result<Answer, Refusal> {
    let ListOffsetsRequest { topic, partition: index, client_id, time } = request;
    let partition = broker.partition(&topic, index).map_err(|error: BrokerError| Refusal::from(&error))?;
    let at_time = match time {
        Some(time) => Some(super::requests::offset_at_time(&partition, time).await?),
        None => None,
    };
    let key = client_id.map(|id| PositionKey { client_id: id.into(), topic: topic.clone(), partition: index });
    let committed = key.map(|key| broker.committed(&key));
    let offsets = partition.offsets();
    let bounds =
        reply::Bounds { partition: index, log_start: offsets.log_start(), high_watermark: offsets.high_watermark() };
    let listed = reply::ListedOffsets { bounds, log_end: offsets.log_end(), committed, at_time };
    Ok(Answer::Listed { topic, listed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fetches_of_all_connections_share_what_lies_beyond_the_sure() {
        let budget = FetchBudget::default();
        let beyond = FETCH_READ_BYTES_MAX - FETCH_SURE_BYTES;
        let mut held = Vec::new();
        for _ in 0..FETCHED_BEYOND_BYTES_MAX / beyond {
            let (bytes, leave) = budget.leave_for(usize::MAX);
            assert_eq!(bytes, FETCH_READ_BYTES_MAX);
            held.push(leave);
        }
        assert!(matches!(budget.leave_for(FETCH_READ_BYTES_MAX), (FETCH_SURE_BYTES, None)));
        for sure in [1, FETCH_SURE_BYTES] {
            assert_eq!(budget.leave_for(sure).0, sure);
        }
        held.pop();
        assert_eq!(budget.leave_for(FETCH_READ_BYTES_MAX).0, FETCH_READ_BYTES_MAX);
    }
}
