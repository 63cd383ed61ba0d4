//! Redis Streams: pipelined `XADD`, and `XREAD COUNT` from the last id on. A batch is a pipeline, as Redis' documentation
//! advises; with many single messages in flight one write carries all that fit in the window.

use anyhow::{Result, bail, ensure};

use super::wire::{Wire, line, number, push_number};
use super::{Acknowledged, Consumer, LoadArguments, Publisher, Target};

/// Entries one `XREAD` asks for, unless `--tune count=N` says otherwise.
const COUNT: usize = 1000;
/// Milliseconds one `XREAD` waits for something new.
const BLOCK_MS: &str = "100";

/// A Redis server.
#[derive(Debug)]
pub(crate) struct Redis {
    address: String,
    key: String,
    count: usize,
}

impl Redis {
    pub(crate) fn new(arguments: &LoadArguments) -> Self {
        Self {
            address: arguments.address(),
            key: format!("bench:{}", std::process::id()),
            count: arguments.tuned_number("count").unwrap_or(COUNT),
        }
    }

    fn key(&self, partition: usize) -> Vec<u8> {
        format!("{}:{partition}", self.key).into_bytes()
    }
}

impl Target for Redis {
    fn create(&self, partitions: usize) -> Result<()> {
        self.delete(partitions)
    }

    fn publisher(&self, partition: usize, _batch: usize) -> Result<Box<dyn Publisher>> {
        let mut prefix = Vec::new();
        command(&mut prefix, 5, &[b"XADD", &self.key(partition), b"*", b"m"]);
        prefix.push(b'$');
        Ok(Box::new(RedisPublisher { wire: Wire::connect(&self.address)?, prefix }))
    }

    fn consumer(&self, partition: usize) -> Result<Box<dyn Consumer>> {
        Ok(Box::new(RedisConsumer {
            wire: Wire::connect(&self.address)?,
            key: self.key(partition),
            count: self.count.to_string(),
            last: b"0".to_vec(),
            left: 0,
            asked: false,
        }))
    }

    fn delete(&self, partitions: usize) -> Result<()> {
        let mut wire = Wire::connect(&self.address)?;
        for partition in 0..partitions {
            command(wire.output(), 2, &[b"UNLINK", &self.key(partition)]);
        }
        wire.flush()?;
        for _ in 0..partitions {
            let reply = reply_line(&mut wire)?;
            ensure!(reply.starts_with(b":"), "UNLINK answered {}", String::from_utf8_lossy(&reply));
        }
        Ok(())
    }
}

/// Appends the beginning of a command of `words` words: as many as are given.
fn command(output: &mut Vec<u8>, words: usize, given: &[&[u8]]) {
    output.push(b'*');
    push_number(output, words);
    output.extend_from_slice(b"\r\n");
    for word in given {
        output.push(b'$');
        push_number(output, word.len());
        output.extend_from_slice(b"\r\n");
        output.extend_from_slice(word);
        output.extend_from_slice(b"\r\n");
    }
}

fn reply_line(wire: &mut Wire) -> Result<Vec<u8>> {
    loop {
        if let Some(reply) = line(wire.pending()) {
            let reply = reply.to_vec();
            wire.take(reply.len() + 2);
            return Ok(reply);
        }
        wire.fill_surely()?;
    }
}

struct RedisPublisher {
    wire: Wire,
    prefix: Vec<u8>,
}

impl Publisher for RedisPublisher {
    fn push(&mut self, payload: &[u8]) -> Result<()> {
        let output = self.wire.output();
        output.extend_from_slice(&self.prefix);
        push_number(output, payload.len());
        output.extend_from_slice(b"\r\n");
        output.extend_from_slice(payload);
        output.extend_from_slice(b"\r\n");
        self.wire.flush_if_large()
    }

    fn end_batch(&mut self) -> Result<()> {
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.wire.flush()
    }

    fn acknowledged(&mut self, wait: bool) -> Result<Acknowledged> {
        let mut news = Acknowledged::default();
        loop {
            let (mut at, pending) = (0, self.wire.pending());
            while let Some((length, accepted)) = add_reply(&pending[at..])? {
                at += length;
                news.answered += 1;
                news.refused += u64::from(!accepted);
            }
            self.wire.take(at);
            if news.answered > 0 {
                return Ok(news);
            }
            if wait {
                self.wire.fill_surely()?;
            } else if !self.wire.fill_now()? {
                return Ok(news);
            }
        }
    }
}

/// The length of the answer to an `XADD` and whether it is an id, or nothing where it has not wholly come.
fn add_reply(bytes: &[u8]) -> Result<Option<(usize, bool)>> {
    let Some(head) = line(bytes) else { return Ok(None) };
    match head.first() {
        Some(b'$') => {
            let length = head.len() + 2 + number(&head[1..])? + 2;
            Ok((bytes.len() >= length).then_some((length, true)))
        }
        Some(b'-') => Ok(Some((head.len() + 2, false))),
        _ => bail!("XADD answered {}", String::from_utf8_lossy(head)),
    }
}

struct RedisConsumer {
    wire: Wire,
    key: Vec<u8>,
    count: String,
    last: Vec<u8>,
    /// Entries of the current answer that are still to come.
    left: usize,
    asked: bool,
}

impl RedisConsumer {
    fn ask(&mut self) -> Result<()> {
        let words: [&[u8]; 8] = [
            b"XREAD",
            b"COUNT",
            self.count.as_bytes(),
            b"BLOCK",
            BLOCK_MS.as_bytes(),
            b"STREAMS",
            &self.key,
            &self.last,
        ];
        command(self.wire.output(), words.len(), &words);
        self.asked = true;
        self.wire.flush()
    }

    /// Takes the head of an answer; `false` where it has not wholly come.
    fn head(&mut self) -> Result<bool> {
        let pending = self.wire.pending();
        match pending.first() {
            None => return Ok(false),
            Some(b'-') => bail!("XREAD answered {}", String::from_utf8_lossy(pending)),
            _ => {}
        }
        if pending.starts_with(b"*-1\r\n") {
            self.wire.take(5);
            self.asked = false;
            return Ok(true);
        }
        let mut reader = Reader { bytes: pending, at: 0 };
        let Some(entries) = reader.head()? else { return Ok(false) };
        let at = reader.at;
        self.wire.take(at);
        self.left = entries;
        self.asked = entries > 0;
        Ok(true)
    }
}

impl Consumer for RedisConsumer {
    fn read(&mut self, visit: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<u64> {
        if !self.asked {
            self.ask()?;
        }
        if self.left == 0 && !self.head()? {
            return self.wire.fill().map(|_| 0);
        }
        let mut reader = Reader { bytes: self.wire.pending(), at: 0 };
        let (mut read, mut end) = (0, 0);
        while self.left > 0 {
            let Some((id, payload)) = reader.entry()? else { break };
            visit(payload)?;
            self.left -= 1;
            if self.left == 0 {
                self.last.clear();
                self.last.extend_from_slice(id);
                self.asked = false;
            }
            end = reader.at;
            read += 1;
        }
        self.wire.take(end);
        if !self.asked {
            self.ask()?;
        } else if read == 0 {
            self.wire.fill()?;
        }
        Ok(read)
    }
}

/// Takes an answer apart; each part is nothing where it has not wholly come.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// The number of entries of the only stream, which is a pair of its key and its entries.
    fn head(&mut self) -> Result<Option<usize>> {
        if self.header(b'*')?.is_none() || self.header(b'*')?.is_none() || self.bulk()?.is_none() {
            return Ok(None);
        }
        self.header(b'*')
    }

    /// An id and the value of its only field.
    fn entry(&mut self) -> Result<Option<(&'a [u8], &'a [u8])>> {
        if self.header(b'*')?.is_none() {
            return Ok(None);
        }
        let Some(id) = self.bulk()? else { return Ok(None) };
        if self.header(b'*')?.is_none() || self.bulk()?.is_none() {
            return Ok(None);
        }
        Ok(self.bulk()?.map(|payload| (id, payload)))
    }

    fn header(&mut self, kind: u8) -> Result<Option<usize>> {
        let Some(head) = line(&self.bytes[self.at..]) else { return Ok(None) };
        ensure!(head.first() == Some(&kind), "an answer of another shape: {}", String::from_utf8_lossy(head));
        self.at += head.len() + 2;
        number(&head[1..]).map(Some)
    }

    fn bulk(&mut self) -> Result<Option<&'a [u8]>> {
        let Some(length) = self.header(b'$')? else { return Ok(None) };
        let Some(bytes) = self.bytes.get(self.at..self.at + length) else { return Ok(None) };
        if self.bytes.len() < self.at + length + 2 {
            return Ok(None);
        }
        self.at += length + 2;
        Ok(Some(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_understood_only_whole() {
        let whole = b"$15\r\n1526919030474-0\r\n";
        for end in 0..whole.len() {
            assert_eq!(add_reply(&whole[..end]).unwrap(), None);
        }
        assert_eq!(add_reply(whole).unwrap(), Some((whole.len(), true)));
        assert_eq!(add_reply(b"-OOM no room\r\n").unwrap(), Some((14, false)));
        assert!(add_reply(b"+OK\r\n").is_err());
    }

    #[test]
    fn an_entry_is_read_only_whole() {
        let whole = b"*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\nm\r\n$2\r\nh\n\r\n";
        for end in 0..whole.len() {
            assert_eq!(Reader { bytes: &whole[..end], at: 0 }.entry().unwrap(), None);
        }
        assert_eq!(Reader { bytes: whole, at: 0 }.entry().unwrap(), Some((&b"1-0"[..], &b"h\n"[..])));
    }
}
