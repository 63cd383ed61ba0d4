//! What can be told of a configuration before a start, without touching anything: what would not work on this machine.

use super::address::resolve;
use super::config::{Config, SyncMode};
use super::descriptors::reachable_limit;
use super::startup::needs;

/// What whoever asks for a check of the configuration should know: one line each.
#[must_use]
pub fn preflight(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    let storage = &config.storage;
    for (key, path) in [("storage.data_dir", &storage.data_dir), ("storage.snapshot_dir", &storage.snapshot_dir)] {
        if path.is_file() {
            warnings.push(format!("{key} '{}' is a file here: a start would fail", path.display()));
        }
    }
    if let Some(path) = config.logging.file.as_ref().filter(|path| path.is_dir()) {
        warnings.push(format!("logging.file '{}' is a directory here: a start would fail", path.display()));
    }
    let (server, lines, kafka) = (&config.server, &config.lines, &config.kafka);
    for (key, is_enabled, host) in [
        ("server.host", true, &server.host),
        ("lines.host", lines.enabled, &lines.host),
        ("kafka.host", kafka.enabled, &kafka.host),
    ] {
        if let Some(reason) = unresolved(host).filter(|_| is_enabled) {
            warnings.push(format!("{key} '{host}' names no address here ({reason}): a start would fail"));
        }
    }
    let (needs, limit) = (needs(config), reachable_limit());
    match needs.connections_within(limit) {
        Err(error) => warnings.push(format!("{error}: a start would fail")),
        Ok(connections) if connections < needs.connections => warnings.push(format!(
            "server.max_connections is {}, but the limit of open files, {limit}, leaves room for {connections}; {} are needed",
            needs.connections,
            needs.total(),
        )),
        Ok(_) => {}
    }
    if storage.sync != SyncMode::Always {
        warnings.push("storage.sync is not 'always': what is acknowledged may be lost with the power".to_owned());
    }
    warnings
}

/// Why a host has no address here.
fn unresolved(host: &str) -> Option<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    runtime.block_on(resolve(host, 0)).err().map(|error| error.to_string())
}
