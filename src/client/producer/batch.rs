//! One batch of a producer, from its first record to its last attempt.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::delivery::{Outcome, Stored};
use crate::client::{ClientError, clock};
use crate::record::{BatchBuilder, BuilderOptions, ProducerStamp, restamp};
use crate::types::Timestamp;

/// A batch and who waits for it.
#[derive(Debug)]
pub(super) struct Batch {
    /// Counted up as batches are begun: of two of a partition, the smaller comes first.
    pub(super) id: u64,
    pub(super) created: Instant,
    /// The same, for the records.
    pub(super) time: Timestamp,
    /// Bytes of the buffer it takes.
    pub(super) reserved: usize,
    /// Whether an attempt was never answered, so that it may be stored.
    pub(super) is_in_doubt: bool,
    /// What it is, or is to be, stamped with; kept over attempts, so that the broker knows it again.
    pub(super) stamp: Option<ProducerStamp>,
    /// How many were numbered before it in its partition.
    pub(super) place: u64,
    pub(super) outcome: Arc<Outcome>,
    records_count: u32,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Open(BatchBuilder),
    Sealed { bytes: Bytes, stamp: Option<ProducerStamp> },
}

impl Batch {
    /// A batch without records, to be built in an empty buffer.
    pub(super) fn new(
        id: u64,
        (created, time): (Instant, Timestamp),
        options: BuilderOptions,
        buffer: BytesMut,
    ) -> Batch {
        Batch {
            id,
            created,
            time,
            reserved: 0,
            is_in_doubt: false,
            stamp: None,
            place: 0,
            outcome: Arc::new(Outcome::default()),
            records_count: 0,
            content: Content::Open(BatchBuilder::new_in(options, buffer)),
        }
    }

    /// The builder, until the batch is sealed.
    pub(super) fn builder(&mut self) -> Option<&mut BatchBuilder> {
        match &mut self.content {
            Content::Open(builder) => Some(builder),
            Content::Sealed { .. } => None,
        }
    }

    /// Bytes so far, before compression.
    pub(super) fn bytes_len(&self) -> usize {
        match &self.content {
            Content::Open(builder) => builder.bytes_len(),
            Content::Sealed { bytes, .. } => bytes.len(),
        }
    }

    pub(super) fn records_count(&self) -> u32 {
        match &self.content {
            Content::Open(builder) => builder.records_count(),
            Content::Sealed { .. } => self.records_count,
        }
    }

    /// The bytes to be sent, under the present stamp.
    pub(super) fn seal(&mut self) -> Result<Bytes, ClientError> {
        match &mut self.content {
            Content::Open(builder) => {
                self.records_count = builder.records_count();
                builder.set_producer(self.stamp);
                // Only now, when all its records are in it: sent again it is the same bytes.
                builder.set_stamp(clock::tick());
                let bytes = builder.finish_bytes()?.freeze();
                self.content = Content::Sealed { bytes: bytes.clone(), stamp: self.stamp };
                Ok(bytes)
            }
            Content::Sealed { bytes, stamp } => {
                if let Some(wanted) = self.stamp
                    && *stamp != Some(wanted)
                {
                    let mut again = bytes.to_vec();
                    restamp(&mut again, wanted)?;
                    (*bytes, *stamp) = (again.into(), Some(wanted));
                }
                Ok(bytes.clone())
            }
        }
    }

    /// Leaves it without its bytes: it is through.
    pub(super) fn take_bytes(&mut self) -> Bytes {
        match &mut self.content {
            Content::Open(_) => Bytes::new(),
            Content::Sealed { bytes, .. } => std::mem::take(bytes),
        }
    }
}

/// A batch that is through, one way or the other.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) batch: Batch,
    pub(super) result: Result<Stored, ClientError>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ProducerEpoch, ProducerId, Sequence, Stamp};

    /// The broker knows a batch again by its producer's numbers; its bytes are the same all the same.
    #[test]
    fn sent_again_it_is_the_same_bytes_and_has_the_same_stamp() {
        let options = BuilderOptions { is_stamped: true, ..BuilderOptions::default() };
        let created = (Instant::now(), Timestamp::from_millis(5));
        let mut batch = Batch::new(1, created, options, BytesMut::new());
        let builder = batch.builder().expect("open");
        builder.append(Timestamp::from_millis(5), None, Some(b"value"), &[]).expect("fits");
        let numbers = |sequence| ProducerStamp {
            id: ProducerId::new(7).expect("positive"),
            epoch: ProducerEpoch::new(0).expect("positive"),
            base_sequence: Sequence::new(sequence),
        };
        let stamp_of = |bytes: &Bytes| -> Option<Stamp> {
            crate::record::Batch::verify(bytes.clone()).expect("whole").records().expect("plain").stamp()
        };
        batch.stamp = Some(numbers(0));
        let first = batch.seal().expect("a record");
        assert!(stamp_of(&first).is_some());
        assert_eq!(batch.seal().expect("sealed"), first);
        batch.stamp = Some(numbers(3));
        let renumbered = batch.seal().expect("sealed");
        assert_ne!(renumbered, first);
        assert_eq!(stamp_of(&renumbered), stamp_of(&first));
    }
}
