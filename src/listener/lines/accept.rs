//! Serving connections, and telling those beyond the limit why they are turned away.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::LinesListener;
use crate::listener::door::{self, Host};
use crate::listener::farewell;
use crate::protocol::lines;

impl LinesListener {
    /// Serves connections until `stop` changes; then closes them and returns.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, stop: watch::Receiver<bool>) {
        let watching = tokio::spawn(Arc::clone(&self).watch_topics());
        door::serve(&self, listener, Arc::clone(&self.places), stop).await;
        self.queues.settled().await;
        watching.abort();
    }

    /// Tells all subscriptions when topics change.
    async fn watch_topics(self: Arc<Self>) {
        let mut seen = 0;
        loop {
            seen = poll_fn(|context| self.broker.poll_topic_changes(seen, context.waker())).await;
            self.topic_changes.send_replace(seen);
        }
    }
}

impl Host for LinesListener {
    fn connection(self: Arc<Self>, stream: TcpStream, stop: watch::Receiver<bool>) -> impl Future<Output = ()> + Send {
        LinesListener::connection(self, stream, stop)
    }

    async fn turn_away(&self, stream: &TcpStream) {
        let mut bytes = BytesMut::new();
        lines::error(&mut bytes, &self.places.refusal());
        farewell::say(stream, &bytes).await;
    }
}
