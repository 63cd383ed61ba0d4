//! Eight megabytes of lines with keys and headers through three partitions, while two subscribers read and a second
//! publisher is killed: everything comes out once, in order, byte for byte.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use wiber::types::partition_for_key;

use super::{command, json};
use crate::corpus;
use crate::harness::{Chance, Server, Setup, a_moment, client};

const CORPUS_BYTES: usize = 8 << 20;
const PARTITIONS: u32 = 3;
/// As they are given, and as they are shown.
const HEADERS: &str = r#"{"source": "corpus", "umlaut": "ü\"\\"}"#;
/// What the lines of the publisher that is killed begin with, and the last line of each partition.
const LOST: &[u8] = b"\x01lost ";
const LAST: &[u8] = b"\x01last";

type Lines = Vec<Vec<u8>>;

/// Lines with their newlines, each with a key before it, and what each partition must hold.
fn keyed() -> (Vec<u8>, BTreeMap<u32, Lines>) {
    let text = corpus::text(CORPUS_BYTES);
    let (mut file, mut expected) = (Vec::new(), BTreeMap::<u32, Lines>::new());
    for (number, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let key = format!("key {}", number % 101);
        file.extend_from_slice(key.as_bytes());
        file.extend_from_slice(b"\t");
        file.extend_from_slice(line);
        file.push(b'\n');
        let shown = [key.as_bytes(), b"|", HEADERS.as_bytes(), b"|", line].concat();
        expected.entry(partition_for_key(key.as_bytes(), PARTITIONS).0).or_default().push(shown);
    }
    (file, expected)
}

fn subscribe(server: &Server) -> Child {
    let format = r"{partition}|{key}|{headers}|{value}\n";
    // It ends by itself where what it waits for does not come.
    let arguments = ["subscribe", "t", "--all-partitions", "--timeout", "120", "--format", format];
    command(server, &arguments).stderr(Stdio::null()).spawn().expect("it runs")
}

/// Reads until every partition has shown its last line; what came of each, without that.
fn read(child: &mut Child) -> BTreeMap<u32, Lines> {
    let mut out = BufReader::with_capacity(1 << 20, child.stdout.take().expect("piped"));
    let (mut read, mut ended) = (BTreeMap::<u32, Lines>::new(), 0);
    while ended < PARTITIONS {
        let mut line = Vec::new();
        assert!(out.read_until(b'\n', &mut line).expect("a line") > 0, "the subscriber ended");
        line.pop();
        let partition = u32::from(line[0] - b'0');
        if line.ends_with(LAST) {
            ended += 1;
        } else {
            read.entry(partition).or_default().push(line.split_off(2));
        }
    }
    kill_process(Pid::from_child(child), Signal::TERM).expect("signalled");
    drop(out);
    assert!(child.wait().expect("it ends").success());
    read
}

/// A publisher of numbered lines without end, of which the first has come through.
fn start_lost<'a>(scope: &'a thread::Scope<'a, '_>, server: &Server, partition: u32) -> Child {
    let arguments = ["publish", "t", "--partition", &partition.to_string(), "--batch", "50"];
    let mut publisher = command(server, &arguments).spawn().expect("it runs");
    let mut input = publisher.stdin.take().expect("piped");
    scope.spawn(move || {
        // Until the publisher is killed.
        for number in 0_u32.. {
            let line = [LOST, number.to_string().as_bytes(), b"\n"].concat();
            if input.write_all(&line).is_err() {
                return;
            }
        }
    });
    while json(server, &["topics", "describe", "t"])["partitions"][partition as usize]["high_watermark"] == 0 {
        assert!(publisher.try_wait().expect("asked").is_none(), "the publisher ended");
    }
    publisher
}

/// Takes the lines of the killed publisher out, and sees that they are the first ones, each once, in order.
fn without_lost(lines: Lines) -> (Lines, usize) {
    let is_lost = |line: &Vec<u8>| line.windows(LOST.len()).any(|window| window == LOST);
    let (lost, rest): (Lines, Lines) = lines.into_iter().partition(is_lost);
    for (number, line) in lost.iter().enumerate() {
        let expected = [b"|{}|", LOST, number.to_string().as_bytes()].concat();
        assert_eq!(line, &expected, "{}", String::from_utf8_lossy(line));
    }
    (rest, lost.len())
}

#[test]
fn everything_comes_out_as_it_went_in() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Setup::new(&directory.path().join("data")).set("QB_LOG_LEVEL", "INFO").start();
    client(&server, &["create-topic", "t", "--partitions", &PARTITIONS.to_string()]).expect_out();
    let (file, expected) = keyed();
    let path = directory.path().join("lines.tsv");
    fs::write(&path, file).expect("written");
    let path = path.to_str().expect("UTF-8");
    let mut chance = Chance::new(11);
    let (mut first, mut second) = (subscribe(&server), subscribe(&server));
    let (first, second) = thread::scope(|scope| {
        let first = scope.spawn(|| read(&mut first));
        let second = scope.spawn(|| read(&mut second));
        let mut lost = start_lost(scope, &server, 1);
        let arguments =
            ["publish", "t", "--file", path, "--key-separator", r"\t", "--properties", HEADERS, "-o", "json"];
        let publisher = command(&server, &arguments).stdin(Stdio::null()).spawn().expect("it runs");
        a_moment(&mut chance, 500);
        lost.kill().expect("killed");
        lost.wait().expect("ended");
        let told = publisher.wait_with_output().expect("it ends").stdout;
        let told: serde_json::Value = serde_json::from_slice(&told).expect("JSON");
        let lines: usize = expected.values().map(Vec::len).sum();
        assert_eq!((&told["acknowledged"], &told["not_acknowledged"]), (&lines.into(), &0.into()), "{told}");
        for partition in 0..PARTITIONS {
            let last = String::from_utf8_lossy(LAST).into_owned();
            client(&server, &["publish", "t", &last, "--partition", &partition.to_string()]).expect_out();
        }
        (first.join().expect("read"), second.join().expect("read"))
    });
    assert!(first == second, "two subscribers saw different records");
    for (partition, lines) in first {
        let (lines, lost) = without_lost(lines);
        assert_eq!(lost > 0, partition == 1, "{lost} lines of the killed publisher in partition {partition}");
        let expected = &expected[&partition];
        let differs = lines.iter().zip(expected).position(|(line, expected)| line != expected);
        assert_eq!((lines.len(), differs), (expected.len(), None), "partition {partition}");
    }
    // And again from the disk, partition by partition, as payloads alone.
    for (partition, expected) in &expected {
        let end = &json(&server, &["topics", "describe", "t"])["partitions"][*partition as usize]["log_end"];
        let arguments = ["subscribe", "t", "--raw", "--partition", &partition.to_string(), "--count", &end.to_string()];
        let out = client(&server, &arguments).expect_out();
        let lines = out.split(|&byte| byte == b'\n').filter(|line| !line.starts_with(LOST) && !line.ends_with(LAST));
        let values = expected.iter().map(|line| line.splitn(3, |&byte| byte == b'|').nth(2).expect("a value"));
        assert!(lines.take(expected.len()).eq(values), "partition {partition}");
    }
    server.terminate();
}
