//! From a request to its effect: one line of the log for each request that changes something or fails, under the
//! connection's number and the request's. Costs nothing but a look at the level where such lines are not shown.

use super::answer::Answer;
use crate::protocol::native::{Frame, FrameType};

/// A connection's number: unique while the server runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ConnectionNumber(pub(super) u64);

/// A request as the log names it, kept until it is answered.
#[derive(Debug)]
pub(super) struct Noted {
    sequence: u64,
    kind: FrameType,
    topic: Option<Box<str>>,
    partition: Option<Box<str>>,
}

/// Whether requests are logged at all.
pub(super) fn is_wanted() -> bool {
    tracing::enabled!(tracing::Level::DEBUG)
}

impl Noted {
    /// The frame's. One that wants no answer is logged at once.
    pub(super) fn of(connection: ConnectionNumber, frame: &Frame) -> Noted {
        let property = |name| frame.properties.get(name).map(Box::from);
        let (topic, partition) = (property("topic"), property("partition"));
        let noted = Noted { sequence: frame.sequence, kind: frame.kind, topic, partition };
        if frame.properties.get("wiber.ack") == Some("none") {
            tracing::debug!(
                connection = connection.0,
                sequence = noted.sequence,
                request = ?noted.kind,
                topic = noted.topic.as_deref(),
                partition = noted.partition.as_deref(),
                "asked for, without an answer"
            );
        }
        noted
    }

    /// Whether this is the request of that number.
    pub(super) fn is_of(&self, sequence: u64) -> bool {
        self.sequence == sequence
    }

    /// Logs what became of it.
    pub(super) fn answered(&self, connection: ConnectionNumber, answer: &Answer) {
        let (connection, sequence, kind) = (connection.0, self.sequence, self.kind);
        let topic = self.topic.as_deref();
        if let Answer::Refused(refusal) = answer {
            let (code, partition) = (refusal.code.as_str(), self.partition.as_deref());
            let error = refusal.text.as_str();
            tracing::debug!(connection, sequence, request = ?kind, topic, partition, code, error, "refused");
        } else if changes_something(kind) {
            let (partition, offset) = answer.effect();
            let (partition, offset) = (partition.map(|index| index.0), offset.map(|offset| offset.get()));
            tracing::debug!(connection, sequence, request = ?kind, topic, partition, offset, "done");
        }
    }
}

fn changes_something(kind: FrameType) -> bool {
    match kind {
        FrameType::CreateTopic
        | FrameType::DeleteTopic
        | FrameType::AlterTopic
        | FrameType::Publish
        | FrameType::PublishBatch
        | FrameType::Subscribe
        | FrameType::SubscribeBatches
        | FrameType::Unsubscribe
        | FrameType::Commit
        | FrameType::InitProducer
        | FrameType::JoinGroup
        | FrameType::LeaveGroup
        | FrameType::ResetGroup
        | FrameType::DeleteGroup => true,
        FrameType::Data
        | FrameType::Ack
        | FrameType::Heartbeat
        | FrameType::Metadata
        | FrameType::Fetch
        | FrameType::ListOffsets
        | FrameType::GroupHeartbeat
        | FrameType::ListGroups
        | FrameType::DescribeGroup
        | FrameType::Assignment
        | FrameType::Batch => false,
    }
}
