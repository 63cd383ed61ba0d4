//! The crash matrix: a scripted history of a whole broker, and a crash before every call of it that changes or syncs
//! something; each with many seeded ways in which unsynced data survives, a second crash during the recovery, and work
//! on what was recovered. After each the broker is held to everything it ever promised.
//!
//! `WIBER_CRASH_SUBSETS=100 cargo test --release --test crash_matrix -- --nocapture` plays the whole matrix; without the
//! variable a sample is played. `WIBER_CRASH_HISTORY`, `WIBER_CRASH_POINT` and `WIBER_CRASH_SEED`, as a failure prints
//! them, play one case.

mod case;
mod check;
mod history;
mod model;
mod points;
mod queue;
mod races;
mod session;

use std::panic::{AssertUnwindSafe, catch_unwind};

use wiber::replica::SyncPolicy;

use case::Counts;
use history::Moment;
use session::Flavour;

/// The histories.
const FLAVOURS: [Flavour; 3] = [
    Flavour { name: "always", sync: SyncPolicy::Always, writes_inline: false },
    Flavour { name: "interval", sync: SyncPolicy::Interval { millis: 5_000 }, writes_inline: true },
    Flavour { name: "os", sync: SyncPolicy::Os, writes_inline: false },
];
/// Without being told, every so many points are crashed at, with so many seeds.
const SAMPLE_EVERY: usize = 13;
const SAMPLE_SEEDS: u64 = 1;
/// Failures that are told of before the rest of a history is left out.
const FAILURES_MAX: usize = 5;

/// Which cases to play.
struct Plan {
    history: Option<String>,
    point: Option<usize>,
    seed: Option<u64>,
    every: usize,
    seeds: u64,
}

impl Plan {
    fn from_environment() -> Plan {
        let seeds: Option<u64> = number("WIBER_CRASH_SUBSETS");
        Plan {
            history: std::env::var("WIBER_CRASH_HISTORY").ok(),
            point: number("WIBER_CRASH_POINT"),
            seed: number("WIBER_CRASH_SEED"),
            every: if seeds.is_some() { 1 } else { SAMPLE_EVERY },
            seeds: seeds.unwrap_or(SAMPLE_SEEDS),
        }
    }

    fn points(&self, count: usize) -> Vec<usize> {
        match self.point {
            Some(point) => vec![point],
            None => (0..count).step_by(self.every).collect(),
        }
    }

    fn seeds(&self) -> std::ops::RangeInclusive<u64> {
        self.seed.map_or(case::KILL..=self.seeds, |seed| seed..=seed)
    }
}

fn number<N: std::str::FromStr>(variable: &str) -> Option<N> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number")))
}

#[test]
fn nothing_promised_is_lost_and_nothing_else_appears() {
    let plan = Plan::from_environment();
    let mut failures = Vec::new();
    for flavour in FLAVOURS {
        if plan.history.as_deref().is_none_or(|name| name == flavour.name) {
            failures.extend(play_history(&plan, flavour));
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

fn play_history(plan: &Plan, flavour: Flavour) -> Vec<String> {
    let watch = stopwatch();
    let moments = history::record(flavour);
    let (mut cases, mut failures, mut counts) = (0_u64, Vec::new(), Counts::default());
    'cases: for point in plan.points(moments.len()) {
        for seed in plan.seeds() {
            cases += 1;
            if let Err(wrong) = play_case(flavour, point, &moments[point], seed, &mut counts) {
                failures.push(describe(flavour, point, &moments[point], seed, &wrong));
                if failures.len() == FAILURES_MAX {
                    break 'cases;
                }
            }
        }
    }
    say(&format!("{}: {} points, {cases} cases, {:.1} s, {counts:?}", flavour.name, moments.len(), watch()));
    let is_sample = plan.point.is_none() && plan.seed.is_none() && failures.is_empty();
    let shows_little = [counts.cuts, counts.checkpoints, counts.rewrites, counts.interrupted].contains(&0);
    assert!(!is_sample || !shows_little, "some kind of recovery never happened: {counts:?}");
    failures
}

fn play_case(flavour: Flavour, point: usize, moment: &Moment, seed: u64, counts: &mut Counts) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| case::play(flavour, point, moment, seed, counts))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("panic: {}", text.unwrap_or_default()))
    })
}

fn describe(flavour: Flavour, point: usize, moment: &Moment, seed: u64, wrong: &str) -> String {
    let crash = if seed == case::KILL { "killed" } else { "power cut" };
    format!(
        "{crash} before `{}`: {wrong}\n  again: WIBER_CRASH_HISTORY={} WIBER_CRASH_POINT={point} WIBER_CRASH_SEED={seed} \
         cargo test --test crash_matrix -- --nocapture",
        moment.call, flavour.name
    )
}

#[expect(clippy::disallowed_methods, reason = "tells how long the matrix took; nothing depends on it")]
fn stopwatch() -> impl Fn() -> f64 {
    let begun = std::time::Instant::now();
    move || begun.elapsed().as_secs_f64()
}

#[expect(clippy::print_stderr, reason = "the counts are what a reader of the test's output wants")]
fn say(line: &str) {
    eprintln!("crash matrix: {line}");
}
