//! Giving up what is old: which segments go, and how they go without ever being half gone.

use super::error::LogError;
use super::partition_file::PartitionFile;
use super::partition_log::PartitionLog;
use crate::types::{Offset, Timestamp};

/// How much of a log is kept. Both limits hold; the active segment always stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RetentionPolicy {
    /// Records older than this go, in milliseconds; `None` keeps them whatever their age.
    pub age_ms_max: Option<i64>,
    /// Segments go, oldest first, while those left still hold this many bytes; `None` keeps any number.
    pub bytes_max: Option<u64>,
}

impl PartitionLog {
    /// The log start that a policy asks for: the base of the oldest segment that stays.
    #[must_use]
    pub fn log_start_by(&self, policy: RetentionPolicy, now: Timestamp) -> Offset {
        let (file, end) = {
            let view = self.view.read();
            (std::sync::Arc::clone(&view.file), view.end)
        };
        let active_bytes = if end.segment == file.active().base { end.position } else { 0 };
        let mut bytes: u64 = file.segments.iter().filter_map(|record| record.sealed).map(|sealed| sealed.bytes).sum();
        bytes += active_bytes;
        for record in &file.segments {
            let Some(sealed) = record.sealed else { return record.base.max(file.log_start) };
            let newest = Timestamp::from_millis(sealed.max_timestamp_ms);
            let is_old = policy.age_ms_max.is_some_and(|age| now.since(newest) > age);
            let is_too_much = policy.bytes_max.is_some_and(|max| bytes - sealed.bytes >= max);
            if !is_old && !is_too_much {
                return record.base.max(file.log_start);
            }
            bytes -= sealed.bytes;
        }
        file.log_start
    }

    /// Gives up everything below `log_start`: durably forgotten first, then deleted. Segments that reach beyond it stay.
    /// Never moves the log start back.
    ///
    /// # Errors
    /// [`LogError::StorageFull`] and [`LogError::Io`] where `partition.json` cannot be replaced: nothing is given up
    /// then. A file that cannot be deleted is left for the next start.
    pub fn advance_log_start(&self, log_start: Offset) -> Result<(), LogError> {
        let _excluded = self.writer.lock();
        let file = self.state().file;
        if log_start <= file.log_start {
            return Ok(());
        }
        let mut kept = (*file).clone();
        let goes = goes_below(&file, log_start);
        kept.segments.drain(..goes);
        kept.log_start = log_start;
        kept.history.epochs.trim_below(log_start);
        kept.history.gaps.retain(|gap| gap.to > log_start);
        self.replace_partition_file(kept)?;
        for record in &file.segments[..goes] {
            self.delete_segment(record.base);
        }
        Ok(())
    }

    fn delete_segment(&self, base: Offset) {
        let (log, index) = (self.files.log(base), self.files.index(base));
        self.context.handles.close(&log);
        for path in [log, index] {
            if let Err(error) = self.context.disk.remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "a file that is no longer needed could not be removed");
            }
        }
    }
}

/// How many segments end at or before an offset. The last one never goes.
fn goes_below(file: &PartitionFile, log_start: Offset) -> usize {
    file.segments.windows(2).take_while(|pair| pair[1].base <= log_start).count()
}
