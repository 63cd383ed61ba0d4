//! The door: accepts connections within their limit, and tells those beyond it why they are turned away.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::seldom::Seldom;
use super::{NativeListener, farewell};
use crate::protocol::native::{ErrorCode, reply};

/// Connections beyond the limit that are being told so at a time; more are closed without a word.
pub(super) const TURNED_AWAY_MAX: usize = 64;
/// The first pause after an error that the next call would only repeat; each further one is twice as long …
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// … up to this.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Accepts connections.
pub(super) struct Door {
    listener: TcpListener,
    /// Places for connections.
    places: Arc<Semaphore>,
    /// Places for those that are turned away.
    porters: Arc<Semaphore>,
    /// The pause after an error, and its end.
    pause: Option<(Duration, Instant)>,
    errors: Seldom,
    refusals: Seldom,
}

/// A connection that came.
pub(super) enum Comer {
    /// It has a place.
    Welcome(TcpStream, OwnedSemaphorePermit),
    /// It has none, but is told so.
    TurnedAway(TcpStream, OwnedSemaphorePermit),
}

impl Door {
    pub(super) fn new(listener: TcpListener, connections_max: usize) -> Door {
        Door {
            listener,
            places: Arc::new(Semaphore::new(connections_max)),
            porters: Arc::new(Semaphore::new(TURNED_AWAY_MAX)),
            pause: None,
            errors: Seldom::default(),
            refusals: Seldom::default(),
        }
    }

    /// The next connection. Loses none where it is dropped.
    pub(super) async fn next(&mut self, connections_max: usize) -> Comer {
        loop {
            if let Some((_, until)) = self.pause {
                sleep_until(until).await;
            }
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    self.pause = None;
                    if let Some(comer) = self.receive(stream, peer, connections_max) {
                        return comer;
                    }
                }
                Err(error) => self.stumble(&error),
            }
        }
    }

    fn receive(&mut self, stream: TcpStream, peer: SocketAddr, connections_max: usize) -> Option<Comer> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Some(Comer::Welcome(stream, place));
        }
        if let Some(unshown) = self.refusals.is_due(Instant::now()) {
            let limit = connections_max;
            tracing::warn!(%peer, limit, unshown, "connections refused: server.max_connections is reached");
        }
        let porter = Arc::clone(&self.porters).try_acquire_owned().ok()?;
        Some(Comer::TurnedAway(stream, porter))
    }

    /// A connection that was gone before it was accepted is nothing; without descriptors or memory the next call would
    /// fail at once.
    fn stumble(&mut self, error: &io::Error) {
        use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
        if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
            return;
        }
        let now = Instant::now();
        let pause = self.pause.map_or(PAUSE_MIN, |(last, _)| (last * 2).min(PAUSE_MAX));
        self.pause = Some((pause, now + pause));
        if let Some(unshown) = self.errors.is_due(now) {
            tracing::warn!(%error, unshown, "connections cannot be accepted; those there are go on");
        }
    }
}

impl NativeListener {
    /// Serves connections until `stop` changes; then closes them and returns.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
        let connections_max = self.options.connections_max;
        let mut door = Door::new(listener, connections_max);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                comer = door.next(connections_max) => match comer {
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
    }

    /// Says why, and closes. A new socket has room for so little.
    async fn turn_away(&self, stream: &TcpStream) {
        let mut bytes = BytesMut::new();
        let limit = self.options.connections_max;
        let text = format!("the server serves at most {limit} connections (server.max_connections)");
        reply::error_ack(&mut bytes, 0, self.now(), ErrorCode::LimitExceeded, &text, &[]);
        let sent = match stream.writable().await {
            Ok(()) => stream.try_write(&bytes),
            Err(error) => Err(error),
        };
        if sent.is_ok() {
            farewell::close(stream).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn errors_that_would_come_again_at_once_are_paused_after() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut door = Door::new(listener, 1);
        door.stumble(&io::ErrorKind::ConnectionAborted.into());
        assert!(door.pause.is_none());
        let mut pauses = Vec::new();
        for _ in 0..9 {
            door.stumble(&io::Error::from_raw_os_error(24));
            pauses.push(door.pause.map(|(pause, _)| pause.as_millis()).unwrap_or_default());
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1_000, 1_000]);
        // The first one that can be accepted is, and ends it.
        let (_peer, comer) = tokio::join!(TcpStream::connect(address), door.next(1));
        assert!(matches!(comer, Comer::Welcome(..)) && door.pause.is_none());
    }
}
