//! One batch of positions on its way to the log: what it takes along, and what follows when it lands or is lost.

use std::collections::{BTreeMap, VecDeque};

use super::codec::{encode_group, encode_group_key, encode_key, encode_value};
use super::key::{Place, Position};
use super::shard::{Answers, GroupWrite, NotedGroup, Shard, Waiting, take_of};
use crate::broker::BrokerError;
use crate::record::{BatchBuilder, BuilderOptions, ProducedBatch};
use crate::replica::AckLevel;
use crate::types::{Offset, Timestamp};

/// Bytes of a batch after which it takes no further position.
const FLIGHT_BYTES: usize = 256 << 10;

/// A batch on its way.
#[derive(Debug, Default)]
pub(super) struct Flight {
    /// What each place has once the batch is in the log; `None` drops it.
    changes: BTreeMap<Place, Option<Position>>,
    /// Places that are dropped, though some may get a new position in the same batch.
    dropped: Vec<Place>,
    waiting: VecDeque<Waiting>,
    group_writes: Vec<GroupWrite>,
    records: u64,
}

/// A batch to be appended.
#[derive(Debug)]
pub(super) struct Launch {
    pub(super) batch: ProducedBatch,
    pub(super) level: AckLevel,
    pub(super) now: Timestamp,
}

impl Flight {
    /// Records of groups that are on their way.
    pub(super) fn group_writes(&self) -> impl Iterator<Item = &GroupWrite> {
        self.group_writes.iter()
    }

    /// The places that have something on its way.
    pub(super) fn places(&self) -> impl Iterator<Item = &Place> {
        self.changes.keys()
    }

    /// Takes out what is on its way for places that are forgotten.
    pub(super) fn take_out(&mut self, is_forgotten: impl Fn(&Place) -> bool) -> Vec<Waiting> {
        self.changes.retain(|place, _| !is_forgotten(place));
        self.dropped.retain(|place| !is_forgotten(place));
        take_of(&mut self.waiting, is_forgotten)
    }
}

/// A flight being loaded.
struct Loading {
    flight: Flight,
    builder: BatchBuilder,
    now: Timestamp,
}

impl Loading {
    fn put(&mut self, place: Place, change: Option<Position>) {
        self.write(&place, change.as_ref());
        self.flight.changes.insert(place, change);
    }

    fn write(&mut self, place: &Place, change: Option<&Position>) {
        self.append(&encode_key(place), change.map(encode_value));
    }

    fn write_group(&mut self, write: GroupWrite) {
        self.append(&encode_group_key(&write.group), write.record.as_ref().map(encode_group));
        self.flight.group_writes.push(write);
    }

    fn append(&mut self, key: &[u8], value: Option<Vec<u8>>) {
        let appended = self.builder.append(self.now, Some(key), value.as_deref(), &[]);
        appended.expect("a flight is far below the limit of a batch");
        self.flight.records += 1;
    }

    fn has(&self, place: &Place, position: &Position) -> bool {
        self.flight.changes.get(place).is_some_and(|loaded| loaded.as_ref() == Some(position))
    }

    fn is_full(&self) -> bool {
        self.builder.bytes_len() >= FLIGHT_BYTES
    }
}

impl Shard {
    /// The next batch to append, where there is anything to write and none is on its way.
    pub(super) fn begin_flight(&mut self) -> Option<Launch> {
        if self.flight.is_some() {
            return None;
        }
        let builder = BatchBuilder::new(BuilderOptions::default());
        let mut loading = Loading { flight: Flight::default(), builder, now: self.now };
        let mut level = if self.is_due_durably { AckLevel::Durable } else { AckLevel::Leader };
        self.load_groups(&mut loading, &mut level);
        while !loading.is_full()
            && let Some(commit) = self.waiting.pop_front()
        {
            if commit.level == AckLevel::Durable {
                level = AckLevel::Durable;
            }
            self.load(&mut loading, &commit.place, &commit.position);
            loading.flight.waiting.push_back(commit);
        }
        while self.due > 0 && !loading.is_full() {
            self.due -= 1;
            self.load_gathered(&mut loading);
        }
        self.load_groups(&mut loading, &mut level);
        self.is_due_durably &= self.due > 0;
        let Loading { flight, mut builder, now } = loading;
        if builder.is_empty() {
            return None;
        }
        let batch = builder.finish().expect("a batch with records, not compressed");
        self.flight = Some(flight);
        Some(Launch { batch, level, now })
    }

    /// Loads records of groups. One that says that positions are dropped goes behind them: a crash between the two must not
    /// leave positions whose end was acknowledged.
    fn load_groups(&mut self, loading: &mut Loading, level: &mut AckLevel) {
        while !loading.is_full()
            && let Some(write) = self.group_writes.pop_front_if(|write| !write.is_behind_drops || self.due == 0)
        {
            if write.level == AckLevel::Durable {
                *level = AckLevel::Durable;
            }
            loading.write_group(write);
        }
    }

    /// Loads a position, or the one further on that is known by now.
    fn load(&self, loading: &mut Loading, place: &Place, position: &Position) {
        let kept = self.kept.get(place).map(|kept| &kept.position);
        let claimed = self.claims.get(place).map(|claim| &claim.position);
        let loaded = loading.flight.changes.get(place).and_then(Option::as_ref);
        let known = [kept, claimed, loaded].into_iter().flatten().filter(|known| known.reach() > position.reach());
        let furthest = known.max_by_key(|known| known.reach()).unwrap_or(position).clone();
        if !loading.has(place, &furthest) {
            loading.put(place.clone(), Some(furthest));
        }
    }

    /// Loads the drop, or else the claim, that has waited longest.
    fn load_gathered(&mut self, loading: &mut Loading) {
        if let Some(place) = self.dropped.pop_front() {
            // Committed anew meanwhile.
            if self.kept.contains_key(&place) {
                return;
            }
            loading.flight.dropped.push(place.clone());
            if !loading.flight.changes.contains_key(&place) {
                loading.put(place, None);
            }
        } else if let Some(place) = self.dirty.pop_front()
            && let Some(claim) = self.claims.get_mut(&place)
        {
            claim.is_queued = false;
            let position = claim.position.clone();
            self.load(loading, &place, &position);
        }
    }

    /// The batch has what was asked for; `base` is the offset of its first record.
    pub(super) fn landed(&mut self, base: Offset) -> Answers {
        let Some(flight) = self.flight.take() else { return Vec::new() };
        let end = base.plus(flight.records);
        self.applied = end;
        for (place, change) in flight.changes {
            match change {
                Some(position) => {
                    if self.asked.get(&place).is_some_and(|asked| asked.reach() <= position.reach()) {
                        self.asked.remove(&place);
                    }
                    if self.claims.get(&place).is_some_and(|claim| !claim.position.moves(&position)) {
                        self.claims.remove(&place);
                    }
                    self.keep(place, position, end);
                }
                None => {
                    self.remove(&place);
                }
            }
        }
        let answer = |commit: Waiting| {
            let kept = self.kept.get(&commit.place).map(|kept| kept.position.offset);
            (commit.reply, Ok(kept.unwrap_or(commit.position.offset)))
        };
        let mut answers: Answers = flight.waiting.into_iter().map(answer).collect();
        for GroupWrite { group, record, reply, .. } in flight.group_writes {
            match record {
                Some(record) => self.groups.insert(group, NotedGroup { record, written_at: self.now }),
                None => self.groups.remove(&group),
            };
            answers.push((reply, Ok(end)));
        }
        answers
    }

    /// The batch is not in the log, or nobody knows. After a full device the claims in it are tried again at the next
    /// step; any other failure takes them back.
    pub(super) fn lost(&mut self, failure: &BrokerError) -> Answers {
        let Some(flight) = self.flight.take() else { return Vec::new() };
        let replies = flight.waiting.into_iter().map(|commit| commit.reply);
        let replies = replies.chain(flight.group_writes.into_iter().map(|write| write.reply));
        let mut answers: Answers = replies.map(|reply| (reply, Err(failure.clone()))).collect();
        if *failure != BrokerError::StorageFull {
            answers.extend(self.fail(failure));
            return answers;
        }
        self.ask_anew();
        self.dropped.extend(flight.dropped);
        for place in flight.changes.into_keys() {
            if let Some(claim) = self.claims.get_mut(&place)
                && !std::mem::replace(&mut claim.is_queued, true)
            {
                self.dirty.push_back(place);
            }
        }
        (self.due, self.is_due_durably) = (0, false);
        answers
    }
}
