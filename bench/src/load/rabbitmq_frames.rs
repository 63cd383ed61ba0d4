//! The frames of the RabbitMQ stream protocol, as far as publishing and reading need them. Layout of a frame, big endian:
//! size u32 (of what follows), key u16, version u16, then for requests a correlation id u32, then the fields. Strings have
//! their length in an i16, bytes and arrays in an i32. Source: PROTOCOL.adoc of the plugin rabbitmq_stream.

use anyhow::{Context, Result, bail, ensure};

use super::wire::Wire;

pub(crate) const DECLARE_PUBLISHER: u16 = 0x01;
pub(crate) const PUBLISH: u16 = 0x02;
pub(crate) const PUBLISH_CONFIRM: u16 = 0x03;
pub(crate) const PUBLISH_ERROR: u16 = 0x04;
pub(crate) const SUBSCRIBE: u16 = 0x07;
pub(crate) const DELIVER: u16 = 0x08;
pub(crate) const CREDIT: u16 = 0x09;
pub(crate) const CREATE: u16 = 0x0d;
pub(crate) const DELETE: u16 = 0x0e;
const PEER_PROPERTIES: u16 = 0x11;
const SASL_HANDSHAKE: u16 = 0x12;
const SASL_AUTHENTICATE: u16 = 0x13;
const TUNE: u16 = 0x14;
const OPEN: u16 = 0x15;
const CLOSE: u16 = 0x16;
const HEARTBEAT: u16 = 0x17;
/// Set in the key of an answer.
const ANSWER: u16 = 0x8000;
const CODE_OK: u16 = 1;
const VERSION: u16 = 1;

/// Builds one frame into an output buffer; [`Self::end`] writes its size.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    output: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Frame<'a> {
    pub(crate) fn new(output: &'a mut Vec<u8>, key: u16) -> Self {
        let start = output.len();
        output.extend_from_slice(&[0; 4]);
        output.extend_from_slice(&key.to_be_bytes());
        output.extend_from_slice(&VERSION.to_be_bytes());
        Self { output, start }
    }

    pub(crate) fn u8(self, value: u8) -> Self {
        self.output.push(value);
        self
    }

    pub(crate) fn u16(self, value: u16) -> Self {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn u32(self, value: u32) -> Self {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn raw(self, bytes: &[u8]) -> Self {
        self.output.extend_from_slice(bytes);
        self
    }

    pub(crate) fn string(self, text: &str) -> Self {
        self.u16(text.len() as u16).raw(text.as_bytes())
    }

    pub(crate) fn end(self) {
        let size = (self.output.len() - self.start - 4) as u32;
        self.output[self.start..self.start + 4].copy_from_slice(&size.to_be_bytes());
    }
}

/// Takes fields off the front of a frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).context("a frame is shorter than its fields")?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8> {
        Ok(self.bytes(1)?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16> {
        let bytes = self.bytes(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        let bytes = self.bytes(4)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    pub(crate) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from(self.u32()?) << 32 | u64::from(self.u32()?))
    }
}

/// A connection that is authenticated and open.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) wire: Wire,
    correlation: u32,
}

impl Session {
    /// Says hello as `guest`, who may only come from this machine.
    pub(crate) fn connect(address: &str) -> Result<Self> {
        let mut session = Self { wire: Wire::connect(address)?, correlation: 0 };
        session.request(PEER_PROPERTIES, |frame| frame.u32(0))?;
        session.request(SASL_HANDSHAKE, |frame| frame)?;
        let secret = b"\0guest\0guest";
        session.request(SASL_AUTHENTICATE, |frame| frame.string("PLAIN").u32(secret.len() as u32).raw(secret))?;
        session.tune()?;
        session.request(OPEN, |frame| frame.string("/"))?;
        Ok(session)
    }

    /// Takes what the server proposes, but no heartbeats.
    fn tune(&mut self) -> Result<()> {
        let frame_max = loop {
            if let Some((TUNE, mut fields, length)) = next(self.wire.pending())? {
                let frame_max = fields.u32()?;
                self.wire.take(length);
                break frame_max;
            }
            self.wire.fill_surely()?;
        };
        Frame::new(self.wire.output(), TUNE).u32(frame_max).u32(0).end();
        self.wire.flush()
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn request(&mut self, key: u16, fields: impl FnOnce(Frame<'_>) -> Frame<'_>) -> Result<()> {
        self.correlation += 1;
        let frame = Frame::new(self.wire.output(), key).u32(self.correlation);
        fields(frame).end();
        self.wire.flush()?;
        loop {
            let Some((answer, mut fields, length)) = next(self.wire.pending())? else {
                self.wire.fill_surely()?;
                continue;
            };
            if answer == TUNE {
                bail!("the server proposed settings before it answered {key:#x}");
            }
            let code = if answer == key | ANSWER { Some((fields.u32()?, fields.u16()?)) } else { None };
            self.wire.take(length);
            if let Some((correlation, code)) = code {
                ensure!(correlation == self.correlation, "an answer to another request");
                ensure!(code == CODE_OK, "request {key:#x} was answered with code {code}");
                return Ok(());
            }
            ensure!(answer == HEARTBEAT, "frame {answer:#x} where the answer to {key:#x} is due");
        }
    }
}

/// The key, the fields and the whole length of the next frame, or nothing where it has not wholly come.
pub(crate) fn next(pending: &[u8]) -> Result<Option<(u16, Fields<'_>, usize)>> {
    if pending.len() < 8 {
        return Ok(None);
    }
    let size = Fields(pending).u32()? as usize;
    let Some(frame) = pending.get(4..4 + size) else { return Ok(None) };
    let mut fields = Fields(frame);
    let key = fields.u16()?;
    fields.u16()?;
    ensure!(key != CLOSE, "the server closes the connection: {}", String::from_utf8_lossy(fields.0));
    Ok(Some((key, fields, 4 + size)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_understood_only_whole() {
        let mut bytes = Vec::new();
        Frame::new(&mut bytes, CREATE).u32(7).string("stream").u8(9).end();
        assert_eq!(bytes.len(), 4 + 2 + 2 + 4 + 2 + 6 + 1);
        for end in 0..bytes.len() {
            assert!(next(&bytes[..end]).unwrap().is_none());
        }
        let (key, mut fields, length) = next(&bytes).unwrap().unwrap();
        assert_eq!((key, length), (CREATE, bytes.len()));
        assert_eq!((fields.u32().unwrap(), fields.u16().unwrap()), (7, 6));
        assert_eq!((fields.bytes(6).unwrap(), fields.u8().unwrap()), (&b"stream"[..], 9));
        assert!(fields.u8().is_err());
    }
}
