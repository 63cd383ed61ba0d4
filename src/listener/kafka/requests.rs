//! The requests of a connection, in their order.
//!
//! ```text
//!  waiting ─► appending (a Produce) ─► answering, answering, … ─► reply
//!        └──► answering (any other, alone) ─────────────────────► reply
//! ```
//!
//! A request is begun once everything before it was answered; only a Produce is begun behind others of its kind as soon
//! as those were appended, so that many of them become durable together.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::KafkaListener;
use super::asked::Asked;
use super::dispatch::{self, Reply};
use super::produce::{self, Appended};
use crate::listener::memory::Loan;
use crate::protocol::kafka::{Api, ProduceRequest, Request, RequestHeader};

/// Requests that may wait to be begun, and as many that may wait for their answers …
const REQUESTS_MAX: usize = 256;
/// … and bytes of those that wait to be begun.
const WAITING_BYTES_MAX: usize = 256 << 10;
/// Largest request that is not Produce, in bytes.
const OTHER_REQUEST_BYTES_MAX: usize = 8 << 20;

type Replying = Pin<Box<dyn Future<Output = Reply> + Send>>;
/// A Produce that is appended, and its correlation id.
type Appending = Pin<Box<dyn Future<Output = (Appended, i32)> + Send>>;

/// A request that came, and was not begun.
#[derive(Debug)]
enum Waiting {
    Request {
        header: RequestHeader,
        body: Bytes,
        /// What its bytes were lent.
        loan: Option<Loan>,
    },
    /// ApiVersions in a version from the future.
    UnknownApiVersions { correlation_id: i32 },
    /// Nothing that comes from here on is served.
    Close(&'static str),
}

/// The requests of one connection.
pub(super) struct Requests {
    listener: Arc<KafkaListener>,
    /// Who asks; version and client id are each request's own.
    asked: Asked,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    appending: Option<Appending>,
    answering: VecDeque<Replying>,
    /// What is being answered is not Produce.
    is_alone: bool,
}

impl Requests {
    pub(super) fn new(listener: Arc<KafkaListener>, asked: Asked) -> Requests {
        let (waiting, answering) = (VecDeque::new(), VecDeque::new());
        Requests { listener, asked, waiting, waiting_bytes: 0, appending: None, answering, is_alone: false }
    }

    /// Enters a request that came.
    pub(super) fn push(&mut self, header: RequestHeader, body: Bytes, loan: Option<Loan>) {
        if header.api != Api::Produce && body.len() > OTHER_REQUEST_BYTES_MAX {
            return self.close("a request that is larger than any of its kind");
        }
        self.waiting_bytes += body.len();
        self.waiting.push_back(Waiting::Request { header, body, loan });
    }

    /// Enters the request that ApiVersions in a version from the future is.
    pub(super) fn push_unknown(&mut self, correlation_id: i32) {
        self.waiting.push_back(Waiting::UnknownApiVersions { correlation_id });
    }

    /// Closes the connection once what came before is answered.
    pub(super) fn close(&mut self, reason: &'static str) {
        self.waiting.push_back(Waiting::Close(reason));
    }

    /// Whether one more may be read.
    pub(super) fn have_room(&self) -> bool {
        self.waiting.len() < REQUESTS_MAX && self.waiting_bytes < WAITING_BYTES_MAX
    }

    /// Whether all are answered.
    pub(super) fn are_answered(&self) -> bool {
        self.waiting.is_empty() && self.appending.is_none() && self.answering.is_empty()
    }

    /// Whether those under way wait for nothing but the disk.
    pub(super) fn wait_for_disk(&self) -> bool {
        !self.is_alone
    }

    /// The next reply in its order.
    pub(super) fn poll_reply(&mut self, context: &mut Context<'_>) -> Poll<Reply> {
        loop {
            if let Some(appending) = &mut self.appending {
                match appending.as_mut().poll(context) {
                    Poll::Ready((appended, correlation_id)) => {
                        self.appending = None;
                        self.answering.push_back(Box::pin(appended.reply(correlation_id)));
                        continue;
                    }
                    Poll::Pending => {}
                }
            } else if self.may_begin() {
                self.begin_next();
                continue;
            }
            let Some(first) = self.answering.front_mut() else { return Poll::Pending };
            return first.as_mut().poll(context).map(|reply| {
                self.answering.pop_front();
                self.is_alone &= !self.answering.is_empty();
                reply
            });
        }
    }

    fn may_begin(&self) -> bool {
        let Some(next) = self.waiting.front() else { return false };
        let is_produce = matches!(next, Waiting::Request { header, .. } if header.api == Api::Produce);
        let joins = is_produce && !self.is_alone && self.answering.len() < REQUESTS_MAX;
        self.answering.is_empty() || joins
    }

    fn begin_next(&mut self) {
        let (header, body, loan) = match self.waiting.pop_front() {
            Some(Waiting::Request { header, body, loan }) => (header, body, loan),
            Some(Waiting::UnknownApiVersions { correlation_id }) => {
                return self.answer(async move { dispatch::unknown_api_versions(correlation_id) });
            }
            Some(Waiting::Close(reason)) => return self.answer(async move { Reply::Close(reason) }),
            None => return,
        };
        self.waiting_bytes -= body.len();
        let RequestHeader { api, version, correlation_id, client_id } = header;
        let asked = Asked { version, client_id, ..self.asked.clone() };
        match Request::parse(api, version, body) {
            Ok(Request::Produce(request)) => self.append(correlation_id, request, loan),
            Ok(request) => {
                let listener = Arc::clone(&self.listener);
                self.answer(async move {
                    let reply = dispatch::reply(&listener, &asked, correlation_id, request).await;
                    drop(loan);
                    reply
                });
            }
            Err(malformed) => {
                tracing::debug!(?api, version, %malformed, "closing a connection");
                self.answer(async { Reply::Close("a request that cannot be read") });
            }
        }
    }

    fn append(&mut self, correlation_id: i32, request: ProduceRequest, loan: Option<Loan>) {
        let listener = Arc::clone(&self.listener);
        self.appending = Some(Box::pin(async move {
            let appended = produce::append(&listener, request).await;
            // What is appended counts among what waits to be written.
            drop(loan);
            (appended, correlation_id)
        }));
    }

    fn answer(&mut self, replying: impl Future<Output = Reply> + Send + 'static) {
        self.is_alone = true;
        self.answering.push_back(Box::pin(replying));
    }
}
