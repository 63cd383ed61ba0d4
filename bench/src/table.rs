//! The results as text.

use std::fmt::Write;

use crate::results::{Cell, Measurement, PEAK_MIB, Results, Row};
use crate::statistics::Summary;
use crate::workload::{Class, Shape, Target};

/// The header, a table for each class, and what went wrong.
pub(crate) fn render(results: &Results) -> String {
    let mut text = header(results);
    for class in Class::ALL {
        let rows: Vec<&Row> = results.rows.iter().filter(|row| row.class == class).collect();
        if rows.is_empty() {
            continue;
        }
        let _ = writeln!(text, "\n{}: {}", class.name(), class.promise());
        text.push_str(&align(&figures(results, &rows)));
        let costs = costs(results, &rows);
        if costs.len() > 1 {
            let _ = writeln!(
                text,
                "\n{}: the server's CPU for a million messages, and the most memory it had",
                class.name()
            );
            text.push_str(&align(&costs));
        }
    }
    let failures = results.measurements.iter().filter_map(|one| {
        let failure = one.failure.as_deref()?;
        Some(format!("{} {} {} run {}: {failure}", one.class.name(), one.workload, one.rival, one.run))
    });
    for line in results.skipped.iter().cloned().chain(failures) {
        let _ = writeln!(text, "\n! {line}");
    }
    text
}

fn header(results: &Results) -> String {
    let machine = &results.machine;
    let versions: Vec<String> =
        results.contenders.iter().map(|contender| format!("{} {}", contender.title, contender.version)).collect();
    format!(
        "{}\n{}, {} processors ({}), {} GiB, data on {}; load average {} at the start, {} before the points\n\
         Messages per second, median of {} runs of {} s taken in turn (least-most); server and load share the machine.\n",
        versions.join(", "),
        machine.kernel,
        machine.processors,
        machine.processor,
        machine.memory_gib,
        machine.file_system,
        machine.load_average,
        loads(results),
        results.runs,
        results.seconds,
    )
}

/// The least and the most of the load averages over a minute before each point. The servers' own work is in them.
fn loads(results: &Results) -> String {
    let first = |one: &Measurement| one.load_average.split(' ').next()?.parse().ok();
    let loads = Summary::of(results.measurements.iter().filter_map(first));
    loads.map_or_else(|| "unknown".to_owned(), |loads| format!("{:.1} to {:.1}", loads.min, loads.max))
}

fn figures(results: &Results, rows: &[&Row]) -> Vec<Vec<String>> {
    let mut lines = vec![head(results, "workload", &["ratio", "to", "at least", ""])];
    for row in rows {
        let mut line = vec![row.workload.clone()];
        line.extend(
            results.contenders.iter().map(|contender| {
                row.cell(&contender.name).map_or_else(|| "-".to_owned(), |cell| figure(row.shape, cell))
            }),
        );
        line.push(row.ratio.map_or_else(|| "-".to_owned(), ratio));
        line.push(row.against.clone().unwrap_or_else(|| "-".to_owned()));
        line.push(target(&row.target));
        line.push(verdict(row.reached).to_owned());
        lines.push(line);
    }
    lines
}

fn costs(results: &Results, rows: &[&Row]) -> Vec<Vec<String>> {
    let mut lines = vec![head(results, "workload", &["at most", ""])];
    for row in rows.iter().filter(|row| row.cells.iter().any(|cell| cell.cpu_s_per_million.or(cell.peak_mib).is_some()))
    {
        let mut line = vec![row.workload.clone()];
        line.extend(results.contenders.iter().map(|contender| {
            let cell = row.cell(&contender.name);
            let median = |summary: Option<Summary>| summary.map(|summary| summary.median);
            cell.map_or_else(|| "-".to_owned(), |cell| cost(median(cell.cpu_s_per_million), median(cell.peak_mib)))
        }));
        line.push(cost(row.target.cpu_s, Some(PEAK_MIB)));
        line.push(verdict(row.cost_reached).to_owned());
        lines.push(line);
    }
    lines
}

fn cost(cpu_s: Option<f64>, peak_mib: Option<f64>) -> String {
    let parts = [cpu_s.map(|cpu| format!("{cpu:.2} s")), peak_mib.map(|peak| format!("{peak:.0} MiB"))];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn verdict(reached: Option<bool>) -> &'static str {
    reached.map_or("", |reached| if reached { "reached" } else { "MISSED" })
}

fn head(results: &Results, first: &str, last: &[&str]) -> Vec<String> {
    let names = results.contenders.iter().map(|contender| contender.name.clone());
    std::iter::once(first.to_owned()).chain(names).chain(last.iter().map(|&name| name.to_owned())).collect()
}

fn figure(shape: Shape, cell: &Cell) -> String {
    let errors = if cell.errors > 0 { format!(" {} errors!", cell.errors) } else { String::new() };
    if shape == Shape::Latency {
        let time = |summary: Option<Summary>| summary.map_or_else(|| "-".to_owned(), |summary| micros(summary.median));
        return format!("{} / {} us{errors}", time(cell.p50_us), time(cell.p99_us));
    }
    let Summary { median, min, max } = cell.messages_per_s;
    format!("{} ({}-{}){errors}", short(median), short(min), short(max))
}

fn ratio(ratio: Summary) -> String {
    format!("{:.2} ({:.2}-{:.2})", ratio.median, ratio.min, ratio.max)
}

fn target(target: &Target) -> String {
    let mut parts = Vec::new();
    parts.extend(target.times.map(|times| format!("{times}x")));
    parts.extend(target.per_second.map(short));
    if let (Some(p50), Some(p99)) = (target.p50_us, target.p99_us) {
        parts.push(format!("{} / {} us", micros(p50), micros(p99)));
    }
    parts.join(", ")
}

fn micros(time: f64) -> String {
    format!("{time:.0}")
}

/// Three digits and a unit: 943k, 1.78M, 8.40k.
pub(crate) fn short(number: f64) -> String {
    let (scaled, unit) = match number {
        number if number >= 999_500.0 => (number / 1e6, "M"),
        number if number >= 1000.0 => (number / 1e3, "k"),
        number => (number, ""),
    };
    let digits = if scaled >= 100.0 || unit.is_empty() {
        0
    } else if scaled >= 10.0 {
        1
    } else {
        2
    };
    format!("{scaled:.digits$}{unit}")
}

fn align(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for line in lines {
        let cells = line.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::machine::Machine;
    use crate::results::{rows, tests::contenders, tests::measurement};
    use crate::workload;

    pub(crate) fn results() -> Results {
        let mut measurements = Vec::new();
        for (class, workload, ours, theirs) in [
            (Class::Written, "publish-1k-batch-1", 1_780_000.0, 219_400.0),
            (Class::Written, "latency-10k", 10_000.0, 10_000.0),
            (Class::Durable, "publish-1k-batch-1", 900_000.0, 75_000.0),
        ] {
            measurements.push(measurement(1, class, workload, "wiber", ours, 55.4));
            measurements.push(measurement(1, class, workload, "redis", theirs, 80.0));
        }
        let mut failed = measurement(1, Class::Durable, "publish-1k-batch-1", "nats", 0.0, 0.0);
        (failed.report, failed.failure) = (None, Some("no answer <for> 30 s".to_owned()));
        measurements.push(failed);
        let machine = Machine {
            kernel: "Linux 6".to_owned(),
            processor: "a & b".to_owned(),
            processors: 2,
            memory_gib: 23.4,
            file_system: "ext4".to_owned(),
            load_average: "0.10 0.20 0.30".to_owned(),
        };
        Results {
            machine,
            rows: rows(&workload::all().unwrap(), &contenders(), &measurements),
            contenders: contenders(),
            skipped: vec!["rabbitmq is skipped: not there".to_owned()],
            runs: 1,
            seconds: 2.0,
            measurements,
        }
    }

    #[test]
    fn the_table_says_everything() {
        let text = render(&results());
        for part in [
            "WIBER 1.0, NATS 1.0, REDIS 1.0",
            "2 processors (a & b), 23.4 GiB, data on ext4; load average 0.10 0.20 0.30 at the start, 0.0 to 0.0 before",
            "publish-1k-batch-1  1.78M (1.78M-1.78M)  -     219k (219k-219k)  8.11 (8.11-8.11)  redis  1.7x",
            "latency-10k         55 / 166 us",
            "60 / 200 us  reached",
            "0.50 s, 64 MiB  -     0.50 s, 64 MiB  0.60 s, 128 MiB  reached",
            "! rabbitmq is skipped: not there",
            "! durable publish-1k-batch-1 nats run 1: no answer <for> 30 s",
        ] {
            assert!(text.contains(part), "'{part}' is not in\n{text}");
        }
    }

    #[test]
    fn numbers_have_three_digits() {
        for (number, text) in [
            (0.0, "0"),
            (999.4, "999"),
            (8400.0, "8.40k"),
            (35_600.0, "35.6k"),
            (943_000.0, "943k"),
            (999_700.0, "1.00M"),
            (9_700_000.0, "9.70M"),
        ] {
            assert_eq!(short(number), text);
        }
    }
}
