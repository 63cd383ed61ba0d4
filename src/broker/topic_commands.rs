//! Creating, changing and deleting topics: prepared on disk, decided in `__meta`, then shown.
//!
//! A topic's partitions are made before the command that needs them is appended, and go only after the command that
//! deletes them is durable. So a topic in the metadata always has its directories, and a directory that no topic in the
//! metadata owns is a leftover. What comes after the command is appended: see `settling.rs`.

use std::fmt;
use std::sync::Arc;

use super::error::BrokerError;
use super::metadata::{
    AlterTopic, Command, CreateTopic, DeleteTopic, Metadata, MetadataError, Outcome, SettingsChange, Topic,
    TopicSettings,
};
use super::places::Places;
use super::settling::Prepared;
use super::{Broker, refuse_internal};
use crate::replica::{PartitionOptions, PartitionStatus};
use crate::types::{Timestamp, TopicId, TopicName};

/// A topic that is there now, or, where it was deleted, was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its name.
    pub topic: TopicName,
    /// How many partitions it has.
    pub partitions: u32,
}

/// What to change of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TopicChange {
    /// Its settings.
    pub settings: SettingsChange,
    /// How many partitions it has from now on: more than before, or as many.
    pub partitions: Option<u32>,
}

/// Called once with what became of a command, on whichever thread finished it.
pub struct CommandReply(Box<dyn FnOnce(Result<CreatedTopic, BrokerError>) + Send>);

impl CommandReply {
    /// A reply that calls this.
    pub fn new(reply: impl FnOnce(Result<CreatedTopic, BrokerError>) + Send + 'static) -> CommandReply {
        CommandReply(Box::new(reply))
    }

    pub(crate) fn send(self, result: Result<CreatedTopic, BrokerError>) {
        (self.0)(result);
    }
}

impl fmt::Debug for CommandReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CommandReply")
    }
}

impl Broker {
    /// Creates a topic; one that is there with as many partitions is no error. The reply comes when it is durable.
    /// Blocks on files.
    pub fn create_topic(
        self: &Arc<Self>,
        topic: &TopicName,
        partitions: Option<u32>,
        settings: TopicSettings,
        topic_id: TopicId,
        now: Timestamp,
        reply: CommandReply,
    ) {
        if let Err(error) = refuse_internal(topic) {
            return reply.send(Err(error));
        }
        let partitions = partitions.unwrap_or(self.options.topics.partitions);
        let create = CreateTopic { topic: topic.clone(), topic_id, partitions, created_at: now, settings };
        self.create(create, now, reply);
    }

    /// Creates a topic, whoever's it is.
    pub(crate) fn create(self: &Arc<Self>, create: CreateTopic, now: Timestamp, reply: CommandReply) {
        let CreateTopic { topic, topic_id, partitions, settings, .. } = create.clone();
        match self.begin_command(&topic, |_| Ok(Command::CreateTopic(create))) {
            Ok((_, Outcome::AlreadyDone)) => reply.send(Ok(CreatedTopic { topic, partitions })),
            Ok((command, Outcome::Apply)) => {
                let options = self.options.topic_options(&topic, &settings);
                self.prepare(command, Places { topic, topic_id, indexes: 0..partitions }, options, now, reply);
            }
            Err(error) => reply.send(Err(error)),
        }
    }

    /// Changes a topic's settings and gives it more partitions; what is so already is no error. The reply comes when it
    /// is durable, and in force for every open partition. Blocks on files.
    pub fn alter_topic(self: &Arc<Self>, topic: &TopicName, change: TopicChange, now: Timestamp, reply: CommandReply) {
        if let Err(error) = refuse_internal(topic) {
            return reply.send(Err(error));
        }
        let mut before = None;
        let begun = self.begin_command(topic, |metadata| {
            let there = find(metadata, topic)?;
            let settings = change.settings.apply_to(&there.settings);
            before = Some(there.clone());
            let partitions = change.partitions.filter(|partitions| *partitions != there.partitions);
            Ok(Command::AlterTopic(AlterTopic { topic: topic.clone(), topic_id: there.id, settings, partitions }))
        });
        let before = before.map_or(0, |before| before.partitions);
        match begun {
            Ok((Command::AlterTopic(alter), Outcome::Apply)) => {
                let indexes = before..alter.partitions.unwrap_or(before);
                let places = Places { topic: topic.clone(), topic_id: alter.topic_id, indexes };
                let options = self.options.topic_options(topic, &alter.settings);
                self.prepare(Command::AlterTopic(alter), places, options, now, reply);
            }
            Ok(_) => reply.send(Ok(CreatedTopic { topic: topic.clone(), partitions: before })),
            Err(error) => reply.send(Err(error)),
        }
    }

    /// Deletes a topic and all its records. The reply comes when that is durable. Blocks on files.
    pub fn delete_topic(self: &Arc<Self>, topic: &TopicName, now: Timestamp, reply: CommandReply) {
        self.delete(topic, None, now, reply);
    }

    /// The same of a topic that has this id; one that was created anew under the name stays.
    pub fn delete_topic_of_id(
        self: &Arc<Self>,
        topic: &TopicName,
        topic_id: TopicId,
        now: Timestamp,
        reply: CommandReply,
    ) {
        self.delete(topic, Some(topic_id), now, reply);
    }

    fn delete(self: &Arc<Self>, topic: &TopicName, only: Option<TopicId>, now: Timestamp, reply: CommandReply) {
        let begun = refuse_internal(topic).and_then(|()| {
            self.begin_command(topic, |metadata| {
                let topic_id = only.unwrap_or(find(metadata, topic)?.id);
                Ok(Command::DeleteTopic(DeleteTopic { topic: topic.clone(), topic_id }))
            })
        });
        match begun {
            Ok((command, _)) => self.append_command(command, None, now, reply.into()),
            Err(error) => reply.send(Err(error)),
        }
    }

    /// Claims a topic for a command, makes the command out of what the metadata say now, and checks it.
    fn begin_command(
        &self,
        topic: &TopicName,
        make: impl FnOnce(&Metadata) -> Result<Command, MetadataError>,
    ) -> Result<(Command, Outcome), BrokerError> {
        // Nothing is touched on disk for a command that cannot be appended.
        if let PartitionStatus::Failed(reason) = self.meta_partition.status() {
            return Err(BrokerError::StorageFailed(reason));
        }
        let mut meta = self.meta.lock();
        // Not even "it is there already" is true before the command under way has been settled.
        if !meta.claim(topic) {
            return Err(BrokerError::TopicBusy { topic: topic.clone() });
        }
        let begun = make(&meta.metadata).and_then(|command| {
            let outcome = meta.metadata.check(&command)?;
            Ok((command, outcome))
        });
        if !matches!(begun, Ok((_, Outcome::Apply))) {
            meta.release(topic);
        }
        Ok(begun?)
    }

    /// Makes the partitions that a command needs and appends it.
    fn prepare(
        self: &Arc<Self>,
        command: Command,
        places: Places,
        options: PartitionOptions,
        now: Timestamp,
        reply: CommandReply,
    ) {
        if let Err(error) = self.clear_places(&places) {
            self.meta.lock().release(&places.topic);
            return reply.send(Err(error));
        }
        match self.make_partitions(&places, options, now) {
            Ok(partitions) => self.append_command(command, Some(Prepared { places, partitions }), now, reply.into()),
            Err(error) => {
                self.give_up(&places, &error, now);
                reply.send(Err(error));
            }
        }
    }
}

fn find<'a>(metadata: &'a Metadata, topic: &TopicName) -> Result<&'a Topic, MetadataError> {
    metadata.topic(topic).ok_or_else(|| MetadataError::UnknownTopic { topic: topic.clone() })
}
