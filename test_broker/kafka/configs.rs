//! DescribeConfigs, AlterConfigs and IncrementalAlterConfigs.

use kafka_protocol::messages::alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult};
use kafka_protocol::messages::incremental_alter_configs_request as incremental;
use kafka_protocol::messages::{AlterConfigsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest};
use tempfile::TempDir;

use super::produce_fetch::{batch, produce, produced};
use super::text;
use crate::harness::kafka::KafkaPeer;
use crate::harness::{Server, Setup};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

fn setup(directory: &TempDir) -> Setup {
    Setup::new(directory.path()).set("QB_TOPICS__CREATE", r#"{"t": 1}"#)
}

fn start(directory: &TempDir) -> (Server, KafkaPeer) {
    let mut server = setup(directory).start();
    let peer = KafkaPeer::of(&mut server);
    (server, peer)
}

fn resource(kind: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsResource {
    DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configuration_keys(keys.map(|keys| keys.iter().map(|key| text(key)).collect()))
}

fn describe(peer: &mut KafkaPeer, version: i16, wanted: DescribeConfigsResource) -> DescribeConfigsResult {
    let request = DescribeConfigsRequest::default()
        .with_resources(vec![wanted])
        .with_include_synonyms(true)
        .with_include_documentation(version >= 3);
    peer.call(version, &request).results.remove(0)
}

/// The settings that are the topic's own.
fn own(peer: &mut KafkaPeer) -> String {
    let configs = describe(peer, 4, resource(TOPIC, "t", None)).configs;
    let own = configs.iter().filter(|config| config.config_source == 1);
    let shown = own.map(|config| format!("{}={}", config.name, config.value.as_deref().unwrap_or("nothing")));
    shown.collect::<Vec<_>>().join(" ")
}

fn find<'a>(result: &'a DescribeConfigsResult, name: &str) -> &'a DescribeConfigsResourceResult {
    let found = result.configs.iter().find(|config| config.name.as_str() == name);
    found.unwrap_or_else(|| panic!("{name} in {result:?}"))
}

#[test]
fn every_version_describes_a_topic_and_the_broker() {
    let directory = TempDir::new().expect("a directory");
    let (server, mut peer) = start(&directory);
    for version in 1..=4 {
        let topic = describe(&mut peer, version, resource(TOPIC, "t", None));
        assert_eq!((topic.error_code, topic.error_message.as_deref()), (0, None));
        assert_eq!((topic.resource_type, topic.resource_name.as_str(), topic.configs.len()), (TOPIC, "t", 33));
        let policy = find(&topic, "cleanup.policy");
        assert_eq!((policy.value.as_deref(), policy.config_source, policy.read_only), (Some("delete"), 5, false));
        let synonym = &policy.synonyms[0];
        assert_eq!(
            (synonym.name.as_str(), synonym.value.as_deref(), synonym.source),
            ("log.cleanup.policy", Some("delete"), 5)
        );
        assert_eq!(policy.config_type, if version >= 3 { 7 } else { 0 });
        assert_eq!(policy.documentation.as_ref().is_some_and(|doc| !doc.is_empty()), version >= 3);
        assert_eq!(find(&topic, "segment.bytes").value.as_deref(), Some("104857600"));

        let broker = describe(&mut peer, version, resource(BROKER, "1", None));
        assert_eq!(broker.error_code, 0);
        let partitions = find(&broker, "num.partitions");
        assert_eq!((partitions.value.as_deref(), partitions.config_source, partitions.read_only), (Some("1"), 4, true));
        assert_eq!(find(&broker, "message.max.bytes").value.as_deref(), Some("1048588"));
    }
    let two = describe(&mut peer, 4, resource(TOPIC, "t", Some(&["segment.ms", "nothing", "retention.ms"])));
    assert_eq!(
        two.configs.iter().map(|config| config.name.as_str()).collect::<Vec<_>>(),
        ["retention.ms", "segment.ms"]
    );
    let repeated = DescribeConfigsRequest::default().with_resources(vec![resource(TOPIC, "t", None); 100]);
    assert_eq!(peer.call(4, &repeated).results.len(), 1);
    for (kind, name, code) in [
        (TOPIC, "nothing", 3),
        (TOPIC, "__offsets", 3),
        (TOPIC, "a b", 17),
        (BROKER, "2", 42),
        (BROKER, "one", 42),
        (BROKER, "", 0),
        (8, "1", 0),
        (16, "", 42),
        (0, "t", 42),
    ] {
        let described = describe(&mut peer, 4, resource(kind, name, None));
        assert_eq!((described.error_code, described.configs.len()), (code, 0), "{kind} {name}");
    }
    server.terminate();
}

/// One incremental change: settings with operation and value. Returns code and message.
fn change(peer: &mut KafkaPeer, version: i16, configs: &[(&str, i8, Option<&str>)]) -> (i16, Option<String>) {
    let config = |(name, operation, value): &(&str, i8, Option<&str>)| {
        incremental::AlterableConfig::default()
            .with_name(text(name))
            .with_config_operation(*operation)
            .with_value(value.map(text))
    };
    let resource = incremental::AlterConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(text("t"))
        .with_configs(configs.iter().map(config).collect());
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let response = &peer.call(version, &request).responses[0];
    assert_eq!((response.resource_type, response.resource_name.as_str()), (TOPIC, "t"));
    (response.error_code, response.error_message.as_ref().map(ToString::to_string))
}

#[test]
fn settings_are_changed_one_by_one_and_outlive_the_server() {
    let directory = TempDir::new().expect("a directory");
    let (server, mut peer) = start(&directory);
    let set =
        [("retention.ms", 0, Some("5000")), ("preallocate", 0, Some("true")), ("max.message.bytes", 0, Some("900"))];
    assert_eq!(change(&mut peer, 0, &set), (0, None));
    assert_eq!(own(&mut peer), "max.message.bytes=900 preallocate=true retention.ms=5000");
    assert_eq!(change(&mut peer, 1, &[("cleanup.policy", 2, Some("compact"))]), (0, None));
    assert_eq!(change(&mut peer, 1, &[("retention.ms", 1, None)]), (0, None));
    let settings = "cleanup.policy=compact,delete max.message.bytes=900 preallocate=true";
    assert_eq!(own(&mut peer), settings);

    let refused = change(&mut peer, 1, &[("preallocate", 1, None), ("min.insync.replicas", 0, Some("2"))]);
    let why = "Invalid value 2 for configuration min.insync.replicas: only 1 is possible here, because a partition has one \
               replica";
    assert_eq!(refused, (40, Some(why.to_owned())));
    assert_eq!(own(&mut peer), settings, "nothing of it is done");
    server.terminate();

    let mut server = setup(&directory).start();
    let mut peer = KafkaPeer::of(&mut server);
    assert_eq!(own(&mut peer), settings);
    assert_eq!(change(&mut peer, 1, &[("cleanup.policy", 3, Some("delete"))]), (0, None));
    assert_eq!(own(&mut peer), "cleanup.policy=compact max.message.bytes=900 preallocate=true");
    server.terminate();
}

fn replace(kind: i8, name: &str, configs: &[(&str, &str)]) -> AlterConfigsResource {
    let config =
        |(name, value): &(&str, &str)| AlterableConfig::default().with_name(text(name)).with_value(Some(text(value)));
    AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(configs.iter().map(config).collect())
}

#[test]
fn settings_are_replaced_in_every_version() {
    let directory = TempDir::new().expect("a directory");
    let (server, mut peer) = start(&directory);
    for version in 0..=2 {
        let mut alter = |validate_only, resources: Vec<AlterConfigsResource>| {
            let request = AlterConfigsRequest::default().with_validate_only(validate_only).with_resources(resources);
            let responses = peer.call(version, &request).responses;
            responses.iter().map(|response| response.error_code).collect::<Vec<_>>()
        };
        let both = [("segment.ms", "1000"), ("compression.type", "zstd")];
        assert_eq!(alter(false, vec![replace(TOPIC, "t", &both)]), [0]);
        assert_eq!(alter(false, vec![replace(TOPIC, "t", &[("retention.bytes", "7")])]), [0]);
        assert_eq!(alter(true, vec![replace(TOPIC, "t", &both)]), [0]);
        let codes = alter(
            false,
            vec![
                replace(TOPIC, "nothing", &both),
                replace(TOPIC, "", &both),
                replace(BROKER, "1", &[("log.retention.ms", "1")]),
                replace(BROKER, "2", &[]),
                replace(16, "x", &[]),
                replace(TOPIC, "t", &[]),
                replace(TOPIC, "t", &both),
            ],
        );
        assert_eq!(codes, [3, 42, 42, 42, 42, 42, 42]);
        assert_eq!(own(&mut peer), "retention.bytes=7");
    }
    server.terminate();
}

/// Appends a batch of 2023: the error code, and whether it is given the time of appending.
fn produce_old(peer: &mut KafkaPeer) -> (i16, bool) {
    let result = &produced(peer, 9, &produce(-1, "t", &[(0, Some(batch(&["old"])))]))[0];
    (result.error_code, result.log_append_time_ms >= 0)
}

#[test]
fn what_is_set_holds_for_what_is_produced() {
    let directory = TempDir::new().expect("a directory");
    let (server, mut peer) = start(&directory);
    assert_eq!(produce_old(&mut peer), (0, false));
    change(&mut peer, 1, &[("message.timestamp.before.max.ms", 0, Some("1000"))]);
    assert_eq!(produce_old(&mut peer), (32, false));
    change(&mut peer, 1, &[("message.timestamp.type", 0, Some("LogAppendTime"))]);
    assert_eq!(produce_old(&mut peer), (0, true));
    change(&mut peer, 1, &[("max.message.bytes", 0, Some("60"))]);
    assert_eq!(produce_old(&mut peer), (10, false));
    change(&mut peer, 1, &[("max.message.bytes", 1, None)]);
    change(&mut peer, 1, &[("cleanup.policy", 0, Some("compact"))]);
    assert_eq!(produce_old(&mut peer), (87, false));
    server.terminate();
}
