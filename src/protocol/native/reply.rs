//! What the server sends: success and error ACKs, heartbeats, and DATA. Each function appends one frame to `dst`, but for
//! the batches in it: those go out from where they lie.
//!
//! Times are handed in; nothing is allocated but the buffer's own growth.

use std::str;

use bytes::BytesMut;

use super::code::ErrorCode;
use super::frame::FrameType;
use super::request::{CLIENT_ID_HEADER, ID_HEADER};
use super::writer::{EncodeError, FrameWriter};
use crate::types::{Offset, PartitionIndex, ProducerEpoch, ProducerId, Stamp, Timestamp};

/// The property that stands for a null value.
pub const TOMBSTONE: &str = "wiber.tombstone";

/// The property that holds a record's stamp, where a subscription asked for it, or what a publisher has read.
pub const STAMP: &str = "wiber.stamp";

/// Names of properties that mean something of their own: a record's header of this name goes out as `header.<name>`.
const TAKEN: [&str; 12] = [
    "topic",
    "client_id",
    "partition",
    "key",
    "key.b64",
    "id",
    "offset",
    "auto_ack",
    "created_at",
    "version",
    TOMBSTONE,
    STAMP,
];

/// A record as DATA shows it, but for its headers. Null and empty are different things in key and value.
#[derive(Debug, Clone, Copy)]
pub struct DataRecord<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition.
    pub partition: PartitionIndex,
    /// The record's offset: the frame's sequence number.
    pub offset: Offset,
    /// The record's time: the frame's timestamp.
    pub timestamp: Timestamp,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; null is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The stamp, where it is to be shown.
    pub stamp: Option<Stamp>,
}

/// The answer to a CREATE_TOPIC, DELETE_TOPIC or ALTER_TOPIC that is done.
pub fn topic_ack(dst: &mut BytesMut, sequence: u64, now: Timestamp, topic: &str, partitions: u32) {
    let mut ack = success(dst, sequence, now, topic);
    ack.number("partitions", u64::from(partitions));
    finish(ack);
}

/// The answer to a PUBLISH whose record has reached what was asked for.
pub fn publish_ack(
    dst: &mut BytesMut,
    sequence: u64,
    now: Timestamp,
    topic: &str,
    partition: PartitionIndex,
    offset: Offset,
) {
    let mut ack = success(dst, sequence, now, topic);
    ack.number("partition", u64::from(partition.0));
    ack.number("offset", offset.get());
    finish(ack);
}

/// The answer to a SUBSCRIBE; DATA may follow it.
pub fn subscribe_ack(
    dst: &mut BytesMut,
    sequence: u64,
    now: Timestamp,
    topic: &str,
    partition: PartitionIndex,
    client_id: &str,
    start_offset: Offset,
) {
    let mut ack = success(dst, sequence, now, topic);
    ack.number("partition", u64::from(partition.0));
    ack.text("client_id", client_id);
    ack.number("start_offset", start_offset.get());
    finish(ack);
}

/// The answer to an UNSUBSCRIBE; no DATA of the subscription follows it.
pub fn unsubscribe_ack(
    dst: &mut BytesMut,
    sequence: u64,
    now: Timestamp,
    topic: &str,
    partition: PartitionIndex,
    client_id: &str,
) {
    let mut ack = success(dst, sequence, now, topic);
    ack.number("partition", u64::from(partition.0));
    ack.text("client_id", client_id);
    finish(ack);
}

/// The answer to a PUBLISH_BATCH.
#[derive(Debug, Clone, Copy)]
pub struct PublishedBatch {
    /// The partition.
    pub partition: PartitionIndex,
    /// The offset of the batch's first record.
    pub offset: Offset,
    /// The offset behind its last record.
    pub next_offset: Offset,
    /// Whether the batch was there already.
    pub is_duplicate: bool,
}

/// The answer to a PUBLISH_BATCH whose records have reached what was asked for.
pub fn publish_batch_ack(dst: &mut BytesMut, sequence: u64, now: Timestamp, topic: &str, published: &PublishedBatch) {
    let mut ack = success(dst, sequence, now, topic);
    ack.number("partition", u64::from(published.partition.0));
    ack.number("offset", published.offset.get());
    ack.number("wiber.next_offset", published.next_offset.get());
    if published.is_duplicate {
        ack.pair(b"wiber.duplicate", b"true");
    }
    finish(ack);
}

/// Where a partition's log begins and ends for its readers.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The partition.
    pub partition: PartitionIndex,
    /// The oldest offset kept.
    pub log_start: Offset,
    /// The offset behind the last record that readers may see.
    pub high_watermark: Offset,
}

/// Where a FETCH began and ended.
#[derive(Debug, Clone, Copy)]
pub struct FetchedRange {
    /// The offset that a time led to.
    pub found: Option<Offset>,
    /// Where to go on.
    pub next_offset: Offset,
}

/// The answer to a FETCH up to its body: so many bytes of batches, one behind the other, are to follow.
///
/// # Errors
/// [`EncodeError::TooLong`] for batches that no frame can hold; `dst` is then as before.
pub fn fetch_ack(
    dst: &mut BytesMut,
    sequence: u64,
    now: Timestamp,
    topic: &str,
    bounds: &Bounds,
    range: FetchedRange,
    batches_bytes: usize,
) -> Result<(), EncodeError> {
    let mut ack = success(dst, sequence, now, topic);
    ack.number("partition", u64::from(bounds.partition.0));
    if let Some(found) = range.found {
        ack.number("offset", found.get());
    }
    ack.number("log_start", bounds.log_start.get());
    ack.number("high_watermark", bounds.high_watermark.get());
    ack.number("wiber.next_offset", range.next_offset.get());
    ack.finish_before(batches_bytes)
}

/// Record batches, pushed to a subscriber, up to the frame's body: so many bytes of batches, one behind the other, are to
/// follow. The sequence number is the base offset of the first.
///
/// # Errors
/// [`EncodeError::TooLong`] for batches that no frame can hold; `dst` is then as before.
pub fn batch(
    dst: &mut BytesMut,
    base_offset: Offset,
    now: Timestamp,
    topic: &str,
    partition: PartitionIndex,
    batches_bytes: usize,
) -> Result<(), EncodeError> {
    let mut frame = FrameWriter::new(dst, FrameType::Batch, base_offset.get(), now);
    frame.pair(b"topic", topic.as_bytes());
    frame.number("partition", u64::from(partition.0));
    frame.finish_before(batches_bytes)
}

/// The answer to a COMMIT that is kept: the position kept now. `owner` is `client_id` or `wiber.group`, and whose it is.
pub fn commit_ack(
    dst: &mut BytesMut,
    sequence: u64,
    now: Timestamp,
    topic: &str,
    partition: PartitionIndex,
    owner: (&str, &str),
    offset: Offset,
) {
    let mut ack = success(dst, sequence, now, topic);
    ack.number("partition", u64::from(partition.0));
    ack.text(owner.0, owner.1);
    ack.number("offset", offset.get());
    finish(ack);
}

/// The answer to a LIST_OFFSETS. What was not asked for is `None`; what is not there is `Some(None)`, -1 on the wire.
#[derive(Debug, Clone, Copy)]
pub struct ListedOffsets {
    /// Where the log begins and ends for readers.
    pub bounds: Bounds,
    /// Where the next record goes.
    pub log_end: Offset,
    /// The position kept for the client.
    pub committed: Option<Option<Offset>>,
    /// The first record of the time asked for, or later.
    pub at_time: Option<Option<Offset>>,
}

/// The answer to a LIST_OFFSETS.
pub fn list_offsets_ack(dst: &mut BytesMut, sequence: u64, now: Timestamp, topic: &str, listed: &ListedOffsets) {
    let mut ack = success(dst, sequence, now, topic);
    ack.number("partition", u64::from(listed.bounds.partition.0));
    ack.number("log_start", listed.bounds.log_start.get());
    ack.number("high_watermark", listed.bounds.high_watermark.get());
    ack.number("log_end", listed.log_end.get());
    for (name, asked) in [("committed", listed.committed), ("offset", listed.at_time)] {
        match asked {
            Some(Some(offset)) => ack.number(name, offset.get()),
            Some(None) => ack.pair(name.as_bytes(), b"-1"),
            None => {}
        }
    }
    finish(ack);
}

/// The answer to an INIT_PRODUCER.
pub fn init_producer_ack(dst: &mut BytesMut, sequence: u64, now: Timestamp, id: ProducerId, epoch: ProducerEpoch) {
    let mut ack = FrameWriter::new(dst, FrameType::Ack, sequence, now);
    ack.pair(b"status", b"success");
    ack.text("wiber.producer_id", &id.to_string());
    ack.text("wiber.producer_epoch", &epoch.to_string());
    finish(ack);
}

/// The answer to a METADATA: JSON. `next` is the name behind which the list goes on.
///
/// # Errors
/// [`EncodeError::TooLong`] for metadata that no frame can hold; `dst` is then as before.
pub fn metadata_ack(
    dst: &mut BytesMut,
    sequence: u64,
    now: Timestamp,
    next: Option<&str>,
    json: &[u8],
) -> Result<(), EncodeError> {
    let mut ack = FrameWriter::new(dst, FrameType::Ack, sequence, now);
    ack.pair(b"status", b"success");
    if let Some(next) = next {
        ack.text("wiber.next", next);
    }
    ack.finish(json)
}

/// The answer to a request about a group, and its JSON.
///
/// # Errors
/// [`EncodeError::TooLong`] for a body that no frame can hold; `dst` is then as before.
pub fn group_ack(
    dst: &mut BytesMut,
    sequence: u64,
    now: Timestamp,
    properties: &[(&str, &str)],
    json: &[u8],
) -> Result<(), EncodeError> {
    let mut ack = FrameWriter::new(dst, FrameType::Ack, sequence, now);
    ack.pair(b"status", b"success");
    properties.iter().for_each(|(name, value)| ack.text(name, value));
    ack.finish(json)
}

/// What a member may read from now on: JSON.
///
/// # Errors
/// As [`group_ack`].
pub fn assignment(
    dst: &mut BytesMut,
    now: Timestamp,
    properties: &[(&str, &str)],
    json: &[u8],
) -> Result<(), EncodeError> {
    let mut frame = FrameWriter::new(dst, FrameType::Assignment, 0, now);
    properties.iter().for_each(|(name, value)| frame.text(name, value));
    frame.finish(json)
}

/// The answer to a request that is refused. `details` are further properties, such as `leader` or `log_start`.
pub fn error_ack(
    dst: &mut BytesMut,
    sequence: u64,
    now: Timestamp,
    code: ErrorCode,
    text: &str,
    details: &[(&'static str, &str)],
) {
    let mut ack = FrameWriter::new(dst, FrameType::Ack, sequence, now);
    ack.text("status", "error");
    ack.text("error", text);
    ack.text("code", code.as_str());
    for (name, value) in details {
        ack.text(name, value);
    }
    finish(ack);
}

/// A heartbeat: the answer to one, or with sequence number 0 the server's own.
pub fn heartbeat(dst: &mut BytesMut, sequence: u64, now: Timestamp) {
    finish(FrameWriter::new(dst, FrameType::Heartbeat, sequence, now));
}

/// A record, pushed to a subscriber.
///
/// The properties are topic, partition, the key where there is one, the headers in their order, and
/// `wiber.tombstone=true` for a null value, and the stamp where it is to be shown. What is not NUL-free UTF-8 goes out in base64 under `<name>.b64`; a null
/// header value as an empty one. A header name that is taken, or that no property can have, goes out behind `header.`,
/// in the second case with each byte that cannot stand there as `%` and two hexadecimal digits.
///
/// # Errors
/// [`EncodeError::TooLong`] for a record that no frame can hold; `dst` is then as before.
pub fn data<'h>(
    dst: &mut BytesMut,
    record: &DataRecord<'_>,
    headers: impl Iterator<Item = (&'h [u8], Option<&'h [u8]>)> + Clone,
) -> Result<(), EncodeError> {
    let sequence = record.offset.get();
    let mut frame = FrameWriter::new(dst, FrameType::Data, sequence, record.timestamp);
    frame.pair(b"topic", record.topic.as_bytes());
    frame.number("partition", u64::from(record.partition.0));
    if let Some(key) = record.key {
        value(&mut frame, b"key", key);
    }
    for (name, bytes) in headers.clone() {
        let bytes = bytes.unwrap_or_default();
        if is_taken(name) || is_shadowed(name, headers.clone()) {
            value(&mut frame, &[b"header.", name].concat(), bytes);
        } else if is_name(name) {
            value(&mut frame, name, bytes);
        } else {
            value(&mut frame, &escaped(name), bytes);
        }
    }
    if record.value.is_none() {
        frame.pair(TOMBSTONE.as_bytes(), b"true");
    }
    if let Some(stamp) = record.stamp {
        frame.pair(STAMP.as_bytes(), &stamp.to_hex());
    }
    frame.finish(record.value.unwrap_or_default())
}

fn success<'a>(dst: &'a mut BytesMut, sequence: u64, now: Timestamp, topic: &str) -> FrameWriter<'a> {
    let mut ack = FrameWriter::new(dst, FrameType::Ack, sequence, now);
    ack.pair(b"status", b"success");
    ack.text("topic", topic);
    ack
}

/// Ends a frame whose properties came out of one frame and which has no body: its length always fits.
fn finish(frame: FrameWriter<'_>) {
    let finished = frame.finish(b"");
    debug_assert!(finished.is_ok(), "an answer is never 4 GiB long");
}

fn value(frame: &mut FrameWriter<'_>, name: &[u8], bytes: &[u8]) {
    if is_text(bytes) {
        frame.pair(name, bytes);
    } else {
        frame.base64(name, bytes);
    }
}

fn is_text(bytes: &[u8]) -> bool {
    str::from_utf8(bytes).is_ok() && !bytes.contains(&0)
}

fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && !name.contains(&b'=') && is_text(name)
}

fn is_taken(name: &[u8]) -> bool {
    debug_assert!(!TAKEN.contains(&ID_HEADER) && !TAKEN.contains(&CLIENT_ID_HEADER));
    TAKEN.iter().any(|taken| taken.as_bytes() == name)
}

/// Whether this is a `<name>.b64` beside a header `<name>` that will go out under just that name.
fn is_shadowed<'h>(name: &[u8], mut headers: impl Iterator<Item = (&'h [u8], Option<&'h [u8]>)>) -> bool {
    let Some(plain) = name.strip_suffix(b".b64") else {
        return false;
    };
    headers.any(|(other, bytes)| other == plain && !is_text(bytes.unwrap_or_default()))
}

/// `header.` and a name that no property can have, made one that can.
fn escaped(name: &[u8]) -> Vec<u8> {
    let mut text = b"header.".to_vec();
    for &byte in name {
        if byte.is_ascii_graphic() && byte != b'=' && byte != b'%' {
            text.push(byte);
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            text.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
    text
}

#[cfg(test)]
mod tests;
