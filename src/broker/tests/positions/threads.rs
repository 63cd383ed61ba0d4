//! Many threads commit while others write, sync, delete topics and take snapshots: everybody is answered.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::*;

const ROUNDS: u64 = 300;

#[test]
fn everybody_is_answered() {
    let rig = started();
    let (answered, is_over) = (Arc::new(AtomicU64::new(0)), AtomicBool::new(false));
    let commit = |thread: u64, round: u64, topic: &str| {
        let ack = [AckLevel::None, AckLevel::Leader, AckLevel::Durable][(round % 3) as usize];
        let key = key(&format!("c{}", (thread + round) % 6), topic, 0);
        let answered = Arc::clone(&answered);
        rig.broker.commit(key, offset(round % 11), ack, at(round.cast_signed() * 7), move |_| {
            answered.fetch_add(1, Ordering::Relaxed);
        });
    };
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    rig.run_all();
                    thread::yield_now();
                }
            });
        }
        let committing: Vec<_> = (0..3)
            .map(|thread| {
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        commit(thread, round, ["events", "orders"][(round % 2) as usize]);
                    }
                })
            })
            .collect();
        for round in 0..40 {
            rig.broker.step(at(round * 300));
            rig.broker.delete_topic(&name("orders"), at(0), CommandReply::new(|_| {}));
            rig.begin_create("orders", 1, 100 + u128::from(round.cast_unsigned()));
            let _ready_or_not = rig.broker.snapshot_now(at(round * 300));
            assert!(rig.broker.positions_count() <= 20);
        }
        committing.into_iter().for_each(|thread| thread.join().unwrap());
        is_over.store(true, Ordering::Relaxed);
    });
    rig.run_all();
    rig.broker.request_durable();
    rig.run_all();
    // What landed last may have made the limit drop others.
    rig.broker.request_durable();
    rig.settle();
    assert_eq!(answered.load(Ordering::Relaxed), 3 * ROUNDS);
    let expected: Vec<_> = (0..6).map(|client| rig.committed(&format!("c{client}"), "events", 0)).collect();
    let again = open(&rig.disk.power_cut(1));
    let found: Vec<_> = (0..6).map(|client| again.committed(&format!("c{client}"), "events", 0)).collect();
    assert_eq!(found, expected);
}
