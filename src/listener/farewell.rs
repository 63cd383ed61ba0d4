//! Closing a connection so that what was sent arrives.
//!
//! A socket closed while bytes lie unread in it, or still come, resets the connection, and a reset may overtake what was
//! sent before it. So the sending side is closed first, and what comes is read and dropped until the peer closes too.

use std::io;
use std::net::Shutdown;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a peer is read that goes on sending.
const SENDING_MAX: Duration = Duration::from_secs(1);
/// How long a peer may be silent that does not close.
const SILENT_MAX: Duration = Duration::from_millis(250);
/// Bytes dropped at a time.
const DROPPED_BYTES: usize = 16 << 10;

/// Closes the sending side and waits, a bounded time, for the peer to do the same.
pub(super) async fn close(stream: &TcpStream) {
    if socket2::SockRef::from(stream).shutdown(Shutdown::Write).is_ok() {
        let _still_sending = timeout(SENDING_MAX, drop_what_comes(stream)).await;
    }
}

/// Says something to a connection that is not served, and closes it.
pub(super) async fn say(stream: &TcpStream, bytes: &[u8]) {
    let sent = match stream.writable().await {
        Ok(()) => stream.try_write(bytes),
        Err(error) => Err(error),
    };
    if sent.is_ok() {
        close(stream).await;
    }
}

async fn drop_what_comes(stream: &TcpStream) {
    let mut bytes = Vec::new();
    while let Ok(Ok(())) = timeout(SILENT_MAX, stream.readable()).await {
        bytes.resize(DROPPED_BYTES, 0);
        match stream.try_read(&mut bytes) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A peer that was sending while the server closed lost the last answers to the reset that its bytes provoked.
    #[tokio::test]
    async fn what_was_sent_arrives_though_the_peer_still_sends() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (peer, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (mut peer, (mut stream, _)) = (peer.unwrap(), accepted.unwrap());
        peer.write_all(&[b'x'; 50_000]).await.unwrap();
        stream.write_all(b"the last answer").await.unwrap();
        let closing = tokio::spawn(async move {
            close(&stream).await;
        });
        let mut answer = vec![0; 15];
        peer.read_exact(&mut answer).await.unwrap();
        peer.write_all(&[b'x'; 50_000]).await.unwrap();
        assert_eq!(peer.read(&mut answer).await.unwrap(), 0);
        drop(peer);
        closing.await.unwrap();
    }
}
