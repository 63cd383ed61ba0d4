//! What a member wants to read: topics by name, and by patterns that take in those to come.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::types::{InvalidTopicName, TopicId, TopicName};

/// Entries of a selection at most.
pub const SELECTION_ENTRIES_MAX: usize = 256;

/// Users' topics, as a group sees them.
pub(in crate::broker) type TopicsView = Arc<BTreeMap<TopicName, SeenTopic>>;

/// A topic. One created anew under its name is another one, whose partitions nobody has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) struct SeenTopic {
    pub(in crate::broker) id: TopicId,
    pub(in crate::broker) partitions: u32,
}

/// Topics that a member wants to read, also such as do not exist yet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct TopicSelection {
    names: BTreeSet<TopicName>,
    patterns: BTreeSet<Box<str>>,
}

/// Why something is no selection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// A name that no topic can have.
    #[error(transparent)]
    Name(#[from] InvalidTopicName),
    /// Too much of it.
    #[error("a member names at most {SELECTION_ENTRIES_MAX} topics and patterns, not {count}")]
    TooMany {
        /// How many there are.
        count: usize,
    },
}

impl TopicSelection {
    /// A selection of names, and of patterns in which each `*` stands for any run of characters.
    ///
    /// # Errors
    /// [`SelectionError`].
    pub fn new<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<TopicSelection, SelectionError> {
        let mut selection = TopicSelection::default();
        let mut count = 0;
        for entry in entries {
            count += 1;
            if entry.contains('*') {
                // What stands for a star could be a letter: a pattern of wrong characters would match nothing for ever.
                TopicName::new(&entry.replace('*', "a"))?;
                selection.patterns.insert(entry.into());
            } else {
                selection.names.insert(TopicName::new(entry)?);
            }
        }
        if count > SELECTION_ENTRIES_MAX { Err(SelectionError::TooMany { count }) } else { Ok(selection) }
    }

    /// The entries as they were given, in order.
    pub fn entries(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(TopicName::as_str).chain(self.patterns.iter().map(|pattern| &**pattern))
    }

    /// Those of the topics that are wanted.
    pub(super) fn of<T>(&self, topics: &BTreeMap<TopicName, T>) -> BTreeSet<TopicName> {
        let named = self.names.iter().filter(|name| topics.contains_key(*name));
        let matching = |name: &&TopicName| self.patterns.iter().any(|pattern| matches(pattern, name.as_str()));
        let matched = topics.keys().filter(|_| !self.patterns.is_empty()).filter(matching);
        named.chain(matched).cloned().collect()
    }
}

/// Whether a name is what a pattern with `*` describes.
fn matches(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = pieces.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut pieces = pieces.peekable();
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return rest.ends_with(piece);
        }
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_runs_of_characters() {
        let yes = [
            ("*", "a"),
            ("logs.*", "logs.app"),
            ("*.app", "logs.app"),
            ("l*s.*p", "logs.app"),
            ("a*", "a"),
            ("**", "x"),
        ];
        let no = [("logs.*", "log"), ("*.app", "app"), ("a*a", "a"), ("a*b", "abc"), ("a", "b"), ("a*b*c", "acb")];
        assert!(yes.iter().all(|(pattern, name)| matches(pattern, name)));
        assert!(!no.iter().any(|(pattern, name)| matches(pattern, name)));
    }

    #[test]
    fn selections_are_names_and_patterns() {
        let selection = TopicSelection::new(["logs.*", "orders", "new"]).unwrap();
        let topics = ["logs.a", "logs.b", "orders", "other"].map(|name| (TopicName::new(name).unwrap(), 1));
        let wanted: Vec<_> = selection.of(&topics.into()).iter().map(ToString::to_string).collect();
        assert_eq!(wanted, ["logs.a", "logs.b", "orders"]);
        assert_eq!(selection.entries().collect::<Vec<_>>(), ["new", "orders", "logs.*"]);
        assert!(matches!(TopicSelection::new(["a b"]), Err(SelectionError::Name(_))));
        assert!(matches!(TopicSelection::new(["a /*"]), Err(SelectionError::Name(_))));
        assert!(matches!(TopicSelection::new(vec!["a"; 300]), Err(SelectionError::TooMany { count: 300 })));
    }
}
