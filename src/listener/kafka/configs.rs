//! Settings of topics and of the broker: DescribeConfigs, AlterConfigs, IncrementalAlterConfigs.

mod altering;
mod broker;
mod table;
mod topic;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::incremental_alter_configs_response as incremental;
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::KafkaListener;
use super::asked::Asked;
use super::cluster::NODE_ID;
use crate::broker::metadata::{SettingsChange, TopicSettings};
use crate::broker::{BrokerOptions, TopicChange, TopicHandle};
use crate::listener::topic_commands::{TopicCommand, command_topic};
use crate::protocol::kafka::{KafkaError, NO_ERROR};
use crate::types::TopicName;

pub(super) use altering::{Refused, settings_of_new_topic};
use altering::{increments, replacement};
use broker::{BrokerConfig, Place, configs_of_broker};
pub(super) use topic::{TopicConfig, configs_of};

/// What has settings.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;

/// Where a value comes from.
pub(super) const FROM_TOPIC: i8 = 1;
const FROM_BROKER: i8 = 4;
pub(super) const FROM_DEFAULT: i8 = 5;

impl TopicConfig {
    /// Where its value comes from, as the wire says it.
    pub(super) const fn source(&self) -> i8 {
        if self.own.is_some() { FROM_TOPIC } else { FROM_DEFAULT }
    }
}

impl KafkaListener {
    pub(super) async fn describe_configs(
        self: &Arc<Self>,
        asked: &Asked,
        request: DescribeConfigsRequest,
    ) -> DescribeConfigsResponse {
        let (synonyms, documentation) = (request.include_synonyms, request.include_documentation);
        // Each once: what is told of one is many times as long as its name.
        let mut seen = BTreeSet::new();
        let once = request.resources.iter().filter(|one| seen.insert((one.resource_type, one.resource_name.as_str())));
        let results = once.map(|resource| {
            let result = DescribeConfigsResult::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(copied(&resource.resource_name));
            match self.configs_wanted(asked, resource) {
                Ok(configs) => {
                    let shown = configs.into_iter().map(|config| config.shown(synonyms, documentation));
                    result.with_error_message(None).with_configs(shown.collect())
                }
                Err(refused) => result.with_error_code(refused.error.to_wire()).with_error_message(message(&refused)),
            }
        });
        DescribeConfigsResponse::default().with_results(results.collect())
    }

    fn configs_wanted(&self, asked: &Asked, resource: &DescribeConfigsResource) -> Result<Vec<Config>, Refused> {
        let mut configs: Vec<Config> = match resource.resource_type {
            TOPIC => {
                let topic = self.topic_named(&resource.resource_name)?;
                let configs = configs_of(self.broker.options(), &topic.topic().settings);
                configs.into_iter().map(Config::Topic).collect()
            }
            BROKER if resource.resource_name.is_empty() => Vec::new(),
            BROKER => {
                is_this_broker(&resource.resource_name)?;
                self.configs_of_broker(asked).into_iter().map(Config::Broker).collect()
            }
            BROKER_LOGGER => {
                is_this_broker(&resource.resource_name)?;
                Vec::new()
            }
            other => return Err(unsupported(other)),
        };
        if let Some(keys) = resource.configuration_keys.as_ref().filter(|keys| !keys.is_empty()) {
            configs.retain(|config| keys.iter().any(|key| key.as_str() == config.name()));
        }
        Ok(configs)
    }

    fn configs_of_broker(&self, asked: &Asked) -> Vec<BrokerConfig> {
        let (host, port) = self.advertised(asked);
        let place = Place {
            advertised: format!("{host}:{port}"),
            directory: self.broker.directory().path().to_string_lossy().into_owned(),
            creates_topics: self.options.auto_create,
        };
        configs_of_broker(self.broker.options(), place)
    }

    pub(super) async fn alter_configs(
        self: &Arc<Self>,
        _asked: &Asked,
        request: AlterConfigsRequest,
    ) -> AlterConfigsResponse {
        let mut responses = Vec::with_capacity(request.resources.len());
        let counts = counted(request.resources.iter().map(|one| (one.resource_type, &one.resource_name)));
        for resource in &request.resources {
            let (kind, name) = (resource.resource_type, &resource.resource_name);
            let configs = || resource.configs.iter().map(|config| (config.name.as_str(), config.value.as_deref()));
            let names = resource.configs.iter().map(|config| config.name.as_str());
            let make = |options: &BrokerOptions, _: &TopicSettings| replacement(options, configs());
            let done = match is_once(&counts, kind, name) {
                Ok(()) => self.alter(kind, name, names.collect(), make, request.validate_only).await,
                Err(refused) => Err(refused),
            };
            responses.push(
                AlterConfigsResourceResponse::default()
                    .with_resource_type(kind)
                    .with_resource_name(copied(name))
                    .with_error_code(code(&done))
                    .with_error_message(done.as_ref().err().and_then(message)),
            );
        }
        AlterConfigsResponse::default().with_responses(responses)
    }

    pub(super) async fn incremental_alter_configs(
        self: &Arc<Self>,
        _asked: &Asked,
        request: IncrementalAlterConfigsRequest,
    ) -> IncrementalAlterConfigsResponse {
        let mut responses = Vec::with_capacity(request.resources.len());
        let counts = counted(request.resources.iter().map(|one| (one.resource_type, &one.resource_name)));
        for resource in &request.resources {
            let (kind, name) = (resource.resource_type, &resource.resource_name);
            let configs = || {
                let configs = resource.configs.iter();
                configs.map(|config| (config.name.as_str(), config.config_operation, config.value.as_deref()))
            };
            let names = resource.configs.iter().map(|config| config.name.as_str());
            let make = |options: &BrokerOptions, now: &TopicSettings| increments(options, now, configs());
            let done = match is_once(&counts, kind, name) {
                Ok(()) => self.alter(kind, name, names.collect(), make, request.validate_only).await,
                Err(refused) => Err(refused),
            };
            responses.push(
                incremental::AlterConfigsResourceResponse::default()
                    .with_resource_type(kind)
                    .with_resource_name(copied(name))
                    .with_error_code(code(&done))
                    .with_error_message(done.as_ref().err().and_then(message)),
            );
        }
        IncrementalAlterConfigsResponse::default().with_responses(responses)
    }

    /// Changes the settings of one resource. What is changed of a topic depends on what it is now.
    async fn alter(
        &self,
        kind: i8,
        name: &str,
        keys: Vec<&str>,
        make: impl FnOnce(&BrokerOptions, &TopicSettings) -> Result<SettingsChange, Refused>,
        validate_only: bool,
    ) -> Result<(), Refused> {
        match kind {
            TOPIC => {}
            BROKER | BROKER_LOGGER => return refuse_broker(name, &keys),
            other => return Err(unsupported(other)),
        }
        if name.is_empty() {
            return Err(Refused::new(KafkaError::InvalidRequest, "Default topic resources are not allowed."));
        }
        let topic = self.topic_named(name)?;
        let settings = make(self.broker.options(), &topic.topic().settings)?;
        if validate_only {
            return Ok(());
        }
        let change = TopicChange { settings, partitions: None };
        let command = TopicCommand::Alter { topic: topic.topic().name.clone(), change };
        let done = command_topic(&self.broker, &self.surroundings, &command).await;
        done.map(drop).map_err(|error| Refused::new(KafkaError::from(&error), error.to_string()))
    }

    /// A topic of users that is there.
    fn topic_named(&self, name: &str) -> Result<Arc<TopicHandle>, Refused> {
        let name =
            TopicName::new(name).map_err(|error| Refused::new(KafkaError::InvalidTopicException, error.to_string()))?;
        let unknown = || {
            let message = format!("The topic '{name}' does not exist.");
            Refused::new(KafkaError::UnknownTopicOrPartition, message)
        };
        self.broker.user_topic(&name).map_err(|_| unknown())
    }
}

/// Any setting that is shown.
enum Config {
    Topic(TopicConfig),
    Broker(BrokerConfig),
}

impl Config {
    fn name(&self) -> &'static str {
        match self {
            Config::Topic(config) => config.name(),
            Config::Broker(config) => config.name,
        }
    }

    fn shown(self, synonyms: bool, documentation: bool) -> DescribeConfigsResourceResult {
        let shown = DescribeConfigsResourceResult::default().with_name(StrBytes::from_static_str(self.name()));
        let doc = |text| documentation.then(|| StrBytes::from_static_str(text));
        match self {
            Config::Topic(config) => {
                let listed = if synonyms { synonyms_of(&config) } else { Vec::new() };
                shown
                    .with_value(Some(StrBytes::from_string(config.value().to_owned())))
                    .with_config_source(config.source())
                    .with_config_type(config.key.type_to_wire())
                    .with_documentation(doc(config.key.doc))
                    .with_synonyms(listed)
            }
            Config::Broker(config) => {
                let value = StrBytes::from_string(config.value);
                let own = synonym(config.name, value.clone(), FROM_BROKER);
                shown
                    .with_value(Some(value))
                    .with_read_only(true)
                    .with_config_source(FROM_BROKER)
                    .with_config_type(config.kind as i8)
                    .with_documentation(doc(config.doc))
                    .with_synonyms(if synonyms { vec![own] } else { Vec::new() })
            }
        }
    }
}

/// Where a topic's setting may come from, the first first.
fn synonyms_of(config: &TopicConfig) -> Vec<DescribeConfigsSynonym> {
    let text = |value: &String| StrBytes::from_string(value.clone());
    let own = config.own.as_ref().map(|value| synonym(config.name(), text(value), FROM_TOPIC));
    let default = config.key.of_broker.map(|name| synonym(name, text(&config.default), FROM_DEFAULT));
    own.into_iter().chain(default).collect()
}

fn synonym(name: &'static str, value: StrBytes, source: i8) -> DescribeConfigsSynonym {
    DescribeConfigsSynonym::default()
        .with_name(StrBytes::from_static_str(name))
        .with_value(Some(value))
        .with_source(source)
}

/// How often each resource is named.
fn counted<'a>(resources: impl Iterator<Item = (i8, &'a StrBytes)>) -> BTreeMap<(i8, &'a str), usize> {
    let mut counts = BTreeMap::new();
    resources.for_each(|(kind, name)| *counts.entry((kind, name.as_str())).or_default() += 1);
    counts
}

fn is_once(counts: &BTreeMap<(i8, &str), usize>, kind: i8, name: &str) -> Result<(), Refused> {
    if counts.get(&(kind, name)).is_none_or(|&count| count == 1) {
        return Ok(());
    }
    Err(Refused::new(KafkaError::InvalidRequest, "Each resource must appear at most once."))
}

fn is_this_broker(name: &str) -> Result<(), Refused> {
    let message = match name.parse::<i32>() {
        Ok(NODE_ID) => return Ok(()),
        Ok(other) => format!("Unexpected broker id, expected {NODE_ID} or empty string, but received {other}"),
        Err(_) => "Broker id must be an integer".to_owned(),
    };
    Err(Refused::new(KafkaError::InvalidRequest, message))
}

fn refuse_broker(name: &str, keys: &[&str]) -> Result<(), Refused> {
    if !name.is_empty() {
        is_this_broker(name)?;
    }
    if keys.is_empty() {
        return Ok(());
    }
    let shown: Vec<_> = keys.iter().take(10).map(|key| key.chars().take(100).collect::<String>()).collect();
    let message = format!("Cannot update these configs dynamically: {}", shown.join(", "));
    Err(Refused::new(KafkaError::InvalidRequest, message))
}

fn unsupported(kind: i8) -> Refused {
    Refused::new(KafkaError::InvalidRequest, format!("Unsupported resource type {kind}"))
}

fn copied(text: &StrBytes) -> StrBytes {
    StrBytes::from_string(text.to_string())
}

fn message(refused: &Refused) -> Option<StrBytes> {
    Some(StrBytes::from_string(refused.message.clone()))
}

fn code(done: &Result<(), Refused>) -> i16 {
    done.as_ref().err().map_or(NO_ERROR, |refused| refused.error.to_wire())
}
