//! Requests about topics: create, alter, delete, and what there is.

use std::future::Future;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::NativeListener;
use super::answer::Answer;
use super::connection::Connection;
use super::errors::Refusal;
use crate::broker::metadata::{SettingsChange, TopicSettings};
use crate::broker::{
    Broker, BrokerError, CreatedTopic, DescribedStatus, EffectiveSettings, PartitionDescription, Skew, TopicChange,
    TopicDescription, TopicHandle,
};
use crate::listener::topic_commands::{self, TopicCommand};
use crate::protocol::native::{
    AlterTopicRequest, CreateTopicRequest, DeleteTopicRequest, MetadataRequest, SettingsRequest,
};
use crate::types::TopicName;

/// Topic commands of one connection that may be under way; with so many it is not read before all are done.
pub(super) const COMMANDS_MAX: usize = 64;

/// The topic commands of one connection: done one after another, while the connection goes on being read.
#[derive(Debug, Default)]
pub(super) struct TopicCommands {
    last: Option<JoinHandle<()>>,
    /// Begun since all were done.
    begun: usize,
}

impl TopicCommands {
    /// Begins a command once those before it are done.
    fn begin(&mut self, command: impl Future<Output = ()> + Send + 'static) {
        self.begun += 1;
        let previous = self.last.take();
        self.last = Some(tokio::spawn(async move {
            if let Some(previous) = previous {
                let _ended = previous.await;
            }
            command.await;
        }));
    }

    /// Whether there are any.
    pub(super) fn are_under_way(&self) -> bool {
        self.last.is_some()
    }

    /// Waits until one more may begin.
    async fn have_room(&mut self) {
        if self.begun >= COMMANDS_MAX || self.last.as_ref().is_none_or(JoinHandle::is_finished) {
            self.done().await;
        }
    }

    /// Waits until all commands are done: what depends on topics must see what they did.
    pub(super) async fn done(&mut self) {
        if let Some(last) = &mut self.last {
            let _ended = last.await;
            (self.last, self.begun) = (None, 0);
        }
    }
}

impl Connection<'_> {
    pub(super) async fn command_topic(&mut self, sequence: u64, command: TopicCommand) {
        let (listener, outbox) = (Arc::clone(self.listener), Arc::clone(&self.outbox));
        self.commands.have_room().await;
        let place = self.outbox.entrust(sequence);
        self.commands.begin(async move {
            let answer = match listener.command_topic(&command).await {
                Ok(CreatedTopic { topic, partitions }) => Answer::Topic { topic, partitions },
                Err(error) => Answer::Refused(Refusal::from(&error)),
            };
            outbox.answer(place, answer);
        });
    }

    pub(super) async fn metadata(&self, request: MetadataRequest) -> Answer {
        let broker = &self.listener.broker;
        if let MetadataRequest::Topic { topic, creates: true } = &request
            && let Err(refusal) = self.listener.topic(topic).await
        {
            return Answer::Refused(refusal);
        }
        match request {
            MetadataRequest::Topic { topic, .. } => match broker.describe_topic(&topic) {
                Ok(description) => {
                    let mut shown = described(&description);
                    let skew = broker.topic(&topic).ok().and_then(|handle| handle.clock_skew(self.listener.now()));
                    if let Some(skew) = skew {
                        shown["clock_skew"] = skew_of(&skew);
                    }
                    Answer::Metadata { next: None, json: shown.to_string().into() }
                }
                Err(error) => Answer::Refused(Refusal::from(&error)),
            },
            MetadataRequest::List { after, limit } => listed(broker, after.as_deref(), limit as usize),
        }
    }
}

impl NativeListener {
    /// A topic by its name; created where that is allowed.
    pub(super) async fn topic(&self, name: &TopicName) -> Result<Arc<TopicHandle>, Refusal> {
        match self.broker.topic(name) {
            Ok(handle) => Ok(handle),
            Err(BrokerError::UnknownTopic { .. }) if self.options.auto_create && !name.is_internal() => {
                let settings = TopicSettings::default();
                let create = TopicCommand::Create { topic: name.clone(), partitions: None, settings };
                let created = self.command_topic(&create).await;
                created.and_then(|_| self.broker.topic(name)).map_err(|error| Refusal::from(&error))
            }
            Err(error) => Err(Refusal::from(&error)),
        }
    }

    /// A topic that clients publish to; created where that is allowed.
    pub(super) async fn user_topic(&self, name: &TopicName) -> Result<Arc<TopicHandle>, Refusal> {
        if name.is_internal() {
            return Err(Refusal::from(&BrokerError::InternalTopic { topic: name.clone() }));
        }
        self.topic(name).await
    }

    /// Does a command, waiting a while for another one on the same topic.
    async fn command_topic(&self, command: &TopicCommand) -> Result<CreatedTopic, BrokerError> {
        topic_commands::command_topic(&self.broker, &self.surroundings, command).await
    }
}

impl From<CreateTopicRequest> for TopicCommand {
    fn from(request: CreateTopicRequest) -> TopicCommand {
        let CreateTopicRequest { topic, partitions, settings } = request;
        let settings = change_of(&settings).apply_to(&TopicSettings::default());
        TopicCommand::Create { topic, partitions, settings }
    }
}

impl From<AlterTopicRequest> for TopicCommand {
    fn from(request: AlterTopicRequest) -> TopicCommand {
        let AlterTopicRequest { topic, partitions, settings } = request;
        TopicCommand::Alter { topic, change: TopicChange { settings: change_of(&settings), partitions } }
    }
}

impl From<DeleteTopicRequest> for TopicCommand {
    fn from(request: DeleteTopicRequest) -> TopicCommand {
        TopicCommand::Delete { topic: request.topic, topic_id: None }
    }
}

fn change_of(settings: &SettingsRequest) -> SettingsChange {
    SettingsChange {
        retention_ms: settings.retention_ms,
        retention_bytes: settings.retention_bytes,
        message_bytes_max: settings.message_bytes_max,
        cleanup_policy: settings.cleanup_policy,
        segment_bytes: settings.segment_bytes,
        min_compaction_lag_ms: settings.min_compaction_lag_ms,
        delete_retention_ms: settings.delete_retention_ms,
        batch_bytes_max: settings.batch_bytes_max,
        segment_ms: settings.segment_ms,
        timestamp_type: settings.timestamp_type,
        ..SettingsChange::default()
    }
}

/// The topics behind a name.
fn listed(broker: &Broker, after: Option<&str>, limit: usize) -> Answer {
    let topics = broker.topics();
    let is_wanted = |topic: &&Arc<TopicHandle>| after.is_none_or(|after| topic.topic().name.as_str() > after);
    let mut wanted = topics.iter().filter(is_wanted);
    let page: Vec<_> = wanted.by_ref().take(limit).collect();
    let goes_on = wanted.next().is_some();
    let next = page.last().filter(|_| goes_on).map(|topic| topic.topic().name.clone());
    let entries: Vec<Value> = page
        .iter()
        .map(|topic| {
            let partitions = topic.partitions_count();
            let topic = topic.topic();
            json!({ "topic": topic.name.as_str(), "topic_id": topic.id.to_string(), "partitions": partitions })
        })
        .collect();
    Answer::Metadata { next, json: json!({ "topics": entries }).to_string().into() }
}

fn described(description: &TopicDescription) -> Value {
    let TopicDescription { topic, partitions, effective } = description;
    let mut own = serde_json::Map::new();
    let mut note = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            own.insert(name.to_owned(), value);
        }
    };
    let settings = &topic.settings;
    note("retention_ms", settings.retention_ms.map(Value::from));
    note("retention_bytes", settings.retention_bytes.map(Value::from));
    note("max_message_size", settings.message_bytes_max.map(Value::from));
    note("cleanup_policy", settings.cleanup_policy.map(|policy| policy.as_str().into()));
    note("segment_bytes", settings.segment_bytes.map(Value::from));
    note("min_compaction_lag_ms", settings.min_compaction_lag_ms.map(Value::from));
    note("delete_retention_ms", settings.delete_retention_ms.map(Value::from));
    note("max_batch_size", settings.batch_bytes_max.map(Value::from));
    note("timestamp_after_max_ms", settings.timestamp_after_max_ms.map(Value::from));
    note("timestamp_before_max_ms", settings.timestamp_before_max_ms.map(Value::from));
    note("segment_ms", settings.segment_ms.map(Value::from));
    note("timestamp_type", settings.timestamp_type.map(|kind| kind.as_str().into()));
    json!({
        "topic": topic.name.as_str(),
        "topic_id": topic.id.to_string(),
        "created_at_ms": topic.created_at.millis(),
        "partitions": partitions.iter().map(partition).collect::<Vec<_>>(),
        "settings": own,
        "effective": in_force(effective),
    })
}

fn in_force(effective: &EffectiveSettings) -> Value {
    json!({
        "retention_ms": effective.retention_ms,
        "retention_bytes": effective.retention_bytes,
        "max_message_size": effective.message_bytes_max,
        "cleanup_policy": effective.cleanup_policy.as_str(),
        "segment_bytes": effective.segment_bytes,
        "min_compaction_lag_ms": effective.min_compaction_lag_ms,
        "delete_retention_ms": effective.delete_retention_ms,
        "max_batch_size": effective.batch_bytes_max,
        "segment_ms": effective.segment_ms,
        "timestamp_type": effective.timestamp_type.as_str(),
    })
}

fn skew_of(skew: &Skew) -> Value {
    let Skew { last_ms, min_ms, max_ms, too_far_ahead } = *skew;
    json!({ "last_ms": last_ms, "min_ms": min_ms, "max_ms": max_ms, "too_far_ahead": too_far_ahead })
}

fn partition(description: &PartitionDescription) -> Value {
    let (status, reason) = match &description.status {
        DescribedStatus::Online => ("online", None),
        DescribedStatus::Offline(reason) => ("offline", Some(reason)),
        DescribedStatus::Failed(reason) => ("failed", Some(reason)),
        DescribedStatus::Follower { .. } => ("follower", None),
    };
    let mut shown = json!({ "partition": description.partition.0, "status": status });
    if let Some(reason) = reason {
        shown["reason"] = reason.as_ref().into();
    }
    if let (Some(epoch), Some(offsets)) = (description.epoch, description.offsets) {
        shown["leader_epoch"] = epoch.get().into();
        shown["log_start"] = offsets.log_start().get().into();
        shown["high_watermark"] = offsets.high_watermark().get().into();
        shown["log_end"] = offsets.log_end().get().into();
        shown["bytes"] = description.bytes.into();
    }
    shown
}
