//! The task of a consumer: it keeps the membership alive, reads what the group gives it, and releases what it takes away.
//!
//! Two connections: over one go joins, heartbeats, offsets and positions, and the group's assignments come; over the other
//! come the records, which a reader that takes its time holds up. What is asked stands here, what is made of the answers in
//! [`answers`].

mod answers;

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
use crate::client::group::membership::Membership;
use crate::client::group::wire;
use crate::client::link::{Event, Link, end_of};
use crate::client::pending::{Answer, UNASKED};
use crate::client::topics::about;
use crate::client::{ClientError, given};
use crate::protocol::native::{Frame, FrameType, Properties};
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
            Step::Offsets => {
                pairs.push(("wiber.member", member.to_owned()));
                pairs.push(("wiber.generation", since.to_string()));
                (Via::Control, FrameType::ListOffsets, Purpose::Offsets(key.0, key.1))
            }
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
}
