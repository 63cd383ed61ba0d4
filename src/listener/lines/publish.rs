//! PUBs: those that came in one read are gathered into one batch for each partition.

use std::future::poll_fn;
use std::sync::Arc;

use super::LinesListener;
use super::outbox::{Answer, Batch, Entered, Outbox, Place};
use crate::broker::publish::{self, Added, GatheredBatch, Publish, TopicSlot};
use crate::protocol::lines::Command;
use crate::replica::{AckSink, Waiter};
use crate::types::Timestamp;

/// PUBs gathered and not yet appended.
#[derive(Debug)]
pub(super) struct PublishRun<'a> {
    listener: &'a Arc<LinesListener>,
    outbox: &'a Arc<Outbox>,
    run: publish::PublishRun<Place>,
    now: Timestamp,
    /// The place of the first PUB whose place the outbox does not know of, and how many there are.
    first: Place,
    unreserved: usize,
    /// Whether one of its batches is full.
    is_full: bool,
}

impl<'a> PublishRun<'a> {
    pub(super) fn new(listener: &'a Arc<LinesListener>, outbox: &'a Arc<Outbox>) -> PublishRun<'a> {
        let (now, first) = (listener.now(), outbox.next_place());
        PublishRun { listener, outbox, run: publish::PublishRun::default(), now, first, unreserved: 0, is_full: false }
    }

    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Adds a PUB.
    pub(super) async fn add(&mut self, topic: &str, message: &str) {
        let place = self.first.behind(self.unreserved);
        self.unreserved += 1;
        if let Err(reason) = self.try_add(topic, message, place).await {
            self.reserve();
            self.outbox.answer(place, Answer::refused(reason));
        }
    }

    async fn try_add(&mut self, topic: &str, message: &str, place: Place) -> Result<(), String> {
        let slot = match self.run.find(topic) {
            Some(slot) => slot,
            None => self.enter(topic).await?,
        };
        let publish = Publish {
            partition: None,
            key: None,
            value: Some(message.as_bytes()),
            headers: &[],
            id: None,
            sent: self.now,
            read: None,
            ack: self.listener.broker.default_ack(),
        };
        match self.run.add(slot, &publish, Some(place), self.now).map_err(|error| error.to_string())? {
            Added::Gathered { is_full } => self.is_full |= is_full,
            // Of records without an id nothing is a repeat.
            Added::Repeat(_) | Added::Wait(_) => return Err("the message was not published".to_owned()),
        }
        Ok(())
    }

    async fn enter(&mut self, topic: &str) -> Result<TopicSlot, String> {
        let name = Command::topic_name(topic).map_err(|error| error.to_string())?;
        let handle = self.listener.topic_to_use(&name).await.map_err(|error| error.to_string())?;
        self.run.enter(&self.listener.broker, handle).map_err(|error| error.to_string())
    }

    /// Lets the outbox know of the places taken so far: another command takes the next one.
    pub(super) fn reserve(&mut self) {
        self.outbox.reserve(std::mem::take(&mut self.unreserved));
        self.first = self.outbox.next_place();
    }

    /// Takes in that another command has taken a place.
    pub(super) fn others_answered(&mut self) {
        self.first = self.outbox.next_place();
    }

    /// Appends what is gathered. Waits where a partition's queue is full: this connection is then not read.
    pub(super) async fn flush(&mut self) {
        self.reserve();
        self.is_full = false;
        for mut batch in self.run.take() {
            let entered = self.outbox.enter(Batch {
                topic: batch.topic().clone(),
                partition: batch.index(),
                places: batch.take_places(),
                not_before: batch.partition().offsets().log_end(),
            });
            append(self.listener, self.outbox, entered, batch).await;
        }
        self.now = self.listener.now();
    }
}

impl Drop for PublishRun<'_> {
    /// Where the server stops before they are appended, their places are there to be answered.
    fn drop(&mut self) {
        self.reserve();
    }
}

async fn append(listener: &LinesListener, outbox: &Arc<Outbox>, entered: Entered<'_>, mut batch: GatheredBatch<Place>) {
    loop {
        let waiter = Waiter { sink: Arc::clone(outbox) as Arc<dyn AckSink>, token: entered.token() };
        match batch.append(Some(waiter), listener.now()) {
            Ok(Some(_)) => return entered.appended(),
            Ok(None) => poll_fn(|context| batch.poll_space(context.waker())).await,
            Err(error) => return entered.refuse(&error.to_string()),
        }
    }
}
