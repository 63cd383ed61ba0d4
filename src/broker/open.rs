//! Starting a broker: the data directory, the newest snapshot, the metadata, then every partition.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use uuid::Uuid;

use super::Broker;
use super::dedup::MessageIds;
use super::directory_check::{has_meta, remove_leftovers};
use super::error::OpenError;
use super::groups::Groups;
use super::housekeeping::SnapshotSchedule;
use super::meta_log::MetaLog;
use super::metadata::{Metadata, Topic};
use super::options::BrokerOptions;
use super::positions::{OFFSETS_TOPIC, Positions, PositionsStart};
use super::snapshot::{LogPointSnapshot, PartitionSnapshot, Snapshot, SnapshotStore};
use super::topic::{Slot, TopicHandle};
use super::topic_changes::TopicChanges;
use crate::disk::Disk;
use crate::log::{DataDirectory, HandleCache, LogContext, LogError, LogPoint, PartitionFiles, SpaceReserve};
use crate::replica::{
    Checkpoint, OpenReport, Partition, PartitionOptions, PartitionStart, PartitionStatus, PendingBudget,
    ReplicaContext, SyncPolicy, TailBudget, WorkQueue, run_jobs,
};
use crate::types::{BatchIndex, Offset, PartitionIndex, Timestamp, TopicId, TopicName, TopicPartition};

/// The topic that holds the metadata.
pub(crate) const META_TOPIC: &str = "__meta";

/// Everything a broker is started with beside its options.
#[derive(Debug)]
pub struct BrokerStart {
    /// The file system.
    pub disk: Arc<dyn Disk>,
    /// Who gives work a thread.
    pub queue: Arc<dyn WorkQueue>,
    /// The identity of the data directory, if it is made now.
    pub fresh_directory_id: Uuid,
    /// The time.
    pub now: Timestamp,
}

/// One partition, and how it was found.
#[derive(Debug, Clone)]
pub struct PartitionOpened {
    /// Which.
    pub partition: TopicPartition,
    /// How it was found, or why it is offline.
    pub result: Result<OpenReport, Arc<str>>,
}

/// How a broker found its data.
#[derive(Debug, Clone, Default)]
pub struct OpenSummary {
    /// Whether a snapshot was used.
    pub snapshot_used: bool,
    /// Snapshots that were passed over, and why.
    pub snapshots_skipped: Vec<(String, String)>,
    /// Partitions, in order.
    pub partitions: Vec<PartitionOpened>,
}

impl Broker {
    /// Opens the broker that a data directory holds, or makes a new one there. Blocks on files.
    ///
    /// # Errors
    /// [`OpenError`] where nothing can be served; a partition that cannot be opened is offline, and no error.
    pub fn open(options: BrokerOptions, start: BrokerStart) -> Result<(Arc<Broker>, OpenSummary), OpenError> {
        let BrokerStart { disk, queue, fresh_directory_id, now } = start;
        let directory = DataDirectory::open(Arc::clone(&disk), options.data_dir.clone(), fresh_directory_id)?;
        let reserve = SpaceReserve::open(Arc::clone(&disk), options.data_dir.clone(), options.reserve_bytes, now);
        let reserve = reserve.map_err(|source| OpenError::Io { path: options.data_dir.clone(), source })?;
        let reserve = Arc::new(reserve);
        let context = ReplicaContext {
            log: LogContext { disk: Arc::clone(&disk), handles: Arc::new(HandleCache::new(options.open_segments_max)) },
            queue,
            tails: Arc::new(TailBudget::new(options.tail_bytes)),
            pending: Arc::new(PendingBudget::new(options.pending_bytes)),
            reserve: Arc::clone(&reserve),
        };
        let ids = MessageIds::new(options.publish.dedup_window_ms);
        let snapshots = SnapshotStore::new(Arc::clone(&disk), options.snapshot_dir.clone(), options.snapshots_kept);
        let mut opening = Opening::new(&options, &directory, &context, &snapshots, now);
        let (meta_partition, meta) = opening.open_meta(&*disk)?;
        let leftovers = remove_leftovers(&directory, &meta, TopicId::new(fresh_directory_id));
        leftovers.map_err(|source| OpenError::Io { path: options.data_dir.clone(), source })?;
        let topics = meta.metadata.topics().cloned().collect::<Vec<_>>();
        let topics = opening.open_topics(topics, ids.as_ref());
        let positions = Arc::new(opening.open_positions(&topics));
        let summary = opening.summary;
        let groups = Groups::new(options.positions.partitions, options.classic_groups, now);
        let schedule = SnapshotSchedule::new(now.plus_millis(options.snapshot_interval_ms));
        let broker = Broker {
            options,
            directory,
            context,
            reserve,
            ids,
            snapshots,
            schedule: Mutex::new(schedule),
            topics: RwLock::new(topics),
            topic_changes: TopicChanges::default(),
            meta: Mutex::new(meta),
            meta_partition,
            producer_ids: Mutex::default(),
            positions,
            clock: Arc::default(),
            compactor: Mutex::default(),
            groups,
        };
        Ok((Arc::new(broker), summary))
    }
}

/// A broker on its way to being open.
struct Opening<'a> {
    options: &'a BrokerOptions,
    directory: &'a DataDirectory,
    context: &'a ReplicaContext,
    snapshot: Option<Snapshot>,
    checkpoints: BTreeMap<(TopicName, u32), PartitionSnapshot>,
    summary: OpenSummary,
    now: Timestamp,
}

impl<'a> Opening<'a> {
    fn new(
        options: &'a BrokerOptions,
        directory: &'a DataDirectory,
        context: &'a ReplicaContext,
        store: &SnapshotStore,
        now: Timestamp,
    ) -> Opening<'a> {
        let loaded = store.load_newest(directory.id());
        let skipped = loaded.skipped.into_iter().map(|(name, reason)| (name, reason.to_string())).collect();
        let summary = OpenSummary {
            snapshot_used: loaded.snapshot.is_some(),
            snapshots_skipped: skipped,
            ..OpenSummary::default()
        };
        let partitions = loaded.snapshot.iter().flat_map(|snapshot| snapshot.partitions.iter().cloned());
        let checkpoints = partitions.map(|partition| ((partition.topic.clone(), partition.partition), partition));
        let checkpoints = checkpoints.collect();
        Opening { options, directory, context, snapshot: loaded.snapshot, checkpoints, summary, now }
    }

    /// Opens `__meta` and brings the metadata to its end.
    fn open_meta(&mut self, disk: &dyn Disk) -> Result<(Arc<Partition>, MetaLog), OpenError> {
        let dir = |partition: &Partition| partition.log().files().dir().to_path_buf();
        let name = meta_partition_name();
        let topic_id = TopicId::new(self.directory.id());
        let limits = self.options.limits;
        let options = self.options.internal_options(SyncPolicy::Always);
        let files = self.directory.partition(&name);
        if !has_meta(disk, self.directory, &name)? {
            let start = PartitionStart { name, topic_id, files, options };
            let partition = Partition::create(self.context.clone(), start, self.now)?;
            return Ok((partition, MetaLog::new(Metadata::new(limits), Offset::ZERO)));
        }
        let (partition, report) = self.prepare_partition(name.clone(), topic_id, options).open()?;
        if let PartitionStatus::Failed(reason) = partition.status() {
            return Err(OpenError::MetaDamaged { dir: dir(&partition), reason: reason.to_string() });
        }
        let snapshot = self.snapshot.as_ref().filter(|_| report.checkpoint_used);
        let known = snapshot.and_then(|snapshot| {
            let metadata = Metadata::from_snapshot(limits, snapshot.metadata.clone()).ok()?;
            Some(MetaLog::new(metadata, Offset::new(snapshot.meta_applied)?))
        });
        let known = known.filter(|meta| meta.applied <= partition.offsets().high_watermark());
        let mut meta = known.unwrap_or_else(|| MetaLog::new(Metadata::new(limits), partition.offsets().log_start()));
        meta.catch_up(&partition)?;
        self.summary.partitions.push(PartitionOpened { partition: name, result: Ok(report) });
        Ok((partition, meta))
    }

    /// Opens the partitions of every topic, side by side: with thousands of them one after the other takes minutes.
    fn open_topics(
        &mut self,
        topics: Vec<Topic>,
        ids: Option<&Arc<MessageIds>>,
    ) -> BTreeMap<TopicName, Arc<TopicHandle>> {
        let mut jobs = Vec::new();
        for topic in &topics {
            let options = self.options.topic_options(&topic.name, &topic.settings);
            for index in 0..topic.partitions {
                let name = TopicPartition { topic: topic.name.clone(), partition: PartitionIndex(index) };
                let opening = self.prepare_partition(name, topic.id, options);
                jobs.push(move || (opening.name.clone(), opening.open()));
            }
        }
        let mut opened = run_jobs(&*self.context.queue, jobs).into_iter();
        let open = |topic: Topic| {
            let slots = opened.by_ref().take(topic.partitions as usize).map(|(partition, result)| {
                let result = result.map_err(|error| Arc::<str>::from(error.to_string()));
                let report = result.as_ref().map(|(_, report)| report.clone()).map_err(Arc::clone);
                self.summary.partitions.push(PartitionOpened { partition, result: report });
                result.map_or_else(Slot::Offline, |(partition, _)| Slot::Open(partition))
            });
            let slots = slots.collect();
            let name = topic.name.clone();
            (name, Arc::new(TopicHandle::new(topic, slots).with_ids(ids.map(MessageIds::of_old_topic))))
        };
        topics.into_iter().map(open).collect()
    }

    /// Reads the positions back, from the snapshot where it speaks of the very logs that were found.
    fn open_positions(&mut self, topics: &BTreeMap<TopicName, Arc<TopicHandle>>) -> Positions {
        let opened = self.summary.partitions.iter().filter(|opened| opened.partition.topic.as_str() == OFFSETS_TOPIC);
        let believed = opened.filter(|opened| opened.result.as_ref().is_ok_and(|report| report.checkpoint_used));
        let believed: BTreeSet<u32> = believed.map(|opened| opened.partition.partition.0).collect();
        let known = self.snapshot.iter_mut().flat_map(|snapshot| std::mem::take(&mut snapshot.positions));
        let snapshots = known.filter(|known| believed.contains(&known.partition));
        Positions::open(PositionsStart {
            limits: self.options.positions,
            topic: topics.values().find(|topic| topic.topic().name.as_str() == OFFSETS_TOPIC).map(|topic| &**topic),
            snapshots: snapshots.map(|snapshot| (snapshot.partition, snapshot)).collect(),
            topics: topics.values().map(|topic| (topic.topic().id, Arc::clone(topic))).collect(),
            queue: &*self.context.queue,
        })
    }

    fn prepare_partition(
        &mut self,
        name: TopicPartition,
        topic_id: TopicId,
        options: PartitionOptions,
    ) -> OpeningPartition {
        let known = self.checkpoints.remove(&(name.topic.clone(), name.partition.0));
        let checkpoint = known.filter(|known| known.topic_id == topic_id).and_then(|known| {
            let point = log_point(&known.point)?;
            Some(Checkpoint { point, producers: known.producers })
        });
        let files = self.directory.partition(&name);
        OpeningPartition { context: self.context.clone(), name, topic_id, files, options, checkpoint, now: self.now }
    }
}

/// Everything it takes to open one partition, on whichever thread.
struct OpeningPartition {
    context: ReplicaContext,
    name: TopicPartition,
    topic_id: TopicId,
    files: PartitionFiles,
    options: PartitionOptions,
    checkpoint: Option<Checkpoint>,
    now: Timestamp,
}

impl OpeningPartition {
    fn open(&self) -> Result<(Arc<Partition>, OpenReport), LogError> {
        match self.try_open() {
            // What a start has to write is little: with the reserve given up the next try succeeds.
            Err(error) if error.is_storage_full() => {
                self.context.reserve.release(self.now);
                self.try_open()
            }
            opened => opened,
        }
    }

    fn try_open(&self) -> Result<(Arc<Partition>, OpenReport), LogError> {
        let (name, files) = (self.name.clone(), self.files.clone());
        let start = PartitionStart { name, topic_id: self.topic_id, files, options: self.options };
        Partition::open(self.context.clone(), start, self.checkpoint.clone(), self.now)
    }
}

fn meta_partition_name() -> TopicPartition {
    let topic = TopicName::new(META_TOPIC).expect("a valid name");
    TopicPartition { topic, partition: PartitionIndex(0) }
}

fn log_point(point: &LogPointSnapshot) -> Option<LogPoint> {
    Some(LogPoint {
        next_offset: Offset::new(point.next_offset)?,
        segment: Offset::new(point.segment)?,
        position: point.position,
        next_batch: BatchIndex::new(point.next_batch)?,
        last_batch_position: point.last_batch_position,
        last_batch_crc: point.last_batch_crc,
        max_timestamp: Timestamp::from_millis(point.max_timestamp_ms),
    })
}
