//! Sessions against requests as clients encode them.

use bytes::BytesMut;
use kafka_protocol::messages;
use kafka_protocol::messages::fetch_request::{FetchPartition as Partition, FetchTopic, ForgottenTopic};
use kafka_protocol::protocol::{Encodable, StrBytes};

use super::*;

/// A request of a session: topics with partitions and offsets, and what it is to forget.
fn request(id: i32, epoch: i32, topics: &[(&str, &[(i32, i64)])], forgotten: &[(&str, &[i32])]) -> FetchRequest {
    let name = |name: &str| StrBytes::from_string(name.to_owned()).into();
    let topic = |(topic, partitions): &(&str, &[(i32, i64)])| {
        let partition =
            |&(index, offset): &(i32, i64)| Partition::default().with_partition(index).with_fetch_offset(offset);
        FetchTopic::default().with_topic(name(topic)).with_partitions(partitions.iter().map(partition).collect())
    };
    let forget = |(topic, partitions): &(&str, &[i32])| {
        ForgottenTopic::default().with_topic(name(topic)).with_partitions(partitions.to_vec())
    };
    let request = messages::FetchRequest::default()
        .with_session_id(id)
        .with_session_epoch(epoch)
        .with_topics(topics.iter().map(topic).collect())
        .with_forgotten_topics_data(forgotten.iter().map(forget).collect());
    let mut bytes = BytesMut::new();
    request.encode(&mut bytes, 11).unwrap();
    FetchRequest::parse(11, bytes.freeze()).unwrap()
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn state(high_watermark: u64, has_records: bool) -> Told {
    let high_watermark = Offset::new(high_watermark).unwrap();
    Told::State { high_watermark, last_stable: high_watermark, log_start: Offset::ZERO, has_records }
}

/// What is read, in its order: topic, partition, offset.
fn read(fetching: &Fetching) -> Vec<(&str, i32, i64)> {
    fetching.partitions.iter().map(|partition| (&*partition.topic, partition.index, partition.asked.offset)).collect()
}

/// The indexes of the partitions that an answer names.
fn named(fetching: &Fetching, told: &[Told]) -> Vec<i32> {
    let answered = fetching.partitions.iter().zip(told);
    answered.filter(|(partition, told)| fetching.names(partition, told)).map(|(partition, _)| partition.index).collect()
}

#[test]
fn a_session_remembers_what_was_asked_and_told() {
    let mut sessions = FetchSessions::new(1);
    let first = sessions.begin(&request(0, 0, &[("a", &[(0, 10), (1, 20)]), ("b", &[(2, 0)])], &[]), at(0)).unwrap();
    let id = first.session_id;
    assert!(id > 0 && !first.is_incremental);
    assert_eq!(read(&first), [("a", 0, 10), ("a", 1, 20), ("b", 2, 0)]);
    let told = [state(11, true), state(20, false), state(5, false)];
    assert_eq!(named(&first, &told), [0, 1, 2], "the first answer names all");
    sessions.end(&first, told);

    // The one that got records is read last, and asked for from its new offset.
    let second = sessions.begin(&request(id, 1, &[("a", &[(0, 11)])], &[]), at(1)).unwrap();
    assert!(second.is_incremental);
    assert_eq!(read(&second), [("a", 1, 20), ("b", 2, 0), ("a", 0, 11)]);
    let told = [state(20, false), Told::Failure, state(12, false)];
    assert_eq!(named(&second, &told), [2, 0], "an error, and a high watermark that moved");
    sessions.end(&second, told);

    // After an error a partition is told of again, though nothing about it is new.
    let third = sessions.begin(&request(id, 2, &[("c", &[(7, 0)])], &[("a", &[1])]), at(2)).unwrap();
    assert_eq!(read(&third), [("b", 2, 0), ("a", 0, 11), ("c", 7, 0)]);
    let told = [state(5, false), state(12, false), state(0, false)];
    assert_eq!(named(&third, &told), [2, 7]);
    sessions.end(&third, told);

    let fourth = sessions.begin(&request(id, 3, &[], &[]), at(3)).unwrap();
    assert_eq!(named(&fourth, &told), [0; 0], "nothing is new");
    let mut moved = told;
    moved[1] = Told::State {
        high_watermark: Offset::new(12).unwrap(),
        last_stable: Offset::new(12).unwrap(),
        log_start: Offset::new(3).unwrap(),
        has_records: false,
    };
    assert_eq!(named(&fourth, &moved), [0], "the log start moved");
}

#[test]
fn requests_come_in_order_or_not_at_all() {
    let mut sessions = FetchSessions::new(1);
    let id = sessions.begin(&request(0, 0, &[("a", &[(0, 0)])], &[]), at(0)).unwrap().session_id;
    let next = |sessions: &mut FetchSessions, id, epoch| sessions.begin(&request(id, epoch, &[], &[]), at(1));
    for epoch in [2, -2, i32::MAX] {
        assert_eq!(next(&mut sessions, id, epoch), Err(KafkaError::InvalidFetchSessionEpoch), "{epoch}");
    }
    assert_eq!(next(&mut sessions, id + 1, 1), Err(KafkaError::FetchSessionIdNotFound));
    assert_eq!(next(&mut sessions, 0, 1), Err(KafkaError::FetchSessionIdNotFound));
    let stale = next(&mut sessions, id, 1).unwrap();
    let fresh = next(&mut sessions, id, 2).unwrap();
    // The answer to a request that another one has overtaken is not taken note of.
    sessions.end(&stale, [state(9, false)]);
    assert_eq!(named(&fresh, &[state(9, false)]), [0]);
    assert_eq!(next(&mut sessions, id, 2), Err(KafkaError::InvalidFetchSessionEpoch));
    sessions.sessions.get_mut(&id).unwrap().epoch = i32::MAX;
    assert_eq!(next(&mut sessions, id, i32::MAX).unwrap().epoch, 1, "after the last epoch comes 1");
}

#[test]
fn sessions_end() {
    let topics: &[(&str, &[(i32, i64)])] = &[("a", &[(0, 0), (0, 5)])];
    let mut sessions = FetchSessions::new(1);
    let begin = |sessions: &mut FetchSessions, id| sessions.begin(&request(id, 0, topics, &[]), at(0)).unwrap();
    let first = begin(&mut sessions, 0).session_id;
    let second = begin(&mut sessions, first);
    assert_eq!(read(&second), [("a", 0, 5)], "who is named twice is asked for as named last");
    assert_eq!((sessions.sessions.len(), sessions.partitions_count), (1, 1), "the new one replaces the old one");
    let none = sessions.begin(&request(second.session_id, -1, topics, &[]), at(0)).unwrap();
    assert_eq!((none.session_id, none.is_incremental, read(&none)), (0, false, vec![("a", 0, 5)]));
    assert_eq!((sessions.sessions.len(), sessions.partitions_count), (0, 0));
    sessions.end(&second, [state(1, true)]);

    // One that has nothing left to read ends as well.
    let id = begin(&mut sessions, 0).session_id;
    let empty = sessions.begin(&request(id, 1, &[], &[("a", &[0]), ("b", &[1])]), at(0)).unwrap();
    assert_eq!((empty.session_id, empty.partitions.len(), sessions.sessions.len()), (0, 0, 0));
    assert_eq!(sessions.partitions_count, 0);
}

#[test]
fn a_full_house_gives_places_only_of_the_idle_and_the_old_and_small() {
    let one: &[(&str, &[(i32, i64)])] = &[("a", &[(0, 0)])];
    let two: &[(&str, &[(i32, i64)])] = &[("a", &[(0, 0), (1, 0)])];
    let mut sessions = FetchSessions::new(1);
    let begin = |sessions: &mut FetchSessions, topics, now| {
        sessions.begin(&request(0, 0, topics, &[]), at(now)).unwrap().session_id
    };
    let ids: Vec<i32> = (0..SESSIONS_MAX).map(|_| begin(&mut sessions, two, 0)).collect();
    assert!(ids.iter().all(|id| *id > 0));
    assert_eq!(begin(&mut sessions, two, EVICTION_MS), 0, "all are young");
    for id in &ids {
        sessions.begin(&request(*id, 1, &[], &[]), at(EVICTION_MS)).unwrap();
    }
    let later = EVICTION_MS + 1;
    assert_eq!(begin(&mut sessions, one, later), 0, "all are larger");
    assert!(begin(&mut sessions, two, later) > 0, "an old one is as large");
    assert_eq!(sessions.sessions.len(), SESSIONS_MAX);
    assert!(begin(&mut sessions, one, 2 * EVICTION_MS + 1) > 0, "one was idle");
    assert_eq!(sessions.sessions.len(), SESSIONS_MAX);
    let counted: usize = sessions.sessions.values().map(|session| session.partitions.len()).sum();
    assert_eq!(sessions.partitions_count, counted);
}

#[test]
fn partitions_are_bounded_in_all_sessions_together() {
    let mut sessions = FetchSessions { partitions_max: 3, ..FetchSessions::new(1) };
    let two: &[(&str, &[(i32, i64)])] = &[("a", &[(0, 0), (1, 0)])];
    let id = sessions.begin(&request(0, 0, two, &[]), at(0)).unwrap().session_id;
    assert_eq!(sessions.begin(&request(0, 0, two, &[]), at(0)).unwrap().session_id, 0);
    assert!(sessions.begin(&request(id, 1, &[("a", &[(2, 0)])], &[]), at(0)).is_ok());
    let more = sessions.begin(&request(id, 2, &[("a", &[(3, 0)])], &[]), at(0));
    assert_eq!(more, Err(KafkaError::FetchSessionIdNotFound));
    assert_eq!((sessions.sessions.len(), sessions.partitions_count), (0, 0));

    let long = "x".repeat(NAME_BYTES_MAX + 1);
    let begun = sessions.begin(&request(0, 0, &[(&long, &[(0, 0)])], &[]), at(0)).unwrap();
    assert_eq!((begun.session_id, begun.partitions.len()), (0, 1), "what no topic is called is not remembered");
}
