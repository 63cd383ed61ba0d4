//! The broker over its native protocol: `cargo bench --bench wire [-- single|batches|memory|start]`, and to narrow it
//! down `seconds=N repetitions=N sync=always|interval bytes=N in_flight=N batch_bytes=N buffer_bytes=N`.
//!
//! A real `wiber-server` on a fresh directory, and the client library in this process, on loopback. Every publish is
//! acknowledged before it counts; `durable` rows run under `storage.sync=always`, `written` rows under `interval`, each
//! in the class of its own. The rows take turns; medians and the spread are printed. Nothing here asserts a time.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a program that measures time and prints what it finds"
)]

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use tempfile::TempDir;
use wiber::client::{
    Client, ClientOptions, NewRecord, Partitions, Producer, ProducerOptions, ProducerRecord, SubscribeOptions,
    Subscriber, SubscriberOptions,
};

/// Records between two looks at the clock.
const LOOK_EVERY: u64 = 64;
/// Connections that do nothing, for the row of their memory.
const IDLE_CONNECTIONS: usize = 10_000;
/// Starts measured.
const STARTS: usize = 10;
const TOPIC: &str = "bench";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let load = Load::new(&arguments)?;
    let asked: Vec<_> = arguments.iter().filter(|argument| !argument.contains('=')).collect();
    let runs = |name: &str| asked.is_empty() || asked.iter().any(|asked| *asked == name);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    for sync in load.syncs.clone() {
        if runs("single") {
            runtime.block_on(runtime.spawn(single(sync.clone(), load.clone())))??;
        }
        if runs("batches") {
            runtime.block_on(runtime.spawn(batches(sync, load.clone())))??;
        }
    }
    if runs("memory") {
        memory()?;
    }
    if runs("start") {
        start()?;
    }
    Ok(())
}

/// What the rows of `single` and `batches` do.
#[derive(Clone)]
struct Load {
    span: Duration,
    repetitions: usize,
    syncs: Vec<String>,
    bytes: Vec<usize>,
    in_flight: Vec<u32>,
    batch_bytes: usize,
    buffer_bytes: usize,
}

impl Load {
    fn new(arguments: &[String]) -> Result<Load> {
        let given = |name: &str| arguments.iter().find_map(|argument| argument.strip_prefix(name)?.strip_prefix('='));
        let defaults = ProducerOptions::default();
        let sync = given("sync").map(str::to_owned);
        Ok(Load {
            span: Duration::from_secs_f64(given("seconds").unwrap_or("2").parse()?),
            repetitions: given("repetitions").unwrap_or("3").parse()?,
            syncs: sync.map_or_else(|| vec!["always".to_owned(), "interval".to_owned()], |sync| vec![sync]),
            bytes: given("bytes").map_or(Ok(vec![1024, 100]), |bytes| bytes.parse().map(|bytes| vec![bytes]))?,
            in_flight: given("in_flight").map_or(Ok(vec![1, 100, 1000]), |count| count.parse().map(|n| vec![n]))?,
            batch_bytes: given("batch_bytes").map_or(Ok(defaults.batch_bytes), str::parse)?,
            buffer_bytes: given("buffer_bytes").map_or(Ok(defaults.buffer_bytes), str::parse)?,
        })
    }
}

/// A server on a fresh directory; killed and removed when it is dropped.
struct Server {
    child: Child,
    address: SocketAddr,
    _dir: Option<TempDir>,
}

impl Server {
    fn start(sync: &str) -> Result<Server> {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let mut server = Server::start_on(dir.path(), sync)?;
        server._dir = Some(dir);
        Ok(server)
    }

    fn start_on(dir: &Path, sync: &str) -> Result<Server> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wiber-server"));
        command.env_clear().current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        for (name, value) in [
            ("QB_DATA_DIR", dir.join("data").display().to_string()),
            ("QB_SERVER_PORT", "0".to_owned()),
            ("QB_LINES__ENABLED", "false".to_owned()),
            ("QB_STORAGE__SYNC", sync.to_owned()),
            ("QB_MAX_CONNECTIONS", "20000".to_owned()),
            ("QB_SERVER__HANDSHAKE_TIMEOUT", "600".to_owned()),
        ] {
            command.env(name, value);
        }
        let mut child = command.spawn().context("wiber-server does not start")?;
        let mut lines = BufReader::new(child.stderr.take().context("no log")?).lines();
        let address = loop {
            let line = lines.next().context("the server ended")??;
            if let Some((_, rest)) = line.split_once("listening (native protocol)")
                && let Some((_, address)) = rest.split_once("address=")
            {
                break address.split(' ').next().unwrap_or_default().parse()?;
            }
        };
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Server { child, address, _dir: None })
    }

    fn options(&self) -> ClientOptions {
        ClientOptions { host: self.address.ip().to_string(), port: self.address.port(), ..ClientOptions::default() }
    }

    /// Resident memory now and at most, in MiB.
    fn resident(&self) -> Result<(f64, f64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |name: &str| -> Result<f64> {
            let line = status.lines().find(|line| line.starts_with(name)).context("no such field")?;
            let kib: f64 = line.split_whitespace().nth(1).context("no figure")?.parse()?;
            Ok(kib / 1024.0)
        };
        Ok((field("VmRSS:")?, field("VmHWM:")?))
    }

    /// Processor time used so far, by the server and by this process.
    fn cpu(&self) -> Result<Cpu> {
        Ok(Cpu { server: processor_seconds(&self.child.id().to_string())?, client: processor_seconds("self")? })
    }
}

/// Processor time of the two sides, in seconds.
#[derive(Clone, Copy)]
struct Cpu {
    server: f64,
    client: f64,
}

fn processor_seconds(process: &str) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, rest) = stat.rsplit_once(')').context("an odd stat")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    Ok(ticks / 100.0)
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// What a row measured: records a second, and the processor time for a million.
struct Rate {
    per_second: f64,
    cpu: Cpu,
}

fn print_row(name: &str, bytes: usize, rates: &mut [Rate]) {
    rates.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    let median = &rates[rates.len() / 2];
    println!(
        "{name:<52} {:>11.0}/s {:>8.1} MB/s  ({:.0} to {:.0}), CPU s per million: server {:.3}, client {:.3}",
        median.per_second,
        median.per_second * bytes as f64 / 1e6,
        rates[0].per_second,
        rates[rates.len() - 1].per_second,
        median.cpu.server,
        median.cpu.client,
    );
}

fn label(sync: &str) -> &'static str {
    if sync == "always" { "durable" } else { "written" }
}

/// Single-message frames: published with a window in flight, then read back one DATA frame each.
async fn single(sync: String, load: Load) -> Result<()> {
    let sync = sync.as_str();
    for bytes in load.bytes {
        for in_flight in load.in_flight.iter().copied() {
            let (mut published, mut read) = (Vec::new(), Vec::new());
            for _ in 0..load.repetitions {
                let server = Server::start(sync)?;
                let options = ClientOptions { window_frames: in_flight, window_bytes: 64 << 20, ..server.options() };
                let client = Client::connect(options).await?;
                client.create_topic(TOPIC, Some(1), None).await?;
                let (count, rate) = publish_single(&server, &client, bytes, in_flight, load.span).await?;
                published.push(rate);
                if in_flight == 1000 {
                    read.push(read_single(&server, &client, count).await?);
                }
            }
            let row = format!("publish {bytes} B, single, {in_flight} in flight, {}", label(sync));
            print_row(&row, bytes, &mut published);
            if !read.is_empty() {
                print_row(&format!("subscribe {bytes} B, single DATA frames, {}", label(sync)), bytes, &mut read);
            }
        }
    }
    Ok(())
}

async fn publish_single(
    server: &Server,
    client: &Client,
    bytes: usize,
    in_flight: u32,
    span: Duration,
) -> Result<(u64, Rate)> {
    let payload = bytes::Bytes::from(vec![b'x'; bytes]);
    let mut waiting = std::collections::VecDeque::new();
    let (before, began) = (server.cpu()?, Instant::now());
    let mut count = 0_u64;
    let mut sent = 0_u64;
    while !sent.is_multiple_of(LOOK_EVERY) || began.elapsed() < span {
        sent += 1;
        waiting.push_back(client.publish(TOPIC, NewRecord::new(payload.clone())).await?);
        if waiting.len() >= in_flight as usize
            && let Some(oldest) = waiting.pop_front()
        {
            oldest.await?;
            count += 1;
        }
    }
    for rest in waiting {
        rest.await?;
        count += 1;
    }
    Ok((count, rate(count, began, server.cpu()?, before)))
}

async fn read_single(server: &Server, client: &Client, count: u64) -> Result<Rate> {
    let (before, began) = (server.cpu()?, Instant::now());
    let mut subscription = client.subscribe(TOPIC, SubscribeOptions::default()).await?;
    for expected in 0..count {
        let message = subscription.next().await.context("the subscription ended")??;
        ensure!(message.offset().get() == expected, "offset {} where {expected} was due", message.offset());
    }
    Ok(rate(count, began, server.cpu()?, before))
}

/// Whole batches: the library's producer, then its subscriber.
async fn batches(sync: String, load: Load) -> Result<()> {
    let sync = sync.as_str();
    let mut resident = 0.0_f64;
    for bytes in load.bytes.clone() {
        let (mut published, mut read) = (Vec::new(), Vec::new());
        for _ in 0..load.repetitions {
            let server = Server::start(sync)?;
            let client = Client::connect(server.options()).await?;
            client.create_topic(TOPIC, Some(1), None).await?;
            let (count, rate) = publish_batches(&server, bytes, &load).await?;
            published.push(rate);
            read.push(read_batches(&server, count).await?);
            resident = resident.max(server.resident()?.1);
        }
        print_row(&format!("publish {bytes} B, batches, one producer, {}", label(sync)), bytes, &mut published);
        print_row(&format!("subscribe {bytes} B, batches, {}", label(sync)), bytes, &mut read);
    }
    println!("server at most, {}: {resident:.1} MiB", label(sync));
    Ok(())
}

async fn publish_batches(server: &Server, bytes: usize, load: &Load) -> Result<(u64, Rate)> {
    let options = ProducerOptions {
        client: server.options(),
        batch_bytes: load.batch_bytes,
        buffer_bytes: load.buffer_bytes,
        ..ProducerOptions::default()
    };
    let producer = Producer::new(options).await?;
    let payload = bytes::Bytes::from(vec![b'x'; bytes]);
    let mut waiting = std::collections::VecDeque::new();
    let (before, began) = (server.cpu()?, Instant::now());
    let mut count = 0_u64;
    let mut sent = 0_u64;
    while !sent.is_multiple_of(LOOK_EVERY) || began.elapsed() < load.span {
        sent += 1;
        waiting.push_back(producer.send(TOPIC, ProducerRecord::new(payload.clone())).await?);
        if waiting.len() >= 100_000
            && let Some(oldest) = waiting.pop_front()
        {
            oldest.await?;
            count += 1;
        }
    }
    producer.flush().await?;
    for rest in waiting {
        rest.await?;
        count += 1;
    }
    Ok((count, rate(count, began, server.cpu()?, before)))
}

async fn read_batches(server: &Server, count: u64) -> Result<Rate> {
    let options =
        SubscriberOptions { client: server.options(), partitions: Partitions::All, ..SubscriberOptions::default() };
    let (before, began) = (server.cpu()?, Instant::now());
    let mut subscriber = Subscriber::subscribe(options, TOPIC).await?;
    for expected in 0..count {
        let record = subscriber.next().await.context("the subscription ended")??;
        ensure!(record.offset.get() == expected, "offset {} where {expected} was due", record.offset);
    }
    Ok(rate(count, began, server.cpu()?, before))
}

fn rate(count: u64, began: Instant, now: Cpu, before: Cpu) -> Rate {
    let per_million = |seconds: f64| seconds * 1e6 / count.max(1) as f64;
    Rate {
        per_second: count as f64 / began.elapsed().as_secs_f64(),
        cpu: Cpu { server: per_million(now.server - before.server), client: per_million(now.client - before.client) },
    }
}

/// Memory of an idle server, and with many connections that do nothing.
fn memory() -> Result<()> {
    let server = Server::start("always")?;
    let (idle, _) = server.resident()?;
    println!("idle: {idle:.1} MiB");
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    rustix::process::setrlimit(
        rustix::process::Resource::Nofile,
        rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum },
    )?;
    let connections: Result<Vec<TcpStream>> = (0..IDLE_CONNECTIONS)
        .map(|number| TcpStream::connect(server.address).map_err(|error| anyhow!("connection {number}: {error}")))
        .collect();
    let connections = connections?;
    for mut connection in &connections {
        std::io::Write::write_all(&mut connection, &heartbeat())?;
    }
    for mut connection in &connections {
        std::io::Read::read_exact(&mut connection, &mut [0; 32])?;
    }
    let (busy, _) = server.resident()?;
    println!("{} connections that exchanged a heartbeat: {busy:.1} MiB, {:.1} more", connections.len(), busy - idle);
    Ok(())
}

/// An empty HEARTBEAT frame.
fn heartbeat() -> [u8; 32] {
    let mut frame = [0; 32];
    frame[3] = 32;
    frame[7] = 3;
    frame[15] = 1;
    frame
}

/// From the process's begin to its answer to a heartbeat.
fn start() -> Result<()> {
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let began = Instant::now();
        let server = Server::start("always")?;
        let mut connection = TcpStream::connect(server.address)?;
        std::io::Write::write_all(&mut connection, &heartbeat())?;
        std::io::Read::read_exact(&mut connection, &mut [0; 32])?;
        times.push(began.elapsed());
    }
    times.sort();
    println!("start on an empty directory: {:?} (from {:?} to {:?})", times[STARTS / 2], times[0], times[STARTS - 1]);
    Ok(())
}
