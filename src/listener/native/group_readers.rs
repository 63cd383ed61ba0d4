//! SUBSCRIBE with `wiber.group` alone: the listener is a member of the group on the client's behalf. It reads whatever partitions
//! of the topic it is given, and leaves with the connection.
//!
//! ```text
//!  coordinator ──assignment──► GroupReader ──► a subscription for each partition ──► DATA
//!       ▲                          │
//!       └── what it reads now ─────┘  once the client has acknowledged what it got of the partitions that go
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::NativeListener;
use super::answer::Answer;
use super::connection::Connection;
use super::errors::Refusal;
use super::keeping::Keeper;
use super::outbox::{Outbox, Place};
use super::requests::{Form, Place as StartPlace};
use super::subscription::{Start, SubscriptionKey, Subscriptions};
use crate::broker::BrokerError;
use crate::broker::groups::{
    Assignment, Generation, GroupError, JoinGroup, Joined, MemberDetails, MemberId, MemberSink, TopicSelection,
};
use crate::protocol::native::{ErrorCode, GroupMember, PositionOf, SESSION_TIMEOUT_MS, StartAt, SubscribeRequest};
use crate::types::{Offset, PartitionIndex, TopicName, TopicPartition};

/// Groups that one connection reads in this way at most.
pub(super) const GROUP_READERS_MAX: usize = 16;
/// Time between two signs of life.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// How long a partition that goes to another member waits for the client to acknowledge what it got of it.
const LAST_ACKNOWLEDGEMENTS: Duration = Duration::from_secs(3);
/// How long the broker waits for that.
const REBALANCE_TIMEOUT_MS: i64 = 30_000;

/// The groups that a connection reads. Dropping them leaves them.
#[derive(Debug, Default)]
pub(super) struct GroupReaders(BTreeMap<(TopicName, Arc<str>), GroupReader>);

/// A place in a group. Dropping it leaves the group.
#[derive(Debug)]
struct GroupReader {
    listener: Arc<NativeListener>,
    group: Arc<str>,
    member: MemberId,
    subscriptions: Arc<Mutex<Subscriptions>>,
    task: AbortHandle,
}

/// The newest assignment that was not looked at.
#[derive(Debug, Default)]
struct Told {
    newest: Mutex<Option<Assignment>>,
    changed: Notify,
}

impl MemberSink for Told {
    fn assigned(&self, _: &MemberId, assignment: &Assignment) -> bool {
        *self.newest.lock() = Some(assignment.clone());
        self.changed.notify_one();
        true
    }
}

/// How partitions are read.
#[derive(Debug, Clone, Copy)]
struct Manner {
    /// Where the group has no position.
    start: StartAt,
    form: Form,
    auto_ack: bool,
    stamps: bool,
    /// The ACK that goes first.
    acknowledged: Place,
}

/// The task that reads what it is given.
struct Reading {
    listener: Arc<NativeListener>,
    outbox: Arc<Outbox>,
    topic: TopicName,
    group: Arc<str>,
    member: MemberId,
    subscriptions: Arc<Mutex<Subscriptions>>,
    told: Arc<Told>,
    manner: Manner,
    /// What the member was given, and since when.
    given: BTreeMap<PartitionIndex, Generation>,
    /// What of it is read: a partition that is offline is not.
    reads: BTreeMap<PartitionIndex, Generation>,
}

impl GroupReaders {
    /// Takes a client's word that a record is dealt with.
    pub(super) fn acknowledged(&self, key: &SubscriptionKey, offset: Offset, listener: &NativeListener) {
        for ((topic, _), reader) in &self.0 {
            if *topic == key.topic {
                reader.subscriptions.lock().acknowledged(key, offset, listener);
            }
        }
    }
}

impl Connection<'_> {
    /// Joins the group and begins to read what it is given.
    pub(super) async fn read_in_group(
        &mut self,
        sequence: u64,
        group: &str,
        request: &SubscribeRequest<'_>,
        form: Form,
    ) {
        let (topic, group): (_, Arc<str>) = (request.topic.clone(), group.into());
        let told = Arc::new(Told::default());
        let joined = match self.check_reader(&topic, &group).await {
            Ok(()) => join(self.listener, self.joining_reader(&topic, &group, request.client_id, &told)).await,
            Err(refusal) => Err(refusal),
        };
        let Joined { member, assignment } = match joined {
            Ok(joined) => joined,
            Err(refusal) => {
                self.outbox.answer_next(sequence, Answer::Refused(refusal));
                return;
            }
        };
        let properties = vec![
            ("topic", topic.to_string()),
            ("client_id", request.client_id.to_owned()),
            ("wiber.group", group.to_string()),
            ("wiber.member", member.to_string()),
        ];
        let acknowledged = self.outbox.answer_next(sequence, Answer::Group { properties, json: Vec::new() });
        let grace = if request.needs_grace { self.listener.options.subscribe_grace } else { Duration::ZERO };
        let SubscribeRequest { start, auto_ack, stamps, .. } = *request;
        let mut reading = Reading {
            listener: Arc::clone(self.listener),
            outbox: Arc::clone(&self.outbox),
            topic: topic.clone(),
            group: Arc::clone(&group),
            member: member.clone(),
            subscriptions: Arc::default(),
            told,
            manner: Manner { start, form, auto_ack, stamps, acknowledged },
            given: BTreeMap::new(),
            reads: BTreeMap::new(),
        };
        let (listener, subscriptions) = (Arc::clone(self.listener), Arc::clone(&reading.subscriptions));
        let task = tokio::spawn(async move {
            reading.outbox.passed(acknowledged).await;
            tokio::time::sleep(grace).await;
            reading.run(assignment).await;
        });
        let task = task.abort_handle();
        let reader = GroupReader { listener, group: Arc::clone(&group), member, subscriptions, task };
        self.readers.0.insert((topic, group), reader);
    }

    async fn check_reader(&self, topic: &TopicName, group: &Arc<str>) -> Result<(), Refusal> {
        if self.readers.0.contains_key(&(topic.clone(), Arc::clone(group))) {
            let text = format!("this connection reads {topic} in group '{group}' already");
            return Err(Refusal::new(ErrorCode::AlreadySubscribed, text));
        }
        if self.readers.0.len() >= GROUP_READERS_MAX {
            let text = format!("a connection reads in at most {GROUP_READERS_MAX} groups");
            return Err(Refusal::new(ErrorCode::LimitExceeded, text));
        }
        self.listener.topic(topic).await.map(|_| ())
    }

    fn joining_reader(&self, topic: &TopicName, group: &Arc<str>, client_id: &str, told: &Arc<Told>) -> JoinGroup {
        let (_, session_timeout_ms, _) = SESSION_TIMEOUT_MS;
        JoinGroup {
            group: Arc::clone(group),
            member: None,
            fresh_id: (self.listener.surroundings.fresh_member_id)(),
            details: MemberDetails {
                client_id: client_id.into(),
                host: self.outbox.peer().into(),
                topics: TopicSelection::new([topic.as_str()]).unwrap_or_default(),
                session_timeout_ms: i64::try_from(session_timeout_ms).unwrap_or(i64::MAX),
                rebalance_timeout_ms: REBALANCE_TIMEOUT_MS,
            },
            claims: Vec::new(),
            sink: Arc::clone(told) as Arc<dyn MemberSink>,
        }
    }

    /// Ends reading in a group. Nothing of it goes out after this.
    pub(super) fn leave_reading(&mut self, topic: TopicName, group: &str) -> Answer {
        let Some(reader) = self.readers.0.remove(&(topic.clone(), group.into())) else {
            let text = format!("this connection does not read {topic} in group '{group}'");
            return Answer::Refused(Refusal::new(ErrorCode::NotSubscribed, text));
        };
        reader.task.abort();
        reader.subscriptions.lock().end_all(&self.outbox);
        let properties = vec![("topic", topic.to_string()), ("wiber.group", group.to_owned())];
        Answer::Group { properties, json: Vec::new() }
    }
}

async fn join(listener: &NativeListener, join: JoinGroup) -> Result<Joined, Refusal> {
    let (done, joined) = oneshot::channel();
    listener.broker.join_group(join, listener.now(), move |result| {
        let _gone = done.send(result);
    });
    match joined.await {
        Ok(joined) => joined.map_err(|error| Refusal::from(&error)),
        Err(_) => Err(super::outbox::shutting_down()),
    }
}

impl Reading {
    /// Reads what it is given until it is aborted, or has no place in the group any more.
    async fn run(&mut self, first: Assignment) {
        let mut next = Some(first);
        let mut beat_at = Instant::now();
        loop {
            let has_news = next.is_some();
            if let Some(assignment) = next.take() {
                self.follow(&assignment).await;
            }
            if has_news || beat_at <= Instant::now() {
                beat_at = Instant::now() + HEARTBEAT;
                if !has_news {
                    self.begin_missing().await;
                }
                if let Err(error) = self.beat(has_news) {
                    return self.end(&error);
                }
            }
            tokio::select! {
                () = self.told.changed.notified() => {}
                () = sleep_until(beat_at) => {}
            }
            next = self.told.newest.lock().take();
        }
    }

    /// Gives a sign of life, and says what is read where that has changed. What is new in the answer is looked at next.
    fn beat(&self, has_news: bool) -> Result<(), BrokerError> {
        let named = |index: &PartitionIndex| TopicPartition { topic: self.topic.clone(), partition: *index };
        let reads: BTreeSet<_> = self.reads.keys().map(named).collect();
        let (broker, now) = (&self.listener.broker, self.listener.now());
        let heard = broker.heartbeat_group(&self.group, &self.member, has_news.then_some(&reads), now)?;
        if let Some(assignment) = heard.assignment.filter(|assignment| self.wanted(assignment) != self.given) {
            self.told.assigned(&self.member, &assignment);
        }
        Ok(())
    }

    fn wanted(&self, assignment: &Assignment) -> BTreeMap<PartitionIndex, Generation> {
        let of_topic = assignment.assigned.iter().filter(|assigned| assigned.partition.topic == self.topic);
        of_topic.map(|assigned| (assigned.partition.partition, assigned.since)).collect()
    }

    /// Ends what is not given any more, and begins what is new.
    async fn follow(&mut self, assignment: &Assignment) {
        self.given = self.wanted(assignment);
        let is_gone = |(index, since): &(&PartitionIndex, &Generation)| self.given.get(index) != Some(since);
        let gone: Vec<PartitionIndex> = self.reads.iter().filter(is_gone).map(|(index, _)| *index).collect();
        self.finish(&gone).await;
        self.begin_missing().await;
    }

    /// Begins to read what is given and not read; what cannot be read now is tried again with a later sign of life.
    async fn begin_missing(&mut self) {
        for (index, since) in self.given.clone() {
            if !self.reads.contains_key(&index) && self.begin(index, since).await {
                self.reads.insert(index, since);
            }
        }
    }

    fn key(&self, partition: PartitionIndex) -> SubscriptionKey {
        SubscriptionKey { topic: self.topic.clone(), partition }
    }

    /// Ends reading partitions, once the client has acknowledged what it got of them or was given the time to.
    async fn finish(&mut self, gone: &[PartitionIndex]) {
        let mut waiting = Vec::new();
        for index in gone {
            waiting.extend(self.subscriptions.lock().pause(&self.key(*index), &self.outbox));
        }
        let all_acknowledged = async {
            for acknowledging in waiting {
                while !acknowledging.sent.lock().is_empty() {
                    acknowledging.changed.notified().await;
                }
            }
        };
        let _late = timeout(LAST_ACKNOWLEDGEMENTS, all_acknowledged).await;
        for index in gone {
            self.subscriptions.lock().end(&self.key(*index), &self.outbox);
            self.reads.remove(index);
        }
    }

    /// Begins to read a partition; whether it could.
    async fn begin(&self, index: PartitionIndex, since: Generation) -> bool {
        let member = GroupMember { group: &self.group, member: Some(self.member.as_str()), generation: since.0 };
        let keeper = Keeper::new(PositionOf::Group(member), &self.topic, index);
        let found = self.listener.topic(&self.topic).await.ok();
        let Some(partition) = found.and_then(|handle| handle.partition(index).ok()) else { return false };
        if keeper.check_reader(&self.listener.broker, self.listener.now()).is_err() {
            return false;
        }
        let has_position = keeper.position(&self.listener.broker).is_some();
        let start = if has_position { StartAt::Committed } else { self.manner.start };
        let place = StartPlace { listener: &self.listener, outbox: &self.outbox, partition: &partition };
        let Ok(from) = place.start_offset(start, Some(&keeper)).await else { return false };
        let Manner { form, auto_ack, stamps, acknowledged, .. } = self.manner;
        let delivery = form.delivery(auto_ack);
        let (grace, keeper) = (Duration::ZERO, Some(keeper));
        let start = Start { partition, from, acknowledged, grace, delivery, stamps, keeper };
        self.subscriptions.lock().start(self.key(index), start, &self.listener, &self.outbox);
        true
    }

    /// The group has no place for it any more: the client is told, and may subscribe again.
    fn end(&self, error: &BrokerError) {
        self.subscriptions.lock().end_all(&self.outbox);
        let mut refusal = Refusal::from(error);
        if matches!(error, BrokerError::Group(GroupError::UnknownMember { .. })) {
            refusal.text = "the member was removed from its group; subscribe again".to_owned();
        }
        refusal.details.push(("topic", self.topic.to_string()));
        refusal.details.push(("wiber.group", self.group.to_string()));
        self.outbox.tell(&refusal);
    }
}

impl Drop for GroupReader {
    fn drop(&mut self) {
        self.task.abort();
        // Who was removed has left already.
        let _left = self.listener.broker.leave_group(&self.group, &self.member, self.listener.now());
    }
}
