//! The topics a producer knows, and which partition of one a record goes to.

use std::collections::HashMap;

use tokio::time::Instant;

use super::record_ref::RecordRef;
use crate::client::ClientError;
use crate::protocol::native::ErrorCode;
use crate::types::{PartitionIndex, TopicName, partition_for_key};

/// Topics by name.
#[derive(Debug, Default)]
pub(super) struct Topics {
    topics: Vec<Topic>,
    places: HashMap<Box<str>, usize>,
    /// The one asked for last: mostly it is asked for again.
    recent: usize,
}

/// A topic and its partitions.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: TopicName,
    /// Its queues, by partition.
    pub(super) queues: Vec<usize>,
    /// Of those, how many it has now; none where it has to be asked for first.
    pub(super) partitions: u32,
    /// Whose turn it is.
    pub(super) turn: u32,
    pub(super) message_bytes_max: usize,
    pub(super) learned: Instant,
}

impl Topics {
    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Topic> {
        let place = self.place(name)?;
        self.at_mut(place)
    }

    /// Where the topic of that name stands, for good.
    pub(super) fn place(&mut self, name: &str) -> Option<usize> {
        if self.topics.get(self.recent).is_none_or(|topic| topic.name.as_str() != name) {
            self.recent = *self.places.get(name)?;
        }
        Some(self.recent)
    }

    /// The topic that stands there.
    pub(super) fn at_mut(&mut self, place: usize) -> Option<&mut Topic> {
        self.topics.get_mut(place)
    }

    /// The topic of that name; made where there is none.
    pub(super) fn get_or_insert_with(&mut self, name: &TopicName, make: impl FnOnce() -> Topic) -> &mut Topic {
        let place = *self.places.entry(name.as_str().into()).or_insert(self.topics.len());
        if place == self.topics.len() {
            self.topics.push(make());
        }
        &mut self.topics[place]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Topic> {
        self.topics.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }
}

impl Topic {
    /// The queue of a record. Records that have neither a partition nor a key go where `turn` says, which is set by the
    /// first of them.
    #[inline]
    pub(super) fn choose(
        &mut self,
        record: &RecordRef<'_>,
        turn: &mut Option<PartitionIndex>,
    ) -> Result<usize, ClientError> {
        let partition = match (record.partition, record.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => partition_for_key(key, self.partitions),
            (None, None) => match *turn {
                Some(turn) if turn.0 < self.partitions => turn,
                _ => {
                    self.turn = self.turn.wrapping_add(1) % self.partitions;
                    *turn.insert(PartitionIndex(self.turn))
                }
            },
        };
        let queues = self.queues.get(..self.partitions as usize).unwrap_or(&self.queues);
        queues.get(partition.0 as usize).copied().ok_or_else(|| ClientError::Refused {
            code: Some(ErrorCode::UnknownPartition),
            name: ErrorCode::UnknownPartition.to_string(),
            error: format!("topic '{}' has no partition {partition}", self.name),
        })
    }
}
