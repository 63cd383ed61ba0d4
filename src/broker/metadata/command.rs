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
    /// `allocate_producer_ids`
    AllocateProducerIds(AllocateProducerIds),
}

impl Command {
    /// The topic it changes, if it is about one.
    #[must_use]
    pub fn topic(&self) -> Option<&TopicName> {
        match self {
            Command::CreateTopic(create) => Some(&create.topic),
            Command::DeleteTopic(delete) => Some(&delete.topic),
            Command::AlterTopic(alter) => Some(&alter.topic),
            Command::AllocateProducerIds(_) => None,
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

/// Other settings, or more partitions, for a topic.
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
    /// How many partitions it has from now on, where they become more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<u32>,
}

/// A block of producer ids is given out, from where the last one ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllocateProducerIds {
    /// The first id behind the block.
    pub next: i64,
}
