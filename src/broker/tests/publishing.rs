//! Publishing without a listener: a [`Publisher`] does what one does, and says instead of waiting.

mod append_time;
mod batches;
mod repeats;
mod restarts;
mod simulation;

use std::task::{Wake, Waker};

use super::*;
use crate::broker::dedup::ID_HEADER;
use crate::broker::publish::{Added, Publish, PublishError, PublishRun, Wait};
use crate::replica::{AckFailure, AckSink, Completion, Waiter};

/// What was answered, in order.
#[derive(Debug, Default)]
struct Answers(Mutex<Vec<String>>);

impl AckSink for Answers {
    fn complete(&self, completions: &mut dyn Iterator<Item = Completion>) {
        for Completion { token, outcome } in completions {
            self.0.lock().push(match outcome {
                Ok(acked) => format!("{token} at {}", acked.base_offset),
                Err(AckFailure::StorageFull) => format!("{token} full"),
                Err(failure) => format!("{token} {failure}"),
            });
        }
    }
}

#[derive(Debug, Default)]
struct Woken(Mutex<u32>);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        *self.0.lock() += 1;
    }
}

/// A connection, as far as publishing goes.
#[derive(Debug)]
struct Publisher {
    broker: Arc<Broker>,
    run: PublishRun<u64>,
    answers: Arc<Answers>,
    woken: Arc<Woken>,
    /// What was appended, by partition and tokens.
    appended: Mutex<Vec<(u32, Vec<u64>)>>,
    ack: AckLevel,
    now: Timestamp,
}

/// What became of a publish.
#[derive(Debug, PartialEq, Eq)]
enum Became {
    Gathered,
    /// It is answered as this offset of this partition was.
    Repeated(u32, u64),
    /// Somebody else must do something first.
    Waits,
}

impl Publisher {
    fn new(rig: &Rig) -> Publisher {
        let (run, answers, woken) = (PublishRun::default(), Arc::default(), Arc::default());
        let appended = Mutex::default();
        Publisher { broker: Arc::clone(&rig.broker), run, answers, woken, appended, ack: AckLevel::Durable, now: at(0) }
    }

    fn waiter(&self, token: u64) -> Option<Waiter> {
        Some(Waiter { sink: Arc::clone(&self.answers) as Arc<dyn AckSink>, token })
    }

    /// Adds one record; a repeat is answered under `token`.
    fn add(&mut self, topic: &str, id: &str, token: u64) -> Result<Became, PublishError> {
        self.publish(topic, Publish { id: (!id.is_empty()).then_some(id), ..self.record() }, token)
    }

    fn record(&self) -> Publish<'static> {
        let (sent, ack) = (self.now, self.ack);
        Publish { partition: None, key: None, value: Some(b"value"), headers: &[], id: None, sent, read: None, ack }
    }

    fn publish(&mut self, topic: &str, publish: Publish<'_>, token: u64) -> Result<Became, PublishError> {
        let header = publish.id.map(|id| (ID_HEADER.as_bytes(), Some(id.as_bytes())));
        let publish = Publish { headers: header.as_slice(), ..publish };
        loop {
            let topic = match self.run.find(topic) {
                Some(topic) => topic,
                None => self.run.enter(&self.broker, self.broker.topic(&name(topic))?)?,
            };
            match self.run.add(topic, &publish, Some(token), self.now)? {
                Added::Gathered { .. } => return Ok(Became::Gathered),
                Added::Repeat(repeat) => {
                    if repeat.wait_for(publish.ack, self.waiter(token))? {
                        return Ok(Became::Repeated(repeat.partition().0, repeat.offset().get()));
                    }
                }
                Added::Wait(wait) => {
                    self.flush();
                    match wait {
                        Wait::Load(task) => task.run(self.now),
                        Wait::Other(other) => {
                            if other.poll(&Waker::from(Arc::clone(&self.woken))).is_pending() {
                                return Ok(Became::Waits);
                            }
                        }
                    }
                }
            }
        }
    }

    /// Appends what is gathered; the first record's token stands for its batch.
    fn flush(&mut self) {
        for mut batch in self.run.take() {
            let tokens = batch.take_places();
            let waiter = self.waiter(tokens[0]);
            let index = batch.index().0;
            match batch.append(waiter, self.now) {
                Ok(ticket) => assert!(ticket.is_some(), "there is space"),
                Err(error) => self.answers.0.lock().push(format!("{} refused: {error}", tokens[0])),
            }
            self.appended.lock().push((index, tokens));
        }
    }

    fn take_answers(&self) -> Vec<String> {
        std::mem::take(&mut self.answers.0.lock())
    }

    /// Publishes one record at once, durably; where it is then.
    fn put(&mut self, rig: &Rig, topic: &str, id: &str) -> String {
        let became = self.add(topic, id, 0).unwrap();
        self.flush();
        rig.settle();
        format!("{became:?} {}", self.take_answers().join(", "))
    }
}
