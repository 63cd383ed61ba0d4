//! Tests of the commands against stand-ins for a broker.

use clap::CommandFactory;

use super::*;
use crate::client::stand_in;
use crate::client::stand_in::scripted::Scripted;

/// Runs a command line against the stand-in at `port`: what it printed, or its exit code and what it said.
async fn check(port: u16, arguments: &[&str]) -> Result<Vec<u8>, (u8, String)> {
    let port_text = port.to_string();
    let mut all = vec!["wiber-client", "--port", &port_text];
    all.extend(arguments);
    let parsed = Arguments::try_parse_from(all).map_err(|e| (failure::USAGE, e.to_string()))?;
    let mut out = Vec::new();
    match run(parsed, &mut out).await {
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

/// Every command says in its help what it does and how it is used, by commands that are right.
#[test]
fn every_command_has_examples() {
    fn check(command: &mut clap::Command) {
        let help = command.render_long_help().to_string();
        let examples = help.split("Examples:\n").nth(1).unwrap_or_else(|| panic!("no examples: {help}"));
        let examples = examples.lines().filter(|line| line.trim_start().starts_with("wiber-client"));
        let examples: Vec<_> = examples.collect();
        assert!(!examples.is_empty(), "{help}");
        for example in examples {
            let words = example.split(['|', '>']).next().unwrap_or_default();
            let parsed = Arguments::try_parse_from(words_of(words));
            assert!(parsed.is_ok(), "{example}: {parsed:?}");
        }
        command.get_subcommands_mut().filter(|command| command.get_name() != "help").for_each(check);
    }
    check(&mut Arguments::command());
}

/// The words of a line as a shell has them, as far as examples need it.
fn words_of(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('\'').enumerate() {
        if index % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

#[tokio::test]
async fn create_and_publish() {
    let port = stand_in::start().await;
    let created = printed(port, &["create-topic", "t", "--partitions", "2", "--retention", "1"]).await;
    assert_eq!(created, "Created topic 't' with 2 partitions\n");
    let created = printed(port, &["topics", "create", "t", "-o", "json", "--partitions", "2"]).await;
    assert_eq!(created, "{\"partitions\":2,\"topic\":\"t\"}\n");
    let published = printed(port, &["publish", "t", "a b", "--properties", r#"{"x": 1}"#]).await;
    assert_eq!(published, "Published message to topic 't'\n");
    let published = printed(port, &["publish", "t", "-7", "--key", "k", "--ack", "durable"]).await;
    assert_eq!(published, "Published message to topic 't'\n");
    let published = printed(port, &["publish", "t", "x", "--output", "json"]).await;
    assert_eq!(published, "{\"offset\":2,\"partition\":0,\"topic\":\"t\"}\n");
    let published = printed(port, &["publish", "t", "x", "--ack", "none", "--output", "json"]).await;
    assert_eq!(published, "{\"offset\":null,\"partition\":null,\"topic\":\"t\"}\n");
    let healthy = printed(port, &["health"]).await;
    assert!(healthy.starts_with(&format!("127.0.0.1:{port} is healthy: ")), "{healthy}");
}

#[tokio::test]
async fn subscribe() {
    let broker = Scripted::start(1, &[]).await;
    broker.store(0, "a b");
    broker.store(0, "-7");
    let check = async |arguments: &[&str], expected: &str| {
        let all = [&["subscribe", "t"], arguments].concat();
        assert_eq!(printed(broker.port, &all).await, expected, "{arguments:?}");
    };
    let opening = "Subscribing to t:0 from offset 0\nPress Ctrl+C to stop...\n";
    check(&["--count", "2"], &format!("{opening}[t:0@0] a b\n[t:0@1] -7\n")).await;
    check(&["--count", "1", "--raw", "--from", "-1"], "-7\n").await;
    check(&["--count", "1", "--format", "{offset}={value};", "--offset", "1"], "1=-7;").await;
    check(&["--timeout", "0.05", "--format", "{value}"], "a b-7").await;
    check(&["--timeout", "0.05", "--from", "end"], &opening.replace("offset 0", "offset 2")).await;
    check(&["--count", "0"], opening).await;
}

#[tokio::test]
async fn what_was_printed_is_committed() {
    let broker = Scripted::start(2, &[]).await;
    for (partition, value) in [(0, "a"), (1, "b"), (0, "c"), (0, "d")] {
        broker.store(partition, value);
    }
    let first = ["subscribe", "t", "--client-id", "me", "--from", "committed", "--count", "2", "--raw"];
    assert_eq!(printed(broker.port, &first).await, "a\nc\n");
    assert_eq!((broker.committed("me", 0), broker.committed("me", 1)), (Some(2), None));
    let all = ["subscribe", "t", "--client-id", "me", "--from", "-1", "--all-partitions", "--count", "2", "--raw"];
    let mut printed: Vec<String> = printed(broker.port, &all).await.lines().map(str::to_owned).collect();
    printed.sort();
    assert_eq!(printed, ["b", "d"]);
    assert_eq!((broker.committed("me", 0), broker.committed("me", 1)), (Some(3), Some(1)));
}

#[tokio::test]
async fn a_file_goes_there_and_back_byte_for_byte() {
    let broker = Scripted::start(1, &[]).await;
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
    assert_eq!(printed(broker.port, &["publish", "t", "--file", path, "--batch", "500"]).await, "");
    assert!(broker.batches(0) >= 11, "{} batches", broker.batches(0));
    let out = check(broker.port, &["subscribe", "t", "--raw", "--count", "5501"]).await;
    content.push(b'\n');
    assert!(out.expect("succeeds") == content, "the bytes differ");
}

#[tokio::test]
async fn lines_with_keys() {
    let broker = Scripted::start(1, &[]).await;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("pairs");
    std::fs::write(&path, b"a\t1\n\t2\nb\t\t\n\xff\t4\n").expect("writable");
    let file = path.to_str().expect("UTF-8");
    let arguments =
        ["publish", "t", "--file", file, "--key-separator", "\\t", "-o", "json", "--properties", r#"{"h": 1}"#];
    let told: serde_json::Value = serde_json::from_str(&printed(broker.port, &arguments).await).expect("JSON");
    assert_eq!((&told["acknowledged"], &told["not_acknowledged"]), (&4.into(), &0.into()), "{told}");
    let out = check(broker.port, &["subscribe", "t", "--count", "4", "--format", "{key}|{value}|{headers};"]).await;
    let expected = b"a|1|{\"h\": \"1\"};|2|{\"h\": \"1\"};b|\t|{\"h\": \"1\"};\xff|4|{\"h\": \"1\"};";
    assert_eq!(out.expect("succeeds"), expected);
    std::fs::write(&path, "a\t1\nnone\nb\t2\n").expect("writable");
    refused(broker.port, &arguments, 1, "line 2").await;
    assert_eq!(broker.values(0).len(), 5, "the lines before it are there");
}

#[tokio::test]
async fn failures_name_cause_next_step_and_code() {
    let port = stand_in::start().await;
    let usage = failure::USAGE;
    refused(port, &["publish", "u", "x"], 4, "create-topic").await;
    refused(port, &["publish", "t", "hang up"], 1, "the broker hung up").await;
    refused(port, &["publish", "t", "--file", "/no/such/file"], 1, "/no/such/file").await;
    refused(port, &["publish", "t", "--file", "/"], 1, "directory").await;
    refused(port, &["publish", "t", "x", "--file", "y"], usage, "cannot be used").await;
    refused(port, &["publish", "t", "x", "--properties", "[]"], usage, "JSON object").await;
    let twice = ["publish", "t", "x", "--key", "k", "--properties", r#"{"key": "l"}"#];
    refused(port, &twice, usage, "'key'").await;
    refused(port, &["publish", "t", "x", "--linger", "5"], usage, "--linger").await;
    refused(port, &["publish", "t", "x", "--properties", r#"{"a=b": "c"}"#], usage, "publish").await;
    refused(port, &["publish", "t", "--file", "x", "--key-separator", ""], usage, "separator").await;
    refused(port, &["publish", "t", "--file", "x", "--id", "1"], usage, "id").await;
    refused(port, &["subscribe", "t", "--from", "middle"], usage, "middle").await;
    refused(port, &["subscribe", "t", "--from", "committed"], usage, "--client-id").await;
    refused(port, &["subscribe", "t", "--format", "{vlaue}"], usage, "{vlaue}").await;
    refused(port, &["subscribe", "t", "--raw", "-o", "json"], usage, "--raw").await;
    refused(port, &["create-topic", "t", "--partitions", "0"], usage, "--partitions").await;
    refused(port, &["topics", "alter", "t"], usage, "nothing to change").await;
    refused(port, &["topics", "alter", "t", "--retention", "soon"], usage, "'default'").await;

    let broker = Scripted::start(1, &[]).await;
    refused(broker.port, &["topics", "delete", "u", "--yes"], 4, "delete topic 'u'").await;
    refused(broker.port, &["topics", "describe", "u"], 4, "describe topic 'u'").await;
    refused(broker.port, &["subscribe", "u"], 4, "topics list").await;

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let gone = listener.local_addr().expect("bound").port();
    drop(listener);
    for arguments in
        [&["publish", "t", "x"][..], &["publish", "t", "--file", "Cargo.toml"], &["health"], &["topics", "list"]]
    {
        refused(gone, arguments, 3, "Is it running?").await;
    }
}

#[tokio::test]
async fn who_is_no_broker_is_not_healthy() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    refused(port, &["health", "--timeout", "0.05"], 3, "no broker answers").await;
    drop(listener);
}

#[test]
fn completions() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let Ok(Arguments { command: Command::Completions(completions), .. }) =
            Arguments::try_parse_from(["wiber-client", "completions", shell])
        else {
            panic!("{shell} is known");
        };
        let mut script = Vec::new();
        completions.run(&mut script).expect("written");
        let script = String::from_utf8(script).expect("text");
        assert!(script.contains("create-topic") && script.contains("describe"), "{shell}");
    }
}
