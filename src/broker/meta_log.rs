//! The metadata over their log: commands on their way, applied in the order of their offsets.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::error::OpenError;
use super::metadata::{Command, Effect, Metadata};
use super::settling::{Asked, Prepared};
use crate::record::{BatchBuilder, BuilderOptions, ProducedBatch};
use crate::replica::{Partition, Read};
use crate::types::{Offset, Timestamp, TopicId, TopicName};

/// Bytes of `__meta` read at a time.
const READ_BYTES: usize = 1 << 20;

/// Metadata, and the commands appended to `__meta` that are not durable yet.
#[derive(Debug)]
pub(crate) struct MetaLog {
    pub(crate) metadata: Metadata,
    /// The next command to apply is the one at this offset.
    pub(crate) applied: Offset,
    /// Topics whose deletion was read at this start.
    pub(crate) deleted: BTreeSet<TopicId>,
    /// Commands on their way, by offset.
    in_flight: VecDeque<InFlight>,
    /// Topics that a command on its way, or one that is being prepared, will change.
    busy: BTreeSet<TopicName>,
    /// Commands applied of which the effects are not all there yet.
    settling: usize,
}

/// A command that was appended.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) end: Offset,
    pub(crate) command: Command,
    pub(crate) prepared: Option<Prepared>,
    pub(crate) asked: Asked,
}

impl MetaLog {
    pub(crate) fn new(metadata: Metadata, applied: Offset) -> MetaLog {
        let (deleted, busy) = (BTreeSet::new(), BTreeSet::new());
        MetaLog { metadata, applied, deleted, in_flight: VecDeque::new(), busy, settling: 0 }
    }

    /// Claims a topic for one command; false where another has it.
    pub(crate) fn claim(&mut self, topic: &TopicName) -> bool {
        self.busy.insert(topic.clone())
    }

    pub(crate) fn release(&mut self, topic: &TopicName) {
        self.busy.remove(topic);
    }

    /// Enters a command at the end: they come in the order of their offsets.
    pub(crate) fn push(&mut self, command: InFlight) {
        assert!(self.in_flight.back().is_none_or(|last| last.end < command.end), "commands out of order");
        self.in_flight.push_back(command);
    }

    /// Applies, in order, what is durable up to `end`.
    pub(crate) fn apply_to(&mut self, end: Offset) -> Vec<(InFlight, Effect)> {
        let mut done = Vec::new();
        while let Some(command) = self.in_flight.pop_front_if(|first| first.end <= end) {
            let effect = self.metadata.apply(&command.command);
            self.applied = command.end;
            self.settling += 1;
            done.push((command, effect));
        }
        done
    }

    /// The effects of one command that was applied are all there.
    pub(crate) fn settled(&mut self) {
        assert!(self.settling > 0, "a command settled that was not applied");
        self.settling -= 1;
    }

    /// Whether the effects of all commands applied are there. Only then may a snapshot say that they were: a start does
    /// not look again at what a snapshot holds.
    pub(crate) fn is_settled(&self) -> bool {
        self.settling == 0
    }

    /// Takes back the command that ends at `end`: it will never be durable.
    pub(crate) fn take(&mut self, end: Offset) -> Option<InFlight> {
        let place = self.in_flight.iter().position(|command| command.end == end)?;
        self.in_flight.remove(place)
    }

    /// Applies everything in the log from where the metadata stand. At start, when nothing is on its way.
    pub(crate) fn catch_up(&mut self, partition: &Arc<Partition>) -> Result<(), OpenError> {
        loop {
            // What a repair gave up has no batch that would carry the metadata over it.
            self.applied = partition.behind_gap(self.applied);
            if self.applied >= partition.offsets().high_watermark() {
                return Ok(());
            }
            let batches = match partition.read(self.applied, READ_BYTES)? {
                Read::Batches(batches) => batches,
                Read::Disk(read) => read.run()?,
            };
            for batch in batches {
                self.apply_batch(partition, &batch)?;
            }
        }
    }

    fn apply_batch(&mut self, partition: &Partition, batch: &crate::record::Batch) -> Result<(), OpenError> {
        let damaged =
            |reason: String| OpenError::MetaDamaged { dir: partition.log().files().dir().to_path_buf(), reason };
        let end = batch.header().next_offset();
        if !batch.header().attributes.is_control() {
            for record in batch.records().map_err(|error| damaged(error.to_string()))? {
                let record = record.map_err(|error| damaged(error.to_string()))?;
                if record.offset >= self.applied {
                    let command = Command::decode(&record.value.unwrap_or_else(Bytes::new))?;
                    match self.metadata.apply(&command) {
                        Effect::Deleted { topic } => {
                            self.deleted.insert(topic.id);
                        }
                        Effect::Ignored { reason } => {
                            tracing::warn!(offset = record.offset.get(), %reason, "a metadata command changed nothing");
                        }
                        Effect::Created { .. } | Effect::Altered { .. } | Effect::ProducerIds { .. } => {}
                    }
                }
            }
        }
        self.applied = end;
        Ok(())
    }
}

/// The batch that carries one command.
pub(crate) fn command_batch(command: &Command, now: Timestamp) -> Option<ProducedBatch> {
    let mut builder = BatchBuilder::new(BuilderOptions::default());
    let key = command.topic().map(|topic| topic.as_str().as_bytes());
    builder.append(now, key, Some(&command.encode()), &[]).ok()?;
    builder.finish().ok()
}
