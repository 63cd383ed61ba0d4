//! The coordinators: for each partition of `__offsets` the groups whose ids lead there, with their members.
//!
//! Members are not in the log. What the log keeps of a group is its kind, a generation above all it has given out, and how
//! long its members are expected back after a restart. So a group without members is nothing but its record.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};

use super::classic::{ClassicAnswer, ClassicOptions};
use super::classic_members::Following;
use super::error::GroupError;
use super::group::{Group, MEMBERS_MAX};
use super::joining::WaitingJoin;
use super::kind::{GroupKind, GroupRecord};
use super::live_classic::{LiveClassic, Told, WaitingClassic};
use super::member::{Generation, MemberDetails};
use super::selection::{SeenTopic, TopicsView};
use crate::types::{Timestamp, TopicName};

/// Groups at most.
pub const GROUPS_MAX: usize = 100_000;
/// Bytes that the members of all groups take at most, roughly. One that joined is remembered for its session, whatever
/// becomes of its connection.
pub const MEMBERS_BYTES_MAX: usize = 256 << 20;
/// Generations that are noted in the log as given out before they are.
const GENERATIONS_AHEAD: u64 = 10_000;
/// A broker that was not heard of for so long, in milliseconds, was stopped: its members are not to blame.
const SILENCE_MS: i64 = 3_000;

/// All groups with members.
#[derive(Debug)]
pub(in crate::broker) struct Groups {
    coordinators: Vec<Mutex<Coordinator>>,
    topics: Mutex<TopicsView>,
    /// How many members take turns in each group of that kind, which a listener serves.
    taking_turns: Mutex<BTreeMap<Arc<str>, usize>>,
    /// When idle groups were last looked for.
    expired_at: Mutex<Option<Timestamp>>,
    /// When the broker was started.
    started_at: Timestamp,
    /// What classic groups may do.
    classic_options: ClassicOptions,
}

/// The groups of one partition of `__offsets`.
#[derive(Debug, Default)]
pub(in crate::broker) struct Coordinator {
    groups: BTreeMap<Arc<str>, Live>,
    /// Who waits for the record that lets a group begin.
    waiting: BTreeMap<Arc<str>, Vec<WaitingJoin>>,
    classics: BTreeMap<Arc<str>, LiveClassic>,
    /// Who waits for the record that lets a classic group begin.
    waiting_classics: BTreeMap<Arc<str>, Vec<WaitingClassic>>,
    /// Bytes of the members of all groups, also those of other coordinators.
    pub(super) members_bytes: Arc<AtomicUsize>,
    stepped_at: Option<Timestamp>,
}

/// A group with members, and its record as far as it is written.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) group: Group,
    pub(super) record: GroupRecord,
    /// Whether writing the record failed.
    is_unwritten: bool,
    /// When its positions were kept from expiring.
    confirmed_at: Option<Timestamp>,
}

impl Live {
    /// What is to be written now, if anything is.
    fn due_record(&mut self) -> Option<GroupRecord> {
        let session_ms = self.group.members().values().map(|member| member.details.session_timeout_ms).max();
        let generation = self.group.generation().0;
        let is_short = self.record.generations < generation + GENERATIONS_AHEAD / 2;
        let session_ms = session_ms.unwrap_or(0);
        if !is_short && session_ms == self.record.session_ms && !std::mem::take(&mut self.is_unwritten) {
            return None;
        }
        let generations = if is_short { generation + GENERATIONS_AHEAD } else { self.record.generations };
        self.record = GroupRecord { session_ms, generations, ..self.record };
        Some(self.record)
    }
}

/// How a group begins to have members, once its record is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Beginning {
    generation: Generation,
    recovers_until: Option<Timestamp>,
    pub(super) record: GroupRecord,
}

/// A record to be written.
pub(super) type DueRecord = (Arc<str>, GroupRecord);

impl Groups {
    /// No members anywhere; as many coordinators as `__offsets` has partitions at most.
    pub(in crate::broker) fn new(coordinators: u32, classic_options: ClassicOptions, started_at: Timestamp) -> Groups {
        let members_bytes = Arc::new(AtomicUsize::new(0));
        let coordinator = |_| {
            let members_bytes = Arc::clone(&members_bytes);
            Mutex::new(Coordinator { members_bytes, ..Coordinator::default() })
        };
        let coordinators = (0..coordinators.max(1)).map(coordinator).collect();
        Groups {
            coordinators,
            topics: Mutex::default(),
            taking_turns: Mutex::default(),
            expired_at: Mutex::default(),
            started_at,
            classic_options,
        }
    }

    /// What classic groups may do.
    pub(super) fn classic_options(&self) -> ClassicOptions {
        self.classic_options
    }

    pub(super) fn coordinator(&self, slot: usize) -> MutexGuard<'_, Coordinator> {
        self.coordinators[slot % self.coordinators.len()].lock()
    }

    pub(in crate::broker) fn coordinators(&self) -> impl Iterator<Item = MutexGuard<'_, Coordinator>> {
        self.coordinators.iter().map(Mutex::lock)
    }

    /// The topics as they are now, which is where most groups have seen them.
    pub(super) fn view(&self, topics: BTreeMap<TopicName, SeenTopic>) -> TopicsView {
        let known = self.topics.lock();
        if **known == topics { Arc::clone(&known) } else { Arc::new(topics) }
    }

    /// The topics, where they are others than when this was last asked: then every group is to see them.
    pub(super) fn changed_topics(&self, topics: BTreeMap<TopicName, SeenTopic>) -> Option<TopicsView> {
        let mut known = self.topics.lock();
        if **known == topics {
            return None;
        }
        *known = Arc::new(topics);
        Some(Arc::clone(&known))
    }

    /// Groups whose positions were not confirmed for so long; they count as confirmed now.
    pub(super) fn unconfirmed(&self, after_ms: i64, now: Timestamp) -> Vec<Arc<str>> {
        let mut unconfirmed = Vec::new();
        for mut coordinator in self.coordinators() {
            let Coordinator { groups, classics, .. } = &mut *coordinator;
            let native = groups.iter_mut().map(|(id, live)| (id, &mut live.confirmed_at));
            let classic = classics.iter_mut().map(|(id, live)| (id, &mut live.confirmed_at));
            for (id, confirmed_at) in native.chain(classic) {
                if now.since(*confirmed_at.get_or_insert(now)) >= after_ms {
                    *confirmed_at = Some(now);
                    unconfirmed.push(Arc::clone(id));
                }
            }
        }
        unconfirmed
    }

    /// Members that take turns in a group.
    pub(super) fn taking_turns(&self, group: &str) -> usize {
        self.taking_turns.lock().get(group).copied().unwrap_or(0)
    }

    /// One more; whether there was none before.
    pub(super) fn begin_turns(&self, group: &Arc<str>) -> bool {
        let mut taking_turns = self.taking_turns.lock();
        let count = taking_turns.entry(Arc::clone(group)).or_default();
        *count += 1;
        *count == 1
    }

    pub(super) fn end_turns(&self, group: &Arc<str>) {
        if let Entry::Occupied(mut count) = self.taking_turns.lock().entry(Arc::clone(group)) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// Whether it is time to look for idle groups; from then on it was done.
    pub(super) fn is_expiry_due(&self, every_ms: i64, now: Timestamp) -> bool {
        let mut expired_at = self.expired_at.lock();
        let is_due = expired_at.is_none_or(|before| now.since(before) >= every_ms);
        if is_due {
            *expired_at = Some(now);
        }
        is_due
    }

    /// How a group goes on that has no members and this record: generations above those of before, and members of before a
    /// restart are expected back.
    pub(super) fn beginning(&self, kept: Option<GroupRecord>, session_ms: i64, now: Timestamp) -> Beginning {
        let before = kept.map_or(0, |kept| kept.generations);
        let expected_until = self.started_at.plus_millis(kept.map_or(0, |kept| kept.session_ms));
        let generations = before + GENERATIONS_AHEAD;
        Beginning {
            generation: Generation(before),
            recovers_until: (expected_until > now).then_some(expected_until),
            record: GroupRecord { kind: GroupKind::Partitioned, generations, session_ms },
        }
    }
}

impl Coordinator {
    pub(super) fn get(&self, group: &str) -> Option<&Live> {
        self.groups.get(group)
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = (&Arc<str>, &Live)> {
        self.groups.iter()
    }

    /// Whether there is memory for one more member.
    ///
    /// # Errors
    /// [`GroupError::TooMuchOfMembers`].
    pub(super) fn check_room(&self, details: &MemberDetails) -> Result<(), GroupError> {
        let bytes = self.members_bytes.load(Ordering::Relaxed) + details.bytes();
        if bytes > MEMBERS_BYTES_MAX { Err(GroupError::TooMuchOfMembers) } else { Ok(()) }
    }

    /// Whether the record is being written that lets a group begin.
    pub(super) fn is_beginning(&self, group: &str) -> bool {
        self.waiting.contains_key(group)
    }

    /// Lets a member wait until the group begins; it is returned where too many wait.
    pub(super) fn wait_for_begin(&mut self, group: &Arc<str>, waiting: WaitingJoin) -> Option<WaitingJoin> {
        let others = self.waiting.entry(Arc::clone(group)).or_default();
        if others.len() >= MEMBERS_MAX {
            return Some(waiting);
        }
        others.push(waiting);
        None
    }

    /// Everybody who waits for a group to begin.
    pub(super) fn end_waiting(&mut self, group: &str) -> Vec<WaitingJoin> {
        self.waiting.remove(group).unwrap_or_default()
    }

    /// Lets a group have members, if it has none yet.
    pub(super) fn begin(&mut self, group: &Arc<str>, beginning: Beginning, topics: &TopicsView) {
        if let Entry::Vacant(vacant) = self.groups.entry(Arc::clone(group)) {
            let Beginning { generation, recovers_until, record } = beginning;
            let group = Group::new(generation, Arc::clone(topics), recovers_until);
            vacant.insert(Live { group, record, is_unwritten: false, confirmed_at: None });
        }
    }

    /// Writes a group's record once more with the next step, as it is then.
    pub(super) fn write_again(&mut self, group: &Arc<str>) {
        if let Some(live) = self.groups.get_mut(group) {
            live.is_unwritten = true;
        }
        if let Some(live) = self.classics.get_mut(group) {
            live.is_unwritten = true;
        }
    }

    /// The time, as far as anybody here knows it.
    pub(super) fn latest(&self, now: Timestamp) -> Timestamp {
        self.stepped_at.map_or(now, |stepped_at| stepped_at.max(now))
    }

    /// Changes a group that has members; answers with what is to be written for it. Without members it is nothing but its
    /// record from then on.
    pub(super) fn change<R>(
        &mut self,
        id: &Arc<str>,
        change: impl FnOnce(&mut Group) -> Result<R, GroupError>,
    ) -> Result<(R, Option<DueRecord>), GroupError> {
        let live = self.groups.get_mut(id).ok_or_else(|| GroupError::UnknownGroup { group: id.to_string() })?;
        let before = live.group.bytes();
        let result = change(&mut live.group);
        count(&self.members_bytes, before, live.group.bytes());
        let result = result?;
        let due = live.due_record().map(|record| (Arc::clone(id), record));
        if live.group.members().is_empty() {
            self.groups.remove(id);
        }
        Ok((result, due))
    }

    /// Does what time has made due in every group; answers with what is to be written, and with answers to be given.
    pub(super) fn step(&mut self, topics: Option<&TopicsView>, now: Timestamp) -> (Vec<DueRecord>, Vec<Told>) {
        let silence_ms = self.stepped_at.map_or(0, |before| now.since(before));
        self.stepped_at = Some(now);
        let mut told = Vec::new();
        let mut due = self.step_classics(silence_ms, now, &mut told);
        due.extend(self.step_divided(topics, silence_ms, now));
        (due, told)
    }

    fn step_classics(&mut self, silence_ms: i64, now: Timestamp, told: &mut Vec<Told>) -> Vec<DueRecord> {
        let (mut due, members_bytes) = (Vec::new(), &self.members_bytes);
        self.classics.retain(|id, live| {
            if !(0..=SILENCE_MS).contains(&silence_ms) {
                live.group.excuse(silence_ms);
            }
            let before = live.group.bytes();
            let mut answers = Vec::new();
            for member in live.group.step(now, &mut answers) {
                tracing::info!(group = &**id, %member, "a member was removed from its group");
            }
            count(members_bytes, before, live.group.bytes());
            told.extend(live.told(answers));
            due.extend(live.due_record().map(|record| (Arc::clone(id), record)));
            !live.group.is_deserted()
        });
        due
    }

    fn step_divided(&mut self, topics: Option<&TopicsView>, silence_ms: i64, now: Timestamp) -> Vec<DueRecord> {
        let (mut due, members_bytes) = (Vec::new(), &self.members_bytes);
        self.groups.retain(|id, live| {
            if !(0..=SILENCE_MS).contains(&silence_ms) {
                live.group.excuse(silence_ms);
            }
            if let Some(topics) = topics {
                live.group.set_topics(topics, now);
            }
            let before = live.group.bytes();
            let removed = live.group.step(now);
            count(members_bytes, before, live.group.bytes());
            for (member, reason) in removed {
                tracing::info!(group = &**id, %member, reason, "a member was removed from its group");
            }
            due.extend(live.due_record().map(|record| (Arc::clone(id), record)));
            !live.group.members().is_empty()
        });
        due
    }
}

impl Coordinator {
    pub(super) fn classic(&self, group: &str) -> Option<&LiveClassic> {
        self.classics.get(group)
    }

    pub(super) fn classics(&self) -> impl Iterator<Item = (&Arc<str>, &LiveClassic)> {
        self.classics.iter()
    }

    /// Members of a group that has some, of either kind.
    pub(super) fn members_count(&self, group: &str) -> usize {
        let classic = self.classics.get(group).map_or(0, |live| live.group.members_count());
        classic + self.groups.get(group).map_or(0, |live| live.group.members().len())
    }

    /// Bytes of the members of all groups.
    pub(in crate::broker) fn members_bytes(&self) -> usize {
        self.members_bytes.load(Ordering::Relaxed)
    }

    /// When time was last told.
    pub(super) fn stepped_at(&self) -> Timestamp {
        self.stepped_at.unwrap_or_default()
    }

    /// Whether the last step is no longer ago than steps are.
    pub(super) fn is_awake(&self, now: Timestamp) -> bool {
        self.stepped_at.is_none_or(|before| (0..=SILENCE_MS).contains(&now.since(before)))
    }

    /// Whether the record is being written that lets a classic group begin.
    pub(super) fn is_classic_beginning(&self, group: &str) -> bool {
        self.waiting_classics.contains_key(group)
    }

    /// As [`Coordinator::wait_for_begin`].
    pub(super) fn wait_for_classic(&mut self, group: &Arc<str>, waiting: WaitingClassic) -> Option<WaitingClassic> {
        let others = self.waiting_classics.entry(Arc::clone(group)).or_default();
        if others.len() >= MEMBERS_MAX {
            return Some(waiting);
        }
        others.push(waiting);
        None
    }

    /// Everybody who waits for a classic group to begin.
    pub(super) fn end_waiting_classics(&mut self, group: &str) -> Vec<WaitingClassic> {
        self.waiting_classics.remove(group).unwrap_or_default()
    }

    /// Lets a classic group have members, if it has none yet.
    pub(super) fn begin_classic(&mut self, group: &Arc<str>, live: LiveClassic) {
        self.classics.entry(Arc::clone(group)).or_insert(live);
    }

    /// Forgets a classic group that has no members; answers to be given.
    pub(super) fn delete_classic(&mut self, id: &str) -> Vec<Told> {
        let Some(mut live) = self.classics.remove(id) else { return Vec::new() };
        let (before, mut answers) = (live.group.bytes(), Vec::new());
        live.group.delete(&mut answers);
        count(&self.members_bytes, before, live.group.bytes());
        live.told(answers)
    }

    /// Changes a classic group that has members; `None` where it has none. Once nobody is left it is nothing but its record.
    pub(super) fn change_classic<R>(
        &mut self,
        id: &Arc<str>,
        change: impl FnOnce(&mut LiveClassic, &mut Vec<ClassicAnswer>) -> R,
    ) -> Option<(R, Following)> {
        let live = self.classics.get_mut(id)?;
        let before = live.group.bytes();
        let mut answers = Vec::new();
        let result = change(live, &mut answers);
        count(&self.members_bytes, before, live.group.bytes());
        let told = live.told(answers);
        let due = live.due_record().map(|record| (Arc::clone(id), record));
        if live.group.is_deserted() {
            self.classics.remove(id);
        }
        Some((result, Following { told, due }))
    }
}

fn count(total: &AtomicUsize, before: usize, after: usize) {
    total.fetch_add(after, Ordering::Relaxed);
    total.fetch_sub(before, Ordering::Relaxed);
}
