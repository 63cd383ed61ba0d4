//! Topics and their life, on top of partitions: the one facade that every listener calls.
//!
//! Everything the broker remembers is a log. Which topics there are is the state machine of [`metadata`] over the
//! partition `__meta:0`; a snapshot only makes reading it faster. This layer knows no wire format and no socket, starts
//! no thread and reads no clock: time, ids and threads are handed in, so that a test can replay a whole broker.

mod compaction;
pub mod dedup;
pub mod delivery;
mod description;
mod directory_check;
mod error;
pub mod groups;
mod housekeeping;
mod internal_topics;
mod meta_log;
pub mod metadata;
mod open;
mod options;
mod places;
pub mod positions;
mod producer_ids;
pub mod publish;
pub mod queues;
mod records;
mod settling;
mod skew;
pub mod snapshot;
#[cfg(test)]
pub(crate) mod tests;
mod topic;
mod topic_changes;
mod topic_commands;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

pub use compaction::CompactionLimits;
pub use description::{DescribedStatus, EffectiveSettings, PartitionDescription, TopicDescription};
pub use error::{BrokerError, OpenError};
pub use internal_topics::InternalTopic;
pub use open::{BrokerStart, OpenSummary, PartitionOpened};
pub use options::{BrokerOptions, TopicDefaults};
pub use positions::{CLIENT_ID_BYTES_MAX, PositionKey, PositionOwner};
pub use skew::Skew;
pub use topic::{Slot, TopicHandle};
pub use topic_commands::{CommandReply, CreatedTopic, TopicChange};

pub use crate::log::BATCH_BYTES_MAX;
use crate::log::{DataDirectory, SpaceReserve};
use crate::replica::{AckLevel, Partition, ReplicaContext, SyncPolicy};
use crate::types::{PartitionIndex, SharedClock, TopicId, TopicName};
use compaction::Compactor;
use dedup::MessageIds;
use groups::Groups;
use housekeeping::SnapshotSchedule;
use meta_log::MetaLog;
use positions::Positions;
use producer_ids::ProducerIds;
use snapshot::SnapshotStore;
use topic_changes::TopicChanges;

/// The broker: its topics, its metadata, its snapshots.
#[derive(Debug)]
pub struct Broker {
    options: BrokerOptions,
    directory: DataDirectory,
    context: ReplicaContext,
    reserve: Arc<SpaceReserve>,
    ids: Option<Arc<MessageIds>>,
    snapshots: SnapshotStore,
    schedule: Mutex<SnapshotSchedule>,
    topics: RwLock<BTreeMap<TopicName, Arc<TopicHandle>>>,
    topic_changes: TopicChanges,
    meta: Mutex<MetaLog>,
    meta_partition: Arc<Partition>,
    producer_ids: Mutex<ProducerIds>,
    positions: Arc<Positions>,
    clock: Arc<SharedClock>,
    compactor: Mutex<Compactor>,
    groups: Groups,
}

impl Broker {
    /// A topic by its name.
    ///
    /// # Errors
    /// [`BrokerError::UnknownTopic`].
    pub fn topic(&self, name: &TopicName) -> Result<Arc<TopicHandle>, BrokerError> {
        let topics = self.topics.read();
        topics.get(name).cloned().ok_or_else(|| BrokerError::UnknownTopic { topic: name.clone() })
    }

    /// A topic by its id, whoever's it is.
    #[must_use]
    pub fn topic_by_id(&self, id: TopicId) -> Option<Arc<TopicHandle>> {
        let name = self.meta.lock().metadata.topic_by_id(id)?.name.clone();
        self.topic(&name).ok().filter(|handle| handle.topic().id == id)
    }

    /// All topics of users, by name. The broker's own are there by name alone: see [`Broker::topic`].
    #[must_use]
    pub fn topics(&self) -> Vec<Arc<TopicHandle>> {
        self.topics
            .read()
            .iter()
            .filter(|(name, _)| !name.is_internal())
            .map(|(_, handle)| Arc::clone(handle))
            .collect()
    }

    /// A topic that users may publish to.
    ///
    /// # Errors
    /// [`BrokerError::InternalTopic`], [`BrokerError::UnknownTopic`].
    pub fn user_topic(&self, name: &TopicName) -> Result<Arc<TopicHandle>, BrokerError> {
        refuse_internal(name)?;
        self.topic(name)
    }

    /// One partition of a topic.
    ///
    /// # Errors
    /// [`BrokerError::UnknownTopic`], [`BrokerError::UnknownPartition`], [`BrokerError::PartitionOffline`].
    pub fn partition(&self, topic: &TopicName, partition: PartitionIndex) -> Result<Arc<Partition>, BrokerError> {
        self.topic(topic)?.partition(partition)
    }

    /// What an acknowledgement means where the publisher does not say.
    #[must_use]
    pub fn default_ack(&self) -> AckLevel {
        match self.options.partition.sync {
            SyncPolicy::Always => AckLevel::Durable,
            SyncPolicy::Interval { .. } | SyncPolicy::Os => AckLevel::Leader,
        }
    }

    /// The settings the broker was started with.
    #[must_use]
    pub fn options(&self) -> &BrokerOptions {
        &self.options
    }

    /// The clock that stamps what is published.
    #[must_use]
    pub fn clock(&self) -> &Arc<SharedClock> {
        &self.clock
    }

    /// The data directory.
    #[must_use]
    pub fn directory(&self) -> &DataDirectory {
        &self.directory
    }

    /// The partition that holds the metadata.
    #[must_use]
    pub fn meta_partition(&self) -> &Arc<Partition> {
        &self.meta_partition
    }

    /// Every partition that is open, the metadata's first.
    pub(crate) fn open_partitions(&self) -> Vec<Arc<Partition>> {
        let topics = self.topics.read();
        let partitions = topics.values().flat_map(|topic| topic.open_partitions()).cloned();
        std::iter::once(Arc::clone(&self.meta_partition)).chain(partitions).collect()
    }
}

/// Refuses a name that is the broker's own.
pub(crate) fn refuse_internal(topic: &TopicName) -> Result<(), BrokerError> {
    if topic.is_internal() { Err(BrokerError::InternalTopic { topic: topic.clone() }) } else { Ok(()) }
}
