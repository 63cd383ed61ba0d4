//! RabbitMQ streams: publishes with confirms, and reads with credits. A batch is one Publish frame, or two; with
//! `--tune sub-entry=N` up to N of its messages travel as one entry (sub-entry batching, without compression).

use anyhow::{Context, Result, bail, ensure};

use super::rabbitmq_frames::{
    CREATE, CREDIT, DECLARE_PUBLISHER, DELETE, DELIVER, Fields, Frame, PUBLISH, PUBLISH_CONFIRM, PUBLISH_ERROR,
    SUBSCRIBE, Session, next,
};
use super::wire::Wire;
use super::{Acknowledged, Consumer, LoadArguments, Publisher, Target};

const PUBLISHER: u8 = 1;
const SUBSCRIPTION: u8 = 1;
/// Chunks the server may send ahead, unless `--tune credit=N` says otherwise.
const CREDITS: u16 = 50;
/// A frame is sent once it has grown to this: the server takes 1 MiB.
const FRAME_BYTES: usize = 512 << 10;
const OFFSET_FIRST: u16 = 1;
/// In the first byte of an entry: a sub-entry batch.
const SUB_ENTRY: u8 = 0x80;
/// AMQP 1.0: a described type, the section of plain data.
const DATA_SECTION: [u8; 3] = [0x00, 0x53, 0x75];
const BINARY_SHORT: u8 = 0xa0;
const BINARY_LONG: u8 = 0xb0;

/// A RabbitMQ server with the stream plugin.
#[derive(Debug)]
pub(crate) struct RabbitMq {
    address: String,
    stream: String,
    sub_entry: usize,
    credits: u16,
}

impl RabbitMq {
    pub(crate) fn new(arguments: &LoadArguments) -> Self {
        Self {
            address: arguments.address(),
            stream: format!("bench-{}", std::process::id()),
            sub_entry: arguments.tuned_number("sub-entry").unwrap_or(1),
            credits: arguments.tuned_number("credit").and_then(|credit| credit.try_into().ok()).unwrap_or(CREDITS),
        }
    }

    fn stream(&self, partition: usize) -> String {
        format!("{}-{partition}", self.stream)
    }
}

impl Target for RabbitMq {
    fn create(&self, partitions: usize) -> Result<()> {
        let mut session = Session::connect(&self.address)?;
        for partition in 0..partitions {
            session.request(CREATE, |frame| frame.string(&self.stream(partition)).u32(0))?;
        }
        Ok(())
    }

    fn publisher(&self, partition: usize, batch: usize) -> Result<Box<dyn Publisher>> {
        let mut session = Session::connect(&self.address)?;
        let stream = self.stream(partition);
        session.request(DECLARE_PUBLISHER, |frame| frame.u8(PUBLISHER).string("").string(&stream))?;
        Ok(Box::new(RabbitPublisher {
            session,
            sub_entry: self.sub_entry.min(batch),
            next_id: 0,
            answered_id: 0,
            sizes: Vec::new(),
            entries: 0,
            held: 0,
            body: Vec::new(),
            entry: Vec::new(),
        }))
    }

    fn consumer(&self, partition: usize) -> Result<Box<dyn Consumer>> {
        let mut session = Session::connect(&self.address)?;
        let (stream, credits) = (self.stream(partition), self.credits);
        session
            .request(SUBSCRIBE, |frame| frame.u8(SUBSCRIPTION).string(&stream).u16(OFFSET_FIRST).u16(credits).u32(0))?;
        Ok(Box::new(RabbitConsumer { wire: session.wire }))
    }

    fn delete(&self, partitions: usize) -> Result<()> {
        let mut session = Session::connect(&self.address)?;
        for partition in 0..partitions {
            session.request(DELETE, |frame| frame.string(&self.stream(partition)))?;
        }
        Ok(())
    }
}

struct RabbitPublisher {
    session: Session,
    sub_entry: usize,
    next_id: u64,
    /// The first publishing id not yet answered: confirms of one publisher come in order.
    answered_id: u64,
    /// Messages of each publishing id.
    sizes: Vec<u32>,
    /// Entries of the batch, and messages of the entry that is being filled.
    entries: u32,
    held: usize,
    body: Vec<u8>,
    entry: Vec<u8>,
}

impl RabbitPublisher {
    /// Ends the entry that is being filled.
    fn end_entry(&mut self) {
        if self.held == 0 {
            return;
        }
        self.body.extend_from_slice(&self.next_id.to_be_bytes());
        if self.sub_entry > 1 {
            let size = (self.entry.len() as u32).to_be_bytes();
            self.body.push(SUB_ENTRY);
            self.body.extend_from_slice(&(self.held as u16).to_be_bytes());
            self.body.extend_from_slice(&size);
            self.body.extend_from_slice(&size);
        }
        self.body.extend_from_slice(&self.entry);
        self.entry.clear();
        self.sizes.push(self.held as u32);
        self.next_id += 1;
        self.entries += 1;
        self.held = 0;
    }

    fn send_frame(&mut self) -> Result<()> {
        if self.entries > 0 {
            Frame::new(self.session.wire.output(), PUBLISH).u8(PUBLISHER).u32(self.entries).raw(&self.body).end();
            self.body.clear();
            self.entries = 0;
        }
        self.session.wire.flush_if_large()
    }

    fn answer(&mut self, news: &mut Acknowledged, id: u64, refused: bool) -> Result<()> {
        ensure!(id == self.answered_id, "publish {id} was answered where {} is next", self.answered_id);
        let size = u64::from(*self.sizes.get(usize::try_from(id)?).context("an answer to nothing")?);
        self.answered_id += 1;
        news.answered += size;
        news.refused += if refused { size } else { 0 };
        Ok(())
    }

    fn take_frame(&mut self, news: &mut Acknowledged) -> Result<bool> {
        let Some((key, mut fields, length)) = next(self.session.wire.pending())? else { return Ok(false) };
        let mut ids = Vec::new();
        if key == PUBLISH_CONFIRM || key == PUBLISH_ERROR {
            fields.u8()?;
            for _ in 0..fields.u32()? {
                ids.push(fields.u64()?);
                if key == PUBLISH_ERROR {
                    fields.u16()?;
                }
            }
        }
        self.session.wire.take(length);
        for id in ids {
            self.answer(news, id, key == PUBLISH_ERROR)?;
        }
        Ok(true)
    }
}

impl Publisher for RabbitPublisher {
    fn push(&mut self, payload: &[u8]) -> Result<()> {
        let mut head = [0_u8; 8];
        let head = data_head(payload.len(), &mut head)?;
        self.entry.extend_from_slice(&((head.len() + payload.len()) as u32).to_be_bytes());
        self.entry.extend_from_slice(head);
        self.entry.extend_from_slice(payload);
        self.held += 1;
        if self.held == self.sub_entry {
            self.end_entry();
        }
        if self.body.len() >= FRAME_BYTES { self.send_frame() } else { Ok(()) }
    }

    fn end_batch(&mut self) -> Result<()> {
        self.end_entry();
        self.send_frame()
    }

    fn flush(&mut self) -> Result<()> {
        self.session.wire.flush()
    }

    fn acknowledged(&mut self, wait: bool) -> Result<Acknowledged> {
        let mut news = Acknowledged::default();
        loop {
            while self.take_frame(&mut news)? {}
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

/// The head of an AMQP data section of `length` bytes.
fn data_head(length: usize, head: &mut [u8; 8]) -> Result<&[u8]> {
    head[..3].copy_from_slice(&DATA_SECTION);
    if let Ok(short) = u8::try_from(length) {
        head[3..5].copy_from_slice(&[BINARY_SHORT, short]);
        return Ok(&head[..5]);
    }
    head[3] = BINARY_LONG;
    head[4..].copy_from_slice(&u32::try_from(length)?.to_be_bytes());
    Ok(&head[..])
}

/// The plain data of a message.
fn data(message: &[u8]) -> Result<&[u8]> {
    let mut fields = Fields(message);
    ensure!(fields.bytes(3)? == DATA_SECTION, "a message that is not plain data");
    let length = match fields.u8()? {
        BINARY_SHORT => usize::from(fields.u8()?),
        BINARY_LONG => fields.u32()? as usize,
        other => bail!("data of kind {other:#x}"),
    };
    fields.bytes(length)
}

struct RabbitConsumer {
    wire: Wire,
}

impl Consumer for RabbitConsumer {
    fn read(&mut self, visit: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<u64> {
        let Some((key, fields, length)) = next(self.wire.pending())? else {
            return self.wire.fill().map(|_| 0);
        };
        let read = if key == DELIVER { deliver(fields, visit)? } else { 0 };
        self.wire.take(length);
        if key == DELIVER {
            Frame::new(self.wire.output(), CREDIT).u8(SUBSCRIPTION).u16(1).end();
            self.wire.flush()?;
        }
        Ok(read)
    }
}

/// Hands over the messages of a chunk: subscription u8, magic u8, kind u8, entries u16, records u32, timestamp u64,
/// epoch u64, first offset u64, checksum u32, data length u32, trailer length u32, reserved u32, then the entries.
fn deliver(mut fields: Fields<'_>, visit: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<u64> {
    fields.bytes(3)?;
    let entries = fields.u16()?;
    let records = fields.u32()?;
    fields.bytes(8 + 8 + 8 + 4 + 4 + 4 + 4)?;
    let mut read = 0;
    for _ in 0..entries {
        if fields.0.first().is_some_and(|first| first & SUB_ENTRY != 0) {
            ensure!(fields.u8()? == SUB_ENTRY, "a compressed entry");
            let count = fields.u16()?;
            fields.bytes(8)?;
            for _ in 0..count {
                read += one_message(&mut fields, visit)?;
            }
        } else {
            read += one_message(&mut fields, visit)?;
        }
    }
    ensure!(read == u64::from(records), "a chunk of {records} messages has {read}");
    Ok(read)
}

fn one_message(fields: &mut Fields<'_>, visit: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<u64> {
    let length = fields.u32()? as usize;
    visit(data(fields.bytes(length)?)?)?;
    Ok(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_goes_both_ways() {
        for length in [0, 1, 255, 256, 70_000] {
            let payload = vec![7; length];
            let mut head = [0; 8];
            let message = [data_head(length, &mut head).unwrap(), &payload].concat();
            assert_eq!(data(&message).unwrap(), payload);
            assert!(data(&message[..message.len().saturating_sub(1)]).is_err());
        }
    }

    #[test]
    fn a_chunk_has_plain_and_packed_entries() {
        let message = |byte: u8| {
            let mut head = [0; 8];
            let body = [data_head(1, &mut head).unwrap(), &[byte]].concat();
            [&(body.len() as u32).to_be_bytes()[..], &body].concat()
        };
        let packed = [message(2), message(3)].concat();
        let size = (packed.len() as u32).to_be_bytes();
        let mut chunk = vec![SUBSCRIPTION, 0x50, 0, 0, 2, 0, 0, 0, 3];
        chunk.extend_from_slice(&[0; 40]);
        chunk.extend_from_slice(&message(1));
        chunk.extend_from_slice(&[SUB_ENTRY, 0, 2]);
        chunk.extend_from_slice(&size);
        chunk.extend_from_slice(&size);
        chunk.extend_from_slice(&packed);
        let mut seen = Vec::new();
        let read = deliver(Fields(&chunk), &mut |payload| {
            seen.extend_from_slice(payload);
            Ok(())
        });
        assert_eq!((read.unwrap(), seen), (3, vec![1, 2, 3]));
    }
}
