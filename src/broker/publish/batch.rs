//! Whole record batches that a client built.

use super::error::PublishError;
use crate::broker::Broker;
use crate::record::ProducedBatch;
use crate::replica::{AckLevel, Ticket, Waiter};
use crate::types::{PartitionIndex, Timestamp, TopicName};

/// What a published batch got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The partition it went to.
    pub partition: PartitionIndex,
    /// Its offsets.
    pub ticket: Ticket,
    /// The time of all its records, where the topic's have the time they are appended at; none of a repeated batch,
    /// whose records have the time of the first attempt.
    pub append_time: Option<Timestamp>,
}

impl Broker {
    /// Appends an admitted batch: to the partition named, else to the one whose turn it is. The waiter is answered as
    /// [`Partition::append`](crate::replica::Partition::append) says. Message ids in it are not deduplicated: a client
    /// that builds batches has sequence numbers for that. What is asked of it is
    /// [`Broker::admission_to`].
    ///
    /// # Errors
    /// [`PublishError`]; nothing of the batch is then kept, and the waiter is never called.
    pub fn append_batch(
        &self,
        topic: &TopicName,
        partition: Option<PartitionIndex>,
        mut batch: ProducedBatch,
        ack: AckLevel,
        waiter: Option<Waiter>,
        now: Timestamp,
    ) -> Result<Appended, PublishError> {
        let handle = self.user_topic(topic)?;
        if let (Some(bytes), Some(bytes_max)) = (batch.largest_value_bytes(), self.value_bytes_max(&handle))
            && bytes > bytes_max
        {
            return Err(PublishError::MessageTooLarge { topic: topic.clone(), bytes, bytes_max });
        }
        if handle.needs_keys() {
            match batch.keyless() {
                Some(keyless) if keyless.is_empty() => {}
                Some(records) => return Err(PublishError::KeyMissing { topic: topic.clone(), records }),
                None => return Err(PublishError::Unreadable { topic: topic.clone() }),
            }
        }
        let index = partition.unwrap_or_else(|| handle.choose_partition(None));
        let partition = handle.partition(index)?;
        let append_time = handle.bears_append_time().then_some(now);
        if let Some(time) = append_time {
            batch.set_append_time(time);
        }
        match partition.append(batch, ack, waiter, now) {
            Ok(ticket) => {
                let append_time = append_time.filter(|_| !ticket.is_duplicate);
                Ok(Appended { partition: index, ticket, append_time })
            }
            Err(error) => Err(PublishError::append(error, &partition)),
        }
    }
}
