//! Fetch: the request, walked where it lies, and the response, which goes out around batches that are not copied.
//!
//! Versions 4 to 12, flexible from 12:
//!
//! | field | from | |
//! |---|---|---|
//! | replica | | i32, −1 for a consumer |
//! | max wait, min bytes, max bytes | | i32 each, ms and bytes |
//! | isolation level | | i8: 0 read uncommitted, 1 read committed |
//! | session id, session epoch | 7 | i32 each |
//! | topics | | array of name and partitions |
//! | of a partition: index | | i32 |
//! | the leader's epoch as the client knows it | 9 | i32, −1 |
//! | offset | | i64 |
//! | epoch of the last record fetched | 12 | i32, −1 |
//! | log start of a follower | 5 | i64, −1 |
//! | max bytes | | i32 |
//! | forgotten topics | 7 | array of name and indexes |
//! | rack | 11 | string |

mod response;

use bytes::Bytes;

use super::api::Api;
use super::topic_walk::{Items, Topics};
use super::wire::{Encoding, Malformed, Reader};

pub use response::{FetchPieces, FetchResponse, Fetched, FetchedPartition, Piece};

/// Which session a request is of (KIP-227).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchSession {
    /// None, and none is wanted: epoch −1, and every version before 7. Where the id is one, that session ends.
    Sessionless {
        /// The session that ends, 0 for none.
        ends: i32,
    },
    /// Epoch 0: a new one, in place of the one of this id where there is one.
    New {
        /// The session that ends, 0 for none.
        replaces: i32,
    },
    /// The next request of a session: what it names is added and changed.
    Next {
        /// The session.
        id: i32,
        /// The number of the request in it.
        epoch: i32,
    },
}

impl FetchSession {
    const fn from_wire(id: i32, epoch: i32) -> FetchSession {
        match epoch {
            -1 => FetchSession::Sessionless { ends: id },
            0 => FetchSession::New { replaces: id },
            _ => FetchSession::Next { id, epoch },
        }
    }
}

/// A Fetch request. It holds the bytes it came in, and nothing beside them.
#[derive(Debug, Clone)]
pub struct FetchRequest {
    /// Its version.
    pub version: i16,
    /// The replica that asks, −1 where it is none.
    pub replica_id: i32,
    /// How long to wait for `bytes_min`, in milliseconds.
    pub max_wait_ms: i32,
    /// How much to wait for, in bytes.
    pub bytes_min: i32,
    /// How much to answer with at most, but for one batch that is larger.
    pub bytes_max: i32,
    /// Whether only what committed transactions wrote is wanted.
    pub is_read_committed: bool,
    /// The session.
    pub session: FetchSession,
    /// How many topics there are.
    pub topic_count: usize,
    /// How many partitions there are in all of them.
    pub partition_count: usize,
    /// How many partitions the session is to forget.
    pub forgotten_count: usize,
    topics_at: usize,
    forgotten_at: Option<usize>,
    body: Bytes,
}

/// The part of a request for one topic.
#[derive(Debug, Clone)]
pub struct FetchTopic<'a> {
    /// The topic's name, which may be none that a topic can have.
    pub name: &'a str,
    partitions: Items<'a, FetchPartition>,
}

/// The part of a request for one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchPartition {
    /// Its index, which may be negative.
    pub index: i32,
    /// The leader's epoch as the client knows it, −1 where it does not.
    pub current_leader_epoch: i32,
    /// The first offset wanted, which may be negative.
    pub offset: i64,
    /// The epoch of the last record that was fetched, −1 where that is not known.
    pub last_fetched_epoch: i32,
    /// How much to answer with, but for one batch that is larger.
    pub bytes_max: i32,
}

/// Partitions of a topic that a session is to forget.
#[derive(Debug, Clone)]
pub struct ForgottenTopic<'a> {
    /// The topic's name.
    pub name: &'a str,
    partitions: Items<'a, i32>,
}

impl FetchRequest {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// [`Malformed`]: the connection is closed.
    pub fn parse(version: i16, body: Bytes) -> Result<FetchRequest, Malformed> {
        if !Api::Fetch.serves(version) {
            return Err(Malformed::Refused("a version of Fetch that is not served"));
        }
        let mut reader = Reader::new(&body, encoding(version));
        let replica_id = reader.i32()?;
        let (max_wait_ms, bytes_min, bytes_max) = (reader.i32()?, reader.i32()?, reader.i32()?);
        let is_read_committed = reader.i8()? == 1;
        let session = if version >= 7 { (reader.i32()?, reader.i32()?) } else { (0, -1) };
        let topics_at = reader.at();
        let walked = Topics::begin(reader, version, partition)?.walk()?;
        let (topic_count, partition_count, mut reader) = (walked.topics, walked.items, walked.rest);
        let (mut forgotten_at, mut forgotten_count) = (None, 0);
        if version >= 7 {
            forgotten_at = Some(reader.at());
            let walked = Topics::begin(reader, version, forgotten)?.walk()?;
            (forgotten_count, reader) = (walked.items, walked.rest);
        }
        if version >= 11 {
            reader.text()?;
        }
        reader.end_of_structure()?;
        Ok(FetchRequest {
            version,
            replica_id,
            max_wait_ms,
            bytes_min,
            bytes_max,
            is_read_committed,
            session: FetchSession::from_wire(session.0, session.1),
            topic_count,
            partition_count,
            forgotten_count,
            topics_at,
            forgotten_at,
            body,
        })
    }

    /// The topics in their order.
    pub fn topics(&self) -> impl Iterator<Item = FetchTopic<'_>> {
        let topics = Topics::begin(self.reader_at(self.topics_at), self.version, partition).into_iter().flatten();
        topics.map(|topic| FetchTopic { name: topic.name, partitions: topic.items })
    }

    /// What the session is to forget, topic by topic.
    pub fn forgotten(&self) -> impl Iterator<Item = ForgottenTopic<'_>> {
        let begin = |at| Topics::begin(self.reader_at(at), self.version, forgotten).ok();
        let topics = self.forgotten_at.and_then(begin).into_iter().flatten();
        topics.map(|topic| ForgottenTopic { name: topic.name, partitions: topic.items })
    }

    fn reader_at(&self, at: usize) -> Reader<'_> {
        Reader::starting_at(&self.body, at, encoding(self.version))
    }
}

impl FetchTopic<'_> {
    /// How many partitions there are.
    #[must_use]
    pub fn partition_count(&self) -> usize {
        self.partitions.left()
    }

    /// The partitions in their order.
    pub fn partitions(&self) -> impl Iterator<Item = FetchPartition> {
        self.partitions.clone()
    }
}

impl ForgottenTopic<'_> {
    /// The partitions' indexes.
    pub fn partitions(&self) -> impl Iterator<Item = i32> {
        self.partitions.clone()
    }
}

const fn encoding(version: i16) -> Encoding {
    Encoding::of(version, 12)
}

fn partition(reader: &mut Reader<'_>, version: i16) -> Result<FetchPartition, Malformed> {
    let index = reader.i32()?;
    let current_leader_epoch = if version >= 9 { reader.i32()? } else { -1 };
    let offset = reader.i64()?;
    let last_fetched_epoch = if version >= 12 { reader.i32()? } else { -1 };
    if version >= 5 {
        reader.i64()?;
    }
    let bytes_max = reader.i32()?;
    reader.end_of_structure()?;
    Ok(FetchPartition { index, current_leader_epoch, offset, last_fetched_epoch, bytes_max })
}

fn forgotten(reader: &mut Reader<'_>, _version: i16) -> Result<i32, Malformed> {
    reader.i32()
}

#[cfg(test)]
mod tests;
