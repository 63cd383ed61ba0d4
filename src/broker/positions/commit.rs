//! Committing positions and asking for them: the broker's side of it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::key::{Place, Position, PositionKey, PositionNote};
use super::shard::{Course, Waiting};
use crate::broker::groups::Fence;
use crate::broker::{Broker, BrokerError, TopicHandle};
use crate::replica::{AckLevel, Partition};
use crate::types::{Offset, Timestamp, TopicName};

/// Called once with the position that is kept, on whichever thread finished the commit.
pub(in crate::broker) struct PositionReply(Box<dyn FnOnce(Result<Offset, BrokerError>) + Send>);

impl PositionReply {
    pub(in crate::broker) fn new(reply: impl FnOnce(Result<Offset, BrokerError>) + Send + 'static) -> PositionReply {
        PositionReply(Box::new(reply))
    }

    pub(in crate::broker) fn send(self, result: Result<Offset, BrokerError>) {
        (self.0)(result);
    }
}

impl fmt::Debug for PositionReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PositionReply")
    }
}

/// What is asked for.
#[derive(Debug)]
struct Commit {
    key: PositionKey,
    offset: Offset,
    ack: AckLevel,
    course: Course,
    /// As which member of the group.
    fence: Option<Fence>,
}

impl Broker {
    /// The position that a client keeps: the next offset it has to read. `None` where it keeps none, or the topic does
    /// not exist. What a lazy commit said counts at once.
    #[must_use]
    pub fn committed(&self, key: &PositionKey) -> Option<Offset> {
        let topic = self.topic(&key.topic).ok()?;
        self.positions.committed(&Place::new(key, topic.topic().id))
    }

    /// As [`Broker::committed`], with what was said of the position.
    #[must_use]
    pub fn committed_noted(&self, key: &PositionKey) -> Option<(Offset, PositionNote)> {
        let topic = self.topic(&key.topic).ok()?;
        let position = self.positions.known(&Place::new(key, topic.topic().id))?;
        Some((position.offset, position.note.map_or_else(PositionNote::default, |note| (*note).clone())))
    }

    /// Where the next owner of a partition begins: as [`Broker::committed`], with what the owners before it have committed
    /// and nobody was told of yet. One of them may be about to send the records before that.
    #[must_use]
    pub fn next_owner_start(&self, key: &PositionKey) -> Option<Offset> {
        let topic = self.topic(&key.topic).ok()?;
        self.positions.entered(&Place::new(key, topic.topic().id))
    }

    /// Moves the position that a client keeps to `offset`, the next one it has to read; never back. The reply carries the
    /// position that is kept then, and comes once it is written ([`AckLevel::Leader`]) or synced
    /// ([`AckLevel::Durable`]). With [`AckLevel::None`] it comes at once: the position is written within a short while,
    /// and a kill before that takes it back.
    ///
    /// The reply may be [`BrokerError::UnknownTopic`], [`BrokerError::UnknownPartition`],
    /// [`BrokerError::PartitionOffline`], [`BrokerError::InternalTopic`], [`BrokerError::InvalidClientId`],
    /// [`BrokerError::OffsetOutOfRange`] above the high watermark, [`BrokerError::StorageFull`] or
    /// [`BrokerError::StorageFailed`].
    pub fn commit(
        self: &Arc<Self>,
        key: PositionKey,
        offset: Offset,
        ack: AckLevel,
        now: Timestamp,
        reply: impl FnOnce(Result<Offset, BrokerError>) + Send + 'static,
    ) {
        let commit = Commit { key, offset, ack, course: Course::Onward, fence: None };
        self.commit_where(commit, now, PositionReply::new(reply), |_| true);
    }

    /// As [`Broker::commit`], for a member of the group whose position it is. The reply may also be [`BrokerError::Group`]:
    /// the position stays as it is then.
    pub fn commit_as_member(
        self: &Arc<Self>,
        fence: Fence,
        read: Option<&Arc<Partition>>,
        commit: (PositionKey, Offset, AckLevel),
        now: Timestamp,
        reply: impl FnOnce(Result<Offset, BrokerError>) + Send + 'static,
    ) {
        let is_same = |named: &Arc<Partition>| read.is_none_or(|read| Arc::ptr_eq(named, read));
        let (key, offset, ack) = commit;
        let commit = Commit { key, offset, ack, course: Course::Onward, fence: Some(fence) };
        self.commit_where(commit, now, PositionReply::new(reply), is_same);
    }

    /// Sets a position to `offset`, also back: what an operator asks for. The reply comes once that is synced; it is as
    /// that of [`Broker::commit`].
    pub fn reset_position(
        self: &Arc<Self>,
        key: PositionKey,
        offset: Offset,
        now: Timestamp,
        reply: impl FnOnce(Result<Offset, BrokerError>) + Send + 'static,
    ) {
        let commit = Commit { key, offset, ack: AckLevel::Durable, course: Course::Reset, fence: None };
        self.commit_where(commit, now, PositionReply::new(reply), |_| true);
    }

    /// As [`Broker::commit`], for who has read records of this very partition: where the topic was deleted and created
    /// anew under its name meanwhile, the reply is [`BrokerError::UnknownTopic`] and the new topic's positions stay.
    pub fn commit_read(
        self: &Arc<Self>,
        partition: &Arc<Partition>,
        key: PositionKey,
        offset: Offset,
        ack: AckLevel,
        now: Timestamp,
        reply: impl FnOnce(Result<Offset, BrokerError>) + Send + 'static,
    ) {
        let is_same = |named: &Arc<Partition>| Arc::ptr_eq(named, partition);
        let commit = Commit { key, offset, ack, course: Course::Onward, fence: None };
        self.commit_where(commit, now, PositionReply::new(reply), is_same);
    }

    fn commit_where(
        self: &Arc<Self>,
        commit: Commit,
        now: Timestamp,
        reply: PositionReply,
        is_wanted: impl FnOnce(&Arc<Partition>) -> bool,
    ) {
        let Commit { key, offset, ack, course, fence } = commit;
        // Under this lock no topic goes: what is entered here is what its deletion will find.
        let topics = self.topics.read();
        let position = placed(&topics, &key, offset, now, Reach::HighWatermark, is_wanted);
        // Under the group's lock nobody else becomes the owner: what is entered here is what the next one begins with.
        let of_group = position.and_then(|(place, position)| {
            let group = self.lock_for_commit((&key, place.topic_id), fence.as_ref(), now)?;
            Ok(((place, position), group))
        });
        match of_group {
            Ok(((place, position), group)) => {
                let (slot, answers) = self.positions.enter(Waiting { place, position, level: ack, course, reply });
                drop((group, topics));
                self.positions.follow_up(slot, answers);
            }
            Err(error) => {
                drop(topics);
                reply.send(Err(error));
            }
        }
    }

    /// How many positions clients keep.
    #[must_use]
    pub fn positions_count(&self) -> usize {
        self.positions.count()
    }
}

/// How far a position may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// No further than what can be read.
    HighWatermark,
    /// Wherever it is said, as in Kafka, whose commits are not compared with the log.
    Anywhere,
}

/// The position that a commit asks for, and where it belongs.
pub(super) fn placed(
    topics: &BTreeMap<TopicName, Arc<TopicHandle>>,
    key: &PositionKey,
    offset: Offset,
    now: Timestamp,
    reach: Reach,
    is_wanted: impl FnOnce(&Arc<Partition>) -> bool,
) -> Result<(Place, Position), BrokerError> {
    let unknown = || BrokerError::UnknownTopic { topic: key.topic.clone() };
    let topic = topics.get(&key.topic).ok_or_else(unknown)?;
    key.check()?;
    if key.topic.is_internal() {
        return Err(BrokerError::InternalTopic { topic: key.topic.clone() });
    }
    let partition = topic.partition(key.partition)?;
    if !is_wanted(&partition) {
        return Err(unknown());
    }
    let offsets = partition.offsets();
    let (log_start, high_watermark) = (offsets.log_start(), offsets.high_watermark());
    if reach == Reach::HighWatermark && offset > high_watermark {
        return Err(BrokerError::OffsetOutOfRange { offset, log_start, high_watermark });
    }
    let (topic_name, epoch) = (key.topic.clone(), partition.epoch());
    let is_ahead = offset > high_watermark;
    let position = Position { topic: topic_name, offset, epoch, moved_at: now, resets: 0, is_ahead, note: None };
    Ok((Place::new(key, topic.topic().id), position))
}
