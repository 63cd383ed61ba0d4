//! The door: accepts connections within their limit, and tells those beyond it why they are turned away.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::seldom::Seldom;

/// Connections beyond the limit that are being told so at a time; more are closed without a word.
pub(super) const TURNED_AWAY_MAX: usize = 64;
/// The first pause after an error that the next call would only repeat; each further one is twice as long …
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// … up to this.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Places for the connections of all listeners together.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    max: usize,
}

impl Places {
    /// So many.
    pub(super) fn new(max: usize) -> Arc<Places> {
        Arc::new(Places { free: Arc::new(Semaphore::new(max)), max })
    }

    /// What one that gets none is told.
    pub(super) fn refusal(&self) -> String {
        format!("the server serves at most {} connections (server.max_connections)", self.max)
    }
}

/// What a listener does with those who come.
pub(super) trait Host: Send + Sync + 'static {
    /// Serves a connection to its end.
    fn connection(self: Arc<Self>, stream: TcpStream, stop: watch::Receiver<bool>) -> impl Future<Output = ()> + Send;

    /// Says why there is no place, and closes. A new socket has room for so little.
    fn turn_away(&self, stream: &TcpStream) -> impl Future<Output = ()> + Send;
}

/// Serves connections until `stop` changes; then closes them and returns.
pub(super) async fn serve<H: Host>(
    host: &Arc<H>,
    listener: TcpListener,
    places: Arc<Places>,
    mut stop: watch::Receiver<bool>,
) {
    let mut door = Door::new(listener, places);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            comer = door.next() => match comer {
                Comer::Welcome(stream, place) => {
                    let serving = Arc::clone(host).connection(stream, stop.clone());
                    connections.spawn(async move {
                        serving.await;
                        drop(place);
                    });
                }
                Comer::TurnedAway(stream, porter) => {
                    let host = Arc::clone(host);
                    connections.spawn(async move {
                        host.turn_away(&stream).await;
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

/// Accepts connections.
struct Door {
    listener: TcpListener,
    places: Arc<Places>,
    /// Places for those that are turned away.
    porters: Arc<Semaphore>,
    /// The pause after an error, and its end.
    pause: Option<(Duration, Instant)>,
    errors: Seldom,
    refusals: Seldom,
}

/// A connection that came.
enum Comer {
    /// It has a place.
    Welcome(TcpStream, OwnedSemaphorePermit),
    /// It has none, but is told so.
    TurnedAway(TcpStream, OwnedSemaphorePermit),
}

impl Door {
    fn new(listener: TcpListener, places: Arc<Places>) -> Door {
        Door {
            listener,
            places,
            porters: Arc::new(Semaphore::new(TURNED_AWAY_MAX)),
            pause: None,
            errors: Seldom::default(),
            refusals: Seldom::default(),
        }
    }

    /// The next connection. Loses none where it is dropped.
    async fn next(&mut self) -> Comer {
        loop {
            if let Some((_, until)) = self.pause {
                sleep_until(until).await;
            }
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    self.pause = None;
                    if let Some(comer) = self.receive(stream, peer) {
                        return comer;
                    }
                }
                Err(error) => self.stumble(&error),
            }
        }
    }

    fn receive(&mut self, stream: TcpStream, peer: SocketAddr) -> Option<Comer> {
        if let Ok(place) = Arc::clone(&self.places.free).try_acquire_owned() {
            return Some(Comer::Welcome(stream, place));
        }
        if let Some(unshown) = self.refusals.is_due(Instant::now()) {
            let limit = self.places.max;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn errors_that_would_come_again_at_once_are_paused_after() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut door = Door::new(listener, Places::new(1));
        door.stumble(&io::ErrorKind::ConnectionAborted.into());
        assert!(door.pause.is_none());
        let mut pauses = Vec::new();
        for _ in 0..9 {
            door.stumble(&io::Error::from_raw_os_error(24));
            pauses.push(door.pause.map(|(pause, _)| pause.as_millis()).unwrap_or_default());
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1_000, 1_000]);
        // The first one that can be accepted is, and ends it.
        let (_peer, comer) = tokio::join!(TcpStream::connect(address), door.next());
        assert!(matches!(comer, Comer::Welcome(..)) && door.pause.is_none());
    }
}
