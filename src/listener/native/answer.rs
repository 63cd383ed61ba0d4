//! Answers to requests, and how they go out.

use bytes::BytesMut;

use super::errors::Refusal;
use crate::protocol::native::reply;
use crate::types::{Offset, PartitionIndex, Timestamp, TopicName};

/// One answer.
#[derive(Debug)]
pub(super) enum Answer {
    Published {
        topic: TopicName,
        partition: PartitionIndex,
        offset: Offset,
    },
    Created {
        topic: TopicName,
        partitions: u32,
    },
    Subscribed {
        topic: TopicName,
        partition: PartitionIndex,
        client_id: String,
        start: Offset,
    },
    Unsubscribed {
        topic: TopicName,
        partition: PartitionIndex,
        client_id: String,
    },
    Heartbeat,
    Refused(Refusal),
    /// The request wanted none.
    Silence,
}

impl Answer {
    /// Bytes that it keeps while it waits for its turn, beside its own size.
    pub(super) fn kept_bytes(&self) -> usize {
        match self {
            Answer::Subscribed { client_id, .. } | Answer::Unsubscribed { client_id, .. } => client_id.len(),
            Answer::Refused(refusal) => refusal.text.len(),
            Answer::Published { .. } | Answer::Created { .. } | Answer::Heartbeat | Answer::Silence => 0,
        }
    }

    /// Where it took effect, as the log names it.
    pub(super) fn effect(&self) -> (Option<PartitionIndex>, Option<Offset>) {
        match self {
            Answer::Published { partition, offset, .. } => (Some(*partition), Some(*offset)),
            Answer::Subscribed { partition, start, .. } => (Some(*partition), Some(*start)),
            Answer::Unsubscribed { partition, .. } => (Some(*partition), None),
            Answer::Created { .. } | Answer::Heartbeat | Answer::Refused(_) | Answer::Silence => (None, None),
        }
    }

    /// Writes it as a frame.
    pub(super) fn encode(&self, bytes: &mut BytesMut, sequence: u64, now: Timestamp) {
        match self {
            Answer::Published { topic, partition, offset } => {
                reply::publish_ack(bytes, sequence, now, topic.as_str(), *partition, *offset);
            }
            Answer::Created { topic, partitions } => {
                reply::topic_ack(bytes, sequence, now, topic.as_str(), *partitions);
            }
            Answer::Subscribed { topic, partition, client_id, start } => {
                reply::subscribe_ack(bytes, sequence, now, topic.as_str(), *partition, client_id, *start);
            }
            Answer::Unsubscribed { topic, partition, client_id } => {
                reply::unsubscribe_ack(bytes, sequence, now, topic.as_str(), *partition, client_id);
            }
            Answer::Heartbeat => reply::heartbeat(bytes, sequence, now),
            Answer::Refused(refusal) => refusal.encode(bytes, sequence, now),
            Answer::Silence => {}
        }
    }
}
