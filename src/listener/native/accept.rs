//! Serving connections, and telling those beyond the limit why they are turned away.

use std::sync::Arc;

use bytes::BytesMut;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{NativeListener, farewell};
use crate::listener::door::{self, Host};
use crate::protocol::native::{ErrorCode, reply};

impl NativeListener {
    /// Serves connections until `stop` changes; then closes them and returns.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, stop: watch::Receiver<bool>) {
        door::serve(&self, listener, Arc::clone(&self.places), stop).await;
    }
}

impl Host for NativeListener {
    fn connection(self: Arc<Self>, stream: TcpStream, stop: watch::Receiver<bool>) -> impl Future<Output = ()> + Send {
        NativeListener::connection(self, stream, stop)
    }

    async fn turn_away(&self, stream: &TcpStream) {
        let mut bytes = BytesMut::new();
        let text = self.places.refusal();
        reply::error_ack(&mut bytes, 0, self.now(), ErrorCode::LimitExceeded, &text, &[]);
        farewell::say(stream, &bytes).await;
    }
}
