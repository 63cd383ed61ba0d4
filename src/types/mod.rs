//! The newtypes every layer shares: offsets, epochs, times, names and ids.
//!
//! Nothing here does I/O or knows a wire format. A bare integer never stands for one of these.

mod cleanup_policy;
mod epoch;
mod hybrid_clock;
mod name;
mod offset;
mod partitioner;
mod producer;
mod stamp;
mod timestamp;
mod timestamp_type;
#[cfg(feature = "server")]
mod topic_id;

pub use cleanup_policy::CleanupPolicy;
pub use epoch::Epoch;
pub use hybrid_clock::{HybridClock, Observed, SharedClock};
pub use name::{InvalidTopicName, PartitionIndex, TopicName, TopicPartition};
pub use offset::{BatchIndex, Offset};
pub use partitioner::{murmur2, partition_for_key};
pub use producer::{ProducerEpoch, ProducerId, Sequence};
pub use stamp::{STAMP_AHEAD_MS_MAX, Stamp};
pub use timestamp::Timestamp;
pub use timestamp_type::TimestampType;
#[cfg(feature = "server")]
pub use topic_id::TopicId;
