//! Positions on their way to the broker, over a connection of their own: a reader that takes its time with the records
//! must not hold up the answers to its commits.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::options::SubscriberOptions;
use crate::client::ClientError;
use crate::client::chance::{Backoff, Chance};
use crate::client::on_demand::OnDemand;
use crate::types::{Offset, PartitionIndex, TopicName};

/// What a subscriber keeps at the broker.
#[derive(Debug)]
pub(super) struct Commits {
    topic: TopicName,
    /// The connection is made with the first commit.
    broker: OnDemand,
    retry_backoff: Duration,
    retry_backoff_max: Duration,
    /// Held while positions are sent: whoever comes next finds them kept.
    round: tokio::sync::Mutex<()>,
    /// Positions not yet kept.
    pending: Mutex<BTreeMap<PartitionIndex, Offset>>,
}

impl Commits {
    pub(super) fn new(topic: TopicName, options: &SubscriberOptions) -> Commits {
        Commits {
            topic,
            broker: OnDemand::new(options.client.clone()),
            retry_backoff: options.retry_backoff,
            retry_backoff_max: options.retry_backoff_max,
            round: tokio::sync::Mutex::new(()),
            pending: Mutex::new(BTreeMap::new()),
        }
    }

    fn pending(&self) -> MutexGuard<'_, BTreeMap<PartitionIndex, Offset>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a position to be sent later; of a partition's the highest counts.
    pub(super) fn note(&self, partition: PartitionIndex, offset: Offset) {
        let mut pending = self.pending();
        let noted = pending.entry(partition).or_insert(offset);
        *noted = offset.max(*noted);
    }

    pub(super) fn has_pending(&self) -> bool {
        !self.pending().is_empty()
    }

    /// Sends a position; tries again for as long as a request may take.
    pub(super) async fn commit(&self, partition: PartitionIndex, offset: Offset) -> Result<Offset, ClientError> {
        let deadline = Instant::now() + self.broker.options().request_timeout;
        let mut backoff = Backoff::new(self.retry_backoff, self.retry_backoff_max);
        let mut chance = Chance::new();
        loop {
            // Nothing is lost by doing it twice: a position never moves back.
            let error = match self.try_commit(partition, offset).await {
                Ok(kept) => return Ok(kept),
                Err(error) => error,
            };
            let wait = backoff.next(&mut chance);
            if !error.is_retriable() || Instant::now() + wait >= deadline {
                return Err(error);
            }
            sleep(wait).await;
        }
    }

    async fn try_commit(&self, partition: PartitionIndex, offset: Offset) -> Result<Offset, ClientError> {
        let client = self.broker.client().await?;
        client.commit(self.topic.as_str(), partition, offset).await
    }

    /// Sends the positions noted so far, after whoever is sending some already. One leaves the notes only when the broker
    /// has it, so that nothing is lost where this is broken off.
    pub(super) async fn commit_pending(&self) -> Result<(), ClientError> {
        let _round = self.round.lock().await;
        let pending = self.pending().clone();
        for (partition, offset) in pending {
            self.commit(partition, offset).await?;
            let mut pending = self.pending();
            if pending.get(&partition) == Some(&offset) {
                pending.remove(&partition);
            }
        }
        Ok(())
    }
}
