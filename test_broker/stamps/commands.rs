//! `history`, `--from-time`, `--until-time` and `--ordered`.

use serde_json::Value;

use super::start;
use crate::harness::peer::{PUBLISH, Peer, frame};
use crate::harness::{Server, client};

/// An hour of 1970-01-02, in milliseconds.
const DAY: i64 = 86_400_000;
const MINUTE: i64 = 60_000;

/// Publishes to partitions in turn, one after another, each record a minute after the one before.
fn filled(server: &Server, partitions: u32, count: u32) {
    let mut peer = Peer::connect(server);
    peer.create("t", partitions);
    for number in 0..count {
        let partition = (number * 7 % partitions).to_string();
        let request = frame(PUBLISH, 1, &[("topic", "t"), ("partition", &partition)]);
        peer.ask(&request.with_body(number.to_string().as_bytes()).at(DAY + i64::from(number) * MINUTE));
    }
}

fn check(server: &Server, arguments: &[&str], expected: std::ops::Range<u32>) {
    let out = client(server, arguments).expect_text();
    let expected: Vec<String> = expected.map(|number| number.to_string()).collect();
    assert_eq!(out.lines().collect::<Vec<_>>(), expected, "{arguments:?}");
}

#[test]
fn the_last_records_of_all_partitions() {
    let (_directory, server) = start();
    filled(&server, 3, 40);
    check(&server, &["history", "t", "--raw"], 30..40);
    check(&server, &["history", "t", "1", "--raw"], 39..40);
    check(&server, &["history", "t", "0", "--raw"], 0..0);
    check(&server, &["history", "t", "1000", "--raw"], 0..40);
    check(&server, &["history", "t", "5", "--raw", "--until-time", "1970-01-02T00:20:00Z"], 15..20);
    check(&server, &["history", "t", "5", "--raw", "--until-time", &(DAY + 20 * MINUTE).to_string()], 15..20);
    check(&server, &["history", "t", "99", "--raw", "--from-time", "1970-01-02 00:38"], 38..40);
    let both = ["--from-time", "1970-01-02 00:10", "--until-time", "1970-01-02 00:12"];
    check(&server, &[&["history", "t", "--raw"][..], &both].concat(), 10..12);
    check(&server, &["history", "t", "--raw", "--from-time", "-1h"], 0..0);
    let text = client(&server, &["history", "t", "2", "--partition", "0"]).expect_text();
    assert_eq!(text, "[t:0@12] 36\n[t:0@13] 39\n");
    let json = client(&server, &["history", "t", "1", "-o", "json"]).expect_text();
    let record: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&record["value"], &record["headers"]), (&"39".into(), &serde_json::json!([])), "{record}");
    let refused = client(&server, &["history", "absent"]);
    assert_eq!(refused.code, Some(4), "{}", refused.err);
    assert_eq!(client(&server, &["history", "t", "--partition", "9"]).code, Some(4));
    assert_eq!(client(&server, &["history", "t", "--until-time", "soon"]).code, Some(2));
}

#[test]
fn a_subscription_from_one_time_to_another() {
    let (_directory, server) = start();
    filled(&server, 3, 40);
    let all = ["subscribe", "t", "--all-partitions", "--ordered", "--raw"];
    check(&server, &[&all[..], &["--from-time", "1970-01-02 00:30", "--count", "10"]].concat(), 30..40);
    let until = ["--until-time", "1970-01-02T00:35:00Z"];
    check(&server, &[&all[..], &until].concat(), 0..35);
    check(&server, &[&all[..], &["--from-time", "1970-01-02 00:30"], &until].concat(), 30..35);
    check(&server, &[&all[..], &["--from-time", "1970-01-02 00:35"], &until].concat(), 0..0);
    check(&server, &[&all[..], &["--until-time", "-0s"]].concat(), 0..40);
    check(&server, &[&all[..], &["--from", "-5", "--max-wait", "0.5", "--count", "15"]].concat(), 25..40);
    let one = ["subscribe", "t", "--partition", "0", "--raw", "--until-time", "1970-01-02 00:07"];
    assert_eq!(client(&server, &one).expect_text(), "0\n3\n6\n");
    for wrong in [
        &["subscribe", "t", "--ordered"][..],
        &["subscribe", "t", "--max-wait", "1"],
        &["subscribe", "t", "--from-time", "-1h", "--from", "end"],
        &["subscribe", "t", "--from-time", "yesterday"],
    ] {
        let ran = client(&server, wrong);
        assert_eq!(ran.code, Some(2), "{wrong:?}: {}", ran.err);
    }
}

/// A time that is still to come ends it when it has come.
#[test]
fn until_a_time_that_comes() {
    let (_directory, server) = start();
    let mut peer = Peer::connect(&server);
    peer.create("t", 2);
    peer.publish("t", 1, b"0");
    let now = peer.ask(&frame(crate::harness::peer::METADATA, 1, &[])).timestamp;
    let until = (now + 1_500).to_string();
    check(&server, &["subscribe", "t", "--all-partitions", "--raw", "--until-time", &until], 0..1);
}

#[test]
fn nothing_printed_shows_a_stamp_s_header() {
    let (_directory, server) = start();
    client(&server, &["create-topic", "t"]).expect_out();
    client(&server, &["publish", "t", "v", "--key", "k"]).expect_out();
    for output in [&["--raw"][..], &["-o", "json"], &["--format", "{headers}\\n"], &[]] {
        for command in [&["subscribe", "t", "--count", "1"][..], &["history", "t"]] {
            let text = client(&server, &[command, output].concat()).expect_text();
            assert!(!text.contains("wiber.hlc") && !text.is_empty(), "{command:?} {output:?}: {text}");
        }
    }
    let text = client(&server, &["topics", "describe", "t"]).expect_text();
    assert!(text.contains("\nClock skew: "), "{text}");
    let json: Value =
        serde_json::from_str(&client(&server, &["topics", "describe", "t", "-o", "json"]).expect_text()).expect("JSON");
    assert!(json["clock_skew"]["last_ms"].as_i64().is_some_and(|ms| ms.abs() < 5_000), "{json}");
}
