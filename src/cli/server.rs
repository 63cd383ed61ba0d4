//! The command line of `wiber-server`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use super::server_tools::{self, ServerTool};
use crate::server::config::{ConfigError, ConfigFile, FILE_VARIABLE, Loaded, Overrides, load};
use crate::server::{init_logging, serve};

const EXAMPLES: &str = "\
Examples:
  wiber-server                               with config/broker.json where it is there
  wiber-server --config /etc/wiber.json      with another file
  wiber-server --port 9990 --data-dir /srv/wiber
  QB_STORAGE__SYNC=interval wiber-server     any key of docs/configuration.md
  wiber-server verify storage/data           look for damage, with the server stopped

Exit codes: 0 stopped by a signal, 1 failure, 2 a configuration that does not stand.";

/// The Wiber broker: partitioned, durable logs over TCP.
#[derive(Debug, Parser)]
#[command(name = "wiber-server", version, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    tool: Option<ServerTool>,
    /// Configuration file [default: config/broker.json, where it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address to listen on (server.host)
    #[arg(long)]
    host: Option<String>,
    /// Port of the native protocol (server.port)
    #[arg(long)]
    port: Option<u16>,
    /// Directory of the partitions (storage.data_dir)
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Least severe lines logged (logging.level)
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(tool) = &arguments.tool {
        return server_tools::run(tool);
    }
    let loaded = match load_config(&arguments) {
        Ok(loaded) => loaded,
        Err(error) => return fail(2, &error),
    };
    if let Err(error) = init_logging(&loaded.config.logging) {
        return fail(1, &format!("the log file cannot be opened: {error}"));
    }
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    match serve(&loaded.config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the server cannot run");
            ExitCode::FAILURE
        }
    }
}

fn load_config(arguments: &Arguments) -> Result<Loaded, ConfigError> {
    let variable = std::env::var(FILE_VARIABLE).ok();
    let file = ConfigFile::locate(arguments.config.as_deref(), variable.as_deref());
    let bytes = file.read()?;
    let overrides = Overrides {
        host: arguments.host.clone(),
        port: arguments.port,
        data_dir: arguments.data_dir.clone(),
        log_level: arguments.log_level.clone(),
        set: Vec::new(),
    };
    let environment =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    load(bytes.as_deref().map(|bytes| (file.path.as_path(), bytes)), environment, &overrides)
}

fn fail(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    let _unwritable = writeln!(io::stderr(), "wiber-server: {error}");
    ExitCode::from(code)
}
