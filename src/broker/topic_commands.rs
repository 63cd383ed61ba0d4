//! Creating and deleting topics: prepared on disk, decided in `__meta`, then shown.
//!
//! A topic's partitions are made before the command that creates it is appended, and go only after the command that
//! deletes it is durable. So a topic in the metadata always has its directories, and a directory that no topic in the
//! metadata owns is a leftover.

use std::fmt;
use std::sync::Arc;

use super::Broker;
use super::dedup::MessageIds;
use super::error::BrokerError;
use super::meta_log::{InFlight, command_batch};
use super::metadata::{Command, CreateTopic, DeleteTopic, Effect, Outcome, Topic, TopicSettings};
use super::topic::{Slot, TopicHandle};
use crate::replica::{AckFailure, AckLevel, AckSink, Completion, Partition, PartitionStart, PartitionStatus, Waiter};
use crate::types::{Offset, PartitionIndex, Timestamp, TopicId, TopicName, TopicPartition};

/// A topic that is there now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its name.
    pub topic: TopicName,
    /// How many partitions it has.
    pub partitions: u32,
}

/// Called once with what became of a command, on whichever thread finished it.
pub struct CommandReply(Box<dyn FnOnce(Result<CreatedTopic, BrokerError>) + Send>);

impl CommandReply {
    /// A reply that calls this.
    pub fn new(reply: impl FnOnce(Result<CreatedTopic, BrokerError>) + Send + 'static) -> CommandReply {
        CommandReply(Box::new(reply))
    }

    fn send(self, result: Result<CreatedTopic, BrokerError>) {
        (self.0)(result);
    }
}

impl fmt::Debug for CommandReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CommandReply")
    }
}

/// Where the answers to appends to `__meta` go; the token is the offset behind the command.
#[derive(Debug)]
struct MetaSink {
    broker: Arc<Broker>,
    now: Timestamp,
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
        let partitions = partitions.unwrap_or(self.options.topics.partitions);
        let create = CreateTopic { topic: topic.clone(), topic_id, partitions, created_at: now, settings };
        match self.begin_command(&Command::CreateTopic(create.clone())) {
            Ok(Outcome::AlreadyDone) => reply.send(Ok(CreatedTopic { topic: topic.clone(), partitions })),
            Ok(Outcome::Apply) => self.prepare_topic(create, now, reply),
            Err(error) => reply.send(Err(error)),
        }
    }

    /// Makes a topic's partitions and appends the command that creates it.
    fn prepare_topic(self: &Arc<Self>, create: CreateTopic, now: Timestamp, reply: CommandReply) {
        if let Err(error) = self.clear_places(&create) {
            self.meta.lock().release(&create.topic);
            return reply.send(Err(error));
        }
        match self.make_partitions(&create, now) {
            Ok(made) => self.append_command(Command::CreateTopic(create), made, now, reply),
            Err(error) => {
                self.give_up(&create.topic, create.topic_id, create.partitions, &error, now);
                reply.send(Err(error));
            }
        }
    }

    /// Deletes a topic and all its records. The reply comes when that is durable. Blocks on files.
    pub fn delete_topic(self: &Arc<Self>, topic: &TopicName, now: Timestamp, reply: CommandReply) {
        let topic_id = match self.topic(topic) {
            Ok(handle) => handle.topic().id,
            Err(error) => return reply.send(Err(error)),
        };
        let command = Command::DeleteTopic(DeleteTopic { topic: topic.clone(), topic_id });
        match self.begin_command(&command) {
            Ok(_) => self.append_command(command, Vec::new(), now, reply),
            Err(error) => reply.send(Err(error)),
        }
    }

    /// Checks a command and claims its topic for it.
    fn begin_command(&self, command: &Command) -> Result<Outcome, BrokerError> {
        let topic = command.topic();
        if topic.is_internal() {
            return Err(BrokerError::InternalTopic { topic: topic.clone() });
        }
        // Nothing is touched on disk for a command that cannot be appended.
        if let PartitionStatus::Failed(reason) = self.meta_partition.status() {
            return Err(BrokerError::StorageFailed(reason));
        }
        let mut meta = self.meta.lock();
        // Not even "it is there already" is true before the command under way has been settled.
        if !meta.claim(topic) {
            return Err(BrokerError::TopicBusy { topic: topic.clone() });
        }
        let outcome = meta.metadata.check(command);
        if outcome != Ok(Outcome::Apply) {
            meta.release(topic);
        }
        Ok(outcome?)
    }

    /// Makes the partitions of a topic that is not in the metadata yet.
    fn make_partitions(&self, create: &CreateTopic, now: Timestamp) -> Result<Vec<Arc<Partition>>, BrokerError> {
        let options = self.options.partition_options(&create.settings);
        (0..create.partitions)
            .map(|index| {
                let name = TopicPartition { topic: create.topic.clone(), partition: PartitionIndex(index) };
                let files = self.directory.partition(&name);
                let start = PartitionStart { name, topic_id: create.topic_id, files, options };
                Ok(Partition::create(self.context.clone(), start, now)?)
            })
            .collect()
    }

    /// Removes what an interrupted creation left where the partitions of a topic go. Records of nobody are not ours to
    /// remove: where there are any, nothing is touched.
    fn clear_places(&self, create: &CreateTopic) -> Result<(), BrokerError> {
        let failed = |error: std::io::Error| BrokerError::StorageFailed(error.to_string().into());
        let place = |index| TopicPartition { topic: create.topic.clone(), partition: PartitionIndex(index) };
        for name in (0..create.partitions).map(place) {
            if self.directory.holds_records(&name).map_err(failed)? {
                let dir = self.directory.partition(&name).dir().display().to_string();
                let reason = format!("{dir} holds records of a topic that does not exist: move it away first");
                return Err(BrokerError::StorageFailed(reason.into()));
            }
        }
        (0..create.partitions)
            .map(place)
            .try_for_each(|name| self.directory.set_deleted(&name, create.topic_id))
            .map_err(failed)
    }

    fn append_command(
        self: &Arc<Self>,
        command: Command,
        partitions: Vec<Arc<Partition>>,
        now: Timestamp,
        reply: CommandReply,
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
        let entry = InFlight { end, command, partitions, reply };
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
        match &entry.command {
            Command::CreateTopic(create) => {
                self.give_up(&create.topic, create.topic_id, create.partitions, &error, now);
            }
            Command::DeleteTopic(_) | Command::AlterTopic(_) => self.meta.lock().release(entry.command.topic()),
        }
        entry.reply.send(Err(error));
    }

    fn give_up(&self, topic: &TopicName, id: TopicId, partitions: u32, error: &BrokerError, now: Timestamp) {
        if *error == BrokerError::StorageFull {
            self.reserve.release(now);
        }
        self.remove_directories(topic, id, partitions);
        self.meta.lock().release(topic);
    }

    fn remove_directories(&self, topic: &TopicName, topic_id: TopicId, partitions: u32) {
        let removed = (0..partitions).try_for_each(|index| {
            let name = TopicPartition { topic: topic.clone(), partition: PartitionIndex(index) };
            self.context.log.handles.close_below(self.directory.partition(&name).dir());
            self.directory.set_deleted(&name, topic_id)
        });
        if let Err(error) = removed.and_then(|()| self.directory.purge_deleted()) {
            tracing::warn!(%topic, %error, "directories of a deleted topic are left for the next start");
        }
    }

    /// Shows what a durable command changed.
    fn settle(&self, entry: InFlight, effect: Effect) {
        let topic = entry.command.topic().clone();
        let result = match effect {
            Effect::Created { .. } => Ok(self.show_topic(&topic, entry.partitions)),
            Effect::Deleted { topic: deleted } => Ok(self.hide_topic(&deleted)),
            Effect::Altered { .. } => self.created(&topic),
            Effect::Ignored { reason } => Err(BrokerError::Metadata(reason)),
        };
        self.meta.lock().release(&topic);
        entry.reply.send(result);
    }

    fn show_topic(&self, name: &TopicName, partitions: Vec<Arc<Partition>>) -> CreatedTopic {
        let count = u32::try_from(partitions.len()).unwrap_or(u32::MAX);
        let topic = self.meta.lock().metadata.topic(name).cloned();
        if let Some(topic) = topic {
            let slots = partitions.into_iter().map(Slot::Open).collect();
            let ids = self.ids.as_ref().map(MessageIds::of_new_topic);
            self.topics.write().insert(name.clone(), Arc::new(TopicHandle::new(topic, slots).with_ids(ids)));
        }
        CreatedTopic { topic: name.clone(), partitions: count }
    }

    fn hide_topic(&self, topic: &Topic) -> CreatedTopic {
        let handle = self.topics.write().remove(&topic.name);
        for slot in handle.iter().flat_map(|handle| handle.slots()) {
            if let Slot::Open(partition) = slot {
                partition.stop("the topic was deleted");
            }
        }
        self.remove_directories(&topic.name, topic.id, topic.partitions);
        CreatedTopic { topic: topic.name.clone(), partitions: topic.partitions }
    }

    fn created(&self, name: &TopicName) -> Result<CreatedTopic, BrokerError> {
        let partitions = self.topic(name)?.partitions_count();
        Ok(CreatedTopic { topic: name.clone(), partitions })
    }
}

impl AckSink for MetaSink {
    fn complete(&self, completions: &mut dyn Iterator<Item = Completion>) {
        for Completion { token, outcome } in completions {
            let Some(end) = Offset::new(token) else { continue };
            match outcome {
                Ok(_) => {
                    let done = self.broker.meta.lock().apply_to(end);
                    done.into_iter().for_each(|(entry, effect)| self.broker.settle(entry, effect));
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
            self.broker.meta.lock().release(entry.command.topic());
            entry.reply.send(Err(failure.into()));
        } else {
            self.broker.take_back(entry, failure.into(), self.now);
        }
    }
}
