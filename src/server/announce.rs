//! What a start tells its operator: how the data was found, where the server listens, what an acknowledgement means.

use super::address::is_wildcard;
use super::config::{Config, SyncMode};
use crate::broker::{Broker, OpenSummary};

/// Who is looking, so that a newcomer at a terminal is told how to go on and nobody else is.
#[derive(Debug, Clone, Default)]
pub struct Console {
    /// Whether the log goes to a terminal, as text.
    pub is_terminal: bool,
    /// How the command-line client can be called from here.
    pub client_command: String,
}

/// Where the server listens.
#[derive(Debug)]
pub(super) struct Addresses {
    pub(super) native: Option<String>,
    pub(super) lines: Option<String>,
    pub(super) kafka: Option<String>,
}

/// Says where the server listens and what an acknowledgement means.
pub(super) fn announce(config: &Config, console: &Console, broker: &Broker, addresses: &Addresses) {
    let data_dir = broker.directory().path().display().to_string();
    let topics = broker.topics().len();
    match &addresses.native {
        Some(address) => {
            tracing::info!(%address, data_dir, topics, version = env!("CARGO_PKG_VERSION"), "listening (native protocol)");
        }
        None => tracing::info!(data_dir, topics, version = env!("CARGO_PKG_VERSION"), "serving"),
    }
    if let Some(address) = &addresses.lines {
        tracing::info!(%address, "listening (line protocol)");
    }
    if let Some(address) = &addresses.kafka {
        tracing::info!(%address, "listening (Kafka protocol)");
        warn_of_advertised(config);
    }
    match config.storage.sync {
        SyncMode::Always => tracing::info!("an acknowledged record is on disk (storage.sync=always)"),
        SyncMode::Interval => tracing::warn!(
            interval_s = config.storage.sync_interval.as_secs_f64(),
            "an acknowledged record survives a crash of the server, but power loss may take those of the last interval (storage.sync=interval); wiber.ack=durable waits for the disk"
        ),
        SyncMode::Os => tracing::warn!(
            "an acknowledged record survives a crash of the server, but not power loss (storage.sync=os); wiber.ack=durable waits for the disk"
        ),
    }
    announce_absent_listeners(config);
    let topic = broker.topics().first().map(|handle| handle.topic().name.clone());
    if let (Some(topic), Some(address)) = (topic.filter(|_| console.is_terminal), &addresses.native) {
        let client = with_address(&console.client_command, address);
        tracing::info!(
            "try it in another terminal: {client} publish {topic} hello --partition 0 && {client} subscribe {topic}"
        );
    }
}

/// Says that the sections of further listeners are understood, and that nothing listens there.
fn announce_absent_listeners(config: &Config) {
    let sections = [("http", config.http.enabled)];
    let enabled: Vec<&str> = sections.iter().filter(|(_, is_enabled)| *is_enabled).map(|(name, _)| *name).collect();
    let names = enabled.join(", ");
    if enabled.iter().any(|section| config.is_given(&format!("{section}.port"))) {
        tracing::info!(sections = names, "this version does not listen for these");
    } else if !enabled.is_empty() {
        tracing::debug!(sections = names, "this version does not listen for these");
    }
}

/// Warns where Kafka's clients are told an address that none of them can mean.
fn warn_of_advertised(config: &Config) {
    if let Some(host) = config.kafka.advertised_host.as_deref().filter(|host| is_wildcard(host)) {
        tracing::warn!(%host, "kafka.advertised_host is no address that a client can connect to; give the one that clients dial, or none");
    }
}

/// The client's command with the flags it needs to find this server.
fn with_address(command: &str, address: &str) -> String {
    let (host, port) = address.rsplit_once(':').unwrap_or(("127.0.0.1", address));
    let host = host.trim_matches(['[', ']']);
    let is_usual = matches!(host, "127.0.0.1" | "0.0.0.0" | "::");
    let host = if is_usual { String::new() } else { format!(" --host {host}") };
    let port = if port == "9999" { String::new() } else { format!(" --port {port}") };
    format!("{command}{host}{port}")
}

/// Says how the data was found: quietly where all is well.
pub(super) fn report(broker: &Broker, summary: &OpenSummary) {
    for (name, reason) in &summary.snapshots_skipped {
        tracing::warn!(snapshot = name, reason, "a snapshot is passed over");
    }
    for opened in &summary.partitions {
        let partition = &opened.partition;
        match &opened.result {
            Err(reason) => tracing::error!(%partition, %reason, "offline"),
            Ok(found) => {
                if let Some(damage) = &found.damage {
                    tracing::error!(%partition, %damage, "damaged: it serves what is whole and takes no writes; see `wiber-server repair`");
                }
                if let Some(cut) = found.cut.as_ref().filter(|cut| cut.kept_at.is_some()) {
                    let kept_at = cut.kept_at.as_ref().map(|path| path.display().to_string());
                    tracing::warn!(%partition, position = cut.position, bytes = cut.bytes, kept_at, reason = ?cut.reason, "a torn tail was cut off: bytes that were never acknowledged as durable");
                }
                tracing::debug!(%partition, snapshot = found.checkpoint_used, batches = found.batches_walked, rewritten = found.bytes_rewritten, "opened");
            }
        }
    }
    tracing::debug!(partitions = summary.partitions.len(), snapshot = summary.snapshot_used, dir = %broker.directory().path().display(), "data opened");
}

#[cfg(test)]
mod tests {
    use super::with_address;

    #[test]
    fn a_client_is_told_what_it_does_not_guess() {
        for (address, expected) in [
            ("127.0.0.1:9999", "c"),
            ("127.0.0.1:7", "c --port 7"),
            ("0.0.0.0:9999", "c"),
            ("[::]:9999", "c"),
            ("[::1]:7", "c --host ::1 --port 7"),
            ("10.0.0.1:9999", "c --host 10.0.0.1"),
        ] {
            assert_eq!(with_address("c", address), expected);
        }
    }
}
