//! `wiber-server verify`.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::output::{OutputFormat, print_json};
use super::progress::Bar;
use super::text::{print_findings, print_partition};
use super::{Exit, Terminal, ToolError, warn_if_locked};
use crate::disk::Disk;
use crate::inspect::{self, VerifyReport};

const EXAMPLES: &str = "\
Exit codes: 0 all whole, 1 damage found or a failure, 2 wrong usage, 4 no such directory.

Examples:
  wiber-server verify storage/data
  wiber-server verify storage/data --snapshot-dir storage/snapshots
  wiber-server verify storage/data -o json | jq '.partitions[] | select(.findings != [])'";

/// Arguments of `verify`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct VerifyArgs {
    /// The data directory (storage.data_dir)
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Check the snapshots in this directory too (storage.snapshot_dir)
    #[arg(long, value_name = "DIR")]
    pub snapshot_dir: Option<PathBuf>,
    /// How to print the report: json is one object
    #[arg(short, long, value_enum, default_value_t)]
    pub output: OutputFormat,
}

pub(super) fn run(
    args: &VerifyArgs,
    disk: &Arc<dyn Disk>,
    terminal: Terminal,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<Exit, ToolError> {
    let mut bar = Bar::new(terminal.stderr_is_terminal);
    let verified = inspect::verify(disk, &args.dir, &mut bar);
    bar.clear();
    let mut report = verified?;
    if let Some(dir) = &args.snapshot_dir {
        report.snapshots = inspect::verify_snapshots(&**disk, dir, report.directory_id)?;
    }
    warn_if_locked(report.lock, &args.dir, err)?;
    match args.output {
        OutputFormat::Json => print_json(out, &report)?,
        OutputFormat::Text => print_text(out, &report)?,
    }
    Ok(if report.is_damaged() { Exit::Damaged } else { Exit::Whole })
}

fn print_text(out: &mut dyn Write, report: &VerifyReport) -> Result<(), ToolError> {
    let id = report.directory_id.map_or_else(|| "of unknown identity".to_owned(), |id| id.to_string());
    writeln!(out, "{}: {id}, {} partitions", report.directory, report.partitions.len())?;
    print_findings(out, &report.findings)?;
    for partition in &report.partitions {
        print_partition(out, partition)?;
    }
    for snapshot in &report.snapshots {
        let verdict = if snapshot.findings.is_empty() { "whole" } else { "of no use" };
        writeln!(out, "{}: {verdict}", snapshot.file)?;
        print_findings(out, &snapshot.findings)?;
    }
    if report.partitions.iter().any(inspect::PartitionReport::is_damaged) {
        let dir = &report.directory;
        writeln!(out, "damage found: `wiber-server repair {dir} --dry-run` shows what can be kept")?;
    } else if !report.is_damaged() {
        writeln!(out, "all whole")?;
    }
    Ok(())
}
