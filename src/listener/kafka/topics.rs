//! Topics are created, deleted, and given more partitions. What is wrong with one topic of a request harms only that one.

mod creation;
mod growth;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::sync::Arc;

use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{
    self, CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse,
    DeleteTopicsRequest, DeleteTopicsResponse,
};
use kafka_protocol::protocol::StrBytes;
use tokio::task::JoinHandle;

use super::KafkaListener;
use super::asked::Asked;
use super::cluster::wire_name;
use super::configs::{Refused, TopicConfig, configs_of, settings_of_new_topic};
use crate::broker::metadata::{MetadataError, SettingsChange};
use crate::broker::{BrokerError, TopicChange, TopicHandle};
use crate::listener::topic_commands::{TopicCommand, command_topic, create_new_topic};
use crate::protocol::kafka::KafkaError;
use crate::types::{TopicId, TopicName};
use creation::partitions_of_new_topic;
use growth::check_growth;

/// Commands of one request that are under way at a time.
const AT_A_TIME: usize = 16;
/// Replicas of every partition.
const REPLICATION: i16 = 1;
/// The first version whose topics to be deleted have ids.
const DELETION_BY_ID_SINCE: i16 = 6;

impl From<BrokerError> for Refused {
    fn from(error: BrokerError) -> Refused {
        Refused::new(KafkaError::from(&error), error.to_string())
    }
}

impl KafkaListener {
    pub(super) async fn create_topics(
        self: &Arc<Self>,
        _asked: &Asked,
        request: CreateTopicsRequest,
    ) -> CreateTopicsResponse {
        let repeated = repeated(request.topics.iter().map(|topic| topic.name.as_str()));
        let refused = repeated.iter().map(|name| not_created(name, &duplicate_name())).collect::<Vec<_>>();
        let once = request.topics.into_iter().filter(|topic| !repeated.contains(topic.name.as_str()));
        let created = side_by_side(once.collect(), |topic| {
            let listener = Arc::clone(self);
            async move {
                match listener.create_topic(&topic, request.validate_only).await {
                    Ok(created) => created,
                    Err(refused) => not_created(&topic.name, &refused),
                }
            }
        });
        let topics = created.await.into_iter().chain(refused).collect();
        CreateTopicsResponse::default().with_topics(topics)
    }

    async fn create_topic(
        self: Arc<Self>,
        wanted: &CreatableTopic,
        validate_only: bool,
    ) -> Result<CreatableTopicResult, Refused> {
        let name = legal(&wanted.name)?;
        let options = self.broker.options();
        if name.is_internal() {
            return Err(BrokerError::InternalTopic { topic: name }.into());
        }
        if self.broker.topic(&name).is_ok() {
            return Err(already_exists(&name));
        }
        let partitions = partitions_of_new_topic(wanted, options.topics.partitions, options.limits.partitions_max)?;
        let configs = wanted.configs.iter().map(|config| (config.name.as_str(), config.value.as_deref()));
        let settings = settings_of_new_topic(options, configs)?;
        if validate_only {
            return Ok(created(&name, None, partitions, &configs_of(options, &settings)));
        }
        let made = create_new_topic(&self.broker, &self.surroundings, &name, Some(partitions), settings).await;
        if let Err(BrokerError::Metadata(MetadataError::TopicExists { .. })) = made {
            return Err(already_exists(&name));
        }
        let topic = made?;
        let settings = &topic.topic().settings;
        Ok(created(&name, Some(topic.topic().id), topic.partitions_count(), &configs_of(options, settings)))
    }

    pub(super) async fn delete_topics(
        self: &Arc<Self>,
        asked: &Asked,
        request: DeleteTopicsRequest,
    ) -> DeleteTopicsResponse {
        let wanted = if asked.version < DELETION_BY_ID_SINCE {
            let by_name = |name| DeleteTopicState::default().with_name(Some(name));
            request.topic_names.into_iter().map(by_name).collect()
        } else {
            request.topics
        };
        let (once, refused) = self.deletable(wanted);
        let deleted = side_by_side(once, |topic| {
            let listener = Arc::clone(self);
            async move {
                let found = topic.topic();
                let command = TopicCommand::Delete { topic: found.name.clone(), topic_id: Some(found.id) };
                let done = command_topic(&listener.broker, &listener.surroundings, &command).await;
                let shown = deletable(Some(wire_name(&found.name)), found.id.get());
                match done {
                    Ok(_) => shown,
                    Err(error) => refuse_deletion(shown, &error.into()),
                }
            }
        });
        let responses = deleted.await.into_iter().chain(refused).collect();
        DeleteTopicsResponse::default().with_responses(responses)
    }

    /// The topics that can be deleted, each once, and what is said of the others.
    fn deletable(&self, wanted: Vec<DeleteTopicState>) -> (Vec<Arc<TopicHandle>>, Vec<DeletableTopicResult>) {
        let mut found: BTreeMap<TopicId, (Arc<TopicHandle>, usize)> = BTreeMap::new();
        let (mut order, mut refused) = (Vec::new(), Vec::new());
        for DeleteTopicState { name, topic_id, .. } in wanted {
            match self.find_deletable(name.as_ref(), TopicId::new(topic_id)) {
                Ok(topic) => {
                    let id = topic.topic().id;
                    let (_, count) = found.entry(id).or_insert((topic, 0));
                    *count += 1;
                    order.push(id);
                }
                Err(why) => {
                    let name = name.map(|name| messages::TopicName(StrBytes::from_string(name.0.to_string())));
                    refused.push(refuse_deletion(deletable(name, topic_id), &why));
                }
            }
        }
        let mut once = Vec::new();
        for id in order {
            match found.remove(&id) {
                Some((topic, 1)) => once.push(topic),
                Some((topic, _)) => {
                    let shown = deletable(Some(wire_name(&topic.topic().name)), id.get());
                    refused.push(refuse_deletion(shown, &duplicate_name()));
                }
                None => {}
            }
        }
        (once, refused)
    }

    fn find_deletable(&self, name: Option<&messages::TopicName>, id: TopicId) -> Result<Arc<TopicHandle>, Refused> {
        match name {
            Some(_) if !id.get().is_nil() => Err(invalid("You may not specify both topic name and topic id.")),
            None if id.get().is_nil() => Err(invalid("Neither topic name nor id were specified.")),
            None => self
                .topic_by_id(id)
                .ok_or_else(|| Refused::new(KafkaError::UnknownTopicId, "This server does not host this topic ID.")),
            Some(name) => {
                let known = TopicName::new(&name.0).ok().and_then(|name| self.broker.user_topic(&name).ok());
                known.ok_or_else(unknown_topic)
            }
        }
    }

    pub(super) async fn create_partitions(
        self: &Arc<Self>,
        _asked: &Asked,
        request: CreatePartitionsRequest,
    ) -> CreatePartitionsResponse {
        let repeated = repeated(request.topics.iter().map(|topic| topic.name.as_str()));
        let refused = repeated.iter().map(|name| grown(name, Err(duplicate_name()))).collect::<Vec<_>>();
        let once = request.topics.into_iter().filter(|topic| !repeated.contains(topic.name.as_str()));
        let done = side_by_side(once.collect(), |wanted| {
            let listener = Arc::clone(self);
            async move {
                let done = match check_growth(&listener.broker, &wanted) {
                    Ok((_, _)) if request.validate_only => Ok(()),
                    Ok((topic, partitions)) => listener.grow(topic, partitions).await,
                    Err(refused) => Err(refused),
                };
                grown(&wanted.name, done)
            }
        });
        let results = done.await.into_iter().chain(refused).collect();
        CreatePartitionsResponse::default().with_results(results)
    }

    async fn grow(&self, topic: TopicName, partitions: u32) -> Result<(), Refused> {
        let change = TopicChange { settings: SettingsChange::default(), partitions: Some(partitions) };
        let command = TopicCommand::Alter { topic, change };
        let done = command_topic(&self.broker, &self.surroundings, &command).await;
        done.map(drop).map_err(Refused::from)
    }
}

/// Does all of these, a few at a time, and gives what came of them in their order.
async fn side_by_side<T, R, F>(all: Vec<T>, run: impl Fn(T) -> F) -> Vec<R>
where
    F: Future<Output = R> + Send + 'static,
    R: Send + 'static,
{
    let mut under_way: VecDeque<JoinHandle<R>> = VecDeque::with_capacity(AT_A_TIME);
    let mut done = Vec::with_capacity(all.len());
    let mut rest = all.into_iter();
    loop {
        while under_way.len() < AT_A_TIME {
            let Some(next) = rest.next() else { break };
            under_way.push_back(tokio::spawn(run(next)));
        }
        let Some(first) = under_way.pop_front() else { return done };
        match first.await {
            Ok(result) => done.push(result),
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        }
    }
}

/// The names that come more than once.
fn repeated<'a>(names: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let (mut seen, mut repeated) = (BTreeSet::new(), BTreeSet::new());
    for name in names {
        if !seen.insert(name) {
            repeated.insert(name.to_owned());
        }
    }
    repeated
}

fn legal(name: &messages::TopicName) -> Result<TopicName, Refused> {
    TopicName::new(&name.0).map_err(|error| Refused::new(KafkaError::InvalidTopicException, error.to_string()))
}

fn invalid(message: &str) -> Refused {
    Refused::new(KafkaError::InvalidRequest, message)
}

fn duplicate_name() -> Refused {
    invalid("Duplicate topic name.")
}

fn already_exists(name: &TopicName) -> Refused {
    Refused::new(KafkaError::TopicAlreadyExists, format!("Topic '{name}' already exists."))
}

fn unknown_topic() -> Refused {
    Refused::new(KafkaError::UnknownTopicOrPartition, "This server does not host this topic-partition.")
}

fn text(message: &str) -> Option<StrBytes> {
    Some(StrBytes::from_string(message.to_owned()))
}

fn created(name: &TopicName, id: Option<TopicId>, partitions: u32, configs: &[TopicConfig]) -> CreatableTopicResult {
    let configs = configs.iter().map(|config| {
        CreatableTopicConfigs::default()
            .with_name(StrBytes::from_static_str(config.name()))
            .with_value(text(config.value()))
            .with_config_source(config.source())
    });
    CreatableTopicResult::default()
        .with_name(wire_name(name))
        .with_topic_id(id.map(TopicId::get).unwrap_or_default())
        .with_error_message(None)
        .with_num_partitions(i32::try_from(partitions).unwrap_or(i32::MAX))
        .with_replication_factor(REPLICATION)
        .with_configs(Some(configs.collect()))
}

fn not_created(name: &str, refused: &Refused) -> CreatableTopicResult {
    CreatableTopicResult::default()
        .with_name(messages::TopicName(StrBytes::from_string(name.to_owned())))
        .with_error_code(refused.error.to_wire())
        .with_error_message(text(&refused.message))
}

fn deletable(name: Option<messages::TopicName>, id: uuid::Uuid) -> DeletableTopicResult {
    DeletableTopicResult::default().with_name(name).with_topic_id(id).with_error_message(None)
}

fn refuse_deletion(shown: DeletableTopicResult, refused: &Refused) -> DeletableTopicResult {
    shown.with_error_code(refused.error.to_wire()).with_error_message(text(&refused.message))
}

fn grown(name: &str, done: Result<(), Refused>) -> CreatePartitionsTopicResult {
    let shown = CreatePartitionsTopicResult::default()
        .with_name(messages::TopicName(StrBytes::from_string(name.to_owned())))
        .with_error_message(None);
    match done {
        Ok(()) => shown,
        Err(refused) => shown.with_error_code(refused.error.to_wire()).with_error_message(text(&refused.message)),
    }
}
