//! What can be wrong with a batch, its records, or a request to build or admit one.
//!
//! Truncation (more bytes may come), damage, and a client's mistake are told apart by type.

use std::io;

use super::compression::Compression;

/// Why bytes are not a whole, undamaged record batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The bytes end before the batch does. Everything seen so far is plausible.
    #[error("the batch needs {needed} bytes and {have} are there")]
    Truncated {
        /// Bytes the batch needs, as far as it can be told: the header's, or the whole batch's.
        needed: usize,
        /// Bytes there are.
        have: usize,
    },
    /// Bytes follow where exactly one batch was expected.
    #[error("{bytes} bytes follow the end of the batch")]
    Surplus {
        /// How many.
        bytes: usize,
    },
    /// A message format other than 2.
    #[error("message format {found} is not supported, only 2 is")]
    Magic {
        /// The magic byte found.
        found: i8,
    },
    /// The batch length cannot hold a header.
    #[error("batch length {found} is below the header's 49 bytes")]
    Length {
        /// The value of the batch length field.
        found: i32,
    },
    /// The checksum does not match the bytes.
    #[error("the batch says CRC-32C {stored:08x}, its bytes have {computed:08x}")]
    Crc {
        /// The checksum in the batch.
        stored: u32,
        /// The checksum of its bytes.
        computed: u32,
    },
    /// A header field is outside its range.
    #[error("{field} {value} is out of range")]
    Field {
        /// The field's name as in the layout.
        field: &'static str,
        /// The value found.
        value: i64,
    },
}

/// What is wrong with the bytes of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordDefect {
    /// The bytes end inside the record, or one of its fields reaches past its end.
    #[error("it ends too early")]
    Truncated,
    /// A varint has too many bytes or does not fit its type.
    #[error("a varint is too long")]
    Varint,
    /// A length or count is negative where it may not be.
    #[error("{field} is {value}")]
    Negative {
        /// Which one.
        field: &'static str,
        /// The value found.
        value: i32,
    },
    /// The fields end before the record's declared length does.
    #[error("{bytes} bytes follow its last field")]
    Surplus {
        /// How many.
        bytes: usize,
    },
    /// The offset delta does not follow its predecessor's, or lies past the batch's last one.
    #[error("offset delta {found} is out of order")]
    OffsetDelta {
        /// The delta found.
        found: i32,
    },
    /// Base timestamp plus delta is no timestamp.
    #[error("timestamp delta {found} is out of range")]
    TimestampDelta {
        /// The delta found.
        found: i64,
    },
}

/// Why the records of a verified batch cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// One record is malformed.
    #[error("record {index} of the batch is malformed: {defect}")]
    Record {
        /// The record's place in the batch, from 0.
        index: u32,
        /// What is wrong with it.
        defect: RecordDefect,
    },
    /// Bytes follow the last record.
    #[error("{bytes} bytes follow the last record of the batch")]
    Surplus {
        /// How many.
        bytes: usize,
    },
    /// The codec in the attributes is none we know.
    #[error("compression codec {codec} is unknown")]
    UnknownCompression {
        /// The codec's number.
        codec: u8,
    },
    /// The compressed block is damaged.
    #[error("the batch's {compression} block cannot be decompressed")]
    Decompress {
        /// The codec.
        compression: Compression,
        /// What the codec said.
        source: io::Error,
    },
    /// The records take more memory than the limits allow.
    #[error("the batch's records decompress to more than the {bytes_max} bytes allowed")]
    TooLarge {
        /// The bytes allowed for this batch.
        bytes_max: usize,
    },
}

/// Why a client's batch is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// It is not one whole, undamaged batch.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// It is larger than allowed.
    #[error("the batch has {bytes} bytes, {bytes_max} are allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// It has no record, or its last offset delta is not its records count - 1.
    #[error("records count {records_count} does not agree with last offset delta {last_offset_delta}")]
    RecordsCount {
        /// The header's records count.
        records_count: u32,
        /// The header's last offset delta.
        last_offset_delta: u32,
    },
    /// A codec we do not know.
    #[error("compression codec {codec} is unknown")]
    UnknownCompression {
        /// The codec's number.
        codec: u8,
    },
    /// Control batches are the broker's own.
    #[error("clients may not send control batches")]
    Control,
    /// Transactions are not supported.
    #[error("transactional batches are not supported")]
    Transactional,
    /// Attribute bits that only a broker sets, or that nothing defines.
    #[error("attributes {bits:#06x} have bits a producer may not set")]
    Attributes {
        /// All attribute bits of the batch.
        bits: u16,
    },
    /// An idempotent producer sent no sequence.
    #[error("the batch has a producer id and no sequence")]
    SequenceMissing,
    /// A timestamp is below -1 ("none").
    #[error("timestamp {millis} is negative")]
    NegativeTimestamp {
        /// The timestamp.
        millis: i64,
    },
    /// The largest timestamp is further ahead of the broker's clock than allowed.
    #[error("timestamp {millis} is more than {after_max_ms} ms ahead of the broker's clock")]
    FutureTimestamp {
        /// The timestamp.
        millis: i64,
        /// The limit.
        after_max_ms: i64,
    },
    /// The smallest timestamp is further behind the broker's clock than allowed.
    #[error("timestamp {millis} is more than {before_max_ms} ms behind the broker's clock")]
    PastTimestamp {
        /// The timestamp.
        millis: i64,
        /// The limit.
        before_max_ms: i64,
    },
    /// One record of an uncompressed batch is malformed.
    #[error("record {index} of the batch is malformed: {defect}")]
    Record {
        /// The record's place in the batch, from 0.
        index: u32,
        /// What is wrong with it.
        defect: RecordDefect,
    },
    /// Bytes follow the last record.
    #[error("{bytes} bytes follow the last record of the batch")]
    Surplus {
        /// How many.
        bytes: usize,
    },
}

/// Why a batch cannot be built. The builder is as it was before the call.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A batch has at least one record.
    #[error("a batch needs at least one record")]
    Empty,
    /// The batch would pass the format's limit of 2^31 - 1 bytes or records.
    #[error("the batch is full: the format ends at 2^31 - 1 bytes and records")]
    Full,
    /// The record's timestamp is below -1 ("none"), or too far from the first one's to be written as a difference.
    #[error("timestamp {millis} is negative or too far from the batch's first")]
    TimestampRange {
        /// The timestamp.
        millis: i64,
    },
    /// The codec failed.
    #[error("{compression} compression failed")]
    Compress {
        /// The codec.
        compression: Compression,
        /// What the codec said.
        source: io::Error,
    },
}
