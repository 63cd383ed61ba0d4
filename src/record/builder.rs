//! Building batches record by record, straight into the buffer that will be sent.
//!
//! The broker's own messages and our client come through here. No allocation per record; one buffer per batch.

use std::io;

use bytes::{BufMut, BytesMut};

use super::admission::ProducedBatch;
use super::batch::checksum;
use super::compression::{Compression, compress};
use super::error::BuildError;
use super::header::{ABSENT, Attributes, BATCH_BYTES_MAX, BatchHeader, HEADER_BYTES, ProducerStamp, write_crc};
use super::stamp::{PREFIX, STAMP_HEADER_BYTES};
use super::varint::{Scratch, len_i64, len_sized};
use crate::types::{Offset, Stamp, Timestamp};

/// Length, attributes, timestamp delta, offset delta, key length, value length: 5 + 1 + 10 + 5 + 5 + 5 bytes, and one to
/// make it a round number.
const PREFIX_BYTES_MAX: usize = 32;
/// The longest varint of a length or count.
const LENGTH_BYTES_MAX: usize = 5;

/// What a builder puts into every batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BuilderOptions {
    /// How the records are compressed when a batch is finished.
    pub compression: Compression,
    /// The idempotent producer; see [`BatchBuilder::set_producer`] for the sequence of later batches.
    pub producer: Option<ProducerStamp>,
    /// Bytes to reserve for each batch. It grows past that as needed.
    pub capacity: usize,
    /// Whether batches have room for a stamp: see [`BatchBuilder::set_stamp`].
    pub is_stamped: bool,
}

/// Gathers records into one batch, and then into the next.
///
/// Base offset 0, leader epoch -1, base timestamp the first record's, as every producer sends it.
#[derive(Debug)]
pub struct BatchBuilder {
    options: BuilderOptions,
    attributes: Attributes,
    /// Header space and the records so far; empty between batches.
    buffer: BytesMut,
    records_count: u32,
    base_timestamp: Timestamp,
    max_timestamp: Timestamp,
    /// Where the stamp's digits stand in the buffer.
    stamp_at: Option<usize>,
}

impl BatchBuilder {
    /// A builder without records. Allocates with the first one.
    #[must_use]
    pub fn new(options: BuilderOptions) -> BatchBuilder {
        BatchBuilder::new_in(options, BytesMut::new())
    }

    /// A builder without records that begins in an empty buffer, and allocates where that is too small.
    #[must_use]
    pub fn new_in(options: BuilderOptions, buffer: BytesMut) -> BatchBuilder {
        debug_assert!(buffer.is_empty());
        BatchBuilder {
            options,
            attributes: Attributes::compressed(options.compression),
            buffer,
            records_count: 0,
            base_timestamp: Timestamp::NONE,
            max_timestamp: Timestamp::NONE,
            stamp_at: None,
        }
    }

    /// A builder of control batches.
    pub(super) fn control() -> BatchBuilder {
        let mut builder = BatchBuilder::new(BuilderOptions::default());
        builder.attributes = builder.attributes.control();
        builder
    }

    /// Appends one record.
    ///
    /// # Errors
    /// [`BuildError::Full`] or [`BuildError::TimestampRange`]; the batch is then as it was before.
    #[inline]
    pub fn append(
        &mut self,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) -> Result<(), BuildError> {
        let base = if self.is_empty() { timestamp } else { self.base_timestamp };
        let has_stamp = self.options.is_stamped && self.is_empty();
        let delta = timestamp.millis().checked_sub(base.millis());
        let Some(timestamp_delta) = delta.filter(|_| timestamp >= Timestamp::NONE) else {
            return Err(BuildError::TimestampRange { millis: timestamp.millis() });
        };
        let deltas = len_i64(timestamp_delta) + len_i64(self.records_count.into());
        let length = (1 + deltas)
            .saturating_add(key.map_or(1, |key| len_sized(key.len())))
            .saturating_add(value.map_or(1, |value| len_sized(value.len())))
            .saturating_add(headers_bytes(headers, has_stamp));
        let room = BATCH_BYTES_MAX - LENGTH_BYTES_MAX - self.bytes_len();
        if length > room || self.records_count == i32::MAX.unsigned_abs() {
            return Err(BuildError::Full);
        }
        self.make_room(length + LENGTH_BYTES_MAX);
        self.write_record(length, timestamp_delta, key, value, headers, has_stamp);
        self.max_timestamp = if self.is_empty() { base } else { self.max_timestamp.max(timestamp) };
        self.base_timestamp = base;
        self.records_count += 1;
        Ok(())
    }

    /// Records in the batch so far.
    #[must_use]
    pub fn records_count(&self) -> u32 {
        self.records_count
    }

    /// Bytes of the batch so far, header included, before compression.
    #[must_use]
    pub fn bytes_len(&self) -> usize {
        self.buffer.len().max(HEADER_BYTES)
    }

    /// Whether the batch has no record yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records_count == 0
    }

    /// Sets the producer of the batch being built and of those after it: idempotent producers do so for every
    /// batch, since its base sequence moves.
    pub fn set_producer(&mut self, producer: Option<ProducerStamp>) {
        self.options.producer = producer;
    }

    /// Stamps the batch being built, where it has room for a stamp and a record: to be done right before it is finished.
    /// Left out, the batch has none.
    pub fn set_stamp(&mut self, stamp: Stamp) {
        let digits = self.stamp_at.and_then(|at| self.buffer.get_mut(at..at + Stamp::HEX_BYTES));
        if let Some(digits) = digits {
            digits.copy_from_slice(&stamp.to_hex());
        }
    }

    /// Drops the records gathered so far.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.records_count = 0;
        self.stamp_at = None;
    }

    /// Compresses and seals the batch; the builder is then ready for the next one. What it returns needs no
    /// admission.
    ///
    /// # Errors
    /// [`BuildError::Empty`] without records; [`BuildError::Compress`] or [`BuildError::Full`] where compression
    /// fails or makes the batch too large. The records are kept.
    pub fn finish(&mut self) -> Result<ProducedBatch, BuildError> {
        if self.is_empty() {
            return Err(BuildError::Empty);
        }
        let compression = self.options.compression;
        let bytes = if compression == Compression::None {
            self.buffer.split()
        } else {
            self.compressed(compression).map_err(|source| BuildError::Compress { compression, source })?
        };
        if bytes.len() > BATCH_BYTES_MAX {
            return Err(BuildError::Full);
        }
        Ok(self.seal(bytes))
    }

    /// [`BatchBuilder::finish`], as bytes to be sent.
    ///
    /// # Errors
    /// As [`BatchBuilder::finish`].
    pub fn finish_bytes(&mut self) -> Result<BytesMut, BuildError> {
        self.finish().map(ProducedBatch::into_bytes)
    }

    /// Reserves `bytes` more, and the header's space before the first record.
    #[inline]
    fn make_room(&mut self, bytes: usize) {
        if self.buffer.is_empty() {
            self.buffer.reserve(self.options.capacity.max(HEADER_BYTES + bytes));
            self.buffer.extend_from_slice(&[0; HEADER_BYTES]);
        } else {
            self.buffer.reserve(bytes);
        }
    }

    #[inline]
    fn write_record(
        &mut self,
        length: usize,
        timestamp_delta: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
        has_stamp: bool,
    ) {
        let mut prefix = Scratch::<PREFIX_BYTES_MAX>::new();
        prefix.push(length as i64);
        prefix.push_byte(0);
        prefix.push(timestamp_delta);
        prefix.push(self.records_count.into());
        prefix.push_length(key);
        if let Some(key) = key {
            self.buffer.extend_from_slice(prefix.as_slice());
            self.buffer.extend_from_slice(key);
            prefix = Scratch::new();
        }
        prefix.push_length(value);
        let (bytes, len) = prefix.whole();
        if self.buffer.capacity() - self.buffer.len() >= bytes.len() {
            let end = self.buffer.len() + len;
            self.buffer.extend_from_slice(bytes);
            self.buffer.truncate(end);
        } else {
            self.buffer.extend_from_slice(prefix.as_slice());
        }
        self.buffer.extend_from_slice(value.unwrap_or_default());
        if headers.is_empty() && !has_stamp {
            self.buffer.put_u8(0);
            return;
        }
        let mut count = Scratch::<LENGTH_BYTES_MAX>::new();
        count.push(headers_count(headers, has_stamp));
        self.buffer.extend_from_slice(count.as_slice());
        if has_stamp {
            self.buffer.extend_from_slice(PREFIX);
            self.stamp_at = Some(self.buffer.len());
            self.buffer.extend_from_slice(&[b'0'; Stamp::HEX_BYTES]);
        }
        for (key, value) in headers {
            for field in [Some(*key), *value] {
                let mut length = Scratch::<LENGTH_BYTES_MAX>::new();
                length.push_length(field);
                self.buffer.extend_from_slice(length.as_slice());
                self.buffer.extend_from_slice(field.unwrap_or_default());
            }
        }
    }

    fn compressed(&self, compression: Compression) -> io::Result<BytesMut> {
        let mut block = BytesMut::with_capacity(HEADER_BYTES + self.buffer.len() / 2);
        block.extend_from_slice(&[0; HEADER_BYTES]);
        compress(compression, &self.buffer[HEADER_BYTES..], &mut block)?;
        Ok(block)
    }

    /// Writes the header over its reserved space and starts the next batch.
    fn seal(&mut self, mut bytes: BytesMut) -> ProducedBatch {
        let mut header = BatchHeader {
            base_offset: Offset::ZERO,
            total_bytes: bytes.len(),
            leader_epoch: ABSENT.into(),
            crc: 0,
            attributes: self.attributes,
            last_offset_delta: self.records_count - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer: self.options.producer,
            records_count: self.records_count,
        };
        if let Some(head) = bytes.first_chunk_mut::<HEADER_BYTES>() {
            header.encode(head);
        }
        header.crc = checksum(&bytes);
        write_crc(&mut bytes, header.crc);
        self.clear();
        ProducedBatch::from_builder(bytes, header)
    }

    /// Seals the uncompressed batch of a builder known to have a record.
    pub(super) fn finish_uncompressed(mut self) -> ProducedBatch {
        debug_assert!(!self.is_empty() && self.options.compression == Compression::None);
        let bytes = self.buffer.split();
        self.seal(bytes)
    }

    /// Appends one small record; the caller knows that it fits.
    pub(super) fn append_small(&mut self, timestamp: Timestamp, key: &[u8], value: Option<&[u8]>) {
        let appended = self.append(timestamp, Some(key), value, &[]);
        debug_assert!(appended.is_ok());
    }
}

/// Bytes of the headers' count and of the headers.
#[inline]
fn headers_bytes(headers: &[(&[u8], Option<&[u8]>)], has_stamp: bool) -> usize {
    let own = if has_stamp { STAMP_HEADER_BYTES } else { 0 };
    headers.iter().fold(len_i64(headers_count(headers, has_stamp)) + own, |bytes, (key, value)| {
        bytes.saturating_add(len_sized(key.len())).saturating_add(value.map_or(1, |value| len_sized(value.len())))
    })
}

fn headers_count(headers: &[(&[u8], Option<&[u8]>)], has_stamp: bool) -> i64 {
    headers.len() as i64 + i64::from(has_stamp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::stamp;
    use crate::record::{Batch, Record};

    fn append(builder: &mut BatchBuilder, millis: i64) -> Result<(), BuildError> {
        builder.append(Timestamp::from_millis(millis), Some(b"key"), Some(b"value"), &[])
    }

    #[test]
    fn one_builder_makes_batch_after_batch() {
        for compression in Compression::ALL {
            let options = BuilderOptions { compression, capacity: 100, ..BuilderOptions::default() };
            let mut builder = BatchBuilder::new(options);
            let mut kept = Vec::new();
            for round in 0..5_u32 {
                builder.set_producer(Some(stamp(1, 0, round.cast_signed() * 10)));
                for _ in 0..=round {
                    append(&mut builder, i64::from(round)).unwrap();
                }
                assert_eq!(builder.records_count(), round + 1);
                kept.push(builder.finish_bytes().unwrap().freeze());
                assert!(builder.is_empty());
                assert_eq!(builder.bytes_len(), HEADER_BYTES);
            }
            for (round, bytes) in (0_u32..).zip(kept) {
                let batch = Batch::verify(bytes).unwrap();
                assert_eq!(batch.header().base_timestamp.millis(), i64::from(round));
                assert_eq!(batch.header().producer, Some(stamp(1, 0, round.cast_signed() * 10)));
                let records: Vec<Record> = batch.records().unwrap().map(Result::unwrap).collect();
                assert_eq!(records.len() as u64, u64::from(round) + 1);
            }
        }
    }

    #[test]
    fn a_refused_record_leaves_the_batch_as_it_was() {
        let mut builder = BatchBuilder::new(BuilderOptions::default());
        assert!(matches!(builder.finish(), Err(BuildError::Empty)));
        append(&mut builder, -1).unwrap();
        let bytes_len = builder.bytes_len();
        for millis in [i64::MAX, -2, i64::MIN] {
            let refused = append(&mut builder, millis);
            assert!(matches!(refused, Err(BuildError::TimestampRange { millis: m }) if m == millis));
        }
        assert_eq!((builder.records_count(), builder.bytes_len()), (1, bytes_len));
        assert_eq!(builder.finish().unwrap().header().max_timestamp, Timestamp::NONE);
        append(&mut builder, 5).unwrap();
        builder.clear();
        assert!(matches!(builder.finish(), Err(BuildError::Empty)));
    }

    #[test]
    fn the_format_s_size_is_the_limit() {
        let mut builder = BatchBuilder::new(BuilderOptions::default());
        let mebibyte = vec![0; 1 << 20];
        let headers = vec![(&mebibyte[..], None); 2048];
        let refused = builder.append(Timestamp::NONE, None, None, &headers);
        assert!(matches!(refused, Err(BuildError::Full)));
        assert!(builder.is_empty());
    }
}
