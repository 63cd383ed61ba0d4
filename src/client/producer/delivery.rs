//! What became of a record: one shared place per batch, an index in it per record.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::client::{ClientError, Position};
use crate::types::{Offset, PartitionIndex};

/// What becomes of a batch.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    result: OnceLock<Result<Stored, ClientError>>,
    /// Who waits for it.
    wakers: Mutex<Vec<Waker>>,
}

/// Where a batch was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) partition: PartitionIndex,
    /// The offset of its first record.
    pub(super) base: Offset,
}

impl Outcome {
    /// Says what became of the batch, to all who wait.
    pub(super) fn resolve(&self, result: Result<Stored, ClientError>) {
        let is_first = self.result.set(result).is_ok();
        debug_assert!(is_first, "a batch ends once");
        let wakers = std::mem::take(&mut *self.wakers.lock().unwrap_or_else(PoisonError::into_inner));
        wakers.into_iter().for_each(Waker::wake);
    }

    /// What became of it, where that is known.
    pub(super) fn get(&self) -> Option<&Result<Stored, ClientError>> {
        self.result.get()
    }

    /// What became of the batch's record at a place, where this became of the batch.
    pub(super) fn of_record(result: &Result<Stored, ClientError>, index: u32) -> Result<Position, ClientError> {
        let stored = result.as_ref().map_err(ClientError::clone)?;
        Ok(Position { partition: stored.partition, offset: stored.base.plus(index.into()) })
    }

    /// Has a waker called once there is a result; `at` is its place, where it has one. Where there is a result by now,
    /// that.
    pub(super) fn wait(&self, waker: &Waker, at: &mut Option<usize>) -> Option<&Result<Stored, ClientError>> {
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        // Asked under the lock: the result comes first, and then the wakers are called.
        if let Some(result) = self.result.get() {
            return Some(result);
        }
        match *at {
            Some(at) => wakers[at].clone_from(waker),
            None => {
                *at = Some(wakers.len());
                wakers.push(waker.clone());
            }
        }
        None
    }
}

/// A record under way. Resolves to where it was stored. Dropping it changes nothing but that nobody hears of it;
/// [`super::Producer::flush`] still tells of a failure.
#[derive(Debug)]
pub struct Delivery {
    outcome: Arc<Outcome>,
    /// The record's place in its batch.
    index: u32,
    /// The place of its waker.
    waker: Option<usize>,
}

impl Delivery {
    pub(super) fn new(outcome: Arc<Outcome>, index: u32) -> Delivery {
        Delivery { outcome, index, waker: None }
    }

    /// The result where it is there already.
    #[must_use]
    pub fn try_result(&self) -> Option<Result<Position, ClientError>> {
        self.outcome.get().map(|result| Outcome::of_record(result, self.index))
    }
}

impl Future for Delivery {
    type Output = Result<Position, ClientError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let result = this.outcome.get();
        match result.or_else(|| this.outcome.wait(cx.waker(), &mut this.waker)) {
            Some(result) => Poll::Ready(Outcome::of_record(result, this.index)),
            None => Poll::Pending,
        }
    }
}
