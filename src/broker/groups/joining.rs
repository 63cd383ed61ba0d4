//! Members that wait for their group to begin.

use std::fmt;

use super::{JoinGroup, Joined};
use crate::broker::BrokerError;
use crate::broker::positions::Answers;
use crate::types::Timestamp;

/// What a member that asks to join is told, once.
pub(super) struct JoinReply(Box<dyn FnOnce(Result<Joined, BrokerError>) + Send>);

impl JoinReply {
    pub(super) fn new(reply: impl FnOnce(Result<Joined, BrokerError>) + Send + 'static) -> JoinReply {
        JoinReply(Box::new(reply))
    }

    pub(super) fn send(self, result: Result<Joined, BrokerError>) {
        (self.0)(result);
    }
}

impl fmt::Debug for JoinReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinReply")
    }
}

/// A member that asks to join.
#[derive(Debug)]
pub(super) struct WaitingJoin {
    pub(super) join: JoinGroup,
    pub(super) now: Timestamp,
    pub(super) reply: JoinReply,
}

/// One that was taken in or refused: what to say to it, and what follows from the group's record, once no lock is held.
pub(super) type TakenIn = (JoinReply, Result<Joined, BrokerError>, Option<(usize, Answers)>);
