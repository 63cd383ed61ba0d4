//! `wiber-client bench`: what it counts is what the broker stored, and what it made it takes away again.

use std::fs;
use std::process::Child;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{command, json, refused, start};
use crate::harness::{BOUND, Server, Setup, client};

const MEMBERS: [&str; 12] = [
    "bytes",
    "errors",
    "max_us",
    "messages",
    "messages_per_s",
    "mb_per_s",
    "p50_us",
    "p999_us",
    "p99_us",
    "seconds",
    "server_cpu_s",
    "server_rss_mib",
];

/// Has every member and no other, and they agree with each other.
fn check_report(report: &Value, messages: u64, size: u64) {
    let mut names: Vec<&str> = report.as_object().expect("an object").keys().map(String::as_str).collect();
    let mut expected = MEMBERS;
    names.sort_unstable();
    expected.sort_unstable();
    assert_eq!(names, expected);
    assert_eq!((&report["messages"], &report["bytes"]), (&messages.into(), &(messages * size).into()), "{report}");
    assert_eq!(report["errors"], 0, "{report}");
    let number = |name: &str| report[name].as_f64().unwrap_or_else(|| panic!("{name} in {report}"));
    let seconds = number("seconds");
    assert!(seconds > 0.0, "{report}");
    // As closely as the numbers' own digits allow.
    let agree = |rate: f64, step: f64, count: f64| (rate - count / seconds).abs() <= step + 0.01 * rate;
    assert!(agree(number("messages_per_s"), 0.1, messages as f64), "{report}");
    assert!(agree(number("mb_per_s"), 0.001, (messages * size) as f64 / 1e6), "{report}");
    assert!(number("server_cpu_s") >= 0.0 && number("server_rss_mib") > 0.0, "{report}");
}

fn check_latencies(report: &Value, is_told: bool) {
    let latencies = ["p50_us", "p99_us", "p999_us", "max_us"].map(|name| report[name].as_f64());
    if !is_told {
        assert_eq!(latencies, [None; 4], "{report}");
        return;
    }
    assert!(latencies[0].is_some_and(|p50| p50 > 0.0) && latencies.is_sorted(), "{report}");
}

fn topics(server: &Server) -> Vec<String> {
    let listed = json(server, &["topics", "list"]);
    let names = listed["topics"].as_array().expect("topics").iter();
    names.map(|topic| topic["topic"].as_str().expect("a name").to_owned()).collect()
}

/// How many records a topic holds, also those whose sync nobody waited for; none where there is no such topic.
fn stored(server: &Server, topic: &str) -> u64 {
    let ran = client(server, &["topics", "describe", topic, "-o", "json"]);
    let Ok(described) = serde_json::from_slice::<Value>(&ran.out) else { return 0 };
    let partitions = described["partitions"].as_array().expect("partitions").iter();
    partitions.map(|partition| partition["log_end"].as_u64().unwrap_or(0)).sum()
}

/// A workload with its options: what it is to report, and what the topic holds afterwards.
struct Case {
    arguments: &'static [&'static str],
    messages: u64,
    size: u64,
    stored: u64,
    has_latencies: bool,
}

fn case(arguments: &'static [&'static str], messages: u64, size: u64) -> Case {
    let has_latencies = arguments[0] != "consume";
    Case { arguments, messages, size, stored: messages, has_latencies }
}

#[test]
fn what_is_counted_is_what_is_stored() {
    let (_directory, server) = start(1);
    let cases = [
        case(&["publish", "-n", "5k"], 5_000, 1024),
        case(&["publish", "-n", "999", "--size", "100", "--batch", "100", "--producers", "2"], 999, 100),
        case(&["publish", "-n", "2000", "--single", "--in-flight", "64", "--ack", "durable"], 2_000, 1024),
        case(&["publish", "-n", "700", "--size", "3", "--partitions", "3", "--linger", "1ms"], 700, 3),
        case(&["publish", "-n", "3000", "--compression", "lz4", "--ack", "leader"], 3_000, 1024),
        case(&["publish", "-n", "500", "--rate", "5k", "--batch", "10"], 500, 1024),
        Case { stored: 1_300, ..case(&["publish", "-n", "1000", "--warmup", "300"], 1_000, 1024) },
        case(&["consume", "-n", "5k"], 5_000, 1024),
        case(&["consume", "-n", "3k", "--ack", "leader"], 3_000, 1024),
        case(&["consume", "-n", "1000", "--single", "--size", "40"], 1_000, 40),
        case(&["consume", "-n", "1000", "--consumers", "2", "--partitions", "5"], 1_000, 1024),
        Case { stored: 1_000, ..case(&["consume", "-n", "1000", "--consumers", "3"], 3_000, 1024) },
        Case { stored: 550, ..case(&["latency", "-n", "500", "--rate", "2k"], 500, 1024) },
        Case { stored: 330, ..case(&["latency", "-n", "300", "--rate", "3k", "--batch", "10", "-s", "24"], 300, 24) },
        case(&["mixed", "-n", "5000", "--producers", "2", "--consumers", "2"], 5_000, 1024),
        case(&["mixed", "-n", "2000", "--single", "--partitions", "2", "--size", "100"], 2_000, 100),
        case(&["mixed", "-n", "1000", "--consumers", "2", "--partitions", "4", "--compression", "zstd"], 1_000, 1024),
        Case { has_latencies: false, ..case(&["mixed", "-n", "1000", "--size", "8"], 1_000, 8) },
    ];
    for (number, case) in cases.iter().enumerate() {
        let topic = format!("kept-{number}");
        let arguments = [&["bench"], case.arguments, &["--keep", "--topic", &topic]].concat();
        let report = json(&server, &arguments);
        check_report(&report, case.messages, case.size);
        check_latencies(&report, case.has_latencies);
        assert_eq!(stored(&server, &topic), case.stored, "{arguments:?}");
    }
}

#[test]
fn the_time_ends_a_run() {
    let (_directory, server) = start(1);
    for workload in ["publish", "mixed", "latency"] {
        let report = json(&server, &["bench", workload, "--duration", "200ms", "--topic", workload, "--keep"]);
        let messages = report["messages"].as_u64().expect("a count");
        check_report(&report, messages, 1024);
        assert!(messages > 0 && messages <= stored(&server, workload), "{report}");
    }
}

#[test]
fn a_topic_made_for_the_run_is_deleted() {
    let (_directory, server) = start(1);
    let before = topics(&server);
    for workload in ["publish", "consume", "latency", "mixed"] {
        json(&server, &["bench", workload, "-n", "100"]);
        json(&server, &["bench", workload, "-n", "100", "--topic", "named"]);
        assert_eq!(topics(&server), before, "{workload}");
    }
    json(&server, &["bench", "publish", "-n", "100", "--keep"]);
    let kept: Vec<String> = topics(&server).into_iter().filter(|topic| !before.contains(topic)).collect();
    assert!(kept.len() == 1 && kept[0].starts_with("bench-"), "{kept:?}");
    // One that was there before is used as it is, and stays.
    json(&server, &["bench", "publish", "-n", "100", "--topic", "t"]);
    json(&server, &["bench", "mixed", "-n", "100", "--topic", "t"]);
    assert_eq!(stored(&server, "t"), 200);
    assert_eq!(json(&server, &["bench", "consume", "--topic", "t"])["messages"], 200);
    assert_eq!(json(&server, &["bench", "consume", "--topic", "t", "-n", "150"])["messages"], 150);
    assert_eq!(json(&server, &["bench", "consume", "--topic", "t", "-n", "300"])["messages"], 300);
    assert_eq!(stored(&server, "t"), 300);
}

/// A run that is to be ended by something else, once the topic `topic` holds this many records.
fn run_until(server: &Server, topic: &str, records: u64, arguments: &[&str]) -> Child {
    let mut bench = command(server, &[&["-o", "json", "bench"], arguments, &["--topic", topic]].concat());
    let mut child = bench.spawn().expect("wiber-client runs");
    let polls = BOUND.as_millis() / 20;
    for _ in 0..polls {
        if stored(server, topic) >= records {
            return child;
        }
        assert_eq!(child.try_wait().expect("it is there"), None, "{arguments:?} ended by itself");
        #[expect(clippy::disallowed_methods, reason = "between two looks at a broker in another process")]
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(child.kill());
    panic!("{arguments:?}: too little was stored");
}

#[test]
fn a_killed_server_leaves_a_result() {
    for arguments in [
        &["publish", "--partitions", "2", "--duration", "1h", "--batch", "100"][..],
        &["publish", "--single", "-n", "100M", "--size", "100"],
        &["mixed", "--duration", "1h", "--rate", "20k"],
        &["latency", "--duration", "1h", "--warmup", "10"],
    ] {
        let directory = tempfile::tempdir().expect("a directory");
        let setup = Setup::new(&directory.path().join("data")).expect_line("a torn tail was cut off");
        let server = setup.start();
        let arguments = [arguments, &["--keep", "--timeout", "4s"]].concat();
        let child = run_until(&server, "t", 20_000, &arguments);
        server.kill();
        let ran = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains("not everything was acknowledged"), "{arguments:?}: {said}");
        let report: Value = serde_json::from_slice(&ran.stdout).expect("JSON");
        let server = setup.start();
        let (counted, stored) = (report["messages"].as_u64().expect("a count"), stored(&server, "t"));
        assert!(counted > 0 && counted <= stored, "{arguments:?}: {stored} stored, {report}");
        assert!(report["errors"].as_u64().is_some_and(|errors| errors > 0), "{arguments:?}: {report}");
        server.terminate();
    }
}

#[test]
fn an_interrupted_run_deletes_its_topic() {
    let (_directory, server) = start(1);
    let before = topics(&server);
    for (arguments, has_result) in [
        (&["publish", "--duration", "1h"][..], true),
        (&["mixed", "--single", "-n", "100M"], true),
        (&["consume", "-n", "100M"], false),
    ] {
        let child = run_until(&server, "named", 3_000, arguments);
        kill_process(Pid::from_child(&child), Signal::INT).expect("signalled");
        let ran = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.success(), has_result, "{arguments:?}: {said}");
        match serde_json::from_slice::<Value>(&ran.stdout) {
            Ok(report) => check_report(&report, report["messages"].as_u64().expect("a count"), 1024),
            Err(_) => assert!(!has_result && said.contains("interrupted"), "{arguments:?}: {said}"),
        }
        assert_eq!(topics(&server), before, "{arguments:?}");
    }
}

#[test]
fn results_for_people_and_for_tables() {
    let (directory, server) = start(1);
    let check = |arguments: &[&str], parts: &[&str]| {
        let text = client(&server, &[&["bench"], arguments].concat()).expect_text();
        for part in parts {
            assert!(text.contains(part), "{text} lacks {part:?}");
        }
    };
    let sent = ["publish 'bench-", "batches of 1000, 1 partition, 1 producer", "acknowledged", "P99.9", "server: "];
    check(&["publish", "-n", "1000"], &sent);
    let verified = "verified: every message as it was sent, none missing, none twice, all in order";
    check(&["consume", "-n", "1000"], &["consume 'bench-", "read", "1000", verified]);
    let both = ["single messages", "acknowledged", "delivered", "both", "2000 messages/s", verified];
    check(&["latency", "-n", "100", "--rate", "2k"], &both);
    client(&server, &["publish", "t", "somebody else's"]).expect_out();
    check(&["consume", "--topic", "t"], &["Not of a run, and not verified: 1"]);

    let file = directory.path().join("results.csv");
    let path = file.to_str().expect("UTF-8");
    check(&["publish", "-n", "100", "--csv", path], &["acknowledged"]);
    json(&server, &["bench", "mixed", "-n", "100", "--csv", path]);
    let written = fs::read_to_string(&file).expect("a file");
    let lines: Vec<&str> = written.lines().collect();
    assert_eq!(lines.len(), 3, "{written}");
    assert!(lines[0].starts_with("workload,topic,messages,bytes,seconds,"), "{written}");
    assert!(lines[1].starts_with("publish,bench-") && lines[2].starts_with("mixed,bench-"), "{written}");
    check(&["publish", "-n", "100", "--csv"], &["workload,topic,messages", ",100,102400,"]);
    refused(&server, &["bench", "publish", "-n", "10", "--csv", "/dev/null/file"], 1, "cannot write");
}

#[test]
fn options_that_cannot_be_are_refused() {
    let (_directory, server) = start(2);
    let before = topics(&server);
    for (arguments, part) in [
        (&["publish", "--messages", "many"][..], "'many' is no count"),
        (&["publish", "--size", "0"], "at least 1 byte"),
        (&["publish", "--consumers", "2"], "bench mixed"),
        (&["publish", "--in-flight", "6"], "at most 5"),
        (&["publish", "--ack", "none"], "--ack"),
        (&["consume", "--rate", "10"], "publishes nothing"),
        (&["latency", "--size", "10"], "at least 24 bytes"),
        (&["mixed", "--single", "--linger", "5ms"], "--linger is for batches"),
        (&["mixed", "--topic", "t", "--partitions", "3"], "exists with 2 partitions"),
        (&["mixed", "-o", "json", "--csv"], "name a file"),
        (&["sideways"], "sideways"),
    ] {
        refused(&server, &[&["bench"], arguments].concat(), 2, part);
    }
    refused(&server, &["bench", "publish", "--topic", "__meta"], 1, "__meta");
    // Too large for the topic: nothing is acknowledged, and that is said.
    refused(&server, &["bench", "publish", "--size", "2MiB", "-n", "3"], 1, "not everything was acknowledged");
    assert_eq!(topics(&server), before);
}
