//! The ids under which lines show records: `msg_<13 digits: ms>_<8 hex>`.

use crate::types::{Offset, PartitionIndex, Timestamp, TopicName};

const BYTES: usize = 26;
const PREFIX: &[u8] = b"msg_";
/// The last time that 13 digits hold, in milliseconds.
const MILLIS_MAX: i64 = 9_999_999_999_999;
/// FNV-1a, 32 bits (Fowler, Noll, Vo).
const FNV_OFFSET: u32 = 0x811c_9dc5;
const FNV_PRIME: u32 = 0x0100_0193;

/// An id of that form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId([u8; BYTES]);

impl MessageId {
    /// The id that a publisher gave, where it has the form.
    #[must_use]
    pub fn given(id: &[u8]) -> Option<MessageId> {
        let bytes: [u8; BYTES] = id.try_into().ok()?;
        let (time, hex) = (&bytes[4..17], &bytes[18..]);
        let has_form = bytes.starts_with(PREFIX)
            && bytes[17] == b'_'
            && time.iter().all(u8::is_ascii_digit)
            && hex.iter().all(u8::is_ascii_hexdigit);
        has_form.then_some(MessageId(bytes))
    }

    /// The id of a record that was given none of this form: the same whenever it is shown. Records of one partition and
    /// millisecond differ in it as their offsets do; partitions begin at the other end of the 32 bits, and topics
    /// anywhere.
    #[must_use]
    pub fn derived(topic: &TopicName, partition: PartitionIndex, offset: Offset, timestamp: Timestamp) -> MessageId {
        let millis = timestamp.millis().clamp(0, MILLIS_MAX);
        let bytes = offset.get().to_le_bytes();
        let low = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let high = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        let place = low ^ high.rotate_left(16) ^ partition.0.reverse_bits() ^ fnv(topic.as_str());
        let text = format!("msg_{millis:013}_{place:08x}");
        let mut id = [0; BYTES];
        id.copy_from_slice(text.as_bytes());
        MessageId(id)
    }

    /// The id as bytes of ASCII.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

fn fnv(text: &str) -> u32 {
    text.bytes().fold(FNV_OFFSET, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(FNV_PRIME))
}
