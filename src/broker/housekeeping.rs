//! What a broker does now and then: upkeep of partitions, the space reserve, snapshots.

use std::sync::Arc;

use super::Broker;
use super::metadata::MetadataSnapshot;
use super::positions::PositionsSnapshot;
use super::snapshot::{LogPointSnapshot, PartitionSnapshot, Snapshot, SnapshotError};
use crate::log::LogPoint;
use crate::replica::{Checkpoint, Partition, PartitionStatus};
use crate::types::{Offset, Timestamp};

/// When the next snapshot is due, and the one that is being taken.
#[derive(Debug)]
pub(crate) struct SnapshotSchedule {
    next: Timestamp,
    taking: Option<Taking>,
}

/// A snapshot that waits for what it tells of to be durable.
#[derive(Debug)]
struct Taking {
    applied: Offset,
    metadata: MetadataSnapshot,
    positions: Vec<PositionsSnapshot>,
    partitions: Vec<(Arc<Partition>, Checkpoint)>,
}

impl SnapshotSchedule {
    pub(crate) fn new(next: Timestamp) -> SnapshotSchedule {
        SnapshotSchedule { next, taking: None }
    }
}

impl Broker {
    /// Does what time has made due. To be called about once a second, on a thread that may block on files.
    pub fn step(self: &Arc<Self>, now: Timestamp) {
        if let Err(error) = self.reserve.step(now) {
            tracing::warn!(%error, "the space reserve cannot be made");
        }
        self.retry_positions(now);
        self.step_groups(now);
        self.positions.step(now);
        let partitions = self.open_partitions();
        for partition in &partitions {
            partition.step(now);
        }
        self.step_compaction(&partitions, now);
        if let Some(ids) = &self.ids {
            ids.step(now);
        }
        let interval = self.options.snapshot_interval_ms;
        let mut schedule = self.schedule.lock();
        if schedule.taking.is_none() && interval > 0 && now >= schedule.next {
            schedule.taking = self.begin_snapshot();
            if schedule.taking.is_some() {
                schedule.next = now.plus_millis(interval);
            }
        }
        if schedule.taking.as_ref().is_some_and(Taking::is_ready)
            && let Some(taking) = schedule.taking.take()
            && let Err(error) = self.finish_snapshot(taking, now)
        {
            tracing::warn!(%error, "no snapshot was written; the next start reads more");
        }
    }

    /// Asks for everything appended so far to become durable, whatever the policy.
    pub fn request_durable(&self) {
        self.positions.request_durable();
        for partition in self.open_partitions() {
            partition.request_durable();
        }
    }

    /// Cuts off what was written ahead of the logs' ends, and gives up a compaction under way: what a clean stop leaves
    /// behind is records alone.
    pub fn trim_logs(&self) {
        for partition in self.open_partitions() {
            partition.give_up_compaction();
            partition.log().trim();
        }
    }

    /// Whether no partition has anything to write, to sync or under way, and no command has effects that are not there.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let settled = self.positions.is_idle() && self.meta.lock().is_settled();
        settled && self.open_partitions().iter().all(|partition| partition.is_idle())
    }

    /// Writes a snapshot of what is durable now: the last act of a clean stop. Partitions that are not durable up to
    /// what is committed are left out, for the next start to walk.
    ///
    /// # Errors
    /// [`SnapshotError`]; nothing is lost without one.
    pub fn snapshot_now(&self, now: Timestamp) -> Result<(), SnapshotError> {
        self.schedule.lock().taking = None;
        let Some(mut taking) = self.take_checkpoints() else { return Err(SnapshotError::Unsettled) };
        taking.partitions.retain(|(partition, checkpoint)| partition.is_durable(&checkpoint.point));
        self.finish_snapshot(taking, now)
    }

    /// Takes checkpoints and asks for what they tell of to become durable.
    fn begin_snapshot(&self) -> Option<Taking> {
        let taking = self.take_checkpoints()?;
        for (partition, checkpoint) in &taking.partitions {
            if !partition.is_durable(&checkpoint.point) {
                partition.request_durable();
            }
        }
        Some(taking)
    }

    /// What there is to tell now; nothing while the effects of a command are not all there.
    fn take_checkpoints(&self) -> Option<Taking> {
        let (applied, metadata) = {
            let meta = self.meta.lock();
            meta.is_settled().then(|| (meta.applied, meta.metadata.to_snapshot()))
        }?;
        let positions = self.positions.snapshot();
        let partitions = self.open_partitions().into_iter().map(|partition| {
            let checkpoint = partition.checkpoint();
            (partition, checkpoint)
        });
        Some(Taking { applied, metadata, positions, partitions: partitions.collect() })
    }

    fn finish_snapshot(&self, taking: Taking, now: Timestamp) -> Result<(), SnapshotError> {
        let healthy = |partition: &Partition| !matches!(partition.status(), PartitionStatus::Failed(_));
        let mut partitions: Vec<_> = taking
            .partitions
            .into_iter()
            .filter(|(partition, _)| healthy(partition))
            .map(|(partition, checkpoint)| partition_snapshot(&partition, checkpoint))
            .collect();
        partitions.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        // One that is ahead of what the snapshot vouches for is read from its log instead.
        let mut positions = taking.positions;
        positions.retain(|positions| {
            let found = partitions.iter().find(|partition| positions.is_of(partition));
            found.is_some_and(|partition| positions.applied <= partition.point.next_offset)
        });
        let snapshot = Snapshot {
            directory_id: self.directory.id(),
            taken_at_ms: now.millis(),
            meta_applied: taking.applied.get(),
            metadata: taking.metadata,
            positions,
            partitions,
        };
        let path = self.snapshots.write(&snapshot, now)?;
        tracing::debug!(path = %path.display(), partitions = snapshot.partitions.len(), "snapshot written");
        Ok(())
    }
}

impl Taking {
    fn is_ready(&self) -> bool {
        self.partitions.iter().all(|(partition, checkpoint)| {
            partition.is_durable(&checkpoint.point) || matches!(partition.status(), PartitionStatus::Failed(_))
        })
    }
}

fn partition_snapshot(partition: &Partition, checkpoint: Checkpoint) -> PartitionSnapshot {
    let Checkpoint { point, producers } = checkpoint;
    let name = partition.name();
    PartitionSnapshot {
        topic: name.topic.clone(),
        topic_id: partition.topic_id(),
        partition: name.partition.0,
        point: LogPointSnapshot::from(point),
        producers,
    }
}

impl From<LogPoint> for LogPointSnapshot {
    fn from(point: LogPoint) -> LogPointSnapshot {
        LogPointSnapshot {
            next_offset: point.next_offset.get(),
            segment: point.segment.get(),
            position: point.position,
            next_batch: point.next_batch.get(),
            last_batch_position: point.last_batch_position,
            last_batch_crc: point.last_batch_crc,
            max_timestamp_ms: point.max_timestamp.millis(),
        }
    }
}
