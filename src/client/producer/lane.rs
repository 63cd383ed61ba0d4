//! The way of one partition's batches to the broker: what is under way, what goes again, under which sequence.
//!
//! A state machine without socket or clock.
//!
//! ```text
//!             sent                    stored: through
//!  gathered ---------> under way -------------------------------------------->
//!      again --------^     |  refused, retriable or for a predecessor's sake, or the connection was lost
//!        ^-----------------'          refused for good: through
//! ```
//!
//! Order. A batch is stored only where its sequence follows its predecessor's, so of those under way none overtakes
//! another. After a refusal nothing new is sent until all under way are answered; then what is not through goes again,
//! in order, before anything new. The first batch under an identity or over a new connection goes alone, since a broker
//! that does not know the producer takes any sequence.
//!
//! Doubt. A batch whose attempt was never answered goes again under the same sequence, never under another: stored or
//! not, the broker knows. Where the sequence no longer fits (a predecessor failed, or the broker lost what it knew of
//! us), batches that are in no doubt go under a new identity, and those in doubt fail.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::batch::{Batch, Ended};
use super::delivery::Stored;
use crate::client::ClientError;
use crate::client::chance::{Backoff, Chance};
use crate::protocol::native::ErrorCode;
use crate::record::ProducerStamp;
use crate::types::{ProducerEpoch, ProducerId, Sequence};

/// Under which name batches are numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) id: ProducerId,
    pub(super) epoch: ProducerEpoch,
}

/// One partition's batches on their way.
#[derive(Debug)]
pub(super) struct Lane {
    /// Batches under way at most.
    flights_max: usize,
    /// `None` for a producer that is not idempotent.
    identity: Option<Identity>,
    /// Of the next batch that is numbered.
    next: Sequence,
    /// How many were numbered so far.
    numbered: u64,
    /// What follows the last batch stored, and which that was.
    expected: Sequence,
    stored_id: Option<u64>,
    /// To be sent before anything new, in order.
    again: VecDeque<Batch>,
    flights: VecDeque<Flight>,
    /// Whether a batch was stored under this identity over this connection.
    is_proven: bool,
    /// Whether one was refused and the others' answers are waited for.
    is_settling: bool,
    wants_identity: bool,
    rest_until: Option<Instant>,
    backoff: Backoff,
    last_error: Option<ClientError>,
}

/// A batch under way.
#[derive(Debug)]
struct Flight {
    token: u64,
    sent: Instant,
    batch: Batch,
    refusal: Option<ClientError>,
}

/// What a refusal means for the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Again,
    /// Its sequence does not fit.
    Sequence,
    Failed,
}

impl Lane {
    pub(super) fn new(identity: Option<Identity>, flights_max: usize, backoff: Backoff) -> Lane {
        Lane {
            flights_max,
            identity,
            next: Sequence::FIRST,
            numbered: 0,
            expected: Sequence::FIRST,
            stored_id: None,
            again: VecDeque::new(),
            flights: VecDeque::new(),
            is_proven: false,
            is_settling: false,
            wants_identity: false,
            rest_until: None,
            backoff,
            last_error: None,
        }
    }

    /// Whether a batch may be sent now.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        let flights_max = if self.is_proven { self.flights_max } else { 1 };
        !self.is_settling
            && !self.wants_identity
            && self.flights.len() < flights_max
            && self.is_remembered(flights_max as u64)
            && self.rest_until.is_none_or(|until| until <= now)
    }

    /// Whether the broker will still know the oldest batch under way after one more: answers may overtake one another.
    fn is_remembered(&self, flights_max: u64) -> bool {
        let next = self.again.front().filter(|batch| batch.stamp.is_some()).map_or(self.numbered, |batch| batch.place);
        self.flights.front().is_none_or(|oldest| next - oldest.batch.place < flights_max)
    }

    /// Until when it rests after a refusal.
    pub(super) fn rest_until(&self) -> Option<Instant> {
        self.rest_until
    }

    /// Whether nothing can go on before there is a new identity.
    pub(super) fn wants_identity(&self) -> bool {
        self.wants_identity
    }

    /// Goes on under another identity, with sequences from the first on.
    pub(super) fn set_identity(&mut self, identity: Identity) {
        debug_assert!(self.flights.is_empty() && self.again.iter().all(|batch| !batch.is_in_doubt));
        self.identity = Some(identity);
        self.wants_identity = false;
        self.is_proven = false;
        self.expected = Sequence::FIRST;
        self.renumber();
    }

    /// The next batch that goes again.
    pub(super) fn next_again(&mut self) -> Option<Batch> {
        self.again.pop_front()
    }

    /// Back to the front: it could not be sent after all.
    pub(super) fn put_back(&mut self, batch: Batch) {
        self.again.push_front(batch);
    }

    /// Gives a batch its place in the sequence, unless it has one.
    pub(super) fn number(&mut self, batch: &mut Batch) {
        if let Some(identity) = self.identity
            && batch.stamp.is_none()
        {
            batch.stamp =
                Some(ProducerStamp { id: identity.id, epoch: identity.epoch, base_sequence: Some(self.next) });
            self.next = self.next.plus(batch.records_count());
            batch.place = self.numbered;
            self.numbered += 1;
        }
    }

    /// Takes the number back of the batch numbered last.
    pub(super) fn take_back_number(&mut self, batch: &Batch) {
        if let Some(base) = batch.stamp.and_then(|stamp| stamp.base_sequence) {
            self.next = base;
            self.numbered -= 1;
        }
    }

    /// Takes a numbered batch that was sent.
    pub(super) fn sent(&mut self, batch: Batch, token: u64, now: Instant) {
        self.rest_until = None;
        self.flights.push_back(Flight { token, sent: now, batch, refusal: None });
    }

    /// Takes an answer. An answer to what is not under way is ignored.
    pub(super) fn answered(
        &mut self,
        token: u64,
        result: Result<Stored, ClientError>,
        now: Instant,
        chance: &mut Chance,
        ended: &mut Vec<Ended>,
    ) {
        let Some(at) = self.flights.iter().position(|flight| flight.token == token) else {
            return;
        };
        match result {
            Ok(stored) => self.stored(at, stored, ended),
            Err(error) => {
                let flight = &mut self.flights[at];
                flight.batch.is_in_doubt |= error.is_in_doubt();
                flight.refusal = Some(error);
                self.is_settling = true;
            }
        }
        if self.is_settling && self.flights.iter().all(|flight| flight.refusal.is_some()) {
            self.settle(now, chance, ended);
        }
    }

    fn stored(&mut self, at: usize, stored: Stored, ended: &mut Vec<Ended>) {
        let Some(flight) = self.flights.remove(at) else { return };
        let batch = flight.batch;
        if self.stored_id.is_none_or(|id| id < batch.id) {
            self.stored_id = Some(batch.id);
            if let Some(base) = batch.stamp.and_then(|stamp| stamp.base_sequence) {
                self.expected = base.plus(batch.records_count());
            }
        }
        ended.push(Ended { batch, result: Ok(stored) });
        self.is_proven = true;
        self.backoff.reset();
        self.fail_overtaken(at, ended);
    }

    /// Fails those of the first `end` flights that were refused: they can no longer come before the one that was stored.
    /// Unless an earlier attempt was never answered: then that one was taken, since otherwise its successor would not
    /// have been, and the next attempt is told where it is.
    fn fail_overtaken(&mut self, end: usize, ended: &mut Vec<Ended>) {
        let later = self.flights.split_off(end);
        for mut flight in std::mem::replace(&mut self.flights, later).into_iter().rev() {
            match flight.refusal.take_if(|_| !flight.batch.is_in_doubt) {
                Some(error) => ended.push(Ended { batch: flight.batch, result: Err(error) }),
                None => self.flights.push_front(flight),
            }
        }
        self.is_settling &= self.flights.iter().any(|flight| flight.refusal.is_some());
    }

    /// All under way were refused: decides what goes again, and how.
    fn settle(&mut self, now: Instant, chance: &mut Chance, ended: &mut Vec<Ended>) {
        self.is_settling = false;
        let (mut kept, mut failed, mut failed_in_doubt) = (VecDeque::new(), false, false);
        let mut misplaced = None;
        let mut rests = false;
        for flight in std::mem::take(&mut self.flights) {
            let (batch, error) = (flight.batch, flight.refusal.unwrap_or(ClientError::Ended { what: "producer" }));
            let is_first = kept.is_empty() && !failed;
            self.last_error = Some(error.clone());
            match meaning(&error) {
                Meaning::Again => {
                    rests = true;
                    kept.push_back(batch);
                }
                Meaning::Sequence => {
                    // Behind one that was refused no sequence can fit; the first says that ours is wrong.
                    if is_first {
                        misplaced = Some(error);
                    }
                    kept.push_back(batch);
                }
                Meaning::Failed => {
                    failed = true;
                    failed_in_doubt |= batch.is_in_doubt;
                    ended.push(Ended { batch, result: Err(error) });
                }
            }
        }
        kept.append(&mut self.again);
        self.again = kept;
        if let Some(error) = misplaced {
            self.leave_identity(&error, ended);
        } else if failed && !failed_in_doubt && self.again.iter().all(|batch| !batch.is_in_doubt) {
            self.renumber();
        }
        if rests {
            self.rest_until = Some(now + self.backoff.next(chance));
        }
    }

    /// The sequence cannot be continued: what is in doubt fails, the rest waits for a new identity.
    fn leave_identity(&mut self, error: &ClientError, ended: &mut Vec<Ended>) {
        self.wants_identity = self.identity.is_some();
        let (doubtful, sure): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.again).into_iter().partition(|batch| batch.is_in_doubt);
        self.again = sure;
        ended.extend(doubtful.into_iter().map(|batch| Ended { batch, result: Err(error.clone()) }));
    }

    /// Numbers what goes again anew, from what the broker expects on.
    fn renumber(&mut self) {
        self.next = self.expected;
        for batch in &mut self.again {
            batch.stamp = None;
        }
    }

    /// The connection is gone: everything under way goes again, in its order.
    pub(super) fn lost(&mut self, error: &ClientError) {
        self.last_error = Some(error.clone());
        self.is_settling = false;
        self.is_proven = false;
        let mut again: VecDeque<Batch> = std::mem::take(&mut self.flights)
            .into_iter()
            .map(|mut flight| {
                flight.batch.is_in_doubt |= flight.refusal.is_none();
                flight.batch
            })
            .collect();
        again.append(&mut self.again);
        self.again = again;
    }

    /// Gives up what has been tried for too long.
    pub(super) fn expire(&mut self, now: Instant, delivery_timeout: Duration, ended: &mut Vec<Ended>) {
        let (mut expired, mut in_doubt) = (false, false);
        while let Some(batch) = self.again.pop_front_if(|batch| batch.created + delivery_timeout <= now) {
            expired = true;
            in_doubt |= batch.is_in_doubt;
            let error = undelivered(&batch, delivery_timeout, self.last_error.as_ref());
            ended.push(Ended { batch, result: Err(error) });
        }
        let is_sure = !in_doubt && self.flights.is_empty() && self.again.iter().all(|batch| !batch.is_in_doubt);
        if expired && is_sure && !self.wants_identity {
            self.renumber();
        }
    }

    /// Whether a batch under way has waited for its answer for too long.
    pub(super) fn is_overdue(&self, now: Instant, request_timeout: Duration, delivery_timeout: Duration) -> bool {
        self.flights.iter().any(|flight| {
            flight.refusal.is_none()
                && (flight.sent + request_timeout <= now || flight.batch.created + delivery_timeout <= now)
        })
    }

    /// Gives up everything.
    pub(super) fn abandon(&mut self, error: &ClientError, ended: &mut Vec<Ended>) {
        self.lost(error);
        let batches = std::mem::take(&mut self.again);
        ended.extend(batches.into_iter().map(|batch| Ended { batch, result: Err(error.clone()) }));
    }

    /// The last thing that went wrong.
    pub(super) fn last_error(&self) -> Option<&ClientError> {
        self.last_error.as_ref()
    }
}

/// Why a batch that was tried for too long failed.
pub(super) fn undelivered(batch: &Batch, after: Duration, last: Option<&ClientError>) -> ClientError {
    let last = last.cloned().map(Box::new);
    ClientError::Undelivered { after, is_in_doubt: batch.is_in_doubt, last }
}

fn meaning(error: &ClientError) -> Meaning {
    match error.code() {
        Some(ErrorCode::OutOfOrderSequence | ErrorCode::StaleProducerEpoch) => Meaning::Sequence,
        _ if error.is_retriable() => Meaning::Again,
        _ => Meaning::Failed,
    }
}
