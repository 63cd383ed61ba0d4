//! What a server takes of its machine: processor time and memory, as the operating system tells of its processes. On
//! Linux; elsewhere there is nothing to be told.

use std::fs;

/// What processes have used.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Usage {
    /// Processor time since their start, in seconds.
    pub cpu_s: f64,
    /// Memory they occupy now, in MiB.
    pub rss_mib: f64,
    /// The most memory they have occupied, in MiB.
    pub peak_rss_mib: f64,
}

/// The processes of a server on this machine.
#[derive(Debug, Clone)]
pub struct ServerUsage {
    /// Each with the time it was started at, so that another that gets its number is not taken for it.
    processes: Vec<(u32, u64)>,
}

impl ServerUsage {
    /// The processes that listen on a port of this machine; `None` where the host is another, or nothing can be told.
    #[must_use]
    pub fn listening_on(host: &str, port: u16) -> Option<ServerUsage> {
        let is_local = host.eq_ignore_ascii_case("localhost") || host.starts_with("127.") || host == "::1";
        let sockets = if is_local { listening_sockets(port) } else { Vec::new() };
        if sockets.is_empty() {
            return None;
        }
        let entries = fs::read_dir("/proc").ok()?.flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        ServerUsage::of_processes(pids.filter(|&pid| holds_any(pid, &sockets)))
    }

    /// These processes; `None` where one of them cannot be seen, or there is none.
    #[must_use]
    pub fn of_processes(pids: impl IntoIterator<Item = u32>) -> Option<ServerUsage> {
        let with_start = |pid: u32| Some((pid, Stat::read(&pid.to_string())?.started_at));
        let processes: Vec<_> = pids.into_iter().map(with_start).collect::<Option<_>>()?;
        (!processes.is_empty()).then_some(ServerUsage { processes })
    }

    /// What they have used so far; `None` where one of them is gone.
    #[must_use]
    pub fn sample(&self) -> Option<Usage> {
        let mut sum = Usage::default();
        for (pid, started_at) in &self.processes {
            let stat = Stat::read(&pid.to_string()).filter(|stat| stat.started_at == *started_at)?;
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            sum.cpu_s += stat.cpu_s;
            sum.rss_mib += mib(&status, "VmRSS:")?;
            sum.peak_rss_mib += mib(&status, "VmHWM:")?;
        }
        Some(sum)
    }
}

/// Processor time this process has used, in seconds.
#[must_use]
pub fn own_cpu_s() -> Option<f64> {
    Stat::read("self").map(|stat| stat.cpu_s)
}

struct Stat {
    cpu_s: f64,
    /// In ticks since the machine was started.
    started_at: u64,
}

impl Stat {
    #[cfg(unix)]
    fn read(pid: &str) -> Option<Stat> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // Behind the name, which is in parentheses: the third field of those that proc(5) counts.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let ticks = field(14)? + field(15)?;
        let cpu_s = ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
        Some(Stat { cpu_s, started_at: field(22)? })
    }

    #[cfg(not(unix))]
    fn read(_pid: &str) -> Option<Stat> {
        None
    }
}

fn mib(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: f64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kib / 1024.0)
}

/// What the file descriptors of sockets that listen on a port lead to.
fn listening_sockets(port: u16) -> Vec<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
    let rows = tables.iter().flatten().flat_map(|table| table.lines().skip(1));
    rows.filter_map(|row| listening_socket(row, port)).collect()
}

/// Of a row of the table: local address and port in hexadecimal, the state (0A listens), the inode.
fn listening_socket(row: &str, port: u16) -> Option<String> {
    let fields: Vec<&str> = row.split_ascii_whitespace().collect();
    let local_port = u16::from_str_radix(fields.get(1)?.rsplit_once(':')?.1, 16).ok()?;
    let inode = fields.get(9)?;
    (local_port == port && fields.get(3) == Some(&"0A")).then(|| format!("socket:[{inode}]"))
}

fn holds_any(pid: u32, sockets: &[String]) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let targets = descriptors.flatten().filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
    targets.into_iter().any(|target| sockets.iter().any(|socket| target.as_os_str() == socket.as_str()))
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found_by_its_port() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let usage = ServerUsage::listening_on("127.0.0.1", port).expect("it is found");
        assert!(usage.processes.iter().any(|(pid, _)| *pid == std::process::id()), "{usage:?}");
        let sample = usage.sample().expect("it lives");
        assert!(sample.rss_mib > 0.0 && sample.peak_rss_mib >= sample.rss_mib, "{sample:?}");
        assert!(own_cpu_s().is_some());
        assert!(ServerUsage::listening_on("192.0.2.1", port).is_none(), "another machine");
        drop(listener);
        assert!(ServerUsage::listening_on("localhost", port).is_none(), "nobody listens any more");
    }

    #[test]
    fn rows_of_the_table() {
        let row = "   1: 0100007F:270F 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0";
        assert_eq!(listening_socket(row, 9999).as_deref(), Some("socket:[4711]"));
        assert_eq!(listening_socket(row, 9998), None);
        assert_eq!(listening_socket(&row.replace(" 0A ", " 01 "), 9999), None);
        assert_eq!(listening_socket("", 9999), None);
    }

    #[test]
    fn a_process_that_ended_tells_nothing() {
        let gone = ServerUsage { processes: vec![(std::process::id(), 1)] };
        assert_eq!(gone.sample(), None);
        assert!(ServerUsage::of_processes([]).is_none());
    }
}
