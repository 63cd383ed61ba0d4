//! The bytes of a snapshot file: an envelope around the snapshot, as `docs/format.md` gives it.

use super::{SkipReason, Snapshot, SnapshotError};
use crate::log::{EnvelopeError, open_envelope, seal_envelope};

/// The version this broker writes, and the newest it reads.
const VERSION: u64 = 1;

/// The file of a snapshot.
pub(super) fn encode(snapshot: &Snapshot) -> Result<Vec<u8>, SnapshotError> {
    Ok(seal_envelope(VERSION, snapshot)?)
}

/// The snapshot of a file.
pub(super) fn decode(bytes: &[u8]) -> Result<Snapshot, SkipReason> {
    Ok(open_envelope(VERSION, bytes)?)
}

impl From<EnvelopeError> for SkipReason {
    fn from(error: EnvelopeError) -> SkipReason {
        match error {
            EnvelopeError::Newer { found, known } => SkipReason::NewerVersion { found, known },
            EnvelopeError::Checksum { found: expected, computed: found } => {
                SkipReason::ChecksumDiffers { expected, found }
            }
            EnvelopeError::Json(_) | EnvelopeError::Missing(_) => SkipReason::Damaged(error.to_string()),
        }
    }
}
