//! Who takes turns in a group: a listener serves such members, and the broker knows that they are there.

use std::sync::Arc;

use super::GroupError;
use crate::broker::{Broker, BrokerError};

/// A member that takes turns, for as long as this is not dropped.
#[derive(Debug)]
pub struct TakingTurns {
    broker: Arc<Broker>,
    group: Arc<str>,
    is_first: bool,
}

impl TakingTurns {
    /// Whether the group had no other such member when it came.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.is_first
    }
}

impl Drop for TakingTurns {
    fn drop(&mut self) {
        self.broker.groups.end_turns(&self.group);
    }
}

impl Broker {
    /// Notes that a group has one more member that takes turns.
    #[must_use]
    pub fn take_turns(self: &Arc<Self>, group: &Arc<str>) -> TakingTurns {
        let is_first = self.groups.begin_turns(group);
        TakingTurns { broker: Arc::clone(self), group: Arc::clone(group), is_first }
    }

    /// Whether a group has no members, of whichever kind.
    ///
    /// # Errors
    /// [`GroupError::NotEmpty`].
    pub fn check_without_members(&self, group: &Arc<str>) -> Result<(), BrokerError> {
        Ok(self.check_abandoned(&self.coordinator(group), group)?)
    }

    pub(super) fn check_abandoned(&self, coordinator: &super::Coordinator, group: &Arc<str>) -> Result<(), GroupError> {
        self.check_empty(coordinator, group)?;
        match self.groups.taking_turns(group) {
            0 => Ok(()),
            members => Err(GroupError::NotEmpty { group: group.to_string(), members }),
        }
    }
}
