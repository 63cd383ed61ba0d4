//! Message ids: a record published again under its id, within a window, is not stored again.
//!
//! A publish with an id claims it first; whoever repeats it meanwhile waits until the claim is settled. A known id says
//! where its record got its offset and in which epoch, and is believed only where the partition still holds that very
//! record ([`Partition::wait_for`]): a record that was numbered and then taken back, on a full disk or by another leader,
//! makes its id unknown, whenever that happens and whoever is told. So a repeat is never answered with success for
//! what is not stored.
//!
//! What is known is derived from the logs. After a start the first publish with an id to a topic reads that topic's
//! records of the last window back ([`LoadTask`]); publishes without ids never wait for that. The time of a record is
//! there its publisher's: one whose clock is behind by more than the window is not recognized across a restart.
//!
//! Memory is bounded, over all topics together: at a limit the oldest ids are forgotten early, with a warning.
//!
//! [`Partition::wait_for`]: crate::replica::Partition::wait_for

mod index;
mod load;

use std::sync::Arc;
use std::task::{Poll, Waker};

use parking_lot::Mutex;

use crate::replica::Ticket;
use crate::types::{Offset, PartitionIndex, Timestamp};
pub use index::KnownRecord;
use index::{ClaimNumber, Found, Index, IndexLimits, TopicNumber};
pub use load::LoadTask;
use load::Loading;

/// The header that holds a record's id.
pub const ID_HEADER: &str = "wiber.id";
/// The longest id, in bytes.
pub const ID_BYTES_MAX: usize = 255;
/// Most ids remembered, over all topics.
pub const IDS_MAX: usize = 1_000_000;
/// Most memory that ids may take, over all topics, in bytes, about.
pub const IDS_TOTAL_BYTES_MAX: usize = 256 << 20;

/// Ids whose window is over that go at one claim: two leave for one that comes.
const EXPIRED_PER_CLAIM: usize = 2;
/// Ids that go while the lock is held once.
const EXPIRED_PER_STEP: usize = 1_024;
/// Milliseconds between two warnings that ids are forgotten early.
const WARNING_INTERVAL_MS: i64 = 60_000;

/// The message ids of a broker.
#[derive(Debug)]
pub(crate) struct MessageIds {
    state: Mutex<State>,
    window_ms: i64,
}

#[derive(Debug)]
struct State {
    index: Index,
    /// Forgotten early since the last warning.
    forgotten: usize,
    warned_at: Option<Timestamp>,
}

/// The message ids of one topic. A topic created anew under the same name has others.
#[derive(Debug)]
pub struct TopicIds {
    ids: Arc<MessageIds>,
    topic: TopicNumber,
    loading: Loading,
}

/// What a publish that carries an id may do.
#[derive(Debug)]
pub enum Claim {
    /// Publish: the id is new.
    Fresh(Reservation),
    /// Answer as the first publish of the id was: its record is here.
    Known(KnownRecord),
    /// Wait: another publish has the id and is not settled.
    UnderWay,
    /// Load the ids first: [`TopicHandle::load_ids`](crate::broker::TopicHandle::load_ids).
    NotLoaded,
}

/// A claimed id. Dropped unsettled, it releases the id.
#[derive(Debug)]
pub struct Reservation {
    topic: Arc<TopicIds>,
    id: Arc<str>,
    claim: ClaimNumber,
    is_settled: bool,
}

impl MessageIds {
    /// Remembers ids for `window_ms` milliseconds; `None` for no time at all.
    pub(crate) fn new(window_ms: i64) -> Option<Arc<MessageIds>> {
        let limits = IndexLimits { ids_max: IDS_MAX, bytes_max: IDS_TOTAL_BYTES_MAX, window_ms };
        (window_ms > 0).then(|| MessageIds::with_limits(limits))
    }

    fn with_limits(limits: IndexLimits) -> Arc<MessageIds> {
        let state = State { index: Index::new(limits), forgotten: 0, warned_at: None };
        Arc::new(MessageIds { state: Mutex::new(state), window_ms: limits.window_ms })
    }

    /// The ids of a topic that has just been created: there are none.
    pub(crate) fn of_new_topic(self: &Arc<Self>) -> Arc<TopicIds> {
        self.topic(Loading::done())
    }

    /// The ids of a topic that was there before: to be loaded when first asked for.
    pub(crate) fn of_old_topic(self: &Arc<Self>) -> Arc<TopicIds> {
        self.topic(Loading::default())
    }

    fn topic(self: &Arc<Self>, loading: Loading) -> Arc<TopicIds> {
        let topic = self.state.lock().index.add_topic();
        Arc::new(TopicIds { ids: Arc::clone(self), topic, loading })
    }

    /// Forgets ids whose window is over.
    pub(crate) fn step(&self, now: Timestamp) {
        while !self.state.lock().index.expire(now, EXPIRED_PER_STEP) {}
    }
}

impl TopicIds {
    /// Claims an id, which must not be longer than [`ID_BYTES_MAX`].
    #[must_use]
    pub fn claim(self: &Arc<Self>, id: &str, now: Timestamp) -> Claim {
        if !self.loading.is_done() {
            return Claim::NotLoaded;
        }
        let mut state = self.ids.state.lock();
        state.index.expire(now, EXPIRED_PER_CLAIM);
        let found = state.index.claim(self.topic, id, now);
        state.keep_limits(now);
        drop(state);
        match found {
            Found::Fresh(id, claim) => {
                Claim::Fresh(Reservation { topic: Arc::clone(self), id, claim, is_settled: false })
            }
            Found::Known(record) => Claim::Known(record),
            Found::UnderWay => Claim::UnderWay,
        }
    }

    /// Ready once nobody has the id under way; the waker is called when that may be so.
    pub fn poll_settled(&self, id: &str, waker: &Waker) -> Poll<()> {
        self.ids.state.lock().index.poll_settled(self.topic, id, waker)
    }

    /// Ready once the ids are loaded, or somebody must load them; the waker is called when that may be so.
    pub fn poll_loaded(&self, waker: &Waker) -> Poll<()> {
        self.loading.poll(waker)
    }

    /// Forgets an id whose record is gone.
    pub fn forget(&self, id: &str, gone: KnownRecord) {
        self.ids.state.lock().index.forget(self.topic, id, gone);
    }
}

impl Drop for TopicIds {
    fn drop(&mut self) {
        let removed = self.ids.state.lock().index.remove_topic(self.topic);
        drop(removed);
    }
}

impl Reservation {
    /// The record was appended, as the one of this number, from 0, of a batch.
    pub fn settle(mut self, partition: PartitionIndex, batch: &Ticket, number: u32, now: Timestamp) {
        self.is_settled = true;
        let offset: Offset = batch.base_offset.plus(number.into());
        let record = KnownRecord { partition, offset, epoch: batch.epoch };
        let mut state = self.topic.ids.state.lock();
        let waiting = state.index.settle(self.topic.topic, &self.id, self.claim, record, now);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.is_settled {
            let waiting = self.topic.ids.state.lock().index.release(self.topic.topic, &self.id, self.claim);
            waiting.into_iter().for_each(Waker::wake);
        }
    }
}

impl State {
    fn keep_limits(&mut self, now: Timestamp) {
        self.forgotten += self.index.keep_limits();
        let is_quiet = self.warned_at.is_some_and(|at| now.since(at) < WARNING_INTERVAL_MS);
        if self.forgotten > 0 && !is_quiet {
            let (forgotten, remembered) = (self.forgotten, self.index.len());
            tracing::warn!(
                forgotten,
                remembered,
                "message ids are forgotten before topics.dedup_window is over: too many"
            );
            (self.forgotten, self.warned_at) = (0, Some(now));
        }
    }
}
