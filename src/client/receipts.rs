//! Where publishers of single records hear of them: places in rows, so that a record costs no allocation of its own, and
//! whoever waits is woken once for all results that came together.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use super::error::ClientError;
use super::publish::Position;

/// Places of a row: a receipt that is kept keeps so many.
const ROW: usize = 32;

/// Gives out places, in order.
#[derive(Debug)]
pub(super) struct Receipts {
    row: Arc<Row>,
    given: usize,
}

#[derive(Debug)]
struct Row {
    places: [OnceLock<Landing>; ROW],
    /// Who waits, and for which place.
    wakers: Mutex<Vec<(usize, Waker)>>,
    /// How long to wait for a reply.
    patience: Duration,
    /// Why the connection ended.
    end: Arc<OnceLock<String>>,
}

/// What became of a record.
#[derive(Debug)]
pub(super) enum Landing {
    Stored(Position),
    Failed(Box<ClientError>),
    /// The connection ended before the reply.
    Lost,
}

/// The place of a record, for whoever hears of it first. Where it is dropped, the record is lost.
#[derive(Debug)]
pub(super) struct Ticket {
    row: Arc<Row>,
    place: usize,
}

/// The place of a record, for whoever published it.
#[derive(Debug)]
pub(super) struct Receipt {
    row: Arc<Row>,
    place: usize,
}

impl Receipts {
    pub(super) fn new(patience: Duration, end: Arc<OnceLock<String>>) -> Receipts {
        Receipts { row: Arc::new(Row::new(patience, end)), given: 0 }
    }

    /// The next place, to both sides.
    pub(super) fn next(&mut self) -> (Ticket, Receipt) {
        if self.given == ROW {
            *self = Receipts::new(self.row.patience, Arc::clone(&self.row.end));
        }
        let place = self.given;
        self.given += 1;
        (Ticket { row: Arc::clone(&self.row), place }, Receipt { row: Arc::clone(&self.row), place })
    }
}

/// Says what became of records, and wakes those who wait for them.
pub(super) fn land(landings: &mut Vec<(Ticket, Landing)>) {
    let mut touched: Option<Arc<Row>> = None;
    for (ticket, landing) in landings.drain(..) {
        ticket.set(landing);
        // Mostly the next is of the same row.
        if touched.as_ref().is_none_or(|row| !Arc::ptr_eq(row, &ticket.row))
            && let Some(row) = touched.replace(Arc::clone(&ticket.row))
        {
            row.wake();
        }
    }
    if let Some(row) = touched {
        row.wake();
    }
}

impl Row {
    fn new(patience: Duration, end: Arc<OnceLock<String>>) -> Row {
        let places = std::array::from_fn(|_| OnceLock::new());
        Row { places, wakers: Mutex::default(), patience, end }
    }

    fn wakers(&self) -> MutexGuard<'_, Vec<(usize, Waker)>> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes those whose place has a result.
    fn wake(&self) {
        // Results are there before this lock is taken, and looked for under it before anybody waits.
        let mut wakers = self.wakers();
        if wakers.is_empty() {
            return;
        }
        let ready: Vec<_> = wakers.extract_if(.., |(place, _)| self.places[*place].get().is_some()).collect();
        drop(wakers);
        ready.into_iter().for_each(|(_, waker)| waker.wake());
    }
}

impl Ticket {
    /// Without waking anybody.
    fn set(&self, landing: Landing) {
        let is_first = self.row.places[self.place].set(landing).is_ok();
        debug_assert!(is_first, "a record lands once");
    }
}

impl Drop for Ticket {
    /// Nobody waits for ever.
    fn drop(&mut self) {
        if self.row.places[self.place].get().is_none() {
            self.set(Landing::Lost);
            self.row.wake();
        }
    }
}

impl Receipt {
    pub(super) fn patience(&self) -> Duration {
        self.row.patience
    }

    /// The result where it is there already.
    pub(super) fn try_result(&self) -> Option<Result<Position, ClientError>> {
        Some(match self.row.places[self.place].get()? {
            Landing::Stored(position) => Ok(*position),
            Landing::Failed(error) => Err(ClientError::clone(error)),
            Landing::Lost => Err(ClientError::closed(&self.row.end)),
        })
    }

    /// The result, or else the waker is called when it is there; it takes the place of the one before.
    pub(super) fn poll(&self, waker: &Waker) -> Poll<Result<Position, ClientError>> {
        if let Some(result) = self.try_result() {
            return Poll::Ready(result);
        }
        let mut wakers = self.row.wakers();
        if let Some(result) = self.try_result() {
            return Poll::Ready(result);
        }
        match wakers.iter_mut().find(|(place, _)| *place == self.place) {
            Some((_, before)) => before.clone_from(waker),
            None => wakers.push((self.place, waker.clone())),
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Wake;

    use super::*;
    use crate::types::{Offset, PartitionIndex};

    #[derive(Default)]
    struct Woken(AtomicU32);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn receipts() -> Receipts {
        let end = OnceLock::from("the end".to_owned());
        Receipts::new(Duration::from_secs(1), Arc::new(end))
    }

    fn stored(offset: u64) -> Landing {
        Landing::Stored(Position { partition: PartitionIndex(0), offset: Offset::new(offset).expect("small") })
    }

    fn offset(receipt: &Receipt) -> Option<u64> {
        receipt.try_result().map(|result| result.expect("stored").offset.get())
    }

    #[test]
    fn each_hears_of_its_own_in_any_order() {
        let mut receipts = receipts();
        let (tickets, places): (Vec<_>, Vec<_>) = (0..3 * ROW as u64).map(|_| receipts.next()).unzip();
        let mut landings: Vec<_> =
            tickets.into_iter().zip(0..).map(|(ticket, offset)| (ticket, stored(offset))).collect();
        landings.reverse();
        let mut rest = landings.split_off(ROW / 2);
        for later in [&mut landings, &mut rest] {
            land(later);
            let is_all = places.iter().all(|place| offset(place).is_some());
            assert_eq!(is_all, offset(&places[0]).is_some());
        }
        assert!(places.iter().zip(0..).all(|(place, expected)| offset(place) == Some(expected)));
    }

    #[test]
    fn those_whose_result_came_are_woken_and_no_others() {
        let mut receipts = receipts();
        let ((first, first_place), (second, second_place)) = (receipts.next(), receipts.next());
        let counts = [Arc::new(Woken::default()), Arc::new(Woken::default()), Arc::new(Woken::default())];
        let [early, waker, other] = counts.clone().map(Waker::from);
        assert!(first_place.poll(&early).is_pending() && first_place.poll(&waker).is_pending());
        assert!(second_place.poll(&other).is_pending());
        land(&mut vec![(first, stored(7))]);
        assert_eq!(counts.each_ref().map(|count| count.0.load(Ordering::Relaxed)), [0, 1, 0]);
        assert!(matches!(first_place.poll(&waker), Poll::Ready(Ok(position)) if position.offset.get() == 7));
        land(&mut vec![(second, Landing::Failed(Box::new(ClientError::InvalidOptions("x".to_owned()))))]);
        assert_eq!(counts.each_ref().map(|count| count.0.load(Ordering::Relaxed)), [0, 1, 1]);
        assert!(matches!(second_place.poll(&other), Poll::Ready(Err(ClientError::InvalidOptions(_)))));
    }

    #[test]
    fn what_is_dropped_is_lost_and_says_why() {
        let mut receipts = receipts();
        let (ticket, place) = receipts.next();
        let count = Arc::new(Woken::default());
        assert!(place.poll(&Waker::from(Arc::clone(&count))).is_pending());
        drop(ticket);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        let lost = place.try_result().expect("a result").expect_err("lost");
        assert!(matches!(&lost, ClientError::Closed { reason } if reason == "the end"), "{lost}");
        let (ticket, place) = receipts.next();
        drop(place);
        land(&mut vec![(ticket, stored(1))]);
    }
}
