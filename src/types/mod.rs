//! The newtypes every layer shares: offsets, epochs, times, names and ids.
//!
//! Nothing here does I/O or knows a wire format. A bare integer never stands for one of these.

mod cleanup_policy;
mod epoch;
mod name;
mod offset;
mod partitioner;
mod producer;
mod timestamp;
#[cfg(feature = "server")]
mod topic_id;

pub use cleanup_policy::CleanupPolicy;
pub use epoch::Epoch;
pub use name::{InvalidTopicName, PartitionIndex, TopicName, TopicPartition};
pub use offset::{BatchIndex, Offset};
pub use partitioner::{murmur2, partition_for_key};
pub use producer::{ProducerEpoch, ProducerId, Sequence};
pub use timestamp::Timestamp;
#[cfg(feature = "server")]
pub use topic_id::TopicId;
