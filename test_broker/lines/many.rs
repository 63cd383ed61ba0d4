//! Many clients, and one among them that never reads.

use std::time::Duration;

use super::{setup, start};
use crate::harness::lines::Terminal;

/// A thousand at once: half of them hear everything, the others share it in five groups.
#[test]
fn a_thousand_clients_hear_what_is_theirs() {
    const HALF: usize = 500;
    const GROUPS: usize = 5;
    const MESSAGES: usize = 200;
    let directory = tempfile::tempdir().expect("a directory");
    let (server, address) = start(&setup(directory.path()));
    let mut all: Vec<Terminal> = (0..HALF).map(|_| Terminal::connect(address)).collect();
    let mut members: Vec<Terminal> = (0..HALF).map(|_| Terminal::connect(address)).collect();
    all.iter().for_each(|client| client.say("SUB t"));
    members.iter().enumerate().for_each(|(index, client)| client.say(&format!("SUB t g{}", index % GROUPS)));
    all.iter_mut().for_each(|client| client.expect("OK subscribed t"));
    for (index, member) in members.iter_mut().enumerate() {
        member.expect(&format!("OK subscribed t in group g{}", index % GROUPS));
    }
    let mut publisher = Terminal::connect(address);
    let lines: String = (0..MESSAGES).map(|number| format!("PUB t {number}\n")).collect();
    publisher.send(lines.as_bytes());
    (0..MESSAGES).for_each(|_| publisher.expect("OK published"));
    for client in &mut all {
        (0..MESSAGES).for_each(|number| assert_eq!(client.message(), number.to_string()));
    }
    let mut seen = vec![Vec::new(); GROUPS];
    for (index, member) in members.iter_mut().enumerate() {
        // Whoever joined when, each has as many turns.
        (0..MESSAGES * GROUPS / HALF).for_each(|_| seen[index % GROUPS].push(member.message()));
    }
    for mut seen in seen {
        seen.sort_by_key(|text| text.parse::<usize>().expect("a number"));
        assert_eq!(seen, (0..MESSAGES).map(|number| number.to_string()).collect::<Vec<_>>());
    }
    server.terminate();
}

/// Subscribers that never read cost what they are allowed, and the others nothing.
#[test]
fn who_never_reads_harms_nobody() {
    const PUBLISHED: usize = 500;
    let directory = tempfile::tempdir().expect("a directory");
    let (server, address) = start(&setup(directory.path()).expect_line("a client that does not read is disconnected"));
    let mut publisher = Terminal::connect(address);
    let mut reader = Terminal::connect(address);
    reader.ask("SUB t", "OK subscribed t");
    let silent: Vec<Terminal> = (0..20)
        .map(|_| {
            let mut silent = Terminal::connect(address);
            silent.ask("SUB t", "OK subscribed t");
            silent
        })
        .collect();
    let before = server.resident_bytes();
    let rest = "x".repeat(60_000);
    for number in 0..PUBLISHED {
        publisher.ask(&format!("PUB t {number} {rest}"), "OK published");
        let message = reader.message();
        assert!(message.starts_with(&format!("{number} x")), "what is published is heard at once");
    }
    let grown = server.resident_bytes().saturating_sub(before);
    // 30 MB times 20 would be 600 MB; they share 64 MiB, and the tail of the log has 16 MiB.
    assert!(grown < 160 << 20, "{} MiB more", grown >> 20);
    drop(silent);
    server.terminate();
}

#[test]
fn who_says_nothing_and_hears_nothing_is_sent_away() {
    let directory = tempfile::tempdir().expect("a directory");
    let (server, address) = start(&setup(directory.path()).set("QB_LINES__IDLE_TIMEOUT", "0.3"));
    let mut subscriber = Terminal::connect(address);
    subscriber.ask("SUB t", "OK subscribed t");
    let mut silent = Terminal::connect(address);
    silent.expect("ERR nothing came for long (lines.idle_timeout)");
    assert_eq!(silent.hear(), None);
    let mut member = Terminal::connect(address);
    member.ask("SUB t g", "OK subscribed t in group g");
    assert!(member.drain(Duration::from_millis(600)).is_empty(), "a subscriber stays");
    subscriber.ask("PING", "OK pong");
    member.ask("PING", "OK pong");
    server.terminate();
}
