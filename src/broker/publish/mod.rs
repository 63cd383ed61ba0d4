//! Publishing, as every listener does it: what may be published, to which partition, and what becomes of a repeat.
//!
//! Single records are gathered by [`PublishRun`] into one batch for each partition; whole batches that a client built
//! go through [`Broker::append_batch`]. Nothing here knows a wire format or waits: what must be waited for is handed
//! back as a value that can be polled.

mod batch;
mod error;
mod gathered;
mod repeat;
mod run;

pub use batch::Appended;
pub use error::PublishError;
pub use gathered::GatheredBatch;
pub use repeat::{Repeat, Wait, WaitForOther};
pub use run::{Added, Publish, PublishRun, TopicSlot};

use super::skew::{SKEW_MS_MAX, Seen, TopicSkew};
use super::{Broker, TopicHandle};
use crate::log::BATCH_BYTES_MAX;
use crate::record::{AdmissionLimits, ProducedBatch};
use crate::types::{SharedClock, Stamp, Timestamp, TimestampType, TopicName};

/// What a record may have beside its value, in bytes: key, headers, and the batch around it.
const RECORD_OVERHEAD_BYTES: usize = 72 << 10;

/// Bounds on what is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishLimits {
    /// Bytes of a batch that a client built at most. One that holds a single record of the largest value is never too
    /// large.
    pub batch_bytes_max: usize,
    /// How long a message id is remembered, in milliseconds; 0: not at all.
    pub dedup_window_ms: i64,
}

impl Default for PublishLimits {
    fn default() -> PublishLimits {
        PublishLimits { batch_bytes_max: 1_048_588, dedup_window_ms: 120_000 }
    }
}

impl Broker {
    /// Takes note of what a client's batch tells of its clock, and of its stamp: to be called before it is appended, so
    /// that what is stamped afterwards is stamped later. `sent` is the publisher's clock when it sent the batch.
    pub fn observe_batch(&self, topic: &TopicHandle, batch: &ProducedBatch, sent: Timestamp, now: Timestamp) {
        // The stamp of a compressed batch is hard to reach; it is hardly ever later than when the batch was sent.
        let unseen = || (batch.header().attributes.codec() != 0).then(|| Stamp::last_of(sent));
        let mut seen = Seen::default();
        seen.note(sent, batch.stamp().or_else(unseen), now);
        note_skew(&topic.topic().name, topic.skew(), &seen, &self.clock, now);
    }

    /// What admission is to ask of a batch that a client built.
    #[must_use]
    pub fn admission(&self) -> AdmissionLimits {
        let options = self.options();
        let one_record = (options.topics.message_bytes_max as usize).saturating_add(RECORD_OVERHEAD_BYTES);
        let batch_bytes_max = options.publish.batch_bytes_max.max(one_record);
        AdmissionLimits { batch_bytes_max, ..AdmissionLimits::default() }
    }

    /// What admission is to ask of a batch for this topic: its own limit holds where it has one, whatever the broker's.
    #[must_use]
    pub fn admission_to(&self, topic: &TopicHandle) -> AdmissionLimits {
        let limits = self.admission();
        let settings = &topic.topic().settings;
        let own = settings.batch_bytes_max.map(|own| (own as usize).min(BATCH_BYTES_MAX));
        // Where records bear the broker's time nobody looks at their own.
        let are_producers = settings.timestamp_type != Some(TimestampType::LogAppendTime);
        AdmissionLimits {
            batch_bytes_max: own.unwrap_or(limits.batch_bytes_max),
            timestamp_after_max_ms: settings.timestamp_after_max_ms.filter(|_| are_producers),
            timestamp_before_max_ms: settings.timestamp_before_max_ms.filter(|_| are_producers),
        }
    }

    /// The largest value that a record in a batch a client built may have, in bytes; `None` where only the batch's size
    /// counts, because that is what the topic limits.
    pub(super) fn value_bytes_max(&self, topic: &TopicHandle) -> Option<usize> {
        let settings = &topic.topic().settings;
        let is_left_to_batches = settings.batch_bytes_max.is_some() && settings.message_bytes_max.is_none();
        (!is_left_to_batches).then(|| self.message_bytes_max(topic))
    }

    /// The largest value a record of this topic may have, in bytes.
    #[must_use]
    pub fn message_bytes_max(&self, topic: &TopicHandle) -> usize {
        let limit = self.options().topics.message_bytes_max;
        topic.topic().settings.message_bytes_max.map_or(limit, |own| limit.min(own)) as usize
    }
}

/// Takes note of what publishes show of their publishers' clocks, and warns of one that is far off.
fn note_skew(topic: &TopicName, skew: &TopicSkew, seen: &Seen, clock: &SharedClock, now: Timestamp) {
    if let Some(skew) = skew.note(seen, clock, now) {
        let (least_ms, greatest_ms) = (skew.min_ms, skew.max_ms);
        tracing::warn!(%topic, least_ms, greatest_ms, limit_ms = SKEW_MS_MAX, "a publisher's clock is far from the broker's");
    }
}
