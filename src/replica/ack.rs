//! Acknowledgements: what a publisher asks for, and how it is told.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::Arc;

use super::error::PartitionClosed;
use crate::types::{Epoch, Offset};

/// What must have happened to a batch before its publisher is answered (`wiber.ack`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckLevel {
    /// Nothing: no answer is sent.
    None,
    /// It is written: handed to the operating system, survives `kill -9`.
    Leader,
    /// It is fsynced, in a cluster on a majority: survives power loss.
    Durable,
}

/// A batch that has what its publisher asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acked {
    /// The offset of its first record.
    pub base_offset: Offset,
    /// The epoch that wrote it.
    pub epoch: Epoch,
}

/// Why a batch that was appended is not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AckFailure {
    /// The device is full; it was not written. Retriable.
    #[error("the device is full; publish again once there is room")]
    StorageFull,
    /// The file system failed: whether it survives is uncertain, and the partition takes no more.
    #[error("the partition stopped accepting writes: {0}")]
    StorageFailed(Arc<str>),
    /// A new leader took it back.
    #[error("another leader took over before it was committed")]
    Truncated,
    /// The partition is no more.
    #[error(transparent)]
    Closed(#[from] PartitionClosed),
}

/// The answer to one append.
#[derive(Debug)]
pub struct Completion {
    /// The number the waiter came with.
    pub token: u64,
    /// What became of the batch.
    pub outcome: Result<Acked, AckFailure>,
}

/// Receives the answers to appends, in the order of their offsets. Called by whichever thread finished the work, outside
/// every lock of the partition; must not block.
pub trait AckSink: Send + Sync + Debug {
    /// Takes answers. They are due before anything that the appended records make readable.
    fn complete(&self, completions: &mut dyn Iterator<Item = Completion>);
}

/// Who waits for an append.
#[derive(Debug, Clone)]
pub struct Waiter {
    /// Where the answer goes.
    pub sink: Arc<dyn AckSink>,
    /// The number it carries.
    pub token: u64,
}

/// Waiters of one level, in the order of the offsets they wait for.
#[derive(Debug, Default)]
pub(crate) struct AckQueue {
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
pub(crate) struct Waiting {
    end: Offset,
    acked: Acked,
    waiter: Waiter,
}

impl AckQueue {
    /// Waits until everything before `end` has what it needs.
    pub(crate) fn push(&mut self, end: Offset, acked: Acked, waiter: Waiter) {
        let waiting = Waiting { end, acked, waiter };
        // A repeated batch waits for an offset that lies before those of later batches.
        let place = self.waiting.partition_point(|earlier| earlier.end <= end);
        self.waiting.insert(place, waiting);
    }

    /// Takes the waiters whose need ends at or before `reached`.
    pub(crate) fn take_to(&mut self, reached: Offset) -> Vec<Waiting> {
        let count = self.waiting.partition_point(|waiting| waiting.end <= reached);
        self.waiting.drain(..count).collect()
    }

    /// Takes the waiters whose need reaches beyond `end`.
    pub(crate) fn take_beyond(&mut self, end: Offset) -> Vec<Waiting> {
        let count = self.waiting.partition_point(|waiting| waiting.end <= end);
        self.waiting.drain(count..).collect()
    }
}

/// Answers waiters, those that share a sink together. The outcome is success unless a failure is given.
pub(crate) fn answer(waiting: Vec<Waiting>, failure: Option<&AckFailure>) {
    let mut waiting = waiting.into_iter().peekable();
    while let Some(first) = waiting.next() {
        let sink = Arc::clone(&first.waiter.sink);
        let mut next = Some(first);
        let mut together = std::iter::from_fn(|| {
            let Waiting { acked, waiter, .. } = next.take()?;
            next = waiting.next_if(|following| Arc::ptr_eq(&following.waiter.sink, &sink));
            let outcome = failure.map_or(Ok(acked), |failure| Err(failure.clone()));
            Some(Completion { token: waiter.token, outcome })
        });
        sink.complete(&mut together);
        together.for_each(drop);
    }
}
