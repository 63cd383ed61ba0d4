//! The task of a consumer: it keeps the membership alive, reads what the group gives it, and releases what it takes away.
//!
//! Two connections: over one go joins, heartbeats, offsets and positions, and the group's assignments come; over the other
//! come the records, which a reader that takes its time holds up.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::line::{Line, LineEvent};
use super::reader::{Reader, Step, Via};
use super::shelf::{Place, Shelf};
use super::{ConsumerOptions, commits};
use crate::client::chance::{Backoff, Chance};
use crate::client::connection::{Pushed, PushedBatch, partition_of};
use crate::client::group::Expulsion;
use crate::client::group::membership::{Change, Membership};
use crate::client::group::wire;
use crate::client::link::{Event, Link, end_of};
use crate::client::pending::{Answer, UNASKED};
use crate::client::subscriber::Gap;
use crate::client::topics::about;
use crate::client::{ClientError, admin, error, given};
use crate::protocol::native::{ErrorCode, Frame, FrameType, Properties};
use crate::types::{Offset, TopicPartition};

/// Heartbeats within a session, where the broker does not say how often.
const HEARTBEATS: u32 = 3;
/// How long a broker is given to hear that a member leaves.
const FAREWELL: Duration = Duration::from_secs(2);

/// What the consumer asks of its task.
#[derive(Debug)]
pub(super) enum Command {
    /// Read a topic; a group without a position in one of these partitions starts there.
    Subscribe(String, Vec<(TopicPartition, Offset)>, oneshot::Sender<Result<(), ClientError>>),
    /// Read it no more.
    Unsubscribe(String, oneshot::Sender<Result<(), ClientError>>),
    /// End the membership.
    Leave(oneshot::Sender<()>),
}

/// Who waits for a join, and which topic it was about.
#[derive(Debug)]
struct Waiter {
    topic: Option<String>,
    done: oneshot::Sender<Result<(), ClientError>>,
}

#[derive(Debug, Clone)]
enum Purpose {
    Join,
    Heartbeat,
    Offsets(TopicPartition, u64),
    Settle(TopicPartition, u64),
    Subscription(TopicPartition, u64),
    /// Nobody waits for the answer.
    Farewell,
}

/// Everything the task owns.
pub(super) struct Task {
    options: Arc<ConsumerOptions>,
    group: String,
    shelf: Arc<Shelf>,
    commands: mpsc::UnboundedReceiver<Command>,
    membership: Membership,
    control: Line,
    data: Line,
    room: Arc<Semaphore>,
    readers: BTreeMap<TopicPartition, Reader>,
    /// Where a group without a position starts.
    starts: BTreeMap<TopicPartition, Offset>,
    chance: Chance,
    last_token: u64,
    purposes: HashMap<u64, (Via, Purpose)>,
    /// Whether the group owes an answer to a join or a heartbeat.
    is_asking: bool,
    /// Whether the group has taken the member at least once.
    has_begun: bool,
    heartbeat_every: Duration,
    heartbeat_at: Instant,
    /// Those who wait for the next join, and for the one under way.
    waiting: Vec<Waiter>,
    joining: Vec<Waiter>,
    leaving: Option<oneshot::Sender<()>>,
}

impl Task {
    pub(super) fn new(
        options: Arc<ConsumerOptions>,
        group: &str,
        shelf: Arc<Shelf>,
        commands: mpsc::UnboundedReceiver<Command>,
        joined: oneshot::Sender<Result<(), ClientError>>,
    ) -> Task {
        let room = usize::try_from(options.buffer_bytes.max(1)).unwrap_or(Semaphore::MAX_PERMITS);
        let backoff = Backoff::new(options.retry_backoff, options.retry_backoff_max);
        Task {
            group: group.to_owned(),
            shelf,
            commands,
            membership: Membership::default(),
            control: Line::new(backoff),
            data: Line::new(backoff),
            room: Arc::new(Semaphore::new(room.min(Semaphore::MAX_PERMITS))),
            readers: BTreeMap::new(),
            starts: BTreeMap::new(),
            chance: Chance::new(),
            last_token: 0,
            purposes: HashMap::new(),
            is_asking: false,
            has_begun: false,
            heartbeat_every: options.session_timeout / HEARTBEATS,
            heartbeat_at: Instant::now(),
            waiting: vec![Waiter { topic: None, done: joined }],
            joining: Vec::new(),
            leaving: None,
            options,
        }
    }

    /// Runs until the consumer leaves or is gone, or until the group will not have it.
    pub(super) async fn run(mut self) {
        if let Err(error) = self.serve().await {
            for waiter in self.waiting.drain(..).chain(self.joining.drain(..)) {
                drop(waiter.done.send(Err(error.clone())));
            }
            self.shelf.fail(error);
        }
        for partition in std::mem::take(&mut self.readers).into_keys() {
            self.shelf.disown(&partition);
            self.shelf.forget(&partition);
        }
        self.shelf.set_control(None);
        if let (Some(link), Some(member)) = (&self.control.link, self.membership.member())
            && let Ok(properties) = given([("wiber.group", Some(self.group.as_str())), ("wiber.member", Some(member))])
        {
            // Where it does not come through, the session's end does the same.
            drop(timeout(FAREWELL, link.client.request(FrameType::LeaveGroup, properties, None)).await);
        }
        if let Some(leaving) = self.leaving.take() {
            let _nobody_waits = leaving.send(());
        }
    }

    async fn serve(&mut self) -> Result<(), ClientError> {
        loop {
            let now = Instant::now();
            self.act(now)?;
            let wake_at = self.wake_at(now);
            tokio::select! {
                event = self.control.event() => self.on_control(event)?,
                event = self.data.event() => self.on_data(event)?,
                command = self.commands.recv() => match command {
                    Some(Command::Leave(done)) => {
                        self.leaving = Some(done);
                        return Ok(());
                    }
                    Some(command) => self.command(command),
                    None => return Ok(()),
                },
                () = self.shelf.settled.notified() => {}
                () = sleep_until(wake_at) => {}
            }
        }
    }

    fn wake_at(&self, now: Instant) -> Instant {
        let rests = [self.control.rests_until(), self.data.rests_until()].into_iter().flatten();
        let releases = self.readers.values().filter_map(|reader| reader.release_by);
        let may_beat = !self.is_asking && self.control.ready().is_some();
        let beat = if may_beat { self.heartbeat_at } else { now + self.heartbeat_every };
        rests.chain(releases).fold(beat, Instant::min).max(now)
    }

    /// Does what is due.
    fn act(&mut self, now: Instant) -> Result<(), ClientError> {
        let (options, session) = (self.options.client.clone(), self.options.session_timeout);
        // A broker that has said nothing for a session has forgotten the member.
        let control = crate::client::ClientOptions {
            request_timeout: options.request_timeout.min(session),
            connect_timeout: options.connect_timeout.min(session),
            ..options.clone()
        };
        self.control.tend(now, || Box::pin(Link::connect(control, Arc::new(Semaphore::new(1)), 1)));
        self.finish_releases(now);
        if self.readers.is_empty() {
            self.data.close();
        } else {
            let (room, bytes) = (Arc::clone(&self.room), self.options.buffer_bytes);
            self.data.tend(now, || Box::pin(Link::connect(options, room, bytes)));
        }
        self.speak(now)?;
        for partition in self.readers.keys().cloned().collect::<Vec<_>>() {
            self.ask(&partition)?;
        }
        Ok(())
    }

    /// Joins, or gives a sign of life, where that is due.
    fn speak(&mut self, now: Instant) -> Result<(), ClientError> {
        if self.is_asking || self.control.ready().is_none() {
            return Ok(());
        }
        let group = Some(self.group.as_str());
        if self.membership.has_to_join() {
            let session = self.options.session_timeout.as_millis().to_string();
            let rebalance = self.options.rebalance_timeout.as_millis().to_string();
            let properties = given([
                ("wiber.group", group),
                ("client_id", self.options.client.client_id.as_deref()),
                ("wiber.member", self.membership.member()),
                ("wiber.session_timeout_ms", Some(&session)),
                ("wiber.rebalance_timeout_ms", Some(&rebalance)),
            ])?;
            let body = wire::join_body(self.membership.topics(), self.membership.held());
            if self.request(Via::Control, FrameType::JoinGroup, &properties, body, Purpose::Join) {
                self.membership.joining();
                self.joining.append(&mut self.waiting);
                self.beat(now);
            }
            return Ok(());
        }
        let has_to_tell = self.membership.has_to_tell();
        if !has_to_tell && self.heartbeat_at > now {
            return Ok(());
        }
        let properties = given([("wiber.group", group), ("wiber.member", self.membership.member())])?;
        let body = if has_to_tell {
            wire::owned_body(self.membership.held().map(|(partition, _)| partition))
        } else {
            Bytes::new()
        };
        if self.request(Via::Control, FrameType::GroupHeartbeat, &properties, body, Purpose::Heartbeat) {
            self.membership.telling();
            self.beat(now);
        }
        Ok(())
    }

    fn beat(&mut self, now: Instant) {
        self.is_asking = true;
        self.heartbeat_at = now + self.heartbeat_every;
    }

    /// Asks for what a partition needs next.
    fn ask(&mut self, partition: &TopicPartition) -> Result<(), ClientError> {
        let Some(reader) = self.readers.get(partition) else { return Ok(()) };
        let Some(member) = self.membership.member() else { return Ok(()) };
        let since = reader.since;
        let key = (partition.clone(), since);
        let mut pairs = vec![("partition", partition.partition.to_string()), ("wiber.group", self.group.clone())];
        let (via, kind, purpose) = match reader.step() {
            Step::None => return Ok(()),
            Step::Offsets => (Via::Control, FrameType::ListOffsets, Purpose::Offsets(key.0, key.1)),
            Step::Settle(next) => {
                let place = Place { partition: partition.clone(), since, next };
                let properties = commits::properties(&self.group, member, &place)?;
                let purpose = Purpose::Settle(key.0, key.1);
                self.send(partition, Via::Control, FrameType::Commit, &properties, purpose);
                return Ok(());
            }
            Step::Subscribe(next) => {
                pairs.push(("offset", next.to_string()));
                pairs.push(("auto_ack", "false".to_owned()));
                pairs.push(("wiber.member", member.to_owned()));
                pairs.push(("wiber.generation", since.to_string()));
                (Via::Data, FrameType::SubscribeBatches, Purpose::Subscription(key.0, key.1))
            }
        };
        let properties = about(partition.topic.as_str(), &pairs)?;
        self.send(partition, via, kind, &properties, purpose);
        Ok(())
    }

    /// Sends what a reader asks for.
    fn send(
        &mut self,
        partition: &TopicPartition,
        via: Via,
        kind: FrameType,
        properties: &Properties,
        purpose: Purpose,
    ) {
        if self.request(via, kind, properties, Bytes::new(), purpose)
            && let Some(reader) = self.readers.get_mut(partition)
        {
            reader.asked(via);
        }
    }

    fn request(&mut self, via: Via, kind: FrameType, properties: &Properties, body: Bytes, purpose: Purpose) -> bool {
        let line = if via == Via::Control { &self.control } else { &self.data };
        let token = self.last_token + 1;
        let is_taken = line.ready().is_some_and(|link| link.request(kind, properties, body, token));
        if is_taken {
            self.last_token = token;
            self.purposes.insert(token, (via, purpose));
        }
        is_taken
    }

    fn command(&mut self, command: Command) {
        let (topic, done, is_changed) = match command {
            Command::Subscribe(topic, starts, done) => {
                self.starts.extend(starts);
                let is_new = self.membership.add_topic(&topic);
                (topic, done, is_new)
            }
            Command::Unsubscribe(topic, done) => {
                let was_there = self.membership.remove_topic(&topic);
                (topic, done, was_there)
            }
            // The end of the membership is the loop's to see to.
            Command::Leave(_) => return,
        };
        if is_changed {
            self.waiting.push(Waiter { topic: Some(topic), done });
        } else {
            drop(done.send(Ok(())));
        }
    }

    fn on_control(&mut self, event: LineEvent) -> Result<(), ClientError> {
        match event {
            LineEvent::Connected => {}
            LineEvent::Unconnected(error) if !self.has_begun => return Err(error),
            LineEvent::Unconnected(_) => self.control.rest(&mut self.chance),
            LineEvent::Came(Event::Answer(Answer { token: UNASKED, result })) => self.told(&result?)?,
            LineEvent::Came(Event::Answer(answer)) => self.answered(answer)?,
            LineEvent::Came(Event::Pushed(_)) => {}
            LineEvent::Came(Event::Lost) => {
                self.lose(Via::Control);
                self.shelf.set_control(None);
                self.is_asking = false;
                self.membership.disconnected();
                self.waiting.append(&mut self.joining);
            }
        }
        Ok(())
    }

    /// The group says what may be read now.
    fn told(&mut self, frame: &Frame) -> Result<(), ClientError> {
        let is_ours = frame.properties.get("wiber.member") == self.membership.member();
        if is_ours && frame.properties.get("wiber.group") == Some(self.group.as_str()) {
            let changes = self.membership.assigned(&wire::assignment(&frame.body)?);
            self.change(changes);
        }
        Ok(())
    }

    fn on_data(&mut self, event: LineEvent) -> Result<(), ClientError> {
        match event {
            LineEvent::Connected => {}
            LineEvent::Unconnected(_) => self.data.rest(&mut self.chance),
            LineEvent::Came(Event::Answer(answer)) => self.answered(answer)?,
            LineEvent::Came(Event::Pushed(Pushed::Batch(batch))) => {
                while let Some(Ok(answer)) = self.data.link.as_mut().map(|link| link.answers.try_recv()) {
                    self.answered(answer)?;
                }
                self.batch(batch)?;
            }
            LineEvent::Came(Event::Pushed(Pushed::Ended(ended))) => {
                let reads = |partition: TopicPartition| {
                    let since = self.readers.get(&partition)?.since;
                    Some((partition, since))
                };
                match ended.partition.map(reads) {
                    Some(Some((partition, since))) => self.refused(&partition, since, Via::Data, ended.error)?,
                    Some(None) => {}
                    None => self.lose(Via::Data),
                }
            }
            LineEvent::Came(Event::Lost) => self.lose(Via::Data),
        }
        Ok(())
    }

    fn lose(&mut self, via: Via) {
        let line = if via == Via::Control { &mut self.control } else { &mut self.data };
        line.lose(&mut self.chance);
        self.purposes.retain(|_, (of, _)| *of != via);
        self.readers.values_mut().for_each(|reader| reader.lost(via));
    }

    fn batch(&mut self, pushed: PushedBatch) -> Result<(), ClientError> {
        let Some(partition) = partition_of(&pushed.frame) else { return Ok(()) };
        let Some(reader) = self.readers.get_mut(&partition) else { return Ok(()) };
        if let Some(from) = reader.advance(end_of(&pushed.frame.body)?) {
            self.shelf.put(&partition, reader.since, from, pushed);
        }
        Ok(())
    }

    fn answered(&mut self, answer: Answer) -> Result<(), ClientError> {
        let Some((via, purpose)) = self.purposes.remove(&answer.token) else { return Ok(()) };
        match (purpose, answer.result) {
            (Purpose::Join, result) => self.joined(result),
            (Purpose::Heartbeat, result) => self.heard(result),
            (
                Purpose::Offsets(partition, since)
                | Purpose::Settle(partition, since)
                | Purpose::Subscription(partition, since),
                Err(error),
            ) => self.refused(&partition, since, via, error),
            (Purpose::Offsets(partition, since), Ok(reply)) => {
                let (offsets, start) = (admin::offsets(&reply)?, self.starts.get(&partition).copied());
                self.tend(&partition, since, |reader| reader.found(&offsets, start))
            }
            (Purpose::Settle(partition, since), Ok(_)) => self.tend(&partition, since, |reader| {
                reader.settled();
                Ok(Gap::None)
            }),
            (Purpose::Subscription(partition, since), Ok(reply)) => {
                let start = error::offset(&reply, "start_offset")?;
                self.data.works();
                self.tend(&partition, since, |reader| Ok(reader.subscribed(start)))
            }
            (Purpose::Farewell, _) => Ok(()),
        }
    }

    /// Has a reader take an answer, where it is still the one that asked; tells of records that will not come.
    fn tend(
        &mut self,
        partition: &TopicPartition,
        since: u64,
        take: impl FnOnce(&mut Reader) -> Result<Gap, ClientError>,
    ) -> Result<(), ClientError> {
        let reader = self.readers.get_mut(partition).filter(|reader| reader.since == since);
        match reader.map_or(Ok(Gap::None), take)? {
            Gap::None => {}
            Gap::Gone { wanted, next } => {
                tracing::warn!(%partition, %wanted, %next, "records to come next are no longer kept");
            }
            Gap::Lost { wanted, next } => {
                tracing::warn!(%partition, %wanted, %next, "the broker lost records that were read");
            }
        }
        Ok(())
    }

    fn joined(&mut self, result: Result<Frame, ClientError>) -> Result<(), ClientError> {
        self.is_asking = false;
        match result {
            Ok(reply) => {
                let lacking = || ClientError::Protocol("a reply without 'wiber.member'".to_owned());
                let member = reply.properties.get("wiber.member").ok_or_else(lacking)?;
                let assignment = wire::assignment(&reply.body)?;
                if let Some(ms) = reply.properties.get("wiber.heartbeat_ms").and_then(|text| text.parse().ok()) {
                    self.heartbeat_every = Duration::from_millis(ms).max(Duration::from_millis(10));
                    self.heartbeat_at = self.heartbeat_at.min(Instant::now() + self.heartbeat_every);
                }
                let client = self.control.link.as_ref().map(|link| link.client.clone());
                self.shelf.set_control(client.map(|client| (client, member.to_owned())));
                self.control.works();
                self.has_begun = true;
                let changes = self.membership.joined(member, &assignment);
                self.change(changes);
                for waiter in self.joining.drain(..) {
                    drop(waiter.done.send(Ok(())));
                }
                Ok(())
            }
            Err(error) if error.is_retriable() || Expulsion::of(&error).is_some() => {
                self.again(&error);
                self.waiting.append(&mut self.joining);
                Ok(())
            }
            Err(error) => self.not_joined(error),
        }
    }

    /// The group will not have the member, or not with what it wants to read.
    fn not_joined(&mut self, error: ClientError) -> Result<(), ClientError> {
        self.membership.disconnected();
        let (mut has_reason, mut topics) = (false, Vec::new());
        for waiter in self.joining.drain(..) {
            has_reason |= waiter.topic.is_some() && self.has_begun;
            topics.extend(waiter.topic);
            drop(waiter.done.send(Err(error.clone())));
        }
        for topic in topics {
            self.membership.remove_topic(&topic);
        }
        if has_reason { Ok(()) } else { Err(error) }
    }

    /// A join or a heartbeat was not heard.
    fn again(&mut self, error: &ClientError) {
        match Expulsion::of(error) {
            Some(_) => {
                let changes = self.membership.expelled();
                self.change(changes);
                self.shelf.set_control(None);
            }
            None => {
                self.membership.disconnected();
                self.control.rest(&mut self.chance);
            }
        }
    }

    fn heard(&mut self, result: Result<Frame, ClientError>) -> Result<(), ClientError> {
        self.is_asking = false;
        match result {
            Ok(reply) if reply.body.is_empty() => Ok(()),
            Ok(reply) => {
                let changes = self.membership.assigned(&wire::assignment(&reply.body)?);
                self.change(changes);
                Ok(())
            }
            Err(error) if error.is_retriable() || Expulsion::of(&error).is_some() => {
                self.again(&error);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn refused(
        &mut self,
        partition: &TopicPartition,
        since: u64,
        via: Via,
        error: ClientError,
    ) -> Result<(), ClientError> {
        if Expulsion::of(&error) == Some(Expulsion::Unknown) {
            if self.membership.member().is_some() && self.membership.reads(partition) == Some(since) {
                self.again(&error);
            }
            return Ok(());
        }
        if commits::is_loss(&error) {
            let changes = self.membership.fenced(partition, since);
            self.change(changes);
            return Ok(());
        }
        if error.code() == Some(ErrorCode::AlreadySubscribed) {
            // The end of an earlier subscription did not get through.
            self.lose(Via::Data);
            return Ok(());
        }
        if !error.is_retriable() {
            return Err(error);
        }
        if let Some(reader) = self.readers.get_mut(partition).filter(|reader| reader.since == since) {
            reader.again();
        }
        let line = if via == Via::Control { &mut self.control } else { &mut self.data };
        line.rest(&mut self.chance);
        Ok(())
    }

    /// Does what the membership decided, in its order.
    fn change(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Drop(partition) => {
                    self.shelf.disown(&partition);
                    self.shelf.forget(&partition);
                    self.unsubscribe(&partition);
                    self.readers.remove(&partition);
                }
                Change::Release(partition) => {
                    self.shelf.disown(&partition);
                    self.unsubscribe(&partition);
                    if let Some(reader) = self.readers.get_mut(&partition) {
                        reader.release_by = Some(Instant::now() + self.options.rebalance_timeout / 2);
                    }
                }
                Change::Take(partition, since) => {
                    self.shelf.own(&partition, since);
                    self.readers.insert(partition, Reader::new(since));
                }
            }
        }
    }

    /// Has the broker send nothing more of a partition.
    fn unsubscribe(&mut self, partition: &TopicPartition) {
        if self.readers.get(partition).is_none_or(|reader| !reader.is_subscribed) {
            return;
        }
        if let Ok(properties) = about(partition.topic.as_str(), &[("partition", partition.partition.to_string())]) {
            self.request(Via::Data, FrameType::Unsubscribe, &properties, Bytes::new(), Purpose::Farewell);
        }
    }

    /// Gives away what is finished: what was handed out of it is dealt with, or has taken too long.
    fn finish_releases(&mut self, now: Instant) {
        let shelf = Arc::clone(&self.shelf);
        let is_finished = |(partition, reader): (&TopicPartition, &Reader)| {
            let is_over = reader.release_by.is_some_and(|by| by <= now || !shelf.is_in_use(partition));
            is_over.then(|| partition.clone())
        };
        for partition in self.readers.iter().filter_map(is_finished).collect::<Vec<_>>() {
            self.shelf.forget(&partition);
            self.readers.remove(&partition);
            self.membership.released(&partition);
        }
    }
}
