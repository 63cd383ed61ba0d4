//! The topic that keeps positions: made once, by the broker itself.

use std::sync::Arc;

use super::registry::offsets_topic;
use crate::broker::metadata::{CreateTopic, TopicSettings};
use crate::broker::{Broker, BrokerError, CommandReply};
use crate::types::{Timestamp, TopicId};

/// Milliseconds between two tries.
const RETRY_MS: i64 = 5_000;

impl Broker {
    /// Makes the topic that keeps positions where it is not there yet; until it is, commits are answered with
    /// [`BrokerError::TopicBusy`]. To be called once the broker is open: after an error [`Broker::step`] tries again. Blocks
    /// on files.
    pub fn start_positions(
        self: &Arc<Self>,
        now: Timestamp,
        reply: impl FnOnce(Result<(), BrokerError>) + Send + 'static,
    ) {
        self.positions.retry_at(now.plus_millis(RETRY_MS));
        if self.positions.is_attached() {
            return reply(Ok(()));
        }
        // Derived, so that a second try makes the same topic; the directory's own id is that of the metadata.
        let topic_id = TopicId::new(uuid::Uuid::from_u128(self.directory.id().as_u128().wrapping_add(1)));
        let partitions = self.options.positions.partitions.max(1);
        let settings = TopicSettings::default();
        let create = CreateTopic { topic: offsets_topic(), topic_id, partitions, created_at: now, settings };
        self.create_any_topic(create, now, CommandReply::new(|result| reply(result.map(|_| ()))));
    }

    /// Makes the topic now where that failed a while ago.
    pub(in crate::broker) fn retry_positions(self: &Arc<Self>, now: Timestamp) {
        if !self.positions.is_attached() && self.positions.is_retry_due(now) {
            self.start_positions(now, |result| match result {
                Ok(()) => tracing::info!("positions of clients are kept from now on"),
                Err(error) => tracing::debug!(%error, "still no positions of clients can be kept"),
            });
        }
    }
}
