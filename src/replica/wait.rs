//! Waiting for a record that was appended before.

use std::sync::Arc;

use super::ack::{AckLevel, Waiter};
use super::append::Ticket;
use super::effects::Effects;
use super::error::AppendError;
use super::partition::{Partition, PartitionStatus, State};
use crate::log::PartitionLog;
use crate::types::{Epoch, Offset};

impl Partition {
    /// Answers the waiter once a record that was appended before has what `ack` asks for, as its own append would have.
    /// Returns whether the record is there: one that was taken back before it was committed is not, though another may
    /// have its offset by now. The waiter is called only for one that is there.
    ///
    /// # Errors
    /// [`AppendError::Closed`]; [`AppendError::NotLeader`]; [`AppendError::StorageFailed`] for a record that is not durable and may never be.
    pub fn wait_for(
        self: &Arc<Self>,
        offset: Offset,
        epoch: Epoch,
        ack: AckLevel,
        waiter: Option<Waiter>,
    ) -> Result<bool, AppendError> {
        let mut effects = Effects::default();
        let mut state = self.state.lock();
        if let Some(closed) = &state.closed {
            return Err(AppendError::Closed(closed.clone()));
        }
        if !state.holds(offset, epoch, &self.log) {
            return Ok(false);
        }
        match &state.status {
            PartitionStatus::Follower { leader } => return Err(AppendError::NotLeader { hint: leader.clone() }),
            PartitionStatus::Failed(reason) if offset >= state.offsets.durable() => {
                return Err(AppendError::StorageFailed(Arc::clone(reason)));
            }
            PartitionStatus::Failed(_) | PartitionStatus::Leader => {}
        }
        let ticket = Ticket { base_offset: offset, next_offset: offset.plus(1), epoch, is_duplicate: true };
        state.wait(&ticket, ack, waiter, &mut effects);
        state.plan_work(&mut effects);
        drop(state);
        self.carry_out(effects);
        Ok(true)
    }
}

impl State {
    /// Whether the record that got this offset in this epoch is there. An offset is given out once in an epoch, so the
    /// epoch that wrote it tells. Where that is no longer known the answer is no.
    fn holds(&self, offset: Offset, epoch: Epoch, log: &PartitionLog) -> bool {
        if offset >= self.offsets.log_end() {
            return false;
        }
        if offset >= self.offsets.written() {
            return self.epoch == epoch;
        }
        log.state().file.history.epochs.epoch_at(offset) == Some(epoch)
    }
}
