//! What the answers of the broker and the decisions of the membership come to.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::{Purpose, Task};
use crate::client::consumer::commits;
use crate::client::consumer::reader::{Reader, Via};
use crate::client::group::membership::Change;
use crate::client::group::{Expulsion, wire};
use crate::client::pending::Answer;
use crate::client::subscriber::Gap;
use crate::client::topics::about;
use crate::client::{ClientError, admin, error};
use crate::protocol::native::{ErrorCode, Frame, FrameType};
use crate::types::TopicPartition;

impl Task {
    pub(super) fn answered(&mut self, answer: Answer) -> Result<(), ClientError> {
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

    pub(super) fn refused(
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
    pub(super) fn change(&mut self, changes: Vec<Change>) {
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
    pub(super) fn unsubscribe(&mut self, partition: &TopicPartition) {
        if self.readers.get(partition).is_none_or(|reader| !reader.is_subscribed) {
            return;
        }
        if let Ok(properties) = about(partition.topic.as_str(), &[("partition", partition.partition.to_string())]) {
            self.request(Via::Data, FrameType::Unsubscribe, &properties, Bytes::new(), Purpose::Farewell);
        }
    }

    /// Gives away what is finished: what was handed out of it is dealt with, or has taken too long.
    pub(super) fn finish_releases(&mut self, now: Instant) {
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
