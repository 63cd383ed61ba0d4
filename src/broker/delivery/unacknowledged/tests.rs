//! Acknowledgements in every order, against a model that keeps a plain list.

use proptest::prelude::*;

use super::*;

const TIMEOUT_MS: i64 = 100;
const LIMITS: UnacknowledgedLimits = UnacknowledgedLimits { records_max: 8, bytes_max: 1_000 };

fn offset(value: u64) -> Offset {
    Offset::new(value).unwrap()
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn sent(start: u64, offsets: std::ops::Range<u64>) -> Unacknowledged {
    let mut state = Unacknowledged::new(offset(start), TIMEOUT_MS, LIMITS);
    offsets.for_each(|value| state.sent(offset(value), 10, at(0)));
    state
}

#[test]
fn the_position_follows_the_oldest_unacknowledged() {
    let mut state = sent(5, 5..9);
    for (acked, expected) in [(6, None), (8, None), (6, None), (99, None), (5, Some(7)), (7, Some(9)), (5, None)] {
        assert_eq!(state.acked(offset(acked)), expected.map(offset), "{acked}");
    }
    assert_eq!((state.position(), state.is_empty(), state.next_deadline()), (offset(9), true, None));
}

#[test]
fn gaps_hold_nothing_up() {
    let mut state = Unacknowledged::new(offset(0), TIMEOUT_MS, LIMITS);
    assert_eq!(state.skipped(offset(3)), Some(offset(3)));
    state.sent(offset(5), 1, at(0));
    assert_eq!(state.position(), offset(5), "nothing lies between");
    assert_eq!(state.skipped(offset(9)), None);
    state.sent(offset(12), 1, at(0));
    assert_eq!(state.acked(offset(5)), Some(offset(12)));
    assert_eq!(state.acked(offset(12)), Some(offset(13)));
    assert_eq!(state.skipped(offset(2)), None);
    state.sent(offset(7), 1, at(0));
    assert_eq!((state.len(), state.position()), (0, offset(13)), "handed in before");
}

#[test]
fn due_again_and_again_until_acknowledged() {
    let mut state = sent(0, 0..2);
    state.sent(offset(2), 10, at(50));
    assert_eq!((state.next_deadline(), state.take_due(at(99))), (Some(at(100)), Vec::new()));
    assert_eq!(state.take_due(at(100)), [offset(0), offset(1)]);
    assert_eq!((state.attempts(offset(1)), state.attempts(offset(2))), (Some(2), Some(1)));
    state.acked(offset(0));
    assert_eq!(state.take_due(at(150)), [offset(2)]);
    assert_eq!(state.take_due(at(250)), [offset(1), offset(2)]);
    assert_eq!(state.attempts(offset(1)), Some(3));
    assert_eq!((state.acked(offset(2)), state.acked(offset(1))), (None, Some(offset(3))));
    assert_eq!(state.take_due(at(10_000)), []);
}

#[test]
fn room_ends_at_either_limit_and_never_for_one_record() {
    let mut state = sent(0, 0..7);
    assert!(state.has_room(10));
    assert!(!state.has_room(931), "bytes");
    state.sent(offset(7), 10, at(0));
    assert!(!state.has_room(0), "records");
    state.acked(offset(3));
    assert!(state.has_room(0));
    assert!(sent(0, 0..0).has_room(u64::MAX), "a single record may be larger");
}

/// Every offset handed in, in order, with what became of it.
#[derive(Debug, Default)]
struct Model {
    sent: Vec<(Offset, Option<Timestamp>)>,
    next: Offset,
}

impl Model {
    fn position(&self) -> Offset {
        let open = self.sent.iter().find(|(_, deadline)| deadline.is_some());
        open.map_or(self.next, |(offset, _)| *offset)
    }

    fn due(&mut self, now: Timestamp) -> Vec<Offset> {
        let due = self.sent.iter_mut().filter(|(_, deadline)| deadline.is_some_and(|deadline| deadline <= now));
        due.map(|(offset, deadline)| {
            *deadline = Some(now.plus_millis(TIMEOUT_MS));
            *offset
        })
        .collect()
    }
}

#[derive(Debug, Clone)]
enum Act {
    Send(u64),
    Skip(u64),
    Ack(u64),
    Wait(i64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (0..3_u64).prop_map(Act::Send),
        1 => (0..4_u64).prop_map(Act::Skip),
        4 => (0..40_u64).prop_map(Act::Ack),
        2 => (0..150_i64).prop_map(Act::Wait),
    ];
    proptest::collection::vec(act, 0..80)
}

proptest! {
    #[test]
    fn as_the_model_says(acts in acts()) {
        let mut state = Unacknowledged::new(Offset::ZERO, TIMEOUT_MS, LIMITS);
        let (mut model, mut now) = (Model::default(), at(0));
        for act in acts {
            let before = model.position();
            let advanced = match act {
                Act::Send(gap) if state.has_room(1) => {
                    let offset = model.next.plus(gap);
                    state.sent(offset, 1, now);
                    model.sent.push((offset, Some(now.plus_millis(TIMEOUT_MS))));
                    model.next = offset.plus(1);
                    None
                }
                Act::Send(_) => None,
                Act::Skip(count) => {
                    model.next = model.next.plus(count);
                    Some(state.skipped(model.next))
                }
                Act::Ack(value) => {
                    let found = model.sent.iter_mut().find(|(sent, _)| *sent == offset(value));
                    found.into_iter().for_each(|(_, deadline)| *deadline = None);
                    Some(state.acked(offset(value)))
                }
                Act::Wait(millis) => {
                    now = now.plus_millis(millis);
                    prop_assert_eq!(state.take_due(now), model.due(now));
                    None
                }
            };
            let open = model.sent.iter().filter(|(_, deadline)| deadline.is_some());
            prop_assert!(state.len() <= LIMITS.records_max && state.len() == open.count());
            prop_assert_eq!(state.position(), model.position());
            if let Some(advanced) = advanced {
                prop_assert_eq!(advanced, Some(model.position()).filter(|position| *position > before));
            }
            prop_assert_eq!(state.next_deadline(), model.sent.iter().filter_map(|(_, deadline)| *deadline).min());
        }
    }
}
