//! The ids themselves: which are claimed, which are known, in what order they are forgotten. Pure: time is handed in.
//!
//! ```text
//!              claim            settle
//!   (unknown) ──────► under way ──────► known ──► (unknown)   forgotten: by age, at a limit, because its record is gone
//!       ▲                 │
//!       └─────────────────┘ release
//! ```
//!
//! Invariants:
//! 1. Every known id of a topic that is there stands in `by_age` under its time and number, and nothing else does, save
//!    ids of topics that are gone.
//! 2. `bytes` is the cost of all that is in `by_age` or under way.
//! 3. No hash map is ever iterated.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::task::{Poll, Waker};

use crate::types::{Epoch, Offset, PartitionIndex, Timestamp};

/// What an id takes in memory beside its text, about, in bytes.
pub(super) const ENTRY_BYTES: usize = 208;

/// Room for ids that a topic without any keeps.
const CAPACITY_KEPT: usize = 1_024;

/// How much is remembered, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IndexLimits {
    pub(super) ids_max: usize,
    pub(super) bytes_max: usize,
    pub(super) window_ms: i64,
}

/// A topic, told apart from an earlier one of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TopicNumber(u64);

/// One claim of an id, told apart from earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClaimNumber(u64);

/// Where the record of an id is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownRecord {
    /// Its partition.
    pub partition: PartitionIndex,
    /// Its offset.
    pub offset: Offset,
    /// The epoch it was appended in.
    pub epoch: Epoch,
}

/// What a claim found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nobody has it: it is the caller's, to settle or release.
    Fresh(Arc<str>, ClaimNumber),
    /// It was published.
    Known(KnownRecord),
    /// Another publish has claimed it and is not settled.
    UnderWay,
}

/// All ids of all topics.
#[derive(Debug)]
pub(super) struct Index {
    limits: IndexLimits,
    topics: BTreeMap<TopicNumber, HashMap<Arc<str>, Slot>>,
    by_age: BTreeMap<(Timestamp, ClaimNumber), (TopicNumber, Arc<str>)>,
    under_way: usize,
    bytes: usize,
    next_topic: u64,
    next_claim: u64,
}

#[derive(Debug)]
enum Slot {
    UnderWay { claim: ClaimNumber, waiting: Vec<Waker> },
    Known { claim: ClaimNumber, at: Timestamp, record: KnownRecord },
}

impl Index {
    pub(super) fn new(limits: IndexLimits) -> Index {
        let (topics, by_age) = (BTreeMap::new(), BTreeMap::new());
        Index { limits, topics, by_age, under_way: 0, bytes: 0, next_topic: 0, next_claim: 0 }
    }

    /// A topic without ids.
    pub(super) fn add_topic(&mut self) -> TopicNumber {
        let topic = TopicNumber(self.next_topic);
        self.next_topic += 1;
        self.topics.insert(topic, HashMap::new());
        topic
    }

    /// Forgets a topic, none of whose ids is under way. What is returned may take long to drop.
    pub(super) fn remove_topic(&mut self, topic: TopicNumber) -> impl Sized + use<> {
        self.topics.remove(&topic)
    }

    /// Claims an id.
    pub(super) fn claim(&mut self, topic: TopicNumber, id: &str, now: Timestamp) -> Found {
        match self.topics.get(&topic).and_then(|ids| ids.get(id)) {
            Some(Slot::UnderWay { .. }) => return Found::UnderWay,
            Some(&Slot::Known { at, record, .. }) if !self.is_over(at, now) => return Found::Known(record),
            Some(&Slot::Known { at, claim, .. }) => self.remove_known(at, claim),
            None => {}
        }
        let (id, claim) = (Arc::<str>::from(id), self.number());
        self.under_way += 1;
        self.bytes += cost(&id);
        let slot = Slot::UnderWay { claim, waiting: Vec::new() };
        self.topics.entry(topic).or_default().insert(Arc::clone(&id), slot);
        Found::Fresh(id, claim)
    }

    /// Ready once nobody has the id under way; the waker is called when that may be so.
    pub(super) fn poll_settled(&mut self, topic: TopicNumber, id: &str, waker: &Waker) -> Poll<()> {
        match self.topics.get_mut(&topic).and_then(|ids| ids.get_mut(id)) {
            Some(Slot::UnderWay { waiting, .. }) => {
                if !waiting.iter().any(|known| known.will_wake(waker)) {
                    waiting.push(waker.clone());
                }
                Poll::Pending
            }
            Some(Slot::Known { .. }) | None => Poll::Ready(()),
        }
    }

    /// The record of a claimed id was appended; returns who waits for that.
    pub(super) fn settle(
        &mut self,
        topic: TopicNumber,
        id: &Arc<str>,
        claim: ClaimNumber,
        record: KnownRecord,
        at: Timestamp,
    ) -> Vec<Waker> {
        let waiting = self.release(topic, id, claim);
        self.insert_known(topic, Arc::clone(id), claim, record, at);
        waiting
    }

    /// The record of a claimed id was not appended; returns who waits for that.
    pub(super) fn release(&mut self, topic: TopicNumber, id: &Arc<str>, claim: ClaimNumber) -> Vec<Waker> {
        let Some(ids) = self.topics.get_mut(&topic) else { return Vec::new() };
        let is_own = |slot: &Slot| matches!(slot, Slot::UnderWay { claim: own, .. } if *own == claim);
        assert!(ids.get(id).is_some_and(is_own), "a claim is settled once");
        let slot = ids.remove(id);
        self.under_way -= 1;
        self.bytes -= cost(id);
        match slot {
            Some(Slot::UnderWay { waiting, .. }) => waiting,
            Some(Slot::Known { .. }) | None => Vec::new(),
        }
    }

    /// Takes in an id found in a log; of two records with one id the later counts.
    pub(super) fn load(&mut self, topic: TopicNumber, id: &str, record: KnownRecord, at: Timestamp) {
        match self.topics.get(&topic).and_then(|ids| ids.get(id)) {
            Some(Slot::UnderWay { .. }) => return,
            Some(&Slot::Known { at: other, .. }) if other > at => return,
            Some(&Slot::Known { at: other, claim, .. }) => self.remove_known(other, claim),
            None => {}
        }
        let claim = self.number();
        self.insert_known(topic, id.into(), claim, record, at);
    }

    /// Forgets an id whose record is gone.
    pub(super) fn forget(&mut self, topic: TopicNumber, id: &str, gone: KnownRecord) {
        let slot = self.topics.get(&topic).and_then(|ids| ids.get(id));
        if let Some(&Slot::Known { at, claim, record }) = slot
            && record == gone
        {
            self.remove_known(at, claim);
        }
    }

    /// Forgets ids whose window is over, at most so many; whether all are gone.
    pub(super) fn expire(&mut self, now: Timestamp, at_most: usize) -> bool {
        for _ in 0..at_most {
            match self.by_age.first_key_value() {
                Some((&(at, claim), _)) if self.is_over(at, now) => self.remove_known(at, claim),
                Some(_) | None => return true,
            }
        }
        false
    }

    /// Forgets the oldest ids while there are too many; returns how many. Those under way stay.
    pub(super) fn keep_limits(&mut self) -> usize {
        let before = self.by_age.len();
        while self.len() > self.limits.ids_max || self.bytes > self.limits.bytes_max {
            let Some((&(at, claim), _)) = self.by_age.first_key_value() else { break };
            self.remove_known(at, claim);
        }
        before - self.by_age.len()
    }

    /// How many ids are known or under way.
    pub(super) fn len(&self) -> usize {
        self.by_age.len() + self.under_way
    }

    fn is_over(&self, at: Timestamp, now: Timestamp) -> bool {
        now.since(at) >= self.limits.window_ms
    }

    fn number(&mut self) -> ClaimNumber {
        let claim = ClaimNumber(self.next_claim);
        self.next_claim += 1;
        claim
    }

    fn insert_known(
        &mut self,
        topic: TopicNumber,
        id: Arc<str>,
        claim: ClaimNumber,
        record: KnownRecord,
        at: Timestamp,
    ) {
        let Some(ids) = self.topics.get_mut(&topic) else { return };
        self.bytes += cost(&id);
        ids.insert(Arc::clone(&id), Slot::Known { claim, at, record });
        self.by_age.insert((at, claim), (topic, id));
    }

    fn remove_known(&mut self, at: Timestamp, claim: ClaimNumber) {
        let Some((topic, id)) = self.by_age.remove(&(at, claim)) else { return };
        self.bytes -= cost(&id);
        if let Some(ids) = self.topics.get_mut(&topic) {
            ids.remove(&id);
            if ids.is_empty() && ids.capacity() > CAPACITY_KEPT {
                *ids = HashMap::new();
            }
        }
    }
}

fn cost(id: &str) -> usize {
    ENTRY_BYTES + id.len()
}

#[cfg(test)]
mod tests;
