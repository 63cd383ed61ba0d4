//! How a subscriber works.

use std::time::Duration;

use crate::client::{ClientError, ClientOptions};
use crate::protocol::native::StartAt;
use crate::types::PartitionIndex;

/// Which partitions of the topic to read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Partitions {
    /// All, those that are added later included.
    #[default]
    All,
    /// These.
    Only(Vec<PartitionIndex>),
}

/// What is promised where the subscriber, or its process, ends in the midst of its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeliveryMode {
    /// The broker moves the kept position (where there is a client id) before it sends: what was sent and not dealt
    /// with is not seen again.
    #[default]
    AtMostOnce,
    /// The position moves by [`super::Subscriber::commit`] alone: what was not committed is seen again by whoever
    /// starts at [`StartAt::Committed`] under the same client id.
    AtLeastOnce,
}

/// What to do where records that were to come next are no longer kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutOfRange {
    /// Go on with the oldest there is; a warning is logged, and [`super::Subscriber::skipped`] counts.
    #[default]
    Earliest,
    /// Go on with the next to come; a warning is logged, and [`super::Subscriber::skipped`] counts.
    Latest,
    /// The stream ends with [`ClientError::RecordsGone`].
    Fail,
}

/// How a [`super::Subscriber`] works.
#[derive(Debug, Clone)]
pub struct SubscriberOptions {
    /// The broker, and the client id under which positions are kept.
    pub client: ClientOptions,
    /// Which partitions to read.
    pub partitions: Partitions,
    /// Where to start in each. Partitions that are added later are read from their beginning, or from the committed
    /// position where that is asked for.
    pub start: StartAt,
    /// What is promised.
    pub mode: DeliveryMode,
    /// What to do where records are no longer kept.
    pub out_of_range: OutOfRange,
    /// Bytes of batches received ahead of the reader, of all partitions together; a larger batch comes alone.
    pub buffer_bytes: u32,
    /// How often new partitions are looked for.
    pub metadata_refresh: Duration,
    /// How often positions given to [`super::Subscriber::commit_async`] are sent.
    pub commit_interval: Duration,
    /// The longest first wait before a lost connection is tried again; it doubles with each failure. The wait itself is
    /// drawn between nothing and that.
    pub retry_backoff: Duration,
    /// The longest wait before a lost connection is tried again.
    pub retry_backoff_max: Duration,
}

impl Default for SubscriberOptions {
    /// All partitions from their beginning, at most once.
    fn default() -> SubscriberOptions {
        SubscriberOptions {
            client: ClientOptions::default(),
            partitions: Partitions::All,
            start: StartAt::Begin,
            mode: DeliveryMode::AtMostOnce,
            out_of_range: OutOfRange::Earliest,
            buffer_bytes: 16 << 20,
            metadata_refresh: Duration::from_secs(30),
            commit_interval: Duration::from_secs(1),
            retry_backoff: Duration::from_millis(100),
            retry_backoff_max: Duration::from_secs(5),
        }
    }
}

impl SubscriberOptions {
    pub(super) fn check(&self) -> Result<(), ClientError> {
        let invalid = |text: &str| Err(ClientError::InvalidOptions(text.to_owned()));
        if self.client.client_id.is_none() && self.start == StartAt::Committed {
            return invalid("to start at the committed position takes a client_id, under which it is kept");
        }
        if self.client.client_id.is_none() && self.mode == DeliveryMode::AtLeastOnce {
            return invalid("at least once takes a client_id, under which the position is kept");
        }
        if self.partitions == Partitions::Only(Vec::new()) {
            return invalid("there is no partition to read");
        }
        Ok(())
    }
}
