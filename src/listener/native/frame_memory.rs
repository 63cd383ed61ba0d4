//! Memory for large frames being received: one budget for all connections.
//!
//! A connection takes what a large frame needs before it reads the frame, and gives it back when the frame was served:
//! what is then kept of it waits to be written and is counted there. Meanwhile the peers of the others wait in turn, as
//! their TCP tells them. A peer that takes long over its frame may do so until somebody waits for the memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// The budget.
#[derive(Debug)]
pub(super) struct FrameMemory {
    bytes_max: usize,
    /// How long a frame may take to come while others wait for its memory.
    coming_max: Duration,
    /// One permit for each byte that is free; it serves in turn.
    free: Arc<Semaphore>,
    /// Connections that wait for some.
    waiting: AtomicUsize,
}

/// The memory of one frame, until it is dropped.
#[derive(Debug)]
pub(super) struct FrameLoan {
    memory: Arc<FrameMemory>,
    _permit: Option<OwnedSemaphorePermit>,
    /// When it is to be looked at whether others wait.
    due: Instant,
}

/// Counts one that waits.
struct Waiting<'a>(&'a AtomicUsize);

impl FrameMemory {
    /// A budget of so many bytes; a frame may take `coming_max` to come while others wait for its memory.
    pub(super) fn new(bytes_max: usize, coming_max: Duration) -> Arc<FrameMemory> {
        let bytes_max = bytes_max.min(u32::MAX as usize);
        let (free, waiting) = (Arc::new(Semaphore::new(bytes_max)), AtomicUsize::new(0));
        Arc::new(FrameMemory { bytes_max, coming_max, free, waiting })
    }

    /// Memory for a frame of so many bytes, in turn. One that needs more than there is gets all there is.
    pub(super) async fn lend(self: &Arc<Self>, bytes: usize) -> FrameLoan {
        let permits = u32::try_from(bytes.min(self.bytes_max)).unwrap_or(u32::MAX);
        let permit = match Arc::clone(&self.free).try_acquire_many_owned(permits) {
            Ok(permit) => Some(permit),
            Err(_) => {
                self.waiting.fetch_add(1, Ordering::Relaxed);
                let _waiting = Waiting(&self.waiting);
                // The semaphore is never closed.
                Arc::clone(&self.free).acquire_many_owned(permits).await.ok()
            }
        };
        FrameLoan { memory: Arc::clone(self), _permit: permit, due: Instant::now() + self.coming_max }
    }
}

impl FrameLoan {
    /// Ends once the frame has taken long to come while others wait for its memory.
    pub(super) async fn wanted_back(&mut self) {
        loop {
            tokio::time::sleep_until(self.due).await;
            if self.memory.waiting.load(Ordering::Relaxed) > 0 {
                return;
            }
            self.due = Instant::now() + self.memory.coming_max;
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const MOMENT: Duration = Duration::from_millis(1);

    #[tokio::test]
    async fn frames_share_the_budget_in_turn() {
        let memory = FrameMemory::new(100, MOMENT);
        let first = memory.lend(60).await;
        let mut second = Box::pin(memory.lend(60));
        assert!(timeout(MOMENT, &mut second).await.is_err());
        assert!(timeout(MOMENT, memory.lend(40)).await.is_err(), "nobody overtakes");
        drop(first);
        let second = second.await;
        let _third = memory.lend(40).await;
        drop(second);
        assert_eq!(memory.waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_frame_larger_than_the_budget_gets_all_of_it() {
        let memory = FrameMemory::new(100, MOMENT);
        let all = memory.lend(1_000).await;
        assert!(timeout(MOMENT, memory.lend(1)).await.is_err());
        drop(all);
        let _one = memory.lend(1).await;
    }

    /// Who sends slowly keeps the memory as long as nobody else wants it.
    #[tokio::test]
    async fn a_loan_is_wanted_back_only_where_somebody_waits() {
        let memory = FrameMemory::new(100, MOMENT);
        let mut slow = memory.lend(100).await;
        assert!(timeout(MOMENT * 20, slow.wanted_back()).await.is_err());
        let other = tokio::spawn({
            let memory = Arc::clone(&memory);
            async move { drop(memory.lend(10).await) }
        });
        tokio::task::yield_now().await;
        slow.wanted_back().await;
        drop(slow);
        other.await.unwrap();
    }
}
