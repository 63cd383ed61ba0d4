//! The shapes of requests, as far as it takes to walk them: which fields each version has, in their order, and where lengths
//! and counts stand. Of Kafka's published message definitions; a test holds every version against the crate's decoder.

mod admin;
mod groups;
mod topics;

use super::api::Api;

/// A field of a structure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    /// The first version that has it.
    since: i16,
    /// The last version that has it.
    until: i16,
    pub(super) kind: Kind,
}

/// What a field is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// So many bytes.
    Fixed(usize),
    /// A string.
    Text,
    /// Bytes.
    Blob,
    /// Many of one shape, each of which takes so many bytes of memory once decoded.
    Array { shape: Shape, held_bytes: usize },
}

/// What an array consists of.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    Fixed(usize),
    Text,
    Structure(&'static [Field]),
}

impl Field {
    pub(super) const fn is_in(&self, version: i16) -> bool {
        self.since <= version && version <= self.until
    }

    const fn since(self, version: i16) -> Field {
        Field { since: version, ..self }
    }

    const fn until(self, version: i16) -> Field {
        Field { until: version, ..self }
    }
}

const fn field(kind: Kind) -> Field {
    Field { since: 0, until: i16::MAX, kind }
}

const BYTE: Field = field(Kind::Fixed(1));
const I16: Field = field(Kind::Fixed(2));
const I32: Field = field(Kind::Fixed(4));
const I64: Field = field(Kind::Fixed(8));
const UUID: Field = field(Kind::Fixed(16));
const TEXT: Field = field(Kind::Text);
const BLOB: Field = field(Kind::Blob);
const TEXTS: Field =
    field(Kind::Array { shape: Shape::Text, held_bytes: size_of::<kafka_protocol::protocol::StrBytes>() });
const I32S: Field = field(Kind::Array { shape: Shape::Fixed(4), held_bytes: size_of::<i32>() });

/// Many structures, which the crate decodes into as many `T`.
const fn array<T>(fields: &'static [Field]) -> Field {
    field(Kind::Array { shape: Shape::Structure(fields), held_bytes: size_of::<T>() })
}

/// The fields of a request; `None` of those that are read by code of their own.
pub(super) fn of(api: Api) -> Option<&'static [Field]> {
    Some(match api {
        Api::Produce | Api::Fetch => return None,
        Api::ListOffsets => topics::LIST_OFFSETS,
        Api::Metadata => topics::METADATA,
        Api::OffsetCommit => groups::OFFSET_COMMIT,
        Api::OffsetFetch => groups::OFFSET_FETCH,
        Api::FindCoordinator => groups::FIND_COORDINATOR,
        Api::JoinGroup => groups::JOIN_GROUP,
        Api::Heartbeat => groups::HEARTBEAT,
        Api::LeaveGroup => groups::LEAVE_GROUP,
        Api::SyncGroup => groups::SYNC_GROUP,
        Api::DescribeGroups => groups::DESCRIBE_GROUPS,
        Api::ListGroups => groups::LIST_GROUPS,
        Api::ApiVersions => admin::API_VERSIONS,
        Api::CreateTopics => topics::CREATE_TOPICS,
        Api::DeleteTopics => topics::DELETE_TOPICS,
        Api::DeleteRecords => topics::DELETE_RECORDS,
        Api::InitProducerId => topics::INIT_PRODUCER_ID,
        Api::OffsetForLeaderEpoch => topics::OFFSET_FOR_LEADER_EPOCH,
        Api::DescribeAcls => admin::DESCRIBE_ACLS,
        Api::CreateAcls => admin::CREATE_ACLS,
        Api::DeleteAcls => admin::DELETE_ACLS,
        Api::DescribeConfigs => admin::DESCRIBE_CONFIGS,
        Api::AlterConfigs => admin::ALTER_CONFIGS,
        Api::DescribeLogDirs => admin::DESCRIBE_LOG_DIRS,
        Api::CreatePartitions => topics::CREATE_PARTITIONS,
        Api::DeleteGroups => groups::DELETE_GROUPS,
        Api::IncrementalAlterConfigs => admin::INCREMENTAL_ALTER_CONFIGS,
        Api::OffsetDelete => groups::OFFSET_DELETE,
        Api::DescribeCluster => admin::DESCRIBE_CLUSTER,
        Api::DescribeProducers => topics::DESCRIBE_PRODUCERS,
    })
}
