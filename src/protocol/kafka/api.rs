//! The APIs that are advertised, and their versions. What does not work is not in the table.
//!
//! Transactions, the newer consumer groups and share groups have no place here yet.

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i16)]
#[expect(missing_docs, reason = "Kafka's own names")]
pub enum Api {
    Produce = 0,
    Fetch = 1,
    ListOffsets = 2,
    Metadata = 3,
    OffsetCommit = 8,
    OffsetFetch = 9,
    FindCoordinator = 10,
    JoinGroup = 11,
    Heartbeat = 12,
    LeaveGroup = 13,
    SyncGroup = 14,
    DescribeGroups = 15,
    ListGroups = 16,
    ApiVersions = 18,
    CreateTopics = 19,
    DeleteTopics = 20,
    DeleteRecords = 21,
    InitProducerId = 22,
    OffsetForLeaderEpoch = 23,
    DescribeAcls = 29,
    CreateAcls = 30,
    DeleteAcls = 31,
    DescribeConfigs = 32,
    AlterConfigs = 33,
    DescribeLogDirs = 35,
    CreatePartitions = 37,
    DeleteGroups = 42,
    IncrementalAlterConfigs = 44,
    OffsetDelete = 47,
    DescribeCluster = 60,
    DescribeProducers = 61,
}

/// What is known of an API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiRow {
    /// Which one.
    pub api: Api,
    /// The lowest version that is advertised.
    pub advertised_min: i16,
    /// The lowest version that is served: a request of a lower one is refused.
    pub min: i16,
    /// The highest version.
    pub max: i16,
    /// The first version in the flexible encoding; above `max` where there is none.
    pub flexible_since: i16,
}

const fn row(api: Api, min: i16, max: i16, flexible_since: i16) -> ApiRow {
    ApiRow { api, advertised_min: min, min, max, flexible_since }
}

/// Every API that is advertised, by its key.
///
/// Produce is advertised from 0 because clients tell from it which record formats a broker knows.
pub const APIS: &[ApiRow] = &[
    ApiRow { advertised_min: 0, ..row(Api::Produce, 3, 12, 9) },
    row(Api::Fetch, 4, 12, 12),
    row(Api::ListOffsets, 1, 8, 6),
    row(Api::Metadata, 0, 12, 9),
    row(Api::OffsetCommit, 2, 9, 8),
    row(Api::OffsetFetch, 1, 9, 6),
    row(Api::FindCoordinator, 0, 6, 3),
    row(Api::JoinGroup, 0, 9, 6),
    row(Api::Heartbeat, 0, 4, 4),
    row(Api::LeaveGroup, 0, 5, 4),
    row(Api::SyncGroup, 0, 5, 4),
    row(Api::DescribeGroups, 0, 6, 5),
    row(Api::ListGroups, 0, 5, 3),
    row(Api::ApiVersions, 0, 4, 3),
    row(Api::CreateTopics, 2, 7, 5),
    row(Api::DeleteTopics, 1, 6, 4),
    row(Api::DeleteRecords, 0, 2, 2),
    row(Api::InitProducerId, 0, 5, 2),
    row(Api::OffsetForLeaderEpoch, 2, 4, 4),
    row(Api::DescribeAcls, 1, 3, 2),
    row(Api::CreateAcls, 1, 3, 2),
    row(Api::DeleteAcls, 1, 3, 2),
    row(Api::DescribeConfigs, 1, 4, 4),
    row(Api::AlterConfigs, 0, 2, 2),
    row(Api::DescribeLogDirs, 1, 4, 2),
    row(Api::CreatePartitions, 0, 3, 2),
    row(Api::DeleteGroups, 0, 2, 2),
    row(Api::IncrementalAlterConfigs, 0, 1, 1),
    row(Api::OffsetDelete, 0, 0, 1),
    row(Api::DescribeCluster, 0, 2, 0),
    row(Api::DescribeProducers, 0, 0, 0),
];

impl Api {
    /// The API of a key on the wire; `None` where it is not advertised.
    #[must_use]
    pub fn from_wire(key: i16) -> Option<Api> {
        let at = APIS.binary_search_by_key(&key, |row| row.api.to_wire()).ok()?;
        Some(APIS[at].api)
    }

    /// The key on the wire.
    #[must_use]
    pub const fn to_wire(self) -> i16 {
        self as i16
    }

    /// Its row of the table.
    #[must_use]
    pub fn row(self) -> ApiRow {
        let at = APIS.binary_search_by_key(&self.to_wire(), |row| row.api.to_wire());
        at.map_or_else(|_| unreachable!("every API has a row: a test says so"), |at| APIS[at])
    }

    /// Whether requests of this version are served.
    #[must_use]
    pub fn serves(self, version: i16) -> bool {
        let row = self.row();
        (row.min..=row.max).contains(&version)
    }

    /// Whether this version is in the flexible encoding.
    #[must_use]
    pub fn is_flexible(self, version: i16) -> bool {
        version >= self.row().flexible_since
    }

    /// Whether responses of this version have tagged fields in their header. Those of ApiVersions never do: who asks does not
    /// know yet what the broker speaks.
    #[must_use]
    pub fn has_flexible_response_header(self, version: i16) -> bool {
        self != Api::ApiVersions && self.is_flexible(version)
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::ApiKey;

    use super::*;

    #[test]
    fn the_table_is_in_order_and_as_the_crate_has_it() {
        assert!(APIS.is_sorted_by(|a, b| a.api < b.api));
        for row in APIS {
            let key = ApiKey::try_from(row.api.to_wire()).unwrap();
            assert_eq!(format!("{key:?}"), format!("{:?}", row.api));
            assert_eq!((Api::from_wire(key as i16), row.api.row()), (Some(row.api), *row));
            let known = key.valid_versions();
            assert!(known.min <= row.min && row.max <= known.max, "{row:?} {known:?}");
            for version in row.min..=row.max {
                assert_eq!(key.request_header_version(version) == 2, row.api.is_flexible(version), "{row:?} {version}");
                let is_flexible = row.api.has_flexible_response_header(version);
                assert_eq!(key.response_header_version(version) == 1, is_flexible, "{row:?} {version}");
            }
        }
    }

    #[test]
    fn the_documentation_names_every_api_and_its_versions() {
        let text = include_str!("../../../docs/kafka.md");
        for row in APIS {
            let line = format!("| {:?} | {} | {} to {} |", row.api, row.api.to_wire(), row.min, row.max);
            assert!(text.contains(&line), "{line}");
        }
        assert_eq!(text.lines().filter(|line| line.contains(" to ") && line.starts_with("| ")).count(), APIS.len());
    }

    #[test]
    fn what_is_not_advertised_is_unknown() {
        // Transactions, the newer consumer groups, share groups, what brokers say to each other.
        for key in [-1, 4, 7, 17, 24, 25, 26, 28, 52, 68, 76, 78, 999] {
            assert_eq!(Api::from_wire(key), None, "{key}");
        }
        assert!(Api::Produce.serves(3) && !Api::Produce.serves(2) && !Api::Produce.serves(13));
    }
}
