//! What the README shows of the command line is what happens.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Server, Setup};

/// A command, and the lines the README shows below it.
struct Shown {
    command: String,
    lines: Vec<String>,
}

/// The commands of all `console` blocks, in order.
fn shown(readme: &str) -> Vec<Shown> {
    let mut all: Vec<Shown> = Vec::new();
    let mut is_inside = false;
    for line in readme.lines() {
        match (is_inside, line) {
            (false, _) => is_inside = line == "```console",
            (true, "```") => is_inside = false,
            (true, "") => {}
            (true, _) => match line.strip_prefix("$ ") {
                Some(command) => all.push(Shown { command: command.to_owned(), lines: Vec::new() }),
                None => all.last_mut().expect("a command comes first").lines.push(line.to_owned()),
            },
        }
    }
    all
}

fn shell(server: &Server, directory: &Path, command: &str) -> Command {
    let binaries = PathBuf::from(env!("CARGO_BIN_EXE_wiber-client"));
    let mut path = binaries.parent().expect("a directory").as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).current_dir(directory).env("PATH", path);
    shell.env("WIBER_CLIENT_HOST", server.address().ip().to_string());
    shell.env("WIBER_CLIENT_PORT", server.address().port().to_string());
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    shell
}

/// Runs a command that ends by itself.
fn check(server: &Server, directory: &Path, shown: &Shown) {
    let ran = shell(server, directory, &shown.command).output().expect("sh runs");
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{}: {said}", shown.command);
    if !shown.lines.is_empty() {
        let lines: Vec<_> = String::from_utf8_lossy(&ran.stdout).lines().map(str::to_owned).collect();
        assert_eq!(lines, shown.lines, "{}: {said}", shown.command);
    }
}

/// Runs a command that goes on until Ctrl-C, and stops it once it has printed what is shown.
fn check_endless(server: &Server, directory: &Path, shown: &Shown) {
    let mut child = shell(server, directory, &format!("exec {}", shown.command)).spawn().expect("sh runs");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let lines: Vec<_> = lines.take(shown.lines.len()).map(|line| line.expect("UTF-8")).collect();
    assert_eq!(lines, shown.lines, "{}", shown.command);
    kill_process(Pid::from_child(&child), Signal::INT).expect("signalled");
    let ran = child.wait_with_output().expect("it ends");
    assert!(ran.status.success(), "{}: {}", shown.command, String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn the_readme_shows_what_happens() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("a README");
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("orders.txt"), "cake\npie\n").expect("written");
    fs::write(directory.path().join("pairs.tsv"), "table-1\tcake\ntable-2\tpie\n").expect("written");
    let topics = r#"{"events":2,"logs":1,"notifications":3}"#;
    let server = Setup::new(&directory.path().join("data")).set("QB_TOPICS__CREATE", topics).start();
    let all = shown(&readme);
    assert!(all.len() > 15, "{} commands", all.len());
    for shown in &all {
        let is_endless = shown.command.contains("subscribe")
            && !["--count", "--timeout"].iter().any(|option| shown.command.contains(option));
        let check = if is_endless { check_endless } else { check };
        check(&server, directory.path(), shown);
    }
    server.terminate();
}
