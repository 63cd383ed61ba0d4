//! CreateTopics, DeleteTopics and CreatePartitions.

use kafka_protocol::messages::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::{
    BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, MetadataRequest,
};
use tempfile::TempDir;
use uuid::Uuid;

use super::{name, text};
use crate::harness::kafka::KafkaPeer;
use crate::harness::{Server, Setup};

fn start(directory: &TempDir) -> (Server, KafkaPeer) {
    let mut server = Setup::new(directory.path()).start();
    let peer = KafkaPeer::of(&mut server);
    (server, peer)
}

/// A topic to be created.
pub(super) fn topic(topic: &str, partitions: i32, replicas: i16, configs: &[(&str, &str)]) -> CreatableTopic {
    let config = |(name, value): &(&str, &str)| {
        CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
    };
    CreatableTopic::default()
        .with_name(name(topic))
        .with_num_partitions(partitions)
        .with_replication_factor(replicas)
        .with_configs(configs.iter().map(config).collect())
}

/// Creates topics.
pub(super) fn create(peer: &mut KafkaPeer, version: i16, topics: Vec<CreatableTopic>) -> Vec<CreatableTopicResult> {
    peer.call(version, &CreateTopicsRequest::default().with_timeout_ms(30_000).with_topics(topics)).topics
}

/// The topics there are, with their numbers of partitions.
fn there(peer: &mut KafkaPeer) -> Vec<(String, usize)> {
    let response = peer.call(9, &MetadataRequest::default().with_topics(None));
    let name = |name: Option<&kafka_protocol::messages::TopicName>| name.map(|name| name.0.to_string());
    let topics = response.topics.iter();
    topics.map(|topic| (name(topic.name.as_ref()).unwrap_or_default(), topic.partitions.len())).collect()
}

fn owned(expected: &[(&str, usize)]) -> Vec<(String, usize)> {
    expected.iter().map(|(name, partitions)| ((*name).to_owned(), *partitions)).collect()
}

/// Names and codes in any order.
fn codes<'a>(results: impl Iterator<Item = (&'a str, i16)>) -> Vec<(&'a str, i16)> {
    let mut codes: Vec<_> = results.collect();
    codes.sort_unstable();
    codes
}

#[test]
fn every_version_creates_topics_and_deletes_them() {
    let directory = TempDir::new().expect("a directory");
    let (server, mut peer) = start(&directory);
    for version in 2..=7 {
        let [created] = &create(&mut peer, version, vec![topic("t", 2, 1, &[("retention.ms", "5000")])])[..] else {
            panic!("one result");
        };
        assert_eq!((created.name.0.as_str(), created.error_code), ("t", 0), "{version}");
        assert_eq!(created.error_message, None);
        assert_eq!(created.topic_id.is_nil(), version < 7);
        if version >= 5 {
            assert_eq!((created.num_partitions, created.replication_factor), (2, 1));
            let configs = created.configs.as_ref().expect("settings");
            let retention = configs.iter().find(|config| config.name.as_str() == "retention.ms").expect("retention");
            assert_eq!((retention.value.as_deref(), retention.config_source), (Some("5000"), 1));
            let policy = configs.iter().find(|config| config.name.as_str() == "cleanup.policy").expect("policy");
            assert_eq!((policy.value.as_deref(), policy.config_source), (Some("delete"), 5));
        }
        let again = &create(&mut peer, version, vec![topic("t", 2, 1, &[])])[0];
        assert_eq!((again.error_code, again.error_message.as_deref()), (36, Some("Topic 't' already exists.")));
        assert_eq!(there(&mut peer), owned(&[("t", 2)]));

        let version = version - 1;
        let request = if version < 6 {
            DeleteTopicsRequest::default().with_topic_names(vec![name("t"), name("nothing")])
        } else {
            let named = |topic| DeleteTopicState::default().with_name(Some(name(topic)));
            DeleteTopicsRequest::default().with_topics(vec![named("t"), named("nothing")])
        };
        let deleted = peer.call(version, &request.with_timeout_ms(30_000)).responses;
        let deleted = deleted.iter().map(|topic| (topic.name.as_ref().expect("a name").0.as_str(), topic.error_code));
        assert_eq!(codes(deleted), [("nothing", 3), ("t", 0)], "{version}");
        assert_eq!(there(&mut peer), []);
    }
    server.terminate();
}

#[test]
fn one_bad_topic_harms_only_itself() {
    let directory = TempDir::new().expect("a directory");
    let (server, mut peer) = start(&directory);
    let assigned = |brokers: &[&[i32]]| {
        let assignment = |(index, brokers): (i32, &&[i32])| {
            CreatableReplicaAssignment::default()
                .with_partition_index(index)
                .with_broker_ids(brokers.iter().copied().map(BrokerId).collect())
        };
        (0..).zip(brokers).map(assignment).collect::<Vec<_>>()
    };
    let topics = vec![
        topic("a b", 1, 1, &[]),
        topic("__own", 1, 1, &[]),
        topic("twice", 1, 1, &[]),
        topic("none", 0, 1, &[]),
        topic("copies", 1, 3, &[]),
        topic("bad", 1, 1, &[("retention.ms", "soon")]),
        topic("unknown", 1, 1, &[("retention.years", "1")]),
        topic("default", -1, -1, &[]),
        topic("assigned", -1, -1, &[]).with_assignments(assigned(&[&[1], &[1]])),
        topic("elsewhere", -1, -1, &[]).with_assignments(assigned(&[&[1], &[2]])),
        topic("good", 3, 1, &[("cleanup.policy", "compact")]),
        topic("twice", 1, 1, &[]),
    ];
    let results = create(&mut peer, 7, topics);
    let told = codes(results.iter().map(|result| (result.name.0.as_str(), result.error_code)));
    let expected = [
        ("__own", 17),
        ("a b", 17),
        ("assigned", 0),
        ("bad", 40),
        ("copies", 38),
        ("default", 0),
        ("elsewhere", 39),
        ("good", 0),
        ("none", 37),
        ("twice", 42),
        ("unknown", 40),
    ];
    assert_eq!(told, expected);
    let of = |topic: &str| results.iter().find(|result| result.name.0.as_str() == topic).expect("a result");
    let message = "Invalid value soon for configuration retention.ms: Not a number of type LONG";
    assert_eq!(of("bad").error_message.as_deref(), Some(message));
    assert_eq!(there(&mut peer), owned(&[("assigned", 2), ("default", 1), ("good", 3)]));
    server.terminate();
}

#[test]
fn what_is_only_validated_is_not_done() {
    let directory = TempDir::new().expect("a directory");
    let (server, mut peer) = start(&directory);
    create(&mut peer, 7, vec![topic("there", 2, 1, &[])]);
    let topics = vec![topic("new", 4, 1, &[("segment.ms", "7")]), topic("there", 1, 1, &[]), topic("no", 0, 1, &[])];
    let request = CreateTopicsRequest::default().with_topics(topics).with_validate_only(true);
    let results = peer.call(7, &request).topics;
    let told = codes(results.iter().map(|result| (result.name.0.as_str(), result.error_code)));
    assert_eq!(told, [("new", 0), ("no", 37), ("there", 36)]);
    assert_eq!(results[0].num_partitions, 4);
    let more = CreatePartitionsTopic::default().with_name(name("there")).with_count(5).with_assignments(None);
    let request = CreatePartitionsRequest::default().with_topics(vec![more]).with_validate_only(true);
    assert_eq!(peer.call(3, &request).results[0].error_code, 0);
    assert_eq!(there(&mut peer), owned(&[("there", 2)]));
    server.terminate();
}

#[test]
fn topics_are_deleted_by_their_ids() {
    let directory = TempDir::new().expect("a directory");
    let (server, mut peer) = start(&directory);
    let topics = ["a", "b", "c"].map(|name| topic(name, 1, 1, &[]));
    let ids: Vec<Uuid> = create(&mut peer, 7, topics.to_vec()).iter().map(|created| created.topic_id).collect();
    let by_id = |id| DeleteTopicState::default().with_name(None).with_topic_id(id);
    let by_name = |topic| DeleteTopicState::default().with_name(Some(name(topic)));
    let wanted = vec![
        by_id(ids[0]),
        by_id(Uuid::from_u128(7)),
        by_id(Uuid::nil()),
        by_name("b").with_topic_id(ids[1]),
        by_name("c"),
        by_id(ids[2]),
        by_name("__offsets"),
    ];
    let responses = peer.call(6, &DeleteTopicsRequest::default().with_topics(wanted)).responses;
    let mut told: Vec<_> = responses
        .iter()
        .map(|topic| (topic.name.as_ref().map(|name| name.0.to_string()), topic.topic_id, topic.error_code))
        .collect();
    told.sort();
    let named = |topic: &str| Some(topic.to_owned());
    let mut expected = vec![
        (named("a"), ids[0], 0),
        (None, Uuid::from_u128(7), 100),
        (None, Uuid::nil(), 42),
        (named("b"), ids[1], 42),
        (named("c"), ids[2], 42),
        (named("__offsets"), Uuid::nil(), 3),
    ];
    expected.sort();
    assert_eq!(told, expected);
    assert_eq!(there(&mut peer), owned(&[("b", 1), ("c", 1)]));
    server.terminate();
}

#[test]
fn topics_grow_in_every_version() {
    let directory = TempDir::new().expect("a directory");
    let (server, mut peer) = start(&directory);
    create(&mut peer, 7, vec![topic("t", 1, 1, &[]), topic("u", 2, 1, &[]), topic("v", 2, 1, &[])]);
    for version in 0..=3 {
        let count = i32::from(version) + 2;
        let wanted = |topic, count| CreatePartitionsTopic::default().with_name(name(topic)).with_count(count);
        let here = || CreatePartitionsAssignment::default().with_broker_ids(vec![BrokerId(1)]);
        let there_too = CreatePartitionsAssignment::default().with_broker_ids(vec![BrokerId(2)]);
        let topics = vec![
            wanted("t", count).with_assignments(Some(vec![here()])),
            wanted("u", 2).with_assignments(None),
            wanted("v", 4).with_assignments(Some(vec![here(), there_too])),
            wanted("nothing", 4).with_assignments(None),
            wanted("w", 4).with_assignments(None),
            wanted("w", 4).with_assignments(None),
        ];
        let results = peer.call(version, &CreatePartitionsRequest::default().with_topics(topics)).results;
        let told = codes(results.iter().map(|result| (result.name.0.as_str(), result.error_code)));
        assert_eq!(told, [("nothing", 3), ("t", 0), ("u", 37), ("v", 39), ("w", 42)], "{version}");
        let partitions = usize::try_from(count).expect("a number");
        assert_eq!(there(&mut peer), owned(&[("t", partitions), ("u", 2), ("v", 2)]));
    }
    server.terminate();
}
