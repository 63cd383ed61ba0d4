//! Groups whose members take turns: which are at work, and who belongs to them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use super::LinesListener;
use super::outbox::{MembershipId, Outbox, SHUTTING_DOWN};
use super::pump;
use crate::broker::groups::{GroupError, GroupKind, TakingTurns};
use crate::broker::queues::{MemberId, QueueGroup, queue_position};
use crate::broker::{BrokerError, TopicHandle};
use crate::replica::{AckLevel, Partition};
use crate::types::{Offset, TopicName};

/// How long a stop waits for groups to keep what they know.
const SETTLING_MAX: Duration = Duration::from_secs(2);

/// The groups at work.
#[derive(Debug, Default)]
pub(super) struct Queues {
    state: Mutex<QueuesState>,
    /// One has ended.
    ended: Notify,
}

#[derive(Debug, Default)]
struct QueuesState {
    running: BTreeMap<QueueKey, Arc<Queue>>,
    is_stopping: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct QueueKey {
    group: Arc<str>,
    topic: TopicName,
}

/// One group of one topic.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) group: Arc<str>,
    pub(super) topic: Arc<TopicHandle>,
    pub(super) state: Mutex<QueueState>,
    /// Members came or went, or have room again.
    pub(super) changed: Arc<Notify>,
}

#[derive(Debug)]
pub(super) struct QueueState {
    pub(super) group: QueueGroup,
    /// The connections of members that have been told that they are.
    pub(super) outboxes: BTreeMap<MemberId, (Arc<Outbox>, MembershipId)>,
    is_over: bool,
}

/// A connection's place in a group. Dropping it gives back what was not sent.
#[derive(Debug)]
pub(super) struct Member {
    queue: Arc<Queue>,
    id: MemberId,
    outbox: Arc<Outbox>,
    membership: Option<MembershipId>,
    _taking_turns: TakingTurns,
}

impl LinesListener {
    /// Makes a connection the last member of a group. It is given records from [`Member::begin`] on.
    pub(super) async fn join(
        self: &Arc<Self>,
        group: &Arc<str>,
        topic: &Arc<TopicHandle>,
        outbox: &Arc<Outbox>,
    ) -> Result<Member, String> {
        // From here on nobody deletes the group. Whose group is at work here, has claimed it.
        let taking_turns = self.broker.take_turns(group);
        let key = QueueKey { group: Arc::clone(group), topic: topic.topic().name.clone() };
        let is_claimed = !taking_turns.is_first() && self.queues.state.lock().running.contains_key(&key);
        if !is_claimed {
            self.claim(group).await?;
        }
        let (member, is_new) = self.enter((group, taking_turns), topic, outbox);
        if is_new {
            tokio::spawn(pump::run(Arc::clone(self), Arc::clone(&member.queue)));
            for partition in topic.open_partitions() {
                let begin = member.queue.position(partition);
                self.keep_position(&member.queue, partition, begin).await;
            }
        }
        Ok(member)
    }

    /// Makes a group one whose members take turns, or finds that it is one.
    async fn claim(&self, group: &Arc<str>) -> Result<(), String> {
        let (done, claimed) = oneshot::channel();
        self.broker.claim_group(group, GroupKind::Queue, self.now(), move |result| {
            let _gone = done.send(result);
        });
        match claimed.await {
            Ok(Err(BrokerError::Group(GroupError::Kind { group, found, .. }))) => Err(format!(
                "group '{group}' is of another kind: it is a {found} group, whose members do not take turns"
            )),
            Ok(Err(error)) => Err(error.to_string()),
            Ok(Ok(())) => Ok(()),
            Err(_) => Err(SHUTTING_DOWN.to_owned()),
        }
    }

    fn enter(
        self: &Arc<Self>,
        (group, taking_turns): (&Arc<str>, TakingTurns),
        topic: &Arc<TopicHandle>,
        outbox: &Arc<Outbox>,
    ) -> (Member, bool) {
        let key = QueueKey { group: Arc::clone(group), topic: topic.topic().name.clone() };
        let mut queues = self.queues.state.lock();
        let running = queues.running.get(&key).filter(|queue| queue.topic.topic().id == topic.topic().id);
        let (queue, is_new) = match running {
            Some(queue) => (Arc::clone(queue), false),
            None => {
                let state = self.broker.open_queue_group(group, topic);
                let state = QueueState { group: state, outboxes: BTreeMap::new(), is_over: false };
                let (group, topic) = (Arc::clone(group), Arc::clone(topic));
                let queue = Arc::new(Queue { group, topic, state: Mutex::new(state), changed: Arc::default() });
                queues.running.insert(key, Arc::clone(&queue));
                (queue, true)
            }
        };
        let id = queue.state.lock().group.join();
        let outbox = Arc::clone(outbox);
        (Member { queue, id, outbox, membership: None, _taking_turns: taking_turns }, is_new)
    }

    /// Keeps a group's position as safely as an acknowledgement is by default. Where that fails the records go out all
    /// the same: that they are read matters more than that a restart might bring them twice.
    pub(super) async fn keep_position(&self, queue: &Queue, partition: &Arc<Partition>, offset: Offset) {
        let (broker, now) = (&self.broker, self.now());
        let key = queue_position(&queue.group, &queue.topic, partition.name().partition);
        let (done, kept) = oneshot::channel();
        broker.commit_read(partition, key.clone(), offset, broker.default_ack(), now, move |result| {
            let _gone = done.send(result);
        });
        if let Ok(Err(error)) = kept.await
            && !error.is_of_gone_topic()
        {
            tracing::warn!(partition = %partition.name(), owner = %key.owner, %error, "a position cannot be kept; records are delivered without");
            broker.commit_read(partition, key, offset, AckLevel::None, now, |_| {});
        }
    }
}

impl Queues {
    /// Ends a group that nobody belongs to and that knows nothing which is not kept; whether it has.
    pub(super) fn end_unused(&self, queue: &Arc<Queue>) -> bool {
        let mut queues = self.state.lock();
        let mut state = queue.state.lock();
        let knows_more = state.group.first_returned().is_some() && !queues.is_stopping;
        if !state.group.is_empty() || knows_more {
            return false;
        }
        state.is_over = true;
        drop(state);
        queues.remove(queue);
        self.ended.notify_waiters();
        true
    }

    /// Ends a group whose topic can be read no more; the connections of its members.
    pub(super) fn end(&self, queue: &Arc<Queue>) -> Vec<Arc<Outbox>> {
        let mut queues = self.state.lock();
        let mut state = queue.state.lock();
        state.is_over = true;
        let members = std::mem::take(&mut state.outboxes);
        drop(state);
        queues.remove(queue);
        self.ended.notify_waiters();
        members.into_values().map(|(outbox, _)| outbox).collect()
    }

    /// Waits, a bounded time, until all groups have ended, for which nobody may belong to one any more.
    pub(super) async fn settled(&self) {
        let all_ended = async {
            loop {
                let ended = self.ended.notified();
                {
                    let mut queues = self.state.lock();
                    queues.is_stopping = true;
                    if queues.running.is_empty() {
                        return;
                    }
                    queues.running.values().for_each(|queue| queue.changed.notify_one());
                }
                ended.await;
            }
        };
        let _late = timeout(SETTLING_MAX, all_ended).await;
    }
}

impl QueuesState {
    fn remove(&mut self, queue: &Arc<Queue>) {
        self.running.retain(|_, running| !Arc::ptr_eq(running, queue));
    }
}

impl Queue {
    /// Where the group stands.
    pub(super) fn position(&self, partition: &Partition) -> Offset {
        let position = self.state.lock().group.position(partition.name().partition);
        position.unwrap_or_else(|| partition.offsets().log_start())
    }
}

impl QueueState {
    /// Asks all connections how much they take; whether one takes anything.
    pub(super) fn measure(&mut self) -> bool {
        let QueueState { group, outboxes, .. } = self;
        group.measure(|member| outboxes.get(&member).map_or(0, |(outbox, _)| outbox.room()));
        group.has_room()
    }
}

impl Member {
    /// Lets records come: the client knows that it is a member.
    pub(super) fn begin(&mut self) {
        let topic = &self.queue.topic.topic().name;
        let membership = self.outbox.join(topic, &self.queue.changed);
        self.membership = Some(membership);
        self.queue.state.lock().outboxes.insert(self.id, (Arc::clone(&self.outbox), membership));
        self.queue.changed.notify_one();
    }

    /// Whether the group has ended.
    pub(super) fn is_over(&self) -> bool {
        self.queue.state.lock().is_over
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut state = self.queue.state.lock();
        state.outboxes.remove(&self.id);
        let unsent = self.membership.map(|membership| self.outbox.leave(membership));
        state.group.leave(self.id, unsent.unwrap_or_default());
        drop(state);
        self.queue.changed.notify_one();
    }
}
