//! What every partition's log of a broker shares, and what each is told.

use std::sync::Arc;

use super::handles::HandleCache;
use crate::disk::Disk;

/// Largest segment, in bytes: positions in an index are 32 bits wide.
pub const SEGMENT_BYTES_MAX: u64 = 2 << 30;
/// Largest batch that any segment may hold, in bytes, whatever a topic's own limit.
pub const BATCH_BYTES_MAX: usize = 64 << 20;

/// The surroundings of a partition's log, shared by all.
#[derive(Debug, Clone)]
pub struct LogContext {
    /// The file system.
    pub disk: Arc<dyn Disk>,
    /// Open sealed segments.
    pub handles: Arc<HandleCache>,
}

/// How a partition's log behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogOptions {
    /// A segment that would grow beyond this many bytes is sealed first; at most [`SEGMENT_BYTES_MAX`].
    pub segment_bytes: u64,
    /// A segment whose first record is older than this is sealed, in milliseconds.
    pub segment_age_ms: i64,
    /// An index entry at least every this many bytes of log.
    pub index_interval_bytes: u64,
    /// Zeros written at a time ahead of a log whose syncs are small, in bytes; 0: none.
    pub zeros_ahead_bytes: u64,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions {
            segment_bytes: 100 << 20,
            segment_age_ms: 7 * 24 * 3_600_000,
            index_interval_bytes: 16 << 10,
            zeros_ahead_bytes: 256 << 10,
        }
    }
}
