//! Appending as the leader.

use std::sync::Arc;

use super::ack::{AckLevel, Acked, Waiter};
use super::effects::Effects;
use super::error::AppendError;
use super::options::{SyncPolicy, Work};
use super::partition::{Partition, PartitionStatus, State};
use super::producers::{ProducerBatch, Verdict};
use crate::record::{Batch, BatchHeader, ProducedBatch};
use crate::types::{Epoch, Offset, Timestamp};

/// Groups up to this many bytes, as one publisher alone sends them, may be synced by the thread that appended them.
const SYNC_HERE_BYTES_MAX: u64 = 8 << 10;

/// What an append got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// The offset of the batch's first record.
    pub base_offset: Offset,
    /// The offset behind its last record.
    pub next_offset: Offset,
    /// The epoch that wrote it; for a repeated batch the epoch now.
    pub epoch: Epoch,
    /// Whether the batch was there already, from an earlier attempt of its producer.
    pub is_duplicate: bool,
}

impl Partition {
    /// Numbers a batch and puts it on the tail and the pending list. The waiter is answered once the batch has what
    /// `ack` asks for; for a batch that repeats an earlier one, once that one has it. A small group is written before
    /// this returns, where the options allow that and nobody else is writing.
    ///
    /// # Errors
    /// [`AppendError`]; nothing of the batch is then kept, and the waiter is never called.
    pub fn append(
        self: &Arc<Self>,
        batch: ProducedBatch,
        ack: AckLevel,
        waiter: Option<Waiter>,
        now: Timestamp,
    ) -> Result<Ticket, AppendError> {
        let mut effects = Effects::default();
        let mut state = self.state.lock();
        self.check_status(&state)?;
        let ticket = match check_sequence(&state, batch.header())? {
            Some(repeated) => repeated,
            None => state.take(batch, now)?,
        };
        state.wait(&ticket, ack, waiter, &mut effects);
        let bytes = state.pending.bytes();
        let is_small = bytes > 0 && bytes <= state.options.inline_write_bytes_max && !state.is_writing;
        let is_next = !state.queued.write && state.deletions.is_empty();
        let writes_here = is_small && is_next && self.log.appends_in_one_write(bytes, state.epoch, now);
        let write = writes_here.then(|| state.begin_write());
        state.plan_work(&mut effects);
        drop(state);
        self.carry_out(effects);
        if let Some(batches) = write {
            self.write_here(batches, bytes, now);
        }
        Ok(ticket)
    }

    /// Writes a group on the appender's own thread, and where it is so small that nobody but its publishers waits for
    /// its sync, may sync it there as well: for one publisher alone that saves waking another thread.
    fn write_here(self: &Arc<Self>, batches: Vec<Batch>, bytes: u64, now: Timestamp) {
        let mut effects = self.write(batches, now);
        let sync = (bytes <= SYNC_HERE_BYTES_MAX).then(|| effects.take_work(Work::Sync)).flatten();
        self.carry_out(effects);
        if let Some(sync) = sync {
            self.context.queue.submit_patiently(Arc::clone(self), sync);
        }
    }

    fn check_status(&self, state: &State) -> Result<(), AppendError> {
        if let Some(closed) = &state.closed {
            return Err(AppendError::Closed(closed.clone()));
        }
        match &state.status {
            PartitionStatus::Leader if state.options.is_internal || self.context.reserve.is_open() => Ok(()),
            PartitionStatus::Leader => Err(AppendError::StorageFull),
            PartitionStatus::Follower { leader } => Err(AppendError::NotLeader { hint: leader.clone() }),
            PartitionStatus::Failed(reason) => Err(AppendError::StorageFailed(Arc::clone(reason))),
        }
    }
}

/// Finds the earlier copy of a repeated batch; `None` for a new one.
fn check_sequence(state: &State, header: &BatchHeader) -> Result<Option<Ticket>, AppendError> {
    let Some(stamp) = producer_batch(header) else { return Ok(None) };
    match state.producers.check(stamp)? {
        Verdict::Append => Ok(None),
        Verdict::Duplicate { base_offset, last_offset } => {
            let next_offset = last_offset.plus(1);
            Ok(Some(Ticket { base_offset, next_offset, epoch: state.epoch, is_duplicate: true }))
        }
    }
}

/// A batch as producer state sees it; `None` where it has no producer or no sequence.
pub(crate) fn producer_batch(header: &BatchHeader) -> Option<ProducerBatch> {
    let stamp = header.producer?;
    let base_sequence = stamp.base_sequence?;
    // Compaction takes records out, and leaves the batch its offsets and sequences.
    let records_count = header.last_offset_delta.saturating_add(1);
    Some(ProducerBatch { id: stamp.id, epoch: stamp.epoch, base_sequence, records_count })
}

impl State {
    /// Numbers a new batch.
    fn take(&mut self, batch: ProducedBatch, now: Timestamp) -> Result<Ticket, AppendError> {
        if !self.has_space() {
            return Err(AppendError::QueueFull(Box::new(batch)));
        }
        let base_offset = self.offsets.log_end();
        let count = u64::from(batch.header().last_offset_delta) + 1;
        if Offset::MAX.since(base_offset) < count {
            return Err(AppendError::Exhausted);
        }
        let batch = batch.number(base_offset, self.epoch);
        let next_offset = batch.header().next_offset();
        if let Some(stamp) = producer_batch(batch.header()) {
            self.producers.record(stamp, base_offset, now);
        }
        self.offsets.set_log_end(next_offset);
        self.tail.push(batch.clone());
        self.pending.push(batch);
        if matches!(self.options.sync, SyncPolicy::Always) {
            self.sync_wanted = next_offset;
        }
        Ok(Ticket { base_offset, next_offset, epoch: self.epoch, is_duplicate: false })
    }

    /// Enters a waiter, or answers it at once where a repeated batch has all it needs.
    pub(super) fn wait(&mut self, ticket: &Ticket, ack: AckLevel, waiter: Option<Waiter>, effects: &mut Effects) {
        let Some(waiter) = waiter else { return };
        let acked = Acked { base_offset: ticket.base_offset, epoch: ticket.epoch };
        let (queue, reached) = match ack {
            AckLevel::None => return,
            AckLevel::Leader => (&mut self.leader_acks, self.offsets.written()),
            AckLevel::Durable => {
                self.sync_wanted = self.sync_wanted.max(ticket.next_offset);
                (&mut self.durable_acks, self.offsets.durable())
            }
        };
        queue.push(ticket.next_offset, acked, waiter);
        effects.answer(queue.take_to(reached), None);
    }
}
