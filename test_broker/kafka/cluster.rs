//! DescribeCluster, DescribeLogDirs, and those who are to say who may do what.

use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::{
    BrokerId, CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest, DescribeClusterRequest, DescribeLogDirsRequest,
};
use tempfile::TempDir;

use super::produce_fetch::{batch, produce, produced};
use super::{name, text};
use crate::harness::Setup;
use crate::harness::kafka::{KafkaPeer, kafka_address};

#[test]
fn the_cluster_is_this_broker() {
    let directory = TempDir::new().expect("a directory");
    let mut server = Setup::new(directory.path()).start();
    let address = kafka_address(&mut server);
    let mut peer = KafkaPeer::connect(address);
    for version in 0..=2 {
        let request = DescribeClusterRequest::default().with_include_cluster_authorized_operations(version > 0);
        let response = peer.call(version, &request);
        assert_eq!((response.error_code, response.error_message), (0, None));
        assert_eq!((response.controller_id, response.cluster_id.len()), (BrokerId(1), 22));
        let [broker] = &response.brokers[..] else { panic!("one broker") };
        assert_eq!((broker.broker_id, broker.port), (BrokerId(1), i32::from(address.port())));
        assert_eq!((broker.host.to_string(), broker.is_fenced), (address.ip().to_string(), false));
        assert_eq!(response.cluster_authorized_operations, if version > 0 { 8096 } else { i32::MIN });
    }
    for (endpoint, code) in [(2, 114), (3, 115)] {
        let response = peer.call(1, &DescribeClusterRequest::default().with_endpoint_type(endpoint));
        assert_eq!((response.error_code, response.brokers.len()), (code, 0));
    }
    server.terminate();
}

#[test]
fn partitions_are_as_large_as_what_is_in_them() {
    let directory = TempDir::new().expect("a directory");
    let mut server = Setup::new(directory.path()).set("QB_TOPICS__CREATE", r#"{"a": 1, "b": 2}"#).start();
    let mut peer = KafkaPeer::of(&mut server);
    let records = batch(&["one", "two"]);
    let bytes = i64::try_from(records.len()).expect("a length");
    produced(&mut peer, 9, &produce(-1, "b", &[(1, Some(records))]));
    let wanted =
        |topic, partitions| DescribableLogDirTopic::default().with_topic(name(topic)).with_partitions(partitions);
    for version in 1..=4 {
        let mut sizes = |topics: Option<Vec<DescribableLogDirTopic>>| -> Vec<(String, i32, i64)> {
            let response = peer.call(version, &DescribeLogDirsRequest::default().with_topics(topics));
            let [found] = &response.results[..] else { panic!("one directory") };
            assert_eq!((response.error_code, found.error_code), (0, 0));
            assert!(found.log_dir.starts_with('/') || !found.log_dir.is_empty());
            let each =
                found.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |partition| (topic, partition)));
            each.map(|(topic, partition)| {
                (topic.name.0.to_string(), partition.partition_index, partition.partition_size)
            })
            .collect()
        };
        let all = [("a".to_owned(), 0, 0), ("b".to_owned(), 0, 0), ("b".to_owned(), 1, bytes)];
        assert_eq!(sizes(None), all);
        let some = vec![
            wanted("b", vec![1, 5]),
            wanted("b", vec![1, 1]),
            wanted("c", vec![0]),
            wanted("__meta", vec![0]),
            wanted("a b", vec![]),
        ];
        assert_eq!(sizes(Some(some)), all[2..]);
        assert_eq!(sizes(Some(Vec::new())), []);
    }
    server.terminate();
}

#[test]
fn nobody_is_authorized_by_anybody() {
    let directory = TempDir::new().expect("a directory");
    let mut server = Setup::new(directory.path()).start();
    let mut peer = KafkaPeer::of(&mut server);
    for version in 1..=3 {
        let filter = DescribeAclsRequest::default().with_resource_type_filter(1).with_pattern_type_filter(3);
        let described = peer.call(version, &filter.with_operation(1).with_permission_type(1));
        let why = Some("No Authorizer is configured on the broker");
        assert_eq!((described.error_code, described.error_message.as_deref()), (54, why));
        let creation = AclCreation::default()
            .with_resource_type(2)
            .with_resource_name(text("a"))
            .with_resource_pattern_type(3)
            .with_principal(text("User:a"))
            .with_host(text("*"));
        let created = peer.call(version, &CreateAclsRequest::default().with_creations(vec![creation; 2]));
        assert_eq!(created.results.iter().map(|result| result.error_code).collect::<Vec<_>>(), [54, 54]);
        let filters = vec![DeleteAclsFilter::default().with_pattern_type_filter(3); 3];
        let deleted = peer.call(version, &DeleteAclsRequest::default().with_filters(filters));
        assert!(deleted.filter_results.iter().all(|result| result.error_code == 54 && result.matching_acls.is_empty()));
        assert_eq!(deleted.filter_results.len(), 3);
    }
    server.terminate();
}
