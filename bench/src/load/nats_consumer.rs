//! Reading a NATS stream: a pull consumer without acknowledgements whose requests overlap, or with `--tune push` an
//! ordered push consumer with flow control.

use anyhow::{Result, bail};
use serde_json::json;

use super::Consumer;
use super::nats::{Operation, Session, operation};

/// Nanoseconds a pull waits at the server.
const PULL_EXPIRES_NS: u64 = 30_000_000_000;
const HEARTBEAT_NS: u64 = 5_000_000_000;

/// A reader of one stream.
#[derive(Debug)]
pub(crate) struct NatsConsumer {
    session: Session,
    /// What a pull sends; empty for a push consumer.
    pull: Vec<u8>,
    batch: usize,
    /// Messages asked for and not yet come.
    asked: usize,
}

impl NatsConsumer {
    pub(crate) fn new(mut session: Session, stream: &str, batch: usize, push: bool) -> Result<Self> {
        let name = format!("reader{}", session.wire.local_port()?);
        let mut config = json!({
            "name": name, "ack_policy": "none", "deliver_policy": "all", "replay_policy": "instant", "max_deliver": 1,
            "mem_storage": true, "num_replicas": 1, "inactive_threshold": 300_000_000_000_u64,
        });
        let inbox = session.inbox.clone();
        if push {
            let deliver = format!("{inbox}.d");
            session.wire.output().extend_from_slice(format!("SUB {deliver} 2\r\n").as_bytes());
            config["deliver_subject"] = json!(deliver);
            config["flow_control"] = json!(true);
            config["idle_heartbeat"] = json!(HEARTBEAT_NS);
        }
        let body = json!({"stream_name": stream, "config": config});
        session.request(&format!("CONSUMER.CREATE.{stream}.{name}"), &body)?;
        let body = json!({"batch": batch, "expires": PULL_EXPIRES_NS}).to_string();
        let pull = format!("PUB $JS.API.CONSUMER.MSG.NEXT.{stream}.{name} {inbox} {}\r\n{body}\r\n", body.len());
        let pull = if push { Vec::new() } else { pull.into_bytes() };
        let mut consumer = Self { session, pull, batch, asked: 0 };
        consumer.ask()?;
        Ok(consumer)
    }

    /// Keeps between one and two pulls open, so that the server never waits for the next.
    fn ask(&mut self) -> Result<()> {
        while !self.pull.is_empty() && self.asked <= self.batch {
            self.session.wire.output().extend_from_slice(&self.pull);
            self.asked += self.batch;
        }
        self.session.wire.flush()
    }
}

impl Consumer for NatsConsumer {
    fn read(&mut self, visit: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<u64> {
        let (mut read, mut at) = (0_u64, 0);
        let mut answers = Vec::new();
        loop {
            match operation(&self.session.wire.pending()[at..])? {
                Some(Operation::Message(message)) if message.headers.is_empty() => {
                    visit(message.payload)?;
                    read += 1;
                    at += message.length;
                }
                Some(Operation::Message(message)) => {
                    // A status: 100 is a heartbeat or asks for flow control; anything else ends a pull.
                    if !message.headers.starts_with(b"NATS/1.0 100") {
                        bail!("the server ended a pull: {}", String::from_utf8_lossy(message.headers));
                    }
                    if !message.reply.is_empty() {
                        answers.extend_from_slice(b"PUB ");
                        answers.extend_from_slice(message.reply);
                        answers.extend_from_slice(b" 0\r\n\r\n");
                    }
                    at += message.length;
                }
                Some(Operation::Ping(length)) => {
                    answers.extend_from_slice(b"PONG\r\n");
                    at += length;
                }
                Some(Operation::Other(length)) => at += length,
                None => break,
            }
        }
        self.session.wire.take(at);
        self.session.wire.output().extend_from_slice(&answers);
        self.asked = self.asked.saturating_sub(usize::try_from(read)?);
        self.ask()?;
        if read == 0 {
            self.session.wire.fill()?;
        }
        Ok(read)
    }
}
