//! Looking into a data directory while no broker serves it, and mending what can be mended: the library behind
//! `wiber-server verify`, `dump` and `repair`.
//!
//! Stands beside the broker on top of `log` and `disk`, and prints nothing. Verifying and dumping change no byte of the
//! data; repair quarantines before it rewrites and deletes nothing. All three read a segment through `scan`, which
//! goes on behind damage and tells exactly what is lost.

mod control;
mod directory;
mod dump;
mod error;
mod index_check;
mod learn;
mod locate;
mod repair;
mod report;
mod scan;
mod snapshots;
mod source;
#[cfg(test)]
mod tests;
mod topic_ids;
mod verify;
mod window;

pub use control::Progress;
pub use directory::{Inspected, LockState};
pub use dump::{IndexLine, dump_batches, dump_index, load_partition_file};
pub use error::InspectError;
pub use repair::{AppliedRepair, RepairAction, RepairPlan, apply_repair, plan_repair};
pub use report::{Finding, FindingKind, PartitionReport, SegmentReport, Severity, SnapshotReport, VerifyReport};
pub use scan::{Lost, ScanEvent, Tail};
pub use snapshots::verify_snapshots;
pub use verify::{verify, verify_partition};
