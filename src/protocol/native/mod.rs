//! The native binary protocol: one frame format for both directions. `docs/protocol.md` gives it byte for byte.
//!
//! The way of a request: [`FrameCodec`] cuts a [`Frame`] from the bytes read, [`Request::parse`] gives it meaning, the
//! functions of [`reply`] append the answer to the bytes to be written. No file here knows a socket or the broker.

mod base64;
mod code;
mod codec;
mod frame;
mod groups;
mod properties;
pub mod reply;
mod request;
mod writer;

pub use base64::{InvalidBase64, decode_base64, encode_base64};
pub use code::ErrorCode;
pub use codec::{Decoded, Fatal, FrameCodec, FrameFault, FrameLimits, Malformed, TooLarge};
pub use frame::{FRAME_BYTES_MIN, Frame, FrameType};
pub use groups::{AssignmentBody, JoinBody, OwnedPartition, PartitionOffset, PositionsBody, ReadPartition, ReadsBody};
pub use properties::{MalformedProperties, Properties, PropertyPairs};
pub use reply::DataRecord;
pub use request::{
    AckLevel, AckRequest, AlterTopicRequest, CLIENT_ID_HEADER, CommitRequest, CreateTopicRequest, DeleteGroupRequest,
    DeleteTopicRequest, DescribeGroupRequest, FETCH_BYTES_DEFAULT, FETCH_BYTES_MAX, FETCH_WAIT_MAX, FetchRequest,
    GroupHeartbeatRequest, GroupMember, ID_HEADER, JoinGroupRequest, LeaveGroupRequest, ListOffsetsRequest,
    MetadataRequest, PositionOf, PublishBatchRequest, PublishRequest, Request, RequestError, ResetGroupRequest,
    SESSION_TIMEOUT_MS, SettingsRequest, StartAt, SubscribeRequest, TOPICS_LISTED_MAX, UnsubscribeRequest,
};
pub use writer::{EncodeError, FrameWriter};
