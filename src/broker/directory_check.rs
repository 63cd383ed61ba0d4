//! Whether a data directory is what its metadata say: directories nobody owns, metadata that are not there.

use super::error::OpenError;
use super::meta_log::MetaLog;
use super::open::META_TOPIC;
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

/// Removes the directories that no topic owns: what an interrupted creation or deletion left behind. One that holds
/// records, and whose topic the metadata did not delete, is none of that: it stays, and is complained of.
pub(crate) fn remove_leftovers(directory: &DataDirectory, meta: &MetaLog, as_id: TopicId) -> std::io::Result<()> {
    let mut leftovers = Vec::new();
    for partition in directory.partitions()? {
        let topic = meta.metadata.topic(&partition.topic);
        let is_owned = topic.is_some_and(|topic| partition.partition.0 < topic.partitions);
        if is_owned || partition.topic.as_str() == META_TOPIC {
            continue;
        }
        let was_deleted = directory.owner(&partition).is_some_and(|owner| meta.deleted.contains(&owner));
        if was_deleted || !directory.holds_records(&partition)? {
            leftovers.push(partition);
        } else {
            tracing::error!(%partition, "a directory with records belongs to no topic: it is left alone; move it away or restore the metadata that name it");
        }
    }
    if let Some(first) = leftovers.first() {
        let partitions = leftovers.len();
        tracing::warn!(%first, partitions, "removing directories that no topic owns: a creation or deletion was interrupted");
    }
    directory.set_deleted(&leftovers, as_id)?;
    directory.purge_deleted()
}
