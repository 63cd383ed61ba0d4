//! What asks a command to end: Ctrl-C, a SIGTERM, and a reader of its output that is gone.

use std::io;

/// Waits for Ctrl-C, or for the signal that asks a process to end. From the first call on neither ends the process by
/// itself.
pub(super) async fn interrupted() -> io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            stopped = tokio::signal::ctrl_c() => stopped,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}

/// Waits until nobody reads standard output any more; for ever where it is no pipe.
pub(super) async fn output_closed() {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd;
        use tokio::io::Interest;
        use tokio::net::unix::pipe::Sender;
        // Nothing is ever written here, so that the pipe may stay one whose writes block.
        let output = io::stdout().as_fd().try_clone_to_owned().and_then(Sender::from_owned_fd_unchecked);
        // What cannot be waited for, such as a file, is never closed.
        if let Ok(output) = output
            && output.ready(Interest::ERROR).await.is_ok()
        {
            return;
        }
    }
    std::future::pending().await
}
