//! Positions that clients keep: how far each has read each partition, remembered over the internal topic `__offsets`.
//!
//! ```text
//!  commit ──lazily──► claim ──┐ (the newest of each client, every 100 ms)
//!         └─waiting───────────┴─► flight: one batch on its way, what comes meanwhile gathers
//!                                    │ it has what was asked for
//!                                    ▼
//!                                  kept ──► replies, snapshots
//! ```
//!
//! A client's positions all live in one partition of the topic, chosen by its id. In the log the last record of a
//! position counts, and because one flight at a time is under way per partition and each position in it is at least the
//! one before, it never goes back. The topic is compacted, so that its log stays short. What is kept is never more than the log holds; a claim is what a lazy commit said
//! and the log does not hold yet: it is answered to whoever asks, goes with a failed log, and may be lost by a kill.

mod codec;
mod commit;
mod flight;
mod key;
mod load;
mod registry;
mod several;
mod shard;
mod snapshot;
mod start;
#[cfg(test)]
mod tests;

pub use key::{CLIENT_ID_BYTES_MAX, NOTE_BYTES_MAX, PositionKey, PositionNote, PositionOwner};
pub use registry::{ALL_NOTES_BYTES_MAX, OFFSETS_TOPIC, PositionLimits};
pub use snapshot::{KeptGroup, KeptPosition, PositionsSnapshot};

pub use several::{SeveralPositions, StatedPosition};

pub(in crate::broker) use commit::PositionReply;
pub(in crate::broker) use load::PositionsStart;
pub(in crate::broker) use registry::Positions;
pub(in crate::broker) use shard::{Answers, OwnedPosition};
