//! Threads, clock and chance: everything the layers below are lent. The only module that makes any of them.

#![expect(clippy::disallowed_methods, reason = "the one place that reads the clock and starts threads")]

use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::{Condvar, Mutex};
use tokio::runtime::{Handle, RuntimeFlavor};
use uuid::Uuid;

use crate::broker::Broker;
use crate::replica::{Job, Partition, Work, WorkQueue};
use crate::types::{Timestamp, TopicId};

/// Time between two rounds of housekeeping.
const HOUSEKEEPING: Duration = Duration::from_millis(250);
/// How often a stop looks whether everything is written.
const DRAIN_CHECK: Duration = Duration::from_millis(2);

/// The time now.
#[must_use]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A fresh random id.
#[must_use]
pub fn fresh_id() -> Uuid {
    Uuid::new_v4()
}

/// A fresh topic id.
#[must_use]
pub fn fresh_topic_id() -> TopicId {
    TopicId::new(fresh_id())
}

/// Threads that write and threads that sync, fed by two queues.
#[derive(Debug)]
pub struct WorkPool {
    writes: Queue,
    syncs: Queue,
    /// Compaction has a thread of its own, so that it makes nobody wait but for the device.
    compactions: Queue,
    /// Threads that may do jobs at a time, beside whoever asks for them: the others are left to sync.
    job_threads: usize,
    /// Whether one who asked for work is doing it.
    is_done_here: AtomicBool,
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<QueueState>,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct QueueState {
    waiting: VecDeque<Task>,
    is_closed: bool,
}

/// Something for a thread to do.
#[derive(Debug)]
enum Task {
    Partition(Arc<Partition>, Work),
    /// One of these jobs; then, behind everything that came meanwhile, the next one.
    Jobs(Arc<JobList>),
}

thread_local! {
    /// The kind of work that this thread does just now and comes back for as soon as it has: one more of the kind wakes
    /// nobody else.
    static COMES_BACK_FOR: Cell<Option<Work>> = const { Cell::new(None) };
}

impl Queue {
    fn push(&self, task: Task) {
        self.state.lock().waiting.push_back(task);
        self.filled.notify_one();
    }

    /// As [`Queue::push`] of what a partition wants, from any thread.
    fn push_work(&self, partition: Arc<Partition>, work: Work) {
        let task = Task::Partition(partition, work);
        if COMES_BACK_FOR.get() == Some(work) {
            COMES_BACK_FOR.set(None);
            self.state.lock().waiting.push_back(task);
        } else {
            self.push(task);
        }
    }

    /// The next task; `None` once the queue is closed and empty.
    fn next(&self) -> Option<Task> {
        let mut state = self.state.lock();
        loop {
            if let Some(work) = state.waiting.pop_front() {
                return Some(work);
            }
            if state.is_closed {
                return None;
            }
            self.filled.wait(&mut state);
        }
    }

    fn close(&self) {
        self.state.lock().is_closed = true;
        self.filled.notify_all();
    }
}

impl WorkQueue for WorkPool {
    fn submit(&self, partition: Arc<Partition>, work: Work) {
        match work {
            Work::Write | Work::Upkeep => self.writes.push_work(partition, work),
            Work::Sync => self.syncs.push_work(partition, work),
            Work::Compact => self.compactions.push_work(partition, work),
        }
    }

    /// Does it here where no other thread does anything of the kind: one thread less to be woken. The runtime gives this
    /// thread's other tasks to another one meanwhile.
    fn submit_patiently(&self, partition: Arc<Partition>, work: Work) {
        let may_block =
            Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
        if !may_block || self.is_done_here.swap(true, Ordering::Acquire) {
            return self.submit(partition, work);
        }
        tokio::task::block_in_place(|| {
            let _guard = EndOnPanic;
            partition.run(work, now());
        });
        self.is_done_here.store(false, Ordering::Release);
    }

    fn run_all(&self, jobs: Vec<Job>) {
        let list = Arc::new(JobList::new(jobs));
        for _ in 0..self.job_threads.min(list.unfinished().saturating_sub(1)) {
            self.syncs.push(Task::Jobs(Arc::clone(&list)));
        }
        while list.run_one() {}
        list.wait();
    }
}

/// Jobs that several threads take from until there is none left.
struct JobList {
    state: Mutex<Jobs>,
    finished: Condvar,
}

struct Jobs {
    waiting: VecDeque<Job>,
    unfinished: usize,
}

impl fmt::Debug for JobList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobList({} unfinished)", self.unfinished())
    }
}

impl JobList {
    fn new(jobs: Vec<Job>) -> JobList {
        let unfinished = jobs.len();
        JobList { state: Mutex::new(Jobs { waiting: jobs.into(), unfinished }), finished: Condvar::new() }
    }

    fn unfinished(&self) -> usize {
        self.state.lock().unfinished
    }

    /// Runs the next job; false where there is none left.
    fn run_one(&self) -> bool {
        let Some(job) = self.state.lock().waiting.pop_front() else { return false };
        // Counted even where the job panics: whoever waits for it must not wait for ever.
        let _finishing = Finishing(self);
        job();
        true
    }

    fn wait(&self) {
        let mut state = self.state.lock();
        while state.unfinished > 0 {
            self.finished.wait(&mut state);
        }
    }
}

struct Finishing<'a>(&'a JobList);

impl Drop for Finishing<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.unfinished -= 1;
        if state.unfinished == 0 {
            self.0.finished.notify_all();
        }
    }
}

/// The threads of a pool. Dropping it does not end them: see [`PoolThreads::stop`].
#[derive(Debug)]
pub struct PoolThreads {
    pool: Arc<WorkPool>,
    threads: Vec<JoinHandle<()>>,
}

impl WorkPool {
    /// A pool with its threads.
    ///
    /// # Errors
    /// Where the operating system gives no thread.
    pub fn start(writers: usize, syncers: usize) -> io::Result<PoolThreads> {
        let job_threads = syncers.div_ceil(2);
        let pool = Arc::new(WorkPool {
            writes: Queue::default(),
            syncs: Queue::default(),
            compactions: Queue::default(),
            job_threads,
            is_done_here: AtomicBool::new(false),
        });
        let mut threads = Vec::with_capacity(writers + syncers + 1);
        let kinds =
            [("writer", writers, Kind::Write), ("syncer", syncers, Kind::Sync), ("compactor", 1, Kind::Compact)];
        for (name, count, queue) in kinds {
            for number in 0..count.max(1) {
                let pool = Arc::clone(&pool);
                let builder = Builder::new().name(format!("{name}-{number}"));
                threads.push(builder.spawn(move || work(pool.queue(queue)))?);
            }
        }
        Ok(PoolThreads { pool, threads })
    }

    fn queue(&self, kind: Kind) -> &Queue {
        match kind {
            Kind::Write => &self.writes,
            Kind::Sync => &self.syncs,
            Kind::Compact => &self.compactions,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Write,
    Sync,
    Compact,
}

fn work(queue: &Queue) {
    let _guard = EndOnPanic;
    while let Some(task) = queue.next() {
        match task {
            Task::Partition(partition, work) => {
                // Others take their time once they have submitted what follows.
                COMES_BACK_FOR.set(matches!(work, Work::Write | Work::Sync).then_some(work));
                partition.run(work, now());
                COMES_BACK_FOR.set(None);
            }
            Task::Jobs(list) => {
                if list.run_one() {
                    queue.push(Task::Jobs(list));
                }
            }
        }
    }
}

impl PoolThreads {
    /// The queue that feeds them.
    #[must_use]
    pub fn queue(&self) -> Arc<WorkPool> {
        Arc::clone(&self.pool)
    }

    /// Ends the threads once their queues are empty.
    pub fn stop(self) {
        self.pool.writes.close();
        self.pool.syncs.close();
        self.pool.compactions.close();
        for thread in self.threads {
            let _ended = thread.join();
        }
    }
}

/// The thread that calls [`Broker::step`] again and again.
#[derive(Debug)]
pub struct Housekeeper {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: JoinHandle<()>,
}

impl Housekeeper {
    /// Starts it.
    ///
    /// # Errors
    /// Where the operating system gives no thread.
    pub fn start(broker: Arc<Broker>) -> io::Result<Housekeeper> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let stopped = Arc::clone(&stop);
        let thread = Builder::new().name("housekeeper".to_owned()).spawn(move || {
            let _guard = EndOnPanic;
            let (is_stopped, changed) = &*stopped;
            loop {
                broker.step(now());
                let mut is_stopped = is_stopped.lock();
                if !*is_stopped {
                    changed.wait_for(&mut is_stopped, HOUSEKEEPING);
                }
                if *is_stopped {
                    return;
                }
            }
        })?;
        Ok(Housekeeper { stop, thread })
    }

    /// Ends it after the round under way.
    pub fn stop(self) {
        let (is_stopped, changed) = &*self.stop;
        *is_stopped.lock() = true;
        changed.notify_all();
        let _ended = self.thread.join();
    }
}

/// Waits until everything appended is durable, but no longer than `bound`; whether it came to that.
#[must_use]
pub fn drain(broker: &Broker, bound: Duration) -> bool {
    let checks = bound.as_micros() / DRAIN_CHECK.as_micros();
    for _ in 0..checks {
        // Again each time: what lands may make the broker drop older positions, which is to be written as well.
        broker.request_durable();
        if broker.is_idle() {
            return true;
        }
        std::thread::sleep(DRAIN_CHECK);
    }
    broker.is_idle()
}

/// Logs every panic from now on, wherever it happens, instead of printing it.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or_default();
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
        let thread = thread.name().unwrap_or_default();
        tracing::error!(thread, location, message, backtrace, "a thread panicked: this is a bug of wiber-server");
    }));
}

/// Ends the process when the thread that holds it panics: of a thread that writes, syncs or keeps house nobody could say
/// what it left half done, and those who wait for it would wait for ever. The next start recovers as after `kill -9`.
struct EndOnPanic;

impl Drop for EndOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("ending the process: what the thread was doing cannot be gone on with");
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;
    use crate::broker::metadata::TopicSettings;
    use crate::broker::{BrokerStart, CommandReply, InternalTopic, TopicChange};
    use crate::disk::faulty::FaultyDisk;
    use crate::replica::SyncPolicy;
    use crate::server::config::{Overrides, load};
    use crate::server::options::broker_options;
    use crate::types::TopicName;

    fn counting(count: &Arc<AtomicUsize>, jobs: usize) -> Vec<Job> {
        let job = || {
            let count = Arc::clone(count);
            Box::new(move || _ = count.fetch_add(1, Ordering::SeqCst)) as Job
        };
        (0..jobs).map(|_| job()).collect()
    }

    /// Jobs on threads of the pool that wait for jobs themselves: every thread waits at once, and none for ever.
    #[test]
    fn jobs_that_wait_for_jobs_come_to_an_end() {
        for (threads, outer, inner) in [(1, 1, 1), (1, 8, 8), (3, 20, 5), (2, 0, 0), (2, 5, 0)] {
            let pool = WorkPool::start(1, threads).unwrap();
            let (queue, count) = (pool.queue(), Arc::new(AtomicUsize::new(0)));
            let nested = (0..outer).map(|_| {
                let (queue, count) = (pool.queue(), Arc::clone(&count));
                Box::new(move || queue.run_all(counting(&count, inner))) as Job
            });
            queue.run_all(nested.collect());
            assert_eq!(count.load(Ordering::SeqCst), outer * inner, "{threads} threads");
            pool.stop();
        }
    }

    #[test]
    fn what_jobs_give_comes_in_their_order() {
        let pool = WorkPool::start(1, 4).unwrap();
        let results = crate::replica::run_jobs(&*pool.queue(), (0..100).map(|number| move || number * 2).collect());
        assert_eq!(results, (0..100).map(|number| number * 2).collect::<Vec<_>>());
        pool.stop();
    }
    /// A broker on its real threads, however few: everything that makes jobs of its partitions comes to its end.
    #[test]
    fn topics_come_and_go_on_few_threads() {
        for threads in [1, 3] {
            let disk = FaultyDisk::new();
            let pool = WorkPool::start(1, threads).unwrap();
            let start = BrokerStart {
                disk: Arc::new(disk.clone()),
                queue: pool.queue(),
                fresh_directory_id: Uuid::from_u128(1),
                now: now(),
            };
            let options = broker_options(&load(None, [], &Overrides::default()).unwrap().config);
            let broker = Broker::open(options, start).unwrap().0;
            let wanted =
                InternalTopic { partitions: 16, sync: SyncPolicy::Interval { millis: 1_000 }, is_compacted: false };
            let own = broker.ensure_internal_topic(&TopicName::new("__own").unwrap(), wanted, now()).unwrap();
            assert_eq!(own.partitions_count(), 16);
            let (done, replies) = mpsc::channel();
            let reply = || {
                let done = done.clone();
                CommandReply::new(move |result| done.send(result.unwrap().partitions).unwrap())
            };
            let topics: Vec<_> = (0..5).map(|number| TopicName::new(&format!("topic-{number}")).unwrap()).collect();
            let settled = || topics.iter().map(|_| replies.recv().unwrap()).collect::<BTreeSet<_>>();
            for topic in &topics {
                let settings = TopicSettings::default();
                broker.create_topic(topic, Some(40), settings, fresh_topic_id(), now(), reply());
            }
            assert_eq!(settled(), BTreeSet::from([40]));
            for topic in &topics {
                let change = TopicChange { partitions: Some(60), ..TopicChange::default() };
                broker.alter_topic(topic, change, now(), reply());
            }
            assert_eq!(settled(), BTreeSet::from([60]));
            let (given, ids) = mpsc::channel();
            for _ in 0..2_000 {
                let given = given.clone();
                broker.allocate_producer_id(now(), move |id| given.send(id.unwrap()).unwrap());
            }
            let ids: BTreeSet<_> = (0..2_000).map(|_| ids.recv().unwrap()).collect();
            assert_eq!(ids.len(), 2_000);
            topics.iter().for_each(|topic| broker.delete_topic(topic, now(), reply()));
            assert_eq!(settled(), BTreeSet::from([60]));
            assert!(broker.topics().is_empty());
            pool.stop();
        }
    }
}
