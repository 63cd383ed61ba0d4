//! `wiber-client publish` of lines: from files and from standard input.

use std::fs;
use std::io::{BufRead, BufReader, Write};

use rustix::process::{Pid, Signal, kill_process};

use super::{command, json, refused, start};
use crate::harness::{Chance, Setup, a_moment, client, client_with_input};

#[test]
fn standard_input_is_read_where_no_message_is_given() {
    let (directory, server) = start(1);
    let file = directory.path().join("lines");
    fs::write(&file, b"one\n\n\xff three").expect("written");
    let ran = client_with_input(&server, &["publish", "t"], &file);
    assert!(ran.err.contains("Published 3 records"), "{}", ran.err);
    assert_eq!(ran.expect_out(), b"");
    let ran = client_with_input(&server, &["publish", "t", "-o", "json", "--ack", "none"], &file);
    let told: serde_json::Value = serde_json::from_slice(&ran.expect_out()).expect("JSON");
    assert_eq!((&told["sent"], &told["acknowledged"]), (&3.into(), &0.into()), "{told}");
    let out = client(&server, &["subscribe", "t", "--raw", "--count", "6"]).expect_out();
    assert_eq!(out, b"one\n\n\xff three\none\n\n\xff three\n");
}

#[test]
fn every_codec_brings_lines_back() {
    let (directory, server) = start(1);
    let file = directory.path().join("lines");
    let text: String = (0..2_000).map(|line| format!("line {line} of a file that can be compressed\n")).collect();
    fs::write(&file, &text).expect("written");
    let path = file.to_str().expect("UTF-8");
    for (turn, codec) in ["none", "gzip", "snappy", "lz4", "zstd"].into_iter().enumerate() {
        let arguments = ["publish", "t", "--file", path, "--compression", codec, "--batch", "300", "--ack", "durable"];
        assert_eq!(json(&server, &arguments)["acknowledged"], 2_000, "{codec}");
        let offset = (turn * 2_000).to_string();
        let arguments = ["subscribe", "t", "--raw", "--count", "2000", "--offset", &offset];
        assert_eq!(client(&server, &arguments).expect_text(), text, "{codec}");
    }
}

#[test]
fn ctrl_c_ends_reading_and_keeps_what_was_read() {
    let (_directory, server) = start(1);
    for (turn, signal) in [Signal::INT, Signal::TERM].into_iter().enumerate() {
        let mut publisher = command(&server, &["publish", "t"]).spawn().expect("it runs");
        let mut input = publisher.stdin.take().expect("piped");
        input.write_all(b"first\nsecond\nunfinished").expect("written");
        // Once a subscriber has them, the publisher has read them.
        let offset = (turn * 2).to_string();
        let arguments = ["subscribe", "t", "--raw", "--count", "2", "--offset", &offset];
        assert_eq!(client(&server, &arguments).expect_text(), "first\nsecond\n");
        kill_process(Pid::from_child(&publisher), signal).expect("signalled");
        let ran = publisher.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success() && said.contains("Published 2 records"), "{}: {said}", ran.status);
        drop(input);
    }
}

#[test]
fn a_second_ctrl_c_ends_waiting_too() {
    let (_directory, server) = start(1);
    let mut publisher = command(&server, &["publish", "t"]).spawn().expect("it runs");
    let mut input = publisher.stdin.take().expect("piped");
    input.write_all(b"answered\n").expect("written");
    client(&server, &["subscribe", "t", "--raw", "--count", "1"]).expect_out();
    server.signal(Signal::STOP);
    // More than a pipe and the lines read ahead can hold: some of it was sent.
    input.write_all("never answered\n".repeat(100_000).as_bytes()).expect("written");
    let mut chance = Chance::new(5);
    while publisher.try_wait().expect("a child").is_none() {
        kill_process(Pid::from_child(&publisher), Signal::INT).expect("signalled");
        a_moment(&mut chance, 50);
    }
    let ran = publisher.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(1), "{said}");
    for part in ["Published 1 record ", "Not acknowledged: ", "may be stored or not"] {
        assert!(said.contains(part), "{said} lacks {part:?}");
    }
    server.signal(Signal::CONT);
    server.terminate();
}

#[test]
fn wrong_lines_say_which() {
    let (directory, server) = start(1);
    let file = directory.path().join("pairs");
    fs::write(&file, "a=1\nb=2\nc\nd=4\n").expect("written");
    let path = file.to_str().expect("UTF-8");
    refused(&server, &["publish", "t", "--file", path, "--key-separator", "="], 1, "line 3");
    let out = client(&server, &["subscribe", "t", "--count", "2", "--format", r"{key}:{value}\n"]).expect_text();
    assert_eq!(out, "a:1\nb:2\n");
    refused(&server, &["publish", "absent", "--file", path], 4, "absent");
    refused(&server, &["publish", "t", "--file", path, "--partition", "9"], 4, "9");
}

#[test]
fn a_broker_that_goes_away_is_waited_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let setup = Setup::new(&directory.path().join("data"));
    let server = setup.start();
    client(&server, &["create-topic", "t", "--partitions", "1"]).expect_out();
    let port = server.address().port().to_string();
    let mut publisher = command(&server, &["publish", "t"]).spawn().expect("it runs");
    let mut input = publisher.stdin.take().expect("piped");
    let mut subscriber = command(&server, &["subscribe", "t", "--raw", "--count", "2"]).spawn().expect("it runs");
    let mut lines = BufReader::new(subscriber.stdout.take().expect("piped")).lines();
    input.write_all(b"before\n").expect("written");
    assert_eq!(lines.next().expect("a line").expect("UTF-8"), "before");
    server.terminate();
    input.write_all(b"after\n").expect("written");
    let server = setup.set("QB_SERVER_PORT", &port).start();
    assert_eq!(lines.next().expect("a line").expect("UTF-8"), "after");
    drop(input);
    let ran = publisher.wait_with_output().expect("it ends");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert!(subscriber.wait().expect("it ends").success());
    server.terminate();
}
