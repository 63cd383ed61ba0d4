//! Writing a frame straight into the bytes to be sent: no allocation but the buffer's own growth.

use bytes::{BufMut, BytesMut};

use super::base64::encode_base64;
use super::frame::{FIXED_BYTES, FRAME_BYTES_MIN, FrameType};
use crate::types::Timestamp;

/// What no frame can carry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A key that is empty, or contains `=` or NUL.
    #[error("property key {key:?} is empty or contains '=' or NUL")]
    Key {
        /// The key.
        key: String,
    },
    /// A value with a NUL byte, which would end it early.
    #[error("the value of property {key:?} contains NUL")]
    Value {
        /// The key whose value it is.
        key: String,
    },
    /// A frame longer than its length field can say.
    #[error("the frame would be longer than 4 GiB")]
    TooLong,
}

impl EncodeError {
    /// Checks that the pair would come back as it is.
    pub(super) fn check(key: &str, value: &str) -> Result<(), EncodeError> {
        if key.is_empty() || key.bytes().any(|b| b == b'=' || b == 0) {
            return Err(EncodeError::Key { key: key.into() });
        }
        if value.bytes().any(|b| b == 0) {
            return Err(EncodeError::Value { key: key.into() });
        }
        Ok(())
    }
}

/// A frame being appended to a buffer. Dropped before [`FrameWriter::finish`], it leaves the buffer as it was.
#[derive(Debug)]
pub struct FrameWriter<'a> {
    dst: &'a mut BytesMut,
    start: usize,
    finished: bool,
}

impl<'a> FrameWriter<'a> {
    /// Begins a frame at the end of `dst`.
    pub fn new(dst: &'a mut BytesMut, kind: FrameType, sequence: u64, timestamp: Timestamp) -> FrameWriter<'a> {
        let start = dst.len();
        let mut fixed = [0u8; FIXED_BYTES];
        fixed[4..8].copy_from_slice(&kind.to_wire().to_be_bytes());
        fixed[8..16].copy_from_slice(&sequence.to_be_bytes());
        fixed[16..24].copy_from_slice(&timestamp.millis().to_be_bytes());
        dst.extend_from_slice(&fixed);
        FrameWriter { dst, start, finished: false }
    }

    /// Appends a property.
    ///
    /// # Errors
    /// [`EncodeError`] for a key that is empty or contains `=` or NUL, and for a value that contains NUL.
    pub fn property(&mut self, key: &str, value: &str) -> Result<(), EncodeError> {
        EncodeError::check(key, value)?;
        self.pair(key.as_bytes(), value.as_bytes());
        Ok(())
    }

    /// Appends a property whose value is a number. The key is ours and known to be good.
    pub(super) fn number(&mut self, key: &'static str, value: u64) {
        self.key(key.as_bytes());
        let mut digits = [0u8; 20];
        let mut at = digits.len();
        let mut rest = value;
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.dst.extend_from_slice(&digits[at..]);
        self.dst.put_u8(0);
    }

    /// Appends a property for a reader's eyes: a NUL in the value becomes a space. The key is known to be good.
    pub(super) fn text(&mut self, key: &str, value: &str) {
        let from = self.dst.len() + key.len() + 1;
        self.pair(key.as_bytes(), value.as_bytes());
        let end = self.dst.len() - 1;
        for byte in self.dst[from..end].iter_mut().filter(|b| **b == 0) {
            *byte = b' ';
        }
    }

    /// Appends a pair that is known to be good.
    pub(super) fn pair(&mut self, key: &[u8], value: &[u8]) {
        self.key(key);
        self.dst.extend_from_slice(value);
        self.dst.put_u8(0);
    }

    /// Appends `<key>.b64` with the base64 form of `value`. The key is known to be good.
    pub(super) fn base64(&mut self, key: &[u8], value: &[u8]) {
        self.dst.extend_from_slice(key);
        self.key(b".b64");
        encode_base64(value, self.dst);
        self.dst.put_u8(0);
    }

    /// Appends a block that is already in wire form.
    pub(crate) fn raw_properties(&mut self, block: &[u8]) {
        self.dst.extend_from_slice(block);
    }

    fn key(&mut self, key: &[u8]) {
        self.dst.extend_from_slice(key);
        self.dst.put_u8(b'=');
    }

    /// Appends the body and fills in the lengths.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] where 4 bytes cannot hold the length; the buffer is then as before.
    pub fn finish(mut self, body: &[u8]) -> Result<(), EncodeError> {
        self.dst.reserve(4 + body.len());
        self.fill_in(body.len())?;
        self.dst.extend_from_slice(body);
        Ok(())
    }

    /// As [`FrameWriter::finish`], but for the body: the caller sends so many bytes behind what is written here.
    ///
    /// # Errors
    /// As there.
    pub fn finish_before(mut self, body_bytes: usize) -> Result<(), EncodeError> {
        self.fill_in(body_bytes)
    }

    fn fill_in(&mut self, body_bytes: usize) -> Result<(), EncodeError> {
        let properties_bytes = self.dst.len() - self.start - FIXED_BYTES;
        let total_bytes = FRAME_BYTES_MIN + properties_bytes + body_bytes;
        let total_length = u32::try_from(total_bytes).map_err(|_| EncodeError::TooLong)?;
        // Each part is smaller than the total, which fits.
        let length_of = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes();
        let fixed = &mut self.dst[self.start..];
        fixed[0..4].copy_from_slice(&total_length.to_be_bytes());
        fixed[24..28].copy_from_slice(&length_of(properties_bytes));
        self.dst.extend_from_slice(&length_of(body_bytes));
        self.finished = true;
        Ok(())
    }
}

impl Drop for FrameWriter<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.dst.truncate(self.start);
        }
    }
}
