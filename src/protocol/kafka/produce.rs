//! Produce: the request with its batches where they lie, and the response.
//!
//! Versions 3 to 12, flexible from 9:
//!
//! | field | |
//! |---|---|
//! | transactional id | string, null |
//! | acks | i16: 0 none, 1 leader, −1 all |
//! | timeout | i32, ms |
//! | topics | array of name and partitions |
//! | of a partition: index, records | i32; bytes, null |

mod response;

use std::ops::Range;

use bytes::Bytes;

use super::api::Api;
use super::topic_walk::{Items, Topics};
use super::wire::{Encoding, Malformed, Reader};

pub use response::{ProduceFailure, ProduceResponse, Produced};

/// What a producer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    /// For nothing: there is no response.
    None,
    /// That the leader has written it.
    Leader,
    /// That it is durable.
    All,
}

impl Acks {
    /// What the number on the wire means; `None` of others, which are [`super::KafkaError::InvalidRequiredAcks`].
    #[must_use]
    pub const fn from_wire(number: i16) -> Option<Acks> {
        match number {
            0 => Some(Acks::None),
            1 => Some(Acks::Leader),
            -1 => Some(Acks::All),
            _ => None,
        }
    }
}

/// A Produce request. It holds the bytes it came in, and nothing beside them.
#[derive(Debug, Clone)]
pub struct ProduceRequest {
    /// Its version.
    pub version: i16,
    /// What the producer waits for; `None` where the number is none that means anything.
    pub acks: Option<Acks>,
    /// How long it waits, in milliseconds.
    pub timeout_ms: i32,
    /// How many topics there are.
    pub topic_count: usize,
    /// How many partitions there are in all of them.
    pub partition_count: usize,
    transactional_id: Option<Range<usize>>,
    topics_at: usize,
    body: Bytes,
}

/// The part of a request for one topic.
#[derive(Debug, Clone)]
pub struct ProduceTopic<'a> {
    /// The topic's name, which may be none that a topic can have.
    pub name: &'a str,
    partitions: Items<'a, (i32, Option<Range<usize>>)>,
    body: &'a Bytes,
}

/// The part of a request for one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducePartition {
    /// Its index, which may be negative.
    pub index: i32,
    /// The batches as they came; they share the request's buffer.
    pub records: Option<Bytes>,
}

impl ProduceRequest {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// [`Malformed`]: the connection is closed.
    pub fn parse(version: i16, body: Bytes) -> Result<ProduceRequest, Malformed> {
        if !Api::Produce.serves(version) {
            return Err(Malformed::Refused("a version of Produce that is not served"));
        }
        let mut reader = Reader::new(&body, encoding(version));
        let mut transactional_id = None;
        if let Some(range) = reader.text_range()? {
            std::str::from_utf8(&body[range.clone()]).map_err(|_| Malformed::Text)?;
            transactional_id = Some(range);
        }
        let acks = Acks::from_wire(reader.i16()?);
        let timeout_ms = reader.i32()?;
        let topics_at = reader.at();
        let mut walked = Topics::begin(reader, version, partition)?.walk()?;
        walked.rest.end_of_structure()?;
        let (topic_count, partition_count) = (walked.topics, walked.items);
        Ok(ProduceRequest {
            version,
            acks,
            timeout_ms,
            topic_count,
            partition_count,
            transactional_id,
            topics_at,
            body,
        })
    }

    /// The transactional id, if there is one.
    #[must_use]
    pub fn transactional_id(&self) -> Option<&str> {
        let range = self.transactional_id.clone()?;
        std::str::from_utf8(self.body.get(range)?).ok()
    }

    /// The topics in their order.
    pub fn topics(&self) -> impl Iterator<Item = ProduceTopic<'_>> {
        let reader = Reader::starting_at(&self.body, self.topics_at, encoding(self.version));
        let topics = Topics::begin(reader, self.version, partition).into_iter().flatten();
        topics.map(|topic| ProduceTopic { name: topic.name, partitions: topic.items, body: &self.body })
    }

    /// Where the request is for one partition alone, its records, such that nothing else refers to them (they can be changed
    /// without a copy, `Bytes::try_into_mut`); the request is empty then.
    pub fn take_only_records(&mut self) -> Option<Bytes> {
        if self.partition_count != 1 {
            return None;
        }
        let records = self.topics().find_map(|mut topic| topic.partitions.next())?.1?;
        let mut body = std::mem::take(&mut self.body);
        (self.topic_count, self.partition_count, self.transactional_id) = (0, 0, None);
        body.truncate(records.end);
        Some(body.split_off(records.start))
    }
}

impl ProduceTopic<'_> {
    /// How many partitions there are.
    #[must_use]
    pub fn partition_count(&self) -> usize {
        self.partitions.left()
    }

    /// The partitions in their order.
    pub fn partitions(&self) -> impl Iterator<Item = ProducePartition> {
        let body = self.body;
        let partitions = self.partitions.clone();
        partitions.map(|(index, range)| ProducePartition { index, records: range.map(|range| body.slice(range)) })
    }
}

const fn encoding(version: i16) -> Encoding {
    Encoding::of(version, 9)
}

/// One partition of a request: its index, and where its records lie.
fn partition(reader: &mut Reader<'_>, _version: i16) -> Result<(i32, Option<Range<usize>>), Malformed> {
    let index = reader.i32()?;
    let records = reader.blob_range()?;
    reader.end_of_structure()?;
    Ok((index, records))
}

#[cfg(test)]
mod tests;
