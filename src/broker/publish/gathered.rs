//! A batch of records that were published one by one, on its way into its partition.

use std::sync::Arc;
use std::task::{Poll, Waker};

use super::error::PublishError;
use super::note_skew;
use super::run::Publish;
use crate::broker::TopicHandle;
use crate::broker::dedup::Reservation;
use crate::broker::skew::{Seen, TopicSkew};
use crate::record::{BatchBuilder, BuilderOptions, ProducedBatch};
use crate::replica::{AckLevel, AppendError, Partition, Ticket, Waiter};
use crate::types::{PartitionIndex, SharedClock, Timestamp, TopicName};

/// Records for one partition, with the same level. Dropped before it was appended, it releases the ids in it.
#[derive(Debug)]
pub struct GatheredBatch<P> {
    topic: TopicName,
    index: PartitionIndex,
    partition: Arc<Partition>,
    ack: AckLevel,
    builder: BatchBuilder,
    finished: Option<ProducedBatch>,
    places: Vec<P>,
    /// Claimed ids, with the numbers of their records in the batch.
    reservations: Vec<(u32, Reservation)>,
    clock: Option<Arc<SharedClock>>,
    seen: Seen,
    skew: Arc<TopicSkew>,
    bears_append_time: bool,
}

impl<P> GatheredBatch<P> {
    pub(super) fn new(
        handle: &TopicHandle,
        index: PartitionIndex,
        ack: AckLevel,
        clock: Option<Arc<SharedClock>>,
    ) -> Result<GatheredBatch<P>, PublishError> {
        Ok(GatheredBatch {
            topic: handle.topic().name.clone(),
            index,
            partition: handle.partition(index)?,
            ack,
            builder: BatchBuilder::new(BuilderOptions { is_stamped: clock.is_some(), ..BuilderOptions::default() }),
            finished: None,
            places: Vec::new(),
            reservations: Vec::new(),
            clock,
            seen: Seen::default(),
            skew: Arc::clone(handle.skew()),
            bears_append_time: handle.bears_append_time(),
        })
    }

    pub(super) fn push(
        &mut self,
        timestamp: Timestamp,
        publish: &Publish<'_>,
        place: Option<P>,
        reservation: Option<Reservation>,
    ) -> Result<(), PublishError> {
        let number = self.builder.records_count();
        let added = self.builder.append(timestamp, publish.key, publish.value, publish.headers);
        added.map_err(PublishError::Build)?;
        self.places.extend(place);
        self.reservations.extend(reservation.map(|reservation| (number, reservation)));
        Ok(())
    }

    /// Takes note of what a publish in it tells of its publisher's clock.
    pub(super) fn seen(&mut self, publish: &Publish<'_>, now: Timestamp) {
        self.seen.note(publish.sent, publish.read, now);
    }

    pub(super) fn bytes_len(&self) -> usize {
        self.builder.bytes_len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.builder.is_empty()
    }

    /// Its topic.
    #[must_use]
    pub fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// Its partition's number.
    #[must_use]
    pub fn index(&self) -> PartitionIndex {
        self.index
    }

    /// Its partition.
    #[must_use]
    pub fn partition(&self) -> &Arc<Partition> {
        &self.partition
    }

    /// What its records wait for.
    #[must_use]
    pub fn ack(&self) -> AckLevel {
        self.ack
    }

    /// What to answer its records by, in their order; none where they want no answer.
    #[must_use]
    pub fn take_places(&mut self) -> Vec<P> {
        std::mem::take(&mut self.places)
    }

    /// Appends it; `None` where too much waits to be written: wait by [`GatheredBatch::poll_space`] and call this again.
    /// To be called no more once it gave anything else.
    ///
    /// # Errors
    /// [`PublishError`]; nothing was then kept, the waiter is never called, and the ids are released.
    pub fn append(&mut self, waiter: Option<Waiter>, now: Timestamp) -> Result<Option<Ticket>, PublishError> {
        let mut batch = match self.finished.take() {
            Some(batch) => batch,
            None => {
                self.stamp(now);
                self.builder.finish().map_err(PublishError::Build)?
            }
        };
        if self.bears_append_time {
            batch.set_append_time(now);
        }
        match self.partition.append(batch, self.ack, waiter, now) {
            Ok(ticket) => {
                for (number, reservation) in self.reservations.drain(..) {
                    reservation.settle(self.index, &ticket, number, now);
                }
                Ok(Some(ticket))
            }
            Err(AppendError::QueueFull(batch)) => {
                self.finished = Some(*batch);
                Ok(None)
            }
            Err(error) => {
                self.reservations.clear();
                Err(PublishError::Append(error))
            }
        }
    }

    /// Stamps it later than everything that its publishers may have read.
    fn stamp(&mut self, now: Timestamp) {
        if let Some(clock) = &self.clock {
            note_skew(&self.topic, &self.skew, &self.seen, clock, now);
            self.builder.set_stamp(clock.tick(now));
        }
    }

    /// Ready once it may be appended; the waker is called when that may be so.
    pub fn poll_space(&self, waker: &Waker) -> Poll<()> {
        self.partition.poll_space(waker)
    }
}
