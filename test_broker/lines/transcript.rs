//! What is said, line by line: `a>` is what client `a` sends, `a<` what it hears. Of ids and times only the form is shown.

use std::collections::BTreeMap;

use super::{setup, start};
use crate::harness::lines::Terminal;

const TRANSCRIPT: &str = r"
a< OK connected
a> PING
a< OK pong
a> ping
a< OK pong
a> HEARTBEAT
a< OK heartbeat_received
a> ACK msg_1700000000000_0a1b2c3d
a< OK ack_received

# A topic is made by the first who names it; only what is new is sent.
a> PUB news before anybody came
a< OK published
b< OK connected
b> SUB news
b< OK subscribed news
b> SUB news
b< OK subscribed news
a> PUB news hello   three spaces
a< OK published
b< MSG news <id> 2 <ts> hello   three spaces
a>    pub   news   led by two  
a< OK published
b< MSG news <id> 3 <ts>   led by two

# Who publishes and subscribes is answered first.
b> PUB news mine
b< OK published
b< MSG news <id> 4 <ts> mine

# The past.
a> HISTORY news 2
a< HISTORY news <id> 3 <ts>   led by two
a< HISTORY news <id> 4 <ts> mine
a< OK history end
a> history news 100
a< HISTORY news <id> 1 <ts> before anybody came
a< HISTORY news <id> 2 <ts> hello   three spaces
a< HISTORY news <id> 3 <ts>   led by two
a< HISTORY news <id> 4 <ts> mine
a< OK history end
a> HISTORY news 0
a< OK history end
a> HISTORY nowhere 5
a< OK history end

# A group shares what comes, one each in turn, whoever else is subscribed.
c< OK connected
d< OK connected
c> SUB jobs workers
c< OK subscribed jobs in group workers
d> SUB jobs workers
d< OK subscribed jobs in group workers
b> SUB jobs
b< OK subscribed jobs
a> PUB jobs 1
a< OK published
a> PUB jobs 2
a< OK published
a> PUB jobs 3
a< OK published
c< MSG jobs <id> 1 <ts> 1
d< MSG jobs <id> 2 <ts> 2
c< MSG jobs <id> 3 <ts> 3
b< MSG jobs <id> 1 <ts> 1
b< MSG jobs <id> 2 <ts> 2
b< MSG jobs <id> 3 <ts> 3
c> QUIT
c< OK bye
c< <closed>
a> PUB jobs 4
a< OK published
d< MSG jobs <id> 4 <ts> 4
b< MSG jobs <id> 4 <ts> 4

# Mistakes are answered, and the connection stays.
a> HELLO
a< ERR unknown command 'HELLO': there are SUB <topic> [group], PUB <topic> <message>, HISTORY <topic> <n>, ACK <id>, HEARTBEAT, PING, QUIT
a> PUB news
a< ERR it is written: PUB <topic> <message>
a> SUB
a< ERR it is written: SUB <topic> [group]
a> HISTORY news many
a< ERR 'many' is no number of records: HISTORY <topic> <n> takes a whole number from 0
a> SUB not/a/name
a< ERR 'not/a/name' is no topic's name: 1 to 249 of a-z A-Z 0-9 . _ -, and not . or ..
a> PUB __meta x
a< ERR topic '__meta': names that begin with '__' are the broker's own
a> SUB __offsets
a< ERR topic '__offsets': names that begin with '__' are the broker's own
a> HISTORY __meta 1
a< ERR topic '__meta': names that begin with '__' are the broker's own
a> quit
a< OK bye
a< <closed>
";

/// A line with its id and time as their names, where they have the form.
fn plain(line: &str) -> String {
    let mut words: Vec<String> = line.splitn(6, ' ').map(str::to_owned).collect();
    if words.len() == 6 && (words[0] == "MSG" || words[0] == "HISTORY") {
        let is_id = words[2].strip_prefix("msg_").and_then(|id| id.split_once('_')).is_some_and(|(time, hex)| {
            let is_hex = hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
            time.len() == 13 && time.bytes().all(|byte| byte.is_ascii_digit()) && hex.len() == 8 && is_hex
        });
        let is_time = words[4].split_once('.').is_some_and(|(seconds, fraction)| {
            let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits(seconds) && digits(fraction)
        });
        if is_id && is_time {
            (words[2], words[4]) = ("<id>".to_owned(), "<ts>".to_owned());
        }
    }
    words.join(" ")
}

#[test]
fn the_line_protocol_is_spoken_to_the_letter() {
    let directory = tempfile::tempdir().expect("a directory");
    let (server, address) = start(&setup(directory.path()));
    let mut clients: BTreeMap<char, Terminal> = BTreeMap::new();
    for (number, line) in TRANSCRIPT.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
    {
        let name = line.chars().next().expect("a client");
        let client = clients.entry(name).or_insert_with(|| Terminal::connect_silently(address));
        let text = &line[3..];
        match &line[1..3] {
            "> " => client.say(text),
            _ => {
                let heard = client.hear().map_or("<closed>".to_owned(), |line| plain(&line));
                assert_eq!(heard, text, "line {number} of the transcript");
            }
        }
    }
    drop(clients);
    server.terminate();
}

/// What a record is called does not depend on who asks when: pushed, asked for, and after a restart.
#[test]
fn a_record_has_one_id_for_ever() {
    let directory = tempfile::tempdir().expect("a directory");
    let (server, address) = start(&setup(directory.path()));
    let mut client = Terminal::connect(address);
    client.ask("SUB t", "OK subscribed t");
    let mut pushed = Vec::new();
    for number in 0..5 {
        client.ask(&format!("PUB t {number}"), "OK published");
        pushed.push(client.hear().expect("a MSG").replacen("MSG", "HISTORY", 1));
    }
    let history = |client: &mut Terminal| {
        client.say("HISTORY t 10");
        (0..6).map(|_| client.hear().expect("a line")).collect::<Vec<_>>()
    };
    let mut expected = pushed.clone();
    expected.push("OK history end".to_owned());
    assert_eq!(history(&mut client), expected);
    server.kill();
    let (server, address) = start(&setup(directory.path()));
    assert_eq!(history(&mut Terminal::connect(address)), expected);
    let ids: std::collections::BTreeSet<_> = pushed.iter().map(|line| line.split(' ').nth(2)).collect();
    assert_eq!(ids.len(), 5);
    server.terminate();
}

/// `printf 'HISTORY …' | nc`: what was asked for comes, though the client has nothing more to say.
#[test]
fn who_has_said_everything_hears_the_answers() {
    let directory = tempfile::tempdir().expect("a directory");
    let (server, address) = start(&setup(directory.path()));
    let client = Terminal::connect(address);
    client.send(b"PUB t one\r\nPUB t two\nHISTORY t 1\n\n   \nPING\nPUB t not ended");
    let said = client.finish();
    let lines: Vec<String> = said.lines().map(plain).collect();
    assert_eq!(lines, ["OK published", "OK published", "HISTORY t <id> 2 <ts> two", "OK history end", "OK pong"]);
    server.terminate();
}

/// The past of several partitions, of small messages and large ones, in the order of their times.
#[test]
fn history_goes_over_all_partitions() {
    const COUNT: usize = 300;
    let directory = tempfile::tempdir().expect("a directory");
    let (server, address) = start(&setup(directory.path()).set("QB_TOPICS__CREATE", r#"{"wide":3}"#));
    let mut client = Terminal::connect(address);
    let bytes_of = |number: usize| if number % 50 == 7 { 300_000 } else { 10 + number % 100 };
    for number in 0..COUNT {
        client.say(&format!("PUB wide {number} {}", "x".repeat(bytes_of(number))));
        client.expect("OK published");
    }
    for count in [1, 250, COUNT, 100_000] {
        client.say(&format!("HISTORY wide {count}"));
        let (mut seen, mut last) = (Vec::new(), 0.0);
        loop {
            let line = client.hear().expect("a line");
            if line == "OK history end" {
                break;
            }
            let words: Vec<&str> = line.split(' ').collect();
            let (time, number): (f64, usize) = (words[4].parse().expect("a time"), words[5].parse().expect("a number"));
            assert!(time >= last, "oldest first");
            assert_eq!(words[6].len(), bytes_of(number));
            last = time;
            seen.push(number);
        }
        assert_eq!(seen.len(), count.min(COUNT));
        seen.sort_unstable();
        seen.dedup();
        // Those of one millisecond may change places at the edge.
        let oldest = COUNT - seen.len();
        assert!(seen.iter().filter(|number| **number < oldest).count() <= 3, "{count}: {seen:?}");
        assert_eq!(seen.len(), count.min(COUNT), "no record comes twice");
    }
    server.terminate();
}
