//! Which topics there are: a deterministic state machine over the log `__meta`.
//!
//! Every change is a [`Command`] that was checked ([`Metadata::check`]), appended to `__meta`, and is applied
//! ([`Metadata::apply`]) once committed, here and on every replica alike. Applying reads no clock, draws no id and looks
//! at no limit: ids and times come with the command, and limits, which are each broker's own, bind only the check.
//!
//! Invariant: `topics` and `names` hold the same topics, each under its name and under its id.

mod codec;
mod command;
mod noted;
mod serde_as;
mod snapshot;
#[cfg(test)]
mod tests;
mod topic;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::types::{TopicId, TopicName};

pub use codec::DecodeError;
pub use command::{AllocateProducerIds, AlterTopic, Command, CreateTopic, DeleteTopic};
pub use noted::{NotedChange, NotedSettings, TooMuchNoted};
pub(in crate::broker) use serde_as::topic_name;
pub use snapshot::{InvalidMetadataSnapshot, MetadataSnapshot};
pub use topic::{InvalidSetting, SettingsChange, Topic, TopicSettings};

/// Bounds that a broker puts on what it accepts; they bind no command that is already in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetadataLimits {
    /// Most topics, without the internal ones (`__…`), which are few and the broker's own.
    pub topics_max: usize,
    /// Most partitions of one topic, of an internal one as many as the broker wants.
    pub partitions_max: u32,
}

/// The topics of the broker, and which producer ids it has given out.
#[derive(Debug, Clone)]
pub struct Metadata {
    limits: MetadataLimits,
    topics: BTreeMap<TopicName, Topic>,
    names: BTreeMap<TopicId, TopicName>,
    next_producer_id: i64,
}

/// What a command that passes the check is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It changes something: append it.
    Apply,
    /// What it asks for is so already: answer with success.
    AlreadyDone,
}

/// Why a command is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// The topic is there with another number of partitions.
    #[error("topic '{topic}' exists with {partitions} partitions")]
    TopicExists {
        /// Its name.
        topic: TopicName,
        /// How many it has.
        partitions: u32,
    },
    /// The id belongs to a topic of another name.
    #[error("topic id {topic_id} belongs to topic '{topic}'")]
    TopicIdInUse {
        /// The id.
        topic_id: TopicId,
        /// The topic that has it.
        topic: TopicName,
    },
    /// There is no topic of that name.
    #[error("topic '{topic}' does not exist")]
    UnknownTopic {
        /// The name.
        topic: TopicName,
    },
    /// The topic of that name is another one: it was deleted and created anew.
    #[error("topic '{topic}' has the id {found}, not {expected}")]
    TopicIdDiffers {
        /// The name.
        topic: TopicName,
        /// The command's id.
        expected: TopicId,
        /// The topic's id.
        found: TopicId,
    },
    /// No room for one more topic.
    #[error("the limit of {topics_max} topics is reached")]
    TooManyTopics {
        /// The limit.
        topics_max: usize,
    },
    /// A number of partitions that no topic here can have.
    #[error("a topic has 1 to {partitions_max} partitions, not {found}")]
    PartitionsOutOfRange {
        /// What was asked for.
        found: u32,
        /// The limit.
        partitions_max: u32,
    },
    /// Partitions are added, never taken away: their records would be lost.
    #[error("topic '{topic}' has {partitions} partitions: it can get more, not {found}")]
    PartitionsOnlyGrow {
        /// Its name.
        topic: TopicName,
        /// How many it has.
        partitions: u32,
        /// What was asked for.
        found: u32,
    },
    /// A setting out of its range.
    #[error(transparent)]
    InvalidSetting(#[from] InvalidSetting),
    /// More settings that change nothing than a topic keeps.
    #[error(transparent)]
    TooMuchNoted(#[from] TooMuchNoted),
    /// The producer ids were given out before.
    #[error("producer ids up to {next} are given out; {found} is no end of a new block")]
    ProducerIdsBehind {
        /// The first id that is free.
        next: i64,
        /// The end of the block.
        found: i64,
    },
}

/// What applying a command did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// The topic is new; its partitions are to be created.
    Created {
        /// Its name.
        topic: TopicName,
    },
    /// The topic is gone; its partitions are to be deleted.
    Deleted {
        /// What it was.
        topic: Topic,
    },
    /// The topic has other settings, or more partitions.
    Altered {
        /// Its name.
        topic: TopicName,
    },
    /// Producer ids from here to there, without the last, belong to whoever asked.
    ProducerIds {
        /// The first of them.
        from: i64,
        /// The first behind them.
        to: i64,
    },
    /// The command no longer fits what is there, and changed nothing.
    Ignored {
        /// Why.
        reason: MetadataError,
    },
}

impl Metadata {
    /// Knows no topic yet.
    #[must_use]
    pub fn new(limits: MetadataLimits) -> Metadata {
        Metadata { limits, topics: BTreeMap::new(), names: BTreeMap::new(), next_producer_id: 0 }
    }

    /// Whether a command may be appended to `__meta`.
    ///
    /// # Errors
    /// [`MetadataError`], which says what the command runs into.
    pub fn check(&self, command: &Command) -> Result<Outcome, MetadataError> {
        match command {
            Command::CreateTopic(create) => self.check_create(create),
            Command::DeleteTopic(delete) => {
                self.find(&delete.topic, delete.topic_id)?;
                Ok(Outcome::Apply)
            }
            Command::AlterTopic(alter) => self.check_alter(alter),
            Command::AllocateProducerIds(allocate) => self.check_producer_ids(allocate.next).map(|()| Outcome::Apply),
        }
    }

    /// Applies a committed command. Deterministic and total: one that no longer fits changes nothing and says so.
    pub fn apply(&mut self, command: &Command) -> Effect {
        let effect = match command {
            Command::CreateTopic(create) => self.insert(Topic::of(create)).map(|()| {
                let topic = create.topic.clone();
                Effect::Created { topic }
            }),
            Command::DeleteTopic(delete) => {
                self.remove(&delete.topic, delete.topic_id).map(|topic| Effect::Deleted { topic })
            }
            Command::AlterTopic(alter) => self.alter(alter),
            Command::AllocateProducerIds(allocate) => self.take_producer_ids(allocate.next),
        };
        effect.unwrap_or_else(|reason| Effect::Ignored { reason })
    }

    /// The topic of a name.
    #[must_use]
    pub fn topic(&self, name: &TopicName) -> Option<&Topic> {
        self.topics.get(name)
    }

    /// The topic of an id.
    #[must_use]
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Topic> {
        self.topics.get(self.names.get(&id)?)
    }

    /// All topics, internal ones too, sorted by name.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = &Topic> {
        self.topics.values()
    }

    /// The first producer id that was never given out.
    #[must_use]
    pub fn next_producer_id(&self) -> i64 {
        self.next_producer_id
    }

    /// The metadata as a snapshot keeps them.
    #[must_use]
    pub fn to_snapshot(&self) -> MetadataSnapshot {
        MetadataSnapshot { topics: self.topics.values().cloned().collect(), next_producer_id: self.next_producer_id }
    }

    /// The metadata a snapshot was taken of.
    ///
    /// # Errors
    /// [`InvalidMetadataSnapshot`] where two of its topics share a name or an id, or one has no partition.
    pub fn from_snapshot(
        limits: MetadataLimits,
        snapshot: MetadataSnapshot,
    ) -> Result<Metadata, InvalidMetadataSnapshot> {
        let mut metadata = Metadata::new(limits);
        metadata.next_producer_id = snapshot.next_producer_id.max(0);
        for topic in snapshot.topics {
            metadata.insert(topic).map_err(InvalidMetadataSnapshot)?;
        }
        Ok(metadata)
    }

    fn check_create(&self, create: &CreateTopic) -> Result<Outcome, MetadataError> {
        if let Some(topic) = self.topics.get(&create.topic) {
            return if topic.partitions == create.partitions { Ok(Outcome::AlreadyDone) } else { Err(topic.exists()) };
        }
        self.check_partitions(&create.topic, create.partitions)?;
        create.settings.check()?;
        let topics_max = self.limits.topics_max;
        if let Some(topic) = self.names.get(&create.topic_id) {
            return Err(MetadataError::TopicIdInUse { topic_id: create.topic_id, topic: topic.clone() });
        }
        let counted = self.topics.keys().filter(|name| !name.is_internal());
        if !create.topic.is_internal() && counted.count() >= topics_max {
            return Err(MetadataError::TooManyTopics { topics_max });
        }
        Ok(Outcome::Apply)
    }

    fn check_partitions(&self, topic: &TopicName, found: u32) -> Result<(), MetadataError> {
        let partitions_max = self.limits.partitions_max;
        let most = if topic.is_internal() { u32::MAX } else { partitions_max };
        let in_range = (1..=most).contains(&found);
        in_range.then_some(()).ok_or(MetadataError::PartitionsOutOfRange { found, partitions_max })
    }

    fn check_alter(&self, alter: &AlterTopic) -> Result<Outcome, MetadataError> {
        let topic = self.find(&alter.topic, alter.topic_id)?;
        alter.settings.check()?;
        let partitions = topic.partitions_after(alter)?;
        if partitions != topic.partitions {
            self.check_partitions(&alter.topic, partitions)?;
        }
        let is_so = topic.settings == alter.settings && topic.partitions == partitions;
        Ok(if is_so { Outcome::AlreadyDone } else { Outcome::Apply })
    }

    fn check_producer_ids(&self, found: i64) -> Result<(), MetadataError> {
        let next = self.next_producer_id;
        if found > next { Ok(()) } else { Err(MetadataError::ProducerIdsBehind { next, found }) }
    }

    fn take_producer_ids(&mut self, to: i64) -> Result<Effect, MetadataError> {
        self.check_producer_ids(to)?;
        let from = std::mem::replace(&mut self.next_producer_id, to);
        Ok(Effect::ProducerIds { from, to })
    }

    fn find(&self, name: &TopicName, id: TopicId) -> Result<&Topic, MetadataError> {
        let topic = self.topics.get(name).ok_or_else(|| unknown(name))?;
        topic.has_id(id)?;
        Ok(topic)
    }

    fn insert(&mut self, topic: Topic) -> Result<(), MetadataError> {
        if topic.partitions == 0 {
            return Err(MetadataError::PartitionsOutOfRange { found: 0, partitions_max: self.limits.partitions_max });
        }
        if let Some(there) = self.topics.get(&topic.name) {
            return Err(there.exists());
        }
        match self.names.entry(topic.id) {
            Entry::Occupied(there) => {
                Err(MetadataError::TopicIdInUse { topic_id: topic.id, topic: there.get().clone() })
            }
            Entry::Vacant(vacant) => {
                vacant.insert(topic.name.clone());
                self.topics.insert(topic.name.clone(), topic);
                Ok(())
            }
        }
    }

    fn remove(&mut self, name: &TopicName, id: TopicId) -> Result<Topic, MetadataError> {
        self.find(name, id)?;
        self.names.remove(&id);
        self.topics.remove(name).ok_or_else(|| unknown(name))
    }

    fn alter(&mut self, alter: &AlterTopic) -> Result<Effect, MetadataError> {
        let name = &alter.topic;
        let topic = self.topics.get_mut(name).ok_or_else(|| unknown(name))?;
        topic.has_id(alter.topic_id)?;
        topic.partitions = topic.partitions_after(alter)?;
        topic.settings = alter.settings.clone();
        Ok(Effect::Altered { topic: name.clone() })
    }
}

fn unknown(name: &TopicName) -> MetadataError {
    MetadataError::UnknownTopic { topic: name.clone() }
}
