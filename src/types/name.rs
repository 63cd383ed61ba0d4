//! Names of topics and partitions, and the rule they obey.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Longest topic name, in bytes.
pub(crate) const TOPIC_NAME_BYTES_MAX: usize = 249;

/// A topic's name: 1 to 249 of `a-z A-Z 0-9 . _ -`, and neither `.` nor `..`. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

/// Why a string cannot be a topic's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid topic name {name:?}: a name has 1 to 249 of the characters a-z A-Z 0-9 . _ - and is not '.' or '..'")]
pub struct InvalidTopicName {
    name: String,
}

impl TopicName {
    /// Checks the rule and keeps the name.
    ///
    /// # Errors
    /// [`InvalidTopicName`] where the rule is broken; the message states the rule.
    pub fn new(name: &str) -> Result<TopicName, InvalidTopicName> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let whole = !name.is_empty() && name.len() <= TOPIC_NAME_BYTES_MAX && name.bytes().all(legal);
        if whole && name != "." && name != ".." {
            Ok(TopicName(name.into()))
        } else {
            let shown = name.chars().take(TOPIC_NAME_BYTES_MAX).collect();
            Err(InvalidTopicName { name: shown })
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the broker keeps this topic for itself (names that begin with `__`).
    #[must_use]
    pub fn is_internal(&self) -> bool {
        self.0.starts_with("__")
    }
}

impl FromStr for TopicName {
    type Err = InvalidTopicName;

    fn from_str(name: &str) -> Result<TopicName, InvalidTopicName> {
        TopicName::new(name)
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The number of a partition within its topic, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionIndex(pub u32);

impl fmt::Display for PartitionIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One partition of one topic. Shown as `topic:partition`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicName,
    /// The partition within it.
    pub partition: PartitionIndex,
}

impl TopicPartition {
    /// The partition's directory below the data directory: `<topic>_p<partition>`.
    #[must_use]
    pub fn directory_name(&self) -> String {
        format!("{}_p{}", self.topic, self.partition)
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.topic, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "events", "A.b_c-9", "...", &"x".repeat(249)] {
            assert!(TopicName::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a b", "a/b", "é", "a\0", &"x".repeat(250)] {
            assert!(TopicName::new(bad).is_err(), "{bad}");
        }
    }
}
