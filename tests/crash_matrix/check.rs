//! A recovered broker against the model: what must be there, what may be, what must not.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use wiber::broker::positions::OFFSETS_TOPIC;
use wiber::broker::{Broker, OpenSummary, TopicHandle};
use wiber::record::Batch;
use wiber::replica::{Partition, PartitionStatus, Read};
use wiber::types::{Offset, PartitionIndex, TopicName};

use crate::model::{Attempt, Fate, Key, Ledger, Model, PositionModel, Stage, TopicModel};
use crate::session::position_key;

/// What happened to the broker before it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// What was not synced may be gone.
    PowerCut,
    /// Everything written is there.
    Kill,
}

/// One partition as it was found.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) log_start: Offset,
    pub(crate) end: Offset,
    pub(crate) batches: Vec<Batch>,
}

/// Every partition of every topic that is there.
pub(crate) type Finding = BTreeMap<Key, Found>;

macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+));
        }
    };
}

/// Judges a broker that was just opened.
pub(crate) fn check(
    broker: &Arc<Broker>,
    summary: &OpenSummary,
    model: &Model,
    after: After,
) -> Result<Finding, String> {
    for opened in &summary.partitions {
        match &opened.result {
            Ok(report) => {
                ensure!(report.damage.is_none(), "{}: reported damaged: {:?}", opened.partition, report.damage);
            }
            Err(reason) => return Err(format!("{}: offline: {reason}", opened.partition)),
        }
    }
    let status = broker.meta_partition().status();
    ensure!(status == PartitionStatus::Leader, "__meta is {status:?}");
    check_topics(broker, model)?;
    ensure!(broker.topic(&own_topic()).is_ok(), "no positions can be kept");
    let mut finding = Finding::new();
    for handle in broker.topics() {
        for index in 0..handle.partitions_count() {
            let key = (handle.topic().id, index);
            let found = check_partition(&handle, key, model, after);
            let found = found.map_err(|wrong| format!("{}_p{index}: {wrong}", handle.topic().name))?;
            finding.insert(key, found);
        }
    }
    check_positions(broker, &finding, model, after)?;
    Ok(finding)
}

fn check_topics(broker: &Arc<Broker>, model: &Model) -> Result<(), String> {
    let there: BTreeMap<String, Arc<TopicHandle>> =
        broker.topics().into_iter().map(|handle| (handle.topic().name.as_str().to_owned(), handle)).collect();
    for name in there.keys() {
        ensure!(model.topics.contains_key(name), "topic {name} was never created");
    }
    for (name, TopicModel { id, partitions, stage }) in &model.topics {
        let handle = there.get(name);
        match stage {
            Stage::Live => ensure!(handle.is_some(), "topic {name} was created and is not there"),
            Stage::Deleted => ensure!(handle.is_none(), "topic {name} was deleted and is there"),
            Stage::Creating | Stage::Deleting => {}
        }
        if let Some(handle) = handle {
            ensure!(handle.topic().id == *id, "topic {name} is an older one of that name");
            ensure!(handle.partitions_count() == *partitions, "topic {name}: {} partitions", handle.partitions_count());
        }
    }
    Ok(())
}

/// Nothing is left of topics that are not there.
pub(crate) fn check_directories(broker: &Arc<Broker>, paths: &[PathBuf]) -> Result<(), String> {
    let data_dir = broker.directory().path();
    let names = |handle: &Arc<TopicHandle>| {
        let topic = handle.topic().name.clone();
        (0..handle.partitions_count()).map(move |index| format!("{topic}_p{index}")).collect::<Vec<_>>()
    };
    let mut known: Vec<String> = broker.topics().iter().flat_map(names).collect();
    known.extend(["__meta_p0".to_owned(), format!("{OFFSETS_TOPIC}_p0")]);
    for path in paths.iter().filter_map(|path| path.strip_prefix(data_dir).ok()) {
        let mut parts = path.iter().map(|part| part.to_string_lossy());
        let (first, is_in_directory) = (parts.next().unwrap_or_default(), parts.next().is_some());
        ensure!(!is_in_directory || known.contains(&first.into_owned()), "{} is nobody's", path.display());
    }
    Ok(())
}

fn own_topic() -> TopicName {
    TopicName::new(OFFSETS_TOPIC).expect("valid")
}

/// What was acknowledged is kept, as far as the records before it are still there; and nothing that nobody asked for.
fn check_positions(broker: &Arc<Broker>, finding: &Finding, model: &Model, after: After) -> Result<(), String> {
    for handle in broker.topics() {
        let is_here = |key: &Key| key.0 == handle.topic().id;
        for ((key, client), position) in model.positions.iter().filter(|((key, _), _)| is_here(key)) {
            let name = handle.topic().name.as_str();
            let found = broker.committed(&position_key((name, key.1), client)).unwrap_or_default();
            let end = finding[key].end;
            let needed = match after {
                After::PowerCut => position.survives_cut,
                After::Kill => position.survives_kill.max(position.survives_cut),
            };
            let needed = needed.min(end);
            ensure!(found >= needed, "{client} is at {found} of {name}_p{}, {needed} was promised", key.1);
            let asked = position.asked.min(end);
            ensure!(found <= asked, "{client} is at {found} of {name}_p{}, beyond {asked}", key.1);
        }
    }
    Ok(())
}

fn check_partition(handle: &TopicHandle, key: Key, model: &Model, after: After) -> Result<Found, String> {
    let partition = handle.partition(PartitionIndex(key.1)).map_err(|error| error.to_string())?;
    let empty = Ledger::default();
    let ledger = model.ledgers.get(&key).unwrap_or(&empty);
    let status = partition.status();
    ensure!(status == PartitionStatus::Leader, "{status:?}");
    let offsets = partition.offsets();
    let (log_start, end) = (offsets.log_start(), offsets.log_end());
    ensure!(offsets.high_watermark() == end && offsets.durable() == end && log_start <= end, "{offsets:?}");
    let (min, max) = (ledger.log_start_min, ledger.log_start_max);
    ensure!((min..=max).contains(&log_start), "log start {log_start} is not in {min}..={max}");
    let needed = match after {
        After::PowerCut => ledger.survives_cut,
        After::Kill => ledger.survives_kill.max(ledger.survives_cut),
    };
    ensure!(end >= needed, "ends at {end}, everything below {needed} was promised");
    let batches = read_all(&partition, log_start, end)?;
    let newest = check_batches(ledger, &batches, log_start, end)?;
    let newest = newest.max(ledger.epoch_seen);
    ensure!(partition.epoch().get() > newest, "epoch {} again: {newest} was used", partition.epoch());
    Ok(Found { log_start, end, batches })
}

/// Each batch must be one that was appended there, without a gap; returns the newest epoch among them.
fn check_batches(ledger: &Ledger, batches: &[Batch], log_start: Offset, end: Offset) -> Result<i32, String> {
    // The log may begin within a batch.
    let first = batches.first().map_or(log_start, |first| first.header().base_offset.min(log_start));
    let (mut next, mut newest) = (first, 0);
    for batch in batches {
        let header = batch.header();
        ensure!(header.base_offset == next, "offset {} where {next} belongs", header.base_offset);
        let Some(attempt) = ledger.attempts.iter().find(|attempt| is_batch(attempt, batch)) else {
            return Err(format!("the batch at {next} of epoch {} was never appended", header.leader_epoch));
        };
        ensure!(attempt.fate != Fate::Gone, "the batch at {next} of epoch {} was taken back", attempt.epoch);
        next = header.next_offset();
        newest = newest.max(header.leader_epoch);
    }
    let begins = batches.first().is_none_or(|first| first.header().next_offset() > log_start);
    ensure!(begins, "what is read from {log_start} begins below it");
    ensure!(next == end, "can be read to {next}, not to the end at {end}");
    Ok(newest)
}

fn is_batch(attempt: &Attempt, batch: &Batch) -> bool {
    attempt.base == batch.header().base_offset && attempt.bytes == *batch.bytes()
}

/// Reads everything as consumers do, in pieces; and a little of it again from the middle.
fn read_all(partition: &Arc<Partition>, from: Offset, end: Offset) -> Result<Vec<Batch>, String> {
    let mut batches: Vec<Batch> = Vec::new();
    let mut next = from;
    while next < end {
        let more = read(partition, next, 1500)?;
        next = more.last().ok_or_else(|| format!("nothing can be read at {next}"))?.header().next_offset();
        batches.extend(more);
    }
    if let Some(middle) = batches.get(batches.len() / 2) {
        let offset = middle.header().next_offset().get() - 1;
        let again = read(partition, Offset::new(offset).expect("small"), 1)?;
        ensure!(again.first() == Some(middle), "another batch is found by offset {offset}");
    }
    Ok(batches)
}

fn read(partition: &Arc<Partition>, from: Offset, bytes_max: usize) -> Result<Vec<Batch>, String> {
    match partition.read(from, bytes_max).map_err(|error| error.to_string())? {
        Read::Batches(batches) => Ok(batches),
        Read::Disk(read) => read.run().map_err(|error| error.to_string()),
    }
}

impl Model {
    /// Takes over what a recovered broker has: what was lost is gone for good, what is there stays for good.
    pub(crate) fn adopt(&mut self, finding: &Finding, broker: &Arc<Broker>) {
        let broker_topics = &broker.topics()[..];
        for handle in broker_topics {
            let name = handle.topic().name.as_str();
            for ((key, client), position) in
                self.positions.iter_mut().filter(|((key, _), _)| key.0 == handle.topic().id)
            {
                let found = broker.committed(&position_key((name, key.1), client)).unwrap_or_default();
                *position = PositionModel { asked: found, survives_cut: found, survives_kill: found };
            }
        }
        for (name, topic) in &mut self.topics {
            let is_there = broker_topics.iter().any(|handle| handle.topic().name.as_str() == name);
            topic.stage = if is_there { Stage::Live } else { Stage::Deleted };
        }
        for (key, found) in finding {
            let ledger = self.ledger(*key);
            for attempt in &mut ledger.attempts {
                let is_below = attempt.next <= found.log_start && attempt.fate == Fate::Standing;
                let is_there = found.batches.iter().any(|batch| is_batch(attempt, batch));
                attempt.fate = if is_there || is_below { Fate::Standing } else { Fate::Gone };
                attempt.is_answered |= is_there;
            }
            (ledger.end, ledger.survives_cut, ledger.survives_kill) = (found.end, found.end, found.end);
            (ledger.log_start_min, ledger.log_start_max) = (found.log_start, found.log_start);
        }
    }
}
