//! `wiber-client producer` and `wiber-client consumer`: a prompt, at which one thing is done after another.
//!
//! At a terminal lines are edited, completed and remembered; from a pipe they are read as they come, without a prompt. An
//! error is told and ends nothing.

pub(super) mod consumer;
mod editor;
mod history;
mod input;
mod names;
pub(super) mod producer;
mod words;

use std::io::Write;

use serde_json::{Value, json};

use super::failure::Failure;
use super::output::{self, Output};
use super::signals::interrupted;
use super::{Context, note};
use crate::client::{Client, ClientError};
use input::Input;
use words::Command;

/// What a prompt can do.
struct Vocabulary {
    /// As the prompt shows itself, and as its history is called.
    name: &'static str,
    commands: &'static [Command],
}

/// What a command came to.
enum Reply {
    /// Something is said of it.
    Said(String, Value),
    /// It has printed what there was.
    Printed,
}

/// What is done at a prompt.
trait Actions {
    fn vocabulary(&self) -> &'static Vocabulary;

    /// Does a command that its vocabulary has, by its first name; `rest` is what follows it.
    async fn act(&mut self, command: &str, rest: &str, out: &mut dyn Write) -> Result<Reply, Failure>;
}

/// Takes lines and does what they say, until there are no more or one says to quit.
async fn converse(actions: &mut impl Actions, context: &Context, out: &mut dyn Write) -> Result<(), Failure> {
    let vocabulary = actions.vocabulary();
    let mut input = Input::open(vocabulary)?;
    if input.is_terminal() {
        note(format_args!(
            "Connected to {}:{}. 'help' says what can be done.",
            context.options.host, context.options.port
        ));
    }
    loop {
        if input.is_terminal() {
            input.learn(names::of(&context.options).await);
        }
        let line = tokio::select! {
            line = input.line() => line?,
            stopped = interrupted() => return stopped.map_err(Failure::Signal),
        };
        let Some(line) = line else { return Ok(()) };
        let (word, rest) = words::split(&line);
        let command = vocabulary.commands.iter().find(|command| command.has(word));
        let done = match (word, command) {
            ("" | "#", _) => continue,
            ("quit" | "exit" | "q", _) => return Ok(()),
            ("help" | "?", _) => writeln!(out, "{}", words::help(vocabulary.commands)).map_err(Failure::Output),
            (_, None) => Err(Failure::Usage(format!("there is no '{word}'; 'help' says what there is"))),
            (_, Some(command)) => tokio::select! {
                done = actions.act(command.name, rest, out) => match done {
                    Ok(Reply::Said(text, json)) => output::print(out, context.output, &text, &json),
                    Ok(Reply::Printed) => Ok(()),
                    Err(failure) => Err(failure),
                },
                stopped = interrupted() => {
                    stopped.map_err(Failure::Signal)?;
                    Err(Failure::Broken)
                }
            },
        };
        match done.and_then(|()| out.flush().map_err(Failure::Output)) {
            Ok(()) => {}
            Err(failure @ (Failure::Output(_) | Failure::Signal(_))) => return Err(failure),
            Err(failure) => tell(&failure, context.output),
        }
    }
}

/// Says what failed, and goes on.
fn tell(failure: &Failure, output: Output) {
    match output {
        Output::Text => {
            note(format_args!("error: {failure}"));
            // The hint of a usage names the command line, which is not what was wrong.
            if let Some(hint) = failure.hint().filter(|_| !matches!(failure, Failure::Usage(_))) {
                note(format_args!("  {hint}"));
            }
        }
        Output::Json => note(json!({ "error": failure.to_string() })),
    }
}

/// The one word that a command takes.
fn one<'a>(rest: &'a str, command: &str, what: &str) -> Result<&'a str, Failure> {
    let (word, more) = words::split(rest);
    if word.is_empty() || !more.is_empty() {
        return Err(Failure::Usage(format!("give it {what}: {command} {}", what.to_uppercase())));
    }
    Ok(word)
}

fn nothing(rest: &str, command: &str) -> Result<(), Failure> {
    if rest.is_empty() { Ok(()) } else { Err(Failure::Usage(format!("{command} takes nothing after it"))) }
}

fn failed(doing: impl Into<String>) -> impl FnOnce(ClientError) -> Failure {
    let doing = doing.into();
    move |source| Failure::Request { doing, source }
}

/// The names of all topics.
async fn topics(context: &Context) -> Result<Reply, Failure> {
    let client: Client = context.connect().await?;
    let topics = client.topics().await.map_err(failed("list the topics"))?;
    let names: Vec<String> = topics.into_iter().map(|topic| topic.topic).collect();
    Ok(listed("topics", &names))
}

/// A list, a line for each.
fn listed(what: &str, names: &[String]) -> Reply {
    let text = if names.is_empty() { format!("(no {what})") } else { names.join("\n") };
    Reply::Said(text, json!({ what: names }))
}
