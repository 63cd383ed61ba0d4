//! Whether a data directory is what its metadata say: directories nobody owns, metadata that are not there.

use super::error::OpenError;
use super::metadata::Metadata;
use crate::disk::Disk;
use crate::log::{DataDirectory, PARTITION_FILE};
use crate::types::{TopicId, TopicPartition};

/// Refuses to begin with empty metadata where there are partitions: every one of them would look like a leftover.
/// Returns whether the metadata's partition is there.
pub(crate) fn has_meta(disk: &dyn Disk, directory: &DataDirectory, meta: &TopicPartition) -> Result<bool, OpenError> {
    let failed = |source| OpenError::Io { path: directory.path().to_path_buf(), source };
    if disk.exists(&directory.partition(meta).dir().join(PARTITION_FILE)).map_err(failed)? {
        return Ok(true);
    }
    let others = directory.partitions().map_err(failed)?.into_iter().filter(|partition| partition != meta).count();
    if others > 0 {
        return Err(OpenError::MetaMissing { dir: directory.path().to_path_buf(), partitions: others });
    }
    Ok(false)
}

/// Removes the directories that no topic owns: what an interrupted creation or deletion left behind.
pub(crate) fn remove_leftovers(directory: &DataDirectory, metadata: &Metadata, as_id: TopicId) -> std::io::Result<()> {
    for partition in directory.partitions()? {
        let owner = metadata.topic(&partition.topic).filter(|topic| partition.partition.0 < topic.partitions);
        if owner.is_none() && !partition.topic.is_internal() {
            tracing::warn!(%partition, "removing a directory that no topic owns: a creation or deletion was interrupted");
            directory.set_deleted(&partition, as_id)?;
        }
    }
    directory.purge_deleted()
}
