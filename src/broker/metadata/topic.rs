//! A topic: what it is, and what it has settled for itself.

use serde::{Deserialize, Serialize};

use super::noted::{NotedChange, NotedSettings};
use super::{AlterTopic, CreateTopic, MetadataError, serde_as};
use crate::types::{CleanupPolicy, Timestamp, TimestampType, TopicId, TopicName};

/// "Without a limit", as Kafka writes it.
const UNLIMITED: i64 = -1;

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topic {
    /// Its name.
    #[serde(rename = "topic", with = "serde_as::topic_name")]
    pub name: TopicName,
    /// Its id.
    #[serde(rename = "topic_id")]
    pub id: TopicId,
    /// How many partitions it has; at least 1.
    pub partitions: u32,
    /// When it was created.
    #[serde(rename = "created_at_ms", with = "serde_as::timestamp_ms")]
    pub created_at: Timestamp,
    /// Its own settings.
    #[serde(default)]
    pub settings: TopicSettings,
}

/// What a topic has settled for itself; for what is `None` the broker's default holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicSettings {
    /// How long records are kept, in milliseconds; -1 for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_ms: Option<i64>,
    /// How many bytes of records each partition keeps; -1 all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_bytes: Option<i64>,
    /// The largest message, in bytes; at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_bytes_max: Option<u32>,
    /// What happens to old records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cleanup_policy: Option<CleanupPolicy>,
    /// The length a segment may grow to, in bytes; at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment_bytes: Option<u64>,
    /// How long compaction leaves a record alone at least, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_compaction_lag_ms: Option<i64>,
    /// How long a tombstone stays once compaction has found it, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_retention_ms: Option<i64>,
    /// The largest batch that a client built, in bytes; at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_bytes_max: Option<u32>,
    /// Whose time records bear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp_type: Option<TimestampType>,
    /// How far a record's time may lie ahead of the broker's, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp_after_max_ms: Option<i64>,
    /// How far a record's time may lie behind the broker's, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp_before_max_ms: Option<i64>,
    /// How long a segment takes records at most, in milliseconds; at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment_ms: Option<i64>,
    /// Settings that change nothing here.
    #[serde(default, skip_serializing_if = "NotedSettings::is_empty")]
    pub noted: NotedSettings,
}

/// A setting out of its range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting} must be {range}, not {found}")]
pub struct InvalidSetting {
    setting: &'static str,
    range: &'static str,
    found: i64,
}

impl Topic {
    /// The topic that a command creates.
    pub(super) fn of(create: &CreateTopic) -> Topic {
        Topic {
            name: create.topic.clone(),
            id: create.topic_id,
            partitions: create.partitions,
            created_at: create.created_at,
            settings: create.settings.clone(),
        }
    }

    pub(super) fn exists(&self) -> MetadataError {
        MetadataError::TopicExists { topic: self.name.clone(), partitions: self.partitions }
    }

    pub(super) fn has_id(&self, expected: TopicId) -> Result<(), MetadataError> {
        if self.id == expected {
            return Ok(());
        }
        Err(MetadataError::TopicIdDiffers { topic: self.name.clone(), expected, found: self.id })
    }
}

impl Topic {
    /// How many partitions the topic has once it is altered so.
    pub(super) fn partitions_after(&self, alter: &AlterTopic) -> Result<u32, MetadataError> {
        let found = alter.partitions.unwrap_or(self.partitions);
        if found >= self.partitions {
            return Ok(found);
        }
        Err(MetadataError::PartitionsOnlyGrow { topic: self.name.clone(), partitions: self.partitions, found })
    }
}

/// What to change of a topic's settings: of each the new value, `Some(None)` for the broker's default, `None` to leave
/// it as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SettingsChange {
    /// [`TopicSettings::retention_ms`]
    pub retention_ms: Option<Option<i64>>,
    /// [`TopicSettings::retention_bytes`]
    pub retention_bytes: Option<Option<i64>>,
    /// [`TopicSettings::message_bytes_max`]
    pub message_bytes_max: Option<Option<u32>>,
    /// [`TopicSettings::cleanup_policy`]
    pub cleanup_policy: Option<Option<CleanupPolicy>>,
    /// [`TopicSettings::segment_bytes`]
    pub segment_bytes: Option<Option<u64>>,
    /// [`TopicSettings::min_compaction_lag_ms`]
    pub min_compaction_lag_ms: Option<Option<i64>>,
    /// [`TopicSettings::delete_retention_ms`]
    pub delete_retention_ms: Option<Option<i64>>,
    /// [`TopicSettings::batch_bytes_max`]
    pub batch_bytes_max: Option<Option<u32>>,
    /// [`TopicSettings::timestamp_type`]
    pub timestamp_type: Option<Option<TimestampType>>,
    /// [`TopicSettings::timestamp_after_max_ms`]
    pub timestamp_after_max_ms: Option<Option<i64>>,
    /// [`TopicSettings::timestamp_before_max_ms`]
    pub timestamp_before_max_ms: Option<Option<i64>>,
    /// [`TopicSettings::segment_ms`]
    pub segment_ms: Option<Option<i64>>,
    /// [`TopicSettings::noted`]
    pub noted: NotedChange,
}

impl SettingsChange {
    /// The settings that this makes of others.
    #[must_use]
    pub fn apply_to(&self, settings: &TopicSettings) -> TopicSettings {
        TopicSettings {
            retention_ms: self.retention_ms.unwrap_or(settings.retention_ms),
            retention_bytes: self.retention_bytes.unwrap_or(settings.retention_bytes),
            message_bytes_max: self.message_bytes_max.unwrap_or(settings.message_bytes_max),
            cleanup_policy: self.cleanup_policy.unwrap_or(settings.cleanup_policy),
            segment_bytes: self.segment_bytes.unwrap_or(settings.segment_bytes),
            min_compaction_lag_ms: self.min_compaction_lag_ms.unwrap_or(settings.min_compaction_lag_ms),
            delete_retention_ms: self.delete_retention_ms.unwrap_or(settings.delete_retention_ms),
            batch_bytes_max: self.batch_bytes_max.unwrap_or(settings.batch_bytes_max),
            timestamp_type: self.timestamp_type.unwrap_or(settings.timestamp_type),
            timestamp_after_max_ms: self.timestamp_after_max_ms.unwrap_or(settings.timestamp_after_max_ms),
            timestamp_before_max_ms: self.timestamp_before_max_ms.unwrap_or(settings.timestamp_before_max_ms),
            segment_ms: self.segment_ms.unwrap_or(settings.segment_ms),
            noted: self.noted.apply_to(&settings.noted),
        }
    }
}

impl TopicSettings {
    pub(super) fn check(&self) -> Result<(), MetadataError> {
        for (setting, value) in [("retention_ms", self.retention_ms), ("retention_bytes", self.retention_bytes)] {
            if let Some(found) = value.filter(|&value| value < UNLIMITED) {
                let range = "-1 (no limit) or more";
                return Err(InvalidSetting { setting, range, found }.into());
            }
        }
        for (setting, value) in [
            ("min_compaction_lag_ms", self.min_compaction_lag_ms),
            ("delete_retention_ms", self.delete_retention_ms),
            ("timestamp_after_max_ms", self.timestamp_after_max_ms),
            ("timestamp_before_max_ms", self.timestamp_before_max_ms),
        ] {
            if let Some(found) = value.filter(|&value| value < 0) {
                return Err(InvalidSetting { setting, range: "0 or more", found }.into());
            }
        }
        if let Some(found) = self.segment_ms.filter(|&value| value < 1) {
            return Err(InvalidSetting { setting: "segment_ms", range: "1 or more", found }.into());
        }
        for (setting, is_zero) in [
            ("message_bytes_max", self.message_bytes_max == Some(0)),
            ("segment_bytes", self.segment_bytes == Some(0)),
            ("batch_bytes_max", self.batch_bytes_max == Some(0)),
        ] {
            if is_zero {
                let range = "1 or more";
                return Err(InvalidSetting { setting, range, found: 0 }.into());
            }
        }
        Ok(self.noted.check()?)
    }
}
