//! The 61 bytes before a batch's records.
//!
//! Decoding checks ranges and nothing else: the checksum is [`super::verify`]'s business.

use byteorder::{BigEndian, ByteOrder};

use super::compression::Compression;
use super::error::BatchError;
use crate::types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

/// Bytes of a batch before its records.
pub const HEADER_BYTES: usize = 61;

/// Bytes before and including the batch length field: what that field does not count.
pub(super) const LENGTH_EXCLUDES_BYTES: usize = 12;
/// The smallest batch length: a header and no records.
const LENGTH_MIN: i32 = 49;
/// The largest batch the format can express, in bytes.
pub(super) const BATCH_BYTES_MAX: usize = LENGTH_EXCLUDES_BYTES + i32::MAX as usize;
/// The first byte the checksum covers.
pub(super) const CRC_FROM: usize = 21;

const MAGIC: u8 = 2;
const BASE_OFFSET_AT: usize = 0;
const LENGTH_AT: usize = 8;
const LEADER_EPOCH_AT: usize = 12;
const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;
const LAST_OFFSET_DELTA_AT: usize = 23;
const BASE_TIMESTAMP_AT: usize = 27;
const MAX_TIMESTAMP_AT: usize = 35;
const PRODUCER_ID_AT: usize = 43;
const PRODUCER_EPOCH_AT: usize = 51;
const BASE_SEQUENCE_AT: usize = 53;
const RECORDS_COUNT_AT: usize = 57;

/// "None" for leader epochs and all producer fields.
pub(super) const ABSENT: i8 = -1;

/// The fields of a batch's header, ranges checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// The offset the record deltas count from: the first record's, unless compaction took it.
    pub base_offset: Offset,
    /// Bytes of the whole batch, header included: batch length + 12.
    pub total_bytes: usize,
    /// The epoch of the leader that numbered the batch, as written: -1 in a batch no broker has numbered.
    pub leader_epoch: i32,
    /// CRC-32C of everything from the attributes on, as written.
    pub crc: u32,
    /// Codec and flags.
    pub attributes: Attributes,
    /// Last offset minus base offset.
    pub last_offset_delta: u32,
    /// What the records' timestamp deltas count from: the first record's timestamp.
    pub base_timestamp: Timestamp,
    /// The largest timestamp of the batch; with [`TimestampType::LogAppend`] the timestamp of all its records.
    pub max_timestamp: Timestamp,
    /// The idempotent producer; `None` where the producer id is -1, whatever its other two fields say (clients
    /// differ in what they write there).
    pub producer: Option<ProducerStamp>,
    /// How many records there are; at most last offset delta + 1.
    pub records_count: u32,
}

/// Which idempotent producer made a batch, and where the batch stands in its sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerStamp {
    /// The producer.
    pub id: ProducerId,
    /// Its incarnation. A producer id without an epoch (-1) does not decode.
    pub epoch: ProducerEpoch,
    /// The sequence of the first record; `None` (-1 in the batch) in transaction markers, which a coordinator
    /// writes in the producer's name outside its sequence. Admission refuses a client's batch without it.
    pub base_sequence: Option<Sequence>,
}

/// Whose clock the timestamps of a batch come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's: each record has its own.
    Create,
    /// The broker's at append: the batch's max timestamp stands for all records.
    LogAppend,
}

/// The attribute bits of a batch. Undefined bits are kept as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes(u16);

impl Attributes {
    const COMPRESSION_MASK: u16 = 0b111;
    const LOG_APPEND_TIME: u16 = 1 << 3;
    const TRANSACTIONAL: u16 = 1 << 4;
    const CONTROL: u16 = 1 << 5;
    const DELETE_HORIZON: u16 = 1 << 6;
    const PRODUCER_MAY_SET: u16 = Self::COMPRESSION_MASK | Self::TRANSACTIONAL;

    /// Attributes as a batch carries them.
    #[must_use]
    pub const fn from_bits(bits: u16) -> Attributes {
        Attributes(bits)
    }

    /// The bits as a batch carries them.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// The attributes of a producer's batch with that codec.
    #[must_use]
    pub const fn compressed(compression: Compression) -> Attributes {
        Attributes(compression.codec() as u16)
    }

    /// These attributes, of a control batch.
    pub(super) const fn control(self) -> Attributes {
        Attributes(self.0 | Self::CONTROL)
    }

    /// The number of the codec: 0 to 7.
    #[must_use]
    pub const fn codec(self) -> u8 {
        (self.0 & Self::COMPRESSION_MASK) as u8
    }

    /// The codec; `None` where its number is none we know.
    #[must_use]
    pub const fn compression(self) -> Option<Compression> {
        Compression::from_codec(self.codec())
    }

    /// Whose clock the timestamps come from.
    #[must_use]
    pub const fn timestamp_type(self) -> TimestampType {
        if self.0 & Self::LOG_APPEND_TIME == 0 { TimestampType::Create } else { TimestampType::LogAppend }
    }

    /// Whether the batch is part of a transaction.
    #[must_use]
    pub const fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// Whether the batch is a marker of the broker's: it takes offsets, and consumers skip it.
    #[must_use]
    pub const fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// Whether the base timestamp is a delete horizon: until when the batch's tombstones are kept at least.
    #[must_use]
    pub const fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }

    /// These attributes, of a batch whose base timestamp is a delete horizon.
    pub(super) const fn with_delete_horizon(self) -> Attributes {
        Attributes(self.0 | Self::DELETE_HORIZON)
    }

    /// These attributes, of a batch that is not compressed and has no delete horizon.
    pub(super) const fn uncompressed(self) -> Attributes {
        Attributes(self.0 & !(Self::COMPRESSION_MASK | Self::DELETE_HORIZON))
    }

    /// These attributes, of a batch whose records have the time they were appended at.
    pub(super) const fn log_append(self) -> Attributes {
        Attributes(self.0 | Self::LOG_APPEND_TIME)
    }

    /// Whether a bit is set that is a broker's to set, or nobody's; the control bit aside.
    pub(super) const fn has_foreign_bits(self) -> bool {
        self.0 & !(Self::PRODUCER_MAY_SET | Self::CONTROL) != 0
    }
}

impl BatchHeader {
    /// The header at the start of `bytes`. The checksum is not checked, and the records need not be there.
    ///
    /// # Errors
    /// [`BatchError::Magic`] as soon as 17 bytes are there; [`BatchError::Truncated`] below [`HEADER_BYTES`];
    /// [`BatchError::Length`] or [`BatchError::Field`] where a field is out of range.
    pub fn decode(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        if let Some(&magic) = bytes.get(MAGIC_AT)
            && magic != MAGIC
        {
            return Err(BatchError::Magic { found: magic.cast_signed() });
        }
        let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(BatchError::Truncated { needed: HEADER_BYTES, have: bytes.len() });
        };
        let length = BigEndian::read_i32(&head[LENGTH_AT..]);
        if length < LENGTH_MIN {
            return Err(BatchError::Length { found: length });
        }
        let last_offset_delta = count(head, LAST_OFFSET_DELTA_AT, "last offset delta")?;
        Ok(BatchHeader {
            base_offset: base_offset(head, last_offset_delta)?,
            total_bytes: LENGTH_EXCLUDES_BYTES + length.unsigned_abs() as usize,
            leader_epoch: leader_epoch(head)?,
            crc: BigEndian::read_u32(&head[CRC_AT..]),
            attributes: Attributes(BigEndian::read_u16(&head[ATTRIBUTES_AT..])),
            last_offset_delta,
            base_timestamp: Timestamp::from_millis(BigEndian::read_i64(&head[BASE_TIMESTAMP_AT..])),
            max_timestamp: Timestamp::from_millis(BigEndian::read_i64(&head[MAX_TIMESTAMP_AT..])),
            producer: producer(head)?,
            records_count: records_count(head, last_offset_delta)?,
        })
    }

    /// The offset of the last record the batch was written with.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        self.base_offset.plus(u64::from(self.last_offset_delta))
    }

    /// The offset after the batch: where its successor begins. A decoded header always has one.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.base_offset.plus(u64::from(self.last_offset_delta) + 1)
    }

    /// The time of the first record, of a batch that compaction has not touched.
    #[must_use]
    pub fn first_timestamp(&self) -> Timestamp {
        match self.attributes.timestamp_type() {
            TimestampType::Create => self.base_timestamp,
            TimestampType::LogAppend => self.max_timestamp,
        }
    }

    /// Until when the tombstones of the batch are kept at least, once compaction has settled that.
    #[must_use]
    pub fn delete_horizon(&self) -> Option<Timestamp> {
        self.attributes.has_delete_horizon().then_some(self.base_timestamp)
    }

    /// Writes every field, the checksum as it stands in the header. Counts and length must fit the format.
    pub(super) fn encode(&self, head: &mut [u8; HEADER_BYTES]) {
        debug_assert!((HEADER_BYTES..=BATCH_BYTES_MAX).contains(&self.total_bytes));
        let length = u32::try_from(self.total_bytes - LENGTH_EXCLUDES_BYTES).unwrap_or(u32::MAX);
        BigEndian::write_u32(&mut head[LENGTH_AT..], length);
        head[MAGIC_AT] = MAGIC;
        BigEndian::write_u32(&mut head[CRC_AT..], self.crc);
        BigEndian::write_u16(&mut head[ATTRIBUTES_AT..], self.attributes.0);
        BigEndian::write_u32(&mut head[LAST_OFFSET_DELTA_AT..], self.last_offset_delta);
        BigEndian::write_i64(&mut head[BASE_TIMESTAMP_AT..], self.base_timestamp.millis());
        BigEndian::write_i64(&mut head[MAX_TIMESTAMP_AT..], self.max_timestamp.millis());
        let (id, epoch, sequence) = match self.producer {
            Some(stamp) => {
                (stamp.id.get(), stamp.epoch.get(), stamp.base_sequence.map_or(ABSENT.into(), Sequence::get))
            }
            None => (ABSENT.into(), ABSENT.into(), ABSENT.into()),
        };
        BigEndian::write_i64(&mut head[PRODUCER_ID_AT..], id);
        BigEndian::write_i16(&mut head[PRODUCER_EPOCH_AT..], epoch);
        BigEndian::write_i32(&mut head[BASE_SEQUENCE_AT..], sequence);
        BigEndian::write_u32(&mut head[RECORDS_COUNT_AT..], self.records_count);
        write_numbering(head, self.base_offset, self.leader_epoch);
    }
}

/// Writes the two fields a broker assigns. Both lie outside the checksum.
pub(super) fn write_numbering(head: &mut [u8], base_offset: Offset, leader_epoch: i32) {
    BigEndian::write_i64(&mut head[BASE_OFFSET_AT..], base_offset.to_i64());
    BigEndian::write_i32(&mut head[LEADER_EPOCH_AT..], leader_epoch);
}

/// Writes the max timestamp. The checksum no longer fits after it.
pub(super) fn write_max_timestamp(head: &mut [u8], max: Timestamp) {
    BigEndian::write_i64(&mut head[MAX_TIMESTAMP_AT..], max.millis());
}

/// Writes the checksum.
pub(super) fn write_crc(head: &mut [u8], crc: u32) {
    BigEndian::write_u32(&mut head[CRC_AT..], crc);
}

fn base_offset(head: &[u8; HEADER_BYTES], last_offset_delta: u32) -> Result<Offset, BatchError> {
    let value = BigEndian::read_i64(&head[BASE_OFFSET_AT..]);
    let out_of_range = BatchError::Field { field: "base offset", value };
    let base = Offset::from_i64(value).ok_or(out_of_range)?;
    Offset::new(base.get() + u64::from(last_offset_delta) + 1).ok_or(out_of_range)?;
    Ok(base)
}

fn leader_epoch(head: &[u8; HEADER_BYTES]) -> Result<i32, BatchError> {
    let value = BigEndian::read_i32(&head[LEADER_EPOCH_AT..]);
    if value < ABSENT.into() {
        return Err(BatchError::Field { field: "leader epoch", value: value.into() });
    }
    Ok(value)
}

fn records_count(head: &[u8; HEADER_BYTES], last_offset_delta: u32) -> Result<u32, BatchError> {
    let records_count = count(head, RECORDS_COUNT_AT, "records count")?;
    if u64::from(records_count) > u64::from(last_offset_delta) + 1 {
        return Err(BatchError::Field { field: "records count", value: records_count.into() });
    }
    Ok(records_count)
}

fn count(head: &[u8; HEADER_BYTES], at: usize, field: &'static str) -> Result<u32, BatchError> {
    let value = BigEndian::read_i32(&head[at..]);
    u32::try_from(value).map_err(|_| BatchError::Field { field, value: value.into() })
}

fn producer(head: &[u8; HEADER_BYTES]) -> Result<Option<ProducerStamp>, BatchError> {
    let id = BigEndian::read_i64(&head[PRODUCER_ID_AT..]);
    if id == i64::from(ABSENT) {
        return Ok(None);
    }
    let epoch = BigEndian::read_i16(&head[PRODUCER_EPOCH_AT..]);
    let sequence = BigEndian::read_i32(&head[BASE_SEQUENCE_AT..]);
    if sequence < ABSENT.into() {
        return Err(BatchError::Field { field: "base sequence", value: sequence.into() });
    }
    Ok(Some(ProducerStamp {
        id: ProducerId::new(id).ok_or(BatchError::Field { field: "producer id", value: id })?,
        epoch: ProducerEpoch::new(epoch).ok_or(BatchError::Field { field: "producer epoch", value: epoch.into() })?,
        base_sequence: Sequence::new(sequence),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::{build, golden_samples, stamp};

    fn golden() -> [u8; HEADER_BYTES] {
        let batch = build(&golden_samples(), Compression::None, Some(stamp(9, 8, 7)));
        *batch.bytes().first_chunk().unwrap()
    }

    #[test]
    fn ranges() {
        let check = |at: usize, bytes: &[u8], expected: Option<BatchError>| {
            let mut head = golden();
            head[at..at + bytes.len()].copy_from_slice(bytes);
            assert_eq!(BatchHeader::decode(&head).err(), expected, "{bytes:?} at {at}");
        };
        let field = |field, value| Some(BatchError::Field { field, value });
        let max = i64::MAX;
        check(BASE_OFFSET_AT, &(-1_i64).to_be_bytes(), field("base offset", -1));
        check(BASE_OFFSET_AT, &(max - 4).to_be_bytes(), field("base offset", max - 4));
        check(BASE_OFFSET_AT, &(max - 5).to_be_bytes(), None);
        check(LENGTH_AT, &48_i32.to_be_bytes(), Some(BatchError::Length { found: 48 }));
        check(LENGTH_AT, &(-1_i32).to_be_bytes(), Some(BatchError::Length { found: -1 }));
        check(LENGTH_AT, &i32::MAX.to_be_bytes(), None);
        check(LEADER_EPOCH_AT, &(-2_i32).to_be_bytes(), field("leader epoch", -2));
        check(MAGIC_AT, &[1], Some(BatchError::Magic { found: 1 }));
        check(LAST_OFFSET_DELTA_AT, &[0xff; 4], field("last offset delta", -1));
        check(RECORDS_COUNT_AT, &[0xff; 4], field("records count", -1));
        check(RECORDS_COUNT_AT, &[0, 0, 0, 6], field("records count", 6));
        check(RECORDS_COUNT_AT, &[0, 0, 0, 0], None);
        check(PRODUCER_ID_AT, &(-2_i64).to_be_bytes(), field("producer id", -2));
        check(PRODUCER_EPOCH_AT, &[0xff; 2], field("producer epoch", -1));
        check(BASE_SEQUENCE_AT, &(-2_i32).to_be_bytes(), field("base sequence", -2));
    }

    #[test]
    fn half_a_producer_stamp() {
        let mut head = golden();
        head[BASE_SEQUENCE_AT..RECORDS_COUNT_AT].fill(0xff);
        let header = BatchHeader::decode(&head).unwrap();
        assert_eq!(header.producer, Some(stamp(9, 8, -1)));
        let mut head = golden();
        head[PRODUCER_ID_AT..PRODUCER_EPOCH_AT].fill(0xff);
        assert_eq!(BatchHeader::decode(&head).unwrap().producer, None);
    }

    #[test]
    fn an_old_format_is_named_before_its_length_is_asked_for() {
        assert_eq!(BatchHeader::decode(&[0; 17]), Err(BatchError::Magic { found: 0 }));
        let truncated = BatchError::Truncated { needed: HEADER_BYTES, have: 16 };
        assert_eq!(BatchHeader::decode(&[0; 16]), Err(truncated));
    }

    #[test]
    fn written_as_read() {
        let head = golden();
        let header = BatchHeader::decode(&head).unwrap();
        let mut written = [0; HEADER_BYTES];
        header.encode(&mut written);
        assert_eq!(written, head);
    }
}
