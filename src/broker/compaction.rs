//! Which partition is compacted now, and how fast: one at a time, the dirtiest first.
//!
//! Being one at a time bounds the memory for keys and the reading and writing of all of them together.

use std::sync::Arc;

use super::Broker;
use crate::replica::Partition;
use crate::types::Timestamp;

/// Bounds on the compaction of all partitions together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactionLimits {
    /// Memory for keys, in bytes.
    pub keys_bytes_max: usize,
    /// Bytes read a second.
    pub bytes_per_second: u64,
    /// A partition is due once this part of what can be compacted is not, in percent.
    pub dirty_percent_min: u64,
}

impl Default for CompactionLimits {
    fn default() -> CompactionLimits {
        CompactionLimits { keys_bytes_max: 32 << 20, bytes_per_second: 32 << 20, dirty_percent_min: 50 }
    }
}

/// Time that one turn makes up for at most, in milliseconds: whoever comes late does not catch up at once.
const TURN_MS_MAX: i64 = 500;

/// The compaction under way.
#[derive(Debug, Default)]
pub(crate) struct Compactor {
    current: Option<Arc<Partition>>,
    last_turn: Option<Timestamp>,
}

impl Broker {
    /// Lets the compaction under way go on, or begins the next one.
    pub(super) fn step_compaction(&self, partitions: &[Arc<Partition>], now: Timestamp) {
        let limits = self.options.compaction;
        let mut compactor = self.compactor.lock();
        let since = compactor.last_turn.map_or(TURN_MS_MAX, |last| now.since(last)).clamp(0, TURN_MS_MAX);
        compactor.last_turn = Some(now);
        let bytes = limits.bytes_per_second.saturating_mul(since.unsigned_abs()) / 1_000;
        if compactor.current.as_ref().is_some_and(|current| current.compact_on(bytes)) {
            return;
        }
        let due = partitions.iter().filter_map(|partition| Some((partition.compaction_due(now)?, partition)));
        let dirtiest =
            due.max_by_key(|(dirty, _)| (dirty.per_mille(), dirty.dirty_bytes)).map(|(_, partition)| partition);
        let begun = dirtiest.filter(|partition| partition.begin_compaction(limits.keys_bytes_max, now));
        compactor.current = begun.cloned();
        if let Some(current) = &compactor.current {
            current.compact_on(bytes);
        }
    }
}
