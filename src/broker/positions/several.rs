//! Positions of one group that are committed together: whoever may commit one of them may commit all.

use std::sync::Arc;

use parking_lot::Mutex;

use super::commit::{PositionReply, Reach, placed};
use super::key::{NOTE_BYTES_MAX, PositionKey, PositionNote, PositionOwner};
use super::registry::ALL_NOTES_BYTES_MAX;
use super::shard::{Course, Waiting};
use crate::broker::groups::{ClassicCommitter, GroupError, GroupKind};
use crate::broker::{Broker, BrokerError};
use crate::replica::AckLevel;
use crate::types::{Offset, Timestamp, TopicPartition};

/// A position that a client states, with what it says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatedPosition {
    /// Where.
    pub partition: TopicPartition,
    /// The next offset to be read.
    pub offset: Offset,
    /// What is kept with it.
    pub note: PositionNote,
}

/// Positions to be committed, which may be behind those that are kept.
#[derive(Debug)]
pub struct SeveralPositions {
    /// Of which group: 1 to 255 bytes.
    pub group: Arc<str>,
    /// Who commits them.
    pub committer: ClassicCommitter,
    /// The positions.
    pub positions: Vec<StatedPosition>,
    /// How safe they have to be before the reply comes.
    pub ack: AckLevel,
}

/// One result for each position, in their order.
type Results = Vec<Result<(), BrokerError>>;
type ReplyToAll = Box<dyn FnOnce(Results) + Send>;

/// Results on their way; whoever brings the last one answers.
struct Gathering {
    missing: usize,
    results: Results,
    reply: Option<ReplyToAll>,
}

/// Answers once all parts were dropped or told.
#[derive(Clone)]
struct Gathered(Arc<Mutex<Gathering>>);

impl Gathered {
    fn new(count: usize, reply: ReplyToAll) -> Gathered {
        let results = vec![Err(BrokerError::Overloaded); count];
        Gathered(Arc::new(Mutex::new(Gathering { missing: count, results, reply: Some(reply) })))
    }

    fn tell(&self, at: usize, result: Result<(), BrokerError>) {
        let mut gathering = self.0.lock();
        gathering.results[at] = result;
        gathering.missing -= 1;
        if gathering.missing > 0 {
            return;
        }
        let (reply, results) = (gathering.reply.take(), std::mem::take(&mut gathering.results));
        drop(gathering);
        if let Some(reply) = reply {
            reply(results);
        }
    }
}

impl Broker {
    /// Commits positions of a group for one of its members, or, where it has none, for anybody. The reply carries one
    /// result for each, once all are as safe as is asked; or why none was taken.
    ///
    /// None is taken with [`BrokerError::InvalidClientId`] or [`BrokerError::Group`]; single results are as those of
    /// [`Broker::commit`], but for positions above the high watermark: a classic group may have them.
    pub fn commit_several(
        self: &Arc<Self>,
        commit: SeveralPositions,
        now: Timestamp,
        reply: impl FnOnce(Result<Vec<Result<(), BrokerError>>, BrokerError>) + Send + 'static,
    ) {
        let SeveralPositions { group, committer, positions, ack } = commit;
        // As with a single commit: no topic goes, and nobody becomes a member or is removed, until all are entered.
        let topics = self.topics.read();
        let (coordinator, mut follow_ups) = match self.lock_for_classic_commit(&group, &committer, now) {
            Ok(locked) => locked,
            Err(error) => {
                drop(topics);
                return reply(Err(error));
            }
        };
        if positions.is_empty() {
            drop((coordinator, topics));
            self.follow_up(follow_ups);
            return reply(Ok(Vec::new()));
        }
        // What is committed as in Kafka is not compared with the log; members of other kinds begin where they are told.
        let is_others = self.positions.group(&group).is_some_and(|record| record.kind != GroupKind::Classic);
        let reach = if is_others { Reach::HighWatermark } else { Reach::Anywhere };
        let gathered = Gathered::new(positions.len(), Box::new(|results| reply(Ok(results))));
        let mut refused = Vec::new();
        for (at, StatedPosition { partition, offset, note }) in positions.into_iter().enumerate() {
            let owner = PositionOwner::Group(Arc::clone(&group));
            let key = PositionKey { owner, topic: partition.topic, partition: partition.partition };
            let placed = self.check_note(&note).and_then(|()| placed(&topics, &key, offset, now, reach, |_| true));
            match placed {
                Ok((place, mut position)) => {
                    position.note = note.said();
                    let gathered = gathered.clone();
                    let reply = PositionReply::new(move |kept| gathered.tell(at, kept.map(|_| ())));
                    let commit = Waiting { place, position, level: ack, course: Course::AsSaid, reply };
                    follow_ups.push(self.positions.enter(commit));
                }
                Err(error) => refused.push((at, error)),
            }
        }
        drop((coordinator, topics));
        refused.into_iter().for_each(|(at, error)| gathered.tell(at, Err(error)));
        self.follow_up(follow_ups);
    }

    fn check_note(&self, note: &PositionNote) -> Result<(), BrokerError> {
        let bytes = note.text.len();
        let is_too_much = bytes > 0 && self.positions.note_bytes() + bytes > ALL_NOTES_BYTES_MAX;
        if bytes > NOTE_BYTES_MAX || is_too_much { Err(GroupError::TooMuchOfNotes.into()) } else { Ok(()) }
    }
}
