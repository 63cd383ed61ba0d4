//! `wiber-client`: one file, or directory, per command.
//!
//! Data goes to standard output, everything else to standard error where data has to stay pure. Exit codes: 0 done,
//! 1 failed, 2 wrong usage, 3 no broker reached, 4 topic, partition or group not found.

mod address;
mod bench;
mod completions;
mod confirm;
mod failure;
mod groups;
mod health;
mod history;
mod lines;
mod output;
mod prompt;
mod publish;
mod signals;
mod subscribe;
mod table;
mod text;
mod time;
mod topics;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing::Level;

use crate::client::{Client, ClientOptions};
use failure::Failure;
use output::Output;

/// Where the help shows the options that every command has.
const COMMON: &str = "Common options";

/// Talks to a Wiber broker over its native protocol
#[derive(Debug, Parser)]
#[command(
    name = "wiber-client",
    version,
    after_help = "Examples:
  wiber-client create-topic orders --partitions 3
  wiber-client publish orders 'hello' --key customer-7
  wiber-client publish orders --file orders.txt
  wiber-client subscribe orders --partition 0 --offset 0
  wiber-client subscribe orders --group billing
  wiber-client topics describe orders
  wiber-client groups describe billing
  wiber-client consumer

Environment: WIBER_CLIENT_HOST and WIBER_CLIENT_PORT stand for --host and --port where those are not given;
QB_SERVER_PORT, the server's own variable, is the port where neither is.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no broker reached, 4 topic, partition or group not found."
)]
struct Arguments {
    /// Name or address of the broker [default: 127.0.0.1]
    #[arg(long, global = true, help_heading = COMMON)]
    host: Option<String>,
    /// Port of its native protocol [default: 9999]
    #[arg(long, global = true, help_heading = COMMON, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Name of this client: kept with the records it publishes, and the name its positions are kept under
    #[arg(long, global = true, help_heading = COMMON, value_name = "ID")]
    client_id: Option<String>,
    /// What to print: text for people, or JSON, an object per command or one per line for streams
    #[arg(long, short, global = true, help_heading = COMMON, value_name = "FORMAT", default_value = "text")]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    CreateTopic(topics::Create),
    Publish(publish::Publish),
    Subscribe(subscribe::Subscribe),
    History(history::History),
    Topics(topics::Topics),
    Groups(groups::Groups),
    Producer(prompt::producer::Prompt),
    Consumer(prompt::consumer::Prompt),
    Health(health::Health),
    Bench(Box<bench::Bench>),
    Completions(completions::Completions),
}

/// What every command is told.
#[derive(Debug)]
struct Context {
    options: ClientOptions,
    output: Output,
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nothing is left to tell where even this cannot be printed.
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { failure::USAGE } else { 0 });
        }
    };
    // What the library has to say while it works: lost records, connections made anew.
    let log = tracing_subscriber::fmt().with_max_level(Level::WARN).with_writer(io::stderr);
    let _first = log.without_time().with_target(false).with_ansi(false).try_init();
    let output = arguments.output;
    match start(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(output),
    }
}

fn start(arguments: Arguments) -> Result<(), Failure> {
    let runtime = if let Command::Bench(bench) = &arguments.command {
        bench.runtime()
    } else {
        tokio::runtime::Builder::new_current_thread().enable_all().build()
    };
    let runtime = runtime.map_err(Failure::Runtime)?;
    let mut out = io::BufWriter::with_capacity(64 << 10, io::stdout().lock());
    let done = runtime.block_on(run(arguments, &mut out));
    // A thread may still wait for standard input; nobody wants what it reads.
    runtime.shutdown_background();
    let flushed = out.flush().map_err(Failure::Output);
    match done.and(flushed) {
        // Whoever read the output has had enough.
        Err(Failure::Output(e)) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

async fn run(arguments: Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let (host, port) = address::choose(arguments.host, arguments.port, |name| std::env::var(name).ok())?;
    let options = ClientOptions { host, port, client_id: arguments.client_id, ..ClientOptions::default() };
    let context = Context { options, output: arguments.output };
    match arguments.command {
        Command::CreateTopic(command) => command.run(&context, out).await,
        Command::Publish(command) => Box::pin(command.run(&context, out)).await,
        Command::Subscribe(command) => Box::pin(command.run(&context, out)).await,
        Command::History(command) => Box::pin(command.run(&context, out)).await,
        Command::Topics(command) => command.run(&context, out).await,
        Command::Groups(command) => Box::pin(command.run(&context, out)).await,
        Command::Producer(command) => Box::pin(command.run(&context, out)).await,
        Command::Consumer(command) => Box::pin(command.run(&context, out)).await,
        Command::Health(command) => command.run(&context, out).await,
        Command::Bench(command) => Box::pin(command.run(&context, out)).await,
        Command::Completions(command) => command.run(out),
    }
}

impl Context {
    async fn connect(&self) -> Result<Client, Failure> {
        let connected = Client::connect(self.options.clone()).await;
        connected.map_err(|source| Failure::of_connecting(&self.options, source))
    }
}

/// Writes a line to standard error. Nobody can be told where that fails.
fn note(text: impl std::fmt::Display) {
    // In one write, so that lines of several processes stay whole.
    drop(io::stderr().lock().write_all(format!("{text}\n").as_bytes()));
}

#[cfg(test)]
mod tests;
