//! A server's life: open the data, listen, serve, and leave nothing behind but what is durable.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};

use super::config::{Config, SyncMode};
use super::options::{broker_options, native_options};
use super::runtime::{self, Housekeeper, PoolThreads, WorkPool};
use crate::broker::metadata::TopicSettings;
use crate::broker::{Broker, BrokerError, BrokerStart, CommandReply, OpenError, OpenSummary};
use crate::disk::RealDisk;
use crate::listener::native::{NativeListener, Surroundings};
use crate::replica::WorkQueue;
use crate::types::TopicName;

/// How long a stop waits for what is appended to become durable.
const DRAIN_BOUND: Duration = Duration::from_secs(60);
/// Threads for reads of files and changes of topics.
const BLOCKING_THREADS_MAX: usize = 16;

/// Why a server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The data cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another with server.port (QB_SERVER_PORT)")]
    Listen {
        /// The address.
        address: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// A topic of `topics.create` cannot be created.
    #[error("topic '{topic}' of topics.create cannot be created: {source}")]
    CreateTopic {
        /// The topic.
        topic: TopicName,
        /// Why.
        source: BrokerError,
    },
    /// The operating system gives no thread, runtime or signal handler.
    #[error("the operating system refuses: {0}")]
    System(#[from] io::Error),
}

/// Runs a server until SIGTERM or SIGINT; then stops cleanly. A second signal ends the process at once.
///
/// # Errors
/// [`ServerError`].
pub fn serve(config: &Config) -> Result<(), ServerError> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.enable_all().max_blocking_threads(BLOCKING_THREADS_MAX).build()?;
    let pool = WorkPool::start(config.storage.writer_threads, config.storage.sync_threads)?;
    let opened = runtime.block_on(start(config, &pool));
    let result = match opened {
        Ok((broker, listener)) => {
            let result = runtime.block_on(listen(config, &broker, listener));
            stop(&broker);
            result
        }
        Err(error) => Err(error),
    };
    pool.stop();
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// Listens first, so that a taken port is known before any data is touched, and opens the data.
async fn start(config: &Config, pool: &PoolThreads) -> Result<(Arc<Broker>, TcpListener), ServerError> {
    let address = format!("{}:{}", config.server.host, config.server.port);
    let bound = TcpListener::bind(&address).await;
    let listener = bound.map_err(|source| ServerError::Listen { address, source })?;
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
    Ok((broker, listener))
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

async fn listen(config: &Config, broker: &Arc<Broker>, listener: TcpListener) -> Result<(), ServerError> {
    let address = listener.local_addr()?;
    let housekeeper = Housekeeper::start(Arc::clone(broker))?;
    let surroundings = Surroundings { now: Arc::new(runtime::now), fresh_topic_id: Arc::new(runtime::fresh_topic_id) };
    let native = NativeListener::new(Arc::clone(broker), native_options(config), surroundings);
    let (stop, stopped) = watch::channel(false);
    let serving = tokio::spawn(native.serve(listener, stopped));
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    announce(config, broker, &address.to_string());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping: no more connections; a second signal ends at once");
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::warn!("a second signal: ending at once");
        std::process::exit(1);
    });
    let _served = stop.send(true);
    let _closed = serving.await;
    tokio::task::spawn_blocking(|| housekeeper.stop()).await.map_err(io::Error::other)?;
    Ok(())
}

/// Says where the server listens and what an acknowledgement means.
fn announce(config: &Config, broker: &Broker, address: &str) {
    let data_dir = broker.directory().path().display().to_string();
    let topics = broker.topics().len();
    tracing::info!(%address, data_dir, topics, version = env!("CARGO_PKG_VERSION"), "listening (native protocol)");
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
}

/// Says how the data was found: quietly where all is well.
fn report(broker: &Broker, summary: &OpenSummary) {
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
                if let Some(cut) = &found.cut {
                    let kept_at = cut.kept_at.as_ref().map(|path| path.display().to_string());
                    tracing::warn!(%partition, position = cut.position, bytes = cut.bytes, kept_at, reason = ?cut.reason, "a torn tail was cut off: bytes that were never acknowledged as durable");
                }
                tracing::debug!(%partition, snapshot = found.checkpoint_used, batches = found.batches_walked, rewritten = found.bytes_rewritten, "opened");
            }
        }
    }
    tracing::debug!(partitions = summary.partitions.len(), snapshot = summary.snapshot_used, dir = %broker.directory().path().display(), "data opened");
}

/// Makes everything durable and writes a last snapshot.
fn stop(broker: &Arc<Broker>) {
    if !runtime::drain(broker, DRAIN_BOUND) {
        tracing::error!(
            "not everything could be made durable; what was acknowledged is as safe as its acknowledgement said"
        );
    }
    match broker.snapshot_now(runtime::now()) {
        Ok(()) => tracing::info!("stopped"),
        Err(error) => tracing::warn!(%error, "stopped without a snapshot; the next start reads more"),
    }
}
