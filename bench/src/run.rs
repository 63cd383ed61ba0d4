//! The order of things: in each run every server is started anew, and each workload goes through all of them in turn, the
//! others frozen, so that what is compared was measured within seconds of each other.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::chart;
use crate::install;
use crate::machine::{Machine, load_average};
use crate::options::RunOptions;
use crate::results::{Contender, Measurement, Results, rows};
use crate::rival::{self, Placeholders, Rival};
use crate::server::Server;
use crate::table::{self, short};
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
        contenders: present.iter().map(|one| contender(one)).collect(),
        skipped,
        runs: options.runs,
        seconds: options.seconds,
        rows: Vec::new(),
        measurements: Vec::new(),
    };
    if results.machine.file_system == "tmpfs" {
        eprintln!("! {} is in memory: nothing is durable there; give --data", parent.display());
    }
    for run in 1..=options.runs {
        for &class in options.class.classes() {
            let of_class: Vec<&Workload> = workloads.iter().filter(|one| one.target(class).is_some()).collect();
            if !of_class.is_empty() {
                Turn { run, class, options, present: &present, workspace: &workspace }.measure(&of_class, &mut results);
            }
            results.rows = rows(&workloads, &results.contenders, &results.measurements);
            write(&options.out, &results)?;
        }
    }
    println!("\n{}", table::render(&results));
    eprintln!("written to {}: results.json, table.txt, chart.svg", options.out.display());
    let failures = results.measurements.iter().filter(|one| one.failure.is_some()).count();
    if failures > 0 { Err(anyhow::anyhow!("{failures} measurements failed")) } else { Ok(()) }
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
    fn measure(&self, workloads: &[&Workload], results: &mut Results) {
        // Another one begins in each run, so that no server is always measured after the same one.
        let mut order: Vec<&Present> = self.present.iter().filter(|one| one.rival.class(self.class).is_some()).collect();
        let shift = (self.run as usize - 1) % order.len().max(1);
        order.rotate_left(shift);
        let mut servers: Vec<Option<Server<'a>>> = order.iter().map(|one| self.start(one)).collect();
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
        let mut measurement = Measurement {
            run: self.run,
            class: self.class,
            workload: workload.name.clone(),
            rival: present.rival.name.clone(),
            load_average: load_average(),
            report: None,
            failure: None,
        };
        let loaded = match server {
            None => Err(anyhow::anyhow!("the server did not start")),
            Some(server) => {
                server.thaw();
                let loaded = server.load(workload, self.options.seconds);
                server.freeze();
                loaded
            }
        };
        match loaded {
            Ok(report) => measurement.report = Some(report),
            Err(error) => measurement.failure = Some(format!("{error:#}")),
        }
        self.say(workload, &measurement);
        measurement
    }

    fn say(&self, workload: &Workload, measurement: &Measurement) {
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
            eprintln!("run {run}/{runs} {class} {:<24} {:<10} {said}", workload.name, measurement.rival);
        }
    }
}
