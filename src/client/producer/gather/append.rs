//! A record on its way into the open batch of its partition, under the lock.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::{ENDED, Limits, State};
use crate::client::ClientError;
use crate::client::connection::now;
use crate::client::producer::batch::Batch;
use crate::client::producer::delivery::Delivery;
use crate::client::producer::options::ProducerRecord;
use crate::record::{BuilderOptions, HEADER_BYTES, STAMP_HEADER_BYTES};
use crate::types::Timestamp;

/// Records of a batch that lingers no longer than this have the time of the first: their own is hardly another.
const LINGER_OF_ONE_TIME_MAX: Duration = Duration::from_millis(2);

impl State {
    /// Writes a record into the open batch of its queue; begins one where there is none, or it would grow too large.
    pub(super) fn append(
        &mut self,
        index: usize,
        record: &ProducerRecord,
        bytes: usize,
        limit: usize,
        limits: &Limits,
        wake: &Notify,
    ) -> Result<Delivery, ClientError> {
        let queue = &mut self.queues[index];
        let fits = |batch: &Batch| !queue.is_full && batch.bytes_len() + bytes <= limit;
        let mut wakes = false;
        if !queue.batches.back().is_some_and(fits) {
            // The one before is as full as it gets.
            wakes = !queue.batches.is_empty();
            // Somewhat more than the one before took, but no more than any may take.
            let capacity = (2 * queue.capacity).min(limit).max(bytes + HEADER_BYTES + STAMP_HEADER_BYTES);
            let options =
                BuilderOptions { compression: limits.compression, producer: None, capacity, is_stamped: true };
            let batch = Batch::new(self.next_id, (Instant::now(), now()), options, self.spare.take());
            if limits.linger.is_zero() {
                wakes = true;
            } else {
                wakes |= self.lingering.is_empty();
                self.lingering.push_back((batch.created + limits.linger, index, batch.id));
            }
            self.next_id += 1;
            self.outstanding.insert(batch.id);
            queue.batches.push_back(batch);
            (queue.is_due, queue.is_full) = (limits.linger.is_zero(), false);
        }
        let Some(batch) = queue.batches.back_mut() else { return Err(ENDED) };
        let place = batch.records_count();
        let shares_time = !queue.is_due && limits.linger <= LINGER_OF_ONE_TIME_MAX;
        let timestamp = record.timestamp.unwrap_or_else(|| if shares_time { batch.time } else { now() });
        if let Err(error) = fill(batch, record, timestamp) {
            if place == 0 {
                self.outstanding.remove(&batch.id);
                queue.batches.pop_back();
                queue.tidy();
            }
            return Err(error);
        }
        batch.reserved += bytes;
        self.buffered_bytes += bytes;
        let delivery = Delivery::new(Arc::clone(&batch.outcome), place);
        if batch.bytes_len() >= limit || place + 1 >= limits.batch_records {
            (queue.is_due, queue.is_full) = (true, true);
            wakes = true;
        }
        if wakes {
            self.ready.push(index);
            wake.notify_one();
        }
        Ok(delivery)
    }
}

fn fill(batch: &mut Batch, record: &ProducerRecord, timestamp: Timestamp) -> Result<(), ClientError> {
    let Some(builder) = batch.builder() else { return Err(ENDED) };
    let (key, value) = (record.key.as_deref(), record.value.as_deref());
    if record.headers.is_empty() {
        return Ok(builder.append(timestamp, key, value, &[])?);
    }
    let headers: Vec<_> = record.headers.iter().map(|(name, value)| (&name[..], value.as_deref())).collect();
    Ok(builder.append(timestamp, key, value, &headers)?)
}
