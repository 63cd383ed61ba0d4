//! Configurations that do not stand, and that each says so: where, which key, what it may be.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use super::super::{Overrides, load};
use super::check;

/// Files that do not load, and what the one line for each must say.
const WRONG_FILES: &[(&str, &[&str])] = &[
    ("", &["broker.json", "not JSON"]),
    (" \n", &["the file is empty"]),
    ("{", &["broker.json:1:1: not JSON", "EOF"]),
    ("{\n  \"server\": {\n    \"port\": 1,\n  }\n}", &["broker.json:4:3: not JSON: trailing comma"]),
    ("{'server': {}}", &["broker.json:1:2: not JSON"]),
    ("{\"server\": {}} // said", &["broker.json:1:16: not JSON"]),
    ("{\"server\": {\"port\": 09999}}", &["not JSON: invalid number"]),
    ("{\"server\": {\"port\": NaN}}", &["not JSON"]),
    ("[]", &["the file must be a JSON object"]),
    (r#"{"server": 1}"#, &["section 'server' must be a JSON object"]),
    (r#"{"sever": {}}"#, &["unknown section 'sever'", "server, storage"]),
    (r#"{"server": {"prot": 1}}"#, &["unknown key 'server.prot'", "port"]),
    (r#"{"server": {"port": "9999"}}"#, &["server.port is \"9999\"", "0 to 65535"]),
    (r#"{"server": {"port": 65536}}"#, &["server.port is 65536", "0 to 65535"]),
    (r#"{"server": {"port": -1}}"#, &["server.port", "0 to 65535"]),
    (r#"{"server": {"port": 1.5}}"#, &["server.port", "0 to 65535"]),
    (r#"{"server": {"port": null}}"#, &["server.port", "0 to 65535"]),
    (r#"{"server": {"host": ""}}"#, &["server.host", "not empty"]),
    (r#"{"server": {"host": 127}}"#, &["server.host", "a host name"]),
    (r#"{"server": {"max_connections": 0}}"#, &["server.max_connections", "1 to 1000000"]),
    (r#"{"server": {"heartbeat_interval": 0}}"#, &["server.heartbeat_interval", "0.1 to"]),
    (r#"{"server": {"connection_timeout": "5s"}}"#, &["server.connection_timeout", "seconds"]),
    (r#"{"storage": {"sync": "never"}}"#, &["storage.sync", "always, interval, os"]),
    (r#"{"storage": {"sync": true}}"#, &["storage.sync", "always, interval, os"]),
    (r#"{"storage": {"data_dir": []}}"#, &["storage.data_dir", "a path"]),
    (r#"{"storage": {"max_log_size": 10}}"#, &["storage.max_log_size", "1024 to 2147483647"]),
    (r#"{"storage": {"sync_threads": 65}}"#, &["storage.sync_threads", "1 to 64"]),
    (r#"{"topics": {"auto_create": "yes"}}"#, &["topics.auto_create", "true or false"]),
    (r#"{"topics": {"create": ["a"]}}"#, &["topics.create", "object of topic names"]),
    (r#"{"topics": {"create": {"a b": 1}}}"#, &["topics.create", "a-z"]),
    (r#"{"topics": {"create": {"__meta": 1}}}"#, &["topics.create", "'__'"]),
    (r#"{"topics": {"create": {"a": 0}}}"#, &["topics.create", "from 1"]),
    (r#"{"topics": {"create": {"a": 5000}}}"#, &["topics.create", "at most 4096"]),
    (
        r#"{"topics": {"default_partitions": 9, "max_partitions": 8}}"#,
        &["topics.default_partitions is 9", "at most 8", "topics.max_partitions"],
    ),
    (r#"{"client": {"auto_ack": 1}}"#, &["client.auto_ack", "true or false"]),
    (r#"{"logging": {"level": "LOUD"}}"#, &["logging.level", "TRACE, DEBUG"]),
    (r#"{"logging": {"format": "xml"}}"#, &["logging.format", "text, json"]),
    (r#"{"logging": {"file": 3}}"#, &["logging.file", "a path or null"]),
    (r#"{"kafka": {"enabled": "on"}}"#, &["kafka.enabled", "true or false"]),
    (r#"{"server": {"prot": 1}}"#, &["broker.json:1:13", "did you mean 'server.port'?"]),
    (r#"{"sever": {"port": 1}}"#, &["broker.json:1:2", "did you mean 'server'?"]),
    (r#"{"Server": {"port": 1}}"#, &["unknown section 'Server'", "did you mean 'server'?"]),
    (r#"{"server": {"data_dir": "d"}}"#, &["unknown key 'server.data_dir'", "did you mean 'storage.data_dir'?"]),
    (r#"{"port": 9999}"#, &["unknown section 'port'", "the sections are server"]),
    (
        r#"{"storage": {"maxLogSize": 1}}"#,
        &["unknown key 'storage.maxLogSize'", "did you mean 'storage.max_log_size'?"],
    ),
    (r#"{"server": {"port": "9999"}}"#, &["a whole number from 0 to 65535, without quotes"]),
    (r#"{"server": {"port": 1e3}}"#, &["server.port is 1000.0", "a whole number"]),
    (r#"{"server": {"max_connections": 99999999999999999999}}"#, &["server.max_connections", "1 to 1000000"]),
    (r#"{"client": {"auto_ack": "true"}}"#, &["client.auto_ack", "true or false, without quotes"]),
    (r#"{"server": {"host": " "}}"#, &["server.host", "host name"]),
    (r#"{"server": {"host": "127.0.0.1:9999"}}"#, &["server.host", "without a port"]),
    (r#"{"server": {"host": "tcp://localhost"}}"#, &["server.host", "host name"]),
    (
        r#"{"server": {"port": 1, "host": "h", "port": 2}}"#,
        &["broker.json:1:37", "server.port stands here a second time", "line 1"],
    ),
    (
        "{\"server\": {\"port\": 1},\n \"server\": {\"host\": \"h\"}}",
        &["broker.json:2:2", "server stands here a second time"],
    ),
    (r#"{"topics": {"create": {"a": 1, "a": 2}}}"#, &["topics.create.a stands here a second time"]),
    (r#"{"topics": {"create": {"__meta": 1}}}"#, &["topics.create", "not beginning with '__'"]),
    (r#"{"topics": {"create": ["a"]}}"#, &["topics.create", "an object of topic names"]),
    (
        r#"{"topics": {"default_partitions": 9, "max_partitions": 4}}"#,
        &["topics.default_partitions is 9; it must be at most 4, as topics.max_partitions is 4 (broker.json:1:38)"],
    ),
    (r#"{"topics": {"create": {"a": 9}, "max_partitions": 4}}"#, &["topics.create is 9", "at most 4"]),
    (
        r#"{"topics": {"max_message_size": 90000}, "storage": {"pending_bytes": 65536}}"#,
        &["topics.max_message_size", "at most 65536, as storage.pending_bytes"],
    ),
    (
        r#"{"server": {"port": 7}, "kafka": {"port": 7}}"#,
        &["kafka.port is 7; it must be another port, as server.port is 7"],
    ),
    (r#"{"http": {"port": 7, "host": "0.0.0.0"}, "lines": {"port": 7}}"#, &["http.port is 7", "lines.port"]),
    (r#"{"storage": {"data_dir": ""}}"#, &["storage.data_dir", "a path that is not empty"]),
    (r#"{"storage": {"data_dir": "a\u0000b"}}"#, &["storage.data_dir", "a path"]),
    (r#"{"storage": {"sync": "Always"}}"#, &["storage.sync", "always, interval, os"]),
    (r#"{"storage": {"max_log_size": 512}}"#, &["storage.max_log_size is 512", "1024 to 2147483647"]),
    (r#"{"logging": {"level": 20}}"#, &["logging.level is 20", "one of TRACE"]),
];

#[test]
fn wrong_files_say_what_is_wrong() {
    for (file, parts) in WRONG_FILES {
        let error = check(Some(file), &[], &[]).expect_err(file);
        for part in *parts {
            assert!(error.contains(part), "{file}: {error:?} lacks {part:?}");
        }
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(error.contains("broker.json"), "{error:?}");
    }
}

#[test]
fn wrong_variables_and_flags_say_what_is_wrong() {
    let table: &[(&str, &str, &[&str])] = &[
        ("QB_SERVER_PORT=abc", "", &["QB_SERVER_PORT", "server.port", "0 to 65535"]),
        ("QB_SERVER_PORT=", "", &["server.port", "0 to 65535"]),
        ("QB_SERVER__PORT=1e9", "", &["QB_SERVER__PORT", "server.port"]),
        ("QB_SERVER__PRT=1", "", &["QB_SERVER__PRT", "unknown key 'server.prt'"]),
        ("QB_X__Y=1", "", &["QB_X__Y", "unknown section 'x'"]),
        ("QB_server__port=1", "", &["QB_server__port"]),
        ("QB_TOPICS__CREATE=a", "", &["topics.create"]),
        ("QB_SERVER__PRT=1", "", &["did you mean 'QB_SERVER__PORT'?"]),
        ("QB_server__port=1", "", &["did you mean 'QB_SERVER__PORT'?"]),
        ("QB_STORGE__SYNC=os", "", &["unknown section 'storge'", "did you mean 'QB_STORAGE__SYNC'?"]),
        ("QB_SERVER__=1", "", &["QB_SERVER__", "unknown key 'server.'"]),
        ("QB_SERVER_HOST=", "", &["QB_SERVER_HOST", "server.host", "not empty"]),
        ("QB_MAX_CONNECTIONS=10 000", "", &["QB_MAX_CONNECTIONS", "1 to 1000000"]),
        ("QB_TOPICS__AUTO_CREATE=yes", "", &["topics.auto_create", "true or false"]),
        ("QB_SNAPSHOT_INTERVAL=5m", "", &["storage.snapshot_interval", "seconds from 1 to 604800"]),
        ("QB_SNAPSHOT_INTERVAL=inf", "", &["storage.snapshot_interval", "seconds from 1"]),
        ("WIBER_PORT=99999", "", &["environment variable WIBER_PORT", "lines.port", "0 to 65535"]),
        ("QB_LOG_LEVEL=verbose", "", &["QB_LOG_LEVEL", "logging.level", "one of TRACE"]),
        (r#"QB_TOPICS__CREATE={"a":1"#, "", &["QB_TOPICS__CREATE", "topics.create"]),
        ("A=1", "server.port=x", &["command line, --set", "server.port"]),
        ("A=1", "server.prot=1", &["command line, --set", "did you mean 'server.port'?"]),
        ("A=1", "server.port", &["command line, --set", "'server.port' must be section.key=value"]),
        ("A=1", "server=x", &["command line", "'server.'"]),
        ("A=1", "no.such=x", &["command line", "unknown section 'no'"]),
    ];
    for (variable, flag, parts) in table {
        let flags: Vec<&str> = [*flag].into_iter().filter(|f| !f.is_empty()).collect();
        let error = check(None, &[variable], &flags).expect_err(variable);
        for part in *parts {
            assert!(error.contains(part), "{variable} {flag}: {error:?} lacks {part:?}");
        }
    }
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let file = "{\n\"server\": {\"port\": 70000, \"hots\": 1},\n\"storrage\": {},\n\"topics\": {\"max_topics\": 0}}";
    let errors = check(Some(file), &["QB_STORAGE__SYNC=no", "QB_A__B=1"], &["logging.level=x"]).expect_err("six");
    let expected = [
        "broker.json:2:12: server.port is 70000",
        "broker.json:2:27: unknown key 'server.hots' (did you mean 'server.host'?)",
        "broker.json:3:1: unknown section 'storrage' (did you mean 'storage'?)",
        "broker.json:4:12: topics.max_topics is 0",
        "environment variable QB_STORAGE__SYNC: storage.sync is \"no\"",
        "environment variable QB_A__B: unknown section 'a'",
        "command line, --set: logging.level is \"x\"",
    ];
    let lines: Vec<&str> = errors.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{errors}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line:?}, not {expected:?}");
    }
}

#[test]
fn other_encodings_are_named() {
    let table: &[(&[u8], &str)] = &[
        (b"{\n\"server\": {\"host\": \"\xe4\"}}", "broker.json:2:21: not UTF-8 text: save it as UTF-8"),
        (b"\xff\xfe{\0}\0", "not UTF-8 text but UTF-16"),
        (b"\xfe\xff\0{\0}", "not UTF-8 text but UTF-16"),
        (b"\x1f\x8b\x08\0", "not UTF-8"),
        (b"{}\0", "not JSON"),
    ];
    for (bytes, expected) in table {
        let errors = load(Some((Path::new("broker.json"), bytes)), [], &Overrides::default()).expect_err(expected);
        assert!(errors.to_string().contains(expected), "{errors}");
    }
    let variable = (OsString::from("QB_DATA_DIR"), OsString::from_vec(b"/data/\xe4".to_vec()));
    let errors = load(None, [variable], &Overrides::default()).expect_err("not UTF-8").to_string();
    assert!(errors.contains("QB_DATA_DIR: storage.data_dir is") && errors.contains("UTF-8"), "{errors}");
    // What is not ours may be what it likes.
    let foreign = (OsString::from("LS_COLORS"), OsString::from_vec(vec![0xff]));
    assert!(load(None, [foreign], &Overrides::default()).is_ok());
}

#[test]
fn a_variable_nobody_knows_is_named_with_its_neighbour() {
    let loaded = check(None, &["QB_SERVER_PROT=1", "QB_ZZZ=1"], &[]).expect("loads");
    let [near, far] = loaded.warnings.as_slice() else { panic!("{:?}", loaded.warnings) };
    assert!(near.contains("QB_SERVER_PROT") && near.contains("did you mean QB_SERVER_PORT?"), "{near}");
    assert!(far.contains("QB_ZZZ") && !far.contains("did you mean"), "{far}");
}
