//! Making a partition, and opening one after a stop.

use std::sync::Arc;

use super::ack::AckQueue;
use super::deletion::Deletions;
use super::offsets::Offsets;
use super::options::{PartitionOptions, ReplicaContext, SyncPolicy};
use super::partition::{Partition, PartitionStatus, Queued, State};
use super::pending::Pending;
use super::producers::Producers;
use super::tail::Tail;
use super::upkeep::Checkpoint;
use super::wakers::Wakers;
use crate::log::{
    Cut, DamageReport, LogContext, LogError, LogOptions, PartitionFileError, PartitionFiles, PartitionLog, Recovered,
    RecoveryVisitor,
};
use crate::record::BatchHeader;
use crate::types::{Epoch, Offset, PartitionIndex, Timestamp, TopicId, TopicName, TopicPartition};

/// Which partition to make or open, and where.
#[derive(Debug)]
pub struct PartitionStart {
    /// Topic and number.
    pub name: TopicPartition,
    /// The identity of its topic.
    pub topic_id: TopicId,
    /// Its files.
    pub files: PartitionFiles,
    /// How it behaves.
    pub options: PartitionOptions,
}

/// How a partition was found.
#[derive(Debug, Clone)]
pub struct OpenReport {
    /// Whether the checkpoint was believed.
    pub checkpoint_used: bool,
    /// Batches that were walked.
    pub batches_walked: u64,
    /// The torn tail that was cut off, if there was one.
    pub cut: Option<Cut>,
    /// Bytes that were written again because they were not known to be durable.
    pub bytes_rewritten: u64,
    /// Damage, if there is any.
    pub damage: Option<DamageReport>,
}

type MakeLog =
    fn(LogContext, PartitionFiles, LogOptions, TopicName, PartitionIndex, TopicId) -> Result<PartitionLog, LogError>;

impl Partition {
    /// Makes a partition that holds nothing; durable when this returns. Blocks on files.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn create(context: ReplicaContext, start: PartitionStart, now: Timestamp) -> Result<Arc<Partition>, LogError> {
        Partition::make(PartitionLog::create, context, start, now)
    }

    /// As [`Partition::create`], but that syncing the directory which holds the partition's is left to the caller: see
    /// [`PartitionLog::prepare`].
    ///
    /// # Errors
    /// [`LogError`].
    pub fn prepare(context: ReplicaContext, start: PartitionStart, now: Timestamp) -> Result<Arc<Partition>, LogError> {
        Partition::make(PartitionLog::prepare, context, start, now)
    }

    fn make(
        make_log: MakeLog,
        context: ReplicaContext,
        start: PartitionStart,
        now: Timestamp,
    ) -> Result<Arc<Partition>, LogError> {
        let PartitionStart { name, topic_id, files, options } = start;
        let log = make_log(context.log.clone(), files, options.log, name.topic.clone(), name.partition, topic_id)?;
        let producers = Producers::new(options.producers);
        Ok(assemble(context, name, topic_id, options, log, producers, now))
    }

    /// Opens a partition after a stop of any kind. Everything before its log end is durable and committed when this
    /// returns, unless it is damaged. Blocks on files.
    ///
    /// # Errors
    /// [`LogError`]; damage in segments is none.
    pub fn open(
        context: ReplicaContext,
        start: PartitionStart,
        checkpoint: Option<Checkpoint>,
        now: Timestamp,
    ) -> Result<(Arc<Partition>, OpenReport), LogError> {
        let PartitionStart { name, topic_id, files, options } = start;
        let mut rebuilding = Rebuilding { producers: Producers::new(options.producers), options, now };
        let point = checkpoint.map(|checkpoint| {
            rebuilding.producers.restore(checkpoint.producers);
            checkpoint.point
        });
        let recovered = PartitionLog::open(context.log.clone(), files, options.log, point, now, &mut rebuilding)?;
        let file = recovered.log.state().file;
        if file.topic_id != topic_id || file.partition != name.partition {
            let source = PartitionFileError::Content("it belongs to another topic or partition");
            return Err(LogError::PartitionFile { path: recovered.log.files().partition_file(), source });
        }
        let Recovered { log, checkpoint_used, batches_walked, cut, bytes_rewritten, damage } = recovered;
        let report = OpenReport { checkpoint_used, batches_walked, cut, bytes_rewritten, damage };
        let partition = assemble(context, name, topic_id, options, log, rebuilding.producers, now);
        Ok((partition, report))
    }
}

fn assemble(
    context: ReplicaContext,
    name: TopicPartition,
    topic_id: TopicId,
    options: PartitionOptions,
    log: PartitionLog,
    producers: Producers,
    now: Timestamp,
) -> Arc<Partition> {
    let found = log.state();
    let (log_start, end) = (found.file.log_start, found.end);
    let commits_written = !matches!(options.sync, SyncPolicy::Always);
    let latest = found.file.history.epochs.latest();
    let next_epoch = latest.map_or(Some(Epoch::FIRST), Epoch::next);
    let status = match (&found.damage, next_epoch) {
        (Some(damage), _) => PartitionStatus::Failed(damage.to_string().into()),
        (None, None) => PartitionStatus::Failed("its epochs are used up".into()),
        (None, Some(_)) => PartitionStatus::Leader,
    };
    let state = State {
        options,
        status,
        epoch: next_epoch.unwrap_or(Epoch::FIRST),
        offsets: Offsets::new(log_start, end.next_offset.max(log_start), commits_written),
        written: end,
        durable: end,
        committed: end,
        pending: Pending::new(Arc::clone(&context.pending), options.is_internal),
        unsynced_bytes: 0,
        is_writing: false,
        is_syncing: false,
        queued: Queued::default(),
        sync_wanted: Offset::ZERO,
        last_sync: now,
        deletions: Deletions::default(),
        compaction_floor: None,
        leader_acks: AckQueue::default(),
        durable_acks: AckQueue::default(),
        closed: None,
        readers: Wakers::default(),
        appenders: Wakers::default(),
        producers,
        tail: Tail::new(Arc::clone(&context.tails)),
    };
    Partition::assemble(name, topic_id, context, log, state)
}

/// Producer state as recovery walks the log.
struct Rebuilding {
    producers: Producers,
    options: PartitionOptions,
    now: Timestamp,
}

impl RecoveryVisitor for Rebuilding {
    fn restart(&mut self) {
        self.producers = Producers::new(self.options.producers);
    }

    fn batch(&mut self, header: &BatchHeader) {
        if let Some(stamp) = super::append::producer_batch(header) {
            self.producers.record(stamp, header.base_offset, self.now);
            self.producers.commit_to(header.next_offset());
        }
    }
}
