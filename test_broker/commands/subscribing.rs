//! `wiber-client subscribe`: where it starts, what it prints, how it ends.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ExitStatus};

use rustix::process::{Pid, Signal, kill_process};

use super::{command, start};
use crate::harness::{Server, client, client_with_input};

/// Publishes lines to partition 0 of `t`.
fn publish(server: &Server, directory: &tempfile::TempDir, lines: &str) {
    let file = directory.path().join("lines");
    std::fs::write(&file, lines).expect("written");
    client_with_input(server, &["publish", "t", "--partition", "0"], &file).expect_out();
}

fn check(server: &Server, arguments: &[&str], expected: &str) {
    let out = client(server, &[&["subscribe", "t"], arguments].concat()).expect_text();
    assert_eq!(out, expected, "{arguments:?}");
}

/// Waits for the end of a child, and what it said.
fn end(mut child: Child) -> (ExitStatus, String) {
    let mut said = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut said).expect("UTF-8");
    (child.wait().expect("it ends"), said)
}

#[test]
fn every_start() {
    let (directory, server) = start(2);
    publish(&server, &directory, "a\nb\nc\n");
    let opening = |offset: u64| format!("Subscribing to t:0 from offset {offset}\nPress Ctrl+C to stop...\n");
    check(&server, &["--from", "start", "--count", "1"], &format!("{}[t:0@0] a\n", opening(0)));
    check(&server, &["--from", "-2", "--raw", "--count", "2"], "b\nc\n");
    check(&server, &["--from", "-99", "--raw", "--count", "3"], "a\nb\nc\n");
    check(&server, &["--from", "end", "--timeout", "0.2"], &opening(3));
    check(&server, &["--from", "-1h", "--raw", "--count", "3"], "a\nb\nc\n");
    check(&server, &["--from", "2020-01-01", "--raw", "--count", "1"], "a\n");
    check(&server, &["--from", "2999-01-01T00:00:00Z", "--timeout", "0.2"], &opening(3));
    check(&server, &["--offset", "2", "--count", "1"], &format!("{}[t:0@2] c\n", opening(2)));
    check(&server, &["--partition", "1", "--raw", "--timeout", "0.2"], "");
    for from in ["start", "-5", "-1h"] {
        check(&server, &["--all-partitions", "--from", from, "--raw", "--count", "3"], "a\nb\nc\n");
    }
    let all = client(&server, &["subscribe", "t", "--all-partitions", "--count", "1"]).expect_text();
    assert_eq!(all, "Subscribing to all 2 partitions of t\nPress Ctrl+C to stop...\n[t:0@0] a\n");
}

#[test]
fn positions_are_kept_as_far_as_was_printed() {
    let (directory, server) = start(2);
    publish(&server, &directory, "a\nb\nc\nd\n");
    let me = ["--client-id", "me", "--from", "committed", "--raw"];
    check(&server, &[&me[..], &["--count", "1"]].concat(), "a\n");
    check(&server, &[&me[..], &["--count", "2"]].concat(), "b\nc\n");
    check(&server, &["--client-id", "other", "--from", "committed", "--raw", "--count", "1"], "a\n");
    check(&server, &[&me[..], &["--all-partitions", "--count", "1"]].concat(), "d\n");
    check(&server, &[&me[..], &["--timeout", "0.2"]].concat(), "");
}

/// Where exactly as many records as one run has were there, and then none, the last ones stayed in the output's buffer
/// until the next record came: whoever waited for them waited for ever.
#[test]
fn what_was_printed_does_not_wait_for_the_next_record() {
    let (directory, server) = start(1);
    for count in [255, 256, 257, 512] {
        client(&server, &["topics", "delete", "t", "--yes"]).expect_out();
        client(&server, &["create-topic", "t"]).expect_out();
        publish(&server, &directory, &"line\n".repeat(count));
        let mut subscriber = command(&server, &["subscribe", "t", "--raw"]).spawn().expect("it runs");
        let mut lines = BufReader::new(subscriber.stdout.take().expect("piped")).lines();
        assert!(lines.by_ref().take(count).all(|line| line.expect("a line") == "line"));
        kill_process(Pid::from_child(&subscriber), Signal::TERM).expect("signalled");
        assert!(end(subscriber).0.success());
    }
}

#[test]
fn a_killed_subscriber_misses_nothing() {
    let (directory, server) = start(1);
    let lines: Vec<String> = (0..20_000).map(|number| format!("record {number}")).collect();
    publish(&server, &directory, &lines.join("\n"));
    let arguments = ["subscribe", "t", "--client-id", "me", "--from", "committed", "--raw"];
    let mut first = command(&server, &arguments).spawn().expect("it runs");
    let mut out = BufReader::new(first.stdout.take().expect("piped"));
    let mut printed = String::new();
    for _ in 0..5_000 {
        out.read_line(&mut printed).expect("a line");
    }
    first.kill().expect("killed");
    // What it had printed when it was killed, though nobody had read it yet.
    out.read_to_string(&mut printed).expect("UTF-8");
    first.wait().expect("ended");
    let whole = printed.matches('\n').count();
    assert!(printed.lines().take(whole).eq(&lines[..whole]), "{whole} lines");
    let rest = client(&server, &[&arguments[..], &["--timeout", "3"]].concat()).expect_text();
    let from = lines.len() - rest.lines().count();
    assert!(from <= whole, "{whole} were printed, {from} are committed");
    assert!(rest.lines().eq(&lines[from..]), "from {from} on");
}

#[test]
fn records_for_programs() {
    let (_directory, server) = start(1);
    let arguments = ["publish", "t", "v", "--key", "k", "--properties", r#"{"a": 1}"#, "--client-id", "me"];
    client(&server, &arguments).expect_out();
    let out = client(&server, &["subscribe", "t", "--count", "1", "-o", "json"]).expect_text();
    let record: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((&record["topic"], &record["partition"], &record["offset"]), (&"t".into(), &0.into(), &0.into()));
    assert_eq!((&record["key"], &record["value"]), (&"k".into(), &"v".into()), "{record}");
    let headers = record["headers"].as_array().expect("a list");
    assert!(headers.contains(&serde_json::json!({ "name": "a", "value": "1" })), "{record}");
    assert!(headers.contains(&serde_json::json!({ "name": "wiber.client_id", "value": "me" })), "{record}");
    assert!(record["timestamp_ms"].as_i64().is_some_and(|ms| ms > 1_700_000_000_000), "{record}");
    let out = client(&server, &["subscribe", "t", "--count", "1", "--format", r"{key}={value} {headers}\n"]);
    assert_eq!(out.expect_text(), "k=v {\"a\": \"1\"}\n");
}

#[test]
fn signals_end_it_with_a_summary() {
    let (directory, server) = start(1);
    publish(&server, &directory, "a\n");
    for signal in [Signal::INT, Signal::TERM] {
        let mut child = command(&server, &["subscribe", "t", "--raw"]).spawn().expect("it runs");
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        out.read_line(&mut line).expect("a line");
        kill_process(Pid::from_child(&child), signal).expect("signalled");
        let (status, said) = end(child);
        assert!(status.success() && said.contains("Received 1 record from t:0"), "{status}: {said}");
    }
}

#[test]
fn a_reader_that_has_had_enough_ends_it_quietly() {
    let (directory, server) = start(1);
    publish(&server, &directory, "a\nb\n");
    // Nothing more comes that could not be written: it is seen all the same.
    let mut child = command(&server, &["subscribe", "t", "--raw", "--from", "-1"]).spawn().expect("it runs");
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    out.read_line(&mut line).expect("a line");
    drop(out);
    let (status, said) = end(child);
    assert!(status.success(), "{status}: {said}");
    assert!(!said.contains("Received") && !said.contains("cannot"), "{said}");
}

#[test]
fn a_deleted_topic_ends_it() {
    let (directory, server) = start(1);
    publish(&server, &directory, "a\n");
    let mut child = command(&server, &["subscribe", "t", "--raw"]).spawn().expect("it runs");
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    out.read_line(&mut line).expect("a line");
    client(&server, &["topics", "delete", "t", "--yes"]).expect_out();
    let (status, said) = end(child);
    assert_eq!(status.code(), Some(4), "{said}");
}
