//! Positions of a group on their way to the broker.

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::shelf::{Place, Shelf};
use crate::client::chance::{Backoff, Chance};
use crate::client::group::Expulsion;
use crate::client::pending::ReplyTo;
use crate::client::requests::Request;
use crate::client::topics::about;
use crate::client::{Client, ClientError, ConsumerOptions};
use crate::protocol::native::{ErrorCode, FrameType, Properties};

/// What became of a position.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    Kept,
    /// The partition is another's, or is gone.
    Lost,
    Failed(ClientError),
}

/// The properties of a COMMIT for a group.
pub(super) fn properties(group: &str, member: &str, place: &Place) -> Result<Properties, ClientError> {
    let pairs = [
        ("partition", place.partition.partition.to_string()),
        ("offset", place.next.to_string()),
        ("wiber.group", group.to_owned()),
        ("wiber.member", member.to_owned()),
        ("wiber.generation", place.since.to_string()),
    ];
    about(place.partition.topic.as_str(), &pairs)
}

/// Whether a refusal means that the partition is not the member's.
pub(super) fn is_loss(error: &ClientError) -> bool {
    Expulsion::of(error).is_some()
        || matches!(error.code(), Some(ErrorCode::UnknownTopic | ErrorCode::UnknownPartition))
}

/// Sends positions and says what became of each, in their order; tries again until a deadline, over whatever connection
/// there is by then. Nothing is lost by doing it twice: a position never moves back.
pub(super) async fn commit(
    shelf: &Shelf,
    group: &str,
    places: &[Place],
    options: &ConsumerOptions,
    deadline: Instant,
) -> Vec<Outcome> {
    let unreached = ClientError::TimedOut { after: options.client.request_timeout };
    let mut outcomes = vec![Outcome::Failed(unreached); places.len()];
    let mut backoff = Backoff::new(options.retry_backoff, options.retry_backoff_max);
    let mut chance = Chance::new();
    loop {
        let open: Vec<usize> = (0..places.len()).filter(|at| is_open(&outcomes[*at])).collect();
        if open.is_empty() {
            return outcomes;
        }
        if let Some((client, member)) = shelf.control() {
            let sent = send(&client, group, &member, places, &open, &mut outcomes);
            if timeout_at(deadline, sent).await.is_err() {
                return outcomes;
            }
        }
        if let Some(failure) = shelf.failure() {
            for outcome in outcomes.iter_mut().filter(|outcome| is_open(outcome)) {
                *outcome = Outcome::Failed(failure.clone());
            }
            return outcomes;
        }
        let wait = Instant::now() + backoff.next(&mut chance);
        if outcomes.iter().any(is_open) {
            if wait >= deadline {
                return outcomes;
            }
            sleep_until(wait).await;
        }
    }
}

fn is_open(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed(error) if error.is_retriable())
}

async fn send(client: &Client, group: &str, member: &str, places: &[Place], open: &[usize], outcomes: &mut [Outcome]) {
    let (queue, mut answers) = mpsc::unbounded_channel();
    for at in open {
        let reply = Some(ReplyTo::Queue(queue.clone(), *at as u64));
        let sent = match properties(group, member, &places[*at]) {
            Ok(properties) => {
                let request = Request { body: Bytes::new(), ..Request::new(FrameType::Commit, &properties, reply) };
                client.requests().send(request).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            outcomes[*at] = Outcome::Failed(error);
        }
    }
    drop(queue);
    while let Some(answer) = answers.recv().await {
        let Some(outcome) = usize::try_from(answer.token).ok().and_then(|at| outcomes.get_mut(at)) else { continue };
        *outcome = match answer.result {
            Ok(_) => Outcome::Kept,
            Err(error) if is_loss(&error) => Outcome::Lost,
            Err(error) => Outcome::Failed(error),
        };
    }
}
