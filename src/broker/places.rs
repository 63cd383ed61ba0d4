//! Where the partitions of a topic lie: made before the command that needs them is appended, gone only after the command
//! that deletes them is durable.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Broker;
use super::error::BrokerError;
use crate::log::LogError;
use crate::replica::{Partition, PartitionOptions, PartitionStart, run_jobs};
use crate::types::{PartitionIndex, Timestamp, TopicId, TopicName, TopicPartition};

/// Some partitions of one topic.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub(crate) topic: TopicName,
    pub(crate) topic_id: TopicId,
    pub(crate) indexes: Range<u32>,
}

impl Places {
    fn names(&self) -> Vec<TopicPartition> {
        let name = |index| TopicPartition { topic: self.topic.clone(), partition: PartitionIndex(index) };
        self.indexes.clone().map(name).collect()
    }
}

impl Broker {
    /// Makes empty partitions where nothing is, durable when this returns. What there is of them where it fails is the caller's to
    /// remove.
    pub(crate) fn make_partitions(
        &self,
        places: &Places,
        options: PartitionOptions,
        now: Timestamp,
    ) -> Result<Vec<Arc<Partition>>, BrokerError> {
        let has_failed = Arc::new(AtomicBool::new(false));
        let job = |name: TopicPartition| {
            let files = self.directory.partition(&name);
            let start = PartitionStart { name, topic_id: places.topic_id, files, options };
            let (context, has_failed) = (self.context.clone(), Arc::clone(&has_failed));
            move || {
                if has_failed.load(Ordering::Relaxed) {
                    return None;
                }
                let made = Partition::prepare(context, start, now);
                has_failed.fetch_or(made.is_err(), Ordering::Relaxed);
                Some(made)
            }
        };
        let made = run_jobs(&*self.context.queue, places.names().into_iter().map(job).collect());
        let made = made.into_iter().flatten().collect::<Result<Vec<_>, LogError>>()?;
        self.directory.sync().map_err(|error| BrokerError::StorageFailed(error.to_string().into()))?;
        Ok(made)
    }

    /// Removes what an interrupted creation left where partitions go. Records of nobody are not ours to remove: where
    /// there are any, nothing is touched.
    pub(crate) fn clear_places(&self, places: &Places) -> Result<(), BrokerError> {
        let failed = |error: std::io::Error| BrokerError::StorageFailed(error.to_string().into());
        let names = places.names();
        for name in &names {
            if self.directory.holds_records(name).map_err(failed)? {
                let dir = self.directory.partition(name).dir().display().to_string();
                let reason = format!("{dir} holds records that belong to no topic: move it away first");
                return Err(BrokerError::StorageFailed(reason.into()));
            }
        }
        self.directory.set_deleted(&names, places.topic_id).map_err(failed)?;
        self.directory.purge_deleted_of(places.topic_id).map_err(failed)
    }

    /// Removes the directories of partitions that no topic has any more.
    pub(crate) fn remove_places(&self, places: &Places) {
        let names = places.names();
        for name in &names {
            self.context.log.handles.close_below(self.directory.partition(name).dir());
        }
        if let Err(error) = self.directory.set_deleted(&names, places.topic_id).and_then(|()| self.purge(places)) {
            tracing::warn!(topic = %places.topic, %error, "directories of a deleted topic are left for the next start");
        }
    }

    /// Frees the space of what was set aside as deleted.
    fn purge(&self, places: &Places) -> std::io::Result<()> {
        let jobs = self.directory.deleted_of(places.topic_id)?.into_iter().map(|dir| {
            let disk = Arc::clone(&self.context.log.disk);
            move || disk.remove_dir_all(&dir)
        });
        let removed = run_jobs(&*self.context.queue, jobs.collect());
        removed.into_iter().collect::<std::io::Result<()>>()?;
        self.directory.purge_deleted_of(places.topic_id)
    }
}
