//! Reading batches for a peer: memory first, and never blocking the connection's thread.

use std::sync::Arc;

use super::memory::{Loan, OWN_BYTES, PeerMemory};
use crate::record::Batch;
use crate::replica::{Partition, Read, ReadFailure};
use crate::types::Offset;

/// A larger read would keep a thread of the runtime for too long, even where nothing has to be waited for.
const READ_HERE_BYTES_MAX: usize = 1 << 20;

/// Memory for what is made of batches, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    /// With less of it less is made at a time.
    Helps(usize),
    /// Nothing can be made with less.
    Needed(usize),
}

/// Batches of so many bytes need no leave where there is no memory: who keeps up with small records is not held up.
pub(super) const SMALL_BYTES: usize = OWN_BYTES / 2;

/// Committed batches from the one that holds `from` on, as [`Partition::read`] gives them, and the memory they take with
/// `beside` bytes more. Where memory must be waited for, small ones come at once and without, unless they need what is
/// beside them.
pub(super) async fn read(
    memory: &Arc<PeerMemory>,
    partition: &Arc<Partition>,
    from: Offset,
    bytes_max: usize,
    beside: Beside,
) -> Result<(Vec<Batch>, Loan), ReadFailure> {
    let (Beside::Helps(beside_bytes) | Beside::Needed(beside_bytes)) = beside;
    let mut room = bytes_max;
    loop {
        let mut loan = match memory.try_take(room + beside_bytes) {
            Some(loan) => loan,
            None => {
                if let Beside::Helps(_) = beside {
                    let batches = read_unlent(memory, partition, from, bytes_max.min(SMALL_BYTES)).await?;
                    if bytes_of(&batches) <= SMALL_BYTES {
                        return Ok((batches, memory.nothing()));
                    }
                }
                memory.take(room + beside_bytes).await
            }
        };
        let batches = read_unlent(memory, partition, from, bytes_max).await?;
        let bytes = bytes_of(&batches);
        if loan.reach(bytes + beside_bytes) {
            loan.keep_only(bytes + beside_bytes);
            return Ok((batches, loan));
        }
        // The first batch is larger than the room for it, and read again once there is as much.
        room = bytes;
    }
}

async fn read_unlent(
    memory: &PeerMemory,
    partition: &Arc<Partition>,
    from: Offset,
    bytes_max: usize,
) -> Result<Vec<Batch>, ReadFailure> {
    match partition.read(from, bytes_max)? {
        Read::Batches(batches) => Ok(batches),
        Read::Disk(read) => {
            // What is in memory is there sooner than another thread.
            if bytes_max <= READ_HERE_BYTES_MAX
                && let Some(batches) = read.run_cached()
            {
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
