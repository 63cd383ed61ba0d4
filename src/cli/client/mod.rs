//! `wiber-client`: one file per command.
//!
//! Data goes to standard output, everything else to standard error where data has to stay pure. Exit codes: 0 done,
//! 1 failed, 2 wrong usage, 3 no broker reached, 4 topic or partition not found.

mod create_topic;
mod failure;
mod lines;
mod publish;
mod subscribe;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::client::{Client, ClientError, ClientOptions};
use failure::Failure;

/// Talks to a Wiber broker over its native protocol.
#[derive(Debug, Parser)]
#[command(
    name = "wiber-client",
    version,
    after_help = "Examples:
  wiber-client create-topic orders --partitions 3
  wiber-client publish orders 'hello' --key customer-7
  wiber-client publish orders --file orders.txt
  wiber-client subscribe orders --partition 0 --offset 0

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no broker reached, 4 topic or partition not found."
)]
struct Arguments {
    /// Name or address of the broker
    #[arg(long, global = true, default_value = "127.0.0.1")]
    host: String,
    /// Port of its native protocol
    #[arg(long, global = true, default_value_t = 9999)]
    port: u16,
    /// Name of this client: kept with the records it publishes and the positions it reads to
    #[arg(long, global = true)]
    client_id: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a topic
    CreateTopic(create_topic::CreateTopic),
    /// Publish a message, or every line of a file
    Publish(publish::Publish),
    /// Print the records of a partition as they arrive
    Subscribe(subscribe::Subscribe),
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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return Failure::Runtime(error).report(),
    };
    let done = runtime.block_on(run(arguments));
    // A thread may still wait for standard input; nobody wants what it reads.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn run(arguments: Arguments) -> Result<(), Failure> {
    let options = ClientOptions {
        host: arguments.host,
        port: arguments.port,
        client_id: arguments.client_id,
        ..ClientOptions::default()
    };
    let mut out = io::BufWriter::with_capacity(64 << 10, io::stdout().lock());
    let done = match arguments.command {
        Command::CreateTopic(command) => command.run(options, &mut out).await,
        Command::Publish(command) => command.run(options, &mut out).await,
        Command::Subscribe(command) => command.run(options, &mut out).await,
    };
    let flushed = out.flush().map_err(Failure::Output);
    match done.and(flushed) {
        // Whoever read the output has had enough.
        Err(Failure::Output(e)) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

async fn connect(options: ClientOptions) -> Result<Client, Failure> {
    let address = format!("{}:{}", options.host, options.port);
    let connected = Client::connect(options).await;
    connected.map_err(|source| {
        if let ClientError::Unreachable { .. } = source {
            Failure::Unreachable(source)
        } else {
            Failure::NoBroker { address, source }
        }
    })
}

/// Writes a line to standard error. Nobody can be told where that fails.
fn note(text: impl std::fmt::Display) {
    drop(writeln!(io::stderr().lock(), "{text}"));
}

#[cfg(test)]
mod tests;
