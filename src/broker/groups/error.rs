//! What a group refuses.

use super::classic::ClassicError;
use super::group::MEMBERS_MAX;
use super::kind::GroupKind;
use super::member::MemberId;
use super::registry::{GROUPS_MAX, MEMBERS_BYTES_MAX};
use crate::broker::positions::{ALL_NOTES_BYTES_MAX, NOTE_BYTES_MAX};
use crate::types::TopicPartition;

/// Why a group refuses a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// Nobody has joined it, and it keeps no position.
    #[error("group '{group}' does not exist")]
    UnknownGroup {
        /// Its id.
        group: String,
    },
    /// It was removed, or never joined. It may join again.
    #[error(
        "'{member}' is no member: it left, was silent for too long, or the broker was restarted; it may join again"
    )]
    UnknownMember {
        /// Who asked.
        member: MemberId,
    },
    /// The partition is another member's by now.
    #[error("{partition} is not member '{member}'s in that generation")]
    Fenced {
        /// Who asked.
        member: MemberId,
        /// What about.
        partition: TopicPartition,
    },
    /// The group's id is that of a group of another kind.
    #[error("group '{group}' is a {found} group and takes no members of a {wanted} group")]
    Kind {
        /// Its id.
        group: String,
        /// What it is.
        found: GroupKind,
        /// What was asked for.
        wanted: GroupKind,
    },
    /// The group has members: what was asked for would go against them.
    #[error("group '{group}' has {members} members; stop them first")]
    NotEmpty {
        /// Its id.
        group: String,
        /// How many there are.
        members: usize,
    },
    /// A group has as many members as it may.
    #[error("a group has at most {MEMBERS_MAX} members")]
    TooManyMembers,
    /// All members together say as much of themselves as they may.
    #[error("the members of all groups take {MEMBERS_BYTES_MAX} bytes")]
    TooMuchOfMembers,
    /// A classic group refuses it.
    #[error(transparent)]
    Classic(#[from] ClassicError),
    /// What is said with a position is too long, or all of that together.
    #[error("a note of a position has at most {NOTE_BYTES_MAX} bytes, and all together {ALL_NOTES_BYTES_MAX}")]
    TooMuchOfNotes,
    /// There are as many groups as there may be.
    #[error("there are {GROUPS_MAX} groups; delete some")]
    TooManyGroups,
}
