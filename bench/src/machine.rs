//! What the figures were taken on.

use std::fs;
use std::path::Path;

use serde::Serialize;

/// The machine.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    pub(crate) kernel: String,
    pub(crate) processor: String,
    pub(crate) processors: usize,
    pub(crate) memory_gib: f64,
    /// File system of the servers' data.
    pub(crate) file_system: String,
    /// The three load averages before the first measurement.
    pub(crate) load_average: String,
}

impl Machine {
    pub(crate) fn look(data: &Path) -> Self {
        let release = read("/proc/sys/kernel/osrelease");
        Self {
            kernel: format!("Linux {}", release.trim()),
            processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown".to_owned()),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: memory_gib(&read("/proc/meminfo")),
            file_system: file_system(&read("/proc/self/mounts"), data),
            load_average: load_average(),
        }
    }
}

/// The three load averages, as one text.
pub(crate) fn load_average() -> String {
    read("/proc/loadavg").split_ascii_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn field(text: &str, name: &str) -> Option<String> {
    let (_, value) = text.lines().find(|line| line.starts_with(name))?.split_once(':')?;
    Some(value.trim().to_owned())
}

fn memory_gib(meminfo: &str) -> f64 {
    let total = field(meminfo, "MemTotal").unwrap_or_default();
    let kibibytes: f64 = total.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0.0);
    (kibibytes / f64::from(1 << 20) * 10.0).round() / 10.0
}

/// The type of the file system with the longest mount point above `path`.
fn file_system(mounts: &str, path: &Path) -> String {
    let mount = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (point, kind) = (fields.next()?, fields.next()?);
        path.starts_with(point).then_some((point.len(), kind))
    });
    mount.max_by_key(|&(length, _)| length).map_or_else(|| "unknown".to_owned(), |(_, kind)| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_counts() {
        let mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/vdb /tmp/data xfs rw 0 0\n";
        for (path, kind) in [("/srv/a", "ext4"), ("/tmp/a", "tmpfs"), ("/tmp/data/a", "xfs"), ("/tmpfoo", "ext4")] {
            assert_eq!(file_system(mounts, Path::new(path)), kind);
        }
        assert_eq!(file_system("", Path::new("/")), "unknown");
    }

    #[test]
    fn memory_is_read() {
        assert!((memory_gib("MemTotal:       24576000 kB\n") - 23.4).abs() < 0.01);
    }
}
