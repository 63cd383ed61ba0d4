//! A classic group that has members, who of them waits for an answer, and its record as far as it is written.

use std::collections::BTreeMap;
use std::fmt;

use super::classic::{ClassicAnswer, ClassicError, ClassicGroup, ClassicJoin, ClassicOptions, Joined, Synced, Ticket};
use super::error::GroupError;
use super::kind::{GroupKind, GroupRecord};
use super::member::Generation;
use crate::broker::BrokerError;
use crate::types::Timestamp;

/// Generations that are noted in the log as given out before they are.
const GENERATIONS_AHEAD: u64 = 1_000;
/// Generations after which a group begins anew: in Kafka's protocol they are positive numbers of 32 bits.
const GENERATIONS_MAX: u64 = (1 << 31) - 1_000_000;

/// Whom to answer, and how.
pub(super) enum ClassicReply {
    Join(Box<dyn FnOnce(Result<Joined, BrokerError>) + Send>),
    Sync(Box<dyn FnOnce(Result<Synced, BrokerError>) + Send>),
}

impl ClassicReply {
    pub(super) fn refuse(self, error: BrokerError) {
        match self {
            ClassicReply::Join(reply) => reply(Err(error)),
            ClassicReply::Sync(reply) => reply(Err(error)),
        }
    }
}

impl fmt::Debug for ClassicReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClassicReply")
    }
}

/// A member that waits for its group to begin.
#[derive(Debug)]
pub(super) struct WaitingClassic {
    pub(super) join: ClassicJoin,
    pub(super) now: Timestamp,
    pub(super) reply: ClassicReply,
}

/// An answer to be given once no lock is held.
#[derive(Debug)]
pub(super) struct Told(ClassicReply, ClassicAnswer);

impl Told {
    pub(super) fn send(self) {
        let refused = |error: ClassicError| BrokerError::from(GroupError::Classic(error));
        match (self.0, self.1) {
            (ClassicReply::Join(reply), ClassicAnswer::Join { result, .. }) => {
                reply(result.map(|joined| *joined).map_err(refused));
            }
            (ClassicReply::Sync(reply), ClassicAnswer::Sync { result, .. }) => reply(result.map_err(refused)),
            (reply, ClassicAnswer::Join { .. } | ClassicAnswer::Sync { .. }) => {
                debug_assert!(false, "an answer of another kind than what was asked for");
                reply.refuse(refused(ClassicError::Gone));
            }
        }
    }
}

/// How a classic group begins to have members, once its record is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClassicBeginning {
    generation: Generation,
    pub(super) record: GroupRecord,
}

impl ClassicBeginning {
    /// Generations go on above those of before.
    pub(super) fn new(kept: Option<GroupRecord>) -> ClassicBeginning {
        let below = kept.map_or(0, |kept| kept.generations);
        let below = if below > GENERATIONS_MAX { 0 } else { below };
        let generation = Generation(below.saturating_sub(1));
        ClassicBeginning { generation, record: record(generation.0 + 1 + GENERATIONS_AHEAD) }
    }
}

fn record(generations: u64) -> GroupRecord {
    GroupRecord { kind: GroupKind::Classic, generations, session_ms: 0 }
}

/// A classic group with members, or one that waits for some.
#[derive(Debug)]
pub(super) struct LiveClassic {
    pub(super) group: ClassicGroup,
    pub(super) record: GroupRecord,
    /// Whether writing the record failed.
    pub(super) is_unwritten: bool,
    /// When its positions were kept from expiring.
    pub(super) confirmed_at: Option<Timestamp>,
    /// Who waits for what.
    waiting: BTreeMap<Ticket, ClassicReply>,
    tickets: u64,
}

impl LiveClassic {
    pub(super) fn new(options: ClassicOptions, beginning: ClassicBeginning) -> LiveClassic {
        LiveClassic {
            group: ClassicGroup::new(options, beginning.generation),
            record: beginning.record,
            is_unwritten: false,
            confirmed_at: None,
            waiting: BTreeMap::new(),
            tickets: 0,
        }
    }

    /// Lets somebody wait for the answer that comes with this ticket.
    pub(super) fn wait(&mut self, reply: ClassicReply) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.waiting.insert(ticket, reply);
        ticket
    }

    /// Who is told what.
    pub(super) fn told(&mut self, answers: Vec<ClassicAnswer>) -> Vec<Told> {
        let told = answers.into_iter().filter_map(|answer| {
            let (ClassicAnswer::Join { ticket, .. } | ClassicAnswer::Sync { ticket, .. }) = &answer;
            Some(Told(self.waiting.remove(ticket)?, answer))
        });
        told.collect()
    }

    /// What is to be written now, if anything is. Without members the record says exactly which generations there were.
    pub(super) fn due_record(&mut self) -> Option<GroupRecord> {
        let generation = self.group.generation().0;
        let generations = if self.group.is_deserted() {
            if generation == 0 { 0 } else { generation + 1 }
        } else if self.record.generations < generation + 1 + GENERATIONS_AHEAD / 2 {
            generation + 1 + GENERATIONS_AHEAD
        } else {
            self.record.generations
        };
        let is_due = generations != self.record.generations || std::mem::take(&mut self.is_unwritten);
        self.record = record(generations);
        is_due.then_some(self.record)
    }
}
