//! The lines that a server writes.

use std::io::Write;

use bytes::{BufMut, BytesMut};

use super::message_id::MessageId;
use crate::types::{Offset, Timestamp, TopicName};

/// A record as a line shows it.
#[derive(Debug, Clone, Copy)]
pub struct ShownRecord<'a> {
    /// Its topic.
    pub topic: &'a TopicName,
    /// Its id.
    pub id: MessageId,
    /// Its offset as it is stored; lines count from 1.
    pub offset: Offset,
    /// Its time.
    pub timestamp: Timestamp,
    /// Its value; none is shown as an empty message.
    pub value: Option<&'a [u8]>,
}

/// For whom a record is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShownTo {
    /// A subscriber: `MSG …`.
    Subscriber,
    /// One who asked for the past: `HISTORY …`.
    History,
}

/// Writes `OK <text>`.
pub fn okay(bytes: &mut BytesMut, text: &str) {
    write(bytes, b"OK ", text);
}

/// Writes `ERR <description>`.
pub fn error(bytes: &mut BytesMut, description: &str) {
    write(bytes, b"ERR ", description);
}

/// Writes `MSG <topic> <id> <offset> <ts> <message>`, or the same as `HISTORY …`.
pub fn record(bytes: &mut BytesMut, to: ShownTo, record: &ShownRecord<'_>) {
    bytes.extend_from_slice(match to {
        ShownTo::Subscriber => b"MSG ",
        ShownTo::History => b"HISTORY ",
    });
    bytes.extend_from_slice(record.topic.as_str().as_bytes());
    bytes.put_u8(b' ');
    bytes.extend_from_slice(record.id.as_bytes());
    let millis = record.timestamp.millis();
    let sign = if millis < 0 { "-" } else { "" };
    let (seconds, fraction) = (millis.unsigned_abs() / 1_000, millis.unsigned_abs() % 1_000);
    let number = record.offset.get() + 1;
    // Memory takes all that is written to it.
    let _written = write!(bytes.writer(), " {number} {sign}{seconds}.{fraction:03} ");
    for chunk in record.value.unwrap_or_default().utf8_chunks() {
        escape(bytes, chunk.valid());
        if !chunk.invalid().is_empty() {
            bytes.extend_from_slice("\u{FFFD}".as_bytes());
        }
    }
    bytes.put_u8(b'\n');
}

fn write(bytes: &mut BytesMut, word: &[u8], text: &str) {
    bytes.extend_from_slice(word);
    escape(bytes, text);
    bytes.put_u8(b'\n');
}

/// Writes text so that it stays within its line: a newline as `\n`, a carriage return as `\r`; all else as it is.
fn escape(bytes: &mut BytesMut, text: &str) {
    let mut rest = text.as_bytes();
    while let Some(position) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
        bytes.extend_from_slice(&rest[..position]);
        bytes.extend_from_slice(if rest[position] == b'\n' { b"\\n" } else { b"\\r" });
        rest = &rest[position + 1..];
    }
    bytes.extend_from_slice(rest);
}
