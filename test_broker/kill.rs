//! `kill -9` under load, again and again: what was acknowledged is there, once, at its offset, in order.

use crate::harness::{Chance, Server, Setup, Wire, a_moment, cycles, delete_derived, say};
use crate::load::ledger::Ledger;
use crate::load::publisher::{Orders, TOPIC};

/// Rounds, unless `WIBER_KILL_CYCLES` says otherwise.
const CYCLES: u64 = 50;
/// Records that must be without a reply at every kill.
const IN_FLIGHT_MIN: u64 = 1_000;
const PARTITIONS: u32 = 3;
/// A kill takes nothing that was written: what `storage.sync` says makes no difference to it.
const SYNC_MODES: [&str; 3] = ["always", "interval", "os"];
/// The longest time a server lives under load.
const LIFE_MS_MAX: u64 = 100;

fn start(setup: &Setup) -> Server {
    let server = setup.start();
    Wire::connect(&server).create_topic(TOPIC, PARTITIONS);
    server
}

#[test]
fn what_was_acknowledged_survives_every_kill() {
    let directory = tempfile::tempdir().expect("a directory");
    let data_dir = directory.path().join("data");
    let setup = Setup::new(&data_dir)
        .set("QB_STORAGE__MAX_LOG_SIZE", "4000000")
        .set("QB_SNAPSHOT_INTERVAL", "1")
        .set("QB_LOG_LEVEL", "INFO")
        .expect_line("a torn tail was cut off")
        .expect_line("an acknowledged record survives a crash of the server, but");
    let mut chance = Chance::new(1);
    let mut ledger = Ledger::default();
    let (mut least_in_flight, mut bare_starts) = (u64::MAX, 0);
    let cycles = cycles("WIBER_KILL_CYCLES", CYCLES);
    for cycle in 1..=cycles {
        let server =
            start(&setup.clone().set("QB_STORAGE__SYNC", SYNC_MODES[usize::try_from(cycle % 3).expect("small")]));
        let orders = Orders {
            address: server.address(),
            cycle,
            partitions: u64::from(PARTITIONS),
            connections: 4,
            window: 4_000,
            ledger: directory.path().join("ledger"),
        };
        let publisher = orders.start();
        a_moment(&mut chance, LIFE_MS_MAX);
        server.kill();
        publisher.finish();
        let round = ledger.take(&orders, &["durable", "leader"], None);
        assert!(round.in_flight() >= IN_FLIGHT_MIN, "cycle {cycle}: {round:?}");
        least_in_flight = least_in_flight.min(round.in_flight());
        if chance.below(4) == 0 {
            assert!(delete_derived(&data_dir) > 0);
            bare_starts += 1;
        }
    }
    let server = start(&setup);
    let found = ledger.check(&server, PARTITIONS);
    server.terminate();
    let acknowledged = ledger.len() as u64;
    assert!(acknowledged > 0 && found >= acknowledged);
    say(&format!(
        "{cycles} kills, at least {least_in_flight} records in flight at each, {bare_starts} starts without snapshots and \
         indexes; {acknowledged} records acknowledged, {found} found"
    ));
}
