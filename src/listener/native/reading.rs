//! Reading batches without blocking the connection's thread.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::memory::OutgoingMemory;
use crate::protocol::native::{DataRecord, EncodeError, reply};
use crate::record::{Batch, Record};
use crate::replica::{Partition, Read, ReadFailure};
use crate::types::{Offset, TopicName, TopicPartition};

/// Committed batches from the one that holds `from` on, as [`Partition::read`] gives them.
pub(super) async fn read(
    memory: &OutgoingMemory,
    partition: &Arc<Partition>,
    from: Offset,
    bytes_max: usize,
) -> Result<Vec<Batch>, ReadFailure> {
    match partition.read(from, bytes_max)? {
        Read::Batches(batches) => Ok(batches),
        Read::Disk(read) => {
            let _leave = memory.disk_read().await;
            match tokio::task::spawn_blocking(|| read.run()).await {
                Ok(result) => result,
                // Only when the runtime stops: this task is about to end as well.
                Err(_) => Ok(Vec::new()),
            }
        }
    }
}

/// The size of batches together, in bytes.
pub(super) fn bytes_of(batches: &[Batch]) -> usize {
    batches.iter().map(|batch| batch.bytes().len()).sum()
}

/// Where bytes came from that were made of one batch, and can be made again.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// The whole batch that begins at an offset.
    Batch(Arc<Partition>, Offset),
    /// The frame that shows the record of an offset.
    Record(Arc<Partition>, Offset),
}

impl Source {
    /// Makes them again; `None` where the log does not have the batch any more.
    pub(super) async fn bytes(&self, memory: &OutgoingMemory) -> Option<Bytes> {
        let (Source::Batch(partition, offset) | Source::Record(partition, offset)) = self;
        let batch = read(memory, partition, *offset, 1).await.ok()?.into_iter().next()?;
        match self {
            Source::Batch(..) => (batch.header().base_offset == *offset).then(|| batch.into_bytes()),
            Source::Record(..) => {
                let record = batch.records().ok()?.filter_map(Result::ok).find(|record| record.offset == *offset)?;
                let mut frame = BytesMut::new();
                show(&mut frame, partition.name(), &record).ok()?;
                Some(frame.freeze())
            }
        }
    }
}

/// Adds the frame that shows a record.
pub(super) fn show(frames: &mut BytesMut, partition: &TopicPartition, record: &Record) -> Result<(), EncodeError> {
    let topic: &TopicName = &partition.topic;
    let shown = DataRecord {
        topic: topic.as_str(),
        partition: partition.partition,
        offset: record.offset,
        timestamp: record.timestamp,
        key: record.key.as_deref(),
        value: record.value.as_deref(),
    };
    let headers = record.headers.iter().map(|header| (&header.key[..], header.value.as_deref()));
    reply::data(frames, &shown, headers)
}
