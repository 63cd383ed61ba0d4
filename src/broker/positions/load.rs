//! Reading the positions back: from a snapshot and what the log has after it, or from all of the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::codec::{Entry, decode};
use super::key::{Place, Position};
use super::registry::{PositionLimits, Positions};
use super::shard::{NotedGroup, Shard};
use super::snapshot::PositionsSnapshot;
use crate::broker::BrokerError;
use crate::broker::topic::{Slot, TopicHandle};
use crate::replica::{Partition, Read, ReadFailure, WorkQueue, run_jobs};
use crate::types::{Offset, Timestamp, TopicId};

/// Bytes of `__offsets` read at a time.
const READ_BYTES: usize = 1 << 20;

/// Topics by their ids.
type Topics = BTreeMap<TopicId, Arc<TopicHandle>>;

/// What positions are read back from.
#[derive(Debug)]
pub(in crate::broker) struct PositionsStart<'a> {
    pub(in crate::broker) limits: PositionLimits,
    /// The topic `__offsets`; without it nothing can be kept yet.
    pub(in crate::broker) topic: Option<&'a TopicHandle>,
    /// Snapshots of its partitions, as far as they may be believed.
    pub(in crate::broker) snapshots: BTreeMap<u32, PositionsSnapshot>,
    /// All topics there are.
    pub(in crate::broker) topics: Topics,
    /// Who gives the reading threads.
    pub(in crate::broker) queue: &'a dyn WorkQueue,
}

impl Positions {
    /// Reads the positions back. Blocks on files. A partition of `__offsets` that cannot be opened or read takes none.
    pub(in crate::broker) fn open(mut start: PositionsStart<'_>) -> Positions {
        let positions = Positions::new(start.limits);
        let Some(topic) = start.topic else { return positions };
        let topics = Arc::new(start.topics);
        let slots = (0..).zip(topic.slots());
        let jobs = slots.map(|(index, slot)| {
            let (slot, snapshot, topics) = (slot.clone(), start.snapshots.remove(&index), Arc::clone(&topics));
            move || open_slot(slot, snapshot, &topics)
        });
        let jobs = jobs.collect();
        positions.attach(run_jobs(start.queue, jobs));
        positions
    }
}

fn open_slot(slot: Slot, snapshot: Option<PositionsSnapshot>, topics: &Topics) -> (Option<Arc<Partition>>, Shard) {
    match slot {
        Slot::Open(partition) => {
            let shard = load(&partition, snapshot, topics);
            (Some(partition), shard)
        }
        Slot::Offline(reason) => (None, Shard::offline(BrokerError::StorageFailed(reason))),
    }
}

fn load(partition: &Arc<Partition>, snapshot: Option<PositionsSnapshot>, topics: &Topics) -> Shard {
    let mut loading = Loading { shard: Shard::default(), topics };
    let offsets = partition.offsets();
    // A log that begins later says everything by itself, and the snapshot what was dropped before.
    let may_follow = offsets.log_start()..=offsets.high_watermark();
    let snapshot =
        snapshot.and_then(|snapshot| Some((Offset::new(snapshot.applied)?, snapshot.positions, snapshot.groups)));
    if let Some((applied, positions, groups)) = snapshot.filter(|(applied, ..)| may_follow.contains(applied)) {
        loading.shard.applied = applied;
        let noted = |kept: super::KeptGroup| {
            let written_at = Timestamp::from_millis(kept.time_ms);
            (kept.group.into(), NotedGroup { record: kept.record, written_at })
        };
        loading.shard.groups = groups.into_iter().map(noted).collect();
        for (place, position) in positions.into_iter().filter_map(super::KeptPosition::read) {
            loading.apply(place, Some(position));
        }
    }
    loading.shard.applied = loading.shard.applied.max(offsets.log_start());
    loading.catch_up(partition);
    loading.correct();
    loading.shard
}

struct Loading<'a> {
    shard: Shard,
    topics: &'a Topics,
}

impl Loading<'_> {
    fn apply(&mut self, place: Place, change: Option<Position>) {
        match change.filter(|_| self.topics.contains_key(&place.topic_id)) {
            Some(position) => self.shard.keep(place, position, Offset::ZERO),
            None => {
                self.shard.remove(&place);
            }
        }
    }

    /// Applies everything in the log from where the shard stands. What is damaged is passed over: an older position is
    /// better than none, and the partition takes no newer one.
    fn catch_up(&mut self, partition: &Arc<Partition>) {
        while let Err(failure) = self.try_catch_up(partition) {
            tracing::error!(partition = %partition.name(), %failure, "positions cannot be read; older ones stand in for them");
            let resume = if let ReadFailure::Corrupt { resume, .. } = &failure { *resume } else { None };
            match resume.filter(|resume| *resume > self.shard.applied) {
                Some(resume) => self.shard.applied = resume,
                None => return self.shard.refuse(BrokerError::StorageFailed(failure.to_string().into())),
            }
        }
    }

    fn try_catch_up(&mut self, partition: &Arc<Partition>) -> Result<(), ReadFailure> {
        loop {
            // What a repair gave up has no batch that would carry the shard over it.
            self.shard.applied = partition.behind_gap(self.shard.applied);
            if self.shard.applied >= partition.offsets().high_watermark() {
                return Ok(());
            }
            let batches = match partition.read(self.shard.applied, READ_BYTES)? {
                Read::Batches(batches) => batches,
                Read::Disk(read) => read.run()?,
            };
            for batch in batches {
                self.apply_batch(partition, &batch);
            }
        }
    }

    fn apply_batch(&mut self, partition: &Partition, batch: &crate::record::Batch) {
        let end = batch.header().next_offset();
        let from = std::mem::replace(&mut self.shard.applied, end);
        if batch.header().attributes.is_control() {
            return;
        }
        let passed_over = |error: &dyn std::error::Error| {
            let partition = partition.name();
            tracing::warn!(%partition, offset = from.get(), %error, "a position that cannot be read is passed over");
        };
        let records = match batch.records() {
            Ok(records) => records,
            Err(error) => return passed_over(&error),
        };
        for record in records {
            match record {
                Ok(record) if record.offset < from => {}
                Ok(read) => match decode(&read) {
                    Ok(Entry::Position(place, change)) => self.apply(place, change),
                    Ok(Entry::Group(group, Some(record))) => {
                        let noted = NotedGroup { record, written_at: read.timestamp };
                        self.shard.groups.insert(group, noted);
                    }
                    Ok(Entry::Group(group, None)) => drop(self.shard.groups.remove(&group)),
                    Err(error) => passed_over(&error),
                },
                Err(error) => passed_over(&error),
            }
        }
    }

    /// Takes back positions in records that an unclean start in a weak mode has lost: they are given out anew.
    fn correct(&mut self) {
        let corrected = self.shard.kept.iter().filter_map(|(place, kept)| {
            let topic = self.topics.get(&place.topic_id)?;
            let position = corrected(&kept.position, &*topic.partition(place.partition).ok()?)?;
            tracing::warn!(
                owner = %place.owner, topic = %position.topic, partition = place.partition.0,
                from = kept.position.offset.get(), to = position.offset.get(),
                "records that were read were lost; its position goes back to where they begin"
            );
            Some((place.clone(), position))
        });
        for (place, position) in corrected.collect::<Vec<_>>() {
            self.shard.keep(place, position, Offset::ZERO);
        }
    }
}

/// Where a position has to go back to, if it has: to the first offset that a later epoch has given out again, or to the
/// end of the log. One that was said to be beyond the end stays.
fn corrected(position: &Position, partition: &Partition) -> Option<Position> {
    if position.is_ahead {
        return None;
    }
    let state = partition.log().state();
    let later = state.file.history.epochs.entries().iter().find(|(epoch, _)| *epoch > position.epoch);
    let again = later.map_or(Offset::MAX, |(_, start)| *start);
    let offset = position.offset.min(again).min(partition.offsets().high_watermark());
    let epoch = partition.epoch();
    (offset < position.offset).then(|| Position { offset, epoch, ..position.clone() })
}
