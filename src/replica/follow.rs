//! The seams for replication: following a leader, taking back what it does not have, taking over.

use std::sync::Arc;

use super::ack::AckFailure;
use super::append::producer_batch;
use super::effects::Effects;
use super::error::FollowError;
use super::partition::{Partition, PartitionStatus, State};
use crate::record::Batch;
use crate::types::{Epoch, Offset, Timestamp};

impl Partition {
    /// Stops appending on its own account: another broker leads from `epoch` on.
    ///
    /// # Errors
    /// [`FollowError::Fenced`] for an epoch that is over, [`FollowError::StorageFailed`].
    pub fn become_follower(self: &Arc<Self>, epoch: Epoch, leader: Option<String>) -> Result<(), FollowError> {
        let mut effects = Effects::default();
        let mut state = self.state.lock();
        state.check_epoch(epoch)?;
        state.epoch = epoch;
        state.status = PartitionStatus::Follower { leader };
        state.end_waiting_for_space(&mut effects);
        drop(state);
        self.carry_out(effects);
        Ok(())
    }

    /// Takes the lead in an epoch newer than every one before.
    ///
    /// # Errors
    /// [`FollowError::Fenced`], [`FollowError::StorageFailed`].
    pub fn become_leader(self: &Arc<Self>, epoch: Epoch) -> Result<(), FollowError> {
        let mut effects = Effects { commits: true, ..Effects::default() };
        let mut state = self.state.lock();
        state.check_epoch(epoch)?;
        if epoch == state.epoch {
            return Err(FollowError::Fenced { current: state.epoch, found: epoch });
        }
        state.epoch = epoch;
        state.status = PartitionStatus::Leader;
        state.sync_wanted = state.offsets.log_end();
        state.plan_work(&mut effects);
        drop(state);
        self.carry_out(effects);
        Ok(())
    }

    /// Appends a batch that the leader numbered, at the offset and in the epoch it carries.
    ///
    /// # Errors
    /// [`FollowError`]; nothing of the batch is then kept.
    pub fn append_at(self: &Arc<Self>, batch: Batch, now: Timestamp) -> Result<(), FollowError> {
        let mut effects = Effects::default();
        let mut state = self.state.lock();
        if state.status == PartitionStatus::Leader {
            return Err(FollowError::Leading);
        }
        let Some(epoch) = Epoch::new(batch.header().leader_epoch) else {
            return Err(FollowError::NotContiguous {
                log_end: state.offsets.log_end(),
                found: batch.header().base_offset,
            });
        };
        state.check_epoch(epoch)?;
        if batch.header().base_offset != state.offsets.log_end() {
            let found = batch.header().base_offset;
            return Err(FollowError::NotContiguous { log_end: state.offsets.log_end(), found });
        }
        if !state.has_space() {
            return Err(FollowError::QueueFull);
        }
        state.epoch = epoch;
        let next_offset = batch.header().next_offset();
        if let Some(stamp) = producer_batch(batch.header()) {
            state.producers.record(stamp, batch.header().base_offset, now);
        }
        state.offsets.set_log_end(next_offset);
        state.sync_wanted = next_offset;
        state.tail.push(batch.clone());
        state.pending.push(batch);
        state.plan_work(&mut effects);
        drop(state);
        self.carry_out(effects);
        Ok(())
    }

    /// Moves a follower's high watermark to what its leader has committed, as far as it is stable here.
    pub fn commit_as_follower(self: &Arc<Self>, leader_high_watermark: Offset) {
        let mut state = self.state.lock();
        let stable = if state.offsets.stable() == state.offsets.durable() { state.durable } else { state.written };
        if !matches!(state.status, PartitionStatus::Follower { .. }) || stable.next_offset > leader_high_watermark {
            return;
        }
        let wakers = state.commit_to(stable);
        drop(state);
        wakers.into_iter().for_each(std::task::Waker::wake);
    }

    /// Takes back every batch that reaches beyond `end`: none of them is committed. Publishers that wait for one of them
    /// are told. Blocks on files; durable when it returns.
    ///
    /// # Errors
    /// [`FollowError::Committed`], [`FollowError::Busy`] while a write or sync is under way,
    /// [`FollowError::StorageFailed`].
    pub fn truncate_to(self: &Arc<Self>, end: Offset, now: Timestamp) -> Result<(), FollowError> {
        let mut effects = Effects::default();
        let mut state = self.state.lock();
        state.check_epoch(state.epoch)?;
        let high_watermark = state.offsets.high_watermark();
        if end < high_watermark {
            return Err(FollowError::Committed { end, high_watermark });
        }
        if state.is_writing || state.is_syncing {
            return Err(FollowError::Busy);
        }
        if end < state.offsets.written() {
            // A sync meanwhile would tell of a place that is then no longer there.
            (state.is_writing, state.is_syncing) = (true, true);
            drop(state);
            let result = self.log.truncate_to(end, now);
            state = self.state.lock();
            (state.is_writing, state.is_syncing) = (false, false);
            match result {
                Ok(point) => {
                    state.drop_beyond(point.next_offset, &AckFailure::Truncated, &mut effects);
                    (state.written, state.durable) = (point, point);
                    state.unsynced_bytes = 0;
                    state.offsets.set_durable(point.next_offset);
                }
                Err(error) => state.fail(&error.to_string(), &mut effects),
            }
        } else {
            state.drop_beyond(end, &AckFailure::Truncated, &mut effects);
        }
        state.plan_work(&mut effects);
        drop(state);
        self.carry_out(effects);
        Ok(())
    }
}

impl State {
    fn check_epoch(&self, found: Epoch) -> Result<(), FollowError> {
        if let PartitionStatus::Failed(reason) = &self.status {
            return Err(FollowError::StorageFailed(Arc::clone(reason)));
        }
        if found < self.epoch {
            return Err(FollowError::Fenced { current: self.epoch, found });
        }
        Ok(())
    }
}
