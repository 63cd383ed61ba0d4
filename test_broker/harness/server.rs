//! A `wiber-server` process: started on port 0, read by its log, ended in every way there is.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

use rustix::process::{Pid, Signal, kill_process};

use super::BOUND;

/// How a server is to be started.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    variables: Vec<(String, String)>,
    /// Parts of WARN and ERROR lines that are no failure.
    expected: Vec<&'static str>,
}

impl Setup {
    /// A server on this data directory, on port 0, with no topic, logging from DEBUG on.
    pub(crate) fn new(data_dir: &Path) -> Setup {
        Setup::bare()
            .set("QB_DATA_DIR", &data_dir.display().to_string())
            .set("QB_LOG_LEVEL", "DEBUG")
            .set("QB_TOPICS__CREATE", "{}")
            .set("QB_SERVER_PORT", "0")
            .set("QB_LINES__PORT", "0")
            .set("QB_HTTP__PORT", "0")
            .set("QB_KAFKA__PORT", "0")
    }

    /// A server with nothing in its environment.
    pub(crate) fn bare() -> Setup {
        Setup { variables: Vec::new(), expected: Vec::new() }
    }

    /// Sets a variable of its environment, which holds nothing else but what is set here.
    pub(crate) fn set(mut self, name: &str, value: &str) -> Setup {
        self.variables.retain(|(other, _)| other != name);
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Leaves a variable unset.
    pub(crate) fn unset(mut self, name: &str) -> Setup {
        self.variables.retain(|(other, _)| other != name);
        self
    }

    /// Lists a part of a WARN or ERROR line as no failure.
    pub(crate) fn expect_line(mut self, part: &'static str) -> Setup {
        self.expected.push(part);
        self
    }

    /// Starts the server and waits until it listens.
    pub(crate) fn start(&self) -> Server {
        let mut server = self.spawn();
        let line = server.wait_for("listening (native protocol)");
        let address = line.split_once("address=").and_then(|(_, rest)| rest.split(' ').next());
        server.address = address.and_then(|address| address.parse().ok());
        assert!(server.address.is_some(), "an address in {line:?}");
        server
    }

    /// Starts a server that is to fail; returns how it ended and what it logged.
    pub(crate) fn start_and_fail(&self) -> (ExitStatus, String) {
        let mut server = self.spawn();
        server.is_checked = true;
        let status = server.wait_for_end();
        (status, server.log())
    }

    /// Starts the server and waits for nothing.
    pub(crate) fn spawn(&self) -> Server {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wiber-server"));
        command.env_clear().envs(self.variables.iter().map(|(name, value)| (name, value)));
        // The repository's own configuration file is none of its business.
        command.current_dir(std::env::temp_dir()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("wiber-server starts");
        let lines = read_lines(child.stderr.take().expect("piped"));
        Server { child, lines, seen: Vec::new(), address: None, expected: self.expected.clone(), is_checked: false }
    }
}

/// A running server. Dropped, it is killed, and what it logged is checked.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    address: Option<SocketAddr>,
    expected: Vec<&'static str>,
    is_checked: bool,
}

impl Server {
    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address.expect("it listens")
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("killed");
        self.wait_for_end();
        self.check();
    }

    /// Asks it to end (SIGTERM), sees that it does so cleanly, and returns its log.
    pub(crate) fn terminate(self) -> String {
        self.signal(Signal::TERM);
        self.terminate_already_asked()
    }

    /// Sees that it ends cleanly after a signal it got before, and returns its log.
    pub(crate) fn terminate_already_asked(mut self) -> String {
        let status = self.wait_for_end();
        assert!(status.success(), "{status}: {}", self.log());
        self.check();
        self.log()
    }

    /// The processor time it has used, in hundredths of a second.
    pub(crate) fn processor_ticks(&self) -> u64 {
        let stat = self.proc_file("stat");
        // Behind the name in parentheses: state, ten more fields, then user and system time.
        let rest = stat.rsplit_once(") ").expect("the fields of a process").1;
        rest.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("ticks")).sum()
    }

    /// The memory it occupies, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = self.proc_file("status");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a resident size");
        line.split_ascii_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number of KiB") << 10
    }

    fn proc_file(&self, name: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).expect("the process is there")
    }

    /// Sends a signal and leaves it at that.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("signalled");
    }

    /// Waits for a line that contains `part`, also among those already there.
    pub(crate) fn wait_for(&mut self, part: &str) -> String {
        if let Some(line) = self.seen.iter().find(|line| line.contains(part)) {
            return line.clone();
        }
        loop {
            match self.lines.recv_timeout(BOUND) {
                Ok(line) => {
                    self.seen.push(line);
                    let line = self.seen.last().expect("just pushed");
                    if line.contains(part) {
                        return line.clone();
                    }
                }
                Err(error) => {
                    self.is_checked = true;
                    panic!("no line with {part:?} ({error}) in the log:\n{}", self.log());
                }
            }
        }
    }

    /// Waits for the end of the process, whose standard error ends with it.
    pub(crate) fn wait_for_end(&mut self) -> ExitStatus {
        loop {
            match self.lines.recv_timeout(BOUND) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Disconnected) => return self.child.wait().expect("ended"),
                Err(RecvTimeoutError::Timeout) => {
                    self.is_checked = true;
                    panic!("the server does not end; its log:\n{}", self.log());
                }
            }
        }
    }

    /// What it has logged so far.
    pub(crate) fn log(&mut self) -> String {
        self.seen.extend(self.lines.try_iter());
        self.seen.join("\n")
    }

    fn check(&mut self) {
        self.is_checked = true;
        self.seen.extend(self.lines.try_iter());
        let is_bad = |line: &&String| {
            let level = line.split_ascii_whitespace().nth(1).unwrap_or_default();
            let is_logged = matches!(level, "TRACE" | "DEBUG" | "INFO");
            !is_logged && !self.expected.iter().any(|part| line.contains(part))
        };
        let bad: Vec<_> = self.seen.iter().filter(is_bad).collect();
        assert!(bad.is_empty(), "lines of the server that no test has listed: {bad:#?}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
        if !self.is_checked && !std::thread::panicking() {
            while let Ok(line) = self.lines.recv_timeout(BOUND) {
                self.seen.push(line);
            }
            self.check();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a pipe that nobody reads would stop the server")]
fn read_lines(stderr: ChildStderr) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let _gone = sender.send(line);
        }
    });
    lines
}
