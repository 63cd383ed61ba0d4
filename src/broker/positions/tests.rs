//! The shards by themselves: their log is a list, their flights land or are lost as the test pleases.

mod model;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use uuid::Uuid;

use super::codec::{Entry, decode, encode_key, encode_value};
use super::commit::PositionReply;
use super::flight::Launch;
use super::key::{Place, Position, PositionNote, PositionOwner};
use super::shard::{Answers, CLAIMS_INTERVAL_MS, Course, Shard, Waiting};
use crate::broker::BrokerError;
use crate::record::{Batch, Record};
use crate::replica::AckLevel;
use crate::types::{Epoch, Offset, PartitionIndex, Timestamp, TopicId, TopicName};

const HOUR_MS: i64 = 3_600_000;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + millis)
}

fn offset(value: u64) -> Offset {
    Offset::new(value).unwrap()
}

fn topic(number: u128) -> (TopicId, TopicName) {
    (TopicId::new(Uuid::from_u128(number)), TopicName::new(&format!("topic{number}")).unwrap())
}

fn place(client: &str, topic_number: u128) -> Place {
    Place { topic_id: topic(topic_number).0, partition: PartitionIndex(0), owner: PositionOwner::Client(client.into()) }
}

/// Who asked, and what the answer was.
type Replies = Arc<Mutex<Vec<(usize, Result<u64, BrokerError>)>>>;
/// What a client says with its position.
type Note = Option<Arc<PositionNote>>;

/// A shard, the log it writes and the answers it gave.
#[derive(Default)]
struct Rig {
    shard: Shard,
    log: Vec<Batch>,
    compacted_to: Offset,
    durable: Offset,
    now: i64,
    replies: Replies,
    asked: usize,
}

impl Rig {
    fn log_end(&self) -> Offset {
        self.log.last().map_or(Offset::ZERO, |batch| batch.header().next_offset())
    }

    /// Commits; returns the number its reply comes under.
    fn commit(&mut self, client: &str, topic_number: u128, value: u64, level: AckLevel) -> usize {
        self.enter(client, topic_number, value, (level, Course::Onward, None))
    }

    fn enter(&mut self, client: &str, topic_number: u128, value: u64, said: (AckLevel, Course, Note)) -> usize {
        let (level, course, note) = said;
        let (number, replies) = (self.asked, Arc::clone(&self.replies));
        self.asked += 1;
        let reply = PositionReply::new(move |result| replies.lock().push((number, result.map(Offset::get))));
        let position = Position {
            topic: topic(topic_number).1,
            offset: offset(value),
            epoch: Epoch::FIRST,
            moved_at: at(self.now),
            resets: 0,
            is_ahead: false,
            note,
        };
        let commit = Waiting { place: place(client, topic_number), position, level, course, reply };
        let answers = self.shard.enter(commit, self.durable);
        self.answer(answers);
        number
    }

    /// Commits a position that may go back; returns the number its reply comes under.
    fn say(&mut self, client: &str, topic_number: u128, value: u64, note: Note) -> usize {
        self.enter(client, topic_number, value, (AckLevel::Durable, Course::AsSaid, note))
    }

    fn answer(&self, answers: Answers) {
        answers.into_iter().for_each(|(reply, result)| reply.send(result));
    }

    /// Takes off, where there is something to write.
    fn launch(&mut self) -> Option<AckLevel> {
        let Launch { batch, level, .. } = self.shard.begin_flight()?;
        self.log.push(batch.number(self.log_end(), Epoch::FIRST));
        Some(level)
    }

    fn land(&mut self, is_synced: bool) {
        let base = self.log.last().unwrap().header().base_offset;
        if is_synced {
            self.durable = self.log_end();
        }
        let answers = self.shard.landed(base);
        self.answer(answers);
    }

    fn lose(&mut self, failure: &BrokerError) {
        self.log.pop();
        let answers = self.shard.lost(failure);
        self.answer(answers);
    }

    /// Leaves of the log what compaction does: of each key the newest record, where that is no tombstone.
    fn compact(&mut self) {
        self.compacted_to = self.log_end();
    }

    fn step(&mut self, millis: i64) {
        self.now += millis;
        self.shard.make_due(at(self.now));
    }

    fn reply(&self, number: usize) -> Option<Result<u64, BrokerError>> {
        let replies = self.replies.lock();
        let found: Vec<_> = replies.iter().filter(|(asked, _)| *asked == number).collect();
        assert!(found.len() <= 1, "answered twice");
        found.first().map(|(_, result)| result.clone())
    }

    fn committed(&self, client: &str, topic_number: u128) -> Option<u64> {
        self.shard.committed(&place(client, topic_number)).map(Offset::get)
    }

    fn all_records(&self) -> Vec<Record> {
        self.log.iter().flat_map(|batch| batch.records().unwrap().map(Result::unwrap)).collect()
    }

    fn records(&self) -> Vec<Record> {
        let mut newest: BTreeMap<Option<bytes::Bytes>, Record> = BTreeMap::new();
        let (old, new): (Vec<_>, Vec<_>) =
            self.all_records().into_iter().partition(|record| record.offset < self.compacted_to);
        newest.extend(old.into_iter().map(|record| (record.key.clone(), record)));
        let mut kept: Vec<_> = newest.into_values().filter(|record| record.value.is_some()).chain(new).collect();
        kept.sort_by_key(|record| record.offset);
        kept
    }

    /// What a start reads from the log.
    fn replayed(&self) -> BTreeMap<Place, Position> {
        let mut replayed = BTreeMap::new();
        for record in self.records() {
            match decode(&record).unwrap() {
                Entry::Group(..) => unreachable!("no groups here"),
                Entry::Position(place, Some(position)) => replayed.insert(place, position),
                Entry::Position(place, None) => replayed.remove(&place),
            };
        }
        replayed
    }

    fn kept(&self) -> BTreeMap<Place, Position> {
        self.shard.kept.iter().map(|(place, kept)| (place.clone(), kept.position.clone())).collect()
    }
}

#[test]
fn records_as_bytes() {
    let client = "a \"client\"\n\u{1F980}";
    let (offset, epoch, moved_at) = (offset(42), Epoch::new(3).unwrap(), at(7));
    let kept = Position { topic: topic(1).1, offset, epoch, moved_at, resets: 0, is_ahead: false, note: None };
    let key = String::from_utf8(encode_key(&place("billing", 1))).unwrap();
    assert_eq!(key, r#"{"client_id":"billing","topic_id":"00000000-0000-0000-0000-000000000001","partition":0}"#);
    let value = String::from_utf8(encode_value(&kept)).unwrap();
    assert_eq!(value, r#"{"version":1,"topic":"topic1","offset":42,"epoch":3,"time_ms":1700000000007}"#);
    let record = |key: Option<Vec<u8>>, value: Option<&str>| Record {
        offset: Offset::ZERO,
        timestamp: at(0),
        key: key.map(Into::into),
        value: value.map(|value| value.to_owned().into()),
        headers: Vec::new(),
    };
    let place = place(client, 1);
    let decoded = |value: Option<&str>| decode(&record(Some(encode_key(&place)), value));
    assert_eq!(decoded(Some(&value)).unwrap(), Entry::Position(place.clone(), Some(kept.clone())));
    assert_eq!(decoded(None).unwrap(), Entry::Position(place.clone(), None));
    for bad in ["", "{}", &value.replace(":1,", ":2,"), &value.replace("42", "-1"), &value.replace(":3", ":0")] {
        assert!(decoded(Some(bad)).is_err(), "{bad}");
    }
    // What a client says with a position stands behind the rest, and is read where it is there.
    for (text, leader_epoch, members) in [
        ("m \"1\"", Some(2), r#","note":"m \"1\"","leader_epoch":2}"#),
        ("m", None, r#","note":"m"}"#),
        ("", Some(7), r#","leader_epoch":7}"#),
    ] {
        let note = PositionNote { text: text.into(), leader_epoch: leader_epoch.and_then(Epoch::new) };
        let noted = Position { note: note.said(), ..kept.clone() };
        let written = String::from_utf8(encode_value(&noted)).unwrap();
        assert_eq!(written, value.replace('}', members));
        assert_eq!(decoded(Some(&written)).unwrap(), Entry::Position(place.clone(), Some(noted.clone())));
        assert_eq!(super::KeptPosition::new(&place, &noted).read(), Some((place.clone(), noted)));
    }
    assert!(decode(&record(None, Some(&value))).is_err());
    assert!(decode(&record(Some(b"x".to_vec()), None)).is_err());
}

#[test]
fn lazy_commits_count_at_once_and_are_written_together() {
    let mut rig = Rig::default();
    let first = rig.commit("c", 1, 5, AckLevel::None);
    assert_eq!((rig.reply(first), rig.committed("c", 1)), (Some(Ok(5)), Some(5)));
    rig.step(CLAIMS_INTERVAL_MS);
    for value in 6..100 {
        rig.commit("c", 1, value, AckLevel::None);
        rig.commit("d", 1, value, AckLevel::None);
    }
    let back = rig.commit("c", 1, 7, AckLevel::None);
    assert_eq!(rig.reply(back), Some(Ok(99)));
    assert_eq!(rig.launch(), Some(AckLevel::Leader));
    rig.step(CLAIMS_INTERVAL_MS);
    assert_eq!(rig.launch(), None, "one at a time");
    rig.commit("d", 1, 100, AckLevel::None);
    rig.land(false);
    assert_eq!((rig.records().len(), rig.committed("d", 1)), (1, Some(100)));
    rig.launch();
    rig.land(false);
    assert_eq!((rig.records().len(), rig.launch()), (2, None));
    assert_eq!(rig.replayed(), rig.kept());
    assert!(rig.shard.is_idle());
}

#[test]
fn a_commit_waits_for_its_level() {
    let mut rig = Rig::default();
    let written = rig.commit("c", 1, 5, AckLevel::Leader);
    assert_eq!((rig.reply(written), rig.committed("c", 1)), (None, None));
    assert_eq!(rig.launch(), Some(AckLevel::Leader));
    let (durable, lower) = (rig.commit("c", 1, 4, AckLevel::Durable), rig.commit("c", 1, 9, AckLevel::Leader));
    rig.land(false);
    assert_eq!((rig.reply(written), rig.committed("c", 1)), (Some(Ok(5)), Some(5)));
    assert_eq!(rig.launch(), Some(AckLevel::Durable));
    assert_eq!((rig.reply(durable), rig.reply(lower)), (None, None));
    rig.land(true);
    assert_eq!((rig.reply(durable), rig.reply(lower)), (Some(Ok(9)), Some(Ok(9))));
    let again = rig.commit("c", 1, 9, AckLevel::Durable);
    assert_eq!(rig.reply(again), Some(Ok(9)), "it is durable already");
    rig.commit("c", 1, 10, AckLevel::Leader);
    rig.launch();
    rig.land(false);
    let synced = rig.commit("c", 1, 10, AckLevel::Durable);
    assert_eq!((rig.reply(synced), rig.launch()), (None, Some(AckLevel::Durable)), "written is not synced");
    rig.land(true);
    assert_eq!(rig.reply(synced), Some(Ok(10)));
}

#[test]
fn a_full_device_refuses_who_waits_and_tries_claims_again() {
    let mut rig = Rig::default();
    rig.commit("c", 1, 3, AckLevel::Leader);
    rig.launch();
    rig.land(true);
    rig.commit("c", 1, 5, AckLevel::None);
    let waits = rig.commit("c", 1, 8, AckLevel::Durable);
    rig.step(CLAIMS_INTERVAL_MS);
    rig.launch();
    rig.lose(&BrokerError::StorageFull);
    assert_eq!(rig.reply(waits), Some(Err(BrokerError::StorageFull)));
    assert_eq!((rig.committed("c", 1), rig.launch()), (Some(5), None));
    rig.step(CLAIMS_INTERVAL_MS);
    assert_eq!(rig.launch(), Some(AckLevel::Leader));
    rig.land(true);
    assert_eq!((rig.committed("c", 1), rig.replayed() == rig.kept()), (Some(5), true));
}

/// What a start would not find is not claimed any more.
#[test]
fn a_failed_log_takes_claims_back_and_refuses_what_comes() {
    let mut rig = Rig::default();
    rig.commit("c", 1, 3, AckLevel::Leader);
    rig.launch();
    rig.land(true);
    rig.commit("c", 1, 5, AckLevel::None);
    rig.commit("d", 1, 5, AckLevel::None);
    rig.step(CLAIMS_INTERVAL_MS);
    rig.launch();
    let waits = rig.commit("c", 1, 8, AckLevel::Leader);
    let failed = BrokerError::StorageFailed("it broke".into());
    rig.lose(&failed);
    assert_eq!((rig.committed("c", 1), rig.committed("d", 1)), (Some(3), None));
    assert_eq!(rig.reply(waits), Some(Err(failed.clone())));
    for level in [AckLevel::None, AckLevel::Leader, AckLevel::Durable] {
        let refused = rig.commit("c", 1, 9, level);
        assert_eq!(rig.reply(refused), Some(Err(failed.clone())));
    }
    assert!(rig.shard.is_idle());
}

#[test]
fn the_oldest_expire_and_a_confirmed_position_stays() {
    let mut rig = Rig::default();
    for client in ["a", "b", "c"] {
        rig.commit(client, 1, 5, AckLevel::Leader);
        rig.launch();
        rig.land(true);
        rig.now += HOUR_MS;
    }
    rig.commit("a", 1, 5, AckLevel::Leader);
    rig.launch();
    rig.land(true);
    rig.shard.expire(at(HOUR_MS));
    let kept = ["a", "b", "c"].map(|client| rig.committed(client, 1));
    assert_eq!(kept, [Some(5), None, Some(5)]);
    rig.step(CLAIMS_INTERVAL_MS);
    rig.launch();
    rig.land(true);
    assert_eq!(rig.replayed(), rig.kept());
    rig.commit("b", 1, 2, AckLevel::Leader);
    rig.launch();
    rig.land(true);
    assert_eq!(rig.committed("b", 1), Some(2), "it begins anew");
}

#[test]
fn a_position_dropped_and_committed_anew_stays() {
    for is_there_before_the_drop_is_written in [false, true] {
        let mut rig = Rig::default();
        rig.commit("a", 1, 5, AckLevel::Leader);
        rig.launch();
        rig.land(true);
        rig.shard.drop_oldest();
        rig.commit("a", 1, 3, AckLevel::Leader);
        if is_there_before_the_drop_is_written {
            rig.launch();
            rig.land(true);
        }
        rig.step(CLAIMS_INTERVAL_MS);
        if rig.launch().is_some() {
            rig.land(true);
        }
        assert_eq!((rig.committed("a", 1), rig.launch()), (Some(3), None));
        assert_eq!(rig.replayed(), rig.kept());
    }
}

#[test]
fn a_deleted_topic_takes_its_positions_along() {
    let mut rig = Rig::default();
    for topic in [1, 2, 3] {
        rig.commit("a", topic, 5, AckLevel::Leader);
        rig.launch();
        rig.land(true);
        rig.commit("b", topic, 6, AckLevel::None);
    }
    let flying = rig.commit("a", 2, 9, AckLevel::Leader);
    rig.launch();
    let waiting = rig.commit("c", 2, 9, AckLevel::Leader);
    let (id, name) = topic(2);
    let answers = rig.shard.forget(id, &name);
    rig.answer(answers);
    rig.land(true);
    rig.step(CLAIMS_INTERVAL_MS);
    rig.launch();
    rig.land(true);
    for number in [flying, waiting] {
        assert!(matches!(rig.reply(number), Some(Err(BrokerError::UnknownTopic { .. }))));
    }
    let kept: Vec<_> = rig.kept().into_keys().collect();
    assert_eq!(kept, [place("a", 1), place("b", 1), place("a", 3), place("b", 3)]);
}

/// A reset alone moves a position back, and what was committed before it does not move it on again.
#[test]
fn a_reset_moves_back() {
    let mut rig = Rig::default();
    rig.commit("a", 1, 10, AckLevel::Leader);
    rig.launch();
    rig.land(true);
    rig.commit("a", 1, 12, AckLevel::None);
    let reset = rig.enter("a", 1, 3, (AckLevel::Durable, Course::Reset, None));
    assert_eq!(rig.launch(), Some(AckLevel::Durable));
    rig.land(true);
    assert_eq!((rig.reply(reset), rig.committed("a", 1)), (Some(Ok(3)), Some(3)));
    rig.step(CLAIMS_INTERVAL_MS);
    while rig.launch().is_some() {
        rig.land(true);
    }
    assert_eq!((rig.committed("a", 1), rig.kept()), (Some(3), rig.replayed()));
    for (value, kept) in [(2, 3), (5, 5)] {
        let commit = rig.commit("a", 1, value, AckLevel::Leader);
        if rig.launch().is_some() {
            rig.land(true);
        }
        assert_eq!(rig.reply(commit), Some(Ok(kept)));
    }
}
