//! Frames waiting to be written. Large bodies are not copied: they stand between the bytes of their frame and the next.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

use super::error::ClientError;
use crate::protocol::native::{EncodeError, FrameType, FrameWriter};
use crate::types::Timestamp;

/// Bodies from this size on are not copied.
const APART_BYTES_MIN: usize = 4 << 10;

/// What a frame begins with: its total length.
const LENGTH_BYTES: usize = 4;

/// Bytes on their way to the socket, in order.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// What comes first.
    parts: VecDeque<Bytes>,
    parts_bytes: usize,
    /// What comes after all parts.
    tail: BytesMut,
}

impl Outgoing {
    /// Appends a frame.
    pub(super) fn frame(
        &mut self,
        kind: FrameType,
        sequence: u64,
        now: Timestamp,
        properties: impl FnOnce(&mut FrameWriter<'_>) -> Result<(), EncodeError>,
        body: &Bytes,
    ) -> Result<(), ClientError> {
        let start = self.tail.len();
        let mut frame = FrameWriter::new(&mut self.tail, kind, sequence, now);
        properties(&mut frame)?;
        if body.len() < APART_BYTES_MIN {
            return Ok(frame.finish(body)?);
        }
        frame.finish(b"")?;
        let head = &mut self.tail[start..];
        let Some(total) = u32::try_from(head.len() + body.len()).ok() else {
            self.tail.truncate(start);
            return Err(EncodeError::TooLong.into());
        };
        // Shorter than the total, which fits.
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let body_length_at = head.len() - LENGTH_BYTES;
        head[..LENGTH_BYTES].copy_from_slice(&total.to_be_bytes());
        head[body_length_at..].copy_from_slice(&length.to_be_bytes());
        let head = self.tail.split().freeze();
        self.parts_bytes += head.len() + body.len();
        self.parts.extend([head, body.clone()]);
        Ok(())
    }
}

impl Buf for Outgoing {
    fn remaining(&self) -> usize {
        self.parts_bytes + self.tail.len()
    }

    fn chunk(&self) -> &[u8] {
        self.parts.front().map_or(&self.tail, |part| part)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let chunks = self.parts.iter().map(|part| &part[..]).chain([&self.tail[..]]);
        let chunks = chunks.filter(|chunk| !chunk.is_empty());
        slices.iter_mut().zip(chunks).map(|(slice, chunk)| *slice = IoSlice::new(chunk)).count()
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(front) = self.parts.front_mut() {
            let taken = count.min(front.len());
            front.advance(taken);
            self.parts_bytes -= taken;
            count -= taken;
            if !front.is_empty() {
                return;
            }
            self.parts.pop_front();
        }
        self.tail.advance(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::native::{Decoded, FrameCodec, FrameLimits, Properties};

    #[test]
    fn frames_of_every_size_come_out_whole_and_in_order() {
        let sizes = [0, 1, APART_BYTES_MIN - 1, APART_BYTES_MIN, 3 * APART_BYTES_MIN, 5];
        let properties = Properties::from_pairs([("topic", "t")]).expect("valid");
        let mut outgoing = Outgoing::default();
        for (sequence, size) in (0..).zip(sizes) {
            let body = Bytes::from(vec![7; size]);
            let now = Timestamp::from_millis(1);
            let write = |frame: &mut FrameWriter<'_>| frame.property("topic", "t");
            outgoing.frame(FrameType::PublishBatch, sequence, now, write, &body).expect("fits");
        }
        let mut written = BytesMut::new();
        while outgoing.has_remaining() {
            let mut slices = [IoSlice::new(&[]); 3];
            let filled = outgoing.chunks_vectored(&mut slices);
            let all: usize = slices[..filled].iter().map(|slice| slice.len()).sum();
            let step = all.min(1_000);
            let gathered: Vec<u8> =
                slices[..filled].iter().flat_map(|slice| slice.iter().copied()).take(step).collect();
            written.extend_from_slice(&gathered);
            outgoing.advance(step);
        }
        let mut codec = FrameCodec::new(FrameLimits::for_messages(1 << 20));
        for (sequence, size) in (0..).zip(sizes) {
            let Some(Decoded::Frame(frame)) = codec.next(&mut written) else { panic!("frame {sequence}") };
            assert_eq!((frame.sequence, frame.body.len()), (sequence, size));
            assert_eq!(frame.properties, properties);
        }
        assert!(written.is_empty() && outgoing.remaining() == 0);
    }
}
