//! Topics the broker keeps for itself: in the metadata like any other, but nobody else's to create, change or delete.

use std::sync::Arc;
use std::sync::mpsc;

use uuid::Uuid;

use super::Broker;
use super::error::BrokerError;
use super::metadata::{CreateTopic, TopicSettings};
use super::topic::TopicHandle;
use super::topic_commands::CommandReply;
use crate::replica::{SyncPolicy, Work};
use crate::types::{Timestamp, TopicId, TopicName};

/// What a topic of the broker's own is to be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InternalTopic {
    /// How many partitions it gets; one that is there already keeps what it has.
    pub partitions: u32,
    /// When its partitions sync. Given anew at every start: it is not in the metadata.
    pub sync: SyncPolicy,
    /// Whether only the newest record of each key is kept. Given anew at every start, too.
    pub is_compacted: bool,
}

impl Broker {
    /// The topic the broker keeps for itself under this name, made where it is not there yet, and durable when this
    /// returns. Blocks on files. Whatever `__meta` needs done for it is done here, so that it works while nobody runs
    /// the work queue.
    ///
    /// # Errors
    /// [`BrokerError`] where it is not there and cannot be made.
    ///
    /// # Panics
    /// Where the name is a user's.
    pub fn ensure_internal_topic(
        self: &Arc<Self>,
        name: &TopicName,
        wanted: InternalTopic,
        now: Timestamp,
    ) -> Result<Arc<TopicHandle>, BrokerError> {
        assert!(name.is_internal(), "'{name}' is no name of the broker's own");
        if self.topic(name).is_err() {
            self.make_internal_topic(name, wanted.partitions, now)?;
        }
        let handle = self.topic(name)?;
        for partition in handle.open_partitions() {
            let options = self.options.internal_options(wanted.sync);
            partition.set_options(if wanted.is_compacted { self.options.compacted(options) } else { options });
        }
        Ok(handle)
    }

    fn make_internal_topic(
        self: &Arc<Self>,
        name: &TopicName,
        partitions: u32,
        now: Timestamp,
    ) -> Result<(), BrokerError> {
        let (done, result) = mpsc::channel();
        let reply = CommandReply::new(move |made| {
            let _gone = done.send(made);
        });
        let create = CreateTopic {
            topic: name.clone(),
            topic_id: internal_topic_id(self.directory.id(), name),
            partitions,
            created_at: now,
            settings: TopicSettings::default(),
        };
        self.create(create, now, reply);
        // Threads of the queue may do it as well: whoever comes second finds nothing to do.
        self.meta_partition.run(Work::Write, now);
        self.meta_partition.run(Work::Sync, now);
        let lost = BrokerError::StorageFailed("the metadata gave no answer".into());
        result.recv().unwrap_or(Err(lost)).map(|_| ())
    }
}

/// The id of an internal topic: the same for every attempt to make it, another one in every data directory.
fn internal_topic_id(directory: Uuid, name: &TopicName) -> TopicId {
    let mixed = name.as_str().bytes().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0100_0000_0000_0000_0000_013b)
    });
    TopicId::new(Uuid::from_u128(directory.as_u128() ^ mixed))
}
