//! The recent end of a partition in memory, for consumers that keep up.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::record::Batch;
use crate::types::Offset;

/// What one batch in a tail takes beside its bytes.
const BATCH_OVERHEAD_BYTES: usize = size_of::<Batch>() + 48;

/// Who keeps up is so many batches behind at most: they are found without a search through memory long not touched.
const NEAR_BATCHES: usize = 4;

/// One budget of memory for the tails of all partitions together. It is never exceeded: a partition that finds it used
/// up gives up its own oldest batches, and idle ones give up theirs at their next upkeep.
#[derive(Debug)]
pub struct TailBudget {
    bytes_max: usize,
    used: AtomicUsize,
    is_short: AtomicBool,
}

impl TailBudget {
    /// A budget of so many bytes; 0 keeps no tail at all.
    #[must_use]
    pub fn new(bytes_max: usize) -> TailBudget {
        TailBudget { bytes_max, used: AtomicUsize::new(0), is_short: AtomicBool::new(false) }
    }

    /// Bytes in use.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn try_take(&self, bytes: usize) -> bool {
        let take = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.bytes_max);
        self.used.try_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Whether some partition went without since the last call.
    pub(crate) fn take_shortage(&self) -> bool {
        self.is_short.swap(false, Ordering::Relaxed)
    }
}

/// The newest batches of one partition, without a gap up to the log end.
#[derive(Debug)]
pub(crate) struct Tail {
    budget: Arc<TailBudget>,
    batches: VecDeque<Batch>,
}

impl Tail {
    pub(crate) fn new(budget: Arc<TailBudget>) -> Tail {
        Tail { budget, batches: VecDeque::new() }
    }

    /// Adds the newest batch, at the cost of older ones where the budget is used up. A batch that finds no room empties
    /// the tail, for it must have no gap.
    pub(crate) fn push(&mut self, batch: Batch) {
        let bytes = cost(&batch);
        while !self.budget.try_take(bytes) {
            if !self.drop_oldest() {
                self.budget.is_short.store(true, Ordering::Relaxed);
                return;
            }
        }
        self.batches.push_back(batch);
    }

    /// Whole batches from the one that holds `from` on, none that reaches beyond `upto`; at least one where there is one,
    /// more while they fit into `bytes_max`. `None` where the tail does not reach back to `from`.
    pub(crate) fn read(&self, from: Offset, upto: Offset, bytes_max: usize) -> Option<Vec<Batch>> {
        if self.batches.front().is_none_or(|oldest| from < oldest.header().base_offset) {
            return None;
        }
        let newer = self.batches.iter().rev().take_while(|batch| batch.header().next_offset() > from);
        let first = match newer.take(NEAR_BATCHES + 1).count() {
            near @ ..=NEAR_BATCHES => self.batches.len() - near,
            _ => self.batches.partition_point(|batch| batch.header().next_offset() <= from),
        };
        let mut bytes = 0;
        let fits = |batch: &&Batch| {
            bytes += batch.bytes().len();
            batch.header().next_offset() <= upto && (bytes <= bytes_max || bytes == batch.bytes().len())
        };
        Some(self.batches.range(first..).take_while(fits).cloned().collect())
    }

    /// Forgets batches that reach beyond a new log end.
    pub(crate) fn truncate_to(&mut self, end: Offset) {
        while self.batches.back().is_some_and(|newest| newest.header().next_offset() > end) {
            if let Some(batch) = self.batches.pop_back() {
                self.budget.give_back(cost(&batch));
            }
        }
    }

    /// Forgets batches that lie wholly below an offset.
    pub(crate) fn forget_below(&mut self, offset: Offset) {
        while self.batches.front().is_some_and(|oldest| oldest.header().next_offset() <= offset) {
            self.drop_oldest();
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        while self.drop_oldest() {}
        self.batches.shrink_to_fit();
    }

    fn drop_oldest(&mut self) -> bool {
        let Some(batch) = self.batches.pop_front() else { return false };
        self.budget.give_back(cost(&batch));
        true
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.clear();
    }
}

fn cost(batch: &Batch) -> usize {
    batch.bytes().len() + BATCH_OVERHEAD_BYTES
}
