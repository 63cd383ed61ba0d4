//! The directory of one run, and the processes that belong to it. Every process it starts carries the directory in its
//! environment, and servers are process groups which are written down: so all of them are found again, however they were
//! forked, and even those that overwrite their environment with a title. Whatever ends this program, they are killed and
//! the directory is deleted, if not by this program then by the next.

use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, id};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::process;

/// The variable of the environment with the directory of the run.
const MARK: &str = "WIBER_BENCH_RUN";
const PREFIX: &str = "wiber-bench-";
/// In the directory of a server: its process group, and when that was started.
const GROUP: &str = "group";
/// How long killed processes may take to be gone.
const GONE_MAX: Duration = Duration::from_secs(20);
/// How often in a row none of them may be found until all are gone.
const LOOKS: u32 = 3;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
/// Held while a process is started or a directory is made, and for good once the run is interrupted: nothing may appear
/// behind the back of whoever clears away.
static MAKING: Mutex<()> = Mutex::new(());

/// Whether the run was interrupted, and every failure since is but a consequence.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// The directory of a run; dropped, it and its processes are gone.
#[derive(Debug)]
pub(crate) struct Workspace {
    directory: PathBuf,
    next: AtomicU32,
}

impl Workspace {
    /// Makes the directory below `parent`, after clearing away what dead runs have left there, and sees to it that SIGINT
    /// and SIGTERM leave nothing behind.
    pub(crate) fn new(parent: &Path) -> Result<Self> {
        clear_leftovers(parent)?;
        let directory = parent.join(format!("{PREFIX}{}", id()));
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let directory = directory.canonicalize()?;
        let doomed = directory.clone();
        ctrlc::set_handler(move || {
            INTERRUPTED.store(true, Ordering::SeqCst);
            let _making = making();
            eprintln!("\ninterrupted: killing the servers and deleting their data");
            if let Err(error) = clear(&doomed) {
                eprintln!("{} could not be cleared: {error:#}; the next run tries again", doomed.display());
            }
            std::process::exit(130);
        })?;
        Ok(Self { directory, next: AtomicU32::new(0) })
    }

    /// A directory nothing was in before.
    pub(crate) fn fresh(&self, name: &str) -> Result<PathBuf> {
        let _making = making();
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        let directory = self.directory.join(format!("{number}-{name}"));
        fs::create_dir_all(&directory)?;
        Ok(directory)
    }

    /// A command whose process, and whatever it forks, belongs to `directory` of this run.
    pub(crate) fn command(&self, words: &[String], directory: &Path) -> Result<Command> {
        let Some((program, arguments)) = words.split_first() else { bail!("no program to start") };
        let mut command = Command::new(program);
        command.args(arguments).env(MARK, directory);
        Ok(command)
    }

    /// Starts a command; an interrupted run starts nothing more.
    pub(crate) fn spawn(&self, command: &mut Command) -> Result<Child> {
        let _making = making();
        ensure!(!interrupted(), "interrupted");
        let program = command.get_program().to_string_lossy().into_owned();
        command.spawn().with_context(|| format!("cannot start {program}"))
    }

    /// Starts the command of a server as a process group of its own, which belongs to `directory`.
    pub(crate) fn spawn_group(&self, command: &mut Command, directory: &Path) -> Result<Child> {
        let child = self.spawn(command.process_group(0))?;
        let group = child.id();
        // One that has ended already has nothing that could be killed by it.
        if let Some(started) = process::started(group) {
            fs::write(directory.join(GROUP), format!("{group} {started}"))?;
        }
        Ok(child)
    }

    /// Where all of it is.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Kills what belongs to `directory` and deletes it.
    pub(crate) fn clear(&self, directory: &Path) -> Result<()> {
        clear(directory)
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if let Err(error) = clear(&self.directory) {
            eprintln!("{} could not be cleared: {error:#}", self.directory.display());
        }
    }
}

fn making() -> MutexGuard<'static, ()> {
    MAKING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills what runs that are dead have left running, and deletes their data.
fn clear_leftovers(parent: &Path) -> Result<()> {
    for entry in fs::read_dir(parent).with_context(|| format!("cannot read {}", parent.display()))?.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<u32>().ok());
        if owner.is_some_and(|owner| owner == id() || !process::lives(owner)) {
            eprintln!("clearing away what an earlier run has left in {}", entry.path().display());
            clear(&entry.path().canonicalize()?)?;
        }
    }
    Ok(())
}

fn clear(directory: &Path) -> Result<()> {
    let mut mark = OsString::from(format!("{MARK}="));
    mark.push(directory);
    let groups = groups(directory);
    let since = Instant::now();
    let mut found_none = 0;
    // A process in the midst of becoming another program shows no environment, so that one look is not enough.
    while found_none < LOOKS {
        let mut processes = process::marked(&mark);
        for (group, started) in &groups {
            processes.extend(process::living_members(*group, *started));
        }
        found_none = if processes.is_empty() { found_none + 1 } else { 0 };
        for process in processes {
            if let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        if since.elapsed() > GONE_MAX {
            bail!("processes will not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// The groups written down in `directory` and in the directories in it.
fn groups(directory: &Path) -> Vec<(u32, u64)> {
    let inside = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let read = |directory: PathBuf| {
        let text = fs::read_to_string(directory.join(GROUP)).ok()?;
        let (group, started) = text.split_once(' ')?;
        Some((group.parse().ok()?, started.parse().ok()?))
    };
    inside.chain([directory.to_owned()]).filter_map(read).collect()
}

/// So many ports of 127.0.0.1 that nobody listens on now.
pub(crate) fn free_ports(count: usize) -> Result<Vec<u16>> {
    let listeners = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>()?;
    Ok(listeners
        .iter()
        .map(TcpListener::local_addr)
        .collect::<Result<Vec<_>, _>>()?
        .iter()
        .map(|at| at.port())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ() {
        let mut ports = free_ports(8).unwrap();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 8);
    }

    fn check_cleared(name: &str, mark: bool, group: bool) {
        let directory = std::env::temp_dir().join(format!("wiber-bench-{name}-{}", id()));
        fs::create_dir_all(directory.join("0-server")).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & sleep 600"]).process_group(0);
        if mark {
            command.env(MARK, directory.join("0-server"));
        }
        let mut child = command.spawn().unwrap();
        let started = process::started(child.id()).unwrap();
        if group {
            fs::write(directory.join("0-server").join(GROUP), format!("{} {started}", child.id())).unwrap();
        }
        while process::living_members(child.id(), started).len() < 3 {
            std::thread::yield_now();
        }
        clear(&directory).unwrap();
        child.wait().unwrap();
        assert!(process::living_members(child.id(), started).is_empty());
        assert!(!directory.exists());
    }

    #[test]
    fn marked_processes_and_groups_written_down_are_killed() {
        check_cleared("mark", true, false);
        check_cleared("group", false, true);
    }

    #[test]
    fn a_group_of_another_start_is_spared() {
        let mut child = Command::new("sleep").arg("600").process_group(0).spawn().unwrap();
        let started = process::started(child.id()).unwrap();
        assert_eq!(process::living_members(child.id(), started), [child.id()]);
        assert!(process::living_members(child.id(), started + 1).is_empty());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
