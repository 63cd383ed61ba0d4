//! A topic's settings as Kafka's, and Kafka's as a topic's.

use super::table::{Effect, Setting, TOPIC_KEYS, TopicKey};
use crate::broker::metadata::{SettingsChange, TopicSettings};
use crate::broker::{BrokerOptions, EffectiveSettings};
use crate::types::{CleanupPolicy, TimestampType};

/// One setting of a topic as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::listener::kafka) struct TopicConfig {
    pub(super) key: &'static TopicKey,
    /// What the topic has settled for itself.
    pub(super) own: Option<String>,
    /// What holds where it has not.
    pub(super) default: String,
}

impl TopicConfig {
    /// What it is.
    pub(in crate::listener::kafka) fn value(&self) -> &str {
        self.own.as_ref().unwrap_or(&self.default)
    }

    /// Its name.
    pub(in crate::listener::kafka) const fn name(&self) -> &'static str {
        self.key.name
    }
}

/// All settings of a topic, by name.
pub(in crate::listener::kafka) fn configs_of(options: &BrokerOptions, settings: &TopicSettings) -> Vec<TopicConfig> {
    let defaults = defaults_for(options, settings);
    let configs = TOPIC_KEYS.iter().map(|key| TopicConfig {
        key,
        own: own_value(key, settings),
        default: default_value(key, &defaults),
    });
    configs.collect()
}

/// What holds for a topic where it has settled nothing. How long a segment takes records depends on the topic's retention.
pub(super) fn defaults_for(options: &BrokerOptions, settings: &TopicSettings) -> EffectiveSettings {
    let segment_ms = options.effective_settings(&TopicSettings { segment_ms: None, ..settings.clone() }).segment_ms;
    EffectiveSettings { segment_ms, ..options.effective_settings(&TopicSettings::default()) }
}

/// What a topic has settled for itself.
pub(super) fn own_value(key: &TopicKey, settings: &TopicSettings) -> Option<String> {
    let Effect::Setting(setting) = key.effect else {
        return settings.noted.get(key.name).map(str::to_owned);
    };
    match setting {
        Setting::CleanupPolicy => settings.cleanup_policy.map(|policy| policy.as_str().to_owned()),
        Setting::DeleteRetentionMs => settings.delete_retention_ms.map(|ms| ms.to_string()),
        Setting::BatchBytesMax => settings.batch_bytes_max.map(|bytes| bytes.to_string()),
        Setting::TimestampType => settings.timestamp_type.map(|kind| kind.as_str().to_owned()),
        Setting::TimestampAfterMaxMs => settings.timestamp_after_max_ms.map(|ms| ms.to_string()),
        Setting::TimestampBeforeMaxMs => settings.timestamp_before_max_ms.map(|ms| ms.to_string()),
        Setting::MinCompactionLagMs => settings.min_compaction_lag_ms.map(|ms| ms.to_string()),
        Setting::RetentionBytes => settings.retention_bytes.map(|bytes| bytes.to_string()),
        Setting::RetentionMs => settings.retention_ms.map(|ms| ms.to_string()),
        Setting::SegmentBytes => settings.segment_bytes.map(|bytes| bytes.to_string()),
        Setting::SegmentMs => settings.segment_ms.map(|ms| ms.to_string()),
    }
}

/// What holds for topics that do not settle it themselves.
pub(super) fn default_value(key: &TopicKey, defaults: &EffectiveSettings) -> String {
    let Effect::Setting(setting) = key.effect else { return key.default.to_owned() };
    match setting {
        Setting::CleanupPolicy => defaults.cleanup_policy.as_str().to_owned(),
        Setting::DeleteRetentionMs => defaults.delete_retention_ms.to_string(),
        Setting::BatchBytesMax => defaults.batch_bytes_max.to_string(),
        Setting::TimestampType => defaults.timestamp_type.as_str().to_owned(),
        Setting::TimestampAfterMaxMs | Setting::TimestampBeforeMaxMs => key.default.to_owned(),
        Setting::MinCompactionLagMs => defaults.min_compaction_lag_ms.to_string(),
        Setting::RetentionBytes => defaults.retention_bytes.to_string(),
        Setting::RetentionMs => defaults.retention_ms.to_string(),
        Setting::SegmentBytes => i32::try_from(defaults.segment_bytes).unwrap_or(i32::MAX).to_string(),
        Setting::SegmentMs => defaults.segment_ms.to_string(),
    }
}

/// Enters what becomes of a setting: a value that was checked, or `None` for the broker's default.
pub(super) fn enter(change: &mut SettingsChange, key: &TopicKey, value: Option<&str>) {
    let Effect::Setting(setting) = key.effect else {
        return change.noted.set(key.name, value);
    };
    let number = value.and_then(|value| value.parse::<i64>().ok());
    match setting {
        Setting::CleanupPolicy => change.cleanup_policy = Some(value.and_then(CleanupPolicy::from_name)),
        Setting::DeleteRetentionMs => change.delete_retention_ms = Some(number),
        Setting::BatchBytesMax => change.batch_bytes_max = Some(number.and_then(|bytes| bytes.try_into().ok())),
        Setting::TimestampType => change.timestamp_type = Some(value.and_then(TimestampType::from_name)),
        Setting::TimestampAfterMaxMs => change.timestamp_after_max_ms = Some(number),
        Setting::TimestampBeforeMaxMs => change.timestamp_before_max_ms = Some(number),
        Setting::MinCompactionLagMs => change.min_compaction_lag_ms = Some(number),
        Setting::RetentionBytes => change.retention_bytes = Some(number),
        Setting::RetentionMs => change.retention_ms = Some(number),
        Setting::SegmentBytes => change.segment_bytes = Some(number.and_then(|bytes| bytes.try_into().ok())),
        Setting::SegmentMs => change.segment_ms = Some(number),
    }
}
