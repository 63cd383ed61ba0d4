//! Memory that every server finds alike. A virtual machine hands free memory back to its host, and gets it again page by
//! page when it is touched, which is slower than the disk: who is measured first would pay for all. So before every point
//! free memory is touched, by writing a file and deleting it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

const FILE: &str = "warm";
const BYTES_MAX: u64 = 3_500_000_000;
const CHUNK_BYTES: usize = 1 << 20;

/// Touches as much of the free memory as a point may need: half of it, and no more than 3.5 GB or a quarter of the room
/// on the disk. Gives the bytes.
pub(crate) fn warm(directory: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(directory)?;
    let bytes = share(&fs::read_to_string("/proc/meminfo")?, disk.f_bavail * disk.f_frsize);
    let path = directory.join(FILE);
    let written = write(&path, bytes);
    fs::remove_file(&path)?;
    written.map(|()| bytes)
}

fn share(meminfo: &str, disk_bytes: u64) -> u64 {
    let free = meminfo.lines().find_map(|line| line.strip_prefix("MemFree:")?.trim().strip_suffix(" kB")?.parse().ok());
    BYTES_MAX.min(free.unwrap_or(0_u64) * 1024 / 2).min(disk_bytes / 4)
}

fn write(path: &Path, bytes: u64) -> io::Result<()> {
    let mut file = File::create(path)?;
    let chunk = vec![0x5a; CHUNK_BYTES];
    for _ in 0..bytes / CHUNK_BYTES as u64 {
        file.write_all(&chunk)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_bounded_by_memory_and_disk() {
        let meminfo = "MemTotal:       24576000 kB\nMemFree:         2000000 kB\n";
        for (text, disk, expected) in [
            (meminfo, 1 << 40, 1_024_000_000),
            (meminfo, 1_000_000, 250_000),
            ("MemFree:  20000000 kB\n", 1 << 40, BYTES_MAX),
            ("", 1 << 40, 0),
        ] {
            assert_eq!(share(text, disk), expected);
        }
    }

    #[test]
    fn nothing_is_left() {
        let directory = std::env::temp_dir().join(format!("wiber-bench-warm-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        write(&directory.join(FILE), 2 << 20).unwrap();
        assert_eq!(fs::metadata(directory.join(FILE)).unwrap().len(), 2 << 20);
        fs::remove_dir_all(&directory).unwrap();
    }
}
