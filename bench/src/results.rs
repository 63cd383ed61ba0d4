//! What was measured, and what follows from it: medians, spreads, ratios, and whether targets are reached. Rows of two
//! classes never meet in one ratio.

use serde::Serialize;

use crate::load::report::Report;
use crate::machine::Machine;
use crate::statistics::Summary;
use crate::workload::{Class, Shape, Target, Workload};

/// The name of the rival all ratios are of.
pub(crate) const OURS: &str = "wiber";

/// The most memory Wiber's server may have under any of the loads.
pub(crate) const PEAK_MIB: f64 = 128.0;

/// One load on one server.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Measurement {
    /// Counted from 1.
    pub(crate) run: u32,
    pub(crate) class: Class,
    pub(crate) workload: String,
    pub(crate) rival: String,
    /// Before it.
    pub(crate) load_average: String,
    /// The most memory the server's processes had while it was loaded, storing what is to be read included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_peak_mib: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) report: Option<Report>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<String>,
}

/// A server that took part.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Contender {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) version: String,
}

/// Everything of one invocation; becomes `results.json`.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) contenders: Vec<Contender>,
    /// Rivals that were asked for and are not here, with the reason.
    pub(crate) skipped: Vec<String>,
    pub(crate) runs: u32,
    pub(crate) seconds: f64,
    pub(crate) rows: Vec<Row>,
    pub(crate) measurements: Vec<Measurement>,
}

/// What one server did in one row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Cell {
    pub(crate) rival: String,
    pub(crate) messages_per_s: Summary,
    pub(crate) p50_us: Option<Summary>,
    pub(crate) p99_us: Option<Summary>,
    /// Of the server, for a million messages.
    pub(crate) cpu_s_per_million: Option<Summary>,
    pub(crate) peak_mib: Option<Summary>,
    pub(crate) errors: u64,
}

/// A workload in a class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    pub(crate) class: Class,
    pub(crate) workload: String,
    pub(crate) title: String,
    pub(crate) shape: Shape,
    pub(crate) cells: Vec<Cell>,
    /// The rival (or the row) Wiber is compared with.
    pub(crate) against: Option<String>,
    /// Ratio of the medians, and the least and the most of the runs taken one by one. Above 1 Wiber is ahead.
    pub(crate) ratio: Option<Summary>,
    pub(crate) target: Target,
    pub(crate) reached: Option<bool>,
    /// Whether Wiber's server stays within the CPU and the memory it is allowed; nothing where neither was measured.
    pub(crate) cost_reached: Option<bool>,
}

impl Row {
    pub(crate) fn cell(&self, rival: &str) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.rival == rival)
    }
}

/// The rows of `workloads`, class after class, as far as there are measurements.
pub(crate) fn rows(workloads: &[Workload], contenders: &[Contender], measurements: &[Measurement]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for class in Class::ALL {
        for workload in workloads {
            let Some(target) = workload.target(class) else { continue };
            let of_row =
                |measurement: &&Measurement| measurement.class == class && measurement.workload == workload.name;
            let measured: Vec<&Measurement> = measurements.iter().filter(of_row).collect();
            let cells: Vec<Cell> = contenders.iter().filter_map(|contender| cell(&contender.name, &measured)).collect();
            if cells.is_empty() {
                continue;
            }
            let mut row = Row {
                class,
                workload: workload.name.clone(),
                title: workload.title.clone(),
                shape: workload.shape,
                cells,
                against: None,
                ratio: None,
                target: target.clone(),
                reached: None,
                cost_reached: None,
            };
            compare(&mut row, &rows, &measured, measurements);
            row.reached = reached(&row);
            row.cost_reached = cost_reached(&row);
            rows.push(row);
        }
    }
    rows
}

fn of_rival<'a>(measured: &'a [&Measurement], rival: &'a str) -> impl Iterator<Item = &'a Measurement> {
    measured.iter().copied().filter(move |measurement| measurement.rival == rival)
}

fn reports<'a>(measured: &'a [&Measurement], rival: &'a str) -> impl Iterator<Item = (u32, &'a Report)> {
    of_rival(measured, rival).filter_map(|measurement| Some((measurement.run, measurement.report.as_ref()?)))
}

fn cell(rival: &str, measured: &[&Measurement]) -> Option<Cell> {
    let summary = |of: &dyn Fn(&Report) -> Option<f64>| {
        Summary::of(reports(measured, rival).filter_map(|(_, report)| of(report)))
    };
    let per_million =
        |report: &Report| (report.messages > 0).then_some(report.server_cpu_s? * 1e6 / report.messages as f64);
    Some(Cell {
        rival: rival.to_owned(),
        messages_per_s: summary(&|report| Some(report.messages_per_s))?,
        p50_us: summary(&|report| report.p50_us),
        p99_us: summary(&|report| report.p99_us),
        cpu_s_per_million: summary(&per_million),
        peak_mib: Summary::of(of_rival(measured, rival).filter_map(|one| one.server_peak_mib)),
        errors: reports(measured, rival).map(|(_, report)| report.errors).sum(),
    })
}

/// What is compared: messages a second, or in a latency row how short the median is.
fn merit(shape: Shape, report: &Report) -> f64 {
    match shape {
        Shape::Latency => report.p50_us.map_or(f64::NAN, |p50| 1.0 / p50),
        Shape::Publish | Shape::Consume | Shape::Mixed => report.messages_per_s,
    }
}

fn cell_merit(shape: Shape, cell: &Cell) -> f64 {
    match shape {
        Shape::Latency => cell.p50_us.map_or(f64::NAN, |p50| 1.0 / p50.median),
        Shape::Publish | Shape::Consume | Shape::Mixed => cell.messages_per_s.median,
    }
}

/// Sets whom the row is compared with, and the ratio.
fn compare(row: &mut Row, before: &[Row], measured: &[&Measurement], all: &[Measurement]) {
    let Some(ours) = row.cell(OURS) else { return };
    let shape = row.shape;
    let (against, theirs, other): (String, f64, Vec<(u32, &Report)>) = if let Some(of) = &row.target.of {
        let Some(cell) = before.iter().find(|other| other.class == row.class && other.workload == *of) else { return };
        let Some(cell) = cell.cell(OURS) else { return };
        let other = all.iter().filter(|one| one.class == row.class && one.workload == *of && one.rival == OURS);
        let other = other.filter_map(|one| Some((one.run, one.report.as_ref()?))).collect();
        (of.clone(), cell_merit(shape, cell), other)
    } else {
        let rivals = row.cells.iter().filter(|cell| cell.rival != OURS && cell_merit(shape, cell).is_finite());
        let best = rivals.max_by(|one, two| cell_merit(shape, one).total_cmp(&cell_merit(shape, two)));
        let Some(best) = best else { return };
        (best.rival.clone(), cell_merit(shape, best), reports(measured, &best.rival).collect())
    };
    let of_run = |run: u32| other.iter().find(|(other, _)| *other == run).map(|(_, report)| merit(shape, report));
    let ratios = reports(measured, OURS).filter_map(|(run, report)| Some(merit(shape, report) / of_run(run)?));
    let median = cell_merit(shape, ours) / theirs;
    row.ratio = Summary::of(ratios).map(|ratios| Summary { median, ..ratios });
    row.against = Some(against);
}

fn reached(row: &Row) -> Option<bool> {
    let (target, ours) = (&row.target, row.cell(OURS)?);
    let mut verdicts = Vec::new();
    if let Some(times) = target.times {
        verdicts.push(row.ratio?.median >= times);
    }
    if let Some(per_second) = target.per_second {
        verdicts.push(ours.messages_per_s.median >= per_second);
    }
    for (limit, found) in [(target.p50_us, ours.p50_us), (target.p99_us, ours.p99_us)] {
        if let Some(limit) = limit {
            verdicts.push(found?.median <= limit);
        }
    }
    (!verdicts.is_empty()).then(|| verdicts.into_iter().all(|verdict| verdict))
}

fn cost_reached(row: &Row) -> Option<bool> {
    let ours = row.cell(OURS)?;
    let within = |limit: Option<f64>, found: Option<Summary>| Some(found?.median <= limit?);
    let verdicts = [within(row.target.cpu_s, ours.cpu_s_per_million), within(Some(PEAK_MIB), ours.peak_mib)];
    verdicts.into_iter().flatten().reduce(|one, two| one && two)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::workload;

    pub(crate) fn contenders() -> Vec<Contender> {
        ["wiber", "nats", "redis"]
            .map(|name| Contender { name: name.to_owned(), title: name.to_uppercase(), version: "1.0".to_owned() })
            .to_vec()
    }

    pub(crate) fn measurement(run: u32, class: Class, workload: &str, rival: &str, rate: f64, p50: f64) -> Measurement {
        let report = Report {
            messages: 1_000_000,
            messages_per_s: rate,
            p50_us: Some(p50),
            p99_us: Some(p50 * 3.0),
            server_cpu_s: Some(0.5),
            server_rss_mib: Some(60.0),
            ..Report::default()
        };
        Measurement {
            run,
            class,
            workload: workload.to_owned(),
            rival: rival.to_owned(),
            load_average: "0 0 0".to_owned(),
            server_peak_mib: Some(64.0),
            report: Some(report),
            failure: None,
        }
    }

    fn rows_of(names: &[&str], measurements: &[Measurement]) -> Vec<Row> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        rows(&workload::chosen(&names).unwrap(), &contenders(), measurements)
    }

    #[test]
    fn ratios_are_of_the_best_rival_of_the_same_class() {
        let mut measured = Vec::new();
        for (run, (ours, nats, redis)) in
            [(200.0, 90.0, 100.0), (300.0, 80.0, 100.0), (250.0, 500.0, 100.0)].iter().enumerate()
        {
            for (rival, rate) in [("wiber", ours), ("nats", nats), ("redis", redis)] {
                measured.push(measurement(run as u32 + 1, Class::Written, "publish-1k-batch-1", rival, *rate, 1.0));
            }
        }
        measured.push(measurement(1, Class::Durable, "publish-1k-batch-1", "nats", 1e9, 1.0));
        measured.push(measurement(1, Class::Durable, "publish-1k-batch-1", "wiber", 1.0, 1.0));
        let rows = rows_of(&["publish-1k-batch-1"], &measured);
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].against.as_deref(), Some("redis"));
        assert_eq!(rows[0].ratio, Some(Summary { median: 2.5, min: 2.0, max: 3.0 }));
        assert_eq!((rows[0].reached, rows[1].reached), (Some(true), Some(false)));
    }

    #[test]
    fn the_shorter_latency_is_ahead() {
        let measured = [
            measurement(1, Class::Written, "latency-10k", "wiber", 1e4, 50.0),
            measurement(1, Class::Written, "latency-10k", "nats", 1e4, 100.0),
        ];
        let row = &rows_of(&["latency-10k"], &measured)[0];
        assert_eq!((row.ratio.map(|ratio| ratio.median), row.reached), (Some(2.0), Some(true)));
    }

    #[test]
    fn a_row_may_be_compared_with_another_and_a_target_may_be_a_rate() {
        let measured = [
            measurement(1, Class::Durable, "publish-1k-batch-1", "wiber", 1000.0, 1.0),
            measurement(1, Class::Durable, "partitions-1000-large", "wiber", 400.0, 1.0),
            measurement(1, Class::Durable, "publishers-100", "wiber", 80_000.0, 1.0),
        ];
        let rows = rows_of(&["publish-1k-batch-1", "partitions-1000-large", "publishers-100"], &measured);
        let reached: Vec<_> = rows.iter().map(|row| (row.workload.as_str(), row.reached)).collect();
        let expected =
            [("publish-1k-batch-1", None), ("publishers-100", Some(true)), ("partitions-1000-large", Some(false))];
        assert_eq!(reached, expected);
    }

    #[test]
    fn costs_are_judged_apart() {
        let cheap = measurement(1, Class::Written, "publish-1k-batch-1", "wiber", 1.0, 1.0);
        let mut large = cheap.clone();
        large.server_peak_mib = Some(1000.0);
        for (measured, expected) in [(cheap, true), (large, false)] {
            let row = &rows_of(&["publish-1k-batch-1"], &[measured])[0];
            assert_eq!((row.reached, row.cost_reached), (None, Some(expected)));
        }
    }

    #[test]
    fn what_failed_is_no_zero() {
        let mut failed = measurement(1, Class::Written, "lone-1k", "nats", 5.0, 1.0);
        failed.report = None;
        let rows = rows_of(&["lone-1k"], &[failed, measurement(1, Class::Written, "lone-1k", "wiber", 5.0, 1.0)]);
        assert_eq!((rows[0].cells.len(), rows[0].ratio), (1, None));
    }
}
