//! The script: one history that comes by everything a partition does. Run once, with a copy of the disk and of the
//! model taken before every call that changes or syncs something.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use wiber::broker::metadata::TopicSettings;
use wiber::broker::positions::OFFSETS_TOPIC;
use wiber::disk::Disk;
use wiber::disk::faulty::FaultyDisk;
use wiber::replica::AckLevel::{Durable, Leader, None as NoAck};
use wiber::replica::{SyncPolicy, Work};

use crate::model::Model;
use crate::points::WatchedDisk;
use crate::session::{Flavour, Place, START, Session};

const EVENTS: Place<'static> = ("events", 0);
const EVENTS_1: Place<'static> = ("events", 1);
const ORDERS: Place<'static> = ("orders", 0);
const ORDERS_1: Place<'static> = ("orders", 1);
const METRICS: Place<'static> = ("metrics", 0);

/// The disk and the model just before one call.
#[derive(Debug)]
pub(crate) struct Moment {
    pub(crate) disk: FaultyDisk,
    pub(crate) model: Model,
    pub(crate) now: wiber::types::Timestamp,
    /// The call that comes next.
    pub(crate) call: String,
}

/// Runs the script; returns every moment of it.
pub(crate) fn record(flavour: Flavour) -> Vec<Moment> {
    let disk = FaultyDisk::new();
    let model = Arc::new(Mutex::new(Model::default()));
    let moments: Arc<Mutex<Vec<Moment>>> = Arc::default();
    let take = {
        let (disk, model, moments) = (disk.clone(), Arc::clone(&model), Arc::clone(&moments));
        move |call: &'static str, path: &Path| {
            let moment = Moment {
                disk: disk.fork(),
                model: model.lock().clone(),
                now: START,
                call: format!("{call} {}", path.display()),
            };
            moments.lock().push(moment);
        }
    };
    let watched: Arc<dyn Disk> = Arc::new(WatchedDisk::new(disk.clone(), Arc::new(take.clone())));
    let (mut session, _) = Session::open(watched, flavour, model, START).expect("an empty disk");
    play(&mut session, &disk);
    take("the end of", Path::new("the history"));
    let log_starts = std::mem::take(&mut *session.log_starts.lock());
    let mut moments = std::mem::take(&mut *moments.lock());
    for moment in &mut moments {
        // Retention under way: the log start is what it was before, or what it will be after.
        if let Some(after) = log_starts.get(moment.model.steps) {
            for (key, log_start) in after {
                moment.model.ledger(*key).log_start_max = *log_start;
            }
        }
        moment.now = session.now;
    }
    moments
}

fn play(session: &mut Session, disk: &FaultyDisk) {
    create_topics(session);
    first_appends(session);
    overlapping_stages(session);
    fill_and_expire(session);
    restart_from_snapshot(session);
    append_everywhere(session, 2);
    delete_records(session);
    snapshot_waits_for_syncs(session);
    truncate_unsynced(session);
    truncate_followed(session);
    delete_and_recreate(session);
    lose_indexes(session, disk);
    session.restart(false);
    append_everywhere(session, 3);
    fill_and_expire(session);
    delete_under_load(session);
    assert!(is_compacted(session), "compaction of positions was to be in the history");
    restart_from_snapshot(session);
    append_everywhere(session, 1);
}

fn is_compacted(session: &Session) -> bool {
    let segments = session.partition((OFFSETS_TOPIC, 0)).log().state().file.segments.clone();
    segments.iter().any(|segment| segment.generation > 1)
}

fn restart_from_snapshot(session: &mut Session) {
    let summary = session.restart(true);
    for opened in &summary.partitions {
        let report = opened.result.as_ref().expect("open");
        assert!(report.checkpoint_used && report.batches_walked == 0, "{}: {report:?}", opened.partition);
    }
}

fn create_topics(session: &mut Session) {
    session.create("events", 1, 2, TopicSettings { retention_bytes: Some(3000), ..TopicSettings::default() });
    session.create("orders", 2, 2, TopicSettings::default());
    session.drain();
    session.create("metrics", 3, 1, TopicSettings { retention_ms: Some(60_000), ..TopicSettings::default() });
    session.drain();
    session.drain();
}

fn first_appends(session: &mut Session) {
    session.send(EVENTS, None, &[20], None);
    session.send(ORDERS, Some(7), &[100, 30, 5], None);
    session.drain();
    session.send(ORDERS, Some(7), &[400], Some(Durable));
    session.send(ORDERS, Some(8), &[10, 10], Some(Leader));
    session.send(EVENTS_1, None, &[300, 300], Some(NoAck));
    session.drain();
    let twice = session.send(ORDERS, Some(7), &[50, 60], Some(Durable));
    session.resend(ORDERS, twice, Durable);
    session.drain();
    session.resend(ORDERS, twice, Leader);
    session.resend(ORDERS, 1, Durable);
    session.drain();
    session.assert_answered();
}

/// Appends while a sync waits, writes between syncs, several partitions at once.
fn overlapping_stages(session: &mut Session) {
    session.send(ORDERS_1, Some(9), &[30], Some(Durable));
    session.run(ORDERS_1, Work::Write);
    session.send(ORDERS_1, Some(9), &[700, 40], Some(Durable));
    session.send(EVENTS, Some(9), &[40; 6], Some(Durable));
    session.run(ORDERS_1, Work::Write);
    session.send(ORDERS_1, Some(9), &[90], Some(Leader));
    session.run(ORDERS_1, Work::Sync);
    session.run(ORDERS_1, Work::Write);
    session.run(EVENTS, Work::Write);
    session.send(ORDERS_1, Some(9), &[900], Some(Durable));
    session.send(ORDERS_1, None, &[600, 500], Some(Leader));
    session.send(EVENTS, None, &[2500], Some(NoAck));
    session.drain();
    session.assert_answered();
}

/// Rolls, snapshots, retention by bytes and by time.
fn fill_and_expire(session: &mut Session) {
    for round in 0..4 {
        for place in [EVENTS, EVENTS_1, METRICS] {
            session.commit(place, "lazy", NoAck);
            session.commit(place, "reader", Leader);
            session.send(place, Some(20 + round % 2), &[200, 100, 350], None);
            session.send(place, None, &[450], Some(Leader));
        }
        session.send(ORDERS, Some(8), &[250; 3], Some(Durable));
        session.commit(ORDERS, "reader", Durable);
        session.drain();
        session.commit(EVENTS, "reader", Durable);
        session.step(9_000);
        session.send(METRICS, Some(20), &[33], Some(Durable));
        session.drain();
        session.step(1_000);
        session.drain();
    }
    session.step(61_000);
    session.send(METRICS, None, &[600], Some(Durable));
    session.drain();
    session.step(31_000);
    session.drain();
    session.step(1_000);
    session.drain();
    session.assert_answered();
    for place in [EVENTS, METRICS] {
        assert!(
            session.partition(place).offsets().log_start().get() > 0,
            "{place:?}: retention was to be in the history"
        );
    }
}

fn append_everywhere(session: &mut Session, rounds: i64) {
    for round in 0..rounds {
        for place in [EVENTS, EVENTS_1, ORDERS, ORDERS_1, METRICS] {
            session.send(place, Some(30), &[60, 90], Some(Durable));
            session.send(place, Some(31 + round), &[500], Some(Leader));
        }
        session.drain();
        for place in [EVENTS, ORDERS_1, METRICS] {
            session.commit(place, "reader", if round % 2 == 0 { Durable } else { Leader });
        }
        session.drain();
    }
    session.assert_answered();
}

/// Records go on demand: in the middle of a batch, while others are written, over segments, and all there are.
fn delete_records(session: &mut Session) {
    session.delete_records(ORDERS, 2);
    session.drain();
    assert!(session.partition(ORDERS).offsets().log_start().get() > 0, "deletion was to be in the history");
    for (place, kept) in [(ORDERS_1, 4), (EVENTS_1, 1), (ORDERS, 0), (ORDERS_1, 0)] {
        session.send(place, Some(30), &[70, 700], Some(Leader));
        session.delete_records(place, kept);
        session.send(place, Some(30), &[80], Some(Durable));
        session.drain();
        session.step(10);
    }
    session.restart(false);
    append_everywhere(session, 1);
    session.delete_records(ORDERS, 0);
    session.drain();
    append_everywhere(session, 1);
}

/// A snapshot falls due while much is written and not synced; other work comes before the syncs it waits for.
fn snapshot_waits_for_syncs(session: &mut Session) {
    for length in [300, 310, 320, 330] {
        session.send(ORDERS_1, Some(9), &[length], Some(Leader));
        session.run(ORDERS_1, Work::Write);
    }
    session.step(10_000);
    for length in [40, 50, 60] {
        session.send(EVENTS_1, Some(9), &[length, 400], Some(Leader));
        session.run(EVENTS_1, Work::Write);
        session.step(10);
    }
    session.drain();
    session.step(10);
    session.drain();
}

/// A leader learns that another one leads, and what it wrote and nobody synced is taken back.
fn truncate_unsynced(session: &mut Session) {
    let partition = session.partition(ORDERS);
    let next = |count| (0..count).fold(partition.epoch(), |epoch, _| epoch.next().expect("few"));
    session.send(ORDERS, Some(7), &[100], Some(Durable));
    session.drain();
    session.send(ORDERS, Some(7), &[110, 20], Some(Durable));
    if !session.flavour.writes_inline && session.flavour.sync == SyncPolicy::Always {
        session.run(ORDERS, Work::Write);
        session.send(ORDERS, Some(7), &[120], Some(Durable));
    }
    partition.become_follower(next(1), None).expect("newer");
    session.truncate(ORDERS, 0);
    partition.become_leader(next(2)).expect("newer");
    session.send(ORDERS, Some(7), &[130], Some(Durable));
    session.send(ORDERS, None, &[80, 80, 80], Some(NoAck));
    partition.become_follower(next(1), None).expect("newer");
    session.truncate(ORDERS, 2);
    partition.become_leader(next(1)).expect("newer");
    session.send(ORDERS, Some(8), &[140], Some(Durable));
    session.drain();
    session.assert_answered();
}

/// A follower's durable suffix, over several segments, turns out not to be what the next leader has.
fn truncate_followed(session: &mut Session) {
    let partition = session.partition(ORDERS_1);
    for round in 0..2 {
        let epoch = partition.epoch().next().expect("few");
        partition.become_follower(epoch, Some("elsewhere".to_owned())).expect("newer");
        for length in [70, 900, 800, 700, 60].into_iter().take(2 + 3 * round) {
            session.follow(ORDERS_1, epoch, &[length, 10]);
            session.drain();
        }
        session.truncate(ORDERS_1, 0);
        session.drain();
        partition.become_leader(epoch.next().expect("few")).expect("newer");
        session.send(ORDERS_1, Some(9), &[65, 15], Some(Durable));
        session.drain();
    }
    session.assert_answered();
}

fn delete_and_recreate(session: &mut Session) {
    session.create("scratch", 4, 1, TopicSettings::default());
    session.delete("metrics");
    session.drain();
    session.create("metrics", 5, 1, TopicSettings { retention_ms: Some(60_000), ..TopicSettings::default() });
    session.drain();
    session.send(METRICS, Some(20), &[44, 55], None);
    session.send(("scratch", 0), Some(20), &[45], Some(Durable));
    session.drain();
    session.assert_answered();
    session.step(10_000);
    session.drain();
    session.step(10);
}

/// Index files go, of sealed segments and of one that takes appends.
fn lose_indexes(session: &mut Session, disk: &FaultyDisk) {
    append_everywhere(session, 1);
    let is_index = |path: &&std::path::PathBuf| path.extension().is_some_and(|extension| extension == "idx");
    let paths = disk.paths();
    let lost = paths.iter().filter(is_index).enumerate().filter(|(number, _)| number % 3 != 1).map(|(_, path)| path);
    for path in lost {
        session.disk.remove_file(path).expect("there");
        session.disk.sync_dir(path.parent().expect("in a directory")).expect("power is on");
    }
}

/// A topic goes while it is written to; another takes its name at once.
fn delete_under_load(session: &mut Session) {
    session.send(("scratch", 0), Some(20), &[46], Some(Leader));
    session.send(("scratch", 0), Some(20), &[47; 9], Some(Durable));
    session.delete("scratch");
    session.send(("scratch", 0), Some(20), &[48], Some(NoAck));
    session.drain();
    session.create("scratch", 6, 3, TopicSettings::default());
    session.drain();
    session.send(("scratch", 2), Some(20), &[49; 4], Some(Durable));
    session.drain();
    session.step(10_000);
    session.send(("scratch", 0), Some(20), &[50; 4], None);
    session.drain();
    session.step(1_000);
    session.assert_answered();
}
