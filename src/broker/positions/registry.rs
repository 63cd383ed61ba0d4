//! All positions: the shards, and the batches between them and the partitions of `__offsets`.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::commit::PositionReply;
use super::flight::Launch;
use super::key::{Place, Position, PositionOwner, shard_of};
use super::shard::{Answers, GroupWrite, OwnedPosition, Shard, Waiting};
use super::snapshot::{KEPT_GROUP_BYTES, KeptGroup, KeptPosition, PositionsSnapshot, SNAPSHOT_POSITIONS_BYTES_MAX};
use crate::broker::BrokerError;
use crate::broker::groups::GroupRecord;
use crate::replica::{AckLevel, AckSink, Completion, Partition, Waiter};
use crate::types::{Offset, PartitionIndex, Timestamp, TopicId, TopicName};

/// The topic that keeps positions.
pub const OFFSETS_TOPIC: &str = "__offsets";

pub(in crate::broker) fn offsets_topic() -> TopicName {
    TopicName::new(OFFSETS_TOPIC).expect("a valid name")
}

/// Positions kept at most.
const POSITIONS_MAX: usize = 1_000_000;

/// Bytes of the notes of all positions that are kept at most.
pub const ALL_NOTES_BYTES_MAX: usize = 64 << 20;

/// How many positions are kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PositionLimits {
    /// Partitions that `__offsets` is created with.
    pub partitions: u32,
    /// Positions; beyond, those go that were not moved for longest.
    pub positions_max: usize,
    /// Milliseconds after which a position that was not moved goes.
    pub expiry_ms: i64,
}

impl Default for PositionLimits {
    fn default() -> PositionLimits {
        PositionLimits { partitions: 16, positions_max: POSITIONS_MAX, expiry_ms: 168 * 3_600_000 }
    }
}

/// The positions of all clients.
#[derive(Debug)]
pub(in crate::broker) struct Positions {
    limits: PositionLimits,
    /// Once `__offsets` is there.
    slots: OnceLock<Vec<Slot>>,
    /// Positions kept in all slots.
    count: AtomicUsize,
    /// When to try again to make `__offsets`; nobody has tried where there is no time.
    retry_at: Mutex<Option<Timestamp>>,
}

/// One partition of `__offsets` and what it holds.
#[derive(Debug)]
struct Slot {
    partition: Option<Arc<Partition>>,
    shard: Mutex<Shard>,
}

/// Where the answers to appends go; the token is the slot.
#[derive(Debug)]
struct Sink {
    positions: Arc<Positions>,
}

impl Positions {
    /// Takes nothing yet: there is no topic that would keep it.
    pub(super) fn new(limits: PositionLimits) -> Positions {
        Positions { limits, slots: OnceLock::new(), count: AtomicUsize::new(0), retry_at: Mutex::new(None) }
    }

    /// Begins with the partitions of `__offsets` and what was found in them. Only the first call counts.
    pub(super) fn attach(&self, found: Vec<(Option<Arc<Partition>>, Shard)>) {
        let count: usize = found.iter().map(|(_, shard)| shard.kept.len()).sum();
        let slots = found.into_iter().map(|(partition, shard)| Slot { partition, shard: Mutex::new(shard) });
        if self.slots.set(slots.collect()).is_ok() {
            self.count.fetch_add(count, Ordering::Relaxed);
            self.enforce_limit();
        }
    }

    /// Begins with partitions of `__offsets` that were just made.
    pub(super) fn attach_new(&self, made: impl Iterator<Item = Result<Arc<Partition>, Arc<str>>>) {
        if self.is_attached() {
            return;
        }
        let found = made.map(|partition| match partition {
            Ok(partition) => (Some(partition), Shard::default()),
            Err(reason) => (None, Shard::offline(BrokerError::StorageFailed(reason))),
        });
        self.attach(found.collect());
    }

    /// Whether there is a topic that keeps positions.
    pub(super) fn is_attached(&self) -> bool {
        self.slots.get().is_some()
    }

    pub(super) fn retry_at(&self, at: Timestamp) {
        *self.retry_at.lock() = Some(at);
    }

    pub(super) fn is_retry_due(&self, now: Timestamp) -> bool {
        self.retry_at.lock().is_some_and(|at| at <= now)
    }

    fn slots(&self) -> &[Slot] {
        self.slots.get().map_or(&[], Vec::as_slice)
    }

    /// Where what belongs to an id is kept.
    pub(in crate::broker) fn slot_of(&self, id: &str) -> usize {
        shard_of(id, u32::try_from(self.slots().len()).unwrap_or(u32::MAX))
    }

    /// What is known of a group.
    pub(in crate::broker) fn group(&self, id: &str) -> Option<GroupRecord> {
        self.slots().get(self.slot_of(id))?.shard.lock().group(id)
    }

    /// All groups there are.
    pub(in crate::broker) fn groups(&self) -> Vec<(Arc<str>, GroupRecord)> {
        let of_shard = |slot: &Slot| slot.shard.lock().all_groups();
        self.slots().iter().flat_map(of_shard).collect()
    }

    /// How many groups there are at most: those on their way count as new ones.
    pub(in crate::broker) fn groups_count(&self) -> usize {
        self.slots().iter().map(|slot| slot.shard.lock().groups_count()).sum()
    }

    /// Groups that keep no position, and of which nothing was written for as long as a position is kept that was not moved.
    pub(in crate::broker) fn idle_groups(&self, now: Timestamp) -> Vec<Arc<str>> {
        let before = now.plus_millis(self.limits.expiry_ms.saturating_neg());
        self.slots().iter().flat_map(|slot| slot.shard.lock().idle_groups(before)).collect()
    }

    /// Enters a group's record, or that it is forgotten; what to do about it is for [`Positions::follow_up`], once no lock is held. The reply comes
    /// when the record has its level.
    pub(in crate::broker) fn enter_group(
        &self,
        group: &Arc<str>,
        record: Option<GroupRecord>,
        level: AckLevel,
        now: Timestamp,
        reply: PositionReply,
    ) -> (usize, Answers) {
        let slot = self.slot_of(group);
        let Some(Slot { shard, .. }) = self.slots().get(slot) else {
            return (slot, vec![(reply, Err(BrokerError::Overloaded))]);
        };
        let is_behind_drops = record.is_none();
        let write = GroupWrite { group: Arc::clone(group), record, is_behind_drops, level, reply };
        (slot, shard.lock().enter_group(write, now))
    }

    /// Enters that a group is forgotten with all its positions: as [`Positions::enter_group`]. The reply comes when that is
    /// durable.
    pub(in crate::broker) fn enter_deletion(
        &self,
        group: &Arc<str>,
        now: Timestamp,
        reply: PositionReply,
    ) -> (usize, Answers) {
        self.enter_drop(group, None, |_| true, now, reply)
    }

    /// Enters that a group keeps no position in these partitions any more: as [`Positions::enter_deletion`].
    pub(in crate::broker) fn enter_drops(
        &self,
        group: &Arc<str>,
        partitions: &BTreeSet<(TopicId, PartitionIndex)>,
        now: Timestamp,
        reply: PositionReply,
    ) -> (usize, Answers) {
        let is_meant = |place: &Place| partitions.contains(&(place.topic_id, place.partition));
        self.enter_drop(group, self.group(group), is_meant, now, reply)
    }

    fn enter_drop(
        &self,
        group: &Arc<str>,
        record: Option<GroupRecord>,
        is_meant: impl Fn(&Place) -> bool,
        now: Timestamp,
        reply: PositionReply,
    ) -> (usize, Answers) {
        let slot = self.slot_of(group);
        if slot >= self.slots().len() {
            return (slot, vec![(reply, Err(BrokerError::Overloaded))]);
        }
        let (level, is_behind_drops) = (AckLevel::Durable, true);
        let write = GroupWrite { group: Arc::clone(group), record, is_behind_drops, level, reply };
        let answers = self.change(slot, |shard| {
            let mut answers = shard.drop_of(&PositionOwner::Group(Arc::clone(group)), is_meant);
            shard.make_all_due();
            answers.extend(shard.enter_group(write, now));
            answers
        });
        (slot, answers)
    }

    /// Keeps positions of an owner from expiring though nothing moves them.
    pub(in crate::broker) fn confirm(&self, owner: &PositionOwner, now: Timestamp) {
        if let Some(slot) = self.slots().get(self.slot_of(owner.id())) {
            slot.shard.lock().confirm(owner, now);
        }
    }

    /// The positions that an owner keeps, as far as anybody has been told of them.
    pub(in crate::broker) fn of_owner(&self, owner: &PositionOwner) -> Vec<OwnedPosition> {
        let slot = self.slots().get(self.slot_of(owner.id()));
        slot.map_or_else(Vec::new, |slot| slot.shard.lock().of_owner(owner))
    }

    /// The position, as far as anybody has been told of it.
    pub(super) fn committed(&self, place: &Place) -> Option<Offset> {
        let slot = self.slots().get(self.slot_of(place.owner.id()))?;
        slot.shard.lock().committed(place)
    }

    /// The same, with all that is kept of it.
    pub(super) fn known(&self, place: &Place) -> Option<Position> {
        let slot = self.slots().get(self.slot_of(place.owner.id()))?;
        slot.shard.lock().known(place).cloned()
    }

    /// The position as everything entered so far will leave it.
    pub(super) fn entered(&self, place: &Place) -> Option<Offset> {
        let slot = self.slots().get(self.slot_of(place.owner.id()))?;
        slot.shard.lock().entered(place).map(|position| position.offset)
    }

    /// Enters a commit; what to do about it is for [`Positions::follow_up`], once no lock is held.
    pub(super) fn enter(&self, commit: Waiting) -> (usize, Answers) {
        let slot = self.slot_of(commit.place.owner.id());
        let Some(Slot { partition, shard }) = self.slots().get(slot) else {
            let topic = offsets_topic();
            return (slot, vec![(commit.reply, Err(BrokerError::TopicBusy { topic }))]);
        };
        let durable = match (partition, commit.level) {
            (Some(partition), crate::replica::AckLevel::Durable) => partition.offsets().durable(),
            _ => Offset::ZERO,
        };
        let mut shard = shard.lock();
        let answers = shard.enter(commit, durable);
        let now = shard.now;
        shard.make_due(now);
        (slot, answers)
    }

    /// Answers, and writes what can be written now.
    pub(in crate::broker) fn follow_up(self: &Arc<Self>, slot: usize, answers: Answers) {
        answers.into_iter().for_each(|(reply, result)| reply.send(result));
        let Some(Slot { partition: Some(partition), shard }) = self.slots().get(slot) else { return };
        loop {
            let launch = shard.lock().begin_flight();
            let Some(launch) = launch else { return };
            let Err(error) = self.append(slot, partition, launch) else { return };
            let answers = shard.lock().lost(&error);
            answers.into_iter().for_each(|(reply, result)| reply.send(result));
        }
    }

    fn append(self: &Arc<Self>, slot: usize, partition: &Arc<Partition>, launch: Launch) -> Result<(), BrokerError> {
        let sink = Arc::new(Sink { positions: Arc::clone(self) });
        let waiter = Waiter { sink, token: slot as u64 };
        let Launch { batch, level, now } = launch;
        partition.append(batch, level, Some(waiter), now)?;
        Ok(())
    }

    /// Writes claims that have gathered, and drops what has expired. To be called about once a second, or more often.
    pub(in crate::broker) fn step(self: &Arc<Self>, now: Timestamp) {
        let before = now.plus_millis(self.limits.expiry_ms.saturating_neg());
        for slot in 0..self.slots().len() {
            self.change(slot, |shard| {
                shard.expire(before);
                shard.make_due(now);
            });
            self.follow_up(slot, Vec::new());
        }
    }

    /// Lets everything claimed so far be written and synced.
    pub(in crate::broker) fn request_durable(self: &Arc<Self>) {
        for (slot, Slot { shard, .. }) in self.slots().iter().enumerate() {
            shard.lock().make_all_due();
            self.follow_up(slot, Vec::new());
        }
    }

    /// Whether nothing is on its way to the log.
    pub(in crate::broker) fn is_idle(&self) -> bool {
        self.slots().iter().all(|Slot { shard, .. }| shard.lock().is_idle())
    }

    /// How many positions are kept.
    pub(in crate::broker) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Bytes that the notes of all kept positions take.
    pub(super) fn note_bytes(&self) -> usize {
        self.slots().iter().map(|slot| slot.shard.lock().note_bytes).sum()
    }

    /// Forgets a topic that was deleted.
    pub(in crate::broker) fn forget(self: &Arc<Self>, topic_id: TopicId, topic: &TopicName) {
        for slot in 0..self.slots().len() {
            let answers = self.change(slot, |shard| shard.forget(topic_id, topic));
            self.follow_up(slot, answers);
        }
    }

    /// What the logs of `__offsets` hold, for a snapshot: slots that are offline are left out, and so is what would make
    /// the snapshot too large.
    pub(in crate::broker) fn snapshot(&self) -> Vec<PositionsSnapshot> {
        let mut bytes = 0;
        let mut snapshots = Vec::new();
        for (partition, Slot { shard, .. }) in (0..).zip(self.slots()).filter(|(_, slot)| slot.partition.is_some()) {
            let shard = shard.lock();
            let kept = shard.kept.iter().map(|(place, kept)| KeptPosition::new(place, &kept.position));
            let positions: Vec<_> = kept.collect();
            bytes += positions.iter().map(KeptPosition::bytes).sum::<usize>();
            let groups = shard.groups.iter().map(|(id, noted)| KeptGroup {
                group: id.to_string(),
                record: noted.record,
                time_ms: noted.written_at.millis(),
            });
            let groups: Vec<_> = groups.collect();
            bytes += groups.len() * KEPT_GROUP_BYTES;
            if bytes <= SNAPSHOT_POSITIONS_BYTES_MAX {
                snapshots.push(PositionsSnapshot { partition, applied: shard.applied.get(), positions, groups });
            }
        }
        snapshots
    }

    /// Changes a shard and keeps count of what it keeps.
    fn change<R>(&self, slot: usize, change: impl FnOnce(&mut Shard) -> R) -> R {
        let mut shard = self.slots()[slot].shard.lock();
        let before = shard.kept.len();
        let result = change(&mut shard);
        self.count.fetch_add(shard.kept.len(), Ordering::Relaxed);
        self.count.fetch_sub(before, Ordering::Relaxed);
        result
    }

    fn enforce_limit(&self) {
        while self.count() > self.limits.positions_max {
            let oldest = |slot: &Slot| slot.shard.lock().oldest();
            let found = self.slots().iter().enumerate().filter_map(|(slot, found)| Some((oldest(found)?, slot))).min();
            let Some((_, slot)) = found else { return };
            self.change(slot, Shard::drop_oldest);
        }
    }
}

impl AckSink for Sink {
    fn complete(&self, completions: &mut dyn Iterator<Item = Completion>) {
        let positions = &self.positions;
        for Completion { token, outcome } in completions {
            let Ok(slot) = usize::try_from(token) else { continue };
            let answers = positions.change(slot, |shard| match outcome {
                Ok(acked) => shard.landed(acked.base_offset),
                Err(failure) => {
                    tracing::warn!(%failure, "positions were not kept");
                    shard.lost(&BrokerError::from(failure))
                }
            });
            positions.enforce_limit();
            positions.follow_up(slot, answers);
        }
    }
}
