//! The subscriptions of a connection: what each is of, and the task that serves it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::NativeListener;
use super::errors::Refusal;
use super::keeping::Keeper;
use super::outbox::{Outbox, Place, SubscriptionId};
use super::prompt::Prompt;
use super::push::Pushing;
use super::redelivery;
use crate::broker::delivery::{Unacknowledged, UnacknowledgedLimits};
use crate::protocol::native::ErrorCode;
use crate::replica::{AckLevel, Partition};
use crate::types::{Offset, PartitionIndex, TopicName};

/// Subscriptions of one connection.
pub(super) const SUBSCRIPTIONS_MAX: usize = 1_024;

/// What a subscription is of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SubscriptionKey {
    pub(super) topic: TopicName,
    pub(super) partition: PartitionIndex,
}

/// How records are delivered, and under which key the position is kept.
#[derive(Debug)]
pub(super) enum Delivery {
    /// DATA; the position moves before they are sent.
    AtMostOnce,
    /// DATA, sent again until acknowledged.
    AtLeastOnce,
    /// Whole batches; the position moves before they are sent, if the broker is to move it.
    Batches { moves: bool },
}

/// The subscriptions of a connection. Dropping them ends them.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    running: BTreeMap<SubscriptionKey, Running>,
}

#[derive(Debug)]
struct Running {
    id: SubscriptionId,
    task: AbortHandle,
    /// Where its client answers for each record.
    acknowledging: Option<Arc<Acknowledging>>,
}

/// What an at-least-once subscription has sent, shared by the task that sends and the connection that is acknowledged.
#[derive(Debug)]
pub(super) struct Acknowledging {
    pub(super) sent: Mutex<Unacknowledged>,
    pub(super) keeper: Option<Keeper>,
    /// What the records are of: a topic created anew under the name has positions of its own.
    pub(super) partition: Arc<Partition>,
    /// There may be room again, or nothing left to be sent again.
    pub(super) changed: Notify,
}

/// A subscription about to begin.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) partition: Arc<Partition>,
    pub(super) from: Offset,
    /// The place of the ACK that must go out first.
    pub(super) acknowledged: Place,
    /// How long to wait after it.
    pub(super) grace: Duration,
    pub(super) delivery: Delivery,
    /// Whether DATA says the records' stamps.
    pub(super) stamps: bool,
    pub(super) keeper: Option<Keeper>,
}

impl Subscriptions {
    /// Whether one more may begin. Those that ended by themselves, for their topics were deleted, count no more.
    pub(super) fn check(&mut self, key: &SubscriptionKey, outbox: &Outbox) -> Result<(), Refusal> {
        let is_over = |running: &Running| !outbox.is_live(running.id);
        if self.running.get(key).is_some_and(is_over) {
            self.running.remove(key);
        }
        if self.running.len() >= SUBSCRIPTIONS_MAX {
            self.running.retain(|_, running| !is_over(running));
        }
        if self.running.contains_key(key) {
            let text = format!("this connection is subscribed to {}:{} already", key.topic, key.partition);
            return Err(Refusal::new(ErrorCode::AlreadySubscribed, text));
        }
        if self.running.len() >= SUBSCRIPTIONS_MAX {
            let text = format!("a connection has at most {SUBSCRIPTIONS_MAX} subscriptions");
            return Err(Refusal::new(ErrorCode::LimitExceeded, text));
        }
        Ok(())
    }

    pub(super) fn start(
        &mut self,
        key: SubscriptionKey,
        start: Start,
        listener: &Arc<NativeListener>,
        outbox: &Arc<Outbox>,
    ) {
        let Start { partition, from, acknowledged, grace, delivery, keeper, stamps } = start;
        let id = outbox.begin();
        // Where the position moves first, nobody else is to do that, nor to wait for its sync.
        let moves_first =
            matches!(delivery, Delivery::AtMostOnce | Delivery::Batches { moves: true }) && keeper.is_some();
        let prompt = (!moves_first).then(Prompt::new);
        let pushing = Pushing {
            listener: Arc::clone(listener),
            topic: key.topic.clone(),
            partition,
            id,
            outbox: Arc::clone(outbox),
            stamps,
            keeper: keeper.clone(),
            prompt: prompt.clone(),
        };
        let (mut acknowledging, mut moves, mut in_batches) = (None, false, false);
        match delivery {
            Delivery::AtMostOnce => moves = true,
            Delivery::Batches { moves: are_moving } => (moves, in_batches) = (are_moving, true),
            Delivery::AtLeastOnce => {
                let timeout_ms = i64::try_from(listener.options.ack_timeout.as_millis()).unwrap_or(i64::MAX);
                let sent = Unacknowledged::new(from, timeout_ms, UnacknowledgedLimits::default());
                let sent = Mutex::new(sent);
                let partition = Arc::clone(&pushing.partition);
                let shared = Acknowledging { sent, keeper, partition, changed: Notify::new() };
                acknowledging = Some(Arc::new(shared));
            }
        }
        let shared = acknowledging.clone();
        let work = async move {
            pushing.outbox.passed(acknowledged).await;
            if !grace.is_zero() {
                tokio::time::sleep(grace).await;
            }
            match shared {
                Some(shared) => redelivery::push(&pushing, from, &shared).await,
                None => pushing.push(from, moves, in_batches).await,
            }
        };
        let task = match prompt {
            Some(prompt) => tokio::spawn(prompt.task(work)),
            None => tokio::spawn(work),
        };
        self.running.insert(key, Running { id, task: task.abort_handle(), acknowledging });
    }

    /// Ends a subscription; whether there was one. Nothing of it goes out after this.
    pub(super) fn end(&mut self, key: &SubscriptionKey, outbox: &Outbox) -> bool {
        let Some(running) = self.running.remove(key) else { return false };
        outbox.end(running.id);
        running.task.abort();
        true
    }

    /// Ends them all. Nothing of them goes out after this.
    pub(super) fn end_all(&mut self, outbox: &Outbox) {
        for running in std::mem::take(&mut self.running).into_values() {
            outbox.end(running.id);
            running.task.abort();
        }
    }

    /// Sends nothing more of a subscription; what was sent may still be acknowledged. What is waited for, where that is.
    pub(super) fn pause(&mut self, key: &SubscriptionKey, outbox: &Outbox) -> Option<Arc<Acknowledging>> {
        let running = self.running.get(key)?;
        outbox.end(running.id);
        running.task.abort();
        running.acknowledging.clone()
    }

    /// Takes a client's word that a record is dealt with. For what was never sent it changes nothing.
    pub(super) fn acknowledged(&self, key: &SubscriptionKey, offset: Offset, listener: &NativeListener) {
        let running = self.running.get(key);
        if let Some(acknowledging) = running.and_then(|running| running.acknowledging.as_ref()) {
            let advanced = acknowledging.sent.lock().acked(offset);
            acknowledging.keep(advanced, listener);
            acknowledging.changed.notify_one();
        }
    }
}

impl Acknowledging {
    /// Keeps the position where it advanced; soon is enough, for at worst a record comes again.
    pub(super) fn keep(&self, advanced: Option<Offset>, listener: &NativeListener) {
        if let (Some(offset), Some(keeper)) = (advanced, &self.keeper) {
            let (broker, now) = (&listener.broker, listener.now());
            keeper.commit(broker, Some(&self.partition), (offset, AckLevel::None), now, |_| {});
        }
    }
}

impl Drop for Subscriptions {
    fn drop(&mut self) {
        self.running.values().for_each(|running| running.task.abort());
    }
}
