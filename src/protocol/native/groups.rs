//! Bodies of the frames about groups: JSON, for both sides.

use serde::{Deserialize, Serialize};

/// A partition that a member may read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OwnedPartition {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// Since which generation of the group it is the member's.
    pub generation: u64,
}

/// A partition that a member reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ReadPartition {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
}

/// What JOIN_GROUP carries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinBody {
    /// Topics, and patterns in which `*` stands for any run of characters.
    pub topics: Vec<String>,
    /// What a member that comes back still reads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owned: Vec<OwnedPartition>,
}

/// What GROUP_HEARTBEAT carries, if anything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadsBody {
    /// Everything that the member still reads.
    pub owned: Vec<ReadPartition>,
}

/// What ASSIGNMENT carries, and the answers to JOIN_GROUP and GROUP_HEARTBEAT.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignmentBody {
    /// The generation of the group.
    pub generation: u64,
    /// Everything that the member may read.
    pub assigned: Vec<OwnedPartition>,
}

/// A position in a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionOffset {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// The next offset to be read.
    pub offset: u64,
}

/// What RESET_GROUP carries, and the answer to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PositionsBody {
    /// The positions.
    pub positions: Vec<PartitionOffset>,
}
