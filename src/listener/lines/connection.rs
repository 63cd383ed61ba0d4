//! One connection, from its greeting to its end.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::LinesListener;
use super::history::History;
use super::outbox::{Answer, Outbox, SHUTTING_DOWN};
use super::publish::PublishRun;
use super::subscriptions::Subscriptions;
use crate::listener::farewell;
use crate::listener::incoming::Incoming;
use crate::listener::liveness;
use crate::listener::memory::{Loan, OWN_BYTES, Stall};
use crate::protocol::lines::{Command, Cut, DISCARDED_BYTES_MAX, LineCodec, LineLimits};

/// How long commands that are under way have to be answered, and the peer to take the answers, when it has closed its
/// side or said QUIT …
const LAST_ANSWERS: Patience = Patience { answers: Duration::from_secs(5), sending: Duration::from_secs(5) };
/// … and when the server stops.
const ANSWERS_AT_STOP: Patience = Patience { answers: Duration::from_secs(2), sending: Duration::from_secs(1) };

/// A connection as its commands see it.
struct Connection<'a> {
    listener: &'a Arc<LinesListener>,
    outbox: &'a Arc<Outbox>,
    subscriptions: Subscriptions,
    codec: LineCodec,
    limits: LineLimits,
    incoming: Incoming,
    /// What the long line under way was lent.
    loan: Option<(Loan, Stall)>,
    /// A command is being done that has no place among the answers yet.
    is_at_work: bool,
}

/// Whether the connection goes on.
enum Next {
    GoOn,
    Close(&'static str),
}

/// What a read brought.
enum Came {
    Bytes,
    /// The peer has closed its side.
    End,
    /// Nothing for long, while others wait for the memory.
    TooSlowly,
    /// Nothing for long.
    Silence,
}

/// How long a connection that closes waits.
struct Patience {
    answers: Duration,
    sending: Duration,
}

/// Why it ends.
enum End {
    /// The peer is the reason.
    Peer(&'static str),
    /// The server stops.
    Stop,
}

/// Serves a connection; returns why it ended.
pub(super) async fn run(
    listener: &Arc<LinesListener>,
    number: u64,
    stream: TcpStream,
    mut stop: watch::Receiver<bool>,
) -> io::Result<&'static str> {
    let stream = Arc::new(stream);
    let outbox = Outbox::new(number, Arc::clone(&stream), Arc::clone(&listener.outgoing_memory));
    let limits = LineLimits::for_messages(listener.options.message_bytes_max);
    let mut connection = Connection {
        listener,
        outbox: &outbox,
        subscriptions: Subscriptions::default(),
        codec: LineCodec::new(limits),
        limits,
        incoming: Incoming::default(),
        loan: None,
        is_at_work: false,
    };
    outbox.answer_next(Answer::okay("connected"));
    let heard = connection.incoming.heard();
    let end = tokio::select! {
        reason = connection.serve(&stream) => End::Peer(reason?),
        Err(error) = outbox.write_rest() => return Err(error),
        () = liveness::watch(&stream, &heard, listener.options.connection_timeout) => End::Peer("unreachable"),
        _ = stop.changed() => End::Stop,
    };
    outbox.close();
    connection.subscriptions.stop_broadcasts();
    let reason = match end {
        End::Peer(reason) => {
            tokio::select! {
                () = last_answers(&outbox, &LAST_ANSWERS) => {}
                Err(error) = outbox.write_rest() => return Err(error),
                _ = stop.changed() => {}
            }
            reason
        }
        End::Stop => {
            connection.refuse_unread();
            "the server stops"
        }
    };
    if *stop.borrow() {
        outbox.refuse_lost();
        tokio::select! {
            () = last_answers(&outbox, &ANSWERS_AT_STOP) => {}
            Err(error) = outbox.write_rest() => return Err(error),
        }
    }
    // What the socket has not taken by now goes back to its group.
    drop(connection);
    farewell::close(&stream).await;
    Ok(reason)
}

/// Waits for the answers of what is under way, and until they are sent.
async fn last_answers(outbox: &Outbox, patience: &Patience) {
    if timeout(patience.answers, outbox.answered()).await.is_err() {
        outbox.refuse_late();
    }
    let _sent = timeout(patience.sending, outbox.sent()).await;
}

impl Came {
    fn of(bytes: usize) -> Came {
        if bytes == 0 { Came::End } else { Came::Bytes }
    }
}

impl Connection<'_> {
    async fn serve(&mut self, stream: &TcpStream) -> io::Result<&'static str> {
        loop {
            self.outbox.command_may_come().await;
            match self.read(stream).await? {
                Came::Bytes => {}
                Came::End => return Ok("closed by the peer"),
                Came::TooSlowly => {
                    return Ok(self.give_up("the line took long to come while others waited for its memory"));
                }
                Came::Silence => return Ok(self.give_up("nothing came for long (lines.idle_timeout)")),
            }
            // Boxed, so that a connection keeps no room for it while it is idle.
            if let Next::Close(reason) = Box::pin(self.take_lines()).await {
                return Ok(reason);
            }
        }
    }

    fn give_up(&self, reason: &'static str) -> &'static str {
        self.outbox.answer_next(Answer::refused(reason));
        reason
    }

    /// Reads what has come, or waits for it: as long as it takes where there is a subscription.
    async fn read(&mut self, stream: &TcpStream) -> io::Result<Came> {
        let idle = self.listener.options.idle_timeout;
        let may_wait = idle.is_zero() || !self.subscriptions.is_empty();
        let missing = Some(self.codec.missing(&self.incoming.bytes)).filter(|_| self.incoming.bytes.len() > OWN_BYTES);
        let read = async {
            match missing.and_then(NonZeroUsize::new) {
                // Boxed, as most connections never receive one.
                Some(missing) => Box::pin(self.read_long(stream, missing)).await,
                None => self.incoming.read(stream, None).await.map(Came::of),
            }
        };
        if may_wait { read.await } else { timeout(idle, read).await.unwrap_or(Ok(Came::Silence)) }
    }

    /// Reads more of a long line, once there is memory for all it may become.
    async fn read_long(&mut self, stream: &TcpStream, missing: NonZeroUsize) -> io::Result<Came> {
        let memory = &self.listener.incoming_memory;
        let stall = match &self.loan {
            Some((_, stall)) => stall,
            None => {
                let loan = memory.take(self.limits.line_bytes_max).await;
                &self.loan.insert((loan, memory.watch(0))).1
            }
        };
        tokio::select! {
            biased;
            read = self.incoming.read(stream, Some(missing)) => read.map(Came::of),
            () = memory.wanted_from(stall) => Ok(Came::TooSlowly),
        }
    }

    /// Does what every whole line that has come asks for.
    async fn take_lines(&mut self) -> Next {
        let mut run = PublishRun::new(self.listener, self.outbox);
        while let Some(cut) = self.codec.next(&mut self.incoming.bytes) {
            // Whatever was cut off, a line that was lent memory was before it.
            self.loan = None;
            match cut {
                Cut::Line(line) => {
                    let text = String::from_utf8_lossy(&line);
                    if let Next::Close(reason) = self.take_line(text.trim(), &mut run).await {
                        run.flush().await;
                        return Next::Close(reason);
                    }
                }
                Cut::TooLong => {
                    let limit = self.limits.line_bytes_max;
                    self.refuse(
                        &mut run,
                        &format!("line too long: {limit} bytes are allowed; the rest of it is dropped"),
                    );
                }
                Cut::Endless => {
                    let text = format!(
                        "line too long: {DISCARDED_BYTES_MAX} bytes of it were dropped; the connection is closed"
                    );
                    self.refuse(&mut run, &text);
                    run.flush().await;
                    return Next::Close("a line without end");
                }
            }
            let has_room = self.outbox.has_room();
            if run.is_full() || !has_room {
                run.flush().await;
            }
            if !has_room {
                self.outbox.command_may_come().await;
            }
        }
        run.flush().await;
        Next::GoOn
    }

    async fn take_line(&mut self, line: &str, run: &mut PublishRun<'_>) -> Next {
        if line.is_empty() {
            return Next::GoOn;
        }
        match Command::parse(line) {
            Ok(Command::Publish { topic, message }) => run.add(topic, message).await,
            Ok(Command::Subscribe { topic, group }) => {
                self.is_at_work = true;
                run.flush().await;
                // What this connection has published before is not new to it.
                self.outbox.answered().await;
                let group = group.map(Arc::from);
                if let Err(reason) = self.subscriptions.add(self.listener, self.outbox, topic, group).await {
                    self.outbox.answer_next(Answer::refused(reason));
                }
                self.is_at_work = false;
                run.others_answered();
            }
            Ok(Command::History { topic, count }) => {
                run.flush().await;
                let place = self.outbox.next_place();
                self.outbox.reserve(1);
                History { listener: self.listener, outbox: self.outbox }.answer(place, &topic, count).await;
                run.others_answered();
            }
            Ok(Command::Ack) => self.okay(run, "ack_received"),
            Ok(Command::Heartbeat) => self.okay(run, "heartbeat_received"),
            Ok(Command::Ping) => self.okay(run, "pong"),
            Ok(Command::Quit) => {
                // Nothing comes behind these words.
                self.outbox.close();
                self.okay(run, "bye");
                return Next::Close("QUIT");
            }
            Err(error) => self.refuse(run, &error.to_string()),
        }
        Next::GoOn
    }

    fn okay(&self, run: &mut PublishRun<'_>, text: &str) {
        self.answer(run, Answer::okay(text));
    }

    fn refuse(&self, run: &mut PublishRun<'_>, reason: &str) {
        tracing::debug!(lines = self.outbox.connection, reason, "refused");
        self.answer(run, Answer::refused(reason));
    }

    fn answer(&self, run: &mut PublishRun<'_>, answer: Answer) {
        run.reserve();
        self.outbox.answer_next(answer);
        run.others_answered();
    }

    /// Refuses the command that was being done when the server stopped, where it had no place yet, and those that came
    /// and were not looked at.
    fn refuse_unread(&mut self) {
        if std::mem::take(&mut self.is_at_work) {
            self.outbox.answer_next(Answer::refused(SHUTTING_DOWN));
        }
        while let Some(cut) = self.codec.next(&mut self.incoming.bytes) {
            match cut {
                Cut::Line(line) if line.trim_ascii().is_empty() => {}
                Cut::Line(_) | Cut::TooLong => self.outbox.answer_next(Answer::refused(SHUTTING_DOWN)),
                Cut::Endless => return,
            }
        }
    }
}
