//! Many threads join and leave one group, so that it ends and begins all the time, while others write.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::*;

const LIVES: u32 = 250;

/// A join that found a member, which left before it was in, was refused: the group did not exist. A leave that was overtaken
/// by the join behind it wrote what the group had been; and a join that was overtaken began the group once more as it had been
/// then. So a partition was given to two members in the same generation, and either could commit as the other.
#[test]
fn nobody_is_turned_away_and_no_generation_is_given_twice() {
    let rig = started();
    let given: Mutex<BTreeMap<(TopicPartition, Generation), MemberId>> = Mutex::default();
    let highest = Mutex::new(Generation(0));
    let is_over = AtomicBool::new(false);
    let live = |thread: u32, life: u32| {
        let member = MemberId::new(&format!("{thread}-{life}"));
        let joined = rig.begin_join("g", member.as_str());
        let assignment = loop {
            if let Some(joined) = joined.lock().take() {
                break joined.unwrap().assignment;
            }
            thread::yield_now();
        };
        for Assigned { partition, since } in assignment.assigned {
            let before = given.lock().insert((partition.clone(), since), member.clone());
            assert_eq!(before, None, "{partition} of {since} was given twice");
        }
        let mut highest = highest.lock();
        *highest = (*highest).max(assignment.generation);
        drop(highest);
        rig.leave("g", member.as_str());
    };
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    rig.work();
                    thread::yield_now();
                }
            });
        }
        let live = &live;
        let living: Vec<_> =
            (0..3).map(|thread| scope.spawn(move || (0..LIVES).for_each(|life| live(thread, life)))).collect();
        let ended: Vec<_> = living.into_iter().map(thread::ScopedJoinHandle::join).collect();
        is_over.store(true, Ordering::Relaxed);
        ended.into_iter().for_each(|ended| ended.unwrap());
    });
    rig.work();
    let again = open(&rig.disk.power_cut(1));
    assert!(again.join("g", "z").generation > *highest.lock());
}
