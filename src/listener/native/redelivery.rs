//! An at-least-once subscription at work: records go out as far as there is room, and again where no acknowledgement
//! comes in time.

use std::collections::BTreeSet;
use std::time::Duration;

use super::memory::Loan;
use super::push::{Ahead, Choice, Pushing, Rest};
use super::subscription::Acknowledging;
use crate::broker::delivery::UNACKED_RECORDS_MAX;
use crate::record::Batch;
use crate::replica::ReadFailure;
use crate::types::Offset;

/// Bytes read to find a record that is to be sent again: its batch, however large, is always among them.
const RESEND_READ_BYTES: usize = 1;
/// Once there is no room, sending goes on when this many records at most are unacknowledged.
const RESUME_AT: usize = UNACKED_RECORDS_MAX / 2;

/// Pushes records from `from` on until the subscription ends.
pub(super) async fn push(pushing: &Pushing, from: Offset, shared: &Acknowledging) {
    let mut next = from;
    // How large the record is for which there was no room.
    let mut too_large: Option<u64> = None;
    // How much memory the next record needs beyond what reading takes.
    let mut need = 0;
    loop {
        let ended = tokio::select! {
            due = due(pushing, shared) => resend(pushing, shared, &due).await,
            () = room(shared, too_large.unwrap_or(0)), if too_large.is_some() => {
                too_large = None;
                Ok(())
            }
            ahead = pushing.batches(&mut next, need), if too_large.is_none() => match ahead {
                Ok(ahead) => {
                    (too_large, need) = send_new(pushing, shared, ahead, &mut next).await;
                    Ok(())
                }
                Err(failure) => Err(failure),
            },
        };
        if let Err(failure) = ended {
            return pushing.end(&failure);
        }
    }
}

/// Waits until records are to be sent again, and takes them.
async fn due(pushing: &Pushing, shared: &Acknowledging) -> Vec<Offset> {
    loop {
        let now = pushing.listener.now();
        let (due, next) = {
            let mut sent = shared.sent.lock();
            (sent.take_due(now), sent.next_deadline())
        };
        if !due.is_empty() {
            return due;
        }
        match next {
            Some(deadline) => {
                let wait = u64::try_from(deadline.millis() - now.millis()).unwrap_or(0).max(1);
                tokio::time::sleep(Duration::from_millis(wait)).await;
            }
            // The first record sent will bring us back here: it ends the wait of the other branch.
            None => std::future::pending().await,
        }
    }
}

/// Waits until enough is acknowledged for sending to go on with a record of this many bytes.
async fn room(shared: &Acknowledging, bytes: u64) {
    let has_room = || {
        let sent = shared.sent.lock();
        sent.len() <= RESUME_AT && sent.has_room(bytes)
    };
    while !has_room() {
        shared.changed.notified().await;
    }
}

/// Sends records for the first time while there is room. `next` is then the first one not sent. Returns its bytes where
/// there was no room for it, and how much memory it needs where there was none.
async fn send_new(
    pushing: &Pushing,
    shared: &Acknowledging,
    mut ahead: Ahead<'_>,
    next: &mut Offset,
) -> (Option<u64>, usize) {
    let Ahead { batches, making, .. } = &mut ahead;
    for batch in batches {
        let mut from = (!batch.header().attributes.is_control()).then_some(*next);
        while let Some(first) = from {
            let now = pushing.listener.now();
            let mut too_large = None;
            let sending = pushing.send_records(batch, first, making, |offset, bytes| {
                let mut sent = shared.sent.lock();
                if !sent.has_room(bytes) {
                    too_large = Some((offset, bytes));
                    return Choice::Stop;
                }
                sent.sent(offset, bytes, now);
                Choice::Send
            });
            from = match sending.rest(pushing, making).await {
                Rest::Nothing => None,
                Rest::GoOn(from) => Some(from),
                Rest::Anew { from, need } => {
                    *next = from;
                    return (None, need);
                }
            };
            if let Some((offset, bytes)) = too_large {
                *next = offset;
                return (Some(bytes), 0);
            }
        }
        let behind = batch.header().next_offset();
        let advanced = shared.sent.lock().skipped(behind);
        shared.keep(advanced, &pushing.listener);
        *next = behind;
    }
    (None, 0)
}

/// Sends records again, in the order of the log; those that retention took meanwhile are done with.
async fn resend(pushing: &Pushing, shared: &Acknowledging, due: &[Offset]) -> Result<(), ReadFailure> {
    let (mut rest, mut need) = (due, 0);
    while let Some(&first) = rest.first() {
        let gone_before = match pushing.read(first, RESEND_READ_BYTES, need).await {
            Ok(Ahead { batches, mut making, .. }) => match batches.first() {
                Some(batch) => {
                    let behind = batch.header().next_offset();
                    let of_batch = &rest[..rest.partition_point(|offset| *offset < behind)];
                    let done;
                    (done, need) = resend_of(pushing, shared, batch, of_batch, &mut making).await;
                    rest = &rest[done..];
                    continue;
                }
                None => first.plus(1),
            },
            Err(ReadFailure::OutOfRange { log_start, .. }) => log_start.max(first.plus(1)),
            Err(failure) => return Err(failure),
        };
        let gone = &rest[..rest.partition_point(|offset| *offset < gone_before)];
        for &offset in gone {
            let advanced = shared.sent.lock().acked(offset);
            shared.keep(advanced, &pushing.listener);
        }
        rest = &rest[gone.len()..];
    }
    Ok(())
}

/// Sends those of one batch again. Returns how many of them are done with, and how much memory the next one needs where
/// there was none.
async fn resend_of(
    pushing: &Pushing,
    shared: &Acknowledging,
    batch: &Batch,
    due: &[Offset],
    making: &mut Loan,
) -> (usize, usize) {
    let mut found = BTreeSet::new();
    let mut from = due.first().copied();
    while let Some(first) = from {
        let sending = pushing.send_records(batch, first, making, |offset, _| {
            // It may have been acknowledged since it was found due.
            let is_due = due.binary_search(&offset).is_ok();
            if is_due {
                found.insert(offset);
            }
            if is_due && shared.sent.lock().attempts(offset).is_some() { Choice::Send } else { Choice::Skip }
        });
        from = match sending.rest(pushing, making).await {
            Rest::Nothing => None,
            Rest::GoOn(from) => Some(from),
            Rest::Anew { from, need } => return (due.partition_point(|offset| *offset < from), need),
        };
    }
    // What the log does not hold any more is done with.
    for &offset in due.iter().filter(|offset| !found.contains(offset)) {
        let advanced = shared.sent.lock().acked(offset);
        shared.keep(advanced, &pushing.listener);
    }
    (due.len(), 0)
}
