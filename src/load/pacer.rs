//! Waiting for a point of time more exactly than the asynchronous runtime does by itself, whose clock ticks in
//! milliseconds, and without keeping a processor busy: by a timer of the operating system.

use std::io;

use super::clock::Clock;

/// Waits for points of time on a [`Clock`].
#[derive(Debug)]
pub struct Pacer {
    clock: Clock,
    #[cfg(target_os = "linux")]
    timer: tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>,
}

#[cfg(target_os = "linux")]
impl Pacer {
    /// A pacer for the runtime it is made in.
    ///
    /// # Errors
    /// Where the operating system gives no timer.
    #[expect(deprecated, reason = "its successor is not safe for every descriptor; an owned one is what it asks for")]
    pub fn new(clock: Clock) -> io::Result<Pacer> {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        Ok(Pacer { clock, timer: tokio::io::unix::AsyncFd::new(timer)? })
    }

    /// Waits until the clock shows `due_ns`. Can be dropped and called again.
    ///
    /// # Errors
    /// Where the timer fails.
    pub async fn until(&mut self, due_ns: u64) -> io::Result<()> {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
        loop {
            let now_ns = self.clock.now_ns();
            if now_ns >= due_ns {
                return Ok(());
            }
            let left = std::time::Duration::from_nanos(due_ns - now_ns);
            let it_value = Timespec::try_from(left).map_err(io::Error::other)?;
            let once = Itimerspec { it_interval: Timespec::default(), it_value };
            timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
            // Setting it took back what it had shown before; a rest of that costs one more turn.
            self.timer.readable().await?.clear_ready();
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl Pacer {
    /// A pacer for the runtime it is made in: here as exact as that.
    ///
    /// # Errors
    /// None.
    pub fn new(clock: Clock) -> io::Result<Pacer> {
        Ok(Pacer { clock })
    }

    /// Waits until the clock shows `due_ns`. Can be dropped and called again.
    ///
    /// # Errors
    /// None.
    pub async fn until(&mut self, due_ns: u64) -> io::Result<()> {
        let left = due_ns.saturating_sub(self.clock.now_ns());
        if left > 0 {
            tokio::time::sleep(std::time::Duration::from_nanos(left)).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_waits_as_long_as_it_was_told_to() {
        let clock = Clock::start();
        let mut pacer = Pacer::new(clock).expect("a timer");
        for step_ns in [0, 1, 50_000, 100_000, 1_500_000] {
            let due_ns = clock.now_ns() + step_ns;
            pacer.until(due_ns).await.expect("it waits");
            assert!(clock.now_ns() >= due_ns);
        }
        // Given up in the midst, and asked again.
        let due_ns = clock.now_ns() + 2_000_000;
        let other = clock.now_ns() + 200_000;
        tokio::select! {
            biased;
            waited = pacer.until(due_ns) => waited.expect("it waits"),
            () = tokio::task::yield_now() => {}
        }
        pacer.until(other).await.expect("it waits");
        pacer.until(due_ns).await.expect("it waits");
        assert!(clock.now_ns() >= due_ns);
    }
}
