//! The frame: what both directions of the native protocol are made of.
//!
//! Big-endian:
//!
//! | bytes | field |
//! |---|---|
//! | 4 | total_length: the whole frame, these 4 bytes included |
//! | 4 | message_type |
//! | 8 | sequence_number |
//! | 8 | timestamp, ms since the Unix epoch |
//! | 4 | properties_length |
//! | n | properties |
//! | 4 | body_length |
//! | n | body |

use bytes::{Bytes, BytesMut};

use super::properties::Properties;
use super::writer::{EncodeError, FrameWriter};
use crate::types::Timestamp;

/// Length of a frame with neither properties nor body.
pub const FRAME_BYTES_MIN: usize = 32;

/// Bytes before the properties.
pub(super) const FIXED_BYTES: usize = 28;

/// Bytes of the length before the body.
pub(super) const BODY_LENGTH_BYTES: usize = 4;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum FrameType {
    /// A record, pushed to a subscriber.
    Data = 1,
    /// The answer to a request; from a client, the acknowledgement of a DATA frame.
    Ack = 2,
    /// A sign of life.
    Heartbeat = 3,
    /// Create a topic.
    CreateTopic = 4,
    /// Have a partition's records pushed.
    Subscribe = 5,
    /// End a subscription.
    Unsubscribe = 6,
    /// Append a record.
    Publish = 7,
    /// Delete a topic and all its records.
    DeleteTopic = 8,
    /// Ask which topics there are, or what one of them is.
    Metadata = 9,
    /// Read record batches, waiting for them where there are none yet.
    Fetch = 10,
    /// Keep a client's position.
    Commit = 11,
    /// Append a record batch.
    PublishBatch = 12,
    /// Ask for a producer id.
    InitProducer = 13,
    /// Change a topic's settings or raise its number of partitions.
    AlterTopic = 14,
    /// Ask for the offsets of a partition.
    ListOffsets = 15,
    /// Have a partition's record batches pushed.
    SubscribeBatches = 16,
    /// Record batches, pushed to a subscriber.
    Batch = 17,
    /// Become a member of a group, or come back as one.
    JoinGroup = 18,
    /// A member's sign of life, and what it still reads.
    GroupHeartbeat = 19,
    /// Leave a group.
    LeaveGroup = 20,
    /// What a member may read from now on, pushed to it.
    Assignment = 21,
    /// Ask which groups there are.
    ListGroups = 22,
    /// Ask for a group's members, positions and lag.
    DescribeGroup = 23,
    /// Set positions of a group anew.
    ResetGroup = 24,
    /// Forget a group and its positions.
    DeleteGroup = 25,
}

impl FrameType {
    /// The type of a wire number; `None` where this version knows none.
    #[must_use]
    pub const fn from_wire(number: u32) -> Option<FrameType> {
        match number {
            1 => Some(FrameType::Data),
            2 => Some(FrameType::Ack),
            3 => Some(FrameType::Heartbeat),
            4 => Some(FrameType::CreateTopic),
            5 => Some(FrameType::Subscribe),
            6 => Some(FrameType::Unsubscribe),
            7 => Some(FrameType::Publish),
            8 => Some(FrameType::DeleteTopic),
            9 => Some(FrameType::Metadata),
            10 => Some(FrameType::Fetch),
            11 => Some(FrameType::Commit),
            12 => Some(FrameType::PublishBatch),
            13 => Some(FrameType::InitProducer),
            14 => Some(FrameType::AlterTopic),
            15 => Some(FrameType::ListOffsets),
            16 => Some(FrameType::SubscribeBatches),
            17 => Some(FrameType::Batch),
            18 => Some(FrameType::JoinGroup),
            19 => Some(FrameType::GroupHeartbeat),
            20 => Some(FrameType::LeaveGroup),
            21 => Some(FrameType::Assignment),
            22 => Some(FrameType::ListGroups),
            23 => Some(FrameType::DescribeGroup),
            24 => Some(FrameType::ResetGroup),
            25 => Some(FrameType::DeleteGroup),
            _ => None,
        }
    }

    /// The number on the wire.
    #[must_use]
    pub const fn to_wire(self) -> u32 {
        self as u32
    }
}

/// One frame. Properties and body share the buffer they were read into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: FrameType,
    /// The request's number, carried back by its reply; in DATA the record's offset; 0 in what answers no request.
    pub sequence: u64,
    /// When it was sent; in DATA the record's time.
    pub timestamp: Timestamp,
    /// The properties.
    pub properties: Properties,
    /// The payload.
    pub body: Bytes,
}

impl Frame {
    /// Takes out the batch that a PUBLISH_BATCH carries, so that nothing else refers to it; nothing from other frames.
    #[must_use]
    pub fn take_batch(&mut self) -> Bytes {
        if self.kind == FrameType::PublishBatch { std::mem::take(&mut self.body) } else { Bytes::new() }
    }

    /// Appends the frame to `dst`.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] where the length field could not hold its length; `dst` is then as before.
    pub fn encode(&self, dst: &mut BytesMut) -> Result<(), EncodeError> {
        let mut writer = FrameWriter::new(dst, self.kind, self.sequence, self.timestamp);
        writer.raw_properties(self.properties.as_wire());
        writer.finish(&self.body)
    }
}
