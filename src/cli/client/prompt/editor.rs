//! Lines edited at a terminal: completed, and remembered from one time to the next.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, Helper};

use super::Vocabulary;
use super::history;
use super::names::Known;
use super::words::Names;
use crate::cli::client::failure::Failure;
use crate::cli::client::note;

/// Lines that are remembered.
const HISTORY_LINES: usize = 1_000;

/// Completes commands, and the topic or group that follows one.
pub(super) struct Completion {
    vocabulary: &'static Vocabulary,
    known: Arc<Mutex<Known>>,
}

impl Completion {
    pub(super) fn new(vocabulary: &'static Vocabulary, known: Arc<Mutex<Known>>) -> Completion {
        Completion { vocabulary, known }
    }

    /// Where the word before the cursor begins, and what it may become.
    fn candidates(&self, before: &str) -> (usize, Vec<String>) {
        let start = before.rfind(char::is_whitespace).map_or(0, |at| at + 1);
        let mut words: Vec<&str> = before[..start].split_whitespace().collect();
        let prefix = &before[start..];
        let all: Vec<String> = match (words.pop(), words.is_empty()) {
            (None, _) => {
                let own = ["help", "quit"].into_iter();
                self.vocabulary.commands.iter().map(|command| command.name).chain(own).map(str::to_owned).collect()
            }
            (Some(word), true) => {
                let names = self.vocabulary.commands.iter().find(|command| command.has(word)).map(|found| found.names);
                let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                match names {
                    Some(Names::Topics) => known.topics.clone(),
                    Some(Names::Groups) => known.groups.clone(),
                    Some(Names::Nothing) | None => Vec::new(),
                }
            }
            (Some(_), false) => Vec::new(),
        };
        (start, all.into_iter().filter(|candidate| candidate.starts_with(prefix)).collect())
    }
}

impl Completer for Completion {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _context: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(self.candidates(line.get(..at).unwrap_or(line)))
    }
}

impl Helper for Completion {}
impl Highlighter for Completion {}
impl Validator for Completion {}
impl Hinter for Completion {
    type Hint = String;
}

/// A terminal's line editor.
pub(super) struct LineEditor {
    editor: Editor<Completion, FileHistory>,
    prompt: String,
    history: Option<PathBuf>,
}

impl LineEditor {
    pub(super) fn new(vocabulary: &'static Vocabulary, known: Arc<Mutex<Known>>) -> Result<LineEditor, Failure> {
        let terminal = |error: ReadlineError| Failure::Terminal(error.to_string());
        let config = Config::builder()
            .max_history_size(HISTORY_LINES)
            .and_then(|config| config.history_ignore_dups(true))
            .map_err(terminal)?
            .history_ignore_space(true)
            .completion_type(CompletionType::List)
            .build();
        let mut editor = Editor::with_history(config.clone(), FileHistory::with_config(&config)).map_err(terminal)?;
        editor.set_helper(Some(Completion::new(vocabulary, known)));
        let history = history::file(vocabulary.name, |name| std::env::var_os(name));
        if let Some(file) = &history {
            // The first time there is none.
            drop(editor.load_history(file));
        }
        Ok(LineEditor { editor, prompt: format!("{}> ", vocabulary.name), history })
    }

    /// The next line; `None` at the end. Waits for whoever types.
    pub(super) fn line(&mut self) -> Result<Option<String>, Failure> {
        loop {
            match self.editor.readline(&self.prompt) {
                Ok(line) => {
                    self.remember(&line);
                    return Ok(Some(line));
                }
                Err(ReadlineError::Interrupted) => note("'quit' or Ctrl-D ends this"),
                Err(ReadlineError::Eof) => return Ok(None),
                Err(error) => return Err(Failure::Terminal(error.to_string())),
            }
        }
    }

    fn remember(&mut self, line: &str) {
        // A history that cannot be kept is no reason to stop.
        let is_new = self.editor.add_history_entry(line).unwrap_or(false);
        if let Some(file) = self.history.as_ref().filter(|_| is_new) {
            if let Some(directory) = file.parent() {
                drop(std::fs::create_dir_all(directory));
            }
            drop(self.editor.append_history(file));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::client::prompt::consumer::VOCABULARY;

    #[test]
    fn commands_and_names_are_completed() {
        let known = Known { topics: vec!["orders".to_owned(), "other".to_owned()], groups: vec!["g".to_owned()] };
        let completion = Completion::new(&VOCABULARY, Arc::new(Mutex::new(known)));
        let check = |before: &str, start: usize, expected: &[&str]| {
            let (found, candidates) = completion.candidates(before);
            assert_eq!((found, candidates.as_slice()), (start, expected.map_to_strings().as_slice()), "{before:?}");
        };
        check("sub", 0, &["subscribe"]);
        check("qu", 0, &["quit"]);
        check("subscribe or", 10, &["orders"]);
        check("subscribe o", 10, &["orders", "other"]);
        check("  join_consumer_group ", 22, &["g"]);
        check("poll ", 5, &[]);
        check("subscribe orders o", 17, &[]);
    }

    trait MapToStrings {
        fn map_to_strings(&self) -> Vec<String>;
    }

    impl MapToStrings for [&str] {
        fn map_to_strings(&self) -> Vec<String> {
            self.iter().map(|text| (*text).to_owned()).collect()
        }
    }
}
