//! What a client asks for: typed requests, borrowed from their frames.
//!
//! The steering properties are a closed list: `topic client_id partition key id offset auto_ack created_at version`,
//! and `wiber.*`, of which an unknown one, or one that means nothing to the request, is an error. Every other property
//! of a PUBLISH is a header of the record; of other requests it is ignored.

use bytes::Bytes;

use super::code::ErrorCode;
use super::frame::{Frame, FrameType};
use super::properties::PropertyPairs;
use crate::types::{InvalidTopicName, Offset, PartitionIndex, Stamp, Timestamp, TopicName};
use steering::{Steering, flag, number, shortened};

pub use batches::{
    CommitRequest, FETCH_BYTES_DEFAULT, FETCH_BYTES_MAX, FETCH_WAIT_MAX, FetchRequest, ListOffsetsRequest,
    PublishBatchRequest,
};
pub use groups::{
    DeleteGroupRequest, DescribeGroupRequest, GroupHeartbeatRequest, GroupMember, JoinGroupRequest, LeaveGroupRequest,
    PositionOf, ResetGroupRequest, SESSION_TIMEOUT_MS,
};
pub use topics::{
    AlterTopicRequest, CreateTopicRequest, DeleteTopicRequest, MetadataRequest, SettingsRequest, TOPICS_LISTED_MAX,
};

mod batches;
mod groups;
mod steering;
mod topics;

/// The header under which a record's `id` is stored.
pub const ID_HEADER: &str = "wiber.id";
/// The header under which a record's `client_id` is stored.
pub const CLIENT_ID_HEADER: &str = "wiber.client_id";

/// One request of a client.
#[derive(Debug, Clone)]
pub enum Request<'a> {
    /// Create a topic.
    CreateTopic(CreateTopicRequest),
    /// Append a record.
    Publish(PublishRequest<'a>),
    /// Have a partition's records pushed.
    Subscribe(SubscribeRequest<'a>),
    /// End a subscription.
    Unsubscribe(UnsubscribeRequest<'a>),
    /// A pushed record has been dealt with. Gets no reply, not even where it is wrong.
    Ack(AckRequest<'a>),
    /// A sign of life; answered with one of the same sequence number.
    Heartbeat,
    /// Delete a topic.
    DeleteTopic(DeleteTopicRequest),
    /// Ask which topics there are, or what one of them is.
    Metadata(MetadataRequest),
    /// Read record batches.
    Fetch(FetchRequest),
    /// Keep a client's position.
    Commit(CommitRequest<'a>),
    /// Append a record batch.
    PublishBatch(PublishBatchRequest<'a>),
    /// Ask for a producer id.
    InitProducer,
    /// Change a topic.
    AlterTopic(AlterTopicRequest),
    /// Ask for the offsets of a partition.
    ListOffsets(ListOffsetsRequest<'a>),
    /// Have a partition's record batches pushed.
    SubscribeBatches(SubscribeRequest<'a>),
    /// Become a member of a group.
    JoinGroup(JoinGroupRequest<'a>),
    /// A member's sign of life.
    GroupHeartbeat(GroupHeartbeatRequest<'a>),
    /// Leave a group.
    LeaveGroup(LeaveGroupRequest<'a>),
    /// Ask which groups there are.
    ListGroups,
    /// Ask what a group is like.
    DescribeGroup(DescribeGroupRequest<'a>),
    /// Set positions of a group anew.
    ResetGroup(ResetGroupRequest<'a>),
    /// Forget a group.
    DeleteGroup(DeleteGroupRequest<'a>),
}

/// PUBLISH. The payload is the frame's body.
#[derive(Debug, Clone)]
pub struct PublishRequest<'a> {
    /// The topic's name, not yet checked: one that exists is valid, see [`PublishRequest::topic_name`].
    pub topic: &'a str,
    /// Where to append; `None` leaves the choice to the key, or to turns where there is none.
    pub partition: Option<PartitionIndex>,
    /// The record's key.
    pub key: Option<&'a str>,
    /// An id by which a repeated publish is recognised.
    pub id: Option<&'a str>,
    /// What the reply is to wait for; `None` leaves it to `storage.sync`.
    pub ack: Option<AckLevel>,
    /// A stamp that the publisher has read, and that the record's stamp must follow.
    pub read: Option<Stamp>,
    /// The payload.
    pub value: &'a Bytes,
    pairs: PropertyPairs<'a>,
}

/// SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscribeRequest<'a> {
    /// The topic's name.
    pub topic: TopicName,
    /// The partition; 0 where none was given.
    pub partition: PartitionIndex,
    /// Under whose name the position is kept; empty where none was given.
    pub client_id: &'a str,
    /// As which member of a group: the position is the group's then.
    pub member: Option<GroupMember<'a>>,
    /// Where to start.
    pub start: StartAt,
    /// Whether delivery is at most once, without ACKs from the client; true where nothing was said.
    pub auto_ack: bool,
    /// Whether the client needs `server.subscribe_grace_ms` between the ACK and the first DATA (`version=1.0`).
    pub needs_grace: bool,
    /// Whether each DATA is to say its record's stamp.
    pub stamps: bool,
}

/// UNSUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsubscribeRequest<'a> {
    /// The topic's name.
    pub topic: TopicName,
    /// The partition; 0 where none was given.
    pub partition: PartitionIndex,
    /// As in the subscription; empty where none was given.
    pub client_id: &'a str,
    /// The group in whose name the server subscribed.
    pub group: Option<&'a str>,
}

/// The acknowledgement of one DATA frame; its sequence number is the offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AckRequest<'a> {
    /// The topic's name, not checked.
    pub topic: &'a str,
    /// The partition; 0 where none was given.
    pub partition: PartitionIndex,
    /// The record's offset.
    pub offset: Offset,
}

/// What the reply to a PUBLISH waits for: `wiber.ack`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckLevel {
    /// No reply at all.
    None,
    /// Handed to the operating system.
    Leader,
    /// Synced to disk.
    Durable,
}

impl AckLevel {
    /// The level of a name; `None` for an unknown one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<AckLevel> {
        match name {
            "none" => Some(AckLevel::None),
            "leader" => Some(AckLevel::Leader),
            "durable" => Some(AckLevel::Durable),
            _ => None,
        }
    }

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            AckLevel::None => "none",
            AckLevel::Leader => "leader",
            AckLevel::Durable => "durable",
        }
    }
}

/// Where a subscription starts: `offset`, which always wins, else `wiber.start`, else offset 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    /// At this offset, or at the log's start where that is later.
    Offset(Offset),
    /// At the log's start.
    Begin,
    /// At the log's end: only what comes after.
    End,
    /// At the position kept under (client_id, topic, partition).
    Committed,
    /// At the first record of this time or later.
    Time(Timestamp),
}

impl StartAt {
    /// The start of a `wiber.start` value: `begin`, `end`, `committed` or milliseconds since the Unix epoch.
    #[must_use]
    pub fn from_name(name: &str) -> Option<StartAt> {
        match name {
            "begin" => Some(StartAt::Begin),
            "end" => Some(StartAt::End),
            "committed" => Some(StartAt::Committed),
            _ => {
                let millis = number(name)?;
                let millis = i64::try_from(millis).ok()?;
                Some(StartAt::Time(Timestamp::from_millis(millis)))
            }
        }
    }
}

/// Why a well-formed frame is no valid request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// A frame that a client does not send.
    #[error("a {0:?} frame is not a request")]
    NotARequest(FrameType),
    /// A property the request cannot do without.
    #[error("property '{0}' is missing")]
    Missing(&'static str),
    /// A steering property given more than once.
    #[error("property '{0}' is given twice")]
    Twice(&'static str),
    /// A value that is not one of the property's.
    #[error("property '{name}' is {value:?}; it must be {expected}")]
    Invalid {
        /// The property.
        name: &'static str,
        /// What it said, shortened.
        value: String,
        /// What it may say.
        expected: &'static str,
    },
    /// A `wiber.*` property that is unknown, or means nothing to this request.
    #[error("unknown property {0:?}: names beginning with 'wiber.' are reserved")]
    Unknown(String),
    /// A body that is not the JSON it has to be.
    #[error("the body must be {expected}: {reason}")]
    Body {
        /// What it must be.
        expected: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A name that no topic can have.
    #[error(transparent)]
    Topic(#[from] InvalidTopicName),
}

impl RequestError {
    /// The code of the error ACK.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            RequestError::NotARequest(_) => ErrorCode::UnknownType,
            RequestError::Missing(_)
            | RequestError::Twice(_)
            | RequestError::Invalid { .. }
            | RequestError::Unknown(_)
            | RequestError::Body { .. } => ErrorCode::InvalidProperty,
            RequestError::Topic(_) => ErrorCode::InvalidTopic,
        }
    }

    pub(super) fn invalid(name: &'static str, value: &str, expected: &'static str) -> RequestError {
        RequestError::Invalid { name, value: shortened(value), expected }
    }
}

impl<'a> Request<'a> {
    /// The meaning of a frame from a client.
    ///
    /// # Errors
    /// [`RequestError`]; answered with its [`code`](RequestError::code), save for an ACK, which never is.
    pub fn parse(frame: &'a Frame) -> Result<Request<'a>, RequestError> {
        match frame.kind {
            FrameType::Publish => publish(frame).map(Request::Publish),
            FrameType::Ack => ack(frame).map(Request::Ack),
            FrameType::Heartbeat => Ok(Request::Heartbeat),
            FrameType::Subscribe => {
                subscribe(frame, &["wiber.start", "wiber.group", "wiber.member", "wiber.generation", "wiber.stamps"])
                    .map(Request::Subscribe)
            }
            FrameType::Unsubscribe => unsubscribe(frame).map(Request::Unsubscribe),
            FrameType::PublishBatch => batches::publish_batch(frame).map(Request::PublishBatch),
            FrameType::Fetch => batches::fetch(frame).map(Request::Fetch),
            FrameType::Commit => batches::commit(frame).map(Request::Commit),
            FrameType::ListOffsets => batches::list_offsets(frame).map(Request::ListOffsets),
            FrameType::SubscribeBatches => {
                subscribe(frame, &["wiber.start", "wiber.group", "wiber.member", "wiber.generation"])
                    .map(Request::SubscribeBatches)
            }
            FrameType::CreateTopic => topics::create_topic(frame).map(Request::CreateTopic),
            FrameType::DeleteTopic => topics::delete_topic(frame).map(Request::DeleteTopic),
            FrameType::AlterTopic => topics::alter_topic(frame).map(Request::AlterTopic),
            FrameType::Metadata => topics::metadata(frame).map(Request::Metadata),
            FrameType::InitProducer => Steering::of(frame, &[]).map(|_| Request::InitProducer),
            FrameType::JoinGroup => groups::join(frame).map(Request::JoinGroup),
            FrameType::GroupHeartbeat => groups::heartbeat(frame).map(Request::GroupHeartbeat),
            FrameType::LeaveGroup => groups::leave(frame).map(Request::LeaveGroup),
            FrameType::ListGroups => Steering::of(frame, &[]).map(|_| Request::ListGroups),
            FrameType::DescribeGroup => groups::describe(frame).map(Request::DescribeGroup),
            FrameType::ResetGroup => groups::reset(frame).map(Request::ResetGroup),
            FrameType::DeleteGroup => groups::delete(frame).map(Request::DeleteGroup),
            FrameType::Data | FrameType::Batch | FrameType::Assignment => Err(RequestError::NotARequest(frame.kind)),
        }
    }
}

impl<'a> PublishRequest<'a> {
    /// The topic's name, checked: what a topic that does not exist yet needs.
    ///
    /// # Errors
    /// [`RequestError::Topic`] where no topic can have it.
    pub fn topic_name(&self) -> Result<TopicName, RequestError> {
        Ok(TopicName::new(self.topic)?)
    }

    /// The headers of the record, in the order of the properties; `id` and `client_id` under their `wiber.` names.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a str)> + Clone + use<'a> {
        self.pairs.clone().filter_map(|(name, value)| match name {
            "topic" | "partition" | "key" | "offset" | "auto_ack" | "created_at" | "version" => None,
            "id" => (!value.is_empty()).then_some((ID_HEADER, value)),
            "client_id" => (!value.is_empty()).then_some((CLIENT_ID_HEADER, value)),
            _ if name.starts_with("wiber.") => None,
            _ => Some((name, value)),
        })
    }
}

fn publish(frame: &Frame) -> Result<PublishRequest<'_>, RequestError> {
    let steering = Steering::of(frame, &["wiber.ack", "wiber.stamp"])?;
    let ack = ack_level(&steering)?;
    let read = steering.wiber_stamp.map(|value| {
        let expected = "16 lower-case hexadecimal digits";
        Stamp::from_hex(value.as_bytes()).ok_or_else(|| RequestError::invalid("wiber.stamp", value, expected))
    });
    Ok(PublishRequest {
        topic: steering.topic()?,
        partition: steering.partition()?,
        key: steering.key,
        id: steering.id.filter(|id| !id.is_empty()),
        ack,
        read: read.transpose()?,
        value: &frame.body,
        pairs: if steering.has_headers { frame.properties.iter() } else { PropertyPairs::default() },
    })
}

/// What the reply is to wait for, where the request says.
fn ack_level(steering: &Steering<'_>) -> Result<Option<AckLevel>, RequestError> {
    let Some(name) = steering.wiber_ack else { return Ok(None) };
    let expected = "'none', 'leader' or 'durable'";
    AckLevel::from_name(name).map(Some).ok_or_else(|| RequestError::invalid("wiber.ack", name, expected))
}

fn subscribe<'a>(frame: &'a Frame, own: &[&str]) -> Result<SubscribeRequest<'a>, RequestError> {
    let steering = Steering::of(frame, own)?;
    let start = match (steering.offset, steering.wiber_start) {
        (Some(_), _) => StartAt::Offset(steering.offset()?),
        (None, Some(value)) => StartAt::from_name(value).ok_or_else(|| {
            let expected = "'begin', 'end', 'committed' or milliseconds since 1970";
            RequestError::invalid("wiber.start", value, expected)
        })?,
        (None, None) => StartAt::Offset(Offset::ZERO),
    };
    let auto_ack = steering.auto_ack.map_or(Ok(true), |value| flag("auto_ack", value))?;
    let stamps = steering.wiber_stamps.map_or(Ok(false), |value| flag("wiber.stamps", value))?;
    Ok(SubscribeRequest {
        topic: steering.topic_name()?,
        partition: steering.partition_or_first()?,
        client_id: steering.client_id.unwrap_or_default(),
        member: groups::member_of(frame)?,
        start,
        auto_ack,
        needs_grace: steering.version == Some("1.0"),
        stamps,
    })
}

fn unsubscribe(frame: &Frame) -> Result<UnsubscribeRequest<'_>, RequestError> {
    let steering = Steering::of(frame, &["wiber.group"])?;
    Ok(UnsubscribeRequest {
        topic: steering.topic_name()?,
        partition: steering.partition_or_first()?,
        client_id: steering.client_id.unwrap_or_default(),
        group: groups::member_of(frame)?.map(|member| member.group),
    })
}

fn ack(frame: &Frame) -> Result<AckRequest<'_>, RequestError> {
    let steering = Steering::of(frame, &[])?;
    let offset = Offset::new(frame.sequence).ok_or(RequestError::Missing("offset"))?;
    Ok(AckRequest { topic: steering.topic()?, partition: steering.partition_or_first()?, offset })
}

#[cfg(test)]
mod tests;
