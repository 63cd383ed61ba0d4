//! Serving connections. Those beyond the limit are closed without a word: the protocol has none for it.

use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::KafkaListener;
use crate::listener::door::{self, Host};

impl KafkaListener {
    /// Serves connections until `stop` changes; then closes them and returns.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, stop: watch::Receiver<bool>) {
        door::serve(&self, listener, Arc::clone(&self.places), stop).await;
    }
}

impl Host for KafkaListener {
    fn connection(self: Arc<Self>, stream: TcpStream, stop: watch::Receiver<bool>) -> impl Future<Output = ()> + Send {
        KafkaListener::connection(self, stream, stop)
    }

    async fn turn_away(&self, _stream: &TcpStream) {}
}
