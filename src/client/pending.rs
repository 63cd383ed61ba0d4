//! Requests whose replies have not come, by their number.

use std::collections::{BTreeMap, VecDeque};

use tokio::sync::{mpsc, oneshot};

use super::connection::Route;
use super::error::ClientError;
use super::receipts::Ticket;
use crate::protocol::native::Frame;

/// A request whose reply has not come.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) reply: ReplyTo,
    /// Where the records go once the reply says success.
    pub(super) route: Option<Box<Route>>,
    /// The bytes that a publish takes of the window until it is answered.
    pub(super) window_bytes: Option<u32>,
}

/// Where a reply goes. Where the connection ends before, what it would have gone to is dropped.
#[derive(Debug)]
pub(super) enum ReplyTo {
    /// To whoever waits for this one.
    Waiter(oneshot::Sender<Result<Frame, ClientError>>),
    /// To a queue, with a token that says which request it answers.
    Queue(mpsc::UnboundedSender<Answer>, u64),
    /// To whoever published a record.
    Publisher(Ticket),
}

/// The token of what answers no request.
pub(super) const UNASKED: u64 = 0;

/// A reply in a queue.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) token: u64,
    pub(super) result: Result<Frame, ClientError>,
}

/// Places in the row of those under way: more than a broker takes of one connection.
const ROW_MAX: usize = 1 << 16;

/// Requests under way. Replies come nearly in the order of the requests, so these stand in a row.
#[derive(Debug)]
pub(super) struct Pendings {
    row: VecDeque<Option<Pending>>,
    /// The number of the row's first.
    first: u64,
    /// Those that were overtaken by a whole row.
    late: BTreeMap<u64, Pending>,
    count: usize,
}

impl Default for Pendings {
    fn default() -> Pendings {
        Pendings { row: VecDeque::new(), first: 1, late: BTreeMap::new(), count: 0 }
    }
}

impl Pendings {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The number of the next request.
    pub(super) fn next_number(&self) -> u64 {
        self.first + self.row.len() as u64
    }

    /// Takes the next request, or leaves its number to one that will not be answered.
    pub(super) fn push(&mut self, pending: Option<Pending>) {
        self.count += usize::from(pending.is_some());
        self.row.push_back(pending);
        if self.row.len() > ROW_MAX
            && let Some(late) = self.row.pop_front().flatten()
        {
            self.late.insert(self.first, late);
            self.first += 1;
        }
        self.tidy();
    }

    /// Takes out the request of a number.
    pub(super) fn take(&mut self, number: u64) -> Option<Pending> {
        let pending = match number.checked_sub(self.first) {
            Some(at) => self.row.get_mut(usize::try_from(at).ok()?)?.take()?,
            None => self.late.remove(&number)?,
        };
        self.count -= 1;
        self.tidy();
        Some(pending)
    }

    /// Takes out the publish of a number, with the bytes it takes of the window.
    pub(super) fn take_publish(&mut self, number: u64) -> Result<Option<(Ticket, u32)>, ClientError> {
        match self.take(number) {
            None => Ok(None),
            Some(Pending { reply: ReplyTo::Publisher(ticket), window_bytes, .. }) => {
                Ok(Some((ticket, window_bytes.unwrap_or(0))))
            }
            Some(_) => Err(ClientError::Protocol("the reply to a publish came for another request".to_owned())),
        }
    }

    fn tidy(&mut self) {
        while self.row.pop_front_if(|place| place.is_none()).is_some() {
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending() -> Pending {
        let (waiter, _) = oneshot::channel();
        Pending { reply: ReplyTo::Waiter(waiter), route: None, window_bytes: None }
    }

    #[test]
    fn each_is_found_once_in_any_order() {
        let mut pendings = Pendings::default();
        for number in 1..=6 {
            assert_eq!(pendings.next_number(), number);
            pendings.push((number != 3).then(pending));
        }
        for (number, is_there) in [(2, true), (2, false), (3, false), (1, true), (6, true), (9, false), (4, true)] {
            assert_eq!(pendings.take(number).is_some(), is_there, "{number}");
        }
        assert!(!pendings.is_empty() && pendings.take(5).is_some() && pendings.is_empty());
        assert_eq!((pendings.next_number(), pendings.row.len()), (7, 0));
    }

    #[test]
    fn one_that_is_never_answered_makes_no_row_without_end() {
        let mut pendings = Pendings::default();
        pendings.push(Some(pending()));
        for number in 2..3 * ROW_MAX as u64 {
            pendings.push(Some(pending()));
            assert!(pendings.take(number).is_some());
        }
        assert!(pendings.row.len() <= ROW_MAX);
        assert!(pendings.take(1).is_some() && pendings.is_empty());
    }
}
