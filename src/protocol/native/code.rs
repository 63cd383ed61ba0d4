//! The stable names of errors on the native protocol's wire: the `code` property of an error ACK.
//!
//! A name, once released, keeps its meaning for ever; texts beside it may change.

use std::fmt;

macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $retriable:literal;)*) => {
        /// Why a request was refused, as a program can tell it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $($(#[$doc])* $variant,)*
        }

        impl ErrorCode {
            /// Every code there is.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant),*];

            /// The name on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(ErrorCode::$variant => $name,)* }
            }

            /// The code of a name; `None` for a name this version does not know.
            #[must_use]
            pub fn from_name(name: &str) -> Option<ErrorCode> {
                match name { $($name => Some(ErrorCode::$variant),)* _ => None }
            }

            /// Whether the same request, sent again later or elsewhere, may succeed without anybody changing it.
            #[must_use]
            pub const fn is_retriable(self) -> bool {
                match self { $(ErrorCode::$variant => $retriable,)* }
            }
        }
    };
}

error_codes! {
    /// The frame's lengths disagree, or its properties are not NUL-ended UTF-8 `key=value` pairs.
    Malformed = "malformed", false;
    /// The frame's type is none this server answers.
    UnknownType = "unknown_type", false;
    /// The frame, its properties or its body is larger than allowed.
    MessageTooLarge = "message_too_large", false;
    /// The topic does not exist.
    UnknownTopic = "unknown_topic", false;
    /// The topic has no such partition.
    UnknownPartition = "unknown_partition", false;
    /// The topic exists with another number of partitions.
    TopicExists = "topic_exists", false;
    /// The name breaks the rule for topic names, or is reserved for the broker.
    InvalidTopic = "invalid_topic", false;
    /// A steering property is missing, given twice, unknown, or has no valid value.
    InvalidProperty = "invalid_property", false;
    /// A record batch that breaks the rules of its format, or is larger than allowed.
    InvalidBatch = "invalid_batch", false;
    /// A record that its topic does not take: without a key, where the newest of each key is kept.
    InvalidRecord = "invalid_record", false;
    /// The offset lies outside the log; `log_start` and `log_end` say what there is.
    OffsetOutOfRange = "offset_out_of_range", false;
    /// The connection holds no such subscription.
    NotSubscribed = "not_subscribed", false;
    /// The connection holds this subscription already.
    AlreadySubscribed = "already_subscribed", false;
    /// A named limit (topics, partitions, subscriptions …) is reached.
    LimitExceeded = "limit_exceeded", false;
    /// Another broker leads the partition; `leader=host:port` says which, where it is known.
    NotLeader = "not_leader", true;
    /// The sender's leader epoch has been superseded.
    FencedEpoch = "fenced_epoch", false;
    /// The disk has no room; publishing resumes once there is some.
    StorageFull = "storage_full", true;
    /// The partition's storage failed and takes no more writes until the broker is restarted.
    StorageFailed = "storage_failed", false;
    /// Stored data is damaged; the partition serves what is whole and refuses writes until it is repaired.
    Corrupt = "corrupt", false;
    /// A queue is full; slow down.
    Overloaded = "overloaded", true;
    /// An idempotent producer's sequence has a gap.
    OutOfOrderSequence = "out_of_order_sequence", false;
    /// A newer incarnation of the producer exists.
    StaleProducerEpoch = "stale_producer_epoch", false;
    /// The group does not exist.
    UnknownGroup = "unknown_group", false;
    /// The member is not in the group, or not any more; it may join again.
    UnknownMember = "unknown_member", false;
    /// The partition is another member's by now.
    FencedMember = "fenced_member", false;
    /// The group is of another kind.
    GroupKind = "group_kind", false;
    /// The group has members.
    GroupNotEmpty = "group_not_empty", false;
    /// The broker is stopping.
    ShuttingDown = "shutting_down", true;
    /// The request was not done in the time allowed; whether it took effect is unknown.
    TimedOut = "timed_out", true;
    /// A fault of the broker's own; its log says more.
    Internal = "internal", false;
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_lead_back() {
        for &code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_name(code.as_str()), Some(code));
        }
        assert_eq!(ErrorCode::from_name("no such"), None);
    }

    #[test]
    fn the_documentation_has_a_row_for_every_code() {
        let documentation = include_str!("../../../docs/protocol.md");
        for code in ErrorCode::ALL {
            let again = if code.is_retriable() { "yes" } else { "no" };
            let row = format!("\n| `{code}` | {again} | ");
            assert!(documentation.contains(&row), "{row}");
        }
    }
}
