//! Memory for what is on its way to peers: one budget for all connections.
//!
//! What can be read again is only *lent*: while somebody waits for memory, a connection whose peer does not take what it
//! has gives such bytes back, and reads them anew once the peer goes on. What cannot be read again, answers and small
//! records, is *kept*, and may use no more than half of the budget. Beside it every connection has a small share that is
//! its own. So peers that never read can neither use up the budget nor keep others waiting: see `docs/adr/010`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::futures::Notified;
use tokio::sync::{Notify, Semaphore};

/// Bytes that a connection may keep without asking anybody.
pub(super) const OWN_SHARE_BYTES: usize = 64 << 10;
/// Reads of files that run at a time for all connections: what a read brings is known only when it has been read.
const DISK_READS_MAX: usize = 16;

/// The budget.
#[derive(Debug)]
pub(super) struct OutgoingMemory {
    bytes_max: usize,
    /// One permit for each byte that is free. It serves in turn.
    free: Semaphore,
    /// Those who wait.
    waiting: AtomicUsize,
    /// Somebody began to wait.
    wanted: Notify,
    disk_reads: Semaphore,
}

/// Bytes of the budget, until they are dropped.
#[derive(Debug)]
pub(super) struct Loan {
    memory: Arc<OutgoingMemory>,
    bytes: usize,
}

struct InLine<'a>(&'a OutgoingMemory);

impl OutgoingMemory {
    pub(super) fn new(bytes_max: usize) -> Arc<OutgoingMemory> {
        let bytes_max = bytes_max.min(u32::MAX as usize);
        Arc::new(OutgoingMemory {
            bytes_max,
            free: Semaphore::new(bytes_max),
            waiting: AtomicUsize::new(0),
            wanted: Notify::new(),
            disk_reads: Semaphore::new(DISK_READS_MAX),
        })
    }

    /// The most that one may wait for: what is kept never leaves less.
    pub(super) fn most(&self) -> usize {
        self.bytes_max / 4
    }

    /// Nothing yet.
    pub(super) fn nothing(self: &Arc<Self>) -> Loan {
        Loan { memory: Arc::clone(self), bytes: 0 }
    }

    /// So many bytes, or [`OutgoingMemory::most`] where that is less, in turn. Who waits here holds no other loan.
    pub(super) async fn take(self: &Arc<Self>, bytes: usize) -> Loan {
        let bytes = bytes.min(self.most());
        if let Some(loan) = self.try_take(bytes) {
            return loan;
        }
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let _in_line = InLine(self);
        self.wanted.notify_waiters();
        let permits = self.free.acquire_many(u32::try_from(bytes).unwrap_or(u32::MAX)).await;
        // The semaphore is never closed.
        permits.map_or_else(|_| self.nothing(), |permits| self.lend(permits))
    }

    /// So many bytes, where nobody has to wait for them.
    pub(super) fn try_take(self: &Arc<Self>, bytes: usize) -> Option<Loan> {
        let permits = self.free.try_acquire_many(u32::try_from(bytes).ok()?).ok()?;
        Some(self.lend(permits))
    }

    /// So many bytes for what cannot be given back.
    fn try_take_to_keep(self: &Arc<Self>, bytes: usize) -> Option<Loan> {
        let rest = self.free.available_permits().checked_sub(bytes)?;
        if rest < self.bytes_max / 2 { None } else { self.try_take(bytes) }
    }

    fn lend(self: &Arc<Self>, permits: tokio::sync::SemaphorePermit<'_>) -> Loan {
        let bytes = permits.num_permits();
        permits.forget();
        Loan { memory: Arc::clone(self), bytes }
    }

    /// Whether somebody waits, so that what can be read again is to be given back.
    pub(super) fn is_short(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Ready when somebody begins to wait from now on.
    pub(super) fn wanted(&self) -> Notified<'_> {
        self.wanted.notified()
    }

    /// Ready when somebody waits.
    pub(super) async fn short(&self) {
        let mut wanted = std::pin::pin!(self.wanted());
        wanted.as_mut().enable();
        if !self.is_short() {
            wanted.await;
        }
    }

    /// Leave to read files.
    pub(super) async fn disk_read(&self) -> impl Drop {
        self.disk_reads.acquire().await.ok().map_or(Reading(None), |permit| Reading(Some(permit)))
    }

    /// Bytes that are lent or kept.
    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.bytes_max - self.free.available_permits()
    }
}

struct Reading<'a>(Option<tokio::sync::SemaphorePermit<'a>>);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.take();
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Loan {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives back what is beyond so many bytes.
    pub(super) fn keep_only(&mut self, bytes: usize) {
        drop(self.split(self.bytes.saturating_sub(bytes)));
    }

    /// So many bytes of it, or all where it has fewer.
    pub(super) fn split(&mut self, bytes: usize) -> Loan {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Loan { memory: Arc::clone(&self.memory), bytes }
    }

    /// Makes it so many bytes, for what cannot be given back; whether there were as many.
    pub(super) fn keep(&mut self, bytes: usize) -> bool {
        if bytes <= self.bytes {
            self.keep_only(bytes);
            return true;
        }
        let more = self.memory.try_take_to_keep(bytes - self.bytes);
        more.is_some_and(|more| self.join(more))
    }

    /// Makes it at least so many bytes, for what can be read again, where nobody has to wait for them.
    pub(super) fn reach(&mut self, bytes: usize) -> bool {
        let missing = bytes.min(self.memory.most()).saturating_sub(self.bytes);
        missing == 0 || self.memory.try_take(missing).is_some_and(|more| self.join(more))
    }

    fn join(&mut self, mut other: Loan) -> bool {
        self.bytes += std::mem::take(&mut other.bytes);
        true
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.memory.free.add_permits(self.bytes);
        }
    }
}
