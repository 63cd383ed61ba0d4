//! Compacting a partition's log, a turn at a time: what may be touched, and who waits for whom (nobody).
//!
//! A turn is [`Work::Compact`]. It runs beside writes, syncs and reads; the log lets appends wait only while it replaces
//! `partition.json`. Whoever calls [`Partition::begin_compaction`] decides how many are under way at a time, and by
//! calling [`Partition::compact_on`] how fast one goes.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::effects::Effects;
use super::options::Work;
use super::partition::{Partition, PartitionStatus, State};
use crate::log::{Compaction, CompactionError, CompactionReport, CompactionStart, CompactionTurn, Dirty};
use crate::types::{Offset, Timestamp};

/// How long a partition is left alone after a compaction failed, in milliseconds.
const RETRY_MS: i64 = 60_000;

/// A partition's compaction.
#[derive(Debug, Default)]
pub(crate) struct Compacting {
    /// The one under way, and how much it may read at the next turn.
    current: Option<(Compaction, u64)>,
    /// None is begun before.
    not_before: Option<Timestamp>,
}

impl Partition {
    /// How dirty the log is; `None` where it is not to be compacted now.
    #[must_use]
    pub fn compaction_due(&self, now: Timestamp) -> Option<Dirty> {
        let (policy, floor) = {
            let state = self.state.lock();
            (state.options.compaction?, state.compactable_to()?)
        };
        let not_before = self.compacting.try_lock()?.not_before;
        if not_before.is_some_and(|not_before| now < not_before) || !self.context.reserve.is_open() {
            return None;
        }
        self.log.dirty(&policy, floor, now)
    }

    /// Begins a compaction, with so much memory for keys; false where there is none to begin. It goes on with
    /// [`Partition::compact_on`].
    #[must_use]
    pub fn begin_compaction(&self, keys_bytes_max: usize, now: Timestamp) -> bool {
        let (policy, start) = {
            let state = self.state.lock();
            let (Some(policy), Some(floor)) = (state.options.compaction, state.compactable_to()) else { return false };
            let producers = state.producers.snapshot();
            let remembered: BTreeSet<Offset> = producers.iter().flat_map(|known| known.batches()).collect();
            (policy, CompactionStart { floor, remembered, keys_bytes_max })
        };
        let mut compacting = self.compacting.lock();
        if compacting.current.is_none() {
            compacting.current = self.log.begin_compaction(&policy, start, now).map(|compaction| (compaction, 0));
        }
        compacting.current.is_some()
    }

    /// Submits the next turn of the compaction under way, of about so many bytes read. False where none is under way.
    pub fn compact_on(self: &Arc<Self>, bytes: u64) -> bool {
        // A turn that is running holds the lock.
        let Some(mut compacting) = self.compacting.try_lock() else { return true };
        let Some((_, allowed)) = &mut compacting.current else { return false };
        *allowed = bytes;
        drop(compacting);
        let is_new = !std::mem::replace(&mut self.state.lock().queued.compact, true);
        if is_new {
            self.context.queue.submit(Arc::clone(self), Work::Compact);
        }
        true
    }

    /// Gives the compaction under way up, if there is one: what it has not finished is removed. Waits for a turn that is
    /// running. Blocks on files.
    pub fn give_up_compaction(&self) {
        if let Some((mut compaction, _)) = self.compacting.lock().current.take() {
            self.log.give_up_compaction(&mut compaction);
        }
    }

    /// Says below which offset compaction may touch records, beside what the high watermark and durability say: replicas
    /// that still read what was appended need it as it was. `None`: that is all there is to heed.
    pub fn set_compaction_floor(&self, floor: Option<Offset>) {
        self.state.lock().compaction_floor = floor;
    }

    pub(crate) fn run_compaction(self: &Arc<Self>, now: Timestamp) {
        let is_stopped = {
            let mut state = self.state.lock();
            state.queued.compact = false;
            state.compactable_to().is_none() || state.options.compaction.is_none()
        };
        let mut compacting = self.compacting.lock();
        let Some((mut compaction, bytes)) = compacting.current.take() else { return };
        if is_stopped {
            return self.log.give_up_compaction(&mut compaction);
        }
        match self.log.compact(&mut compaction, bytes) {
            Ok(CompactionTurn::GoesOn) => compacting.current = Some((compaction, 0)),
            Ok(CompactionTurn::Done(report)) => self.tell_compacted(&report),
            Err(error) => {
                compacting.not_before = Some(now.plus_millis(RETRY_MS));
                drop(compacting);
                self.settle_compaction(&error, now);
            }
        }
    }

    fn tell_compacted(&self, report: &CompactionReport) {
        tracing::info!(
            partition = %self.name(),
            compacted_to = report.compacted_to.get(),
            records_removed = report.records_removed,
            segments_before = report.segments_before,
            segments_after = report.segments_after,
            bytes_before = report.bytes_before,
            bytes_after = report.bytes_after,
            bytes_read = report.bytes_read,
            "compacted"
        );
    }

    fn settle_compaction(self: &Arc<Self>, error: &CompactionError, now: Timestamp) {
        match error {
            CompactionError::Superseded => {}
            CompactionError::Log(_) if self.closed().is_some() => {}
            CompactionError::Log(failure) if failure.is_storage_full() => {
                // What replaces `partition.json` is little, and compacting gives space back.
                self.context.reserve.release(now);
                tracing::warn!(partition = %self.name(), %error, "compaction found no room; it is tried again later");
            }
            CompactionError::Log(_) => {
                tracing::warn!(partition = %self.name(), %error, "compaction failed; it is tried again later");
            }
            CompactionError::Damaged(report) => {
                self.log.report_damage(report.clone());
                let mut effects = Effects::default();
                let mut state = self.state.lock();
                if !matches!(state.status, PartitionStatus::Failed(_)) {
                    let reason = report.to_string();
                    tracing::error!(partition = %self.name(), reason, "damage found: the partition stopped accepting writes");
                    state.fail(&reason, &mut effects);
                }
                drop(state);
                self.carry_out(effects);
            }
        }
    }
}

impl State {
    /// Below which offset records may be removed: what is committed and durable can be told from what replaces it for
    /// ever. `None` while the partition is not whole.
    fn compactable_to(&self) -> Option<Offset> {
        let is_sound = self.closed.is_none() && !matches!(self.status, PartitionStatus::Failed(_));
        let floor = self.offsets.high_watermark().min(self.offsets.durable());
        is_sound.then(|| self.compaction_floor.map_or(floor, |own| floor.min(own)))
    }
}
