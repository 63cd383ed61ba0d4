//! The index, step by step, and against a model that keeps a list.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use proptest::prelude::*;

use super::*;

const WINDOW_MS: i64 = 100;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + millis)
}

fn record(offset: u64) -> KnownRecord {
    KnownRecord { partition: PartitionIndex(0), offset: Offset::new(offset).unwrap(), epoch: Epoch::FIRST }
}

fn index(ids_max: usize, bytes_max: usize) -> Index {
    Index::new(IndexLimits { ids_max, bytes_max, window_ms: WINDOW_MS })
}

fn publish(index: &mut Index, topic: TopicNumber, id: &str, offset: u64, now: i64) {
    let Found::Fresh(id, claim) = index.claim(topic, id, at(now)) else { panic!("{id} is not fresh") };
    index.settle(topic, &id, claim, record(offset), at(now));
}

#[derive(Debug, Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_claim_is_settled_or_released_and_whoever_waits_is_told() {
    let mut index = index(10, 1 << 20);
    let topic = index.add_topic();
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    for (is_settled, expected) in [(false, None), (true, Some(record(7)))] {
        let Found::Fresh(id, claim) = index.claim(topic, "a", at(0)) else { panic!("not fresh") };
        assert_eq!(index.claim(topic, "a", at(0)), Found::UnderWay);
        assert!(index.poll_settled(topic, "a", &waker).is_pending());
        assert!(index.poll_settled(topic, "a", &waker).is_pending());
        let waiting = if is_settled {
            index.settle(topic, &id, claim, record(7), at(0))
        } else {
            index.release(topic, &id, claim)
        };
        assert_eq!(waiting.len(), 1, "one waker waits once");
        waiting.into_iter().for_each(Waker::wake);
        assert!(index.poll_settled(topic, "a", &waker).is_ready());
        match expected {
            Some(record) => assert_eq!(index.claim(topic, "a", at(0)), Found::Known(record)),
            None => assert_eq!(index.len(), 0),
        }
    }
    assert_eq!(count.0.load(Ordering::Relaxed), 2);
}

#[test]
fn an_id_is_known_for_the_window_also_where_the_clock_goes_back() {
    let mut index = index(10, 1 << 20);
    let topic = index.add_topic();
    publish(&mut index, topic, "a", 1, 0);
    for now in [0, -5, WINDOW_MS - 1] {
        assert_eq!(index.claim(topic, "a", at(now)), Found::Known(record(1)), "at {now}");
    }
    publish(&mut index, topic, "a", 2, WINDOW_MS);
    assert_eq!(index.claim(topic, "a", at(WINDOW_MS)), Found::Known(record(2)));
    assert!(index.expire(at(2 * WINDOW_MS), 1) || index.expire(at(2 * WINDOW_MS), 1));
    assert_eq!((index.len(), index.bytes), (0, 0));
}

#[test]
fn topics_do_not_share_ids_and_one_created_anew_has_none() {
    let mut index = index(10, 1 << 20);
    let (first, second) = (index.add_topic(), index.add_topic());
    publish(&mut index, first, "a", 1, 0);
    publish(&mut index, second, "a", 2, 0);
    drop(index.remove_topic(first));
    let anew = index.add_topic();
    publish(&mut index, anew, "a", 3, 0);
    assert_eq!(index.claim(second, "a", at(0)), Found::Known(record(2)));
    assert!(index.expire(at(WINDOW_MS), 10));
    assert_eq!((index.len(), index.bytes), (0, 0), "what a removed topic held is counted until its time");
}

#[test]
fn at_a_limit_the_oldest_goes_whichever_topic_it_is_of() {
    for (ids_max, bytes_max) in [(2, 1 << 20), (10, 2 * (ENTRY_BYTES + 1) + 1)] {
        let mut index = index(ids_max, bytes_max);
        let (first, second) = (index.add_topic(), index.add_topic());
        publish(&mut index, first, "a", 1, 1);
        publish(&mut index, second, "b", 2, 0);
        assert_eq!(index.keep_limits(), 0);
        let Found::Fresh(id, claim) = index.claim(first, "c", at(2)) else { panic!("not fresh") };
        assert_eq!(index.keep_limits(), 1);
        assert_eq!(index.claim(first, "a", at(2)), Found::Known(record(1)));
        index.settle(first, &id, claim, record(3), at(2));
        publish(&mut index, second, "b", 4, 3);
        assert_eq!(index.keep_limits(), 1);
        assert!(matches!(index.claim(first, "a", at(3)), Found::Fresh(..)));
    }
}

#[test]
fn what_is_under_way_stays_whatever_the_limit() {
    let mut index = index(1, 1 << 20);
    let topic = index.add_topic();
    let claims: Vec<_> = ["a", "b", "c"].map(|id| index.claim(topic, id, at(0))).into();
    assert_eq!((index.keep_limits(), index.len()), (0, 3));
    for (found, offset) in claims.into_iter().zip(0..) {
        let Found::Fresh(id, claim) = found else { panic!("not fresh") };
        index.settle(topic, &id, claim, record(offset), at(0));
    }
    assert_eq!((index.keep_limits(), index.len()), (2, 1));
    assert_eq!(index.claim(topic, "c", at(0)), Found::Known(record(2)));
}

#[test]
fn an_id_is_forgotten_only_for_the_record_that_is_gone() {
    let mut index = index(10, 1 << 20);
    let topic = index.add_topic();
    publish(&mut index, topic, "a", 1, 0);
    index.forget(topic, "a", record(2));
    assert_eq!(index.claim(topic, "a", at(0)), Found::Known(record(1)));
    index.forget(topic, "a", record(1));
    assert!(matches!(index.claim(topic, "a", at(0)), Found::Fresh(..)));
    index.forget(topic, "a", record(1));
    assert_eq!(index.claim(topic, "a", at(0)), Found::UnderWay);
}

#[test]
fn of_two_records_in_the_logs_the_later_counts() {
    for order in [[(1, 10), (2, 20)], [(2, 20), (1, 10)]] {
        let mut index = index(10, 1 << 20);
        let topic = index.add_topic();
        for (offset, time) in order {
            index.load(topic, "a", record(offset), at(time));
        }
        assert_eq!((index.claim(topic, "a", at(30)), index.len()), (Found::Known(record(2)), 1));
    }
}

/// Ids by topic, each with its state; what is known also by the order in which it is forgotten.
#[derive(Debug, Default)]
struct Model {
    known: Vec<(i64, u64, usize, u8, u64)>,
    under_way: Vec<(usize, u8, Arc<str>, ClaimNumber)>,
    claims: u64,
}

#[derive(Debug, Clone)]
enum Step {
    Claim { topic: usize, id: u8 },
    Settle { which: usize },
    Release { which: usize },
    Forget { topic: usize, id: u8 },
    Load { topic: usize, id: u8, ago: i64 },
    Pass { millis: i64 },
    KeepLimits,
    Expire,
}

fn step() -> impl Strategy<Value = Step> {
    let (topic, id) = (0..2_usize, 0..6_u8);
    prop_oneof![
        6 => (topic.clone(), id.clone()).prop_map(|(topic, id)| Step::Claim { topic, id }),
        4 => (0..8_usize).prop_map(|which| Step::Settle { which }),
        1 => (0..8_usize).prop_map(|which| Step::Release { which }),
        1 => (topic.clone(), id.clone()).prop_map(|(topic, id)| Step::Forget { topic, id }),
        1 => (topic, id, 0..150_i64).prop_map(|(topic, id, ago)| Step::Load { topic, id, ago }),
        2 => (-5..60_i64).prop_map(|millis| Step::Pass { millis }),
        2 => Just(Step::KeepLimits),
        1 => Just(Step::Expire),
    ]
}

impl Model {
    fn position(&self, topic: usize, id: u8) -> Option<usize> {
        self.known.iter().position(|known| (known.2, known.3) == (topic, id))
    }

    fn insert(&mut self, at: i64, claim: u64, topic: usize, id: u8, offset: u64) {
        self.known.push((at, claim, topic, id, offset));
        self.known.sort_unstable();
    }

    fn next_claim(&mut self) -> u64 {
        self.claims += 1;
        self.claims - 1
    }
}

fn run(steps: Vec<Step>, ids_max: usize) {
    let mut index = index(ids_max, 1 << 20);
    let topics = [index.add_topic(), index.add_topic()];
    let (mut model, mut now, mut offset) = (Model::default(), 0_i64, 0_u64);
    for step in steps {
        offset += 1;
        match step {
            Step::Claim { topic, id } => {
                let found = index.claim(topics[topic], &id.to_string(), at(now));
                let place = model.position(topic, id);
                if let Some(place) = place.filter(|&place| now - model.known[place].0 >= WINDOW_MS) {
                    model.known.remove(place);
                }
                if model.under_way.iter().any(|claim| (claim.0, claim.1) == (topic, id)) {
                    assert_eq!(found, Found::UnderWay);
                } else if let Some(place) = model.position(topic, id) {
                    assert_eq!(found, Found::Known(record(model.known[place].4)));
                } else {
                    let Found::Fresh(text, claim) = found else { panic!("{found:?} of a new id") };
                    assert_eq!(claim.0, model.next_claim());
                    model.under_way.push((topic, id, text, claim));
                }
            }
            Step::Settle { which } if which < model.under_way.len() => {
                let (topic, id, text, claim) = model.under_way.remove(which);
                index.settle(topics[topic], &text, claim, record(offset), at(now));
                model.insert(now, claim.0, topic, id, offset);
            }
            Step::Release { which } if which < model.under_way.len() => {
                let (topic, _, text, claim) = model.under_way.remove(which);
                index.release(topics[topic], &text, claim);
            }
            Step::Settle { .. } | Step::Release { .. } => {}
            Step::Forget { topic, id } => {
                if let Some(place) = model.position(topic, id) {
                    index.forget(topics[topic], &id.to_string(), record(model.known.remove(place).4));
                }
            }
            Step::Load { topic, id, ago } => {
                index.load(topics[topic], &id.to_string(), record(offset), at(now - ago));
                let is_under_way = model.under_way.iter().any(|claim| (claim.0, claim.1) == (topic, id));
                let place = model.position(topic, id);
                if !is_under_way && place.is_none_or(|place| model.known[place].0 <= now - ago) {
                    place.map(|place| model.known.remove(place));
                    let claim = model.next_claim();
                    model.insert(now - ago, claim, topic, id, offset);
                }
            }
            Step::Pass { millis } => now += millis,
            Step::KeepLimits => {
                let over = (model.known.len() + model.under_way.len()).saturating_sub(ids_max);
                let gone = over.min(model.known.len());
                model.known.drain(..gone);
                assert_eq!(index.keep_limits(), gone);
            }
            Step::Expire => {
                assert!(index.expire(at(now), usize::MAX));
                model.known.retain(|known| now - known.0 < WINDOW_MS);
            }
        }
        assert_eq!(index.len(), model.known.len() + model.under_way.len());
        assert_eq!(index.bytes, index.len() * (ENTRY_BYTES + 1), "every id is one digit");
    }
}

proptest! {
    #[test]
    fn it_is_the_model(steps in prop::collection::vec(step(), 0..120), ids_max in 1..8_usize) {
        run(steps, ids_max);
    }
}
