//! The response to Fetch. Batches stay where they are: the response is a row of pieces, what is written here and what is
//! referred to in turn, and only the lengths know that they are one.
//!
//! | field | from | |
//! |---|---|---|
//! | throttle time | | i32, ms |
//! | error, session id | 7 | i16, i32 |
//! | topics | | array of name and partitions |
//! | of a partition: index, error, high watermark, last stable offset | | i32, i16, i64, i64 |
//! | log start | 5 | i64 |
//! | aborted transactions | | array of producer id and first offset, null where uncommitted records are read |
//! | preferred replica | 11 | i32, −1 |
//! | records | | bytes |

use bytes::{Bytes, BytesMut};

use crate::protocol::kafka::api::Api;
use crate::protocol::kafka::error::KafkaError;
use crate::protocol::kafka::writer::{ResponseWriter, Unencodable};
use crate::types::Offset;

/// A field that has no value.
const ABSENT: i64 = -1;
/// No replica but the leader is to be read from.
const NO_REPLICA: i32 = -1;

/// Where a partition stands, and what of it is answered with.
#[derive(Debug, Clone, Copy)]
pub struct Fetched<'a> {
    /// The end of what consumers may see.
    pub high_watermark: Offset,
    /// The end of what readers of committed records may see.
    pub last_stable: Offset,
    /// The oldest offset that is kept.
    pub log_start: Offset,
    /// Whole batches in their order.
    pub batches: &'a [Bytes],
}

/// The answer for one partition.
#[derive(Debug, Clone, Copy)]
pub struct FetchedPartition<'a> {
    /// Its index.
    pub index: i32,
    /// What was fetched, or why nothing was.
    pub result: Result<Fetched<'a>, KafkaError>,
}

/// Writes a response topic by topic.
#[derive(Debug)]
pub struct FetchResponse<'a> {
    writer: ResponseWriter<'a>,
    version: i16,
    lists_aborted: bool,
    /// Batches, and where they belong in what is written.
    gaps: Vec<(usize, Bytes)>,
    gap_bytes: usize,
    topics_left: usize,
    partitions_left: usize,
}

/// A response that is complete: what was written, and the batches that go in between.
#[derive(Debug)]
pub struct FetchPieces {
    written_bytes: usize,
    gaps: Vec<(usize, Bytes)>,
}

impl<'a> FetchResponse<'a> {
    /// Begins a response with so many topics in an empty buffer. `session_id` is 0 where there is no session;
    /// `is_read_committed` as the request has it.
    ///
    /// # Panics
    /// Where the buffer is not empty: our own mistake.
    pub fn begin(
        out: &'a mut BytesMut,
        version: i16,
        correlation_id: i32,
        session_id: i32,
        is_read_committed: bool,
        topics: usize,
    ) -> FetchResponse<'a> {
        assert!(out.is_empty(), "a response of pieces begins its buffer");
        let mut writer = ResponseWriter::begin(out, Api::Fetch, version, correlation_id);
        writer.i32(0);
        if version >= 7 {
            writer.error(None);
            writer.i32(session_id);
        }
        writer.count(Some(topics));
        let lists_aborted = is_read_committed;
        let (gaps, gap_bytes) = (Vec::new(), 0);
        FetchResponse { writer, version, lists_aborted, gaps, gap_bytes, topics_left: topics, partitions_left: 0 }
    }

    /// Writes a whole response that refuses the request itself: the session is unknown, or not where the client believes it.
    /// Before version 7 there was no place for that, and nothing to refuse.
    ///
    /// # Errors
    /// [`Unencodable`].
    pub fn refuse(out: &mut BytesMut, version: i16, correlation_id: i32, error: KafkaError) -> Result<(), Unencodable> {
        let mut writer = ResponseWriter::begin(out, Api::Fetch, version, correlation_id);
        writer.i32(0);
        if version >= 7 {
            writer.error(Some(error));
            writer.i32(0);
        }
        writer.count(Some(0));
        writer.end_of_structure();
        writer.finish(0)
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
    pub fn partition(&mut self, partition: &FetchedPartition<'_>) {
        assert!(self.partitions_left > 0, "partitions as they were counted");
        self.partitions_left -= 1;
        let fetched = partition.result.as_ref().ok();
        let offset = |of: fn(&Fetched<'_>) -> Offset| fetched.map_or(ABSENT, |fetched| of(fetched).to_i64());
        let writer = &mut self.writer;
        writer.i32(partition.index);
        writer.error(partition.result.as_ref().err().copied());
        writer.i64(offset(|fetched| fetched.high_watermark));
        writer.i64(offset(|fetched| fetched.last_stable));
        if self.version >= 5 {
            writer.i64(offset(|fetched| fetched.log_start));
        }
        writer.count(self.lists_aborted.then_some(0));
        if self.version >= 11 {
            writer.i32(NO_REPLICA);
        }
        let batches = fetched.map_or(&[] as &[Bytes], |fetched| fetched.batches);
        let records_bytes: usize = batches.iter().map(Bytes::len).sum();
        writer.count(Some(records_bytes));
        let at = writer.at();
        self.gap_bytes += records_bytes;
        self.gaps.extend(batches.iter().filter(|batch| !batch.is_empty()).map(|batch| (at, batch.clone())));
        writer.end_of_structure();
        if self.partitions_left == 0 {
            writer.end_of_structure();
        }
    }

    /// Ends the response. Its pieces are to be sent in their order.
    ///
    /// # Errors
    /// [`Unencodable::TooLong`]; the buffer is then empty.
    ///
    /// # Panics
    /// Where topics or partitions are missing: our own mistake.
    pub fn finish(mut self) -> Result<FetchPieces, Unencodable> {
        assert!(self.partitions_left == 0 && self.topics_left == 0, "topics as they were counted");
        self.writer.end_of_structure();
        let written_bytes = self.writer.at();
        self.writer.finish(self.gap_bytes)?;
        Ok(FetchPieces { written_bytes, gaps: self.gaps })
    }
}

impl FetchPieces {
    /// Bytes of the whole response, its length included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.written_bytes + self.gaps.iter().map(|(_, batch)| batch.len()).sum::<usize>()
    }

    /// Whether there is nothing to send, which cannot be.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Gives out the pieces in their order. `written` is the buffer the response was written to.
    pub fn send(self, written: &[u8], mut piece: impl FnMut(Piece<'_>)) {
        let mut sent = 0;
        for (at, batch) in self.gaps {
            if let Some(between) = written.get(sent..at).filter(|between| !between.is_empty()) {
                piece(Piece::Written(between));
            }
            sent = at;
            piece(Piece::Batch(batch));
        }
        if let Some(rest) = written.get(sent..).filter(|rest| !rest.is_empty()) {
            piece(Piece::Written(rest));
        }
    }
}

/// A piece of a response.
#[derive(Debug)]
pub enum Piece<'a> {
    /// Little: to be copied together.
    Written(&'a [u8]),
    /// A batch: to be sent from where it lies.
    Batch(Bytes),
}
