//! What the tasks of a run share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::load::{Clock, HEADER_BYTES, Payload};

/// What every task of a run knows.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) clock: Clock,
    pub(super) payload: Payload,
    pub(super) topic: String,
    pub(super) partitions: u32,
    /// Whether what is read was stored before the run: its latencies say nothing.
    pub(super) is_stored: bool,
    /// When measuring began, on the clock: what was sent before is not counted.
    measured_from_ns: AtomicU64,
    /// Messages acknowledged and read, for the progress shown.
    pub(super) acknowledged: AtomicU64,
    pub(super) read: AtomicU64,
    is_stopped: AtomicBool,
}

impl Shared {
    pub(super) fn new(payload: Payload, topic: &str, partitions: u32, is_stored: bool) -> Arc<Shared> {
        Arc::new(Shared {
            clock: Clock::start(),
            payload,
            topic: topic.to_owned(),
            partitions,
            is_stored,
            measured_from_ns: AtomicU64::new(u64::MAX),
            acknowledged: AtomicU64::new(0),
            read: AtomicU64::new(0),
            is_stopped: AtomicBool::new(false),
        })
    }

    /// Measuring begins.
    pub(super) fn begin_measuring(&self) -> u64 {
        let now_ns = self.clock.now_ns();
        self.measured_from_ns.store(now_ns, Ordering::Relaxed);
        self.acknowledged.store(0, Ordering::Relaxed);
        self.read.store(0, Ordering::Relaxed);
        now_ns
    }

    /// When it began.
    pub(super) fn measured_from_ns(&self) -> u64 {
        self.measured_from_ns.load(Ordering::Relaxed)
    }

    /// Whether messages have no room for a whole header.
    pub(super) fn is_short(&self) -> bool {
        self.payload.size() < HEADER_BYTES
    }

    /// Nothing more is to be sent.
    pub(super) fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }
}

/// The messages of one producer in one partition.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Stream {
    /// The sequence of the next message.
    pub(super) next: u64,
    /// How many were acknowledged.
    pub(super) acknowledged: u64,
    /// The sequence behind the last that was.
    pub(super) acknowledged_end: u64,
}

/// What readers are to see before they are done.
#[derive(Debug, Clone)]
pub(super) enum Goal {
    /// So many messages of each partition.
    Counts(Vec<u64>),
    /// Everything acknowledged: of each producer, its streams by partition.
    Streams(Vec<Vec<Stream>>),
}

/// What a main task tells the readers.
#[derive(Debug, Clone, Default)]
pub(super) struct Orders {
    pub(super) goal: Option<Arc<Goal>>,
    pub(super) is_over: bool,
}
