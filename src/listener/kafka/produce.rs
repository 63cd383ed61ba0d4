//! Produce: batches into the log, and the answer once they have what the producer asked for.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::timeout;

use super::KafkaListener;
use super::dispatch::Reply;
use super::publish_errors::{record_to_blame, records_to_blame};
use crate::broker::TopicHandle;
use crate::broker::publish::PublishError;
use crate::listener::incoming::owned;
use crate::protocol::kafka::{Acks, Api, KafkaError, ProduceFailure, ProduceRequest, ProduceResponse, Produced};
use crate::record::{AdmissionError, Compression, ProducedBatch};
use crate::replica::{AckFailure, AckLevel, AckSink, Acked, Completion, Partition, Waiter};
use crate::types::{PartitionIndex, Timestamp, TopicName};

/// The first version whose clients know Zstandard (KIP-110).
const ZSTD_SINCE: i16 = 7;

/// What became of a Produce request so far.
pub(super) struct Appended {
    acks: Acks,
    version: i16,
    patience: Duration,
    topics: Vec<AppendedTopic>,
    acknowledged: Arc<Acknowledged>,
}

struct AppendedTopic {
    name: Box<str>,
    partitions: Vec<(i32, Result<Entry, Refused>)>,
}

/// What a request has for the partitions of a topic, by their indexes.
type Batches = Vec<(i32, Option<Bytes>)>;

/// A batch that was appended.
struct Entry {
    /// Its number among those that are waited for.
    token: usize,
    partition: Arc<Partition>,
    append_time: Option<Timestamp>,
}

/// A batch that was not.
#[derive(Debug)]
struct Refused {
    error: KafkaError,
    message: String,
    /// The records that are to blame, where some are.
    records: Vec<u32>,
}

/// Appends what a request holds; returns once all of it is appended or refused. Waits where a partition's queue is full.
pub(super) async fn append(listener: &Arc<KafkaListener>, mut request: ProduceRequest) -> Appended {
    let acks = request.acks;
    let mut appending = Appending {
        listener,
        version: request.version,
        level: level(acks.unwrap_or(Acks::Leader)),
        now: listener.now(),
        acknowledged: Arc::new(Acknowledged::default()),
        entered: 0,
    };
    let mut appended = Appended {
        acks: acks.unwrap_or(Acks::Leader),
        version: request.version,
        patience: Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0)),
        topics: Vec::with_capacity(request.topic_count),
        acknowledged: Arc::clone(&appending.acknowledged),
    };
    let refused = refusal_of_all(&request);
    let mut wanted: Vec<(Box<str>, Batches)> = Vec::with_capacity(request.topic_count);
    for topic in request.topics() {
        let partitions = topic.partitions().map(|partition| (partition.index, partition.records));
        wanted.push((Box::from(topic.name), partitions.collect()));
    }
    // Where there is one batch alone, the request's buffer becomes the batch's.
    let only = wanted.iter_mut().find_map(|(_, partitions)| partitions.first_mut());
    if let (1, Some((_, records))) = (request.partition_count, only) {
        *records = None;
        *records = request.take_only_records();
    }
    for (name, partitions) in wanted {
        let topic = match &refused {
            Some(refused) => Err(Refused::from(*refused)),
            None => appending.topic(&name),
        };
        let mut results = Vec::with_capacity(partitions.len());
        for (index, records) in partitions {
            let result = match &topic {
                Ok((name, handle)) => appending.append(name, handle, index, records).await,
                Err(refused) => Err(refused.again()),
            };
            results.push((index, result));
        }
        appended.topics.push(AppendedTopic { name, partitions: results });
    }
    appended
}

/// What must have happened to a batch before its producer is answered.
const fn level(acks: Acks) -> AckLevel {
    match acks {
        Acks::None => AckLevel::None,
        Acks::Leader => AckLevel::Leader,
        Acks::All => AckLevel::Durable,
    }
}

/// Why nothing of a request can be appended.
fn refusal_of_all(request: &ProduceRequest) -> Option<KafkaError> {
    if request.acks.is_none() {
        return Some(KafkaError::InvalidRequiredAcks);
    }
    // There are no transactions.
    request.transactional_id().map(|_| KafkaError::InvalidTxnState)
}

/// The appending of one request.
struct Appending<'a> {
    listener: &'a Arc<KafkaListener>,
    version: i16,
    level: AckLevel,
    now: Timestamp,
    acknowledged: Arc<Acknowledged>,
    /// Batches that are waited for.
    entered: usize,
}

impl Appending<'_> {
    fn topic(&self, name: &str) -> Result<(TopicName, Arc<TopicHandle>), Refused> {
        let name = TopicName::new(name)
            .map_err(|error| Refused::new(KafkaError::UnknownTopicOrPartition, error.to_string()))?;
        let handle = self.listener.broker.user_topic(&name);
        let handle = handle.map_err(|error| Refused::new(KafkaError::from(&error), error.to_string()))?;
        Ok((name, handle))
    }

    async fn append(
        &mut self,
        topic: &TopicName,
        handle: &Arc<TopicHandle>,
        index: i32,
        records: Option<Bytes>,
    ) -> Result<Entry, Refused> {
        let index = u32::try_from(index).map(PartitionIndex);
        let index = index.map_err(|_| Refused::from(KafkaError::UnknownTopicOrPartition))?;
        let partition = handle.partition(index);
        let partition = partition.map_err(|error| Refused::new(KafkaError::from(&error), error.to_string()))?;
        let Some(records) = records else { return Err(Refused::from(KafkaError::InvalidRecord)) };
        let broker = &self.listener.broker;
        let admitted = ProducedBatch::admit(owned(records), &broker.admission_to(handle), self.now);
        let mut batch = admitted.map_err(|error| Refused::of_admission(&error))?;
        if self.version < ZSTD_SINCE && batch.header().attributes.compression() == Some(Compression::Zstd) {
            return Err(Refused::from(KafkaError::UnsupportedCompressionType));
        }
        loop {
            let token = self.entered;
            let waiter = (self.level != AckLevel::None).then(|| self.acknowledged.enter(token));
            match broker.append_batch(topic, Some(index), batch, self.level, waiter, self.listener.now()) {
                Ok(appended) => {
                    self.entered += 1;
                    return Ok(Entry { token, partition, append_time: appended.append_time });
                }
                Err(PublishError::QueueFull { batch: back, partition }) => {
                    self.acknowledged.withdraw(token);
                    batch = *back;
                    poll_fn(|context| partition.poll_space(context.waker())).await;
                }
                Err(error) => {
                    self.acknowledged.withdraw(token);
                    return Err(Refused::of_publishing(error));
                }
            }
        }
    }
}

impl Appended {
    /// The answer, once it can be given.
    pub(super) async fn reply(self, correlation_id: i32) -> Reply {
        let waited = match self.acks {
            Acks::None => return self.reply_to_none(),
            Acks::Leader => {
                self.acknowledged.all().await;
                true
            }
            // Only those that wait for all copies wait for a limited time.
            Acks::All => timeout(self.patience, self.acknowledged.all()).await.is_ok(),
        };
        if !waited {
            tracing::debug!("a Produce was not durable within its timeout");
        }
        Reply::written(Api::Produce, self.version, |out| {
            let mut response = ProduceResponse::begin(out, self.version, correlation_id, self.topics.len());
            for topic in &self.topics {
                response.topic(&topic.name, topic.partitions.len());
                for (index, result) in &topic.partitions {
                    let result = result.as_ref().map_err(Refused::failure).and_then(|entry| self.produced(entry));
                    response.partition(*index, result);
                }
            }
            response.finish()
        })
    }

    /// A producer that wants no answers learns of an error by the end of its connection.
    fn reply_to_none(&self) -> Reply {
        let mut results = self.topics.iter().flat_map(|topic| &topic.partitions);
        let refused = results.find_map(|(_, result)| result.as_ref().err());
        match refused {
            Some(refused) => {
                tracing::debug!(error = ?refused.error, reason = refused.message, "a Produce without acks is refused");
                Reply::Close("a Produce without acks that is refused")
            }
            None => Reply::Nothing,
        }
    }

    fn produced(&self, entry: &Entry) -> Result<Produced, ProduceFailure<'_>> {
        match self.acknowledged.outcome(entry.token) {
            Some(Ok(acked)) => Ok(Produced {
                base_offset: acked.base_offset,
                append_time: entry.append_time,
                log_start: entry.partition.offsets().log_start(),
            }),
            Some(Err(failure)) => Err(KafkaError::from(&failure).into()),
            None => Err(KafkaError::RequestTimedOut.into()),
        }
    }
}

impl Refused {
    fn new(error: KafkaError, message: String) -> Refused {
        Refused { error, message, records: Vec::new() }
    }

    fn of_admission(error: &AdmissionError) -> Refused {
        let records = record_to_blame(error).into_iter().collect();
        Refused { error: KafkaError::from(error), message: error.to_string(), records }
    }

    fn of_publishing(error: PublishError) -> Refused {
        let (code, message) = (KafkaError::from(&error), error.to_string());
        let records = records_to_blame(error);
        Refused { error: code, message, records }
    }

    fn again(&self) -> Refused {
        Refused { error: self.error, message: self.message.clone(), records: self.records.clone() }
    }

    fn failure(&self) -> ProduceFailure<'_> {
        let message = Some(self.message.as_str()).filter(|message| !message.is_empty());
        ProduceFailure { error: self.error, message, records: &self.records }
    }
}

impl From<KafkaError> for Refused {
    fn from(error: KafkaError) -> Refused {
        Refused::new(error, String::new())
    }
}

/// The answers to the batches of one request, as they come.
#[derive(Debug, Default)]
struct Acknowledged(Mutex<Outcomes>);

#[derive(Debug, Default)]
struct Outcomes {
    /// By token; absent until it comes.
    by_token: Vec<Option<Result<Acked, AckFailure>>>,
    /// How many are there.
    came: usize,
    waker: Option<Waker>,
}

impl Acknowledged {
    /// Who is to be told of the batch of this number.
    fn enter(self: &Arc<Self>, token: usize) -> Waiter {
        self.0.lock().by_token.resize(token + 1, None);
        Waiter { sink: Arc::clone(self) as Arc<dyn AckSink>, token: token as u64 }
    }

    /// Nobody will be told of it: it was not appended.
    fn withdraw(&self, token: usize) {
        self.0.lock().by_token.truncate(token);
    }

    /// Waits until all came.
    async fn all(&self) {
        poll_fn(|context| self.poll_all(context)).await;
    }

    fn poll_all(&self, context: &Context<'_>) -> Poll<()> {
        let mut outcomes = self.0.lock();
        if outcomes.came >= outcomes.by_token.len() {
            return Poll::Ready(());
        }
        outcomes.waker = Some(context.waker().clone());
        Poll::Pending
    }

    fn outcome(&self, token: usize) -> Option<Result<Acked, AckFailure>> {
        self.0.lock().by_token.get(token).cloned().flatten()
    }
}

impl AckSink for Acknowledged {
    fn complete(&self, completions: &mut dyn Iterator<Item = Completion>) {
        let mut outcomes = self.0.lock();
        for Completion { token, outcome } in completions {
            let slot = usize::try_from(token).ok().and_then(|token| outcomes.by_token.get_mut(token));
            if let Some(slot) = slot {
                *slot = Some(outcome);
                outcomes.came += 1;
            }
        }
        let waker = if outcomes.came >= outcomes.by_token.len() { outcomes.waker.take() } else { None };
        drop(outcomes);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All copies are one, and on the disk.
    #[test]
    fn what_is_acknowledged_to_those_who_want_all_copies_is_durable() {
        let levels = [Acks::None, Acks::Leader, Acks::All].map(level);
        assert_eq!(levels, [AckLevel::None, AckLevel::Leader, AckLevel::Durable]);
    }
}
