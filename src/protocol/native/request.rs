//! What a client asks for: typed requests, borrowed from their frames.
//!
//! The steering properties are a closed list: `topic client_id partition key id offset auto_ack created_at version`,
//! and `wiber.*`, of which an unknown one, or one that means nothing to the request, is an error. Every other property
//! of a PUBLISH is a header of the record; of other requests it is ignored.

use bytes::Bytes;

use super::code::ErrorCode;
use super::frame::{Frame, FrameType};
use super::properties::PropertyPairs;
use crate::types::{InvalidTopicName, Offset, PartitionIndex, Timestamp, TopicName};

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
}

/// CREATE_TOPIC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateTopicRequest {
    /// The topic's name.
    pub topic: TopicName,
    /// How many partitions, at least 1; `None` leaves it to `topics.default_partitions`.
    pub partitions: Option<u32>,
    /// How long records are kept, in hours, 0 for ever; `None` leaves it to `topics.retention_hours`.
    pub retention_hours: Option<u32>,
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
    /// Where to start.
    pub start: StartAt,
    /// Whether delivery is at most once, without ACKs from the client; true where nothing was said.
    pub auto_ack: bool,
    /// Whether the client needs `server.subscribe_grace_ms` between the ACK and the first DATA (`version=1.0`).
    pub needs_grace: bool,
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
            | RequestError::Unknown(_) => ErrorCode::InvalidProperty,
            RequestError::Topic(_) => ErrorCode::InvalidTopic,
        }
    }

    fn invalid(name: &'static str, value: &str, expected: &'static str) -> RequestError {
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
            FrameType::Subscribe => subscribe(frame).map(Request::Subscribe),
            FrameType::Unsubscribe => unsubscribe(frame).map(Request::Unsubscribe),
            FrameType::CreateTopic => create_topic(frame).map(Request::CreateTopic),
            kind => Err(RequestError::NotARequest(kind)),
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
    let steering = Steering::of(frame, &["wiber.ack"])?;
    let ack = match steering.wiber_ack {
        Some(name) => Some(
            AckLevel::from_name(name)
                .ok_or_else(|| RequestError::invalid("wiber.ack", name, "'none', 'leader' or 'durable'"))?,
        ),
        None => None,
    };
    Ok(PublishRequest {
        topic: steering.topic()?,
        partition: steering.partition()?,
        key: steering.key,
        id: steering.id.filter(|id| !id.is_empty()),
        ack,
        value: &frame.body,
        pairs: frame.properties.iter(),
    })
}

fn create_topic(frame: &Frame) -> Result<CreateTopicRequest, RequestError> {
    let steering = Steering::of(frame, &[])?;
    let (mut partitions, mut retention_hours) = (None, None);
    for (name, value) in &frame.properties {
        match name {
            "partitions" => {
                let expected = "a number from 1";
                let count = number(value).and_then(|n| u32::try_from(n).ok());
                let count = count.filter(|&n| n > 0);
                let count = count.ok_or_else(|| RequestError::invalid("partitions", value, expected));
                set_once(&mut partitions, "partitions", count?)?;
            }
            "retention_hours" => {
                let expected = "a number of hours, or 0 for ever";
                let hours = number(value).and_then(|n| u32::try_from(n).ok());
                let hours = hours.ok_or_else(|| RequestError::invalid("retention_hours", value, expected));
                set_once(&mut retention_hours, "retention_hours", hours?)?;
            }
            _ => {}
        }
    }
    Ok(CreateTopicRequest { topic: TopicName::new(steering.topic()?)?, partitions, retention_hours })
}

fn subscribe(frame: &Frame) -> Result<SubscribeRequest<'_>, RequestError> {
    let steering = Steering::of(frame, &["wiber.start"])?;
    let start = match (steering.offset, steering.wiber_start) {
        (Some(value), _) => StartAt::Offset(
            number(value)
                .and_then(Offset::new)
                .ok_or_else(|| RequestError::invalid("offset", value, "an offset, from 0"))?,
        ),
        (None, Some(value)) => StartAt::from_name(value).ok_or_else(|| {
            let expected = "'begin', 'end', 'committed' or milliseconds since 1970";
            RequestError::invalid("wiber.start", value, expected)
        })?,
        (None, None) => StartAt::Offset(Offset::ZERO),
    };
    let auto_ack = match steering.auto_ack {
        None => true,
        Some(value) if value.eq_ignore_ascii_case("true") || value == "1" => true,
        Some(value) if value.eq_ignore_ascii_case("false") || value == "0" => false,
        Some(value) => return Err(RequestError::invalid("auto_ack", value, "true or false")),
    };
    Ok(SubscribeRequest {
        topic: TopicName::new(steering.topic()?)?,
        partition: steering.partition()?.unwrap_or(PartitionIndex(0)),
        client_id: steering.client_id.unwrap_or_default(),
        start,
        auto_ack,
        needs_grace: steering.version == Some("1.0"),
    })
}

fn unsubscribe(frame: &Frame) -> Result<UnsubscribeRequest<'_>, RequestError> {
    let steering = Steering::of(frame, &[])?;
    Ok(UnsubscribeRequest {
        topic: TopicName::new(steering.topic()?)?,
        partition: steering.partition()?.unwrap_or(PartitionIndex(0)),
        client_id: steering.client_id.unwrap_or_default(),
    })
}

fn ack(frame: &Frame) -> Result<AckRequest<'_>, RequestError> {
    let steering = Steering::of(frame, &[])?;
    let offset = Offset::new(frame.sequence).ok_or(RequestError::Missing("offset"))?;
    Ok(AckRequest { topic: steering.topic()?, partition: steering.partition()?.unwrap_or(PartitionIndex(0)), offset })
}

/// The steering properties of a frame, each at most once.
#[derive(Default)]
struct Steering<'a> {
    topic: Option<&'a str>,
    client_id: Option<&'a str>,
    partition: Option<&'a str>,
    key: Option<&'a str>,
    id: Option<&'a str>,
    offset: Option<&'a str>,
    auto_ack: Option<&'a str>,
    version: Option<&'a str>,
    wiber_ack: Option<&'a str>,
    wiber_start: Option<&'a str>,
}

impl<'a> Steering<'a> {
    /// Collects them; `own` are the `wiber.*` names that mean something to this request.
    fn of(frame: &'a Frame, own: &[&str]) -> Result<Steering<'a>, RequestError> {
        let mut steering = Steering::default();
        for (name, value) in &frame.properties {
            match name {
                "topic" => set_once(&mut steering.topic, "topic", value)?,
                "client_id" => set_once(&mut steering.client_id, "client_id", value)?,
                "partition" => set_once(&mut steering.partition, "partition", value)?,
                "key" => set_once(&mut steering.key, "key", value)?,
                "id" => set_once(&mut steering.id, "id", value)?,
                "offset" => set_once(&mut steering.offset, "offset", value)?,
                "auto_ack" => set_once(&mut steering.auto_ack, "auto_ack", value)?,
                "version" => steering.version = Some(value),
                _ if !name.starts_with("wiber.") => {}
                _ if !own.contains(&name) => return Err(RequestError::Unknown(shortened(name))),
                "wiber.ack" => set_once(&mut steering.wiber_ack, "wiber.ack", value)?,
                "wiber.start" => set_once(&mut steering.wiber_start, "wiber.start", value)?,
                _ => return Err(RequestError::Unknown(shortened(name))),
            }
        }
        Ok(steering)
    }

    fn topic(&self) -> Result<&'a str, RequestError> {
        self.topic.ok_or(RequestError::Missing("topic"))
    }

    fn partition(&self) -> Result<Option<PartitionIndex>, RequestError> {
        let Some(value) = self.partition else {
            return Ok(None);
        };
        let index = number(value).and_then(|n| u32::try_from(n).ok());
        match index {
            Some(index) => Ok(Some(PartitionIndex(index))),
            None => Err(RequestError::invalid("partition", value, "a number from 0")),
        }
    }
}

fn set_once<T>(slot: &mut Option<T>, name: &'static str, value: T) -> Result<(), RequestError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(RequestError::Twice(name)),
    }
}

/// A number of digits alone: no sign, no blanks.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// A peer's text as an error shows it.
fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests;
