//! What a message of a run looks like.
//!
//! ```text
//! 0         8         16      20        22     24
//! │sequence │time_ns  │run    │producer │magic │filler …
//! ```
//!
//! All little-endian. The sequence counts the messages of a producer in a partition from 0; the time is the one on the
//! run's clock at which the message was sent, or meant to be; it alone is not verified. Messages shorter than the header
//! hold its beginning.

use bytes::BufMut;

use super::filler::Filler;

/// Bytes of a message before its filler: shorter ones are verified by what they hold of their sequence alone.
pub const HEADER_BYTES: usize = 24;

const MAGIC: u16 = 0xb3a7;

/// The number of a run, so that its messages are told from those of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RunId(pub u32);

/// What a message says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Which message of its producer in its partition it is.
    pub sequence: u64,
    /// When it was sent, or meant to be.
    pub time_ns: u64,
    /// The run it belongs to.
    pub run: RunId,
    /// Who sent it.
    pub producer: u16,
}

impl Header {
    /// The header of a message; `None` for one that is too short, or was made by somebody else.
    #[must_use]
    pub fn read(message: &[u8]) -> Option<Header> {
        let (sequence, rest) = message.split_first_chunk()?;
        let (time_ns, rest) = rest.split_first_chunk()?;
        let (run, rest) = rest.split_first_chunk()?;
        let (producer, rest) = rest.split_first_chunk()?;
        let magic = rest.first_chunk()?;
        (u16::from_le_bytes(*magic) == MAGIC).then_some(Header {
            sequence: u64::from_le_bytes(*sequence),
            time_ns: u64::from_le_bytes(*time_ns),
            run: RunId(u32::from_le_bytes(*run)),
            producer: u16::from_le_bytes(*producer),
        })
    }

    /// As three words, each little-endian: to put together smaller pieces takes longer than to copy the rest of a message.
    fn words(self) -> [u64; 3] {
        let rest = u64::from(self.run.0) | u64::from(self.producer) << 32 | u64::from(MAGIC) << 48;
        [self.sequence, self.time_ns, rest]
    }
}

/// The messages of one run: all of one size.
#[derive(Debug, Clone)]
pub struct Payload {
    run: RunId,
    size: usize,
    filler: Filler,
}

impl Payload {
    /// Messages of `size` bytes.
    #[must_use]
    pub fn new(run: RunId, size: usize) -> Payload {
        Payload { run, size, filler: Filler::new(run, size.saturating_sub(HEADER_BYTES)) }
    }

    /// The run.
    #[must_use]
    pub fn run(&self) -> RunId {
        self.run
    }

    /// Bytes of a message.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Appends a message to a buffer: `size` bytes.
    pub fn write(&self, producer: u16, sequence: u64, time_ns: u64, buffer: &mut impl BufMut) {
        let words = Header { sequence, time_ns, run: self.run, producer }.words();
        let Some(filler_bytes) = self.size.checked_sub(HEADER_BYTES) else {
            let header = words.map(u64::to_le_bytes);
            buffer.put_slice(&header.as_flattened()[..self.size]);
            return;
        };
        words.into_iter().for_each(|word| buffer.put_u64_le(word));
        buffer.put_slice(self.filler.slice(sequence, filler_bytes).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for size in [24, 25, 100, 1024, 100_000] {
            let payload = Payload::new(RunId(9), size);
            let mut message = Vec::new();
            payload.write(3, 77, 12_345, &mut message);
            assert_eq!(message.len(), size);
            let expected = Header { sequence: 77, time_ns: 12_345, run: RunId(9), producer: 3 };
            assert_eq!(Header::read(&message), Some(expected));
            let mut next = Vec::new();
            payload.write(3, 78, 12_345, &mut next);
            assert!(size < 30 || message[HEADER_BYTES..] != next[HEADER_BYTES..], "another filler");
        }
    }

    #[test]
    fn short_messages_hold_the_beginning_of_a_header() {
        for size in 1..HEADER_BYTES {
            let mut message = Vec::new();
            Payload::new(RunId(9), size).write(3, 0x0102, 12_345, &mut message);
            assert_eq!((message.len(), message[0]), (size, 2));
            assert_eq!(Header::read(&message), None);
        }
    }

    #[test]
    fn what_others_made_is_none_of_ours() {
        assert_eq!(Header::read(&[b'x'; 100]), None);
        assert_eq!(Header::read(b""), None);
    }
}
