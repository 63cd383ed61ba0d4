//! The load programs of the rivals that come with this crate. Each speaks its server's protocol itself, with no work a
//! message that the protocol does not ask for, so that what is measured is the server and not a client library.

mod nats;
mod nats_consumer;
mod payload;
mod rabbitmq;
mod rabbitmq_frames;
mod redis;
pub(crate) mod report;
mod shapes;
mod wire;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};

use report::Report;

/// The servers there is a built-in load program for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Server {
    Nats,
    Redis,
    Rabbitmq,
}

/// The shapes of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shape {
    /// Publish as fast as acknowledgements allow
    Publish,
    /// Publish first, then measure reading it all
    Consume,
    /// Publish and read at once
    Mixed,
    /// Publish at a fixed rate, and measure the way from publishing to delivery
    Latency,
}

/// The standard arguments every load program takes, in the words of `wiber-client bench`.
#[derive(Debug, Clone, Args)]
pub(crate) struct LoadArguments {
    /// The server
    pub(crate) server: Server,
    /// What is done
    pub(crate) shape: Shape,
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: String,
    #[arg(long)]
    pub(crate) port: u16,
    /// Messages in all; without it, --duration ends the load
    #[arg(long)]
    pub(crate) messages: Option<u64>,
    /// Seconds
    #[arg(long, default_value_t = 2.0)]
    pub(crate) duration: f64,
    /// Bytes of a message
    #[arg(long, default_value_t = 1024)]
    pub(crate) size: usize,
    /// Messages of a batch
    #[arg(long, default_value_t = 1)]
    pub(crate) batch: usize,
    /// Batches of a producer that may wait for their acknowledgement
    #[arg(long, default_value_t = 1)]
    pub(crate) in_flight: usize,
    #[arg(long, default_value_t = 1)]
    pub(crate) producers: usize,
    #[arg(long, default_value_t = 1)]
    pub(crate) consumers: usize,
    #[arg(long, default_value_t = 1)]
    pub(crate) partitions: usize,
    /// Messages a second, for latency
    #[arg(long, default_value_t = 10_000)]
    pub(crate) rate: u64,
    /// Process group of the server, whose CPU and memory are reported
    #[arg(long)]
    pub(crate) server_pid: Option<u32>,
    /// What is switched on only in this server's program; its source says what there is
    #[arg(long)]
    pub(crate) tune: Vec<String>,
}

impl LoadArguments {
    fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The number after `name=`.
    fn tuned_number(&self, name: &str) -> Option<usize> {
        self.tune.iter().find_map(|tune| tune.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
    }
}

/// What acknowledgements said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    /// Messages the server answered for, in the order they were sent, refused ones too.
    pub(crate) answered: u64,
    /// Of those, how many it refused.
    pub(crate) refused: u64,
}

/// A connection that publishes into one partition.
pub(crate) trait Publisher: Send {
    /// Adds a message to the batch.
    fn push(&mut self, payload: &[u8]) -> Result<()>;
    /// Ends the batch.
    fn end_batch(&mut self) -> Result<()>;
    /// Sends what is buffered.
    fn flush(&mut self) -> Result<()>;
    /// Takes acknowledgements: what is there, or where `wait` holds, at least one.
    fn acknowledged(&mut self, wait: bool) -> Result<Acknowledged>;
}

/// A connection that reads one partition from its beginning.
pub(crate) trait Consumer: Send {
    /// Hands over what has come; 0 where nothing came for a tenth of a second.
    fn read(&mut self, visit: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<u64>;
}

/// A server under load.
pub(crate) trait Target: Sync {
    /// Makes the partitions.
    fn create(&self, partitions: usize) -> Result<()>;
    /// Connects a publisher of batches of `batch`.
    fn publisher(&self, partition: usize, batch: usize) -> Result<Box<dyn Publisher>>;
    /// Connects a reader.
    fn consumer(&self, partition: usize) -> Result<Box<dyn Consumer>>;
    /// Deletes the partitions.
    fn delete(&self, partitions: usize) -> Result<()>;
}

/// Runs a load and prints its report.
pub(crate) fn main(arguments: &LoadArguments) -> Result<()> {
    println!("{}", serde_json::to_string(&run(arguments)?)?);
    Ok(())
}

fn run(arguments: &LoadArguments) -> Result<Report> {
    ensure!(arguments.partitions <= arguments.producers.max(arguments.consumers), "a partition nobody writes or reads");
    ensure!(arguments.batch > 0 && arguments.in_flight > 0, "nothing to send");
    let target: Box<dyn Target> = match arguments.server {
        Server::Nats => Box::new(nats::Nats::new(arguments)),
        Server::Redis => Box::new(redis::Redis::new(arguments)),
        Server::Rabbitmq => Box::new(rabbitmq::RabbitMq::new(arguments)),
    };
    target.create(arguments.partitions)?;
    let report = match arguments.shape {
        Shape::Publish => shapes::publish(&*target, arguments),
        Shape::Consume => shapes::consume(&*target, arguments),
        Shape::Mixed => shapes::mixed(&*target, arguments),
        Shape::Latency => shapes::latency(&*target, arguments),
    };
    target.delete(arguments.partitions)?;
    report
}
