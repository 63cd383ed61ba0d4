//! A partition as a replicated log: append, written, durable, committed. A lone broker is a group of one.
//!
//! [`Partition`] is a state machine. Nothing in it starts a thread, sleeps or reads a clock: it hands *work* (a write, a
//! sync, upkeep) to a [`WorkQueue`], and whoever takes it from there, a pool of threads or a test, calls
//! [`Partition::run`]. The way of a batch:
//!
//! ```text
//!  append ──► numbered, on the tail and the pending list     (under the lock, no I/O)
//!    │
//!  write  ──► everything pending, one vectored write         → written:  ack=leader answered
//!    │        (at most one in flight)
//!  sync   ──► everything written so far, one fdatasync       → durable:  ack=durable answered
//!    │        (at most one in flight, beside the next write)
//!  commit ──► high watermark moves                           (before the acks go out; readers are woken after)
//! ```
//!
//! Invariants, asserted in [`Offsets`]: log start ≤ high watermark ≤ stable ≤ log end, where stable is durable under
//! `sync = always` and written otherwise.

mod ack;
mod append;
mod by_time;
mod committed;
mod compaction;
mod deletion;
mod effects;
mod error;
mod follow;
mod jobs;
mod offsets;
mod open;
mod options;
mod partition;
mod pending;
pub mod producers;
mod read;
mod sync;
mod tail;
#[cfg(test)]
mod tests;
mod upkeep;
mod wait;
mod wakers;
mod write;

pub use ack::{AckFailure, AckLevel, AckSink, Acked, Completion, Waiter};
pub use append::Ticket;
pub use by_time::TimedRecord;
pub use committed::Committed;
pub use deletion::DeletionError;
pub use error::{AppendError, FollowError, PartitionClosed, ReadFailure};
pub use jobs::run_jobs;
pub use offsets::Offsets;
pub use open::{OpenReport, PartitionStart};
pub use options::{Job, PartitionOptions, ReplicaContext, SyncPolicy, Work, WorkQueue};
pub use partition::{Partition, PartitionStatus};
pub use pending::PendingBudget;
pub use read::{DiskRead, Read};
pub use tail::TailBudget;
pub use upkeep::Checkpoint;
