//! A member of a group: who it is, what it asks for, and what it is told.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::assignment::Interest;
use super::selection::TopicSelection;
use crate::types::{Timestamp, TopicPartition};

/// A member's id: given by the broker at its first join, and its own for as long as it comes back in time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(Arc<str>);

impl MemberId {
    /// An id that a client names.
    #[must_use]
    pub fn new(id: &str) -> MemberId {
        MemberId(id.into())
    }

    /// A new one.
    #[must_use]
    pub fn fresh(id: Uuid) -> MemberId {
        MemberId(id.to_string().into())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for MemberId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// Counts the changes of who has what in a group; it grows for ever, over restarts too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A partition that a member may read, and since which generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// Which.
    pub partition: TopicPartition,
    /// Since when it is the member's.
    pub since: Generation,
}

/// Everything a member may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The generation of the group.
    pub generation: Generation,
    /// The whole of it, in order.
    pub assigned: Vec<Assigned>,
}

/// Where a member's assignments go.
pub trait MemberSink: Send + Sync + fmt::Debug {
    /// Takes what the member may read from now on. Whether it will hear of it; where not, its next heartbeat tells it.
    /// Called under the group's lock: it must neither block nor call the broker.
    fn assigned(&self, member: &MemberId, assignment: &Assignment) -> bool;
}

/// What a member says of itself.
#[derive(Debug, Clone)]
pub struct MemberDetails {
    /// The id its client gave itself; may be empty.
    pub client_id: Box<str>,
    /// Where its connection comes from.
    pub host: Box<str>,
    /// What it wants to read.
    pub topics: TopicSelection,
    /// How long it may be silent, in milliseconds.
    pub session_timeout_ms: i64,
    /// How long it may take to release what goes to others, in milliseconds.
    pub rebalance_timeout_ms: i64,
}

impl MemberDetails {
    /// What it takes to remember them, roughly.
    pub(super) fn bytes(&self) -> usize {
        MEMBER_BYTES
            + self.client_id.len()
            + self.topics.entries().map(|entry| entry.len() + ENTRY_BYTES).sum::<usize>()
    }
}

/// Bytes of a member without what it says of itself, roughly.
const MEMBER_BYTES: usize = 600;
/// Bytes of an entry of its selection beside the name, roughly.
const ENTRY_BYTES: usize = 64;

/// A member as the group knows it.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) details: MemberDetails,
    /// What it wants of the topics there are, once that was looked up.
    pub(super) interest: Option<Interest>,
    pub(super) sink: Arc<dyn MemberSink>,
    pub(super) heard_at: Timestamp,
    /// Since when it has something to release.
    pub(super) releasing_since: Option<Timestamp>,
    /// Whether its assignment has changed and it was not told.
    pub(super) is_untold: bool,
}

impl Member {
    /// Why it is to be removed, if it is.
    pub(super) fn overdue(&self, now: Timestamp) -> Option<&'static str> {
        if now.since(self.heard_at) > self.details.session_timeout_ms {
            return Some("it was silent for longer than its session timeout");
        }
        let released_late = |since: Timestamp| now.since(since) > self.details.rebalance_timeout_ms;
        self.releasing_since.is_some_and(released_late).then_some("it did not release its partitions in time")
    }
}
