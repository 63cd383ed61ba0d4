//! Requests about topics: create, delete, alter, and what there is.

use super::steering::{Steering, number, own, own_number, set_once};
use super::{Frame, RequestError};
use crate::types::{CleanupPolicy, TimestampType, TopicName};

/// Topics that one METADATA lists at most.
pub const TOPICS_LISTED_MAX: u32 = 10_000;
/// Topics that one METADATA lists where it does not say.
const TOPICS_LISTED_DEFAULT: u32 = 1_000;

/// The properties that are settings of a topic.
const SETTINGS: &[&str] = &[
    "wiber.retention_ms",
    "wiber.retention_bytes",
    "wiber.max_message_size",
    "wiber.cleanup_policy",
    "wiber.segment_bytes",
    "wiber.min_compaction_lag_ms",
    "wiber.delete_retention_ms",
    "wiber.max_batch_size",
    "wiber.segment_ms",
    "wiber.timestamp_type",
];

const MILLIS_PER_HOUR: i64 = 3_600_000;

/// CREATE_TOPIC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateTopicRequest {
    /// The topic's name.
    pub topic: TopicName,
    /// How many partitions, at least 1; `None` leaves it to `topics.default_partitions`.
    pub partitions: Option<u32>,
    /// The topic's own settings; `retention_hours` is among them as milliseconds.
    pub settings: SettingsRequest,
}

/// DELETE_TOPIC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteTopicRequest {
    /// The topic's name.
    pub topic: TopicName,
}

/// ALTER_TOPIC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlterTopicRequest {
    /// The topic's name.
    pub topic: TopicName,
    /// How many partitions from now on; `None` leaves them.
    pub partitions: Option<u32>,
    /// What changes.
    pub settings: SettingsRequest,
}

/// METADATA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetadataRequest {
    /// What a topic is.
    Topic {
        /// Its name.
        topic: TopicName,
        /// Whether it is to be created first, where it does not exist and the broker allows that.
        creates: bool,
    },
    /// Which topics there are, in the order of their names.
    List {
        /// Those behind this name.
        after: Option<String>,
        /// So many at most.
        limit: u32,
    },
}

/// Settings of a topic as a request names them: `None` leaves one as it is, `Some(None)` (an empty value on the wire)
/// gives it back to the broker's default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SettingsRequest {
    /// `wiber.retention_ms`: how long records are kept, -1 for ever.
    pub retention_ms: Option<Option<i64>>,
    /// `wiber.retention_bytes`: how much each partition keeps, -1 all.
    pub retention_bytes: Option<Option<i64>>,
    /// `wiber.max_message_size`: the largest message, in bytes.
    pub message_bytes_max: Option<Option<u32>>,
    /// `wiber.cleanup_policy`.
    pub cleanup_policy: Option<Option<CleanupPolicy>>,
    /// `wiber.segment_bytes`: the length a segment may grow to, in bytes.
    pub segment_bytes: Option<Option<u64>>,
    /// `wiber.min_compaction_lag_ms`: how long compaction leaves a record alone at least.
    pub min_compaction_lag_ms: Option<Option<i64>>,
    /// `wiber.delete_retention_ms`: how long a tombstone stays once compaction has found it.
    pub delete_retention_ms: Option<Option<i64>>,
    /// `wiber.max_batch_size`: the largest batch that a client built, in bytes.
    pub batch_bytes_max: Option<Option<u32>>,
    /// `wiber.segment_ms`: how long a segment takes records at most.
    pub segment_ms: Option<Option<i64>>,
    /// `wiber.timestamp_type`: whose time records bear.
    pub timestamp_type: Option<Option<TimestampType>>,
}

pub(super) fn create_topic(frame: &Frame) -> Result<CreateTopicRequest, RequestError> {
    let steering = Steering::of(frame, SETTINGS)?;
    let mut settings = settings(frame)?;
    if let Some(hours) = retention_hours(frame)? {
        if settings.retention_ms.is_some() {
            let expected = "left out where wiber.retention_ms is given";
            return Err(RequestError::invalid("retention_hours", &hours.to_string(), expected));
        }
        let millis = if hours == 0 { -1 } else { i64::from(hours) * MILLIS_PER_HOUR };
        settings.retention_ms = Some(Some(millis));
    }
    Ok(CreateTopicRequest { topic: steering.topic_name()?, partitions: partitions(frame)?, settings })
}

pub(super) fn delete_topic(frame: &Frame) -> Result<DeleteTopicRequest, RequestError> {
    Ok(DeleteTopicRequest { topic: Steering::of(frame, &[])?.topic_name()? })
}

pub(super) fn alter_topic(frame: &Frame) -> Result<AlterTopicRequest, RequestError> {
    let steering = Steering::of(frame, SETTINGS)?;
    Ok(AlterTopicRequest { topic: steering.topic_name()?, partitions: partitions(frame)?, settings: settings(frame)? })
}

pub(super) fn metadata(frame: &Frame) -> Result<MetadataRequest, RequestError> {
    let steering = Steering::of(frame, &["wiber.after", "wiber.limit", "wiber.auto_create"])?;
    if steering.topic.is_some() {
        let creates = match own(frame, "wiber.auto_create")? {
            None | Some("false") => false,
            Some("true") => true,
            Some(value) => return Err(RequestError::invalid("wiber.auto_create", value, "true or false")),
        };
        return Ok(MetadataRequest::Topic { topic: steering.topic_name()?, creates });
    }
    let expected = "a number from 1 to 10000";
    let limit = own_number(frame, "wiber.limit", 1..=u64::from(TOPICS_LISTED_MAX), expected)?;
    let limit = limit.and_then(|limit| u32::try_from(limit).ok()).unwrap_or(TOPICS_LISTED_DEFAULT);
    let after = own(frame, "wiber.after")?.map(str::to_owned);
    Ok(MetadataRequest::List { after, limit })
}

fn partitions(frame: &Frame) -> Result<Option<u32>, RequestError> {
    let found = own_number(frame, "partitions", 1..=u64::from(u32::MAX), "a number from 1")?;
    Ok(found.and_then(|found| u32::try_from(found).ok()))
}

fn retention_hours(frame: &Frame) -> Result<Option<u32>, RequestError> {
    let expected = "a number of hours, or 0 for ever";
    let found = own_number(frame, "retention_hours", 0..=u64::from(u32::MAX), expected)?;
    Ok(found.and_then(|found| u32::try_from(found).ok()))
}

fn settings(frame: &Frame) -> Result<SettingsRequest, RequestError> {
    const MILLIS: &str = "a number of milliseconds";
    const BYTES: &str = "a number of bytes from 1";
    let mut of = SettingsRequest::default();
    for (name, value) in &frame.properties {
        let setting = |name, expected| Setting { name, value, expected };
        match name {
            "wiber.retention_ms" => {
                setting("wiber.retention_ms", "milliseconds, or -1 for ever").read(&mut of.retention_ms, signed)?;
            }
            "wiber.retention_bytes" => {
                let kept = setting("wiber.retention_bytes", "a number of bytes, or -1 for all");
                kept.read(&mut of.retention_bytes, signed)?;
            }
            "wiber.max_message_size" => {
                setting("wiber.max_message_size", BYTES).read(&mut of.message_bytes_max, bytes)?;
            }
            "wiber.cleanup_policy" => {
                let policy = setting("wiber.cleanup_policy", "'delete', 'compact' or 'compact,delete'");
                policy.read(&mut of.cleanup_policy, CleanupPolicy::from_name)?;
            }
            "wiber.segment_bytes" => {
                let length = setting("wiber.segment_bytes", "a number of bytes from 1024 to 2147483647");
                length.read(&mut of.segment_bytes, |text| {
                    number(text).filter(|found| (1_024..=2_147_483_647).contains(found))
                })?;
            }
            "wiber.segment_ms" => {
                let age = setting("wiber.segment_ms", "a number of milliseconds from 1");
                age.read(&mut of.segment_ms, |text| millis(text).filter(|&found| found > 0))?;
            }
            "wiber.min_compaction_lag_ms" => {
                setting("wiber.min_compaction_lag_ms", MILLIS).read(&mut of.min_compaction_lag_ms, millis)?;
            }
            "wiber.delete_retention_ms" => {
                setting("wiber.delete_retention_ms", MILLIS).read(&mut of.delete_retention_ms, millis)?;
            }
            "wiber.max_batch_size" => {
                setting("wiber.max_batch_size", BYTES).read(&mut of.batch_bytes_max, bytes)?;
            }
            "wiber.timestamp_type" => {
                let kind = setting("wiber.timestamp_type", "'CreateTime' or 'LogAppendTime'");
                kind.read(&mut of.timestamp_type, TimestampType::from_name)?;
            }
            _ => {}
        }
    }
    Ok(of)
}

/// A setting as a request gives it.
struct Setting<'a> {
    name: &'static str,
    value: &'a str,
    expected: &'static str,
}

impl Setting<'_> {
    /// Keeps what it says, which may be said once; the empty value is the default's.
    fn read<T>(self, slot: &mut Option<Option<T>>, read: impl FnOnce(&str) -> Option<T>) -> Result<(), RequestError> {
        let Setting { name, value, expected } = self;
        let given = if value.is_empty() {
            None
        } else {
            Some(read(value).ok_or_else(|| RequestError::invalid(name, value, expected))?)
        };
        set_once(slot, name, given)
    }
}

/// -1, or a number of digits alone.
fn signed(text: &str) -> Option<i64> {
    if text == "-1" { Some(-1) } else { millis(text) }
}

fn millis(text: &str) -> Option<i64> {
    number(text).and_then(|found| i64::try_from(found).ok())
}

/// At least 1.
fn bytes(text: &str) -> Option<u32> {
    number(text).and_then(|found| u32::try_from(found).ok()).filter(|&found| found > 0)
}
