//! What there is of a cluster: one broker, who it is and where, and where it keeps what.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{
    BrokerId, DescribeClusterRequest, DescribeClusterResponse, DescribeLogDirsRequest, DescribeLogDirsResponse,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::KafkaListener;
use super::asked::Asked;
use crate::broker::{Slot, TopicHandle};
use crate::protocol::kafka::KafkaError;
use crate::types::TopicName;

/// The id of this broker among Kafka's clients: the only one of its cluster, and its controller.
pub(super) const NODE_ID: i32 = 1;

/// Which operations on a cluster Kafka knows, as the bits of their numbers: without an authorizer all are allowed. Create,
/// Alter, Describe, ClusterAction, DescribeConfigs, AlterConfigs, IdempotentWrite.
pub(super) const CLUSTER_OPERATIONS: i32 = 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12;
/// Operations that were not asked for.
pub(super) const NO_OPERATIONS: i32 = i32::MIN;

/// `endpoint_type` of those who ask for brokers, and of those who ask for controllers.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

/// "Not known", of bytes.
const UNKNOWN_BYTES: i64 = -1;

impl KafkaListener {
    /// Where clients are to connect to: as configured, else where this one did.
    pub(super) fn advertised(&self, asked: &Asked) -> (StrBytes, i32) {
        let host = self.options.advertised_host.clone();
        let host = host.unwrap_or_else(|| asked.local.ip().to_canonical().to_string());
        let port = self.options.advertised_port.unwrap_or_else(|| asked.local.port());
        (StrBytes::from_string(host), i32::from(port))
    }

    /// The cluster's id: that of the data directory, written as Kafka writes UUIDs.
    pub(super) fn cluster_id(&self) -> StrBytes {
        StrBytes::from_string(uuid_text(self.broker.directory().id()))
    }

    pub(super) async fn describe_cluster(
        self: &Arc<Self>,
        asked: &Asked,
        request: DescribeClusterRequest,
    ) -> DescribeClusterResponse {
        let response = DescribeClusterResponse::default().with_error_message(None);
        let refused = match request.endpoint_type {
            BROKERS => None,
            CONTROLLERS => {
                Some((KafkaError::MismatchedEndpointType, "The request was sent to an endpoint of type BROKER"))
            }
            _ => Some((KafkaError::UnsupportedEndpointType, "Unsupported endpoint type")),
        };
        if let Some((error, message)) = refused {
            let response = response.with_error_code(error.to_wire());
            return response.with_error_message(Some(StrBytes::from_static_str(message)));
        }
        let (host, port) = self.advertised(asked);
        let broker = DescribeClusterBroker::default().with_broker_id(BrokerId(NODE_ID)).with_host(host).with_port(port);
        let asked_for_operations = request.include_cluster_authorized_operations;
        response
            .with_cluster_id(self.cluster_id())
            .with_controller_id(BrokerId(NODE_ID))
            .with_brokers(vec![broker.with_rack(None)])
            .with_cluster_authorized_operations(if asked_for_operations { CLUSTER_OPERATIONS } else { NO_OPERATIONS })
    }

    pub(super) async fn describe_log_dirs(
        self: &Arc<Self>,
        _asked: &Asked,
        request: DescribeLogDirsRequest,
    ) -> DescribeLogDirsResponse {
        let topics = match request.topics {
            None => self.broker.topics().iter().map(|topic| sizes_of(topic, |_| true)).collect(),
            Some(topics) => self.sizes_of_wanted(&topics),
        };
        let path = self.broker.directory().path().to_string_lossy().into_owned();
        let directory = DescribeLogDirsResult::default()
            .with_log_dir(StrBytes::from_string(path))
            .with_topics(topics)
            .with_total_bytes(UNKNOWN_BYTES)
            .with_usable_bytes(UNKNOWN_BYTES);
        DescribeLogDirsResponse::default().with_results(vec![directory])
    }

    /// Of the partitions that were asked for, each once. What is not there is not told of.
    fn sizes_of_wanted(&self, wanted: &[DescribableLogDirTopic]) -> Vec<DescribeLogDirsTopic> {
        let mut partitions: BTreeMap<&str, BTreeSet<i32>> = BTreeMap::new();
        for DescribableLogDirTopic { topic, partitions: wanted, .. } in wanted {
            partitions.entry(topic.0.as_str()).or_default().extend(wanted);
        }
        let sizes = partitions.into_iter().filter_map(|(topic, wanted)| {
            let topic = self.broker.user_topic(&TopicName::new(topic).ok()?).ok()?;
            Some(sizes_of(&topic, |partition| wanted.contains(&partition)))
        });
        sizes.filter(|sizes| !sizes.partitions.is_empty()).collect()
    }
}

/// How large those of a topic's partitions are that are open and wanted.
fn sizes_of(topic: &TopicHandle, is_wanted: impl Fn(i32) -> bool) -> DescribeLogDirsTopic {
    let sizes = (0..).zip(topic.slots()).filter(|(index, _)| is_wanted(*index));
    let sizes = sizes.filter_map(|(index, slot)| match slot {
        Slot::Open(partition) => {
            let bytes = i64::try_from(partition.bytes()).unwrap_or(i64::MAX);
            Some(DescribeLogDirsPartition::default().with_partition_index(index).with_partition_size(bytes))
        }
        Slot::Offline(_) => None,
    });
    DescribeLogDirsTopic::default().with_name(wire_name(&topic.topic().name)).with_partitions(sizes.collect())
}

/// A topic's name for the wire.
pub(super) fn wire_name(name: &TopicName) -> kafka_protocol::messages::TopicName {
    kafka_protocol::messages::TopicName(StrBytes::from_string(name.as_str().to_owned()))
}

/// A UUID as Kafka writes it: base64 for URLs, without padding; 22 characters.
fn uuid_text(id: Uuid) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits = id.as_u128();
    // 128 bits are 21 sixes and the upper two bits of one more.
    let sixes = (0..21).map(|at| (bits >> (122 - 6 * at)) & 63).chain([(bits & 3) << 4]);
    sixes.map(|six| char::from(ALPHABET[usize::try_from(six).unwrap_or(0)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_written_as_kafka_writes_it() {
        for (bits, text) in [
            (0, "AAAAAAAAAAAAAAAAAAAAAA"),
            (1, "AAAAAAAAAAAAAAAAAAAAAQ"),
            (u128::MAX, "_____________________w"),
            (0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f, "AAECAwQFBgcICQoLDA0ODw"),
        ] {
            assert_eq!(uuid_text(Uuid::from_u128(bits)), text);
        }
    }

    #[test]
    fn operations_are_those_of_kafka_without_an_authorizer() {
        assert_eq!(CLUSTER_OPERATIONS, 8096);
    }
}
