//! Metadata: what every client begins with.

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{BrokerId, MetadataRequest, MetadataResponse};
use tempfile::TempDir;
use uuid::Uuid;

use super::name;
use crate::harness::kafka::{KafkaPeer, kafka_address};
use crate::harness::{Server, Setup};

const TOPICS: (&str, &str) = ("QB_TOPICS__CREATE", r#"{"a": 1, "b": 3}"#);

fn start(directory: &TempDir, set: &[(&str, &str)]) -> (Server, KafkaPeer) {
    let setup = set.iter().fold(Setup::new(directory.path()), |setup, (key, value)| setup.set(key, value));
    let mut server = setup.start();
    let peer = KafkaPeer::of(&mut server);
    (server, peer)
}

fn asking(topics: Option<&[&str]>, creates: bool) -> MetadataRequest {
    let wanted = |topic: &&str| MetadataRequestTopic::default().with_name(Some(name(topic)));
    let topics = topics.map(|topics| topics.iter().map(wanted).collect());
    MetadataRequest::default().with_topics(topics).with_allow_auto_topic_creation(creates)
}

/// The names, error codes and numbers of partitions.
fn told(response: &MetadataResponse) -> Vec<(String, i16, usize)> {
    let told = |topic: &MetadataResponseTopic| {
        let name = topic.name.as_ref().map(|name| name.0.to_string());
        (name.unwrap_or_default(), topic.error_code, topic.partitions.len())
    };
    response.topics.iter().map(told).collect()
}

fn owned(expected: &[(&str, i16, usize)]) -> Vec<(String, i16, usize)> {
    expected.iter().map(|(name, code, partitions)| ((*name).to_owned(), *code, *partitions)).collect()
}

#[test]
fn every_version_tells_of_the_broker_and_its_topics() {
    let directory = TempDir::new().expect("a directory");
    let mut server = Setup::new(directory.path()).set(TOPICS.0, TOPICS.1).start();
    let address = kafka_address(&mut server);
    let mut peer = KafkaPeer::connect(address);
    let mut clusters = Vec::new();
    for version in 0..=12 {
        let all = asking(if version == 0 { Some(&[]) } else { None }, true);
        let response = peer.call(version, &all);
        assert_eq!(told(&response), owned(&[("a", 0, 1), ("b", 0, 3)]), "{version}");
        let [broker] = &response.brokers[..] else { panic!("one broker in {response:?}") };
        let place = (broker.node_id, broker.host.to_string(), broker.port);
        assert_eq!(place, (BrokerId(1), address.ip().to_string(), i32::from(address.port())));
        assert_eq!(broker.rack, None);
        if version >= 1 {
            assert_eq!(response.controller_id, BrokerId(1));
        }
        clusters.extend(response.cluster_id);
        for (index, partition) in (0..).zip(&response.topics[1].partitions) {
            assert_eq!((partition.error_code, partition.partition_index), (0, index));
            assert_eq!(partition.leader_id, BrokerId(1));
            assert_eq!(
                (&partition.replica_nodes[..], &partition.isr_nodes[..]),
                (&[BrokerId(1)][..], &[BrokerId(1)][..])
            );
            assert!(partition.offline_replicas.is_empty());
            assert_eq!(partition.leader_epoch, if version >= 7 { 1 } else { -1 });
        }
        let ids: Vec<Uuid> = response.topics.iter().map(|topic| topic.topic_id).collect();
        assert_eq!(ids.iter().all(|id| !id.is_nil()), version >= 10, "{ids:?}");
        let nothing = peer.call(version.max(1), &asking(Some(&[]), true));
        assert_eq!(told(&nothing), []);
    }
    clusters.dedup();
    assert!(clusters.len() == 1 && clusters[0].len() == 22, "{clusters:?}");
    server.terminate();
}

#[test]
fn topics_are_asked_for_by_name_and_by_id() {
    let directory = TempDir::new().expect("a directory");
    let (server, mut peer) = start(&directory, &[TOPICS]);
    let wanted = asking(Some(&["b", "c", "a b", "b", "__meta", "__offsets", ""]), true);
    let expected = [("b", 0, 3), ("c", 3, 0), ("a b", 17, 0), ("__meta", 3, 0), ("__offsets", 3, 0), ("", 17, 0)];
    for version in [0, 4, 9, 12] {
        assert_eq!(told(&peer.call(version, &wanted)), owned(&expected), "{version}");
    }

    let id = peer.call(12, &asking(Some(&["b"]), false)).topics[0].topic_id;
    let by_id = |id| MetadataRequestTopic::default().with_name(None).with_topic_id(id);
    let nobody = Uuid::from_u128(7);
    let wanted = MetadataRequest::default().with_topics(Some(vec![by_id(id), by_id(nobody), by_id(Uuid::nil())]));
    let response = peer.call(12, &wanted);
    assert_eq!(told(&response), owned(&[("b", 0, 3), ("", 100, 0), ("", 42, 0)]));
    assert_eq!((response.topics[0].topic_id, response.topics[1].topic_id), (id, nobody));
    assert_eq!(response.topics[1].name, None);
    let both = MetadataRequestTopic::default().with_name(Some(name("b"))).with_topic_id(id);
    let response = peer.call(10, &MetadataRequest::default().with_topics(Some(vec![both])));
    assert_eq!(told(&response), owned(&[("b", 42, 0)]));
    server.terminate();
}

#[test]
fn operations_are_told_when_they_are_asked_for() {
    let directory = TempDir::new().expect("a directory");
    let (server, mut peer) = start(&directory, &[TOPICS]);
    for (version, asks) in [(8, true), (8, false), (10, true), (12, true)] {
        let mut request = asking(Some(&["a", "nothing"]), false).with_include_topic_authorized_operations(asks);
        request.include_cluster_authorized_operations = asks && version <= 10;
        let response = peer.call(version, &request);
        let operations = |known: i32| if asks { known } else { i32::MIN };
        assert_eq!(response.topics[0].topic_authorized_operations, operations(3576));
        assert_eq!(response.topics[1].topic_authorized_operations, i32::MIN);
        let cluster = if version <= 10 { operations(8096) } else { i32::MIN };
        assert_eq!(response.cluster_authorized_operations, cluster);
    }
    server.terminate();
}

/// Of which Kafka says "leader not available" first; here the topic is there at once.
#[test]
fn a_topic_is_created_where_client_and_server_want_it() {
    let directory = TempDir::new().expect("a directory");
    let (server, mut peer) =
        start(&directory, &[("QB_TOPICS__AUTO_CREATE", "true"), ("QB_TOPICS__DEFAULT_PARTITIONS", "2")]);
    assert_eq!(told(&peer.call(4, &asking(Some(&["new"]), false))), owned(&[("new", 3, 0)]));
    assert_eq!(told(&peer.call(4, &asking(Some(&["new"]), true))), owned(&[("new", 0, 2)]));
    assert_eq!(told(&peer.call(0, &asking(Some(&["old"]), true))), owned(&[("old", 0, 2)]));
    let odd = peer.call(12, &asking(Some(&["a b", "__own"]), true));
    assert_eq!(told(&odd), owned(&[("a b", 17, 0), ("__own", 17, 0)]));

    let many: Vec<String> = (0..70).map(|number| format!("n{number:02}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let response = peer.call(12, &asking(Some(&many), true));
    let codes: Vec<i16> = response.topics.iter().map(|topic| topic.error_code).collect();
    assert_eq!(
        (&codes[..64], &codes[64..]),
        (&[0; 64][..], &[5; 6][..]),
        "the rest is created when it is asked for again"
    );
    let again = peer.call(12, &asking(Some(&many), true));
    assert!(again.topics.iter().all(|topic| topic.error_code == 0));
    server.terminate();
}

#[test]
fn clients_are_told_what_is_advertised() {
    let directory = TempDir::new().expect("a directory");
    let set = [("QB_KAFKA__ADVERTISED_HOST", "broker.example"), ("QB_KAFKA__ADVERTISED_PORT", "19092")];
    let (server, mut peer) = start(&directory, &set);
    let response = peer.call(12, &asking(None, false));
    assert_eq!((response.brokers[0].host.as_str(), response.brokers[0].port), ("broker.example", 19_092));
    server.terminate();
}

#[test]
fn an_address_that_nobody_can_connect_to_is_warned_of() {
    const WARNED: &str = "kafka.advertised_host is no address";
    let directory = TempDir::new().expect("a directory");
    let setup = Setup::new(directory.path()).set("QB_KAFKA__ADVERTISED_HOST", "0.0.0.0").expect_line(WARNED);
    assert!(setup.start().terminate().contains(WARNED));
    // As containers have it: listening everywhere, and found at the port that their host maps.
    let mapped = setup.set("QB_KAFKA__HOST", "0.0.0.0").set("QB_KAFKA__ADVERTISED_HOST", "localhost");
    assert!(!mapped.start().terminate().contains("WARN"));
}
