//! The last records of a topic, over all its partitions.
//!
//! Each partition is read back from its end in windows of offsets, so that a long log costs no more than a short one.

use super::error::ClientError;
use super::record::Record;
use super::topics::OffsetsQuery;
use super::{Client, FetchOptions};
use crate::protocol::native::ErrorCode;
use crate::types::{Offset, PartitionIndex, Stamp, Timestamp};

/// How often a partition is looked at again whose records went away while they were read.
const TRIES_MAX: usize = 8;

/// Which records to look back at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryOptions {
    /// How many at most: the last ones. All of them are held in memory, and as many for a moment of one partition more.
    pub count: usize,
    /// Of this partition alone.
    pub partition: Option<PartitionIndex>,
    /// From the first record of each partition that reaches this time on.
    pub from: Option<Timestamp>,
    /// Up to the first record of each partition that reaches this time, which is not among them.
    pub until: Option<Timestamp>,
}

impl HistoryOptions {
    /// The last so many records of all partitions.
    #[must_use]
    pub fn last(count: usize) -> HistoryOptions {
        HistoryOptions { count, partition: None, from: None, until: None }
    }
}

/// A record and its place in the row of all.
type Placed = ((Stamp, PartitionIndex, Offset), Record);

impl Client {
    /// The last records of a topic as it stands, the oldest first: in the order of their stamps, those of a partition in
    /// its order.
    ///
    /// # Errors
    /// [`ClientError::Refused`], and what every call may meet.
    pub async fn history(&self, topic: &str, options: &HistoryOptions) -> Result<Vec<Record>, ClientError> {
        let partitions = match options.partition {
            Some(partition) => vec![partition],
            None => self.describe_topic(topic).await?.partitions.iter().map(|described| described.partition).collect(),
        };
        let mut all: Vec<Placed> = Vec::new();
        for partition in partitions {
            let records = self.history_of(topic, partition, options).await?;
            let mut last = Stamp::ZERO;
            all.extend(records.into_iter().map(|record| {
                // Nothing counts as published before its predecessor in the partition.
                last = last.max(record.order());
                ((last, record.partition, record.offset), record)
            }));
            all.sort_unstable_by_key(|(place, _)| *place);
            all.drain(..all.len().saturating_sub(options.count));
        }
        Ok(all.into_iter().map(|(_, record)| record).collect())
    }

    /// The last records of one partition.
    async fn history_of(
        &self,
        topic: &str,
        partition: PartitionIndex,
        options: &HistoryOptions,
    ) -> Result<Vec<Record>, ClientError> {
        let (mut begin, end) = self.bounds(topic, partition, options).await?;
        let mut found: Vec<Record> = Vec::new();
        let (mut high, mut wanted, mut tries) = (end, options.count as u64, 0);
        while high > begin && found.len() < options.count {
            let low = Offset::new(high.get().saturating_sub(wanted)).unwrap_or(begin).max(begin);
            match self.between(topic, partition, low, high).await {
                Ok(mut records) => {
                    records.append(&mut found);
                    found = records;
                    high = low;
                    // Where compaction has left few of them, the next window is larger.
                    wanted = wanted.saturating_mul(2);
                }
                // Retention was faster.
                Err(error) if error.code() == Some(ErrorCode::OffsetOutOfRange) && tries < TRIES_MAX => {
                    tries += 1;
                    begin = begin.max(self.list_offsets(topic, partition, &OffsetsQuery::default()).await?.log_start);
                }
                Err(error) => return Err(error),
            }
        }
        found.drain(..found.len().saturating_sub(options.count));
        Ok(found)
    }

    /// Where a partition's records begin and end that are looked at.
    async fn bounds(
        &self,
        topic: &str,
        partition: PartitionIndex,
        options: &HistoryOptions,
    ) -> Result<(Offset, Offset), ClientError> {
        let at = |time| OffsetsQuery { time, ..OffsetsQuery::default() };
        let offsets = self.list_offsets(topic, partition, &at(options.until)).await?;
        let end = offsets.at_time.unwrap_or(offsets.high_watermark);
        let begin = match options.from {
            None => offsets.log_start,
            Some(_) => {
                let offsets = self.list_offsets(topic, partition, &at(options.from)).await?;
                offsets.at_time.unwrap_or(offsets.high_watermark)
            }
        };
        Ok((begin.min(end), end))
    }

    /// The records from one offset to before another.
    async fn between(
        &self,
        topic: &str,
        partition: PartitionIndex,
        low: Offset,
        high: Offset,
    ) -> Result<Vec<Record>, ClientError> {
        let (mut records, mut next) = (Vec::new(), low);
        while next < high {
            let fetched = self.fetch(topic, partition, next, FetchOptions::default()).await?;
            records.extend(fetched.records.into_iter().filter(|record| record.offset < high));
            if fetched.next_offset <= next {
                break;
            }
            next = fetched.next_offset;
        }
        Ok(records)
    }
}
