//! Many records handed over at once: the lock is taken once for as many as there is room for.

use std::time::Duration;

use super::append::Adding;
use super::{Gather, Missing, WaitingSender};
use crate::client::ClientError;
use crate::client::producer::deliveries::Deliveries;
use crate::client::producer::record_ref::RecordRef;

/// Records some of which were handed over already.
struct Rest<'a, T> {
    records: &'a [T],
    done: usize,
    deliveries: Deliveries,
}

impl Gather {
    /// Adds records once there is room for them and their topic's partitions are known, in their order.
    pub(in crate::client::producer) async fn send_all<'a, T>(
        &self,
        topic: &str,
        records: &'a [T],
        patience: Duration,
    ) -> Result<Deliveries, ClientError>
    where
        RecordRef<'a>: From<&'a T>,
    {
        let mut rest = Rest { records, done: 0, deliveries: Deliveries::default() };
        let mut adding = Adding::new(&self.limits, false);
        let mut has_asked = false;
        loop {
            match self.add_all(topic, &mut rest, &mut adding)? {
                None => return Ok(rest.deliveries),
                Some(Missing::Partition(error)) if has_asked => return Err(error),
                Some(Missing::Topic | Missing::Partition(_)) => {
                    Box::pin(self.learn_of(topic, patience)).await?;
                    has_asked = true;
                }
                Some(Missing::Room) => Box::pin(self.send_all_in_turn(topic, &mut rest, &mut adding)).await?,
            }
        }
    }

    /// Waits in turn for room, again and again until all are added, or the topic is lost.
    async fn send_all_in_turn<'a, T>(
        &self,
        topic: &str,
        rest: &mut Rest<'a, T>,
        adding: &mut Adding<'_>,
    ) -> Result<(), ClientError>
    where
        RecordRef<'a>: From<&'a T>,
    {
        let _waiting = WaitingSender::new(self);
        let _turn = self.turn.lock().await;
        adding.has_turn = true;
        loop {
            let room = self.room.notified();
            match self.add_all(topic, rest, adding)? {
                None | Some(Missing::Topic | Missing::Partition(_)) => break,
                Some(Missing::Room) => room.await,
            }
        }
        adding.has_turn = false;
        Ok(())
    }

    /// Adds what there is room for; returns what is missing for the next. The lock is let go of as batches become full,
    /// so that nobody waits for long.
    fn add_all<'a, T>(
        &self,
        topic: &str,
        rest: &mut Rest<'a, T>,
        adding: &mut Adding<'_>,
    ) -> Result<Option<Missing>, ClientError>
    where
        RecordRef<'a>: From<&'a T>,
    {
        adding.time = None;
        loop {
            let mut state = self.lock();
            let Some(topic) = state.find(topic)? else { return Ok(Some(Missing::Topic)) };
            let ended = loop {
                let Some(record) = rest.records.get(rest.done) else { break Some(Ok(None)) };
                let queue = match state.add(topic, &record.into(), adding) {
                    Ok(Ok(place)) => {
                        rest.deliveries.push(place.outcome, place.index);
                        place.queue
                    }
                    Ok(Err(missing)) => break Some(Ok(Some(missing))),
                    Err(error) => break Some(Err(error)),
                };
                rest.done += 1;
                let count = state.go_on((topic, queue), &rest.records[rest.done..], adding);
                rest.deliveries.extend(count);
                rest.done += count as usize;
                if adding.wakes {
                    break None;
                }
            };
            drop(state);
            if std::mem::take(&mut adding.wakes) {
                self.wake.notify_one();
            }
            if let Some(ended) = ended {
                return ended;
            }
        }
    }
}

#[cfg(test)]
mod tests;
