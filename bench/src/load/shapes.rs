//! The shapes of load, the same for every server: publishing, reading, both at once, and the way from publishing to
//! delivery at a fixed rate. Only acknowledged messages count, and whatever is read is checked.

use std::collections::VecDeque;
use std::fs;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::payload::Payload;
use super::report::{Recorder, Report};
use super::wire::ANSWER_MAX;
use super::{Consumer, LoadArguments, Publisher, Shape, Target};
use crate::process::group_usage;

/// How many messages a latency publisher sends before it takes acknowledgements.
const TAKE_EVERY: u64 = 32;

/// When a publisher stops.
#[derive(Debug, Clone, Copy)]
enum Until {
    Messages(u64),
    Time(Duration),
}

impl Until {
    /// What each of `parts` publishers does.
    fn of(arguments: &LoadArguments, parts: usize) -> Self {
        match arguments.messages {
            Some(messages) => Self::Messages(messages.div_ceil(parts as u64)),
            None => Self::Time(Duration::from_secs_f64(arguments.duration)),
        }
    }
}

/// Producers publish with a bounded number of batches in flight.
pub(crate) fn publish(target: &dyn Target, arguments: &LoadArguments) -> Result<Report> {
    let publishers = (0..arguments.producers)
        .map(|producer| target.publisher(producer % arguments.partitions, arguments.batch))
        .collect::<Result<Vec<_>>>()?;
    let until = Until::of(arguments, arguments.producers);
    let stage = Stage::new(arguments, publishers.len());
    let recorder = thread::scope(|scope| {
        let threads: Vec<_> = publishers
            .into_iter()
            .map(|publisher| scope.spawn(|| publish_one(publisher, &stage, arguments, until, None)))
            .collect();
        join_all(threads)
    })?;
    Ok(stage.report(&recorder))
}

/// Fills the partitions, then readers read them side by side.
pub(crate) fn consume(target: &dyn Target, arguments: &LoadArguments) -> Result<Report> {
    let each = arguments.messages.context("consume needs --messages")?.div_ceil(arguments.consumers as u64);
    if arguments.partitions < arguments.consumers {
        bail!("each consumer reads a partition of its own");
    }
    let filling = Stage::new(arguments, arguments.partitions);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..arguments.partitions)
            .map(|partition| {
                let filling = &filling;
                scope.spawn(move || {
                    let publisher = target.publisher(partition, arguments.batch)?;
                    publish_one(publisher, filling, arguments, Until::Messages(each), None)
                })
            })
            .collect();
        let filled = join_all(threads)?;
        if filled.errors > 0 { Err(anyhow!("{} messages refused while filling", filled.errors)) } else { Ok(()) }
    })?;
    let stage = Stage::new(arguments, arguments.consumers);
    let recorder = thread::scope(|scope| {
        let threads: Vec<_> = (0..arguments.consumers)
            .map(|partition| {
                let stage = &stage;
                scope.spawn(move || {
                    consume_one(stage, arguments, || target.consumer(partition), &Expected::new(each), None)
                })
            })
            .collect();
        join_all(threads)
    })?;
    Ok(stage.report(&recorder))
}

/// One producer and one consumer on each partition; what is reported is what was read.
pub(crate) fn mixed(target: &dyn Target, arguments: &LoadArguments) -> Result<Report> {
    let until = Until::of(arguments, arguments.partitions);
    let expected: Vec<Expected> = (0..arguments.partitions).map(|_| Expected::unknown()).collect();
    let stage = Stage::new(arguments, arguments.partitions * 2);
    let recorder = thread::scope(|scope| {
        let mut readers = Vec::new();
        let mut writers = Vec::new();
        for (partition, expected) in expected.iter().enumerate() {
            let stage = &stage;
            writers.push(scope.spawn(move || {
                let publisher = target.publisher(partition, arguments.batch)?;
                publish_one(publisher, stage, arguments, until, Some(expected))
            }));
            readers.push(
                scope.spawn(move || consume_one(stage, arguments, || target.consumer(partition), expected, None)),
            );
        }
        let written = join_all(writers)?;
        let mut read = join_all(readers)?;
        read.errors += written.errors;
        Ok::<_, anyhow::Error>(read)
    })?;
    Ok(stage.report(&recorder))
}

/// One producer at a fixed rate and one reader. Times count from when a message was due, so that a message kept waiting
/// by the one before it is not forgiven. Those of the first messages are not counted, as `wiber-client bench` does not
/// count them either.
pub(crate) fn latency(target: &dyn Target, arguments: &LoadArguments) -> Result<Report> {
    let counted = arguments.messages.unwrap_or((arguments.duration * arguments.rate as f64) as u64);
    let warm_up = warm_up(arguments.rate, counted);
    let total = warm_up + counted;
    let stage = Stage::new(arguments, 2);
    let expected = Expected::new(total);
    let recorder = thread::scope(|scope| {
        let writer = scope.spawn(|| publish_at_rate(target.publisher(0, 1)?, &stage, arguments, total));
        let reader = scope.spawn(|| consume_one(&stage, arguments, || target.consumer(0), &expected, Some(warm_up)));
        let refused = join_all(vec![writer])?;
        let mut read = join_all(vec![reader])?;
        read.errors += refused.errors;
        Ok::<_, anyhow::Error>(read)
    })?;
    Ok(stage.report(&recorder))
}

/// How many messages go before those that are counted: a tenth of them, and no more than one second's worth.
fn warm_up(rate: u64, counted: u64) -> u64 {
    rate.min(counted / 10)
}

/// What the threads of a measurement share: the moment all begin, and the server's CPU before it.
struct Stage<'a> {
    arguments: &'a LoadArguments,
    ready: Barrier,
    origin: Instant,
    /// Nanoseconds from the origin to the start.
    started: AtomicU64,
    cpu_before: Option<f64>,
}

impl<'a> Stage<'a> {
    fn new(arguments: &'a LoadArguments, threads: usize) -> Self {
        let cpu_before = arguments.server_pid.and_then(group_usage).map(|(cpu, _)| cpu);
        Self {
            arguments,
            ready: Barrier::new(threads),
            origin: Instant::now(),
            started: AtomicU64::new(u64::MAX),
            cpu_before,
        }
    }

    fn payload(&self) -> Payload {
        Payload::new(self.arguments.size, self.origin)
    }

    /// Waits for all threads; the first to go on sets the start.
    fn begin(&self) {
        self.ready.wait();
        let now = u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.started.fetch_min(now, Ordering::SeqCst);
    }

    fn elapsed(&self) -> Duration {
        self.origin.elapsed().saturating_sub(Duration::from_nanos(self.started.load(Ordering::Relaxed)))
    }

    fn report(&self, recorder: &Recorder) -> Report {
        let usage = self.arguments.server_pid.and_then(group_usage);
        let usage = usage.map(|(cpu, memory)| (cpu - self.cpu_before.unwrap_or(0.0), memory));
        recorder.report(self.arguments.size, usage)
    }
}

/// How many messages a reader waits for; unknown until the producer has its last acknowledgement.
struct Expected(AtomicU64);

impl Expected {
    fn new(messages: u64) -> Self {
        Self(AtomicU64::new(messages))
    }

    fn unknown() -> Self {
        Self::new(u64::MAX)
    }
}

fn join_all(threads: Vec<thread::ScopedJoinHandle<'_, Result<Recorder>>>) -> Result<Recorder> {
    let mut all = Recorder::new();
    for thread in threads {
        let recorder = thread.join().map_err(|_| anyhow!("a thread of the load panicked"))??;
        all.add(&recorder);
    }
    Ok(all)
}

fn publish_one(
    mut publisher: Box<dyn Publisher>,
    stage: &Stage<'_>,
    arguments: &LoadArguments,
    until: Until,
    expected: Option<&Expected>,
) -> Result<Recorder> {
    let (batch, window) = (arguments.batch as u64, (arguments.batch * arguments.in_flight) as u64);
    let mut payload = stage.payload();
    let mut recorder = Recorder::new();
    let mut waiting = VecDeque::with_capacity(arguments.in_flight);
    let (mut sent, mut answered) = (0_u64, 0_u64);
    stage.begin();
    loop {
        let now = stage.elapsed();
        while sent - answered + batch <= window {
            let count = match until {
                Until::Messages(messages) => batch.min(messages - sent),
                Until::Time(time) if now >= time => 0,
                Until::Time(_) => batch,
            };
            if count == 0 {
                break;
            }
            for number in sent..sent + count {
                publisher.push(payload.build(number, now))?;
            }
            publisher.end_batch()?;
            sent += count;
            waiting.push_back((sent, now));
        }
        publisher.flush()?;
        if sent == answered {
            break;
        }
        let news = publisher.acknowledged(true)?;
        answered += news.answered;
        recorder.errors += news.refused;
        recorder.messages += news.answered - news.refused;
        recorder.last = stage.elapsed();
        while let Some(&(last, since)) = waiting.front()
            && last <= answered
        {
            recorder.took(recorder.last.saturating_sub(since));
            waiting.pop_front();
        }
    }
    if let Some(expected) = expected {
        expected.0.store(recorder.messages, Ordering::SeqCst);
    }
    Ok(recorder)
}

fn publish_at_rate(
    mut publisher: Box<dyn Publisher>,
    stage: &Stage<'_>,
    arguments: &LoadArguments,
    total: u64,
) -> Result<Recorder> {
    wake_on_time();
    let mut payload = stage.payload();
    let mut recorder = Recorder::new();
    let mut answered = 0;
    stage.begin();
    let start = payload.now();
    for number in 0..total {
        let due = start + Duration::from_nanos(number * 1_000_000_000 / arguments.rate);
        let early = due.saturating_sub(payload.now());
        if !early.is_zero() {
            thread::sleep(early);
        }
        publisher.push(payload.build(number, due))?;
        publisher.end_batch()?;
        publisher.flush()?;
        if number % TAKE_EVERY == 0 {
            let news = publisher.acknowledged(false)?;
            answered += news.answered;
            recorder.errors += news.refused;
        }
    }
    while answered < total {
        let news = publisher.acknowledged(true)?;
        answered += news.answered;
        recorder.errors += news.refused;
    }
    Ok(recorder)
}

/// Asks the kernel to wake this thread when it is due, not up to 50 µs later. Where it refuses, latencies are that much
/// longer, for every server alike.
fn wake_on_time() {
    if let Ok(thread) = fs::read_link("/proc/thread-self")
        && let Some(id) = thread.file_name().and_then(|name| name.to_str())
    {
        let _ = fs::write(format!("/proc/{id}/timerslack_ns"), "1");
    }
}

fn consume_one(
    stage: &Stage<'_>,
    arguments: &LoadArguments,
    connect: impl FnOnce() -> Result<Box<dyn Consumer>>,
    expected: &Expected,
    timed_from: Option<u64>,
) -> Result<Recorder> {
    let payload = stage.payload();
    let mut recorder = Recorder::new();
    // Servers that push begin when the reader connects, so that a reader of stored messages connects when time runs.
    let mut consumer = if arguments.shape == Shape::Consume {
        stage.begin();
        connect()?
    } else {
        let consumer = connect()?;
        stage.begin();
        consumer
    };
    let (mut number, mut quiet_since) = (0_u64, Instant::now());
    while number < expected.0.load(Ordering::SeqCst) {
        let read = consumer.read(&mut |bytes| {
            let due = payload.check(bytes, number)?;
            number += 1;
            if timed_from.is_some_and(|from| number > from) {
                recorder.took(payload.now().saturating_sub(due));
            }
            Ok(())
        })?;
        if read > 0 {
            quiet_since = Instant::now();
            recorder.last = stage.elapsed();
        } else if quiet_since.elapsed() > ANSWER_MAX {
            bail!("nothing to read for {} s after {number} messages", ANSWER_MAX.as_secs());
        }
    }
    recorder.messages = number;
    Ok(recorder)
}
