//! The tools end to end on a faulty disk: what they print and how they end.

use std::path::Path;

use clap::Parser;
use serde_json::Value;
use uuid::Uuid;

use super::*;
use crate::disk::faulty::FaultyDisk;
use crate::log::{DataDirectory, HandleCache, LogContext, LogOptions, PartitionFiles, PartitionLog};
use crate::record::{BatchBuilder, BuilderOptions};
use crate::types::{Epoch, Offset, PartitionIndex, Timestamp, TopicId, TopicName};

#[derive(Debug, Parser)]
struct Command {
    #[command(subcommand)]
    tool: ServerTool,
}

/// Three batches of two records, the second one's value not UTF-8.
fn disk() -> FaultyDisk {
    let faulty = FaultyDisk::new();
    let disk: Arc<dyn Disk> = Arc::new(faulty.clone());
    DataDirectory::open(Arc::clone(&disk), "/data".into(), Uuid::from_u128(1)).unwrap();
    let context = LogContext { disk, handles: Arc::new(HandleCache::new(8)) };
    let (topic, id) = (TopicName::new("events").unwrap(), TopicId::new(Uuid::from_u128(2)));
    let files = PartitionFiles::new("/data/events_p0".into());
    let log = PartitionLog::create(context, files, LogOptions::default(), topic, PartitionIndex(0), id).unwrap();
    for number in 0..3 {
        let mut builder = BatchBuilder::new(BuilderOptions::default());
        let now = Timestamp::from_millis(1_000);
        builder.append(now, Some(b"k"), Some(b"line\nbreak"), &[(b"h", None)]).unwrap();
        builder.append(now, None, Some(&[0xff, 0]), &[]).unwrap();
        let batch = builder.finish().unwrap().number(Offset::new(number * 2).unwrap(), Epoch::FIRST);
        log.append(&[batch], now).unwrap();
    }
    log.sync(log.state().end).unwrap();
    faulty
}

fn damaged_disk() -> FaultyDisk {
    let disk = disk();
    disk.flip_bit("/data/events_p0/00000000000000000000.log", 90, 3).unwrap();
    disk
}

/// Runs a command line; its exit, what it printed, what it said on standard error or failed with.
fn command(disk: &FaultyDisk, line: &str) -> (Exit, String, String) {
    let Command { tool } = Command::try_parse_from(std::iter::once("wiber-server").chain(line.split(' '))).unwrap();
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let terminal = Terminal { stderr_is_terminal: false, stdin_is_terminal: false };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = run_on(&tool, &disk, terminal, &mut out, &mut err).unwrap_or_else(|error| {
        writeln!(err, "{error}").unwrap();
        error.exit()
    });
    (exit, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

fn check(disk: &FaultyDisk, line: &str, exit: Exit, expected: &[&str]) -> String {
    let (found, out, err) = command(disk, line);
    assert_eq!(found, exit, "{line}: {out}{err}");
    for part in expected {
        assert!(out.contains(part) || err.contains(part), "{line}: no {part:?} in\n{out}{err}");
    }
    out
}

fn objects(out: &str) -> Vec<Value> {
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn verify_tells_whole_from_damaged_from_missing() {
    let whole = ["all whole", "events_p0: whole; log start 0, log end 6; 1 segments, 3 batches, 6 records"];
    check(&disk(), "verify /data", Exit::Whole, &whole);
    let damage = ["events_p0: DAMAGED", "damage: 00000000000000000000.log, byte 0", "offsets 0 to 1 lost", "--dry-run"];
    check(&damaged_disk(), "verify /data", Exit::Damaged, &damage);
    let out = check(&damaged_disk(), "verify /data -o json", Exit::Damaged, &[]);
    let report = &objects(&out)[0];
    assert_eq!(report["partitions"][0]["findings"][0]["lost"], serde_json::json!([0, 2]));
    assert_eq!(report["partitions"][0]["log_end"], 6);
    check(&disk(), "verify /nowhere", Exit::NotFound, &["storage.data_dir"]);
    let locked = disk();
    let _server = locked.lock_dir(Path::new("/data")).unwrap();
    check(&locked, "verify /data", Exit::Whole, &["warning: a wiber-server is using /data"]);
}

#[test]
fn verify_checks_snapshots_where_they_are_named() {
    let disk = disk();
    let content = format!(r#"{{"directory_id":"{}"}}"#, Uuid::from_u128(1));
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, content.as_bytes());
    let snapshot = format!("{{\"version\":1,\"checksum\":\"crc32c:{crc:08x}\",\"content\":{content}}}\n");
    disk.write_all("/snapshots/snapshot_20260102_030405.json", snapshot.as_bytes()).unwrap();
    let line = "verify /data --snapshot-dir /snapshots";
    check(&disk, line, Exit::Whole, &["snapshot_20260102_030405.json: whole"]);
    disk.flip_bit("/snapshots/snapshot_20260102_030405.json", snapshot.len() as u64 - 10, 0).unwrap();
    check(&disk, line, Exit::Damaged, &["of no use", "checksum crc32c:"]);
}

#[test]
fn dump_prints_what_it_is_asked_for() {
    let disk = disk();
    let batches = ["offsets 0 to 1: byte 0", "offsets 4 to 5", "codec none", "epoch 1", "ok"];
    check(&disk, "dump /data", Exit::Whole, &batches);
    let text = ["2 @1000 key \"k\" value \"line\\nbreak\" \"h\"=null", "3 @1000 key null value \"\u{fffd}\\u{0}\""];
    let out = check(&disk, "dump /data events_p0 --records --from-offset 2 --count 2", Exit::Whole, &text);
    assert_eq!(out.lines().count(), 3, "{out}");
    let out = check(&disk, "dump /data events_p0 --records --from-offset 3 --count 1 -o json", Exit::Whole, &[]);
    let record = &objects(&out)[0];
    assert_eq!((&record["value"], &record["value_encoding"]), (&Value::from("/wA="), &Value::from("base64")));
    assert_eq!(record["offset"], 3);
    let segments = ["topic id 00000000-0000-0000-0000-000000000002", "00000000000000000000.log active"];
    check(&disk, "dump /data --segments", Exit::Whole, &segments);
    check(&disk, "dump /data --index", Exit::Whole, &["slot 0 header", "durable mark", "next offset 6"]);
    let all = check(&disk, "dump /data --segments --index --batches -o json", Exit::Whole, &[]);
    assert_eq!(objects(&all).iter().filter(|object| object["type"] == "batch").count(), 3);
    check(&disk, "dump /data logs_p0", Exit::NotFound, &["no partition \"logs_p0\""]);
    let out =
        check(&damaged_disk(), "dump /data", Exit::Damaged, &["DAMAGED", "offsets 0 to 1 lost", "offsets 2 to 3"]);
    assert_eq!(out.lines().count(), 4, "{out}");
}

#[test]
fn repair_asks_shows_and_mends() {
    let disk = damaged_disk();
    check(&disk, "repair /data", Exit::Usage, &["--yes"]);
    let plan = ["write 00000000000000000000.log anew", "record offsets 0 to 1 as lost", "nothing was changed"];
    check(&disk, "repair /data --dry-run", Exit::Whole, &plan);
    check(&disk, "verify /data", Exit::Damaged, &[]);
    let out = check(&disk, "repair /data events_p0 --yes -o json", Exit::Whole, &[]);
    let report = &objects(&out)[0];
    assert_eq!((&report["applied"], &report["whole"]), (&Value::from(true), &Value::from(true)));
    assert!(
        report["set_aside"].as_array().unwrap().iter().any(|path| path.as_str().unwrap().contains(".log.damaged-1"))
    );
    check(&disk, "verify /data", Exit::Whole, &["all whole"]);
    check(&disk, "repair /data --yes", Exit::Whole, &["nothing to repair in 1 partitions"]);
    check(&disk, "repair /data logs_p0 --yes", Exit::NotFound, &[]);
    let _server = disk.lock_dir(Path::new("/data")).unwrap();
    check(&disk, "repair /data --yes", Exit::Damaged, &["stop it first"]);
}

#[test]
fn the_tools_work_on_real_files() {
    let source = damaged_disk();
    let dir = tempfile::tempdir().unwrap();
    for path in source.paths() {
        let target = dir.path().join(path.strip_prefix("/").unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::write(target, source.read_all(&path).unwrap()).unwrap();
    }
    let data = dir.path().join("data");
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let terminal = Terminal { stderr_is_terminal: false, stdin_is_terminal: false };
    for (line, expected) in [("verify", Exit::Damaged), ("repair --yes", Exit::Whole), ("verify", Exit::Whole)] {
        let words = std::iter::once("wiber-server").chain(line.split(' ')).chain([data.to_str().unwrap()]);
        let Command { tool } = Command::try_parse_from(words).unwrap();
        let exit = run_on(&tool, &disk, terminal, &mut Vec::new(), &mut Vec::new()).unwrap();
        assert_eq!(exit, expected, "{line}");
    }
    let kept = data.join("events_p0/set-aside/00000000000000000000.log.damaged-1");
    assert!(kept.exists());
}
