//! Topics as PUB and SUB find them: created with one partition where they do not exist.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::LinesListener;
use crate::broker::metadata::{MetadataError, TopicSettings};
use crate::broker::{BrokerError, CommandReply, CreatedTopic, TopicHandle};
use crate::types::TopicName;

/// Partitions of a topic that PUB or SUB create.
const PARTITIONS: u32 = 1;
/// How often the creation of a topic that is being changed is tried, and the pause between two tries.
const BUSY_TRIES: usize = 200;
const BUSY_PAUSE: Duration = Duration::from_millis(5);

impl LinesListener {
    /// A topic that clients use, created where there is none of the name.
    pub(super) async fn topic_to_use(&self, name: &TopicName) -> Result<Arc<TopicHandle>, BrokerError> {
        for _ in 1..BUSY_TRIES {
            match self.broker.user_topic(name) {
                Err(BrokerError::UnknownTopic { .. }) => {}
                other => return other,
            }
            match self.create(name).await {
                // Somebody else creates it, perhaps with more partitions.
                Err(BrokerError::TopicBusy { .. }) => tokio::time::sleep(BUSY_PAUSE).await,
                Ok(_) | Err(BrokerError::Metadata(MetadataError::TopicExists { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        self.broker.user_topic(name)
    }

    async fn create(&self, name: &TopicName) -> Result<CreatedTopic, BrokerError> {
        let (done, result) = oneshot::channel();
        let reply = CommandReply::new(move |result| {
            let _gone = done.send(result);
        });
        let (broker, name) = (Arc::clone(&self.broker), name.clone());
        let (topic_id, now) = ((self.surroundings.fresh_topic_id)(), self.now());
        tokio::task::spawn_blocking(move || {
            broker.create_topic(&name, Some(PARTITIONS), TopicSettings::default(), topic_id, now, reply);
        });
        result.await.unwrap_or_else(|_| Err(BrokerError::StorageFailed("the server stops".into())))
    }
}
