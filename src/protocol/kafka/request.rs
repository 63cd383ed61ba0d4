//! A request by what it asks for.

use bytes::Bytes;
use kafka_protocol::messages;

use super::api::Api;
use super::fetch::FetchRequest;
use super::guard::decode;
use super::produce::ProduceRequest;
use super::wire::Malformed;

/// The requests that the crate decodes: what is asked for, and its type there.
macro_rules! requests {
    ($($api:ident => $body:ident: $what:literal,)*) => {
        /// What a client asks for. Strings and bytes share the buffer the request came in: who keeps one copies it.
        #[derive(Debug, Clone)]
        pub enum Request {
            /// Append batches.
            Produce(ProduceRequest),
            /// Read batches.
            Fetch(FetchRequest),
            $(
                #[doc = $what]
                $api(messages::$body),
            )*
        }

        impl Request {
            /// Reads the body of a request whose header was read.
            ///
            /// # Errors
            /// [`Malformed`]: the connection is closed.
            pub fn parse(api: Api, version: i16, body: Bytes) -> Result<Request, Malformed> {
                match api {
                    Api::Produce => ProduceRequest::parse(version, body).map(Request::Produce),
                    Api::Fetch => FetchRequest::parse(version, body).map(Request::Fetch),
                    $(Api::$api => decode(api, version, body).map(Request::$api),)*
                }
            }
        }
    };
}

requests! {
    ListOffsets => ListOffsetsRequest: "Ask for offsets, also by time.",
    Metadata => MetadataRequest: "Ask which topics there are.",
    OffsetCommit => OffsetCommitRequest: "Keep a group's positions.",
    OffsetFetch => OffsetFetchRequest: "Ask for positions of groups.",
    FindCoordinator => FindCoordinatorRequest: "Ask where groups are coordinated.",
    JoinGroup => JoinGroupRequest: "Become a member of a group, or stay one in the next generation.",
    Heartbeat => HeartbeatRequest: "A member's sign of life.",
    LeaveGroup => LeaveGroupRequest: "Members leave.",
    SyncGroup => SyncGroupRequest: "Hand in assignments, or ask for one's own.",
    DescribeGroups => DescribeGroupsRequest: "Ask for the members of groups.",
    ListGroups => ListGroupsRequest: "Ask which groups there are.",
    ApiVersions => ApiVersionsRequest: "Ask what the broker speaks.",
    CreateTopics => CreateTopicsRequest: "Create topics.",
    DeleteTopics => DeleteTopicsRequest: "Delete topics.",
    DeleteRecords => DeleteRecordsRequest: "Delete the oldest records.",
    InitProducerId => InitProducerIdRequest: "Ask for a producer id.",
    OffsetForLeaderEpoch => OffsetForLeaderEpochRequest: "Ask where epochs end.",
    DescribeAcls => DescribeAclsRequest: "Ask who may do what.",
    CreateAcls => CreateAclsRequest: "Say who may do what.",
    DeleteAcls => DeleteAclsRequest: "Take back who may do what.",
    DescribeConfigs => DescribeConfigsRequest: "Ask for settings.",
    AlterConfigs => AlterConfigsRequest: "Replace settings.",
    DescribeLogDirs => DescribeLogDirsRequest: "Ask where partitions are stored, and how large they are.",
    CreatePartitions => CreatePartitionsRequest: "Give topics more partitions.",
    DeleteGroups => DeleteGroupsRequest: "Forget groups and their positions.",
    IncrementalAlterConfigs => IncrementalAlterConfigsRequest: "Change settings.",
    OffsetDelete => OffsetDeleteRequest: "Forget positions of a group.",
    DescribeCluster => DescribeClusterRequest: "Ask which brokers there are.",
    DescribeProducers => DescribeProducersRequest: "Ask for the producers of partitions.",
}
