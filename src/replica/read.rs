//! Reading what is committed: from the tail at once, from files on a thread that may block.

use std::sync::Arc;

use super::effects::Effects;
use super::error::ReadFailure;
use super::partition::Partition;
use crate::log::ReadError;
use crate::record::Batch;
use crate::types::Offset;

/// What a read found without blocking.
#[derive(Debug)]
pub enum Read {
    /// Committed batches, the first of which holds the offset asked for (or follows it, over a gap). Empty where nothing
    /// is committed from there on.
    Batches(Vec<Batch>),
    /// They are in files: run this where blocking is allowed.
    Disk(DiskRead),
}

/// A read of files, not yet done.
#[derive(Debug)]
pub struct DiskRead {
    partition: Arc<Partition>,
    from: Offset,
    upto: Offset,
    bytes_max: usize,
}

impl Partition {
    /// Reads committed batches from the one that holds `from` on: at least one where there is one, more while they fit
    /// into `bytes_max` bytes.
    ///
    /// # Errors
    /// [`ReadFailure::OutOfRange`] below the log start or above the high watermark, [`ReadFailure::Closed`].
    pub fn read(self: &Arc<Self>, from: Offset, bytes_max: usize) -> Result<Read, ReadFailure> {
        let state = self.state.lock();
        if let Some(closed) = &state.closed {
            return Err(ReadFailure::Closed(closed.clone()));
        }
        let (log_start, upto) = (state.offsets.log_start(), state.offsets.high_watermark());
        if from < log_start || from > upto {
            return Err(ReadFailure::OutOfRange { from, log_start, high_watermark: upto });
        }
        if from == upto {
            return Ok(Read::Batches(Vec::new()));
        }
        if let Some(batches) = state.tail.read(from, upto, bytes_max) {
            return Ok(Read::Batches(batches));
        }
        drop(state);
        Ok(Read::Disk(DiskRead { partition: Arc::clone(self), from, upto, bytes_max }))
    }
}

impl DiskRead {
    /// Reads what the operating system has in memory, where nothing is wrong with it; `None` where [`DiskRead::run`] is
    /// needed. It does not wait for the device.
    #[must_use]
    pub fn run_cached(&self) -> Option<Vec<Batch>> {
        let batches = self.partition.log.read_cached(self.from, self.upto, self.bytes_max);
        // Asked afterwards, as below.
        batches.filter(|_| self.partition.closed().is_none())
    }

    /// Reads. Blocks on files.
    ///
    /// # Errors
    /// [`ReadFailure::OutOfRange`] where retention was faster, [`ReadFailure::Closed`] where the topic was deleted,
    /// [`ReadFailure::Log`] where the batch is damaged or the files cannot be read. Damage found stops the partition's writes.
    pub fn run(self) -> Result<Vec<Batch>, ReadFailure> {
        let result = self.partition.log.read(self.from, self.upto, self.bytes_max);
        // Asked afterwards: the files may have gone meanwhile, or be those of the next topic of that name.
        self.partition.check_open()?;
        if let Some(damage) = self.partition.log.state().damage {
            self.partition.stop_for_damage(&damage.to_string());
        }
        result.map_err(|error| match error {
            ReadError::BelowLogStart { from, log_start } => {
                ReadFailure::OutOfRange { from, log_start, high_watermark: self.upto }
            }
            ReadError::Corrupt { .. } | ReadError::Log(_) => ReadFailure::from(error),
        })
    }
}

impl Partition {
    pub(super) fn check_open(&self) -> Result<(), ReadFailure> {
        self.closed().map_or(Ok(()), |closed| Err(ReadFailure::Closed(closed)))
    }

    fn stop_for_damage(self: &Arc<Self>, reason: &str) {
        let mut effects = Effects::default();
        let mut state = self.state.lock();
        if !matches!(state.status, super::partition::PartitionStatus::Failed(_)) {
            tracing::error!(partition = %self.name(), reason, "damage found: the partition stopped accepting writes");
            state.fail(reason, &mut effects);
        }
        drop(state);
        self.carry_out(effects);
    }
}
