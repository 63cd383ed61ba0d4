//! What became of a record: one shared place per batch, an index in it per record.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::client::{ClientError, Position};
use crate::types::{Offset, PartitionIndex};

/// What becomes of a batch.
#[derive(Debug, Default)]
pub(super) struct Outcome(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    result: Option<Result<Stored, ClientError>>,
    wakers: Vec<Waker>,
}

/// Where a batch was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) partition: PartitionIndex,
    /// The offset of its first record.
    pub(super) base: Offset,
}

impl Outcome {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what became of the batch, to all who wait.
    pub(super) fn resolve(&self, result: Result<Stored, ClientError>) {
        let mut state = self.lock();
        debug_assert!(state.result.is_none(), "a batch ends once");
        state.result = Some(result);
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
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
        self.outcome.lock().result.as_ref().map(|result| self.of_record(result))
    }

    fn of_record(&self, result: &Result<Stored, ClientError>) -> Result<Position, ClientError> {
        let stored = result.as_ref().map_err(ClientError::clone)?;
        Ok(Position { partition: stored.partition, offset: stored.base.plus(self.index.into()) })
    }
}

impl Future for Delivery {
    type Output = Result<Position, ClientError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mut state = this.outcome.lock();
        if let Some(result) = &state.result {
            return Poll::Ready(this.of_record(result));
        }
        match this.waker {
            Some(at) => state.wakers[at].clone_from(cx.waker()),
            None => {
                this.waker = Some(state.wakers.len());
                state.wakers.push(cx.waker().clone());
            }
        }
        Poll::Pending
    }
}
