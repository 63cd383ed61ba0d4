//! The sync stage: everything written so far becomes durable with one sync.

use std::sync::Arc;

use super::effects::Effects;
use super::options::SyncPolicy;
use super::partition::{Partition, PartitionStatus};
use crate::types::Timestamp;

impl Partition {
    /// Syncs what is written, where somebody needs it.
    pub(crate) fn run_sync(self: &Arc<Self>, now: Timestamp) {
        let mut state = self.state.lock();
        state.queued.sync = false;
        let is_needed = state.sync_wanted.min(state.offsets.written()) > state.offsets.durable();
        let failed = matches!(state.status, PartitionStatus::Failed(_));
        if state.is_syncing || !is_needed || failed {
            return;
        }
        state.is_syncing = true;
        state.last_sync = now;
        let (point, covered_bytes) = (state.written, state.unsynced_bytes);
        drop(state);

        let result = self.log.sync(point);

        let mut effects = Effects::default();
        let mut state = self.state.lock();
        state.is_syncing = false;
        let waits_for_syncs = result.is_ok() && matches!(state.options.sync, SyncPolicy::Always);
        match result {
            // After a failure elsewhere nothing is promised any more, and the reason has been told.
            _ if matches!(state.status, PartitionStatus::Failed(_)) => {}
            Ok(()) => {
                state.unsynced_bytes = state.unsynced_bytes.saturating_sub(covered_bytes);
                state.reach_durable(point, &mut effects);
            }
            Err(error) => {
                let reason = error.to_string();
                tracing::error!(partition = %self.name(), %reason, "the partition stopped accepting writes");
                state.fail(&reason, &mut effects);
            }
        }
        state.plan_work(&mut effects);
        state.wake_appenders(&mut effects);
        drop(state);
        self.carry_out(effects);
        if waits_for_syncs {
            self.log.synced(covered_bytes);
        }
    }
}
