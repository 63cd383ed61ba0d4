//! A stand-in for a broker that keeps batches, checks sequences as a broker does, and misbehaves by a script.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::NOW;
use super::groups::Group;
use crate::protocol::native::{
    Decoded, ErrorCode, Frame, FrameCodec, FrameLimits, FrameType, FrameWriter, Properties, reply,
};
use crate::record::{Batch, verify};

/// What is done with the next PUBLISH_BATCH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// As a broker does it.
    Take,
    /// Refused without being looked at.
    Refuse(ErrorCode),
    /// Taken, but the answer is lost.
    LoseAck,
    /// Taken, but the connection ends before the answer.
    CutAfter,
    /// The connection ends before it is taken.
    CutBefore,
    /// Never looked at, never answered.
    Ignore,
    /// Taken; its answer comes after the next one's.
    AnswerLate,
    /// Taken, after the broker forgot all it knew of producers.
    ForgetProducers,
}

/// The stand-in. Topic `t` exists.
#[derive(Debug, Clone)]
pub(crate) struct Scripted {
    pub(crate) port: u16,
    state: Arc<Mutex<State>>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    partitions: Vec<Log>,
    producers: HashMap<(usize, i64), Known>,
    script: VecDeque<Act>,
    producer_ids: i64,
    committed: BTreeMap<String, u64>,
    groups: BTreeMap<String, Group>,
    /// Connections accepted so far.
    connections: u32,
    /// Every connection ends when this grows.
    cuts: u64,
    /// Largest body of a BATCH frame, in batches.
    batches_max: usize,
}

#[derive(Debug, Default)]
struct Log {
    start: u64,
    end: u64,
    batches: Vec<(u64, Bytes)>,
}

#[derive(Debug, Default)]
struct Known {
    next: i32,
    recent: VecDeque<(i32, u64)>,
}

/// What one connection does.
#[derive(Default)]
struct Session {
    late: Option<BytesMut>,
    /// Per partition subscribed to, the next offset to be sent.
    positions: BTreeMap<usize, u64>,
    /// The group and member of this connection, and the assignment that it knows.
    member: Option<(String, String, String)>,
}

impl Scripted {
    pub(crate) async fn start(partitions: usize, script: &[Act]) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let state = State {
            partitions: (0..partitions).map(|_| Log::default()).collect(),
            script: script.iter().copied().collect(),
            batches_max: 2,
            ..State::default()
        };
        let scripted = Scripted { port, state: Arc::new(Mutex::new(state)), changed: watch::Sender::new(0) };
        let shared = scripted.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.state.lock().expect("whole").connections += 1;
                tokio::spawn(shared.clone().serve(stream));
            }
        });
        scripted
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        let result = f(&mut self.state.lock().expect("whole"));
        self.changed.send_modify(|version| *version += 1);
        result
    }

    /// The values stored in a partition.
    pub(crate) fn values(&self, partition: usize) -> Vec<String> {
        self.with(|state| {
            let batches = state.partitions[partition].batches.clone();
            let records = batches.into_iter().flat_map(|(_, bytes)| {
                Batch::verify(bytes).expect("whole").records().expect("readable").map(|r| r.expect("readable"))
            });
            records.map(|r| String::from_utf8(r.value.expect("a value").to_vec()).expect("text")).collect()
        })
    }

    /// How many batches a partition holds.
    pub(crate) fn batches(&self, partition: usize) -> usize {
        self.with(|state| state.partitions[partition].batches.len())
    }

    pub(crate) fn connections(&self) -> u32 {
        self.with(|state| state.connections)
    }

    pub(crate) fn committed(&self, client_id: &str, partition: usize) -> Option<u64> {
        self.with(|state| state.committed.get(&format!("{client_id} {partition}")).copied())
    }

    /// The position of a group.
    pub(crate) fn position(&self, group: &str, partition: usize) -> Option<u64> {
        self.committed(&of_group(group), partition)
    }

    /// Changes a group, and has its members told.
    pub(crate) fn group<T>(&self, group: &str, change: impl FnOnce(&mut Group) -> T) -> T {
        self.with(|state| change(state.groups.entry(group.to_owned()).or_default()))
    }

    /// Ends every connection.
    pub(crate) fn cut(&self) {
        self.with(|state| state.cuts += 1);
    }

    /// Adds a partition.
    pub(crate) fn grow(&self) {
        self.with(|state| state.partitions.push(Log::default()));
    }

    /// Drops what a partition holds below an offset.
    pub(crate) fn retain_from(&self, partition: usize, start: u64) {
        self.with(|state| {
            let log = &mut state.partitions[partition];
            log.start = start;
            log.end = log.end.max(start);
            log.batches.retain(|(base, _)| *base >= start);
        });
    }

    /// Adds a batch of one record.
    pub(crate) fn store(&self, partition: usize, value: &str) {
        let mut builder = crate::record::BatchBuilder::new(crate::record::BuilderOptions::default());
        builder.append(NOW, None, Some(value.as_bytes()), &[]).expect("fits");
        let batch = builder.finish_bytes().expect("a record").freeze();
        self.with(|state| state.partitions[partition].append(&batch, 1));
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut codec = FrameCodec::new(FrameLimits::for_messages(16 << 20));
        let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
        let mut session = Session::default();
        let mut changed = self.changed.subscribe();
        let cuts = self.state.lock().expect("whole").cuts;
        loop {
            self.push(&mut session, &mut output);
            if stream.write_all_buf(&mut output).await.is_err() {
                return;
            }
            tokio::select! {
                read = stream.read_buf(&mut input) => if !read.is_ok_and(|read| read > 0) { return },
                _ = changed.changed() => {}
            }
            if self.state.lock().expect("whole").cuts > cuts {
                return;
            }
            while let Some(decoded) = codec.next(&mut input) {
                let Decoded::Frame(frame) = decoded else { panic!("{decoded:?}") };
                if !self.answer(&frame, &mut session, &mut output) {
                    let _gone = stream.write_all_buf(&mut output).await;
                    return;
                }
            }
        }
    }

    /// Answers a frame; `false` where the connection is to end.
    fn answer(&self, frame: &Frame, session: &mut Session, out: &mut BytesMut) -> bool {
        let partition: usize = frame.properties.get("partition").and_then(|p| p.parse().ok()).unwrap_or(0);
        let topic = frame.properties.get("topic");
        if topic.is_some_and(|topic| topic != "t") {
            refuse(out, frame, ErrorCode::UnknownTopic);
            return true;
        }
        let number = |name: &str| frame.properties.get(name).and_then(|text| text.parse::<u64>().ok());
        let (group, member) = (frame.properties.get("wiber.group"), frame.properties.get("wiber.member"));
        if let (Some(group), Some(member)) = (group, member)
            && let Err(code) = self.with(|state| state.allows(group, member, partition, number("wiber.generation")))
        {
            refuse_as(out, frame, code);
            return true;
        }
        match frame.kind {
            FrameType::Heartbeat => reply::heartbeat(out, frame.sequence, NOW),
            FrameType::InitProducer => {
                let id = self.with(|state| {
                    state.producer_ids += 1;
                    state.producer_ids
                });
                succeed(
                    out,
                    frame,
                    &[("wiber.producer_id", id.to_string()), ("wiber.producer_epoch", "0".into())],
                    b"",
                );
            }
            FrameType::Metadata | FrameType::ListOffsets | FrameType::Commit => self.tell(frame, partition, out),
            FrameType::SubscribeBatches => {
                let start = number("offset").expect("given").max(self.with(|state| state.partitions[partition].start));
                session.positions.insert(partition, start);
                succeed(out, frame, &[("start_offset", start.to_string())], b"");
            }
            FrameType::PublishBatch => return self.publish(frame, partition, session, out),
            FrameType::Unsubscribe => {
                session.positions.remove(&partition);
                succeed(out, frame, &[], b"");
            }
            FrameType::JoinGroup | FrameType::GroupHeartbeat | FrameType::LeaveGroup => {
                self.of_member(frame, group.expect("given"), session, out);
            }
            FrameType::Data
            | FrameType::Ack
            | FrameType::CreateTopic
            | FrameType::Subscribe
            | FrameType::Publish
            | FrameType::DeleteTopic
            | FrameType::Fetch
            | FrameType::AlterTopic
            | FrameType::Batch
            | FrameType::Assignment
            | FrameType::ListGroups
            | FrameType::DescribeGroup
            | FrameType::ResetGroup
            | FrameType::DeleteGroup => panic!("{frame:?}"),
        }
        true
    }

    /// What is asked of the topic, its offsets and positions.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the caller names the three")]
    fn tell(&self, frame: &Frame, partition: usize, out: &mut BytesMut) {
        let group = frame.properties.get("wiber.group");
        match frame.kind {
            FrameType::Metadata => {
                let partitions: Vec<String> = (0..self.with(|state| state.partitions.len()))
                    .map(|index| format!(r#"{{"partition":{index},"status":"online"}}"#))
                    .collect();
                let body = format!(
                    r#"{{"topic":"t","topic_id":"x","created_at_ms":1,"partitions":[{}],"effective":{{"max_message_size":100000}}}}"#,
                    partitions.join(",")
                );
                succeed(out, frame, &[], body.as_bytes());
            }
            FrameType::ListOffsets => {
                let (start, end) =
                    self.with(|state| (state.partitions[partition].start, state.partitions[partition].end));
                let (start, end) = (start.to_string(), end.to_string());
                let mut pairs = vec![("log_start", start), ("high_watermark", end.clone()), ("log_end", end)];
                let owner = frame.properties.get("client_id").map(str::to_owned);
                if let Some(owner) = group.map(of_group).or(owner) {
                    let committed = self.committed(&owner, partition);
                    pairs.push(("committed", committed.map_or("-1".to_owned(), |offset| offset.to_string())));
                }
                succeed(out, frame, &pairs, b"");
            }
            _ => {
                let client_id = frame.properties.get("client_id").map(str::to_owned);
                let client_id = group.map(of_group).or(client_id).expect("given");
                let offset = frame.properties.get("offset").and_then(|text| text.parse::<u64>().ok()).expect("given");
                let kept = self.with(|state| {
                    let kept = state.committed.entry(format!("{client_id} {partition}")).or_default();
                    *kept = offset.max(*kept);
                    *kept
                });
                succeed(out, frame, &[("offset", kept.to_string())], b"");
            }
        }
    }

    /// A frame of a group's member.
    fn of_member(&self, frame: &Frame, name: &str, session: &mut Session, out: &mut BytesMut) {
        let member = frame.properties.get("wiber.member");
        let partitions = self.with(|state| state.partitions.len());
        let body = std::str::from_utf8(&frame.body).expect("text");
        let said: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
        let heard = self.group(name, |group| match (frame.kind, member) {
            (FrameType::JoinGroup, member) => {
                let topics = said["topics"].as_array().is_some_and(|topics| !topics.is_empty());
                group.join(member, topics, partitions).map(|member| (member.clone(), group.view(&member)))
            }
            (FrameType::GroupHeartbeat, Some(member)) => {
                let owned = said["owned"].as_array().map(|owned| {
                    owned
                        .iter()
                        .map(|entry| usize::try_from(entry["partition"].as_u64().expect("given")).expect("small"))
                });
                let told = group.heartbeat(member, owned.map(Iterator::collect));
                told.map(|view| (member.to_owned(), view))
            }
            (_, member) => {
                group.leave(member.expect("given"));
                Ok((String::new(), String::new()))
            }
        });
        match heard {
            Err(code) => refuse_as(out, frame, code),
            Ok((member, view)) => {
                if frame.kind == FrameType::JoinGroup {
                    session.member = Some((name.to_owned(), member.clone(), view.clone()));
                }
                succeed(out, frame, &[("wiber.member", member), ("wiber.heartbeat_ms", "20".into())], view.as_bytes());
            }
        }
    }

    fn publish(&self, frame: &Frame, partition: usize, session: &mut Session, out: &mut BytesMut) -> bool {
        let act = self.with(|state| state.script.pop_front()).unwrap_or(Act::Take);
        match act {
            Act::Refuse(code) => {
                refuse(out, frame, code);
                out.put(session.late.take().unwrap_or_default());
                return true;
            }
            Act::Ignore => return true,
            Act::CutBefore => return false,
            Act::ForgetProducers => self.with(|state| state.producers.clear()),
            Act::Take | Act::LoseAck | Act::CutAfter | Act::AnswerLate => {}
        }
        let mut answer = BytesMut::new();
        match self.with(|state| state.take(partition, &frame.body)) {
            Ok(offset) => succeed(&mut answer, frame, &[("offset", offset.to_string())], b""),
            Err(code) => refuse(&mut answer, frame, code),
        }
        if act == Act::AnswerLate {
            session.late = Some(answer);
        } else if act != Act::LoseAck && act != Act::CutAfter {
            out.put(answer);
            out.put(session.late.take().unwrap_or_default());
        }
        act != Act::CutAfter
    }

    /// Pushes what subscriptions have not seen.
    fn push(&self, session: &mut Session, out: &mut BytesMut) {
        let state = self.state.lock().expect("whole");
        if let Some((name, member, known)) = &mut session.member {
            let view = state.groups.get(name).map(|group| group.view(member)).unwrap_or_default();
            if view != *known && !view.is_empty() {
                let mut frame = FrameWriter::new(out, FrameType::Assignment, 0, NOW);
                frame.property("wiber.group", name).expect("valid");
                frame.property("wiber.member", member).expect("valid");
                frame.finish(view.as_bytes()).expect("fits");
                *known = view;
            }
        }
        for (partition, position) in &mut session.positions {
            let log = &state.partitions[*partition];
            let wanted: Vec<_> = log.batches.iter().filter(|(_, bytes)| next_offset(bytes) > *position).collect();
            for batches in wanted.chunks(state.batches_max) {
                let body: Vec<u8> = batches.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
                let (index, base) = (partition.to_string(), batches[0].0);
                let mut frame = FrameWriter::new(out, FrameType::Batch, base, NOW);
                frame.property("topic", "t").expect("valid");
                frame.property("partition", &index).expect("valid");
                frame.finish(&body).expect("fits");
            }
            *position = log.end.max(*position);
        }
    }
}

fn next_offset(batch: &[u8]) -> u64 {
    verify(batch).expect("whole").next_offset().get()
}

impl State {
    /// Whether a member may do what it asks for as the owner of a partition since a generation.
    fn allows(&self, group: &str, member: &str, partition: usize, since: Option<u64>) -> Result<(), &'static str> {
        let Some(since) = since else { return Ok(()) };
        let group = self.groups.get(group).ok_or("unknown_group")?;
        group.owns(member, partition, since)
    }

    /// Stores a batch as a broker does, or answers as it did before.
    fn take(&mut self, partition: usize, bytes: &Bytes) -> Result<u64, ErrorCode> {
        let header = *Batch::verify(bytes.clone()).expect("undamaged").header();
        let end = self.partitions[partition].end;
        if let Some(stamp) = header.producer {
            let base = stamp.base_sequence.expect("given").get();
            let known =
                self.producers.entry((partition, stamp.id.get())).or_insert(Known { next: base, ..Known::default() });
            if let Some((_, offset)) = known.recent.iter().find(|(sequence, _)| *sequence == base) {
                return Ok(*offset);
            }
            if known.next != base {
                return Err(ErrorCode::OutOfOrderSequence);
            }
            known.next = stamp.base_sequence.expect("given").plus(header.records_count).get();
            known.recent.push_back((base, end));
            if known.recent.len() > 5 {
                known.recent.pop_front();
            }
        }
        self.partitions[partition].append(bytes, header.records_count);
        Ok(end)
    }
}

impl Log {
    fn append(&mut self, batch: &Bytes, records: u32) {
        let mut numbered = batch.to_vec();
        numbered[..8].copy_from_slice(&self.end.to_be_bytes());
        self.batches.push((self.end, numbered.into()));
        self.end += u64::from(records);
    }
}

fn succeed(out: &mut BytesMut, to: &Frame, pairs: &[(&str, String)], body: &[u8]) {
    let pairs = pairs.iter().map(|(name, value)| (*name, value.as_str()));
    let properties = Properties::from_pairs([("status", "success")].into_iter().chain(pairs)).expect("valid");
    let mut frame = FrameWriter::new(out, FrameType::Ack, to.sequence, NOW);
    frame.raw_properties(properties.as_wire());
    frame.finish(body).expect("fits");
}

fn of_group(group: &str) -> String {
    format!("group:{group}")
}

fn refuse_as(out: &mut BytesMut, to: &Frame, code: &str) {
    let mut frame = FrameWriter::new(out, FrameType::Ack, to.sequence, NOW);
    for (name, value) in [("status", "error"), ("error", "refused by the script"), ("code", code)] {
        frame.property(name, value).expect("valid");
    }
    frame.finish(b"").expect("fits");
}

fn refuse(out: &mut BytesMut, to: &Frame, code: ErrorCode) {
    reply::error_ack(out, to.sequence, NOW, code, "refused by the script", &[]);
}
