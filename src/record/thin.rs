//! Taking records out of a batch: what compaction leaves of it.
//!
//! A batch keeps its offsets whatever it loses: base offset and last offset delta stay, and so does the producer's place
//! in its sequence. What stays of the records stays byte for byte, but for timestamp deltas where the base timestamp
//! becomes a delete horizon. Batches follow each other without a gap afterwards as they did before: where whole batches
//! go, either the batch before is made to reach over their offsets, or one without records stands for them.

use bytes::{Bytes, BytesMut};

use super::batch::{Batch, checksum};
use super::compression::{Compression, DecodeLimits, compress, decompress};
use super::error::{RecordDefect, RecordError};
use super::header::{Attributes, BatchHeader, HEADER_BYTES, TimestampType, write_crc};
use super::varint::{Scratch, len_i64};
use super::walk::next_record;
use crate::types::{Epoch, Offset, Timestamp};

/// Length, attributes and timestamp delta: 5 + 1 + 10 bytes.
const PREFIX_BYTES_MAX: usize = 16;
/// Most offsets that one batch can span.
const SPAN_MAX: u64 = 1 << 31;

/// A record as compaction sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Glimpse<'a> {
    /// Its offset.
    pub offset: Offset,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Whether it has no value.
    pub is_tombstone: bool,
}

/// What becomes of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It stays.
    Stays,
    /// It stays, and its batch gets a delete horizon where it has none.
    StaysUntilHorizon,
    /// It goes.
    Goes,
}

/// What is left of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Thinned {
    /// All of it: nothing is to be changed.
    Whole,
    /// Some records, or all of them with a delete horizon.
    Part(Batch),
    /// None of its records.
    Nothing,
}

/// The uncompressed records of a batch, one after another, without their headers being looked into.
#[derive(Debug)]
pub struct Glimpses {
    header: BatchHeader,
    body: Bytes,
}

impl Glimpses {
    /// Decompresses what is compressed.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn open(batch: &Batch, limits: &DecodeLimits) -> Result<Glimpses, RecordError> {
        let header = *batch.header();
        let body = batch.bytes().slice(HEADER_BYTES..);
        let body = match header.attributes.compression() {
            Some(Compression::None) => body,
            Some(compression) => decompress(compression, &body, limits)?.into(),
            None => return Err(RecordError::UnknownCompression { codec: header.attributes.codec() }),
        };
        Ok(Glimpses { header, body })
    }

    /// Shows every record to `see`.
    ///
    /// # Errors
    /// [`RecordError`] at the first malformed record; those before it were shown.
    pub fn each(&self, mut see: impl FnMut(&Glimpse<'_>)) -> Result<(), RecordError> {
        self.walk(|glimpse, _| see(glimpse))
    }

    /// Takes out the records that `fate` lets go. `horizon` is the time the batch's tombstones are kept until where it
    /// has none yet.
    ///
    /// # Errors
    /// [`RecordError`]; a batch that cannot be read is for the caller to keep as it is.
    pub fn thin(&self, horizon: Timestamp, mut fate: impl FnMut(&Glimpse<'_>) -> Fate) -> Result<Thinned, RecordError> {
        let (mut stays, mut goes, mut needs_horizon) = (Vec::new(), false, false);
        self.walk(|glimpse, range| match fate(glimpse) {
            Fate::Goes => goes = true,
            Fate::Stays => stays.push(range),
            Fate::StaysUntilHorizon => {
                needs_horizon = true;
                stays.push(range);
            }
        })?;
        needs_horizon &= self.header.delete_horizon().is_none();
        if stays.is_empty() {
            return Ok(Thinned::Nothing);
        }
        if !goes && !needs_horizon {
            return Ok(Thinned::Whole);
        }
        let mut header = BatchHeader { records_count: count(stays.len()), ..self.header };
        let shift = if needs_horizon {
            header.attributes = header.attributes.with_delete_horizon();
            let from = std::mem::replace(&mut header.base_timestamp, horizon);
            Some((from, horizon))
        } else {
            None
        };
        let (records, max_timestamp) = self.gather(&stays, shift)?;
        if header.attributes.timestamp_type() == TimestampType::Create {
            header.max_timestamp = max_timestamp;
        }
        seal(header, &records).map(Thinned::Part)
    }

    /// Copies records; where the base timestamp moves their deltas are written anew. Gives their largest timestamp too.
    fn gather(
        &self,
        stays: &[std::ops::Range<usize>],
        shift: Option<(Timestamp, Timestamp)>,
    ) -> Result<(BytesMut, Timestamp), RecordError> {
        let bytes = stays.iter().map(|range| range.len()).sum::<usize>();
        let spare = if shift.is_some() { stays.len() * PREFIX_BYTES_MAX } else { 0 };
        let (mut records, mut max_timestamp) = (BytesMut::with_capacity(bytes + spare), Timestamp::NONE);
        for (index, range) in (0..).zip(stays) {
            let raw = &self.body[range.clone()];
            let defect = |defect| RecordError::Record { index, defect };
            let delta = next_record(&mut &raw[..]).map_err(defect)?.timestamp_delta;
            let outside = || defect(RecordDefect::TimestampDelta { found: delta });
            let millis = self.header.base_timestamp.millis().checked_add(delta).ok_or_else(outside)?;
            max_timestamp = max_timestamp.max(Timestamp::from_millis(millis));
            match shift {
                None => records.extend_from_slice(raw),
                Some((_, to)) => {
                    let moved = millis.checked_sub(to.millis()).ok_or_else(outside)?;
                    let (attributes, rest) = behind_timestamp(raw).map_err(defect)?;
                    let mut prefix = Scratch::<PREFIX_BYTES_MAX>::new();
                    prefix.push((1 + len_i64(moved) + rest.len()) as i64);
                    prefix.push_byte(attributes);
                    prefix.push(moved);
                    records.extend_from_slice(prefix.as_slice());
                    records.extend_from_slice(rest);
                }
            }
        }
        Ok((records, max_timestamp))
    }

    fn walk(&self, mut each: impl FnMut(&Glimpse<'_>, std::ops::Range<usize>)) -> Result<(), RecordError> {
        let mut rest: &[u8] = &self.body;
        let mut delta_min = 0;
        for index in 0..self.header.records_count {
            let defect = |defect| RecordError::Record { index, defect };
            let start = self.body.len() - rest.len();
            let record = next_record(&mut rest).map_err(defect)?;
            let delta = record.offset_delta;
            if !(delta_min..=self.header.last_offset_delta.cast_signed()).contains(&delta) {
                return Err(defect(RecordDefect::OffsetDelta { found: delta }));
            }
            delta_min = delta.saturating_add(1);
            let glimpse = Glimpse {
                offset: self.header.base_offset.plus(delta.unsigned_abs().into()),
                key: record.key,
                is_tombstone: record.value.is_none(),
            };
            each(&glimpse, start..self.body.len() - rest.len());
        }
        match rest.len() {
            0 => Ok(()),
            bytes => Err(RecordError::Surplus { bytes }),
        }
    }
}

/// The attributes of one whole record, and what lies behind its timestamp delta.
fn behind_timestamp(raw: &[u8]) -> Result<(u8, &[u8]), RecordDefect> {
    let mut rest = raw;
    super::varint::read_i32(&mut rest)?;
    let (attributes, mut rest) = rest.split_first().ok_or(RecordDefect::Truncated)?;
    super::varint::read_i64(&mut rest)?;
    Ok((*attributes, rest))
}

/// The batch without its records: what stays of one whose producer must be remembered.
#[must_use]
pub fn without_records(header: &BatchHeader) -> Batch {
    let attributes = header.attributes.uncompressed();
    empty(BatchHeader { attributes, base_timestamp: header.max_timestamp, ..*header })
}

/// A batch without records that stands for the offsets from `from` to just before `to`, at most 2^31 of them, and for
/// the time of what was there; `None` where there are none, or more.
#[must_use]
pub fn hole(from: Offset, to: Offset, epoch: Epoch, timestamp: Timestamp) -> Option<Batch> {
    let last_offset_delta = span(from, to)?;
    Some(empty(BatchHeader {
        base_offset: from,
        total_bytes: HEADER_BYTES,
        leader_epoch: epoch.get(),
        crc: 0,
        attributes: Attributes::default(),
        last_offset_delta,
        base_timestamp: timestamp,
        max_timestamp: timestamp,
        producer: None,
        records_count: 0,
    }))
}

/// The batch, reaching up to just before `to`; `None` where it cannot: it tells of a producer, whose sequence would no
/// longer agree, or it is a control batch, or there are too many offsets.
#[must_use]
pub fn reaching(batch: &Batch, to: Offset) -> Option<Batch> {
    let header = batch.header();
    let may_reach = header.producer.is_none() && !header.attributes.is_control();
    let last_offset_delta = span(header.base_offset, to).filter(|_| may_reach)?;
    let mut bytes = BytesMut::from(&batch.bytes()[..]);
    let mut header = BatchHeader { last_offset_delta, ..*header };
    write(&mut bytes, &mut header);
    Some(Batch::from_verified(bytes.freeze(), header))
}

fn span(from: Offset, to: Offset) -> Option<u32> {
    let offsets = to.get().checked_sub(from.get()).filter(|offsets| (1..=SPAN_MAX).contains(offsets))?;
    u32::try_from(offsets - 1).ok()
}

fn count(records: usize) -> u32 {
    u32::try_from(records).unwrap_or(u32::MAX)
}

fn empty(mut header: BatchHeader) -> Batch {
    (header.total_bytes, header.records_count) = (HEADER_BYTES, 0);
    let mut bytes = BytesMut::zeroed(HEADER_BYTES);
    write(&mut bytes, &mut header);
    Batch::from_verified(bytes.freeze(), header)
}

/// Puts records under a header, compressed as that says.
fn seal(mut header: BatchHeader, records: &[u8]) -> Result<Batch, RecordError> {
    let mut bytes = BytesMut::with_capacity(HEADER_BYTES + records.len());
    bytes.extend_from_slice(&[0; HEADER_BYTES]);
    let compression = header.attributes.compression().unwrap_or(Compression::None);
    compress(compression, records, &mut bytes).map_err(|source| RecordError::Decompress { compression, source })?;
    header.total_bytes = bytes.len();
    write(&mut bytes, &mut header);
    Ok(Batch::from_verified(bytes.freeze(), header))
}

fn write(bytes: &mut BytesMut, header: &mut BatchHeader) {
    if let Some(head) = bytes.first_chunk_mut::<HEADER_BYTES>() {
        header.encode(head);
    }
    header.crc = checksum(bytes);
    write_crc(bytes, header.crc);
}

#[cfg(test)]
mod tests;
