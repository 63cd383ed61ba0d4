//! Tests of the configuration: what loads, what does not and how it says so, and that the documentation is the table.

use std::path::Path;
use std::time::Duration;

use super::keys::{KEYS, SECTIONS};
use super::*;
use crate::types::TopicName;

const SHIPPED: &str = include_str!("../../../config/broker.json");
const DOCUMENTATION: &str = include_str!("../../../docs/configuration.md");

/// Loads layers given as text; variables and flags as `NAME=value`, flags as `section.key=value`.
fn check(file: Option<&str>, variables: &[&str], flags: &[&str]) -> Result<Loaded, String> {
    let pair = |text: &&str| {
        let (name, value) = text.split_once('=').expect("NAME=value");
        (name.to_owned(), value.to_owned())
    };
    let flags = Overrides { set: flags.iter().map(pair).collect(), ..Overrides::default() };
    let file = file.map(|text| (Path::new("broker.json"), text.as_bytes()));
    load(file, variables.iter().map(pair), &flags).map_err(|e| e.to_string())
}

#[test]
fn the_shipped_file_holds_the_defaults() {
    let shipped = check(Some(SHIPPED), &[], &[]).expect("loads");
    let built_in = check(None, &[], &[]).expect("loads");
    assert_eq!(shipped.warnings, Vec::<String>::new());
    // The file leaves out the further listeners: a port it gave would be fatal where it is taken.
    for key in KEYS {
        let further = matches!(key.section, "lines" | "http" | "kafka");
        assert_eq!(shipped.config.is_given(key.path), !further, "{}", key.path);
    }
    let same = Config { given: Vec::new(), ..shipped.config };
    assert_eq!(same, built_in.config);
}

#[test]
fn the_historic_file_loads() {
    let historic = r#"{
        "server": {"host": "127.0.0.1", "port": 9999, "max_connections": 1000, "connection_timeout": 300,
                   "heartbeat_interval": 30},
        "storage": {"data_dir": "./storage/data", "snapshot_dir": "./storage/snapshots", "snapshot_interval": 300,
                    "max_log_size": 104857600, "sync_interval": 1.0},
        "topics": {"default_partitions": 3, "max_partitions": 100, "retention_hours": 24, "max_message_size": 1048576},
        "client": {"max_retries": 3, "retry_delay": 0.5, "request_timeout": 30, "auto_ack": true},
        "logging": {"level": "warning", "format": "%(asctime)s - %(message)s", "file": null}
    }"#;
    let loaded = check(Some(historic), &[], &[]).expect("loads");
    assert_eq!(loaded.config.topics.default_partitions, 3);
    assert_eq!(loaded.config.client.retry_delay, Duration::from_millis(500));
    assert_eq!(loaded.config.logging.level, LogLevel::Warn);
    assert_eq!(loaded.config.logging.format, LogFormat::Text);
    assert_eq!(loaded.warnings.len(), 1);
    assert!(loaded.warnings[0].contains("logging.format"), "{:?}", loaded.warnings);
}

#[test]
fn a_later_layer_wins() {
    let file = r#"{"server": {"port": 1, "host": "file"}, "storage": {"sync": "os"}}"#;
    let port = |variables: &[&str], flags: &[&str]| {
        let loaded = check(Some(file), variables, flags).expect("loads");
        loaded.config.server.port
    };
    assert_eq!(port(&[], &[]), 1);
    assert_eq!(port(&["QB_SERVER_PORT=2"], &[]), 2);
    assert_eq!(port(&["QB_SERVER__PORT=3", "QB_SERVER_PORT=2"], &[]), 3);
    assert_eq!(port(&["QB_SERVER_PORT=2"], &["server.port=4", "server.port=5"]), 5);

    let flags = Overrides {
        host: Some("::1".into()),
        port: Some(7),
        data_dir: Some("/d".into()),
        log_level: Some("critical".into()),
        set: Vec::new(),
    };
    let config = load(None, [("QB_SERVER_HOST".into(), "h".into())], &flags).expect("loads").config;
    assert_eq!((config.server.host.as_str(), config.server.port), ("::1", 7));
    assert_eq!(config.logging.level, LogLevel::Error);
    assert_eq!(config.storage.snapshot_dir, Path::new("/d/.snapshots"));
}

#[test]
fn snapshots_follow_a_chosen_data_directory() {
    let with = |file: Option<&str>, variables: &[&str]| {
        let config = check(file, variables, &[]).expect("loads").config;
        config.storage.snapshot_dir
    };
    let dir = |variables: &[&str]| with(None, variables);
    assert_eq!(with(Some(SHIPPED), &["QB_DATA_DIR=d"]), Path::new("d/.snapshots"));
    let chosen = r#"{"storage": {"snapshot_dir": "s"}}"#;
    assert_eq!(with(Some(chosen), &["QB_DATA_DIR=d"]), Path::new("s"));
    assert_eq!(dir(&[]), Path::new("./storage/snapshots"));
    assert_eq!(dir(&["QB_DATA_DIR=/var/wiber"]), Path::new("/var/wiber/.snapshots"));
    assert_eq!(dir(&["WIBER_DATA_DIR=d"]), Path::new("d/.snapshots"));
    assert_eq!(dir(&["QB_DATA_DIR=d", "QB_SNAPSHOT_DIR=s"]), Path::new("s"));
    assert_eq!(dir(&["QB_SNAPSHOT_DIR=s"]), Path::new("s"));
}

#[test]
fn variables_carry_every_kind_of_value() {
    let variables = [
        "QB_STORAGE__SYNC=interval",
        "QB_STORAGE__SYNC_INTERVAL=0.25",
        "QB_TOPICS__AUTO_CREATE=True",
        r#"QB_TOPICS__CREATE={"a":4}"#,
        "QB_LOGGING__FILE=/tmp/log",
        "QB_LOG_LEVEL=Debug",
        "WIBER_PORT=0",
        "QB_CONFIG_FILE=other.json",
        "QB_BUILD=17",
        "HOME=/root",
        "WIBER_OTHER=1",
    ];
    let loaded = check(None, &variables, &[]).expect("loads");
    let config = loaded.config;
    assert_eq!(config.storage.sync, SyncMode::Interval);
    assert_eq!(config.storage.sync_interval, Duration::from_millis(250));
    assert!(config.topics.auto_create);
    let created = [(TopicName::new("a").expect("valid"), 4)];
    assert_eq!(config.topics.create, created.into());
    assert_eq!(config.logging.file.as_deref(), Some(Path::new("/tmp/log")));
    assert_eq!(config.logging.level, LogLevel::Debug);
    assert!(config.is_given("lines.port") && !config.is_given("http.port"));
    assert_eq!(loaded.warnings.len(), 1);
    assert!(loaded.warnings[0].contains("QB_BUILD"), "{:?}", loaded.warnings);
}

/// Files that do not load, and what the error must say.
const WRONG_FILES: &[(&str, &[&str])] = &[
    ("", &["broker.json", "not JSON"]),
    ("{", &["not JSON"]),
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
    (r#"{"server": {"host": 127}}"#, &["server.host", "text"]),
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
    (
        r#"{"topics": {"max_message_size": 67108864}}"#,
        &["topics.max_message_size", "storage.pending_bytes is 16777216"],
    ),
    (r#"{"client": {"auto_ack": 1}}"#, &["client.auto_ack", "true or false"]),
    (r#"{"logging": {"level": "LOUD"}}"#, &["logging.level", "TRACE, DEBUG"]),
    (r#"{"logging": {"format": "xml"}}"#, &["logging.format", "text, json"]),
    (r#"{"logging": {"file": 3}}"#, &["logging.file", "a path or null"]),
    (r#"{"kafka": {"enabled": "on"}}"#, &["kafka.enabled", "true or false"]),
];

#[test]
fn wrong_files_say_what_is_wrong() {
    for (file, parts) in WRONG_FILES {
        let error = check(Some(file), &[], &[]).expect_err(file);
        for part in *parts {
            assert!(error.contains(part), "{file}: {error:?} lacks {part:?}");
        }
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
        ("A=1", "server.port=x", &["command line", "server.port"]),
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
fn the_file_is_found_by_flag_then_variable_then_place() {
    let located = |flag: Option<&str>, variable| ConfigFile::locate(flag.map(Path::new), variable);
    assert_eq!(located(Some("a"), Some("b")).path, Path::new("a"));
    assert_eq!(located(None, Some("b")).path, Path::new("b"));
    assert_eq!(located(None, None).path, Path::new(DEFAULT_PATH));

    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("no such file");
    let unnamed = ConfigFile { path: path.clone(), named: false };
    assert!(unnamed.read().expect("not an error").is_none());
    let named = ConfigFile { path, named: true };
    let error = named.read().expect_err("it was named").to_string();
    assert!(error.contains("no such file") && error.contains("--config"), "{error}");
}

/// `docs/configuration.md` holds one row for every key of the table, word for word, below its section's heading.
#[test]
fn the_documentation_is_the_table() {
    let mut expected = String::new();
    for section in SECTIONS {
        expected.push_str(&format!("\n### {section}\n\n"));
        expected.push_str("| key | default | allowed | variables | |\n|---|---|---|---|---|\n");
        for key in KEYS.iter().filter(|key| key.section == *section) {
            let long = key.variable();
            let variables = key.variables.iter().copied().chain([long.as_str()]);
            let variables: Vec<String> = variables.map(|name| format!("`{name}`")).collect();
            expected.push_str(&format!(
                "| `{}` | `{}` | {} | {} |{} |\n",
                key.name,
                key.default,
                key.rule,
                variables.join(", "),
                key.doc,
            ));
        }
    }
    assert!(DOCUMENTATION.contains(&expected), "the tables must read:\n{expected}");
}
