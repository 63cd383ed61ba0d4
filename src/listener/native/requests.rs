//! Every request but PUBLISH: which part of the listener answers it, and the life of subscriptions.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::NativeListener;
use super::answer::Answer;
use super::connection::Connection;
use super::errors::Refusal;
use super::keeping::Keeper;
use super::outbox::Outbox;
use super::subscription::{Delivery, Start, SubscriptionKey};
use crate::protocol::native::{
    AckRequest, ErrorCode, GroupMember, PositionOf, Request, StartAt, SubscribeRequest, UnsubscribeRequest,
};
use crate::replica::Partition;
use crate::types::{Offset, Timestamp, TopicName};

/// How a subscription's records go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Single,
    Batches,
}

impl Form {
    /// How they are delivered.
    pub(super) fn delivery(self, auto_ack: bool) -> Delivery {
        match (self, auto_ack) {
            (Form::Single, true) => Delivery::AtMostOnce,
            (Form::Single, false) => Delivery::AtLeastOnce,
            (Form::Batches, moves) => Delivery::Batches { moves },
        }
    }
}

/// A partition that is about to be subscribed to.
pub(super) struct Place<'a> {
    pub(super) listener: &'a Arc<NativeListener>,
    pub(super) outbox: &'a Outbox,
    pub(super) partition: &'a Arc<Partition>,
}

/// Whether a request must see the topics as the commands before it leave them.
fn depends_on_topics(request: &Request<'_>) -> bool {
    match request {
        Request::CreateTopic(_)
        | Request::AlterTopic(_)
        | Request::DeleteTopic(_)
        | Request::Heartbeat
        | Request::InitProducer
        | Request::GroupHeartbeat(_)
        | Request::LeaveGroup(_)
        | Request::ListGroups
        | Request::DeleteGroup(_)
        | Request::Ack(_) => false,
        Request::Subscribe(_)
        | Request::SubscribeBatches(_)
        | Request::Unsubscribe(_)
        | Request::Metadata(_)
        | Request::Fetch(_)
        | Request::Commit(_)
        | Request::PublishBatch(_)
        | Request::ListOffsets(_)
        | Request::JoinGroup(_)
        | Request::DescribeGroup(_)
        | Request::ResetGroup(_)
        | Request::Publish(_) => true,
    }
}

impl Connection<'_> {
    /// Serves a request, `sent` by its client's clock; `batch` is what a PUBLISH_BATCH carries.
    pub(super) async fn handle(&mut self, sequence: u64, sent: Timestamp, request: Request<'_>, batch: Bytes) {
        if depends_on_topics(&request) {
            self.commands.done().await;
        }
        let answer = match request {
            Request::CreateTopic(request) => return self.command_topic(sequence, request.into()).await,
            Request::AlterTopic(request) => return self.command_topic(sequence, request.into()).await,
            Request::DeleteTopic(request) => return self.command_topic(sequence, request.into()).await,
            Request::Heartbeat => Answer::Heartbeat,
            Request::InitProducer => return self.init_producer(sequence),
            Request::Ack(request) => return self.acknowledge(&request),
            Request::Subscribe(request) => return self.subscribe(sequence, request, Form::Single).await,
            Request::SubscribeBatches(request) => return self.subscribe(sequence, request, Form::Batches).await,
            Request::Unsubscribe(request) => self.unsubscribe(request),
            Request::Metadata(request) => self.metadata(request).await,
            Request::Fetch(request) => return self.fetch(sequence, request).await,
            Request::Commit(request) => return self.commit(sequence, request),
            Request::PublishBatch(request) => return self.publish_batch(sequence, sent, request, batch).await,
            Request::ListOffsets(request) => self.list_offsets(request).await,
            Request::JoinGroup(request) => return self.join_group(sequence, request),
            Request::GroupHeartbeat(request) => self.group_heartbeat(request),
            Request::LeaveGroup(request) => self.leave_group(request),
            Request::ListGroups => self.list_groups(),
            Request::DescribeGroup(request) => self.describe_group(request).await,
            Request::ResetGroup(request) => self.reset_group(request).await,
            Request::DeleteGroup(request) => return self.delete_group(sequence, request),
            Request::Publish(_) => Answer::Silence,
        };
        self.outbox.answer_next(sequence, answer);
    }

    async fn subscribe(&mut self, sequence: u64, request: SubscribeRequest<'_>, form: Form) {
        if let Some(GroupMember { group, member: None, .. }) = request.member {
            return self.read_in_group(sequence, group, &request, form).await;
        }
        let SubscribeRequest { topic, partition: index, client_id, member, start, auto_ack, needs_grace, stamps } =
            request;
        let key = SubscriptionKey { topic: topic.clone(), partition: index };
        let of_client = (!client_id.is_empty()).then_some(PositionOf::Client(client_id));
        let keeper = member.map(PositionOf::Group).or(of_client).map(|of| Keeper::new(of, &topic, index));
        let begun = async {
            self.subscriptions.check(&key, &self.outbox)?;
            if let Some(keeper) = &keeper {
                keeper.key.check().map_err(|error| Refusal::from(&error))?;
            }
            let handle = self.listener.topic(&topic).await?;
            let partition = handle.partition(index).map_err(|error| Refusal::from(&error))?;
            // Who owns the partition comes first: nobody else moves the position from then on.
            if let Some(keeper) = &keeper {
                let (broker, now) = (&self.listener.broker, self.listener.now());
                keeper.check_reader(broker, now).map_err(|error| Refusal::from(&error))?;
            }
            let place = Place { listener: self.listener, outbox: &self.outbox, partition: &partition };
            let from = place.start_offset(start, keeper.as_ref()).await?;
            Ok::<_, Refusal>((partition, from))
        };
        match begun.await {
            Ok((opened, from)) => {
                let client_id = client_id.to_owned();
                let answer = Answer::Subscribed { topic, partition: index, client_id, start: from };
                let acknowledged = self.outbox.answer_next(sequence, answer);
                let grace = if needs_grace { self.listener.options.subscribe_grace } else { Duration::ZERO };
                let delivery = form.delivery(auto_ack);
                let start = Start { partition: opened, from, acknowledged, grace, delivery, keeper, stamps };
                self.subscriptions.start(key, start, self.listener, &self.outbox);
            }
            Err(refusal) => {
                self.outbox.answer_next(sequence, Answer::Refused(refusal));
            }
        }
    }

    fn unsubscribe(&mut self, request: UnsubscribeRequest<'_>) -> Answer {
        let UnsubscribeRequest { topic, partition, client_id, group } = request;
        if let Some(group) = group {
            return self.leave_reading(topic, group);
        }
        let key = SubscriptionKey { topic: topic.clone(), partition };
        if self.subscriptions.end(&key, &self.outbox) {
            return Answer::Unsubscribed { topic, partition, client_id: client_id.to_owned() };
        }
        let text = format!("this connection is not subscribed to {topic}:{partition}");
        Answer::Refused(Refusal::new(ErrorCode::NotSubscribed, text))
    }

    pub(super) fn acknowledge(&self, request: &AckRequest<'_>) {
        // What no topic can be called is no subscription's either.
        if let Ok(topic) = TopicName::new(request.topic) {
            let key = SubscriptionKey { topic, partition: request.partition };
            self.subscriptions.acknowledged(&key, request.offset, self.listener);
            self.readers.acknowledged(&key, request.offset, self.listener);
        }
    }
}

impl Place<'_> {
    /// Where a subscription starts: below the log it is moved to its start, above its end it waits.
    pub(super) async fn start_offset(&self, start: StartAt, keeper: Option<&Keeper>) -> Result<Offset, Refusal> {
        let Place { listener, outbox, partition } = self;
        let offsets = partition.offsets();
        match start {
            StartAt::Offset(offset) => Ok(offset.max(offsets.log_start())),
            StartAt::Begin => Ok(offsets.log_start()),
            StartAt::End => Ok(offsets.high_watermark()),
            StartAt::Committed => {
                let Some(keeper) = keeper else {
                    let text =
                        "wiber.start=committed needs a client_id or wiber.group, under which the position is kept";
                    return Err(Refusal::new(ErrorCode::InvalidProperty, text));
                };
                let kept = keeper.position(&listener.broker).unwrap_or(offsets.log_start());
                if kept > offsets.high_watermark() {
                    let (kept, end) = (kept.get(), offsets.high_watermark().get());
                    let connection = outbox.connection().0;
                    tracing::warn!(connection, partition = %partition.name(), kept, end, "a kept position lies behind the log's end, which an unclean stop has moved: the subscription starts at the end");
                }
                Ok(kept.clamp(offsets.log_start(), offsets.high_watermark()))
            }
            StartAt::Time(time) => {
                let found = offset_at_time(partition, time).await?;
                Ok(found.unwrap_or(offsets.high_watermark()))
            }
        }
    }
}

/// The first record of this time or later.
pub(super) async fn offset_at_time(partition: &Arc<Partition>, time: Timestamp) -> Result<Option<Offset>, Refusal> {
    let partition = Arc::clone(partition);
    let found = tokio::task::spawn_blocking(move || partition.offset_at_time(time)).await;
    let found = found.map_err(|error| Refusal::new(ErrorCode::Internal, error.to_string()))?;
    found.map_err(|failure| Refusal::from(&failure))
}
