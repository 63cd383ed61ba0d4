//! The table of keys: sections, names, types, defaults, ranges, variables. Everything else is derived from it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::error::ConfigError;
use super::load::Values;
use super::rule::{LogFormat, LogLevel, Rule, SyncMode};
use crate::types::TopicName;

/// One key of the configuration.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    /// `section.name`.
    pub(super) path: &'static str,
    /// The default, as JSON.
    pub(super) default: &'static str,
    pub(super) rule: Rule,
    /// Variables beside `QB_<SECTION>__<KEY>`; a later one wins.
    pub(super) variables: &'static [&'static str],
    /// Its line in the documentation.
    #[cfg_attr(not(test), expect(dead_code, reason = "compared with the documentation"))]
    pub(super) doc: &'static str,
}

impl Key {
    /// The default as a value.
    pub(super) fn default_value(&self) -> Value {
        serde_json::from_str(self.default).unwrap_or(Value::Null)
    }

    /// The variable that every key has.
    pub(super) fn variable(&self) -> String {
        let (section, name) = (self.section.to_uppercase(), self.name.to_uppercase());
        format!("QB_{section}__{name}")
    }
}

macro_rules! settings {
    ($(
        $(#[doc = $section_doc:literal])+
        $section:ident: $Section:ident {
            $($(#[doc = $doc:literal])+ $name:ident: $type:ty = $default:literal, $rule:expr $(, $variable:literal)*;)+
        }
    )+) => {
        $(
            $(#[doc = $section_doc])+
            #[derive(Debug, Clone, PartialEq)]
            pub struct $Section {
                $($(#[doc = $doc])+ pub $name: $type,)+
            }
        )+

        /// The whole configuration. Only the composition root sees it; each layer takes its own options.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Config {
            $($(#[doc = $section_doc])+ pub $section: $Section,)+
            /// The keys that the file, the environment or a flag gave, as `section.name`.
            pub(super) given: Vec<&'static str>,
            /// Those of them that are more than a file that spells out the defaults.
            pub(super) chosen: Vec<&'static str>,
        }

        pub(super) static KEYS: &[Key] = &[$($(Key {
            section: stringify!($section),
            name: stringify!($name),
            path: concat!(stringify!($section), ".", stringify!($name)),
            default: $default,
            rule: $rule,
            variables: &[$($variable),*],
            doc: concat!($($doc),+),
        },)+)+];

        /// The sections, in the order of the table.
        pub(super) static SECTIONS: &[&str] = &[$(stringify!($section)),+];

        impl Config {
            pub(super) fn build(values: &Values) -> Result<Config, ConfigError> {
                Ok(Config {
                    $($section: $Section {
                        $($name: values.read(concat!(stringify!($section), ".", stringify!($name)))?,)+
                    },)+
                    given: values.given(),
                    chosen: values.chosen(),
                })
            }
        }
    };
}

const PORT: Rule = Rule::Integer { min: 0, max: 65_535 };

const fn integer(min: u64, max: u64) -> Rule {
    Rule::Integer { min, max }
}

const fn seconds(min: f64, max: f64) -> Rule {
    Rule::Seconds { min, max }
}

settings! {
    /// The native listener, and what holds for every connection.
    server: ServerConfig {
        /// Address the native protocol listens on.
        host: String = r#""127.0.0.1""#, Rule::Host, "QB_SERVER_HOST";
        /// Port of the native protocol; 0 lets the system choose.
        port: u16 = "9999", PORT, "QB_SERVER_PORT";
        /// Connections at most, over all listeners.
        max_connections: u32 = "10000", integer(1, 1_000_000), "QB_MAX_CONNECTIONS";
        /// Seconds without a byte from a peer, nor an acknowledgement by its TCP, after which it counts as dead.
        connection_timeout: Duration = "300", seconds(1.0, 86_400.0);
        /// Seconds between the server's heartbeats.
        heartbeat_interval: Duration = "30", seconds(0.1, 86_400.0);
        /// Seconds a new connection has for its first valid frame.
        handshake_timeout: Duration = "10", seconds(0.1, 3_600.0);
        /// Seconds a record of an at-least-once subscription may stay unacknowledged before it is sent again.
        ack_timeout: Duration = "30", seconds(0.1, 86_400.0);
        /// Milliseconds between the ACK to a SUBSCRIBE with `version=1.0` and the first DATA.
        subscribe_grace_ms: u64 = "50", integer(0, 10_000);
        /// Bytes of the large requests that are received at a time, for all connections together; the others wait.
        incoming_bytes: usize = "16777216", integer(1_048_576, 4_294_967_295);
        /// Bytes that may wait for clients to take them, for all connections together; beside it each has 16 KiB of its own.
        outgoing_bytes: usize = "67108864", integer(8_388_608, 4_294_967_295);
    }
    /// Where and how records are kept.
    storage: StorageConfig {
        /// Directory of the partitions.
        data_dir: PathBuf = r#""./storage/data""#, Rule::Path, "WIBER_DATA_DIR", "QB_DATA_DIR";
        /// Directory of the snapshots; where only `storage.data_dir` is given, `<data_dir>/.snapshots`.
        snapshot_dir: PathBuf = r#""./storage/snapshots""#, Rule::Path, "QB_SNAPSHOT_DIR";
        /// Seconds between snapshots.
        snapshot_interval: Duration = "300", seconds(1.0, 604_800.0), "QB_SNAPSHOT_INTERVAL";
        /// Snapshots kept.
        snapshots_kept: usize = "3", integer(1, 1_000);
        /// Bytes of a segment before the next one is begun.
        max_log_size: u64 = "104857600", integer(1_024, 2_147_483_647);
        /// When records are fsynced: before every acknowledgement, every `storage.sync_interval`, or when the operating system sees fit.
        sync: SyncMode = r#""always""#, Rule::Choice(&["always", "interval", "os"]);
        /// Seconds between syncs under `storage.sync` = `interval`.
        sync_interval: Duration = "1", seconds(0.001, 3_600.0);
        /// Bytes a partition keeps before its oldest segments go; 0 is no limit.
        retention_bytes: u64 = "0", integer(0, 9_223_372_036_854_775_807);
        /// Bytes of memory for the newest records of all partitions together.
        tail_bytes: usize = "16777216", integer(0, 68_719_476_736);
        /// Bytes of all partitions together that may wait to be written before their producers are slowed.
        pending_bytes: usize = "8388608", integer(65_536, 4_294_967_296);
        /// Bytes of a partition that may be written but not synced before its producers are slowed.
        unsynced_bytes: u64 = "67108864", integer(65_536, 68_719_476_736);
        /// Largest group of records that a connection's own thread writes; 0 leaves every write to the writer threads.
        inline_write_bytes: usize = "65536", integer(0, 16_777_216);
        /// Zeros written at a time ahead of a log that is synced after every few records, which makes those syncs faster; 0: none.
        preallocate_bytes: u64 = "262144", integer(0, 16_777_216);
        /// Threads that fsync.
        sync_threads: usize = "16", integer(1, 64);
        /// Threads that write.
        writer_threads: usize = "2", integer(1, 64);
        /// Sealed segments held open at most.
        open_segments_max: usize = "256", integer(8, 100_000);
        /// Bytes a second that compaction reads, for all partitions together.
        compaction_rate: u64 = "33554432", integer(65_536, 68_719_476_736);
        /// Bytes of memory for the keys of what is being compacted, for all partitions together.
        compaction_memory: usize = "33554432", integer(65_536, 68_719_476_736);
        /// Percent of what can be compacted of a partition that must not be for a compaction to begin.
        compaction_dirty_percent: u64 = "50", integer(0, 100);
        /// Hours after which an idempotent producer that sent nothing is forgotten.
        producer_expiry_hours: u64 = "168", integer(1, 87_600);
        /// Hours after which a position that its client did not move is forgotten.
        position_expiry_hours: u64 = "168", integer(1, 87_600);
    }
    /// Topics and their limits.
    topics: TopicsConfig {
        /// Partitions of a topic whose creator gave no number.
        default_partitions: u32 = "1", integer(1, 65_536), "QB_DEFAULT_PARTITIONS";
        /// Partitions of a topic at most.
        max_partitions: u32 = "4096", integer(1, 65_536);
        /// Topics at most.
        max_topics: usize = "10000", integer(1, 1_000_000);
        /// Hours that records are kept where the topic does not say; 0 is for ever.
        retention_hours: u32 = "168", integer(0, 876_000);
        /// Bytes of a record's payload at most.
        max_message_size: usize = "1048576", integer(1, 67_108_864);
        /// Bytes of a record batch that a client built at most; one with a single record of `topics.max_message_size` always fits.
        max_batch_size: usize = "1048588", integer(1_024, 67_108_864);
        /// Seconds during which an id published again to the same topic is not stored again; 0 is not at all.
        dedup_window: Duration = "120", seconds(0.0, 604_800.0);
        /// Whether publishing or subscribing to a topic that does not exist creates it.
        auto_create: bool = "false", Rule::Flag;
        /// Topics created at start where they do not exist, with their numbers of partitions.
        create: BTreeMap<TopicName, u32> = r#"{"events":2,"logs":1,"notifications":3}"#, Rule::Topics;
    }
    /// What clients that share this file do; the server only checks it.
    client: ClientConfig {
        /// Attempts after the first.
        max_retries: u32 = "3", integer(0, 1_000), "QB_MAX_RETRIES";
        /// Seconds between attempts.
        retry_delay: Duration = "1", seconds(0.0, 3_600.0);
        /// Seconds to wait for a reply.
        request_timeout: Duration = "30", seconds(0.1, 3_600.0);
        /// Whether subscriptions acknowledge by themselves.
        auto_ack: bool = "true", Rule::Flag;
    }
    /// The log of the server itself.
    logging: LoggingConfig {
        /// The least severe lines logged.
        level: LogLevel = r#""INFO""#, Rule::ChoiceOfAnyCase(&["TRACE", "DEBUG", "INFO", "WARN", "WARNING", "ERROR", "CRITICAL"]), "QB_LOG_LEVEL";
        /// `text` or `json`; a format string with `%(` means `text`, with a warning.
        format: LogFormat = r#""text""#, Rule::Choice(&["text", "json"]);
        /// File the log is appended to; null is standard error.
        file: Option<PathBuf> = "null", Rule::OptionalPath;
    }
    /// The line protocol's listener.
    lines: LinesConfig {
        /// Whether the line protocol is served.
        enabled: bool = "true", Rule::Flag;
        /// Address of the line protocol.
        host: String = r#""127.0.0.1""#, Rule::Host, "WIBER_HOST";
        /// Port of the line protocol; 0 lets the system choose.
        port: u16 = "8888", PORT, "WIBER_PORT";
        /// Seconds that a connection which subscribes to nothing may be silent before it is closed; 0 is for ever.
        idle_timeout: Duration = "3600", seconds(0.0, 604_800.0);
    }
    /// The HTTP listener.
    http: HttpConfig {
        /// Whether HTTP is served.
        enabled: bool = "true", Rule::Flag;
        /// Address of HTTP.
        host: String = r#""127.0.0.1""#, Rule::Host;
        /// Port of HTTP; 0 lets the system choose.
        port: u16 = "8000", PORT;
    }
    /// The Kafka listener.
    kafka: KafkaConfig {
        /// Whether the Kafka protocol is served.
        enabled: bool = "true", Rule::Flag;
        /// Address of the Kafka protocol.
        host: String = r#""127.0.0.1""#, Rule::Host;
        /// Port of the Kafka protocol; 0 lets the system choose.
        port: u16 = "9092", PORT;
        /// Host that Kafka clients are told to connect to; null: the address that each of them dialled.
        advertised_host: Option<String> = "null", Rule::OptionalHost;
        /// Port that Kafka clients are told to connect to; 0: the one that each of them dialled.
        advertised_port: u16 = "0", PORT;
        /// Seconds that a connection which waits for nothing may be silent before it is closed; 0 is for ever.
        idle_timeout: Duration = "600", seconds(0.0, 604_800.0);
    }
}

impl Config {
    /// Whether the file, the environment or a flag gave this key (`section.name`): a default port that is taken turns
    /// a listener off, a given one is fatal.
    #[must_use]
    pub fn is_given(&self, key: &str) -> bool {
        self.given.contains(&key)
    }

    /// Whether somebody chose this key's value (`section.name`): a file that spells out the default has chosen nothing.
    #[must_use]
    pub fn is_chosen(&self, key: &str) -> bool {
        self.chosen.contains(&key)
    }
}
