//! Reading batches without blocking the connection's thread.

use std::sync::Arc;

use crate::record::Batch;
use crate::replica::{Partition, Read, ReadFailure};
use crate::types::Offset;

/// Committed batches from the one that holds `from` on, as [`Partition::read`] gives them.
pub(super) async fn read(
    partition: &Arc<Partition>,
    from: Offset,
    bytes_max: usize,
) -> Result<Vec<Batch>, ReadFailure> {
    match partition.read(from, bytes_max)? {
        Read::Batches(batches) => Ok(batches),
        Read::Disk(read) => match tokio::task::spawn_blocking(|| read.run()).await {
            Ok(result) => result,
            // Only when the runtime stops: this task is about to end as well.
            Err(_) => Ok(Vec::new()),
        },
    }
}
