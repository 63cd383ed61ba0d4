//! Records as readers of batches receive them: slices of the batch they came in.

use bytes::Bytes;

use super::clock;
use super::error::ClientError;
use crate::record::{Batch, RecordHeader, RecordSlices, Records, STAMP_HEADER, verify};
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

/// One record, where it lies in the memory it came in: for those who look at each once. See [`Record`].
#[derive(Debug, Clone, Copy)]
pub struct RecordView<'a> {
    source: &'a Source,
    parts: RecordSlices<'a>,
}

/// What the records of a batch have in common.
#[derive(Debug)]
struct Source {
    topic: TopicName,
    partition: PartitionIndex,
    stamp: Option<Stamp>,
}

impl<'a> RecordView<'a> {
    /// Its topic.
    #[must_use]
    pub fn topic(&self) -> &'a TopicName {
        &self.source.topic
    }

    /// Its partition.
    #[must_use]
    pub fn partition(&self) -> PartitionIndex {
        self.source.partition
    }

    /// Its offset in the partition.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.parts.offset
    }

    /// Its time.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.parts.timestamp
    }

    /// Its key, if it has one.
    #[must_use]
    pub fn key(&self) -> Option<&'a [u8]> {
        self.parts.key
    }

    /// Its value; `None` is a tombstone.
    #[must_use]
    pub fn value(&self) -> Option<&'a [u8]> {
        self.parts.value
    }

    /// Its headers, in order; names may repeat. The one that holds a stamp is not among them.
    pub fn headers(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        self.parts.headers().filter(|(name, _)| *name != STAMP_HEADER)
    }

    /// The stamp of the batch it was published in; none where that has none.
    #[must_use]
    pub fn stamp(&self) -> Option<Stamp> {
        self.source.stamp
    }

    /// The record with its parts copied: keeping it keeps nothing else.
    #[must_use]
    pub fn to_record(&self) -> Record {
        let header = |(key, value): (&[u8], Option<&[u8]>)| RecordHeader {
            key: Bytes::copy_from_slice(key),
            value: value.map(Bytes::copy_from_slice),
        };
        Record {
            topic: self.source.topic.clone(),
            partition: self.source.partition,
            offset: self.offset(),
            timestamp: self.timestamp(),
            key: self.key().map(Bytes::copy_from_slice),
            value: self.value().map(Bytes::copy_from_slice),
            headers: self.headers().map(header).collect(),
            stamp: self.source.stamp,
        }
    }
}

/// Takes the records out of whole batches, one after another; ends after an error.
#[derive(Debug)]
pub(super) struct BatchReader {
    source: Source,
    rest: Bytes,
    current: Option<Records>,
    /// The next offset wanted: what lies below is skipped.
    next_offset: Offset,
    /// The end of the batch being read.
    batch_end: Offset,
    is_damaged: bool,
}

impl BatchReader {
    pub(super) fn new(topic: TopicName, partition: PartitionIndex, batches: Bytes, from: Offset) -> BatchReader {
        BatchReader {
            source: Source { topic, partition, stamp: None },
            rest: batches,
            current: None,
            next_offset: from,
            batch_end: from,
            is_damaged: false,
        }
    }

    /// The partition, and the next offset to be handed out.
    pub(super) fn place(&self) -> (PartitionIndex, Offset) {
        (self.source.partition, self.next_offset)
    }

    /// Makes the next record ready, where there is one.
    #[inline]
    pub(super) fn advance(&mut self) -> Result<bool, ClientError> {
        if self.current.as_ref().is_some_and(Records::has_more) {
            return Ok(true);
        }
        if self.is_damaged {
            return Ok(false);
        }
        self.open_next().inspect_err(|_| self.is_damaged = true)
    }

    fn open_next(&mut self) -> Result<bool, ClientError> {
        loop {
            if let Some(records) = &self.current {
                if records.has_more() {
                    return Ok(true);
                }
                self.current = None;
                self.next_offset = self.next_offset.max(self.batch_end);
            }
            if self.rest.is_empty() {
                return Ok(false);
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
            let mut records = batch.records()?.without_stamps();
            self.source.stamp = records.stamp();
            self.source.stamp.into_iter().for_each(clock::read);
            records.skip_below(self.next_offset)?;
            self.current = Some(records);
        }
    }

    /// The record that [`BatchReader::advance`] made ready, where it lies; an error is the last.
    #[inline(always)]
    pub(super) fn view(&mut self) -> Option<Result<RecordView<'_>, ClientError>> {
        match self.current.as_mut()?.next_slices()? {
            Ok(parts) => {
                self.next_offset = parts.offset.plus(1);
                Some(Ok(RecordView { source: &self.source, parts }))
            }
            Err(error) => {
                self.is_damaged = true;
                Some(Err(error.into()))
            }
        }
    }

    /// The same record, to be kept.
    #[inline]
    pub(super) fn record(&mut self) -> Option<Result<Record, ClientError>> {
        match self.current.as_mut()?.next()? {
            Ok(record) => {
                self.next_offset = record.offset.plus(1);
                Some(Ok(Record {
                    topic: self.source.topic.clone(),
                    partition: self.source.partition,
                    offset: record.offset,
                    timestamp: record.timestamp,
                    key: record.key,
                    value: record.value,
                    headers: record.headers,
                    stamp: self.source.stamp,
                }))
            }
            Err(error) => {
                self.is_damaged = true;
                Some(Err(error.into()))
            }
        }
    }
}

impl Iterator for BatchReader {
    type Item = Result<Record, ClientError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self.advance() {
            Ok(true) => self.record(),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        }
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
    fn a_record_is_the_same_where_it_lies() {
        let topic = TopicName::new("t").expect("a name");
        for compression in Compression::ALL {
            let options = BuilderOptions { compression, is_stamped: true, ..BuilderOptions::default() };
            let mut builder = BatchBuilder::new(options);
            let headers = [(&b"h"[..], None), (b"h", Some(&b"v"[..]))];
            for (index, count) in [0, 2, 1].into_iter().enumerate() {
                let time = Timestamp::from_millis(7 + index as i64);
                let key = (index != 1).then_some(&b"key"[..]);
                builder.append(time, key, Some(b"value"), &headers[..count]).expect("fits");
            }
            builder.append(Timestamp::from_millis(5), Some(b"gone"), None, &[]).expect("fits");
            builder.set_stamp(Stamp::from_u64(0x0100_0007));
            let bytes = builder.finish_bytes().expect("records").freeze();
            let read = || BatchReader::new(topic.clone(), PartitionIndex(2), bytes.clone(), Offset::ZERO);
            let kept: Vec<Record> = read().map(|record| record.expect("whole")).collect();
            let mut reader = read();
            let mut seen = Vec::new();
            while reader.advance().expect("whole") {
                let view = reader.view().expect("ready").expect("whole");
                assert_eq!(view.topic(), &topic);
                seen.push(view.to_record());
            }
            assert_eq!((seen.len(), &seen), (4, &kept));
            assert_eq!(kept[1].headers.len(), 2);
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
        assert!(!reader.advance().expect("told before"));
    }
}
