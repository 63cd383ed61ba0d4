//! Reading batches for a peer: memory first, and never blocking the connection's thread.

use std::sync::Arc;

use super::memory::{Loan, OutgoingMemory};
use crate::record::Batch;
use crate::replica::{Partition, Read, ReadFailure};
use crate::types::Offset;

/// Committed batches from the one that holds `from` on, as [`Partition::read`] gives them, and the memory they take with
/// `beside` bytes more.
pub(super) async fn read(
    memory: &Arc<OutgoingMemory>,
    partition: &Arc<Partition>,
    from: Offset,
    bytes_max: usize,
    beside: usize,
) -> Result<(Vec<Batch>, Loan), ReadFailure> {
    let mut room = bytes_max;
    loop {
        let mut loan = memory.take(room + beside).await;
        let batches = read_unlent(memory, partition, from, bytes_max).await?;
        let bytes = bytes_of(&batches);
        if bytes <= room {
            loan.keep_only(bytes + beside);
            return Ok((batches, loan));
        }
        // The first batch is larger than what was asked for: it is read again when there is memory for it.
        room = bytes;
    }
}

async fn read_unlent(
    memory: &OutgoingMemory,
    partition: &Arc<Partition>,
    from: Offset,
    bytes_max: usize,
) -> Result<Vec<Batch>, ReadFailure> {
    match partition.read(from, bytes_max)? {
        Read::Batches(batches) => Ok(batches),
        Read::Disk(read) => {
            // What is in memory is there sooner than another thread.
            if let Some(batches) = read.run_cached() {
                return Ok(batches);
            }
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
