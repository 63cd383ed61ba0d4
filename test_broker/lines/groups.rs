//! Groups whose members take turns: what each gets, who goes without, and what outlives a server.

use std::collections::{BTreeMap, BTreeSet};

use super::{setup, start};
use crate::harness::lines::Terminal;
use crate::harness::peer::{DELETE_GROUP, JOIN_GROUP, LIST_GROUPS, Peer, RESET_GROUP, frame};
use crate::harness::{BOUND, client};

fn publish(client: &mut Terminal, topic: &str, numbers: std::ops::Range<usize>) {
    let lines: String = numbers.clone().map(|number| format!("PUB {topic} {number}\n")).collect();
    client.send(lines.as_bytes());
    numbers.for_each(|_| client.expect("OK published"));
}

fn join(address: std::net::SocketAddr, topic: &str, group: &str) -> Terminal {
    let mut member = Terminal::connect(address);
    member.ask(&format!("SUB {topic} {group}"), &format!("OK subscribed {topic} in group {group}"));
    member
}

fn numbers(member: &mut Terminal, count: usize) -> Vec<usize> {
    (0..count).map(|_| member.message().parse().expect("a number")).collect()
}

#[test]
fn turns_go_round_whatever_is_published_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let (server, address) = start(&setup(directory.path()));
    let mut publisher = Terminal::connect(address);
    let mut members: Vec<Terminal> = (0..3).map(|_| join(address, "t", "g")).collect();
    let mut other = join(address, "t", "other");
    publish(&mut publisher, "t", 0..3_000);
    for (index, member) in members.iter_mut().enumerate() {
        assert_eq!(numbers(member, 1_000), (index..3_000).step_by(3).collect::<Vec<_>>());
    }
    assert_eq!(numbers(&mut other, 3_000), (0..3_000).collect::<Vec<_>>());
    // One of them publishes and has its answer before what it gets.
    publish(&mut members[0], "t", 3_000..3_001);
    assert_eq!(members[0].message(), "3000");
    // One goes, one comes.
    drop(members.remove(1));
    members.push(join(address, "t", "g"));
    let mut seen = BTreeMap::new();
    publish(&mut publisher, "t", 3_001..3_031);
    for (index, member) in members.iter_mut().enumerate() {
        seen.insert(index, numbers(member, 10));
    }
    let all: BTreeSet<usize> = seen.values().flatten().copied().collect();
    assert_eq!(all, (3_001..3_031).collect(), "{seen:?}");
    server.terminate();
}

/// All partitions of a topic have one order of turns, and those that are added later belong to it.
#[test]
fn all_partitions_feed_one_order() {
    let directory = tempfile::tempdir().expect("a directory");
    let (server, address) = start(&setup(directory.path()).set("QB_TOPICS__CREATE", r#"{"wide":3}"#));
    let mut publisher = Terminal::connect(address);
    let mut members: Vec<Terminal> = (0..4).map(|_| join(address, "wide", "g")).collect();
    let mut all = Terminal::connect(address);
    all.ask("SUB wide", "OK subscribed wide");
    publish(&mut publisher, "wide", 0..400);
    let mut got: Vec<usize> = members.iter_mut().flat_map(|member| numbers(member, 100)).collect();
    got.sort_unstable();
    assert_eq!(got, (0..400).collect::<Vec<_>>());
    let mut heard = numbers(&mut all, 400);
    heard.sort_unstable();
    assert_eq!(heard, (0..400).collect::<Vec<_>>());
    client(&server, &["topics", "alter", "wide", "--partitions", "6"]).expect_text();
    publish(&mut publisher, "wide", 400..520);
    let mut got: Vec<usize> = members.iter_mut().flat_map(|member| numbers(member, 30)).collect();
    got.sort_unstable();
    assert_eq!(got, (400..520).collect::<Vec<_>>());
    let mut heard = numbers(&mut all, 120);
    heard.sort_unstable();
    assert_eq!(heard, (400..520).collect::<Vec<_>>());
    publisher.say("HISTORY wide 520");
    let history: BTreeSet<usize> = (0..520)
        .map(|_| {
            let line = publisher.hear().expect("a line");
            line.rsplit(' ').next().and_then(|number| number.parse().ok()).expect("a number")
        })
        .collect();
    assert_eq!(history.len(), 520);
    publisher.expect("OK history end");
    server.terminate();
}

/// A group has one kind, whoever asks, also after a restart.
#[test]
fn a_group_of_another_kind_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let setup = setup(directory.path()).set("QB_TOPICS__CREATE", r#"{"t":2}"#);
    let (server, address) = start(&setup);
    let body = br#"{"topics":["t"]}"#;
    let join_as = |group| frame(JOIN_GROUP, 1, &[("wiber.group", group)]).with_body(body);
    let mut native = Peer::connect(&server);
    assert_eq!(native.ask(&join_as("divided")).get("status"), Some("success"));
    let refusal = "ERR group 'divided' is of another kind: it is a partitioned group, whose members do not take turns";
    let mut line = Terminal::connect(address);
    line.ask("SUB t divided", refusal);
    line.ask("SUB t turns", "OK subscribed t in group turns");
    native.refused(&join_as("turns"), "group_kind");
    drop((native, line));
    server.terminate();
    let (server, address) = start(&setup);
    Terminal::connect(address).ask("SUB t divided", refusal);
    Peer::connect(&server).refused(&join_as("turns"), "group_kind");
    server.terminate();
}

/// A group is where it was: without members, over a clean stop, and over `kill -9`.
#[test]
fn a_group_continues_where_it_stood() {
    let directory = tempfile::tempdir().expect("a directory");
    let setup = setup(directory.path());
    let (server, address) = start(&setup);
    let mut publisher = Terminal::connect(address);
    publish(&mut publisher, "t", 0..10);
    let mut member = join(address, "t", "g");
    publish(&mut publisher, "t", 10..20);
    assert_eq!(numbers(&mut member, 10), (10..20).collect::<Vec<_>>(), "a new group begins at the end");
    member.ask("QUIT", "OK bye");
    publish(&mut publisher, "t", 20..30);
    assert_eq!(numbers(&mut join(address, "t", "g"), 10), (20..30).collect::<Vec<_>>());
    publish(&mut publisher, "t", 30..40);
    server.terminate();

    let (server, address) = start(&setup);
    assert_eq!(numbers(&mut join(address, "t", "g"), 10), (30..40).collect::<Vec<_>>());
    publish(&mut Terminal::connect(address), "t", 40..50);
    server.kill();

    let (server, address) = start(&setup);
    let mut member = join(address, "t", "g");
    assert_eq!(numbers(&mut member, 10), (40..50).collect::<Vec<_>>());
    // What it has had does not come again.
    server.kill();
    let (server, address) = start(&setup);
    let mut member = join(address, "t", "g");
    publish(&mut Terminal::connect(address), "t", 50..51);
    assert_eq!(numbers(&mut member, 1), [50]);
    server.terminate();
}

/// Messages of [`fill`] that a socket which nobody reads may take: a few hundred KiB of 4,000 bytes each.
const LOST_MAX: usize = 500;

/// Publishes so much that a member which does not read is full, and the others get the rest.
fn fill(publisher: &mut Terminal, count: usize) {
    let rest = "x".repeat(4_000);
    for number in 0..count {
        publisher.send(format!("PUB t {number:06}{rest}\n").as_bytes());
    }
    (0..count).for_each(|_| publisher.expect("OK published"));
}

fn number(message: &str) -> usize {
    message[..6].parse().expect("a number")
}

/// One that does not read holds up nobody, and what its socket did not take goes to the others when it goes.
#[test]
fn who_does_not_read_is_passed_over_and_gives_back() {
    const COUNT: usize = 4_000;
    let directory = tempfile::tempdir().expect("a directory");
    let (server, address) = start(&setup(directory.path()));
    let mut publisher = Terminal::connect(address);
    let (mut idle, mut busy) = (join(address, "t", "g"), join(address, "t", "g"));
    let reading = {
        let (sender, heard) = std::sync::mpsc::channel();
        spawn(move || {
            while let Some(line) = busy.hear() {
                let message = line.rsplit(' ').next().expect("a message").to_owned();
                if sender.send(number(&message)).is_err() {
                    break;
                }
            }
        });
        heard
    };
    fill(&mut publisher, COUNT);
    let mut heard = BTreeSet::new();
    // The idle one holds what its socket and its room took, and no more: the other one gets the rest.
    while heard.len() < COUNT - LOST_MAX {
        let number = reading.recv_timeout(BOUND).expect("a message");
        assert!(heard.insert(number), "{number} came twice");
    }
    let mut had = BTreeSet::new();
    (0..10).for_each(|_| assert!(had.insert(number(&idle.message()))));
    drop(idle);
    publisher.ask("PUB t 999999", "OK published");
    let mut last = 0;
    while last != 999_999 {
        last = reading.recv_timeout(BOUND).expect("a message");
        assert!(heard.insert(last), "{last} came twice");
    }
    assert!(had.is_disjoint(&heard));
    // All but what was in the socket of the one that went.
    let lost = COUNT + 1 - had.len() - heard.len();
    assert!(lost < LOST_MAX, "{lost} were lost in a socket");
    assert!(lost > 0, "the socket took something");
    server.terminate();
}

/// What the last member's socket did not take is there for the next one, also after a restart.
#[test]
fn what_the_last_member_was_not_sent_is_kept() {
    const COUNT: usize = 2_000;
    let directory = tempfile::tempdir().expect("a directory");
    let setup = setup(directory.path());
    let (server, address) = start(&setup);
    let mut publisher = Terminal::connect(address);
    let member = join(address, "t", "g");
    fill(&mut publisher, COUNT);
    drop(member);
    server.terminate();
    let (server, address) = start(&setup);
    let mut member = join(address, "t", "g");
    let first = number(&member.message());
    for expected in first + 1..COUNT {
        assert_eq!(number(&member.message()), expected, "without gaps");
    }
    assert!(first < LOST_MAX, "{first} were lost in a socket");
    server.terminate();
}

#[expect(clippy::disallowed_methods, reason = "one client reads while another one writes")]
fn spawn(work: impl FnOnce() + Send + 'static) {
    std::thread::spawn(work);
}

/// Operators move a group, and delete it, while nobody belongs to it.
#[test]
fn a_group_with_members_is_left_where_it_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let (server, address) = start(&setup(directory.path()));
    let members: Vec<Terminal> = (0..2).map(|_| join(address, "t", "g")).collect();
    let mut peer = Peer::connect(&server);
    let listed = peer.ask(&frame(LIST_GROUPS, 1, &[])).body;
    let expected = r#"{"groups":[{"generation":0,"group":"g","kind":"queue","members":2,"state":"stable"}]}"#;
    assert_eq!(String::from_utf8_lossy(&listed), expected);
    let group = [("wiber.group", "g")];
    let reset = frame(RESET_GROUP, 2, &group).with_body(br#"{"positions":[{"topic":"t","partition":0,"offset":0}]}"#);
    peer.refused(&reset, "group_not_empty");
    peer.refused(&frame(DELETE_GROUP, 3, &group), "group_not_empty");
    drop(members);
    let delete = frame(DELETE_GROUP, 4, &group);
    loop {
        peer.send(std::slice::from_ref(&delete));
        let reply = peer.next();
        if reply.get("status") == Some("success") {
            break;
        }
        assert_eq!(reply.get("code"), Some("group_not_empty"), "{reply:?}");
    }
    server.terminate();
}
