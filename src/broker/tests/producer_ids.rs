//! Producer ids: in blocks, one allocation for all who wait, and never the same one twice.

use std::collections::BTreeSet;

use super::*;
use crate::disk::faulty::{OpKind, Rule};

type Given = Arc<Mutex<Vec<Result<i64, String>>>>;

impl Rig {
    fn ask_for_id(&self, given: &Given) {
        let given = Arc::clone(given);
        self.broker.allocate_producer_id(at(0), move |result| {
            given.lock().push(result.map(|id| id.get()).map_err(|error| error.to_string()));
        });
    }

    fn ids(&self, count: usize) -> Vec<i64> {
        let given = Given::default();
        (0..count).for_each(|_| self.ask_for_id(&given));
        self.settle();
        let given = std::mem::take(&mut *given.lock());
        given.into_iter().map(Result::unwrap).collect()
    }

    fn commands(&self) -> u64 {
        self.broker.meta_partition().offsets().log_end().get()
    }
}

#[test]
fn those_who_wait_share_one_block() {
    let rig = Rig::new();
    let given = Given::default();
    (0..3).for_each(|_| rig.ask_for_id(&given));
    assert!(given.lock().is_empty(), "nothing is given out before it is durable");
    rig.settle();
    assert_eq!(*given.lock(), [Ok(0), Ok(1), Ok(2)]);
    assert_eq!(rig.ids(997), (3..1_000).collect::<Vec<_>>());
    assert_eq!(rig.commands(), 1, "one command for a thousand ids");
    assert_eq!(rig.ids(2_500), (1_000..3_500).collect::<Vec<_>>());
    assert_eq!(rig.commands(), 4, "more who wait than a block has ids");
}

#[test]
fn no_id_is_given_out_twice() {
    let mut rig = Rig::new();
    let mut seen = BTreeSet::new();
    for round in 0..12 {
        let ids = rig.ids(700);
        assert!(ids.iter().all(|id| seen.insert(*id)), "round {round}");
        if round % 3 == 0 {
            rig.broker.snapshot_now(at(round)).unwrap();
        }
        let disk = if round % 2 == 0 { rig.disk.kill() } else { rig.disk.power_cut(7) };
        rig = open(&disk);
    }
}

/// Wherever the power goes: an id that was given out is not given out again.
#[test]
fn a_power_cut_at_every_step() {
    for point in 0..24 {
        let rig = Rig::new();
        rig.ids(1);
        rig.disk.cut_within(rig.disk.points() + point, point);
        let given = Given::default();
        (0..1_500).for_each(|_| rig.ask_for_id(&given));
        rig.settle();
        let given: Vec<i64> = given.lock().iter().filter_map(|id| id.clone().ok()).collect();
        for seed in 0..4 {
            let again = open(&rig.disk.power_cut(seed)).ids(3);
            assert!(again.iter().all(|id| *id > 0 && !given.contains(id)), "point {point}, seed {seed}: {again:?}");
        }
    }
}

#[test]
fn where_nothing_can_be_reserved_everybody_is_told() {
    let rig = Rig::new();
    rig.disk.inject(Rule::failing(OpKind::Sync).on("__meta_p0/00000000000000000000.log"));
    let given = Given::default();
    (0..3).for_each(|_| rig.ask_for_id(&given));
    rig.settle();
    rig.ask_for_id(&given);
    let given = std::mem::take(&mut *given.lock());
    assert_eq!(given.len(), 4);
    assert!(given.iter().all(|given| given.as_ref().is_err_and(|error| error.contains("failed"))), "{given:?}");
    let next = open(&rig.disk.fork()).ids(1);
    assert!(next == [1_000], "whether the command survives is not known, and here it did: {next:?}");
}

#[test]
fn who_may_wait_is_bounded() {
    let rig = Rig::new();
    let given = Given::default();
    (0..10_001).for_each(|_| rig.ask_for_id(&given));
    assert_eq!(*given.lock(), [Err("too many requests wait for this; try again".to_owned())]);
    rig.settle();
    assert_eq!(given.lock().iter().filter(|given| given.is_ok()).count(), 10_000);
}
