//! Reading batches for a peer: memory first, and never blocking the connection's thread.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Waker;

use super::memory::{Loan, OWN_BYTES, PeerMemory};
use crate::record::Batch;
use crate::replica::{Partition, PartitionClosed, Read, ReadFailure};
use crate::types::Offset;

/// A larger read would keep a thread of the runtime for too long, even where nothing has to be waited for.
const READ_HERE_BYTES_MAX: usize = 1 << 20;

/// Memory for what is made of batches, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    /// With less of it less is made at a time.
    Helps(usize),
    /// Nothing can be made with less.
    Needed(usize),
}

/// Batches of so many bytes need no leave where there is no memory: who keeps up with small records is not held up.
pub(super) const SMALL_BYTES: usize = OWN_BYTES / 2;

/// Readers of one partition that are served by who commits a record.
const PROMPT_READERS_MAX: usize = 4;

/// Committed batches from the one that holds `from` on, as [`Partition::read`] gives them, and the memory they take with
/// `beside` bytes more. Where memory must be waited for, small ones come at once and without, unless they need what is
/// beside them.
pub(super) async fn read(
    memory: &Arc<PeerMemory>,
    partition: &Arc<Partition>,
    from: Offset,
    bytes_max: usize,
    beside: Beside,
) -> Result<(Vec<Batch>, Loan), ReadFailure> {
    let (Beside::Helps(beside_bytes) | Beside::Needed(beside_bytes)) = beside;
    let mut room = bytes_max;
    loop {
        let mut loan = match memory.try_take(room + beside_bytes) {
            Some(loan) => loan,
            None => {
                if let Beside::Helps(_) = beside {
                    let batches = read_unlent(memory, partition, from, bytes_max.min(SMALL_BYTES)).await?;
                    if bytes_of(&batches) <= SMALL_BYTES {
                        return Ok((batches, memory.nothing()));
                    }
                }
                memory.take(room + beside_bytes).await
            }
        };
        let batches = read_unlent(memory, partition, from, bytes_max).await?;
        let bytes = bytes_of(&batches);
        if loan.reach(bytes + beside_bytes) {
            loan.keep_only(bytes + beside_bytes);
            return Ok((batches, loan));
        }
        // The first batch is larger than the room for it, and read again once there is as much.
        room = bytes;
    }
}

/// As [`read`], for who holds memory already and so waits for none: `None` where there is too little, or the first batch
/// has more than `room` bytes.
pub(super) async fn read_in(
    memory: &Arc<PeerMemory>,
    partition: &Arc<Partition>,
    from: Offset,
    bytes_max: usize,
    room: usize,
) -> Option<Result<(Vec<Batch>, Loan), ReadFailure>> {
    let mut loan = memory.try_take(bytes_max)?;
    let batches = match read_unlent(memory, partition, from, bytes_max).await {
        Ok(batches) => batches,
        Err(failure) => return Some(Err(failure)),
    };
    let bytes = bytes_of(&batches);
    if bytes > room || !loan.reach(bytes) {
        return None;
    }
    loan.keep_only(bytes);
    Some(Ok((batches, loan)))
}

async fn read_unlent(
    memory: &PeerMemory,
    partition: &Arc<Partition>,
    from: Offset,
    bytes_max: usize,
) -> Result<Vec<Batch>, ReadFailure> {
    match partition.read(from, bytes_max)? {
        Read::Batches(batches) => Ok(batches),
        Read::Disk(read) => {
            // What is in memory is there sooner than another thread.
            if bytes_max <= READ_HERE_BYTES_MAX
                && let Some(batches) = read.run_cached()
            {
                return Ok(batches);
            }
            let _leave = memory.disk_read().await;
            match tokio::task::spawn_blocking(|| read.run()).await {
                Ok(result) => result,
                // Only when the runtime stops: this task is about to end as well.
                Err(_) => Ok(Vec::new()),
            }
        }
    }
}

/// Waits until a record at or beyond `from` is committed, or the partition is closed. Dropped before, it leaves nothing there:
/// a waker holds its task's memory, and in an idle partition nothing happens that would free it.
pub(super) async fn readable(partition: &Partition, from: Offset) -> Result<(), PartitionClosed> {
    readable_promptly(partition, from, None).await
}

/// As [`readable`], with a waker of the task's that is called in place of the one it is polled with, unless many wait: who
/// commits a record would be held up by serving them all.
pub(super) async fn readable_promptly(
    partition: &Partition,
    from: Offset,
    prompt: Option<&Waker>,
) -> Result<(), PartitionClosed> {
    let mut waiting = Waiting { partition, waker: None };
    let prompt = prompt.filter(|_| partition.waiting_readers() < PROMPT_READERS_MAX);
    poll_fn(|context| {
        let waker = prompt.unwrap_or(context.waker());
        let ready = partition.poll_readable(from, waker);
        waiting.waker = ready.is_pending().then(|| waker.clone());
        ready
    })
    .await
}

/// One that waits.
struct Waiting<'a> {
    partition: &'a Partition,
    waker: Option<Waker>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(waker) = &self.waker {
            self.partition.forget_reader(waker);
        }
    }
}

/// The size of batches together, in bytes.
pub(super) fn bytes_of(batches: &[Batch]) -> usize {
    batches.iter().map(|batch| batch.bytes().len()).sum()
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::Duration;

    use parking_lot::Mutex;
    use tokio::time::timeout;
    use uuid::Uuid;

    use super::*;
    use crate::broker::CommandReply;
    use crate::broker::metadata::TopicSettings;
    use crate::broker::tests::in_memory;
    use crate::record::{BatchBuilder, BuilderOptions};
    use crate::replica::{AckLevel, Work, WorkQueue};
    use crate::types::{PartitionIndex, Timestamp, TopicId, TopicName};

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
    /// Longer than anything here takes.
    const BOUND: Duration = Duration::from_secs(20);
    /// The memory of all readers.
    const MEMORY_BYTES: usize = 256 << 10;

    #[derive(Debug, Default)]
    struct Held(Mutex<VecDeque<(Arc<Partition>, Work)>>);

    impl WorkQueue for Held {
        fn submit(&self, partition: Arc<Partition>, work: Work) {
            self.0.lock().push_back((partition, work));
        }
    }

    impl Held {
        fn work(&self) {
            while let Some((partition, work)) = { self.0.lock().pop_front() } {
                partition.run(work, NOW);
            }
        }
    }

    /// A partition with so many batches of one record each.
    fn filled(batches: usize, value_bytes: usize) -> Arc<Partition> {
        let queue = Arc::new(Held::default());
        let broker = in_memory(Arc::clone(&queue) as Arc<dyn WorkQueue>, 1 << 20, NOW);
        let (name, id) = (TopicName::new("events").unwrap(), TopicId::new(Uuid::from_u128(7)));
        broker.create_topic(&name, Some(1), TopicSettings::default(), id, NOW, CommandReply::new(|_| {}));
        queue.work();
        let partition = broker.partition(&name, PartitionIndex(0)).unwrap();
        for _ in 0..batches {
            let mut builder = BatchBuilder::new(BuilderOptions::default());
            builder.append(NOW, None, Some(&vec![7; value_bytes]), &[]).unwrap();
            partition.append(builder.finish().unwrap(), AckLevel::Durable, None, NOW).unwrap();
            queue.work();
        }
        partition
    }

    /// Consumers that came, waited for nothing and went left what they were woken by, and with it their tasks' memory.
    #[test]
    fn whoever_stops_waiting_leaves_nothing_behind() {
        struct Task;
        impl std::task::Wake for Task {
            fn wake(self: Arc<Self>) {}
        }
        let (partition, task) = (filled(1, 10), Arc::new(Task));
        let waker = Waker::from(Arc::clone(&task));
        let mut waiting = Box::pin(readable(&partition, partition.offsets().high_watermark()));
        assert!(waiting.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
        assert_eq!(Arc::strong_count(&task), 4, "ours, its waker, and what waits holds it twice");
        drop(waiting);
        assert_eq!(Arc::strong_count(&task), 2);
    }

    /// However many ask for much: what is read for all of them together stays within the memory for it, but for a little
    /// each. That little comes at once.
    #[tokio::test]
    async fn what_all_readers_hold_has_a_bound() {
        let (partition, memory) = (filled(64, 4_000), PeerMemory::new(MEMORY_BYTES, BOUND));
        let mut held = Vec::new();
        for _ in 0..20 {
            let reading = read(&memory, &partition, Offset::ZERO, MEMORY_BYTES / 4, Beside::Helps(0));
            held.push(timeout(BOUND, reading).await.expect("nobody waits for little").unwrap());
        }
        let bytes = held.iter().map(|(batches, _)| bytes_of(batches));
        assert!(bytes.clone().all(|bytes| bytes > 0));
        let large: usize = bytes.filter(|bytes| *bytes > SMALL_BYTES).sum();
        assert_eq!(large, memory.used());
        assert!((MEMORY_BYTES / 2..=MEMORY_BYTES).contains(&large), "{large}");
        held.clear();
        assert_eq!(memory.used(), 0);
    }

    /// Those who hold memory while they wait for more would wait for each other for ever.
    #[tokio::test]
    async fn whoever_holds_memory_waits_for_none() {
        let (partition, memory) = (filled(8, 4_000), PeerMemory::new(MEMORY_BYTES, BOUND));
        let read = |bytes_max, room| read_in(&memory, &partition, Offset::ZERO, bytes_max, room);
        let (batches, loan) = read(10_000, 10_000).await.expect("there is memory").unwrap();
        assert_eq!((batches.len(), memory.used()), (2, bytes_of(&batches)));
        // The first batch has to have room, which a partition may bound more narrowly.
        assert!(read(100, 100).await.is_none());
        assert_eq!(read(100, 10_000).await.expect("there is memory").unwrap().0.len(), 1);
        let _rest = memory.take(MEMORY_BYTES - memory.used()).await;
        assert!(timeout(BOUND, read(10_000, 10_000)).await.expect("nobody waits").is_none());
        drop(loan);
    }
}
