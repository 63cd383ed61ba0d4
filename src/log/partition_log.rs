//! One partition's log: its segments as readers and the writer see them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};

use super::ahead::Ahead;
use super::context::{LogContext, LogOptions};
use super::error::LogError;
use super::index::DurableMark;
use super::index_file::ActiveIndex;
use super::layout::PartitionFiles;
use super::partition_file::{PartitionFile, PartitionFileError};
use super::point::LogPoint;
use super::recovery::DamageReport;
use super::segment::ActiveSegment;
use crate::disk::{OpenMode, create_dir_durably, replace_file, replace_file_unsynced};
use crate::types::{BatchIndex, Offset, PartitionIndex, Timestamp, TopicId, TopicName};

/// A partition's segments, open for appending and reading.
///
/// Any number of reads run beside one append and one sync; appending, rolling, truncating and retention exclude one
/// another.
#[derive(Debug)]
pub struct PartitionLog {
    pub(crate) context: LogContext,
    pub(crate) files: PartitionFiles,
    pub(crate) view: RwLock<View>,
    pub(crate) writer: Mutex<Writer>,
    /// Held through a turn of a compaction; taken before `writer`.
    pub(crate) compacting: Mutex<()>,
    /// The files are somebody else's from now on, or nobody's.
    pub(crate) is_closed: AtomicBool,
}

/// What readers see. Locked for moments, never during I/O.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) file: Arc<PartitionFile>,
    pub(crate) active: Arc<ActiveSegment>,
    /// The end of what is written.
    pub(crate) end: LogPoint,
    pub(crate) damage: Option<DamageReport>,
}

/// What the one writer keeps between two appends.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) options: LogOptions,
    /// When the active segment's first batch was appended; after a restart, what that batch says itself. Not the records'
    /// own time while it is known better: a backfill of old records would roll at every append.
    pub(crate) first_append: Option<Timestamp>,
    /// Where the last index entry lies.
    pub(crate) last_entry_position: u64,
    /// A roll was begun and not finished: it comes before anything else.
    pub(crate) must_roll: bool,
    pub(crate) ahead: Ahead,
}

/// What a log says of itself.
#[derive(Debug, Clone)]
pub struct LogState {
    /// `partition.json` as it is.
    pub file: Arc<PartitionFile>,
    /// The end of what is written.
    pub end: LogPoint,
    /// What is damaged, where anything is.
    pub damage: Option<DamageReport>,
}

impl PartitionLog {
    /// Creates the directory and the files of a partition that holds nothing, all durable when this returns. What an
    /// earlier, unfinished creation left there is replaced.
    ///
    /// # Errors
    /// As [`PartitionLog::prepare`].
    pub fn create(
        context: LogContext,
        files: PartitionFiles,
        options: LogOptions,
        topic: TopicName,
        partition: PartitionIndex,
        topic_id: TopicId,
    ) -> Result<PartitionLog, LogError> {
        let above = files.dir().parent().unwrap_or(files.dir()).to_path_buf();
        let disk = Arc::clone(&context.disk);
        create_dir_durably(&*disk, &above).map_err(|error| LogError::io("create", &above, error))?;
        let log = PartitionLog::prepare(context, files, options, topic, partition, topic_id)?;
        disk.sync_dir(&above).map_err(|error| LogError::io("sync", &above, error))?;
        Ok(log)
    }

    /// As [`PartitionLog::create`], but for the name of the directory, in a directory that is there: syncing that one is
    /// the caller's, once for all the partitions made in it.
    ///
    /// Two syncs do: of the content of `partition.json`, and of the names of all files together. What a power cut leaves
    /// before the second is a directory that no metadata name.
    ///
    /// # Errors
    /// [`LogError::StorageFull`], [`LogError::Io`].
    pub fn prepare(
        context: LogContext,
        files: PartitionFiles,
        options: LogOptions,
        topic: TopicName,
        partition: PartitionIndex,
        topic_id: TopicId,
    ) -> Result<PartitionLog, LogError> {
        context.disk.create_dir_all(files.dir()).map_err(|error| LogError::io("create", files.dir(), error))?;
        let file = PartitionFile::new(topic, partition, topic_id);
        let (path, bytes) = (files.partition_file(), encode(&files, &file)?);
        replace_file_unsynced(&*context.disk, &path, &bytes).map_err(|error| LogError::io("write", &path, error))?;
        let (base, first_batch) = (file.active().base, file.active().first_batch);
        let active = create_segment_unsynced(&context, &files, base, first_batch)?;
        sync_names(&context, &files)?;
        let end = LogPoint::segment_start(base, first_batch);
        Ok(PartitionLog::assemble(context, files, options, file, active, end, None, None))
    }

    #[expect(clippy::too_many_arguments, reason = "the one constructor, private to creation and recovery")]
    pub(crate) fn assemble(
        context: LogContext,
        files: PartitionFiles,
        options: LogOptions,
        file: PartitionFile,
        active: ActiveSegment,
        end: LogPoint,
        damage: Option<DamageReport>,
        first_append: Option<Timestamp>,
    ) -> PartitionLog {
        let last_entry = active.index.lock().index().entries().last().map_or(0, |entry| u64::from(entry.position));
        let view = View { file: Arc::new(file), active: Arc::new(active), end, damage };
        let ahead = Ahead::default();
        let writer = Writer { options, first_append, last_entry_position: last_entry, must_roll: false, ahead };
        let (view, writer) = (RwLock::new(view), Mutex::new(writer));
        let compacting = Mutex::new(());
        PartitionLog { context, files, view, writer, compacting, is_closed: AtomicBool::new(false) }
    }

    /// What the log is like now.
    #[must_use]
    pub fn state(&self) -> LogState {
        let view = self.view.read();
        LogState { file: Arc::clone(&view.file), end: view.end, damage: view.damage.clone() }
    }

    /// Where the partition's files are.
    #[must_use]
    pub fn files(&self) -> &PartitionFiles {
        &self.files
    }

    /// Changes how the log behaves from the next append on.
    pub fn set_options(&self, options: LogOptions) {
        self.writer.lock().options = options;
    }

    /// Ends all writing: when this returns no file of the partition's names is created, replaced or removed any more, and
    /// no open one is kept for others. So the names may be given away. Waits for an append and a turn of a compaction
    /// under way.
    pub fn close(&self) {
        let _compacting = self.compacting.lock();
        let _writer = self.writer.lock();
        self.is_closed.store(true, Ordering::Release);
        self.context.handles.close_below(self.files.dir());
    }

    /// Refuses to write where the partition is closed. To be asked with the writer locked.
    pub(crate) fn check_open(&self) -> Result<(), LogError> {
        let is_closed = self.is_closed.load(Ordering::Acquire);
        if is_closed { Err(LogError::Closed { dir: self.files.dir().to_path_buf() }) } else { Ok(()) }
    }

    /// Makes everything before `point` durable, and leaves a durable mark that says so. `point` must have been the end
    /// of what is written, now or earlier. Returns at once where the point lies in a sealed segment.
    ///
    /// # Errors
    /// [`LogError::SyncFailed`], which is final: every later sync of this segment fails too.
    pub fn sync(&self, point: LogPoint) -> Result<(), LogError> {
        let active = Arc::clone(&self.view.read().active);
        if point.segment < active.base {
            return Ok(());
        }
        active.sync()?;
        active.index.lock().save_mark(durable_mark(&active, point));
        Ok(())
    }

    /// Remembers damage that a read came upon; the first report stays.
    pub(crate) fn report_damage(&self, report: DamageReport) {
        self.view.write().damage.get_or_insert(report);
    }

    /// Writes `partition.json` and, once it is durable, shows its content to readers.
    pub(crate) fn replace_partition_file(&self, file: PartitionFile) -> Result<(), LogError> {
        write_partition_file(&self.context, &self.files, &file)?;
        self.view.write().file = Arc::new(file);
        Ok(())
    }

    /// The oldest offset kept.
    #[must_use]
    pub fn log_start(&self) -> Offset {
        self.view.read().file.log_start
    }
}

pub(crate) fn durable_mark(active: &ActiveSegment, point: LogPoint) -> DurableMark {
    let relative = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    DurableMark {
        relative_offset: relative(point.next_offset.since(active.base)),
        position: relative(point.position),
        relative_batch: relative(point.next_batch.get() - active.first_batch.get()),
    }
}

pub(crate) fn write_partition_file(
    context: &LogContext,
    files: &PartitionFiles,
    file: &PartitionFile,
) -> Result<(), LogError> {
    let (path, bytes) = (files.partition_file(), encode(files, file)?);
    replace_file(&*context.disk, &path, &bytes).map_err(|error| LogError::io("replace", &path, error))
}

fn encode(files: &PartitionFiles, file: &PartitionFile) -> Result<Vec<u8>, LogError> {
    let failed = |source: PartitionFileError| LogError::PartitionFile { path: files.partition_file(), source };
    file.encode().map_err(failed)
}

/// Creates the files of a segment, durable when this returns. Files of that name are emptied: nothing names them yet.
pub(crate) fn create_segment(
    context: &LogContext,
    files: &PartitionFiles,
    base: Offset,
    first_batch: BatchIndex,
) -> Result<ActiveSegment, LogError> {
    let segment = create_segment_unsynced(context, files, base, first_batch)?;
    segment.file.sync_data().map_err(|error| LogError::io("sync", segment.path(), error))?;
    sync_names(context, files)?;
    Ok(segment)
}

fn create_segment_unsynced(
    context: &LogContext,
    files: &PartitionFiles,
    base: Offset,
    first_batch: BatchIndex,
) -> Result<ActiveSegment, LogError> {
    let (log, index) = (files.log(base), files.index(base));
    let file = context.disk.open(&log, OpenMode::CreateOrEmpty).map_err(|error| LogError::io("create", &log, error))?;
    let active_index =
        ActiveIndex::create(&*context.disk, &index, base).map_err(|error| LogError::io("create", &index, error))?;
    Ok(ActiveSegment::new(base, first_batch, log, file, active_index))
}

fn sync_names(context: &LogContext, files: &PartitionFiles) -> Result<(), LogError> {
    context.disk.sync_dir(files.dir()).map_err(|error| LogError::io("sync", files.dir(), error))
}
