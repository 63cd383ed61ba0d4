//! Groups at size, against a server of their own: `cargo bench --bench groups [-- rebalance|memory]`.
//!
//! `rebalance` has 100 members read 1,000 partitions into which is published all the time. One more joins, and one leaves. Told
//! is how long it takes until every partition is where it is to be, and how long a partition that kept its reader was without
//! messages meanwhile, beside the same without any rebalance. `memory` has 10,000 groups of one member each join over one
//! connection, and leave. Nothing here asserts a time.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a program that measures time and prints what it finds"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::BytesMut;
use tokio::task::JoinSet;
use wiber::client::{
    AckLevel, Client, ClientOptions, Consumer, ConsumerMode, ConsumerOptions, Producer, ProducerOptions,
    ProducerRecord, StartAt,
};
use wiber::protocol::native::{FrameType, FrameWriter};
use wiber::types::Timestamp;

const TOPIC: &str = "shared";
const PARTITIONS: u32 = 1_000;
const MEMBERS: u32 = 100;
/// Time between two messages of a partition.
const EVERY: Duration = Duration::from_millis(50);
/// How long it is watched without a rebalance, and around each.
const WATCHED: Duration = Duration::from_secs(5);
const GROUPS: usize = 10_000;

#[tokio::main]
async fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let runs = |name: &str| wanted.is_empty() || wanted.iter().any(|asked| asked == name);
    if runs("rebalance") {
        rebalance().await?;
    }
    if runs("memory") {
        memory()?;
    }
    Ok(())
}

/// A server in a directory of its own.
struct Server {
    child: Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Server {
    fn start() -> Result<Server> {
        let directory = tempfile::tempdir()?;
        let mut child = Command::new(env!("CARGO_BIN_EXE_wiber-server"))
            .args(["--port", "0", "--data-dir"])
            .arg(directory.path().join("data"))
            .envs([("QB_LINES__ENABLED", "false"), ("QB_STORAGE__SYNC", "os"), ("QB_LOG_LEVEL", "INFO")])
            .current_dir(directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stderr.take().context("piped")?).lines();
        let address = loop {
            let line = lines.next().ok_or_else(|| anyhow!("the server ended"))??;
            let shown = line.split_once("address=").filter(|_| line.contains("listening"));
            if let Some(address) = shown.and_then(|(_, rest)| rest.split(' ').next()?.trim_matches('"').parse().ok()) {
                break address;
            }
        };
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Server { child, address, _directory: directory })
    }

    /// Resident memory, in MiB.
    fn resident_mib(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("a line")?;
        let kib: f64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
        Ok(kib / 1_024.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _killed = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// When each partition last brought a message to which member, and the longest pause since it was last asked.
type Heard = Arc<Mutex<BTreeMap<u32, (u32, Instant, Duration)>>>;

fn client(address: SocketAddr) -> ClientOptions {
    ClientOptions { host: address.ip().to_string(), port: address.port(), ..ClientOptions::default() }
}

async fn member(address: SocketAddr) -> Result<Consumer> {
    let options = ConsumerOptions {
        client: client(address),
        mode: ConsumerMode::AtLeastOnce,
        start: StartAt::End,
        buffer_bytes: 256 << 10,
        ..ConsumerOptions::default()
    };
    let consumer = Consumer::new(options).await?;
    consumer.join_consumer_group("bench").await?;
    consumer.subscribe(TOPIC).await?;
    Ok(consumer)
}

async fn read(consumer: Arc<Consumer>, number: u32, heard: Heard, stop: Arc<AtomicBool>) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let records = consumer.poll_records().await?;
        let now = Instant::now();
        let mut heard = heard.lock().map_err(|_| anyhow!("poisoned"))?;
        for record in records {
            let entry = heard.entry(record.partition.0).or_insert((number, now, Duration::ZERO));
            if entry.0 == number {
                entry.2 = entry.2.max(now - entry.1);
            }
            (entry.0, entry.1) = (number, now);
        }
    }
    consumer.leave_consumer_group().await?;
    Ok(())
}

async fn publish(address: SocketAddr, stop: Arc<AtomicBool>) -> Result<()> {
    let options =
        ProducerOptions { client: client(address), ack: Some(AckLevel::Leader), ..ProducerOptions::default() };
    let producer = Producer::new(options).await?;
    let mut rounds = tokio::time::interval(EVERY);
    while !stop.load(Ordering::Relaxed) {
        rounds.tick().await;
        for partition in 0..PARTITIONS {
            let record = ProducerRecord::new(vec![b'x'; 100]).partition(wiber::types::PartitionIndex(partition));
            drop(producer.send(TOPIC, record).await?);
        }
    }
    Ok(())
}

/// Waits until every partition is where it is to be, among so many members; how long that took.
async fn settled(admin: &Client, members: u32) -> Result<Duration> {
    let begun = Instant::now();
    loop {
        let group = admin.groups().await?.into_iter().find(|group| group.group == "bench").context("the group")?;
        if group.state == "stable" && group.members == members {
            return Ok(begun.elapsed());
        }
        if begun.elapsed() > Duration::from_secs(120) {
            bail!("the group does not settle: {group:?}");
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Forgets earlier pauses; who reads what.
fn reset(heard: &Heard) -> Result<BTreeMap<u32, u32>> {
    let mut heard = heard.lock().map_err(|_| anyhow!("poisoned"))?;
    heard.values_mut().for_each(|entry| entry.2 = Duration::ZERO);
    Ok(heard.iter().map(|(partition, entry)| (*partition, entry.0)).collect())
}

/// The longest pauses of partitions that kept their reader: median and longest, and how many moved.
fn tell(what: &str, heard: &Heard, before: &BTreeMap<u32, u32>, took: Option<Duration>) -> Result<()> {
    let heard = heard.lock().map_err(|_| anyhow!("poisoned"))?;
    let moved: BTreeSet<_> = before
        .iter()
        .filter(|(partition, reader)| heard.get(*partition).map(|entry| entry.0) != Some(**reader))
        .collect();
    let kept = heard.iter().filter(|(partition, entry)| before.get(*partition) == Some(&entry.0));
    let mut pauses: Vec<Duration> = kept.map(|(_, entry)| entry.2).collect();
    pauses.sort_unstable();
    let millis = |at: usize| pauses.get(at).map_or(0, Duration::as_millis);
    let took = took.map_or_else(|| "-".to_owned(), |took| format!("{} ms", took.as_millis()));
    println!(
        "{what:<24} settled in {took:>8}, {:>4} partitions moved; longest pause of the {:>4} others: median {:>4} ms, p99 {:>4} ms, most {:>4} ms",
        moved.len(),
        pauses.len(),
        millis(pauses.len() / 2),
        millis(pauses.len() * 99 / 100),
        millis(pauses.len().saturating_sub(1)),
    );
    Ok(())
}

async fn rebalance() -> Result<()> {
    let server = Server::start()?;
    let address = server.address;
    let admin = Client::connect(client(address)).await?;
    admin.create_topic(TOPIC, Some(PARTITIONS), None).await?;
    let (heard, stop) = (Heard::default(), Arc::new(AtomicBool::new(false)));
    let mut tasks = JoinSet::new();
    let begun = Instant::now();
    let mut joining = JoinSet::new();
    (0..MEMBERS).for_each(|_| drop(joining.spawn(member(address))));
    for number in 0..MEMBERS {
        let consumer = joining.join_next().await.context("one")???;
        tasks.spawn(read(Arc::new(consumer), number, Arc::clone(&heard), Arc::clone(&stop)));
    }
    settled(&admin, MEMBERS).await?;
    println!("{MEMBERS} members joined {PARTITIONS} partitions at once in {} ms", begun.elapsed().as_millis());
    tasks.spawn(publish(address, Arc::clone(&stop)));
    tokio::time::sleep(WATCHED).await;
    let before = reset(&heard)?;
    tokio::time::sleep(WATCHED).await;
    tell("without a rebalance", &heard, &before, None)?;

    let before = reset(&heard)?;
    let begun = Instant::now();
    let one_more = Arc::new(member(address).await?);
    let leaving = Arc::new(AtomicBool::new(false));
    let last = tokio::spawn(read(Arc::clone(&one_more), MEMBERS, Arc::clone(&heard), Arc::clone(&leaving)));
    settled(&admin, MEMBERS + 1).await?;
    let took = begun.elapsed();
    tokio::time::sleep(WATCHED).await;
    tell("one more joins", &heard, &before, Some(took))?;

    let before = reset(&heard)?;
    leaving.store(true, Ordering::Relaxed);
    let begun = Instant::now();
    last.await??;
    settled(&admin, MEMBERS).await?;
    let took = begun.elapsed();
    tokio::time::sleep(WATCHED).await;
    tell("it leaves", &heard, &before, Some(took))?;
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

/// A frame without a sequence of its own: only how many are answered counts.
fn frame(kind: FrameType, properties: &[(&str, &str)], body: &[u8]) -> Result<BytesMut> {
    let mut bytes = BytesMut::new();
    let mut writer = FrameWriter::new(&mut bytes, kind, 1, Timestamp::from_millis(0));
    for (name, value) in properties {
        writer.property(name, value)?;
    }
    writer.finish(body)?;
    Ok(bytes)
}

/// Sends frames and waits for as many answers; the member ids in them.
fn ask(stream: &mut TcpStream, frames: &[BytesMut]) -> Result<Vec<String>> {
    let mut members = Vec::new();
    for some in frames.chunks(500) {
        stream.write_all(&some.concat())?;
        let mut answered = 0;
        while answered < some.len() {
            let mut length = [0; 4];
            stream.read_exact(&mut length)?;
            let mut rest = vec![0; u32::from_be_bytes(length) as usize - 4];
            stream.read_exact(&mut rest)?;
            if rest[..4] != FrameType::Ack.to_wire().to_be_bytes() {
                continue;
            }
            answered += 1;
            let text = String::from_utf8_lossy(&rest);
            if !text.contains("status=success") {
                bail!("refused: {text}");
            }
            if let Some((_, rest)) = text.split_once("wiber.member=") {
                members.push(rest.split('\0').next().unwrap_or_default().to_owned());
            }
        }
    }
    Ok(members)
}

fn memory() -> Result<()> {
    let server = Server::start()?;
    let mut stream = TcpStream::connect(server.address)?;
    ask(&mut stream, &[frame(FrameType::CreateTopic, &[("topic", TOPIC), ("partitions", "4")], b"")?])?;
    let before = server.resident_mib()?;
    let more = || Ok::<_, anyhow::Error>(server.resident_mib()? - before);
    let body = format!("{{\"topics\":[\"{TOPIC}\"]}}");
    let long = ("wiber.session_timeout_ms", "300000");
    let groups: Vec<String> = (0..GROUPS).map(|number| format!("group-{number:05}")).collect();
    for round in ["at first", "once more"] {
        let begun = Instant::now();
        let join = |group: &String| frame(FrameType::JoinGroup, &[("wiber.group", group), long], body.as_bytes());
        let members = ask(&mut stream, &groups.iter().map(join).collect::<Result<Vec<_>>>()?)?;
        let took = begun.elapsed().as_millis();
        println!(
            "{round}: {GROUPS} groups of one member with 4 partitions joined in {took} ms: {:.1} MiB more",
            more()?
        );
        let leave = |(group, member): (&String, &String)| {
            frame(FrameType::LeaveGroup, &[("wiber.group", group), ("wiber.member", member)], b"")
        };
        ask(&mut stream, &groups.iter().zip(&members).map(leave).collect::<Result<Vec<_>>>()?)?;
        // Freed memory goes back to the operating system after a while.
        std::thread::sleep(Duration::from_secs(15));
        println!("{round}: without members, 15 s later: {:.1} MiB more", more()?);
    }
    Ok(())
}
