//! What a member of a group knows, and what it does when the group changes. No socket, no clock.
//!
//! A partition is *held* from the moment it is taken until it was released: read, or still being finished. The group
//! gives it to another only once it was told that it is held no more.
//!
//! ```text
//!             assigned                 not in the assignment               finished
//!   (none) ────────────► read ─────────────────────────────► releasing ──────────────► (none)
//!                          ▲                                     │
//!                          └──────── assigned once more ─────────┘   (dropped and taken anew)
//! ```

use std::collections::{BTreeMap, BTreeSet};

use super::wire::Assignment;
use crate::types::TopicPartition;

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::client) enum Change {
    /// It is another's now: nothing more of it may be handed out or committed.
    Drop(TopicPartition),
    /// Stop reading, finish what was handed out, and say so by [`Membership::released`].
    Release(TopicPartition),
    /// Read it from the position kept; it is this member's since that generation.
    Take(TopicPartition, u64),
}

/// A member of a group.
#[derive(Debug, Default)]
pub(in crate::client) struct Membership {
    topics: BTreeSet<String>,
    member: Option<String>,
    generation: u64,
    held: BTreeMap<TopicPartition, Held>,
    /// Whether the group knows this connection, and what is read.
    is_joined: bool,
    /// Whether the group was told what is held.
    is_told: bool,
}

#[derive(Debug)]
struct Held {
    since: u64,
    is_releasing: bool,
}

impl Membership {
    /// Reads a topic, or those of a pattern, from the next join on. Whether it did not before.
    pub(in crate::client) fn add_topic(&mut self, topic: &str) -> bool {
        let is_new = self.topics.insert(topic.to_owned());
        self.is_joined &= !is_new;
        is_new
    }

    /// Reads it no more, from the next join on. Whether it did before.
    pub(in crate::client) fn remove_topic(&mut self, topic: &str) -> bool {
        let was_there = self.topics.remove(topic);
        self.is_joined &= !was_there;
        was_there
    }

    /// The topics and patterns that are read.
    pub(in crate::client) fn topics(&self) -> impl Iterator<Item = &str> {
        self.topics.iter().map(String::as_str)
    }

    /// The id the group knows the member by.
    pub(in crate::client) fn member(&self) -> Option<&str> {
        self.member.as_deref()
    }

    /// Whether the group has to be asked to take the member, its topics, or its connection.
    pub(in crate::client) fn has_to_join(&self) -> bool {
        !self.is_joined
    }

    /// What is held, and since when: what a join says.
    pub(in crate::client) fn held(&self) -> impl Iterator<Item = (&TopicPartition, u64)> {
        self.held.iter().map(|(partition, held)| (partition, held.since))
    }

    /// Since when a partition is read.
    pub(in crate::client) fn reads(&self, partition: &TopicPartition) -> Option<u64> {
        self.held.get(partition).filter(|held| !held.is_releasing).map(|held| held.since)
    }

    /// A join was sent; what changes after it asks for another one.
    pub(in crate::client) fn joining(&mut self) {
        self.is_joined = true;
    }

    /// The join did not reach the group, or the connection is gone.
    pub(in crate::client) fn disconnected(&mut self) {
        self.is_joined = false;
        self.is_told = false;
    }

    /// The group has taken the member.
    pub(in crate::client) fn joined(&mut self, member: &str, assignment: &Assignment) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.member.as_deref().is_some_and(|known| known != member) {
            changes = self.drop_all();
        }
        self.member = Some(member.to_owned());
        self.is_told = false;
        // The answer to a join counts whatever came before it: a group that was forgotten may begin anew.
        self.generation = assignment.generation;
        changes.extend(self.apply(assignment));
        changes
    }

    /// The group says what may be read. What is older than what is known changes nothing.
    pub(in crate::client) fn assigned(&mut self, assignment: &Assignment) -> Vec<Change> {
        if assignment.generation < self.generation || self.member.is_none() {
            return Vec::new();
        }
        self.generation = assignment.generation;
        self.apply(assignment)
    }

    fn apply(&mut self, assignment: &Assignment) -> Vec<Change> {
        let wanted: BTreeMap<&TopicPartition, u64> =
            assignment.partitions.iter().map(|(p, since)| (p, *since)).collect();
        let (mut drops, mut releases, mut takes) = (Vec::new(), Vec::new(), Vec::new());
        for (partition, held) in &mut self.held {
            match wanted.get(partition) {
                Some(since) if *since == held.since && !held.is_releasing => {}
                // It was another's in between, or its reading has ended already: it begins anew.
                Some(since) => {
                    drops.push(Change::Drop(partition.clone()));
                    takes.push(Change::Take(partition.clone(), *since));
                    (held.since, held.is_releasing) = (*since, false);
                }
                None if !held.is_releasing => {
                    held.is_releasing = true;
                    releases.push(Change::Release(partition.clone()));
                }
                None => {}
            }
        }
        for (partition, since) in wanted {
            if !self.held.contains_key(partition) {
                self.held.insert(partition.clone(), Held { since, is_releasing: false });
                takes.push(Change::Take(partition.clone(), since));
            }
        }
        if !(drops.is_empty() && releases.is_empty() && takes.is_empty()) {
            self.is_told = false;
        }
        drops.append(&mut releases);
        drops.append(&mut takes);
        drops
    }

    /// A partition that was to be released is finished.
    pub(in crate::client) fn released(&mut self, partition: &TopicPartition) {
        if self.held.get(partition).is_some_and(|held| held.is_releasing) {
            self.held.remove(partition);
            self.is_told = false;
        }
    }

    /// A partition that was this member's since then is another's.
    pub(in crate::client) fn fenced(&mut self, partition: &TopicPartition, since: u64) -> Vec<Change> {
        if self.held.get(partition).is_none_or(|held| held.since != since) {
            return Vec::new();
        }
        self.held.remove(partition);
        self.is_told = false;
        vec![Change::Drop(partition.clone())]
    }

    /// The group knows no such member: nothing is this member's any more, and it joins as a new one.
    pub(in crate::client) fn expelled(&mut self) -> Vec<Change> {
        self.member = None;
        self.generation = 0;
        self.is_joined = false;
        self.drop_all()
    }

    fn drop_all(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.held).into_keys().map(Change::Drop).collect()
    }

    /// Whether the group has to be told what is held.
    pub(in crate::client) fn has_to_tell(&self) -> bool {
        self.is_joined && !self.is_told && self.member.is_some()
    }

    /// The group is being told what is held now.
    pub(in crate::client) fn telling(&mut self) {
        self.is_told = true;
    }
}

#[cfg(test)]
mod tests;
