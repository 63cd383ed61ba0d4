//! Serving connections, and telling those beyond the limit why they are turned away.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::LinesListener;
use crate::listener::door::{Comer, Door};
use crate::listener::farewell;
use crate::protocol::lines;

impl LinesListener {
    /// Serves connections until `stop` changes; then closes them and returns.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
        let mut door = Door::new(listener, Arc::clone(&self.places));
        let mut connections = JoinSet::new();
        let watching = tokio::spawn(Arc::clone(&self).watch_topics());
        loop {
            tokio::select! {
                comer = door.next() => match comer {
                    Comer::Welcome(stream, place) => {
                        let serving = Arc::clone(&self).connection(stream, stop.clone());
                        connections.spawn(async move {
                            serving.await;
                            drop(place);
                        });
                    }
                    Comer::TurnedAway(stream, porter) => {
                        let listener = Arc::clone(&self);
                        connections.spawn(async move {
                            listener.turn_away(&stream).await;
                            drop(porter);
                        });
                    }
                },
                _ = stop.changed() => break,
                Some(_) = connections.join_next() => {}
            }
        }
        drop(door);
        while connections.join_next().await.is_some() {}
        self.queues.settled().await;
        watching.abort();
    }

    /// Says why, and closes. A new socket has room for so little.
    async fn turn_away(&self, stream: &TcpStream) {
        let mut bytes = BytesMut::new();
        lines::error(&mut bytes, &self.places.refusal());
        let sent = match stream.writable().await {
            Ok(()) => stream.try_write(&bytes),
            Err(error) => Err(error),
        };
        if sent.is_ok() {
            farewell::close(stream).await;
        }
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
