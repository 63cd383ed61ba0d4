//! A door that stays where it is while the server behind it comes and goes.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream};

/// Passes connections on to wherever the server is now.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    pub(crate) port: u16,
    target: Arc<Mutex<SocketAddr>>,
}

impl Proxy {
    pub(crate) async fn start(target: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let proxy = Proxy { port, target: Arc::new(Mutex::new(target)) };
        let shared = proxy.clone();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let target = *shared.target.lock().expect("whole");
                tokio::spawn(async move {
                    if let Ok(mut far) = TcpStream::connect(target).await {
                        let _ended = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
        });
        proxy
    }

    /// The server is here from now on.
    pub(crate) fn lead_to(&self, target: SocketAddr) {
        *self.target.lock().expect("whole") = target;
    }
}
