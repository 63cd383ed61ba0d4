//! Work of one partition that comes in the middle of other work: threads would do that, here the disk's watcher does.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use wiber::broker::metadata::TopicSettings;
use wiber::disk::faulty::FaultyDisk;
use wiber::replica::AckLevel::Durable;
use wiber::replica::{Partition, Work};

use crate::FLAVOURS;
use crate::model::Model;
use crate::points::WatchedDisk;
use crate::session::{Place, START, Session};

const ORDERS: Place<'static> = ("orders", 0);

/// A sync was queued when the partition became a follower, and ran while its log was being cut: it acknowledged as
/// durable what was being taken back, and where it ended after the truncation it told of a place no longer there.
#[test]
fn a_sync_in_the_middle_of_a_truncation_does_nothing() {
    let armed: Arc<Mutex<Option<Arc<Partition>>>> = Arc::default();
    let watcher = {
        let armed = Arc::clone(&armed);
        move |call: &'static str, _: &Path| {
            let partition = if call == "set length" { armed.lock().take() } else { None };
            if let Some(partition) = partition {
                partition.run(Work::Sync, START);
            }
        }
    };
    let disk = Arc::new(WatchedDisk::new(FaultyDisk::new(), Arc::new(watcher)));
    let model = Arc::new(Mutex::new(Model::default()));
    let (session, _) = Session::open(disk, FLAVOURS[0], model, START).expect("an empty disk");
    session.create("orders", 1, 1, TopicSettings::default());
    session.drain();
    session.send(ORDERS, None, &[10], Some(Durable));
    session.drain();
    let taken_back = session.send(ORDERS, None, &[20, 30], Some(Durable));
    session.run(ORDERS, Work::Write);
    let partition = session.partition(ORDERS);
    let next = partition.epoch().next().expect("few");
    partition.become_follower(next, None).expect("newer");
    *armed.lock() = Some(Arc::clone(&partition));
    session.truncate(ORDERS, 0);
    assert!(armed.lock().is_none(), "the sync was to come in the middle");
    let key = session.model.lock().key("orders", 0);
    assert!(!session.model.lock().ledger(key).attempts[taken_back].is_answered, "acknowledged and taken back");
    partition.become_leader(next.next().expect("few")).expect("newer");
    session.send(ORDERS, None, &[40], Some(Durable));
    session.drain();
    session.assert_answered();
}
