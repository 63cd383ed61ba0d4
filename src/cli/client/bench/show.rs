//! A report as people read it, and as other programs do.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use super::options::Plan;
use crate::cli::client::failure::Failure;
use crate::cli::client::output::Output;
use crate::cli::client::table::{Align, write_table};
use crate::load::{Report, Side, Workload};

/// Prints a report in the form asked for.
pub(super) fn show(report: &Report, plan: &Plan, output: Output, out: &mut dyn Write) -> Result<(), Failure> {
    match &plan.csv {
        Some(None) => return print_csv(report, out).map_err(Failure::Output),
        Some(Some(path)) => {
            append_csv(report, path).map_err(|source| Failure::File { path: path.clone(), source })?;
        }
        None => {}
    }
    let printed = match output {
        Output::Json => match serde_json::to_string(report) {
            Ok(json) => writeln!(out, "{json}"),
            Err(error) => Err(error.into()),
        },
        Output::Text => print_table(report, out),
    };
    printed.map_err(Failure::Output)
}

fn print_csv(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}\n{}", Report::CSV_TITLES, report.csv_row())
}

fn append_csv(report: &Report, path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    let mut text = report.csv_row() + "\n";
    if file.metadata()?.len() == 0 {
        text.insert_str(0, &format!("{}\n", Report::CSV_TITLES));
    }
    file.write_all(text.as_bytes())
}

fn print_table(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}\n", heading(report))?;
    let columns = [
        ("", Align::Left),
        ("MESSAGES", Align::Right),
        ("SECONDS", Align::Right),
        ("MESSAGES/S", Align::Right),
        ("MB/S", Align::Right),
        ("P50 µs", Align::Right),
        ("P99 µs", Align::Right),
        ("P99.9 µs", Align::Right),
        ("MAX µs", Align::Right),
    ];
    let rows: Vec<_> = match (&report.publish, &report.consume) {
        (Some(publish), Some(consume)) => {
            vec![row("acknowledged", publish), row("delivered", consume), row("both", &report.total)]
        }
        _ if report.settings.workload == Workload::Consume => vec![row("read", &report.total)],
        _ => vec![row("acknowledged", &report.total)],
    };
    write_table(out, &columns, &rows)?;
    writeln!(out)?;
    if let (Some(cpu_s), Some(rss_mib)) = (report.server_cpu_s, report.server_rss_mib) {
        let peak = report.server_peak_rss_mib.map_or_else(String::new, |peak| format!(", {peak:.0} at most"));
        writeln!(out, "server: {cpu_s:.2} s of processor time, {rss_mib:.0} MiB of memory{peak}")?;
    }
    if let Some(cpu_s) = report.client_cpu_s {
        writeln!(out, "client: {cpu_s:.2} s of processor time")?;
    }
    if let Some(behind_us) = report.behind_max_us.filter(|behind_us| *behind_us >= BEHIND_US) {
        writeln!(out, "The sender was up to {behind_us:.0} µs behind its schedule; the latencies include that.")?;
    }
    verdict(report, out)
}

/// Being so late is worth a line.
const BEHIND_US: f64 = 1_000.0;

fn heading(report: &Report) -> String {
    let set = &report.settings;
    let shape = match set.batch {
        1 => "single messages".to_owned(),
        batch => format!("batches of {batch}"),
    };
    let count = |count: u32, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let mut parts = vec![format!("{} bytes", set.size), shape, count(set.partitions, "partition")];
    if set.workload != Workload::Consume {
        parts.push(count(set.producers, "producer"));
        parts.push(format!("{} in flight", set.in_flight));
        parts.push(format!("ack {}", set.ack));
    }
    if set.consumers > 0 {
        parts.push(count(set.consumers, "consumer"));
    }
    if set.compression != "none" {
        parts.push(set.compression.clone());
    }
    parts.extend(set.rate.map(|rate| format!("{rate} messages/s")));
    format!("{} '{}': {}", set.workload.as_str(), set.topic, parts.join(", "))
}

fn row(name: &str, side: &Side) -> Vec<String> {
    let latencies = side.latencies;
    let latency = |us: Option<f64>| us.map_or_else(|| "-".to_owned(), |us| format!("{us:.1}"));
    let mut cells = vec![
        name.to_owned(),
        side.messages.to_string(),
        format!("{:.2}", side.seconds),
        format!("{:.0}", side.messages_per_s),
        format!("{:.1}", side.mb_per_s),
    ];
    cells.extend([latencies.p50_us, latencies.p99_us, latencies.p999_us, latencies.max_us].map(latency));
    cells
}

fn verdict(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let faults = &report.faults;
    if report.errors > faults.count() {
        writeln!(out, "NOT ACKNOWLEDGED: {}", report.errors - faults.count())?;
    }
    for (name, count) in faults.named() {
        if count > 0 {
            writeln!(out, "{}: {count}", name.to_uppercase())?;
        }
    }
    if report.foreign > 0 {
        writeln!(out, "Not of a run, and not verified: {}", report.foreign)?;
    }
    let is_read = report.settings.consumers > 0;
    if is_read && faults.count() == 0 && report.failure.is_none() && report.foreign == 0 {
        writeln!(out, "verified: every message as it was sent, none missing, none twice, all in order")?;
    }
    Ok(())
}
