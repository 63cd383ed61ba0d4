//! Record batches as Apache Kafka lays them out, magic 2: encode, decode, admission.
//!
//! Pure codecs: no I/O, no clock, no randomness. No input makes them panic, and none makes them allocate more than
//! the bytes received justify: a declared length or count is checked against what is there, never reserved.
//!
//! Sources: KIP-98 "Exactly Once Delivery and Transactional Messaging" (message format v2) and the Apache Kafka
//! documentation, "Implementation / Message Format". All integers are big-endian; `varint` and `varlong` are
//! zigzag-encoded base-128 groups, least significant first, of at most 5 and 10 bytes.
//!
//! ```text
//! batch   at  bytes  field
//!          0      8  base offset              not covered by the CRC: the broker assigns it
//!          8      4  batch length             bytes after this field: total - 12
//!         12      4  partition leader epoch   not covered by the CRC: the broker assigns it; -1 = none
//!         16      1  magic                    2
//!         17      4  CRC-32C (Castagnoli)     over everything from byte 21 to the end of the batch
//!         21      2  attributes               bits 0-2 codec, 3 timestamp type, 4 transactional, 5 control,
//!                                             6 base timestamp is a delete horizon
//!         23      4  last offset delta        last offset - base offset; survives compaction
//!         27      8  base timestamp           milliseconds; the first record's
//!         35      8  max timestamp            milliseconds; the append time where the timestamp type says so
//!         43      8  producer id              -1 = none
//!         51      2  producer epoch           -1 = none
//!         53      4  base sequence            -1 = none
//!         57      4  records count            may be below last offset delta + 1 after compaction
//!         61      …  the records, compressed together as one block where the codec is not 0
//!
//! record      varint   length                 bytes after this field
//!             i8       attributes             unused
//!             varlong  timestamp delta        to the batch's base timestamp
//!             varint   offset delta           to the batch's base offset
//!             varint   key length, key        -1 = null, no bytes
//!             varint   value length, value    -1 = null, no bytes
//!             varint   headers count, then for each header:
//!             varint     key length, key      never null
//!             varint     value length, value  -1 = null, no bytes
//! ```

mod admission;
mod batch;
mod builder;
mod compression;
mod control;
mod error;
mod header;
mod records;
mod stamp;
mod thin;
mod varint;
mod walk;

pub use admission::{AdmissionLimits, ProducedBatch};
pub use batch::{Batch, restamp, verify};
pub use builder::{BatchBuilder, BuilderOptions};
pub use compression::{Compression, DecodeLimits};
pub use control::{ControlKind, control_batch};
pub use error::{AdmissionError, BatchError, BuildError, RecordDefect, RecordError};
pub use header::{Attributes, BatchHeader, HEADER_BYTES, ProducerStamp, TimestampType};
pub use records::{Record, RecordHeader, RecordSlices, Records};
pub use stamp::{STAMP_HEADER, STAMP_HEADER_BYTES};
pub use thin::{Fate, Glimpse, Glimpses, Thinned, hole, reaching, without_records};

#[cfg(test)]
mod tests;
