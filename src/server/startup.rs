//! A server's life: open the data, listen, serve, and leave nothing behind but what is durable.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::address::listen_on;
use super::announce::{Addresses, Console, announce, report};
use super::config::Config;
use super::descriptors::{Needs, raise_limit};
use super::error::ServerError;
use super::logging::LogFile;
use super::options::{broker_options, kafka_options, lines_options, native_options};
use super::runtime::{self, Housekeeper, PoolThreads, WorkPool};
use crate::broker::metadata::TopicSettings;
use crate::broker::{Broker, BrokerStart, CommandReply};
use crate::disk::{Disk, RealDisk};
use crate::listener::kafka::KafkaListener;
use crate::listener::lines::LinesListener;
use crate::listener::native::{NativeListener, NativeOptions};
use crate::listener::{Shared, Surroundings};
use crate::replica::WorkQueue;
use crate::types::TopicName;

/// How long a stop waits for what is appended to become durable.
const DRAIN_BOUND: Duration = Duration::from_secs(60);
/// Threads for reads of files and changes of topics.
const BLOCKING_THREADS_MAX: usize = 16;
/// Partitions that the broker keeps for itself, those of `__meta` and `__offsets`.
const INTERNAL_PARTITIONS: u64 = 17;

/// Runs a server until SIGTERM or SIGINT; then stops cleanly. A second signal ends the process at once, and SIGHUP
/// opens the log file anew.
///
/// # Errors
/// [`ServerError`].
pub fn serve(config: &Config, log_file: &LogFile, console: &Console) -> Result<(), ServerError> {
    runtime::log_panics();
    let connections_max = weigh_descriptors(config)?;
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.enable_all().max_blocking_threads(BLOCKING_THREADS_MAX).build()?;
    let pool = WorkPool::start(config.storage.writer_threads, config.storage.sync_threads)?;
    let opened = runtime.block_on(start(config, &pool));
    let result = match opened {
        Ok((broker, sockets)) => {
            let life = Life { config, log_file, console, connections_max };
            let result = runtime.block_on(life.listen(&broker, sockets));
            stop(&broker);
            result
        }
        Err(error) => Err(error),
    };
    pool.stop();
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// Sockets that listen.
struct Sockets {
    native: Option<TcpListener>,
    lines: Option<TcpListener>,
    kafka: Option<TcpListener>,
}

impl Sockets {
    async fn listen(config: &Config) -> Result<Sockets, ServerError> {
        let lines = listen_beside(config, &Beside::lines(config)).await?;
        let native = listen_for_frames(config, lines.is_some()).await?;
        Ok(Sockets { native, lines, kafka: listen_beside(config, &Beside::kafka(config)).await? })
    }
}

/// A listener beside the native one, as the configuration has it.
struct Beside<'a> {
    section: &'static str,
    /// What it speaks.
    protocol: &'static str,
    /// Short variables for host and port, in parentheses.
    variables: &'static str,
    is_enabled: bool,
    host: &'a str,
    port: u16,
}

impl Beside<'_> {
    fn lines(config: &Config) -> Beside<'_> {
        let lines = &config.lines;
        let (is_enabled, host, port) = (lines.enabled, lines.host.as_str(), lines.port);
        let (section, protocol, variables) = ("lines", "line protocol", " (WIBER_HOST, WIBER_PORT)");
        Beside { section, protocol, variables, is_enabled, host, port }
    }

    fn kafka(config: &Config) -> Beside<'_> {
        let kafka = &config.kafka;
        let (is_enabled, host, port) = (kafka.enabled, kafka.host.as_str(), kafka.port);
        Beside { section: "kafka", protocol: "Kafka protocol", variables: "", is_enabled, host, port }
    }
}

/// The native protocol's socket. Where its port was left at the default and is taken, somebody who chose a port for lines
/// has a server for those.
async fn listen_for_frames(config: &Config, has_lines: bool) -> Result<Option<TcpListener>, ServerError> {
    let (host, port) = (&config.server.host, config.server.port);
    let is_for_lines = has_lines && config.is_given("lines.port") && !config.is_given("server.port");
    match listen_on(host, port).await {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_for_lines => {
            tracing::warn!(address = %format!("{host}:{port}"), "no native protocol: another program listens there, and server.port was left at its default");
            Ok(None)
        }
        Err(source) => Err(ServerError::Listen { address: format!("{host}:{port}"), source }),
    }
}

/// The socket of a further protocol, where it is wanted. A default port that is taken turns it off, so that two servers
/// can run on one host.
async fn listen_beside(config: &Config, beside: &Beside<'_>) -> Result<Option<TcpListener>, ServerError> {
    let Beside { section, protocol, variables, is_enabled, host, port } = *beside;
    if !is_enabled {
        return Ok(None);
    }
    let address = format!("{host}:{port}");
    match listen_on(host, port).await {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && !config.is_given(&format!("{section}.port")) => {
            tracing::warn!(protocol, %address, "a protocol is not served: another program listens there, and the port in its section was left at its default");
            Ok(None)
        }
        Err(source) => Err(ServerError::ListenBeside { address, section, protocol, variables, source }),
    }
}

/// Listens first, so that a taken port is known before any data is touched, and opens the data.
async fn start(config: &Config, pool: &PoolThreads) -> Result<(Arc<Broker>, Sockets), ServerError> {
    let sockets = Sockets::listen(config).await?;
    let begin = BrokerStart {
        disk: Arc::new(RealDisk),
        queue: pool.queue() as Arc<dyn WorkQueue>,
        fresh_directory_id: runtime::fresh_id(),
        now: runtime::now(),
    };
    let options = broker_options(config);
    let opened = tokio::task::spawn_blocking(|| Broker::open(options, begin)).await.map_err(io::Error::other)?;
    let (broker, summary) = opened?;
    report(&broker, &summary);
    start_positions(&broker).await?;
    for (topic, partitions) in &config.topics.create {
        create_topic(&broker, topic, *partitions).await?;
    }
    Ok((broker, sockets))
}

/// Clients' positions need a topic; where it cannot be made now, housekeeping tries again.
async fn start_positions(broker: &Arc<Broker>) -> Result<(), ServerError> {
    let broker = Arc::clone(broker);
    let started = tokio::task::spawn_blocking(move || broker.start_positions(runtime::now())).await;
    if let Err(error) = started.map_err(io::Error::other)? {
        tracing::warn!(%error, "no positions of clients can be kept yet");
    }
    Ok(())
}

async fn create_topic(broker: &Arc<Broker>, topic: &TopicName, partitions: u32) -> Result<(), ServerError> {
    if broker.topic(topic).is_ok() {
        return Ok(());
    }
    let (done, result) = oneshot::channel();
    let reply = CommandReply::new(move |result| {
        let _gone = done.send(result);
    });
    let (broker, name) = (Arc::clone(broker), topic.clone());
    tokio::task::spawn_blocking(move || {
        let (topic_id, now) = (runtime::fresh_topic_id(), runtime::now());
        broker.create_topic(&name, Some(partitions), TopicSettings::default(), topic_id, now, reply);
    });
    let created = result.await.map_err(io::Error::other)?;
    created.map(|_| ()).map_err(|source| ServerError::CreateTopic { topic: topic.clone(), source })
}

/// A server that has opened its data.
struct Life<'a> {
    config: &'a Config,
    log_file: &'a LogFile,
    console: &'a Console,
    connections_max: usize,
}

impl Life<'_> {
    async fn listen(&self, broker: &Arc<Broker>, sockets: Sockets) -> Result<(), ServerError> {
        let address = |socket: &Option<TcpListener>| {
            let address = socket.as_ref().map(TcpListener::local_addr).transpose();
            address.map(|address| address.map(|address| address.to_string()))
        };
        let (native, lines) = (address(&sockets.native)?, address(&sockets.lines)?);
        let addresses = Addresses { native, lines, kafka: address(&sockets.kafka)? };
        let housekeeper = Housekeeper::start(Arc::clone(broker))?;
        let (stop, stopped) = watch::channel(false);
        let serving = self.serve(broker, sockets, &stopped);
        let mut signals = Signals::listen()?;
        announce(self.config, self.console, broker, &addresses);
        signals.wait_for_stop(self.log_file, self.console).await;
        tracing::info!("stopping: no more connections; a second signal ends at once");
        tokio::spawn(async move {
            signals.second().await;
            tracing::warn!("a second signal: ending at once");
            std::process::exit(1);
        });
        let _served = stop.send(true);
        for listener in serving {
            let _closed = listener.await;
        }
        tokio::task::spawn_blocking(|| housekeeper.stop()).await.map_err(io::Error::other)?;
        Ok(())
    }
}

impl Life<'_> {
    /// Serves every socket until `stopped` says so.
    fn serve(&self, broker: &Arc<Broker>, sockets: Sockets, stopped: &watch::Receiver<bool>) -> Vec<JoinHandle<()>> {
        let surroundings = Surroundings {
            now: Arc::new(runtime::now),
            fresh_topic_id: Arc::new(runtime::fresh_topic_id),
            fresh_member_id: Arc::new(runtime::fresh_id),
        };
        let options = NativeOptions { connections_max: self.connections_max, ..native_options(self.config) };
        let shared = Shared::new(self.connections_max, options.incoming_bytes, options.outgoing_bytes);
        let mut serving = Vec::new();
        if let Some(socket) = sockets.native {
            let native = NativeListener::sharing(Arc::clone(broker), options, surroundings.clone(), &shared);
            serving.push(tokio::spawn(native.serve(socket, stopped.clone())));
        }
        if let Some(socket) = sockets.lines {
            let (options, surroundings) = (lines_options(self.config), surroundings.clone());
            let lines = LinesListener::new(Arc::clone(broker), options, surroundings, &shared);
            serving.push(tokio::spawn(lines.serve(socket, stopped.clone())));
        }
        if let Some(socket) = sockets.kafka {
            let kafka = KafkaListener::new(Arc::clone(broker), kafka_options(self.config), surroundings, &shared);
            serving.push(tokio::spawn(kafka.serve(socket, stopped.clone())));
        }
        serving
    }
}

/// The signals that a server heeds.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Until SIGTERM or SIGINT, or a SIGHUP that says that the terminal is gone. Every other SIGHUP is for the log file.
    async fn wait_for_stop(&mut self, log_file: &LogFile, console: &Console) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => match log_file.reopen() {
                    Ok(true) => tracing::info!("the log file was opened anew (SIGHUP)"),
                    Ok(false) if console.is_terminal => return,
                    Ok(false) => tracing::info!("SIGHUP changes nothing: there is no log file (logging.file)"),
                    Err(error) => tracing::error!(%error, "the log file could not be opened anew; the log goes on in the old one"),
                },
            }
        }
    }

    async fn second(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// What the configuration may need of open files.
pub(super) fn needs(config: &Config) -> Needs {
    let partitions = RealDisk.read_dir(&config.storage.data_dir).unwrap_or_default();
    let existing = partitions.iter().filter(|entry| entry.is_dir && entry.name.contains("_p")).count() as u64;
    let created: u64 = config.topics.create.values().map(|count| u64::from(*count)).sum();
    Needs {
        partitions: existing.max(created + INTERNAL_PARTITIONS),
        segments: config.storage.open_segments_max as u64,
        connections: u64::from(config.server.max_connections),
    }
}

/// Raises the limit of open files; how many connections it leaves room for.
fn weigh_descriptors(config: &Config) -> Result<usize, ServerError> {
    let (needs, limit) = (needs(config), raise_limit());
    let connections = needs.connections_within(limit)?;
    if connections < needs.connections {
        let (wanted, needed) = (needs.connections, needs.total());
        if config.is_chosen("server.max_connections") {
            tracing::warn!(
                limit,
                needed,
                connections,
                wanted,
                "the limit of open files leaves room for fewer connections than server.max_connections: raise it (ulimit -n, LimitNOFILE= of systemd, ulimits of a container)"
            );
        } else {
            tracing::info!(
                limit,
                needed,
                connections,
                "fewer connections than the default of server.max_connections: the limit of open files leaves no room for more"
            );
        }
    }
    tracing::debug!(limit, needed = needs.total(), "open files");
    Ok(usize::try_from(connections).unwrap_or(usize::MAX))
}

/// Makes everything durable and writes a last snapshot.
fn stop(broker: &Arc<Broker>) {
    if !runtime::drain(broker, DRAIN_BOUND) {
        tracing::error!(
            "not everything could be made durable; what was acknowledged is as safe as its acknowledgement said"
        );
    }
    broker.trim_logs();
    match broker.snapshot_now(runtime::now()) {
        Ok(()) => tracing::info!("stopped"),
        Err(error) => tracing::warn!(%error, "stopped without a snapshot; the next start reads more"),
    }
}
