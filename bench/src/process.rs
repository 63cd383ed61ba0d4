//! What `/proc` says of processes: the CPU and the memory of a group, who belongs to it, and who carries a mark in the
//! environment. Clock ticks are taken as 100 a second, which every Linux has shown to programs for decades.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds spent and MiB resident, summed over a process group; nothing where there is no such group.
pub(crate) fn group_usage(group: u32) -> Option<(f64, f64)> {
    let (mut ticks, mut resident, mut found) = (0_u64, 0_u64, false);
    for process in processes() {
        let Some(stat) = read(process, "stat") else { continue };
        let Some(stat) = Stat::parse(&stat) else { continue };
        if stat.group == group {
            found = true;
            ticks += stat.ticks;
            resident += read(process, "status").and_then(|status| kibibytes(&status, "VmRSS:")).unwrap_or(0);
        }
    }
    found.then(|| (ticks as f64 / TICKS_PER_SECOND, resident as f64 / 1024.0))
}

/// From now on [`group_peak_mib`] counts from what is resident now.
pub(crate) fn reset_peaks(group: u32) {
    for process in members(group) {
        // Where the kernel refuses, the peak is that of the whole life.
        let _ = fs::write(format!("/proc/{process}/clear_refs"), "5");
    }
}

/// The most MiB that were resident at once in each process of a group, added up; nothing where there is no such group.
pub(crate) fn group_peak_mib(group: u32) -> Option<f64> {
    let peaks = members(group).filter_map(|process| kibibytes(&read(process, "status")?, "VmHWM:"));
    let kibibytes = peaks.sum::<u64>();
    (kibibytes > 0).then_some(kibibytes as f64 / 1024.0)
}

fn members(group: u32) -> impl Iterator<Item = u32> {
    processes().filter(move |&process| {
        read(process, "stat").as_deref().and_then(Stat::parse).is_some_and(|stat| stat.group == group)
    })
}

/// The living processes whose environment has `mark` (`NAME=path`, or a path below it), but not this one.
pub(crate) fn marked(mark: &OsStr) -> Vec<u32> {
    let ours = std::process::id();
    processes().filter(|&process| process != ours && environment_has(process, mark) && lives(process)).collect()
}

/// When a process was started, in ticks since the machine was.
pub(crate) fn started(process: u32) -> Option<u64> {
    Some(Stat::parse(&read(process, "stat")?)?.started)
}

/// The living members of the group whose first process was started at `started`: where that number belongs to a process
/// of another start, the group is another one, and not meant.
pub(crate) fn living_members(group: u32, started_at: u64) -> Vec<u32> {
    if started(group).is_some_and(|started| started != started_at) {
        return Vec::new();
    }
    members(group).filter(|&process| lives(process)).collect()
}

/// Whether a process lives and is no zombie.
pub(crate) fn lives(process: u32) -> bool {
    read(process, "stat").as_deref().and_then(Stat::parse).is_some_and(|stat| stat.state != "Z")
}

fn processes() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn environment_has(process: u32, mark: &OsStr) -> bool {
    let is_marked = |variable: &[u8]| {
        variable.strip_prefix(mark.as_bytes()).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    };
    fs::read(format!("/proc/{process}/environ"))
        .is_ok_and(|environment| environment.split(|&byte| byte == 0).any(is_marked))
}

fn read(process: u32, file: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/{process}/{file}")).ok()
}

struct Stat<'a> {
    state: &'a str,
    group: u32,
    ticks: u64,
    started: u64,
}

impl<'a> Stat<'a> {
    /// proc_pid_stat(5); the name in parentheses may itself have spaces and parentheses.
    fn parse(text: &'a str) -> Option<Self> {
        let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_ascii_whitespace().collect();
        let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
        let started = fields.get(19)?.parse().ok()?;
        Some(Self { state: fields.first()?, group: fields.get(2)?.parse().ok()?, ticks, started })
    }
}

fn kibibytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find(|line| line.starts_with(name))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let text = "7 (a) b (c) S 1 42 42 0 -1 4194304 9 0 0 0 120 30 0 0 20 0 1 0 5 6 7 8";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.state, stat.group, stat.ticks, stat.started), ("S", 42, 150, 5));
        assert!(Stat::parse("7 (a").is_none());
    }

    #[test]
    fn this_process_is_found() {
        let own = read(std::process::id(), "stat").unwrap();
        let group = Stat::parse(&own).unwrap().group;
        let (_, memory) = group_usage(group).unwrap();
        assert!(memory > 0.0 && group_peak_mib(group).unwrap() > 0.0);
        assert!(lives(std::process::id()));
    }
}
