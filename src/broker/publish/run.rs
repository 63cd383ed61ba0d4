//! Records published one by one, gathered into one batch for each partition.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::PublishError;
use super::gathered::GatheredBatch;
use super::repeat::{Repeat, Wait};
use crate::broker::dedup::{Claim, ID_BYTES_MAX, Reservation, TopicIds};
use crate::broker::{Broker, TopicHandle, refuse_internal};
use crate::replica::AckLevel;
use crate::types::{PartitionIndex, SharedClock, Stamp, Timestamp};

/// A batch is full at this many bytes.
const BATCH_BYTES: usize = 256 << 10;
/// A record's time is believed at most this far ahead of ours, in milliseconds.
const AHEAD_MS_MAX: i64 = 3_600_000;
/// Topics of a run looked through for the one of the next record.
const TOPICS_SCANNED: usize = 8;

/// One record to be published.
#[derive(Debug, Clone, Copy)]
pub struct Publish<'a> {
    /// The partition; `None` leaves it to the key, or to whose turn it is.
    pub partition: Option<PartitionIndex>,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value.
    pub value: Option<&'a [u8]>,
    /// The headers; the id is one of them, under [`ID_HEADER`](crate::broker::dedup::ID_HEADER).
    pub headers: &'a [(&'a [u8], Option<&'a [u8]>)],
    /// The id under which a repeat is recognized; not empty.
    pub id: Option<&'a str>,
    /// The record's time as its publisher says; where that cannot be one, ours is taken.
    pub sent: Timestamp,
    /// What its publisher has read, where that may not be older than what our clock would say: the record is stamped
    /// later.
    pub read: Option<Stamp>,
    /// What is to be waited for.
    pub ack: AckLevel,
}

/// What became of a record that was added.
#[derive(Debug)]
pub enum Added {
    /// It is in its batch.
    Gathered {
        /// Whether that batch is full: all batches are to be taken now.
        is_full: bool,
    },
    /// It was published before: see [`Repeat::wait_for`]. Nothing was added.
    Repeat(Repeat),
    /// Whether it was published before cannot be told now. Nothing was added: take and append what is gathered, which may
    /// hold what is waited for, then wait, then add the record again.
    Wait(Wait),
}

/// A topic of a run; good until its batches are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TopicSlot(usize);

/// Records gathered and not yet appended. `P` is what a listener answers one publish by.
#[derive(Debug)]
pub struct PublishRun<P> {
    topics: Vec<(Arc<TopicHandle>, usize)>,
    batches: Vec<GatheredBatch<P>>,
    /// Where in `batches` the batch of a topic, partition and level is.
    open: BTreeMap<Key, usize>,
    last: Option<(Key, usize)>,
    /// The broker's, once there is a topic.
    clock: Option<Arc<SharedClock>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    topic: TopicSlot,
    partition: PartitionIndex,
    ack: u8,
}

impl<P> Default for PublishRun<P> {
    fn default() -> PublishRun<P> {
        PublishRun { topics: Vec::new(), batches: Vec::new(), open: BTreeMap::new(), last: None, clock: None }
    }
}

impl<P> PublishRun<P> {
    /// The topic of this name, where the run has seen it lately.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<TopicSlot> {
        let latest = self.topics.iter().enumerate().rev().take(TOPICS_SCANNED);
        let mut matching = latest.filter(|(_, (handle, _))| handle.topic().name.as_str() == name);
        matching.next().map(|(index, _)| TopicSlot(index))
    }

    /// Takes in a topic to publish to.
    ///
    /// # Errors
    /// [`BrokerError::InternalTopic`](crate::broker::BrokerError::InternalTopic).
    pub fn enter(&mut self, broker: &Broker, handle: Arc<TopicHandle>) -> Result<TopicSlot, PublishError> {
        refuse_internal(&handle.topic().name)?;
        let message_bytes_max = broker.message_bytes_max(&handle);
        self.clock.get_or_insert_with(|| Arc::clone(broker.clock()));
        self.topics.push((handle, message_bytes_max));
        Ok(TopicSlot(self.topics.len() - 1))
    }

    /// Adds a record to the batch of its partition and level. `place` says what to answer it by, where it wants an
    /// answer.
    ///
    /// # Errors
    /// [`PublishError`]; the record is then not in any batch.
    pub fn add(
        &mut self,
        topic: TopicSlot,
        publish: &Publish<'_>,
        place: Option<P>,
        now: Timestamp,
    ) -> Result<Added, PublishError> {
        let (handle, message_bytes_max) = &self.topics[topic.0];
        check(handle, *message_bytes_max, publish)?;
        let reservation = match claim(handle, publish.id, now)? {
            Claimed::Nothing => None,
            Claimed::Fresh(reservation) => Some(reservation),
            Claimed::Not(added) => return Ok(added),
        };
        let partition = publish.partition.unwrap_or_else(|| handle.choose_partition(publish.key));
        let batch = self.batch(Key { topic, partition, ack: publish.ack as u8 }, publish.ack)?;
        let timestamp = believable(publish.sent, now);
        batch.push(timestamp, publish, place, reservation)?;
        batch.seen(publish, now);
        Ok(Added::Gathered { is_full: batch.bytes_len() >= BATCH_BYTES })
    }

    /// Takes the batches, in the order in which they were begun; the run is then empty.
    pub fn take(&mut self) -> impl Iterator<Item = GatheredBatch<P>> + Send + use<P>
    where
        P: Send,
    {
        self.topics.clear();
        self.open.clear();
        self.last = None;
        std::mem::take(&mut self.batches).into_iter().filter(|batch| !batch.is_empty())
    }

    fn batch(&mut self, key: Key, ack: AckLevel) -> Result<&mut GatheredBatch<P>, PublishError> {
        let known = match self.last {
            Some((last, index)) if last == key => Some(index),
            _ => self.open.get(&key).copied(),
        };
        let index = match known {
            Some(index) => index,
            None => {
                let batch = GatheredBatch::new(&self.topics[key.topic.0].0, key.partition, ack, self.clock.clone())?;
                self.batches.push(batch);
                self.open.insert(key, self.batches.len() - 1);
                self.batches.len() - 1
            }
        };
        self.last = Some((key, index));
        Ok(&mut self.batches[index])
    }
}

fn check(handle: &TopicHandle, bytes_max: usize, publish: &Publish<'_>) -> Result<(), PublishError> {
    let bytes = publish.value.map_or(0, <[u8]>::len);
    if bytes > bytes_max {
        let topic = handle.topic().name.clone();
        return Err(PublishError::MessageTooLarge { topic, bytes, bytes_max });
    }
    if publish.key.is_none() && handle.needs_keys() {
        let (topic, records) = (handle.topic().name.clone(), vec![0]);
        return Err(PublishError::KeyMissing { topic, records });
    }
    match publish.partition {
        Some(index) if index.0 >= handle.partitions_count() => {
            handle.partition(index)?;
            Ok(())
        }
        Some(_) | None => Ok(()),
    }
}

/// What claiming an id came to.
enum Claimed {
    /// There is none to claim.
    Nothing,
    Fresh(Reservation),
    Not(Added),
}

fn claim(handle: &Arc<TopicHandle>, id: Option<&str>, now: Timestamp) -> Result<Claimed, PublishError> {
    let Some(id) = id else { return Ok(Claimed::Nothing) };
    if id.len() > ID_BYTES_MAX {
        return Err(PublishError::IdTooLong { bytes: id.len(), bytes_max: ID_BYTES_MAX });
    }
    let Some(ids) = handle.dedup() else { return Ok(Claimed::Nothing) };
    let wait = |wait| Ok(Claimed::Not(Added::Wait(wait)));
    match TopicIds::claim(ids, id, now) {
        Claim::Fresh(reservation) => Ok(Claimed::Fresh(reservation)),
        Claim::Known(record) => Ok(Claimed::Not(Added::Repeat(Repeat::new(handle, id, record)?))),
        Claim::UnderWay => wait(Wait::for_id(ids, id)),
        Claim::NotLoaded => wait(handle.load_ids().map_or_else(|| Wait::for_loading(ids), Wait::Load)),
    }
}

/// The record's time: the publisher's where that can be one, else ours.
fn believable(sent: Timestamp, now: Timestamp) -> Timestamp {
    let range = Timestamp::from_millis(1)..=now.plus_millis(AHEAD_MS_MAX);
    if range.contains(&sent) { sent } else { now }
}
