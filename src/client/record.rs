//! Records as readers of batches receive them: slices of the batch they came in.

use bytes::Bytes;

use super::clock;
use super::error::ClientError;
use crate::record::{Batch, RecordHeader, Records, verify};
use crate::types::{Offset, PartitionIndex, Stamp, Timestamp, TopicName};

/// One record. Key, value and headers are slices of the memory it came in: keeping one keeps its batch, and those read
/// with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its topic.
    pub topic: TopicName,
    /// Its partition.
    pub partition: PartitionIndex,
    /// Its offset in the partition.
    pub offset: Offset,
    /// Its time.
    pub timestamp: Timestamp,
    /// Its key, if it has one.
    pub key: Option<Bytes>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Its headers, in order; names may repeat. The one that holds a stamp is not among them.
    pub headers: Vec<RecordHeader>,
    /// The stamp of the batch it was published in; none where that has none.
    pub stamp: Option<Stamp>,
}

impl Record {
    /// When it was published, as far as can be told: its stamp, or else the first of its timestamp's millisecond.
    #[must_use]
    pub fn order(&self) -> Stamp {
        self.stamp.unwrap_or_else(|| Stamp::first_of(self.timestamp))
    }
}

/// Takes the records out of whole batches, one after another; ends after an error.
#[derive(Debug)]
pub(super) struct BatchReader {
    topic: TopicName,
    partition: PartitionIndex,
    rest: Bytes,
    current: Option<Records>,
    /// Of the batch being read.
    stamp: Option<Stamp>,
    /// The next offset wanted: what lies below is skipped.
    next_offset: Offset,
    /// The end of the batch being read.
    batch_end: Offset,
    is_damaged: bool,
}

impl BatchReader {
    pub(super) fn new(topic: TopicName, partition: PartitionIndex, batches: Bytes, from: Offset) -> BatchReader {
        BatchReader {
            topic,
            partition,
            rest: batches,
            current: None,
            stamp: None,
            next_offset: from,
            batch_end: from,
            is_damaged: false,
        }
    }

    /// The partition, and the next offset to be handed out.
    pub(super) fn place(&self) -> (PartitionIndex, Offset) {
        (self.partition, self.next_offset)
    }

    #[inline]
    fn read(&mut self) -> Result<Option<Record>, ClientError> {
        loop {
            if let Some(records) = &mut self.current {
                match records.next() {
                    Some(record) => {
                        let record = record?;
                        if record.offset < self.next_offset {
                            continue;
                        }
                        self.next_offset = record.offset.plus(1);
                        return Ok(Some(self.own(record)));
                    }
                    None => {
                        self.current = None;
                        self.next_offset = self.next_offset.max(self.batch_end);
                    }
                }
            }
            if self.rest.is_empty() {
                return Ok(None);
            }
            let header = verify(&self.rest)?;
            let batch = Batch::from_verified(self.rest.split_to(header.total_bytes), header);
            self.batch_end = header.next_offset();
            if self.batch_end <= self.next_offset {
                continue;
            }
            if header.attributes.is_control() {
                self.next_offset = self.batch_end;
                continue;
            }
            let records = batch.records()?.without_stamps();
            self.stamp = records.stamp();
            self.stamp.into_iter().for_each(clock::read);
            self.current = Some(records);
        }
    }

    #[inline]
    fn own(&self, record: crate::record::Record) -> Record {
        Record {
            topic: self.topic.clone(),
            partition: self.partition,
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key,
            value: record.value,
            headers: record.headers,
            stamp: self.stamp,
        }
    }
}

impl Iterator for BatchReader {
    type Item = Result<Record, ClientError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.is_damaged {
            return None;
        }
        let read = self.read();
        self.is_damaged = read.is_err();
        read.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{BatchBuilder, BuilderOptions, Compression};

    /// Offsets below 10 batches of `counts` records each.
    fn batches(compression: Compression, counts: &[u64]) -> Bytes {
        let options = BuilderOptions { compression, ..BuilderOptions::default() };
        let (mut bytes, mut offset) = (Vec::new(), 0_u64);
        for count in counts {
            let mut builder = BatchBuilder::new(options);
            for index in 0..*count {
                let value = format!("{}", offset + index);
                builder.append(Timestamp::from_millis(1), None, Some(value.as_bytes()), &[]).expect("fits");
            }
            let mut batch = builder.finish_bytes().expect("records");
            batch[..8].copy_from_slice(&offset.to_be_bytes());
            bytes.extend_from_slice(&batch);
            offset += count;
        }
        bytes.into()
    }

    #[test]
    fn every_record_from_the_offset_on_once() {
        let topic = TopicName::new("t").expect("a name");
        for compression in Compression::ALL {
            let bytes = batches(compression, &[3, 1, 6]);
            for from in 0..12 {
                let from = Offset::new(from).expect("small");
                let mut reader = BatchReader::new(topic.clone(), PartitionIndex(2), bytes.clone(), from);
                let offsets: Vec<u64> = reader.by_ref().map(|r| r.expect("whole").offset.get()).collect();
                assert_eq!(offsets, (from.get()..10).collect::<Vec<_>>());
                assert_eq!(reader.next_offset.get(), from.get().max(10));
            }
        }
    }

    #[test]
    fn damage_is_told_once() {
        let topic = TopicName::new("t").expect("a name");
        let mut bytes = batches(Compression::None, &[2, 2]).to_vec();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        let mut reader = BatchReader::new(topic, PartitionIndex(0), bytes.into(), Offset::ZERO);
        assert!(reader.next().is_some_and(|r| r.is_ok()) && reader.next().is_some_and(|r| r.is_ok()));
        assert!(matches!(reader.next(), Some(Err(ClientError::DamagedBatch(_)))));
        assert!(reader.next().is_none());
    }
}
