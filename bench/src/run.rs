//! The order of things: in each run every server is started anew, and each workload goes through all of them in turn, the
//! others frozen, so that what is compared was measured within seconds of each other.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::chart;
use crate::install;
use crate::machine::{Machine, load_average};
use crate::options::RunOptions;
use crate::process::{group_peak_mib, reset_peaks};
use crate::progress::{Progress, START_S, point_s, short_time};
use crate::results::{Contender, Measurement, Results, rows};
use crate::rival::{self, Placeholders, Rival};
use crate::server::Server;
use crate::table::{self, short};
use crate::warm::warm;
use crate::workload::{self, Class, Shape, Workload};
use crate::workspace::{Workspace, interrupted};

/// A rival that is here.
struct Present {
    rival: Rival,
    found: Placeholders,
}

/// Measures, prints the table and writes the files.
pub(crate) fn run(options: &RunOptions) -> Result<()> {
    let workloads = workload::chosen(&options.workloads)?;
    let rivals = rival::chosen(&options.rivals)?;
    if options.install {
        install::install(&rivals)?;
    }
    if !options.no_build {
        install::build(&rivals)?;
    }
    let (present, skipped) = look(rivals);
    if present.is_empty() {
        bail!("none of the rivals is here:\n{}", skipped.join("\n"));
    }
    let parent = options.data.clone().unwrap_or_else(std::env::temp_dir);
    let workspace = Workspace::new(&parent)?;
    fs::create_dir_all(&options.out).with_context(|| format!("cannot make {}", options.out.display()))?;
    let mut results = Results {
        machine: Machine::look(&parent.canonicalize()?),
        contenders: present.iter().map(contender).collect(),
        skipped,
        runs: options.runs,
        seconds: options.seconds,
        rows: Vec::new(),
        measurements: Vec::new(),
    };
    if results.machine.file_system == "tmpfs" {
        eprintln!("! {} is in memory: nothing is durable there; give --data", parent.display());
    }
    let mut progress = reckon(options, &workloads, &present);
    for run in 1..=options.runs {
        for &class in options.class.classes() {
            let turn = Turn { run, class, options, present: &present, workspace: &workspace };
            turn.measure(&of_class(&workloads, class), &mut results, &mut progress);
            results.rows = rows(&workloads, &results.contenders, &results.measurements);
            write(&options.out, &results)?;
        }
    }
    println!("\n{}", table::render(&results));
    eprintln!("written to {}: results.json, table.txt, chart.svg", options.out.display());
    let failures = results.measurements.iter().filter(|one| one.failure.is_some()).count();
    if failures > 0 { Err(anyhow::anyhow!("{failures} measurements failed")) } else { Ok(()) }
}

fn of_class(workloads: &[Workload], class: Class) -> Vec<&Workload> {
    workloads.iter().filter(|workload| workload.target(class).is_some()).collect()
}

/// How long all of it will take, said once beforehand.
fn reckon(options: &RunOptions, workloads: &[Workload], present: &[Present]) -> Progress {
    let (mut points, mut seconds) = (0, 0.0);
    for &class in options.class.classes() {
        for one in present.iter().filter(|one| one.rival.class(class).is_some()) {
            seconds += START_S;
            for workload in of_class(workloads, class).into_iter().filter(|workload| workload.is_for(&one.rival)) {
                points += 1;
                seconds += point_s(workload, options.seconds);
            }
        }
    }
    let (points, seconds) = (points * options.runs as usize, seconds * f64::from(options.runs));
    eprintln!("{points} points in {} runs, about {}", options.runs, short_time(seconds));
    Progress::new(points, seconds)
}

fn look(rivals: Vec<Rival>) -> (Vec<Present>, Vec<String>) {
    let (mut present, mut skipped) = (Vec::new(), Vec::new());
    for rival in rivals {
        match rival.locate() {
            Ok(found) => present.push(Present { rival, found }),
            Err(error) => {
                let reason = format!("{} is skipped: {error:#}", rival.name);
                eprintln!("! {reason}");
                skipped.push(reason);
            }
        }
    }
    (present, skipped)
}

fn contender(present: &Present) -> Contender {
    let Present { rival, found } = present;
    Contender { name: rival.name.clone(), title: rival.title.clone(), version: rival.version(found) }
}

fn write(out: &Path, results: &Results) -> Result<()> {
    let json = serde_json::to_string_pretty(results)?;
    for (name, text) in
        [("results.json", json), ("table.txt", table::render(results)), ("chart.svg", chart::draw(results))]
    {
        let path = out.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// One run of one class.
struct Turn<'a> {
    run: u32,
    class: Class,
    options: &'a RunOptions,
    present: &'a [Present],
    workspace: &'a Workspace,
}

impl<'a> Turn<'a> {
    fn measure(&self, workloads: &[&Workload], results: &mut Results, progress: &mut Progress) {
        if workloads.is_empty() {
            return;
        }
        // Another one begins in each run, so that no server is always measured after the same one.
        let mut order: Vec<&Present> =
            self.present.iter().filter(|one| one.rival.class(self.class).is_some()).collect();
        let shift = (self.run as usize - 1) % order.len().max(1);
        order.rotate_left(shift);
        let mut servers: Vec<Option<Server<'a>>> = order.iter().map(|one| self.start(one)).collect();
        progress.passed(START_S * order.len() as f64);
        for workload in workloads {
            for (present, server) in order.iter().zip(&mut servers) {
                if !workload.is_for(&present.rival) {
                    continue;
                }
                if server.as_mut().is_none_or(|server| !server.lives()) {
                    // The one that died is cleared away before its successor comes.
                    *server = None;
                    *server = self.start(present);
                }
                let measurement = self.measure_one(workload, present, server.as_ref());
                progress.point_passed(point_s(workload, self.options.seconds));
                self.say(workload, &measurement, progress);
                results.measurements.push(measurement);
            }
        }
    }

    fn start(&self, present: &'a Present) -> Option<Server<'a>> {
        match Server::start(&present.rival, self.class, &present.found, self.workspace) {
            Ok(server) => {
                server.freeze();
                Some(server)
            }
            Err(error) => {
                if !interrupted() {
                    eprintln!("! {error:#}");
                }
                None
            }
        }
    }

    fn measure_one(&self, workload: &Workload, present: &Present, server: Option<&Server<'_>>) -> Measurement {
        // What earlier loads left to be written is written now, not at the expense of the next one's syncs.
        rustix::fs::sync();
        if let Err(error) = warm(self.workspace.directory()) {
            eprintln!("! memory is not warmed: {error}");
        }
        let mut measurement = Measurement {
            run: self.run,
            class: self.class,
            workload: workload.name.clone(),
            rival: present.rival.name.clone(),
            load_average: load_average(),
            server_peak_mib: None,
            report: None,
            failure: None,
        };
        let loaded = match server {
            None => Err(anyhow::anyhow!("the server did not start")),
            Some(server) => {
                server.thaw();
                reset_peaks(server.group());
                let loaded = server.load(workload, self.options.seconds);
                measurement.server_peak_mib = group_peak_mib(server.group());
                server.freeze();
                loaded
            }
        };
        match loaded {
            Ok(report) => measurement.report = Some(report),
            Err(error) => measurement.failure = Some(format!("{error:#}")),
        }
        measurement
    }

    fn say(&self, workload: &Workload, measurement: &Measurement, progress: &Progress) {
        let said = match (&measurement.report, &measurement.failure) {
            (Some(report), _) if workload.shape == Shape::Latency => {
                let time = |time: Option<f64>| time.map_or_else(|| "-".to_owned(), |time| format!("{time:.0}"));
                format!("{} / {} us", time(report.p50_us), time(report.p99_us))
            }
            (Some(report), _) => format!("{}/s", short(report.messages_per_s)),
            (None, Some(failure)) => format!("failed: {failure}"),
            (None, None) => String::new(),
        };
        if !interrupted() {
            let (run, runs, class) = (self.run, self.options.runs, self.class.name());
            let (name, rival, progress) = (&workload.name, &measurement.rival, progress.say());
            eprintln!("run {run}/{runs} {class} {name:<24} {rival:<10} {said:<22} [{progress}]");
        }
    }
}
