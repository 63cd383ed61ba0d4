//! Requests about groups and what they have read.

use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;

use super::{BLOB, BYTE, Field, I32, I32S, I64, TEXT, TEXTS, array};

pub(super) const FIND_COORDINATOR: &[Field] = &[TEXT.until(3), BYTE.since(1), TEXTS.since(4)];

/// Group, session and rebalance timeout, member, instance, type of protocol, protocols, reason.
pub(super) const JOIN_GROUP: &[Field] = &[
    TEXT,
    I32,
    I32.since(1),
    TEXT,
    TEXT.since(5),
    TEXT,
    array::<JoinGroupRequestProtocol>(&[TEXT, BLOB]),
    TEXT.since(8),
];

/// Group, generation, member, instance, type and name of the protocol, assignments.
pub(super) const SYNC_GROUP: &[Field] =
    &[TEXT, I32, TEXT, TEXT.since(3), TEXT.since(5), TEXT.since(5), array::<SyncGroupRequestAssignment>(&[TEXT, BLOB])];

/// Group, generation, member, instance.
pub(super) const HEARTBEAT: &[Field] = &[TEXT, I32, TEXT, TEXT.since(3)];

/// Group, member, or many with instance and reason.
pub(super) const LEAVE_GROUP: &[Field] =
    &[TEXT, TEXT.until(2), array::<MemberIdentity>(&[TEXT, TEXT, TEXT.since(5)]).since(3)];

/// Group, generation, member, instance, time to keep, topics; of a partition its offset, epoch and note.
pub(super) const OFFSET_COMMIT: &[Field] = &[
    TEXT,
    I32,
    TEXT,
    TEXT.since(7),
    I64.until(4),
    array::<OffsetCommitRequestTopic>(&[TEXT, array::<OffsetCommitRequestPartition>(&[I32, I64, I32.since(6), TEXT])]),
];

/// One group with its topics; from version 8 many.
pub(super) const OFFSET_FETCH: &[Field] = &[
    TEXT.until(7),
    array::<OffsetFetchRequestTopic>(&[TEXT, I32S]).until(7),
    array::<OffsetFetchRequestGroup>(&[
        TEXT,
        TEXT.since(9),
        I32.since(9),
        array::<OffsetFetchRequestTopics>(&[TEXT, I32S]),
    ])
    .since(8),
    BYTE.since(7),
];

pub(super) const DESCRIBE_GROUPS: &[Field] = &[TEXTS, BYTE.since(3)];
pub(super) const LIST_GROUPS: &[Field] = &[TEXTS.since(4), TEXTS.since(5)];
pub(super) const DELETE_GROUPS: &[Field] = &[TEXTS];

pub(super) const OFFSET_DELETE: &[Field] =
    &[TEXT, array::<OffsetDeleteRequestTopic>(&[TEXT, array::<OffsetDeleteRequestPartition>(&[I32])])];
