//! A whole record batch whose bytes were checked.

use std::fmt;

use bytes::Bytes;
use crc_fast::crc32_iscsi;

use super::compression::DecodeLimits;
use super::error::{BatchError, RecordError};
use super::header::{BatchHeader, CRC_FROM, HEADER_BYTES, ProducerStamp, write_crc};
use super::records::Records;

/// Checks the batch at the start of `bytes`: header ranges, that all of it is there, and its CRC-32C. Bytes after it
/// are not looked at; `total_bytes` of the header says where it ends.
///
/// # Errors
/// [`BatchError::Truncated`] where more bytes could make it whole; any other variant is damage.
pub fn verify(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    let header = BatchHeader::decode(bytes)?;
    let Some(batch) = bytes.get(..header.total_bytes) else {
        return Err(BatchError::Truncated { needed: header.total_bytes, have: bytes.len() });
    };
    let computed = checksum(batch);
    if computed != header.crc {
        return Err(BatchError::Crc { stored: header.crc, computed });
    }
    Ok(header)
}

/// The CRC-32C of a whole batch's covered bytes.
pub(super) fn checksum(batch: &[u8]) -> u32 {
    crc32_iscsi(&batch[CRC_FROM..])
}

/// Gives an undamaged batch another place in an idempotent producer's sequence, and the checksum that goes with it.
///
/// # Errors
/// As [`Batch::verify`]; the batch is then as it was.
pub fn restamp(batch: &mut [u8], producer: ProducerStamp) -> Result<(), BatchError> {
    let header = BatchHeader { producer: Some(producer), ..verify_exact(batch)? };
    if let Some(head) = batch.first_chunk_mut::<HEADER_BYTES>() {
        header.encode(head);
    }
    let crc = checksum(batch);
    write_crc(batch, crc);
    Ok(())
}

/// [`verify`], and that nothing follows the batch.
pub(super) fn verify_exact(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    let header = verify(bytes)?;
    match bytes.len() - header.total_bytes {
        0 => Ok(header),
        surplus => Err(BatchError::Surplus { bytes: surplus }),
    }
}

/// One verified batch, numbered or not. Clones share the bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Batch {
    bytes: Bytes,
    header: BatchHeader,
}

impl Batch {
    /// Checks that `bytes` are exactly one undamaged batch.
    ///
    /// # Errors
    /// As [`verify`]; [`BatchError::Surplus`] where bytes follow the batch.
    pub fn verify(bytes: Bytes) -> Result<Batch, BatchError> {
        let header = verify_exact(&bytes)?;
        Ok(Batch { bytes, header })
    }

    /// A batch from bytes the caller has verified, and the header that verifying gave.
    #[must_use]
    pub fn from_verified(bytes: Bytes, header: BatchHeader) -> Batch {
        debug_assert_eq!(bytes.len(), header.total_bytes);
        debug_assert_eq!(BatchHeader::decode(&bytes), Ok(header));
        Batch { bytes, header }
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The whole batch, header included.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The whole batch, header included.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// The records, in order, decompressed within the default [`DecodeLimits`]. Keys and values are slices of the
    /// batch where it is not compressed, and of one decompressed block where it is; a record kept keeps that alive.
    /// The one record of a control batch is returned like any other: ask the attributes first.
    ///
    /// # Errors
    /// [`RecordError`] where the block cannot be decompressed; a malformed record is reported when reached.
    pub fn records(&self) -> Result<Records, RecordError> {
        self.records_with(&DecodeLimits::default())
    }

    /// The records, decompressed within `limits`.
    ///
    /// # Errors
    /// As [`Batch::records`].
    pub fn records_with(&self, limits: &DecodeLimits) -> Result<Records, RecordError> {
        Records::open(&self.bytes, &self.header, limits)
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("header", &self.header).finish_non_exhaustive()
    }
}
