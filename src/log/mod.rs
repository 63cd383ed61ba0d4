//! A partition's log on disk: segments, their indexes, recovery, retention.
//!
//! The files hold record batches exactly as producers built them; `docs/format.md` gives every file byte for byte. This
//! layer knows nothing of acknowledgements, consumers or leadership: it appends what it is given, syncs when told, reads
//! back only what it has verified, and after a crash believes only what it may (see
//! `recovery.rs`). It must never serve a byte it did not verify, nor sync without being asked, nor delete what it cannot
//! explain.
//!
//! Invariants, asserted where they can break:
//! 1. A segment is synced before its successor takes a byte.
//! 2. `partition.json` names a segment before its file takes a byte, and forgets it before the file goes.
//! 3. A durable mark is written only after the sync it tells of.
//! 4. An index never says anything about content: every lookup ends in a verified batch.
//! 5. At most one append runs at a time; a sync may run beside it.

mod ahead;
mod append;
mod by_time;
mod chain;
mod compaction;
mod context;
mod cut;
mod directory;
mod envelope;
mod epochs;
mod error;
mod handles;
mod index;
mod index_file;
mod index_walk;
mod layout;
mod partition_file;
mod partition_log;
mod point;
mod read;
mod recovery;
mod reserve;
mod resync;
mod retention;
mod segment;
#[cfg(test)]
mod tests;
mod truncate;
mod walk;

pub use append::AppendFailure;
pub use chain::Damage;
pub use compaction::{
    Compaction, CompactionError, CompactionPolicy, CompactionReport, CompactionStart, CompactionTurn, Dirty,
};
pub use context::{BATCH_BYTES_MAX, LogContext, LogOptions, SEGMENT_BYTES_MAX};
pub(crate) use directory::parse_directory;
pub use directory::{DataDirectory, DirectoryError, FORMAT_VERSION};
pub use envelope::{EnvelopeError, open_envelope, seal_envelope};
pub use epochs::{EpochHistory, Gap, History};
pub use error::LogError;
pub use handles::HandleCache;
pub(crate) use index::SLOT_BYTES;
pub use index::{DurableMark, Index, IndexEntry, IndexSlot};
pub(crate) use index_file::{INDEX_FILE_BYTES_MAX, write_index};
pub use index_file::{IndexFileError, decode_index_file};
pub use layout::{PartitionFiles, index_name, log_name, parse_segment_file, parse_segment_name};
pub(crate) use partition_file::PARTITION_FILE_BYTES_MAX;
pub use partition_file::{Ownership, PARTITION_FILE, PartitionFile, PartitionFileError, SealedSegment, SegmentRecord};
pub use partition_log::{LogState, PartitionLog};
pub use point::LogPoint;
pub(crate) use point::effective_timestamp;
pub use read::ReadError;
pub use recovery::{Cut, DamageReport, Recovered, RecoveryVisitor};
pub use reserve::SpaceReserve;
pub use resync::{Found, find_batch};
pub use retention::RetentionPolicy;
pub use walk::{Walk, WalkStop, walk_file};
