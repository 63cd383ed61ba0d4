//! Changes of topics as listeners ask for them: off the threads that serve sockets, and again while another change of the
//! same topic is under way.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::Surroundings;
use crate::broker::metadata::{MetadataError, TopicSettings};
use crate::broker::{Broker, BrokerError, CommandReply, CreatedTopic, TopicChange, TopicHandle};
use crate::types::{TopicId, TopicName};

/// How often a change of a topic that is being changed is tried, and the pause between two tries.
const BUSY_TRIES: usize = 200;
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// A command about a topic.
#[derive(Debug, Clone)]
pub(super) enum TopicCommand {
    Create {
        topic: TopicName,
        partitions: Option<u32>,
        settings: TopicSettings,
    },
    Alter {
        topic: TopicName,
        change: TopicChange,
    },
    /// `topic_id`: only the topic that has this id, not one created anew under the name.
    Delete {
        topic: TopicName,
        topic_id: Option<TopicId>,
    },
}

/// Does a command, waiting a while for another one on the same topic.
pub(super) async fn command_topic(
    broker: &Arc<Broker>,
    surroundings: &Surroundings,
    command: &TopicCommand,
) -> Result<CreatedTopic, BrokerError> {
    attempt(broker, surroundings, command, (surroundings.fresh_topic_id)()).await
}

/// Creates a topic. One that is there already is an error, also where it has as many partitions.
pub(super) async fn create_new_topic(
    broker: &Arc<Broker>,
    surroundings: &Surroundings,
    topic: &TopicName,
    partitions: Option<u32>,
    settings: TopicSettings,
) -> Result<Arc<TopicHandle>, BrokerError> {
    let topic_id = (surroundings.fresh_topic_id)();
    let command = TopicCommand::Create { topic: topic.clone(), partitions, settings };
    attempt(broker, surroundings, &command, topic_id).await?;
    let handle = broker.topic(topic)?;
    if handle.topic().id != topic_id {
        let partitions = handle.partitions_count();
        return Err(MetadataError::TopicExists { topic: topic.clone(), partitions }.into());
    }
    Ok(handle)
}

async fn attempt(
    broker: &Arc<Broker>,
    surroundings: &Surroundings,
    command: &TopicCommand,
    topic_id: TopicId,
) -> Result<CreatedTopic, BrokerError> {
    for _ in 1..BUSY_TRIES {
        match attempt_once(broker, surroundings, command.clone(), topic_id).await {
            Err(BrokerError::TopicBusy { .. }) => tokio::time::sleep(BUSY_PAUSE).await,
            other => return other,
        }
    }
    attempt_once(broker, surroundings, command.clone(), topic_id).await
}

async fn attempt_once(
    broker: &Arc<Broker>,
    surroundings: &Surroundings,
    command: TopicCommand,
    topic_id: TopicId,
) -> Result<CreatedTopic, BrokerError> {
    let (done, result) = oneshot::channel();
    let reply = CommandReply::new(move |result| {
        let _gone = done.send(result);
    });
    let (broker, now) = (Arc::clone(broker), (surroundings.now)());
    tokio::task::spawn_blocking(move || match command {
        TopicCommand::Create { topic, partitions, settings } => {
            broker.create_topic(&topic, partitions, settings, topic_id, now, reply);
        }
        TopicCommand::Alter { topic, change } => broker.alter_topic(&topic, change, now, reply),
        TopicCommand::Delete { topic, topic_id: None } => broker.delete_topic(&topic, now, reply),
        TopicCommand::Delete { topic, topic_id: Some(id) } => broker.delete_topic_of_id(&topic, id, now, reply),
    });
    result.await.unwrap_or_else(|_| Err(BrokerError::StorageFailed("the server stops".into())))
}
