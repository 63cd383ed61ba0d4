//! Kafka's primitive types, appended to the bytes of a response.
//!
//! A response is preceded by its length, an i32 that does not count itself; then comes the correlation id, and in flexible
//! versions an empty set of tagged fields.

use bytes::{BufMut, BytesMut};

use super::api::Api;
use super::error::{KafkaError, NO_ERROR};
use super::frame::LENGTH_BYTES;
use super::wire::Encoding;

/// What cannot be written: our own mistake, or more than a length can say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unencodable {
    /// Longer than its length can say.
    #[error("a response or a part of it is longer than its length can say")]
    TooLong,
    /// A value that this version has no place for.
    #[error("{0}")]
    Crate(String),
}

/// Writes one response behind what is in a buffer already.
#[derive(Debug)]
pub(super) struct ResponseWriter<'a> {
    out: &'a mut BytesMut,
    start: usize,
    encoding: Encoding,
    is_too_long: bool,
}

impl<'a> ResponseWriter<'a> {
    /// Begins with room for the length, and the header.
    pub(super) fn begin(out: &'a mut BytesMut, api: Api, version: i16, correlation_id: i32) -> ResponseWriter<'a> {
        let start = out.len();
        out.put_i32(0);
        out.put_i32(correlation_id);
        if api.has_flexible_response_header(version) {
            out.put_u8(0);
        }
        let encoding = if api.is_flexible(version) { Encoding::Flexible } else { Encoding::Classic };
        ResponseWriter { out, start, encoding, is_too_long: false }
    }

    /// Where the next byte will stand, counted from the beginning of the response.
    pub(super) fn at(&self) -> usize {
        self.out.len() - self.start
    }

    /// The bytes themselves, for whoever knows what to write.
    pub(super) fn out(&mut self) -> &mut BytesMut {
        self.out
    }

    pub(super) fn i16(&mut self, value: i16) {
        self.out.put_i16(value);
    }

    pub(super) fn i32(&mut self, value: i32) {
        self.out.put_i32(value);
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.out.put_i64(value);
    }

    pub(super) fn error(&mut self, error: Option<KafkaError>) {
        self.out.put_i16(error.map_or(NO_ERROR, KafkaError::to_wire));
    }

    fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.out.put_u8((value & 0x7F) as u8 | 0x80);
            value >>= 7;
        }
        self.out.put_u8((value & 0x7F) as u8);
    }

    /// A string, or null.
    pub(super) fn text(&mut self, text: Option<&str>) {
        let length = text.map(str::len);
        match self.encoding {
            Encoding::Classic => match i16::try_from(length.unwrap_or(0)) {
                Ok(bytes) => self.i16(if length.is_some() { bytes } else { -1 }),
                Err(_) => self.is_too_long = true,
            },
            Encoding::Flexible => self.compact(length),
        }
        self.out.put_slice(text.unwrap_or_default().as_bytes());
    }

    /// The count of an array or the length of bytes; `None` for null.
    pub(super) fn count(&mut self, count: Option<usize>) {
        match self.encoding {
            Encoding::Classic => match i32::try_from(count.unwrap_or(0)) {
                Ok(number) => self.i32(if count.is_some() { number } else { -1 }),
                Err(_) => self.is_too_long = true,
            },
            Encoding::Flexible => self.compact(count),
        }
    }

    fn compact(&mut self, length: Option<usize>) {
        match u32::try_from(length.map_or(0, |length| length.saturating_add(1))) {
            Ok(number) => self.varint(number),
            Err(_) => self.is_too_long = true,
        }
    }

    /// The end of a structure: no tagged fields.
    pub(super) fn end_of_structure(&mut self) {
        if self.encoding == Encoding::Flexible {
            self.out.put_u8(0);
        }
    }

    /// Fills in the length, which counts so many bytes that go out beside these.
    ///
    /// # Errors
    /// [`Unencodable::TooLong`]; the buffer is then as before.
    pub(super) fn finish(self, bytes_beside: usize) -> Result<(), Unencodable> {
        let length = (self.at() - LENGTH_BYTES).saturating_add(bytes_beside);
        match i32::try_from(length) {
            Ok(length) if !self.is_too_long => {
                self.out[self.start..self.start + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
                Ok(())
            }
            Ok(_) | Err(_) => {
                self.out.truncate(self.start);
                Err(Unencodable::TooLong)
            }
        }
    }

    /// Takes back all of it.
    pub(super) fn abandon(self) {
        self.out.truncate(self.start);
    }
}
