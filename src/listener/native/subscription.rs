//! A subscription: a task that pushes one partition's records.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::task::AbortHandle;

use super::errors::Refusal;
use super::outbox::{Data, Outbox, Place, Sent, SubscriptionId};
use crate::protocol::native::{DataRecord, ErrorCode, reply};
use crate::record::{Batch, Record};
use crate::replica::{Partition, Read, ReadFailure};
use crate::types::{Offset, PartitionIndex, TopicName};

/// Subscriptions of one connection.
pub(super) const SUBSCRIPTIONS_MAX: usize = 1_024;
/// Bytes of batches read at a time.
const READ_BYTES: usize = 256 << 10;
/// DATA is handed to the connection in pieces of about this size, in bytes.
const DATA_BYTES: usize = 64 << 10;

/// What a subscription is of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SubscriptionKey {
    pub(super) topic: TopicName,
    pub(super) partition: PartitionIndex,
}

/// The subscriptions of a connection. Dropping them ends them.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    running: BTreeMap<SubscriptionKey, (SubscriptionId, AbortHandle)>,
}

/// A subscription about to begin.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) partition: Arc<Partition>,
    pub(super) from: Offset,
    /// The place of the ACK that must go out first.
    pub(super) acknowledged: Place,
    /// How long to wait after it.
    pub(super) grace: Duration,
}

impl Subscriptions {
    pub(super) fn check(&self, key: &SubscriptionKey) -> Result<(), Refusal> {
        if self.running.contains_key(key) {
            let text = format!("this connection is subscribed to {}:{} already", key.topic, key.partition);
            return Err(Refusal::new(ErrorCode::AlreadySubscribed, text));
        }
        if self.running.len() >= SUBSCRIPTIONS_MAX {
            let text = format!("a connection has at most {SUBSCRIPTIONS_MAX} subscriptions");
            return Err(Refusal::new(ErrorCode::LimitExceeded, text));
        }
        Ok(())
    }

    pub(super) fn start(&mut self, key: SubscriptionKey, start: Start, outbox: Arc<Outbox>) {
        let topic = key.topic.clone();
        let id = outbox.begin();
        let task = tokio::spawn(push(topic, start, id, outbox));
        self.running.insert(key, (id, task.abort_handle()));
    }

    /// Ends a subscription; whether there was one. Nothing of it goes out after this.
    pub(super) fn end(&mut self, key: &SubscriptionKey, outbox: &Outbox) -> bool {
        let Some((id, task)) = self.running.remove(key) else { return false };
        outbox.end(id);
        task.abort();
        true
    }
}

impl Drop for Subscriptions {
    fn drop(&mut self) {
        self.running.values().for_each(|(_, task)| task.abort());
    }
}

/// Pushes records until the subscription ends.
async fn push(topic: TopicName, start: Start, id: SubscriptionId, outbox: Arc<Outbox>) {
    let Start { partition, from, acknowledged, grace } = start;
    outbox.passed(acknowledged).await;
    if !grace.is_zero() {
        tokio::time::sleep(grace).await;
    }
    let mut position = from;
    let pushing = Pushing { topic, partition: Arc::clone(&partition), id, outbox: Arc::clone(&outbox) };
    loop {
        let read = match poll_fn(|context| partition.poll_readable(position, context.waker())).await {
            Ok(()) => read(&partition, position).await,
            Err(closed) => Err(ReadFailure::Closed(closed)),
        };
        match read {
            Ok(batches) => {
                for batch in batches {
                    position = pushing.push_batch(&batch, position).await;
                }
            }
            // Retention was faster than the reader.
            Err(ReadFailure::OutOfRange { log_start, .. }) if log_start > position => position = log_start,
            Err(failure @ ReadFailure::Closed(_)) => return outbox.tell(&Refusal::from(&failure)),
            Err(failure) => {
                tracing::warn!(partition = %partition.name(), %failure, "a subscription ended");
                outbox.tell(&Refusal::from(&failure));
                return;
            }
        }
    }
}

async fn read(partition: &Arc<Partition>, from: Offset) -> Result<Vec<Batch>, ReadFailure> {
    match partition.read(from, READ_BYTES)? {
        Read::Batches(batches) => Ok(batches),
        Read::Disk(read) => match tokio::task::spawn_blocking(|| read.run()).await {
            Ok(result) => result,
            // Only when the runtime stops: this task is about to end as well.
            Err(_) => Ok(Vec::new()),
        },
    }
}

/// A subscription at work.
struct Pushing {
    topic: TopicName,
    partition: Arc<Partition>,
    id: SubscriptionId,
    outbox: Arc<Outbox>,
}

impl Pushing {
    /// Pushes the records of a batch from `position` on; returns the position behind it.
    async fn push_batch(&self, batch: &Batch, position: Offset) -> Offset {
        let next = batch.header().next_offset();
        if batch.header().attributes.is_control() {
            return next;
        }
        let mut bytes = BytesMut::new();
        let mut last = position;
        match batch.records() {
            Ok(records) => {
                for record in records {
                    let Ok(record) = record.inspect_err(|error| self.unreadable(batch, error)) else { break };
                    if record.offset < position {
                        continue;
                    }
                    self.encode(&mut bytes, batch, &record);
                    last = record.offset;
                    if bytes.len() >= DATA_BYTES {
                        self.hand_over(&mut bytes, last).await;
                    }
                }
            }
            Err(error) => self.unreadable(batch, &error),
        }
        self.hand_over(&mut bytes, last).await;
        next
    }

    fn encode(&self, bytes: &mut BytesMut, batch: &Batch, record: &Record) {
        let shown = DataRecord {
            topic: self.topic.as_str(),
            partition: self.partition.name().partition,
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
        };
        let headers = record.headers.iter().map(|header| (&header.key[..], header.value.as_deref()));
        if let Err(error) = reply::data(bytes, &shown, headers) {
            self.unreadable(batch, &error);
        }
    }

    /// Hands over records up to `last`.
    async fn hand_over(&self, bytes: &mut BytesMut, last: Offset) {
        let (subscription, partition) = (self.id, self.partition.name().partition);
        while !bytes.is_empty() {
            let data = Data { subscription, topic: &self.topic, partition, last, encoded: bytes };
            match self.outbox.try_data(&data) {
                Sent::Gone => bytes.clear(),
                Sent::Wait => self.outbox.data_may_go(&data).await,
                // The task is about to be aborted.
                Sent::Ended => std::future::pending().await,
            }
        }
    }

    /// A producer's records that cannot be taken apart are its own mistake: they are passed over.
    fn unreadable(&self, batch: &Batch, error: &dyn std::error::Error) {
        let offset = batch.header().base_offset.get();
        tracing::warn!(partition = %self.partition.name(), offset, %error, "records that cannot be shown are passed over");
    }
}
