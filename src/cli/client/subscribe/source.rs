//! Where records come from: a reader for a partition or for all of them, and what is committed of what was printed.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;

use super::start::Start;
use crate::cli::client::failure::Failure;
use crate::client::{
    Client, ClientError, ClientOptions, DeliveryMode, MergeOptions, Merged, Offset, OffsetsQuery, PartitionIndex,
    Partitions, Record, StartAt, Subscriber, SubscriberOptions, Timestamp,
};

/// The readers of one command.
#[derive(Debug)]
pub(super) struct Source {
    topic: String,
    place: String,
    readers: Readers,
    commits: bool,
    /// The last record printed of each partition since the last commit, and its reader.
    printed: BTreeMap<PartitionIndex, Record>,
}

#[derive(Debug)]
enum Readers {
    /// One for everything, unless each partition has a start of its own; `turn` is to be asked first.
    Each { readers: Vec<Subscriber>, turn: usize },
    /// All in the order in which their records were published.
    Ordered(Box<Merged>),
}

impl Source {
    /// Finds where to start and subscribes.
    pub(super) async fn open(
        client: &Client,
        options: &ClientOptions,
        topic: &str,
        partition: Option<PartitionIndex>,
        start: Start,
        max_wait: Option<Duration>,
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
        let readers = match max_wait {
            Some(max_wait) => {
                let options = MergeOptions { max_wait, ..MergeOptions::default() };
                Readers::Ordered(Box::new(Merged::of_all(readers, options)))
            }
            None => Readers::Each { readers, turn: 0 },
        };
        Ok(Source { topic: topic.to_owned(), place, readers, commits, printed: BTreeMap::new() })
    }

    /// What is read, and from where.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// The next record, waiting for it; `None` where nothing comes any more.
    pub(super) async fn next(&mut self) -> Option<Result<Record, ClientError>> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next record where it is there already.
    pub(super) async fn try_next(&mut self) -> Option<Result<Record, ClientError>> {
        std::future::poll_fn(|cx| match self.poll_next(cx) {
            Poll::Ready(next) => Poll::Ready(next),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Record, ClientError>>> {
        let (readers, turn) = match &mut self.readers {
            Readers::Each { readers, turn } => (readers, turn),
            Readers::Ordered(merged) => return Pin::new(merged).poll_next(cx),
        };
        let count = readers.len();
        let mut has_ended = true;
        for step in 0..count {
            let reader = (*turn + step) % count;
            match Pin::new(&mut readers[reader]).poll_next(cx) {
                Poll::Ready(Some(record)) => {
                    *turn = (reader + 1) % count;
                    return Poll::Ready(Some(record));
                }
                Poll::Ready(None) => {}
                Poll::Pending => has_ended = false,
            }
        }
        if has_ended { Poll::Ready(None) } else { Poll::Pending }
    }

    /// Notes that a record was printed.
    pub(super) fn printed(&mut self, record: Record) {
        if self.commits {
            self.printed.insert(record.partition, record);
        }
    }

    /// Commits what was printed: the output has it.
    pub(super) fn commit_printed(&mut self) {
        for record in std::mem::take(&mut self.printed).into_values() {
            match &self.readers {
                Readers::Each { readers, .. } => {
                    let reader = readers.iter().find(|reader| reader.position(record.partition).is_some());
                    reader.into_iter().for_each(|reader| reader.commit_async(&record));
                }
                Readers::Ordered(merged) => merged.commit_async(&record),
            }
        }
    }

    /// Where each partition that is read comes to the first record of a time; to its end where all are older.
    pub(super) async fn ends(
        &self,
        client: &Client,
        time: Timestamp,
    ) -> Result<BTreeMap<PartitionIndex, Offset>, Failure> {
        let partitions: Vec<PartitionIndex> = match &self.readers {
            Readers::Each { readers, .. } => readers.iter().flat_map(Subscriber::partitions).collect(),
            Readers::Ordered(merged) => merged.partitions().collect(),
        };
        let mut ends = BTreeMap::new();
        for partition in partitions {
            let query = OffsetsQuery { time: Some(time), ..OffsetsQuery::default() };
            let offsets = client.list_offsets(&self.topic, partition, &query).await;
            let offsets = offsets.map_err(|source| self.failed(source))?;
            ends.insert(partition, offsets.at_time.unwrap_or(offsets.high_watermark));
        }
        Ok(ends)
    }

    /// Where it stands in a partition.
    pub(super) fn position(&self, partition: PartitionIndex) -> Option<Offset> {
        match &self.readers {
            Readers::Each { readers, .. } => readers.iter().find_map(|reader| reader.position(partition)),
            Readers::Ordered(merged) => merged.position(partition),
        }
    }

    /// How many records came too late to be in order.
    pub(super) fn late(&self) -> u64 {
        match &self.readers {
            Readers::Each { .. } => 0,
            Readers::Ordered(merged) => merged.late(),
        }
    }

    /// Ends reading, and waits until everything committed is kept.
    pub(super) async fn close(self) -> Result<(), Failure> {
        let topic = self.topic;
        let failed = |source| Failure::Request { doing: format!("keep the position in topic '{topic}'"), source };
        match self.readers {
            Readers::Each { readers, .. } => {
                for reader in readers {
                    reader.close().await.map_err(failed)?;
                }
                Ok(())
            }
            Readers::Ordered(merged) => merged.close().await.map_err(failed),
        }
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
