//! What the server sends: success and error ACKs, heartbeats, and DATA. Each function appends one frame to `dst`.
//!
//! Times are handed in; nothing is allocated but the buffer's own growth.

use std::str;

use bytes::BytesMut;

use super::code::ErrorCode;
use super::frame::FrameType;
use super::request::{CLIENT_ID_HEADER, ID_HEADER};
use super::writer::{EncodeError, FrameWriter};
use crate::types::{Offset, PartitionIndex, Timestamp};

/// The property that stands for a null value.
pub const TOMBSTONE: &str = "wiber.tombstone";

/// Names of properties that mean something of their own: a record's header of this name goes out as `header.<name>`.
const TAKEN: [&str; 11] = [
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
}

/// The answer to a CREATE_TOPIC that is done.
pub fn create_topic_ack(dst: &mut BytesMut, sequence: u64, now: Timestamp, topic: &str, partitions: u32) {
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
/// `wiber.tombstone=true` for a null value. What is not NUL-free UTF-8 goes out in base64 under `<name>.b64`; a null
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
