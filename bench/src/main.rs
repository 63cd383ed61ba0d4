//! Wiber and its rivals, side by side in one run: starts each on fresh data, puts the same loads on all of them in turn,
//! and prints medians, spreads and ratios. `README.md` says how to run it and how to add a rival.

use anyhow::Result;
use clap::Parser;

use options::{Action, Options};

mod chart;
mod install;
mod load;
mod machine;
mod options;
mod process;
mod progress;
mod results;
mod rival;
mod run;
mod server;
mod statistics;
mod table;
mod warm;
mod workload;
mod workspace;

fn main() -> Result<()> {
    let options = Options::parse();
    match options.action {
        None => run::run(&options.run),
        Some(Action::Run(options)) => run::run(&options),
        Some(Action::Install { rivals }) => install::install(&rival::chosen(&rivals)?),
        Some(Action::List) => list(),
        Some(Action::Load(arguments)) => load::main(&arguments),
    }
}

fn list() -> Result<()> {
    for rival in rival::built_in()? {
        let here = match rival.locate() {
            Ok(found) => rival.version(&found),
            Err(error) => format!("{error:#}"),
        };
        println!("{:<24} {} ({here})", rival.name, rival.title);
    }
    println!();
    for workload in workload::all()? {
        let classes = workload::Class::ALL.into_iter().filter(|&class| workload.target(class).is_some());
        let classes: Vec<&str> = classes.map(workload::Class::name).collect();
        println!("{:<24} {} ({})", workload.name, workload.title, classes.join(", "));
    }
    Ok(())
}
