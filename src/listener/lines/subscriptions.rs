//! The subscriptions of a connection.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::AbortHandle;

use super::LinesListener;
use super::broadcast::Broadcast;
use super::feed::Feed;
use super::outbox::{Answer, Outbox};
use super::queue::Member;
use crate::types::TopicName;

/// Subscriptions of one connection.
pub(super) const SUBSCRIPTIONS_MAX: usize = 1_024;

/// The subscriptions of a connection. Dropping them ends them.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    running: BTreeMap<Key, Running>,
}

/// What a subscription is of. One to a topic and one to it in a group have nothing to do with each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    topic: TopicName,
    group: Option<Arc<str>>,
}

#[derive(Debug)]
enum Running {
    Broadcast(AbortHandle),
    Member(Member),
}

impl Running {
    fn is_over(&self) -> bool {
        match self {
            Running::Broadcast(task) => task.is_finished(),
            Running::Member(member) => member.is_over(),
        }
    }
}

impl Subscriptions {
    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Subscribes and answers. A subscription that is there already goes on as it is.
    pub(super) async fn add(
        &mut self,
        listener: &Arc<LinesListener>,
        outbox: &Arc<Outbox>,
        topic: TopicName,
        group: Option<Arc<str>>,
    ) -> Result<(), String> {
        self.running.retain(|_, running| !running.is_over());
        let subscribed = match &group {
            Some(group) => format!("subscribed {topic} in group {group}"),
            None => format!("subscribed {topic}"),
        };
        let key = Key { topic, group };
        if self.running.contains_key(&key) {
            outbox.answer_next(Answer::okay(subscribed));
            return Ok(());
        }
        if self.running.len() >= SUBSCRIPTIONS_MAX {
            return Err(format!("a connection has at most {SUBSCRIPTIONS_MAX} subscriptions"));
        }
        let handle = listener.topic_to_use(&key.topic).await.map_err(|error| error.to_string())?;
        let running = match &key.group {
            Some(group) => {
                let mut member = listener.join(group, &handle, outbox).await?;
                outbox.answer_next(Answer::okay(subscribed));
                member.begin();
                Running::Member(member)
            }
            None => {
                let feed = Feed::new(listener, &handle, |partition| partition.offsets().high_watermark());
                outbox.answer_next(Answer::okay(subscribed));
                let (listener, outbox) = (Arc::clone(listener), Arc::clone(outbox));
                let topic = key.topic.clone();
                let task = tokio::spawn(async move {
                    let broadcast = Broadcast { listener, outbox: Arc::clone(&outbox), feed };
                    let failure = broadcast.run().await;
                    outbox.tell(&format!("the subscription to {topic} has ended: {failure}"));
                });
                Running::Broadcast(task.abort_handle())
            }
        };
        self.running.insert(key, running);
        Ok(())
    }

    /// Ends what reads for this connection alone; memberships go with the whole, when it is known what was sent.
    pub(super) fn stop_broadcasts(&mut self) {
        self.running.retain(|_, running| match running {
            Running::Broadcast(task) => {
                task.abort();
                false
            }
            Running::Member(_) => true,
        });
    }
}

impl Drop for Subscriptions {
    fn drop(&mut self) {
        self.stop_broadcasts();
    }
}
