//! A connection as a task uses it that goes on where one is lost: answers and what is pushed come as events.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};

use super::connection::{BatchSink, Pushed};
use super::pending::{Answer, ReplyTo};
use super::requests::Request;
use super::{Client, ClientError, ClientOptions};
use crate::protocol::native::{FrameType, Properties};
use crate::record::BatchHeader;
use crate::types::Offset;

/// Something under way.
pub(super) type Work<T> = Pin<Box<dyn Future<Output = Result<T, ClientError>> + Send>>;

/// A connection and what comes over it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) client: Client,
    queue: mpsc::UnboundedSender<Answer>,
    pub(super) answers: mpsc::UnboundedReceiver<Answer>,
    pushed: mpsc::UnboundedReceiver<Pushed>,
}

/// What happens on a connection.
#[derive(Debug)]
pub(super) enum Event {
    /// A reply.
    Answer(Answer),
    /// What the broker sent unasked.
    Pushed(Pushed),
    /// The connection is over.
    Lost,
}

impl Link {
    /// Connects. Batches have so many bytes of `room` together; a larger one counts as `bytes`.
    pub(super) async fn connect(options: ClientOptions, room: Arc<Semaphore>, bytes: u32) -> Result<Link, ClientError> {
        let (queue, answers) = mpsc::unbounded_channel();
        let (sink, pushed) = mpsc::unbounded_channel();
        let sink = BatchSink { queue: sink, answers: queue.clone(), room, bytes_max: bytes };
        let client = Client::connect_with(options, Some(sink)).await?;
        Ok(Link { client, queue, answers, pushed })
    }

    /// The next thing that happens on the connection. Answers that came before a batch come before it, and everything
    /// that came before the connection's end before that.
    pub(super) async fn event(link: &mut Option<Link>) -> Event {
        let Some(link) = link else { return std::future::pending().await };
        tokio::select! {
            biased;
            Some(answer) = link.answers.recv() => Event::Answer(answer),
            Some(pushed) = link.pushed.recv() => Event::Pushed(pushed),
            () = link.client.requests().over() => match link.answers.try_recv() {
                Ok(answer) => Event::Answer(answer),
                Err(_) => link.pushed.try_recv().map_or(Event::Lost, Event::Pushed),
            },
        }
    }

    /// Sends a request whose answer comes with the token. `false` where there is no room for it, or no connection.
    pub(super) fn request(&self, kind: FrameType, properties: &Properties, body: Bytes, token: u64) -> bool {
        let reply = Some(ReplyTo::Queue(self.queue.clone(), token));
        let mut request = Request { body, ..Request::new(kind, properties, reply) };
        self.client.requests().try_send(&mut request).unwrap_or(false)
    }
}

/// Waits for what is under way; for ever where nothing is.
pub(super) async fn work<T>(work: &mut Option<Work<T>>) -> Result<T, ClientError> {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

/// The offset after the last of whole batches.
pub(super) fn end_of(mut batches: &[u8]) -> Result<Offset, ClientError> {
    let mut end = Offset::ZERO;
    while !batches.is_empty() {
        let header = BatchHeader::decode(batches)?;
        end = header.next_offset();
        batches = batches.get(header.total_bytes..).unwrap_or_default();
    }
    Ok(end)
}
