//! Records read one by one from a verified batch.
//!
//! The checksum vouches for the bytes, not for their meaning: everything is still checked, since a producer may have
//! sealed nonsense into a compressed block.

use bytes::{Buf, Bytes};

use super::compression::{Compression, DecodeLimits, decompress};
use super::error::{RecordDefect, RecordError};
use super::header::{BatchHeader, HEADER_BYTES, TimestampType};
use super::stamp::{STAMP_HEADER, stamp_of};
use super::walk::{RawRecord, next_record};
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

/// The records of one batch, in order. Ends after the first error.
#[derive(Debug)]
pub struct Records {
    header: BatchHeader,
    rest: Bytes,
    index: u32,
    delta_min: i32,
    ended: bool,
    hides_stamps: bool,
}

impl Records {
    /// Decompresses what is compressed and stands before the first record.
    pub(super) fn open(batch: &Bytes, header: &BatchHeader, limits: &DecodeLimits) -> Result<Records, RecordError> {
        let body = batch.slice(HEADER_BYTES..);
        let rest = match header.attributes.compression() {
            Some(Compression::None) => body,
            Some(compression) => decompress(compression, &body, limits)?.into(),
            None => {
                let codec = header.attributes.codec();
                return Err(RecordError::UnknownCompression { codec });
            }
        };
        Ok(Records { header: *header, rest, index: 0, delta_min: 0, ended: false, hides_stamps: false })
    }

    /// The batch's stamp, to be asked for before the first record is taken; none where it has none, or lost its first
    /// record.
    #[must_use]
    pub fn stamp(&self) -> Option<Stamp> {
        if self.index == 0 { stamp_of(&self.rest) } else { None }
    }

    /// The same records without the header that holds a stamp.
    #[must_use]
    pub fn without_stamps(self) -> Records {
        Records { hides_stamps: true, ..self }
    }

    #[inline]
    fn read(&mut self) -> Result<Record, RecordDefect> {
        let mut rest: &[u8] = &self.rest;
        let raw = next_record(&mut rest)?;
        let left = rest.len();
        let record = self.build(&raw)?;
        self.delta_min = raw.offset_delta.saturating_add(1);
        self.rest.advance(self.rest.len() - left);
        Ok(record)
    }

    #[inline]
    fn build(&self, raw: &RawRecord<'_>) -> Result<Record, RecordDefect> {
        let delta = raw.offset_delta;
        let in_order = (self.delta_min..=self.header.last_offset_delta.cast_signed()).contains(&delta);
        if !in_order {
            return Err(RecordDefect::OffsetDelta { found: delta });
        }
        let mut headers = Vec::new();
        let mut raw_headers = raw.headers;
        while let Some((key, value)) = raw_headers.next()? {
            if self.hides_stamps && key == STAMP_HEADER {
                continue;
            }
            let key = self.rest.slice_ref(key);
            headers.push(RecordHeader { key, value: value.map(|v| self.rest.slice_ref(v)) });
        }
        Ok(Record {
            offset: self.header.base_offset.plus(delta.unsigned_abs().into()),
            timestamp: self.timestamp(raw.timestamp_delta)?,
            key: raw.key.map(|key| self.rest.slice_ref(key)),
            value: raw.value.map(|value| self.rest.slice_ref(value)),
            headers,
        })
    }

    #[inline]
    fn timestamp(&self, delta: i64) -> Result<Timestamp, RecordDefect> {
        match self.header.attributes.timestamp_type() {
            TimestampType::LogAppend => Ok(self.header.max_timestamp),
            TimestampType::Create => self
                .header
                .base_timestamp
                .millis()
                .checked_add(delta)
                .map(Timestamp::from_millis)
                .ok_or(RecordDefect::TimestampDelta { found: delta }),
        }
    }
}

impl Iterator for Records {
    type Item = Result<Record, RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        if self.index == self.header.records_count {
            self.ended = true;
            return match self.rest.len() {
                0 => None,
                bytes => Some(Err(RecordError::Surplus { bytes })),
            };
        }
        let index = self.index;
        self.index += 1;
        let record = self.read();
        self.ended = record.is_err();
        Some(record.map_err(|defect| RecordError::Record { index, defect }))
    }
}
