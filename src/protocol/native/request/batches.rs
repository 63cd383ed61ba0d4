//! Requests that carry or ask for whole record batches, and those about offsets.

use std::time::Duration;

use super::steering::{Steering, own_number};
use super::{AckLevel, Frame, PositionOf, RequestError, ack_level};
use crate::types::{Offset, PartitionIndex, Timestamp, TopicName};

/// Bytes of batches that a FETCH asks for at most.
pub const FETCH_BYTES_MAX: u64 = 16 << 20;
/// Bytes of batches that a FETCH asks for where it does not say.
pub const FETCH_BYTES_DEFAULT: u64 = 1 << 20;
/// How long a FETCH may wait.
pub const FETCH_WAIT_MAX: Duration = Duration::from_secs(60);

/// FETCH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchRequest {
    /// The topic's name.
    pub topic: TopicName,
    /// The partition; 0 where none was given.
    pub partition: PartitionIndex,
    /// The first record wanted; nothing where it is to be found by its time.
    pub offset: Option<Offset>,
    /// The time from which on records are wanted, where no offset was given.
    pub time: Option<Timestamp>,
    /// Batches are added while they fit; the first one always does.
    pub bytes_max: usize,
    /// The reply waits for so many bytes of batches …
    pub bytes_min: usize,
    /// … but no longer than this.
    pub wait_max: Duration,
}

/// COMMIT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitRequest<'a> {
    /// The topic's name.
    pub topic: TopicName,
    /// The partition; 0 where none was given.
    pub partition: PartitionIndex,
    /// Whose position.
    pub owner: PositionOf<'a>,
    /// The next record to be read.
    pub offset: Offset,
}

/// PUBLISH_BATCH. The frame's body is the batch, not yet checked.
#[derive(Debug, Clone)]
pub struct PublishBatchRequest<'a> {
    /// The topic's name, not yet checked: one that exists is valid.
    pub topic: &'a str,
    /// Where to append; `None` is the next partition in turn.
    pub partition: Option<PartitionIndex>,
    /// What the reply is to wait for; `None` leaves it to `storage.sync`.
    pub ack: Option<AckLevel>,
}

/// LIST_OFFSETS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListOffsetsRequest<'a> {
    /// The topic's name.
    pub topic: TopicName,
    /// The partition; 0 where none was given.
    pub partition: PartitionIndex,
    /// Whose position is asked for as well.
    pub owner: Option<PositionOf<'a>>,
    /// The first record of this time or later is asked for as well.
    pub time: Option<Timestamp>,
}

pub(super) fn fetch(frame: &Frame) -> Result<FetchRequest, RequestError> {
    let steering = Steering::of(frame, &["wiber.max_bytes", "wiber.min_bytes", "wiber.max_wait_ms", "wiber.time"])?;
    let expected = "a number of bytes from 1 to 16777216";
    let bytes_max = own_number(frame, "wiber.max_bytes", 1..=FETCH_BYTES_MAX, expected)?;
    let bytes_min = own_number(frame, "wiber.min_bytes", 0..=FETCH_BYTES_MAX, "a number of bytes up to 16777216")?;
    let wait = own_number(frame, "wiber.max_wait_ms", 0..=60_000, "a number of milliseconds up to 60000")?;
    let bytes_max = bytes_max.unwrap_or(FETCH_BYTES_DEFAULT);
    let time = time(frame)?;
    // As in a subscription, an offset always wins.
    let offset = if steering.offset.is_none() && time.is_some() { None } else { Some(steering.offset()?) };
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    Ok(FetchRequest {
        topic: steering.topic_name()?,
        partition: steering.partition_or_first()?,
        offset,
        time: time.filter(|_| offset.is_none()),
        bytes_max: size(bytes_max),
        bytes_min: size(bytes_min.unwrap_or(1).min(bytes_max)),
        wait_max: Duration::from_millis(wait.unwrap_or(0)).min(FETCH_WAIT_MAX),
    })
}

pub(super) fn commit(frame: &Frame) -> Result<CommitRequest<'_>, RequestError> {
    let steering = Steering::of(frame, &["wiber.group", "wiber.member", "wiber.generation"])?;
    let owner = position_of(frame, &steering)?.ok_or(RequestError::Missing("client_id"))?;
    Ok(CommitRequest {
        topic: steering.topic_name()?,
        partition: steering.partition_or_first()?,
        owner,
        offset: steering.offset()?,
    })
}

pub(super) fn publish_batch(frame: &Frame) -> Result<PublishBatchRequest<'_>, RequestError> {
    let steering = Steering::of(frame, &["wiber.ack"])?;
    Ok(PublishBatchRequest { topic: steering.topic()?, partition: steering.partition()?, ack: ack_level(&steering)? })
}

pub(super) fn list_offsets(frame: &Frame) -> Result<ListOffsetsRequest<'_>, RequestError> {
    let steering = Steering::of(frame, &["wiber.time", "wiber.group", "wiber.member", "wiber.generation"])?;
    Ok(ListOffsetsRequest {
        topic: steering.topic_name()?,
        partition: steering.partition_or_first()?,
        owner: position_of(frame, &steering)?,
        time: time(frame)?,
    })
}

fn time(frame: &Frame) -> Result<Option<Timestamp>, RequestError> {
    let time = own_number(frame, "wiber.time", 0..=i64::MAX as u64, "milliseconds since 1970")?;
    Ok(time.and_then(|time| i64::try_from(time).ok()).map(Timestamp::from_millis))
}

/// Whose position is meant: the group's where there is one, else the client's.
fn position_of<'a>(frame: &'a Frame, steering: &Steering<'a>) -> Result<Option<PositionOf<'a>>, RequestError> {
    if let Some(member) = super::groups::member_of(frame)? {
        return Ok(Some(PositionOf::Group(member)));
    }
    Ok(steering.client_id.filter(|id| !id.is_empty()).map(PositionOf::Client))
}
