//! Tests of the commands against a stand-in for a broker.

use clap::CommandFactory;

use super::*;
use crate::client::stand_in;

/// Runs a command line against the stand-in at `port`: what it printed, or its exit code and what it said.
async fn check(port: u16, arguments: &[&str]) -> Result<Vec<u8>, (u8, String)> {
    let port_text = port.to_string();
    let mut all = vec!["wiber-client", "--port", &port_text];
    all.extend(arguments);
    let parsed = Arguments::try_parse_from(all).map_err(|e| (failure::USAGE, e.to_string()))?;
    let options = ClientOptions { port: parsed.port, ..ClientOptions::default() };
    let mut out = Vec::new();
    let done = match parsed.command {
        Command::CreateTopic(command) => command.run(options, &mut out).await,
        Command::Publish(command) => command.run(options, &mut out).await,
        Command::Subscribe(command) => command.run(options, &mut out).await,
    };
    match done {
        Ok(()) => Ok(out),
        Err(failure) => {
            let hint = failure.hint().unwrap_or_default();
            Err((failure.exit_code(), format!("{failure} {hint}")))
        }
    }
}

async fn printed(port: u16, arguments: &[&str]) -> String {
    let out = check(port, arguments).await.expect("succeeds");
    String::from_utf8(out).expect("UTF-8")
}

async fn refused(port: u16, arguments: &[&str], code: u8, named: &str) {
    let (exit_code, text) = check(port, arguments).await.expect_err(named);
    assert_eq!(exit_code, code, "{text}");
    assert!(text.contains(named), "{text:?} lacks {named:?}");
}

#[test]
fn the_command_line_is_sound() {
    Arguments::command().debug_assert();
}

#[tokio::test]
async fn create_publish_subscribe() {
    let port = stand_in::start().await;
    let created = printed(port, &["create-topic", "t", "--partitions", "2", "--retention", "1"]).await;
    assert_eq!(created, "Created topic 't' with 2 partitions\n");
    let published = printed(port, &["publish", "t", "a b", "--properties", r#"{"x": 1}"#]).await;
    assert_eq!(published, "Published message to topic 't'\n");
    let published = printed(port, &["publish", "t", "-7", "--key", "k", "--ack", "durable"]).await;
    assert_eq!(published, "Published message to topic 't'\n");
    let out = check(port, &["subscribe", "t", "--count", "2"]).await.expect("succeeds");
    let expected: &[u8] = b"Subscribing to t:0 from offset 0\nPress Ctrl+C to stop...\n\
        [t:0@0] a b\n  Key: \xff\n  Properties: {\"colour\": \"red\"}\n\
        [t:0@1] -7\n  Key: \xff\n  Properties: {\"colour\": \"red\"}\n";
    assert_eq!(out, expected, "{}", String::from_utf8_lossy(&out));
}

#[tokio::test]
async fn a_file_goes_there_and_back_byte_for_byte() {
    let port = stand_in::start().await;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("lines");
    let mut content = Vec::new();
    for i in 0..5000u32 {
        content.extend_from_slice(format!("line {i} \u{fc}").as_bytes());
        content.extend_from_slice(&[0xff, 0, b'\r', b'\n']);
        if i % 10 == 0 {
            content.push(b'\n');
        }
    }
    content.extend_from_slice(b"the last, unended");
    std::fs::write(&path, &content).expect("writable");
    let path = path.to_str().expect("UTF-8");
    assert_eq!(printed(port, &["publish", "t", "--file", path]).await, "");
    let out = check(port, &["subscribe", "t", "--raw", "--count", "5501"]).await;
    content.push(b'\n');
    assert!(out.expect("succeeds") == content, "the bytes differ");
}

#[tokio::test]
async fn failures_name_cause_next_step_and_code() {
    let port = stand_in::start().await;
    refused(port, &["publish", "u", "x"], 4, "create-topic").await;
    refused(port, &["publish", "t", "hang up"], 1, "the broker hung up").await;
    refused(port, &["publish", "t", "--file", "/no/such/file"], 1, "/no/such/file").await;
    refused(port, &["publish", "t", "--file", "/"], 1, "directory").await;
    refused(port, &["publish", "t"], failure::USAGE, "required").await;
    refused(port, &["publish", "t", "x", "--file", "y"], failure::USAGE, "cannot be used").await;
    refused(port, &["publish", "t", "x", "--properties", "[]"], failure::USAGE, "JSON object").await;
    let twice = ["publish", "t", "x", "--key", "k", "--properties", r#"{"key": "l"}"#];
    refused(port, &twice, failure::USAGE, "'key'").await;
    refused(port, &["subscribe", "t", "--from", "middle"], failure::USAGE, "middle").await;
    refused(port, &["create-topic", "t", "--partitions", "0"], failure::USAGE, "--partitions").await;

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let gone = listener.local_addr().expect("bound").port();
    drop(listener);
    refused(gone, &["publish", "t", "x"], 3, "Is it running?").await;
}
