//! What `wiber-client` says: the lines that users and their scripts read.

use crate::harness::{Setup, client};

#[test]
fn the_commands_say_what_they_always_said() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Setup::new(&directory.path().join("data")).start();
    let created = client(&server, &["create-topic", "events", "--partitions", "2", "--retention", "24"]).expect_text();
    assert_eq!(created, "Created topic 'events' with 2 partitions\n");
    let published = client(&server, &["publish", "events", "plain", "--partition", "1"]).expect_text();
    assert_eq!(published, "Published message to topic 'events'\n");
    let arguments = ["publish", "events", "with headers", "--partition", "1", "--properties", r#"{"colour": "red"}"#];
    client(&server, &arguments).expect_out();
    let arguments = ["subscribe", "events", "--partition", "1", "--offset", "0", "--count", "2"];
    let told = client(&server, &arguments).expect_text();
    let expected = "Subscribing to events:1 from offset 0\nPress Ctrl+C to stop...\n[events:1@0] plain\n\
                    [events:1@1] with headers\n  Properties: {\"colour\": \"red\"}\n";
    assert_eq!(told, expected);
}

#[test]
fn failures_have_their_exit_codes() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Setup::new(&directory.path().join("data")).start();
    client(&server, &["create-topic", "events"]).expect_out();
    let check = |arguments: &[&str], code: i32, part: &str| {
        let ran = client(&server, arguments);
        assert_eq!(ran.code, Some(code), "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains(part), "{arguments:?}: {}", ran.err);
    };
    check(&["publish", "absent", "x"], 4, "absent");
    check(&["subscribe", "absent", "--count", "1"], 4, "absent");
    check(&["publish", "events", "x", "--partition", "7"], 4, "7");
    check(&["create-topic", "events", "--partitions", "3"], 1, "events");
    check(&["create-topic", "__meta"], 1, "__meta");
    check(&["no-such-command"], 2, "no-such-command");
}
