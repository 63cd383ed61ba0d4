//! Answers to requests, and how they go out.

use std::sync::Arc;

use bytes::BytesMut;

use super::errors::Refusal;
use super::memory::Loan;
use super::reading::bytes_of;
use crate::protocol::native::{EncodeError, ErrorCode, reply};
use crate::record::Batch;
use crate::types::{Offset, PartitionIndex, ProducerEpoch, ProducerId, Timestamp, TopicName};

/// The incarnation in which a producer id begins.
const PRODUCER_EPOCH: ProducerEpoch = ProducerEpoch::new(0).expect("not negative");

/// One answer.
#[derive(Debug)]
pub(super) enum Answer {
    Published {
        topic: TopicName,
        partition: PartitionIndex,
        offset: Offset,
    },
    PublishedBatch {
        topic: TopicName,
        published: reply::PublishedBatch,
    },
    /// A topic was created, altered or deleted.
    Topic {
        topic: TopicName,
        partitions: u32,
    },
    Metadata {
        next: Option<TopicName>,
        json: Vec<u8>,
    },
    Fetched {
        topic: TopicName,
        bounds: reply::Bounds,
        range: reply::FetchedRange,
        /// They follow the frame's other parts.
        batches: Vec<Batch>,
        /// Memory for them.
        loan: Loan,
    },
    Committed {
        topic: TopicName,
        partition: PartitionIndex,
        /// Whose position: `client_id` or `wiber.group`, and the id.
        owner: (&'static str, Arc<str>),
        offset: Offset,
    },
    /// About a group: properties, and JSON.
    Group {
        properties: Vec<(&'static str, String)>,
        json: Vec<u8>,
    },
    Listed {
        topic: TopicName,
        listed: reply::ListedOffsets,
    },
    Producer(ProducerId),
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
    /// Whether it must go out before DATA that may hold its records.
    pub(super) fn is_of_publish(&self) -> bool {
        matches!(self, Answer::Published { .. } | Answer::PublishedBatch { .. })
    }

    /// Bytes that it keeps while it waits for its turn, beside its own size and what it has a loan for.
    pub(super) fn kept_bytes(&self) -> usize {
        match self {
            Answer::Subscribed { client_id, .. } | Answer::Unsubscribed { client_id, .. } => client_id.len(),
            Answer::Refused(refusal) => refusal.text.len(),
            Answer::Metadata { json, .. } => json.len(),
            Answer::Committed { owner, .. } => owner.1.len(),
            Answer::Group { json, .. } => json.len(),
            Answer::Published { .. }
            | Answer::PublishedBatch { .. }
            | Answer::Topic { .. }
            | Answer::Fetched { .. }
            | Answer::Listed { .. }
            | Answer::Producer(_)
            | Answer::Heartbeat
            | Answer::Silence => 0,
        }
    }

    /// Where it took effect, as the log names it.
    pub(super) fn effect(&self) -> (Option<PartitionIndex>, Option<Offset>) {
        match self {
            Answer::Published { partition, offset, .. } => (Some(*partition), Some(*offset)),
            Answer::Subscribed { partition, start, .. } => (Some(*partition), Some(*start)),
            Answer::Unsubscribed { partition, .. } => (Some(*partition), None),
            Answer::PublishedBatch { published, .. } => (Some(published.partition), Some(published.offset)),
            Answer::Committed { partition, offset, .. } => (Some(*partition), Some(*offset)),
            Answer::Topic { .. }
            | Answer::Metadata { .. }
            | Answer::Fetched { .. }
            | Answer::Listed { .. }
            | Answer::Group { .. }
            | Answer::Producer(_)
            | Answer::Heartbeat
            | Answer::Refused(_)
            | Answer::Silence => (None, None),
        }
    }

    /// Adds it as a frame, but for its batches. One that no frame can hold becomes a refusal.
    pub(super) fn encode(&mut self, bytes: &mut BytesMut, sequence: u64, now: Timestamp) {
        match self {
            Answer::Published { topic, partition, offset } => {
                reply::publish_ack(bytes, sequence, now, topic.as_str(), *partition, *offset);
            }
            Answer::PublishedBatch { topic, published } => {
                reply::publish_batch_ack(bytes, sequence, now, topic.as_str(), published);
            }
            Answer::Topic { topic, partitions } => {
                reply::topic_ack(bytes, sequence, now, topic.as_str(), *partitions);
            }
            Answer::Metadata { next, json } => {
                let next = next.as_ref().map(TopicName::as_str);
                let encoded = reply::metadata_ack(bytes, sequence, now, next, json);
                encoded.unwrap_or_else(|error| too_long(bytes, sequence, now, &error));
            }
            Answer::Fetched { topic, bounds, range, batches, .. } => {
                let total = bytes_of(batches);
                let topic = topic.as_str();
                let encoded = reply::fetch_ack(bytes, sequence, now, topic, bounds, *range, total);
                encoded.unwrap_or_else(|error| {
                    batches.clear();
                    too_long(bytes, sequence, now, &error);
                });
            }
            Answer::Committed { topic, partition, owner, offset } => {
                reply::commit_ack(bytes, sequence, now, topic.as_str(), *partition, (owner.0, &owner.1), *offset);
            }
            Answer::Group { properties, json } => {
                let properties: Vec<_> = properties.iter().map(|(name, value)| (*name, value.as_str())).collect();
                let encoded = reply::group_ack(bytes, sequence, now, &properties, json);
                encoded.unwrap_or_else(|error| too_long(bytes, sequence, now, &error));
            }
            Answer::Listed { topic, listed } => {
                reply::list_offsets_ack(bytes, sequence, now, topic.as_str(), listed);
            }
            Answer::Producer(id) => reply::init_producer_ack(bytes, sequence, now, *id, PRODUCER_EPOCH),
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

/// A reply that no frame can hold is refused instead.
fn too_long(bytes: &mut BytesMut, sequence: u64, now: Timestamp, error: &EncodeError) {
    Refusal::new(ErrorCode::MessageTooLarge, error.to_string()).encode(bytes, sequence, now);
}
