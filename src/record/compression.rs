//! The codecs a batch's records may be compressed with, and decompression that a bomb cannot abuse.
//!
//! Output grows as it is produced, up to a limit set by the compressed size and a hard ceiling; no length that the
//! compressed bytes declare is ever reserved. Beside the output a codec may hold fixed working memory: at most
//! 32 KiB for gzip, 13 MiB for lz4 (one block of the largest kind), 200 KiB for zstd (never its window).

use std::fmt;
use std::io::{self, Read, Write};

use byteorder::{BigEndian, ByteOrder};
use bytes::{BufMut, BytesMut};
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
use zstd::zstd_safe;

use super::error::RecordError;

/// Decompressed bytes of a small batch that are allowed whatever the ratio: codecs reach thousands to one on
/// repetitive records, and this much, more than a batch may have uncompressed by default, harms nobody.
pub(super) const RATIO_FREE_BYTES: usize = 2 << 20;

/// Bytes that Kafka's Java client puts into one snappy chunk.
const SNAPPY_CHUNK_BYTES: usize = 32 << 10;
/// Magic, version 1, compatible with version 1: how the xerial framing begins.
const XERIAL_HEADER: [u8; 16] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];
const XERIAL_MAGIC_BYTES: usize = 8;
/// A snappy copy element of 3 bytes makes at most 64: no valid block expands further than this.
const SNAPPY_RATIO_MAX: usize = 22;
const LZ4_FRAME_MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
const ZSTD_FIRST_GUESS: usize = 4;
const ZSTD_LEVEL: i32 = 3;

/// How the records of a batch are compressed. The numbers are the format's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// Snappy: written in the xerial framing of Kafka's Java client; raw blocks are read too.
    Snappy,
    /// The LZ4 frame format.
    Lz4,
    /// Zstandard (RFC 8878).
    Zstd,
}

impl Compression {
    /// Every codec, in the order of their numbers.
    pub const ALL: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    /// The codec's number in the attributes.
    #[must_use]
    pub const fn codec(self) -> u8 {
        match self {
            Compression::None => 0,
            Compression::Gzip => 1,
            Compression::Snappy => 2,
            Compression::Lz4 => 3,
            Compression::Zstd => 4,
        }
    }

    /// The codec of that number, if it is one of ours.
    #[must_use]
    pub const fn from_codec(codec: u8) -> Option<Compression> {
        match codec {
            0 => Some(Compression::None),
            1 => Some(Compression::Gzip),
            2 => Some(Compression::Snappy),
            3 => Some(Compression::Lz4),
            4 => Some(Compression::Zstd),
            _ => None,
        }
    }

    /// The codec's name in configuration and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How far the records of one batch may expand when decompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Bytes of decompressed records, whatever the compressed size.
    pub decompressed_bytes_max: usize,
    /// Decompressed bytes per compressed byte. The first MiB of a batch is free of this limit.
    pub ratio_max: usize,
}

impl DecodeLimits {
    /// The default of [`DecodeLimits::decompressed_bytes_max`]: 64 MiB.
    pub const DECOMPRESSED_BYTES_MAX: usize = 64 << 20;
    /// The default of [`DecodeLimits::ratio_max`]: 256, far above what records that say something reach.
    pub const RATIO_MAX: usize = 256;

    /// What `compressed_bytes` may expand to.
    fn bytes_max(&self, compressed_bytes: usize) -> usize {
        compressed_bytes.saturating_mul(self.ratio_max).max(RATIO_FREE_BYTES).min(self.decompressed_bytes_max)
    }
}

impl Default for DecodeLimits {
    fn default() -> Self {
        DecodeLimits { decompressed_bytes_max: Self::DECOMPRESSED_BYTES_MAX, ratio_max: Self::RATIO_MAX }
    }
}

/// Why one block did not decompress.
enum Failure {
    TooLarge,
    Codec(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Codec(error)
    }
}

/// Decompresses a batch's block of records.
pub(super) fn decompress(
    compression: Compression,
    block: &[u8],
    limits: &DecodeLimits,
) -> Result<Vec<u8>, RecordError> {
    let bytes_max = limits.bytes_max(block.len());
    let records = match compression {
        Compression::None => Ok(block.to_vec()),
        Compression::Gzip => read_all(&mut MultiGzDecoder::new(block), bytes_max),
        Compression::Snappy => decompress_snappy(block, bytes_max),
        Compression::Lz4 => decompress_lz4(block, bytes_max),
        Compression::Zstd => decompress_zstd(block, bytes_max),
    };
    records.map_err(|failure| match failure {
        Failure::TooLarge => RecordError::TooLarge { bytes_max },
        Failure::Codec(source) => RecordError::Decompress { compression, source },
    })
}

/// Compresses `records` and appends the block to `out`.
pub(super) fn compress(compression: Compression, records: &[u8], out: &mut BytesMut) -> io::Result<()> {
    match compression {
        Compression::None => out.extend_from_slice(records),
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(out.writer(), flate2::Compression::default());
            encoder.write_all(records)?;
            encoder.finish()?;
        }
        Compression::Snappy => compress_snappy(records, out)?,
        Compression::Lz4 => {
            let info = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Independent);
            let mut encoder = FrameEncoder::with_frame_info(info, out.writer());
            encoder.write_all(records)?;
            encoder.finish()?;
        }
        Compression::Zstd => out.extend_from_slice(&zstd::bulk::compress(records, ZSTD_LEVEL)?),
    }
    Ok(())
}

fn read_all(decoder: &mut impl Read, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let mut records = Vec::new();
    append_all(decoder, &mut records, bytes_max)?;
    Ok(records)
}

fn append_all(decoder: &mut impl Read, records: &mut Vec<u8>, bytes_max: usize) -> Result<(), Failure> {
    let allowed = bytes_max.saturating_sub(records.len()) as u64;
    let read = decoder.take(allowed.saturating_add(1)).read_to_end(records)?;
    if read as u64 > allowed { Err(Failure::TooLarge) } else { Ok(()) }
}

fn decompress_lz4(block: &[u8], bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let mut records = Vec::new();
    let mut rest = block;
    while !rest.is_empty() {
        // The library also reads the legacy format, whose blocks are larger and which no client writes.
        if !rest.starts_with(&LZ4_FRAME_MAGIC) {
            return Err(damaged("not an LZ4 frame"));
        }
        let mut decoder = FrameDecoder::new(rest);
        append_all(&mut decoder, &mut records, bytes_max)?;
        rest = decoder.get_ref();
    }
    Ok(records)
}

fn decompress_snappy(block: &[u8], bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let mut records = Vec::new();
    if !block.starts_with(&XERIAL_HEADER[..XERIAL_MAGIC_BYTES]) {
        append_snappy(block, &mut records, bytes_max)?;
        return Ok(records);
    }
    let mut rest = block.get(XERIAL_HEADER.len()..).ok_or_else(|| damaged("header cut short"))?;
    while !rest.is_empty() {
        let (length, after) = rest.split_at_checked(4).ok_or_else(|| damaged("chunk length cut short"))?;
        let length = BigEndian::read_u32(length) as usize;
        let (chunk, after) = after.split_at_checked(length).ok_or_else(|| damaged("chunk cut short"))?;
        append_snappy(chunk, &mut records, bytes_max)?;
        rest = after;
    }
    Ok(records)
}

fn append_snappy(chunk: &[u8], records: &mut Vec<u8>, bytes_max: usize) -> Result<(), Failure> {
    let length = snap::raw::decompress_len(chunk).map_err(io::Error::from)?;
    if length > chunk.len().saturating_mul(SNAPPY_RATIO_MAX) {
        return Err(damaged("declared length is beyond what the format can express"));
    }
    let from = records.len();
    if length > bytes_max.saturating_sub(from) {
        return Err(Failure::TooLarge);
    }
    records.resize(from + length, 0);
    let written = snap::raw::Decoder::new().decompress(chunk, &mut records[from..]).map_err(io::Error::from)?;
    records.truncate(from + written);
    Ok(())
}

fn compress_snappy(records: &[u8], out: &mut BytesMut) -> io::Result<()> {
    out.extend_from_slice(&XERIAL_HEADER);
    let mut encoder = snap::raw::Encoder::new();
    let mut chunk = vec![0; snap::raw::max_compress_len(SNAPPY_CHUNK_BYTES.min(records.len()))];
    for piece in records.chunks(SNAPPY_CHUNK_BYTES) {
        let length = encoder.compress(piece, &mut chunk)?;
        out.put_uint(length as u64, 4);
        out.extend_from_slice(&chunk[..length]);
    }
    Ok(())
}

/// Decompresses in one call into a buffer that is enlarged until the output fits: streaming would allocate the
/// window that the frame declares, up to 128 MiB for a few bytes of input.
fn decompress_zstd(block: &[u8], bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let too_small = (zstd_safe::zstd_sys::ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall as usize).wrapping_neg();
    let mut context = zstd_safe::DCtx::try_create().ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
    let mut capacity = block.len().saturating_mul(ZSTD_FIRST_GUESS).min(bytes_max);
    loop {
        let mut records = Vec::with_capacity(capacity);
        match context.decompress(&mut records, block) {
            Ok(_) if records.len() > bytes_max => return Err(Failure::TooLarge),
            Ok(_) => return Ok(records),
            Err(code) if code != too_small => {
                return Err(damaged(zstd_safe::get_error_name(code)));
            }
            Err(_) if capacity >= bytes_max => return Err(Failure::TooLarge),
            Err(_) => capacity = capacity.saturating_mul(ZSTD_FIRST_GUESS).max(1).min(bytes_max),
        }
    }
}

fn damaged(reason: &'static str) -> Failure {
    Failure::Codec(io::Error::new(io::ErrorKind::InvalidData, reason))
}

#[cfg(test)]
mod tests;
