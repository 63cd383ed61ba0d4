//! One partition: its state under one short lock, and its log.

use std::sync::Arc;
use std::task::{Poll, Waker};

use parking_lot::Mutex;

use super::ack::{AckFailure, AckQueue};
use super::compaction::Compacting;
use super::deletion::{Deletions, Settled};
use super::effects::Effects;
use super::error::PartitionClosed;
use super::offsets::Offsets;
use super::options::{PartitionOptions, ReplicaContext, SyncPolicy, Work};
use super::pending::Pending;
use super::producers::Producers;
use super::tail::Tail;
use super::wakers::Wakers;
use crate::log::{LogPoint, LogState, PartitionLog};
use crate::types::{Epoch, Offset, Timestamp, TopicId, TopicPartition};

/// Whether a partition takes appends, and if not, why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartitionStatus {
    /// This broker leads the partition and takes appends.
    Leader,
    /// Another broker leads it.
    Follower {
        /// Where that one is, if known.
        leader: Option<String>,
    },
    /// The file system failed or damage was found: what is whole and committed is served, nothing is taken.
    Failed(Arc<str>),
}

/// A replicated log of which this broker holds one copy. Shared by everybody who appends, reads or works on it.
#[derive(Debug)]
pub struct Partition {
    name: TopicPartition,
    topic_id: TopicId,
    pub(crate) context: ReplicaContext,
    pub(crate) log: PartitionLog,
    pub(crate) state: Mutex<State>,
    /// Taken before `state`, and held through a turn.
    pub(crate) compacting: Mutex<Compacting>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) options: PartitionOptions,
    pub(crate) status: PartitionStatus,
    /// Why nobody may read any more either.
    pub(crate) closed: Option<PartitionClosed>,
    pub(crate) epoch: Epoch,
    pub(crate) offsets: Offsets,
    /// The place of `offsets.written()`.
    pub(crate) written: LogPoint,
    /// The place of `offsets.durable()`.
    pub(crate) durable: LogPoint,
    /// The place of `offsets.high_watermark()`.
    pub(crate) committed: LogPoint,
    /// Numbered and not yet written.
    pub(crate) pending: Pending,
    /// Bytes written and not yet synced.
    pub(crate) unsynced_bytes: u64,
    /// A write, a roll or a truncation is under way.
    pub(crate) is_writing: bool,
    pub(crate) is_syncing: bool,
    /// Work submitted and not yet run.
    pub(crate) queued: Queued,
    /// Somebody needs everything before this offset durable.
    pub(crate) sync_wanted: Offset,
    pub(crate) last_sync: Timestamp,
    /// Who waits for records to be deleted.
    pub(crate) deletions: Deletions,
    /// Compaction touches nothing from this offset on.
    pub(crate) compaction_floor: Option<Offset>,
    pub(crate) leader_acks: AckQueue,
    pub(crate) durable_acks: AckQueue,
    pub(crate) readers: Wakers,
    pub(crate) appenders: Wakers,
    pub(crate) producers: Producers,
    pub(crate) tail: Tail,
}

/// Which kinds of work wait for a thread.
#[derive(Debug, Default)]
pub(crate) struct Queued {
    pub(crate) write: bool,
    pub(crate) sync: bool,
    pub(crate) upkeep: bool,
    pub(crate) compact: bool,
}

impl Partition {
    pub(crate) fn assemble(
        name: TopicPartition,
        topic_id: TopicId,
        context: ReplicaContext,
        log: PartitionLog,
        state: State,
    ) -> Arc<Partition> {
        Arc::new(Partition { name, topic_id, context, log, state: Mutex::new(state), compacting: Mutex::default() })
    }

    /// Topic and number.
    #[must_use]
    pub fn name(&self) -> &TopicPartition {
        &self.name
    }

    /// The identity of its topic.
    #[must_use]
    pub fn topic_id(&self) -> TopicId {
        self.topic_id
    }

    /// Its offsets now.
    #[must_use]
    pub fn offsets(&self) -> Offsets {
        self.state.lock().offsets
    }

    /// The epoch it appends in.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.state.lock().epoch
    }

    /// Whether it takes appends.
    #[must_use]
    pub fn status(&self) -> PartitionStatus {
        self.state.lock().status.clone()
    }

    /// Its log, for those who must see segments.
    #[must_use]
    pub fn log(&self) -> &PartitionLog {
        &self.log
    }

    /// `from`, or the end of the gap that holds it: the first offset from there on that a record has or may get.
    #[must_use]
    pub fn behind_gap(&self, from: Offset) -> Offset {
        self.log.state().file.history.follow(from)
    }

    /// Bytes of the records it keeps, in all its segments together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let LogState { file, end, .. } = self.log.state();
        let sealed = file.segments.iter().filter_map(|record| record.sealed).map(|sealed| sealed.bytes);
        // A roll under way has named the next segment and not begun it: the one it seals is counted already.
        let active = if end.segment == file.active().base { end.position } else { 0 };
        sealed.sum::<u64>() + active
    }

    /// Ready once a record at or beyond `from` is committed, or the partition is closed; the waker is called when that
    /// may be so.
    ///
    /// # Errors
    /// [`PartitionClosed`]: no record will ever come.
    pub fn poll_readable(&self, from: Offset, waker: &Waker) -> Poll<Result<(), PartitionClosed>> {
        let mut state = self.state.lock();
        if let Some(closed) = &state.closed {
            return Poll::Ready(Err(closed.clone()));
        }
        let high_watermark = state.offsets.high_watermark();
        if high_watermark > from && high_watermark > self.behind_gap(from) {
            return Poll::Ready(Ok(()));
        }
        state.readers.register(waker);
        Poll::Pending
    }

    /// Drops a waker that [`Partition::poll_readable`] was given: it holds its task's memory, and nothing may happen here for
    /// long.
    pub fn forget_reader(&self, waker: &Waker) {
        self.state.lock().readers.forget(waker);
    }

    /// How many wait by [`Partition::poll_readable`], roughly: one that asks again may count twice.
    #[must_use]
    pub fn waiting_readers(&self) -> usize {
        self.state.lock().readers.len()
    }

    /// Ready once an append will not be refused for want of space: there is some, or it is refused for another reason.
    /// The waker is called when that may be so.
    pub fn poll_space(&self, waker: &Waker) -> Poll<()> {
        let mut state = self.state.lock();
        if state.has_space() || state.status != PartitionStatus::Leader {
            return Poll::Ready(());
        }
        if state.waits_for_syncs() {
            state.appenders.register(waker);
            return Poll::Pending;
        }
        if state.pending.wait(waker) { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Does one piece of work that was submitted. Blocks on files.
    pub fn run(self: &Arc<Self>, work: Work, now: Timestamp) {
        match work {
            Work::Write => self.run_writes(now),
            Work::Sync => self.run_sync(now),
            Work::Upkeep => self.run_upkeep(now),
            Work::Compact => self.run_compaction(now),
        }
    }

    /// Whether nothing is pending, unsynced though it should not be, or under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let state = self.state.lock();
        let failed = matches!(state.status, PartitionStatus::Failed(_));
        let is_durable = state.offsets.durable() >= state.sync_wanted;
        let settled = state.pending.is_empty() && is_durable && state.deletions.is_empty();
        (failed || settled) && !state.is_writing && !state.is_syncing
    }

    /// Asks for everything appended so far to become durable, whatever the policy.
    pub fn request_durable(self: &Arc<Self>) {
        let mut effects = Effects::default();
        let mut state = self.state.lock();
        state.sync_wanted = state.offsets.log_end();
        state.plan_work(&mut effects);
        drop(state);
        self.carry_out(effects);
    }

    /// Ends the partition: who waits to append or to read is told why, and so is everybody from now on. When this
    /// returns it touches none of its names in the file system any more. Waits for a write under way.
    pub fn close(self: &Arc<Self>, why: PartitionClosed) {
        let mut effects = Effects::default();
        let mut state = self.state.lock();
        let reason = why.to_string();
        state.closed.get_or_insert(why);
        state.fail(&reason, &mut effects);
        effects.wakers.append(&mut state.readers.take());
        drop(state);
        self.log.close();
        self.carry_out(effects);
    }

    /// Why the partition is closed, if it is.
    #[must_use]
    pub fn closed(&self) -> Option<PartitionClosed> {
        self.state.lock().closed.clone()
    }

    /// Moves the high watermark to what is stable, then sends answers, then wakes readers: in this order, so that whoever
    /// holds an answer can read what it is about, and no reader that waits is told of a record before its publisher.
    pub(crate) fn carry_out(self: &Arc<Self>, effects: Effects) {
        let Effects { answers, submit, commits, deletions, mut wakers } = effects;
        if commits {
            wakers.append(&mut self.commit());
        }
        for (waiting, failure) in answers {
            super::ack::answer(waiting, failure.as_ref());
        }
        deletions.into_iter().for_each(Settled::answer);
        wakers.append(&mut self.context.pending.take_ready());
        wakers.into_iter().for_each(Waker::wake);
        for work in submit {
            self.context.queue.submit(Arc::clone(self), work);
        }
    }

    /// Moves the high watermark; returns the readers to wake.
    fn commit(&self) -> Vec<Waker> {
        let mut state = self.state.lock();
        if matches!(state.status, PartitionStatus::Follower { .. }) {
            return Vec::new();
        }
        let stable = if state.offsets.stable() == state.offsets.durable() { state.durable } else { state.written };
        state.commit_to(stable)
    }
}

impl State {
    /// Whether an append may find space.
    pub(crate) fn has_space(&self) -> bool {
        self.pending.has_space() && !self.waits_for_syncs()
    }

    /// Whether so much is to be synced that appends have to wait for it.
    fn waits_for_syncs(&self) -> bool {
        matches!(self.options.sync, SyncPolicy::Always) && self.unsynced_bytes >= self.options.unsynced_bytes_max
    }

    /// Submits what should run and is neither running nor submitted.
    pub(crate) fn plan_work(&mut self, effects: &mut Effects) {
        if matches!(self.status, PartitionStatus::Failed(_)) {
            return;
        }
        if !self.deletions.is_empty() && !self.is_writing && !self.queued.upkeep {
            self.queued.upkeep = true;
            effects.submit.push(Work::Upkeep);
        }
        if !self.pending.is_empty() && !self.is_writing && !self.queued.write {
            self.queued.write = true;
            effects.submit.push(Work::Write);
        }
        let wanted = self.sync_wanted.min(self.offsets.written());
        if wanted > self.offsets.durable() && !self.is_syncing && !self.queued.sync {
            self.queued.sync = true;
            effects.submit.push(Work::Sync);
        }
    }

    /// Moves the high watermark forward; returns the readers to wake.
    pub(crate) fn commit_to(&mut self, point: LogPoint) -> Vec<Waker> {
        if point.next_offset <= self.offsets.high_watermark() {
            return Vec::new();
        }
        self.offsets.set_high_watermark(point.next_offset);
        self.committed = point;
        self.producers.commit_to(point.next_offset);
        self.readers.take()
    }

    /// Drops everything that is not written, and tells its publishers why.
    pub(crate) fn drop_unwritten(&mut self, failure: &AckFailure, effects: &mut Effects) {
        let end = self.offsets.written();
        self.drop_beyond(end, failure, effects);
    }

    /// Drops every batch that reaches beyond `end`, none of which is committed, and tells their publishers why. Where
    /// `end` lies inside a pending batch the log then ends before it.
    pub(crate) fn drop_beyond(&mut self, mut end: Offset, failure: &AckFailure, effects: &mut Effects) {
        while let Some(base_offset) = self.pending.pop_beyond(end) {
            end = end.min(base_offset);
        }
        self.offsets.truncate_to(end);
        self.sync_wanted = self.sync_wanted.min(end);
        self.producers.truncate_to(end);
        self.tail.truncate_to(end);
        effects.answer(self.leader_acks.take_beyond(end), Some(failure));
        effects.answer(self.durable_acks.take_beyond(end), Some(failure));
    }

    /// Stops taking appends for good: a failed sync, an unexplained failure, or damage. The first reason stays.
    pub(crate) fn fail(&mut self, reason: &str, effects: &mut Effects) {
        let reason = match &self.status {
            PartitionStatus::Failed(first) => Arc::clone(first),
            PartitionStatus::Leader | PartitionStatus::Follower { .. } => Arc::from(reason),
        };
        self.status = PartitionStatus::Failed(Arc::clone(&reason));
        self.pending.clear();
        let failure = self.closed.clone().map_or(AckFailure::StorageFailed(reason), AckFailure::Closed);
        effects.answer(self.leader_acks.take_beyond(Offset::ZERO), Some(&failure));
        effects.answer(self.durable_acks.take_beyond(Offset::ZERO), Some(&failure));
        self.refuse_deletions(&failure, effects);
        self.end_waiting_for_space(effects);
    }

    /// Wakes everybody who waits to append: they are refused from now on.
    pub(crate) fn end_waiting_for_space(&mut self, effects: &mut Effects) {
        effects.wakers.append(&mut self.appenders.take());
        effects.wakers.append(&mut self.pending.take_waiting());
    }

    /// Wakes those who wait for syncs, once they need not.
    ///
    /// Those who wait for memory wake as it is given back: see [`Partition::carry_out`].
    pub(crate) fn wake_appenders(&mut self, effects: &mut Effects) {
        if !self.waits_for_syncs() {
            effects.wakers.append(&mut self.appenders.take());
        }
    }
}
