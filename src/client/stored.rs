//! The reply to a publish, read where it lies: there is one for every single message.

use super::publish::Position;
use super::requests::is_of_publish;
use crate::protocol::native::{FRAME_BYTES_MIN, FrameType};
use crate::types::{Offset, PartitionIndex, Timestamp};

/// The frame's fields, see [`crate::protocol::native::Frame`].
const TYPE_AT: usize = 4;
const SEQUENCE_AT: usize = 8;
const TIME_AT: usize = 16;
const PROPERTIES_LENGTH_AT: usize = 24;
const PROPERTIES_AT: usize = 28;

/// What a reply tells of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) sequence: u64,
    pub(super) position: Position,
    /// When it was sent, by the broker's clock.
    pub(super) time: Timestamp,
    /// Bytes of the frame.
    pub(super) frame_bytes: usize,
}

/// Reads the whole reply to a publish that stands at the front, where it says success as brokers say it. Everything else
/// is left to the codec.
pub(super) fn read(bytes: &[u8]) -> Option<Stored> {
    let frame_bytes = u32_at(bytes, 0)? as usize;
    let sequence = u64::from_be_bytes(*bytes.get(SEQUENCE_AT..)?.first_chunk()?);
    let is_reply = u32_at(bytes, TYPE_AT)? == FrameType::Ack.to_wire() && is_of_publish(sequence);
    let properties_bytes = u32_at(bytes, PROPERTIES_LENGTH_AT)? as usize;
    if !is_reply || frame_bytes != FRAME_BYTES_MIN.checked_add(properties_bytes)? {
        return None;
    }
    // There is no body, so its length is 0 where the frame is whole: the codec tells of one that is not.
    let [properties @ .., 0, 0, 0, 0] = bytes.get(PROPERTIES_AT..frame_bytes)? else { return None };
    let rest = properties.strip_prefix(b"status=success\0topic=")?;
    let (topic, rest) = rest.split_at_checked(rest.iter().position(|byte| *byte == 0)?)?;
    std::str::from_utf8(topic).ok()?;
    let (partition, rest) = number(rest.strip_prefix(b"\0partition=")?)?;
    let (offset, rest) = number(rest.strip_prefix(b"offset=")?)?;
    let partition = PartitionIndex(u32::try_from(partition).ok()?);
    let position = Position { partition, offset: Offset::new(offset)? };
    let time = Timestamp::from_millis(i64::from_be_bytes(*bytes.get(TIME_AT..)?.first_chunk()?));
    rest.is_empty().then_some(Stored { sequence, position, time, frame_bytes })
}

/// Decimal digits up to a NUL, and what follows.
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'0'..=b'9' => value = value.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?,
            0 if at > 0 => return Some((value, &bytes[at + 1..])),
            _ => return None,
        }
    }
    None
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::protocol::native::{FrameWriter, reply};

    const NOW: Timestamp = Timestamp::from_millis(1);

    #[test]
    fn what_a_broker_says_of_a_publish() {
        for (sequence, partition, offset) in [(1, 0, 0), (u64::MAX, u32::MAX, 1 << 40), (7, 12, 1234567890)] {
            let position =
                Position { partition: PartitionIndex(partition), offset: Offset::new(offset).expect("small") };
            let mut frame = BytesMut::new();
            reply::publish_ack(&mut frame, sequence, NOW, "orders", position.partition, position.offset);
            let frame_bytes = frame.len();
            for end in 0..frame_bytes {
                assert_eq!(read(&frame[..end]), None, "{end} of {frame_bytes}");
            }
            frame.extend_from_slice(b"more");
            assert_eq!(read(&frame), Some(Stored { sequence, position, time: NOW, frame_bytes }));
        }
    }

    #[test]
    fn anything_else_is_left() {
        let check = |kind: FrameType, sequence: u64, properties: &[u8], body: &[u8]| {
            let mut frame = BytesMut::new();
            let mut writer = FrameWriter::new(&mut frame, kind, sequence, NOW);
            writer.raw_properties(properties);
            writer.finish(body).expect("short");
            assert_eq!(read(&frame), None, "{kind:?} {sequence} {properties:?} {body:?}");
        };
        let good = b"status=success\0topic=t\0partition=0\0offset=1\0";
        check(FrameType::Ack, 2, good, b"");
        check(FrameType::Data, 1, good, b"");
        check(FrameType::Ack, 1, good, b"x");
        check(FrameType::Ack, 1, b"status=error\0error=x\0code=overloaded\0", b"");
        check(FrameType::Ack, 1, b"status=success\0topic=t\0partition=0\0offset=1\0more=1\0", b"");
        check(FrameType::Ack, 1, b"status=success\0topic=t\0partition=4294967296\0offset=1\0", b"");
        check(FrameType::Ack, 1, b"status=success\0topic=t\0partition=0\0offset=18446744073709551615\0", b"");
        check(FrameType::Ack, 1, b"status=success\0topic=t\0partition=\0offset=1\0", b"");
        check(FrameType::Ack, 1, b"status=success\0topic=\xff\0partition=0\0offset=1\0", b"");
    }
}
