//! Serving connections, and telling those beyond the limit why they are turned away.

use std::sync::Arc;

use bytes::BytesMut;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{NativeListener, farewell};
use crate::listener::door::{Comer, Door};
use crate::protocol::native::{ErrorCode, reply};

impl NativeListener {
    /// Serves connections until `stop` changes; then closes them and returns.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
        let mut door = Door::new(listener, Arc::clone(&self.places));
        let mut connections = JoinSet::new();
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
    }

    /// Says why, and closes. A new socket has room for so little.
    async fn turn_away(&self, stream: &TcpStream) {
        let mut bytes = BytesMut::new();
        let text = self.places.refusal();
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
