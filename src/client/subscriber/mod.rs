//! Reading a topic as a stream of records.
//!
//! One connection brings the batches of all partitions; a task of the subscriber keeps it, and makes it anew where it is
//! lost, from the positions reached. Nothing is handed out twice and nothing out of order within a partition for as long
//! as the subscriber lives; what happens after that the [`DeliveryMode`] says.
//!
//! Batches received ahead of the reader are bounded in bytes: a reader that takes its time holds up its own connection
//! and nobody else's. Positions are committed over a second connection, made with the first commit.

mod commits;
mod options;
mod position;
mod task;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

pub(super) use position::{Gap, Position as PlaceInLog, Stage};

pub use options::{DeliveryMode, OutOfRange, Partitions, SubscriberOptions};

use super::connection::PushedBatch;
use super::error::ClientError;
use super::record::{BatchReader, Record, RecordView};
use crate::types::{Offset, PartitionIndex, TopicName};
use commits::Commits;
use task::{Item, Places, Task};

/// The records of a topic, those of each partition in their order.
pub struct Subscriber {
    topic: TopicName,
    items: mpsc::UnboundedReceiver<Item>,
    /// The batches being read, and the room they take until they are.
    current: Option<(BatchReader, PushedBatch)>,
    /// Up to where batches were read, by partition.
    places: Places,
    commits: Arc<Commits>,
    skipped: Arc<AtomicU64>,
    has_ended: bool,
}

impl Subscriber {
    /// Connects and finds where to start; when it returns, the place of every partition is settled.
    ///
    /// # Errors
    /// [`ClientError::InvalidOptions`], [`ClientError::Refused`] for a topic or partition that does not exist,
    /// [`ClientError::RecordsGone`] where the start is no longer kept and the policy is to fail, and what
    /// [`super::Client::connect`] may meet.
    pub async fn subscribe(options: SubscriberOptions, topic: &str) -> Result<Subscriber, ClientError> {
        options.check()?;
        let topic = TopicName::new(topic).map_err(|error| ClientError::InvalidOptions(error.to_string()))?;
        let (sender, items) = mpsc::unbounded_channel();
        let (started, has_started) = oneshot::channel();
        let commits = Arc::new(Commits::new(topic.clone(), &options));
        let skipped = Arc::new(AtomicU64::new(0));
        let (shared, counter) = (Arc::clone(&commits), Arc::clone(&skipped));
        tokio::spawn(Task::new(options, topic.clone(), sender, shared, counter, started, Instant::now()).run());
        match has_started.await {
            Ok(Ok(places)) => {
                Ok(Subscriber { topic, items, current: None, places, commits, skipped, has_ended: false })
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(ClientError::Ended { what: "subscriber" }),
        }
    }

    /// The next record, waiting for it. A lost connection is no error: it is made anew. An error is the last item: the
    /// topic is gone, records are no longer kept and the policy is to fail, or what came cannot be read.
    pub async fn next(&mut self) -> Option<Result<Record, ClientError>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// As [`Subscriber::next`], but the record is shown where it lies: that takes less time for each, where many are looked
    /// at and few are kept.
    pub async fn next_view(&mut self) -> Option<Result<RecordView<'_>, ClientError>> {
        match std::future::poll_fn(|cx| self.poll_ready(cx)).await? {
            Ok(()) => self.view(),
            Err(error) => Some(Err(error)),
        }
    }

    /// As [`Subscriber::next_view`] where a record is there already; `None` where there is none yet as well.
    pub fn try_next_view(&mut self) -> Option<Result<RecordView<'_>, ClientError>> {
        loop {
            match self.advance() {
                Ok(true) => return self.view(),
                Ok(false) if self.has_ended => return None,
                Ok(false) => {}
                Err(error) => return Some(Err(error)),
            }
            let item = self.items.try_recv().ok()?;
            if let Err(error) = self.take(item) {
                return Some(Err(error));
            }
        }
    }

    /// The record that is ready.
    #[inline(always)]
    fn view(&mut self) -> Option<Result<RecordView<'_>, ClientError>> {
        let record = self.current.as_mut().and_then(|(reader, _)| reader.view());
        self.has_ended |= matches!(record, Some(Err(_)));
        record
    }

    /// Waits until a record is ready.
    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<(), ClientError>>> {
        loop {
            match self.advance() {
                Ok(true) => return Poll::Ready(Some(Ok(()))),
                Ok(false) if self.has_ended => return Poll::Ready(None),
                Ok(false) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            match ready!(self.items.poll_recv(cx)) {
                Some(item) => {
                    if let Err(error) = self.take(item) {
                        return Poll::Ready(Some(Err(error)));
                    }
                }
                None => self.has_ended = true,
            }
        }
    }

    /// Makes the next record of the batches being read ready, where there is one.
    #[inline]
    fn advance(&mut self) -> Result<bool, ClientError> {
        let Some((reader, _)) = self.current.as_mut().filter(|_| !self.has_ended) else { return Ok(false) };
        let is_ready = reader.advance().inspect_err(|_| self.has_ended = true)?;
        if !is_ready {
            let (partition, next) = reader.place();
            self.places.insert(partition, next);
            self.current = None;
        }
        Ok(is_ready)
    }

    fn take(&mut self, item: Item) -> Result<(), ClientError> {
        match item {
            Item::Batches(partition, from, pushed) => {
                let batches = pushed.frame.body.clone();
                self.places.entry(partition).or_insert(from);
                self.current = Some((BatchReader::new(self.topic.clone(), partition, batches, from), pushed));
                Ok(())
            }
            Item::Failed(error) => {
                self.has_ended = true;
                Err(error)
            }
        }
    }

    /// Keeps the position after this record under the client id, and waits until the broker has it. The position never
    /// moves back; where it stands now is returned.
    ///
    /// # Errors
    /// [`ClientError::InvalidOptions`] without a client id; [`ClientError::Refused`], and what every call may meet when
    /// it has been tried for `request_timeout`.
    pub async fn commit(&self, record: &Record) -> Result<Offset, ClientError> {
        self.commits.commit(record.partition, record.offset.plus(1)).await
    }

    /// Keeps the position after this record, some time within `commit_interval`; of a partition's the highest counts.
    /// What fails is tried again; [`Subscriber::close`] waits for it.
    pub fn commit_async(&self, record: &Record) {
        self.commits.note(record.partition, record.offset.plus(1));
    }

    /// How many offsets were passed over because their records were no longer kept.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    /// Where it stands in a partition: the next offset there that it has not passed. It passes records of a batch as they
    /// are handed out, and the batch's end when more is asked for. `None` for a partition that it does not read, or has read
    /// nothing of and learned of only later.
    #[must_use]
    pub fn position(&self, partition: PartitionIndex) -> Option<Offset> {
        let reading = self.current.as_ref().map(|(reader, _)| reader.place());
        let reading = reading.filter(|(read, _)| *read == partition).map(|(_, next)| next);
        reading.or_else(|| self.places.get(&partition).copied())
    }

    /// The partitions it is known to read, in their order.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionIndex> {
        self.places.keys().copied()
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// Sends the positions not yet kept, and closes the connections.
    ///
    /// # Errors
    /// As [`Subscriber::commit`].
    pub async fn close(mut self) -> Result<(), ClientError> {
        self.items.close();
        self.commits.commit_pending().await
    }
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl Stream for Subscriber {
    type Item = Result<Record, ClientError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        match ready!(this.poll_ready(cx)) {
            Some(Ok(())) => {}
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            None => return Poll::Ready(None),
        }
        let record = this.current.as_mut().and_then(|(reader, _)| reader.record());
        this.has_ended |= matches!(record, Some(Err(_)));
        Poll::Ready(record)
    }
}

#[cfg(test)]
mod tests;
