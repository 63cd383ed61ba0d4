//! `wiber-client bench`: loads a broker, measures it, and verifies what comes back.

mod flight;
mod options;
mod progress;
mod publisher;
mod reader;
mod run;
mod shared;
mod show;
mod topic;
mod units;

use std::io::{self, Write};
use std::sync::Arc;

use clap::{Args, Subcommand};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

use super::Context;
use super::failure::Failure;
use super::signals::interrupted;
use crate::load::{Report, ServerUsage, Workload};
use options::Options;
use run::Run;
use topic::Topic;

/// Measure a broker: how much it takes, how fast, and whether all of it is right
///
/// Every message is built anew and verified when it is read: as it was sent, none missing, none twice, in order. Only what
/// was acknowledged counts. The topic is made for the run and deleted afterwards, unless --topic or --keep says otherwise.
/// Exit code 1 where anything was not acknowledged or not right; the result is printed all the same.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wiber-client bench publish --messages 1M --size 1KiB
  wiber-client bench consume --messages 1M --consumers 4 --partitions 4
  wiber-client bench latency --rate 10k --duration 10s
  wiber-client bench mixed --duration 30s --producers 2 --consumers 2 -o json")]
pub(super) struct Bench {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Publish as fast as is acknowledged
    ///
    /// A latency is the time from sending a message, or its batch, to its acknowledgement; at a fixed --rate from the time
    /// at which it was to be sent.
    #[command(after_help = "Examples:
  wiber-client bench publish
  wiber-client bench publish --size 100 --batch 1000 --producers 4
  wiber-client bench publish --single --in-flight 1000 --ack durable
  wiber-client bench publish --rate 50k --duration 30s --linger 2ms --csv results.csv")]
    Publish(Options),
    /// Read what is there, or is put there first
    ///
    /// A topic that does not hold enough messages is filled before the clock is started; one that exists, and without
    /// --messages, is read as it is. What a reader receives in batches with --batch 1 comes message by message. The rate is
    /// that of all consumers together.
    #[command(after_help = "Examples:
  wiber-client bench consume
  wiber-client bench consume --consumers 4 --partitions 4
  wiber-client bench consume --consumers 4
  wiber-client bench publish --topic kept --messages 5M --keep
  wiber-client bench consume --topic kept")]
    Consume(Options),
    /// Publish at a fixed rate, and measure how long it takes to be delivered
    ///
    /// The times of sending are settled beforehand, and travel with the messages: where the broker, or the sender, is held
    /// up, what was to be sent meanwhile counts as late. So no omission hides a pause.
    #[command(after_help = "Examples:
  wiber-client bench latency
  wiber-client bench latency --rate 50k --size 100 --duration 30s
  wiber-client bench latency --rate 100k --batch 1000 --linger 1ms
  wiber-client bench latency --rate 1k --ack durable --output json")]
    Latency(Options),
    /// Publish and read at the same time
    ///
    /// What is printed last, and stands at the top in JSON, is what was acknowledged in the time until it was both
    /// acknowledged and read, with the latencies from sending to delivery.
    #[command(after_help = "Examples:
  wiber-client bench mixed
  wiber-client bench mixed --producers 2 --consumers 4 --partitions 2
  wiber-client bench mixed --single --duration 1m")]
    Mixed(Options),
}

impl Bench {
    fn parts(&self) -> (Workload, &Options) {
        match &self.command {
            Command::Publish(options) => (Workload::Publish, options),
            Command::Consume(options) => (Workload::Consume, options),
            Command::Latency(options) => (Workload::Latency, options),
            Command::Mixed(options) => (Workload::Mixed, options),
        }
    }

    /// A runtime with a thread for each processor; with a single one where there is a single connection, or one to publish
    /// and one to read at a rate: their tasks would only wake each other across threads.
    pub(super) fn runtime(&self) -> io::Result<Runtime> {
        let (workload, options) = self.parts();
        let single_max = if workload == Workload::Latency { 2 } else { 1 };
        let mut builder = Builder::new_multi_thread();
        if options.connections(workload) <= single_max {
            builder.worker_threads(1);
        }
        builder.enable_all().build()
    }

    pub(super) async fn run(self, context: &Context, out: &mut dyn Write) -> Result<(), Failure> {
        let (workload, options) = self.parts();
        let plan = options.plan(workload, context.output)?;
        let interrupts = Arc::new(Notify::new());
        let listening = tokio::spawn(listen(Arc::clone(&interrupts)));
        let admin = context.connect().await?;
        let usage = ServerUsage::listening_on(&context.options.host, context.options.port);
        let topic = Topic::prepare(&admin, &plan).await?;
        let run = Run { context, plan: &plan, topic: &topic, admin: &admin, usage, interrupts };
        let measured = run.measure().await;
        topic.clean_up(context, plan.keep).await;
        listening.abort();
        let report = measured?;
        show::show(&report, &plan, context.output, out)?;
        out.flush().map_err(Failure::Output)?;
        verdict(&report)
    }
}

/// Tells of every Ctrl-C, also of one that comes before anybody asks: none may end the process while the topic of the run is
/// there.
async fn listen(interrupts: Arc<Notify>) {
    while interrupted().await.is_ok() {
        interrupts.notify_one();
    }
}

/// Whether the run was all right.
fn verdict(report: &Report) -> Result<(), Failure> {
    if report.errors == 0 && report.failure.is_none() {
        return Ok(());
    }
    let errors = match report.errors {
        1 => "1 error".to_owned(),
        errors => format!("{errors} errors"),
    };
    let faults = report.faults.named().into_iter().filter(|(_, count)| *count > 0);
    let why = report.failure.clone().into_iter().chain(faults.map(|(name, count)| format!("{count} {name}")));
    Err(Failure::Bench(format!("{errors}: {}", why.collect::<Vec<_>>().join(", "))))
}
