//! The broker's settings as Kafka's clients know them: what is true of this broker under Kafka's names. None can be changed
//! here.

use super::table::{Kind, TOPIC_KEYS};
use super::topic::{default_value, defaults_for};
use crate::broker::BrokerOptions;
use crate::broker::metadata::TopicSettings;
use crate::listener::kafka::cluster::NODE_ID;
use crate::replica::SyncPolicy;

/// One setting of the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BrokerConfig {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) value: String,
    pub(super) doc: &'static str,
}

/// What the listener knows and the broker does not.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Where clients connect to, as `host:port`.
    pub(super) advertised: String,
    /// Where it keeps what it is given.
    pub(super) directory: String,
    /// Whether asking for a topic may create it.
    pub(super) creates_topics: bool,
}

/// All settings of the broker.
pub(super) fn configs_of_broker(options: &BrokerOptions, place: Place) -> Vec<BrokerConfig> {
    let config = |name, kind, value, doc| BrokerConfig { name, kind, value, doc };
    let listener = format!("PLAINTEXT://{}", place.advertised);
    let id = || NODE_ID.to_string();
    let syncs = if matches!(options.partition.sync, SyncPolicy::Always) { 1 } else { i64::MAX };
    let mut configs = vec![
        config("advertised.listeners", Kind::List, listener, "Where clients are to connect to."),
        config(
            "auto.create.topics.enable",
            Kind::Boolean,
            place.creates_topics.to_string(),
            "Whether asking for the metadata of a topic that does not exist may create it.",
        ),
        config("broker.id", Kind::Int, id(), "The id of this broker."),
        config("default.replication.factor", Kind::Int, "1".into(), "How many replicas a partition has."),
        config("delete.topic.enable", Kind::Boolean, "true".into(), "Whether topics can be deleted."),
        config("inter.broker.protocol.version", Kind::Text, "3.9".into(), "The Kafka that this broker speaks like."),
        config("log.dirs", Kind::List, place.directory, "Where records are kept."),
        config("node.id", Kind::Int, id(), "The id of this broker."),
        config("num.partitions", Kind::Int, options.topics.partitions.to_string(), "Partitions of a topic by default."),
    ];
    let defaults = defaults_for(options, &TopicSettings::default());
    configs.extend(TOPIC_KEYS.iter().filter_map(|key| {
        let value = match key.name {
            "flush.messages" => syncs.to_string(),
            _ => default_value(key, &defaults),
        };
        Some(config(key.of_broker?, key.kind, value, key.doc))
    }));
    configs.sort_by_key(|config| config.name);
    configs
}
