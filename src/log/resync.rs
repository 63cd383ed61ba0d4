//! Finding the next whole batch behind damaged bytes.
//!
//! A record may itself contain bytes that look like a batch. So a candidate counts only where its offset can be there,
//! its epoch wrote that offset, its CRC is right, *and* it ends exactly where the next batch, or the region, does.

use super::chain::check_epoch;
use super::epochs::History;
use crate::record::{self, BatchHeader, HEADER_BYTES};
use crate::types::Offset;

/// The byte of a batch that says which format it has, and the format it must say.
const MAGIC_POSITION: usize = 16;
const MAGIC: u8 = 2;

/// A whole batch found behind damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Where it begins in the region searched.
    pub position: usize,
    /// Its header.
    pub header: BatchHeader,
}

/// Searches `region` for the first whole batch whose base offset is above `above` and below `below`. The region must
/// end where a batch ends.
#[must_use]
pub fn find_batch(region: &[u8], above: Offset, below: Offset, history: &History) -> Option<Found> {
    let candidates = region.len().checked_sub(HEADER_BYTES)?;
    (0..=candidates).find_map(|position| {
        let bytes = &region[position..];
        let header = candidate(bytes, above, below, history)?;
        let rest = &bytes[header.total_bytes..];
        (rest.is_empty() || follows(rest, &header, history)).then_some(Found { position, header })
    })
}

fn candidate(bytes: &[u8], above: Offset, below: Offset, history: &History) -> Option<BatchHeader> {
    if bytes[MAGIC_POSITION] != MAGIC {
        return None;
    }
    let header = BatchHeader::decode(bytes).ok()?;
    let possible = header.base_offset > above && header.base_offset < below && header.total_bytes <= bytes.len();
    if !possible || check_epoch(&header, history).is_err() {
        return None;
    }
    record::verify(bytes).ok()
}

/// Whether what comes behind a candidate is the batch that must.
fn follows(rest: &[u8], before: &BatchHeader, history: &History) -> bool {
    record::verify(rest).is_ok_and(|next| next.base_offset == history.follow(before.next_offset()))
}
