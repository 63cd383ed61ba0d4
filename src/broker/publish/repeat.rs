//! A record that was published before, and waiting until that can be told.

use std::sync::Arc;
use std::task::{Poll, Waker};

use super::error::PublishError;
use crate::broker::TopicHandle;
use crate::broker::dedup::{KnownRecord, LoadTask, TopicIds};
use crate::replica::{AckLevel, Partition, Waiter};
use crate::types::{Offset, PartitionIndex, TopicName};

/// A record whose id was published before.
#[derive(Debug)]
pub struct Repeat {
    topic: Arc<TopicHandle>,
    partition: Arc<Partition>,
    id: Box<str>,
    record: KnownRecord,
}

/// What must happen before a record with an id can be added.
#[derive(Debug)]
pub enum Wait {
    /// The topic's ids must be loaded: run this where blocking on files is allowed.
    Load(LoadTask),
    /// Somebody else does it: poll this.
    Other(WaitForOther),
}

/// A wait for what somebody else does.
#[derive(Debug)]
pub struct WaitForOther {
    ids: Arc<TopicIds>,
    /// The id under way; `None` waits for the topic's ids to be loaded.
    id: Option<Box<str>>,
}

impl Repeat {
    pub(super) fn new(topic: &Arc<TopicHandle>, id: &str, record: KnownRecord) -> Result<Repeat, PublishError> {
        let partition = topic.partition(record.partition)?;
        Ok(Repeat { topic: Arc::clone(topic), partition, id: id.into(), record })
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &TopicName {
        &self.topic.topic().name
    }

    /// The partition of the first.
    #[must_use]
    pub fn partition(&self) -> PartitionIndex {
        self.record.partition
    }

    /// The offset of the first.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.record.offset
    }

    /// Answers the waiter, with the offset of the first, once the first has what `ack` asks for. `false` where it is not
    /// stored after all: its id is then forgotten, the waiter is never called, and the record is to be added again.
    ///
    /// # Errors
    /// [`PublishError`]; the waiter is then never called.
    pub fn wait_for(&self, ack: AckLevel, waiter: Option<Waiter>) -> Result<bool, PublishError> {
        let KnownRecord { offset, epoch, .. } = self.record;
        let is_stored = self.partition.wait_for(offset, epoch, ack, waiter).map_err(PublishError::Append)?;
        if let (false, Some(ids)) = (is_stored, self.topic.dedup()) {
            ids.forget(&self.id, self.record);
        }
        Ok(is_stored)
    }
}

impl Wait {
    pub(super) fn for_id(ids: &Arc<TopicIds>, id: &str) -> Wait {
        Wait::Other(WaitForOther { ids: Arc::clone(ids), id: Some(id.into()) })
    }

    pub(super) fn for_loading(ids: &Arc<TopicIds>) -> Wait {
        Wait::Other(WaitForOther { ids: Arc::clone(ids), id: None })
    }
}

impl WaitForOther {
    /// Ready once the record is to be added again; the waker is called when that may be so.
    pub fn poll(&self, waker: &Waker) -> Poll<()> {
        match &self.id {
            Some(id) => self.ids.poll_settled(id, waker),
            None => self.ids.poll_loaded(waker),
        }
    }
}
