//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::load::LoadArguments;
use crate::workload::Class;

/// Wiber and its rivals, side by side in one run.
#[derive(Debug, Parser)]
#[command(name = "wiber-bench", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) action: Option<Action>,
    #[command(flatten)]
    pub(crate) run: RunOptions,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Measure; what happens without a command
    Run(RunOptions),
    /// Get the rivals from the package managers
    Install {
        /// Rivals, by name or by the path of their file
        #[arg(long, value_delimiter = ',', default_value = RIVALS)]
        rivals: Vec<String>,
    },
    /// Say which rivals and workloads there are
    List,
    /// Put a load on a rival that runs, and print its report
    Load(LoadArguments),
}

const RIVALS: &str = "wiber,nats,redis,rabbitmq";

/// What is measured and how.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunOptions {
    /// Rivals, by name or by the path of their file
    #[arg(long, value_delimiter = ',', default_value = RIVALS)]
    pub(crate) rivals: Vec<String>,
    /// Durability
    #[arg(long, value_enum, default_value_t = ClassChoice::Both)]
    pub(crate) class: ClassChoice,
    /// Workloads, or all; NAME* stands for all that begin so
    #[arg(long, value_delimiter = ',', default_value = "all")]
    pub(crate) workloads: Vec<String>,
    /// How often everything is measured
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) runs: u32,
    /// How long each point takes
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    pub(crate) seconds: f64,
    /// Directory the table, the JSON and the chart are written to
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/results"), hide_default_value = true)]
    pub(crate) out: PathBuf,
    /// Directory for the servers' data; it must be on a disk [default: that for temporary files]
    #[arg(long)]
    pub(crate) data: Option<PathBuf>,
    /// Install what is missing first
    #[arg(long)]
    pub(crate) install: bool,
    /// Take the programs as they are
    #[arg(long)]
    pub(crate) no_build: bool,
}

/// Classes to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClassChoice {
    Written,
    Durable,
    Both,
}

impl ClassChoice {
    pub(crate) fn classes(self) -> &'static [Class] {
        match self {
            Self::Written => &Class::ALL[..1],
            Self::Durable => &Class::ALL[1..],
            Self::Both => &Class::ALL,
        }
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 3600.0 => Ok(seconds),
        _ => Err("a number of seconds, up to 3600".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_holds_together() {
        Options::command().debug_assert();
        let options = Options::parse_from(["wiber-bench", "--rivals", "wiber,redis", "--class", "durable"]);
        assert_eq!(options.run.rivals, ["wiber", "redis"]);
        assert_eq!(options.run.class.classes(), [Class::Durable]);
        assert!(Options::try_parse_from(["wiber-bench", "--seconds", "0"]).is_err());
    }
}
