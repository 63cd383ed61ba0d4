//! `wiber-server repair`.

use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::json;

use super::output::{OutputFormat, print_json};
use super::text::print_findings;
use super::{Exit, Terminal, ToolError, open};
use crate::disk::Disk;
use crate::inspect::{self, InspectError, Inspected, RepairPlan};
use crate::types::{Timestamp, TopicPartition};

const EXAMPLES: &str = "\
Whole batches keep their offsets; lost offsets become a gap that readers step over. The files as they were are kept in
the partition's set-aside/ directory. The server must be stopped.

Exit codes: 0 done, or nothing to do; 1 a failure, or damage that is left; 2 wrong usage; 4 no such directory or
partition.

Examples:
  wiber-server repair storage/data --dry-run
  wiber-server repair storage/data events_p0
  wiber-server repair storage/data --yes -o json";

/// Arguments of `repair`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RepairArgs {
    /// The data directory (storage.data_dir)
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Partitions, as their directories are named; all of them where none is given
    #[arg(value_name = "PARTITION")]
    pub partitions: Vec<String>,
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// How to print what is done: json is one object for each damaged partition
    #[arg(short, long, value_enum, default_value_t)]
    pub output: OutputFormat,
}

pub(super) fn run(
    args: &RepairArgs,
    disk: &Arc<dyn Disk>,
    terminal: Terminal,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<Exit, ToolError> {
    if !args.dry_run && !args.yes && !terminal.stdin_is_terminal {
        let reason = "nobody can be asked here: look with --dry-run first, then give --yes";
        return Err(ToolError::Usage(reason));
    }
    let inspected = open(disk, &args.dir)?;
    let partitions = chosen(&inspected, &args.partitions)?;
    let lock = inspected.lock()?;
    let (mut exit, mut damaged) = (Exit::Whole, 0);
    for partition in &partitions {
        let plan = match inspect::plan_repair(&inspected, partition, now()) {
            Ok(Some(plan)) => plan,
            Ok(None) => continue,
            Err(error @ (InspectError::TopicIdUnknown { .. } | InspectError::NewerPartitionFile { .. })) => {
                writeln!(err, "error: {error}")?;
                exit = Exit::Damaged;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        damaged += 1;
        show(&plan, args.output, out)?;
        let goes_ahead = !args.dry_run && (args.yes || is_agreed(&plan, out, err)?);
        let set_aside = match goes_ahead {
            true => inspect::apply_repair(&inspected, &*lock, &plan)?.set_aside,
            false => Vec::new(),
        };
        let after = goes_ahead.then(|| inspect::verify_partition(&inspected, partition, &mut ())).transpose()?;
        let is_whole = after.as_ref().is_some_and(|report| !report.is_damaged());
        if !is_whole && !args.dry_run {
            exit = Exit::Damaged;
        }
        match args.output {
            OutputFormat::Json => {
                let report = json!({
                    "partition": partition.directory_name(), "actions": plan.actions(), "applied": goes_ahead,
                    "whole": is_whole, "set_aside": set_aside,
                });
                print_json(out, &report)?;
            }
            OutputFormat::Text if goes_ahead => {
                for path in &set_aside {
                    writeln!(out, "  kept as it was: {}", path.display())?;
                }
                writeln!(out, "  {}", if is_whole { "done, the partition is whole" } else { "damage is left:" })?;
                print_findings(out, after.iter().filter(|_| !is_whole).flat_map(|after| &after.findings))?;
            }
            OutputFormat::Text => writeln!(out, "  nothing was changed")?,
        }
    }
    if damaged == 0 && exit == Exit::Whole && args.output == OutputFormat::Text {
        writeln!(out, "nothing to repair in {} partitions", partitions.len())?;
    }
    Ok(exit)
}

/// The partitions named, or all; the metadata first, for the others' identities lie there.
fn chosen(inspected: &Inspected, names: &[String]) -> Result<Vec<TopicPartition>, ToolError> {
    let mut partitions = match names {
        [] => inspected.partitions().to_vec(),
        names => names.iter().map(|name| inspected.partition(name).cloned()).collect::<Result<_, _>>()?,
    };
    partitions.sort_by_key(|partition| !partition.topic.is_internal());
    partitions.dedup();
    Ok(partitions)
}

fn show(plan: &RepairPlan, output: OutputFormat, out: &mut dyn Write) -> Result<(), ToolError> {
    if output == OutputFormat::Text {
        writeln!(out, "{}:", plan.partition().directory_name())?;
        for action in plan.actions() {
            writeln!(out, "  {action}")?;
        }
    }
    Ok(())
}

fn is_agreed(plan: &RepairPlan, out: &mut dyn Write, err: &mut dyn Write) -> Result<bool, ToolError> {
    out.flush()?;
    write!(err, "repair {}? [y/N] ", plan.partition().directory_name())?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

#[expect(clippy::disallowed_methods, reason = "a command line reads the clock")]
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
