//! Reading a whole topic: all its partitions, also those that are added later.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use tokio::sync::watch;

use super::LinesListener;
use crate::broker::TopicHandle;
use crate::listener::incoming::TURN_BYTES;
use crate::listener::memory::Loan;
use crate::listener::reading::{Beside, bytes_of, read};
use crate::record::Batch;
use crate::replica::{Partition, PartitionClosed, ReadFailure};
use crate::types::{Offset, PartitionIndex, TopicId, TopicName};

/// Bytes of batches read at a time.
pub(super) const READ_BYTES: usize = 256 << 10;
/// Lines are handed over in pieces of about this size, in bytes.
pub(super) const PIECE_BYTES: usize = 64 << 10;
/// Memory for a piece of lines, if it is not one large record.
pub(super) const MAKING_BYTES: usize = 2 * PIECE_BYTES;

/// Where to go on in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) from: Offset,
    /// Bytes that the record there is made into, where there was no memory for it.
    pub(super) bytes: usize,
}

impl From<Offset> for Next {
    fn from(from: Offset) -> Next {
        Next { from, bytes: 0 }
    }
}

/// A topic's partitions, and where to go on in each.
#[derive(Debug)]
pub(super) struct Feed {
    listener: Arc<LinesListener>,
    topic: TopicName,
    topic_id: TopicId,
    parts: Vec<Part>,
    /// The partition that is looked at first.
    first: usize,
    changes: watch::Receiver<u64>,
    /// What the partitions were given to wake. It goes with the feed: it holds its task's memory.
    waker: Option<Waker>,
}

#[derive(Debug)]
pub(super) struct Part {
    pub(super) partition: Arc<Partition>,
    pub(super) next: Next,
}

/// Batches that were read, and memory for them and for what is made of them.
#[derive(Debug)]
pub(super) struct Ahead {
    pub(super) batches: Vec<Batch>,
    _loan: Loan,
    pub(super) making: Loan,
}

impl Drop for Feed {
    fn drop(&mut self) {
        if let Some(waker) = &self.waker {
            self.parts.iter().for_each(|part| part.partition.forget_reader(waker));
        }
    }
}

impl Feed {
    /// A topic from these offsets on.
    pub(super) fn new(
        listener: &Arc<LinesListener>,
        topic: &TopicHandle,
        from: impl Fn(&Arc<Partition>) -> Offset,
    ) -> Feed {
        let part = |partition: &Arc<Partition>| Part { partition: Arc::clone(partition), next: from(partition).into() };
        let mut feed = Feed {
            listener: Arc::clone(listener),
            topic: topic.topic().name.clone(),
            topic_id: topic.topic().id,
            parts: topic.open_partitions().map(part).collect(),
            first: 0,
            changes: listener.topic_changes.subscribe(),
            waker: None,
        };
        // What was added since the topic was looked up is announced no more.
        feed.changes.mark_changed();
        feed
    }

    pub(super) fn part(&mut self, index: usize) -> &mut Part {
        &mut self.parts[index]
    }

    /// The part of this partition.
    pub(super) fn part_of(&mut self, index: PartitionIndex) -> Option<&mut Part> {
        self.parts.iter_mut().find(|part| part.partition.name().partition == index)
    }

    /// The partition of this number.
    pub(super) fn partition(&self, index: PartitionIndex) -> Option<&Arc<Partition>> {
        self.parts.iter().map(|part| &part.partition).find(|partition| partition.name().partition == index)
    }

    /// Waits until a partition has records to be read; which one. Loses nothing where it is dropped.
    pub(super) async fn readable(&mut self) -> Result<usize, PartitionClosed> {
        loop {
            let ready = tokio::select! {
                biased;
                _ = self.changes.changed() => None,
                ready = Feed::any_readable(&self.parts, self.first, &mut self.waker) => Some(ready),
            };
            match ready {
                Some(ready) => {
                    let index = ready?;
                    // The others have their turn before this one has another.
                    self.first = index + 1;
                    return Ok(index);
                }
                None => self.add_partitions()?,
            }
        }
    }

    async fn any_readable(parts: &[Part], first: usize, waker: &mut Option<Waker>) -> Result<usize, PartitionClosed> {
        poll_fn(|context| {
            if !waker.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
                *waker = Some(context.waker().clone());
            }
            for step in 0..parts.len() {
                let index = (first + step) % parts.len();
                let Part { partition, next } = &parts[index];
                if let Poll::Ready(ready) = partition.poll_readable(next.from, context.waker()) {
                    return Poll::Ready(ready.map(|()| index));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Takes in partitions that were added, from their beginning.
    fn add_partitions(&mut self) -> Result<(), PartitionClosed> {
        self.changes.mark_unchanged();
        let deleted = || PartitionClosed::TopicDeleted { topic: self.topic.clone() };
        let handle = self.listener.broker.topic(&self.topic).map_err(|_| deleted())?;
        if handle.topic().id != self.topic_id {
            return Err(deleted());
        }
        for partition in handle.open_partitions() {
            if !self.parts.iter().any(|part| part.partition.name() == partition.name()) {
                let from = partition.offsets().log_start();
                self.parts.push(Part { partition: Arc::clone(partition), next: from.into() });
            }
        }
        Ok(())
    }

    /// The next batches of a partition that is readable, and memory for what is made of them. Where retention was faster,
    /// it moves on.
    pub(super) async fn read(&mut self, index: usize) -> Result<Ahead, ReadFailure> {
        let part = &mut self.parts[index];
        loop {
            match read_ahead(&self.listener, &part.partition, part.next, READ_BYTES).await {
                Err(ReadFailure::OutOfRange { log_start, .. }) if log_start > part.next.from => {
                    part.next = log_start.into();
                }
                other => return other,
            }
        }
    }
}

/// Batches from the one that holds a record on, and memory for them and for what is made of them.
pub(super) async fn read_ahead(
    listener: &LinesListener,
    partition: &Arc<Partition>,
    next: Next,
    bytes_max: usize,
) -> Result<Ahead, ReadFailure> {
    let memory = &listener.outgoing_memory;
    let beside = match next.bytes {
        0 => Beside::Helps(MAKING_BYTES),
        bytes => Beside::Needed(MAKING_BYTES + bytes),
    };
    let (batches, mut loan) = read(memory, partition, next.from, bytes_max.min(memory.share()), beside).await?;
    let bytes = bytes_of(&batches);
    if bytes >= TURN_BYTES {
        // One who catches up never waits by itself.
        tokio::task::yield_now().await;
    }
    let batches_loan = loan.split(bytes);
    Ok(Ahead { batches, _loan: batches_loan, making: loan })
}
