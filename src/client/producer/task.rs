//! The task of a producer: it connects, sends batches, takes answers, and tries again.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::batch::{Batch, Ended};
use super::delivery::Stored;
use super::gather::{Gather, Wanted};
use super::lane::{Identity, Lane, undelivered};
use super::options::ProducerOptions;
use crate::client::chance::{Backoff, Chance};
use crate::client::pending::{Answer, ReplyTo};
use crate::client::requests::Request;
use crate::client::topics::about;
use crate::client::{Client, ClientError, error, reading};
use crate::protocol::native::{ErrorCode, Frame, FrameType, Properties};
use crate::types::{PartitionIndex, ProducerEpoch, ProducerId, TopicName};

/// Bounds of the time between two looks for what takes too long.
const LOOK_MIN: Duration = Duration::from_millis(2);
const LOOK_MAX: Duration = Duration::from_millis(250);

type Connecting = Pin<Box<dyn Future<Output = Result<Client, ClientError>> + Send>>;

/// Everything the task owns.
pub(super) struct Task {
    gather: Arc<Gather>,
    options: ProducerOptions,
    identity: Option<Identity>,
    lanes: Vec<Sender>,
    /// Lanes with something to do, each once.
    ready: Vec<usize>,
    link: Option<Link>,
    connecting: Option<Connecting>,
    reconnect_at: Option<Instant>,
    /// Why there was no connection the last time.
    trouble: Option<ClientError>,
    backoff: Backoff,
    chance: Chance,
    last_token: u64,
    /// What the requests under way are about.
    purposes: HashMap<u64, Purpose>,
    asked: Vec<Asked>,
    look_at: Instant,
    ended: Vec<Ended>,
}

/// A lane and where it leads.
struct Sender {
    lane: Lane,
    topic: TopicName,
    partition: PartitionIndex,
    /// Of its PUBLISH_BATCH frames.
    properties: Properties,
    is_ready: bool,
    /// Whether a new identity was asked for.
    has_asked: bool,
}

/// A connection and the answers that come over it.
struct Link {
    client: Client,
    queue: mpsc::UnboundedSender<Answer>,
    answers: mpsc::UnboundedReceiver<Answer>,
    /// Whether the connection takes no more for now.
    is_full: bool,
}

#[derive(Debug, Clone)]
enum Purpose {
    Batch(usize),
    Identity(usize),
    Topic(TopicName),
}

/// A topic whose partitions are asked for.
struct Asked {
    topic: TopicName,
    waiters: Vec<oneshot::Sender<Result<(), ClientError>>>,
    is_sent: bool,
    not_before: Option<Instant>,
}

enum Event {
    Answer(Answer),
    Lost,
    Room,
}

impl Link {
    fn new(client: Client) -> Link {
        let (queue, answers) = mpsc::unbounded_channel();
        Link { client, queue, answers, is_full: false }
    }

    /// The next thing that happens on the connection; answers that came before its end come before it.
    async fn event(link: &mut Option<Link>) -> Event {
        let Some(link) = link else { return std::future::pending().await };
        let requests = link.client.requests();
        tokio::select! {
            biased;
            Some(answer) = link.answers.recv() => Event::Answer(answer),
            () = requests.over() => match link.answers.try_recv() {
                Ok(answer) => Event::Answer(answer),
                Err(_) => Event::Lost,
            },
            () = requests.room(), if link.is_full => Event::Room,
        }
    }
}

impl Task {
    pub(super) fn new(
        gather: Arc<Gather>,
        options: ProducerOptions,
        client: Client,
        identity: Option<Identity>,
        now: Instant,
    ) -> Task {
        Task {
            gather,
            identity,
            lanes: Vec::new(),
            ready: Vec::new(),
            link: Some(Link::new(client)),
            connecting: None,
            reconnect_at: None,
            trouble: None,
            backoff: Backoff::new(options.retry_backoff, options.retry_backoff_max),
            chance: Chance::new(),
            last_token: 0,
            purposes: HashMap::new(),
            asked: Vec::new(),
            look_at: now,
            ended: Vec::new(),
            options,
        }
    }

    /// Runs until the producer is closed and everything is through.
    pub(super) async fn run(mut self) {
        let gather = Arc::clone(&self.gather);
        loop {
            let now = Instant::now();
            let lingering = self.collect(now);
            self.look(now);
            self.send_all(now);
            gather.end(std::mem::take(&mut self.ended));
            if gather.is_done() {
                return;
            }
            let wake_at = self.wake_at(lingering, now);
            tokio::select! {
                () = gather.wake.notified() => {}
                event = Link::event(&mut self.link) => self.take(event),
                connected = connecting(&mut self.connecting), if self.connecting.is_some() => self.connected(connected),
                () = sleep_until(wake_at.unwrap_or(now)), if wake_at.is_some() => {}
            }
        }
    }

    /// Takes what senders left; returns when the next batch has lingered long enough.
    fn collect(&mut self, now: Instant) -> Option<Instant> {
        let (mut ready, mut wanted) = (Vec::new(), Vec::new());
        let lingering = self.gather.collect(now, &mut ready, &mut wanted);
        ready.into_iter().for_each(|index| self.mark_ready(index));
        for Wanted { topic, waiter } in wanted {
            self.ask(topic).waiters.push(waiter);
        }
        lingering
    }

    fn ask(&mut self, topic: TopicName) -> &mut Asked {
        let at = self.asked.iter().position(|asked| asked.topic == topic).unwrap_or_else(|| {
            self.asked.push(Asked { topic, waiters: Vec::new(), is_sent: false, not_before: None });
            self.asked.len() - 1
        });
        &mut self.asked[at]
    }

    fn mark_ready(&mut self, index: usize) {
        while self.lanes.len() <= index {
            let Some(sender) = self.new_lane(self.lanes.len()) else { return };
            self.lanes.push(sender);
        }
        if !std::mem::replace(&mut self.lanes[index].is_ready, true) {
            self.ready.push(index);
        }
    }

    fn new_lane(&self, index: usize) -> Option<Sender> {
        let (topic, partition) = self.gather.address(index)?;
        let mut pairs = vec![("partition", partition.to_string())];
        pairs.extend(self.options.ack.map(|ack| ("wiber.ack", ack.as_str().to_owned())));
        let backoff = Backoff::new(self.options.retry_backoff, self.options.retry_backoff_max);
        Some(Sender {
            lane: Lane::new(self.identity, self.options.flights(), backoff),
            // A topic's name has no byte that a property could not have.
            properties: about(topic.as_str(), &pairs).unwrap_or_default(),
            topic,
            partition,
            is_ready: false,
            has_asked: false,
        })
    }

    /// When to look again though nothing happens.
    fn wake_at(&self, lingering: Option<Instant>, now: Instant) -> Option<Instant> {
        let is_busy = !self.asked.is_empty() || self.gather.has_outstanding();
        let look = if is_busy { Some(self.look_at) } else { self.refresh_at(now) };
        let resting =
            self.lanes.iter().filter_map(|sender| sender.lane.rest_until()).filter(|until| *until > now).min();
        let asking = self.asked.iter().filter_map(|asked| asked.not_before).filter(|until| *until > now).min();
        let reconnecting = self.reconnect_at.filter(|_| self.link.is_none() && self.connecting.is_none() && is_busy);
        [lingering, look, resting, asking, reconnecting].into_iter().flatten().min()
    }

    fn refresh_at(&self, now: Instant) -> Option<Instant> {
        (self.link.is_some() && self.gather.has_topics()).then(|| now + self.options.metadata_refresh)
    }

    /// Looks for what takes too long, and connects where there is a reason to.
    fn look(&mut self, now: Instant) {
        if self.look_at <= now {
            let shortest = self.options.delivery_timeout.min(self.options.client.request_timeout);
            self.look_at = now + (shortest / 8).clamp(LOOK_MIN, LOOK_MAX);
            self.look_for_late(now);
            if let Some(time) = now.checked_sub(self.options.metadata_refresh)
                && self.link.is_some()
            {
                for topic in self.gather.learned_before(time) {
                    self.ask(topic);
                }
            }
        }
        let has_reason = !self.asked.is_empty() || self.gather.has_outstanding();
        let may = self.reconnect_at.is_none_or(|at| at <= now);
        if self.link.is_none() && self.connecting.is_none() && has_reason && may {
            self.connecting = Some(Box::pin(Client::connect(self.options.client.clone())));
        }
    }

    fn look_for_late(&mut self, now: Instant) {
        let request_timeout = self.options.client.request_timeout;
        let delivery_timeout = self.options.delivery_timeout;
        let is_overdue = |sender: &Sender| sender.lane.is_overdue(now, request_timeout, delivery_timeout);
        if self.link.is_some() && self.lanes.iter().any(is_overdue) {
            self.lose(&ClientError::TimedOut { after: request_timeout });
        }
        for sender in &mut self.lanes {
            sender.lane.expire(now, delivery_timeout, &mut self.ended);
        }
        if let Some(time) = now.checked_sub(delivery_timeout) {
            for (index, batch) in self.gather.take_begun_before(Some(time)) {
                let last = self.lanes.get(index).and_then(|sender| sender.lane.last_error()).or(self.trouble.as_ref());
                let error = undelivered(&batch, delivery_timeout, last);
                self.ended.push(Ended { batch, result: Err(error) });
            }
        }
        self.asked.retain(|asked| asked.waiters.is_empty() || asked.waiters.iter().any(|waiter| !waiter.is_closed()));
    }

    fn connected(&mut self, connected: Result<Client, ClientError>) {
        self.connecting = None;
        match connected {
            Ok(client) => {
                self.link = Some(Link::new(client));
                self.reconnect_at = None;
                (0..self.lanes.len()).for_each(|index| self.mark_ready(index));
            }
            Err(error) => self.rest(error),
        }
    }

    fn rest(&mut self, error: ClientError) {
        self.reconnect_at = Some(Instant::now() + self.backoff.next(&mut self.chance));
        self.trouble = Some(error);
    }

    /// The connection is gone, or is given up.
    fn lose(&mut self, error: &ClientError) {
        if let Some(link) = self.link.take() {
            link.client.cut();
        }
        self.purposes.clear();
        for sender in &mut self.lanes {
            sender.lane.lost(error);
            sender.has_asked = false;
        }
        self.asked.iter_mut().for_each(|asked| asked.is_sent = false);
        self.rest(error.clone());
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Room => {
                if let Some(link) = &mut self.link {
                    link.is_full = false;
                }
                (0..self.lanes.len()).for_each(|index| self.mark_ready(index));
            }
            Event::Answer(answer) => {
                self.answered(answer);
                while let Some(Ok(answer)) = self.link.as_mut().map(|link| link.answers.try_recv()) {
                    self.answered(answer);
                }
            }
            Event::Lost => {
                let reason = self.link.as_ref().map(|link| link.client.requests().closed());
                if let Some(error) = reason {
                    self.lose(&error);
                }
            }
        }
    }

    fn answered(&mut self, answer: Answer) {
        let Some(purpose) = self.purposes.remove(&answer.token) else { return };
        // Whatever it says, the broker works.
        self.backoff.reset();
        match purpose {
            Purpose::Batch(index) => self.batch_answered(index, answer),
            Purpose::Identity(index) => self.identity_answered(index, answer),
            Purpose::Topic(topic) => self.topic_answered(&topic, answer),
        }
    }

    fn batch_answered(&mut self, index: usize, answer: Answer) {
        let now = Instant::now();
        let sender = &mut self.lanes[index];
        let result = answer
            .result
            .and_then(|reply| Ok(Stored { partition: sender.partition, base: error::offset(&reply, "offset")? }));
        let code = result.as_ref().err().and_then(ClientError::code);
        if matches!(code, Some(ErrorCode::UnknownTopic | ErrorCode::UnknownPartition)) {
            self.gather.forget(&sender.topic);
        }
        sender.lane.answered(answer.token, result, now, &mut self.chance, &mut self.ended);
        self.mark_ready(index);
    }

    fn identity_answered(&mut self, index: usize, answer: Answer) {
        self.lanes[index].has_asked = false;
        match answer.result.and_then(|reply| identity(&reply)) {
            Ok(identity) => self.lanes[index].lane.set_identity(identity),
            // The connection is the same for all: wait as if it were lost, and ask again.
            Err(error) => self.lose(&error),
        }
        self.mark_ready(index);
    }

    fn topic_answered(&mut self, topic: &TopicName, answer: Answer) {
        let Some(at) = self.asked.iter().position(|asked| asked.topic == *topic) else { return };
        let now = Instant::now();
        let learned = answer.result.and_then(|reply| reading::description(&reply.body));
        match learned.and_then(|description| self.gather.learn(&description, now)) {
            Err(error) if error.is_retriable() => {
                let asked = &mut self.asked[at];
                asked.is_sent = false;
                asked.not_before = Some(now + self.backoff.next(&mut self.chance));
            }
            result => {
                if result.is_err() {
                    self.gather.forget(topic);
                }
                let asked = self.asked.swap_remove(at);
                asked.waiters.into_iter().for_each(|waiter| drop(waiter.send(result.clone())));
            }
        }
    }

    /// Sends everything that may be sent.
    fn send_all(&mut self, now: Instant) {
        if self.link.is_none() {
            return;
        }
        self.ask_all(now);
        let resting = self.lanes.iter().enumerate().filter(|(_, sender)| {
            sender.lane.wants_identity() || sender.lane.rest_until().is_some_and(|until| until <= now)
        });
        let rested: Vec<usize> = resting.map(|(index, _)| index).collect();
        rested.into_iter().for_each(|index| self.mark_ready(index));
        for index in std::mem::take(&mut self.ready) {
            self.lanes[index].is_ready = false;
            self.send_lane(index, now);
        }
    }

    fn ask_all(&mut self, now: Instant) {
        for at in 0..self.asked.len() {
            let asked = &self.asked[at];
            if asked.is_sent || asked.not_before.is_some_and(|until| until > now) {
                continue;
            }
            let topic = asked.topic.clone();
            let properties = about(topic.as_str(), &[("wiber.auto_create", "true".to_owned())]).unwrap_or_default();
            self.asked[at].is_sent = self.request(FrameType::Metadata, properties, Bytes::new(), Purpose::Topic(topic));
        }
    }

    fn send_lane(&mut self, index: usize, now: Instant) {
        if self.lanes[index].lane.wants_identity() {
            if !self.lanes[index].has_asked {
                let purpose = Purpose::Identity(index);
                self.lanes[index].has_asked =
                    self.request(FrameType::InitProducer, Properties::EMPTY, Bytes::new(), purpose);
            }
            return;
        }
        while self.link.as_ref().is_some_and(|link| !link.is_full) && self.lanes[index].lane.is_open(now) {
            let again = self.lanes[index].lane.next_again();
            let Some(batch) = again.or_else(|| self.gather.next_batch(index)) else { return };
            self.send_batch(index, batch, now);
        }
    }

    fn send_batch(&mut self, index: usize, mut batch: Batch, now: Instant) {
        self.lanes[index].lane.number(&mut batch);
        let bytes = match batch.seal() {
            Ok(bytes) => bytes,
            Err(error) => return self.unsealed(index, batch, error),
        };
        let properties = self.lanes[index].properties.clone();
        let is_sent = self.request(FrameType::PublishBatch, properties, bytes, Purpose::Batch(index));
        let lane = &mut self.lanes[index].lane;
        if is_sent { lane.sent(batch, self.last_token, now) } else { lane.put_back(batch) }
    }

    /// A batch that cannot be written: its place in the sequence is another's.
    fn unsealed(&mut self, index: usize, batch: Batch, error: ClientError) {
        self.lanes[index].lane.take_back_number(&batch);
        self.ended.push(Ended { batch, result: Err(error) });
    }

    /// Hands a request to the connection, under `last_token`; where that takes no more, says so.
    fn request(&mut self, kind: FrameType, properties: Properties, body: Bytes, purpose: Purpose) -> bool {
        let Some(link) = &mut self.link else { return false };
        self.last_token += 1;
        let reply = Some(ReplyTo::Queue(link.queue.clone(), self.last_token));
        let request = Request::new(kind, &properties, reply);
        // That there is room again, or a connection no more, is an event of its own.
        let is_sent = link.client.requests().try_send(&mut Request { body, ..request }).unwrap_or(false);
        link.is_full = !is_sent;
        if is_sent {
            self.purposes.insert(self.last_token, purpose);
        }
        is_sent
    }
}

impl Drop for Task {
    /// Nobody waits for ever: where the runtime ends before the producer, what is not through fails.
    fn drop(&mut self) {
        self.gather.close();
        let error = ClientError::Ended { what: "producer" };
        let mut ended = std::mem::take(&mut self.ended);
        self.lanes.iter_mut().for_each(|sender| sender.lane.abandon(&error, &mut ended));
        let unsent = self.gather.take_begun_before(None);
        ended.extend(unsent.into_iter().map(|(_, batch)| Ended { batch, result: Err(error.clone()) }));
        self.gather.end(ended);
    }
}

async fn connecting(connecting: &mut Option<Connecting>) -> Result<Client, ClientError> {
    match connecting {
        Some(connecting) => connecting.await,
        None => std::future::pending().await,
    }
}

/// The identity that an INIT_PRODUCER was answered with.
pub(super) fn identity(reply: &Frame) -> Result<Identity, ClientError> {
    let id = ProducerId::new(error::number(reply, "wiber.producer_id")?);
    let epoch = ProducerEpoch::new(error::number(reply, "wiber.producer_epoch")?);
    match (id, epoch) {
        (Some(id), Some(epoch)) => Ok(Identity { id, epoch }),
        _ => Err(ClientError::Protocol("a producer id or epoch below 0".to_owned())),
    }
}
