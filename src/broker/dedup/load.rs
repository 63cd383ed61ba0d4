//! Reading a topic's ids back from its logs, once after a start.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};

use parking_lot::Mutex;

use super::index::KnownRecord;
use super::{ID_HEADER, IDS_MAX, TopicIds};
use crate::record::{Batch, Compression, Record};
use crate::replica::{Partition, Read, ReadFailure};
use crate::types::{Epoch, Offset, Timestamp};

/// Bytes read from a log at a time.
const READ_BYTES: usize = 1 << 20;
/// Records of one partition read at most, the newest: some need not have ids.
const RECORDS_MAX: u64 = 4 * IDS_MAX as u64;

/// Whether a topic's ids are there.
#[derive(Debug, Default)]
pub(super) struct Loading {
    is_done: AtomicBool,
    under_way: Mutex<UnderWay>,
}

#[derive(Debug, Default)]
struct UnderWay {
    is_claimed: bool,
    waiting: Vec<Waker>,
}

impl Loading {
    pub(super) fn done() -> Loading {
        Loading { is_done: AtomicBool::new(true), under_way: Mutex::default() }
    }

    pub(super) fn is_done(&self) -> bool {
        self.is_done.load(Ordering::Acquire)
    }

    pub(super) fn poll(&self, waker: &Waker) -> Poll<()> {
        let mut under_way = self.under_way.lock();
        if !under_way.is_claimed {
            return Poll::Ready(());
        }
        if !under_way.waiting.iter().any(|known| known.will_wake(waker)) {
            under_way.waiting.push(waker.clone());
        }
        Poll::Pending
    }

    fn try_claim(&self) -> bool {
        let mut under_way = self.under_way.lock();
        let is_free = !under_way.is_claimed && !self.is_done();
        under_way.is_claimed |= is_free;
        is_free
    }

    fn end(&self, is_done: bool) {
        let waiting = {
            let mut under_way = self.under_way.lock();
            self.is_done.store(is_done, Ordering::Release);
            std::mem::take(&mut *under_way).waiting
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// The loading of a topic's ids, to be done by whoever holds this. Dropped undone, it leaves that to the next.
#[derive(Debug)]
pub struct LoadTask {
    ids: Arc<TopicIds>,
    partitions: Vec<Arc<Partition>>,
    is_done: bool,
}

impl LoadTask {
    /// The task, where the ids are not there and nobody is at it.
    pub(crate) fn begin(ids: &Arc<TopicIds>, partitions: impl FnOnce() -> Vec<Arc<Partition>>) -> Option<LoadTask> {
        ids.loading.try_claim().then(|| LoadTask { ids: Arc::clone(ids), partitions: partitions(), is_done: false })
    }

    /// Reads the logs back over the window. Blocks on files.
    ///
    /// What cannot be read is passed over with a warning: its ids are not recognized.
    pub fn run(mut self, now: Timestamp) {
        for partition in &self.partitions {
            if let Err(failure) = self.load(partition, now) {
                tracing::warn!(partition = %partition.name(), %failure, "message ids cannot all be read back: some repeats will be stored again");
            }
        }
        self.is_done = true;
    }

    fn load(&self, partition: &Arc<Partition>, now: Timestamp) -> Result<(), ReadFailure> {
        let since = now.plus_millis(-self.ids.ids.window_ms);
        // Every record with an id lies below: none is published before this is done.
        let upto = partition.offsets().high_watermark();
        let Some(first) = partition.log().batch_at_time(since, Offset::ZERO, upto)? else { return Ok(()) };
        let mut next = first.header().base_offset;
        if upto.since(next) > RECORDS_MAX {
            tracing::warn!(partition = %partition.name(), records_max = RECORDS_MAX, "message ids are read back of the newest records only");
            next = next.plus(upto.since(next) - RECORDS_MAX);
        }
        while next < upto {
            let read = match partition.read(next, READ_BYTES) {
                Ok(Read::Batches(batches)) => Ok(batches),
                Ok(Read::Disk(read)) => read.run(),
                Err(failure) => Err(failure),
            };
            match read {
                Ok(batches) => {
                    let Some(last) = batches.last() else { return Ok(()) };
                    next = last.header().next_offset();
                    self.take(partition, &batches, since, now);
                }
                // Retention was faster.
                Err(ReadFailure::OutOfRange { log_start, .. }) if log_start > next => next = log_start,
                Err(ReadFailure::Corrupt { resume: Some(resume), source }) if resume > next => {
                    tracing::warn!(partition = %partition.name(), failure = %source, "message ids in damaged records are lost");
                    next = resume;
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    fn take(&self, partition: &Partition, batches: &[Batch], since: Timestamp, now: Timestamp) {
        for batch in batches.iter().filter(|batch| is_of_single_records(batch)) {
            let Some(epoch) = Epoch::new(batch.header().leader_epoch) else { continue };
            let Ok(records) = batch.records() else { continue };
            for record in records.map_while(Result::ok).filter(|record| record.timestamp > since) {
                let Some(id) = id(&record) else { continue };
                let partition = partition.name().partition;
                let known = KnownRecord { partition, offset: record.offset, epoch };
                let mut state = self.ids.ids.state.lock();
                state.index.load(self.ids.topic, id, known, record.timestamp.min(now));
                state.keep_limits(now);
            }
        }
    }
}

impl Drop for LoadTask {
    fn drop(&mut self) {
        self.ids.loading.end(self.is_done);
    }
}

/// Whether the broker itself built the batch, of records published one by one.
fn is_of_single_records(batch: &Batch) -> bool {
    let header = batch.header();
    let is_plain = header.attributes.compression() == Some(Compression::None) && !header.attributes.is_control();
    is_plain && header.producer.is_none()
}

fn id(record: &Record) -> Option<&str> {
    let header = record.headers.iter().find(|header| header.key == ID_HEADER.as_bytes())?;
    std::str::from_utf8(header.value.as_deref()?).ok().filter(|id| !id.is_empty())
}
