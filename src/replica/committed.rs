//! How far a partition is committed, for readers that wait until there is more.

use super::partition::Partition;
use crate::log::LogPoint;
use crate::types::Offset;

/// The end of what is committed at some time.
#[derive(Debug, Clone, Copy)]
pub struct Committed(LogPoint);

impl Partition {
    /// The end of what is committed now.
    #[must_use]
    pub fn committed(&self) -> Committed {
        Committed(self.state.lock().committed)
    }
}

impl Committed {
    /// The offset of the next record to be committed.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.0.next_offset
    }

    /// Bytes committed since an earlier time; `None` where a segment was begun meanwhile.
    #[must_use]
    pub fn bytes_since(&self, earlier: &Committed) -> Option<u64> {
        let bytes = self.0.position.checked_sub(earlier.0.position);
        bytes.filter(|_| self.0.segment == earlier.0.segment)
    }
}
