//! Ids for idempotent producers: unique for ever, because a block of them is reserved in `__meta` before the first one is
//! given out. What is left of a block when the broker ends is never used.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::Broker;
use super::error::BrokerError;
use super::metadata::{AllocateProducerIds, Command};
use super::settling::Asked;
use crate::types::{ProducerId, Timestamp};

/// Ids reserved at once.
const BLOCK: i64 = 1_000;
/// Callers that may wait for one block.
const WAITING_MAX: usize = 10_000;

type Reply = Box<dyn FnOnce(Result<ProducerId, BrokerError>) + Send>;

/// The ids that are reserved and free, and who waits for the next block.
#[derive(Default)]
pub(crate) struct ProducerIds {
    free: Range<i64>,
    waiting: VecDeque<Reply>,
    /// The command for a block is on its way.
    is_asking: bool,
}

impl fmt::Debug for ProducerIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ProducerIds { free, waiting, is_asking } = self;
        write!(f, "ProducerIds {{ free: {free:?}, waiting: {}, is_asking: {is_asking} }}", waiting.len())
    }
}

impl ProducerIds {
    fn next(&mut self) -> Option<ProducerId> {
        self.free.next().and_then(ProducerId::new)
    }
}

impl Broker {
    /// A producer id that nobody ever had or will have. The reply comes at once, or when the next block of ids is
    /// durable: all callers meanwhile wait for the same one.
    pub fn allocate_producer_id(
        self: &Arc<Self>,
        now: Timestamp,
        reply: impl FnOnce(Result<ProducerId, BrokerError>) + Send + 'static,
    ) {
        let mut ids = self.producer_ids.lock();
        if let Some(id) = ids.next() {
            drop(ids);
            return reply(Ok(id));
        }
        if ids.waiting.len() >= WAITING_MAX {
            drop(ids);
            return reply(Err(BrokerError::Overloaded));
        }
        ids.waiting.push_back(Box::new(reply));
        if !std::mem::replace(&mut ids.is_asking, true) {
            drop(ids);
            self.reserve_producer_ids(now);
        }
    }

    fn reserve_producer_ids(self: &Arc<Self>, now: Timestamp) {
        let next = self.meta.lock().metadata.next_producer_id().checked_add(BLOCK);
        match next {
            Some(next) => {
                let command = Command::AllocateProducerIds(AllocateProducerIds { next });
                self.append_command(command, None, now, Asked::ProducerIds);
            }
            None => self.refuse_producer_ids(&BrokerError::StorageFailed("the producer ids are used up".into())),
        }
    }

    /// A block is durable: everybody who waits gets one, and where it does not do for all another one is asked for.
    pub(crate) fn give_producer_ids(self: &Arc<Self>, block: Range<i64>, now: Timestamp) {
        let mut given = Vec::new();
        let mut ids = self.producer_ids.lock();
        ids.free = block;
        while !ids.waiting.is_empty()
            && let Some(id) = ids.next()
        {
            given.extend(ids.waiting.pop_front().map(|reply| (reply, id)));
        }
        ids.is_asking = !ids.waiting.is_empty();
        let asks_again = ids.is_asking;
        drop(ids);
        given.into_iter().for_each(|(reply, id)| reply(Ok(id)));
        if asks_again {
            self.reserve_producer_ids(now);
        }
    }

    /// No block: everybody who waits is told why. The next caller tries again.
    pub(crate) fn refuse_producer_ids(&self, error: &BrokerError) {
        let waiting = {
            let mut ids = self.producer_ids.lock();
            ids.is_asking = false;
            std::mem::take(&mut ids.waiting)
        };
        waiting.into_iter().for_each(|reply| reply(Err(error.clone())));
    }
}
