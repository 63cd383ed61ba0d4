//! A stream of bytes cut into lines, each without its newline and with every other byte as it is.

use std::io::{self, Read};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

/// Bytes read at once.
const READ_BYTES: usize = 64 << 10;

/// The longest line taken: what the largest message limit a broker can be given allows.
const LINE_BYTES_MAX: usize = 64 << 20;

/// Lines read ahead, in reads.
const READS_AHEAD: usize = 4;

/// The lines of one read, or what went wrong.
pub(super) type Lines = io::Result<Vec<Bytes>>;

/// Reads `input` on a thread of its own, so that waiting for it holds up nothing else. Must be called on a runtime.
pub(super) fn read_lines(input: impl Read + Send + 'static) -> mpsc::Receiver<Lines> {
    let (sender, lines) = mpsc::channel(READS_AHEAD);
    tokio::task::spawn_blocking(move || {
        let cut = cut_lines(input, |lines| sender.blocking_send(Ok(lines)).is_ok());
        if let Err(error) = cut {
            // Where the receiver is gone, nobody wants to know.
            drop(sender.blocking_send(Err(error)));
        }
    });
    lines
}

/// Cuts `input` into lines and hands over those of each read, until `take` wants no more. What follows the last newline
/// is a line unless it is empty.
fn cut_lines(mut input: impl Read, mut take: impl FnMut(Vec<Bytes>) -> bool) -> io::Result<()> {
    let mut held = BytesMut::new();
    let mut chunk = vec![0; READ_BYTES];
    loop {
        let read = match input.read(&mut chunk) {
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        if read == 0 {
            if !held.is_empty() {
                take(vec![held.freeze()]);
            }
            return Ok(());
        }
        // Only what is new can hold a newline.
        let mut searched = held.len();
        held.extend_from_slice(&chunk[..read]);
        let mut lines = Vec::new();
        while let Some(at) = held[searched..].iter().position(|&b| b == b'\n') {
            let line = held.split_to(searched + at + 1).freeze();
            lines.push(line.slice(..line.len() - 1));
            searched = 0;
        }
        if held.len() > LINE_BYTES_MAX {
            return Err(io::Error::other("a line longer than 64 MiB"));
        }
        if !lines.is_empty() && !take(lines) {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Input that comes `step` bytes at a time.
    struct Dribble<'a>(&'a [u8], usize);

    impl Read for Dribble<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let (now, rest) = self.0.split_at(self.1.min(self.0.len()));
            into[..now.len()].copy_from_slice(now);
            self.0 = rest;
            Ok(now.len())
        }
    }

    fn check(input: &[u8], expected: &[&[u8]]) {
        for step in 1..=input.len() + 1 {
            let mut lines = Vec::new();
            let take = |mut more: Vec<Bytes>| {
                lines.append(&mut more);
                true
            };
            cut_lines(Dribble(input, step), take).expect("reads");
            assert_eq!(lines, expected, "{input:?} in steps of {step}");
        }
    }

    #[test]
    fn lines_keep_every_byte() {
        check(b"", &[]);
        check(b"a", &[b"a"]);
        check(b"a\n", &[b"a"]);
        check(b"\n", &[b""]);
        check(b"\n\na\r\n\xff\0\n b", &[b"", b"", b"a\r", b"\xff\0", b" b"]);
    }
}
