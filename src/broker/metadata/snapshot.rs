//! The metadata as a snapshot keeps it.

use serde::{Deserialize, Serialize};

use super::MetadataError;
use super::topic::Topic;

/// Everything the metadata hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MetadataSnapshot {
    /// All topics, sorted by name.
    pub topics: Vec<Topic>,
    /// The first producer id that was never given out.
    #[serde(default)]
    pub next_producer_id: i64,
}

/// Why a snapshot's topics cannot be: what the first wrong one runs into.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the snapshot contradicts itself: {0}")]
pub struct InvalidMetadataSnapshot(#[source] pub(super) MetadataError);
