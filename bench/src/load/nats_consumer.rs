//! Reading a NATS stream by a push consumer with flow control and without acknowledgements: what the ordered consumers of
//! NATS' own clients were built on, and the quicker way to read from the beginning.

use anyhow::{Result, bail};
use serde_json::json;

use super::Consumer;
use super::nats::{Operation, Session, operation};

const HEARTBEAT_NS: u64 = 5_000_000_000;

/// A reader of one stream.
#[derive(Debug)]
pub(crate) struct NatsConsumer {
    session: Session,
}

impl NatsConsumer {
    pub(crate) fn new(mut session: Session, stream: &str) -> Result<Self> {
        let name = format!("reader{}", session.wire.local_port()?);
        let deliver = format!("{}.d", session.inbox);
        let config = json!({
            "name": name, "ack_policy": "none", "deliver_policy": "all", "replay_policy": "instant", "max_deliver": 1,
            "mem_storage": true, "num_replicas": 1, "inactive_threshold": 300_000_000_000_u64,
            "deliver_subject": deliver, "flow_control": true, "idle_heartbeat": HEARTBEAT_NS,
        });
        let body = json!({"stream_name": stream, "config": config});
        session.request(&format!("CONSUMER.CREATE.{stream}.{name}"), &body)?;
        // Nothing is delivered before somebody listens, so that the answer above is all that can have come.
        session.wire.output().extend_from_slice(format!("SUB {deliver} 2\r\n").as_bytes());
        session.wire.flush()?;
        Ok(Self { session })
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
                    // A status: 100 is a heartbeat, or asks for an answer before more is sent.
                    if !message.headers.starts_with(b"NATS/1.0 100") {
                        bail!("the server ended the delivery: {}", String::from_utf8_lossy(message.headers));
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
        self.session.wire.flush()?;
        if read == 0 {
            self.session.wire.fill()?;
        }
        Ok(read)
    }
}
