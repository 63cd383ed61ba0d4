//! `partition.json`: what a partition's files alone cannot say. Replaced atomically at every roll, retention and new
//! epoch, before the change it tells of is made.

use serde::{Deserialize, Serialize};

use super::envelope::{EnvelopeError, open_envelope, seal_envelope};
use super::epochs::{EpochHistory, Gap, History};
use super::layout::segment_file_name;
use crate::types::{BatchIndex, Epoch, Offset, PartitionIndex, Timestamp, TopicId, TopicName};

/// The file's name.
pub const PARTITION_FILE: &str = "partition.json";
/// Largest `partition.json` that is read, in bytes.
pub(crate) const PARTITION_FILE_BYTES_MAX: u64 = 64 << 20;
const VERSION: u64 = 1;

/// Why a `partition.json` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PartitionFileError {
    /// The file is not there.
    #[error("missing")]
    Missing,
    /// Its envelope is damaged or newer.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Its content contradicts itself.
    #[error("{0}")]
    Content(&'static str),
}

/// What is remembered of a segment that takes no more batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedSegment {
    /// Its length in bytes; what the file holds beyond is not part of it.
    pub bytes: u64,
    /// Its largest effective timestamp, in milliseconds; -1 where it holds none.
    pub max_timestamp_ms: i64,
}

/// One segment of the partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentRecord {
    /// The offset of its first record, which names its files.
    pub base: Offset,
    /// The number of its first batch.
    pub first_batch: BatchIndex,
    /// What is known of it once it is sealed; the last segment alone is not.
    pub sealed: Option<SealedSegment>,
    /// How often compaction has rewritten it, which is part of its files' names. The last segment never was.
    pub generation: u32,
}

impl SegmentRecord {
    /// A segment that takes appends, as it begins.
    #[must_use]
    pub fn fresh(base: Offset, first_batch: BatchIndex) -> SegmentRecord {
        SegmentRecord { base, first_batch, sealed: None, generation: 0 }
    }

    /// The name of its log.
    #[must_use]
    pub fn log_name(&self) -> String {
        segment_file_name(self.base, self.generation, "log")
    }

    /// The name of its index.
    #[must_use]
    pub fn index_name(&self) -> String {
        segment_file_name(self.base, self.generation, "idx")
    }

    /// The segment's largest effective timestamp, once it is sealed.
    #[must_use]
    pub fn max_timestamp(&self) -> Option<Timestamp> {
        self.sealed.map(|sealed| Timestamp::from_millis(sealed.max_timestamp_ms))
    }
}

/// Whose a file with a segment's name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// A segment's.
    Segment,
    /// What a compaction replaced, or was interrupted in writing.
    Superseded,
    /// Nobody's.
    Nobody,
}

/// The content of `partition.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionFile {
    /// The topic's name when the partition was created.
    pub topic: TopicName,
    /// The partition within it.
    pub partition: PartitionIndex,
    /// The topic's identity, which a recreated topic does not share.
    pub topic_id: TopicId,
    /// The oldest offset kept.
    pub log_start: Offset,
    /// Epochs and gaps.
    pub history: History,
    /// The segments, oldest first; never empty, the last one not sealed.
    pub segments: Vec<SegmentRecord>,
    /// Up to where compaction has come: below lies at most one record of each key.
    pub compacted_to: Offset,
}

impl PartitionFile {
    /// The file of a partition that holds nothing yet.
    #[must_use]
    pub fn new(topic: TopicName, partition: PartitionIndex, topic_id: TopicId) -> PartitionFile {
        let first = SegmentRecord::fresh(Offset::ZERO, BatchIndex::FIRST);
        PartitionFile {
            topic,
            partition,
            topic_id,
            log_start: Offset::ZERO,
            history: History::default(),
            segments: vec![first],
            compacted_to: Offset::ZERO,
        }
    }

    /// The segment that takes appends.
    ///
    /// # Panics
    /// Never: a partition has a segment.
    #[must_use]
    pub fn active(&self) -> &SegmentRecord {
        self.segments.last().expect("a partition has a segment")
    }

    /// Whose a segment's file of this name is.
    #[must_use]
    pub fn ownership(&self, base: Offset, generation: u32) -> Ownership {
        let after = self.segments.partition_point(|record| record.base <= base);
        let Some(record) = after.checked_sub(1).map(|last| self.segments[last]) else { return Ownership::Nobody };
        if record.base == base {
            let is_its = record.generation == generation;
            return if is_its { Ownership::Segment } else { Ownership::Superseded };
        }
        // Of segments that compaction joins the first one's base remains.
        if record.generation > 0 { Ownership::Superseded } else { Ownership::Nobody }
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// Never in practice; [`PartitionFileError::Envelope`] where JSON fails.
    pub fn encode(&self) -> Result<Vec<u8>, PartitionFileError> {
        let content = Content {
            topic: self.topic.as_str().to_owned(),
            partition: self.partition.0,
            topic_id: self.topic_id,
            log_start: self.log_start.get(),
            latest_epoch: self.history.epochs.latest().map(Epoch::get),
            epochs: self.history.epochs.entries().iter().map(|(epoch, start)| (epoch.get(), start.get())).collect(),
            gaps: self.history.gaps.iter().map(|gap| (gap.from.get(), gap.to.get())).collect(),
            segments: self.segments.iter().map(SegmentContent::from).collect(),
            compacted_to: self.compacted_to.get(),
        };
        Ok(seal_envelope(VERSION, &content)?)
    }

    /// Reads the file's bytes back and checks that they do not contradict themselves.
    ///
    /// # Errors
    /// [`PartitionFileError::Envelope`] and [`PartitionFileError::Content`].
    pub fn decode(bytes: &[u8]) -> Result<PartitionFile, PartitionFileError> {
        let content: Content = open_envelope(VERSION, bytes)?;
        content.check()
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Content {
    topic: String,
    partition: u32,
    topic_id: TopicId,
    log_start: u64,
    latest_epoch: Option<i32>,
    epochs: Vec<(i32, u64)>,
    #[serde(default)]
    gaps: Vec<(u64, u64)>,
    segments: Vec<SegmentContent>,
    #[serde(skip_serializing_if = "is_zero", default)]
    compacted_to: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero<T: PartialEq + Default>(value: &T) -> bool {
    *value == T::default()
}

#[derive(Debug, Serialize, Deserialize)]
struct SegmentContent {
    base: u64,
    first_batch: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    sealed: Option<SealedSegment>,
    #[serde(skip_serializing_if = "is_zero", default)]
    generation: u32,
}

impl From<&SegmentRecord> for SegmentContent {
    fn from(record: &SegmentRecord) -> SegmentContent {
        let SegmentRecord { base, first_batch, sealed, generation } = *record;
        SegmentContent { base: base.get(), first_batch: first_batch.get(), sealed, generation }
    }
}

impl Content {
    fn check(self) -> Result<PartitionFile, PartitionFileError> {
        use PartitionFileError::Content as Wrong;
        let offset = |value: u64| Offset::new(value).ok_or(Wrong("an offset is out of range"));
        let epoch = |value: i32| Epoch::new(value).ok_or(Wrong("an epoch is not positive"));
        let mut epochs = Vec::with_capacity(self.epochs.len());
        for (number, start) in self.epochs {
            epochs.push((epoch(number)?, offset(start)?));
        }
        let latest = self.latest_epoch.map(epoch).transpose()?;
        let epochs = EpochHistory::from_entries(epochs, latest).ok_or(Wrong("the epochs do not grow"))?;
        let mut gaps = Vec::with_capacity(self.gaps.len());
        for (from, to) in self.gaps {
            gaps.push(Gap { from: offset(from)?, to: offset(to)? });
        }
        let mut segments = Vec::with_capacity(self.segments.len());
        for SegmentContent { base, first_batch, sealed, generation } in self.segments {
            let first_batch = BatchIndex::new(first_batch).ok_or(Wrong("a batch number is 0"))?;
            segments.push(SegmentRecord { base: offset(base)?, first_batch, sealed, generation });
        }
        let grow =
            segments.windows(2).all(|pair| pair[0].base < pair[1].base && pair[0].first_batch < pair[1].first_batch);
        let (last, others) = segments.split_last().ok_or(Wrong("there is no segment"))?;
        if !grow
            || last.sealed.is_some()
            || last.generation != 0
            || others.iter().any(|segment| segment.sealed.is_none())
        {
            return Err(Wrong("the segments are not in order"));
        }
        let topic = TopicName::new(&self.topic).map_err(|_| Wrong("the topic's name is invalid"))?;
        let log_start = offset(self.log_start)?;
        let history = History { epochs, gaps };
        let partition = PartitionIndex(self.partition);
        let compacted_to = offset(self.compacted_to)?;
        Ok(PartitionFile { topic, partition, topic_id: self.topic_id, log_start, history, segments, compacted_to })
    }
}
