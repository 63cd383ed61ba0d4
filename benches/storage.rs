//! The storage core beside the bare system calls: `cargo bench --bench storage [-- append|read|restart|memory]`.
//! `only=TEXT` keeps the rows of `append` whose name holds the text, for a profiler to look at.
//!
//! Every figure of Wiber stands beside the raw cost of the same bytes in the same run: batches are built in the same
//! way, then either appended to a partition or written with `pwrite` (and `fdatasync`) to a plain file. The repetitions
//! take turns; medians and the spread are printed. Nothing here asserts a time.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a program that measures time and prints what it finds"
)]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use parking_lot::{Condvar, Mutex};
use tempfile::TempDir;
use wiber::broker::CompactionLimits;
use wiber::broker::groups::classic::ClassicOptions;
use wiber::broker::metadata::{MetadataLimits, TopicSettings};
use wiber::broker::positions::PositionLimits;
use wiber::broker::{Broker, BrokerOptions, BrokerStart, CommandReply, TopicDefaults};
use wiber::disk::RealDisk;
use wiber::log::{LogOptions, RetentionPolicy};
use wiber::record::{BatchBuilder, BuilderOptions, ProducedBatch};
use wiber::replica::producers::ProducerLimits;
use wiber::replica::{
    AckLevel, AckSink, AppendError, Completion, Partition, PartitionOptions, Read, SyncPolicy, Waiter,
};
use wiber::server::runtime::{self, PoolThreads, WorkPool};
use wiber::types::{Offset, PartitionIndex, Timestamp, TopicName};

/// Repetitions of every measurement.
const REPETITIONS: usize = 5;
const MIB: f64 = 1_000_000.0;

fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let only = wanted.iter().find_map(|argument| argument.strip_prefix("only=")).unwrap_or_default().to_owned();
    let runs = |name: &str| wanted.is_empty() || wanted.iter().any(|asked| asked == name);
    if runs("append") {
        append_table(&only)?;
    }
    if runs("read") {
        read_table()?;
    }
    if runs("restart") {
        restart_table()?;
    }
    if runs("memory") {
        memory()?;
    }
    Ok(())
}

/// A broker with one topic of one partition, on real files and real threads.
struct Bench {
    broker: Arc<Broker>,
    partition: Arc<Partition>,
    threads: PoolThreads,
}

impl Bench {
    fn open(dir: &Path, sync: SyncPolicy) -> Result<Bench> {
        let threads = WorkPool::start(2, 8)?;
        let start = BrokerStart {
            disk: Arc::new(RealDisk),
            queue: threads.queue(),
            fresh_directory_id: runtime::fresh_id(),
            now: runtime::now(),
        };
        let (broker, _) = Broker::open(options(dir, sync), start)?;
        let topic = TopicName::new("bench")?;
        if broker.topic(&topic).is_err() {
            let (done, created) = std::sync::mpsc::channel();
            let reply = CommandReply::new(move |result| {
                let _gone = done.send(result);
            });
            let id = runtime::fresh_topic_id();
            broker.create_topic(&topic, Some(1), TopicSettings::default(), id, runtime::now(), reply);
            created.recv()?.map_err(|error| anyhow!("{error}"))?;
        }
        let partition = broker.partition(&topic, PartitionIndex(0)).map_err(|error| anyhow!("{error}"))?;
        Ok(Bench { broker, partition, threads })
    }

    fn close(self, with_snapshot: bool) -> Result<()> {
        if with_snapshot {
            anyhow::ensure!(runtime::drain(&self.broker, Duration::from_secs(600)), "not drained");
            self.broker.snapshot_now(runtime::now())?;
        }
        self.threads.stop();
        Ok(())
    }
}

fn options(dir: &Path, sync: SyncPolicy) -> BrokerOptions {
    BrokerOptions {
        data_dir: dir.to_path_buf(),
        snapshot_dir: dir.join(".snapshots"),
        snapshots_kept: 3,
        snapshot_interval_ms: 0,
        reserve_bytes: 4 << 20,
        tail_bytes: 32 << 20,
        pending_bytes: 16 << 20,
        open_segments_max: 256,
        partition: PartitionOptions {
            log: LogOptions::default(),
            sync,
            retention: RetentionPolicy::default(),
            unsynced_bytes_max: 64 << 20,
            inline_write_bytes_max: 64 << 10,
            producers: ProducerLimits { producers_max: 1_000, expiry_ms: i64::MAX },
            compaction: None,
            is_internal: false,
        },
        topics: TopicDefaults { partitions: 1, message_bytes_max: 1 << 20 },
        publish: wiber::broker::publish::PublishLimits::default(),
        limits: MetadataLimits { topics_max: 10, partitions_max: 10 },
        compaction: CompactionLimits::default(),
        positions: PositionLimits::default(),
        classic_groups: ClassicOptions::default(),
    }
}

/// Counts answers, so that a bounded number of appends is on its way.
#[derive(Debug, Default)]
struct Answers {
    state: Mutex<(u64, u64)>,
    changed: Condvar,
}

impl AckSink for Answers {
    fn complete(&self, completions: &mut dyn Iterator<Item = Completion>) {
        let mut state = self.state.lock();
        for completion in completions {
            state.0 += 1;
            state.1 += u64::from(completion.outcome.is_err());
        }
        self.changed.notify_all();
    }
}

impl Answers {
    fn wait_for(&self, count: u64) -> Result<()> {
        let mut state = self.state.lock();
        while state.0 < count {
            self.changed.wait(&mut state);
        }
        anyhow::ensure!(state.1 == 0, "{} appends failed", state.1);
        Ok(())
    }
}

/// One row: what is appended, and how many batches may be on their way.
#[derive(Clone, Copy)]
struct Shape {
    record_bytes: usize,
    batch_records: usize,
    in_flight: u64,
    batches: u64,
    is_synced: bool,
}

impl Shape {
    fn payload_bytes(&self) -> f64 {
        (self.record_bytes * self.batch_records) as f64 * self.batches as f64
    }

    fn name(&self) -> String {
        let sync = if self.is_synced { "durable" } else { "written" };
        format!("{:>5} B x {:<4} {sync:<8} {:>4} in flight", self.record_bytes, self.batch_records, self.in_flight)
    }
}

fn build(builder: &mut BatchBuilder, payload: &[u8], records: usize, now: Timestamp) -> Result<ProducedBatch> {
    for _ in 0..records {
        builder.append(now, None, Some(payload), &[])?;
    }
    Ok(builder.finish()?)
}

fn append_to_partition(shape: Shape) -> Result<Duration> {
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
    let bench = Bench::open(dir.path(), if shape.is_synced { SyncPolicy::Always } else { SyncPolicy::Os })?;
    let level = if shape.is_synced { AckLevel::Durable } else { AckLevel::Leader };
    let elapsed = append(&bench.partition, shape, level)?;
    bench.close(true)?;
    Ok(elapsed)
}

fn append(partition: &Arc<Partition>, shape: Shape, level: AckLevel) -> Result<Duration> {
    let answers = Arc::new(Answers::default());
    let (payload, mut builder) = (vec![b'x'; shape.record_bytes], BatchBuilder::new(BuilderOptions::default()));
    let now = runtime::now();
    let begun = Instant::now();
    for number in 0..shape.batches {
        answers.wait_for(number.saturating_sub(shape.in_flight - 1))?;
        let mut batch = build(&mut builder, &payload, shape.batch_records, now)?;
        loop {
            let waiter = Waiter { sink: Arc::clone(&answers) as Arc<dyn AckSink>, token: number };
            match partition.append(batch, level, Some(waiter), now) {
                Ok(_) => break,
                Err(AppendError::QueueFull(back)) => {
                    batch = *back;
                    std::thread::yield_now();
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    answers.wait_for(shape.batches)?;
    Ok(begun.elapsed())
}

/// The same bytes, written as they are; a synced run syncs as often as the window of batches is full.
fn append_to_file(shape: Shape) -> Result<Duration> {
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
    let file = File::create(dir.path().join("raw"))?;
    let (payload, mut builder) = (vec![b'x'; shape.record_bytes], BatchBuilder::new(BuilderOptions::default()));
    let (now, mut position) = (runtime::now(), 0);
    let begun = Instant::now();
    for number in 0..shape.batches {
        let batch = build(&mut builder, &payload, shape.batch_records, now)?;
        file.write_all_at(batch.bytes(), position)?;
        position += batch.bytes().len() as u64;
        if shape.is_synced && (number + 1) % shape.in_flight == 0 {
            file.sync_data()?;
        }
    }
    if shape.is_synced {
        file.sync_data()?;
    }
    Ok(begun.elapsed())
}

fn append_table(only: &str) -> Result<()> {
    println!("append: MB/s of payload (10^6 bytes), median (least to most) of {REPETITIONS}");
    println!("{:<42} {:>24} {:>24} {:>7} {:>12}", "", "wiber", "pwrite/fdatasync", "ratio", "records/s");
    let shape = |record_bytes, batch_records, in_flight, batches, is_synced| Shape {
        record_bytes,
        batch_records,
        in_flight,
        batches,
        is_synced,
    };
    for shape in [
        shape(1024, 1000, 16, 1_000, false),
        shape(1024, 1000, 16, 1_000, true),
        shape(100, 1000, 64, 5_000, false),
        shape(100, 1000, 64, 5_000, true),
        shape(1024, 1, 1_000, 200_000, false),
        shape(1024, 1, 1_000, 200_000, true),
        shape(100, 1, 1_000, 500_000, false),
        shape(100, 1, 1_000, 500_000, true),
        shape(1024, 1, 1, 50_000, false),
        shape(1024, 1, 1, 5_000, true),
    ] {
        if !shape.name().contains(only) {
            continue;
        }
        let (mut ours, mut raw) = (Vec::new(), Vec::new());
        for _ in 0..REPETITIONS {
            ours.push(shape.payload_bytes() / append_to_partition(shape)?.as_secs_f64() / MIB);
            raw.push(shape.payload_bytes() / append_to_file(shape)?.as_secs_f64() / MIB);
        }
        let ratio = median(&mut ours) / median(&mut raw);
        let records = median(&mut ours) * MIB / shape.record_bytes as f64;
        println!(
            "{:<42} {:>24} {:>24} {ratio:>7.2} {records:>12.0}",
            shape.name(),
            spread(&mut ours),
            spread(&mut raw)
        );
    }
    Ok(())
}

/// Reads a partition from its start to its end; returns the bytes of batches.
fn read_all(partition: &Arc<Partition>, bytes_max: usize) -> Result<u64> {
    let (mut from, mut bytes) = (partition.offsets().log_start(), 0);
    while from < partition.offsets().high_watermark() {
        let batches = match partition.read(from, bytes_max)? {
            Read::Batches(batches) => batches,
            Read::Disk(read) => read.run()?,
        };
        for batch in &batches {
            bytes += batch.bytes().len() as u64;
        }
        from = batches.last().context("a read gave nothing")?.header().next_offset();
    }
    Ok(bytes)
}

fn read_table() -> Result<()> {
    println!(
        "read: MB/s of batches, median (least to most) of {REPETITIONS}; from files in the page cache, 1 MiB at a time"
    );
    println!("{:<42} {:>24} {:>24} {:>7}", "", "wiber", "pread", "ratio");
    for (record_bytes, batch_records, batches) in
        [(1024, 1000, 1_000), (100, 1000, 5_000), (1024, 1, 300_000), (100, 1, 500_000)]
    {
        let shape = Shape { record_bytes, batch_records, in_flight: 1_000, batches, is_synced: false };
        let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
        let bench = Bench::open(dir.path(), SyncPolicy::Os)?;
        append(&bench.partition, shape, AckLevel::Leader)?;
        let (mut ours, mut raw) = (Vec::new(), Vec::new());
        for _ in 0..REPETITIONS {
            let begun = Instant::now();
            ours.push(read_all(&bench.partition, 1 << 20)? as f64 / begun.elapsed().as_secs_f64() / MIB);
            let begun = Instant::now();
            raw.push(read_files(bench.partition.log().files().dir())? as f64 / begun.elapsed().as_secs_f64() / MIB);
        }
        let ratio = median(&mut ours) / median(&mut raw);
        let name = format!("{record_bytes:>5} B x {batch_records:<4}");
        println!("{name:<42} {:>24} {:>24} {ratio:>7.2}", spread(&mut ours), spread(&mut raw));
        bench.close(true)?;
    }
    Ok(())
}

fn read_files(dir: &Path) -> Result<u64> {
    let (mut bytes, mut buffer) = (0, vec![0; 1 << 20]);
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            let (file, mut position) = (File::open(path)?, 0);
            loop {
                let read = file.read_at(&mut buffer, position)?;
                if read == 0 {
                    break;
                }
                position += read as u64;
            }
            bytes += position;
        }
    }
    Ok(bytes)
}

fn restart_table() -> Result<()> {
    println!("restart with 10 million records of 100 B in batches of 100, files in the page cache");
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
    let shape = Shape { record_bytes: 100, batch_records: 100, in_flight: 1_000, batches: 100_000, is_synced: false };
    let bench = Bench::open(dir.path(), SyncPolicy::Always)?;
    append(&bench.partition, shape, AckLevel::Durable)?;
    bench.close(true)?;
    for (name, loses) in [
        ("clean stop, with snapshot", &[][..]),
        ("without snapshot", &[".snapshots"][..]),
        ("without snapshot and indexes", &[".snapshots", "idx"][..]),
    ] {
        let mut seconds = Vec::new();
        for _ in 0..REPETITIONS {
            forget(dir.path(), loses)?;
            let begun = Instant::now();
            let bench = Bench::open(dir.path(), SyncPolicy::Always)?;
            seconds.push(begun.elapsed().as_secs_f64() * 1_000.0);
            anyhow::ensure!(
                bench.partition.offsets().log_end() == Offset::ZERO.plus(10_000_000),
                "records are missing"
            );
            bench.close(true)?;
        }
        println!("{name:<42} {:>24} ms", spread(&mut seconds));
    }
    Ok(())
}

/// Deletes snapshots (`.snapshots`) or indexes (`idx`).
fn forget(dir: &Path, what: &[&str]) -> Result<()> {
    if what.contains(&".snapshots") {
        std::fs::remove_dir_all(dir.join(".snapshots"))?;
    }
    if what.contains(&"idx") {
        for entry in std::fs::read_dir(dir.join("bench_p0"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "idx") {
                std::fs::remove_file(path)?;
            }
        }
    }
    Ok(())
}

fn memory() -> Result<()> {
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
    let bench = Bench::open(dir.path(), SyncPolicy::Always)?;
    let shape = Shape { record_bytes: 1024, batch_records: 100, in_flight: 64, batches: 41_944, is_synced: true };
    append(&bench.partition, shape, AckLevel::Durable)?;
    let read = read_all(&bench.partition, 1 << 20)?;
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).ok_or_else(|| io::Error::other("no VmHWM"))?;
    println!("memory: {:.2} GiB written and read back, {}", read as f64 / f64::from(1 << 30), peak.replace('\t', " "));
    bench.close(true)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn spread(values: &mut [f64]) -> String {
    let median = median(values);
    format!("{median:.1} ({:.1} to {:.1})", values[0], values[values.len() - 1])
}
