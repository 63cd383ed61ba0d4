//! The way of a command: appended to `__meta`, applied once it is durable, then shown; or taken back.

use std::sync::Arc;

use super::Broker;
use super::dedup::MessageIds;
use super::error::BrokerError;
use super::meta_log::{InFlight, command_batch};
use super::metadata::{Command, Effect, Topic};
use super::places::Places;
use super::topic::{Slot, TopicHandle};
use super::topic_commands::{CommandReply, CreatedTopic};
use crate::replica::{AckFailure, AckLevel, AckSink, Completion, Partition, PartitionClosed, Waiter};
use crate::types::{Offset, Timestamp, TopicName};

/// The partitions made for a command beforehand.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) places: Places,
    pub(crate) partitions: Vec<Arc<Partition>>,
}

/// Who waits for a command.
#[derive(Debug)]
pub(crate) enum Asked {
    /// One who changes a topic.
    Topic(CommandReply),
    /// All who wait for a producer id.
    ProducerIds,
}

impl From<CommandReply> for Asked {
    fn from(reply: CommandReply) -> Asked {
        Asked::Topic(reply)
    }
}

/// Where the answers to appends to `__meta` go; the token is the offset behind the command.
#[derive(Debug)]
struct MetaSink {
    broker: Arc<Broker>,
    now: Timestamp,
}

impl Broker {
    pub(crate) fn append_command(
        self: &Arc<Self>,
        command: Command,
        prepared: Option<Prepared>,
        now: Timestamp,
        asked: Asked,
    ) {
        let mut meta = self.meta.lock();
        let end = self.meta_partition.offsets().log_end().plus(1);
        let sink = Arc::new(MetaSink { broker: Arc::clone(self), now });
        let waiter = Waiter { sink, token: end.get() };
        let appended = match command_batch(&command, now) {
            Some(batch) => {
                let appended = self.meta_partition.append(batch, AckLevel::Durable, Some(waiter), now);
                appended.map_err(BrokerError::from)
            }
            None => Err(BrokerError::StorageFailed("the command cannot be encoded".into())),
        };
        let entry = InFlight { end, command, prepared, asked };
        match appended {
            Ok(ticket) => {
                assert_eq!(ticket.next_offset, end, "commands are appended under the metadata's lock");
                meta.push(entry);
            }
            Err(error) => {
                drop(meta);
                self.take_back(entry, error, now);
            }
        }
    }

    /// A command will not take effect: what was prepared for it goes, and whoever asked is told.
    fn take_back(&self, entry: InFlight, error: BrokerError, now: Timestamp) {
        match entry.prepared {
            Some(prepared) => self.give_up(&prepared.places, &error, now),
            None => self.release(&entry.command),
        }
        self.refuse(entry.asked, error);
    }

    /// Removes the partitions of a command that comes to nothing.
    pub(crate) fn give_up(&self, places: &Places, error: &BrokerError, now: Timestamp) {
        if *error == BrokerError::StorageFull {
            self.reserve.release(now);
        }
        self.remove_places(places);
        self.meta.lock().release(&places.topic);
    }

    fn release(&self, command: &Command) {
        if let Some(topic) = command.topic() {
            self.meta.lock().release(topic);
        }
    }

    fn refuse(&self, asked: Asked, error: BrokerError) {
        match asked {
            Asked::Topic(reply) => reply.send(Err(error)),
            Asked::ProducerIds => self.refuse_producer_ids(&error),
        }
    }

    /// Shows what a durable command changed.
    fn settle(self: &Arc<Self>, entry: InFlight, effect: Effect, now: Timestamp) {
        let partitions = entry.prepared.map(|prepared| prepared.partitions).unwrap_or_default();
        let result = match effect {
            Effect::Created { topic } => self.show_topic(&topic, partitions),
            Effect::Deleted { topic } => Ok(self.hide_topic(&topic)),
            Effect::Altered { topic } => self.change_topic(&topic, partitions),
            Effect::ProducerIds { from, to } => {
                self.meta.lock().settled();
                return self.give_producer_ids(from..to, now);
            }
            Effect::Ignored { reason } => Err(BrokerError::Metadata(reason)),
        };
        self.meta.lock().settled();
        self.release(&entry.command);
        match (entry.asked, result) {
            (Asked::Topic(reply), result) => reply.send(result),
            (asked, Err(error)) => self.refuse(asked, error),
            (Asked::ProducerIds, Ok(_)) => unreachable!("the command that reserves ids changes no topic"),
        }
    }

    fn show_topic(&self, name: &TopicName, partitions: Vec<Arc<Partition>>) -> Result<CreatedTopic, BrokerError> {
        let topic = self.topic_in_metadata(name)?;
        let shown = CreatedTopic { topic: name.clone(), partitions: topic.partitions };
        let slots = partitions.into_iter().map(Slot::Open).collect();
        let ids = self.ids.as_ref().map(MessageIds::of_new_topic);
        self.topics.write().insert(name.clone(), Arc::new(TopicHandle::new(topic, slots).with_ids(ids)));
        self.topic_changes.announce();
        Ok(shown)
    }

    /// Puts a topic's new settings in force, and shows its new partitions.
    fn change_topic(&self, name: &TopicName, more: Vec<Arc<Partition>>) -> Result<CreatedTopic, BrokerError> {
        let topic = self.topic_in_metadata(name)?;
        let shown = CreatedTopic { topic: name.clone(), partitions: topic.partitions };
        let options = self.options.topic_options(name, &topic.settings);
        let handle = Arc::new(self.topic(name)?.altered(topic, more));
        for partition in handle.open_partitions() {
            partition.set_options(options);
        }
        self.topics.write().insert(name.clone(), handle);
        self.topic_changes.announce();
        Ok(shown)
    }

    fn hide_topic(&self, topic: &Topic) -> CreatedTopic {
        let handle = self.topics.write().remove(&topic.name);
        self.topic_changes.announce();
        self.positions.forget(topic.id, &topic.name);
        for partition in handle.iter().flat_map(|handle| handle.open_partitions()) {
            partition.close(PartitionClosed::TopicDeleted { topic: topic.name.clone() });
        }
        let places = Places { topic: topic.name.clone(), topic_id: topic.id, indexes: 0..topic.partitions };
        self.remove_places(&places);
        CreatedTopic { topic: topic.name.clone(), partitions: topic.partitions }
    }

    fn topic_in_metadata(&self, name: &TopicName) -> Result<Topic, BrokerError> {
        let topic = self.meta.lock().metadata.topic(name).cloned();
        topic.ok_or_else(|| BrokerError::UnknownTopic { topic: name.clone() })
    }
}

impl AckSink for MetaSink {
    fn complete(&self, completions: &mut dyn Iterator<Item = Completion>) {
        for Completion { token, outcome } in completions {
            let Some(end) = Offset::new(token) else { continue };
            match outcome {
                Ok(_) => {
                    let done = self.broker.meta.lock().apply_to(end);
                    done.into_iter().for_each(|(entry, effect)| self.broker.settle(entry, effect, self.now));
                }
                Err(failure) => self.fail(end, failure),
            }
        }
    }
}

impl MetaSink {
    fn fail(&self, end: Offset, failure: AckFailure) {
        tracing::warn!(%failure, "a metadata command was not kept");
        let Some(entry) = self.broker.meta.lock().take(end) else { return };
        if matches!(failure, AckFailure::StorageFailed(_)) {
            // Whether the command is in the log the next start will see: what it needs there must stay.
            self.broker.release(&entry.command);
            self.broker.refuse(entry.asked, failure.into());
        } else {
            self.broker.take_back(entry, failure.into(), self.now);
        }
    }
}
