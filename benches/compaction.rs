//! Compaction by itself, and what publishers notice of it: `cargo bench --bench compaction [-- speed|beside]`.
//!
//! `speed` compacts the log of one partition as fast as it goes, in turns of 8 MiB, on files in the page cache. `beside`
//! publishes one record of 1 KiB after the other, each acknowledged when it is durable, while another topic is compacted
//! not at all, at the default rate, and as fast as it goes. Nothing here asserts a time.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a program that measures time and prints what it finds"
)]

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use tempfile::TempDir;
use wiber::broker::groups::classic::ClassicOptions;
use wiber::broker::metadata::{MetadataLimits, TopicSettings};
use wiber::broker::positions::PositionLimits;
use wiber::broker::publish::PublishLimits;
use wiber::broker::{Broker, BrokerOptions, BrokerStart, CommandReply, CompactionLimits, TopicDefaults};
use wiber::disk::RealDisk;
use wiber::log::{
    CompactionPolicy, CompactionStart, CompactionTurn, HandleCache, LogContext, LogOptions, PartitionFiles,
    PartitionLog, RetentionPolicy,
};
use wiber::record::{BatchBuilder, BuilderOptions, ProducedBatch};
use wiber::replica::producers::ProducerLimits;
use wiber::replica::{AckLevel, AckSink, Completion, Partition, PartitionOptions, SyncPolicy, Waiter};
use wiber::server::runtime::{self, Housekeeper, WorkPool};
use wiber::types::{CleanupPolicy, Epoch, Offset, PartitionIndex, Timestamp, TopicId, TopicName};

const MIB: f64 = 1_000_000.0;
const TURN_BYTES: u64 = 8 << 20;
const KEYS_BYTES_MAX: usize = 32 << 20;
/// Bytes of records that are compacted.
const LOG_BYTES: u64 = 512 << 20;
/// How long publishers are watched.
const WATCHED: Duration = Duration::from_secs(12);

fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let runs = |name: &str| wanted.is_empty() || wanted.iter().any(|asked| asked == name);
    if runs("speed") {
        speed()?;
    }
    if runs("beside") {
        beside()?;
    }
    Ok(())
}

/// A batch of `records` records whose keys go round over so many numbers.
fn build(number: &mut u64, keys: u64, record_bytes: usize, records: u64, now: Timestamp) -> Result<ProducedBatch> {
    let (mut builder, payload) = (BatchBuilder::new(BuilderOptions::default()), vec![b'x'; record_bytes]);
    for _ in 0..records {
        let key = format!("key-{:012}", *number % keys);
        builder.append(now, Some(key.as_bytes()), Some(&payload), &[])?;
        *number += 1;
    }
    Ok(builder.finish()?)
}

fn speed() -> Result<()> {
    println!("{:<34} {:>9} {:>9} {:>8} {:>8} {:>7}", "", "log MB/s", "read MB/s", "before", "after", "passes");
    for (record_bytes, batch_records) in [(1024, 60), (100, 500)] {
        for rounds in [1, 10] {
            let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
            let context = LogContext { disk: Arc::new(RealDisk), handles: Arc::new(HandleCache::new(64)) };
            let files = PartitionFiles::new(dir.path().join("bench_p0"));
            let (topic, id) = (TopicName::new("bench")?, TopicId::new(runtime::fresh_id()));
            let log = PartitionLog::create(context, files, LogOptions::default(), topic, PartitionIndex(0), id)?;
            let records = LOG_BYTES / record_bytes as u64;
            let (mut number, now) = (0, runtime::now());
            let first = Epoch::FIRST;
            while number < records {
                let batch = build(&mut number, records / rounds, record_bytes, batch_records, now)?;
                log.append(&[batch.number(log.state().end.next_offset, first)], now)?;
            }
            log.roll()?;
            let policy = CompactionPolicy { min_lag_ms: 0, delete_retention_ms: 86_400_000, dirty_percent_min: 0 };
            let floor = log.state().end.next_offset;
            let (mut read, mut passes, mut before) = (0, 0, 0);
            let begun = Instant::now();
            loop {
                let start = CompactionStart { floor, remembered: Default::default(), keys_bytes_max: KEYS_BYTES_MAX };
                let Some(mut compaction) = log.begin_compaction(&policy, start, now) else { break };
                let report = loop {
                    if let CompactionTurn::Done(report) = log.compact(&mut compaction, TURN_BYTES)? {
                        break report;
                    }
                };
                read += report.bytes_read;
                before = before.max(report.bytes_before);
                passes += 1;
            }
            let seconds = begun.elapsed().as_secs_f64();
            let after: u64 = log.state().file.segments.iter().filter_map(|s| s.sealed).map(|sealed| sealed.bytes).sum();
            let name = format!("{record_bytes:>5} B, {rounds:>2} of each key");
            let of = |bytes: u64| bytes as f64 / seconds / MIB;
            let mebibytes = |bytes: u64| bytes >> 20;
            println!(
                "{name:<34} {:>9.0} {:>9.0} {:>8} {:>8} {passes:>7}",
                of(before),
                of(read),
                mebibytes(before),
                mebibytes(after)
            );
        }
    }
    Ok(())
}

#[derive(Debug)]
struct Answered(Sender<bool>);

impl AckSink for Answered {
    fn complete(&self, completions: &mut dyn Iterator<Item = Completion>) {
        for completion in completions {
            let _gone = self.0.send(completion.outcome.is_ok());
        }
    }
}

fn options(dir: &Path, bytes_per_second: u64) -> BrokerOptions {
    BrokerOptions {
        data_dir: dir.to_path_buf(),
        snapshot_dir: dir.join(".snapshots"),
        snapshots_kept: 3,
        snapshot_interval_ms: 0,
        reserve_bytes: 4 << 20,
        tail_bytes: 16 << 20,
        pending_bytes: 8 << 20,
        open_segments_max: 256,
        partition: PartitionOptions {
            log: LogOptions::default(),
            sync: SyncPolicy::Always,
            retention: RetentionPolicy::default(),
            compaction: None,
            unsynced_bytes_max: 64 << 20,
            inline_write_bytes_max: 64 << 10,
            producers: ProducerLimits { producers_max: 1_000, expiry_ms: i64::MAX },
            is_internal: false,
        },
        topics: TopicDefaults { partitions: 1, message_bytes_max: 1 << 20 },
        publish: PublishLimits { dedup_window_ms: 0, ..PublishLimits::default() },
        limits: MetadataLimits { topics_max: 10, partitions_max: 10 },
        compaction: CompactionLimits { bytes_per_second, ..CompactionLimits::default() },
        positions: PositionLimits::default(),
        classic_groups: ClassicOptions::default(),
    }
}

fn create(broker: &Arc<Broker>, name: &str, cleanup_policy: CleanupPolicy) -> Result<Arc<Partition>> {
    let topic = TopicName::new(name)?;
    let (done, created) = channel();
    let reply = CommandReply::new(move |result| {
        let _gone = done.send(result);
    });
    let settings = TopicSettings { cleanup_policy: Some(cleanup_policy), ..TopicSettings::default() };
    broker.create_topic(&topic, Some(1), settings, runtime::fresh_topic_id(), runtime::now(), reply);
    created.recv()?.map_err(|error| anyhow!("{error}"))?;
    broker.partition(&topic, PartitionIndex(0)).map_err(|error| anyhow!("{error}"))
}

fn publish(partition: &Arc<Partition>, batch: ProducedBatch) -> Result<Duration> {
    let (sender, answers) = channel();
    let waiter = Waiter { sink: Arc::new(Answered(sender)), token: 0 };
    let begun = Instant::now();
    partition.append(batch, AckLevel::Durable, Some(waiter), runtime::now())?;
    anyhow::ensure!(answers.recv()?, "an append failed");
    Ok(begun.elapsed())
}

fn beside() -> Result<()> {
    println!("{:<34} {:>9} {:>9} {:>9} {:>9} {:>12}", "", "p50 ms", "p99 ms", "p99.9 ms", "records", "compacted MB");
    let rates = [
        ("not compacted", None),
        ("compacted at the default rate", Some(CompactionLimits::default().bytes_per_second)),
    ];
    for (name, rate) in rates.into_iter().chain([("compacted as fast as it goes", Some(64 << 30))]) {
        let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
        let threads = WorkPool::start(2, 16)?;
        let start = BrokerStart {
            disk: Arc::new(RealDisk),
            queue: threads.queue(),
            fresh_directory_id: runtime::fresh_id(),
            now: runtime::now(),
        };
        let (broker, _) = Broker::open(options(dir.path(), rate.unwrap_or(1)), start)?;
        let policy = if rate.is_some() { CleanupPolicy::Compact } else { CleanupPolicy::Delete };
        let (watched, other) = (create(&broker, "watched", CleanupPolicy::Delete)?, create(&broker, "other", policy)?);
        let (mut number, records) = (0, LOG_BYTES / 1024);
        while number < records {
            publish(&other, build(&mut number, records / 10, 1024, 500, runtime::now())?)?;
        }
        let housekeeper = Housekeeper::start(Arc::clone(&broker))?;
        let (mut latencies, begun) = (Vec::new(), Instant::now());
        while begun.elapsed() < WATCHED {
            let batch = build(&mut number, u64::MAX, 1024, 1, runtime::now())?;
            latencies.push(publish(&watched, batch)?.as_secs_f64() * 1_000.0);
        }
        latencies.sort_by(f64::total_cmp);
        let at = |per_mille: usize| latencies[(latencies.len() - 1) * per_mille / 1_000];
        let compacted = other.log().state().file.compacted_to.since(Offset::ZERO) * 1_024;
        println!(
            "{name:<34} {:>9.2} {:>9.2} {:>9.2} {:>9} {:>12.0}",
            at(500),
            at(990),
            at(999),
            latencies.len(),
            compacted as f64 / MIB
        );
        housekeeper.stop();
        anyhow::ensure!(runtime::drain(&broker, Duration::from_secs(60)), "not drained");
        threads.stop();
    }
    Ok(())
}
