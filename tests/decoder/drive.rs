//! One input put through a decoder, and everything that must hold of what comes out. Nothing here knows where inputs come
//! from: the tests beside it and the fuzz targets in `fuzz/` share it.

use bytes::{Bytes, BytesMut};
use wiber::protocol::native::{Decoded, FrameCodec, FrameLimits, Request};
use wiber::record::{AdmissionLimits, Batch, ProducedBatch, verify};
use wiber::types::{Epoch, Offset, Timestamp};

/// Small enough that an input of a few KiB meets every limit.
const LIMITS: FrameLimits = FrameLimits { properties_bytes_max: 600, body_bytes_max: 900, batch_bytes_max: 1_200 };

/// What a decoder made of an input, without the bytes themselves.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Made {
    /// Frames that were whole.
    pub(crate) frames: usize,
    /// Frames that were refused.
    pub(crate) refused: usize,
    /// Whether the connection would have been closed.
    pub(crate) is_closed: bool,
}

/// Decodes bytes that come in pieces of this many.
pub(crate) fn frames(input: &[u8], piece_bytes: usize) -> Made {
    let (mut codec, mut src, mut made) = (FrameCodec::new(LIMITS), BytesMut::new(), Made::default());
    let mut fed = 0;
    for piece in input.chunks(piece_bytes.max(1)) {
        src.extend_from_slice(piece);
        fed += piece.len();
        while let Some(decoded) = codec.next(&mut src) {
            assert!(!made.is_closed, "nothing comes after the end: {decoded:?}");
            match decoded {
                Decoded::Frame(frame) => {
                    made.frames += 1;
                    let mut again = BytesMut::new();
                    frame.encode(&mut again).expect("what was decoded is encoded");
                    let end = fed - src.len();
                    assert_eq!(input.get(end - again.len()..end), Some(&again[..]), "{frame:?}");
                    match Request::parse(&frame) {
                        Ok(Request::Publish(publish)) => drop(publish.headers().count()),
                        Ok(_) => {}
                        Err(error) => assert!(!error.to_string().is_empty() && !error.code().as_str().is_empty()),
                    }
                }
                Decoded::Malformed(malformed) => {
                    made.refused += 1;
                    assert!(!malformed.to_string().is_empty());
                }
                Decoded::TooLarge(too_large) => {
                    made.refused += 1;
                    assert!(too_large.actual > too_large.allowed, "{too_large:?}");
                }
                Decoded::Fatal(_) => made.is_closed = true,
            }
        }
    }
    made
}

/// Puts bytes through the admission of record batches, and takes apart what is admitted.
pub(crate) fn batch(input: &[u8]) -> bool {
    let limits = AdmissionLimits { batch_bytes_max: 64 << 10, ..AdmissionLimits::default() };
    let _whole = verify(input);
    if let Ok(batch) = Batch::verify(Bytes::copy_from_slice(input)) {
        take_apart(&batch);
    }
    let now = Timestamp::from_millis(1_700_000_000_000);
    match ProducedBatch::admit(BytesMut::from(input), &limits, now) {
        Ok(admitted) => {
            let count = u64::from(admitted.header().records_count);
            let batch = admitted.number(Offset::ZERO.plus(7), Epoch::FIRST);
            assert_eq!(batch.header().next_offset().get(), 7 + count);
            assert!(verify(batch.bytes()).is_ok(), "what was admitted and numbered is whole");
            if batch.header().attributes.compression().is_some_and(|codec| codec.codec() == 0) {
                assert_eq!(take_apart(&batch), Some(count), "what was admitted can be taken apart");
            }
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}

/// How many records a batch has, where all of them can be read.
fn take_apart(batch: &Batch) -> Option<u64> {
    let records = batch.records().ok()?;
    records.map(|record| record.ok().map(|_| 1)).sum()
}
