//! A topic as requests see it: its partitions, and how one is chosen for a record.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::dedup::{LoadTask, TopicIds};
use super::error::BrokerError;
use super::metadata::Topic;
use super::skew::{Skew, TopicSkew};
use crate::replica::Partition;
use crate::types::{CleanupPolicy, PartitionIndex, Timestamp, TimestampType, partition_for_key};

/// One partition of a topic, or why it is not there.
#[derive(Debug, Clone)]
pub enum Slot {
    /// Open.
    Open(Arc<Partition>),
    /// It could not be opened at start.
    Offline(Arc<str>),
}

/// A topic and its partitions.
#[derive(Debug)]
pub struct TopicHandle {
    topic: Topic,
    slots: Vec<Slot>,
    next_in_turn: Arc<AtomicU32>,
    ids: Option<Arc<TopicIds>>,
    skew: Arc<TopicSkew>,
}

impl TopicHandle {
    pub(crate) fn new(topic: Topic, slots: Vec<Slot>) -> TopicHandle {
        assert!(!slots.is_empty(), "a topic has a partition");
        TopicHandle { topic, slots, next_in_turn: Arc::default(), ids: None, skew: Arc::default() }
    }

    /// The same, with the message ids it remembers.
    pub(crate) fn with_ids(mut self, ids: Option<Arc<TopicIds>>) -> TopicHandle {
        self.ids = ids;
        self
    }

    /// The topic's metadata.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// Whether it keeps the newest record of each key, so that every record must have one.
    #[must_use]
    pub fn needs_keys(&self) -> bool {
        self.topic.settings.cleanup_policy.is_some_and(CleanupPolicy::compacts)
    }

    /// Whether its records have the time they are appended at, and not their publishers'.
    #[must_use]
    pub fn bears_append_time(&self) -> bool {
        self.topic.settings.timestamp_type == Some(TimestampType::LogAppendTime)
    }

    /// How many partitions it has.
    #[must_use]
    pub fn partitions_count(&self) -> u32 {
        self.topic.partitions
    }

    /// One of its partitions.
    ///
    /// # Errors
    /// [`BrokerError::UnknownPartition`], [`BrokerError::PartitionOffline`].
    pub fn partition(&self, partition: PartitionIndex) -> Result<Arc<Partition>, BrokerError> {
        let topic = self.topic.name.clone();
        match usize::try_from(partition.0).ok().and_then(|index| self.slots.get(index)) {
            Some(Slot::Open(open)) => Ok(Arc::clone(open)),
            Some(Slot::Offline(reason)) => {
                Err(BrokerError::PartitionOffline { topic, partition, reason: Arc::clone(reason) })
            }
            None => Err(BrokerError::UnknownPartition { topic, partition, last: self.topic.partitions - 1 }),
        }
    }

    /// The partition for a record that names none: by its key as Kafka's clients do, in strict turn without one.
    #[must_use]
    pub fn choose_partition(&self, key: Option<&[u8]>) -> PartitionIndex {
        match key {
            Some(key) => partition_for_key(key, self.topic.partitions),
            None => PartitionIndex(self.next_in_turn.fetch_add(1, Ordering::Relaxed) % self.topic.partitions),
        }
    }

    /// The message ids remembered of it; `None` where none are.
    #[must_use]
    pub fn dedup(&self) -> Option<&Arc<TopicIds>> {
        self.ids.as_ref()
    }

    /// The loading of its message ids, where that is to be done and nobody is at it.
    #[must_use]
    pub fn load_ids(&self) -> Option<LoadTask> {
        LoadTask::begin(self.ids.as_ref()?, || self.open_partitions().cloned().collect())
    }

    /// The topic after it was altered: with `more` partitions behind those it has. What it remembers goes on.
    pub(crate) fn altered(&self, topic: Topic, more: Vec<Arc<Partition>>) -> TopicHandle {
        let slots = self.slots.iter().cloned().chain(more.into_iter().map(Slot::Open)).collect();
        let (next_in_turn, skew) = (Arc::clone(&self.next_in_turn), Arc::clone(&self.skew));
        TopicHandle { topic, slots, next_in_turn, ids: self.ids.clone(), skew }
    }

    /// How far its publishers' clocks were from ours lately; none where nobody has published.
    #[must_use]
    pub fn clock_skew(&self, now: Timestamp) -> Option<Skew> {
        self.skew.skew(now)
    }

    pub(crate) fn skew(&self) -> &Arc<TopicSkew> {
        &self.skew
    }

    /// Those of its partitions that are open, in order.
    pub fn open_partitions(&self) -> impl Iterator<Item = &Arc<Partition>> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Open(partition) => Some(partition),
            Slot::Offline(_) => None,
        })
    }

    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots
    }
}
