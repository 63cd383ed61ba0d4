//! Topics as PUB and SUB find them: created with one partition where they do not exist.

use std::sync::Arc;

use super::LinesListener;
use crate::broker::metadata::{MetadataError, TopicSettings};
use crate::broker::{BrokerError, CreatedTopic, TopicHandle};
use crate::listener::topic_commands::{self, TopicCommand};
use crate::types::TopicName;

/// Partitions of a topic that PUB or SUB create.
const PARTITIONS: u32 = 1;

impl LinesListener {
    /// A topic that clients use, created where there is none of the name.
    pub(super) async fn topic_to_use(&self, name: &TopicName) -> Result<Arc<TopicHandle>, BrokerError> {
        match self.broker.user_topic(name) {
            Err(BrokerError::UnknownTopic { .. }) => {}
            other => return other,
        }
        match self.create(name).await {
            // Somebody else created it, perhaps with more partitions.
            Ok(_) | Err(BrokerError::Metadata(MetadataError::TopicExists { .. })) => {}
            Err(error) => return Err(error),
        }
        self.broker.user_topic(name)
    }

    async fn create(&self, name: &TopicName) -> Result<CreatedTopic, BrokerError> {
        let (topic, settings) = (name.clone(), TopicSettings::default());
        let create = TopicCommand::Create { topic, partitions: Some(PARTITIONS), settings };
        topic_commands::command_topic(&self.broker, &self.surroundings, &create).await
    }
}
