//! `wiber-client producer` and `wiber-client consumer`: through pipes, and at a terminal.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc;

use super::{command, start};
use crate::harness::{BOUND, Ran, Server, client, client_with_input};

/// Has a prompt do what lines say, to their end.
fn converse(server: &Server, arguments: &[&str], lines: &str) -> Ran {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), lines).expect("written");
    client_with_input(server, arguments, file.path())
}

/// What is read, piece by piece, by a thread that may wait.
fn pieces(mut output: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (sender, pieces) = mpsc::channel();
    #[expect(clippy::disallowed_methods, reason = "a read has no bound of its own")]
    std::thread::spawn(move || {
        let mut bytes = [0; 256];
        while let Ok(read @ 1..) = output.read(&mut bytes) {
            let _unheard = sender.send(bytes[..read].to_vec());
        }
    });
    pieces
}

/// A prompt with pipes at both ends.
struct Piped {
    child: Child,
    input: ChildStdin,
    pieces: mpsc::Receiver<Vec<u8>>,
    heard: Vec<u8>,
}

impl Piped {
    fn start(server: &Server, arguments: &[&str]) -> Piped {
        let mut child = command(server, arguments).stderr(Stdio::null()).spawn().expect("it runs");
        let input = child.stdin.take().expect("piped");
        let pieces = pieces(child.stdout.take().expect("piped"));
        Piped { child, input, pieces, heard: Vec::new() }
    }

    /// Says a line, and hears one.
    fn say(&mut self, line: &str, expected: &str) {
        writeln!(self.input, "{line}").expect("listened to");
        while !self.heard.contains(&b'\n') {
            let piece = self.pieces.recv_timeout(BOUND);
            self.heard.extend(piece.unwrap_or_else(|_| panic!("no answer to {line:?}")));
        }
        let end = self.heard.iter().position(|byte| *byte == b'\n').unwrap_or(0);
        let heard: Vec<u8> = self.heard.drain(..=end).collect();
        assert_eq!(String::from_utf8_lossy(&heard).trim_end(), expected, "{line}");
    }

    fn end(mut self) {
        drop(self.input);
        assert!(self.child.wait().expect("it ends").success());
    }
}

#[test]
fn a_producer_through_a_pipe() {
    let (_directory, server) = start(3);
    let lines = "add_topic new\n\n  add t\nadd-topic\nsend new two  spaces, kept \nfly\nsend none x\nremove_topic none\n\
                 remove new\ntopics\nquit\nadd_topic never\n";
    let ran = converse(&server, &["producer"], lines);
    let expected = "Added topic 'new'\nAdded topic 't'\nSent message to topic 'new'\nRemoved topic 'new'\n\
                    t\n";
    assert_eq!(String::from_utf8_lossy(&ran.out), expected, "{}", ran.err);
    assert_eq!(ran.code, Some(0), "errors end nothing: {}", ran.err);
    for said in ["there is no 'fly'", "add_topic TOPIC", "cannot send to topic 'none'", "cannot remove topic 'none'"] {
        assert!(ran.err.contains(said), "{said}: {}", ran.err);
    }
    assert!(!ran.err.contains("producer>"), "no prompt in a pipe: {}", ran.err);
    let ran = converse(&server, &["producer", "-o", "json"], "send_message t  hello  world\nhelp");
    let out = String::from_utf8_lossy(&ran.out).into_owned();
    assert!(out.starts_with("{\"sent\":true,\"topic\":\"t\"}\n") && out.contains("remove_topic TOPIC"), "{out}");
    let stored = client(&server, &["subscribe", "t", "--all-partitions", "--raw", "--count", "1"]).expect_text();
    assert_eq!(stored, "hello  world\n");
}

#[test]
fn a_prompt_without_a_broker_says_so() {
    let (_directory, server) = start(1);
    let port = server.address().port();
    server.terminate();
    let ran = std::process::Command::new(env!("CARGO_BIN_EXE_wiber-client"))
        .args(["producer", "--port", &port.to_string()])
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    assert_eq!(ran.status.code(), Some(3), "{}", String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn a_consumer_through_a_pipe() {
    let (_directory, server) = start(1);
    client(&server, &["publish", "t", "too early"]).expect_out();
    let mut consumer = Piped::start(&server, &["consumer"]);
    consumer.say("leave", "In no group");
    writeln!(consumer.input, "subscribe t\npoll").expect("listened to");
    consumer.say("join_consumer_group g", "Joined group 'g'");
    consumer.say("subscribe t", "Subscribed to topic 't'");
    consumer.say("assignment", "t:0");
    client(&server, &["publish", "t", "hello"]).expect_out();
    consumer.say("poll 60", "[t:0@1] hello");
    consumer.say("groups", "g");
    consumer.say("unsubscribe t", "Unsubscribed from topic 't'");
    consumer.say("leave", "Left group 'g'");
    consumer.end();
    let groups = client(&server, &["groups", "list"]).expect_text();
    assert!(groups.contains("g      partitioned  empty        0"), "{groups}");
}

/// Lines are edited and completed where both sides are a terminal, and remembered in the user's state directory.
#[test]
fn a_producer_at_a_terminal() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let (directory, server) = start(1);
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&terminal).expect("granted");
    unlockpt(&terminal).expect("unlocked");
    let name = ptsname(&terminal, Vec::new()).expect("named").into_string().expect("text");
    let side = || std::fs::File::options().read(true).write(true).open(&name).expect("opens");
    let mut child = command(&server, &["producer"])
        .env("XDG_STATE_HOME", directory.path())
        .env("TERM", "xterm")
        .stdin(side())
        .stdout(side())
        .stderr(side())
        .spawn()
        .expect("it runs");
    let mut terminal = std::fs::File::from(terminal);
    let pieces = pieces(terminal.try_clone().expect("cloned"));
    let mut shown = String::new();
    let mut wait_for = |text: &str| {
        while !shown.contains(text) {
            let piece = pieces.recv_timeout(BOUND).unwrap_or_else(|_| panic!("no {text:?} in {shown:?}"));
            shown.push_str(&String::from_utf8_lossy(&piece));
        }
        // What came with it may be waited for next.
        shown.drain(..shown.find(text).map_or(0, |at| at + text.len()));
    };
    wait_for("producer> ");
    terminal.write_all(b"add_to\t new\r").expect("typed");
    wait_for("Added topic 'new'");
    wait_for("producer> ");
    terminal.write_all(b"sen\t ne\t hello\r").expect("typed");
    wait_for("Sent message to topic 'new'");
    wait_for("producer> ");
    terminal.write_all(&[3]).expect("typed");
    wait_for("Ctrl-D");
    wait_for("producer> ");
    terminal.write_all(&[4]).expect("typed");
    assert!(child.wait().expect("it ends").success());
    let history = std::fs::read_to_string(directory.path().join("wiber/producer_history")).expect("kept");
    assert!(history.contains("add_topic new\nsend new hello\n"), "{history}");
}
