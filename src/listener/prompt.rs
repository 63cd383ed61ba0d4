//! A task that whoever has something for it carries on at once, on his own thread.
//!
//! A reader that keeps up waits for the next record. Waking its task takes a wake-up of a sleeping thread where the record
//! is committed by a thread that serves no sockets, or serves none at the moment: as long as all else that happens to a
//! small record. So such a reader leaves a waker that carries its task on there and then. The task gives way to the
//! runtime where it finds much to do, and nobody waits here: where the task is being carried on already, the runtime goes
//! on with it afterwards.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;
use tokio::runtime::Handle;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What is shared by the task and the wakers that carry it on.
pub(super) struct Prompt {
    state: Mutex<State>,
    /// Wakes the task in the runtime.
    task: Mutex<Waker>,
    /// Whether the thread that carries it on is not the runtime's own.
    is_ahead: AtomicBool,
    runtime: Handle,
}

enum State {
    /// Not begun, or over.
    Idle,
    Working(Work),
    /// It panicked where it was carried on: the runtime hears of it.
    Panicked(Box<dyn Any + Send>),
}

/// The task as the runtime sees it.
pub(super) struct Task(Arc<Prompt>);

impl std::fmt::Debug for Prompt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Prompt")
    }
}

impl Prompt {
    /// Of a task that is yet to begin. To be called on the runtime.
    pub(super) fn new() -> Arc<Prompt> {
        let (state, task) = (Mutex::new(State::Idle), Mutex::new(Waker::noop().clone()));
        Arc::new(Prompt { state, task, is_ahead: AtomicBool::new(false), runtime: Handle::current() })
    }

    /// The task, to be spawned. It begins on the runtime.
    pub(super) fn task(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) -> Task {
        *self.state.lock() = State::Working(Box::pin(work));
        Task(Arc::clone(self))
    }

    /// What carries the task on where it is called.
    pub(super) fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(Arc::clone(self))
    }

    /// Waits until the runtime goes on with the task: at once where it does already.
    pub(super) async fn give_way(&self) {
        poll_fn(|context| {
            if self.is_ahead.load(Ordering::Relaxed) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Carries the task on here, unless somebody does.
    fn go_ahead(&self) {
        let task = self.task.lock().clone();
        let Some(mut state) = self.state.try_lock() else { return task.wake() };
        let State::Working(work) = &mut *state else { return };
        let _runtime = self.runtime.enter();
        self.is_ahead.store(true, Ordering::Relaxed);
        let step = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(&mut Context::from_waker(&task))));
        self.is_ahead.store(false, Ordering::Relaxed);
        let next = match step {
            Ok(Poll::Pending) => return,
            Ok(Poll::Ready(())) => State::Idle,
            Err(panic) => State::Panicked(panic),
        };
        let over = std::mem::replace(&mut *state, next);
        drop(state);
        task.wake();
        drop(over);
    }
}

impl Wake for Prompt {
    fn wake(self: Arc<Self>) {
        self.go_ahead();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.go_ahead();
    }
}

impl Future for Task {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0.task.lock().clone_from(context.waker());
        let mut state = self.0.state.lock();
        match std::mem::replace(&mut *state, State::Idle) {
            State::Idle => Poll::Ready(()),
            State::Panicked(panic) => {
                drop(state);
                resume_unwind(panic)
            }
            State::Working(mut work) => {
                let step = work.as_mut().poll(context);
                if step.is_pending() {
                    *state = State::Working(work);
                }
                step
            }
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let state = std::mem::replace(&mut *self.0.state.lock(), State::Idle);
        // Outside the lock, for it may let others go on; and here, since the wakers may live longer.
        drop(state);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::thread::ThreadId;
    use std::time::Duration;

    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::*;

    /// Longer than anything here takes.
    const BOUND: Duration = Duration::from_secs(20);

    /// Something to wait for, as a partition is.
    #[derive(Default)]
    struct Bell {
        rung: AtomicUsize,
        waker: Mutex<Option<Waker>>,
    }

    impl Bell {
        fn ring(&self) {
            self.rung.fetch_add(1, Ordering::SeqCst);
            let waker = self.waker.lock().take();
            waker.into_iter().for_each(Waker::wake);
        }

        async fn heard(&self, beyond: usize, prompt: &Arc<Prompt>) {
            let waker = prompt.waker();
            poll_fn(|_| {
                *self.waker.lock() = Some(waker.clone());
                if self.rung.load(Ordering::SeqCst) > beyond { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        }
    }

    fn here() -> ThreadId {
        std::thread::current().id()
    }

    /// A task that waits is carried on by who rings, also by a thread that serves no tasks.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn who_has_something_carries_the_task_on() {
        let (bell, prompt, heard) = (Arc::new(Bell::default()), Prompt::new(), Arc::new(Mutex::new(Vec::new())));
        let (done, over) = oneshot::channel();
        let work = {
            let (bell, prompt, heard) = (Arc::clone(&bell), Arc::clone(&prompt), Arc::clone(&heard));
            async move {
                for count in 0..3 {
                    bell.heard(count, &prompt).await;
                    if count == 1 {
                        prompt.give_way().await;
                    }
                    heard.lock().push(here());
                }
                let _waiting = done.send(());
            }
        };
        let task = tokio::spawn(prompt.task(work));
        let ringing = tokio::task::spawn_blocking({
            let (bell, heard) = (Arc::clone(&bell), Arc::clone(&heard));
            move || {
                for count in 0..3 {
                    while bell.waker.lock().is_none() || prompt.state.try_lock().is_none() {
                        std::thread::yield_now();
                    }
                    bell.ring();
                    while heard.lock().len() <= count {
                        std::thread::yield_now();
                    }
                }
                here()
            }
        });
        timeout(BOUND, over).await.expect("in time").unwrap();
        timeout(BOUND, task).await.expect("in time").unwrap();
        let ringer = timeout(BOUND, ringing).await.expect("in time").unwrap();
        let by_ringer: Vec<_> = heard.lock().iter().map(|thread| *thread == ringer).collect();
        assert_eq!(by_ringer, [true, false, true], "it gives way the second time");
    }

    /// The runtime hears of a panic wherever it happens, and who rang does not.
    #[tokio::test]
    async fn a_panic_is_the_tasks_own() {
        let (bell, prompt) = (Arc::new(Bell::default()), Prompt::new());
        let work = {
            let (bell, prompt) = (Arc::clone(&bell), Arc::clone(&prompt));
            async move {
                bell.heard(0, &prompt).await;
                panic!("of the test");
            }
        };
        let task = tokio::spawn(prompt.task(work));
        while bell.waker.lock().is_none() {
            tokio::task::yield_now().await;
        }
        bell.ring();
        assert!(timeout(BOUND, task).await.expect("in time").unwrap_err().is_panic());
    }

    /// Wakers outlive a task that is ended; what it held does not.
    #[tokio::test]
    async fn a_task_that_is_ended_leaves_nothing() {
        let (bell, prompt, held) = (Arc::new(Bell::default()), Prompt::new(), Arc::new(()));
        let work = {
            let (bell, prompt, held) = (Arc::clone(&bell), Arc::clone(&prompt), Arc::clone(&held));
            async move {
                bell.heard(0, &prompt).await;
                drop(held);
            }
        };
        let task = tokio::spawn(prompt.task(work));
        while bell.waker.lock().is_none() {
            tokio::task::yield_now().await;
        }
        task.abort();
        assert!(timeout(BOUND, task).await.expect("in time").unwrap_err().is_cancelled());
        assert_eq!(Arc::strong_count(&held), 1);
        bell.ring();
    }
}
