//! The topic that keeps positions: made once, by the broker itself.

use std::sync::Arc;

use super::registry::offsets_topic;
use crate::broker::{Broker, BrokerError, InternalTopic, Slot};
use crate::replica::SyncPolicy;
use crate::types::Timestamp;

/// How long a position may be written and not synced, in milliseconds; a commit that waits for more forces a sync.
const SYNC_MS: i64 = 1_000;
/// Milliseconds between two tries.
const RETRY_MS: i64 = 5_000;

impl Broker {
    /// Makes the topic that keeps positions where it is not there yet; until it is, commits are answered with
    /// [`BrokerError::TopicBusy`]. To be called once the broker is open: after an error [`Broker::step`] tries again.
    /// Blocks on files.
    ///
    /// # Errors
    /// [`BrokerError`] where the topic cannot be made.
    pub fn start_positions(self: &Arc<Self>, now: Timestamp) -> Result<(), BrokerError> {
        self.positions.retry_at(now.plus_millis(RETRY_MS));
        let partitions = self.options.positions.partitions.max(1);
        let wanted = InternalTopic { partitions, sync: SyncPolicy::Interval { millis: SYNC_MS }, is_compacted: true };
        let topic = self.ensure_internal_topic(&offsets_topic(), wanted, now)?;
        let made = topic.slots().iter().map(|slot| match slot {
            Slot::Open(partition) => Ok(Arc::clone(partition)),
            Slot::Offline(reason) => Err(Arc::clone(reason)),
        });
        self.positions.attach_new(made);
        Ok(())
    }

    /// Makes the topic now where that failed a while ago.
    pub(in crate::broker) fn retry_positions(self: &Arc<Self>, now: Timestamp) {
        if self.positions.is_attached() || !self.positions.is_retry_due(now) {
            return;
        }
        match self.start_positions(now) {
            Ok(()) => tracing::info!("positions of clients are kept from now on"),
            Err(error) => tracing::debug!(%error, "still no positions of clients can be kept"),
        }
    }
}
