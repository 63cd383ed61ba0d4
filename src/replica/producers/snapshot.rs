//! A committed producer as a snapshot keeps it:
//! `{"id":7,"epoch":0,"last_timestamp_ms":1700000000000,"batches":[{"base_sequence":0,"records_count":3,"base_offset":12}]}`,
//! batches oldest first. What makes no sense does not deserialize.

use serde::{Deserialize, Serialize};

use super::state::{ProducerState, RecentBatch};
use crate::types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

/// One committed producer. Serializes as plain numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "PlainProducer", into = "PlainProducer")]
pub struct ProducerSnapshot {
    pub(super) id: ProducerId,
    pub(super) state: ProducerState,
}

impl ProducerSnapshot {
    /// Whose state it is.
    #[must_use]
    pub fn id(&self) -> ProducerId {
        self.id
    }

    /// The base offsets of the batches it is known by, oldest first.
    pub fn batches(&self) -> impl Iterator<Item = Offset> {
        self.state.batches().iter().map(|batch| batch.base_offset)
    }

    /// Its incarnation.
    #[must_use]
    pub fn epoch(&self) -> ProducerEpoch {
        self.state.epoch()
    }

    /// The sequence of its last committed record.
    #[must_use]
    pub fn last_sequence(&self) -> Sequence {
        self.state.last_batch().last_sequence()
    }

    /// When it was last heard of, by the broker's clock.
    #[must_use]
    pub fn last_timestamp(&self) -> Timestamp {
        self.state.last_timestamp()
    }

    /// The offset after its last committed batch.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.state.last_batch().last_offset().plus(1)
    }
}

/// Why a producer of a snapshot was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("producer {id} of a snapshot: {field} is invalid")]
pub struct InvalidProducerSnapshot {
    id: i64,
    field: &'static str,
}

#[derive(Serialize, Deserialize)]
struct PlainProducer {
    id: i64,
    epoch: i16,
    last_timestamp_ms: i64,
    batches: Vec<PlainBatch>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct PlainBatch {
    base_sequence: i32,
    records_count: u32,
    base_offset: u64,
}

impl From<ProducerSnapshot> for PlainProducer {
    fn from(producer: ProducerSnapshot) -> PlainProducer {
        let plain = |batch: &RecentBatch| PlainBatch {
            base_sequence: batch.base_sequence.get(),
            records_count: batch.records_count,
            base_offset: batch.base_offset.get(),
        };
        PlainProducer {
            id: producer.id.get(),
            epoch: producer.state.epoch().get(),
            last_timestamp_ms: producer.state.last_timestamp().millis(),
            batches: producer.state.batches().iter().map(plain).collect(),
        }
    }
}

impl TryFrom<PlainProducer> for ProducerSnapshot {
    type Error = InvalidProducerSnapshot;

    fn try_from(plain: PlainProducer) -> Result<ProducerSnapshot, InvalidProducerSnapshot> {
        let invalid = |field| InvalidProducerSnapshot { id: plain.id, field };
        let id = ProducerId::new(plain.id).ok_or(invalid("id"))?;
        let epoch = ProducerEpoch::new(plain.epoch).ok_or(invalid("epoch"))?;
        let last_timestamp = Timestamp::from_millis(plain.last_timestamp_ms);
        let mut state: Option<ProducerState> = None;
        for &batch in &plain.batches {
            let batch = RecentBatch::try_from(batch).map_err(invalid)?;
            match &mut state {
                None => state = Some(ProducerState::of(epoch, last_timestamp, batch)),
                Some(state) => {
                    let last = state.last_batch();
                    let follows = last.next_sequence() == batch.base_sequence && last.last_offset() < batch.base_offset;
                    if !follows {
                        return Err(invalid("order of batches"));
                    }
                    state.push(batch);
                }
            }
        }
        let state = state.ok_or(invalid("batches"))?;
        Ok(ProducerSnapshot { id, state })
    }
}

impl TryFrom<PlainBatch> for RecentBatch {
    type Error = &'static str;

    fn try_from(plain: PlainBatch) -> Result<RecentBatch, &'static str> {
        if plain.records_count == 0 {
            return Err("records_count");
        }
        Ok(RecentBatch {
            base_sequence: Sequence::new(plain.base_sequence).ok_or("base_sequence")?,
            records_count: plain.records_count,
            base_offset: Offset::new(plain.base_offset).ok_or("base_offset")?,
        })
    }
}
