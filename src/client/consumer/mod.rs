//! A member of a consumer group: the partitions of its topics are divided among the members, and each record goes to one.
//!
//! A task keeps the membership ([`task`]), reads the partitions that are the member's and lays their records on a shelf
//! ([`shelf`]); polls take them from there. A lost connection is made anew, and the member comes back with what it owned.
//!
//! At most once, a poll has the group's position moved behind the records before it hands them out, and hands out only
//! those whose partition is still the member's then; so a change of members loses nothing and repeats nothing. At least
//! once, a partition that goes to another member is given up when what was handed out of it has been dealt with.

mod commits;
mod line;
mod options;
mod reader;
mod shelf;
mod task;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

pub use options::{ConsumerMode, ConsumerOptions};

use super::chance::{Backoff, Chance};
use super::error::ClientError;
use super::on_demand::OnDemand;
use super::record::Record;
use super::topics::{OffsetsQuery, about};
use super::{Client, reading};
use crate::protocol::native::{FrameType, StartAt};
use crate::types::{Offset, PartitionIndex, TopicName, TopicPartition};
use commits::Outcome;
use shelf::{Place, Shelf, Taken};
use task::{Command, Task};

/// How long a poll tries to have a position kept, beyond its own time.
const COMMIT_PATIENCE: Duration = Duration::from_secs(5);
/// How long a subscription waits until every partition has a position: those of others are theirs to settle.
const SETTLE_PATIENCE: Duration = Duration::from_secs(5);

/// Reads topics as a member of a group. Dropping it ends the membership as far as the broker can be told.
///
/// ```no_run
/// # async fn example() -> Result<(), wiber::client::ClientError> {
/// use wiber::client::Consumer;
///
/// let consumer = Consumer::new("127.0.0.1:9999").await?;
/// consumer.join_consumer_group("kitchen").await?;
/// consumer.subscribe("orders").await?;
/// loop {
///     for value in consumer.poll().await? {
///         println!("{value:?}");
///     }
/// }
/// # }
/// ```
pub struct Consumer {
    options: Arc<ConsumerOptions>,
    broker: OnDemand,
    session: Mutex<Option<Arc<Session>>>,
    /// Held while a group is joined or left.
    changing: tokio::sync::Mutex<()>,
}

/// A membership.
struct Session {
    group: String,
    shelf: Arc<Shelf>,
    commands: mpsc::UnboundedSender<Command>,
    /// Held by a poll: one at a time.
    turn: tokio::sync::Mutex<()>,
}

/// The partitions of a consumer as they change.
#[derive(Debug, Clone)]
pub struct Assignments(watch::Receiver<Vec<TopicPartition>>);

impl Assignments {
    /// The partitions now.
    #[must_use]
    pub fn now(&mut self) -> Vec<TopicPartition> {
        self.0.borrow_and_update().clone()
    }

    /// The partitions once they are others than those seen last; `None` where the membership has ended.
    pub async fn changed(&mut self) -> Option<Vec<TopicPartition>> {
        self.0.changed().await.ok()?;
        Some(self.now())
    }
}

impl Consumer {
    /// Connects. The broker is named by its address, as in `Consumer::new("127.0.0.1:9999")`, or by [`ConsumerOptions`],
    /// which say everything else as well.
    ///
    /// # Errors
    /// [`ClientError::InvalidOptions`], and what [`Client::connect`] may meet.
    pub async fn new<B>(broker: B) -> Result<Consumer, ClientError>
    where
        B: TryInto<ConsumerOptions>,
        ClientError: From<B::Error>,
    {
        let options = broker.try_into()?;
        options.check()?;
        let broker = OnDemand::new(options.client.clone());
        broker.client().await?;
        let changing = tokio::sync::Mutex::new(());
        Ok(Consumer { options: Arc::new(options), broker, session: Mutex::new(None), changing })
    }

    /// Becomes a member of a group, which comes to be with its first member. Of a group it is in already it stays a member.
    ///
    /// # Errors
    /// [`ClientError::InAnotherGroup`]; [`ClientError::Refused`] for a group whose members share in another way, and what
    /// every call may meet.
    pub async fn join_consumer_group(&self, group: impl AsRef<str>) -> Result<(), ClientError> {
        let group = group.as_ref();
        if group.is_empty() {
            return Err(ClientError::InvalidOptions("a group has a name".to_owned()));
        }
        let _changing = self.changing.lock().await;
        if let Some(session) = self.lock().clone().filter(|session| session.shelf.failure().is_none()) {
            let is_same = session.group == group;
            return if is_same { Ok(()) } else { Err(ClientError::InAnotherGroup { group: session.group.clone() }) };
        }
        let (shelf, (commands, received)) = (Arc::new(Shelf::new()), mpsc::unbounded_channel());
        let (joined, has_joined) = oneshot::channel();
        tokio::spawn(Task::new(Arc::clone(&self.options), group, Arc::clone(&shelf), received, joined).run());
        let turn = tokio::sync::Mutex::new(());
        let session = Session { group: group.to_owned(), shelf, commands, turn };
        self.wait(&session, has_joined).await?;
        *self.lock() = Some(Arc::new(session));
        Ok(())
    }

    /// Ends the membership: its partitions go to others at once. At least once, what was handed out counts as dealt with.
    /// Where there is no membership nothing happens.
    ///
    /// # Errors
    /// At least once, where the group's position could not be kept; the membership has ended nevertheless.
    pub async fn leave_consumer_group(&self) -> Result<(), ClientError> {
        let _changing = self.changing.lock().await;
        let Some(session) = self.lock().take() else { return Ok(()) };
        let committed = match self.options.mode {
            ConsumerMode::AtLeastOnce => self.commit_handed(&session, Instant::now() + COMMIT_PATIENCE).await,
            ConsumerMode::AtMostOnce | ConsumerMode::Manual => Ok(()),
        };
        let (done, has_left) = oneshot::channel();
        if session.commands.send(Command::Leave(done)).is_ok() {
            drop(has_left.await);
        }
        committed
    }

    /// Reads a topic as well, or with a `*`, which stands for any characters, all topics of such a name, those to come
    /// included. What is published once this has returned comes to some member of the group; where the group has no
    /// position yet, it starts as [`ConsumerOptions::start`] says: with nothing that was published before.
    ///
    /// # Errors
    /// [`ClientError::NotInGroup`]; [`ClientError::Refused`] for a topic that does not exist, and what every call may meet.
    pub async fn subscribe(&self, topic: impl AsRef<str>) -> Result<(), ClientError> {
        let (session, topic) = (self.session()?, topic.as_ref());
        let client = self.broker.client().await?;
        let partitions = partitions_of(&client, topic).await?;
        let mut starts = Vec::new();
        if self.options.start != StartAt::Begin {
            for partition in partitions {
                if let Some(start) = self.start_of(&client, &session.group, &partition).await? {
                    starts.push((partition, start));
                }
            }
        }
        let (done, is_done) = oneshot::channel();
        let unsettled = starts.iter().map(|(partition, _)| partition.clone()).collect();
        drop(session.commands.send(Command::Subscribe(topic.to_owned(), starts, done)));
        self.wait(&session, is_done).await?;
        self.settled(&session.group, unsettled).await
    }

    /// Reads a topic, or those of a pattern, no more.
    ///
    /// # Errors
    /// [`ClientError::NotInGroup`], and what every call may meet.
    pub async fn unsubscribe(&self, topic: impl AsRef<str>) -> Result<(), ClientError> {
        let session = self.session()?;
        let (done, is_done) = oneshot::channel();
        drop(session.commands.send(Command::Unsubscribe(topic.as_ref().to_owned(), done)));
        self.wait(&session, is_done).await
    }

    /// The values of the next records: at once where some are there, else those that come within `poll_timeout`; none
    /// where none comes. The value of a tombstone is empty.
    ///
    /// # Errors
    /// As [`Consumer::poll_records`].
    pub async fn poll(&self) -> Result<Vec<Bytes>, ClientError> {
        let records = self.poll_records().await?;
        Ok(records.into_iter().map(|record| record.value.unwrap_or_default()).collect())
    }

    /// The next records, as [`Consumer::poll`] has them. Those of one partition come in order. Where the call is
    /// broken off nothing is lost: the next one hands it out.
    ///
    /// # Errors
    /// [`ClientError::NotInGroup`]; what ended the membership: the group will not have the consumer, or what came cannot
    /// be read. A lost connection is no error.
    pub async fn poll_records(&self) -> Result<Vec<Record>, ClientError> {
        self.poll_at_most(self.options.poll_records).await
    }

    /// The next records, as [`Consumer::poll_records`] has them, but no more than so many.
    ///
    /// # Errors
    /// As [`Consumer::poll_records`].
    pub async fn poll_at_most(&self, records_max: usize) -> Result<Vec<Record>, ClientError> {
        let session = self.session()?;
        let (shelf, options) = (&session.shelf, &self.options);
        let deadline = Instant::now() + options.poll_timeout;
        let Ok(_turn) = timeout_at(deadline, session.turn.lock()).await else { return Ok(Vec::new()) };
        match options.mode {
            ConsumerMode::AtMostOnce => {}
            ConsumerMode::AtLeastOnce => {
                let patience = Instant::now() + COMMIT_PATIENCE;
                match self.commit_handed(&session, patience).await {
                    Err(error) if !error.is_retriable() => return Err(error),
                    // What is not kept now is tried again by the next poll.
                    _ => {}
                }
            }
            ConsumerMode::Manual => shelf.settle_disowned(),
        }
        loop {
            let filled = shelf.filled.notified();
            let taken = shelf.take(records_max, options.poll_bytes, options.mode == ConsumerMode::AtMostOnce)?;
            if !taken.is_empty() {
                if options.mode != ConsumerMode::AtMostOnce {
                    shelf.hand_out(&taken);
                    return Ok(taken.into_records());
                }
                let claimed = self.claim(&session, taken, deadline).await?;
                if !claimed.is_empty() || deadline <= Instant::now() {
                    return Ok(claimed);
                }
                continue;
            }
            if timeout_at(deadline, filled).await.is_err() {
                return Ok(Vec::new());
            }
        }
    }

    /// Keeps the group's position behind everything handed out so far, and waits until the broker has it. What is of a
    /// partition that is another's by now is passed over.
    ///
    /// # Errors
    /// [`ClientError::NotInGroup`], and what every call may meet when it has been tried for `request_timeout`.
    pub async fn commit(&self) -> Result<(), ClientError> {
        let session = self.session()?;
        self.commit_handed(&session, Instant::now() + self.options.client.request_timeout).await
    }

    /// The group, where the consumer is in one.
    #[must_use]
    pub fn group(&self) -> Option<String> {
        self.lock().as_ref().map(|session| session.group.clone())
    }

    /// The id that the group knows this member by, where it does.
    #[must_use]
    pub fn member(&self) -> Option<String> {
        let session = self.lock().clone()?;
        session.shelf.control().map(|(_, member)| member)
    }

    /// The partitions that are this consumer's now.
    #[must_use]
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.lock().as_ref().map(|session| session.shelf.assignment.borrow().clone()).unwrap_or_default()
    }

    /// Tells of every change of the partitions.
    ///
    /// # Errors
    /// [`ClientError::NotInGroup`].
    pub fn assignments(&self) -> Result<Assignments, ClientError> {
        Ok(Assignments(self.session()?.shelf.assignment.subscribe()))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Session>>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn session(&self) -> Result<Arc<Session>, ClientError> {
        self.lock().clone().ok_or(ClientError::NotInGroup)
    }

    /// Waits for the task to have done something.
    async fn wait(
        &self,
        session: &Session,
        done: oneshot::Receiver<Result<(), ClientError>>,
    ) -> Result<(), ClientError> {
        let after = self.options.client.request_timeout;
        match timeout(after, done).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => Err(session.shelf.failure().unwrap_or(ClientError::Ended { what: "membership" })),
            Err(_) => Err(ClientError::TimedOut { after }),
        }
    }

    /// Moves the group's position behind records; those that are still the member's then.
    async fn claim(&self, session: &Session, taken: Taken, deadline: Instant) -> Result<Vec<Record>, ClientError> {
        let places = taken.places();
        let mut claim = Claim { shelf: &session.shelf, taken, places: &places };
        let patience = deadline.max(Instant::now() + COMMIT_PATIENCE);
        let outcomes = commits::commit(&session.shelf, &session.group, &places, &self.options, patience).await;
        let mut taken = std::mem::take(&mut claim.taken);
        let mut failure = None;
        for (place, outcome) in places.iter().zip(outcomes) {
            match outcome {
                // A position that moves only after the partition was given away says nothing of who is to have the records.
                Outcome::Kept if session.shelf.unclaim(&place.partition, place.since) => {}
                Outcome::Kept | Outcome::Lost => taken.forget(&place.partition),
                Outcome::Failed(error) => {
                    claim.taken.runs.append(&mut taken.split_off(&place.partition).runs);
                    failure = failure.or(Some(error).filter(|error| !error.is_retriable()));
                }
            }
        }
        match failure {
            Some(error) if taken.is_empty() => Err(error),
            _ => Ok(taken.into_records()),
        }
    }

    async fn commit_handed(&self, session: &Session, deadline: Instant) -> Result<(), ClientError> {
        let mut places = session.shelf.handed();
        if places.is_empty() {
            return Ok(());
        }
        let outcomes = commits::commit(&session.shelf, &session.group, &places, &self.options, deadline).await;
        let mut failure = None;
        let mut outcomes = outcomes.into_iter();
        places.retain(|_| match outcomes.next() {
            Some(Outcome::Failed(error)) => {
                failure.get_or_insert(error);
                false
            }
            Some(Outcome::Kept | Outcome::Lost) | None => true,
        });
        session.shelf.settle(&places);
        failure.map_or(Ok(()), Err)
    }

    /// Where a group without a position in this partition starts; `None` where it has one.
    async fn start_of(
        &self,
        client: &Client,
        group: &str,
        partition: &TopicPartition,
    ) -> Result<Option<Offset>, ClientError> {
        let time = if let StartAt::Time(time) = self.options.start { Some(time) } else { None };
        let query = OffsetsQuery { group: Some(group.to_owned()), time, ..OffsetsQuery::default() };
        let offsets = client.list_offsets(partition.topic.as_str(), partition.partition, &query).await?;
        let start = offsets.at_time.unwrap_or(offsets.high_watermark);
        Ok(offsets.committed.is_none().then_some(start))
    }

    /// Waits until the group has a position in each of these partitions, for a while. Whichever member is given one that
    /// has none makes it; one of another kind may not. This member remembers where to start in any case.
    async fn settled(&self, group: &str, mut unsettled: Vec<TopicPartition>) -> Result<(), ClientError> {
        let deadline = Instant::now() + SETTLE_PATIENCE;
        let mut backoff = Backoff::new(Duration::from_millis(4), Duration::from_millis(200));
        let mut chance = Chance::new();
        while let Some(partition) = unsettled.last() {
            let client = self.broker.client().await?;
            if self.start_of(&client, group, partition).await?.is_none() {
                unsettled.pop();
                continue;
            }
            if Instant::now() >= deadline {
                break;
            }
            sleep(backoff.next(&mut chance)).await;
        }
        Ok(())
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("group", &self.group()).finish_non_exhaustive()
    }
}

/// Records on their way to be handed out; what is left goes back, also where the way is broken off.
struct Claim<'a> {
    shelf: &'a Shelf,
    taken: Taken,
    places: &'a [Place],
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if !self.taken.is_empty() {
            self.shelf.put_back(std::mem::take(&mut self.taken));
        }
        for place in self.places {
            self.shelf.unclaim(&place.partition, place.since);
        }
    }
}

/// The partitions of a topic, which is created where the broker does that, or of all topics of a pattern.
async fn partitions_of(client: &Client, topic: &str) -> Result<Vec<TopicPartition>, ClientError> {
    let name = |text: &str| TopicName::new(text).map_err(|error| ClientError::InvalidOptions(error.to_string()));
    let each = |topic: TopicName, count: u32| {
        (0..count).map(move |index| TopicPartition { topic: topic.clone(), partition: PartitionIndex(index) })
    };
    if topic.contains('*') {
        let mut partitions = Vec::new();
        for summary in client.topics().await?.iter().filter(|summary| matches(topic, &summary.topic)) {
            partitions.extend(each(name(&summary.topic)?, summary.partitions));
        }
        return Ok(partitions);
    }
    let topic = name(topic)?;
    let properties = about(topic.as_str(), &[("wiber.auto_create", "true".to_owned())])?;
    let reply = client.request(FrameType::Metadata, properties, None).await?;
    let partitions = reading::description(&reply.body)?.partitions.into_iter();
    Ok(partitions.map(|one| TopicPartition { topic: topic.clone(), partition: one.partition }).collect())
}

/// Whether a pattern, in which `*` stands for any characters, is the whole of a name.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        let Some(at) = name.find(piece) else { return false };
        name = &name[at + piece.len()..];
    }
    name.ends_with(last)
}

#[cfg(test)]
mod tests;
