//! The messages: each one built for itself, none like another, and checked byte by byte where it is read.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

/// Bytes every message has: its number and its time.
pub(crate) const SIZE_MIN: usize = 16;
const NOISE_BYTES: usize = 64 << 10;

/// Builds and checks messages of one size: 8 bytes number, 8 bytes time (both little endian), then noise which no
/// compression shortens and which begins elsewhere for each number.
#[derive(Debug, Clone)]
pub(crate) struct Payload {
    size: usize,
    noise: Vec<u8>,
    built: Vec<u8>,
    origin: Instant,
}

impl Payload {
    /// Messages of `size` bytes; times count from `origin`.
    pub(crate) fn new(size: usize, origin: Instant) -> Self {
        let size = size.max(SIZE_MIN);
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut noise = Vec::with_capacity(NOISE_BYTES + size);
        while noise.len() < NOISE_BYTES + size {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            noise.extend_from_slice(&state.to_le_bytes());
        }
        Self { size, noise, built: vec![0; size], origin }
    }

    /// Message `number`, which was due at `time`.
    pub(crate) fn build(&mut self, number: u64, time: Duration) -> &[u8] {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.built[..8].copy_from_slice(&number.to_le_bytes());
        self.built[8..SIZE_MIN].copy_from_slice(&nanoseconds.to_le_bytes());
        let from = noise_start(number);
        let length = self.size - SIZE_MIN;
        self.built[SIZE_MIN..].copy_from_slice(&self.noise[from..from + length]);
        &self.built
    }

    /// Checks that `bytes` are message `number`, and says when it was due.
    pub(crate) fn check(&self, bytes: &[u8], number: u64) -> Result<Duration> {
        ensure!(bytes.len() == self.size, "message {number} has {} bytes, not {}", bytes.len(), self.size);
        let found = word(&bytes[..8]);
        ensure!(found == number, "message {found} where {number} is next");
        let from = noise_start(number);
        let noise = &self.noise[from..from + self.size - SIZE_MIN];
        ensure!(bytes[SIZE_MIN..] == *noise, "message {number} is damaged");
        Ok(Duration::from_nanos(word(&bytes[8..SIZE_MIN])))
    }

    /// How long ago the origin was.
    pub(crate) fn now(&self) -> Duration {
        self.origin.elapsed()
    }
}

fn noise_start(number: u64) -> usize {
    (number.wrapping_mul(97) % NOISE_BYTES as u64) as usize
}

fn word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_is_recognised_and_nothing_else() {
        for size in [16, 100, 1024, 70_000] {
            let mut payload = Payload::new(size, Instant::now());
            for number in [0, 1, 65_535, 1 << 40] {
                let due = Duration::from_micros(number + 5);
                let bytes = payload.build(number, due).to_vec();
                assert_eq!(bytes.len(), size);
                assert_eq!(payload.check(&bytes, number).unwrap(), due);
                assert!(payload.check(&bytes, number + 1).is_err());
                assert!(payload.check(&bytes[1..], number).is_err());
                if size > SIZE_MIN {
                    let mut damaged = bytes;
                    damaged[size - 1] ^= 1;
                    assert!(payload.check(&damaged, number).is_err());
                }
            }
        }
    }
}
