//! The command line of `wiber-server`.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use super::server_tools::{self, ServerTool};
use crate::server::config::{Config, ConfigErrors, ConfigFile, FILE_VARIABLE, Loaded, LogFormat, Overrides, load};
use crate::server::{Console, init_logging, preflight, serve};

const EXAMPLES: &str = "\
Examples:
  wiber-server                               with config/broker.json where it is there
  wiber-server --config /etc/wiber.json      with another file
  wiber-server --port 9990 --data-dir /srv/wiber
  wiber-server --set topics.auto_create=true --set storage.sync_interval=0.5
  QB_STORAGE__SYNC=interval wiber-server     any key of docs/configuration.md
  wiber-server --check-config                is it right? Starts nothing, touches nothing
  wiber-server --print-config=sources        what holds, and which file, variable or flag said so
  wiber-server verify storage/data           look for damage, with the server stopped

A flag wins over a variable of the environment, a variable over the file, the file over the defaults.

Signals: SIGTERM or SIGINT (Ctrl+C) stops cleanly, a second one at once; SIGHUP opens the log file anew.
Exit codes: 0 stopped by a signal, 1 failure, 2 a configuration or command line that does not stand.";

/// The Wiber broker: partitioned, durable logs over TCP.
#[derive(Debug, Parser)]
#[command(name = "wiber-server", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    tool: Option<ServerTool>,
    /// Configuration file [default: config/broker.json, where it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    keys: KeyFlags,
    /// Check the configuration, say everything that is wrong with it, and start nothing
    #[arg(long, conflicts_with = "print_config")]
    check_config: bool,
    /// Print the configuration that would hold, as a file (values) or with where each value came from (sources)
    #[arg(long, value_name = "FORM", num_args = 0..=1, require_equals = true, default_missing_value = "values")]
    print_config: Option<PrintForm>,
}

/// Flags for keys of the configuration. All take text: what each key may be, the configuration knows.
#[derive(Debug, clap::Args)]
struct KeyFlags {
    /// Address to listen on (server.host)
    #[arg(long)]
    host: Option<String>,
    /// Port of the native protocol; 0 lets the system choose (server.port)
    #[arg(long, allow_negative_numbers = true)]
    port: Option<String>,
    /// Connections at most (server.max_connections)
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    max_connections: Option<String>,
    /// Directory of the partitions (storage.data_dir)
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Directory of the snapshots (storage.snapshot_dir)
    #[arg(long, value_name = "DIR")]
    snapshot_dir: Option<String>,
    /// When records are fsynced: always, interval or os (storage.sync)
    #[arg(long, value_name = "MODE")]
    sync: Option<String>,
    /// Least severe lines logged (logging.level)
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Form of the log: text or json (logging.format)
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// File the log is appended to (logging.file)
    #[arg(long, value_name = "FILE")]
    log_file: Option<String>,
    /// Any other key; may be given many times, the last one of a key wins
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

impl KeyFlags {
    fn overrides(&self) -> Overrides {
        let mut overrides = Overrides::default();
        for pair in &self.set {
            overrides.set(pair);
        }
        for (flag, key, text) in [
            ("--host", "server.host", &self.host),
            ("--port", "server.port", &self.port),
            ("--max-connections", "server.max_connections", &self.max_connections),
            ("--data-dir", "storage.data_dir", &self.data_dir),
            ("--snapshot-dir", "storage.snapshot_dir", &self.snapshot_dir),
            ("--sync", "storage.sync", &self.sync),
            ("--log-level", "logging.level", &self.log_level),
            ("--log-format", "logging.format", &self.log_format),
            ("--log-file", "logging.file", &self.log_file),
        ] {
            if let Some(text) = text {
                overrides.give(flag, key, text);
            }
        }
        overrides
    }
}

/// How the configuration is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PrintForm {
    /// JSON in the layout of the file
    Values,
    /// A line for each key with where its value came from
    Sources,
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
        Err(ConfigErrors(errors)) => return fail(2, &errors),
    };
    match arguments.print_config {
        _ if arguments.check_config => check_config(&loaded),
        Some(form) => print_config(&loaded, form),
        None => run(&loaded),
    }
}

fn run(loaded: &Loaded) -> ExitCode {
    let log_file = match init_logging(&loaded.config.logging) {
        Ok(log_file) => log_file,
        Err(error) => {
            let path = loaded.config.logging.file.as_deref().unwrap_or(Path::new("")).display();
            return fail(1, &[format!("the log file '{path}' cannot be opened (logging.file): {error}")]);
        }
    };
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    match serve(&loaded.config, &log_file, &console(&loaded.config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the server cannot run");
            ExitCode::FAILURE
        }
    }
}

fn load_config(arguments: &Arguments) -> Result<Loaded, ConfigErrors> {
    let variable = std::env::var_os(FILE_VARIABLE).map(PathBuf::from);
    let file = ConfigFile::locate(arguments.config.as_deref(), variable.as_deref());
    let bytes = file.read()?;
    let file = bytes.as_deref().map(|bytes| (file.path.as_path(), bytes));
    load(file, std::env::vars_os(), &arguments.keys.overrides())
}

/// Says that the configuration stands, and what would still be in the way of a start here.
fn check_config(loaded: &Loaded) -> ExitCode {
    let mut text = "configuration ok\n".to_owned();
    for warning in loaded.warnings.iter().cloned().chain(preflight(&loaded.config)) {
        text.push_str(&format!("warning: {warning}\n"));
    }
    print(&text)
}

fn print_config(loaded: &Loaded, form: PrintForm) -> ExitCode {
    for warning in &loaded.warnings {
        let _unwritable = writeln!(io::stderr(), "warning: {warning}");
    }
    print(&match form {
        PrintForm::Values => loaded.to_json(),
        PrintForm::Sources => loaded.to_lines(),
    })
}

fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has enough of it.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(1, &[format!("cannot print: {error}")]),
    }
}

/// Whether somebody is watching, and what they would have to type to try the server out.
fn console(config: &Config) -> Console {
    let is_text = config.logging.format == LogFormat::Text && config.logging.file.is_none();
    Console { is_terminal: is_text && io::stderr().is_terminal(), client_command: client_command() }
}

/// The client beside this program where it was built; `cargo run` builds the server alone.
fn client_command() -> String {
    const CLIENT: &str = "wiber-client";
    let Some(dir) = std::env::current_exe().ok().and_then(|program| Some(program.parent()?.to_owned())) else {
        return CLIENT.to_owned();
    };
    let Some(profile) =
        ["release", "debug"].into_iter().find(|profile| dir.ends_with(Path::new("target").join(profile)))
    else {
        return CLIENT.to_owned();
    };
    let client = dir.join(CLIENT);
    if client.is_file() {
        let here = std::env::current_dir().unwrap_or_default();
        return client.strip_prefix(&here).unwrap_or(&client).display().to_string();
    }
    let profile = if profile == "release" { " --release" } else { "" };
    format!("cargo run{profile} --bin {CLIENT} --")
}

/// Says on standard error why it ends, a line for each reason.
fn fail(code: u8, reasons: &[impl std::fmt::Display]) -> ExitCode {
    let mut stderr = io::stderr().lock();
    for reason in reasons {
        let _unwritable = writeln!(stderr, "wiber-server: {reason}");
    }
    ExitCode::from(code)
}
