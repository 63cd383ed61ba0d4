//! NATS JetStream: a file stream with one replica for each partition. Messages are published without waiting for each
//! acknowledgement, and every acknowledgement is counted. A batch is what is sent at once; the batches that NATS knows of
//! (atomic ones, fast ingest) were tried and brought nothing, see the README.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::nats_consumer::NatsConsumer;
use super::wire::{Wire, line, number, push_number};
use super::{Acknowledged, Consumer, LoadArguments, Publisher, Target};

/// A NATS server.
#[derive(Debug)]
pub(crate) struct Nats {
    address: String,
    stream: String,
}

impl Nats {
    pub(crate) fn new(arguments: &LoadArguments) -> Self {
        Self { address: arguments.address(), stream: format!("BENCH{}", std::process::id()) }
    }

    fn stream(&self, partition: usize) -> String {
        format!("{}-{partition}", self.stream)
    }
}

impl Target for Nats {
    fn create(&self, partitions: usize) -> Result<()> {
        let mut session = Session::connect(&self.address)?;
        for partition in 0..partitions {
            let name = self.stream(partition);
            let config = json!({
                "name": name, "subjects": [name], "storage": "file", "retention": "limits", "num_replicas": 1,
                "allow_direct": true, "discard": "old",
            });
            session.request(&format!("STREAM.CREATE.{name}"), &config)?;
        }
        Ok(())
    }

    fn publisher(&self, partition: usize, _batch: usize) -> Result<Box<dyn Publisher>> {
        let mut session = Session::connect(&self.address)?;
        let subject = self.stream(partition);
        let prefix = format!("PUB {subject} {} ", session.inbox).into_bytes();
        session.wire.flush()?;
        Ok(Box::new(NatsPublisher { session, prefix }))
    }

    fn consumer(&self, partition: usize) -> Result<Box<dyn Consumer>> {
        let session = Session::connect(&self.address)?;
        Ok(Box::new(NatsConsumer::new(session, &self.stream(partition))?))
    }

    fn delete(&self, partitions: usize) -> Result<()> {
        let mut session = Session::connect(&self.address)?;
        for partition in 0..partitions {
            session.request(&format!("STREAM.DELETE.{}", self.stream(partition)), &Value::Null)?;
        }
        Ok(())
    }
}

/// A connection that has said hello and hears its own inbox.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) wire: Wire,
    /// Subscription 1.
    pub(crate) inbox: String,
}

/// A message as it came; `status` is what a message without a payload says in its header.
#[derive(Debug)]
pub(crate) struct Delivered<'a> {
    pub(crate) reply: &'a [u8],
    pub(crate) headers: &'a [u8],
    pub(crate) payload: &'a [u8],
    /// Bytes of the whole.
    pub(crate) length: usize,
}

/// One operation of the server.
#[derive(Debug)]
pub(crate) enum Operation<'a> {
    Message(Delivered<'a>),
    Ping(usize),
    /// What needs no answer: INFO, PONG, +OK.
    Other(usize),
}

impl Session {
    pub(crate) fn connect(address: &str) -> Result<Self> {
        let mut wire = Wire::connect(address)?;
        let unique = wire.local_port()?;
        let inbox = format!("_B.{}.{unique}", std::process::id());
        let hello = json!({"verbose": false, "pedantic": false, "lang": "rust", "version": "1", "headers": true,
            "no_responders": true, "echo": true});
        wire.output().extend_from_slice(format!("CONNECT {hello}\r\nSUB {inbox} 1\r\nPING\r\n").as_bytes());
        wire.flush()?;
        loop {
            let Some(operation) = line(wire.pending()) else {
                wire.fill_surely()?;
                continue;
            };
            let (length, pong) = (operation.len() + 2, operation == b"PONG");
            if operation.starts_with(b"-ERR") {
                bail!("the server says {}", String::from_utf8_lossy(operation));
            }
            wire.take(length);
            if pong {
                return Ok(Self { wire, inbox });
            }
        }
    }

    /// Asks the JetStream API.
    pub(crate) fn request(&mut self, subject: &str, body: &Value) -> Result<Value> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let asked = format!("PUB $JS.API.{subject} {} {}\r\n{body}\r\n", self.inbox, body.len());
        self.wire.output().extend_from_slice(asked.as_bytes());
        self.wire.flush()?;
        loop {
            if let Some(Operation::Message(message)) = self.next()? {
                let answer: Value = serde_json::from_slice(message.payload).context("JetStream is not enabled")?;
                let length = message.length;
                self.wire.take(length);
                if let Some(error) = answer.get("error") {
                    bail!("{subject}: {error}");
                }
                return Ok(answer);
            }
            self.wire.fill_surely()?;
        }
    }

    /// The next message that has wholly come; what else there is before it is dealt with. The message stays pending.
    pub(crate) fn next(&mut self) -> Result<Option<Operation<'_>>> {
        loop {
            match operation(self.wire.pending())? {
                Some(Operation::Ping(length)) => {
                    self.wire.take(length);
                    self.wire.output().extend_from_slice(b"PONG\r\n");
                    self.wire.flush()?;
                }
                Some(Operation::Other(length)) => self.wire.take(length),
                Some(Operation::Message(_)) => return operation(self.wire.pending()),
                None => return Ok(None),
            }
        }
    }
}

/// The operation that `bytes` begin with, or nothing where it has not wholly come.
pub(crate) fn operation(bytes: &[u8]) -> Result<Option<Operation<'_>>> {
    let Some(head) = line(bytes) else { return Ok(None) };
    let body = head.len() + 2;
    let mut words = head.split(|&byte| byte == b' ');
    let (with_headers, counts) = match words.next() {
        Some(b"MSG") => (false, 1),
        Some(b"HMSG") => (true, 2),
        Some(b"PING") => return Ok(Some(Operation::Ping(body))),
        Some(b"-ERR") => bail!("the server says {}", String::from_utf8_lossy(head)),
        _ => return Ok(Some(Operation::Other(body))),
    };
    // MSG subject sid [reply] total; HMSG subject sid [reply] headers total.
    let mut rest = [&b""[..]; 5];
    let mut found = 0;
    for (slot, word) in rest.iter_mut().zip(words) {
        *slot = word;
        found += 1;
    }
    ensure!(found >= 2 + counts, "an operation of another shape: {}", String::from_utf8_lossy(head));
    let reply = if found > 2 + counts { rest[2] } else { b"" };
    let total = number(rest[found - 1])?;
    let headers = if with_headers { number(rest[found - 2])? } else { 0 };
    if bytes.len() < body + total + 2 {
        return Ok(None);
    }
    let (headers, payload) = bytes[body..body + total].split_at(headers);
    Ok(Some(Operation::Message(Delivered { reply, headers, payload, length: body + total + 2 })))
}

struct NatsPublisher {
    session: Session,
    prefix: Vec<u8>,
}

impl Publisher for NatsPublisher {
    fn push(&mut self, payload: &[u8]) -> Result<()> {
        let output = self.session.wire.output();
        output.extend_from_slice(&self.prefix);
        push_number(output, payload.len());
        output.extend_from_slice(b"\r\n");
        output.extend_from_slice(payload);
        output.extend_from_slice(b"\r\n");
        self.session.wire.flush_if_large()
    }

    fn end_batch(&mut self) -> Result<()> {
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.session.wire.flush()
    }

    fn acknowledged(&mut self, wait: bool) -> Result<Acknowledged> {
        let mut news = Acknowledged::default();
        loop {
            while let Some(Operation::Message(message)) = self.session.next()? {
                // Where a publish is stored, the answer is {"stream":…,"seq":…}.
                let stored = message.payload.windows(6).any(|part| part == b"\"seq\":");
                let length = message.length;
                self.session.wire.take(length);
                news.answered += 1;
                news.refused += u64::from(!stored);
            }
            if news.answered > 0 {
                return Ok(news);
            }
            if wait {
                self.session.wire.fill_surely()?;
            } else if !self.session.wire.fill_now()? {
                return Ok(news);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_understood_only_whole() {
        for whole in
            [&b"MSG a.b 1 2\r\nhi\r\n"[..], b"MSG a.b 1 back 2\r\nhi\r\n", b"HMSG a.b 1 back 4 6\r\nH\r\n\0hi\r\n"]
        {
            for end in 0..whole.len() {
                assert!(operation(&whole[..end]).unwrap().is_none());
            }
            let Some(Operation::Message(message)) = operation(whole).unwrap() else { panic!("no message") };
            assert_eq!((message.payload, message.length), (&b"hi"[..], whole.len()));
            assert_eq!(message.reply.is_empty(), !whole.windows(4).any(|part| part == b"back"));
        }
        assert!(matches!(operation(b"PING\r\n").unwrap(), Some(Operation::Ping(6))));
        assert!(matches!(operation(b"+OK\r\n").unwrap(), Some(Operation::Other(5))));
        assert!(operation(b"-ERR 'no'\r\n").is_err());
    }
}
