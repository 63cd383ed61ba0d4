//! Every request but PUBLISH.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::NativeListener;
use super::answer::Answer;
use super::connection::Connection;
use super::errors::Refusal;
use super::subscription::{Start, SubscriptionKey};
use crate::broker::metadata::TopicSettings;
use crate::broker::{BrokerError, CommandReply, CreatedTopic, TopicHandle};
use crate::protocol::native::{CreateTopicRequest, ErrorCode, Request, StartAt, SubscribeRequest, UnsubscribeRequest};
use crate::replica::Partition;
use crate::types::{Offset, TopicName};

/// How often a change of a topic that is being changed is tried, and the pause between two tries.
const BUSY_TRIES: usize = 200;
const BUSY_PAUSE: Duration = Duration::from_millis(5);

impl Connection<'_> {
    pub(super) async fn handle(&mut self, sequence: u64, request: Request<'_>) {
        let answer = match request {
            Request::Heartbeat => Answer::Heartbeat,
            Request::CreateTopic(request) => match self.listener.create_topic(&request).await {
                Ok(CreatedTopic { topic, partitions }) => Answer::Created { topic, partitions },
                Err(refusal) => Answer::Refused(refusal),
            },
            Request::Subscribe(request) => return self.subscribe(sequence, request).await,
            Request::Unsubscribe(request) => self.unsubscribe(request),
            Request::Ack(_) => return,
            Request::Publish(_) => Answer::Silence,
            Request::DeleteTopic(_)
            | Request::AlterTopic(_)
            | Request::Metadata(_)
            | Request::Fetch(_)
            | Request::Commit(_)
            | Request::PublishBatch(_)
            | Request::InitProducer
            | Request::ListOffsets(_)
            | Request::SubscribeBatches(_) => {
                Answer::Refused(Refusal::new(ErrorCode::UnknownType, "not served by this version"))
            }
        };
        self.outbox.answer_next(sequence, answer);
    }

    async fn subscribe(&mut self, sequence: u64, request: SubscribeRequest<'_>) {
        let SubscribeRequest { topic, partition, client_id, start, needs_grace, .. } = request;
        let key = SubscriptionKey { topic: topic.clone(), partition };
        let begun = async {
            self.subscriptions.check(&key)?;
            let handle = self.listener.topic(&topic).await?;
            let partition = handle.partition(partition).map_err(|error| Refusal::from(&error))?;
            let from = start_offset(&partition, start).await?;
            Ok::<_, Refusal>((partition, from))
        };
        match begun.await {
            Ok((opened, from)) => {
                let client_id = client_id.to_owned();
                let answer = Answer::Subscribed { topic, partition, client_id, start: from };
                let acknowledged = self.outbox.answer_next(sequence, answer);
                let grace = if needs_grace { self.listener.options.subscribe_grace } else { Duration::ZERO };
                let start = Start { partition: opened, from, acknowledged, grace };
                self.subscriptions.start(key, start, Arc::clone(&self.outbox));
            }
            Err(refusal) => {
                self.outbox.answer_next(sequence, Answer::Refused(refusal));
            }
        }
    }

    fn unsubscribe(&mut self, request: UnsubscribeRequest<'_>) -> Answer {
        let UnsubscribeRequest { topic, partition, client_id } = request;
        let key = SubscriptionKey { topic: topic.clone(), partition };
        if self.subscriptions.end(&key, &self.outbox) {
            return Answer::Unsubscribed { topic, partition, client_id: client_id.to_owned() };
        }
        let text = format!("this connection is not subscribed to {topic}:{partition}");
        Answer::Refused(Refusal::new(ErrorCode::NotSubscribed, text))
    }
}

/// Where a subscription starts: below the log it is moved to its start, above its end it waits.
async fn start_offset(partition: &Arc<Partition>, start: StartAt) -> Result<Offset, Refusal> {
    let offsets = partition.offsets();
    match start {
        StartAt::Offset(offset) => Ok(offset.max(offsets.log_start())),
        StartAt::Begin => Ok(offsets.log_start()),
        StartAt::End => Ok(offsets.high_watermark()),
        StartAt::Committed => {
            let text = "wiber.start=committed: this server keeps no positions yet; give an offset, begin or end";
            Err(Refusal::new(ErrorCode::InvalidProperty, text))
        }
        StartAt::Time(time) => {
            let partition = Arc::clone(partition);
            let found = tokio::task::spawn_blocking(move || partition.offset_at_time(time)).await;
            let found = found.map_err(|error| Refusal::new(ErrorCode::Internal, error.to_string()))?;
            let offset = found.map_err(|failure| Refusal::from(&failure))?;
            Ok(offset.unwrap_or(offsets.high_watermark()))
        }
    }
}

impl NativeListener {
    /// A topic by its name; created where that is allowed.
    pub(super) async fn topic(&self, name: &TopicName) -> Result<Arc<TopicHandle>, Refusal> {
        match self.broker.topic(name) {
            Ok(handle) => Ok(handle),
            Err(BrokerError::UnknownTopic { .. }) if self.options.auto_create && !name.is_internal() => {
                self.make_topic(name, None, TopicSettings::default()).await?;
                self.broker.topic(name).map_err(|error| Refusal::from(&error))
            }
            Err(error) => Err(Refusal::from(&error)),
        }
    }

    async fn create_topic(&self, request: &CreateTopicRequest) -> Result<CreatedTopic, Refusal> {
        let retention_ms = request.settings.retention_ms.flatten();
        let settings = TopicSettings { retention_ms, ..TopicSettings::default() };
        self.make_topic(&request.topic, request.partitions, settings).await
    }

    async fn make_topic(
        &self,
        name: &TopicName,
        partitions: Option<u32>,
        settings: TopicSettings,
    ) -> Result<CreatedTopic, Refusal> {
        for _ in 1..BUSY_TRIES {
            match self.try_make_topic(name, partitions, settings).await {
                Err(BrokerError::TopicBusy { .. }) => tokio::time::sleep(BUSY_PAUSE).await,
                other => return other.map_err(|error| Refusal::from(&error)),
            }
        }
        self.try_make_topic(name, partitions, settings).await.map_err(|error| Refusal::from(&error))
    }

    async fn try_make_topic(
        &self,
        name: &TopicName,
        partitions: Option<u32>,
        settings: TopicSettings,
    ) -> Result<CreatedTopic, BrokerError> {
        let (done, result) = oneshot::channel();
        let reply = CommandReply::new(move |result| {
            let _gone = done.send(result);
        });
        let (broker, name) = (Arc::clone(&self.broker), name.clone());
        let (topic_id, now) = ((self.surroundings.fresh_topic_id)(), self.now());
        tokio::task::spawn_blocking(move || broker.create_topic(&name, partitions, settings, topic_id, now, reply));
        result.await.unwrap_or_else(|_| Err(BrokerError::StorageFailed("the server stops".into())))
    }
}
