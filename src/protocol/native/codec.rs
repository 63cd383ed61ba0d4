//! Cutting frames from a stream of bytes that may be anything.
//!
//! ```text
//!            frame whole and well formed: Frame            all skipped
//!   Reading ------------------------------------> Reading <------------.
//!      |  lengths disagree: Malformed                                  |
//!      |  larger than allowed: TooLarge --> Skipping (bytes dropped as they come, never gathered)
//!      |  total_length below 32: Fatal                    |
//!      '-----------------------------> Closed <-----------' all skipped of a frame above 16 MiB: Fatal
//! ```

use std::io;
use std::num::NonZeroUsize;

use bytes::{Buf, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use super::code::ErrorCode;
use super::frame::{BODY_LENGTH_BYTES, FIXED_BYTES, FRAME_BYTES_MIN, Frame, FrameType};
use super::properties::{MalformedProperties, Properties};
use super::writer::EncodeError;
use crate::types::Timestamp;

/// Most of an oversized frame that is skipped so that the connection can be kept.
pub(crate) const SKIPPED_BYTES_MAX: usize = 16 << 20;

/// Smallest step by which the buffer of a frame being received grows.
const GROWTH_BYTES_MIN: usize = 8 << 10;

/// A frame of this many bytes gets a buffer to itself, which nobody else holds on to.
const OWN_BUFFER_BYTES_MIN: usize = 64 << 10;

/// What a frame may measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameLimits {
    /// Largest block of properties, in bytes.
    pub properties_bytes_max: usize,
    /// Largest body, in bytes.
    pub body_bytes_max: usize,
    /// Largest body of a frame that carries record batches, in bytes.
    pub batch_bytes_max: usize,
}

impl FrameLimits {
    /// The limits of a server whose messages may have `body_bytes_max` bytes: 64 KiB of properties beside them.
    #[must_use]
    pub const fn for_messages(body_bytes_max: usize) -> FrameLimits {
        FrameLimits { properties_bytes_max: 64 << 10, body_bytes_max, batch_bytes_max: body_bytes_max }
    }

    /// The same, with record batches of so many bytes.
    #[must_use]
    pub const fn with_batches(mut self, batch_bytes_max: usize) -> FrameLimits {
        self.batch_bytes_max = batch_bytes_max;
        self
    }

    /// The largest body of a frame of this type.
    const fn body_bytes_max(self, message_type: u32) -> usize {
        match FrameType::from_wire(message_type) {
            Some(FrameType::PublishBatch | FrameType::Batch) => self.batch_bytes_max,
            _ => self.body_bytes_max,
        }
    }

    const fn frame_bytes_max(self, message_type: u32) -> usize {
        let body_bytes_max = self.body_bytes_max(message_type);
        self.properties_bytes_max.saturating_add(body_bytes_max).saturating_add(FRAME_BYTES_MIN)
    }
}

/// What the bytes turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// A well-formed frame.
    Frame(Frame),
    /// A frame that makes no sense but whose end is known: answer and go on.
    Malformed(Malformed),
    /// A frame larger than allowed: answer and go on decoding, which drops the rest of it.
    TooLarge(TooLarge),
    /// No frame can be found any more: close. Whatever comes after is dropped.
    Fatal(Fatal),
}

/// A frame that makes no sense but whose end is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct Malformed {
    /// Its sequence number.
    pub sequence: u64,
    /// Its type, as it stood there.
    pub message_type: u32,
    /// What is wrong with it.
    pub fault: FrameFault,
}

impl Malformed {
    /// The code of the error ACK.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self.fault {
            FrameFault::UnknownType { .. } => ErrorCode::UnknownType,
            FrameFault::Lengths { .. } | FrameFault::Properties(_) => ErrorCode::Malformed,
        }
    }

    /// Whether the frame is to be answered: an ACK sent by a client never is.
    #[must_use]
    pub const fn wants_reply(&self) -> bool {
        self.message_type != FrameType::Ack.to_wire()
    }
}

/// What can be wrong with a frame whose end is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameFault {
    /// The lengths do not add up.
    #[error(
        "malformed frame: total_length {total} does not fit properties_length {properties} and the body_length after it"
    )]
    Lengths {
        /// total_length as it stood there.
        total: u32,
        /// properties_length as it stood there.
        properties: u32,
    },
    /// The properties break their rules.
    #[error("malformed frame: {0}")]
    Properties(#[from] MalformedProperties),
    /// The type is none this version knows.
    #[error("unknown message type {message_type}")]
    UnknownType {
        /// The type as it stood there.
        message_type: u32,
    },
}

/// A frame larger than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} of {actual} bytes where at most {allowed} are allowed")]
pub struct TooLarge {
    /// Its sequence number.
    pub sequence: u64,
    /// Its type, as it stood there.
    pub message_type: u32,
    /// What of it is too large: `frame`, `properties` or `body`.
    pub what: &'static str,
    /// How large that says it is, in bytes.
    pub actual: usize,
    /// The limit, in bytes.
    pub allowed: usize,
}

impl TooLarge {
    /// Whether the frame is to be answered: an ACK sent by a client never is.
    #[must_use]
    pub const fn wants_reply(&self) -> bool {
        self.message_type != FrameType::Ack.to_wire()
    }
}

/// Why no frame can be found any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    /// The length is one no frame can have, so where the next frame begins is unknown.
    #[error("total_length {total}, where the smallest frame has {FRAME_BYTES_MIN} bytes")]
    Length {
        /// total_length as it stood there.
        total: u32,
    },
    /// A frame was too large to be skipped whole.
    #[error("a frame of more than 16 MiB was not skipped to its end")]
    NotSkipped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    Skipping { rest: usize, then_close: bool },
    Closed,
}

/// Cuts frames from bytes as they come, within limits. Also writes frames, for [`tokio_util::codec::Framed`].
#[derive(Debug)]
pub struct FrameCodec {
    limits: FrameLimits,
    state: State,
    /// The largest frame that came whole, in bytes.
    largest: usize,
    /// What the frame under way lacks, in bytes, where it is to have a buffer of its own.
    missing: Option<NonZeroUsize>,
}

/// The fixed part of a frame, as it stands there.
#[derive(Clone, Copy)]
struct FixedPart {
    total: u32,
    message_type: u32,
    sequence: u64,
}

impl FrameCodec {
    /// A codec at the beginning of a stream.
    #[must_use]
    pub const fn new(limits: FrameLimits) -> FrameCodec {
        FrameCodec { limits, state: State::Reading, largest: 0, missing: None }
    }

    /// Bytes that end the large frame under way: whoever reads no more than these gives it a buffer of its own, and its
    /// body need not be copied to be changed (`Bytes::try_into_mut`). `None` where any number of bytes may be read.
    #[must_use]
    pub fn missing(&self) -> Option<NonZeroUsize> {
        self.missing
    }

    /// Takes the next outcome off the front of `src`; `None` where more bytes are needed.
    ///
    /// For an incomplete frame `src` is given room for what is missing, but never more than doubled, save for a frame no
    /// larger than an earlier one: memory follows the bytes that came, not the length that was announced. Apart from that, room for the next read is the caller's to
    /// make: what was cut off no longer counts towards the capacity of `src`.
    pub fn next(&mut self, src: &mut BytesMut) -> Option<Decoded> {
        loop {
            match self.state {
                State::Reading => return self.read(src),
                State::Skipping { rest, then_close } => {
                    let skipped = rest.min(src.len());
                    src.advance(skipped);
                    if skipped < rest {
                        let rest = rest - skipped;
                        self.state = State::Skipping { rest, then_close };
                        return None;
                    }
                    if then_close {
                        self.state = State::Closed;
                        return Some(Decoded::Fatal(Fatal::NotSkipped));
                    }
                    self.state = State::Reading;
                }
                State::Closed => {
                    src.clear();
                    return None;
                }
            }
        }
    }

    fn read(&mut self, src: &mut BytesMut) -> Option<Decoded> {
        self.missing = None;
        let total = u32_at(src, 0)?;
        let total_bytes = total as usize;
        if total_bytes < FRAME_BYTES_MIN {
            self.state = State::Closed;
            return Some(Decoded::Fatal(Fatal::Length { total }));
        }
        let fixed = FixedPart { total, message_type: u32_at(src, 4)?, sequence: u64_at(src, 8)? };
        let allowed = self.limits.frame_bytes_max(fixed.message_type);
        if total_bytes > allowed {
            return Some(self.too_large(fixed, "frame", total_bytes, allowed));
        }
        if let Some(refused) = self.check_lengths(src, fixed) {
            return Some(refused);
        }
        if src.len() < total_bytes {
            let missing = total_bytes - src.len();
            src.reserve(missing.min(src.len().max(GROWTH_BYTES_MIN).max(self.largest)));
            self.missing = NonZeroUsize::new(missing).filter(|_| total_bytes >= OWN_BUFFER_BYTES_MIN);
            return None;
        }
        self.largest = self.largest.max(total_bytes);
        Some(take(src, fixed))
    }

    /// Refuses as soon as the bytes that came show that the lengths are wrong.
    fn check_lengths(&mut self, src: &BytesMut, fixed: FixedPart) -> Option<Decoded> {
        let total_bytes = fixed.total as usize;
        let properties = u32_at(src, 24)?;
        let properties_bytes = properties as usize;
        let fault = FrameFault::Lengths { total: fixed.total, properties };
        if properties_bytes > total_bytes - FRAME_BYTES_MIN {
            return Some(self.malformed(fixed, fault));
        }
        let allowed = self.limits.properties_bytes_max;
        if properties_bytes > allowed {
            return Some(self.too_large(fixed, "properties", properties_bytes, allowed));
        }
        let body_bytes = u32_at(src, FIXED_BYTES + properties_bytes)? as usize;
        if body_bytes != total_bytes - FRAME_BYTES_MIN - properties_bytes {
            return Some(self.malformed(fixed, fault));
        }
        let allowed = self.limits.body_bytes_max(fixed.message_type);
        if body_bytes > allowed {
            return Some(self.too_large(fixed, "body", body_bytes, allowed));
        }
        None
    }

    fn malformed(&mut self, fixed: FixedPart, fault: FrameFault) -> Decoded {
        self.state = State::Skipping { rest: fixed.total as usize, then_close: false };
        Decoded::Malformed(Malformed { sequence: fixed.sequence, message_type: fixed.message_type, fault })
    }

    fn too_large(&mut self, fixed: FixedPart, what: &'static str, actual: usize, allowed: usize) -> Decoded {
        let total_bytes = fixed.total as usize;
        self.state =
            State::Skipping { rest: total_bytes.min(SKIPPED_BYTES_MAX), then_close: total_bytes > SKIPPED_BYTES_MAX };
        Decoded::TooLarge(TooLarge {
            sequence: fixed.sequence,
            message_type: fixed.message_type,
            what,
            actual,
            allowed,
        })
    }
}

/// Takes a frame that is whole and whose lengths agree.
fn take(src: &mut BytesMut, fixed: FixedPart) -> Decoded {
    let FixedPart { total, message_type, sequence } = fixed;
    src.advance(16);
    let timestamp = Timestamp::from_millis(src.get_i64());
    let properties_bytes = src.get_u32() as usize;
    let body_bytes = total as usize - FRAME_BYTES_MIN - properties_bytes;
    let (block, body) = if total as usize >= OWN_BUFFER_BYTES_MIN {
        let block = Bytes::copy_from_slice(&src[..properties_bytes]);
        src.advance(properties_bytes + BODY_LENGTH_BYTES);
        (block, take_front(src, body_bytes))
    } else {
        let block = src.split_to(properties_bytes).freeze();
        src.advance(BODY_LENGTH_BYTES);
        (block, src.split_to(body_bytes).freeze())
    };
    let fault = match (FrameType::from_wire(message_type), Properties::from_wire(block)) {
        (Some(kind), Ok(properties)) => {
            return Decoded::Frame(Frame { kind, sequence, timestamp, properties, body });
        }
        (None, _) => FrameFault::UnknownType { message_type },
        (Some(_), Err(fault)) => FrameFault::Properties(fault),
    };
    Decoded::Malformed(Malformed { sequence, message_type, fault })
}

/// The first bytes of a buffer; all of them take the buffer along, so that nothing else refers to it.
fn take_front(src: &mut BytesMut, bytes: usize) -> Bytes {
    if src.len() == bytes { std::mem::take(src).freeze() } else { src.split_to(bytes).freeze() }
}

fn u32_at(src: &BytesMut, at: usize) -> Option<u32> {
    let bytes = src.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes))
}

fn u64_at(src: &BytesMut, at: usize) -> Option<u64> {
    let bytes = src.get(at..)?.first_chunk()?;
    Some(u64::from_be_bytes(*bytes))
}

impl Decoder for FrameCodec {
    type Item = Decoded;
    /// The socket's own; decoding yields none.
    type Error = io::Error;

    fn decode(&mut self, src: &mut BytesMut) -> io::Result<Option<Decoded>> {
        Ok(self.next(src))
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> io::Result<Option<Decoded>> {
        Ok(self.next(src))
    }
}

impl Encoder<Frame> for FrameCodec {
    type Error = io::Error;

    fn encode(&mut self, frame: Frame, dst: &mut BytesMut) -> io::Result<()> {
        let invalid = |e: EncodeError| io::Error::new(io::ErrorKind::InvalidInput, e);
        frame.encode(dst).map_err(invalid)
    }
}

#[cfg(test)]
mod tests;
