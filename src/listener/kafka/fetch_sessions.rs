//! Incremental fetch sessions (KIP-227): what a consumer reads is remembered, so that its next request names only what
//! changed, and its next answer only what is new.
//!
//! A session is begun by a request with epoch 0, and each of its requests has the number after the one before. It belongs
//! to no connection. There are never more than [`SESSIONS_MAX`], nor more than [`PARTITIONS_MAX`] partitions in all of them: who
//! finds no room, and may not take another's, is answered without a session, which every client understands.
//!
//! Pure: the time is handed in, and nothing waits here. It decides what is named in an answer and in which order partitions
//! are read, never what is in them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::protocol::kafka::{FetchPartition, FetchRequest, FetchSession, KafkaError};
use crate::types::{Offset, Timestamp};

/// Sessions at most.
pub(super) const SESSIONS_MAX: usize = 1_000;
/// Partitions in all sessions together at most.
pub(super) const PARTITIONS_MAX: usize = 100_000;
/// The longest name that is remembered: no topic has a longer one.
const NAME_BYTES_MAX: usize = 249;
/// How long a session has its place to itself, in milliseconds: one that was idle for longer gives way to any other, one
/// that is older to one that is as large.
const EVICTION_MS: i64 = 120_000;
/// The epoch after the first request's.
const SECOND_EPOCH: i32 = 1;

/// The sessions of a listener.
#[derive(Debug)]
pub(super) struct FetchSessions {
    sessions: HashMap<i32, Session>,
    partitions_count: usize,
    partitions_max: usize,
    ids: u64,
}

/// A partition as a request asks for it, and what its session was told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SessionPartition {
    /// The topic's name, which may be none that a topic can have.
    pub(super) topic: Arc<str>,
    /// The partition's index, which may be negative.
    pub(super) index: i32,
    /// What is asked.
    pub(super) asked: FetchPartition,
    /// What was told last; `None` before anything was, and after an error.
    pub(super) high_watermark: Option<Offset>,
    /// As above.
    pub(super) last_stable: Option<Offset>,
    /// As above.
    pub(super) log_start: Option<Offset>,
    /// Its place in the order of its session.
    turn: u64,
}

/// What one request is to be answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fetching {
    /// The session, 0 for none.
    pub(super) session_id: i32,
    /// Whether the answer leaves out what is not new: [`Fetching::names`].
    pub(super) is_incremental: bool,
    /// In the order in which they are to be read.
    pub(super) partitions: Vec<SessionPartition>,
    /// The epoch of the session's next request.
    epoch: i32,
}

/// What a partition is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// An error.
    Failure,
    /// Where it stands, and whether with records.
    State {
        /// The end of what consumers may see.
        high_watermark: Offset,
        /// The end of what readers of committed records may see.
        last_stable: Offset,
        /// The oldest offset that is kept.
        log_start: Offset,
        /// Whether there are any.
        has_records: bool,
    },
}

#[derive(Debug)]
struct Session {
    /// The epoch its next request must have.
    epoch: i32,
    created: Timestamp,
    last_used: Timestamp,
    /// By turn: who got records goes to the end.
    partitions: BTreeMap<u64, SessionPartition>,
    turns: HashMap<Arc<str>, BTreeMap<i32, u64>>,
    next_turn: u64,
}

impl SessionPartition {
    /// Whether an incremental answer has to name it.
    pub(super) fn has_news(&self, told: &Told) -> bool {
        match *told {
            Told::Failure => true,
            Told::State { high_watermark, last_stable, log_start, has_records } => {
                let known = (self.high_watermark, self.last_stable, self.log_start);
                has_records || known != (Some(high_watermark), Some(last_stable), Some(log_start))
            }
        }
    }

    fn asked(topic: &Arc<str>, asked: FetchPartition) -> SessionPartition {
        let (topic, index) = (Arc::clone(topic), asked.index);
        SessionPartition { topic, index, asked, high_watermark: None, last_stable: None, log_start: None, turn: 0 }
    }

    fn note(&mut self, told: &Told) {
        (self.high_watermark, self.last_stable, self.log_start) = match *told {
            Told::Failure => (None, None, None),
            Told::State { high_watermark, last_stable, log_start, .. } => {
                (Some(high_watermark), Some(last_stable), Some(log_start))
            }
        };
    }
}

impl Fetching {
    /// Whether the answer names a partition that is answered with this.
    pub(super) fn names(&self, partition: &SessionPartition, told: &Told) -> bool {
        !self.is_incremental || partition.has_news(told)
    }

    fn without_session(request: &FetchRequest) -> Fetching {
        let partitions = Session::new(request, Timestamp::NONE).partitions;
        Fetching { session_id: 0, is_incremental: false, partitions: partitions.into_values().collect(), epoch: 0 }
    }
}

impl FetchSessions {
    /// No sessions yet. The seed makes ids differ from those of another run, whose clients may still come.
    pub(super) fn new(seed: u64) -> FetchSessions {
        FetchSessions { sessions: HashMap::new(), partitions_count: 0, partitions_max: PARTITIONS_MAX, ids: seed }
    }

    /// What a request is to be answered with. Its session then expects the next one.
    ///
    /// # Errors
    /// [`KafkaError::FetchSessionIdNotFound`] where the session is gone, or has no room for what is added, which ends it;
    /// [`KafkaError::InvalidFetchSessionEpoch`] where the request is not the next one. The client begins anew after either.
    pub(super) fn begin(&mut self, request: &FetchRequest, now: Timestamp) -> Result<Fetching, KafkaError> {
        match request.session {
            FetchSession::Sessionless { ends } => {
                self.remove(ends);
                Ok(Fetching::without_session(request))
            }
            FetchSession::New { replaces } => {
                self.remove(replaces);
                Ok(self.begin_session(request, now))
            }
            FetchSession::Next { id, epoch } => self.go_on(id, epoch, request, now),
        }
    }

    /// Takes note of what is answered: for each of `fetching.partitions`, in their order. Partitions that got records are read
    /// last next time. Does nothing where the session ended or went on meanwhile.
    pub(super) fn end(&mut self, fetching: &Fetching, told: impl IntoIterator<Item = Told>) {
        let session = self.sessions.get_mut(&fetching.session_id).filter(|session| session.epoch == fetching.epoch);
        let Some(session) = session else { return };
        for (partition, told) in fetching.partitions.iter().zip(told) {
            session.note(partition.turn, &told);
        }
    }

    fn begin_session(&mut self, request: &FetchRequest, now: Timestamp) -> Fetching {
        let has_room = request.partition_count <= self.partitions_max && has_only_names(request);
        let session = Session::new(request, now);
        let partitions: Vec<_> = session.partitions.values().cloned().collect();
        if !has_room || !self.make_room(partitions.len(), now) {
            return Fetching { session_id: 0, is_incremental: false, partitions, epoch: 0 };
        }
        let session_id = self.fresh_id();
        self.partitions_count += partitions.len();
        self.sessions.insert(session_id, session);
        Fetching { session_id, is_incremental: false, partitions, epoch: SECOND_EPOCH }
    }

    fn go_on(&mut self, id: i32, epoch: i32, request: &FetchRequest, now: Timestamp) -> Result<Fetching, KafkaError> {
        let session = self.sessions.get_mut(&id).ok_or(KafkaError::FetchSessionIdNotFound)?;
        if session.epoch != epoch {
            return Err(KafkaError::InvalidFetchSessionEpoch);
        }
        let others = self.partitions_count - session.partitions.len();
        let fits = others + session.partitions.len() + request.partition_count <= self.partitions_max;
        if !fits || !has_only_names(request) {
            self.remove(id);
            return Err(KafkaError::FetchSessionIdNotFound);
        }
        session.change(request);
        session.last_used = now;
        session.epoch = session.epoch.checked_add(1).unwrap_or(SECOND_EPOCH);
        self.partitions_count = others + session.partitions.len();
        if session.partitions.is_empty() {
            self.remove(id);
            return Ok(Fetching::without_session(request));
        }
        let partitions = session.partitions.values().cloned().collect();
        Ok(Fetching { session_id: id, is_incremental: true, partitions, epoch: session.epoch })
    }

    /// Whether there is room for one session more with so many partitions, after ending those that have to give way.
    fn make_room(&mut self, partitions: usize, now: Timestamp) -> bool {
        while self.sessions.len() >= SESSIONS_MAX || self.partitions_count + partitions > self.partitions_max {
            let Some(id) = self.evictable(partitions, now) else { return false };
            self.remove(id);
        }
        true
    }

    /// The session that gives way to one of so many partitions: the one idle for longest, where that is long enough, else the
    /// smallest of the old ones, where it is not larger.
    fn evictable(&self, partitions: usize, now: Timestamp) -> Option<i32> {
        let idlest = self.sessions.iter().min_by_key(|(id, session)| (session.last_used, **id))?;
        if now.since(idlest.1.last_used) > EVICTION_MS {
            return Some(*idlest.0);
        }
        let old = self.sessions.iter().filter(|(_, session)| now.since(session.created) > EVICTION_MS);
        let smallest = old.min_by_key(|(id, session)| (session.partitions.len(), **id))?;
        (smallest.1.partitions.len() <= partitions).then_some(*smallest.0)
    }

    fn remove(&mut self, id: i32) {
        if let Some(session) = self.sessions.remove(&id) {
            self.partitions_count -= session.partitions.len();
        }
    }

    /// An id that no session has: positive, and not easily met by chance (the numbers are counted, and mixed as SplitMix64
    /// does).
    fn fresh_id(&mut self) -> i32 {
        loop {
            self.ids = self.ids.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.ids;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let id = i32::try_from(mixed >> 33).unwrap_or(0);
            if id != 0 && !self.sessions.contains_key(&id) {
                return id;
            }
        }
    }
}

impl Session {
    fn new(request: &FetchRequest, now: Timestamp) -> Session {
        let (partitions, turns) = (BTreeMap::new(), HashMap::new());
        let mut session =
            Session { epoch: SECOND_EPOCH, created: now, last_used: now, partitions, turns, next_turn: 0 };
        session.change(request);
        session
    }

    /// Takes in what a request names, and forgets what it wants forgotten. Who is named twice is asked for as named last.
    fn change(&mut self, request: &FetchRequest) {
        for topic in request.topics() {
            let name =
                self.turns.get_key_value(topic.name).map_or_else(|| topic.name.into(), |(name, _)| Arc::clone(name));
            for asked in topic.partitions() {
                self.ask(&name, asked);
            }
        }
        for topic in request.forgotten() {
            for index in topic.partitions() {
                self.forget(topic.name, index);
            }
        }
    }

    fn ask(&mut self, topic: &Arc<str>, asked: FetchPartition) {
        let turns = self.turns.entry(Arc::clone(topic)).or_default();
        if let Some(known) = turns.get(&asked.index).and_then(|turn| self.partitions.get_mut(turn)) {
            known.asked = asked;
            return;
        }
        turns.insert(asked.index, self.next_turn);
        self.partitions
            .insert(self.next_turn, SessionPartition { turn: self.next_turn, ..SessionPartition::asked(topic, asked) });
        self.next_turn += 1;
    }

    fn forget(&mut self, topic: &str, index: i32) {
        let Some(turns) = self.turns.get_mut(topic) else { return };
        if let Some(turn) = turns.remove(&index) {
            self.partitions.remove(&turn);
        }
        if turns.is_empty() {
            self.turns.remove(topic);
        }
    }

    fn note(&mut self, turn: u64, told: &Told) {
        let Some(partition) = self.partitions.get_mut(&turn) else { return };
        partition.note(told);
        if !matches!(told, Told::State { has_records: true, .. }) {
            return;
        }
        if let Some(mut partition) = self.partitions.remove(&turn) {
            partition.turn = self.next_turn;
            if let Some(turns) = self.turns.get_mut(&partition.topic) {
                turns.insert(partition.index, self.next_turn);
            }
            self.partitions.insert(self.next_turn, partition);
            self.next_turn += 1;
        }
    }
}

/// Whether every name is short enough to be remembered.
fn has_only_names(request: &FetchRequest) -> bool {
    request.topics().all(|topic| topic.name.len() <= NAME_BYTES_MAX)
}

#[cfg(test)]
mod tests;
