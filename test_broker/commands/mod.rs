//! What `wiber-client` says: the lines that users and their scripts read, and how it ends.

mod bench;
mod files;
mod groups;
mod prompts;
mod readme;
mod subscribing;
mod topics;
mod torrent;

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{Server, Setup, client};

/// A server on a new directory, and the topic `t` with this many partitions.
fn start(partitions: u32) -> (tempfile::TempDir, Server) {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Setup::new(&directory.path().join("data")).start();
    client(&server, &["create-topic", "t", "--partitions", &partitions.to_string()]).expect_out();
    (directory, server)
}

/// A `wiber-client` that is to be spawned, with everything piped.
fn command(server: &Server, arguments: &[&str]) -> Command {
    let address = server.address();
    let mut command = Command::new(env!("CARGO_BIN_EXE_wiber-client"));
    command.args(["--host", &address.ip().to_string(), "--port", &address.port().to_string()]).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What a command prints with `--output json`.
fn json(server: &Server, arguments: &[&str]) -> Value {
    let out = client(server, &[arguments, &["--output", "json"]].concat()).expect_text();
    assert_eq!(out.lines().count(), 1, "{arguments:?}: {out}");
    serde_json::from_str(&out).expect("JSON")
}

/// Fails with this exit code, and says this on standard error.
fn refused(server: &Server, arguments: &[&str], code: i32, part: &str) {
    let ran = client(server, arguments);
    assert_eq!(ran.code, Some(code), "{arguments:?}: {}", ran.err);
    assert!(ran.err.contains(part), "{arguments:?}: {}", ran.err);
}

#[test]
fn the_commands_say_what_they_always_said() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Setup::new(&directory.path().join("data")).start();
    let created = client(&server, &["create-topic", "events", "--partitions", "2", "--retention", "24"]).expect_text();
    assert_eq!(created, "Created topic 'events' with 2 partitions\n");
    let published = client(&server, &["publish", "events", "plain", "--partition", "1"]).expect_text();
    assert_eq!(published, "Published message to topic 'events'\n");
    let arguments = ["publish", "events", "with headers", "--partition", "1", "--properties", r#"{"colour": "red"}"#];
    client(&server, &arguments).expect_out();
    let arguments = ["subscribe", "events", "--partition", "1", "--offset", "0", "--count", "2"];
    let told = client(&server, &arguments).expect_text();
    let expected = "Subscribing to events:1 from offset 0\nPress Ctrl+C to stop...\n[events:1@0] plain\n\
                    [events:1@1] with headers\n  Properties: {\"colour\": \"red\"}\n";
    assert_eq!(told, expected);
}

#[test]
fn failures_have_their_exit_codes() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Setup::new(&directory.path().join("data")).start();
    client(&server, &["create-topic", "events"]).expect_out();
    client(&server, &["create-topic", "wide", "--partitions", "2"]).expect_out();
    refused(&server, &["publish", "absent", "x"], 4, "absent");
    refused(&server, &["subscribe", "absent", "--count", "1"], 4, "absent");
    refused(&server, &["publish", "events", "x", "--partition", "7"], 4, "7");
    refused(&server, &["create-topic", "events", "--partitions", "3"], 1, "events");
    refused(&server, &["create-topic", "__meta"], 1, "__meta");
    refused(&server, &["no-such-command"], 2, "no-such-command");
    refused(&server, &["topics", "describe", "absent"], 4, "topics list");
    refused(&server, &["topics", "delete", "absent", "--yes"], 4, "absent");
    refused(&server, &["topics", "alter", "absent", "--partitions", "3"], 4, "absent");
    refused(&server, &["topics", "alter", "wide", "--partitions", "1"], 1, "wide");
    refused(&server, &["topics", "delete", "events"], 2, "--yes");
    refused(&server, &["subscribe", "events", "--partition", "7"], 4, "7");
}

#[test]
fn failures_for_programs() {
    let (_directory, server) = start(1);
    let ran = client(&server, &["-o", "json", "publish", "absent", "x"]);
    assert_eq!((ran.code, ran.out.len()), (Some(4), 0));
    let told: Value = serde_json::from_str(&ran.err).expect("JSON");
    assert_eq!((&told["code"], &told["exit_code"]), (&"unknown_topic".into(), &4.into()), "{told}");
}

#[test]
fn health_tells_the_living_from_the_dead() {
    let (_directory, server) = start(1);
    let healthy = client(&server, &["health"]).expect_text();
    assert!(healthy.starts_with(&format!("{} is healthy: ", server.address())), "{healthy}");
    let told = json(&server, &["health"]);
    assert_eq!((&told["status"], told["round_trip_ms"].is_f64()), (&"healthy".into(), true), "{told}");
    // As a container beside the server asks: by the server's own variable.
    let mut beside = Command::new(env!("CARGO_BIN_EXE_wiber-client"));
    beside.arg("health").env_remove("WIBER_CLIENT_PORT").env_remove("WIBER_CLIENT_HOST");
    beside.env("QB_SERVER_PORT", server.address().port().to_string());
    assert!(beside.output().expect("it runs").status.success());
    server.terminate();
    let ran = beside.output().expect("it runs");
    assert_eq!(ran.status.code(), Some(3), "{}", String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn ids_are_taken_once() {
    let (_directory, server) = start(1);
    let first = json(&server, &["publish", "t", "a", "--id", "7"]);
    assert_eq!(first["offset"], 0);
    assert_eq!(json(&server, &["publish", "t", "b", "--id", "7"])["offset"], 0);
    assert_eq!(json(&server, &["publish", "t", "c", "--id", "8"])["offset"], 1);
}
