//! One producer: its epoch, its last batches, and the judgement of the next one.

use std::cmp::Ordering;

use super::{BATCHES_REMEMBERED, PendingBatch, ProducerBatch, SequenceError, Verdict};
use crate::types::{Offset, ProducerEpoch, Sequence, Timestamp};

/// A batch as it is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecentBatch {
    pub(super) base_sequence: Sequence,
    pub(super) records_count: u32,
    pub(super) base_offset: Offset,
}

/// What is known of one producer. Its batches are of one epoch, each following the one before.
#[derive(Debug, Clone)]
pub(super) struct ProducerState {
    epoch: ProducerEpoch,
    last_timestamp: Timestamp,
    /// Oldest first; from `batches_count` on meaningless.
    batches: [RecentBatch; BATCHES_REMEMBERED],
    /// At least 1.
    batches_count: usize,
}

impl RecentBatch {
    /// The offset of its last record.
    pub(super) fn last_offset(&self) -> Offset {
        self.base_offset.plus(u64::from(self.records_count.saturating_sub(1)))
    }

    /// The sequence of its last record.
    pub(super) fn last_sequence(&self) -> Sequence {
        self.base_sequence.plus(self.records_count.saturating_sub(1))
    }

    /// The sequence of the record that comes after it.
    pub(super) fn next_sequence(&self) -> Sequence {
        self.base_sequence.plus(self.records_count)
    }
}

impl ProducerState {
    /// A producer of whom only this batch is known.
    pub(super) fn first(pending: &PendingBatch) -> ProducerState {
        ProducerState::of(pending.epoch, pending.timestamp, pending.batch)
    }

    /// A producer of whom only this batch is known.
    pub(super) fn of(epoch: ProducerEpoch, last_timestamp: Timestamp, batch: RecentBatch) -> ProducerState {
        ProducerState { epoch, last_timestamp, batches: [batch; BATCHES_REMEMBERED], batches_count: 1 }
    }

    pub(super) fn epoch(&self) -> ProducerEpoch {
        self.epoch
    }

    pub(super) fn last_timestamp(&self) -> Timestamp {
        self.last_timestamp
    }

    /// The remembered batches, oldest first; never empty.
    pub(super) fn batches(&self) -> &[RecentBatch] {
        &self.batches[..self.batches_count]
    }

    pub(super) fn last_batch(&self) -> &RecentBatch {
        &self.batches[self.batches_count - 1]
    }

    /// Kafka's judgement of the next batch (`ProducerAppendInfo.checkSequence`).
    pub(super) fn check(&self, stamp: ProducerBatch) -> Result<Verdict, SequenceError> {
        let expected = match stamp.epoch.cmp(&self.epoch) {
            Ordering::Less => {
                return Err(SequenceError::StaleEpoch { current: self.epoch, found: stamp.epoch });
            }
            Ordering::Greater => Sequence::FIRST,
            Ordering::Equal => {
                if let Some(batch) = self.find(stamp) {
                    return Ok(Verdict::Duplicate { base_offset: batch.base_offset, last_offset: batch.last_offset() });
                }
                self.last_batch().next_sequence()
            }
        };
        if stamp.base_sequence == expected {
            Ok(Verdict::Append)
        } else {
            Err(SequenceError::OutOfOrder { expected, found: stamp.base_sequence })
        }
    }

    /// Adds a batch that was appended. One of another epoch, or that does not follow, makes the producer start over.
    pub(super) fn apply(&mut self, pending: &PendingBatch) {
        let last_timestamp = self.last_timestamp.max(pending.timestamp);
        let follows = pending.epoch == self.epoch && pending.batch.base_sequence == self.last_batch().next_sequence();
        if follows {
            self.push(pending.batch);
            self.last_timestamp = last_timestamp;
        } else {
            *self = ProducerState::of(pending.epoch, last_timestamp, pending.batch);
        }
    }

    /// Adds a batch, forgetting the oldest where there is no room.
    pub(super) fn push(&mut self, batch: RecentBatch) {
        if self.batches_count == BATCHES_REMEMBERED {
            self.batches.copy_within(1.., 0);
        } else {
            self.batches_count += 1;
        }
        self.batches[self.batches_count - 1] = batch;
    }

    /// The remembered batch with the same first and last sequence.
    fn find(&self, stamp: ProducerBatch) -> Option<&RecentBatch> {
        self.batches()
            .iter()
            .find(|batch| batch.base_sequence == stamp.base_sequence && batch.records_count == stamp.records_count)
    }
}

impl PartialEq for ProducerState {
    fn eq(&self, other: &ProducerState) -> bool {
        self.epoch == other.epoch && self.last_timestamp == other.last_timestamp && self.batches() == other.batches()
    }
}

impl Eq for ProducerState {}
