//! What kinds of group there are, and what the log keeps of a group.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How the members of a group share what they read. The first member decides, and it stays so until the group is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupKind {
    /// The broker divides partitions among the members.
    Partitioned,
    /// Members take single messages in turn.
    Queue,
    /// Members divide partitions among themselves, by Kafka's classic protocol.
    Classic,
}

impl GroupKind {
    /// The name of the kind.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            GroupKind::Partitioned => "partitioned",
            GroupKind::Queue => "queue",
            GroupKind::Classic => "classic",
        }
    }
}

impl fmt::Display for GroupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the log keeps of a group beside its positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRecord {
    /// Its kind.
    pub kind: GroupKind,
    /// Every generation that may have been given out is below this one.
    pub generations: u64,
    /// The longest session timeout of its members, in milliseconds; 0 where it has none. After a restart they are expected
    /// back for as long.
    pub session_ms: i64,
}
