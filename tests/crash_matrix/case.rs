//! One case: a crash, a recovery, another crash in the middle of that, another recovery, work, and a last crash.

use std::sync::Arc;

use parking_lot::Mutex;
use wiber::broker::OpenSummary;
use wiber::disk::faulty::{FaultyDisk, Random};
use wiber::replica::AckLevel::Durable;

use crate::check::{After, Finding, check, check_directories};
use crate::history::Moment;
use crate::model::{Fate, Model, Stage};
use crate::session::{Flavour, Session};

/// The seed that stands for a kill; every other one draws what survives a power cut.
pub(crate) const KILL: u64 = 0;

/// What recoveries had to do, over many cases: a matrix in which one of these stays 0 shows little.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    /// Torn tails cut off.
    pub(crate) cuts: u64,
    /// Partitions whose checkpoint was believed.
    pub(crate) checkpoints: u64,
    /// Partitions of which something was written again.
    pub(crate) rewrites: u64,
    /// Recoveries that were themselves cut off.
    pub(crate) interrupted: u64,
}

impl Counts {
    fn add(&mut self, summary: &OpenSummary) {
        for report in summary.partitions.iter().filter_map(|opened| opened.result.as_ref().ok()) {
            self.cuts += u64::from(report.cut.is_some());
            self.checkpoints += u64::from(report.checkpoint_used);
            self.rewrites += u64::from(report.bytes_rewritten > 0);
        }
    }
}

/// A broker opened and judged.
struct Recovery {
    session: Session,
    finding: Finding,
    points: u64,
}

fn recover(
    disk: &FaultyDisk,
    flavour: Flavour,
    model: &Model,
    moment: &Moment,
    after: After,
    counts: &mut Counts,
) -> Result<Recovery, String> {
    let shared = Arc::new(Mutex::new(model.clone()));
    let (session, summary) = Session::open(Arc::new(disk.clone()), flavour, shared, moment.now)?;
    counts.add(&summary);
    let points = disk.points();
    let finding = check(session.broker(), &summary, model, after)?;
    check_directories(session.broker(), &disk.paths())?;
    Ok(Recovery { session, finding, points })
}

/// Plays one case; says what is wrong, if anything is.
pub(crate) fn play(
    flavour: Flavour,
    point: usize,
    moment: &Moment,
    seed: u64,
    counts: &mut Counts,
) -> Result<(), String> {
    let mut random = Random::new(seed ^ (point as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let disk = moment.disk.fork();
    let (survivor, after) = match seed {
        KILL => (disk.kill(), After::Kill),
        _ => (disk.power_cut(random.bits()), After::PowerCut),
    };
    let first = recover(&survivor.fork(), flavour, &moment.model, moment, after, counts)
        .map_err(|wrong| format!("after the first crash: {wrong}"))?;

    // The same recovery, cut off; or just finished, and then nothing that it found may go any more.
    let second = survivor.fork();
    let cut = random.below(first.points + 1);
    second.cut_at(cut);
    let mut model = moment.model.clone();
    let shared = Arc::new(Mutex::new(model.clone()));
    let interrupted = Session::open(Arc::new(second.clone()), flavour, shared, moment.now);
    if cut == first.points {
        model.adopt(&first.finding, first.session.broker());
    }
    counts.interrupted += u64::from(cut < first.points);
    drop((first, interrupted));
    let third = second.power_cut(random.bits());
    let again = recover(&third, flavour, &model, moment, After::PowerCut, counts)
        .map_err(|wrong| format!("after a second crash at point {cut} of the recovery: {wrong}"))?;

    let model = work(again, &mut random)?;
    let last = third.power_cut(random.bits());
    recover(&last, flavour, &model, moment, After::PowerCut, counts)
        .map_err(|wrong| format!("after work on the recovered broker and a third crash: {wrong}"))?;
    Ok(())
}

/// Publishes to a recovered broker: repeated batches, those that follow them, new ones.
fn work(recovery: Recovery, random: &mut Random) -> Result<Model, String> {
    let Recovery { mut session, finding, .. } = recovery;
    session.model.lock().adopt(&finding, session.broker());
    let topics = session.model.lock().topics.clone();
    for (name, topic) in topics.iter().filter(|(_, topic)| topic.stage == Stage::Live) {
        for index in 0..topic.partitions {
            let place = (name.as_str(), index);
            repeat_batches(&session, place);
            session.send(place, None, &[150, 20], Some(Durable));
            session.commit(place, "reader", Durable);
        }
    }
    if random.chance(30) {
        session.create("afterwards", 9, 1, wiber::broker::metadata::TopicSettings::default());
    }
    session.drain();
    if random.chance(30) {
        session.step(20_000);
        session.drain();
        session.step(10);
        session.drain();
    }
    session.assert_answered();
    let model = session.model.lock().clone();
    let created = model.topics.get("afterwards").is_none_or(|topic| topic.stage == Stage::Live);
    if created { Ok(model) } else { Err("a topic cannot be created after the recovery".to_owned()) }
}

/// Sends the last batches of every producer again, then the one that follows them.
fn repeat_batches(session: &Session, place: (&str, u32)) {
    let (producers, ledger) = {
        let mut model = session.model.lock();
        let key = model.key(place.0, place.1);
        let ledger = model.ledger(key).clone();
        (ledger.producers(), ledger)
    };
    for id in producers {
        let known = ledger.of_producer(id).rev().take(5).filter(|(_, attempt)| attempt.base >= ledger.log_start_min);
        for (number, attempt) in known {
            debug_assert_eq!(attempt.fate, Fate::Standing);
            session.resend(place, number, Durable);
        }
        session.send(place, Some(id), &[25, 35], Some(Durable));
    }
}
