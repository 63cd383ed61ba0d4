//! Power loss, as near as a file system comes to it: XFS or ext4 shut down under load without its log being flushed.
//!
//! Whatever was not synced is gone with the shutdown: dirty pages are never written, sizes of files not committed.
//!
//! There is one thing that a shutdown does and a power cut does not: an fsync that began before and ends after it may
//! return success although what it should have made durable is gone (any program can see that: append and fsync in a
//! loop, shut down, mount again). The program goes on, where a power cut would have ended it. So only acknowledgements
//! that the server made before the shutdown began are held against it.
//!
//! Needs root, loop devices, xfsprogs and e2fsprogs, and is passed over, with a word, where one of them is missing.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use wiber::protocol::native::FrameType;
use wiber::types::Timestamp;

use crate::harness::{Chance, Server, Setup, Wire, a_moment, cycles, delete_derived, request, say};
use crate::load::ledger::Ledger;
use crate::load::publisher::{Orders, TOPIC};

/// Rounds, unless `WIBER_POWER_CYCLES` says otherwise.
const CYCLES: u64 = 5;
const PARTITIONS: u32 = 3;
/// The longest time the power stays on under load.
const LIFE_MS_MAX: u64 = 150;
const IMAGE_BYTES: u64 = 1 << 30;

/// A file system in a file, mounted.
#[derive(Debug)]
struct Image {
    image: PathBuf,
    mount_point: PathBuf,
}

impl Image {
    /// Makes and mounts one, or says why that cannot be.
    fn new(directory: &Path, make: &[&str]) -> Result<Image, String> {
        let (image, mount_point) = (directory.join("image"), directory.join("mounted"));
        let file = File::create(&image).and_then(|file| file.set_len(IMAGE_BYTES));
        file.and_then(|()| std::fs::create_dir(&mount_point)).map_err(|error| error.to_string())?;
        run(make[0], &[&make[1..], &[text(&image)]].concat())?;
        run("xfs_io", &["-V"])?;
        let made = Image { image, mount_point };
        made.mount()?;
        Ok(made)
    }

    fn mount(&self) -> Result<(), String> {
        run("mount", &["-o", "loop", text(&self.image), text(&self.mount_point)])
    }

    fn unmount(&self) -> Result<(), String> {
        run("umount", &[text(&self.mount_point)])
    }

    /// A hand on the switch.
    fn switch(&self) -> Switch {
        let mut command = Command::new("xfs_io");
        command.args(["-F", "-x", text(&self.mount_point)]).stdin(Stdio::piped()).stdout(Stdio::null());
        Switch(command.spawn().expect("xfs_io starts"))
    }
}

/// A process that is ready to shut the file system down: starting it takes longer than many a sync.
#[derive(Debug)]
struct Switch(Child);

impl Switch {
    /// Nothing reaches the disk from here on, nor has what was not synced. Returns when it began.
    fn cut_power(mut self) -> Timestamp {
        let began = now();
        self.0.stdin.take().expect("piped").write_all(b"shutdown\n").expect("xfs_io listens");
        assert!(self.0.wait().expect("xfs_io ends").success(), "shut down");
        began
    }
}

#[expect(clippy::disallowed_methods, reason = "told apart by the clock that server and test share")]
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    Timestamp::from_millis(i64::try_from(since.as_millis()).expect("before the year 292278994"))
}

impl Drop for Switch {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if self.unmount().is_err() {
            let _mounted = run("umount", &["-l", text(&self.mount_point)]);
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

/// On a disk that is gone nothing is acknowledged, at any level, and the server says so in its log.
fn check_refuses(server: &mut Server) {
    let mut wire = Wire::connect(server);
    for partition in (0..PARTITIONS).map(|partition| partition.to_string()) {
        for level in ["durable", "leader"] {
            let properties = [("topic", TOPIC), ("partition", &*partition), ("wiber.ack", level)];
            wire.refused(&request(FrameType::Publish, 5, &properties, b"too late"), "storage_failed");
        }
    }
    for partition in 0..PARTITIONS {
        let line =
            server.wait_for(&format!("the partition stopped accepting writes partition={TOPIC}:{partition} reason="));
        assert!(line.contains("ERROR"), "{line}");
    }
}

#[test]
fn what_was_acknowledged_as_durable_survives_power_loss_on_xfs() {
    check(&["mkfs.xfs", "-q"], 2);
}

#[test]
fn what_was_acknowledged_as_durable_survives_power_loss_on_ext4() {
    check(&["mkfs.ext4", "-q", "-F"], 3);
}

/// Cuts the power again and again on a file system made by this command.
fn check(make: &[&str], seed: u64) {
    let directory = tempfile::tempdir().expect("a directory");
    let image = match Image::new(directory.path(), make) {
        Ok(image) => image,
        Err(reason) => return say(&format!("power loss is not tested: {reason}")),
    };
    let data_dir = image.mount_point.join("data");
    let setup = Setup::new(&data_dir)
        .set("QB_STORAGE__MAX_LOG_SIZE", "4000000")
        .set("QB_SNAPSHOT_INTERVAL", "1")
        .set("QB_LOG_LEVEL", "INFO")
        .expect_line("a torn tail was cut off")
        .expect_line("the partition stopped accepting writes")
        .expect_line("no snapshot was written");
    let mut chance = Chance::new(seed);
    let mut ledger = Ledger::default();
    let (mut refused, mut late, mut bare_starts) = (0, 0, 0);
    let cycles = cycles("WIBER_POWER_CYCLES", CYCLES);
    for cycle in 1..=cycles {
        let mut server = setup.start();
        Wire::connect(&server).create_topic(TOPIC, PARTITIONS);
        let orders = Orders {
            address: server.address(),
            cycle,
            partitions: u64::from(PARTITIONS),
            connections: 4,
            window: 4_000,
            ledger: directory.path().join("ledger"),
        };
        let publisher = orders.start();
        let switch = image.switch();
        a_moment(&mut chance, LIFE_MS_MAX);
        let cut = switch.cut_power();
        publisher.finish();
        check_refuses(&mut server);
        server.kill();
        let round = ledger.take(&orders, &["durable"], Some(cut));
        assert!(round.refused > 0 && round.in_flight() == 0, "every record got its reply: {round:?}");
        refused += round.refused;
        late += round.late;
        image.unmount().expect("unmounted");
        image.mount().expect("mounted again");
        if chance.below(4) == 0 {
            assert!(delete_derived(&data_dir) > 0);
            bare_starts += 1;
        }
    }
    let server = setup.start();
    let found = ledger.check(&server, PARTITIONS);
    server.terminate();
    say(&format!(
        "{cycles} power cuts ({}), {bare_starts} starts without snapshots and indexes; {} records acknowledged as durable, \
         {late} late, {refused} refused, {found} found",
        make[0],
        ledger.len()
    ));
}
