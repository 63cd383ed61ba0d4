//! What a partition does now and then: syncs by interval, rolls of old segments, retention, checkpoints for snapshots.

use std::sync::Arc;

use super::effects::Effects;
use super::options::{PartitionOptions, SyncPolicy, Work};
use super::partition::{Partition, PartitionStatus, State};
use super::producers::ProducerSnapshot;
use crate::log::{LogError, LogPoint};
use crate::types::{Offset, Timestamp};

/// A committed place in a partition and what is known of its producers there. Worth writing down once everything before
/// it is durable: see [`Partition::is_durable`].
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// The place.
    pub point: LogPoint,
    /// The producers, by id.
    pub producers: Vec<ProducerSnapshot>,
}

impl Partition {
    /// Submits what time has made due. To be called about once a second; never blocks.
    pub fn step(self: &Arc<Self>, now: Timestamp) {
        let mut effects = Effects::default();
        let mut state = self.state.lock();
        if let SyncPolicy::Interval { millis } = state.options.sync
            && now.since(state.last_sync) >= millis
        {
            state.sync_wanted = state.sync_wanted.max(state.offsets.written());
        }
        state.producers.expire(now);
        if self.context.tails.take_shortage() {
            state.tail.clear();
        }
        let is_due = !state.is_writing && self.is_upkeep_due(&state, now);
        if is_due && !state.queued.upkeep {
            state.queued.upkeep = true;
            effects.submit.push(Work::Upkeep);
        }
        state.plan_work(&mut effects);
        drop(state);
        self.carry_out(effects);
    }

    /// Changes how the partition behaves, from now on. Waits for a write under way.
    pub fn set_options(&self, options: PartitionOptions) {
        self.log.set_options(options.log);
        let mut state = self.state.lock();
        state.offsets.set_commits_written(!matches!(options.sync, SyncPolicy::Always));
        state.options = options;
    }

    /// Where the partition is committed up to, and its producers there.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        let state = self.state.lock();
        Checkpoint { point: state.committed, producers: state.producers.snapshot() }
    }

    /// Whether everything before a place is durable.
    #[must_use]
    pub fn is_durable(&self, point: &LogPoint) -> bool {
        self.state.lock().offsets.durable() >= point.next_offset
    }

    fn is_upkeep_due(&self, state: &State, now: Timestamp) -> bool {
        let log_start = self.log_start_due(state, now);
        state.status == PartitionStatus::Leader
            && state.pending.is_empty()
            && (self.log.is_due_to_roll(now) || log_start > state.offsets.log_start())
    }

    /// Where the log should start.
    fn log_start_due(&self, state: &State, now: Timestamp) -> Offset {
        let due = self.log.log_start_by(state.options.retention, now).max(state.deletions.log_start());
        due.min(state.offsets.high_watermark())
    }

    /// Rolls and deletes what is due. Excludes writes meanwhile: they gather.
    pub(crate) fn run_upkeep(self: &Arc<Self>, now: Timestamp) {
        let mut state = self.state.lock();
        state.queued.upkeep = false;
        if state.is_writing || matches!(state.status, PartitionStatus::Failed(_)) {
            return;
        }
        state.is_writing = true;
        drop(state);

        let rolled = if self.log.is_due_to_roll(now) { self.log.roll() } else { Ok(()) };
        let log_start = self.log_start_due(&self.state.lock(), now);
        let deleted = rolled.and_then(|()| self.start_log_at(log_start));

        let mut effects = Effects::default();
        let mut state = self.state.lock();
        state.is_writing = false;
        let log_state = self.log.state();
        state.offsets.set_log_start(log_state.file.log_start);
        state.tail.forget_below(log_state.file.log_start);
        let is_full = deleted.as_ref().is_err_and(LogError::is_storage_full);
        state.settle_deletions(is_full, &mut effects);
        if log_state.end.segment > state.written.segment && !matches!(state.status, PartitionStatus::Failed(_)) {
            state.written = log_state.end;
            state.unsynced_bytes = 0;
            state.reach_durable(log_state.end, &mut effects);
        }
        if let Err(error) = deleted
            && state.closed.is_none()
        {
            self.settle_upkeep(&mut state, &error, now, &mut effects);
        }
        state.plan_work(&mut effects);
        state.wake_appenders(&mut effects);
        drop(state);
        self.carry_out(effects);
    }

    fn settle_upkeep(&self, state: &mut State, error: &LogError, now: Timestamp, effects: &mut Effects) {
        if error.is_storage_full() {
            // What upkeep has to write is little: with the reserve given up the next try succeeds.
            self.context.reserve.release(now);
        } else {
            let reason = error.to_string();
            tracing::error!(partition = %self.name(), %reason, "the partition stopped accepting writes");
            state.fail(&reason, effects);
        }
    }
}
