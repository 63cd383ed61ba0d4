//! The task of a subscriber: it connects, subscribes, keeps the positions, and connects again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::commits::Commits;
use super::options::{DeliveryMode, Partitions, SubscriberOptions};
use super::position::{Gap, Position, Stage};
use crate::client::chance::{Backoff, Chance};
use crate::client::connection::{Pushed, PushedBatch};
use crate::client::link::{Event, Link, Work, end_of, work};
use crate::client::pending::Answer;
use crate::client::topics::about;
use crate::client::{ClientError, admin, error, reading};
use crate::protocol::native::{ErrorCode, Frame, FrameType, Properties, StartAt};
use crate::types::{Offset, PartitionIndex, TopicName};

/// What the stream is given.
pub(super) enum Item {
    /// Whole batches, whose records from an offset on are to be handed out.
    Batches(PartitionIndex, Offset, PushedBatch),
    /// The end.
    Failed(ClientError),
}

/// The shortest time between two rounds of commits.
const COMMIT_INTERVAL_MIN: Duration = Duration::from_millis(5);

/// Where each partition begins.
pub(super) type Places = BTreeMap<PartitionIndex, Offset>;

/// Everything the task owns.
pub(super) struct Task {
    options: SubscriberOptions,
    topic: TopicName,
    items: mpsc::UnboundedSender<Item>,
    commits: Arc<Commits>,
    skipped: Arc<AtomicU64>,
    room: Arc<Semaphore>,
    positions: BTreeMap<PartitionIndex, Position>,
    /// Told once every partition has its place for the first time, or cannot have one.
    started: Option<oneshot::Sender<Result<Places, ClientError>>>,
    link: Option<Link>,
    connecting: Option<Work<Link>>,
    /// Not before then is anything asked for again.
    rest_until: Option<Instant>,
    backoff: Backoff,
    chance: Chance,
    last_token: u64,
    purposes: HashMap<u64, Purpose>,
    refresh_at: Instant,
    is_refreshing: bool,
    commit_at: Instant,
    committing: Option<Work<()>>,
}

#[derive(Debug, Clone, Copy)]
enum Purpose {
    Offsets(PartitionIndex),
    Subscription(PartitionIndex),
    Topic,
}

impl Task {
    pub(super) fn new(
        options: SubscriberOptions,
        topic: TopicName,
        items: mpsc::UnboundedSender<Item>,
        commits: Arc<Commits>,
        skipped: Arc<AtomicU64>,
        started: oneshot::Sender<Result<Places, ClientError>>,
        now: Instant,
    ) -> Task {
        let room = usize::try_from(options.buffer_bytes.max(1)).unwrap_or(Semaphore::MAX_PERMITS);
        Task {
            topic,
            items,
            commits,
            skipped,
            room: Arc::new(Semaphore::new(room.min(Semaphore::MAX_PERMITS))),
            positions: BTreeMap::new(),
            started: Some(started),
            link: None,
            connecting: None,
            rest_until: None,
            backoff: Backoff::new(options.retry_backoff, options.retry_backoff_max),
            chance: Chance::new(),
            last_token: 0,
            purposes: HashMap::new(),
            refresh_at: now,
            is_refreshing: false,
            commit_at: now + options.commit_interval,
            committing: None,
            options,
        }
    }

    /// Runs until nobody reads any more, or until there is nothing left to read.
    pub(super) async fn run(mut self) {
        let outcome = self.serve().await;
        if let Err(error) = outcome {
            match self.started.take() {
                Some(started) => drop(started.send(Err(error))),
                None => drop(self.items.send(Item::Failed(error))),
            }
        }
        self.link = None;
        if self.commits.has_pending()
            && let Err(error) = self.commits.commit_pending().await
        {
            tracing::warn!(topic = %self.topic, %error, "a position was not kept");
        }
    }

    async fn serve(&mut self) -> Result<(), ClientError> {
        let items = self.items.clone();
        loop {
            let now = Instant::now();
            self.connect_or_ask(now);
            let wake_at = self.wake_at(now);
            tokio::select! {
                event = Link::event(&mut self.link) => self.take(event)?,
                link = work(&mut self.connecting) => self.connected(link)?,
                committed = work(&mut self.committing) => self.committed(committed),
                () = items.closed() => return Ok(()),
                () = sleep_until(wake_at) => {}
            }
        }
    }

    fn wake_at(&self, now: Instant) -> Instant {
        let rest = self.rest_until.filter(|until| *until > now);
        let refresh = Some(self.refresh_at).filter(|at| *at > now && self.link.is_some());
        let mut wake_at = self.commit_at.max(now);
        for at in [rest, refresh].into_iter().flatten() {
            wake_at = wake_at.min(at);
        }
        wake_at
    }

    /// Does what is due.
    fn connect_or_ask(&mut self, now: Instant) {
        if self.commit_at <= now {
            self.commit_at = now + self.options.commit_interval.max(COMMIT_INTERVAL_MIN);
            if self.committing.is_none() && self.commits.has_pending() {
                let commits = Arc::clone(&self.commits);
                self.committing = Some(Box::pin(async move { commits.commit_pending().await }));
            }
        }
        if self.rest_until.is_some_and(|until| until > now) {
            return;
        }
        self.rest_until = None;
        if self.link.is_none() {
            if self.connecting.is_none() {
                let (room, bytes) = (Arc::clone(&self.room), self.options.buffer_bytes);
                self.connecting = Some(Box::pin(Link::connect(self.options.client.clone(), room, bytes)));
            }
            return;
        }
        if self.refresh_at <= now && !self.is_refreshing {
            self.is_refreshing = self.request(FrameType::Metadata, about(self.topic.as_str(), &[]), Purpose::Topic);
        }
        let has_started = self.started.is_none();
        let waits = |stage| stage == Stage::Idle || (stage == Stage::Placed && has_started);
        let waiting: Vec<_> = self.positions.iter().filter(|(_, position)| waits(position.stage)).collect();
        for partition in waiting.into_iter().map(|(partition, _)| *partition).collect::<Vec<_>>() {
            self.ask(partition);
        }
    }

    /// Asks for what a partition needs next: first the place to start, then, once all have theirs, the batches. Over one
    /// connection replies come behind batches that nobody reads as long as `subscribe` has not returned.
    fn ask(&mut self, partition: PartitionIndex) {
        let Some(position) = self.positions.get(&partition) else { return };
        let client_id = self.options.client.client_id.clone().map(|id| ("client_id", id));
        let mut pairs = vec![("partition", partition.to_string())];
        let (kind, purpose) = match (position.stage, position.next()) {
            (Stage::Placed, Some(next)) => {
                pairs.push(("offset", next.to_string()));
                pairs.push(("auto_ack", (self.options.mode == DeliveryMode::AtMostOnce).to_string()));
                pairs.extend(client_id);
                (FrameType::SubscribeBatches, Purpose::Subscription(partition))
            }
            _ => {
                match position.query() {
                    StartAt::Committed => pairs.extend(client_id),
                    StartAt::Time(time) => pairs.push(("wiber.time", time.to_string())),
                    StartAt::Offset(_) | StartAt::Begin | StartAt::End => {}
                }
                (FrameType::ListOffsets, Purpose::Offsets(partition))
            }
        };
        if self.request(kind, about(self.topic.as_str(), &pairs), purpose)
            && let Some(position) = self.positions.get_mut(&partition)
        {
            position.stage = Stage::Asked;
        }
    }

    fn request(&mut self, kind: FrameType, properties: Result<Properties, ClientError>, purpose: Purpose) -> bool {
        let (Some(link), Ok(properties)) = (&self.link, properties) else { return false };
        self.last_token += 1;
        let is_taken = link.request(kind, &properties, Bytes::new(), self.last_token);
        if is_taken {
            self.purposes.insert(self.last_token, purpose);
        }
        is_taken
    }

    fn connected(&mut self, link: Result<Link, ClientError>) -> Result<(), ClientError> {
        self.connecting = None;
        match link {
            Ok(link) => self.link = Some(link),
            // At first the caller wants to know.
            Err(error) if self.started.is_some() => return Err(error),
            Err(_) => self.rest(),
        }
        Ok(())
    }

    fn rest(&mut self) {
        self.rest_until = Some(Instant::now() + self.backoff.next(&mut self.chance));
    }

    fn lose(&mut self) {
        self.link = None;
        self.purposes.clear();
        self.is_refreshing = false;
        self.positions.values_mut().for_each(Position::lost);
        self.rest();
    }

    fn committed(&mut self, committed: Result<(), ClientError>) {
        self.committing = None;
        if let Err(error) = committed {
            tracing::warn!(topic = %self.topic, %error, "a position was not kept; it is tried again");
        }
    }

    fn take(&mut self, event: Event) -> Result<(), ClientError> {
        match event {
            Event::Answer(answer) => self.answered(answer),
            Event::Pushed(Pushed::Ended(ended)) if ended.error.is_retriable() => {
                self.lose();
                Ok(())
            }
            Event::Pushed(Pushed::Ended(ended)) => Err(ended.error),
            Event::Pushed(Pushed::Batch(batch)) => {
                while let Some(Ok(answer)) = self.link.as_mut().map(|link| link.answers.try_recv()) {
                    self.answered(answer)?;
                }
                self.batch(batch)
            }
            Event::Lost => {
                if let Some(link) = self.link.as_ref().filter(|_| self.started.is_some()) {
                    return Err(link.client.requests().closed());
                }
                self.lose();
                Ok(())
            }
        }
    }

    fn batch(&mut self, pushed: PushedBatch) -> Result<(), ClientError> {
        let properties = &pushed.frame.properties;
        let partition = properties.get("partition").and_then(|text| text.parse().ok()).map(PartitionIndex);
        let position = partition.and_then(|partition| self.positions.get_mut(&partition));
        let (Some(partition), Some(position)) = (partition, position) else { return Ok(()) };
        if let Some(from) = position.advance(end_of(&pushed.frame.body)?) {
            drop(self.items.send(Item::Batches(partition, from, pushed)));
        }
        Ok(())
    }

    fn answered(&mut self, answer: Answer) -> Result<(), ClientError> {
        let Some(purpose) = self.purposes.remove(&answer.token) else { return Ok(()) };
        match (purpose, answer.result) {
            // At first the caller wants to know.
            (_, Err(error)) if error.is_retriable() && self.started.is_none() => self.refused(purpose),
            (_, Err(error)) => return Err(error),
            (Purpose::Topic, Ok(reply)) => self.learn(&reply)?,
            (Purpose::Offsets(partition), Ok(reply)) => self.place(partition, &reply)?,
            (Purpose::Subscription(partition), Ok(reply)) => {
                let start = error::offset(&reply, "start_offset")?;
                let gap = self.positions.get_mut(&partition).map(|position| position.subscribed(start));
                self.tell(partition, gap.unwrap_or(Gap::None));
                self.backoff.reset();
            }
        }
        let is_placed = !self.positions.is_empty() && self.positions.values().all(|p| p.stage == Stage::Placed);
        if is_placed && let Some(started) = self.started.take() {
            let places = self.positions.iter().filter_map(|(partition, p)| Some((*partition, p.next()?)));
            drop(started.send(Ok(places.collect())));
        }
        Ok(())
    }

    /// Asks for it again after a while.
    fn refused(&mut self, purpose: Purpose) {
        match purpose {
            Purpose::Topic => self.is_refreshing = false,
            Purpose::Offsets(partition) | Purpose::Subscription(partition) => {
                if let Some(position) = self.positions.get_mut(&partition) {
                    position.lost();
                }
            }
        }
        self.rest();
    }

    fn learn(&mut self, reply: &Frame) -> Result<(), ClientError> {
        self.is_refreshing = false;
        self.refresh_at = Instant::now() + self.options.metadata_refresh;
        let count = u32::try_from(reading::description(&reply.body)?.partitions.len()).unwrap_or(u32::MAX);
        // A partition that comes later is read from where its records begin.
        let later = if self.options.start == StartAt::Committed { StartAt::Committed } else { StartAt::Begin };
        let start = if self.started.is_some() { self.options.start } else { later };
        match &self.options.partitions {
            Partitions::All => {
                for partition in (0..count).map(PartitionIndex) {
                    self.positions.entry(partition).or_insert_with(|| Position::new(start));
                }
            }
            Partitions::Only(chosen) => {
                if let Some(stranger) = chosen.iter().find(|partition| partition.0 >= count) {
                    return Err(unknown_partition(&self.topic, *stranger));
                }
                for partition in chosen {
                    self.positions.entry(*partition).or_insert_with(|| Position::new(start));
                }
            }
        }
        Ok(())
    }

    fn place(&mut self, partition: PartitionIndex, reply: &Frame) -> Result<(), ClientError> {
        let offsets = admin::offsets(reply)?;
        let policy = self.options.out_of_range;
        let Some(position) = self.positions.get_mut(&partition) else { return Ok(()) };
        let gap = position.place(&offsets, policy)?;
        self.tell(partition, gap);
        Ok(())
    }

    /// Tells of records that will not come.
    fn tell(&self, partition: PartitionIndex, gap: Gap) {
        match gap {
            Gap::None => {}
            Gap::Gone { wanted, next } => {
                self.skipped.fetch_add(next.since(wanted), Ordering::Relaxed);
                tracing::warn!(topic = %self.topic, %partition, %wanted, %next, "records to come next are no longer kept");
            }
            Gap::Lost { wanted, next } => {
                tracing::warn!(topic = %self.topic, %partition, %wanted, %next, "the broker lost records that were read");
            }
        }
    }
}

fn unknown_partition(topic: &TopicName, partition: PartitionIndex) -> ClientError {
    let code = ErrorCode::UnknownPartition;
    let error = format!("topic '{topic}' has no partition {partition}");
    ClientError::Refused { code: Some(code), name: code.to_string(), error }
}
