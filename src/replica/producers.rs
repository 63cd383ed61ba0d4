//! What one partition knows of its idempotent producers: a pure state machine over the batches it appended.
//!
//! The rules are those of Apache Kafka's `ProducerStateManager` (KIP-98): for each producer id its epoch, its last five
//! batches and the time of its last append. Two layers lie over each other. The *committed* state holds what lies below
//! the high watermark and alone goes into snapshots; the *overlay* holds what was appended since, in log order, and can
//! be cut off again. [`Producers::check`] sees both through one view per producer, so it never walks the overlay.
//!
//! Invariants:
//! 1. A producer's `latest` is its `committed` state with its overlay batches applied in order.
//! 2. With nothing of a producer in the overlay, `latest` equals `committed`.
//! 3. The overlay is sorted by offset, and all of it lies above what is committed.
//! 4. Every committed producer with nothing in the overlay stands in `by_age` under its last committed offset.
//!
//! Forgetting a producer (by age or by number) is safe for those that go on, because an unknown id is accepted at any
//! sequence; what is lost is the recognition of its last five batches should they be sent again.

mod snapshot;
mod state;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, VecDeque};

use crate::types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

pub use snapshot::{InvalidProducerSnapshot, ProducerSnapshot};
use state::{ProducerState, RecentBatch};

/// How many batches of one producer are remembered: as many as a Kafka client may have in flight.
pub const BATCHES_REMEMBERED: usize = 5;

/// Slack before the stale entries of `by_age` are swept out.
const STALE_SLACK: usize = 64;

/// How many producers a partition remembers, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerLimits {
    /// Most committed producers; at one more, the one whose last batch is the oldest is forgotten. At least 1.
    pub producers_max: usize,
    /// How long a producer is remembered after its last append.
    pub expiry_ms: i64,
}

/// What a batch says of its producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerBatch {
    /// Who sent it.
    pub id: ProducerId,
    /// In which incarnation.
    pub epoch: ProducerEpoch,
    /// The sequence of its first record.
    pub base_sequence: Sequence,
    /// How many records it has; at least 1.
    pub records_count: u32,
}

/// What to do with a batch in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// New: append it.
    Append,
    /// Sent before: answer with the offsets it got then.
    Duplicate {
        /// The offset of its first record.
        base_offset: Offset,
        /// The offset of its last record.
        last_offset: Offset,
    },
}

/// Why a batch cannot be appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SequenceError {
    /// The batch neither follows the producer's last one nor repeats one of the last five.
    #[error("out of order sequence {found}: expected {expected}")]
    OutOfOrder {
        /// The sequence that would follow.
        expected: Sequence,
        /// The sequence of the batch's first record.
        found: Sequence,
    },
    /// A newer incarnation of the producer has written already.
    #[error("producer epoch {found} is fenced: the current one is {current}")]
    StaleEpoch {
        /// The epoch of the newer incarnation.
        current: ProducerEpoch,
        /// The batch's epoch.
        found: ProducerEpoch,
    },
}

/// The idempotent producers of one partition.
#[derive(Debug)]
pub struct Producers {
    limits: ProducerLimits,
    known: HashMap<ProducerId, Known>,
    /// How many of `known` have a committed state.
    committed_count: usize,
    overlay: VecDeque<PendingBatch>,
    /// Committed producers by the offset of their last committed batch, oldest first. An entry is stale, and skipped,
    /// once its producer committed a later batch or is gone.
    by_age: VecDeque<(Offset, ProducerId)>,
}

/// One producer.
#[derive(Debug)]
struct Known {
    committed: Option<ProducerState>,
    latest: ProducerState,
    /// How many of its batches are in the overlay.
    pending: usize,
}

/// A batch in the overlay.
#[derive(Debug, Clone, Copy)]
struct PendingBatch {
    id: ProducerId,
    epoch: ProducerEpoch,
    batch: RecentBatch,
    timestamp: Timestamp,
}

impl Producers {
    /// Knows no producer yet.
    #[must_use]
    pub fn new(limits: ProducerLimits) -> Producers {
        Producers {
            limits,
            known: HashMap::new(),
            committed_count: 0,
            overlay: VecDeque::new(),
            by_age: VecDeque::new(),
        }
    }

    /// Whether a batch may be appended, given everything appended so far, committed or not.
    ///
    /// # Errors
    /// [`SequenceError`] where the batch would leave a gap, or its producer is fenced.
    pub fn check(&self, stamp: ProducerBatch) -> Result<Verdict, SequenceError> {
        match self.known.get(&stamp.id) {
            Some(known) => known.latest.check(stamp),
            None => Ok(Verdict::Append),
        }
    }

    /// Takes note of a batch that was appended at `base_offset`, above everything recorded before.
    ///
    /// `timestamp` is when the producer was last heard of: the broker's time at an append; in recovery, where nobody
    /// knows, the lesser of the batch's largest timestamp and the broker's time. The log is the truth: a batch is
    /// recorded whether or not [`Producers::check`] would pass it, and one that does not follow makes the producer
    /// start over from it. A batch that its producer's state already covers is ignored, so recovery may walk again
    /// what a snapshot knows.
    pub fn record(&mut self, stamp: ProducerBatch, base_offset: Offset, timestamp: Timestamp) {
        let pending = PendingBatch {
            id: stamp.id,
            epoch: stamp.epoch,
            batch: RecentBatch { base_sequence: stamp.base_sequence, records_count: stamp.records_count, base_offset },
            timestamp,
        };
        debug_assert!(
            self.overlay.back().is_none_or(|last| last.batch.last_offset() < base_offset),
            "batches are recorded in log order"
        );
        match self.known.get_mut(&stamp.id) {
            Some(known) if base_offset <= known.latest.last_batch().base_offset => return,
            Some(known) => {
                known.latest.apply(&pending);
                known.pending += 1;
            }
            None => {
                let latest = ProducerState::first(&pending);
                let known = Known { committed: None, latest, pending: 1 };
                self.known.insert(stamp.id, known);
            }
        }
        self.overlay.push_back(pending);
    }

    /// Moves the batches wholly below the high watermark from the overlay into the committed state, in order, and
    /// forgets the oldest producers above the limit.
    ///
    /// A producer with batches in the overlay is not forgotten, so while most producers have some the limit can be
    /// exceeded, by no more than the overlay holds.
    pub fn commit_to(&mut self, high_watermark: Offset) {
        while let Some(pending) = self.overlay.pop_front_if(|pending| pending.batch.last_offset() < high_watermark) {
            self.commit(&pending);
        }
        if self.by_age.len() > 2 * self.committed_count + STALE_SLACK {
            let known = &self.known;
            self.by_age.retain(|&(offset, id)| known.get(&id).is_some_and(|k| k.last_is(offset)));
        }
    }

    /// Drops the overlay batches that reach to `log_end` or beyond. What is committed stays: nothing below the high
    /// watermark is ever cut.
    pub fn truncate_to(&mut self, log_end: Offset) {
        let mut cut = BTreeSet::new();
        while let Some(pending) = self.overlay.pop_back_if(|pending| pending.batch.last_offset() >= log_end) {
            cut.insert(pending.id);
        }
        if cut.is_empty() {
            return;
        }
        let mut rebuilt: HashMap<ProducerId, Known> = HashMap::with_capacity(cut.len());
        for id in &cut {
            if let Some(committed) = self.known.remove(id).and_then(|known| known.committed) {
                rebuilt.insert(*id, Known::idle(committed));
            }
        }
        for pending in self.overlay.iter().filter(|p| cut.contains(&p.id)) {
            rebuilt
                .entry(pending.id)
                .and_modify(|known| {
                    known.latest.apply(pending);
                    known.pending += 1;
                })
                .or_insert_with(|| Known { committed: None, latest: ProducerState::first(pending), pending: 1 });
        }
        self.known.extend(rebuilt);
        self.order_by_age();
    }

    /// Forgets the producers that were last heard of longer than the expiry before `now`. One with a batch in the
    /// overlay stays.
    pub fn expire(&mut self, now: Timestamp) {
        let expiry_ms = self.limits.expiry_ms;
        self.known.retain(|_, known| known.pending > 0 || now.since(known.latest.last_timestamp()) <= expiry_ms);
        self.committed_count = self.count_committed();
    }

    /// The committed producers, sorted by id.
    #[must_use]
    pub fn snapshot(&self) -> Vec<ProducerSnapshot> {
        let mut producers: Vec<ProducerSnapshot> = self
            .known
            .iter()
            .filter_map(|(&id, known)| {
                let state = known.committed.clone()?;
                Some(ProducerSnapshot { id, state })
            })
            .collect();
        producers.sort_unstable_by_key(|producer| producer.id);
        producers
    }

    /// Replaces everything by what a snapshot holds; above the limit the producers heard of last are kept.
    pub fn restore(&mut self, producers: Vec<ProducerSnapshot>) {
        self.overlay.clear();
        self.known = producers.into_iter().map(|producer| (producer.id, Known::idle(producer.state))).collect();
        self.committed_count = self.known.len();
        self.order_by_age();
        self.forget_oldest();
    }

    /// How many producers are known, whether committed or only in the overlay.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether no producer is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    fn commit(&mut self, pending: &PendingBatch) {
        let Some(known) = self.known.get_mut(&pending.id) else {
            debug_assert!(false, "a producer in the overlay is known");
            return;
        };
        known.pending -= 1;
        match &mut known.committed {
            Some(state) => state.apply(pending),
            None => {
                known.committed = Some(ProducerState::first(pending));
                self.committed_count += 1;
            }
        }
        // Before the producer takes its new place in the order, so that it never makes room for itself.
        self.forget_oldest();
        self.by_age.push_back((pending.batch.base_offset, pending.id));
    }

    /// Forgets the oldest producers while there are too many. One with batches in the overlay leaves the order without
    /// being forgotten: committing them puts it back in its new place, cutting them orders everything anew.
    fn forget_oldest(&mut self) {
        while self.committed_count > self.limits.producers_max.max(1) {
            let Some((offset, id)) = self.by_age.pop_front() else {
                return;
            };
            let forgettable = |known: &Known| known.pending == 0 && known.last_is(offset);
            if self.known.get(&id).is_some_and(forgettable) {
                self.known.remove(&id);
                self.committed_count -= 1;
            }
        }
    }

    fn order_by_age(&mut self) {
        let mut by_age: Vec<(Offset, ProducerId)> = self
            .known
            .iter()
            .filter_map(|(&id, known)| Some((known.committed.as_ref()?.last_batch().base_offset, id)))
            .collect();
        by_age.sort_unstable();
        self.by_age = by_age.into();
    }

    fn count_committed(&self) -> usize {
        self.known.values().filter(|known| known.committed.is_some()).count()
    }
}

impl Known {
    /// A producer with nothing in the overlay.
    fn idle(committed: ProducerState) -> Known {
        Known { latest: committed.clone(), committed: Some(committed), pending: 0 }
    }

    /// Whether its last committed batch begins at `offset`.
    fn last_is(&self, offset: Offset) -> bool {
        self.committed.as_ref().is_some_and(|state| state.last_batch().base_offset == offset)
    }
}
