//! Transcripts, and a comparison with a model that walks everything it ever saw.

mod model;

use super::*;

const LIMITS: ProducerLimits = ProducerLimits { producers_max: 3, expiry_ms: 1000 };

/// Runs a transcript, one command a line, and compares each answer with what stands after `=>`.
///
/// - `check ID EPOCH SEQUENCE COUNT`, `record ID EPOCH SEQUENCE COUNT OFFSET TIME`
/// - `append` = `check`, then `record` where it says so
/// - `commit OFFSET`, `truncate OFFSET`, `expire TIME`, `known`, `restart` (snapshot as JSON, restored)
fn check(transcript: &str) {
    let mut producers = Producers::new(LIMITS);
    for line in transcript.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let (command, expected) = line.split_once("=>").unwrap_or((line, ""));
        let mut words = command.split_whitespace();
        let verb = words.next().expect("a verb");
        let n: Vec<i64> = words.map(|word| word.parse().expect("a number")).collect();
        let answer = run(&mut producers, verb, &n);
        assert_eq!(answer, expected.trim(), "{line}");
    }
}

fn run(producers: &mut Producers, verb: &str, n: &[i64]) -> String {
    match verb {
        "check" => judge(producers, stamp(n)),
        "append" => {
            let answer = judge(producers, stamp(n));
            if answer == "append" {
                producers.record(stamp(n), offset(n[4]), Timestamp::from_millis(n[5]));
            }
            answer
        }
        "record" => {
            producers.record(stamp(n), offset(n[4]), Timestamp::from_millis(n[5]));
            String::new()
        }
        "commit" => {
            producers.commit_to(offset(n[0]));
            String::new()
        }
        "truncate" => {
            producers.truncate_to(offset(n[0]));
            String::new()
        }
        "expire" => {
            producers.expire(Timestamp::from_millis(n[0]));
            String::new()
        }
        "known" => {
            let committed = producers.snapshot();
            let ids: Vec<i64> = committed.iter().map(|p| p.id().get()).collect();
            assert_eq!(committed.len(), producers.committed_count);
            format!("{} {ids:?}", producers.len())
        }
        "restart" => {
            let json = serde_json::to_string(&producers.snapshot()).expect("serializes");
            *producers = Producers::new(LIMITS);
            producers.restore(serde_json::from_str(&json).expect("deserializes"));
            String::new()
        }
        _ => panic!("unknown verb {verb}"),
    }
}

fn judge(producers: &Producers, stamp: ProducerBatch) -> String {
    match producers.check(stamp) {
        Ok(Verdict::Append) => "append".to_owned(),
        Ok(Verdict::Duplicate { base_offset, last_offset }) => format!("duplicate {base_offset}..{last_offset}"),
        Err(SequenceError::OutOfOrder { expected, found }) => {
            format!("expected {expected} found {found}")
        }
        Err(SequenceError::StaleEpoch { current, found }) => {
            format!("fenced by {current} found {found}")
        }
    }
}

fn stamp(n: &[i64]) -> ProducerBatch {
    ProducerBatch {
        id: ProducerId::new(n[0]).expect("an id"),
        epoch: ProducerEpoch::new(n[1].try_into().expect("16 bits")).expect("an epoch"),
        base_sequence: Sequence::new(n[2].try_into().expect("32 bits")).expect("a sequence"),
        records_count: n[3].try_into().expect("a count"),
    }
}

fn offset(value: i64) -> Offset {
    Offset::from_i64(value).expect("an offset")
}

#[test]
fn sequences() {
    check(
        "append 7 0 0 10 0 0   => append
         append 7 0 10 5 10 0  => append
         check 7 0 0 10        => duplicate 0..9
         check 7 0 10 5        => duplicate 10..14
         check 7 0 10 4        => expected 15 found 10
         check 7 0 0 5         => expected 15 found 0
         check 7 0 16 1        => expected 15 found 16
         check 7 0 14 1        => expected 15 found 14
         check 7 0 15 1        => append
         check 8 3 99 1        => append",
    );
}

#[test]
fn five_batches_are_remembered() {
    check(
        "append 7 0 0 1 0 0 => append
         append 7 0 1 1 1 0 => append
         append 7 0 2 1 2 0 => append
         append 7 0 3 1 3 0 => append
         append 7 0 4 1 4 0 => append
         check 7 0 0 1      => duplicate 0..0
         append 7 0 5 1 9 0 => append
         check 7 0 0 1      => expected 6 found 0
         check 7 0 1 1      => duplicate 1..1
         check 7 0 5 1      => duplicate 9..9",
    );
}

#[test]
fn epochs() {
    check(
        "append 7 2 5 1 0 0 => append
         check 7 1 6 1      => fenced by 2 found 1
         check 7 1 5 1      => fenced by 2 found 1
         check 7 3 6 1      => expected 0 found 6
         check 7 3 5 1      => expected 0 found 5
         append 7 3 0 1 1 0 => append
         check 7 2 5 1      => fenced by 3 found 2
         check 7 3 0 1      => duplicate 1..1
         check 7 3 1 1      => append",
    );
}

#[test]
fn sequences_wrap() {
    check(
        "append 7 0 2147483646 2 0 0 => append
         check 7 0 0 1               => append
         append 7 0 0 1 2 0          => append
         check 7 0 2147483646 2      => duplicate 0..1
         append 8 0 2147483647 3 3 0 => append
         check 8 0 2 1               => append
         check 8 0 0 1               => expected 2 found 0
         check 8 0 2147483647 3      => duplicate 3..5",
    );
}

#[test]
fn what_is_cut_off_may_come_again() {
    check(
        "append 7 0 0 2 0 0 => append
         append 7 0 2 2 2 0 => append
         append 7 0 4 2 4 0 => append
         append 8 0 0 1 6 0 => append
         commit 3
         known              => 2 [7]
         truncate 5
         known              => 1 [7]
         check 7 0 4 2      => append
         check 7 0 2 2      => duplicate 2..3
         check 8 0 9 1      => append
         truncate 3
         check 7 0 2 2      => append
         check 7 0 4 2      => expected 2 found 4
         append 7 1 0 1 2 0 => append
         truncate 2
         check 7 0 2 1      => append
         truncate 0
         check 7 0 0 2      => duplicate 0..1",
    );
}

#[test]
fn a_batch_commits_whole_or_not() {
    check(
        "append 7 0 0 3 0 0 => append
         commit 2
         known              => 1 []
         commit 3
         known              => 1 [7]
         truncate 0
         check 7 0 0 3      => duplicate 0..2",
    );
}

#[test]
fn only_what_is_committed_survives_a_restart() {
    check(
        "append 7 0 0 1 0 0 => append
         append 7 0 1 1 1 0 => append
         append 9 4 7 1 2 0 => append
         append 8 0 0 1 3 0 => append
         commit 3
         append 7 0 2 1 4 0 => append
         restart
         known              => 2 [7, 9]
         check 7 0 2 1      => append
         check 7 0 0 1      => duplicate 0..0
         check 9 3 0 1      => fenced by 4 found 3
         check 8 0 5 1      => append",
    );
}

#[test]
fn expiry() {
    check(
        "append 7 0 0 1 0 100  => append
         append 8 0 0 1 1 600  => append
         append 9 0 0 1 2 100  => append
         commit 2
         expire 1100
         known                 => 3 [7, 8]
         expire 1101
         known                 => 2 [8]
         check 7 0 5 1         => append
         check 9 0 0 1         => duplicate 2..2
         commit 3
         append 8 0 1 1 3 50   => append
         commit 4
         expire 1600
         known                 => 1 [8]
         expire 1601
         known                 => 0 []",
    );
}

#[test]
fn the_oldest_goes_at_the_limit() {
    check(
        "append 1 0 0 1 0 0 => append
         append 2 0 0 1 1 0 => append
         append 3 0 0 1 2 0 => append
         append 1 0 1 1 3 0 => append
         commit 4
         known              => 3 [1, 2, 3]
         append 4 0 0 1 4 0 => append
         known              => 4 [1, 2, 3]
         commit 5
         known              => 3 [1, 3, 4]
         check 2 0 0 1      => append
         append 3 0 1 1 5 0 => append
         append 5 0 0 1 6 0 => append
         commit 7
         known              => 3 [3, 4, 5]",
    );
}

#[test]
fn what_is_in_flight_is_never_forgotten() {
    check(
        "append 1 0 0 1 0 0 => append
         append 2 0 0 1 1 0 => append
         append 3 0 0 1 2 0 => append
         commit 3
         append 4 0 0 1 3 0 => append
         append 1 0 1 1 4 0 => append
         append 2 0 1 1 5 0 => append
         append 3 0 1 1 6 0 => append
         commit 4
         known              => 4 [1, 2, 3, 4]
         truncate 5
         append 5 0 0 1 5 0 => append
         commit 6
         known              => 3 [1, 4, 5]",
    );
}

#[test]
fn recovery_may_walk_again_what_a_snapshot_knows() {
    check(
        "append 7 0 0 1 0 0 => append
         append 7 0 1 1 1 0 => append
         commit 2
         restart
         record 7 0 0 1 0 0
         record 7 0 1 1 1 0
         record 7 0 2 1 2 0
         commit 3
         check 7 0 0 1      => duplicate 0..0
         check 7 0 2 1      => duplicate 2..2
         check 7 0 3 1      => append",
    );
}

#[test]
fn the_log_is_right_even_where_the_check_would_refuse() {
    check(
        "record 7 5 0 1 0 0
         record 7 5 9 1 1 0
         check 7 5 0 1      => expected 10 found 0
         check 7 5 9 1      => duplicate 1..1
         record 7 2 4 1 2 0
         commit 3
         check 7 2 5 1      => append
         restart
         check 7 2 4 1      => duplicate 2..2",
    );
}

#[test]
fn a_snapshot_above_the_limit_is_cut_to_it() {
    let mut large = Producers::new(ProducerLimits { producers_max: 10, ..LIMITS });
    for id in 0..10 {
        large.record(stamp(&[9 - id, 0, 0, 1]), offset(id), Timestamp::NONE);
    }
    large.commit_to(offset(10));
    let mut small = Producers::new(LIMITS);
    small.restore(large.snapshot());
    assert_eq!(run(&mut small, "known", &[]), "3 [0, 1, 2]");
}

#[test]
fn the_order_by_age_does_not_grow_with_the_log() {
    let mut producers = Producers::new(LIMITS);
    for n in 0..10_000 {
        producers.record(stamp(&[n % 2, 0, n / 2, 1]), offset(n), Timestamp::NONE);
        producers.commit_to(offset(n + 1));
        assert!(producers.by_age.len() <= 2 * LIMITS.producers_max + STALE_SLACK);
    }
}

#[test]
fn snapshots_that_make_no_sense() {
    let check = |json: &str, ok: bool| {
        let read = serde_json::from_str::<ProducerSnapshot>(json);
        assert_eq!(read.is_ok(), ok, "{json}: {read:?}");
    };
    let producer = |id: i64, epoch: i64, batches: &str| {
        format!(r#"{{"id":{id},"epoch":{epoch},"last_timestamp_ms":-1,"batches":[{batches}]}}"#)
    };
    let batch = |sequence: i64, count: i64, offset: u64| {
        format!(r#"{{"base_sequence":{sequence},"records_count":{count},"base_offset":{offset}}}"#)
    };
    let two = |a: String, b: String| format!("{a},{b}");
    check(&producer(0, 0, &batch(0, 1, 0)), true);
    check(&producer(0, 0, &two(batch(0, 1, 0), batch(1, 1, 1))), true);
    check(&producer(0, 0, &two(batch(0, 1, 0), batch(2, 1, 1))), false);
    check(&producer(0, 0, &two(batch(0, 2, 0), batch(2, 1, 1))), false);
    check(&producer(-1, 0, &batch(0, 1, 0)), false);
    check(&producer(0, -1, &batch(0, 1, 0)), false);
    check(&producer(0, 40_000, &batch(0, 1, 0)), false);
    check(&producer(0, 0, ""), false);
    check(&producer(0, 0, &batch(-1, 1, 0)), false);
    check(&producer(0, 0, &batch(0, 0, 0)), false);
    check(&producer(0, 0, &batch(0, 1, u64::MAX)), false);
}
