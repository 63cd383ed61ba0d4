//! The commands of `__meta`.

use serde::{Deserialize, Serialize};

use super::serde_as;
use super::topic::TopicSettings;
use crate::types::{Timestamp, TopicId, TopicName};

/// A change of the metadata. As bytes: [`Command::encode`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `create_topic`
    CreateTopic(CreateTopic),
    /// `delete_topic`
    DeleteTopic(DeleteTopic),
    /// `alter_topic`
    AlterTopic(AlterTopic),
}

impl Command {
    /// The topic it changes.
    #[must_use]
    pub fn topic(&self) -> &TopicName {
        match self {
            Command::CreateTopic(create) => &create.topic,
            Command::DeleteTopic(delete) => &delete.topic,
            Command::AlterTopic(alter) => &alter.topic,
        }
    }
}

/// A new topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateTopic {
    /// Its name.
    #[serde(with = "serde_as::topic_name")]
    pub topic: TopicName,
    /// Its id, new.
    pub topic_id: TopicId,
    /// How many partitions it has.
    pub partitions: u32,
    /// When it was asked for.
    #[serde(rename = "created_at_ms", with = "serde_as::timestamp_ms")]
    pub created_at: Timestamp,
    /// Its own settings.
    #[serde(default)]
    pub settings: TopicSettings,
}

/// The end of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteTopic {
    /// Its name.
    #[serde(with = "serde_as::topic_name")]
    pub topic: TopicName,
    /// Its id, so that a topic created anew under the name is not meant.
    pub topic_id: TopicId,
}

/// Other settings for a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlterTopic {
    /// Its name.
    #[serde(with = "serde_as::topic_name")]
    pub topic: TopicName,
    /// Its id, so that a topic created anew under the name is not meant.
    pub topic_id: TopicId,
    /// All its own settings from now on: one left out goes back to the broker's default.
    pub settings: TopicSettings,
}
