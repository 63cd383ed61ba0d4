//! What happens to a topic's old records.

/// What happens to old records. On the wire, in files and on the command line it goes by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "server", derive(serde::Serialize, serde::Deserialize))]
pub enum CleanupPolicy {
    /// `delete`: they go when their retention is over.
    #[cfg_attr(feature = "server", serde(rename = "delete"))]
    Delete,
    /// `compact`: they go when a newer record has their key.
    #[cfg_attr(feature = "server", serde(rename = "compact"))]
    Compact,
    /// `compact,delete`: they go on either ground.
    #[cfg_attr(feature = "server", serde(rename = "compact,delete"))]
    CompactAndDelete,
}

impl CleanupPolicy {
    /// The policy of a name; `None` for an unknown one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<CleanupPolicy> {
        match name {
            "delete" => Some(CleanupPolicy::Delete),
            "compact" => Some(CleanupPolicy::Compact),
            "compact,delete" | "delete,compact" => Some(CleanupPolicy::CompactAndDelete),
            _ => None,
        }
    }

    /// Whether records go when a newer one has their key.
    #[must_use]
    pub const fn compacts(self) -> bool {
        matches!(self, CleanupPolicy::Compact | CleanupPolicy::CompactAndDelete)
    }

    /// Whether records go when their retention is over.
    #[must_use]
    pub const fn deletes(self) -> bool {
        matches!(self, CleanupPolicy::Delete | CleanupPolicy::CompactAndDelete)
    }

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            CleanupPolicy::Delete => "delete",
            CleanupPolicy::Compact => "compact",
            CleanupPolicy::CompactAndDelete => "compact,delete",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_its_name_everywhere() {
        for policy in [CleanupPolicy::Delete, CleanupPolicy::Compact, CleanupPolicy::CompactAndDelete] {
            assert_eq!(CleanupPolicy::from_name(policy.as_str()), Some(policy));
            #[cfg(feature = "server")]
            assert_eq!(serde_json::to_value(policy).unwrap(), policy.as_str());
        }
        assert_eq!(CleanupPolicy::from_name("delete,compact"), Some(CleanupPolicy::CompactAndDelete));
        assert_eq!(CleanupPolicy::from_name("keep"), None);
    }
}
