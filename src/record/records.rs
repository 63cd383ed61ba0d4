//! Records read one by one from a verified batch.
//!
//! The checksum vouches for the bytes, not for their meaning: everything is still checked, since a producer may have
//! sealed nonsense into a compressed block.

use bytes::Bytes;

use super::compression::{Compression, DecodeLimits, decompress};
use super::error::{RecordDefect, RecordError};
use super::header::{BatchHeader, HEADER_BYTES, TimestampType};
use super::stamp::{STAMP_HEADER, stamp_of};
use super::walk::{RawHeaders, RawRecord, next_record};
use crate::types::{Offset, Stamp, Timestamp};

/// One record, with its absolute place and time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its offset in the partition.
    pub offset: Offset,
    /// Its time: its own, or the append time of its batch where the attributes say so.
    pub timestamp: Timestamp,
    /// The key, if it has one.
    pub key: Option<Bytes>,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// The headers, in order; keys may repeat.
    pub headers: Vec<RecordHeader>,
}

/// One header of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordHeader {
    /// The name; UTF-8 by convention, unchecked.
    pub key: Bytes,
    /// The value, if it has one.
    pub value: Option<Bytes>,
}

/// One record whose parts lie in its batch.
#[derive(Debug, Clone, Copy)]
pub struct RecordSlices<'a> {
    /// Its offset in the partition.
    pub offset: Offset,
    /// Its time: its own, or the append time of its batch where the attributes say so.
    pub timestamp: Timestamp,
    /// The key, if it has one.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    headers: RawHeaders<'a>,
}

impl<'a> RecordSlices<'a> {
    /// The headers, in order; keys may repeat. The one that holds a stamp is among them.
    pub fn headers(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        let mut headers = self.headers;
        // They were walked before, so that none is malformed.
        std::iter::from_fn(move || headers.next().ok().flatten())
    }
}

/// The records of one batch, in order. Ends after the first error.
#[derive(Debug)]
pub struct Records {
    header: BatchHeader,
    bytes: Bytes,
    cursor: Cursor,
    hides_stamps: bool,
}

/// How far a batch was read.
#[derive(Debug, Clone, Copy, Default)]
struct Cursor {
    at: usize,
    index: u32,
    delta_min: i32,
    ended: bool,
}

impl Records {
    /// Decompresses what is compressed and stands before the first record.
    pub(super) fn open(batch: &Bytes, header: &BatchHeader, limits: &DecodeLimits) -> Result<Records, RecordError> {
        let body = batch.slice(HEADER_BYTES..);
        let bytes = match header.attributes.compression() {
            Some(Compression::None) => body,
            Some(compression) => decompress(compression, &body, limits)?.into(),
            None => {
                let codec = header.attributes.codec();
                return Err(RecordError::UnknownCompression { codec });
            }
        };
        Ok(Records { header: *header, bytes, cursor: Cursor::default(), hides_stamps: false })
    }

    /// The batch's stamp, to be asked for before the first record is taken; none where it has none, or lost its first
    /// record.
    #[must_use]
    pub fn stamp(&self) -> Option<Stamp> {
        if self.cursor.index == 0 { stamp_of(&self.bytes) } else { None }
    }

    /// The same records without the header that holds a stamp.
    #[must_use]
    pub fn without_stamps(self) -> Records {
        Records { hides_stamps: true, ..self }
    }

    /// Whether there is another record, or an error to be told.
    #[must_use]
    #[inline]
    pub fn has_more(&self) -> bool {
        let Cursor { at, index, ended, .. } = self.cursor;
        !ended && (index < self.header.records_count || at < self.bytes.len())
    }

    /// Leaves out the records below an offset.
    ///
    /// # Errors
    /// Those of the records left out.
    pub fn skip_below(&mut self, offset: Offset) -> Result<(), RecordError> {
        while self.has_more() {
            let before = self.cursor;
            if self.next_slices().transpose()?.is_some_and(|record| record.offset >= offset) {
                self.cursor = before;
                break;
            }
        }
        Ok(())
    }

    /// The next record, where it lies: it costs no count of who holds the batch.
    #[inline(always)]
    pub fn next_slices(&mut self) -> Option<Result<RecordSlices<'_>, RecordError>> {
        if !self.has_more() {
            return None;
        }
        Some(self.cursor.step(&self.bytes, &self.header))
    }

    #[inline]
    fn own(&self, record: &RecordSlices<'_>) -> Record {
        let slice = |part: &[u8]| self.bytes.slice_ref(part);
        let header = |(key, value): (&[u8], Option<&[u8]>)| RecordHeader { key: slice(key), value: value.map(slice) };
        let is_shown = |(key, _): &(&[u8], Option<&[u8]>)| !(self.hides_stamps && *key == STAMP_HEADER);
        Record {
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.map(slice),
            value: record.value.map(slice),
            headers: if record.headers.is_empty() {
                Vec::new()
            } else {
                record.headers().filter(is_shown).map(header).collect()
            },
        }
    }
}

impl Cursor {
    /// Takes the next record, where there is one or bytes are left.
    #[inline(always)]
    fn step<'a>(&mut self, bytes: &'a [u8], header: &BatchHeader) -> Result<RecordSlices<'a>, RecordError> {
        let index = self.index;
        if index == header.records_count {
            self.ended = true;
            return Err(RecordError::Surplus { bytes: bytes.len() - self.at });
        }
        self.index += 1;
        let mut rest = &bytes[self.at..];
        let record = next_record(&mut rest).and_then(|raw| self.checked(&raw, header));
        self.at = bytes.len() - rest.len();
        self.ended = record.is_err();
        record.map_err(|defect| RecordError::Record { index, defect })
    }

    #[inline(always)]
    fn checked<'a>(&mut self, raw: &RawRecord<'a>, header: &BatchHeader) -> Result<RecordSlices<'a>, RecordDefect> {
        let delta = raw.offset_delta;
        if !(self.delta_min..=header.last_offset_delta.cast_signed()).contains(&delta) {
            return Err(RecordDefect::OffsetDelta { found: delta });
        }
        raw.headers.check()?;
        self.delta_min = delta.saturating_add(1);
        Ok(RecordSlices {
            offset: header.base_offset.plus(delta.unsigned_abs().into()),
            timestamp: timestamp(header, raw.timestamp_delta)?,
            key: raw.key,
            value: raw.value,
            headers: raw.headers,
        })
    }
}

#[inline]
fn timestamp(header: &BatchHeader, delta: i64) -> Result<Timestamp, RecordDefect> {
    match header.attributes.timestamp_type() {
        TimestampType::LogAppend => Ok(header.max_timestamp),
        TimestampType::Create => header
            .base_timestamp
            .millis()
            .checked_add(delta)
            .map(Timestamp::from_millis)
            .ok_or(RecordDefect::TimestampDelta { found: delta }),
    }
}

impl Iterator for Records {
    type Item = Result<Record, RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if !self.has_more() {
            return None;
        }
        let record = self.cursor.step(&self.bytes, &self.header);
        Some(record.map(|record| self.own(&record)))
    }
}
