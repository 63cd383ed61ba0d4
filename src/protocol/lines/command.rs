//! What a line asks for.

use crate::types::TopicName;

/// Longest name of a group, in bytes.
pub const GROUP_BYTES_MAX: usize = 255;
/// Characters of a client's word that an answer repeats.
const QUOTED_CHARS_MAX: usize = 40;
const SUB: &str = "SUB <topic> [group]";
const PUB: &str = "PUB <topic> <message>";
const HISTORY: &str = "HISTORY <topic> <n>";
const ACK: &str = "ACK <id>";

/// A command, borrowed from its line. Verbs are taken in any case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command<'a> {
    /// `SUB <topic> [group]`.
    Subscribe {
        /// The topic.
        topic: TopicName,
        /// The group that shares it.
        group: Option<&'a str>,
    },
    /// `PUB <topic> <message>`.
    Publish {
        /// The topic's name, not yet looked at: most are those of the line before.
        topic: &'a str,
        /// The message; not empty.
        message: &'a str,
    },
    /// `HISTORY <topic> <n>`.
    History {
        /// The topic.
        topic: TopicName,
        /// How many records at most.
        count: u64,
    },
    /// `ACK <id>`.
    Ack,
    /// `HEARTBEAT`.
    Heartbeat,
    /// `PING`.
    Ping,
    /// `QUIT`.
    Quit,
}

/// Why a line is no command; its `Display` is what the client is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No command begins with this word.
    #[error("unknown command '{0}': there are {SUB}, {PUB}, {HISTORY}, {ACK}, HEARTBEAT, PING, QUIT")]
    Unknown(String),
    /// Words are missing, or there are too many.
    #[error("it is written: {0}")]
    Usage(&'static str),
    /// No topic can have this name.
    #[error("'{0}' is no topic's name: 1 to 249 of a-z A-Z 0-9 . _ -, and not . or ..")]
    Topic(String),
    /// No group can have this name.
    #[error("a group's name has at most {GROUP_BYTES_MAX} bytes, not {0}")]
    Group(usize),
    /// Not a number of records.
    #[error("'{0}' is no number of records: {HISTORY} takes a whole number from 0")]
    Count(String),
}

impl<'a> Command<'a> {
    /// The command of a line that is trimmed and not empty.
    ///
    /// # Errors
    /// [`CommandError`].
    pub fn parse(line: &'a str) -> Result<Command<'a>, CommandError> {
        let (verb, rest) = first_word(line);
        let is = |word: &str| verb.eq_ignore_ascii_case(word);
        if is("PUB") {
            publish(rest)
        } else if is("SUB") {
            subscribe(rest)
        } else if is("HISTORY") {
            history(rest)
        } else if is("ACK") {
            if words(rest).count() == 1 { Ok(Command::Ack) } else { Err(CommandError::Usage(ACK)) }
        } else {
            let alone = [("PING", Command::Ping), ("QUIT", Command::Quit), ("HEARTBEAT", Command::Heartbeat)];
            let found = alone.into_iter().find(|(word, _)| is(word));
            let (word, command) = found.ok_or_else(|| CommandError::Unknown(quoted(verb)))?;
            if rest.trim().is_empty() { Ok(command) } else { Err(CommandError::Usage(word)) }
        }
    }

    /// A topic's name as a command has it.
    ///
    /// # Errors
    /// [`CommandError::Topic`].
    pub fn topic_name(name: &str) -> Result<TopicName, CommandError> {
        TopicName::new(name).map_err(|_| CommandError::Topic(quoted(name)))
    }
}

fn publish(rest: &str) -> Result<Command<'_>, CommandError> {
    let (topic, message) = first_word(rest.trim_start());
    // What follows the one space behind the topic is the message, further spaces included.
    if message.is_empty() { Err(CommandError::Usage(PUB)) } else { Ok(Command::Publish { topic, message }) }
}

fn subscribe(rest: &str) -> Result<Command<'_>, CommandError> {
    let mut words = words(rest);
    let (Some(topic), group, None) = (words.next(), words.next(), words.next()) else {
        return Err(CommandError::Usage(SUB));
    };
    let topic = Command::topic_name(topic)?;
    match group.map(str::len).filter(|bytes| *bytes > GROUP_BYTES_MAX) {
        Some(bytes) => Err(CommandError::Group(bytes)),
        None => Ok(Command::Subscribe { topic, group }),
    }
}

fn history(rest: &str) -> Result<Command<'_>, CommandError> {
    let mut words = words(rest);
    let (Some(topic), Some(count), None) = (words.next(), words.next(), words.next()) else {
        return Err(CommandError::Usage(HISTORY));
    };
    let topic = Command::topic_name(topic)?;
    let is_number = count.bytes().all(|byte| byte.is_ascii_digit());
    // A number too large for us asks for all there is.
    let count =
        if is_number { count.parse().unwrap_or(u64::MAX) } else { return Err(CommandError::Count(quoted(count))) };
    Ok(Command::History { topic, count })
}

/// The first word, and what is behind the one space after it.
fn first_word(text: &str) -> (&str, &str) {
    text.split_once([' ', '\t']).unwrap_or((text, ""))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([' ', '\t']).filter(|word| !word.is_empty())
}

fn quoted(word: &str) -> String {
    match word.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &word[..end]),
        None => word.to_owned(),
    }
}
