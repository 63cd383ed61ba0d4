//! Every API in every version that is advertised: a request that means something, and an answer that its version has a place
//! for.

use std::collections::BTreeSet;

use bytes::BytesMut;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Request, StrBytes};
use tempfile::TempDir;

use super::produce_fetch::{batch, fetch, produce};
use crate::harness::Setup;
use crate::harness::kafka::{KafkaPeer, frame};

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

fn topic(name: &'static str) -> TopicName {
    TopicName(text(name))
}

fn group(name: &'static str) -> GroupId {
    GroupId(text(name))
}

/// What of the advertised versions was asked for.
struct Asked {
    peer: KafkaPeer,
    seen: BTreeSet<(i16, i16)>,
    frames: Vec<BytesMut>,
}

impl Asked {
    /// Asks in each of these versions.
    fn ask<R: Request>(&mut self, versions: impl IntoIterator<Item = i16>, request: impl Fn(i16) -> R) {
        for version in versions {
            let request = request(version);
            self.frames.push(frame(version, &request, 1));
            let _answer = self.peer.call(version, &request);
            self.seen.insert((R::KEY, version));
        }
    }
}

fn records(asked: &mut Asked) {
    asked.ask(3..=12, |_| produce(-1, "t", &[(0, Some(batch(&["a"]))), (9, Some(batch(&["a"])))]));
    asked.ask(4..=12, |_| fetch("t", 0, 0));
    asked.ask(7..=12, |_| fetch("t", 0, 0).with_session_epoch(0));
    asked.ask(1..=8, |version| {
        let wanted = |index, time| {
            let wanted = list_offsets_request::ListOffsetsPartition::default();
            wanted.with_partition_index(index).with_timestamp(time)
        };
        let wanted = vec![wanted(0, -1), wanted(1, -2), wanted(0, 5), wanted(7, -1)];
        let isolation_level = i8::from(version >= 2);
        let of_topic = list_offsets_request::ListOffsetsTopic::default().with_name(topic("t")).with_partitions(wanted);
        ListOffsetsRequest::default().with_isolation_level(isolation_level).with_topics(vec![of_topic])
    });
    asked.ask(2..=4, |_| {
        let partition = offset_for_leader_epoch_request::OffsetForLeaderPartition::default().with_leader_epoch(1);
        let of_topic = offset_for_leader_epoch_request::OffsetForLeaderTopic::default();
        let of_topic = of_topic.with_topic(topic("t")).with_partitions(vec![partition]);
        OffsetForLeaderEpochRequest::default().with_topics(vec![of_topic])
    });
    asked.ask(0..=5, |_| InitProducerIdRequest::default().with_transaction_timeout_ms(1_000));
    asked.ask(0..=0, |_| {
        let of_topic = describe_producers_request::TopicRequest::default();
        let of_topic = of_topic.with_name(topic("t")).with_partition_indexes(vec![0, 9]);
        DescribeProducersRequest::default().with_topics(vec![of_topic])
    });
    asked.ask(0..=2, |_| {
        let partition = delete_records_request::DeleteRecordsPartition::default().with_offset(1);
        let of_topic = delete_records_request::DeleteRecordsTopic::default();
        let of_topic = of_topic.with_name(topic("t")).with_partitions(vec![partition]);
        DeleteRecordsRequest::default().with_timeout_ms(1_000).with_topics(vec![of_topic])
    });
}

fn topics(asked: &mut Asked) {
    asked.ask(0..=12, |version| {
        let named = |name| metadata_request::MetadataRequestTopic::default().with_name(Some(topic(name)));
        let request = MetadataRequest::default().with_topics(Some(vec![named("t"), named("none"), named("a b")]));
        let request = if (8..=10).contains(&version) {
            request.with_include_cluster_authorized_operations(true)
        } else {
            request
        };
        if version >= 8 { request.with_include_topic_authorized_operations(true) } else { request }
    });
    asked.ask(0..=12, |version| MetadataRequest::default().with_topics((version == 0).then(Vec::new)));
    asked.ask(2..=7, |version| {
        let name = TopicName(StrBytes::from_string(format!("made{version}")));
        let made = create_topics_request::CreatableTopic::default();
        let made = made.with_name(name).with_num_partitions(2).with_replication_factor(1);
        let config = create_topics_request::CreatableTopicConfig::default();
        let config = config.with_name(text("retention.ms")).with_value(Some(text("1000")));
        let wrong = create_topics_request::CreatableTopic::default().with_name(topic("a b"));
        let wrong = wrong.with_num_partitions(1).with_replication_factor(1);
        let both = vec![made.with_configs(vec![config]), wrong];
        CreateTopicsRequest::default().with_timeout_ms(30_000).with_topics(both)
    });
    asked.ask(0..=3, |version| {
        let more = create_partitions_request::CreatePartitionsTopic::default();
        let more = more.with_name(topic("made2")).with_count(3 + i32::from(version));
        CreatePartitionsRequest::default().with_timeout_ms(30_000).with_topics(vec![more])
    });
    asked.ask(1..=6, |version| {
        let request = DeleteTopicsRequest::default().with_timeout_ms(30_000);
        if version < 6 {
            let name = TopicName(StrBytes::from_string(format!("made{}", version + 1)));
            return request.with_topic_names(vec![name, topic("none")]);
        }
        let named = |name| delete_topics_request::DeleteTopicState::default().with_name(Some(topic(name)));
        request.with_topics(vec![named("made7"), named("none")])
    });
}

fn settings(asked: &mut Asked) {
    for (kind, name) in [(2, "t"), (2, "none"), (4, "1"), (4, "7"), (9, "x")] {
        asked.ask(1..=4, |version| {
            let wanted = describe_configs_request::DescribeConfigsResource::default();
            let wanted = wanted.with_resource_type(kind).with_resource_name(text(name)).with_configuration_keys(None);
            let request = DescribeConfigsRequest::default().with_resources(vec![wanted]).with_include_synonyms(true);
            request.with_include_documentation(version >= 3)
        });
        asked.ask(0..=2, |_| {
            let config = alter_configs_request::AlterableConfig::default();
            let config = config.with_name(text("retention.ms")).with_value(Some(text("2000")));
            let altered = alter_configs_request::AlterConfigsResource::default();
            let altered = altered.with_resource_type(kind).with_resource_name(text(name)).with_configs(vec![config]);
            AlterConfigsRequest::default().with_resources(vec![altered])
        });
        asked.ask(0..=1, |_| {
            let config = incremental_alter_configs_request::AlterableConfig::default();
            let config = config.with_name(text("retention.ms")).with_config_operation(1);
            let altered = incremental_alter_configs_request::AlterConfigsResource::default();
            let altered = altered.with_resource_type(kind).with_resource_name(text(name)).with_configs(vec![config]);
            IncrementalAlterConfigsRequest::default().with_resources(vec![altered])
        });
    }
    asked.ask(1..=3, |_| {
        let any = DescribeAclsRequest::default().with_resource_type_filter(1).with_operation(1);
        any.with_pattern_type_filter(1).with_permission_type(1)
    });
    asked.ask(1..=3, |_| {
        let made = create_acls_request::AclCreation::default().with_resource_type(2).with_operation(3);
        CreateAclsRequest::default().with_creations(vec![made.with_resource_name(text("t")).with_permission_type(3)])
    });
    asked.ask(1..=3, |_| {
        let any = delete_acls_request::DeleteAclsFilter::default().with_resource_type_filter(1);
        DeleteAclsRequest::default().with_filters(vec![any.with_operation(1).with_permission_type(1)])
    });
    asked.ask(1..=4, |_| DescribeLogDirsRequest::default().with_topics(None));
    asked.ask(0..=2, |version| DescribeClusterRequest::default().with_endpoint_type(if version == 0 { 1 } else { 2 }));
}

fn groups(asked: &mut Asked) {
    asked.ask(0..=6, |version| match version {
        0..=3 => FindCoordinatorRequest::default().with_key(text("g")),
        _ => FindCoordinatorRequest::default().with_coordinator_keys(vec![text("g"), text("")]),
    });
    asked.ask(0..=9, |version| {
        let protocol = join_group_request::JoinGroupRequestProtocol::default().with_name(text("range"));
        let group = GroupId(StrBytes::from_string(format!("joined{version}")));
        let request = JoinGroupRequest::default().with_group_id(group).with_session_timeout_ms(6_000);
        let request = if version >= 1 { request.with_rebalance_timeout_ms(6_000) } else { request };
        request.with_protocol_type(text("consumer")).with_protocols(vec![protocol])
    });
    let member = || text("nobody");
    asked.ask(0..=5, |_| SyncGroupRequest::default().with_group_id(group("joined0")).with_member_id(member()));
    asked.ask(0..=4, |_| HeartbeatRequest::default().with_group_id(group("joined0")).with_member_id(member()));
    asked.ask(0..=5, |version| match version {
        0..=2 => LeaveGroupRequest::default().with_group_id(group("joined0")).with_member_id(member()),
        _ => LeaveGroupRequest::default()
            .with_group_id(group("joined0"))
            .with_members(vec![leave_group_request::MemberIdentity::default().with_member_id(member())]),
    });
    asked.ask(2..=9, |version| {
        let partition = |index| {
            let partition = offset_commit_request::OffsetCommitRequestPartition::default();
            let partition = partition.with_partition_index(index).with_committed_offset(1);
            let partition = if version >= 6 { partition.with_committed_leader_epoch(1) } else { partition };
            partition.with_committed_metadata(Some(text("note")))
        };
        let of_topic = offset_commit_request::OffsetCommitRequestTopic::default();
        let of_topic = of_topic.with_name(topic("t")).with_partitions(vec![partition(0), partition(9)]);
        let request = OffsetCommitRequest::default().with_group_id(group("alone")).with_topics(vec![of_topic]);
        request.with_generation_id_or_member_epoch(-1)
    });
    asked.ask(1..=9, |version| {
        if version < 8 {
            let of_topic = offset_fetch_request::OffsetFetchRequestTopic::default();
            let of_topic = of_topic.with_name(topic("t")).with_partition_indexes(vec![0, 1, 9]);
            return OffsetFetchRequest::default().with_group_id(group("alone")).with_topics(Some(vec![of_topic]));
        }
        let of_group = |name| offset_fetch_request::OffsetFetchRequestGroup::default().with_group_id(group(name));
        let groups = vec![of_group("alone").with_topics(None), of_group("none").with_topics(None)];
        OffsetFetchRequest::default().with_groups(groups)
    });
    asked.ask(0..=6, |_| DescribeGroupsRequest::default().with_groups(vec![group("joined1"), group("none")]));
    asked.ask(0..=5, |_| ListGroupsRequest::default());
    asked.ask(0..=0, |_| {
        let partition = offset_delete_request::OffsetDeleteRequestPartition::default();
        let of_topic = offset_delete_request::OffsetDeleteRequestTopic::default();
        let of_topic = of_topic.with_name(topic("t")).with_partitions(vec![partition]);
        OffsetDeleteRequest::default().with_group_id(group("alone")).with_topics(vec![of_topic])
    });
    asked.ask(0..=2, |_| DeleteGroupsRequest::default().with_groups_names(vec![group("alone"), group("none")]));
}

/// Asks for everything, of a broker that has the topic `t`.
fn everything(peer: KafkaPeer) -> Asked {
    let mut asked = Asked { peer, seen: BTreeSet::new(), frames: Vec::new() };
    records(&mut asked);
    topics(&mut asked);
    settings(&mut asked);
    groups(&mut asked);
    let named = || ApiVersionsRequest::default().with_client_software_name(text("a"));
    asked.ask(0..=4, |_| named().with_client_software_version(text("1")));
    asked
}

/// Requests of every kind and version, each of which is answered, without their lengths.
pub(super) fn corpus(peer: KafkaPeer) -> Vec<BytesMut> {
    everything(peer).frames
}

#[test]
fn every_version_that_is_advertised_is_answered() {
    let directory = TempDir::new().expect("a directory");
    let mut server = Setup::new(directory.path()).set("QB_TOPICS__CREATE", r#"{"t": 2}"#).start();
    let mut asked = everything(KafkaPeer::of(&mut server));
    let advertised = asked.peer.call(0, &ApiVersionsRequest::default()).api_keys;
    for row in advertised {
        // Produce is advertised from 0 and served from 3.
        let first = if row.api_key == 0 { 3 } else { row.min_version };
        for version in first..=row.max_version {
            assert!(asked.seen.contains(&(row.api_key, version)), "API {} version {version}", row.api_key);
        }
    }
    server.terminate();
}
