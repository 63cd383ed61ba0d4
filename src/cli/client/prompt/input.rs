//! The lines of a prompt: from an editor at a terminal, else from whatever standard input is.

use std::io::{self, IsTerminal};
use std::sync::{Arc, Mutex, PoisonError};

use super::Vocabulary;
use super::editor::LineEditor;
use super::names::Known;
use crate::cli::client::failure::Failure;

/// Where lines come from.
pub(super) struct Input {
    source: Option<Source>,
    is_terminal: bool,
    known: Arc<Mutex<Known>>,
}

enum Source {
    Editor(Box<LineEditor>),
    Plain,
}

impl Input {
    /// An editor where both sides are terminals.
    pub(super) fn open(vocabulary: &'static Vocabulary) -> Result<Input, Failure> {
        let known = Arc::new(Mutex::new(Known::default()));
        let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        let source = if is_terminal {
            Source::Editor(Box::new(LineEditor::new(vocabulary, Arc::clone(&known))?))
        } else {
            Source::Plain
        };
        Ok(Input { source: Some(source), is_terminal, known })
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// What is completed from now on.
    pub(super) fn learn(&self, known: Known) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }

    /// The next line, `None` at the end. It is read by a thread that may wait; where the call is broken off, there are no
    /// more lines.
    pub(super) async fn line(&mut self) -> Result<Option<String>, Failure> {
        let Some(source) = self.source.take() else { return Ok(None) };
        let read = tokio::task::spawn_blocking(move || {
            let mut source = source;
            let line = source.line();
            (source, line)
        });
        let (source, line) = read.await.map_err(|error| Failure::Terminal(error.to_string()))?;
        self.source = Some(source);
        line
    }
}

impl Source {
    fn line(&mut self) -> Result<Option<String>, Failure> {
        match self {
            Source::Editor(editor) => editor.line(),
            Source::Plain => {
                let mut line = Vec::new();
                let read = io::BufRead::read_until(&mut io::stdin().lock(), b'\n', &mut line);
                let bytes = read.map_err(|source| Failure::Input { path: "-".into(), source })?;
                Ok((bytes > 0).then(|| String::from_utf8_lossy(&line).into_owned()))
            }
        }
    }
}
