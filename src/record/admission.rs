//! What a batch must be to enter a log: the checks on a client's batch, and the numbering of an admitted one.
//!
//! An admitted batch is one whole batch with a right checksum and a known codec; it has at least one record and as
//! many offsets as records; it is neither control nor transactional; an uncompressed body walks record by record to
//! its exact end, offset deltas 0, 1, 2, …. A compressed body is the producer's word: it is not decompressed here.
//!
//! Timestamps: every one is -1 ("none") or not negative, the type is the producer's clock, and the largest is not
//! further ahead of the broker's clock than the limits say, the smallest not further behind (of a compressed batch the
//! first record's is taken for it). The max timestamp field is the broker's to state, as in
//! Kafka, whose broker writes it into every batch and whose older clients leave it at -1 or wrong: where it differs
//! from the records' maximum (of an uncompressed batch) or lies below the base timestamp (of a compressed one, whose
//! records are unseen), the right value is written and the checksum with it.

use std::fmt;

use bytes::BytesMut;

use super::batch::{Batch, checksum, verify_exact};
use super::compression::{Compression, DecodeLimits, decompress};
use super::error::{AdmissionError, RecordDefect};
use super::header::{BatchHeader, HEADER_BYTES, write_crc, write_max_timestamp, write_numbering};
use super::stamp::stamp_of;
use super::walk::{next_record, plain_record};
use crate::types::{Epoch, Offset, Stamp, Timestamp};

/// Records without a key that are named of one batch.
const KEYLESS_MAX: usize = 1_000;

/// What a client's batch may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// Bytes of one batch, header included.
    pub batch_bytes_max: usize,
    /// How far the largest timestamp may lie ahead of the broker's clock, in milliseconds; `None`: any distance.
    /// Time index and retention bound what they believe by themselves.
    pub timestamp_after_max_ms: Option<i64>,
    /// How far the smallest timestamp may lie behind the broker's clock, in milliseconds; `None`: any distance.
    pub timestamp_before_max_ms: Option<i64>,
}

impl AdmissionLimits {
    /// The default of [`AdmissionLimits::batch_bytes_max`]: 1 MiB.
    pub const BATCH_BYTES_MAX: usize = 1 << 20;
}

impl Default for AdmissionLimits {
    fn default() -> Self {
        let batch_bytes_max = Self::BATCH_BYTES_MAX;
        AdmissionLimits { batch_bytes_max, timestamp_after_max_ms: None, timestamp_before_max_ms: None }
    }
}

/// A batch that may enter a log and has no offset yet.
pub struct ProducedBatch {
    bytes: BytesMut,
    header: BatchHeader,
    largest_value_bytes: Option<usize>,
}

/// What a walk over uncompressed records found.
struct Walked {
    max_timestamp: Timestamp,
    /// Of the records that have one.
    min_timestamp: Option<Timestamp>,
    largest_value_bytes: usize,
}

impl ProducedBatch {
    /// Checks a client's batch. Nothing is allocated; `now` is the broker's clock.
    ///
    /// # Errors
    /// [`AdmissionError`] names the rule that is broken. The bytes are dropped.
    pub fn admit(
        mut bytes: BytesMut,
        limits: &AdmissionLimits,
        now: Timestamp,
    ) -> Result<ProducedBatch, AdmissionError> {
        let bytes_max = limits.batch_bytes_max;
        if bytes.len() > bytes_max {
            return Err(AdmissionError::TooLarge { bytes: bytes.len(), bytes_max });
        }
        let mut header = verify_exact(&bytes)?;
        check_attributes(&header)?;
        check_counts(&header)?;
        let (timestamps, largest_value_bytes) = match header.attributes.compression() {
            Some(Compression::None) => {
                let walked = walk(&bytes[HEADER_BYTES..], &header)?;
                ((walked.min_timestamp, walked.max_timestamp), Some(walked.largest_value_bytes))
            }
            Some(_) => {
                let first = Some(header.base_timestamp).filter(|first| *first > Timestamp::NONE);
                ((first, header.max_timestamp.max(header.base_timestamp)), None)
            }
            None => {
                let codec = header.attributes.codec();
                return Err(AdmissionError::UnknownCompression { codec });
            }
        };
        check_timestamps(&header, timestamps, limits, now)?;
        let (_, max_timestamp) = timestamps;
        if max_timestamp != header.max_timestamp {
            write_max_timestamp(&mut bytes, max_timestamp);
            header.max_timestamp = max_timestamp;
            header.crc = checksum(&bytes);
            write_crc(&mut bytes, header.crc);
        }
        Ok(ProducedBatch { bytes, header, largest_value_bytes })
    }

    /// A batch our own builder just made: right by construction.
    pub(super) fn from_builder(bytes: BytesMut, header: BatchHeader) -> ProducedBatch {
        debug_assert_eq!(verify_exact(&bytes), Ok(header));
        ProducedBatch { bytes, header, largest_value_bytes: None }
    }

    /// Gives all records one time, the one they are appended at, whatever their producer said. Their own times stay in
    /// the bytes, where nobody looks any more.
    pub fn set_append_time(&mut self, now: Timestamp) {
        self.header.attributes = self.header.attributes.log_append();
        self.header.max_timestamp = now;
        if let Some(head) = self.bytes.first_chunk_mut::<HEADER_BYTES>() {
            self.header.encode(head);
        }
        self.header.crc = checksum(&self.bytes);
        write_crc(&mut self.bytes, self.header.crc);
    }

    /// The header, as the producer sent it save for the max timestamp.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Bytes of the largest value, where admission saw the records: not of a compressed batch, nor of one we built.
    #[must_use]
    pub fn largest_value_bytes(&self) -> Option<usize> {
        self.largest_value_bytes
    }

    /// Its stamp, where it has one and is not compressed.
    #[must_use]
    pub fn stamp(&self) -> Option<Stamp> {
        let is_plain = self.header.attributes.compression() == Some(Compression::None);
        if is_plain { stamp_of(&self.bytes[HEADER_BYTES..]) } else { None }
    }

    /// Which records have no key, the first of them at most 1,000: a topic that is compacted takes none. `None` where the
    /// records cannot be read. Decompresses what is compressed.
    #[must_use]
    pub fn keyless(&self) -> Option<Vec<u32>> {
        let body = &self.bytes[HEADER_BYTES..];
        let compression = self.header.attributes.compression()?;
        if compression == Compression::None {
            return Some(keyless(body, &self.header));
        }
        let body = decompress(compression, body, &DecodeLimits::default()).ok()?;
        walk(&body, &self.header).ok().map(|_| keyless(&body, &self.header))
    }

    /// The whole batch.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The whole batch, unnumbered.
    #[must_use]
    pub fn into_bytes(self) -> BytesMut {
        self.bytes
    }

    /// Gives the batch its place in a log: writes base offset and leader epoch, both outside the checksum, and
    /// freezes the bytes without copying. The batch must end below [`Offset::MAX`].
    #[must_use]
    pub fn number(mut self, base_offset: Offset, leader_epoch: Epoch) -> Batch {
        write_numbering(&mut self.bytes, base_offset, leader_epoch.get());
        self.header.base_offset = base_offset;
        self.header.leader_epoch = leader_epoch.get();
        Batch::from_verified(self.bytes.freeze(), self.header)
    }
}

impl fmt::Debug for ProducedBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProducedBatch").field("header", &self.header).finish_non_exhaustive()
    }
}

fn check_attributes(header: &BatchHeader) -> Result<(), AdmissionError> {
    let attributes = header.attributes;
    if attributes.is_control() {
        return Err(AdmissionError::Control);
    }
    if attributes.is_transactional() {
        return Err(AdmissionError::Transactional);
    }
    if attributes.has_foreign_bits() {
        return Err(AdmissionError::Attributes { bits: attributes.bits() });
    }
    match header.producer {
        Some(stamp) if stamp.base_sequence.is_none() => Err(AdmissionError::SequenceMissing),
        Some(_) | None => Ok(()),
    }
}

fn check_counts(header: &BatchHeader) -> Result<(), AdmissionError> {
    let BatchHeader { records_count, last_offset_delta, .. } = *header;
    if records_count.checked_sub(1) == Some(last_offset_delta) {
        Ok(())
    } else {
        Err(AdmissionError::RecordsCount { records_count, last_offset_delta })
    }
}

fn check_timestamps(
    header: &BatchHeader,
    (min_timestamp, max_timestamp): (Option<Timestamp>, Timestamp),
    limits: &AdmissionLimits,
    now: Timestamp,
) -> Result<(), AdmissionError> {
    check_not_negative(header.base_timestamp)?;
    if let Some(after_max_ms) = limits.timestamp_after_max_ms.filter(|most| max_timestamp.since(now) > *most) {
        let millis = max_timestamp.millis();
        return Err(AdmissionError::FutureTimestamp { millis, after_max_ms });
    }
    match (min_timestamp, limits.timestamp_before_max_ms) {
        (Some(first), Some(before_max_ms)) if now.since(first) > before_max_ms => {
            let millis = first.millis();
            Err(AdmissionError::PastTimestamp { millis, before_max_ms })
        }
        _ => Ok(()),
    }
}

fn check_not_negative(timestamp: Timestamp) -> Result<(), AdmissionError> {
    if timestamp < Timestamp::NONE {
        return Err(AdmissionError::NegativeTimestamp { millis: timestamp.millis() });
    }
    Ok(())
}

/// Walks an uncompressed body to its exact end.
fn walk(body: &[u8], header: &BatchHeader) -> Result<Walked, AdmissionError> {
    let base = header.base_timestamp.millis();
    let mut rest = body;
    let (mut max_timestamp, mut min_timestamp) = (Timestamp::NONE, None::<Timestamp>);
    let mut largest_value_bytes = 0;
    for index in 0..header.records_count {
        let defect = |defect| AdmissionError::Record { index, defect };
        let (timestamp_delta, offset_delta, value_bytes) = match plain_record(&mut rest) {
            Some(plain) => (i64::from(plain.timestamp_delta), plain.offset_delta, plain.value_bytes),
            None => {
                let record = next_record(&mut rest).map_err(defect)?;
                record.headers.check().map_err(defect)?;
                (record.timestamp_delta, record.offset_delta, record.value.map_or(0, <[u8]>::len))
            }
        };
        if offset_delta != index.cast_signed() {
            return Err(defect(RecordDefect::OffsetDelta { found: offset_delta }));
        }
        let Some(millis) = base.checked_add(timestamp_delta) else {
            return Err(defect(RecordDefect::TimestampDelta { found: timestamp_delta }));
        };
        let timestamp = Timestamp::from_millis(millis);
        check_not_negative(timestamp)?;
        max_timestamp = max_timestamp.max(timestamp);
        if timestamp != Timestamp::NONE {
            min_timestamp = Some(min_timestamp.map_or(timestamp, |least| least.min(timestamp)));
        }
        largest_value_bytes = largest_value_bytes.max(value_bytes);
    }
    match rest.len() {
        0 => Ok(Walked { max_timestamp, min_timestamp, largest_value_bytes }),
        bytes => Err(AdmissionError::Surplus { bytes }),
    }
}

/// The records without a key of a body that was walked before.
fn keyless(body: &[u8], header: &BatchHeader) -> Vec<u32> {
    let mut rest = body;
    let records = (0..header.records_count).map_while(|index| Some((index, next_record(&mut rest).ok()?)));
    records.filter(|(_, record)| record.key.is_none()).map(|(index, _)| index).take(KEYLESS_MAX).collect()
}

#[cfg(test)]
mod tests;
