//! `wiber-client groups` and `wiber-client subscribe --group`.

use std::io::{BufRead, BufReader, Read};
use std::process::Child;
use std::sync::mpsc;

use rustix::process::{Pid, Signal, kill_process};

use super::{command, json, refused, start};
use crate::harness::{BOUND, Server, client};

/// A member that prints, and the lines of both its outputs as they come.
struct Member {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Member {
    fn start(server: &Server, arguments: &[&str]) -> Member {
        let mut child = command(server, &[&["subscribe", "t", "--raw"], arguments].concat()).spawn().expect("it runs");
        let (sender, lines) = mpsc::channel();
        let (out, err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        let outputs: [Box<dyn Read + Send>; 2] = [Box::new(out), Box::new(err)];
        for output in outputs {
            let sender = sender.clone();
            #[expect(clippy::disallowed_methods, reason = "two outputs of a child are read at the same time")]
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    let _unheard = sender.send(line);
                }
            });
        }
        Member { child, lines }
    }

    /// The next line that holds this.
    fn wait_for(&self, text: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(BOUND).unwrap_or_else(|_| panic!("no line with {text:?}"));
            if line.contains(text) {
                return line;
            }
        }
    }

    fn stop(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).expect("signalled");
        assert!(self.child.wait().expect("it ends").success());
    }
}

fn publish(server: &Server, partition: u32, message: &str) {
    client(server, &["publish", "t", message, "--partition", &partition.to_string()]).expect_out();
}

#[test]
fn members_share_what_they_print() {
    let (_directory, server) = start(2);
    publish(&server, 0, "early");
    let first = Member::start(&server, &["--group", "g"]);
    first.wait_for("Member ");
    first.wait_for("t:0,1");
    for (partition, message) in [(0, "one"), (1, "two")] {
        publish(&server, partition, message);
        first.wait_for(message);
    }
    let second = Member::start(&server, &["--group", "g"]);
    second.wait_for("Member ");
    let rebalanced = first.wait_for("rebalanced");
    let own = if rebalanced.ends_with("t:0") { 0 } else { 1 };
    // "Reading" when its partition was there before its first line, "reading" when it came after.
    second.wait_for(&format!("eading t:{}", 1 - own));
    publish(&server, own, "of the first");
    publish(&server, 1 - own, "of the second");
    first.wait_for("of the first");
    second.wait_for("of the second");
    let described = json(&server, &["groups", "describe", "g"]);
    assert_eq!(described["members"].as_array().map(Vec::len), Some(2), "{described}");
    second.stop();
    first.wait_for("t:0,1");
    first.stop();
    publish(&server, 0, "late");
    let late = client(&server, &["subscribe", "t", "--group", "g", "--raw", "--count", "1"]).expect_text();
    assert_eq!(late, "late\n");
    let whole = ["subscribe", "t", "--group", "h", "--from", "start", "--count", "2", "--raw", "-o", "text"];
    assert_eq!(client(&server, &whole).expect_text().lines().count(), 2);
}

#[test]
fn groups_are_shown_moved_and_deleted() {
    let (_directory, server) = start(2);
    for message in ["a", "b", "c"] {
        publish(&server, 0, message);
    }
    publish(&server, 1, "d");
    let read = ["subscribe", "t", "--group", "g", "--from", "start", "--raw", "--count", "4"];
    client(&server, &read).expect_out();
    let listed = client(&server, &["groups", "list"]).expect_text();
    assert_eq!(listed.lines().next(), Some("GROUP  KIND         STATE  MEMBERS  GENERATION"), "{listed}");
    let described = json(&server, &["groups", "describe", "g"]);
    assert_eq!(described["partitions"][0]["committed"], 3, "{described}");
    assert_eq!(described["partitions"][0]["lag"], 0);
    let table = client(&server, &["groups", "describe", "g"]).expect_text();
    assert!(table.contains("HIGH WATERMARK  LAG  LAG S"), "{table}");

    let reset = ["groups", "reset-offsets", "g", "--topic", "t", "--to"];
    let with = |rest: &[&'static str]| [&reset[..], rest].concat();
    refused(&server, &with(&["start"]), 2, "--yes");
    refused(&server, &with(&["nowhere", "--yes"]), 2, "nowhere");
    refused(&server, &["groups", "reset-offsets", "none", "--topic", "t", "--to", "start", "--yes"], 4, "groups list");
    refused(&server, &["groups", "describe", "none"], 4, "none");
    let preview = client(&server, &with(&["-2", "--dry-run"])).expect_text();
    let expected = "\
PARTITION  COMMITTED  NEW  LAG  NEW LAG  CHANGE
        0          3    1    0        2      +2
        1          1    0    0        1      +1
";
    assert_eq!(preview, expected);
    assert_eq!(json(&server, &["groups", "describe", "g"])["partitions"][0]["committed"], 3, "a preview moves nothing");
    let moved = json(&server, &with(&["1", "--partition", "0", "--yes"]));
    assert_eq!((&moved["changed"], &moved["positions"][0]["new"]), (&true.into(), &1.into()), "{moved}");
    let again = ["subscribe", "t", "--group", "g", "--raw", "--count", "2"];
    assert_eq!(client(&server, &again).expect_text(), "b\nc\n");

    let member = Member::start(&server, &["--group", "g"]);
    member.wait_for("Member ");
    refused(&server, &with(&["start", "--yes"]), 1, "members");
    refused(&server, &["groups", "delete", "g", "--yes"], 1, "members");
    member.stop();
    refused(&server, &["groups", "delete", "g"], 2, "--yes");
    let deleted = client(&server, &["groups", "delete", "g", "--yes"]).expect_text();
    assert_eq!(deleted, "Deleted group 'g'\n");
    refused(&server, &["groups", "delete", "g", "--yes"], 4, "groups list");
}

#[test]
fn what_goes_with_no_group_is_refused() {
    let (_directory, server) = start(1);
    let usage = |rest: &[&str]| {
        let ran = client(&server, &[&["subscribe", "t", "--group", "g"], rest].concat());
        assert_eq!(ran.code, Some(2), "{rest:?}: {}", ran.err);
    };
    usage(&["--offset", "3"]);
    usage(&["--partition", "0"]);
    usage(&["--all-partitions"]);
    usage(&["--from", "-3"]);
    usage(&["--from", "committed"]);
    refused(&server, &["subscribe", "none", "--group", "g"], 4, "topics list");
}
