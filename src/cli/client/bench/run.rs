//! A run from its connections to its report.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::interval;

use super::options::Plan;
use super::progress::Progress;
use super::publisher::{Publisher, Tally, Task};
use super::reader::{Reader, Seen, Source, deal_out};
use super::shared::{Goal, Orders, Shared};
use super::topic::Topic;
use crate::cli::client::failure::Failure;
use crate::cli::client::{Context, time};
use crate::client::{Client, ClientError, StartAt};
use crate::load::{
    Faults, Payload, Recorder, Report, RunId, Schedule, ServerUsage, Settings, Side, Usage, Verifier, Workload,
    own_cpu_s,
};

/// How often progress is shown.
const SHOW_EVERY: Duration = Duration::from_millis(100);
/// Messages of a batch where a topic is filled for single messages to be read.
const FILL_BATCH: u32 = 1_000;

/// A run: what everything in it needs.
pub(super) struct Run<'a> {
    pub(super) context: &'a Context,
    pub(super) plan: &'a Plan,
    pub(super) topic: &'a Topic,
    pub(super) admin: &'a Client,
    pub(super) usage: Option<ServerUsage>,
    /// Told of every Ctrl-C.
    pub(super) interrupts: Arc<Notify>,
}

/// What was used before measuring began.
struct Before {
    server: Option<Usage>,
    client_s: Option<f64>,
    from_ns: u64,
}

impl Run<'_> {
    pub(super) async fn measure(&self) -> Result<Report, Failure> {
        match self.plan.workload {
            Workload::Consume => self.consume().await,
            Workload::Publish | Workload::Latency | Workload::Mixed => self.publish().await,
        }
    }

    /// Publishes, and reads at the same time where there are consumers.
    async fn publish(&self) -> Result<Report, Failure> {
        let plan = self.plan;
        let shared = self.shared(false);
        let (orders, told) = watch::channel(Orders::default());
        let start = if self.topic.is_ours() { StartAt::Begin } else { StartAt::End };
        let verifier = || Verifier::of_run(&shared.payload, plan.producers);
        let readers = self.start_readers(&shared, start, verifier, &told).await?;
        let mut publishers = self.connect(&shared, plan).await?;
        let mut tallies = Vec::new();
        if plan.warmup > 0 {
            let progress = Progress::new(Some(("warming up", Some(plan.warmup))), None);
            let warmup = self.tasks(Some(plan.warmup), None, shared.clock.now_ns());
            (publishers, tallies) = self.send(&shared, publishers, warmup, &progress).await?;
        }
        let before = self.begin(&shared);
        if first_failure(&tallies).is_none() {
            let reading = (plan.consumers > 0).then_some(("reading", self.to_be_read()));
            let progress = Progress::new(Some(("publishing", plan.messages)), reading);
            let tasks = self.tasks(plan.messages, plan.duration, before.from_ns);
            (publishers, tallies) = self.send(&shared, publishers, tasks, &progress).await?;
        } else {
            // It failed before measuring began: nothing of it counts.
            tallies = tallies.into_iter().map(|tally| Tally { failure: tally.failure, ..Tally::default() }).collect();
        }
        let streams = publishers.iter().map(|publisher| publisher.streams().to_vec()).collect();
        orders.send_replace(Orders { goal: Some(Arc::new(Goal::Streams(streams))), is_over: false });
        let seen = self.finish_readers(readers, &orders, &shared).await?;
        let used = (self.usage.as_ref().and_then(ServerUsage::sample), own_cpu_s());
        drop(publishers);
        Ok(self.report_published(&tallies, &seen, &before, used))
    }

    /// Reads what is there, or is put there first.
    async fn consume(&self) -> Result<Report, Failure> {
        let plan = self.plan;
        let counts = self.fill().await?;
        let shared = self.shared(true);
        let (orders, told) =
            watch::channel(Orders { goal: Some(Arc::new(Goal::Counts(counts.clone()))), is_over: false });
        let before = self.begin(&shared);
        let progress = Progress::new(None, Some(("reading", self.sum_read(&counts))));
        let readers = self.start_readers(&shared, StartAt::Begin, Verifier::of_any, &told).await?;
        let until_ns = plan.duration.map(|duration| before.from_ns.saturating_add(nanos(duration)));
        let seen = self.wait_for_readers(readers, &orders, &shared, &progress, until_ns).await?;
        drop(progress);
        let used = (self.usage.as_ref().and_then(ServerUsage::sample), own_cpu_s());
        let side = read_side(&seen, before.from_ns);
        let report = Report::new(self.settings(), side).with_server(before.server, used.0);
        Ok(with_seen(report.with_client_cpu(before.client_s, used.1), &seen))
    }

    /// Sees to it that there are enough messages; how many of each partition are to be read.
    async fn fill(&self) -> Result<Vec<u64>, Failure> {
        let plan = self.plan;
        let held = self.topic.held(self.admin).await?;
        let there: u64 = held.iter().sum();
        let wanted = match plan.messages {
            Some(_) if !plan.is_count_given && there > 0 => there,
            messages => messages.unwrap_or(there),
        };
        let lacking = wanted.saturating_sub(there);
        if lacking == 0 {
            return Ok(share_out(wanted, &held));
        }
        let batch = if plan.batch == 1 { FILL_BATCH } else { plan.batch };
        let filling = Plan { batch, in_flight: plan.in_flight.min(5), duration: None, rate: None, ..plan.clone() };
        let shared = self.shared(true);
        let publishers = self.connect(&shared, &filling).await?;
        let progress = Progress::new(Some(("filling", Some(lacking))), None);
        let tasks = self.tasks(Some(lacking), None, 0);
        let (_, tallies) = self.send(&shared, publishers, tasks, &progress).await?;
        if let Some(source) = first_failure(&tallies) {
            return Err(Failure::Request {
                doing: format!("fill topic '{}'", self.topic.name),
                source: source.clone(),
            });
        }
        if shared.is_stopped() {
            return Err(Failure::Bench("interrupted while the topic was being filled".to_owned()));
        }
        Ok(share_out(wanted, &self.topic.held(self.admin).await?))
    }

    fn shared(&self, is_stored: bool) -> Arc<Shared> {
        let millis = time::now().millis().cast_unsigned();
        // Differs between runs of one process, between processes, and from one moment to the next.
        let mixed = (millis ^ u64::from(std::process::id()).rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let run = RunId(u32::try_from(mixed >> 32).unwrap_or(u32::MAX));
        let payload = Payload::new(run, self.plan.size);
        Shared::new(payload, &self.topic.name, self.topic.partitions, is_stored)
    }

    async fn connect(&self, shared: &Arc<Shared>, plan: &Plan) -> Result<Vec<Publisher>, Failure> {
        let mut publishers = Vec::new();
        for number in 0..plan.producers {
            let publisher = Publisher::connect(Arc::clone(shared), number, &self.context.options, plan).await;
            publishers.push(publisher.map_err(|source| self.failed_to("publish to", source))?);
        }
        Ok(publishers)
    }

    fn failed_to(&self, what: &str, source: ClientError) -> Failure {
        Failure::of_starting(&self.context.options, format!("{what} topic '{}'", self.topic.name), source)
    }

    /// What each producer is to do of so many messages.
    fn tasks(&self, messages: Option<u64>, duration: Option<Duration>, from_ns: u64) -> Vec<Task> {
        let producers = u64::from(self.plan.producers);
        let of = |number: u16| Task {
            messages: messages.map_or(u64::MAX, |all| (all + producers - 1 - u64::from(number)) / producers),
            schedule: self
                .plan
                .rate
                .map(|rate| Schedule::new(rate, number.into(), self.plan.producers.into(), from_ns)),
            until_ns: duration.map(|duration| from_ns.saturating_add(nanos(duration))),
        };
        (0..self.plan.producers).map(of).collect()
    }

    /// Lets all producers send at the same time; Ctrl-C ends it early.
    async fn send(
        &self,
        shared: &Arc<Shared>,
        publishers: Vec<Publisher>,
        tasks: Vec<Task>,
        progress: &Progress,
    ) -> Result<(Vec<Publisher>, Vec<Tally>), Failure> {
        let work = publishers.into_iter().zip(tasks).map(|(mut publisher, task)| {
            tokio::spawn(async move {
                let tally = publisher.send_all(task).await;
                (publisher, tally)
            })
        });
        let ended = self.watched(join(work.collect()), shared, progress, None, || ()).await?;
        Ok(ended.into_iter().unzip())
    }

    async fn start_readers(
        &self,
        shared: &Arc<Shared>,
        start: StartAt,
        verifier: impl Fn() -> Verifier,
        told: &watch::Receiver<Orders>,
    ) -> Result<Vec<JoinHandle<Seen>>, Failure> {
        let plan = self.plan;
        if plan.consumers == 0 {
            return Ok(Vec::new());
        }
        let options = &self.context.options;
        let open = deal_out(plan.consumers, self.topic.partitions).into_iter().map(|partitions| {
            let (options, topic, is_single) = (options.clone(), self.topic.name.clone(), plan.batch == 1);
            tokio::spawn(async move { Source::open(&options, &topic, &partitions, start, is_single).await })
        });
        let mut readers = Vec::new();
        for opened in join(open.collect()).await? {
            for source in opened.map_err(|source| self.failed_to("read", source))? {
                let reader = Reader::new(Arc::clone(shared), source, verifier(), told.clone(), plan.patience);
                readers.push(tokio::spawn(reader.read_all()));
            }
        }
        Ok(readers)
    }

    /// Waits for the readers once the producers are through.
    async fn finish_readers(
        &self,
        readers: Vec<JoinHandle<Seen>>,
        orders: &watch::Sender<Orders>,
        shared: &Arc<Shared>,
    ) -> Result<Vec<Seen>, Failure> {
        let progress = Progress::new(None, (!readers.is_empty()).then_some(("reading", self.to_be_read())));
        self.wait_for_readers(readers, orders, shared, &progress, None).await
    }

    async fn wait_for_readers(
        &self,
        readers: Vec<JoinHandle<Seen>>,
        orders: &watch::Sender<Orders>,
        shared: &Arc<Shared>,
        progress: &Progress,
        until_ns: Option<u64>,
    ) -> Result<Vec<Seen>, Failure> {
        let stop = || {
            orders.send_modify(|orders| orders.is_over = true);
        };
        self.watched(join(readers), shared, progress, until_ns, stop).await
    }

    /// Waits for tasks while showing how far they are. Ctrl-C, or the time, has them stopped.
    async fn watched<T>(
        &self,
        tasks: impl Future<Output = Result<T, Failure>>,
        shared: &Shared,
        progress: &Progress,
        until_ns: Option<u64>,
        stop: impl Fn(),
    ) -> Result<T, Failure> {
        let mut tasks = std::pin::pin!(tasks);
        let mut show = interval(SHOW_EVERY);
        let mut is_interrupted = false;
        loop {
            tokio::select! {
                biased;
                ended = &mut tasks => return ended,
                () = self.interrupts.notified() => {
                    if is_interrupted {
                        return Err(Failure::Bench("interrupted twice: there is no result".to_owned()));
                    }
                    is_interrupted = true;
                    shared.stop();
                    stop();
                }
                _ = show.tick() => {
                    progress.show(shared);
                    if until_ns.is_some_and(|until_ns| until_ns <= shared.clock.now_ns()) {
                        stop();
                    }
                }
            }
        }
    }

    /// Measuring begins.
    fn begin(&self, shared: &Shared) -> Before {
        let server = self.usage.as_ref().and_then(ServerUsage::sample);
        Before { server, client_s: own_cpu_s(), from_ns: shared.begin_measuring() }
    }

    /// Messages that all consumers together are to read, where that is known.
    fn to_be_read(&self) -> Option<u64> {
        let partitions = u64::from(self.topic.partitions);
        let readings: u64 =
            deal_out(self.plan.consumers, self.topic.partitions).iter().map(|partitions| partitions.len() as u64).sum();
        self.plan.messages.map(|messages| messages * readings / partitions)
    }

    fn sum_read(&self, counts: &[u64]) -> Option<u64> {
        let dealt = deal_out(self.plan.consumers, self.topic.partitions);
        Some(dealt.iter().flatten().map(|&partition| counts[partition as usize]).sum())
    }

    fn settings(&self) -> Settings {
        let plan = self.plan;
        Settings {
            workload: plan.workload,
            topic: self.topic.name.clone(),
            size: plan.size as u64,
            batch: plan.batch,
            linger_ms: plan.linger.as_secs_f64() * 1e3,
            in_flight: plan.in_flight,
            producers: plan.producers.into(),
            consumers: plan.consumers.into(),
            partitions: self.topic.partitions,
            ack: plan.ack.map_or("default", |ack| ack.as_str()).to_owned(),
            compression: plan.compression.name().to_owned(),
            rate: plan.rate,
            warmup: plan.warmup,
        }
    }

    fn report_published(
        &self,
        tallies: &[Tally],
        seen: &[Seen],
        before: &Before,
        used: (Option<Usage>, Option<f64>),
    ) -> Report {
        let mut latencies = Recorder::new();
        tallies.iter().for_each(|tally| latencies.merge(&tally.latencies));
        let acknowledged: u64 = tallies.iter().map(|tally| tally.acknowledged).sum();
        let sent: u64 = tallies.iter().map(|tally| tally.sent).sum();
        let bytes = acknowledged * self.plan.size as u64;
        let last_ns = tallies.iter().map(|tally| tally.last_ns).max().unwrap_or(0);
        let published = Side::new(acknowledged, bytes, seconds(before.from_ns, last_ns), &latencies);
        let total = if seen.is_empty() {
            published
        } else {
            let last_ns = seen.iter().map(|seen| seen.last_ns).max().unwrap_or(0).max(last_ns);
            let mut delivery = Recorder::new();
            seen.iter().for_each(|seen| delivery.merge(&seen.latencies));
            Side::new(acknowledged, bytes, seconds(before.from_ns, last_ns), &delivery)
        };
        let mut report = Report::new(self.settings(), total)
            .with_server(before.server, used.0)
            .with_client_cpu(before.client_s, used.1);
        let failure = first_failure(tallies);
        // After a failure the rest was never sent; without one what was not sent was not to be sent any more.
        let planned = self.plan.messages.filter(|_| failure.is_some()).unwrap_or(sent).max(sent);
        report.errors = planned - acknowledged;
        if self.plan.rate.is_some() {
            report.behind_max_us = tallies.iter().map(|tally| tally.behind_max_ns).max().map(|ns| ns as f64 / 1e3);
        }
        if !seen.is_empty() {
            report.publish = Some(published);
            report.consume = Some(read_side(seen, before.from_ns));
        }
        report.failure = failure.map(|error| format!("not everything was acknowledged: {error}"));
        with_seen(report, seen)
    }
}

/// What all tasks returned.
async fn join<T>(tasks: Vec<JoinHandle<T>>) -> Result<Vec<T>, Failure> {
    let mut all = Vec::new();
    for task in tasks {
        all.push(task.await.map_err(|error| Failure::Bench(format!("a task of the run failed: {error}")))?);
    }
    Ok(all)
}

fn first_failure(tallies: &[Tally]) -> Option<&ClientError> {
    tallies.iter().find_map(|tally| tally.failure.as_ref())
}

/// All readers together.
fn read_side(seen: &[Seen], from_ns: u64) -> Side {
    let mut latencies = Recorder::new();
    seen.iter().for_each(|seen| latencies.merge(&seen.latencies));
    let last_ns = seen.iter().map(|seen| seen.last_ns).max().unwrap_or(0);
    let messages = seen.iter().map(|seen| seen.messages).sum();
    let bytes = seen.iter().map(|seen| seen.bytes).sum();
    Side::new(messages, bytes, seconds(from_ns, last_ns), &latencies)
}

/// The report with what was wrong with what was read.
fn with_seen(mut report: Report, seen: &[Seen]) -> Report {
    let sum = |of: fn(&Seen) -> u64| seen.iter().map(of).sum();
    report.faults = Faults {
        missing: sum(|seen| seen.missing),
        duplicates: sum(|seen| seen.verified.duplicates),
        misordered: sum(|seen| seen.verified.misordered),
        damaged: sum(|seen| seen.verified.damaged),
    };
    report.foreign = sum(|seen| seen.verified.foreign);
    report.errors += report.faults.count();
    let of_reading = || seen.iter().find_map(|seen| seen.failure.clone());
    report.failure = report.failure.or_else(of_reading);
    report
}

/// How many messages of each partition make so many.
fn share_out(wanted: u64, held: &[u64]) -> Vec<u64> {
    let mut left = wanted;
    let mut counts = vec![0; held.len()];
    let mut partitions: Vec<usize> = (0..held.len()).collect();
    // Those with little first: what they lack the others have to give.
    partitions.sort_by_key(|&partition| held[partition]);
    for (done, partition) in partitions.into_iter().enumerate() {
        let share = left.div_ceil((held.len() - done) as u64);
        counts[partition] = share.min(held[partition]);
        left -= counts[partition];
    }
    counts
}

fn seconds(from_ns: u64, to_ns: u64) -> f64 {
    to_ns.saturating_sub(from_ns) as f64 / 1e9
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_shared_out_among_what_there_is() {
        let check = |wanted, held: &[u64], expected: &[u64]| {
            assert_eq!(share_out(wanted, held), expected, "{wanted} of {held:?}");
        };
        check(10, &[100], &[10]);
        check(10, &[100, 100], &[5, 5]);
        check(10, &[2, 100, 3], &[2, 5, 3]);
        check(7, &[100, 100, 100], &[3, 2, 2]);
        check(10, &[10, 0], &[10, 0]);
        check(0, &[10, 0], &[0, 0]);
    }
}
