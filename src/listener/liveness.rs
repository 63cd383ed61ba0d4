//! When a peer counts as dead: nothing came from it, and its TCP acknowledged nothing, for `server.connection_timeout`.
//!
//! The kernel knows of the second alone: TCP_USER_TIMEOUT ends a connection whose peer acknowledges nothing, and one
//! whose peer takes nothing, however much it sends meanwhile. So the kernel is told to be patient while something comes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Looks at a connection during its timeout.
const LOOKS: u32 = 4;
/// How long TCP may acknowledge nothing while something comes.
const PATIENT: Duration = Duration::from_secs(24 * 3_600);

/// Prepares a socket of a protocol without heartbeats: small answers go out at once; and a peer that acknowledges nothing
/// is noticed, for which one that is silent is probed.
pub(super) fn prepare(stream: &TcpStream, probe_interval: Duration, connection_timeout: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let probe = probe_interval.max(Duration::from_secs(1));
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(probe).with_interval(probe))?;
    socket.set_tcp_user_timeout(Some(connection_timeout))
}

/// The bytes a connection has read.
pub(super) type Heard = Arc<AtomicU64>;

/// Watches a connection until it is dropped. A socket that cannot be asked or told is about to end by itself.
pub(super) async fn watch(stream: &TcpStream, heard: &Heard, connection_timeout: Duration) {
    let (mut last, mut last_heard, mut is_patient) = (0, Instant::now(), false);
    loop {
        tokio::time::sleep(connection_timeout / LOOKS).await;
        // While the peer takes nothing it is not read from either: what it sends waits at the kernel's.
        let waiting = rustix::io::ioctl_fionread(stream).unwrap_or(0);
        let now_heard = heard.load(Ordering::Relaxed) + waiting;
        if now_heard != last {
            (last, last_heard) = (now_heard, Instant::now());
        }
        let speaks = last_heard.elapsed() < connection_timeout;
        if speaks != is_patient {
            is_patient = speaks;
            let patience = if speaks { PATIENT.max(connection_timeout) } else { connection_timeout };
            let _told = SockRef::from(stream).set_tcp_user_timeout(Some(patience));
        }
    }
}
