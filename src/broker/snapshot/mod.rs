//! Snapshots: what the broker knew at one moment, in JSON files, so that a start need not walk every log.
//!
//! Nothing depends on them. A missing, damaged, foreign or too new one is passed over, and with none left everything is
//! read from the logs; so whatever is wrong with a file here is a reason to skip it, never an error. Damage must never
//! be believed either: the content is under a checksum.

mod content;
mod file;
mod name;
mod store;
#[cfg(test)]
mod tests;

pub use content::{LogPointSnapshot, PartitionSnapshot, Snapshot};
pub use store::{Loaded, SNAPSHOT_BYTES_MAX, SkipReason, SnapshotError, SnapshotStore};
