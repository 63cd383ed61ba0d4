//! The frame decoder and the admission of record batches against everything that is not quite right: every truncation,
//! every single changed byte, and chance. They never panic, and what they hold is in proportion to what came.
//!
//! `cargo test --release --test decoder -- --ignored --nocapture` runs many millions of inputs;
//! `WIBER_DECODER_EXECUTIONS` says how many.

mod counting;
mod drive;
#[cfg(feature = "server")]
mod drive_kafka;
mod inputs;
#[cfg(feature = "server")]
mod kafka;

use std::io::Write;

use counting::most_during;
use drive::Made;
use inputs::{Chance, mutate};

/// How much may be held for an input of this many bytes.
fn bytes_max(input: usize) -> usize {
    4 * input + (64 << 10)
}

/// Decodes an input whole and in pieces: the outcome is the same, and the memory in proportion.
fn check(input: &[u8]) -> Made {
    let (whole, most) = most_during(|| drive::frames(input, input.len()));
    assert!(most <= bytes_max(input.len()), "{most} bytes held for {} that came: {input:?}", input.len());
    for piece in [1, 7] {
        let (made, most) = most_during(|| drive::frames(input, piece));
        assert_eq!(made, whole, "in pieces of {piece}: {input:?}");
        assert!(most <= bytes_max(input.len()), "{most} bytes held for {}: {input:?}", input.len());
    }
    whole
}

fn check_batch(input: &[u8]) -> bool {
    // A compressed body may expand, in its own bounds; that is the record layer's to test.
    let (is_admitted, most) = most_during(|| drive::batch(input));
    let is_compressed = input.get(22).is_some_and(|attributes| attributes & 7 != 0);
    assert!(is_compressed || most <= bytes_max(input.len()), "{most} bytes held for {}: {input:?}", input.len());
    is_admitted
}

#[test]
fn every_type_of_frame_is_decoded() {
    let all = inputs::frames();
    assert_eq!(all.len(), 17);
    for frame in &all {
        assert_eq!(check(frame), Made { frames: 1, refused: 0, is_closed: false }, "{frame:?}");
    }
    assert_eq!(check(&all.concat()).frames, 17);
    assert!(inputs::batches().iter().all(|batch| check_batch(batch)));
}

/// A frame that is not whole is no frame, and no fault; the rest of it makes it one.
#[test]
fn every_truncation_waits_for_the_rest() {
    for frame in inputs::frames() {
        for end in 0..frame.len() {
            assert_eq!(check(&frame[..end]), Made::default(), "{end} of {frame:?}");
        }
    }
    for batch in inputs::batches() {
        assert!((0..batch.len()).all(|end| !check_batch(&batch[..end])));
    }
}

/// Every byte of every frame changed to every other value; then a good frame, which is found unless the length itself
/// was changed.
#[test]
fn every_changed_byte_is_survived() {
    let good = inputs::frames().remove(2);
    for frame in inputs::frames() {
        for at in 0..frame.len() {
            for change in 1..=255 {
                let mut bytes = frame.clone();
                bytes[at] ^= change;
                bytes.extend_from_slice(&good);
                let made = drive::frames(&bytes, bytes.len());
                assert!(at < 4 || made.frames + made.refused == 2, "byte {at} of {frame:?} by {change}: {made:?}");
                if change.is_power_of_two() {
                    check(&bytes);
                }
            }
        }
    }
}

/// A batch with a changed byte is refused, whatever the byte: base offset and epoch alone are the broker's to fill in.
#[test]
fn every_changed_byte_of_a_batch_is_noticed() {
    for batch in inputs::batches() {
        for at in 0..batch.len() {
            for change in [1, 2, 0x10, 0x7F, 0x80, 0xFF] {
                let mut bytes = batch.clone();
                bytes[at] ^= change;
                let (is_ours, is_admitted) = (at < 8 || (12..16).contains(&at), check_batch(&bytes));
                assert!(is_ours || !is_admitted, "byte {at} by {change}");
                // What is theirs to fill in must still be a number that a broker could have written there.
                assert!(!(1..8).contains(&at) || is_admitted, "byte {at} by {change}");
                // The same under a CRC that is right.
                if at >= 21 {
                    check_batch(&inputs::sealed(&bytes[21..]));
                }
            }
        }
    }
}

/// So many inputs that chance made of good ones.
fn run(seed: u64, executions: u64) -> (u64, Made) {
    let (frames, batches) = (inputs::frames(), inputs::batches());
    let (mut chance, mut sums) = (Chance::new(seed), Made::default());
    for _ in 0..executions {
        if chance.below(4) == 0 {
            let mut tail = batches[chance.below(batches.len())][21..].to_vec();
            mutate(&mut tail, &mut chance);
            sums.frames += usize::from(check_batch(&inputs::sealed(&tail)));
            continue;
        }
        let mut bytes = Vec::new();
        for _ in 0..=chance.below(3) {
            bytes.extend_from_slice(&frames[chance.below(frames.len())]);
        }
        mutate(&mut bytes, &mut chance);
        let made = check(&bytes);
        sums.frames += made.frames;
        sums.refused += made.refused;
    }
    (executions, sums)
}

#[test]
fn inputs_that_chance_made() {
    run(1, 20_000);
}

#[test]
#[ignore = "minutes: run it in release, with --nocapture to see the sums"]
fn many_millions_of_inputs() {
    let executions =
        std::env::var("WIBER_DECODER_EXECUTIONS").map_or(10_000_000, |text| text.parse().expect("a number"));
    let mut done = 0;
    for seed in 2.. {
        let (now, sums) = run(seed, (executions - done).min(1_000_000));
        done += now;
        let line =
            format!("{done} inputs: of the last {now}, {} parts were good and {} refused", sums.frames, sums.refused);
        writeln!(std::io::stderr(), "{line}").expect("standard error takes a line");
        if done >= executions {
            return;
        }
    }
}
