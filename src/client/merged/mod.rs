//! Reading all partitions of a topic in the order in which their records were published.
//!
//! A [`Subscriber`] hands out the records of each partition in their order; how those of several partitions lie between
//! each other is chance. [`Merged`] puts them in the order of their stamps ([`crate::types::Stamp`]; the timestamp where
//! there is none). Since nobody tells whether an empty partition is about to get a record, a record waits a while for
//! those that may belong before it: [`MergeOptions::max_wait`]. One that comes even later is handed out at once, and
//! counted. Nothing is lost and nothing doubled in any case.

mod merge;

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::error::ClientError;
use super::record::Record;
use super::subscriber::Subscriber;
use crate::types::{Offset, PartitionIndex};
use merge::Merge;

/// Records taken in at once at most.
const TAKEN_IN_MAX: usize = 256;
/// What a record that is held takes beside its parts, in bytes.
const RECORD_BYTES: usize = 200;

/// How records of several partitions are put in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MergeOptions {
    /// How long a record waits for those of other partitions that may belong before it.
    pub max_wait: Duration,
    /// Bytes of records that are held at most; with more than that they wait no longer.
    pub buffer_bytes: usize,
}

impl Default for MergeOptions {
    /// 200 ms and 16 MiB.
    fn default() -> MergeOptions {
        MergeOptions { max_wait: Duration::from_millis(200), buffer_bytes: 16 << 20 }
    }
}

/// The records of a topic in the order in which they were published, as far as they come in time.
pub struct Merged {
    readers: Vec<Subscriber>,
    /// The reader to be asked first.
    turn: usize,
    merge: Merge<Record>,
    timer: Pin<Box<Sleep>>,
    /// What ended a reader, until it is told.
    failure: Option<ClientError>,
    has_ended: bool,
}

/// What is left to be taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// There may be more already.
    HasMore,
    /// More may come.
    IsDry,
    /// Nothing comes any more, or a reader failed.
    Ended,
}

impl Merged {
    /// Puts in order what a subscriber reads.
    #[must_use]
    pub fn new(subscriber: Subscriber, options: MergeOptions) -> Merged {
        Merged::of_all(vec![subscriber], options)
    }

    /// Puts in order what several subscribers read, each its own partitions of one topic.
    #[must_use]
    pub fn of_all(subscribers: Vec<Subscriber>, options: MergeOptions) -> Merged {
        let partitions: Vec<_> = subscribers.iter().flat_map(Subscriber::partitions).collect();
        Merged {
            readers: subscribers,
            turn: 0,
            merge: Merge::new(options.max_wait, options.buffer_bytes.max(1), partitions),
            timer: Box::pin(sleep_until(Instant::now())),
            failure: None,
            has_ended: false,
        }
    }

    /// The next record, waiting for it. An error is the last item, after everything that came before it.
    pub async fn next(&mut self) -> Option<Result<Record, ClientError>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// How many records came after one that was published later had been handed out.
    #[must_use]
    pub fn late(&self) -> u64 {
        self.merge.late()
    }

    /// How many records were handed out without waiting any longer for a partition that was behind. While there is none,
    /// all that was handed out is in order.
    #[must_use]
    pub fn unsure(&self) -> u64 {
        self.merge.unsure()
    }

    /// As [`Subscriber::commit_async`].
    pub fn commit_async(&self, record: &Record) {
        if let Some(reader) = self.reader_of(record.partition) {
            reader.commit_async(record);
        }
    }

    /// As [`Subscriber::commit`].
    ///
    /// # Errors
    /// As [`Subscriber::commit`].
    pub async fn commit(&self, record: &Record) -> Result<Offset, ClientError> {
        match self.reader_of(record.partition) {
            Some(reader) => reader.commit(record).await,
            None => Err(ClientError::Ended { what: "subscriber" }),
        }
    }

    /// Where it stands in a partition: before the next record to be handed out.
    #[must_use]
    pub fn position(&self, partition: PartitionIndex) -> Option<Offset> {
        let held = self.merge.front(partition).map(|record| record.offset);
        held.or_else(|| self.reader_of(partition)?.position(partition))
    }

    /// The partitions it reads, in no order.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionIndex> {
        self.readers.iter().flat_map(Subscriber::partitions)
    }

    /// As [`Subscriber::close`].
    ///
    /// # Errors
    /// As [`Subscriber::close`].
    pub async fn close(self) -> Result<(), ClientError> {
        for reader in self.readers {
            reader.close().await?;
        }
        Ok(())
    }

    fn reader_of(&self, partition: PartitionIndex) -> Option<&Subscriber> {
        self.readers.iter().find(|reader| reader.position(partition).is_some())
    }

    fn take_in(&mut self, cx: &mut Context<'_>) -> Source {
        let mut taken = 0;
        loop {
            if self.failure.is_some() {
                return Source::Ended;
            }
            if taken == TAKEN_IN_MAX || !self.merge.has_room() {
                return Source::HasMore;
            }
            let count = self.readers.len();
            let (mut has_ended, mut has_come) = (true, false);
            for step in 0..count {
                let reader = (self.turn + step) % count;
                match Pin::new(&mut self.readers[reader]).poll_next(cx) {
                    Poll::Ready(Some(Ok(record))) => {
                        self.turn = (reader + 1) % count;
                        let (partition, stamp, bytes) = (record.partition, record.order(), bytes_of(&record));
                        self.merge.push(partition, stamp, bytes, record, Instant::now());
                        (has_come, has_ended) = (true, false);
                        break;
                    }
                    Poll::Ready(Some(Err(error))) => self.failure = Some(error),
                    Poll::Ready(None) => {}
                    Poll::Pending => has_ended = false,
                }
            }
            if !has_come {
                return if has_ended { Source::Ended } else { Source::IsDry };
            }
            taken += 1;
        }
    }
}

fn bytes_of(record: &Record) -> usize {
    let length = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map_or(0, bytes::Bytes::len);
    let headers = record.headers.iter().map(|header| header.key.len() + length(&header.value) + size_of_val(header));
    RECORD_BYTES + length(&record.key) + length(&record.value) + headers.sum::<usize>()
}

impl fmt::Debug for Merged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Merged").field("readers", &self.readers).finish_non_exhaustive()
    }
}

impl Stream for Merged {
    type Item = Result<Record, ClientError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if this.has_ended {
                return Poll::Ready(None);
            }
            let source = this.take_in(cx);
            let is_over = source == Source::Ended;
            let next = if is_over { this.merge.pop_rest() } else { this.merge.pop(Instant::now()) };
            match (next, source) {
                (Some(record), _) => return Poll::Ready(Some(Ok(record))),
                (None, Source::HasMore) => continue,
                (None, Source::IsDry) => {}
                (None, Source::Ended) => {
                    this.has_ended = true;
                    return Poll::Ready(this.failure.take().map(Err));
                }
            }
            let Some(due) = this.merge.due() else { return Poll::Pending };
            this.timer.as_mut().reset(due);
            if this.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}
