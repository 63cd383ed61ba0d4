//! Publishes: those that came in one read are gathered into one batch for each partition.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;

use super::NativeListener;
use super::answer::Answer;
use super::errors::Refusal;
use super::outbox::{Entered, Group, Outbox, Place};
use crate::broker::TopicHandle;
use crate::protocol::native::{AckLevel as WireAck, ErrorCode, PublishRequest};
use crate::record::{BatchBuilder, BuilderOptions, ProducedBatch};
use crate::replica::{AckLevel, AckSink, AppendError, Partition, Waiter};
use crate::types::{PartitionIndex, Timestamp, TopicName};

/// A batch is closed at this many bytes.
const BATCH_BYTES: usize = 256 << 10;
/// A record's time is believed at most this far ahead of ours, in milliseconds.
const AHEAD_MS_MAX: i64 = 3_600_000;

/// Publishes gathered and not yet appended.
#[derive(Debug, Default)]
pub(super) struct PublishRun {
    batches: BTreeMap<Key, Open>,
    /// The topic of the last publish: the next one is most often of the same.
    last: Option<Arc<TopicHandle>>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    topic: TopicName,
    partition: PartitionIndex,
    ack: u8,
}

#[derive(Debug)]
struct Open {
    partition: Arc<Partition>,
    ack: AckLevel,
    builder: BatchBuilder,
    places: Vec<Place>,
}

impl PublishRun {
    /// Adds one publish; its answer takes its place now.
    pub(super) async fn add(
        &mut self,
        listener: &NativeListener,
        outbox: &Arc<Outbox>,
        sequence: u64,
        sent: Timestamp,
        request: &PublishRequest<'_>,
    ) {
        let ack = level(request.ack, listener.broker.default_ack());
        let place = (ack != AckLevel::None).then(|| outbox.reserve(sequence));
        match self.try_add(listener, place, ack, sent, request).await {
            Ok(batch_bytes) if batch_bytes >= BATCH_BYTES => self.flush(listener, outbox).await,
            Ok(_) => {}
            Err(refusal) => {
                if let Some(place) = place {
                    outbox.answer(place, Answer::Refused(refusal));
                }
            }
        }
    }

    /// Adds a publish to its batch; returns the batch's size in bytes.
    async fn try_add(
        &mut self,
        listener: &NativeListener,
        place: Option<Place>,
        ack: AckLevel,
        sent: Timestamp,
        request: &PublishRequest<'_>,
    ) -> Result<usize, Refusal> {
        let handle = self.topic(listener, request).await?;
        let limit = handle.topic().settings.message_bytes_max.map_or(usize::MAX, |limit| limit as usize);
        if request.value.len() > limit {
            let text =
                format!("a message of {} bytes where topic '{}' allows {limit}", request.value.len(), request.topic);
            return Err(Refusal::new(ErrorCode::MessageTooLarge, text));
        }
        let key = request.key.map(str::as_bytes);
        let index = request.partition.unwrap_or_else(|| handle.choose_partition(key));
        let partition = handle.partition(index).map_err(|error| Refusal::from(&error))?;
        let topic = handle.topic().name.clone();
        let open = self.batches.entry(Key { topic, partition: index, ack: ack as u8 }).or_insert_with(|| Open {
            partition,
            ack,
            builder: BatchBuilder::new(BuilderOptions::default()),
            places: Vec::new(),
        });
        let headers: Vec<_> =
            request.headers().map(|(name, value)| (name.as_bytes(), Some(value.as_bytes()))).collect();
        let timestamp = believable(sent, listener.now());
        let added = open.builder.append(timestamp, key, Some(request.value), &headers);
        added.map_err(|error| Refusal::new(ErrorCode::MessageTooLarge, error.to_string()))?;
        open.places.extend(place);
        Ok(open.builder.bytes_len())
    }

    async fn topic(
        &mut self,
        listener: &NativeListener,
        request: &PublishRequest<'_>,
    ) -> Result<Arc<TopicHandle>, Refusal> {
        if let Some(last) = &self.last
            && last.topic().name.as_str() == request.topic
        {
            return Ok(Arc::clone(last));
        }
        let name = request.topic_name().map_err(|error| Refusal::new(error.code(), error.to_string()))?;
        let handle = listener.topic(&name).await?;
        self.last = Some(Arc::clone(&handle));
        Ok(handle)
    }

    /// Appends what is gathered. Waits where a partition's queue is full: this connection is then not read.
    pub(super) async fn flush(&mut self, listener: &NativeListener, outbox: &Arc<Outbox>) {
        self.last = None;
        for (key, mut open) in std::mem::take(&mut self.batches) {
            let not_before = open.partition.offsets().log_end();
            let group = Group { topic: key.topic, partition: key.partition, places: open.places, not_before };
            let entered = outbox.enter(group);
            match open.builder.finish() {
                Ok(batch) => append(listener, outbox, &open.partition, open.ack, entered, batch).await,
                Err(error) => entered.refuse(Refusal::new(ErrorCode::Internal, error.to_string())),
            }
        }
    }
}

async fn append(
    listener: &NativeListener,
    outbox: &Arc<Outbox>,
    partition: &Arc<Partition>,
    ack: AckLevel,
    entered: Entered<'_>,
    mut batch: ProducedBatch,
) {
    loop {
        let waiter = Waiter { sink: Arc::clone(outbox) as Arc<dyn AckSink>, token: entered.token() };
        match partition.append(batch, ack, Some(waiter), listener.now()) {
            Ok(_) if ack == AckLevel::None => return entered.forget(),
            Ok(_) => return entered.appended(),
            Err(AppendError::QueueFull(back)) => {
                batch = *back;
                poll_fn(|context| partition.poll_space(context.waker())).await;
            }
            Err(error) => return entered.refuse(Refusal::from(&error)),
        }
    }
}

fn level(asked: Option<WireAck>, default: AckLevel) -> AckLevel {
    match asked {
        None => default,
        Some(WireAck::None) => AckLevel::None,
        Some(WireAck::Leader) => AckLevel::Leader,
        Some(WireAck::Durable) => AckLevel::Durable,
    }
}

/// The record's time: the frame's where that can be one, else ours.
fn believable(sent: Timestamp, now: Timestamp) -> Timestamp {
    let range = Timestamp::from_millis(1)..=now.plus_millis(AHEAD_MS_MAX);
    if range.contains(&sent) { sent } else { now }
}
