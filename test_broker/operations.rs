//! What an operator meets: signals, logs, refusals at start, configurations looked at beforehand, containers.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use rustix::process::Signal;
use serde_json::Value;
use wiber::protocol::native::FrameType;

use crate::harness::{Chance, Setup, Wire, a_moment, offset, request};

/// Runs `wiber-server` to its end in a directory of its own; nothing else is in its environment.
fn run(cwd: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wiber-server"));
    command.env_clear().envs(variables.iter().copied()).current_dir(cwd).args(arguments);
    command.output().expect("wiber-server runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// Waits until a file holds this text.
fn wait_for_file(path: &Path, part: &str) -> String {
    let mut chance = Chance::new(1);
    for _ in 0..60_000 {
        let content = fs::read_to_string(path).unwrap_or_default();
        if content.contains(part) {
            return content;
        }
        a_moment(&mut chance, 4);
    }
    panic!("{} never held {part:?}: {:?}", path.display(), fs::read_to_string(path));
}

#[test]
fn a_stop_under_load_keeps_what_was_acknowledged_and_answers_no_more() {
    const CONNECTIONS: u32 = 6;
    const RECORDS: u64 = 3_000;
    let directory = tempfile::tempdir().expect("a directory");
    let setup = Setup::new(&directory.path().join("data"));
    let server = setup.start();
    Wire::connect(&server).create_topic("t", CONNECTIONS);
    let mut wires: Vec<Wire> = (0..CONNECTIONS).map(|_| Wire::connect(&server)).collect();
    for (partition, wire) in wires.iter_mut().enumerate() {
        let properties = [("topic", "t"), ("partition", &*partition.to_string())];
        let frames: Vec<_> =
            (0..RECORDS).map(|n| request(FrameType::Publish, n, &properties, n.to_string().as_bytes())).collect();
        wire.send_all(&frames);
    }
    for wire in &mut wires {
        wire.next();
    }
    server.signal(Signal::TERM);
    let mut acknowledged = vec![1; wires.len()];
    for (wire, count) in wires.iter_mut().zip(&mut acknowledged) {
        while let Some(reply) = wire.next_or_end() {
            if reply.properties.get("status") == Some("success") {
                assert_eq!((reply.sequence, offset(&reply)), (*count, *count));
                *count += 1;
            }
        }
    }
    let log = server.terminate_already_asked();
    assert!(log.contains("stopping: no more connections") && log.ends_with("stopped"), "{log}");
    let server = setup.start();
    for (partition, count) in (0..).zip(acknowledged) {
        let mut reader = Wire::connect(&server);
        reader.subscribe("t", partition, 0);
        for n in 0..count {
            let data = reader.next();
            assert_eq!((data.sequence, &data.body[..]), (n, n.to_string().as_bytes()));
        }
    }
}

#[test]
fn a_second_signal_ends_with_a_code_of_failure() {
    let directory = tempfile::tempdir().expect("a directory");
    let setup = Setup::new(&directory.path().join("data")).expect_line("a second signal: ending at once");
    let mut server = setup.start();
    // Both are sent before the first can be done with; a stop that was quicker than the second is a stop all the same.
    server.signal(Signal::TERM);
    server.wait_for("stopping");
    server.signal(Signal::TERM);
    let status = server.wait_for_end();
    let expected = if server.log().contains("a second signal") { 1 } else { 0 };
    assert_eq!(status.code(), Some(expected), "{}", server.log());
}

#[test]
fn the_log_is_lines_of_json_where_it_is_asked_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let setup = Setup::new(&directory.path().join("data")).set("QB_LOGGING__FORMAT", "json").set("QB_BUILD", "7");
    let (status, log) = setup.clone().set("QB_SERVER_HOST", "192.0.2.1").start_and_fail();
    assert_eq!(status.code(), Some(1), "{log}");
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert!(lines.iter().all(|line| line["timestamp"].is_string() && line["message"].is_string()), "{log}");
    let of_level = |level: &str| lines.iter().filter(|line| line["level"] == level).collect::<Vec<_>>();
    let [warning] = of_level("WARN")[..] else { panic!("one warning in {log}") };
    assert!(warning["message"].as_str().is_some_and(|text| text.contains("QB_BUILD")), "{warning}");
    let [error] = of_level("ERROR")[..] else { panic!("one error in {log}") };
    assert!(error["error"].as_str().is_some_and(|text| text.contains("cannot listen on 192.0.2.1")), "{error}");
    assert!(!log.contains("try it"), "{log}");
}

#[test]
fn a_log_file_is_made_with_its_directory_and_opened_anew_on_a_hangup() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("not/yet/there/broker.log");
    let moved = directory.path().join("broker.log.1");
    let setup = Setup::new(&directory.path().join("data")).set("QB_LOGGING__FILE", &log.display().to_string());
    let mut server = setup.spawn();
    wait_for_file(&log, "listening (native protocol)");
    fs::rename(&log, &moved).expect("moved");
    server.signal(Signal::HUP);
    wait_for_file(&log, "the log file was opened anew");
    server.signal(Signal::TERM);
    assert!(server.wait_for_end().success());
    assert!(wait_for_file(&log, "INFO stopped").lines().count() > 1);
    assert!(!fs::read_to_string(&moved).expect("read").contains("stopp"));
    assert_eq!(server.log(), "");
}

#[test]
fn a_hangup_without_a_log_file_changes_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut server = Setup::new(&directory.path().join("data")).start();
    server.signal(Signal::HUP);
    server.wait_for("SIGHUP changes nothing");
    Wire::connect(&server).create_topic("t", 1);
    server.terminate();
}

/// What stands in the way of a start, and what is said about it.
#[test]
fn a_start_that_cannot_be_says_why_and_what_to_do() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    fs::write(path("file"), "").expect("written");
    fs::write(path("wrong.json"), "{\n  \"server\": {\"prot\": 1}\n}").expect("written");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port().to_string();
    let data = path("data");
    for (code, arguments, parts) in [
        (1, vec!["--data-dir", &path("file")], vec!["a file is where storage.data_dir"]),
        (1, vec!["--data-dir", &path("file/below")], vec!["a file is where storage.data_dir"]),
        (1, vec!["--data-dir", "/proc/wiber"], vec!["create /proc/wiber"]),
        (1, vec!["--data-dir", &data, "--port", &port], vec!["cannot listen on", "another program", "server.port"]),
        (1, vec!["--data-dir", &data, "--host", "192.0.2.1"], vec!["server.host", "0.0.0.0"]),
        (1, vec!["--data-dir", &data, "--log-file", "/proc/wiber/log"], vec!["logging.file", "/proc/wiber/log"]),
        (2, vec!["--config", &path("none.json")], vec!["none.json", "QB_CONFIG_FILE"]),
        (2, vec!["--config", &path("")], vec!["irectory", "QB_CONFIG_FILE"]),
        (2, vec!["--config", &path("wrong.json")], vec!["wrong.json:2:14", "did you mean 'server.port'?"]),
        (2, vec!["--port", "-1", "--sync", "no"], vec!["--port: server.port is -1", "--sync: storage.sync"]),
        (2, vec!["--set", "server.port"], vec!["section.key=value"]),
        (2, vec!["--sink", "always"], vec!["--sink"]),
        (2, vec!["--check-config", "--print-config"], vec!["cannot be used with"]),
    ] {
        let arguments = [&["--port", "0"], &arguments[..]].concat();
        let arguments = if arguments[2..].contains(&"--port") { &arguments[2..] } else { &arguments[..] };
        let ended = run(directory.path(), &[], arguments);
        let said = text(&ended.stderr);
        assert_eq!(ended.status.code(), Some(code), "{arguments:?}: {said}");
        for part in parts {
            assert!(said.contains(part), "{arguments:?}: {said:?} lacks {part:?}");
        }
    }
    assert!(!Path::new(&data).exists(), "nothing was touched");
}

#[test]
fn too_few_open_files_are_refused_or_bear_fewer_connections() {
    let directory = tempfile::tempdir().expect("a directory");
    let limited = |limit: u32, arguments: &str| {
        let server = env!("CARGO_BIN_EXE_wiber-server");
        let line = format!("ulimit -n {limit}; exec '{server}' {arguments}");
        let ended = Command::new("sh").args(["-c", &line]).env_clear().current_dir(directory.path()).output();
        ended.expect("a shell runs")
    };
    let refused = limited(200, "--port 0");
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    for part in ["the limit of open files is 200", "storage.open_segments_max", "ulimit -n"] {
        assert!(said.contains(part), "{said:?} lacks {part:?}");
    }
    let checked = limited(200, "--check-config");
    assert_eq!(checked.status.code(), Some(0));
    assert!(text(&checked.stdout).contains("warning: the limit of open files is 200"), "{checked:?}");
    let checked = text(&limited(1_000, "--check-config --max-connections 5000").stdout);
    assert!(checked.contains("server.max_connections is 5000") && checked.contains("1000"), "{checked}");
}

#[test]
fn a_configuration_can_be_looked_at_without_a_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let cwd = directory.path();
    let good = run(cwd, &[("QB_STORAGE__SYNC", "os"), ("QB_BUILD", "7")], &["--check-config"]);
    let said = text(&good.stdout);
    assert_eq!((good.status.code(), good.stderr.len()), (Some(0), 0), "{good:?}");
    assert_eq!(said.lines().next(), Some("configuration ok"));
    assert!(said.contains("warning: environment variable QB_BUILD") && said.contains("storage.sync"), "{said}");

    let bad = run(cwd, &[("QB_SERVER_PORT", "x"), ("QB_X__Y", "1")], &["--check-config", "--set", "no.key=1"]);
    let said = text(&bad.stderr);
    assert_eq!((bad.status.code(), said.lines().count()), (Some(2), 3), "{said}");
    assert_eq!(text(&bad.stdout), "");

    let variables = [("QB_SERVER_PORT", "0"), ("QB_DATA_DIR", "d")];
    let printed = text(&run(cwd, &variables, &["--print-config"]).stdout);
    let values: Value = serde_json::from_str(&printed).expect("JSON");
    assert_eq!((&values["server"]["port"], &values["storage"]["snapshot_dir"]), (&0.into(), &"d/.snapshots".into()));
    fs::create_dir(cwd.join("config")).expect("made");
    fs::write(cwd.join("config/broker.json"), &printed).expect("written");
    assert_eq!(text(&run(cwd, &[], &["--print-config=values"]).stdout), printed);
    let sources = text(&run(cwd, &[("QB_LOG_LEVEL", "warn")], &["--print-config=sources"]).stdout);
    assert!(sources.contains("# config/broker.json:") && sources.contains("# environment variable QB_LOG_LEVEL"));
    assert_eq!(fs::read_dir(cwd).expect("read").count(), 1, "nothing was made");
}

/// A file as the system has it whose clients Wiber serves.
const HISTORIC: &str = r#"{
    "server": {"host": "localhost", "port": 0, "max_connections": 100, "connection_timeout": 300,
               "heartbeat_interval": 30},
    "storage": {"data_dir": "DIR/data", "snapshot_dir": "DIR/snapshots", "snapshot_interval": 300.0,
                "max_log_size": 104857600, "sync_interval": 5},
    "topics": {"default_partitions": 2, "max_partitions": 10, "retention_hours": 168, "max_message_size": 10485760},
    "client": {"max_retries": 3, "retry_delay": 1.0, "request_timeout": 30, "auto_ack": true},
    "logging": {"level": "INFO", "format": "%(asctime)s - %(name)s - %(levelname)s - %(message)s", "file": null}
}"#;

#[test]
fn a_historic_file_starts_and_serves() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("broker.json");
    fs::write(&file, HISTORIC.replace("DIR", &directory.path().display().to_string())).expect("written");
    let setup = Setup::bare().set("QB_CONFIG_FILE", &file.display().to_string());
    let server = setup.expect_line("logging.format").expect_line("a protocol is not served").start();
    let mut wire = Wire::connect(&server);
    assert_eq!(wire.publish("events", 1, b"x"), 0);
    let log = server.terminate();
    assert!(log.contains("listening (native protocol) address=127.0.0.1:"), "{log}");
    assert!(directory.path().join("data/events_p1").is_dir() && directory.path().join("snapshots").is_dir());
}

#[test]
fn sections_of_listeners_to_come_are_understood_and_said_to_be_silent() {
    let directory = tempfile::tempdir().expect("a directory");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port().to_string();
    let setup = Setup::new(&directory.path().join("data")).set("QB_HTTP__PORT", &port);
    let mut server = setup.set("QB_KAFKA__ENABLED", "false").start();
    let line = server.wait_for("this version does not listen for these");
    assert!(line.contains("INFO") && line.contains("http") && !line.contains("kafka"), "{line}");
    server.terminate();
}

/// Names and values after a line's first word, `NAME: "value"` or `NAME=value`.
fn variables_of(lines: impl Iterator<Item = &'static str>, divider: &str) -> Vec<(&'static str, &'static str)> {
    let pairs = lines.filter_map(|line| line.trim().trim_end_matches('\\').trim().split_once(divider));
    let pairs = pairs.map(|(name, value)| (name.trim_start_matches("ENV ").trim(), value.trim().trim_matches('"')));
    pairs.filter(|(name, _)| name.starts_with("QB_") || name.starts_with("WIBER_")).collect()
}

/// The files that containers are made with give the server only what it knows, and it would start with that.
#[test]
fn what_the_container_files_set_stands() {
    const COMPOSE: &str = include_str!("../docker-compose.yml");
    const IMAGE: &str = include_str!("../Dockerfile");
    let directory = tempfile::tempdir().expect("a directory");
    let image = variables_of(IMAGE.lines(), "=");
    assert_eq!(
        image,
        [
            ("QB_SERVER_HOST", "0.0.0.0"),
            ("WIBER_HOST", "0.0.0.0"),
            ("QB_KAFKA__HOST", "0.0.0.0"),
            ("QB_DATA_DIR", "/data")
        ]
    );
    let services: Vec<&str> =
        COMPOSE.split("\n  broker-").skip(1).filter(|part| part.contains("environment:")).collect();
    assert_eq!(services.len(), 2, "two brokers");
    let ports = [("9999", "8888", "9092"), ("10000", "8889", "9093")];
    for (service, (port, lines, kafka)) in services.into_iter().zip(ports) {
        let own = variables_of(service.lines(), ": ");
        let advertised = [("QB_KAFKA__ADVERTISED_HOST", "localhost"), ("QB_KAFKA__ADVERTISED_PORT", kafka)];
        assert_eq!(own, [&[("QB_SERVER_PORT", port), ("QB_DATA_DIR", "/data")], &advertised[..]].concat());
        let (lines, kafka) = (format!("127.0.0.1:{lines}:8888"), format!("127.0.0.1:{kafka}:9092"));
        for part in [format!("127.0.0.1:{port}:{port}"), lines, kafka, format!("\"--port\", \"{port}\", \"health\"")] {
            assert!(service.contains(&part), "{service} lacks {part}");
        }
        let ended = run(directory.path(), &[&image[..], &own].concat(), &["--check-config"]);
        assert_eq!(text(&ended.stdout).lines().next(), Some("configuration ok"), "{ended:?}");
        assert!(!text(&ended.stdout).contains("environment variable"), "{ended:?}");
        let printed = run(directory.path(), &[&image[..], &own].concat(), &["--print-config=sources"]);
        assert!(text(&printed.stdout).contains(&format!("server.port = {port} ")), "{printed:?}");
    }
}
