//! A server's life: clean stops, second servers, taken ports, torn tails.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::TcpListener;

use rustix::process::Signal;
use wiber::protocol::native::FrameType;

use crate::harness::{Setup, Wire, offset, only_log, request};

#[test]
fn a_clean_stop_keeps_everything_and_the_next_start_reads_nothing_again() {
    const RECORDS: u64 = 2_000;
    let directory = tempfile::tempdir().expect("a directory");
    let setup = Setup::new(&directory.path().join("data"));
    let server = setup.start();
    let mut wire = Wire::connect(&server);
    wire.create_topic("t", 2);
    let properties = [("topic", "t"), ("partition", "1")];
    let frames: Vec<_> =
        (0..RECORDS).map(|n| request(FrameType::Publish, n, &properties, n.to_string().as_bytes())).collect();
    wire.send_all(&frames);
    wire.next();
    // Stopped in the middle: what is not answered may be there or not.
    server.signal(Signal::TERM);
    let mut acknowledged = 1;
    while let Some(reply) = wire.next_or_end() {
        if reply.kind == FrameType::Ack && reply.properties.get("status") == Some("success") {
            assert_eq!((reply.sequence, offset(&reply)), (acknowledged, acknowledged));
            acknowledged += 1;
        }
    }
    let log = server.terminate_already_asked();
    assert!(log.contains("stopped"), "{log}");

    let server = setup.start();
    let mut reader = Wire::connect(&server);
    reader.subscribe("t", 1, 0);
    for n in 0..acknowledged {
        let data = reader.next();
        assert_eq!((data.sequence, &data.body[..]), (n, n.to_string().as_bytes()));
    }
    let log = server.terminate();
    for partition in ["t:0", "t:1", "__meta:0"] {
        let opened = log.lines().find(|line| line.contains(&format!("opened partition={partition} ")));
        let opened = opened.unwrap_or_else(|| panic!("{partition} was opened:\n{log}"));
        assert!(opened.contains("snapshot=true batches=0 rewritten=0"), "{opened}");
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let setup = Setup::new(&directory.path().join("data")).expect_line("a second signal: ending at once");
    let mut server = setup.start();
    server.signal(Signal::INT);
    server.wait_for("stopping");
    server.signal(Signal::TERM);
    server.wait_for_end();
}

#[test]
fn two_servers_cannot_share_a_data_directory() {
    let directory = tempfile::tempdir().expect("a directory");
    let setup = Setup::new(&directory.path().join("data"));
    let server = setup.start();
    let (status, log) = setup.start_and_fail();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("ERROR the server cannot run") && log.contains("in use"), "{log}");
    // The first one has not suffered.
    let mut wire = Wire::connect(&server);
    wire.create_topic("t", 1);
    assert_eq!(wire.publish("t", 0, b"x"), 0);
    server.kill();
    // A lock dies with its owner.
    setup.start().terminate();
}

#[test]
fn a_taken_port_is_said_before_any_data_is_touched() {
    let directory = tempfile::tempdir().expect("a directory");
    let data_dir = directory.path().join("data");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port().to_string();
    let (status, log) = Setup::new(&data_dir).set("QB_SERVER_PORT", &port).start_and_fail();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains(&format!("cannot listen on 127.0.0.1:{port}")) && log.contains("QB_SERVER_PORT"), "{log}");
    assert!(!data_dir.exists());
}

#[test]
fn a_configuration_that_does_not_stand_is_refused_with_its_key() {
    let directory = tempfile::tempdir().expect("a directory");
    let setup = Setup::new(&directory.path().join("data"));
    for (name, value, part) in [
        ("QB_SERVER_PORT", "70000", "server.port"),
        ("QB_STORAGE__SYNC", "never", "storage.sync"),
        ("QB_STORAGE__UNHEARD_OF", "1", "QB_STORAGE__UNHEARD_OF"),
        ("QB_CONFIG_FILE", "/nowhere/broker.json", "/nowhere/broker.json"),
    ] {
        let (status, log) = setup.clone().set(name, value).start_and_fail();
        assert_eq!(status.code(), Some(2), "{name}: {log}");
        assert!(log.contains(part), "{name}: {log}");
    }
}

#[test]
fn a_torn_tail_is_cut_off_and_kept_aside() {
    let directory = tempfile::tempdir().expect("a directory");
    let data_dir = directory.path().join("data");
    let setup = Setup::new(&data_dir);
    let server = setup.start();
    let mut wire = Wire::connect(&server);
    wire.create_topic("t", 1);
    assert_eq!(wire.publish("t", 0, b"whole"), 0);
    server.kill();
    let torn = b"the beginning of a batch that never came to its end, long enough to hold a header of one";
    let mut log = OpenOptions::new().append(true).open(only_log(&data_dir, "t_p0")).expect("the log");
    log.write_all(torn).expect("written");
    let mut server = setup.expect_line("a torn tail was cut off").start();
    let line = server.wait_for("a torn tail was cut off");
    assert!(line.contains("WARN") && line.contains("partition=t:0") && line.contains("set-aside"), "{line}");
    assert!(line.contains(&format!("bytes={}", torn.len())), "{line}");
    let aside = std::fs::read_dir(data_dir.join("t_p0/set-aside")).expect("kept aside").next();
    let aside = aside.expect("a file").expect("a file").path();
    assert_eq!(std::fs::read(aside).expect("read"), torn);
    let mut wire = Wire::connect(&server);
    assert_eq!(wire.publish("t", 0, b"next"), 1);
    wire.subscribe("t", 0, 0);
    assert_eq!([wire.next().body, wire.next().body], [&b"whole"[..], b"next"]);
}

#[test]
fn topics_of_the_configuration_are_created_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let setup = Setup::new(&directory.path().join("data")).set("QB_TOPICS__CREATE", r#"{"first":2,"second":1}"#);
    for round in 0..2 {
        let server = setup.start();
        let mut wire = Wire::connect(&server);
        assert_eq!(wire.publish("first", 1, b"x"), round);
        assert_eq!(wire.publish("second", 0, b"x"), round);
        server.kill();
    }
}
