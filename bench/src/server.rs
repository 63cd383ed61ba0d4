//! One started server: on fresh data, on free ports, frozen while another one is measured.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::load::report::Report;
use crate::rival::{Placeholders, Rival};
use crate::workload::{Class, Workload};
use crate::workspace::{Workspace, free_ports};

const LOG: &str = "server.log";
/// Lines of the log shown where a start fails.
const LOG_LINES: usize = 15;
const POLL: Duration = Duration::from_millis(20);
/// What a load may take beyond its seconds, storing what is to be read included.
const LOAD_EXTRA: Duration = Duration::from_secs(120);

/// A server and where it lives.
#[derive(Debug)]
pub(crate) struct Server<'a> {
    rival: &'a Rival,
    class: Class,
    workspace: &'a Workspace,
    directory: PathBuf,
    placeholders: Placeholders,
    child: Child,
}

impl<'a> Server<'a> {
    /// Starts it and waits until it is ready.
    pub(crate) fn start(
        rival: &'a Rival,
        class: Class,
        found: &Placeholders,
        workspace: &'a Workspace,
    ) -> Result<Self> {
        let settings = rival.class(class).context("no such class")?;
        let directory = workspace.fresh(&rival.name)?;
        let mut placeholders = found.clone();
        let data = directory.join("data");
        fs::create_dir_all(&data)?;
        placeholders.set("dir", &directory.to_string_lossy());
        placeholders.set("data", &data.to_string_lossy());
        let ports = free_ports(4)?;
        for (name, port) in ["port", "port2", "port3", "port4"].into_iter().zip(&ports) {
            placeholders.set(name, &port.to_string());
        }
        for (name, value) in &settings.settings {
            placeholders.set(name, value);
        }
        for file in &rival.files {
            fs::write(directory.join(&file.path), placeholders.fill(&file.text)?)?;
        }
        let mut command = workspace.command(&placeholders.fill_all(&rival.start)?, &directory)?;
        for (name, value) in &rival.environment {
            command.env(name, placeholders.fill(value)?);
        }
        let log = File::create(directory.join(LOG))?;
        command.current_dir(&directory).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = workspace.spawn_group(&mut command, &directory)?;
        placeholders.set("pid", &child.id().to_string());
        let mut server = Self { rival, class, workspace, directory, placeholders, child };
        server.wait_ready(ports[0])?;
        Ok(server)
    }

    fn wait_ready(&mut self, port: u16) -> Result<()> {
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}\n{}", self.rival.title, self.log_end());
            }
            if self.is_ready(port)? {
                return Ok(());
            }
            if since.elapsed() > Duration::from_secs(self.rival.ready_seconds) {
                bail!("{} is not ready after {} s\n{}", self.rival.title, self.rival.ready_seconds, self.log_end());
            }
            std::thread::sleep(POLL);
        }
    }

    fn is_ready(&self, port: u16) -> Result<bool> {
        if self.rival.ready.is_empty() {
            return Ok(TcpStream::connect(("127.0.0.1", port)).is_ok());
        }
        let words = self.placeholders.fill_all(&self.rival.ready)?;
        let mut probe = self.workspace.command(&words, &self.directory)?;
        probe.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(self.workspace.spawn(&mut probe)?.wait()?.success())
    }

    /// Puts it under a load and takes the report.
    pub(crate) fn load(&self, workload: &Workload, seconds: f64) -> Result<Report> {
        let mut words = self.placeholders.fill_all(&self.rival.load)?;
        words.extend(workload.arguments(self.rival, seconds));
        let settings = self.rival.class(self.class).context("no such class")?;
        words.extend(self.placeholders.fill_all(&settings.arguments)?);
        let mut command = self.workspace.command(&words, &self.directory)?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = self.workspace.spawn(&mut command)?;
        let output = finish(child, Duration::from_secs_f64(seconds) + LOAD_EXTRA)
            .with_context(|| format!("'{}'", words.join(" ")))?;
        serde_json::from_str(output.trim()).with_context(|| format!("'{}' did not print a report", words.join(" ")))
    }

    /// Whether it still runs.
    pub(crate) fn lives(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The process group of its processes.
    pub(crate) fn group(&self) -> u32 {
        self.child.id()
    }

    /// Takes all CPU from it.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it run again.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // One that is gone is noticed where it is used.
        let _ = group.map(|group| kill_process_group(group, signal));
    }

    fn log_end(&self) -> String {
        let lines = File::open(self.directory.join(LOG)).map(|log| BufReader::new(log).lines().map_while(Result::ok));
        let lines: Vec<String> = lines.map(Iterator::collect).unwrap_or_default();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.workspace.clear(&self.directory) {
            eprintln!("{} could not be cleared away: {error:#}", self.rival.title);
        }
        let _ = self.child.wait();
    }
}

/// Waits for the end of a process, with a bound, and gives what it printed.
fn finish(mut child: Child, time_max: Duration) -> Result<String> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (text, complaint) = std::thread::scope(|scope| {
        let complaint = scope.spawn(|| read(stderr));
        let text = scope.spawn(|| read(stdout));
        let since = Instant::now();
        while child.try_wait().is_ok_and(|status| status.is_none()) {
            if since.elapsed() > time_max {
                let _ = child.kill();
            }
            std::thread::sleep(POLL);
        }
        (text.join().unwrap_or_default(), complaint.join().unwrap_or_default())
    });
    let status = child.wait()?;
    if !status.success() {
        bail!("{status}: {}", complaint.trim());
    }
    Ok(text)
}

fn read(stream: Option<impl Read>) -> String {
    let mut text = String::new();
    if let Some(mut stream) = stream {
        let _ = stream.read_to_string(&mut text);
    }
    text
}
