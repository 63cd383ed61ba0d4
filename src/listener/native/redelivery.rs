//! An at-least-once subscription at work: records go out as far as there is room, and again where no acknowledgement
//! comes in time.

use std::collections::BTreeSet;
use std::time::Duration;

use super::push::{Ahead, Choice, Ended, Pause, Pushing};
use super::subscription::Acknowledging;
use crate::broker::delivery::UNACKED_RECORDS_MAX;
use crate::replica::ReadFailure;
use crate::types::Offset;

/// Once there is no room, sending goes on when this many records at most are unacknowledged.
const RESUME_AT: usize = UNACKED_RECORDS_MAX / 2;

/// Pushes records from `from` on until the subscription ends.
pub(super) async fn push(pushing: &Pushing, from: Offset, shared: &Acknowledging) {
    let mut next = Pause { from, bytes: 0 };
    // How large the record is for which too much is unacknowledged.
    let mut too_large: Option<u64> = None;
    loop {
        let ended = tokio::select! {
            due = due(pushing, shared) => resend(pushing, shared, &due).await.map_err(Ended::from),
            () = room(shared, too_large.unwrap_or(0)), if too_large.is_some() => {
                too_large = None;
                Ok(())
            }
            ahead = pushing.batches(&mut next, true), if too_large.is_none() => match ahead {
                Ok(ahead) => {
                    too_large = send_new(pushing, shared, ahead, &mut next).await;
                    Ok(())
                }
                Err(failure) => Err(failure),
            },
        };
        if let Err(ended) = ended {
            return pushing.end(&ended);
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
/// too much is unacknowledged for it.
async fn send_new(pushing: &Pushing, shared: &Acknowledging, mut ahead: Ahead<'_>, next: &mut Pause) -> Option<u64> {
    let Ahead { batches, making, .. } = &mut ahead;
    for batch in batches {
        let now = pushing.listener.now();
        let mut too_large = None;
        if !batch.header().attributes.is_control() {
            let sending = pushing.send_anew(batch, next.from, making, |offset, bytes| {
                let mut sent = shared.sent.lock();
                if !sent.has_room(bytes) {
                    too_large = Some((offset, bytes));
                    return Choice::Stop;
                }
                sent.sent(offset, bytes, now);
                Choice::Send
            });
            if let Some(pause) = sending.rest(pushing, making).await {
                *next = pause;
                return None;
            }
        }
        if let Some((offset, bytes)) = too_large {
            *next = Pause { from: offset, bytes: 0 };
            return Some(bytes);
        }
        let behind = batch.header().next_offset();
        let advanced = shared.sent.lock().skipped(behind);
        shared.keep(advanced, &pushing.listener);
        *next = Pause { from: behind, bytes: 0 };
    }
    None
}

/// Sends records again, in the order of the log; those that retention took meanwhile are done with.
async fn resend(pushing: &Pushing, shared: &Acknowledging, due: &[Offset]) -> Result<(), ReadFailure> {
    let (mut rest, mut bytes) = (due, 0);
    while let Some(&first) = rest.first() {
        let gone_before = match pushing.read_again(&Pause { from: first, bytes }).await {
            Ok(mut ahead) if !ahead.batches.is_empty() => {
                let done;
                (done, bytes) = resend_of(pushing, shared, &mut ahead, rest).await;
                rest = &rest[done..];
                continue;
            }
            Ok(_) => first.plus(1),
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

/// Sends those of the first batch again. Returns how many of them are done with, and how large the next one is made where
/// there was no memory for it.
async fn resend_of(pushing: &Pushing, shared: &Acknowledging, ahead: &mut Ahead<'_>, due: &[Offset]) -> (usize, usize) {
    let Ahead { batches, making, .. } = ahead;
    let (Some(batch), Some(&first)) = (batches.first(), due.first()) else { return (0, 0) };
    let behind = batch.header().next_offset();
    let due = &due[..due.partition_point(|offset| *offset < behind)];
    let mut found = BTreeSet::new();
    let sending = pushing.send_records(batch, first, making, |offset, _| {
        // It may have been acknowledged since it was found due.
        let is_due = due.binary_search(&offset).is_ok();
        if is_due {
            found.insert(offset);
        }
        if is_due && shared.sent.lock().attempts(offset).is_some() { Choice::Send } else { Choice::Skip }
    });
    let pause = sending.rest(pushing, making).await;
    let done = pause.map_or(due.len(), |pause| due.partition_point(|offset| *offset < pause.from));
    // What the log does not hold any more is done with.
    for &offset in due[..done].iter().filter(|offset| !found.contains(offset)) {
        let advanced = shared.sent.lock().acked(offset);
        shared.keep(advanced, &pushing.listener);
    }
    (done, pause.map_or(0, |pause| pause.bytes))
}
