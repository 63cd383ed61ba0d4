//! Groups of Kafka's classic protocol: who coordinates them, their members, and what tools ask of them.

mod administration;
mod coordinator;
mod joining;
mod membership;

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::protocol::StrBytes;
use tokio::sync::oneshot;

use super::KafkaListener;
use crate::broker::groups::classic::ClassicError;
use crate::broker::groups::{Generation, MemberId};
use crate::broker::{BrokerError, CLIENT_ID_BYTES_MAX};
use crate::protocol::kafka::KafkaError;

/// Shortest time between two looks at what is due in a group whose members wait …
const LOOK_MIN: Duration = Duration::from_millis(10);
/// … and the longest.
const LOOK_MAX: Duration = Duration::from_secs(1);

impl KafkaListener {
    /// Waits for an answer of a group, and lets the group go on where its time is up: the broker's own steps are too far
    /// apart for those who wait. `None` where the broker has stopped.
    async fn answer_of<T>(&self, group: &Arc<str>, mut answer: oneshot::Receiver<T>) -> Option<T> {
        loop {
            let due_ms = self.broker.classic_due(group).map(|due| due.since(self.now()));
            let due = due_ms.map_or(LOOK_MAX, |millis| Duration::from_millis(u64::try_from(millis).unwrap_or(0)));
            match tokio::time::timeout(due.clamp(LOOK_MIN, LOOK_MAX), &mut answer).await {
                Ok(answer) => return answer.ok(),
                Err(_) => self.broker.step_classic_group(group, self.now()),
            }
        }
    }
}

/// A group's id, if it can be one.
pub(super) fn group_id(id: &str) -> Result<Arc<str>, KafkaError> {
    if (1..=CLIENT_ID_BYTES_MAX).contains(&id.len()) { Ok(Arc::from(id)) } else { Err(KafkaError::InvalidGroupId) }
}

/// A member's id; `None` of a client that has none.
pub(super) fn member_id(id: &str) -> Option<MemberId> {
    (!id.is_empty()).then(|| MemberId::new(id))
}

/// A generation; `None` where it is none.
pub(super) fn generation(id: i32) -> Option<Generation> {
    u64::try_from(id).ok().map(Generation)
}

/// What a coordinator says of an error: a broker that cannot write is, to clients, one that does not coordinate.
pub(super) fn coordinator_error(error: &BrokerError) -> KafkaError {
    let error = KafkaError::from(error);
    if error == KafkaError::RequestTimedOut {
        return KafkaError::CoordinatorNotAvailable;
    }
    let is_elsewhere = [KafkaError::KafkaStorageError, KafkaError::NotLeaderOrFollower].contains(&error);
    if is_elsewhere { KafkaError::NotCoordinator } else { error }
}

impl From<&ClassicError> for KafkaError {
    fn from(error: &ClassicError) -> KafkaError {
        match error {
            ClassicError::UnknownMember => KafkaError::UnknownMemberId,
            ClassicError::IllegalGeneration => KafkaError::IllegalGeneration,
            ClassicError::RebalanceInProgress => KafkaError::RebalanceInProgress,
            ClassicError::MemberIdRequired { .. } => KafkaError::MemberIdRequired,
            ClassicError::InconsistentProtocol => KafkaError::InconsistentGroupProtocol,
            ClassicError::FencedInstance => KafkaError::FencedInstanceId,
            ClassicError::Full => KafkaError::GroupMaxSizeReached,
            ClassicError::SessionTimeout => KafkaError::InvalidSessionTimeout,
            ClassicError::Gone => KafkaError::CoordinatorNotAvailable,
        }
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
