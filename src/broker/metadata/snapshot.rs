//! The metadata as a snapshot keeps it.

use serde::{Deserialize, Serialize};

use super::MetadataError;
use super::topic::Topic;

/// All topics, sorted by name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MetadataSnapshot {
    /// The topics.
    pub topics: Vec<Topic>,
}

/// Why a snapshot's topics cannot be: what the first wrong one runs into.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the snapshot contradicts itself: {0}")]
pub struct InvalidMetadataSnapshot(#[source] pub(super) MetadataError);
