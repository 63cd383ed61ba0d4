//! What became of records that were handed over together.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::delivery::Outcome;
use crate::client::{ClientError, Position};

/// Records under way that were handed over together, in groups: those that went one behind the other into one batch.
/// [`Deliveries::next`] tells what became of each group; awaited itself it resolves once all are through, with the first
/// failure. Dropping it changes nothing but that nobody hears of them; [`super::Producer::flush`] still tells of a
/// failure.
#[derive(Debug, Default)]
pub struct Deliveries {
    groups: VecDeque<Group>,
    /// The place of the waker at the first group's batch.
    waker: Option<usize>,
    /// The first failure among those told while this was awaited.
    failure: Option<ClientError>,
}

/// Records one behind the other in a batch.
#[derive(Debug)]
struct Group {
    outcome: Arc<Outcome>,
    first: u32,
    count: u32,
}

/// What became of some records handed over one behind the other.
#[derive(Debug, Clone)]
pub struct Delivered {
    /// How many they are.
    pub records: u32,
    /// Where the first of them was stored; the others stand behind it.
    pub result: Result<Position, ClientError>,
}

impl Deliveries {
    /// One more record, at its place in its batch.
    #[inline]
    pub(super) fn push(&mut self, outcome: &Arc<Outcome>, place: u32) {
        match self.groups.back_mut() {
            Some(last) if Arc::ptr_eq(&last.outcome, outcome) && last.first + last.count == place => last.count += 1,
            _ => self.groups.push_back(Group { outcome: Arc::clone(outcome), first: place, count: 1 }),
        }
    }

    /// So many more records, behind the last one in its batch.
    pub(super) fn extend(&mut self, count: u32) {
        if let Some(last) = self.groups.back_mut() {
            last.count += count;
        }
    }

    /// Whether everything was told.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// What became of the next group, in the order of handing over; `None` after the last. Can be dropped and called
    /// again.
    pub async fn next(&mut self) -> Option<Delivered> {
        poll_fn(|cx| self.poll_group(cx)).await
    }

    /// What became of the next group where that is known already; `None` after the last as well.
    pub fn try_next(&mut self) -> Option<Delivered> {
        let result = self.groups.front()?.result()?;
        Some(self.told(result))
    }

    fn poll_group(&mut self, cx: &mut Context<'_>) -> Poll<Option<Delivered>> {
        let Some(group) = self.groups.front() else { return Poll::Ready(None) };
        let result = match group.result() {
            Some(result) => result,
            None => match group.outcome.wait(cx.waker(), &mut self.waker) {
                Some(result) => Outcome::of_record(result, group.first),
                None => return Poll::Pending,
            },
        };
        Poll::Ready(Some(self.told(result)))
    }

    fn told(&mut self, result: Result<Position, ClientError>) -> Delivered {
        self.waker = None;
        Delivered { records: self.groups.pop_front().map_or(0, |group| group.count), result }
    }
}

impl Group {
    fn result(&self) -> Option<Result<Position, ClientError>> {
        self.outcome.get().map(|result| Outcome::of_record(result, self.first))
    }
}

impl Future for Deliveries {
    type Output = Result<(), ClientError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match self.poll_group(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(self.failure.take().map_or(Ok(()), Err)),
                Poll::Ready(Some(Delivered { result: Ok(_), .. })) => {}
                Poll::Ready(Some(Delivered { result: Err(error), .. })) => {
                    self.failure.get_or_insert(error);
                }
            }
        }
    }
}
