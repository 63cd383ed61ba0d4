//! One blocking TCP connection with a read buffer and a write buffer: what every load program here speaks its protocol
//! over. It must never copy a payload more than once in either direction, and never wait without a bound.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long a read may find nothing before it returns to whoever asked.
const READ_PAUSE: Duration = Duration::from_millis(100);
/// How long an answer that must come may take. Longer than any sync of a busy disk.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(30);
const INPUT_BYTES: usize = 1 << 20;
const OUTPUT_BYTES: usize = 256 << 10;

/// A connection to a server.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    input: Vec<u8>,
    start: usize,
    end: usize,
    output: Vec<u8>,
}

impl Wire {
    /// Connects to `address` (`host:port`).
    pub(crate) fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(READ_PAUSE))?;
        Ok(Self { stream, input: vec![0; INPUT_BYTES], start: 0, end: 0, output: Vec::with_capacity(OUTPUT_BYTES) })
    }

    /// The port at this end: no other connection has it at the same time.
    pub(crate) fn local_port(&self) -> Result<u16> {
        Ok(self.stream.local_addr()?.port())
    }

    /// What was received and not yet taken.
    pub(crate) fn pending(&self) -> &[u8] {
        &self.input[self.start..self.end]
    }

    /// Takes `count` bytes off the front of [`Self::pending`].
    pub(crate) fn take(&mut self, count: usize) {
        self.start += count;
        debug_assert!(self.start <= self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Reads once; `false` where nothing came for a tenth of a second.
    pub(crate) fn fill(&mut self) -> Result<bool> {
        self.make_room();
        match self.stream.read(&mut self.input[self.end..]) {
            Ok(0) => bail!("the server closed the connection"),
            Ok(count) => {
                self.end += count;
                Ok(true)
            }
            Err(error) if is_pause(&error) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads what has come already, without waiting.
    pub(crate) fn fill_now(&mut self) -> Result<bool> {
        self.stream.set_nonblocking(true)?;
        let filled = self.fill();
        self.stream.set_nonblocking(false)?;
        filled
    }

    /// Reads until something comes, with a bound.
    pub(crate) fn fill_surely(&mut self) -> Result<()> {
        let since = Instant::now();
        while !self.fill()? {
            if since.elapsed() > ANSWER_MAX {
                bail!("no answer for {} s", ANSWER_MAX.as_secs());
            }
        }
        Ok(())
    }

    /// The buffer that [`Self::flush`] sends.
    pub(crate) fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Sends the output when it has grown past what is worth holding.
    pub(crate) fn flush_if_large(&mut self) -> Result<()> {
        if self.output.len() >= OUTPUT_BYTES { self.flush() } else { Ok(()) }
    }

    /// Sends the output.
    pub(crate) fn flush(&mut self) -> Result<()> {
        if !self.output.is_empty() {
            self.stream.write_all(&self.output).context("cannot send")?;
            self.output.clear();
        }
        Ok(())
    }

    fn make_room(&mut self) {
        if self.end < self.input.len() {
            return;
        }
        if self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        } else {
            self.input.resize(self.input.len() * 2, 0);
        }
    }
}

fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// Appends a decimal number.
pub(crate) fn push_number(output: &mut Vec<u8>, mut number: usize) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    output.extend_from_slice(&digits[at..]);
}

/// The line that `bytes` begin with, without its CR LF, or nothing where it has not wholly come.
pub(crate) fn line(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    Some(bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]))
}

/// A decimal number; anything else is a protocol we do not understand.
pub(crate) fn number(bytes: &[u8]) -> Result<usize> {
    let text = std::str::from_utf8(bytes)?;
    text.parse().with_context(|| format!("'{text}' is not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_both_ways() {
        for expected in [0, 7, 10, 1024, 18_446_744_073_709_551_615_usize] {
            let mut text = Vec::new();
            push_number(&mut text, expected);
            assert_eq!(number(&text).unwrap(), expected);
        }
    }

    #[test]
    fn a_line_ends_where_it_ends() {
        assert_eq!(line(b"+OK\r\nmore"), Some(&b"+OK"[..]));
        assert_eq!(line(b"+OK\r"), None);
        assert_eq!(line(b"\n"), Some(&b""[..]));
    }
}
