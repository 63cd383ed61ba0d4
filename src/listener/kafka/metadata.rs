//! Metadata: which brokers and topics there are. Every client begins with it.

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{self, BrokerId, MetadataRequest, MetadataResponse};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::KafkaListener;
use super::asked::Asked;
use super::cluster::{CLUSTER_OPERATIONS, NO_OPERATIONS, NODE_ID, wire_name};
use crate::broker::metadata::{MetadataError, TopicSettings};
use crate::broker::{BrokerError, Slot, TopicHandle};
use crate::listener::topic_commands::create_new_topic;
use crate::protocol::kafka::{KafkaError, NO_ERROR};
use crate::types::{TopicId, TopicName};

/// Topics that one request creates at most; further ones are said to be on their way, and made when they are asked for
/// again.
const CREATIONS_MAX: usize = 64;

/// Which operations on a topic Kafka knows, as the bits of their numbers: without an authorizer all are allowed. Read, Write,
/// Create, Delete, Alter, Describe, DescribeConfigs, AlterConfigs.
const TOPIC_OPERATIONS: i32 = 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 11;

/// The first version in which all topics are asked for by null, and none by an empty list.
const NULL_IS_ALL_SINCE: i16 = 1;
/// The first version that says whether topics may be created.
const CREATION_IS_ASKED_SINCE: i16 = 4;
/// The first version in which topics are asked for by their ids.
const IDS_SINCE: i16 = 12;

/// Epoch and leader of a partition without one.
const NO_EPOCH: i32 = -1;
const NO_LEADER: i32 = -1;

/// Topics of one request that may still be created.
struct Creations {
    are_allowed: bool,
    left: usize,
}

impl KafkaListener {
    pub(super) async fn metadata(self: &Arc<Self>, asked: &Asked, request: MetadataRequest) -> MetadataResponse {
        let is_all = |topics: &Vec<_>| topics.is_empty() && asked.version < NULL_IS_ALL_SINCE;
        let is_allowed = asked.version < CREATION_IS_ASKED_SINCE || request.allow_auto_topic_creation;
        let creations = Creations { are_allowed: is_allowed && self.options.auto_create, left: CREATIONS_MAX };
        let mut topics = match request.topics.filter(|topics| !is_all(topics)) {
            None => self.broker.topics().iter().map(|topic| shown(topic)).collect(),
            Some(wanted) => self.wanted_topics(asked, wanted, creations).await,
        };
        if request.include_topic_authorized_operations {
            let known = topics.iter_mut().filter(|topic| topic.error_code == NO_ERROR);
            known.for_each(|topic| topic.topic_authorized_operations = TOPIC_OPERATIONS);
        }
        let (host, port) = self.advertised(asked);
        let broker = MetadataResponseBroker::default().with_node_id(BrokerId(NODE_ID)).with_host(host).with_port(port);
        let asked_for_operations = request.include_cluster_authorized_operations;
        MetadataResponse::default()
            .with_brokers(vec![broker.with_rack(None)])
            .with_cluster_id(Some(self.cluster_id()))
            .with_controller_id(BrokerId(NODE_ID))
            .with_topics(topics)
            .with_cluster_authorized_operations(if asked_for_operations { CLUSTER_OPERATIONS } else { NO_OPERATIONS })
    }

    /// The topics that were asked for, each once.
    async fn wanted_topics(
        self: &Arc<Self>,
        asked: &Asked,
        wanted: Vec<MetadataRequestTopic>,
        mut creations: Creations,
    ) -> Vec<MetadataResponseTopic> {
        let mut seen = BTreeSet::new();
        let mut topics = Vec::new();
        for MetadataRequestTopic { topic_id, name, .. } in wanted {
            // What an id names is answered once, whatever name came with it.
            let by_name = if topic_id.is_nil() || asked.version < IDS_SINCE { name.clone() } else { None };
            if !seen.insert((topic_id, by_name)) {
                continue;
            }
            topics.push(match name {
                _ if !topic_id.is_nil() && asked.version < IDS_SINCE => {
                    refused(name.unwrap_or_default(), KafkaError::InvalidRequest)
                }
                _ if !topic_id.is_nil() => self.topic_of_id(topic_id),
                None => refused(messages::TopicName::default(), KafkaError::InvalidRequest),
                Some(name) => match self.topic_of_name(&name, &mut creations).await {
                    Ok(topic) => shown(&topic),
                    Err(error) => refused(copied(&name), error),
                },
            });
        }
        topics
    }

    fn topic_of_id(&self, id: Uuid) -> MetadataResponseTopic {
        let found = self.topic_by_id(TopicId::new(id));
        found.map_or_else(
            || {
                let unknown = MetadataResponseTopic::default().with_name(None).with_topic_id(id);
                unknown.with_error_code(KafkaError::UnknownTopicId.to_wire())
            },
            |topic| shown(&topic),
        )
    }

    /// The topic of users that has this id.
    pub(super) fn topic_by_id(&self, id: TopicId) -> Option<Arc<TopicHandle>> {
        self.broker.topic_by_id(id).filter(|topic| !topic.topic().name.is_internal())
    }

    /// The topic of a name, created where that is allowed. It is there once this has created it: Kafka's "leader not
    /// available", after which clients ask again, is not needed.
    async fn topic_of_name(
        &self,
        name: &messages::TopicName,
        creations: &mut Creations,
    ) -> Result<Arc<TopicHandle>, KafkaError> {
        let name = TopicName::new(&name.0).map_err(|_| KafkaError::InvalidTopicException)?;
        match self.broker.user_topic(&name) {
            Ok(topic) => return Ok(topic),
            Err(BrokerError::InternalTopic { .. }) if creations.are_allowed => {
                return Err(KafkaError::InvalidTopicException);
            }
            Err(_) if !creations.are_allowed => return Err(KafkaError::UnknownTopicOrPartition),
            Err(_) => {}
        }
        if creations.left == 0 {
            return Err(KafkaError::LeaderNotAvailable);
        }
        creations.left -= 1;
        match create_new_topic(&self.broker, &self.surroundings, &name, None, TopicSettings::default()).await {
            Ok(topic) => Ok(topic),
            // Somebody else created it, perhaps with more partitions.
            Err(BrokerError::Metadata(MetadataError::TopicExists { .. })) => {
                self.broker.user_topic(&name).map_err(|error| KafkaError::from(&error))
            }
            Err(BrokerError::TopicBusy { .. }) => Err(KafkaError::LeaderNotAvailable),
            Err(error) => {
                tracing::debug!(topic = %name, %error, "a topic that a client asked for was not created");
                Err(KafkaError::from(&error))
            }
        }
    }
}

/// A name that does not hold the request it came in.
fn copied(name: &messages::TopicName) -> messages::TopicName {
    messages::TopicName(StrBytes::from_string(name.0.to_string()))
}

fn refused(name: messages::TopicName, error: KafkaError) -> MetadataResponseTopic {
    MetadataResponseTopic::default().with_name(Some(name)).with_error_code(error.to_wire())
}

fn shown(handle: &TopicHandle) -> MetadataResponseTopic {
    let topic = handle.topic();
    let partitions = (0..).zip(handle.slots()).map(|(index, slot)| partition(index, slot)).collect();
    MetadataResponseTopic::default()
        .with_name(Some(wire_name(&topic.name)))
        .with_topic_id(topic.id.get())
        .with_partitions(partitions)
}

fn partition(index: i32, slot: &Slot) -> MetadataResponsePartition {
    let this = || vec![BrokerId(NODE_ID)];
    let shown = MetadataResponsePartition::default().with_partition_index(index).with_replica_nodes(this());
    match slot {
        Slot::Open(open) => {
            shown.with_leader_id(BrokerId(NODE_ID)).with_leader_epoch(open.epoch().get()).with_isr_nodes(this())
        }
        Slot::Offline(_) => shown
            .with_error_code(KafkaError::LeaderNotAvailable.to_wire())
            .with_leader_id(BrokerId(NO_LEADER))
            .with_leader_epoch(NO_EPOCH)
            .with_offline_replicas(this()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_those_of_kafka_without_an_authorizer() {
        assert_eq!(TOPIC_OPERATIONS, 3576);
    }

    #[test]
    fn a_partition_that_is_offline_has_no_leader() {
        let shown = partition(3, &Slot::Offline("damaged".into()));
        assert_eq!((shown.partition_index, shown.leader_id, shown.leader_epoch), (3, BrokerId(-1), -1));
        assert_eq!((shown.error_code, shown.offline_replicas), (5, vec![BrokerId(1)]));
    }
}
