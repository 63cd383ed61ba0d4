//! `wiber-server dump`.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use super::output::{OutputFormat, bytes_as_json, bytes_as_text, print_json};
use super::{Exit, ToolError, open, warn_if_locked};
use crate::disk::Disk;
use crate::inspect::{self, IndexLine, Inspected, Lost, ScanEvent, Tail};
use crate::log::{IndexSlot, PartitionFile, index_name, log_name};
use crate::record::{Batch, BatchHeader, Record};
use crate::types::{Offset, TopicPartition};

const EXAMPLES: &str = "\
Without --segments, --index, --batches or --records the batches are printed. Damage is printed where it lies, and what
is whole behind it. In JSON a key or value that is not UTF-8 is base64, and says so.

Exit codes: 0 done, 1 a failure or damage seen, 2 wrong usage, 4 no such directory or partition.

Examples:
  wiber-server dump storage/data
  wiber-server dump storage/data events_p0 --segments --index
  wiber-server dump storage/data events_p0 --records --from-offset 1000 --count 10
  wiber-server dump storage/data events_p0 --records -o json | jq .value";

/// Arguments of `dump`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DumpArgs {
    /// The data directory (storage.data_dir)
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// A partition, as its directory is named; all of them where none is given
    #[arg(value_name = "PARTITION")]
    pub partition: Option<String>,
    /// Print partition.json and the list of segments
    #[arg(long)]
    pub segments: bool,
    /// Print the slots of every index
    #[arg(long)]
    pub index: bool,
    /// Print the batches (the default)
    #[arg(long)]
    pub batches: bool,
    /// Print the records
    #[arg(long)]
    pub records: bool,
    /// Begin with the batch, or record, of this offset
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub from_offset: u64,
    /// Print at most this many batches, or records, of each partition
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// How to print: json is one object on each line
    #[arg(short, long, value_enum, default_value_t)]
    pub output: OutputFormat,
}

pub(super) fn run(
    args: &DumpArgs,
    disk: &Arc<dyn Disk>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<Exit, ToolError> {
    let inspected = open(disk, &args.dir)?;
    let partitions = match &args.partition {
        Some(name) => vec![inspected.partition(name)?.clone()],
        None => inspected.partitions().to_vec(),
    };
    warn_if_locked(inspected.lock_state(), &args.dir, err)?;
    let mut exit = Exit::Whole;
    for partition in &partitions {
        let mut dump =
            Dump { args, name: partition.directory_name(), out: &mut *out, left: args.count, exit, failed: None };
        dump.partition(&inspected, partition, err)?;
        exit = dump.exit;
    }
    Ok(exit)
}

/// One partition being printed.
struct Dump<'a> {
    args: &'a DumpArgs,
    name: String,
    out: &'a mut dyn Write,
    left: Option<u64>,
    exit: Exit,
    failed: Option<ToolError>,
}

impl Dump<'_> {
    fn partition(
        &mut self,
        inspected: &Inspected,
        partition: &TopicPartition,
        err: &mut dyn Write,
    ) -> Result<(), ToolError> {
        let (file, learned) = inspect::load_partition_file(inspected, partition)?;
        if let Some(reason) = learned {
            writeln!(err, "warning: {}/partition.json: {reason}; read from the segments alone", self.name)?;
            self.exit = Exit::Damaged;
        }
        if self.args.output == OutputFormat::Text {
            writeln!(self.out, "{}", self.name)?;
        }
        if self.args.segments {
            self.segments(&file)?;
        }
        if self.args.index {
            inspect::dump_index(inspected, partition, &mut |line| {
                let printed = self.index_line(&line);
                self.go_on(printed)
            })?;
        }
        let has_other = self.args.segments || self.args.index;
        if (self.args.batches || self.args.records || !has_other) && self.left != Some(0) {
            let from = Offset::new(self.args.from_offset).unwrap_or(Offset::MAX);
            inspect::dump_batches(inspected, partition, from, &mut |segment, event| {
                let printed = self.event(segment, event);
                let flow = self.go_on(printed);
                if self.left == Some(0) { ControlFlow::Break(()) } else { flow }
            })?;
        }
        self.failed.take().map_or(Ok(()), Err)
    }

    fn go_on(&mut self, printed: Result<(), ToolError>) -> ControlFlow<()> {
        match printed {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failed = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    fn line(&mut self, text: impl FnOnce() -> String, object: impl FnOnce() -> Value) -> Result<(), ToolError> {
        match self.args.output {
            OutputFormat::Text => Ok(writeln!(self.out, "  {}", text())?),
            OutputFormat::Json => {
                let mut object = object();
                object["partition"] = json!(self.name);
                print_json(self.out, &object)
            }
        }
    }

    fn segments(&mut self, file: &PartitionFile) -> Result<(), ToolError> {
        let history = &file.history;
        let epochs: Vec<_> = history.epochs.entries().iter().map(|(epoch, start)| (epoch.get(), start.get())).collect();
        let gaps: Vec<_> = history.gaps.iter().map(|gap| (gap.from.get(), gap.to.get())).collect();
        let latest = history.epochs.latest().map(crate::types::Epoch::get);
        self.line(
            || {
                let (id, start) = (file.topic_id, file.log_start);
                format!("topic id {id}, log start {start}, latest epoch {latest:?}, epochs {epochs:?}, gaps {gaps:?}")
            },
            || {
                json!({ "type": "partition", "topic": file.topic.as_str(), "topic_id": file.topic_id,
                    "log_start": file.log_start.get(), "latest_epoch": latest, "epochs": epochs, "gaps": gaps })
            },
        )?;
        for record in &file.segments {
            let name = log_name(record.base);
            let (base, first) = (record.base.get(), record.first_batch.get());
            self.line(
                || match record.sealed {
                    Some(sealed) => {
                        let (bytes, newest) = (sealed.bytes, sealed.max_timestamp_ms);
                        format!("{name} sealed, first batch {first}, {bytes} bytes, max timestamp {newest}")
                    }
                    None => format!("{name} active, first batch {first}"),
                },
                || json!({ "type": "segment", "base": base, "first_batch": first, "sealed": record.sealed }),
            )?;
        }
        Ok(())
    }

    fn index_line(&mut self, line: &IndexLine) -> Result<(), ToolError> {
        let (name, number) = (index_name(line.segment), line.number);
        let offset = |relative: u32| line.segment.plus(u64::from(relative)).get();
        let text = || match line.slot {
            None => format!("{name} slot {number} unreadable"),
            Some(IndexSlot::Header) => format!("{name} slot {number} header"),
            Some(IndexSlot::Entry(entry)) => {
                let (at, of, before) = (entry.position, offset(entry.relative_offset), entry.max_timestamp);
                format!("{name} slot {number} entry: offset {of} at byte {at}, max timestamp before {before}")
            }
            Some(IndexSlot::Mark(mark)) => {
                let (at, of) = (mark.position, offset(mark.relative_offset));
                format!("{name} slot {number} durable mark: up to byte {at}, next offset {of}")
            }
        };
        let object = || {
            let mut object = json!({ "type": "index", "segment": line.segment.get(), "slot": number });
            let (kind, fields) = match line.slot {
                None => ("unreadable", json!({})),
                Some(IndexSlot::Header) => ("header", json!({})),
                Some(IndexSlot::Entry(entry)) => (
                    "entry",
                    json!({ "offset": offset(entry.relative_offset), "position": entry.position,
                        "max_timestamp": entry.max_timestamp.millis(), "relative_batch": entry.relative_batch }),
                ),
                Some(IndexSlot::Mark(mark)) => (
                    "mark",
                    json!({ "offset": offset(mark.relative_offset), "position": mark.position,
                        "relative_batch": mark.relative_batch }),
                ),
            };
            object["kind"] = json!(kind);
            object["says"] = fields;
            object
        };
        self.line(text, object)
    }

    fn event(&mut self, segment: Offset, event: &ScanEvent) -> Result<(), ToolError> {
        match event {
            ScanEvent::Batch(_, batch) if self.args.records => self.records(batch),
            ScanEvent::Batch(position, batch) => {
                self.left = self.left.map(|left| left - 1);
                let header = batch.header();
                self.line(|| batch_text(*position, header), || batch_json(segment, *position, header))
            }
            ScanEvent::Lost(lost) => {
                self.exit = Exit::Damaged;
                self.line(|| lost_text(segment, lost), || lost_json(segment, lost))
            }
            ScanEvent::End(tail) => self.tail(segment, tail),
        }
    }

    fn tail(&mut self, segment: Offset, tail: &Tail) -> Result<(), ToolError> {
        let (kind, bytes, reason) = match tail {
            Tail::Clean => return Ok(()),
            Tail::Unwritten { bytes } => ("unwritten", *bytes, "reserved space".to_owned()),
            Tail::Torn { bytes, damage } => ("torn", *bytes, format!("a torn tail: {damage}")),
        };
        self.line(
            || format!("{}: {bytes} bytes behind the log's end: {reason}", log_name(segment)),
            || json!({ "type": kind, "segment": segment.get(), "bytes": bytes, "reason": reason }),
        )
    }

    fn records(&mut self, batch: &Batch) -> Result<(), ToolError> {
        let base = batch.header().base_offset;
        let records = match batch.records() {
            Ok(records) => records,
            Err(error) => return self.undecodable(base, &error.to_string()),
        };
        for record in records {
            let record = match record {
                Ok(record) => record,
                Err(error) => return self.undecodable(base, &error.to_string()),
            };
            if record.offset.get() < self.args.from_offset {
                continue;
            }
            if self.left == Some(0) {
                break;
            }
            self.left = self.left.map(|left| left - 1);
            let is_control = batch.header().attributes.is_control();
            self.line(|| record_text(&record, is_control), || record_json(&record, is_control))?;
        }
        Ok(())
    }

    fn undecodable(&mut self, base: Offset, reason: &str) -> Result<(), ToolError> {
        self.line(
            || format!("batch {base}: {reason}"),
            || json!({ "type": "undecodable", "base_offset": base.get(), "reason": reason }),
        )
    }
}

fn codec_name(header: &BatchHeader) -> String {
    let known = header.attributes.compression().map(|compression| compression.name().to_owned());
    known.unwrap_or_else(|| format!("unknown ({})", header.attributes.codec()))
}

fn batch_text(position: u64, header: &BatchHeader) -> String {
    let producer = header.producer.map_or_else(String::new, |stamp| {
        let sequence = stamp.base_sequence.map_or(-1, crate::types::Sequence::get);
        format!(", producer {} epoch {} sequence {sequence}", stamp.id, stamp.epoch.get())
    });
    let control = if header.attributes.is_control() { ", control" } else { "" };
    format!(
        "offsets {} to {}: byte {position}, {} bytes, {} records, epoch {}, codec {}, timestamps {} to {}, crc {:08x} ok{producer}{control}",
        header.base_offset,
        header.last_offset(),
        header.total_bytes,
        header.records_count,
        header.leader_epoch,
        codec_name(header),
        header.base_timestamp,
        header.max_timestamp,
        header.crc,
    )
}

fn batch_json(segment: Offset, position: u64, header: &BatchHeader) -> Value {
    let producer = header.producer.map(|stamp| {
        let sequence = stamp.base_sequence.map(crate::types::Sequence::get);
        json!({ "id": stamp.id.get(), "epoch": stamp.epoch.get(), "base_sequence": sequence })
    });
    json!({
        "type": "batch", "segment": segment.get(), "position": position, "base_offset": header.base_offset.get(),
        "last_offset": header.last_offset().get(), "records": header.records_count, "bytes": header.total_bytes,
        "epoch": header.leader_epoch, "codec": codec_name(header), "producer": producer,
        "base_timestamp": header.base_timestamp.millis(), "max_timestamp": header.max_timestamp.millis(),
        "control": header.attributes.is_control(), "transactional": header.attributes.is_transactional(),
        "crc": format!("{:08x}", header.crc), "crc_ok": true,
    })
}

fn lost_text(segment: Offset, lost: &Lost) -> String {
    let Lost { position, end, from, to, damage } = lost;
    let bytes = end.saturating_sub(*position);
    let offsets = match to.get().checked_sub(from.get() + 1) {
        Some(more) => format!("offsets {from} to {}", from.plus(more)),
        None => "no offset".to_owned(),
    };
    format!("DAMAGED {}, byte {position}, {bytes} bytes, {offsets} lost: {damage}", log_name(segment))
}

fn lost_json(segment: Offset, lost: &Lost) -> Value {
    json!({
        "type": "damage", "segment": segment.get(), "position": lost.position,
        "bytes": lost.end.saturating_sub(lost.position), "lost": [lost.from.get(), lost.to.get()],
        "reason": lost.damage.to_string(),
    })
}

fn record_text(record: &Record, is_control: bool) -> String {
    let (key, value) = (bytes_as_text(record.key.as_deref()), bytes_as_text(record.value.as_deref()));
    let mut text = format!("{} @{} key {key} value {value}", record.offset, record.timestamp);
    for header in &record.headers {
        text += &format!(" {}={}", bytes_as_text(Some(&header.key)), bytes_as_text(header.value.as_deref()));
    }
    if is_control { text + " (control)" } else { text }
}

fn record_json(record: &Record, is_control: bool) -> Value {
    let field = |object: &mut Value, name: &str, bytes: Option<&[u8]>| {
        let (value, encoding) = bytes_as_json(bytes);
        object[name] = value;
        if let Some(encoding) = encoding {
            object[format!("{name}_encoding")] = json!(encoding);
        }
    };
    let headers = record.headers.iter().map(|header| {
        let mut object = json!({});
        field(&mut object, "key", Some(&header.key));
        field(&mut object, "value", header.value.as_deref());
        object
    });
    let headers: Vec<_> = headers.collect();
    let mut object = json!({
        "type": "record", "offset": record.offset.get(), "timestamp": record.timestamp.millis(), "headers": headers,
        "control": is_control,
    });
    field(&mut object, "key", record.key.as_deref());
    field(&mut object, "value", record.value.as_deref());
    object
}
