//! The write stage: everything pending goes to the operating system.

use std::sync::Arc;

use super::ack::AckFailure;
use super::effects::Effects;
use super::partition::{Partition, PartitionStatus, State};
use crate::log::{AppendFailure, LogPoint};
use crate::record::Batch;
use crate::types::Timestamp;

/// Bytes written after which a sync is begun whatever the policy, beside the writes that follow: the sync that sealing a
/// segment needs would otherwise have all of it to do, while every write waits.
const SYNC_AHEAD_BYTES: u64 = 16 << 20;

impl Partition {
    /// Writes what is pending; what gathers meanwhile is submitted anew, so that other partitions get their turn.
    pub(crate) fn run_writes(self: &Arc<Self>, now: Timestamp) {
        let mut state = self.state.lock();
        state.queued.write = false;
        let failed = matches!(state.status, PartitionStatus::Failed(_));
        // A deletion comes first, or it might never: upkeep plans what it held up.
        let is_held_up = state.queued.upkeep && !state.deletions.is_empty();
        if state.is_writing || state.pending.is_empty() || failed || is_held_up {
            return;
        }
        let batches = state.begin_write();
        drop(state);
        let effects = self.write(batches, now);
        self.carry_out(effects);
    }

    /// Writes a group that [`State::begin_write`] took; returns what follows from it, to be carried out.
    pub(crate) fn write(self: &Arc<Self>, batches: Vec<Batch>, now: Timestamp) -> Effects {
        let bytes: u64 = batches.iter().map(|batch| batch.bytes().len() as u64).sum();
        let result = self.append_to_log(&batches, now);
        let mut effects = Effects::default();
        let mut state = self.state.lock();
        state.is_writing = false;
        state.pending.written(bytes);
        if matches!(state.status, PartitionStatus::Failed(_)) {
            state.fail("", &mut effects);
        } else {
            match result {
                Ok(end) => state.reach_written(end, bytes, &self.log, &mut effects),
                Err(failure) => {
                    let end = failure.end.next_offset;
                    let written = batches.iter().take_while(|batch| batch.header().next_offset() <= end);
                    let bytes = written.map(|batch| batch.bytes().len() as u64).sum();
                    self.settle_failure(&mut state, &failure, bytes, now, &mut effects);
                }
            }
        }
        state.plan_work(&mut effects);
        state.wake_appenders(&mut effects);
        effects
    }

    /// Appends to the log; the broker's own partitions may use up the space reserve for it.
    fn append_to_log(&self, batches: &[Batch], now: Timestamp) -> Result<LogPoint, AppendFailure> {
        let failure = match self.log.append(batches, now) {
            Err(failure) if failure.error.is_storage_full() => failure,
            other => return other,
        };
        self.context.reserve.release(now);
        if !self.state.lock().options.is_internal {
            return Err(failure);
        }
        let rest = batches.partition_point(|batch| batch.header().next_offset() <= failure.end.next_offset);
        self.log.append(&batches[rest..], now)
    }

    /// A full device takes nothing more until there is room; the offsets that were given out are given out again, under
    /// a new epoch. Any other failure is final.
    fn settle_failure(
        self: &Arc<Self>,
        state: &mut State,
        failure: &AppendFailure,
        bytes: u64,
        now: Timestamp,
        effects: &mut Effects,
    ) {
        state.reach_written(failure.end, bytes, &self.log, effects);
        let next_epoch = state.epoch.next();
        match (failure.error.is_storage_full(), next_epoch) {
            (true, Some(epoch)) => {
                tracing::warn!(partition = %self.name(), error = %failure.error, at = now.millis(), "appends refused");
                state.epoch = epoch;
                state.drop_unwritten(&AckFailure::StorageFull, effects);
            }
            _ => {
                let reason = failure.error.to_string();
                tracing::error!(partition = %self.name(), %reason, "the partition stopped accepting writes");
                state.fail(&reason, effects);
            }
        }
    }
}

impl State {
    /// Takes everything pending for one write.
    pub(crate) fn begin_write(&mut self) -> Vec<Batch> {
        assert!(!self.is_writing, "two writes of one partition");
        self.is_writing = true;
        self.pending.take()
    }

    /// Notes how far the log is written. A roll on the way has made all before the new segment durable.
    fn reach_written(&mut self, end: LogPoint, bytes: u64, log: &crate::log::PartitionLog, effects: &mut Effects) {
        let rolled = end.segment > self.written.segment;
        self.written = end;
        self.unsynced_bytes += bytes;
        self.offsets.set_written(end.next_offset);
        if rolled {
            self.unsynced_bytes = end.position;
            let record = *log.state().file.active();
            self.reach_durable(LogPoint::segment_start(record.base, record.first_batch), effects);
        }
        if self.unsynced_bytes >= SYNC_AHEAD_BYTES {
            self.sync_wanted = self.sync_wanted.max(end.next_offset);
        }
        effects.answer(self.leader_acks.take_to(end.next_offset), None);
        effects.commits = true;
    }

    /// Notes how far the log is durable.
    pub(crate) fn reach_durable(&mut self, point: LogPoint, effects: &mut Effects) {
        if point.next_offset > self.offsets.durable() {
            self.offsets.set_durable(point.next_offset);
        }
        if point.next_offset >= self.durable.next_offset {
            self.durable = point;
        }
        effects.answer(self.durable_acks.take_to(point.next_offset), None);
        effects.commits = true;
    }
}
