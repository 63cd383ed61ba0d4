//! Large frames share the memory to receive them.

use super::*;

/// A frame that needs more than half of the memory for frames.
fn large(sequence: u64) -> Vec<u8> {
    request(FrameType::Publish, sequence, &[("topic", "events")], &vec![b'x'; INCOMING_BYTES * 2 / 3])
}

/// Whoever sends a part of a large frame keeps its memory, and the next one waits for it, as long as the frame may still
/// come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_frames_are_received_in_turn() {
    let rig = Rig::new(10).await;
    let (mut first, mut second, mut small) = (rig.connect().await, rig.connect().await, rig.connect().await);
    first.create_topic("events").await;
    for (sequence, completes) in [(2, true), (3, false)] {
        let frame = large(sequence);
        let (begun, rest) = frame.split_at(frame.len() / 2);
        first.send(begun).await;
        let (mut reading, mut writing) = second.stream.split();
        let whole = large(sequence);
        let mut answer = [0; 64];
        let sent = tokio::join!(
            async {
                // Small ones need none of that memory.
                small.send(&request(FrameType::Publish, sequence, &[("topic", "events")], b"small")).await;
                small.expect(&[(sequence, "success")]).await;
                if completes {
                    first.send(rest).await;
                    first.expect(&[(sequence, "success")]).await;
                } else {
                    first.stream.shutdown().await.unwrap();
                }
            },
            async { writing.write_all(&whole).await },
            async { timeout(BOUND, reading.read_exact(&mut answer)).await.expect("in time") },
        );
        assert!(sent.1.is_ok() && sent.2.is_ok());
        second.bytes.extend_from_slice(&answer);
        second.expect(&[(sequence, "success")]).await;
    }
}
