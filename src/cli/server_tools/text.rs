//! Findings as lines.

use std::io::Write;

use super::ToolError;
use crate::inspect::{Finding, PartitionReport, Severity};

/// Prints findings, one on a line, indented.
pub(super) fn print_findings<'a>(
    out: &mut dyn Write,
    findings: impl IntoIterator<Item = &'a Finding>,
) -> Result<(), ToolError> {
    for finding in findings {
        writeln!(out, "  {}", line(finding))?;
    }
    Ok(())
}

/// `events_p0: damaged, 12 batches, 30 records, offsets 0 to 29`.
pub(super) fn print_partition(out: &mut dyn Write, report: &PartitionReport) -> Result<(), ToolError> {
    let batches: u64 = report.segments.iter().map(|segment| segment.batches).sum();
    let records: u64 = report.segments.iter().map(|segment| segment.records).sum();
    let bytes: u64 = report.segments.iter().map(|segment| segment.bytes).sum();
    let verdict = if report.is_damaged() { "DAMAGED" } else { "whole" };
    writeln!(
        out,
        "{}: {verdict}; log start {}, log end {}; {} segments, {batches} batches, {records} records, {bytes} bytes",
        report.partition,
        report.log_start,
        report.log_end,
        report.segments.len()
    )?;
    print_findings(out, &report.findings)
}

fn line(finding: &Finding) -> String {
    let severity = match finding.severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Damage => "damage",
    };
    let mut line = format!("{severity}: {}", finding.file);
    if let (Some(position), Some(bytes)) = (finding.position, finding.bytes) {
        line += &format!(", byte {position}, {bytes} bytes");
    }
    if let Some(lost) = finding.lost {
        line += &format!(", offsets {} to {} lost", lost.from, lost.to.get() - 1);
    }
    line + ": " + &finding.reason
}
