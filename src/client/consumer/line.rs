//! One of the two connections of a consumer's task: made when it is wanted, and again after a while when it was lost.

use tokio::time::Instant;

use crate::client::ClientError;
use crate::client::chance::{Backoff, Chance};
use crate::client::link::{Event, Link, Work, work};

/// A connection that is kept.
pub(super) struct Line {
    pub(super) link: Option<Link>,
    connecting: Option<Work<Link>>,
    /// Not before then is anything asked for again.
    rest_until: Option<Instant>,
    backoff: Backoff,
}

/// What happens on a line.
#[derive(Debug)]
pub(super) enum LineEvent {
    Connected,
    Unconnected(ClientError),
    Came(Event),
}

impl Line {
    pub(super) fn new(backoff: Backoff) -> Line {
        Line { link: None, connecting: None, rest_until: None, backoff }
    }

    /// Connects where that is due.
    pub(super) fn tend(&mut self, now: Instant, connect: impl FnOnce() -> Work<Link>) {
        if self.rest_until.is_some_and(|until| until > now) {
            return;
        }
        self.rest_until = None;
        if self.link.is_none() && self.connecting.is_none() {
            self.connecting = Some(connect());
        }
    }

    /// The connection, where something may be asked for over it.
    pub(super) fn ready(&self) -> Option<&Link> {
        self.link.as_ref().filter(|_| self.rest_until.is_none())
    }

    /// Until when it rests.
    pub(super) fn rests_until(&self) -> Option<Instant> {
        self.rest_until
    }

    /// Asks for nothing for a while.
    pub(super) fn rest(&mut self, chance: &mut Chance) {
        self.rest_until = Some(Instant::now() + self.backoff.next(chance));
    }

    /// It does what it should.
    pub(super) fn works(&mut self) {
        self.backoff.reset();
    }

    /// Gives up the connection.
    pub(super) fn lose(&mut self, chance: &mut Chance) {
        self.link = None;
        self.rest(chance);
    }

    /// Gives up the connection, which nobody wants any more.
    pub(super) fn close(&mut self) {
        self.link = None;
        self.connecting = None;
        self.rest_until = None;
    }

    /// The next thing that happens.
    pub(super) async fn event(&mut self) -> LineEvent {
        tokio::select! {
            event = Link::event(&mut self.link) => LineEvent::Came(event),
            connected = work(&mut self.connecting) => {
                self.connecting = None;
                match connected {
                    Ok(link) => {
                        self.link = Some(link);
                        LineEvent::Connected
                    }
                    Err(error) => LineEvent::Unconnected(error),
                }
            }
        }
    }
}
