//! Every error code is provoked from outside, or said to be impossible to provoke.

use std::collections::BTreeSet;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use wiber::protocol::native::ErrorCode;

use super::{setup, start};
use crate::harness::batches::{Made, batch, rec};
use crate::harness::lines::{Terminal, lines_address};
use crate::harness::peer::{
    ALTER_TOPIC, COMMIT, CREATE_TOPIC, DELETE_GROUP, DESCRIBE_GROUP, FETCH, INIT_PRODUCER, JOIN_GROUP, LEAVE_GROUP,
    PUBLISH, PUBLISH_BATCH, Pairs, Peer, Raw, SUBSCRIBE, UNSUBSCRIBE, bytes_of, frame,
};
use crate::harness::{Setup, say};

/// Codes that no client of a lone broker on a working disk meets, and why.
const NOT_FROM_OUTSIDE: &[(&str, &str)] = &[
    ("not_leader", "a lone broker leads every partition"),
    ("fenced_epoch", "a lone broker's epoch is superseded by nobody"),
    (
        "overloaded",
        "a full queue slows its producer instead; only a topic that is being changed for a second is refused",
    ),
    ("timed_out", "an answer is given up only where the disk takes longer than a stop waits for it"),
    ("internal", "a fault of the broker's own"),
];

type Seen = BTreeSet<String>;

fn note(seen: &mut Seen, reply: &Raw) {
    let code = reply.get("code").unwrap_or_else(|| panic!("no code in {reply:?}"));
    seen.insert(code.to_owned());
}

fn refusals_of_requests(seen: &mut Seen) {
    let (_directory, server) = start(&[("QB_TOPICS__MAX_TOPICS", "1")]);
    let mut peer = Peer::connect(&server);
    peer.create("t", 1);
    peer.subscribe("t", &[("offset", "1000")]);
    let requests: &[(u32, Pairs<'_>)] = &[
        (77, &[]),
        (PUBLISH, &[("topic", "absent")]),
        (PUBLISH, &[("topic", "t"), ("partition", "1")]),
        (CREATE_TOPIC, &[("topic", "t"), ("partitions", "2")]),
        (CREATE_TOPIC, &[("topic", "..")]),
        (CREATE_TOPIC, &[]),
        (CREATE_TOPIC, &[("topic", "one.more")]),
        (FETCH, &[("topic", "t"), ("offset", "1000")]),
        (UNSUBSCRIBE, &[("topic", "absent")]),
        (SUBSCRIBE, &[("topic", "t")]),
        (PUBLISH_BATCH, &[("topic", "t")]),
    ];
    for (kind, properties) in requests {
        peer.send(&[frame(*kind, 1, properties)]);
        note(seen, &peer.next());
    }
    peer.send_bytes(&bytes_of(PUBLISH, 1, 0, b"topic", b""));
    note(seen, &peer.next());
    peer.send(&[frame(PUBLISH, 1, &[("topic", "t")]).with_body(&vec![0; 2 << 20])]);
    note(seen, &peer.next());
    let reply = peer.ask(&frame(INIT_PRODUCER, 1, &[]));
    let made = Made { id: reply.number("wiber.producer_id"), epoch: 5, sequence: 0 };
    for (made, is_good) in [(made, true), (Made { sequence: 7, ..made }, false), (Made { epoch: 4, ..made }, false)] {
        peer.send(&[frame(PUBLISH_BATCH, 1, &[("topic", "t")]).with_body(&batch(made, 1, &[rec(b"x")]))]);
        let reply = peer.next();
        if is_good {
            assert_eq!(reply.get("status"), Some("success"));
        } else {
            note(seen, &reply);
        }
    }
    peer.ask(&frame(ALTER_TOPIC, 1, &[("topic", "t"), ("wiber.cleanup_policy", "compact")]));
    peer.send(&[frame(PUBLISH, 1, &[("topic", "t")])]);
    note(seen, &peer.next());
}

/// A line client takes the group `queue`, members the group `g`; what goes against them is refused.
fn refusals_of_groups(seen: &mut Seen) {
    let (_directory, setup) = setup(&[]);
    let mut server = setup.start();
    let mut lines = Terminal::connect(lines_address(&mut server));
    let mut peer = Peer::connect(&server);
    peer.create("t", 1);
    lines.ask("SUB t queue", "OK subscribed t in group queue");
    let join = |group| frame(JOIN_GROUP, 1, &[("wiber.group", group)]).with_body(br#"{"topics":["t"]}"#);
    let member = peer.ask(&join("g")).get("wiber.member").expect("an id").to_owned();
    let late =
        [("topic", "t"), ("offset", "0"), ("wiber.group", "g"), ("wiber.member", &*member), ("wiber.generation", "0")];
    let requests = [
        join("queue"),
        frame(DESCRIBE_GROUP, 1, &[("wiber.group", "absent")]),
        frame(DELETE_GROUP, 1, &[("wiber.group", "g")]),
        frame(LEAVE_GROUP, 1, &[("wiber.group", "g"), ("wiber.member", "nobody")]),
        frame(COMMIT, 1, &late),
    ];
    for request in &requests {
        peer.send(std::slice::from_ref(request));
        note(seen, &peer.next());
    }
}

/// What waits when the server stops is told so. A stop may come before the request was read; then it is tried again.
fn a_stop(seen: &mut Seen) {
    for _ in 0..20 {
        let (_directory, server) = start(&[]);
        let mut peer = Peer::connect(&server);
        peer.create("t", 1);
        peer.send(&[frame(FETCH, 1, &[("topic", "t"), ("offset", "0"), ("wiber.max_wait_ms", "60000")])]);
        server.signal(Signal::TERM);
        let reply = peer.next_or_end();
        if let Some(reply) = &reply {
            note(seen, reply);
            assert!(peer.ends());
        }
        server.terminate_already_asked();
        if reply.is_some() {
            return;
        }
    }
    panic!("no request was read before its server stopped");
}

/// A damaged segment is served up to the damage; its partition takes no writes.
fn damage(seen: &mut Seen) {
    let (directory, setup) = setup(&[("QB_STORAGE__MAX_LOG_SIZE", "2000")]);
    let server = setup.start();
    let mut peer = Peer::connect(&server);
    peer.create("t", 1);
    for _ in 0..30 {
        peer.publish("t", 0, &[b'x'; 500]);
    }
    server.kill();
    let first = directory.path().join("data/t_p0/00000000000000000000.log");
    let log = std::fs::OpenOptions::new().write(true).open(&first).expect("the first segment");
    log.write_all_at(b"damage", 100).expect("written");
    let server = setup.expect_line("partition=t:0").expect_line("damage").expect_line("corrupt").start();
    let mut peer = Peer::connect(&server);
    peer.send(&[frame(FETCH, 1, &[("topic", "t"), ("offset", "0")])]);
    note(seen, &peer.next());
    peer.send(&[frame(PUBLISH, 2, &[("topic", "t")])]);
    let reply = peer.next();
    if reply.get("status") == Some("error") {
        note(seen, &reply);
    }
    peer.is_alive();
}

/// A partition whose file cannot be read is not served.
fn a_partition_that_cannot_be_opened(seen: &mut Seen) {
    let (directory, setup) = setup(&[]);
    let server = setup.start();
    Peer::connect(&server).create("t", 2);
    server.kill();
    std::fs::write(directory.path().join("data/t_p0/partition.json"), b"{}").expect("written");
    let server = setup.expect_line("t:0").expect_line("t_p0").start();
    let mut peer = Peer::connect(&server);
    peer.send(&[frame(PUBLISH, 1, &[("topic", "t"), ("partition", "0")])]);
    note(seen, &peer.next());
    assert_eq!(peer.publish("t", 1, b"the other is served"), 0);
}

/// A disk without room, where one can be mounted; says whether it could.
fn a_full_disk(seen: &mut Seen) -> bool {
    let directory = tempfile::tempdir().expect("a directory");
    let Some(mounted) = SmallDisk::mount(directory.path()) else { return false };
    let setup = Setup::new(&directory.path().join("data")).expect_line("room").expect_line("full").expect_line("space");
    let server = setup.start();
    let mut peer = Peer::connect(&server);
    peer.create("t", 1);
    for _ in 0..100 {
        peer.send(&[frame(PUBLISH, 1, &[("topic", "t")]).with_body(&vec![b'x'; 1_000_000])]);
        let reply = peer.next();
        if reply.get("status") == Some("error") {
            note(seen, &reply);
            peer.is_alive();
            server.kill();
            drop(mounted);
            return true;
        }
    }
    panic!("a disk of 24 MB took 100 MB");
}

struct SmallDisk<'a>(&'a Path);

impl SmallDisk<'_> {
    fn mount(at: &Path) -> Option<SmallDisk<'_>> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"]).arg(at).output();
        mounted.is_ok_and(|mounted| mounted.status.success()).then_some(SmallDisk(at))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("-l").arg(self.0).output();
    }
}

#[test]
fn every_code_is_provoked() {
    let mut seen = Seen::new();
    refusals_of_requests(&mut seen);
    refusals_of_groups(&mut seen);
    a_stop(&mut seen);
    damage(&mut seen);
    a_partition_that_cannot_be_opened(&mut seen);
    let has_full_disk = a_full_disk(&mut seen);
    if !has_full_disk {
        say("a full disk is not tested: no tmpfs can be mounted");
    }
    for code in ErrorCode::ALL.iter().map(|code| code.as_str()) {
        let excuse = NOT_FROM_OUTSIDE.iter().find(|(name, _)| *name == code);
        let is_excused = excuse.is_some() || (code == "storage_full" && !has_full_disk);
        assert!(seen.contains(code) != is_excused, "{code}: seen {}, excused by {excuse:?}", seen.contains(code));
    }
    let unknown: Vec<_> = seen.iter().filter(|code| ErrorCode::from_name(code).is_none()).collect();
    assert!(unknown.is_empty(), "codes that no table has: {unknown:?}");
}
