//! Giving up what is old: which segments go, and how they go without ever being half gone.

use super::error::LogError;
use super::partition_file::{PartitionFile, SegmentRecord};
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
        self.check_open()?;
        let file = self.state().file;
        if log_start <= file.log_start {
            return Ok(());
        }
        let mut kept = (*file).clone();
        let goes = goes_below(&file, log_start);
        kept.segments.drain(..goes);
        kept.log_start = log_start;
        // The first segment may begin below the log start, and is still walked from its first batch.
        let first = kept.segments[0].base.min(log_start);
        kept.history.epochs.trim_below(first);
        kept.history.gaps.retain(|gap| gap.to > first);
        self.replace_partition_file(kept)?;
        for record in &file.segments[..goes] {
            self.delete_segment(record);
        }
        Ok(())
    }

    pub(crate) fn delete_segment(&self, record: &SegmentRecord) {
        let (log, index) = (self.files.log_of(record), self.files.index_of(record));
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::disk::faulty::FaultyDisk;
    use crate::log::{HandleCache, LogContext, LogOptions, PartitionFiles, RecoveryVisitor};
    use crate::record::{BatchBuilder, BatchHeader, BuilderOptions};
    use crate::types::{Epoch, PartitionIndex, TopicId, TopicName};

    struct Ignored;

    impl RecoveryVisitor for Ignored {
        fn restart(&mut self) {}
        fn batch(&mut self, _header: &BatchHeader) {}
    }

    /// A log start inside a segment (retention stops at the high watermark, which may lie there) made the partition
    /// forget the epochs of the batches before it; the next start walks those too, and called them damaged.
    #[test]
    fn a_log_start_inside_a_segment_keeps_the_epochs_before_it() {
        let context = LogContext { disk: Arc::new(FaultyDisk::new()), handles: Arc::new(HandleCache::new(8)) };
        let files = PartitionFiles::new("/data/events_p0".into());
        let (topic, id) = (TopicName::new("events").unwrap(), TopicId::new(uuid::Uuid::nil()));
        let (options, now) = (LogOptions::default(), Timestamp::from_millis(1));
        let log = PartitionLog::create(context.clone(), files.clone(), options, topic, PartitionIndex(0), id).unwrap();
        for epoch in 1..=3 {
            let mut builder = BatchBuilder::new(BuilderOptions::default());
            builder.append(now, None, Some(b"value"), &[]).unwrap();
            let batch = builder.finish().unwrap();
            let base = log.state().end.next_offset;
            log.append(&[batch.number(base, Epoch::new(epoch).unwrap())], now).unwrap();
        }
        log.sync(log.state().end).unwrap();
        log.advance_log_start(Offset::new(2).unwrap()).unwrap();
        let opened = PartitionLog::open(context, files, options, None, now, &mut Ignored).unwrap();
        assert_eq!(opened.damage, None);
        let (from, end) = (opened.log.log_start(), opened.log.state().end.next_offset);
        assert_eq!(opened.log.read(from, end, 1 << 20).unwrap().len(), 1);
    }
}
