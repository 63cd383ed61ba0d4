//! Requests about topics: create, delete, alter, and what there is.

use super::steering::{Steering, number, own, own_number, set_once};
use super::{Frame, RequestError};
use crate::types::{CleanupPolicy, TopicName};

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
    let mut settings = SettingsRequest::default();
    for (name, value) in &frame.properties {
        match name {
            "wiber.retention_ms" => {
                let kept = given(value, "wiber.retention_ms", "milliseconds, or -1 for ever", signed)?;
                set_once(&mut settings.retention_ms, "wiber.retention_ms", kept)?;
            }
            "wiber.retention_bytes" => {
                let kept = given(value, "wiber.retention_bytes", "a number of bytes, or -1 for all", signed)?;
                set_once(&mut settings.retention_bytes, "wiber.retention_bytes", kept)?;
            }
            "wiber.max_message_size" => {
                let expected = "a number of bytes from 1";
                let bytes = given(value, "wiber.max_message_size", expected, |text| {
                    number(text).and_then(|found| u32::try_from(found).ok()).filter(|&found| found > 0)
                })?;
                set_once(&mut settings.message_bytes_max, "wiber.max_message_size", bytes)?;
            }
            "wiber.cleanup_policy" => {
                let expected = "'delete', 'compact' or 'compact,delete'";
                let policy = given(value, "wiber.cleanup_policy", expected, CleanupPolicy::from_name)?;
                set_once(&mut settings.cleanup_policy, "wiber.cleanup_policy", policy)?;
            }
            "wiber.segment_bytes" => {
                let expected = "a number of bytes from 1024 to 2147483647";
                let bytes = given(value, "wiber.segment_bytes", expected, |text| {
                    number(text).filter(|found| (1_024..=2_147_483_647).contains(found))
                })?;
                set_once(&mut settings.segment_bytes, "wiber.segment_bytes", bytes)?;
            }
            "wiber.min_compaction_lag_ms" => {
                let lag = given(value, "wiber.min_compaction_lag_ms", "a number of milliseconds", millis)?;
                set_once(&mut settings.min_compaction_lag_ms, "wiber.min_compaction_lag_ms", lag)?;
            }
            "wiber.delete_retention_ms" => {
                let kept = given(value, "wiber.delete_retention_ms", "a number of milliseconds", millis)?;
                set_once(&mut settings.delete_retention_ms, "wiber.delete_retention_ms", kept)?;
            }
            _ => {}
        }
    }
    Ok(settings)
}

/// The value of a setting; `None` for the empty one.
fn given<T>(
    value: &str,
    name: &'static str,
    expected: &'static str,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, RequestError> {
    if value.is_empty() {
        return Ok(None);
    }
    read(value).map(Some).ok_or_else(|| RequestError::invalid(name, value, expected))
}

/// -1, or a number of digits alone.
fn signed(text: &str) -> Option<i64> {
    if text == "-1" { Some(-1) } else { millis(text) }
}

fn millis(text: &str) -> Option<i64> {
    number(text).and_then(|found| i64::try_from(found).ok())
}
