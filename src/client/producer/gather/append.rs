//! A record on its way into the open batch of its partition, under the lock.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{ENDED, Limits, Missing, State};
use crate::client::ClientError;
use crate::client::connection::now;
use crate::client::producer::batch::Batch;
use crate::client::producer::delivery::Outcome;
use crate::client::producer::record_ref::RecordRef;
use crate::record::{BuilderOptions, HEADER_BYTES, STAMP_HEADER_BYTES};
use crate::types::{PartitionIndex, Timestamp};

/// Bytes a record takes beside its parts, at most; a header takes less.
const RECORD_BYTES: usize = 32;
const RECORD_HEADER_BYTES: usize = 10;
/// Records of a batch that lingers no longer than this have the time of the first: their own is hardly another.
const LINGER_OF_ONE_TIME_MAX: Duration = Duration::from_millis(2);

/// What records that are added together have in common.
pub(super) struct Adding<'a> {
    limits: &'a Limits,
    /// Whether those that wait for room are to be passed.
    pub(super) has_turn: bool,
    /// Where those go that have neither a partition nor a key.
    turn: Option<PartitionIndex>,
    /// The time of those that have none of their own.
    pub(super) time: Option<Timestamp>,
    /// Whether the task has something to do.
    pub(super) wakes: bool,
}

/// Where a record was added.
pub(super) struct Place<'a> {
    pub(super) outcome: &'a Arc<Outcome>,
    pub(super) index: u32,
    pub(super) queue: usize,
}

impl Adding<'_> {
    pub(super) fn new(limits: &Limits, has_turn: bool) -> Adding<'_> {
        Adding { limits, has_turn, turn: None, time: None, wakes: false }
    }
}

impl State {
    /// Where a topic stands whose partitions are known.
    pub(super) fn find(&mut self, topic: &str) -> Result<Option<usize>, ClientError> {
        if self.is_closed {
            return Err(ENDED);
        }
        let place = self.topics.place(topic);
        Ok(place.filter(|&place| self.topics.at_mut(place).is_some_and(|topic| topic.partitions > 0)))
    }

    /// Adds a record to the topic that stands there, where there is room for it.
    #[inline]
    pub(super) fn add(
        &mut self,
        topic: usize,
        record: &RecordRef<'_>,
        adding: &mut Adding<'_>,
    ) -> Result<Result<Place<'_>, Missing>, ClientError> {
        let Some(topic) = self.topics.at_mut(topic) else { return Ok(Err(Missing::Topic)) };
        let value_bytes = record.value_bytes();
        if value_bytes > topic.message_bytes_max {
            return Err(ClientError::TooLarge { bytes: value_bytes, allowed: topic.message_bytes_max });
        }
        let bytes = record.bytes() + RECORD_BYTES + record.headers.len() * RECORD_HEADER_BYTES;
        let is_full = self.buffered_bytes > 0 && self.buffered_bytes + bytes > adding.limits.buffer_bytes;
        if is_full || (self.waiting > 0 && !adding.has_turn) {
            return Ok(Err(Missing::Room));
        }
        match topic.choose(record, &mut adding.turn) {
            Ok(queue) => self.append(queue, record, bytes, adding).map(Ok),
            Err(error) => Ok(Err(Missing::Partition(error))),
        }
    }

    /// Writes a record into the open batch of its queue; begins one where there is none, or it would grow too large.
    #[inline]
    fn append(
        &mut self,
        index: usize,
        record: &RecordRef<'_>,
        bytes: usize,
        adding: &mut Adding<'_>,
    ) -> Result<Place<'_>, ClientError> {
        let limits = adding.limits;
        let queue = &self.queues[index];
        let fits = |batch: &Batch| !queue.is_full && batch.bytes_len() + bytes <= limits.batch_bytes;
        let mut wakes = false;
        if !queue.batches.back().is_some_and(fits) {
            wakes = self.begin(index, bytes, limits);
        }
        let queue = &mut self.queues[index];
        let Some(batch) = queue.batches.back_mut() else { return Err(ENDED) };
        let place = batch.records_count();
        let shares_time = !queue.is_due && limits.linger <= LINGER_OF_ONE_TIME_MAX;
        let own_time = || if shares_time { batch.time } else { *adding.time.get_or_insert_with(now) };
        let timestamp = record.timestamp.unwrap_or_else(own_time);
        if let Err(error) = fill(batch, record, timestamp) {
            if place == 0 {
                self.outstanding.remove(&batch.id);
                queue.batches.pop_back();
                queue.tidy();
            }
            return Err(error);
        }
        batch.reserved += bytes;
        self.buffered_bytes += bytes;
        if batch.bytes_len() >= limits.batch_bytes || place + 1 >= limits.batch_records {
            (queue.is_due, queue.is_full) = (true, true);
            wakes = true;
        }
        if wakes {
            self.ready.push(index);
            adding.wakes = true;
        }
        let Some(batch) = self.queues[index].batches.back() else { return Err(ENDED) };
        Ok(Place { outcome: &batch.outcome, index: place, queue: index })
    }

    /// Adds those of the first records that go on where one was just added, in its batch, with nothing else to be done for
    /// them; returns how many they are.
    pub(super) fn go_on<'a, T>(&mut self, (topic, queue): (usize, usize), records: &'a [T], adding: &Adding<'_>) -> u32
    where
        RecordRef<'a>: From<&'a T>,
    {
        let limits = adding.limits;
        let value_bytes_max = self.topics.at_mut(topic).map_or(0, |topic| topic.message_bytes_max);
        let queue = &mut self.queues[queue];
        let Some(batch) = queue.batches.back_mut().filter(|_| !queue.is_full) else { return 0 };
        let shares_time = !queue.is_due && limits.linger <= LINGER_OF_ONE_TIME_MAX;
        let time = if shares_time { Some(batch.time) } else { adding.time };
        let room = limits.buffer_bytes.saturating_sub(self.buffered_bytes);
        let Some(builder) = batch.builder() else { return 0 };
        // What fills the batch is left, as everything that has to be thought about.
        let count_max = limits.batch_records.saturating_sub(1).saturating_sub(builder.records_count());
        let (mut count, mut reserved) = (0, 0);
        for record in records.iter().take(count_max as usize).map(RecordRef::from) {
            let is_here = match (record.partition, record.key) {
                (Some(partition), _) => partition == queue.partition,
                (None, Some(_)) => false,
                (None, None) => adding.turn == Some(queue.partition),
            };
            let Some(time) = record.timestamp.or(time) else { break };
            let bytes = record.bytes() + RECORD_BYTES;
            let fits = builder.bytes_len() + bytes < limits.batch_bytes && reserved + bytes <= room;
            if !is_here || !fits || !record.headers.is_empty() || record.value_bytes() > value_bytes_max {
                break;
            }
            // One that is refused is refused again, and told of.
            if builder.append(time, record.key, record.value, &[]).is_err() {
                break;
            }
            (count, reserved) = (count + 1, reserved + bytes);
        }
        batch.reserved += reserved;
        self.buffered_bytes += reserved;
        count
    }

    /// Begins a batch; returns whether the task has something to do.
    fn begin(&mut self, index: usize, bytes: usize, limits: &Limits) -> bool {
        let queue = &mut self.queues[index];
        // The one before is as full as it gets.
        let mut wakes = !queue.batches.is_empty();
        // Somewhat more than the one before took, but no more than any may take.
        let capacity = (2 * queue.capacity).min(limits.batch_bytes);
        let capacity = capacity.max(bytes + HEADER_BYTES + STAMP_HEADER_BYTES);
        let options = BuilderOptions { compression: limits.compression, producer: None, capacity, is_stamped: true };
        let batch = Batch::new(self.next_id, (Instant::now(), now()), options, self.spare.take());
        if limits.linger.is_zero() {
            wakes = true;
        } else {
            wakes |= self.lingering.is_empty();
            self.lingering.push_back((batch.created + limits.linger, index, batch.id));
        }
        self.next_id += 1;
        self.outstanding.insert(batch.id);
        queue.batches.push_back(batch);
        (queue.is_due, queue.is_full) = (limits.linger.is_zero(), false);
        wakes
    }
}

#[inline]
fn fill(batch: &mut Batch, record: &RecordRef<'_>, timestamp: Timestamp) -> Result<(), ClientError> {
    let Some(builder) = batch.builder() else { return Err(ENDED) };
    if record.headers.is_empty() {
        return Ok(builder.append(timestamp, record.key, record.value, &[])?);
    }
    let headers: Vec<_> = record.headers.iter().map(|(name, value)| (&name[..], value.as_deref())).collect();
    Ok(builder.append(timestamp, record.key, record.value, &headers)?)
}
