//! A full device: a topic can be deleted, a broker can be started, and what was refused works once there is room.

use super::*;

fn fill(rig: &Rig) {
    rig.disk.set_capacity(Some(rig.disk.used_bytes()));
}

#[test]
fn a_topic_can_be_deleted_and_gives_its_room_back() {
    for spare in [0, 1, 50, 100, 200, 400] {
        let rig = Rig::new();
        rig.create("events", 2, 10);
        rig.create("orders", 1, 11);
        for number in 0..30 {
            rig.publish("events", number % 2, "a record of some length that takes room");
        }
        rig.disk.set_capacity(Some(rig.disk.used_bytes() + spare));
        assert_eq!(rig.delete("events"), "delete: events with 2", "{spare} bytes to spare");
        assert!(rig.disk.paths().iter().all(|path| !path.to_string_lossy().contains("events")));
        rig.broker.step(at(5_000));
        rig.settle();
        rig.publish("orders", 0, "there is room again");
    }
}

#[test]
fn creating_is_refused_and_works_later() {
    let rig = Rig::new();
    rig.create("events", 1, 10);
    for cycle in 0..20 {
        rig.disk.set_capacity(Some(rig.disk.used_bytes() + cycle * 13));
        let reply = rig.create("other", 2, 20 + u128::from(cycle));
        if !reply.contains("with 2") {
            assert_eq!(reply, "create: the device is full; try again once there is room");
            assert_eq!(rig.topics(), ["events"]);
        }
        rig.disk.set_capacity(None);
        rig.broker.step(at(i64::try_from(cycle).unwrap() * 5_000 + 2_000));
        rig.settle();
        let reply = rig.create("other", 2, 50 + u128::from(cycle));
        assert_eq!(reply, "create: other with 2");
        rig.publish("other", 1, "x");
        assert_eq!(rig.delete("other"), "delete: other with 2");
        rig.publish("events", 0, "x");
    }
    assert_eq!(open(&rig.disk.power_cut(1)).values("events", 0).len(), 20);
}

/// After a stop on a full device the start itself must write a little: torn tails are set aside, indexes rebuilt,
/// leftovers moved. The reserve is for that; without it the partitions stayed offline, or the broker did not start.
#[test]
fn a_broker_starts_on_a_full_device() {
    let rig = Rig::new();
    rig.create("events", 1, 10);
    for _ in 0..12 {
        rig.publish("events", 0, "a record");
    }
    let disk = rig.disk.kill();
    let torn = options()
        .data_dir
        .join("events_p0")
        .join(crate::log::log_name(rig.partition("events", 0).log().state().end.segment));
    let bytes = disk.read_all(&torn).unwrap();
    disk.write_all(&torn, &[&bytes[..], &[7; 100]].concat()).unwrap();
    disk.write_all(torn.with_extension("idx"), b"").unwrap();
    disk.write_all("/data/ghost_p0/partition.json", b"x").unwrap();
    disk.set_capacity(Some(disk.used_bytes()));
    let again = open(&disk);
    assert_eq!(again.values("events", 0).len(), 12);
    assert!(!again.data_dirs().contains(&"ghost_p0".to_owned()));
    disk.set_capacity(None);
    again.broker.step(at(5_000));
    again.publish("events", 0, "goes on");
}

#[test]
fn publishing_is_refused_until_there_is_room() {
    let rig = Rig::new();
    rig.create("events", 1, 10);
    fill(&rig);
    let partition = rig.partition("events", 0);
    partition.append(produced("dropped"), AckLevel::Durable, None, at(0)).unwrap();
    rig.settle();
    let refused = partition.append(produced("refused"), AckLevel::Durable, None, at(0));
    assert!(matches!(refused, Err(crate::replica::AppendError::StorageFull)));
    rig.broker.step(at(900));
    assert!(partition.append(produced("refused"), AckLevel::Durable, None, at(0)).is_err());
    rig.disk.set_capacity(None);
    rig.broker.step(at(2_000));
    rig.publish("events", 0, "kept");
    assert_eq!(rig.values("events", 0), ["kept"]);
}
