//! Memory for what comes from peers and what goes to them: for each a budget for all connections.
//!
//! A large frame takes memory before it is received, in turn, and gives it back when it was served: what is then kept of it
//! waits to be written and is counted there. Who takes long over a frame may do so until somebody waits for the memory.
//!
//! Who reads records for a peer takes memory first, in turn, and it goes along with them until the socket has taken them.
//! A connection goes on only while it holds less than its *share*, a small part of what is free: the more those hold whose
//! peers do not read, the less each of them gets, and there is something left for the next one. A peer that takes next to
//! nothing may do so until somebody waits for memory; then its connection ends. See `docs/adr/010`.
//!
//! Nobody waits here while he holds what he has not handed over, so those who wait never wait for each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep_until};

/// Bytes that every connection may keep beside the budget, and the least that a share is: answers to a few requests, and
/// small records as they come.
pub(super) const OWN_BYTES: usize = 16 << 10;
/// A share is this part of what is free.
const SHARES: usize = 64;
/// Reads of files that run at a time for all connections: what a read brings is known only when it has been read.
const DISK_READS_MAX: usize = 16;
/// A peer that takes less in [`PeerMemory::stalled_max`] takes next to nothing.
const TAKEN_BYTES_MIN: u64 = 64 << 10;

/// The budget.
#[derive(Debug)]
pub(super) struct PeerMemory {
    bytes_max: usize,
    /// How long a peer may take next to nothing while others wait.
    stalled_max: Duration,
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
    memory: Arc<PeerMemory>,
    bytes: usize,
}

/// Since when a peer has taken next to nothing.
#[derive(Debug)]
pub(super) struct Stall {
    since: Instant,
    /// Bytes it had taken by then.
    taken: u64,
}

/// Counts one that waits.
struct Waiting<'a>(&'a AtomicUsize);

impl PeerMemory {
    /// A budget of so many bytes; a peer may take next to nothing for `stalled_max` while others wait.
    pub(super) fn new(bytes_max: usize, stalled_max: Duration) -> Arc<PeerMemory> {
        let bytes_max = bytes_max.min(u32::MAX as usize);
        Arc::new(PeerMemory {
            bytes_max,
            stalled_max,
            free: Semaphore::new(bytes_max),
            waiting: AtomicUsize::new(0),
            wanted: Notify::new(),
            disk_reads: Semaphore::new(DISK_READS_MAX),
        })
    }

    /// Bytes that a connection may hold as things are.
    pub(super) fn share(&self) -> usize {
        (self.free.available_permits() / SHARES).max(OWN_BYTES)
    }

    /// So many bytes, in turn. Who asks for more than there is gets all there is.
    pub(super) async fn take(self: &Arc<Self>, bytes: usize) -> Loan {
        let bytes = bytes.min(self.bytes_max);
        if let Some(loan) = self.try_take(bytes) {
            return loan;
        }
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let _waiting = Waiting(&self.waiting);
        self.wanted.notify_waiters();
        // The semaphore is never closed.
        if let Ok(permits) = self.free.acquire_many(u32::try_from(bytes).unwrap_or(u32::MAX)).await {
            permits.forget();
        }
        Loan { memory: Arc::clone(self), bytes }
    }

    /// So many bytes, where nobody has to wait for them.
    pub(super) fn try_take(self: &Arc<Self>, bytes: usize) -> Option<Loan> {
        self.free.try_acquire_many(u32::try_from(bytes).ok()?).ok()?.forget();
        Some(Loan { memory: Arc::clone(self), bytes })
    }

    /// Nothing yet.
    pub(super) fn nothing(self: &Arc<Self>) -> Loan {
        Loan { memory: Arc::clone(self), bytes: 0 }
    }

    /// Leave to read files.
    pub(super) async fn disk_read(&self) -> Option<impl Drop> {
        self.disk_reads.acquire().await.ok()
    }

    /// A peer that has taken so many bytes, the last of them now.
    pub(super) fn watch(&self, taken: u64) -> Stall {
        Stall { since: Instant::now(), taken }
    }

    /// Ends when a peer has taken next to nothing for long and somebody waits for memory.
    pub(super) async fn wanted_from(&self, stall: &Stall) {
        sleep_until(stall.since + self.stalled_max).await;
        loop {
            let mut wanted = std::pin::pin!(self.wanted.notified());
            wanted.as_mut().enable();
            if self.waiting.load(Ordering::SeqCst) > 0 {
                return;
            }
            wanted.await;
        }
    }

    /// Bytes that are lent.
    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.bytes_max - self.free.available_permits()
    }
}

impl Loan {
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

    /// Adds another one to it.
    pub(super) fn join(&mut self, mut other: Loan) {
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Makes it at least so many bytes, where nobody has to wait for them; whether it is.
    pub(super) fn reach(&mut self, bytes: usize) -> bool {
        let missing = bytes.min(self.memory.bytes_max).saturating_sub(self.bytes);
        if missing > 0 {
            let Some(more) = self.memory.try_take(missing) else { return false };
            self.join(more);
        }
        true
    }
}

impl Stall {
    /// The peer has taken so many bytes now.
    pub(super) fn taken(&mut self, taken: u64) {
        if taken - self.taken >= TAKEN_BYTES_MIN {
            *self = Stall { since: Instant::now(), taken };
        }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.memory.free.add_permits(self.bytes);
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const MOMENT: Duration = Duration::from_millis(1);

    #[tokio::test]
    async fn those_who_wait_are_served_in_turn() {
        let memory = PeerMemory::new(100, MOMENT);
        let mut first = memory.take(60).await;
        let mut second = Box::pin(memory.take(60));
        assert!(timeout(MOMENT, &mut second).await.is_err());
        assert!(timeout(MOMENT, memory.take(40)).await.is_err(), "nobody overtakes");
        first.keep_only(40);
        let second = second.await;
        assert_eq!((memory.used(), memory.waiting.load(Ordering::SeqCst)), (100, 0));
        drop((first, second));
        assert_eq!(memory.used(), 0);
    }

    #[tokio::test]
    async fn who_asks_for_more_than_there_is_gets_all() {
        let memory = PeerMemory::new(100, MOMENT);
        let all = memory.take(1_000).await;
        assert_eq!(memory.used(), 100);
        assert!(!memory.nothing().reach(1));
        drop(all);
        assert!(memory.nothing().reach(1_000));
        assert_eq!(memory.used(), 0);
    }

    #[tokio::test]
    async fn loans_are_split_and_joined() {
        let memory = PeerMemory::new(100, MOMENT);
        let mut loan = memory.take(50).await;
        let mut part = loan.split(20);
        assert_eq!((loan.bytes, part.bytes), (30, 20));
        part.join(loan.split(1_000));
        assert_eq!((loan.bytes, part.bytes, memory.used()), (0, 50, 50));
        assert!(part.reach(100) && !loan.reach(1));
        part.keep_only(70);
        part.keep_only(80);
        assert_eq!((part.bytes, memory.used()), (70, 70));
    }

    /// However many hold what their peers do not take, there is something left for the next one.
    #[tokio::test]
    async fn shares_shrink_with_what_is_free() {
        let memory = PeerMemory::new(64 << 20, MOMENT);
        assert_eq!(memory.share(), 1 << 20);
        let mut held = Vec::new();
        for _ in 0..200 {
            let share = memory.share();
            held.push(timeout(MOMENT * 1_000, memory.take(share)).await.expect("there is something left"));
        }
        assert_eq!(memory.share(), OWN_BYTES.max((memory.bytes_max - memory.used()) / SHARES));
        held.clear();
        assert_eq!(memory.share(), 1 << 20);
    }

    /// A peer that reads nothing does so as long as nobody needs the memory; one that reads is left alone.
    #[tokio::test]
    async fn memory_is_wanted_only_from_the_stalled_and_only_where_somebody_waits() {
        let memory = PeerMemory::new(100, MOMENT);
        let stall = memory.watch(0);
        let all = memory.take(100).await;
        assert!(timeout(MOMENT * 20, memory.wanted_from(&stall)).await.is_err(), "nobody waits");
        let other = tokio::spawn({
            let memory = Arc::clone(&memory);
            async move { drop(memory.take(10).await) }
        });
        memory.wanted_from(&stall).await;
        let mut reading = Stall { since: stall.since, taken: 0 };
        reading.taken(TAKEN_BYTES_MIN - 1);
        assert_eq!(reading.since, stall.since);
        reading.taken(TAKEN_BYTES_MIN);
        assert!(reading.since > stall.since);
        drop(all);
        other.await.unwrap();
    }
}
