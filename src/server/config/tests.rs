//! Tests of the configuration: what loads, what does not and how it says so, and that the documentation is the table.

mod wrong;

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use super::keys::{KEYS, SECTIONS};
use super::*;
use crate::types::TopicName;

const SHIPPED: &str = include_str!("../../../config/broker.json");
const DOCUMENTATION: &str = include_str!("../../../docs/configuration.md");

/// Loads layers given as text; variables and flags as `NAME=value`, flags as `section.key=value`.
fn check(file: Option<&str>, variables: &[&str], flags: &[&str]) -> Result<Loaded, String> {
    let variable = |text: &&str| {
        let (name, value) = text.split_once('=').expect("NAME=value");
        (OsString::from(name), OsString::from(value))
    };
    let mut overrides = Overrides::default();
    flags.iter().for_each(|pair| overrides.set(pair));
    let file = file.map(|text| (Path::new("broker.json"), text.as_bytes()));
    load(file, variables.iter().map(variable), &overrides).map_err(|e| e.to_string())
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
    assert_eq!(shipped.config.chosen, Vec::<&str>::new());
    let same = Config { given: Vec::new(), ..shipped.config };
    assert_eq!(same, built_in.config);
}

/// Files as the systems have them whose clients Wiber serves; what must be warned about in each.
const HISTORIC: &[(&str, usize)] = &[
    (
        r#"{
            "server": {"host": "127.0.0.1", "port": 9999, "max_connections": 1000, "connection_timeout": 300,
                       "heartbeat_interval": 30},
            "storage": {"data_dir": "./storage/data", "snapshot_dir": "./storage/snapshots", "snapshot_interval": 300,
                        "max_log_size": 104857600, "sync_interval": 1.0},
            "topics": {"default_partitions": 3, "max_partitions": 100, "retention_hours": 24, "max_message_size": 1048576},
            "client": {"max_retries": 3, "retry_delay": 0.5, "request_timeout": 30, "auto_ack": true},
            "logging": {"level": "warning", "format": "%(asctime)s - %(message)s", "file": null}
        }"#,
        1,
    ),
    (
        r#"{
    "server": {
        "host": "localhost",
        "port": 9999,
        "max_connections": 100,
        "connection_timeout": 60.0,
        "heartbeat_interval": 30.5
    },
    "storage": {
        "data_dir": "storage/data",
        "snapshot_dir": "storage/snapshots",
        "snapshot_interval": 300.0,
        "max_log_size": 1073741824,
        "sync_interval": 5
    },
    "topics": {
        "default_partitions": 1,
        "max_partitions": 2,
        "retention_hours": 168,
        "max_message_size": 33554432
    },
    "client": {
        "max_retries": 5,
        "retry_delay": 1,
        "request_timeout": 10.5,
        "auto_ack": false
    },
    "logging": {
        "level": "CRITICAL",
        "format": "%(asctime)s - %(name)s - %(levelname)s - %(message)s",
        "file": "logs/broker.log"
    }
}
"#,
        1,
    ),
    (
        r#"{"server": {"host": "0.0.0.0"}, "logging": {"level": "INFO", "format": "[%(levelname)s] %(message)s", "file": ""}}"#,
        1,
    ),
    ("\u{FEFF}{\"logging\": {\"level\": \"Debug\", \"format\": \"json\"}}\r\n", 0),
    ("{}", 0),
];

#[test]
fn historic_files_load() {
    for (file, warnings) in HISTORIC {
        let loaded = check(Some(file), &[], &[]).expect(file);
        assert_eq!(loaded.warnings.len(), *warnings, "{:?}", loaded.warnings);
        assert!(loaded.warnings.iter().all(|line| line.contains("logging.format")), "{:?}", loaded.warnings);
    }
    let config = |index: usize| check(Some(HISTORIC[index].0), &[], &[]).expect("loads").config;
    let first = config(0);
    assert_eq!((first.topics.default_partitions, first.topics.max_partitions), (3, 100));
    assert_eq!(first.client.retry_delay, Duration::from_millis(500));
    assert_eq!((first.logging.level, first.logging.format), (LogLevel::Warn, LogFormat::Text));
    let second = config(1);
    assert_eq!(second.server.heartbeat_interval, Duration::from_millis(30_500));
    assert_eq!(second.logging.file.as_deref(), Some(Path::new("logs/broker.log")));
    assert_eq!(second.logging.level, LogLevel::Error);
    // What they chose is not refused for what we added: our defaults follow.
    assert_eq!(second.storage.pending_bytes, 33_554_432);
    assert_eq!(second.topics.create.values().copied().collect::<Vec<_>>(), [2, 1, 2]);
    assert_eq!(config(2).logging.file, None);
}

#[test]
fn what_is_printed_loads_again_as_the_same() {
    let file = r#"{"server": {"host": "::1"}, "topics": {"create": {}}, "logging": {"level": "warning"}}"#;
    let loaded = check(Some(file), &["QB_DATA_DIR=d", "QB_STORAGE__SYNC_INTERVAL=0.25"], &["server.port=7"]);
    let loaded = loaded.expect("loads");
    let again = check(Some(&loaded.to_json()), &[], &[]).expect("loads again");
    assert_eq!(again.to_json(), loaded.to_json());
    let unlisted = |config: Config| Config { given: Vec::new(), chosen: Vec::new(), ..config };
    assert_eq!(unlisted(again.config), unlisted(loaded.config.clone()));
    let sources = loaded.to_lines();
    for (value, origin) in [
        ("server.host = \"::1\"", "# broker.json:1:13"),
        ("server.port = 7", "# command line, --set"),
        ("storage.data_dir = \"d\"", "# environment variable QB_DATA_DIR"),
        ("storage.snapshot_dir = \"d/.snapshots\"", "# built-in default, from storage.data_dir"),
        ("logging.level = \"WARNING\"", "# broker.json:1:"),
        ("kafka.port = 9092", "# built-in default"),
    ] {
        let line = sources.lines().find(|line| line.starts_with(value)).expect(value);
        assert!(line.contains(origin), "{line}");
    }
    assert_eq!(sources.lines().count(), KEYS.len());
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

    let mut flags = Overrides::default();
    for (flag, key, text) in [
        ("--host", "server.host", "::1"),
        ("--port", "server.port", "7"),
        ("--data-dir", "storage.data_dir", "/d"),
        ("--log-level", "logging.level", "critical"),
    ] {
        flags.give(flag, key, text);
    }
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

#[test]
fn the_file_is_found_by_flag_then_variable_then_place() {
    let located =
        |flag: Option<&str>, variable: Option<&str>| ConfigFile::locate(flag.map(Path::new), variable.map(Path::new));
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
    let directory = ConfigFile { path: dir.path().to_owned(), named: false };
    let error = directory.read().expect_err("a directory is no file").to_string();
    assert!(error.contains("irectory") && error.contains("--config"), "{error}");
    let long = dir.path().join("long");
    std::fs::write(&long, vec![b' '; 2 << 20]).expect("written");
    let error = ConfigFile { path: long, named: false }.read().expect_err("too long").to_string();
    assert!(error.contains("more than 1048576 bytes"), "{error}");
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
