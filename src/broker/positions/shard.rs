//! The positions of one partition of `__offsets`: a pure state machine of what is kept, claimed and waited for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::commit::PositionReply;
use super::flight::Flight;
use super::key::{Place, Position, PositionNote, PositionOwner};
use crate::broker::BrokerError;
use crate::broker::groups::{GroupError, GroupRecord};
use crate::replica::AckLevel;
use crate::types::{Offset, PartitionIndex, Timestamp, TopicId, TopicName};

/// Claims, and commits that wait, at most.
const GATHERED_MAX: usize = 65_536;
/// Positions that expire in one step at most.
const EXPIRED_PER_STEP_MAX: usize = 10_000;
/// Groups that are forgotten at a time at most.
const GROUPS_FORGOTTEN_MAX: usize = 10_000;
/// Milliseconds between two writes of claims.
pub(super) const CLAIMS_INTERVAL_MS: i64 = 100;

/// Positions, and the changes on their way to the log.
#[derive(Debug, Default)]
pub(super) struct Shard {
    pub(super) kept: BTreeMap<Place, Kept>,
    order: BTreeSet<(Timestamp, Place)>,
    /// Bytes of the notes in `kept`.
    pub(super) note_bytes: usize,
    /// Of the log, everything before this offset is in `kept`.
    pub(super) applied: Offset,
    pub(super) claims: BTreeMap<Place, Claim>,
    /// Places whose claim is to be written, the oldest first; some may be gone meanwhile.
    pub(super) dirty: VecDeque<Place>,
    /// Places whose position was dropped here and is still in the log.
    pub(super) dropped: VecDeque<Place>,
    /// How much of `dirty` and `dropped` together is to be written now.
    pub(super) due: usize,
    /// Whether what is due is to be synced as well.
    pub(super) is_due_durably: bool,
    pub(super) waiting: VecDeque<Waiting>,
    /// Of commits that wait or are on their way, the one that reaches furthest at each place.
    pub(super) asked: BTreeMap<Place, Position>,
    /// Records of groups, as the log holds them.
    pub(super) groups: BTreeMap<Arc<str>, NotedGroup>,
    pub(super) group_writes: VecDeque<GroupWrite>,
    pub(super) flight: Option<Flight>,
    pub(super) now: Timestamp,
    claims_written_at: Timestamp,
    /// Why nothing is taken any more.
    failure: Option<BrokerError>,
}

/// A position that the log holds.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) position: Position,
    /// The offset behind its record; zero where it was found at start.
    pub(super) end: Offset,
}

/// What a lazy commit said.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) position: Position,
    /// Whether `dirty` has its place.
    pub(super) is_queued: bool,
}

/// A commit that waits for its level.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) place: Place,
    pub(super) position: Position,
    pub(super) level: AckLevel,
    pub(super) course: Course,
    pub(super) reply: PositionReply,
}

/// Where a commit moves a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Course {
    /// Further on, or nowhere.
    Onward,
    /// To where it says, be that back.
    AsSaid,
    /// To where it says, whatever was said before or is being said.
    Reset,
}

/// One of the positions of an owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::broker) struct OwnedPosition {
    pub(in crate::broker) topic_id: TopicId,
    pub(in crate::broker) topic: TopicName,
    pub(in crate::broker) partition: PartitionIndex,
    pub(in crate::broker) offset: Offset,
    pub(in crate::broker) note: Option<Arc<PositionNote>>,
}

/// A group's record, as the log holds it.
#[derive(Debug, Clone, Copy)]
pub(super) struct NotedGroup {
    pub(super) record: GroupRecord,
    pub(super) written_at: Timestamp,
}

/// A group's record to be written; none forgets the group.
#[derive(Debug)]
pub(super) struct GroupWrite {
    pub(super) group: Arc<str>,
    pub(super) record: Option<GroupRecord>,
    /// Whether it goes behind everything that is dropped so far.
    pub(super) is_behind_drops: bool,
    pub(super) level: AckLevel,
    pub(super) reply: PositionReply,
}

/// What is to be said to whom, outside every lock.
pub(in crate::broker) type Answers = Vec<(PositionReply, Result<Offset, BrokerError>)>;

impl Shard {
    /// Takes nothing: its partition is not there.
    pub(super) fn offline(failure: BrokerError) -> Shard {
        Shard { failure: Some(failure), ..Shard::default() }
    }

    /// Takes nothing any more.
    pub(super) fn refuse(&mut self, failure: BrokerError) {
        self.failure = Some(failure);
    }

    /// The position, as far as anybody has been told of it.
    pub(super) fn committed(&self, place: &Place) -> Option<Offset> {
        self.known(place).map(|position| position.offset)
    }

    /// The position as everything entered so far will leave it, also what nobody has been told of yet.
    pub(super) fn entered(&self, place: &Place) -> Option<&Position> {
        self.known(place).into_iter().chain(self.asked.get(place)).max_by_key(|known| known.reach())
    }

    /// The position that counts of those that are kept and claimed.
    pub(super) fn known(&self, place: &Place) -> Option<&Position> {
        let kept = self.kept.get(place).map(|kept| &kept.position);
        let claimed = self.claims.get(place).map(|claim| &claim.position);
        kept.into_iter().chain(claimed).max_by_key(|known| known.reach())
    }

    /// Enters a commit. `durable` is how far the log is synced. Whoever needs no more than there is, is answered.
    pub(super) fn enter(&mut self, mut commit: Waiting, durable: Offset) -> Answers {
        self.now = self.now.max(commit.position.moved_at);
        if let Some(failure) = &self.failure {
            return vec![(commit.reply, Err(failure.clone()))];
        }
        let is_lazy = commit.level == AckLevel::None;
        let before = self.entered(&commit.place);
        let (offset, note) = (commit.position.offset, &commit.position.note);
        let sets_anew = match commit.course {
            Course::Onward => false,
            Course::AsSaid => {
                before.is_some_and(|before| offset < before.offset || offset == before.offset && *note != before.note)
            }
            Course::Reset => true,
        };
        let resets = before.map_or(0, |before| before.resets);
        commit.position.resets = if sets_anew { resets.saturating_add(1) } else { resets };
        let kept = self.kept.get(&commit.place);
        let claimed = self.claims.get(&commit.place).map(|claim| &claim.position);
        if let Some(kept) = kept.filter(|kept| !commit.position.moves(&kept.position))
            && (commit.level != AckLevel::Durable || kept.end <= durable)
            && !(is_lazy && claimed.is_some())
        {
            return vec![(commit.reply, Ok(kept.position.offset))];
        }
        if let Some(furthest) = self.known(&commit.place).filter(|known| known.reach() > commit.position.reach()) {
            commit.position = furthest.clone();
        }
        let gathered = if is_lazy { self.claims.len() } else { self.waiting.len() };
        if gathered >= GATHERED_MAX && claimed.is_none() {
            return vec![(commit.reply, Err(BrokerError::StorageFull))];
        }
        if !is_lazy {
            self.ask(&commit);
            self.waiting.push_back(commit);
            return Vec::new();
        }
        let offset = commit.position.offset;
        self.claim(commit.place, commit.position);
        vec![(commit.reply, Ok(offset))]
    }

    /// Enters a group's record to be written.
    pub(super) fn enter_group(&mut self, write: GroupWrite, now: Timestamp) -> Answers {
        self.now = self.now.max(now);
        match &self.failure {
            Some(failure) => vec![(write.reply, Err(failure.clone()))],
            None if self.group_writes.len() >= GATHERED_MAX => vec![(write.reply, Err(BrokerError::Overloaded))],
            None => {
                self.group_writes.push_back(write);
                Vec::new()
            }
        }
    }

    /// All groups, also those whose records are not in the log yet.
    pub(super) fn all_groups(&self) -> Vec<(Arc<str>, GroupRecord)> {
        let under_way = self.flight.iter().flat_map(Flight::group_writes).chain(&self.group_writes);
        let noted = self.groups.iter().map(|(group, noted)| (Arc::clone(group), noted.record));
        let mut groups: BTreeMap<_, _> = noted.collect();
        for GroupWrite { group, record, .. } in under_way {
            match record {
                Some(record) => groups.insert(Arc::clone(group), *record),
                None => groups.remove(group),
            };
        }
        groups.into_iter().collect()
    }

    /// What an owner keeps, also what the log does not hold yet.
    pub(super) fn of_owner(&self, owner: &PositionOwner) -> Vec<OwnedPosition> {
        let places = self.kept.keys().chain(self.claims.keys()).filter(|place| place.owner == *owner);
        let places: BTreeSet<&Place> = places.collect();
        let owned = places.into_iter().filter_map(|place| {
            let known = self.known(place)?;
            let Position { topic, offset, note, .. } = known.clone();
            Some(OwnedPosition { topic_id: place.topic_id, topic, partition: place.partition, offset, note })
        });
        owned.collect()
    }

    /// Moves the positions of an owner to where they are: so they do not expire.
    pub(super) fn confirm(&mut self, owner: &PositionOwner, now: Timestamp) {
        let kept = self.kept.iter().filter(|(place, _)| place.owner == *owner);
        let confirmed = kept.map(|(place, kept)| (place.clone(), Position { moved_at: now, ..kept.position.clone() }));
        for (place, position) in confirmed.collect::<Vec<_>>() {
            if self.known(&place).is_some_and(|known| position.moves(known)) {
                self.claim(place, position);
            }
        }
    }

    /// Drops what an owner keeps of what is meant, and what is on its way to be kept; the log hears of it with what is
    /// written next.
    pub(super) fn drop_of(&mut self, owner: &PositionOwner, is_meant: impl Fn(&Place) -> bool) -> Answers {
        let is_owners = |place: &Place| place.owner == *owner && is_meant(place);
        let mut places: BTreeSet<_> = self.kept.keys().filter(|place| is_owners(place)).cloned().collect();
        self.claims.retain(|place, _| !is_owners(place));
        self.asked.retain(|place, _| !is_owners(place));
        let mut gone = Vec::new();
        if let Some(flight) = &mut self.flight {
            // The log will have them all the same.
            places.extend(flight.places().filter(|place| is_owners(place)).cloned());
            gone.extend(flight.take_out(is_owners));
        }
        gone.extend(take_of(&mut self.waiting, is_owners));
        for place in places {
            self.remove(&place);
            self.dropped.push_back(place);
        }
        let unknown = GroupError::UnknownGroup { group: owner.id().to_string() };
        gone.into_iter().map(|commit| (commit.reply, Err(unknown.clone().into()))).collect()
    }

    fn ask(&mut self, commit: &Waiting) {
        let asked = self.asked.get(&commit.place);
        if asked.is_none_or(|asked| asked.reach() < commit.position.reach()) {
            self.asked.insert(commit.place.clone(), commit.position.clone());
        }
    }

    /// Notes what is still asked for, where some of it was refused.
    pub(super) fn ask_anew(&mut self) {
        self.asked.clear();
        let waiting = std::mem::take(&mut self.waiting);
        waiting.iter().for_each(|commit| self.ask(commit));
        self.waiting = waiting;
    }

    /// What is known of a group, also where it is not in the log yet.
    pub(super) fn group(&self, group: &str) -> Option<GroupRecord> {
        let under_way = self.flight.iter().flat_map(Flight::group_writes).chain(&self.group_writes);
        let newest = under_way.filter(|write| *write.group == *group).last();
        newest.map_or_else(|| self.groups.get(group).map(|noted| noted.record), |write| write.record)
    }

    /// At most how many groups there are, with those on their way.
    pub(super) fn groups_count(&self) -> usize {
        let flying = self.flight.as_ref().map_or(0, |flight| flight.group_writes().count());
        self.groups.len() + self.group_writes.len() + flying
    }

    /// Groups that nothing was written of since `before`, and that keep no position.
    pub(super) fn idle_groups(&self, before: Timestamp) -> Vec<Arc<str>> {
        let places = self.kept.keys().chain(self.claims.keys()).chain(self.asked.keys());
        let owners = places.filter_map(|place| match &place.owner {
            PositionOwner::Group(group) => Some(group),
            PositionOwner::Client(_) => None,
        });
        let owners: BTreeSet<_> = owners.collect();
        let idle = self.groups.iter().filter(|(group, noted)| noted.written_at <= before && !owners.contains(group));
        idle.map(|(group, _)| Arc::clone(group)).take(GROUPS_FORGOTTEN_MAX).collect()
    }

    fn claim(&mut self, place: Place, position: Position) {
        match self.claims.get_mut(&place) {
            Some(claim) if !position.moves(&claim.position) => {}
            Some(claim) => {
                claim.position = position;
                if !std::mem::replace(&mut claim.is_queued, true) {
                    self.dirty.push_back(place);
                }
            }
            None => {
                self.dirty.push_back(place.clone());
                self.claims.insert(place, Claim { position, is_queued: true });
            }
        }
    }

    /// Lets claims be written that have gathered long enough.
    pub(super) fn make_due(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        let since = self.now.since(self.claims_written_at);
        if since >= CLAIMS_INTERVAL_MS && self.gathered() > 0 {
            self.claims_written_at = self.now;
            self.due = self.gathered();
        }
    }

    /// Lets everything be written and synced that has gathered.
    pub(super) fn make_all_due(&mut self) {
        self.due = self.gathered();
        self.is_due_durably = true;
    }

    /// Whether nothing is on its way to the log.
    pub(super) fn is_idle(&self) -> bool {
        self.flight.is_none() && self.waiting.is_empty() && self.group_writes.is_empty() && self.gathered() == 0
    }

    fn gathered(&self) -> usize {
        self.dirty.len() + self.dropped.len()
    }

    /// Keeps a position that the log has.
    pub(super) fn keep(&mut self, place: Place, position: Position, end: Offset) {
        self.remove(&place);
        self.order.insert((position.moved_at, place.clone()));
        self.note_bytes += position.note_bytes();
        self.kept.insert(place, Kept { position, end });
    }

    pub(super) fn remove(&mut self, place: &Place) -> bool {
        let Some(kept) = self.kept.remove(place) else { return false };
        self.note_bytes -= kept.position.note_bytes();
        self.order.remove(&(kept.position.moved_at, place.clone()))
    }

    /// When the position was moved that was not for longest.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.order.first().map(|(moved_at, _)| *moved_at)
    }

    /// Drops the position that was not moved for longest.
    pub(super) fn drop_oldest(&mut self) {
        if let Some((_, place)) = self.order.pop_first() {
            self.note_bytes -= self.kept.remove(&place).map_or(0, |kept| kept.position.note_bytes());
            self.dropped.push_back(place);
        }
    }

    /// Drops what was not moved since `before`, but not everything at once.
    pub(super) fn expire(&mut self, before: Timestamp) {
        for _ in 0..EXPIRED_PER_STEP_MAX {
            if self.oldest().is_none_or(|oldest| oldest > before) {
                return;
            }
            self.drop_oldest();
        }
    }

    /// Forgets a topic that was deleted, and lets the log forget it.
    pub(super) fn forget(&mut self, topic_id: TopicId, topic: &TopicName) -> Answers {
        let first = Place::first_of(topic_id);
        let range = self.kept.range(first.clone()..).map(|(place, _)| place);
        let places: Vec<_> = range.take_while(|place| place.topic_id == topic_id).cloned().collect();
        for place in places {
            self.remove(&place);
            self.dropped.push_back(place);
        }
        self.claims.retain(|place, _| place.topic_id != topic_id);
        self.due = self.gathered();
        let is_of_topic = |place: &Place| place.topic_id == topic_id;
        self.asked.retain(|place, _| !is_of_topic(place));
        let mut gone = Vec::new();
        if let Some(flight) = &mut self.flight {
            gone.extend(flight.take_out(is_of_topic));
        }
        gone.extend(take_of(&mut self.waiting, is_of_topic));
        let unknown = BrokerError::UnknownTopic { topic: topic.clone() };
        gone.into_iter().map(|commit| (commit.reply, Err(unknown.clone()))).collect()
    }

    /// The log takes no more: claims it will never hold are taken back, and whoever waits is told.
    pub(super) fn fail(&mut self, failure: &BrokerError) -> Answers {
        if matches!(failure, BrokerError::StorageFailed(_)) {
            self.failure = Some(failure.clone());
        }
        self.claims.clear();
        self.asked.clear();
        self.dirty.clear();
        self.dropped.clear();
        (self.due, self.is_due_durably) = (0, false);
        let replies = self.waiting.drain(..).map(|commit| commit.reply);
        let replies = replies.chain(self.group_writes.drain(..).map(|write| write.reply));
        replies.map(|reply| (reply, Err(failure.clone()))).collect()
    }
}

pub(super) fn take_of(waiting: &mut VecDeque<Waiting>, is_meant: impl Fn(&Place) -> bool) -> Vec<Waiting> {
    let (gone, stay) = waiting.drain(..).partition(|commit| is_meant(&commit.place));
    *waiting = stay;
    Vec::from(gone as VecDeque<Waiting>)
}
