//! Random histories: positions never go back unless that is said, the log says what is kept, nobody is answered falsely or
//! never.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Act {
    Commit { client: usize, topic: u128, value: u64, level: AckLevel },
    Launch,
    Land { is_synced: bool },
    Full,
    Step(i64),
    DropOldest,
    Drain,
    Compact,
}

const CLIENTS: [&str; 3] = ["a", "b", "c"];

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let level = prop_oneof![Just(AckLevel::None), Just(AckLevel::Leader), Just(AckLevel::Durable)];
    let act = prop_oneof![
        8 => (0..3_usize, 1..3_u128, 0..20_u64, level)
            .prop_map(|(client, topic, value, level)| Act::Commit { client, topic, value, level }),
        4 => Just(Act::Launch),
        4 => any::<bool>().prop_map(|is_synced| Act::Land { is_synced }),
        1 => Just(Act::Full),
        3 => (0..150_i64).prop_map(Act::Step),
        1 => Just(Act::DropOldest),
        1 => Just(Act::Drain),
        3 => Just(Act::Compact),
    ];
    proptest::collection::vec(act, 0..120)
}

/// What each commit asked for.
type Asked = BTreeMap<usize, (String, u128, u64, AckLevel)>;

fn check(rig: &Rig, asked: &Asked, has_dropped: bool) {
    let mut last: BTreeMap<Place, Offset> = BTreeMap::new();
    for record in rig.all_records() {
        match decode(&record).unwrap() {
            Entry::Position(place, Some(position)) => {
                let before = last.insert(place, position.offset);
                assert!(has_dropped || before.is_none_or(|before| before <= position.offset), "went back");
            }
            Entry::Group(..) => unreachable!("no groups here"),
            Entry::Position(place, None) => {
                last.remove(&place);
            }
        }
    }
    for (number, (client, topic, value, _)) in asked {
        let Some(Ok(answered)) = rig.reply(*number) else { continue };
        assert!(answered >= *value, "answered less than asked");
        if !has_dropped {
            assert!(rig.committed(client, *topic) >= Some(*value), "answered and not kept");
        }
    }
    if rig.shard.is_idle() {
        assert_eq!(rig.replayed(), rig.kept());
    }
}

fn run(acts: Vec<Act>) {
    let (mut rig, mut asked) = (Rig::default(), Asked::new());
    let (mut is_flying, mut has_dropped) = (false, false);
    for act in acts {
        match act {
            Act::Commit { client, topic, value, level } => {
                let number = rig.commit(CLIENTS[client], topic, value, level);
                asked.insert(number, (CLIENTS[client].to_owned(), topic, value, level));
            }
            Act::Launch => is_flying |= rig.launch().is_some(),
            Act::Land { is_synced } if is_flying => {
                rig.land(is_synced);
                is_flying = false;
            }
            Act::Full if is_flying => {
                rig.lose(&BrokerError::StorageFull);
                is_flying = false;
            }
            Act::Land { .. } | Act::Full => {}
            Act::Step(millis) => rig.step(millis),
            Act::DropOldest => {
                rig.shard.drop_oldest();
                has_dropped = true;
            }
            Act::Drain => rig.shard.make_all_due(),
            Act::Compact => rig.compact(),
        }
        check(&rig, &asked, has_dropped);
    }
    if is_flying {
        rig.land(true);
    }
    rig.shard.make_all_due();
    while rig.launch().is_some() {
        rig.land(true);
    }
    assert!(rig.shard.is_idle());
    check(&rig, &asked, has_dropped);
    assert!(asked.keys().all(|number| rig.reply(*number).is_some()), "somebody was not answered");
}

/// Histories of clients that say where their positions are to be: once all is written, the last word of each counts, and it is
/// in the log.
fn run_as_said(acts: Vec<(Act, Option<u8>)>) {
    let mut rig = Rig::default();
    let mut said: BTreeMap<Place, (Offset, Option<Arc<PositionNote>>)> = BTreeMap::new();
    let (mut is_flying, mut asked) = (false, Vec::new());
    for (act, note) in acts {
        match act {
            Act::Commit { client, topic, value, .. } => {
                let note = PositionNote {
                    text: note.map(|note| note.to_string()).unwrap_or_default().into(),
                    ..PositionNote::default()
                };
                let note = note.said();
                asked.push(rig.say(CLIENTS[client], topic, value, note.clone()));
                said.insert(place(CLIENTS[client], topic), (offset(value), note));
            }
            Act::Launch => is_flying |= rig.launch().is_some(),
            Act::Land { is_synced } if is_flying => {
                rig.land(is_synced);
                is_flying = false;
            }
            Act::Step(millis) => rig.step(millis),
            Act::Compact => rig.compact(),
            Act::Land { .. } | Act::Full | Act::DropOldest | Act::Drain => {}
        }
    }
    if is_flying {
        rig.land(true);
    }
    while rig.launch().is_some() {
        rig.land(true);
    }
    let kept = rig.kept().into_iter().map(|(place, position)| (place, (position.offset, position.note)));
    assert_eq!(kept.collect::<BTreeMap<_, _>>(), said);
    assert_eq!(rig.replayed(), rig.kept());
    assert_eq!(rig.shard.note_bytes, rig.kept().values().map(Position::note_bytes).sum::<usize>());
    assert!(asked.iter().all(|number| matches!(rig.reply(*number), Some(Ok(_)))), "somebody was not answered");
}

proptest! {
    #[test]
    fn random_histories(acts in acts()) {
        run(acts);
    }

    #[test]
    fn the_last_word_counts(acts in acts(), notes in proptest::collection::vec(proptest::option::of(0..3_u8), 120)) {
        run_as_said(acts.into_iter().zip(notes).collect());
    }
}
