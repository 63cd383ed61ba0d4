//! The task that drives a group: it reads what is next, asks the group whose turn it is, and gives it there.
//!
//! Only what members take at once is read ahead: the group's position moves over exactly that, and then it goes. So a
//! kill of the server loses at most what was about to be sent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::LinesListener;
use super::encode::{records, show};
use super::feed::{Ahead, Feed, Next, READ_BYTES, read_ahead};
use super::queue::{Queue, QueueState};
use crate::broker::queues::{MemberId, QueuedRecord, queue_position};
use crate::listener::memory::Loan;
use crate::listener::outgoing::REFERENCED_BYTES_MIN;
use crate::protocol::lines::ShownTo;
use crate::replica::{AckLevel, Partition, ReadFailure};
use crate::types::{Offset, PartitionIndex};

/// Time after which a position that did not move is kept anew: a group with members does not expire.
const CONFIRMED_AFTER: Duration = Duration::from_secs(2 * 3_600);

/// Records that are about to go, in their order.
#[derive(Debug)]
struct Plan {
    /// Who gets which record, and where its line ends.
    turns: Vec<(MemberId, QueuedRecord, usize)>,
    lines: BytesMut,
    /// Where to go on behind them, where that is not behind all that was read.
    next: Option<Next>,
}

/// Drives a group until nobody belongs to it, or its topic ends.
pub(super) async fn run(listener: Arc<LinesListener>, queue: Arc<Queue>) {
    let feed = Feed::new(&listener, &queue.topic, |partition| queue.position(partition));
    let mut pump = Pump { listener, queue, feed, again: 0, confirm_at: Instant::now() + CONFIRMED_AFTER };
    loop {
        match pump.step().await {
            Ok(true) => {}
            Ok(false) => return,
            Err(failure) => return pump.end(&failure),
        }
    }
}

#[derive(Debug)]
struct Pump {
    listener: Arc<LinesListener>,
    queue: Arc<Queue>,
    feed: Feed,
    /// Bytes of a record that comes again, where there was no memory for it.
    again: usize,
    confirm_at: Instant,
}

impl Pump {
    /// Gives some records, or waits until that may be possible; `false` once the group has ended.
    async fn step(&mut self) -> Result<bool, ReadFailure> {
        let (is_empty, has_room, returned) = {
            let mut state = self.queue.state.lock();
            (state.group.is_empty(), state.measure(), state.group.first_returned())
        };
        if is_empty {
            return Ok(!self.go_back().await);
        }
        if !has_room {
            self.queue.changed.notified().await;
            return Ok(true);
        }
        if let Some(record) = returned {
            self.give_again(record).await?;
            return Ok(true);
        }
        tokio::select! {
            readable = self.feed.readable() => {
                let index = readable.map_err(ReadFailure::Closed)?;
                self.give_unread(index).await?;
            }
            () = self.queue.changed.notified() => {}
            () = sleep_until(self.confirm_at) => self.confirm(),
        }
        Ok(true)
    }

    /// Says of positions that somebody still needs them.
    fn confirm(&mut self) {
        self.confirm_at = Instant::now() + CONFIRMED_AFTER;
        for partition in self.queue.topic.open_partitions() {
            let key = queue_position(&self.queue.group, &self.queue.topic, partition.name().partition);
            let (broker, now) = (&self.listener.broker, self.listener.now());
            broker.commit_read(partition, key, self.queue.position(partition), AckLevel::None, now, |_| {});
        }
    }

    /// Gives records that were never given.
    async fn give_unread(&mut self, index: usize) -> Result<(), ReadFailure> {
        let mut ahead = self.feed.read(index).await?;
        let part = self.feed.part(index);
        let (partition, from) = (Arc::clone(&part.partition), part.next.from);
        let Some(behind) = ahead.batches.last().map(|batch| batch.header().next_offset()) else { return Ok(()) };
        let mut plan = Plan::of(&mut self.queue.state.lock(), &partition, &mut ahead, |offset, _| offset >= from);
        let next = plan.next.take().unwrap_or(behind.into());
        if !plan.turns.is_empty() {
            self.listener.keep_position(&self.queue, &partition, next.from).await;
        }
        self.queue.state.lock().group.advance(partition.name().partition, next.from);
        self.feed.part(index).next = next;
        plan.carry_out(&self.queue, &mut ahead.making);
        Ok(())
    }

    /// Gives records again whose member went before they were sent. What retention has taken meanwhile is gone.
    async fn give_again(&mut self, first: QueuedRecord) -> Result<(), ReadFailure> {
        let forget = |queue: &Queue| queue.state.lock().group.remove_returned(first);
        let Some(partition) = self.feed.partition(first.partition).cloned() else {
            forget(&self.queue);
            return Ok(());
        };
        let next = Next { from: first.offset, bytes: std::mem::take(&mut self.again) };
        let mut ahead = match read_ahead(&self.listener, &partition, next, READ_BYTES).await {
            Err(ReadFailure::OutOfRange { .. }) => {
                forget(&self.queue);
                return Ok(());
            }
            other => other?,
        };
        let mut state = self.queue.state.lock();
        let index = first.partition;
        let plan = Plan::of(&mut state, &partition, &mut ahead, |offset, state| {
            state.group.is_returned(QueuedRecord { partition: index, offset })
        });
        plan.turns.iter().for_each(|(_, record, _)| state.group.remove_returned(*record));
        match plan.next {
            Some(next) => self.again = next.bytes,
            None if plan.turns.first().is_none_or(|(_, record, _)| *record != first) => {
                state.group.remove_returned(first);
            }
            None => {}
        }
        drop(state);
        plan.carry_out(&self.queue, &mut ahead.making);
        Ok(())
    }

    /// Nobody is left: keeps where the group stands, what was not sent included, as far as one position for each partition
    /// can say so. Whether the group has ended; otherwise waits for members.
    async fn go_back(&mut self) -> bool {
        let moved = self.queue.state.lock().group.go_back();
        for (index, offset) in moved {
            self.reset(index, offset).await;
            if let Some(part) = self.feed.part_of(index) {
                part.next = offset.into();
            }
        }
        if self.listener.queues.end_unused(&self.queue) {
            return true;
        }
        if self.queue.state.lock().group.is_empty() {
            self.queue.changed.notified().await;
        }
        false
    }

    async fn reset(&self, index: PartitionIndex, offset: Offset) {
        let key = queue_position(&self.queue.group, &self.queue.topic, index);
        let (done, kept) = oneshot::channel();
        self.listener.broker.reset_position(key.clone(), offset, self.listener.now(), move |result| {
            let _gone = done.send(result);
        });
        if let Ok(Err(error)) = kept.await {
            tracing::warn!(topic = %key.topic, owner = %key.owner, %error, "what was not sent to a group's last member is not kept for the next");
        }
    }

    /// Tells the members that nothing comes any more, and why.
    fn end(&self, failure: &ReadFailure) {
        let (topic, group) = (&self.queue.topic.topic().name, &self.queue.group);
        if !matches!(failure, ReadFailure::Closed(_)) {
            tracing::warn!(%topic, %group, %failure, "a group cannot read on");
        }
        for outbox in self.listener.queues.end(&self.queue) {
            outbox.tell(&format!("the subscription to {topic} in group {group} has ended: {failure}"));
        }
    }
}

impl Plan {
    /// The records among those read that are wanted, as far as there are members and memory for them.
    fn of(
        state: &mut QueueState,
        partition: &Arc<Partition>,
        ahead: &mut Ahead,
        is_wanted: impl Fn(Offset, &QueueState) -> bool,
    ) -> Plan {
        let Ahead { batches, making, .. } = ahead;
        let mut plan = Plan { turns: Vec::new(), lines: BytesMut::new(), next: None };
        state.measure();
        for record in batches.iter().flat_map(|batch| records(partition, batch)) {
            if !is_wanted(record.offset, state) {
                continue;
            }
            let before = plan.lines.len();
            show(&mut plan.lines, ShownTo::Subscriber, partition, &record);
            let (end, queued) = (plan.lines.len(), QueuedRecord::new(partition.name().partition, record.offset));
            let has_memory = making.reach(end);
            let member = if has_memory { state.group.give(end - before) } else { None };
            let Some(member) = member else {
                plan.lines.truncate(before);
                let bytes = if has_memory || !plan.turns.is_empty() { 0 } else { end - before };
                plan.next = Some(Next { from: record.offset, bytes });
                break;
            };
            plan.turns.push((member, queued, end));
        }
        plan
    }

    /// Gives the records to their members. Those of members that went meanwhile are returned.
    fn carry_out(self, queue: &Queue, making: &mut Loan) {
        let lines = self.lines.freeze();
        let mut gifts: BTreeMap<MemberId, Vec<(QueuedRecord, Bytes)>> = BTreeMap::new();
        let (mut begin, are_many) = (0, self.turns.len() > 1);
        for (member, record, end) in self.turns {
            // A large line goes out from where it lies: one that waits must not keep all the others.
            let is_copied = are_many && end - begin >= REFERENCED_BYTES_MIN;
            let line = if is_copied { Bytes::copy_from_slice(&lines[begin..end]) } else { lines.slice(begin..end) };
            gifts.entry(member).or_default().push((record, line));
            begin = end;
        }
        let mut state = queue.state.lock();
        for (member, gifts) in gifts {
            let taken = state.outboxes.get(&member).is_some_and(|(outbox, id)| outbox.give(*id, &gifts, making));
            if !taken {
                gifts.into_iter().for_each(|(record, _)| state.group.take_back(record));
            }
        }
    }
}
