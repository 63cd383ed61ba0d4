//! A member of a classic group, and what passes between it and the group.

use std::sync::Arc;

use bytes::Bytes;

use crate::broker::groups::member::{Generation, MemberId};
use crate::types::{Timestamp, TopicName, TopicPartition};

/// Whom an answer is for: a number that whoever asks gives out, and gets back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// A way of dividing partitions that a member knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassicProtocol {
    /// Its name.
    pub name: Arc<str>,
    /// What the member says to the leader under it; the broker does not read it.
    pub metadata: Bytes,
}

/// A member joins, or stays for the next generation.
#[derive(Debug, Clone)]
pub struct ClassicJoin {
    /// As whom; `None` of a client that has no id yet.
    pub member: Option<MemberId>,
    /// The id it gets where it has none.
    pub fresh_id: MemberId,
    /// Whether a new member is to come again with its id before it counts (KIP-394).
    pub takes_id_first: bool,
    /// Whether a leader that comes back understands that there is nothing to assign (KIP-814).
    pub skips_assignment: bool,
    /// The name under which it comes back after a restart of its own (KIP-345).
    pub instance: Option<Arc<str>>,
    /// The id its client gave itself; may be empty.
    pub client_id: Box<str>,
    /// Where its connection comes from.
    pub host: Box<str>,
    /// How long it may be silent, in milliseconds.
    pub session_timeout_ms: i64,
    /// How long it may take to join again, in milliseconds.
    pub rebalance_timeout_ms: i64,
    /// What kind of member it is: consumers call it `consumer`.
    pub protocol_type: Arc<str>,
    /// Ways of dividing partitions that it knows, the best first.
    pub protocols: Vec<ClassicProtocol>,
    /// The topics it says it reads, where whoever took its request could tell.
    pub topics: Option<Arc<[TopicName]>>,
}

impl ClassicJoin {
    /// What it takes to remember the member, in bytes, roughly.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let topics = self.topics.as_ref().map_or(0, |topics| topics.iter().map(topic_bytes).sum());
        let instance = self.instance.as_ref().map_or(0, |instance| instance.len());
        let protocols = self.protocols.iter().map(|known| PROTOCOL_BYTES + known.name.len() + known.metadata.len());
        MEMBER_BYTES + self.client_id.len() + instance + topics + protocols.sum::<usize>()
    }
}

/// What the leader assigns to a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassicAssignment {
    /// Which member.
    pub member: MemberId,
    /// What it is told; the broker does not read it.
    pub bytes: Bytes,
    /// The partitions in it, where whoever took the request could tell.
    pub partitions: Vec<TopicPartition>,
}

impl ClassicAssignment {
    /// What it takes to remember it, in bytes, roughly.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len() + self.partitions.len() * ASSIGNED_BYTES
    }
}

fn topic_bytes(topic: &TopicName) -> usize {
    topic.as_str().len() + TOPIC_BYTES
}

/// The answer to a member that joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// Who it is.
    pub member: MemberId,
    /// The generation that begins.
    pub generation: Generation,
    /// The kind of the group's members.
    pub protocol_type: Arc<str>,
    /// The way that was chosen.
    pub protocol: Arc<str>,
    /// Who assigns.
    pub leader: MemberId,
    /// Whether the leader has nothing to assign.
    pub skips_assignment: bool,
    /// For the leader: all members.
    pub members: Vec<JoinedMember>,
}

/// A member as the leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinedMember {
    /// Who.
    pub member: MemberId,
    /// Its instance.
    pub instance: Option<Arc<str>>,
    /// What it says under the protocol that was chosen.
    pub metadata: Bytes,
}

/// The answer to a member that asked for its assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synced {
    /// The kind of the group's members.
    pub protocol_type: Arc<str>,
    /// The way that was chosen.
    pub protocol: Arc<str>,
    /// What the leader assigned to it; the broker does not read it.
    pub assignment: Bytes,
}

/// Why a classic group refuses a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClassicError {
    /// It never joined, or was removed.
    #[error("no member of the group")]
    UnknownMember,
    /// It is of an earlier generation.
    #[error("not the generation the group is in")]
    IllegalGeneration,
    /// Members are to join anew.
    #[error("members are joining anew")]
    RebalanceInProgress,
    /// It is to join again with the id it is given here.
    #[error("join again as '{member}'")]
    MemberIdRequired {
        /// Its id.
        member: MemberId,
    },
    /// It knows no way of dividing partitions that all others know, or is of another kind.
    #[error("no protocol in common with the other members")]
    InconsistentProtocol,
    /// Another client has come under its instance.
    #[error("another client has its instance")]
    FencedInstance,
    /// The group has as many members as it may.
    #[error("the group has as many members as it may")]
    Full,
    /// The session timeout is none that is allowed.
    #[error("a session timeout outside what is allowed")]
    SessionTimeout,
    /// The group was deleted meanwhile.
    #[error("the group is gone")]
    Gone,
}

/// An answer to somebody who waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClassicAnswer {
    /// To a join.
    Join {
        /// Whom.
        ticket: Ticket,
        /// What.
        result: Result<Box<Joined>, ClassicError>,
    },
    /// To a sync.
    Sync {
        /// Whom.
        ticket: Ticket,
        /// What.
        result: Result<Synced, ClassicError>,
    },
}

/// A member as the group knows it.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) instance: Option<Arc<str>>,
    pub(super) client_id: Box<str>,
    pub(super) host: Box<str>,
    pub(super) session_timeout_ms: i64,
    pub(super) rebalance_timeout_ms: i64,
    pub(super) protocols: Vec<ClassicProtocol>,
    pub(super) topics: Option<Arc<[TopicName]>>,
    pub(super) assignment: Bytes,
    /// The partitions in `assignment`, as far as they are known.
    pub(super) assigned: Vec<TopicPartition>,
    pub(super) heard_at: Timestamp,
    /// Whether it has not been in a generation yet.
    pub(super) is_new: bool,
    /// Whom to answer when the next generation begins.
    pub(super) joins: Option<Ticket>,
    /// Whom to answer when the leader has assigned.
    pub(super) syncs: Option<Ticket>,
    /// Whether it has asked for its assignment in this generation.
    pub(super) has_synced: bool,
}

/// Time that a new member is kept while it waits for its first generation, in milliseconds.
const NEW_MEMBER_KEPT_MS: i64 = 300_000;
/// Bytes of a member without what it says of itself, roughly.
const MEMBER_BYTES: usize = 500;
/// Bytes of a topic beside its name, roughly.
const TOPIC_BYTES: usize = 40;
/// Bytes of a partition that is assigned, roughly.
const ASSIGNED_BYTES: usize = 24;
/// Bytes of a protocol beside its name and metadata, roughly.
const PROTOCOL_BYTES: usize = 80;

impl Member {
    pub(super) fn new(join: &ClassicJoin, now: Timestamp) -> Member {
        Member {
            instance: join.instance.clone(),
            client_id: join.client_id.clone(),
            host: join.host.clone(),
            session_timeout_ms: join.session_timeout_ms,
            rebalance_timeout_ms: join.rebalance_timeout_ms,
            protocols: join.protocols.clone(),
            topics: join.topics.clone(),
            assignment: Bytes::new(),
            assigned: Vec::new(),
            heard_at: now,
            is_new: true,
            joins: None,
            syncs: None,
            has_synced: false,
        }
    }

    /// Takes over what it says now.
    pub(super) fn update(&mut self, join: &ClassicJoin, now: Timestamp) {
        self.client_id.clone_from(&join.client_id);
        self.host.clone_from(&join.host);
        self.session_timeout_ms = join.session_timeout_ms;
        self.rebalance_timeout_ms = join.rebalance_timeout_ms;
        self.protocols.clone_from(&join.protocols);
        self.topics.clone_from(&join.topics);
        self.hear(now);
    }

    pub(super) fn hear(&mut self, now: Timestamp) {
        self.heard_at = self.heard_at.max(now);
    }

    pub(super) fn unassign(&mut self) {
        (self.assignment, self.assigned) = (Bytes::new(), Vec::new());
    }

    pub(super) fn metadata(&self, protocol: &str) -> Option<&Bytes> {
        self.protocols.iter().find(|known| &*known.name == protocol).map(|known| &known.metadata)
    }

    /// When it is to be removed for its silence; never while it waits for an answer, unless it is new.
    pub(super) fn silent_until(&self) -> Option<Timestamp> {
        match (self.joins, self.syncs) {
            (Some(_), _) if self.is_new => Some(self.heard_at.plus_millis(NEW_MEMBER_KEPT_MS)),
            (Some(_), _) | (None, Some(_)) => None,
            (None, None) => Some(self.heard_at.plus_millis(self.session_timeout_ms)),
        }
    }

    /// What it takes to remember it, roughly.
    pub(super) fn bytes(&self) -> usize {
        let instance = self.instance.as_ref().map_or(0, |instance| instance.len());
        let protocols = self.protocols.iter().map(|known| PROTOCOL_BYTES + known.name.len() + known.metadata.len());
        let topics = self.topics.as_ref().map_or(0, |topics| topics.iter().map(topic_bytes).sum());
        let assigned = self.assignment.len() + self.assigned.len() * ASSIGNED_BYTES;
        MEMBER_BYTES + self.client_id.len() + instance + topics + assigned + protocols.sum::<usize>()
    }
}
