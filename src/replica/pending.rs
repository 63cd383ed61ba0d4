//! What waits to be written, and the memory that all partitions together have for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;

use parking_lot::Mutex;

use super::wakers::Wakers;
use crate::record::Batch;
use crate::types::Offset;

/// One budget of memory for what waits to be written in all partitions together. Each that appends at the same moment
/// may exceed it by one batch, so that no batch is too large to pass.
#[derive(Debug)]
pub struct PendingBudget {
    bytes_max: u64,
    used: AtomicU64,
    waiting: Mutex<Wakers>,
    /// Whether anybody waits: this is asked after everything that happens to a partition.
    is_awaited: AtomicBool,
}

impl PendingBudget {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(bytes_max: u64) -> PendingBudget {
        PendingBudget {
            bytes_max,
            used: AtomicU64::new(0),
            waiting: Mutex::default(),
            is_awaited: AtomicBool::new(false),
        }
    }

    /// Bytes in use.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::SeqCst)
    }

    fn has_space(&self) -> bool {
        self.used() < self.bytes_max
    }

    /// Those who wait for space, once there is some.
    pub(crate) fn take_ready(&self) -> Vec<Waker> {
        if self.is_awaited.load(Ordering::SeqCst) && self.has_space() { self.take_waiting() } else { Vec::new() }
    }

    fn take_waiting(&self) -> Vec<Waker> {
        let mut waiting = self.waiting.lock();
        self.is_awaited.store(false, Ordering::SeqCst);
        waiting.take()
    }

    fn register(&self, waker: &Waker) {
        let mut waiting = self.waiting.lock();
        waiting.register(waker);
        self.is_awaited.store(true, Ordering::SeqCst);
    }
}

/// The batches of one partition that are numbered and not yet written.
#[derive(Debug)]
pub(crate) struct Pending {
    budget: Arc<PendingBudget>,
    /// Whether the broker keeps the partition for itself: what others append must not keep it waiting.
    is_internal: bool,
    batches: VecDeque<Batch>,
    /// Bytes of the batches, and of those taken to be written until they are.
    bytes: u64,
}

impl Pending {
    pub(crate) fn new(budget: Arc<PendingBudget>, is_internal: bool) -> Pending {
        Pending { budget, is_internal, batches: VecDeque::new(), bytes: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Bytes not yet written.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether one more batch may be added.
    pub(crate) fn has_space(&self) -> bool {
        if self.is_internal { self.bytes < self.budget.bytes_max } else { self.budget.has_space() }
    }

    /// Has the waker called once there may be space again; `false` where there is some already.
    pub(crate) fn wait(&self, waker: &Waker) -> bool {
        self.budget.register(waker);
        // What is given back from now on finds the waker, what was given back before is seen here.
        !self.has_space()
    }

    /// Those who wait for space in any partition.
    pub(crate) fn take_waiting(&self) -> Vec<Waker> {
        self.budget.take_waiting()
    }

    pub(crate) fn push(&mut self, batch: Batch) {
        let bytes = batch.bytes().len() as u64;
        self.bytes += bytes;
        self.budget.used.fetch_add(bytes, Ordering::SeqCst);
        self.batches.push_back(batch);
    }

    /// Takes all batches to be written; their bytes count until [`Pending::written`].
    pub(crate) fn take(&mut self) -> Vec<Batch> {
        self.batches.drain(..).collect()
    }

    /// So many bytes that were taken are written, or never will be.
    pub(crate) fn written(&mut self, bytes: u64) {
        // A failure in between has already dropped the count.
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.budget.used.fetch_sub(bytes, Ordering::SeqCst);
    }

    /// Drops the last batch where it reaches beyond `end`; returns its first offset.
    pub(crate) fn pop_beyond(&mut self, end: Offset) -> Option<Offset> {
        let batch = self.batches.pop_back_if(|batch| batch.header().next_offset() > end)?;
        self.written(batch.bytes().len() as u64);
        Some(batch.header().base_offset)
    }

    /// Drops everything.
    pub(crate) fn clear(&mut self) {
        self.batches.clear();
        self.written(self.bytes);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.clear();
        self.budget.take_ready().into_iter().for_each(Waker::wake);
    }
}
