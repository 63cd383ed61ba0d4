//! Where records come from: a reader for a partition or for all of them, and what is committed of what was printed.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::start::Start;
use crate::cli::client::failure::Failure;
use crate::client::{
    Client, ClientError, ClientOptions, DeliveryMode, Offset, OffsetsQuery, PartitionIndex, Partitions, Record,
    StartAt, Subscriber, SubscriberOptions,
};

/// The readers of one command.
#[derive(Debug)]
pub(super) struct Source {
    topic: String,
    place: String,
    /// One for everything, unless each partition has a start of its own.
    readers: Vec<Subscriber>,
    /// The reader to be asked first.
    turn: usize,
    commits: bool,
    /// The last record printed of each partition since the last commit, and its reader.
    printed: BTreeMap<PartitionIndex, (usize, Record)>,
}

impl Source {
    /// Finds where to start and subscribes.
    pub(super) async fn open(
        client: &Client,
        options: &ClientOptions,
        topic: &str,
        partition: Option<PartitionIndex>,
        start: Start,
    ) -> Result<Source, Failure> {
        let failed = |source| Failure::Request { doing: format!("read topic '{topic}'"), source };
        let mut plans = Vec::new();
        let place;
        match (partition, start_of_all(start)) {
            (Some(partition), _) => {
                let offset = offset_of(client, options, topic, partition, start).await.map_err(failed)?;
                place = format!("{topic}:{partition} from offset {offset}");
                plans.push((Partitions::Only(vec![partition]), StartAt::Offset(offset)));
            }
            (None, start_at) => {
                let description = client.describe_topic(topic).await.map_err(failed)?;
                place = format!("all {} partitions of {topic}", description.partitions.len());
                match start_at {
                    Some(start_at) => plans.push((Partitions::All, start_at)),
                    None => {
                        for partition in description.partitions.iter().map(|partition| partition.partition) {
                            let offset = offset_of(client, options, topic, partition, start).await.map_err(failed)?;
                            plans.push((Partitions::Only(vec![partition]), StartAt::Offset(offset)));
                        }
                    }
                }
            }
        }
        let commits = options.client_id.is_some();
        let mode = if commits { DeliveryMode::AtLeastOnce } else { DeliveryMode::AtMostOnce };
        let mut readers = Vec::new();
        for (partitions, start) in plans {
            let subscriber =
                SubscriberOptions { client: options.clone(), partitions, start, mode, ..SubscriberOptions::default() };
            readers.push(Subscriber::subscribe(subscriber, topic).await.map_err(failed)?);
        }
        Ok(Source { topic: topic.to_owned(), place, readers, turn: 0, commits, printed: BTreeMap::new() })
    }

    /// What is read, and from where.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// The next record and its reader, waiting for it; `None` where nothing comes any more.
    pub(super) async fn next(&mut self) -> Option<(usize, Result<Record, ClientError>)> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next record where it is there already.
    pub(super) async fn try_next(&mut self) -> Option<(usize, Result<Record, ClientError>)> {
        std::future::poll_fn(|cx| match self.poll_next(cx) {
            Poll::Ready(next) => Poll::Ready(next),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<(usize, Result<Record, ClientError>)>> {
        let count = self.readers.len();
        let mut has_ended = true;
        for step in 0..count {
            let reader = (self.turn + step) % count;
            match Pin::new(&mut self.readers[reader]).poll_next(cx) {
                Poll::Ready(Some(record)) => {
                    self.turn = (reader + 1) % count;
                    return Poll::Ready(Some((reader, record)));
                }
                Poll::Ready(None) => {}
                Poll::Pending => has_ended = false,
            }
        }
        if has_ended { Poll::Ready(None) } else { Poll::Pending }
    }

    /// Notes that a record was printed.
    pub(super) fn printed(&mut self, reader: usize, record: Record) {
        if self.commits {
            self.printed.insert(record.partition, (reader, record));
        }
    }

    /// Commits what was printed: the output has it.
    pub(super) fn commit_printed(&mut self) {
        for (reader, record) in std::mem::take(&mut self.printed).into_values() {
            self.readers[reader].commit_async(&record);
        }
    }

    /// Ends reading, and waits until everything committed is kept.
    pub(super) async fn close(self) -> Result<(), Failure> {
        let topic = self.topic;
        for reader in self.readers {
            let closed = reader.close().await;
            closed.map_err(|source| Failure::Request {
                doing: format!("keep the position in topic '{topic}'"),
                source,
            })?;
        }
        Ok(())
    }

    pub(super) fn failed(&self, source: ClientError) -> Failure {
        Failure::Request { doing: format!("read topic '{}'", self.topic), source }
    }
}

/// The start that all partitions have in common; `None` where each has its own.
fn start_of_all(start: Start) -> Option<StartAt> {
    match start {
        Start::Offset(offset) => Some(StartAt::Offset(offset)),
        Start::Begin => Some(StartAt::Begin),
        Start::End => Some(StartAt::End),
        Start::Committed => Some(StartAt::Committed),
        Start::Time(time) => Some(StartAt::Time(time)),
        Start::Last(_) => None,
    }
}

/// The offset of the first record there is or will be.
async fn offset_of(
    client: &Client,
    options: &ClientOptions,
    topic: &str,
    partition: PartitionIndex,
    start: Start,
) -> Result<Offset, ClientError> {
    let time = if let Start::Time(time) = start { Some(time) } else { None };
    let client_id = if start == Start::Committed { options.client_id.clone() } else { None };
    let offsets = client.list_offsets(topic, partition, &OffsetsQuery { client_id, time, group: None }).await?;
    let (begin, end) = (offsets.log_start, offsets.high_watermark);
    let wanted = match start {
        Start::Offset(offset) => offset,
        Start::Begin => begin,
        Start::End => end,
        Start::Committed => offsets.committed.unwrap_or(begin).min(end),
        Start::Time(_) => offsets.at_time.unwrap_or(end),
        Start::Last(count) => Offset::new(end.get().saturating_sub(count)).unwrap_or(begin),
    };
    Ok(wanted.max(begin))
}
