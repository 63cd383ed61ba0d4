//! Publishes: those that came in one read are gathered into one batch for each partition.

use std::future::poll_fn;
use std::sync::Arc;

use super::NativeListener;
use super::answer::Answer;
use super::errors::Refusal;
use super::outbox::{Entered, Group, Outbox, Place};
use crate::broker::publish::{self, Added, GatheredBatch, Publish, PublishError, Repeat, TopicSlot, Wait};
use crate::protocol::native::{AckLevel as WireAck, ErrorCode, Frame, FrameType, PublishRequest, Request};
use crate::replica::{AckLevel, AckSink, Waiter};
use crate::types::{Offset, Timestamp};

/// Headers of a record that need no allocation on their way.
const HEADERS_INLINE: usize = 8;

/// Publishes gathered and not yet appended.
#[derive(Debug, Default)]
pub(super) struct PublishRun {
    run: publish::PublishRun<Place>,
    /// Whether one of its batches is.
    is_full: bool,
    /// Whether something of it was to become durable.
    is_durable: bool,
}

/// Publishes being added to a run while nobody waits. The outbox hears of their places when this is dropped.
pub(super) struct Gathering<'a> {
    run: &'a mut PublishRun,
    listener: &'a NativeListener,
    outbox: &'a Outbox,
    now: Timestamp,
    first: Place,
    /// The requests that take the places from the first one on.
    sequences: Vec<u64>,
}

/// A publish on its way.
struct Publishing<'a> {
    request: &'a PublishRequest<'a>,
    ack: AckLevel,
    sent: Timestamp,
    /// Where its answer goes, if it wants one.
    place: Option<Place>,
}

impl Gathering<'_> {
    /// Adds a publish to a topic that the run knows; `false` for every other frame, and where something else than
    /// adding it is to be done.
    pub(super) fn add(&mut self, frame: &Frame) -> bool {
        if frame.kind != FrameType::Publish {
            return false;
        }
        let Ok(Request::Publish(request)) = Request::parse(frame) else { return false };
        let Some(topic) = self.run.run.find(request.topic).filter(|_| request.id.is_none()) else { return false };
        let ack = level(request.ack, self.listener.broker.default_ack());
        let place = (ack != AckLevel::None).then(|| self.first.behind(self.sequences.len()));
        let publishing = Publishing { request: &request, ack, sent: frame.timestamp, place };
        let added = publishing.as_publish(|publish| self.run.run.add(topic, publish, place, self.now));
        let Ok(Added::Gathered { is_full }) = added else { return false };
        self.run.is_full |= is_full;
        if place.is_some() {
            self.sequences.push(frame.sequence);
        }
        true
    }

    pub(super) fn is_full(&self) -> bool {
        self.run.is_full
    }
}

impl Drop for Gathering<'_> {
    fn drop(&mut self) {
        if !self.sequences.is_empty() {
            self.outbox.reserve_all(&self.sequences);
        }
    }
}

impl PublishRun {
    /// Begins to add publishes. Meanwhile nothing else may take a place among the answers.
    pub(super) fn gather<'a>(&'a mut self, listener: &'a NativeListener, outbox: &'a Outbox) -> Gathering<'a> {
        let (first, now) = (outbox.next_place(), listener.now());
        Gathering { run: self, listener, outbox, now, first, sequences: Vec::new() }
    }

    /// Whether it is to be flushed.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Whether anything of it has waited for the disk.
    pub(super) fn is_durable(&self) -> bool {
        self.is_durable
    }

    /// Adds one publish; its answer takes its place now.
    pub(super) async fn add(
        &mut self,
        listener: &NativeListener,
        outbox: &Arc<Outbox>,
        sequence: u64,
        sent: Timestamp,
        request: &PublishRequest<'_>,
    ) {
        let ack = level(request.ack, listener.broker.default_ack());
        let place = (ack != AckLevel::None).then(|| outbox.reserve(sequence));
        let publishing = Publishing { request, ack, sent, place };
        if let Err(refusal) = self.try_add(listener, outbox, &publishing).await
            && let Some(place) = place
        {
            outbox.answer(place, Answer::Refused(refusal));
        }
    }

    async fn try_add(
        &mut self,
        listener: &NativeListener,
        outbox: &Arc<Outbox>,
        publishing: &Publishing<'_>,
    ) -> Result<(), Refusal> {
        loop {
            let topic = match self.run.find(publishing.request.topic) {
                Some(topic) => topic,
                None => self.enter(listener, publishing.request).await?,
            };
            let place = publishing.place;
            let added = publishing.as_publish(|publish| self.run.add(topic, publish, place, listener.now()));
            match added.map_err(|error| Refusal::from(&error))? {
                Added::Gathered { is_full: false } => return Ok(()),
                Added::Gathered { is_full: true } => {
                    self.flush(listener, outbox).await;
                    return Ok(());
                }
                Added::Repeat(repeat) if answer_repeat(outbox, &repeat, publishing)? => return Ok(()),
                Added::Repeat(_) => {}
                Added::Wait(wait) => {
                    self.flush(listener, outbox).await;
                    wait_for(listener, wait).await;
                }
            }
        }
    }

    async fn enter(&mut self, listener: &NativeListener, request: &PublishRequest<'_>) -> Result<TopicSlot, Refusal> {
        let name = request.topic_name().map_err(|error| Refusal::new(error.code(), error.to_string()))?;
        let handle = listener.user_topic(&name).await?;
        self.run.enter(&listener.broker, handle).map_err(|error| Refusal::from(&error))
    }

    /// Appends what is gathered. Waits where a partition's queue is full: this connection is then not read.
    pub(super) async fn flush(&mut self, listener: &NativeListener, outbox: &Arc<Outbox>) {
        self.is_full = false;
        for mut batch in self.run.take() {
            self.is_durable |= batch.ack() == AckLevel::Durable;
            let group = Group {
                topic: batch.topic().clone(),
                partition: batch.index(),
                places: batch.take_places(),
                not_before: batch.partition().offsets().log_end(),
                whole: None,
            };
            append(listener, outbox, outbox.enter(group), batch).await;
        }
    }
}

impl Publishing<'_> {
    fn as_publish<R>(&self, take: impl FnOnce(&Publish<'_>) -> R) -> R {
        let request = self.request;
        let mut few = [(&b""[..], None); HEADERS_INLINE];
        let mut many = Vec::new();
        let mut count = 0;
        for (name, value) in request.headers() {
            let header = (name.as_bytes(), Some(value.as_bytes()));
            match few.get_mut(count) {
                Some(slot) => *slot = header,
                None if many.is_empty() => many = few.iter().copied().chain([header]).collect(),
                None => many.push(header),
            }
            count += 1;
        }
        take(&Publish {
            partition: request.partition,
            key: request.key.map(str::as_bytes),
            value: Some(request.value),
            headers: if many.is_empty() { &few[..count] } else { &many },
            id: request.id,
            sent: self.sent,
            read: request.read,
            ack: self.ack,
        })
    }
}

async fn append(
    listener: &NativeListener,
    outbox: &Arc<Outbox>,
    entered: Entered<'_>,
    mut batch: GatheredBatch<Place>,
) {
    loop {
        match batch.append(Some(waiter(outbox, &entered)), listener.now()) {
            Ok(Some(_)) if batch.ack() == AckLevel::None => return entered.forget(),
            Ok(Some(_)) => return entered.appended(),
            Ok(None) => poll_fn(|context| batch.poll_space(context.waker())).await,
            Err(error) => return entered.refuse(Refusal::from(&error)),
        }
    }
}

/// Answers a repeat as the first was, once that has what this one asks for; `false` where the first is not stored after
/// all.
fn answer_repeat(outbox: &Arc<Outbox>, repeat: &Repeat, publishing: &Publishing<'_>) -> Result<bool, Refusal> {
    let Some(place) = publishing.place else {
        return repeat.wait_for(publishing.ack, None).map_err(|error| Refusal::from(&error));
    };
    // It makes nothing readable: no DATA has to wait for its answer.
    let not_before = Offset::MAX;
    let (topic, partition) = (repeat.topic().clone(), repeat.partition());
    let entered = outbox.enter(Group { topic, partition, places: vec![place], not_before, whole: None });
    let stored = repeat.wait_for(publishing.ack, Some(waiter(outbox, &entered)));
    match stored {
        Ok(true) => entered.appended(),
        // The place is still to be answered.
        Ok(false) | Err(_) => entered.forget(),
    }
    stored.map_err(|error| Refusal::from(&error))
}

async fn wait_for(listener: &NativeListener, wait: Wait) {
    match wait {
        Wait::Load(task) => {
            let now = listener.now();
            // Only when the runtime stops is it not run, and this task is about to end as well.
            let _run = tokio::task::spawn_blocking(move || task.run(now)).await;
        }
        Wait::Other(other) => poll_fn(|context| other.poll(context.waker())).await,
    }
}

pub(super) fn waiter(outbox: &Arc<Outbox>, entered: &Entered<'_>) -> Waiter {
    Waiter { sink: Arc::clone(outbox) as Arc<dyn AckSink>, token: entered.token() }
}

pub(super) fn level(asked: Option<WireAck>, default: AckLevel) -> AckLevel {
    match asked {
        None => default,
        Some(WireAck::None) => AckLevel::None,
        Some(WireAck::Leader) => AckLevel::Leader,
        Some(WireAck::Durable) => AckLevel::Durable,
    }
}

impl From<&PublishError> for Refusal {
    fn from(error: &PublishError) -> Refusal {
        let code = match error {
            PublishError::Broker(error) => return Refusal::from(error),
            PublishError::Append(error) => return Refusal::from(error),
            PublishError::MessageTooLarge { .. } | PublishError::Build(_) => ErrorCode::MessageTooLarge,
            PublishError::KeyMissing { .. } => ErrorCode::InvalidRecord,
            PublishError::Unreadable { .. } => ErrorCode::InvalidBatch,
            PublishError::IdTooLong { .. } => ErrorCode::InvalidProperty,
            PublishError::QueueFull { .. } => ErrorCode::Overloaded,
        };
        Refusal::new(code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_id_is_stored_under_the_header_that_it_is_read_back_from() {
        assert_eq!(crate::protocol::native::ID_HEADER, crate::broker::dedup::ID_HEADER);
    }
}
