//! The response to Produce.
//!
//! | field | |
//! |---|---|
//! | topics | array of name and partitions |
//! | of a partition: index, error, base offset, append time, log start (from 5) | i32, i16, i64, i64, i64 |
//! | records that are wrong (from 8) | array of index in the batch and message |
//! | message (from 8) | string, null |
//! | throttle time | i32, ms |

use bytes::BytesMut;

use crate::protocol::kafka::api::Api;
use crate::protocol::kafka::error::KafkaError;
use crate::protocol::kafka::writer::{ResponseWriter, Unencodable};
use crate::types::{Offset, Timestamp};

/// A field that has no value.
const ABSENT: i64 = -1;

/// What was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Produced {
    /// Of the first record.
    pub base_offset: Offset,
    /// Where the topic's records have the time they were appended at, that.
    pub append_time: Option<Timestamp>,
    /// The oldest offset that is kept.
    pub log_start: Offset,
}

/// Why nothing was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProduceFailure<'a> {
    /// What is wrong.
    pub error: KafkaError,
    /// What to tell of it; clients learn it from version 8 on.
    pub message: Option<&'a str>,
    /// Which records of the batch are to blame, where some are.
    pub records: &'a [u32],
}

impl From<KafkaError> for ProduceFailure<'_> {
    fn from(error: KafkaError) -> Self {
        ProduceFailure { error, message: None, records: &[] }
    }
}

/// Writes a response topic by topic, in the order of the request.
#[derive(Debug)]
pub struct ProduceResponse<'a> {
    writer: ResponseWriter<'a>,
    version: i16,
    topics_left: usize,
    partitions_left: usize,
}

impl<'a> ProduceResponse<'a> {
    /// Begins a response with so many topics.
    pub fn begin(out: &'a mut BytesMut, version: i16, correlation_id: i32, topics: usize) -> ProduceResponse<'a> {
        let mut writer = ResponseWriter::begin(out, Api::Produce, version, correlation_id);
        writer.count(Some(topics));
        ProduceResponse { writer, version, topics_left: topics, partitions_left: 0 }
    }

    /// Begins a topic with so many partitions.
    ///
    /// # Panics
    /// Where the topic before has partitions to come, or there are more topics than were told: our own mistake.
    pub fn topic(&mut self, name: &str, partitions: usize) {
        assert!(self.partitions_left == 0 && self.topics_left > 0, "topics as they were counted");
        self.topics_left -= 1;
        self.partitions_left = partitions;
        self.writer.text(Some(name));
        self.writer.count(Some(partitions));
        if partitions == 0 {
            self.writer.end_of_structure();
        }
    }

    /// The next partition of the topic.
    ///
    /// # Panics
    /// Where there are more than were told: our own mistake.
    pub fn partition(&mut self, index: i32, result: Result<Produced, ProduceFailure<'_>>) {
        assert!(self.partitions_left > 0, "partitions as they were counted");
        self.partitions_left -= 1;
        let stored = result.ok();
        let writer = &mut self.writer;
        writer.i32(index);
        writer.error(result.err().map(|failure| failure.error));
        writer.i64(stored.map_or(ABSENT, |stored| stored.base_offset.to_i64()));
        writer.i64(stored.and_then(|stored| stored.append_time).map_or(ABSENT, Timestamp::millis));
        if self.version >= 5 {
            writer.i64(stored.map_or(ABSENT, |stored| stored.log_start.to_i64()));
        }
        if self.version >= 8 {
            let failure = result.err();
            let message = failure.and_then(|failure| failure.message);
            let records = failure.map_or(&[] as &[u32], |failure| failure.records);
            writer.count(Some(records.len()));
            for record in records {
                writer.i32(record.cast_signed());
                writer.text(message);
                writer.end_of_structure();
            }
            writer.text(message);
        }
        writer.end_of_structure();
        if self.partitions_left == 0 {
            writer.end_of_structure();
        }
    }

    /// Ends the response.
    ///
    /// # Errors
    /// [`Unencodable::TooLong`]; the buffer is then as before.
    ///
    /// # Panics
    /// Where topics or partitions are missing: our own mistake.
    pub fn finish(mut self) -> Result<(), Unencodable> {
        assert!(self.partitions_left == 0 && self.topics_left == 0, "topics as they were counted");
        self.writer.i32(0);
        self.writer.end_of_structure();
        self.writer.finish(0)
    }
}
