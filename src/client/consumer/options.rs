//! How a consumer works.

use std::time::Duration;

use crate::client::{ClientError, ClientOptions};
use crate::protocol::native::StartAt;

/// What is promised where a consumer, or its process, ends in the midst of its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConsumerMode {
    /// The group's position moves before records are handed out: no record is handed out twice, to whichever member; what
    /// was handed out and not dealt with is not seen again.
    #[default]
    AtMostOnce,
    /// The group's position moves with the next poll: what was handed out and not dealt with is seen again.
    AtLeastOnce,
    /// The group's position moves by [`super::Consumer::commit`] alone: what was not committed is seen again.
    Manual,
}

/// How a [`super::Consumer`] works.
#[derive(Debug, Clone)]
pub struct ConsumerOptions {
    /// The broker, and the client id that it shows the member with.
    pub client: ClientOptions,
    /// What is promised.
    pub mode: ConsumerMode,
    /// Where to start in a partition in which the group has no position yet: [`StartAt::End`], [`StartAt::Begin`] or
    /// [`StartAt::Time`]. Partitions that are added later are read from their beginning.
    pub start: StartAt,
    /// How long a poll waits for a record where none is there.
    pub poll_timeout: Duration,
    /// Records of a poll at most.
    pub poll_records: usize,
    /// Bytes of keys and values at which a poll takes no further record.
    pub poll_bytes: usize,
    /// How long the group keeps the place of a member that gives no sign of life, 1 s to 300 s.
    pub session_timeout: Duration,
    /// How long the group waits for a member to finish what it is to hand over to another. The consumer gives up what was
    /// handed out and not dealt with after half of it. 1 s to an hour.
    pub rebalance_timeout: Duration,
    /// Bytes of batches received ahead of the polls, of all partitions together; a larger batch comes alone.
    pub buffer_bytes: u32,
    /// The longest first wait before a lost connection is tried again; it doubles with each failure. The wait itself is
    /// drawn between nothing and that.
    pub retry_backoff: Duration,
    /// The longest wait before a lost connection is tried again.
    pub retry_backoff_max: Duration,
}

impl Default for ConsumerOptions {
    /// From the end on, at most once.
    fn default() -> ConsumerOptions {
        ConsumerOptions {
            client: ClientOptions::default(),
            mode: ConsumerMode::AtMostOnce,
            start: StartAt::End,
            poll_timeout: Duration::from_secs(1),
            poll_records: 500,
            poll_bytes: 4 << 20,
            session_timeout: Duration::from_secs(10),
            rebalance_timeout: Duration::from_secs(30),
            buffer_bytes: 16 << 20,
            retry_backoff: Duration::from_millis(100),
            retry_backoff_max: Duration::from_secs(2),
        }
    }
}

impl ConsumerOptions {
    pub(super) fn check(&self) -> Result<(), ClientError> {
        let invalid = |text: &str| Err(ClientError::InvalidOptions(text.to_owned()));
        if matches!(self.start, StartAt::Offset(_) | StartAt::Committed) {
            return invalid("a group without a position starts at the beginning, at the end, or at a time");
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(300)).contains(&self.session_timeout) {
            return invalid("session_timeout lies between 1 s and 300 s");
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(3_600)).contains(&self.rebalance_timeout) {
            return invalid("rebalance_timeout lies between 1 s and an hour");
        }
        if self.poll_records == 0 {
            return invalid("poll_records cannot be 0");
        }
        Ok(())
    }
}
